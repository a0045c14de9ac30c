//! Secrets out of everything that an adapter says, before anybody else reads it.

use std::sync::atomic::{AtomicBool, Ordering};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::secret::SecretText;

/// What stands where a secret stood.
const MARK: &str = "[secret]";
/// Shortest secret, bytes: a shorter one could not be told from other text, and so not be kept out of logs.
pub(crate) const SECRET_BYTES_MIN: usize = 4;

/// The forms in which the secrets of a call may appear.
pub(crate) struct Redactor {
    /// Longest first, so that one that holds another goes as a whole.
    forms: Vec<Zeroizing<String>>,
    /// One was found.
    found: AtomicBool,
}

impl Redactor {
    pub(crate) fn new<'s>(secrets: impl IntoIterator<Item = &'s SecretText>) -> Self {
        let mut forms: Vec<Zeroizing<String>> = Vec::new();
        for secret in secrets {
            let text = secret.expose();
            // As JSON writes it, and as it goes over many wires.
            let json = Zeroizing::new(Value::from(text).to_string());
            forms.push(Zeroizing::new(json.trim_matches('"').to_owned()));
            forms.push(Zeroizing::new(STANDARD.encode(text).trim_end_matches('=').to_owned()));
            forms.push(Zeroizing::new(text.to_owned()));
            // A key of many lines comes out line by line.
            if text.contains('\n') {
                forms.extend(text.lines().filter(|line| line.len() > 8).map(|line| Zeroizing::new(line.to_owned())));
            }
        }
        forms.retain(|form| form.len() >= SECRET_BYTES_MIN);
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        forms.dedup();
        Self { forms, found: AtomicBool::new(false) }
    }

    /// `text` without any secret.
    pub(crate) fn text(&self, text: &str) -> String {
        self.forms.iter().fold(text.to_owned(), |text, form| {
            if !text.contains(form.as_str()) {
                return text;
            }
            self.found.store(true, Ordering::Relaxed);
            text.replace(form.as_str(), MARK)
        })
    }

    /// Whether a secret was in anything that it looked through.
    pub(crate) fn has_found(&self) -> bool {
        self.found.load(Ordering::Relaxed)
    }

    /// A text that was cut off at its end: what may be the beginning of a secret goes too.
    pub(crate) fn cut(&self, text: &str) -> String {
        let text = self.text(text);
        let longest = self.forms.first().map_or(0, |form| form.len());
        let mut keep = text.len().saturating_sub(longest);
        while !text.is_char_boundary(keep) {
            keep -= 1;
        }
        text[..keep].to_owned()
    }

    /// Every text in `value`, names too.
    pub(crate) fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(fields) => {
                let old = std::mem::take(fields);
                for (name, mut value) in old {
                    self.value(&mut value);
                    fields.insert(self.text(&name), value);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_is_found_in_every_form_and_in_a_cut_text() {
        let secret = SecretText::new("hun\"ter2".to_owned());
        let redactor = Redactor::new([&secret]);
        let shown = redactor.text("login hun\"ter2; json hun\\\"ter2; base64 aHVuInRlcjI=; hunter");
        assert_eq!(shown, "login [secret]; json [secret]; base64 [secret]=; hunter");
        let mut value = json!({"a": ["x hun\"ter2"], "hun\"ter2": 1});
        redactor.value(&mut value);
        assert_eq!(value, json!({"a": ["x [secret]"], "[secret]": 1}));
        assert!(!redactor.cut("a long enough line, and then hun\"te").contains("hun"));
        assert_eq!(Redactor::new([]).text("as it is"), "as it is");
    }
}
