//! Identifiers: validated once, typed ever after.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Longest identifier part, in bytes. DNS labels stop at 63, ODS codes at 5: enough for people, small for indexes.
pub const ID_LEN_MAX: usize = 63;

/// Why a string is no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a valid {what}: expected 1 to 63 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit"
)]
pub struct InvalidId {
    /// What kind of identifier was wanted.
    pub what: &'static str,
    /// What was given (at most 80 characters of it).
    pub text: String,
}

fn valid_part(text: &str, upper: bool) -> bool {
    let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || (upper && c.is_ascii_uppercase());
    !text.is_empty()
        && text.len() <= ID_LEN_MAX
        && text.starts_with(ok)
        && text.chars().all(|c| ok(c) || matches!(c, '.' | '_' | '-'))
}

/// Reads an id where it stands, without a copy of its text in between.
struct Text<T>(fn(&str) -> Result<T, InvalidId>);

impl<T> de::Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        self.0(text).map_err(E::custom)
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// Validates `text`.
            ///
            /// # Errors
            /// [`InvalidId`] when it is not of the form that [`ID_LEN_MAX`] and the character rules allow.
            pub fn new(text: &str) -> Result<Self, InvalidId> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidId { what: $what, text: text.chars().take(80).collect() })
                }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_str(Text(Self::new))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.to_string()
            }
        }
    };
}

fn two_parts(text: &str) -> bool {
    text.split_once('/').is_some_and(|(site, name)| valid_part(site, false) && valid_part(name, false))
}

id!(
    /// A place with an ODS-like code, in lower case ("rx1").
    SiteId, "site id", |t| valid_part(t, false)
);
id!(
    /// A device, "site/name": unique in the whole estate.
    DeviceId, "device id (site/name)", two_parts
);
id!(
    /// A clinical system, "site/name": unique in the whole estate.
    SystemId, "clinical system id (site/name)", two_parts
);
id!(
    /// A patch ("KB4500331").
    PatchId, "patch id", |t| valid_part(t, true)
);
id!(
    /// A variant of a patch, unique within it ("xp-x86-enu").
    VariantId, "variant id", |t| valid_part(t, true)
);
id!(
    /// A rollout.
    RolloutId, "rollout id", |t| valid_part(t, false)
);
id!(
    /// A wave, unique within its rollout ("canary").
    WaveName, "wave name", |t| valid_part(t, false)
);
id!(
    /// A redundancy group, unique within its site.
    GroupId, "redundancy group", |t| valid_part(t, false)
);

impl DeviceId {
    /// The site part.
    #[must_use]
    pub fn site(&self) -> SiteId {
        site_part(self.as_str())
    }
    /// The same as text, without a copy.
    #[must_use]
    pub fn site_text(&self) -> &str {
        site_text(self.as_str())
    }
    /// The part after the slash.
    #[must_use]
    pub fn name(&self) -> &str {
        self.as_str().split_once('/').map_or("", |(_, name)| name)
    }
}

impl SystemId {
    /// The site part.
    #[must_use]
    pub fn site(&self) -> SiteId {
        site_part(self.as_str())
    }
}

fn site_part(text: &str) -> SiteId {
    SiteId(site_text(text).into())
}

fn site_text(text: &str) -> &str {
    // Validated at construction: there is exactly one slash.
    text.split_once('/').map_or(text, |(site, _)| site)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_validated() {
        assert_eq!(SiteId::new("rx1").unwrap().as_str(), "rx1");
        for bad in ["", "RX1", "-a", "a b", "a/b", &"a".repeat(64)] {
            assert!(SiteId::new(bad).is_err(), "{bad}");
        }
        let device = DeviceId::new("rx1/ct-01").unwrap();
        assert_eq!((device.site().as_str(), device.name()), ("rx1", "ct-01"));
        for bad in ["rx1", "rx1/", "/x", "a/b/c"] {
            assert!(DeviceId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bad_id_in_json_names_itself() {
        let error = serde_json::from_str::<SiteId>("\"No!\"").unwrap_err().to_string();
        assert!(error.contains("\"No!\" is not a valid site id"), "{error}");
    }
}
