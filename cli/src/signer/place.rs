//! Where a person's key is: in an encrypted file, or on a token that a PKCS#11 URI names (RFC 7512).

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::uri::TokenUri;

/// What `--key` names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum KeyPlace {
    /// An encrypted PKCS#8 file.
    File(PathBuf),
    /// A key on a token.
    Token(Box<TokenUri>),
}

impl KeyPlace {
    /// A relative path as seen from `folder`; a token is the same from everywhere.
    pub(crate) fn below(self, folder: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(folder.join(path)),
            token @ Self::Token(_) => token,
        }
    }
}

impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Token(uri) => uri.fmt(f),
        }
    }
}

impl FromStr for KeyPlace {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if TokenUri::looks_like(text) {
            text.parse().map(|uri| Self::Token(Box::new(uri)))
        } else {
            Ok(Self::File(PathBuf::from(text)))
        }
    }
}

impl TryFrom<String> for KeyPlace {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<KeyPlace> for String {
    fn from(place: KeyPlace) -> Self {
        place.to_string()
    }
}
