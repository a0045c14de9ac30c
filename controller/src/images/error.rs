//! Why metadata was not taken, or not published.

use wardround_signing::tuf::{RoleName, TufError};

use crate::core::CoreError;

/// Why metadata was not taken, or not published.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum ImageError {
    /// No ceremony yet.
    #[error("this controller has no image repository: nobody has said yet whose signatures count")]
    NoRoot,
    /// Not a role whose files people sign.
    #[error("{0:?} is not a role whose metadata people sign: expected root, targets, release or clinical")]
    Role(String),
    /// It breaks a rule, or its signatures do.
    #[error("{0}")]
    Refused(#[from] TufError),
    /// Nobody who may sign did.
    #[error("{role} version {version} carries no valid signature of a holder of {role}")]
    Unsigned {
        /// Role.
        role: RoleName,
        /// Version.
        version: u64,
    },
    /// Somebody was faster.
    #[error("another content is {state} as {role} version {version}{by}")]
    Conflict {
        /// Role.
        role: RoleName,
        /// Version.
        version: u64,
        /// "staged" or "published".
        state: &'static str,
        /// ", signed by Ann Lee".
        by: String,
    },
    /// The controller can't sign under that root, or would sign directives that nobody accepts.
    #[error("{file} names an online key for {role} that this controller does not hold: {key}")]
    NoOnlineKey {
        /// Which file.
        file: String,
        /// For what.
        role: RoleName,
        /// Key id, shortened.
        key: String,
    },
    /// People would sign for what nobody can fetch.
    #[error("{role} version {version} names {path}, and this controller holds {what}")]
    Document {
        /// Role.
        role: RoleName,
        /// Version.
        version: u64,
        /// Path.
        path: String,
        /// "no such document" or "another document under that name".
        what: &'static str,
    },
    /// A file is not what the journal says.
    #[error("{0} {1}: it is not what this controller published")]
    Damaged(String, &'static str),
    /// The file system said no.
    #[error("{0}")]
    Disk(String),
    /// It could not be written down.
    #[error(transparent)]
    Core(#[from] CoreError),
}

impl ImageError {
    /// The way out, one sentence.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::NoRoot => {
                "hold the root ceremony (`wardround root init`), then `wardround root import DIR` on the controller"
                    .into()
            }
            Self::Role(_) | Self::Core(_) => String::new(),
            Self::Refused(error) => error.hint().to_owned(),
            Self::Unsigned { role, .. } => format!("sign it with a key that holds the role {role}"),
            Self::Conflict { .. } => "fetch the present version and sign again".to_owned(),
            Self::NoOnlineKey { .. } => {
                "make keys on the controller (`wardround root online`), and sign metadata that names those".to_owned()
            }
            Self::Document { .. } => "import the patch or create the rollout first, then sign it".to_owned(),
            Self::Damaged(..) => "restore the folder images from a copy (docs/operations.md)".to_owned(),
            Self::Disk(_) => "check the data directory's owner, permissions and free space".to_owned(),
        }
    }
}
