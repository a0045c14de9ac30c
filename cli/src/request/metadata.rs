//! A request of the root ceremony: new versions of root and targets beside those that stand.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wardround_signing::{
    Digest, Signer as _,
    tuf::{
        KeyHolder, Metadata, Moment, RoleName, Root, Rules, Signed, Standing, Targets, TufError, TufKey, TufKeyId,
        check_root, check_targets,
    },
};

use super::{Answer, SignedPart, reading::changed};
use crate::{
    ceremony::{changes, holdings, named, unusual, who},
    failure::Failure,
    signer::Person,
};

/// New versions to sign, and what they follow on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MetadataRequest {
    /// The new versions, unsigned.
    pub(crate) files: Vec<MetadataFile>,
    /// The signed root and targets that stand; empty for a first ceremony.
    #[serde(default)]
    pub(crate) present: Vec<MetadataFile>,
}

/// One file of metadata.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MetadataFile {
    pub(crate) role: RoleName,
    /// As in the repository: `{"signatures": […], "signed": {…}}`.
    pub(crate) file: Value,
}

impl MetadataFile {
    pub(crate) fn new(role: RoleName, bytes: &[u8]) -> Result<Self, Failure> {
        let file = serde_json::from_slice(bytes).map_err(|e| Failure::new(format!("{role} is no JSON: {e}")))?;
        Ok(Self { role, file })
    }
}

/// A request that was checked against the policy and against what stands.
pub(crate) struct Reviewed {
    /// "root 1 and targets 1".
    pub(crate) subject: String,
    pub(crate) lines: Vec<String>,
    standing: Option<Standing>,
    root: Option<Signed<Root>>,
    targets: Option<Signed<Targets>>,
    /// Who may sign the new root and the new targets.
    root_signers: Vec<KeyHolder>,
    targets_signers: Vec<KeyHolder>,
}

/// Checks a request: form, policy, versions, expiries, and that it follows on what stands.
pub(crate) fn review(request: &MetadataRequest, now: i64) -> Result<Reviewed, Failure> {
    let now = Moment::from_ms(now);
    let root: Option<Signed<Root>> = one(&request.files, RoleName::Root)?;
    let targets: Option<Signed<Targets>> = one(&request.files, RoleName::Targets)?;
    let old_root: Option<Signed<Root>> = one(&request.present, RoleName::Root)?;
    let old_targets: Option<Signed<Targets>> = one(&request.present, RoleName::Targets)?;
    match (old_root, old_targets) {
        (None, None) => review_first(root, targets, now),
        (Some(old_root), Some(old_targets)) => review_next(&old_root, &old_targets, root, targets, now),
        _ => Err(changed("ceremony", "of the root and targets that stand it brings only one")),
    }
}

/// The one file of a role; a second, or one of another role, is not signed unseen.
fn one<M: Metadata>(files: &[MetadataFile], role: RoleName) -> Result<Option<Signed<M>>, Failure> {
    if let Some(other) = files.iter().find(|f| !matches!(f.role, RoleName::Root | RoleName::Targets)) {
        let why = format!("it holds {} metadata, which this program does not sign by request", other.role);
        return Err(changed("ceremony", &why));
    }
    let mut found = files.iter().filter(|file| file.role == role);
    let (first, second) = (found.next(), found.next());
    if second.is_some() {
        return Err(changed("ceremony", &format!("it holds {role} metadata twice")));
    }
    let Some(first) = first else { return Ok(None) };
    let bytes = serde_json::to_vec(&first.file).map_err(|e| changed("ceremony", &e.to_string()))?;
    Signed::parse(role, &bytes).map(Some).map_err(|e| changed("ceremony", &e.to_string()))
}

fn review_first(
    root: Option<Signed<Root>>,
    targets: Option<Signed<Targets>>,
    now: Moment,
) -> Result<Reviewed, Failure> {
    let (Some(root), Some(targets)) = (root, targets) else {
        return Err(changed("ceremony", "a first one needs both root and targets"));
    };
    for (role, version, expires) in
        [("root", root.version(), root.expires()), ("targets", targets.version(), targets.expires())]
    {
        if version != 1 {
            return Err(changed("ceremony", &format!("{role} has version {version}, and no earlier one is beside it")));
        }
        if expires <= now {
            return Err(changed("ceremony", &format!("{role} expired at {expires}")));
        }
    }
    policy(root.metadata(), targets.metadata())?;
    let mut lines = vec!["ROOT CEREMONY: the first keys of this estate. Everything later rests on them.".to_owned()];
    lines.extend(told(root.metadata(), targets.metadata(), now));
    let root_signers = of_role(root.metadata(), RoleName::Root);
    let targets_signers = of_role(root.metadata(), RoleName::Targets);
    let subject = format!("root {} and targets {}", root.version(), targets.version());
    let (root, targets) = (Some(root), Some(targets));
    Ok(Reviewed { subject, lines, standing: None, root, targets, root_signers, targets_signers })
}

fn review_next(
    old_root: &Signed<Root>,
    old_targets: &Signed<Targets>,
    root: Option<Signed<Root>>,
    targets: Option<Signed<Targets>>,
    now: Moment,
) -> Result<Reviewed, Failure> {
    let refuse = |e: TufError| changed("ceremony", &e.to_string());
    let mut standing = Standing::begin(&old_root.to_bytes()).map_err(refuse)?;
    // What stands may have expired: renewing it is what a ceremony is for.
    standing.accept(RoleName::Targets, &old_targets.to_bytes(), Moment::EARLIEST).map_err(refuse)?;
    let mut what = Vec::new();
    let mut parts = Vec::new();
    let mut root_signers = Vec::new();
    let mut done = |role: RoleName, bytes: &[u8], version: u64| -> Result<(), Failure> {
        let update = standing.check(role, bytes, now).map_err(refuse)?;
        parts.push(format!("{role} {version}"));
        what.extend(changes(&update.changes));
        if role == RoleName::Root {
            root_signers.extend(update.signers.into_iter().chain(update.unsigned));
        }
        Ok(())
    };
    if let Some(root) = &root {
        done(RoleName::Root, &root.to_bytes(), root.version())?;
    }
    if let Some(targets) = &targets {
        // Whether its signatures are enough is asked when they are there: its people may be those of the new root.
        let bare = Signed::new(targets.metadata().clone()).map_err(refuse)?;
        done(RoleName::Targets, &bare.to_bytes(), targets.version())?;
    }
    if parts.is_empty() {
        return Err(changed("ceremony", "it holds nothing to sign"));
    }
    let next_root = root.as_ref().unwrap_or(old_root).metadata();
    let next_targets = targets.as_ref().unwrap_or(old_targets).metadata();
    policy(next_root, next_targets)?;
    if what.is_empty() {
        what.push("No key and no threshold changes: only the expiry is renewed.".to_owned());
    }
    let mut lines = vec![format!(
        "ROOT CEREMONY: {}, in place of root {} and targets {}.",
        parts.join(" and "),
        old_root.version(),
        old_targets.version()
    )];
    lines.push(String::new());
    lines.push("WHAT CHANGES".to_owned());
    lines.extend(what.iter().map(|line| format!("  {line}")));
    lines.push(format!("  The root that stands has SHA-256 {}: compare it with your paper.", old_root.digest().hex()));
    lines.extend(told(next_root, next_targets, now));
    let targets_signers = of_role(next_root, RoleName::Targets);
    let subject = parts.join(" and ");
    Ok(Reviewed { subject, lines, standing: Some(standing), root, targets, root_signers, targets_signers })
}

/// What is unusual, and who holds what afterwards.
fn told(root: &Root, targets: &Targets, now: Moment) -> Vec<String> {
    let unusual = unusual(root, targets, now);
    let mut lines = vec![String::new()];
    if unusual.is_empty() {
        lines.push("Nothing unusual was found.".to_owned());
    } else {
        lines.push("UNUSUAL, read this first".to_owned());
        lines.extend(unusual.iter().map(|line| format!("  ! {line}")));
    }
    lines.push(String::new());
    lines.push("WHO HOLDS WHAT FROM THEN ON".to_owned());
    lines.extend(holdings(root, targets).iter().map(|line| format!("  {line}")));
    lines
}

fn policy(root: &Root, targets: &Targets) -> Result<(), Failure> {
    let checked = check_root(root, Rules::Wardround).and_then(|()| check_targets(targets, root));
    checked.map_err(|e| changed("ceremony", &named(&e.to_string(), root, targets)))
}

fn of_role(root: &Root, role: RoleName) -> Vec<KeyHolder> {
    let holder = |id: &TufKeyId| root.keys.get(id).and_then(|key| key.holder.clone()).unwrap_or_default();
    root.keyids(role).iter().map(|id| KeyHolder { key: id.clone(), holder: holder(id) }).collect()
}

impl Reviewed {
    /// Name and SHA-256 of each new version's canonical form.
    pub(crate) fn digests(&self) -> Vec<(String, Digest)> {
        let root = self.root.iter().map(|file| (format!("root {}", file.version()), file.digest()));
        root.chain(self.targets.iter().map(|file| (format!("targets {}", file.version()), file.digest()))).collect()
    }

    /// Signs every file that this key may sign.
    pub(crate) fn sign(&self, person: &Person) -> Result<Vec<SignedPart>, Failure> {
        let id = TufKey::new(person.key.public(), None).id();
        let mut parts = Vec::new();
        if let Some(root) = self.root.as_ref().filter(|_| may(&self.root_signers, &id)) {
            parts.push(part("root", root, person)?);
        }
        if let Some(targets) = self.targets.as_ref().filter(|_| may(&self.targets_signers, &id)) {
            parts.push(part("targets", targets, person)?);
        }
        if parts.is_empty() {
            let mut people: Vec<String> = Vec::new();
            let root = self.root_signers.iter().filter(|_| self.root.is_some());
            for holder in root.chain(self.targets_signers.iter().filter(|_| self.targets.is_some())).map(who) {
                if !people.contains(&holder) {
                    people.push(holder);
                }
            }
            return Err(Failure::refused(format!(
                "{} (key {}) is not among those who may sign {}",
                person.name(),
                id.short(),
                self.subject
            ))
            .hint(format!("it can be signed by {}", people.join("; "))));
        }
        Ok(parts)
    }

    /// Adds a person's signatures.
    pub(crate) fn attach(&mut self, answer: &Answer) -> Result<(), Failure> {
        for part in &answer.signed {
            let signer = answer.signer_of(part)?;
            let other = |digest: Digest| {
                Failure::refused(format!(
                    "{} signed another {} than the one in this request",
                    answer.signer(),
                    part.what
                ))
                .hint(format!("its SHA-256 is {}, here it is {}", part.digest.hex(), digest.hex()))
            };
            let refuse = |e: TufError| Failure::refused(format!("{}: {e}", answer.signer())).hint(e.hint());
            match (part.what.as_str(), &mut self.root, &mut self.targets) {
                ("root", Some(file), _) if file.digest() == part.digest => file.sign(&signer).map_err(refuse)?,
                ("targets", _, Some(file)) if file.digest() == part.digest => file.sign(&signer).map_err(refuse)?,
                ("root", Some(file), _) => return Err(other(file.digest())),
                ("targets", _, Some(file)) => return Err(other(file.digest())),
                _ => {
                    return Err(Failure::refused(format!(
                        "{} signed {:?}, which this request does not hold",
                        answer.signer(),
                        part.what
                    )));
                }
            }
        }
        Ok(())
    }

    /// The files, when enough people have signed; else who is missing.
    pub(crate) fn complete(&self, now: i64) -> Result<Vec<(RoleName, u64, Vec<u8>)>, Failure> {
        let now = Moment::from_ms(now);
        let mut files = Vec::new();
        let mut standing = self.standing.clone();
        let mut missing = Vec::new();
        if let Some(root) = &self.root {
            let bytes = root.to_bytes();
            let accepted = match &mut standing {
                Some(standing) => standing.accept(RoleName::Root, &bytes, now).map(drop),
                none => Standing::begin(&bytes).map(|standing| *none = Some(standing)),
            };
            missing.extend(accepted.err().map(|e| self.lacking(RoleName::Root, root, &self.root_signers, &e)));
            files.push((RoleName::Root, root.version(), bytes));
        }
        if let Some(targets) = &self.targets {
            let bytes = targets.to_bytes();
            let accepted = match &mut standing {
                // Counted by its own signatures where the root is not complete yet, so that both are told at once.
                Some(standing) if missing.is_empty() => standing.accept(RoleName::Targets, &bytes, now).map(drop),
                _ => self.enough_targets(targets),
            };
            missing.extend(accepted.err().map(|e| self.lacking(RoleName::Targets, targets, &self.targets_signers, &e)));
            files.push((RoleName::Targets, targets.version(), bytes));
        }
        if missing.is_empty() {
            return Ok(files);
        }
        Err(Failure::refused(format!("{} can't be published yet", self.subject))
            .details(missing)
            .hint("have the missing people run `wardround sign` on the request, and assemble again with their answers"))
    }

    fn enough_targets(&self, targets: &Signed<Targets>) -> Result<(), TufError> {
        let role = RoleName::Targets;
        let threshold = self.root.as_ref().map_or(u64::MAX, |root| root.metadata().threshold(role));
        let found = targets.signatures().len() as u64;
        if found >= threshold {
            Ok(())
        } else {
            Err(TufError::Signatures { role: role.word().to_owned(), found, threshold })
        }
    }

    fn lacking<M: Metadata>(&self, role: RoleName, file: &Signed<M>, may: &[KeyHolder], error: &TufError) -> String {
        let TufError::Signatures { found, threshold, .. } = error else { return format!("{role}: {error}") };
        let (signed, open): (Vec<&KeyHolder>, Vec<&KeyHolder>) =
            may.iter().partition(|holder| file.signatures().iter().any(|s| s.keyid == holder.key));
        let list = |holders: &[&KeyHolder]| match holders {
            [] => "nobody".to_owned(),
            some => some.iter().map(|holder| who(holder)).collect::<Vec<_>>().join("; "),
        };
        format!(
            "{role} {}: {} more must sign; signed by {}; can still sign: {}",
            file.version(),
            threshold.saturating_sub(*found),
            list(&signed),
            list(&open)
        )
    }
}

fn may(signers: &[KeyHolder], id: &TufKeyId) -> bool {
    signers.iter().any(|holder| holder.key == *id)
}

pub(super) fn part<M: Metadata + Clone>(what: &str, file: &Signed<M>, person: &Person) -> Result<SignedPart, Failure> {
    let mut signed = file.clone();
    signed.sign(&person.key).map_err(|e| Failure::new(e.to_string()))?;
    let id = TufKey::new(person.key.public(), None).id();
    let signature = signed.signatures().iter().find(|s| s.keyid == id).map(|s| hex::decode(&s.sig));
    let signature = signature.and_then(Result::ok).ok_or_else(|| Failure::new("the signature was not kept"))?;
    Ok(SignedPart::new(what, file.digest(), &signature))
}
