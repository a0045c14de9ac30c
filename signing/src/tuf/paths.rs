//! Paths of targets: `patches/<id>.json` and `rollouts/<id>.<version>.json`.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Target, metadata::Unknown};
use crate::Digest;

/// Longest path, bytes.
pub const PATH_BYTES_MAX: usize = 200;
/// Largest document that is named, bytes: that of a rollout over a whole estate.
pub const TARGET_BYTES_MAX: u64 = 1 << 30;

/// What a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A patch document.
    Patch,
    /// A rollout document.
    Rollout,
}

impl Kind {
    /// The word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Patch => "patch",
            Self::Rollout => "rollout",
        }
    }

    const fn folder(self) -> &'static str {
        match self {
            Self::Patch => "patches/",
            Self::Rollout => "rollouts/",
        }
    }

    /// The kind of a path, by its folder.
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        [Self::Patch, Self::Rollout].into_iter().find(|kind| path.starts_with(kind.folder()))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Why a target is none of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// The path.
    #[error(
        "a path is patches/ID.json or rollouts/ID.VERSION.json, of letters, digits, '-', '_' and '.', at most {PATH_BYTES_MAX} bytes"
    )]
    Form,
    /// No SHA-256.
    #[error("it needs a sha256 of 64 lower-case hex digits")]
    NoHash,
    /// Too long.
    #[error("it has {0} bytes; at most {TARGET_BYTES_MAX} are accepted")]
    TooLong(u64),
    /// Its kind and its folder differ.
    #[error("its custom part does not say that it is what its folder says")]
    Kind,
}

/// The path of a patch document.
///
/// # Errors
/// [`InvalidPath::Form`] for an id that can't be a file's name.
pub fn patch_path(id: &str) -> Result<String, InvalidPath> {
    let path = format!("patches/{id}.json");
    check_path(&path).map(|()| path)
}

/// The path of a rollout document; an amendment has the next version, and the first has 1.
///
/// # Errors
/// [`InvalidPath::Form`] for an id that can't be a file's name.
pub fn rollout_path(id: &str, version: u64) -> Result<String, InvalidPath> {
    let path = format!("rollouts/{id}.{version}.json");
    check_path(&path).map(|()| path)
}

/// Only harmless names: a path becomes a file's name and part of a glob match.
pub(super) fn check_path(path: &str) -> Result<(), InvalidPath> {
    let harmless = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    let kind = Kind::of(path).ok_or(InvalidPath::Form)?;
    let name = path.strip_prefix(kind.folder()).and_then(|name| name.strip_suffix(".json")).unwrap_or_default();
    let whole =
        path.len() <= PATH_BYTES_MAX && !name.is_empty() && !name.starts_with('.') && name.bytes().all(harmless);
    let versioned = || {
        let (id, version) = name.rsplit_once('.')?;
        (!id.is_empty() && version.parse::<u64>().ok()? >= 1 && !version.starts_with(['0', '+'])).then_some(())
    };
    let fits = whole && (kind == Kind::Patch || versioned().is_some());
    if fits { Ok(()) } else { Err(InvalidPath::Form) }
}

impl Target {
    /// The target of a document's bytes.
    #[must_use]
    pub fn of(bytes: &[u8], kind: Kind) -> Self {
        Self {
            length: bytes.len() as u64,
            hashes: [("sha256".to_owned(), Digest::of(bytes).hex())].into(),
            custom: Some(json!({"wardround": {"kind": kind.word()}})),
            unknown: Unknown::new(),
        }
    }

    /// Its SHA-256.
    ///
    /// # Errors
    /// [`InvalidPath::NoHash`], [`InvalidPath::TooLong`].
    pub fn sha256(&self) -> Result<Digest, InvalidPath> {
        if self.length > TARGET_BYTES_MAX {
            return Err(InvalidPath::TooLong(self.length));
        }
        let hex = self.hashes.get("sha256").ok_or(InvalidPath::NoHash)?;
        format!("sha256:{hex}").parse().map_err(|_| InvalidPath::NoHash)
    }

    /// Its kind, if the custom part says what the folder of `path` says.
    ///
    /// # Errors
    /// [`InvalidPath::Form`], [`InvalidPath::Kind`].
    pub fn kind(&self, path: &str) -> Result<Kind, InvalidPath> {
        check_path(path)?;
        let kind = Kind::of(path).ok_or(InvalidPath::Form)?;
        let said = self.custom.as_ref().and_then(|custom| custom.get("wardround")?.get("kind").and_then(Value::as_str));
        if said == Some(kind.word()) { Ok(kind) } else { Err(InvalidPath::Kind) }
    }
}
