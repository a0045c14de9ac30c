//! Who has signed for a document, and who is missing, in words and as JSON.

use serde::Serialize;
use wardround_proto::v1;

use crate::output::one_line;

/// One role, as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Signature {
    role: String,
    counts: bool,
    signed_by: Vec<String>,
    may_sign: Vec<String>,
    missing: u64,
    waiting: String,
}

impl Signature {
    pub(crate) fn all(signatures: &[v1::DocumentSignature]) -> Vec<Self> {
        let one = |s: &v1::DocumentSignature| Self {
            role: s.role.clone(),
            counts: s.counts,
            signed_by: s.signed_by.clone(),
            may_sign: s.may_sign.clone(),
            missing: s.missing,
            waiting: s.waiting.clone(),
        };
        signatures.iter().map(one).collect()
    }
}

/// "for release by Ann Lee; clinical is missing: Ben Fox may sign". `roles` is all that lists say.
pub(crate) fn words(signatures: &[v1::DocumentSignature], roles: &[String]) -> String {
    if signatures.is_empty() {
        return if roles.is_empty() { "by nobody yet".to_owned() } else { format!("by {}", roles.join(" and ")) };
    }
    let (some, none): (Vec<_>, Vec<_>) = signatures.iter().partition(|signature| !signature.signed_by.is_empty());
    let mut parts: Vec<String> = some.into_iter().map(given).collect();
    if parts.is_empty() {
        parts.push("by nobody yet".to_owned());
    }
    parts.extend(none.into_iter().map(|s| format!("{} is missing: {} may sign", s.role, may(s))));
    one_line(&parts.join("; "))
}

fn given(signature: &v1::DocumentSignature) -> String {
    let by = format!("for {} by {}", signature.role, signature.signed_by.join(" and "));
    match (signature.counts, signature.missing) {
        (true, _) => by,
        (false, 0) => format!("{by}, which waits: {}", signature.waiting),
        (false, missing) => format!("{by}, which waits for {missing} more: {} may sign", may(signature)),
    }
}

fn may(signature: &v1::DocumentSignature) -> String {
    if signature.may_sign.is_empty() { "nobody".to_owned() } else { signature.may_sign.join(" or ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_standing_has_its_words() {
        let signature = |counts, by: &[&str], may: &[&str], missing| v1::DocumentSignature {
            role: "release".into(),
            counts,
            signed_by: by.iter().map(|name| (*name).to_owned()).collect(),
            may_sign: may.iter().map(|name| (*name).to_owned()).collect(),
            missing,
            waiting: "targets come first".into(),
        };
        let said = |one: v1::DocumentSignature| words(&[one], &[]);
        assert_eq!(said(signature(true, &["Ann", "Lou"], &[], 0)), "for release by Ann and Lou");
        assert_eq!(
            said(signature(false, &[], &["Ann", "Lou"], 1)),
            "by nobody yet; release is missing: Ann or Lou may sign"
        );
        assert_eq!(
            said(signature(false, &["Ann"], &["Lou"], 1)),
            "for release by Ann, which waits for 1 more: Lou may sign"
        );
        assert_eq!(said(signature(false, &["Ann"], &[], 0)), "for release by Ann, which waits: targets come first");
        assert_eq!((words(&[], &[]), words(&[], &["release".into()])), ("by nobody yet".into(), "by release".into()));
    }
}
