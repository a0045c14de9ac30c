//! PKCS#11 URIs (RFC 7512), as far as they name one key: `pkcs11:token=ward;object=ann?module-path=/usr/lib/x.so`.

use std::{fmt, path::PathBuf, str::FromStr};

/// Longest URI, bytes. Labels of tokens have 32 bytes, a path has at most some hundreds.
const BYTES_MAX: usize = 4096;
const SCHEME: &str = "pkcs11:";

/// A key on a token, by the attributes that were given. Every one that is there must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TokenUri {
    /// As it was written.
    text: String,
    pub(crate) token: Option<String>,
    pub(crate) serial: Option<String>,
    pub(crate) manufacturer: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) slot: Option<u64>,
    /// The key's label.
    pub(crate) object: Option<String>,
    /// The key's CKA_ID.
    pub(crate) id: Option<Vec<u8>>,
    /// The vendor's library.
    pub(crate) module: Option<PathBuf>,
    /// A file that holds the PIN.
    pub(crate) pin_file: Option<PathBuf>,
}

impl TokenUri {
    /// The scheme is not case-sensitive (RFC 3986, section 3.1).
    pub(crate) fn looks_like(text: &str) -> bool {
        text.get(..SCHEME.len()).is_some_and(|start| start.eq_ignore_ascii_case(SCHEME))
    }

    /// `key "ann" on token "ward"`.
    pub(crate) fn words(&self) -> String {
        let key = match (&self.object, &self.id) {
            (Some(label), _) => format!("key {label:?}"),
            (None, Some(id)) => format!("key with id {}", hex::encode(id)),
            (None, None) => "the key".to_owned(),
        };
        format!("{key} on {}", self.token_words())
    }

    /// `token "ward"`.
    pub(crate) fn token_words(&self) -> String {
        match (&self.token, &self.serial, self.slot) {
            (Some(label), ..) => format!("token {label:?}"),
            (None, Some(serial), _) => format!("the token with serial number {serial:?}"),
            (None, None, Some(slot)) => format!("the token in slot {slot}"),
            (None, None, None) => "the token".to_owned(),
        }
    }

    fn set(&mut self, name: &str, value: Vec<u8>) -> Result<(), String> {
        let text = || String::from_utf8(value.clone()).map_err(|_| format!("{name} is not UTF-8"));
        match name {
            "token" => self.token = Some(text()?),
            "serial" => self.serial = Some(text()?),
            "manufacturer" => self.manufacturer = Some(text()?),
            "model" => self.model = Some(text()?),
            "slot-id" => {
                self.slot = Some(text()?.parse().map_err(|_| "slot-id is not a number".to_owned())?);
            }
            "object" => self.object = Some(text()?),
            "id" => self.id = Some(value),
            // Both halves of a pair carry the same label and id; the type is ours to choose.
            "type" if matches!(value.as_slice(), b"private" | b"public") => {}
            "type" => return Err("type must be private".to_owned()),
            "module-path" => self.module = Some(text()?.into()),
            "pin-source" => {
                let source = text()?;
                let path = source.strip_prefix("file:").unwrap_or(&source);
                self.pin_file = Some(path.strip_prefix("//").unwrap_or(path).into());
            }
            "pin-value" => {
                return Err("pin-value is refused: a command line can be read by anyone on the machine; \
                            use pin-source=file:PATH, WARDROUND_PIN, or type it"
                    .to_owned());
            }
            other => return Err(format!("the attribute {other:?} is not known here")),
        }
        Ok(())
    }
}

impl FromStr for TokenUri {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: String| format!("not a PKCS#11 URI for a key: {why}");
        if text.len() > BYTES_MAX {
            return Err(wrong(format!("longer than {BYTES_MAX} bytes")));
        }
        if !Self::looks_like(text) {
            return Err(wrong(format!("it does not begin with {SCHEME}")));
        }
        let rest = &text[SCHEME.len()..];
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut uri = Self { text: text.to_owned(), ..Self::default() };
        let mut seen = Vec::new();
        let parts = path.split(';').chain(query.split('&')).filter(|part| !part.is_empty());
        for part in parts {
            let (name, value) = part.split_once('=').ok_or_else(|| wrong(format!("{part:?} has no value")))?;
            if seen.contains(&name) {
                return Err(wrong(format!("{name} stands twice")));
            }
            seen.push(name);
            let value = decoded(value).ok_or_else(|| wrong(format!("{name} has a broken %-escape")))?;
            uri.set(name, value).map_err(wrong)?;
        }
        if uri.object.is_none() && uri.id.is_none() && uri.token.is_none() && uri.serial.is_none() && uri.slot.is_none()
        {
            return Err(wrong("it names neither token nor key: pkcs11:token=LABEL;object=KEY".to_owned()));
        }
        Ok(uri)
    }
}

impl fmt::Display for TokenUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// %-escapes (RFC 3986, section 2.1).
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        out.push(u8::try_from(value).ok()?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_token_key_module_and_pin_file() {
        let uri: TokenUri =
            "PKCS11:token=The%20Ward;serial=01;object=ann;id=%01%aF;type=private?module-path=/usr/lib/x.so&pin-source=file:///p"
                .parse()
                .unwrap();
        assert_eq!(uri.token.as_deref(), Some("The Ward"));
        assert_eq!((uri.serial.as_deref(), uri.object.as_deref()), (Some("01"), Some("ann")));
        assert_eq!(uri.id, Some(vec![1, 0xaf]));
        assert_eq!(uri.module, Some("/usr/lib/x.so".into()));
        assert_eq!(uri.pin_file, Some("/p".into()));
        assert_eq!(uri.words(), "key \"ann\" on token \"The Ward\"");
        assert_eq!("pkcs11:token=a?pin-source=p/q".parse::<TokenUri>().unwrap().pin_file, Some("p/q".into()));
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (text, word) in [
            ("pkcs11:", "neither token nor key"),
            ("pkcs11:token=a;token=b", "token stands twice"),
            ("pkcs11:token=a;object=%0", "object has a broken"),
            ("pkcs11:token=a;object=%zz", "object has a broken"),
            ("pkcs11:token=%ff", "token is not UTF-8"),
            ("pkcs11:token=a;colour=red", "\"colour\" is not known"),
            ("pkcs11:token=a;type=cert", "type must be private"),
            ("pkcs11:token=a;slot-id=x", "slot-id is not a number"),
            ("pkcs11:token", "\"token\" has no value"),
            ("pkcs11:token=a?pin-value=1234", "pin-value is refused"),
        ] {
            let refused = text.parse::<TokenUri>().unwrap_err();
            assert!(refused.contains(word), "{text}: {refused}");
        }
        assert!(format!("pkcs11:token={}", "a".repeat(BYTES_MAX)).parse::<TokenUri>().is_err());
    }
}
