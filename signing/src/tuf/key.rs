//! Keys as TUF metadata writes them (TUF 1.0.34, section 4.2.1; securesystemslib for the ids).

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{canonical, metadata::Unknown};
use crate::{Digest, InvalidKey, PublicKey};

/// Id of a key in metadata: SHA-256 of the canonical JSON of its type, value and scheme, hex. (DSSE envelopes use
/// [`crate::KeyId`], the hash of the raw key.)
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TufKeyId(String);

impl TufKeyId {
    /// An id as somebody wrote it. It names a key; it proves nothing.
    #[must_use]
    pub fn claimed(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for TufKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TufKeyValue {
    /// The raw key in hex.
    pub public: String,
    /// Kept as it is.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// A key object. Whether it is a good key is the policy's question ([`super::policy`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TufKey {
    /// "ed25519".
    pub keytype: String,
    /// "ed25519".
    pub scheme: String,
    /// The value.
    pub keyval: TufKeyValue,
    /// Who holds it.
    #[serde(rename = "x-wardround-holder", default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// Kept as it is.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl TufKey {
    /// The object of a key. Online keys need no holder.
    #[must_use]
    pub fn new(key: PublicKey, holder: Option<&str>) -> Self {
        Self {
            keytype: "ed25519".to_owned(),
            scheme: "ed25519".to_owned(),
            keyval: TufKeyValue { public: hex::encode(key.to_bytes()), unknown: Unknown::new() },
            holder: holder.map(str::to_owned),
            unknown: Unknown::new(),
        }
    }

    /// Its id, computed.
    #[must_use]
    pub fn id(&self) -> TufKeyId {
        let object = json!({
            "keytype": self.keytype,
            "keyval": {"public": self.keyval.public},
            "scheme": self.scheme,
        });
        // Strings alone always have a canonical form.
        TufKeyId(Digest::of(&canonical(&object).unwrap_or_default()).hex())
    }

    /// The key, if it is an Ed25519 key in its one spelling.
    ///
    /// # Errors
    /// [`InvalidKey`] for any other type, scheme or spelling, and for weak keys.
    pub fn public_key(&self) -> Result<PublicKey, InvalidKey> {
        let ed25519 = self.keytype == "ed25519" && self.scheme == "ed25519" && self.keyval.unknown.is_empty();
        let lower = self.keyval.public.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !ed25519 || !lower {
            return Err(InvalidKey::Metadata);
        }
        PublicKey::from_bytes(&hex::decode(&self.keyval.public).map_err(|_| InvalidKey::Metadata)?)
    }
}
