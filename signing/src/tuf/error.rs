//! Why metadata does not count.

use super::{Moment, PolicyError, RoleName};
use crate::{AnchorError, SignError};

/// Why metadata was refused, or could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TufError {
    /// More bytes than the file may have: endless data.
    #[error("{what} has {bytes} bytes or more; at most {max} are read")]
    TooLarge {
        /// File.
        what: String,
        /// As many as were seen.
        bytes: u64,
        /// Limit.
        max: u64,
    },
    /// Not what such a file looks like.
    #[error("{what} can't be read: {why}")]
    Form {
        /// File.
        what: String,
        /// Why.
        why: String,
    },
    /// Signed or not, it breaks a rule.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Nobody signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Too few valid signatures.
    #[error("{role} metadata carries {found} of the {threshold} valid signatures that it needs")]
    Signatures {
        /// Role.
        role: String,
        /// Valid ones.
        found: u64,
        /// Needed.
        threshold: u64,
    },
    /// Its time is over: withheld news, or a controller that does not publish.
    #[error("{role} metadata expired at {at}")]
    Expired {
        /// Role.
        role: String,
        /// When.
        at: String,
    },
    /// Older than what was seen before.
    #[error("{role} metadata of version {found} was offered, but version {seen} was seen before: a rollback")]
    Rollback {
        /// Role.
        role: String,
        /// Highest version seen.
        seen: u64,
        /// Offered.
        found: u64,
    },
    /// Not the version that comes next.
    #[error("{role} metadata of version {found} does not follow on version {present}")]
    Version {
        /// Role.
        role: String,
        /// Present version; 0 for none.
        present: u64,
        /// Offered.
        found: u64,
    },
    /// A file that is not the pinned one: mixed and matched, or changed on the way.
    #[error("{0}: not the file that the metadata above it pins")]
    Pin(String),
    /// A file that must be there is not.
    #[error("{0} is missing in the repository")]
    Missing(String),
    /// A new version gives a path that people signed for before another content.
    #[error("{role} metadata changes {path:?}, which was signed before: a signed document never changes")]
    Changed {
        /// Role.
        role: RoleName,
        /// Path.
        path: String,
    },
    /// The pinned root is another one.
    #[error("root metadata of version {0} is not the one that this program trusts")]
    OtherRoot(u64),
    /// The keys make no trust anchor.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// Fetching failed.
    #[error("{name} can't be fetched: {why}")]
    Fetch {
        /// File.
        name: String,
        /// Why.
        why: String,
    },
    /// Anything else that the client refuses.
    #[error("the metadata is refused: {0}")]
    Refused(String),
    /// Another part of this program installed other cryptography for the TUF client.
    #[error("another cryptography provider is installed in this process, so the TUF client is not used")]
    Provider,
}

impl TufError {
    /// The way out, for people.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Policy(_) | Self::Anchor(_) => {
                "have the people who signed it sign a corrected version (wardround root rotate)"
            }
            Self::Signatures { .. } | Self::Sign(_) => "have the missing people sign this very version",
            Self::Expired { .. } => {
                "the controller renews snapshot and timestamp by itself; root, targets, release and clinical are renewed by signing a new version"
            }
            Self::Rollback { .. } | Self::Pin(_) | Self::Refused(_) | Self::TooLarge { .. } | Self::Form { .. } => {
                "treat it as an attack until it is explained: compare the controller's repository with another copy"
            }
            Self::Version { .. } => "build the new version from the present one",
            Self::Changed { .. } => "give the changed document a new id or version",
            Self::Missing(_) | Self::Fetch { .. } => "check that the controller is reachable and has published",
            Self::OtherRoot(_) => "enrol again, or compare the root's hash with the people who hold its keys",
            Self::Provider => "this is a fault of the program: report it",
        }
    }

    pub(super) fn expired(role: RoleName, at: Moment) -> Self {
        Self::Expired { role: role.word().to_owned(), at: at.to_string() }
    }
}
