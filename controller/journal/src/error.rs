//! Everything that can go wrong with a journal, and the way out of it.

use std::{io, path::PathBuf};

/// Why the journal did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Too little free disk to take on new work.
    #[error("the disk under {} is nearly full: {free} bytes free, at least {floor} are needed", .dir.display())]
    Full {
        /// The journal's directory.
        dir: PathBuf,
        /// Bytes free for this process.
        free: u64,
        /// Bytes that must stay free.
        floor: u64,
    },
    /// The directory is in use.
    #[error("another process has the journal {} open", .dir.display())]
    Locked {
        /// The journal's directory.
        dir: PathBuf,
    },
    /// What was acknowledged once is no longer there as it was. Never mended silently.
    #[error("the journal is damaged at record {seq}: {why}")]
    Damaged {
        /// The first record concerned; 0 where it is the database as a whole.
        seq: u64,
        /// What was found.
        why: String,
    },
    /// Written by another version of this program.
    #[error("the journal has format {found}; this program reads format {supported}")]
    Format {
        /// In the journal.
        found: u32,
        /// [`crate::layout::FORMAT`].
        supported: u32,
    },
    /// Over a limit.
    #[error("{what} has {bytes} bytes; at most {max} are accepted")]
    TooLarge {
        /// A record, a snapshot, a side key or value.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// The caller asked for something that can't be.
    #[error("{0}")]
    Misuse(String),
    /// An earlier write or sync failed, so what the disk holds is unknown until the journal is opened again: after a failed
    /// sync the system may have dropped the data and report success the next time.
    #[error("the journal stopped taking records after a failed write ({why})")]
    Stopped {
        /// The earlier failure.
        why: String,
    },
    /// The operating system said no.
    #[error("can't {what}")]
    Io {
        /// As in "can't sync the journal".
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The database said no.
    #[error("can't {what}")]
    Store {
        /// As in "can't append to the journal".
        what: &'static str,
        /// Why.
        #[source]
        source: sled::Error,
    },
}

impl JournalError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Full { dir, .. } => format!(
                "make room on that disk; in an emergency remove {}, which is there for that",
                dir.join(crate::layout::BALLAST).display()
            ),
            Self::Locked { .. } => {
                "use the running controller's API instead, or stop that process first".to_owned()
            }
            Self::Damaged { .. } => {
                "keep a copy of the directory, check the disk, and restore the journal from a backup; nothing was changed"
                    .to_owned()
            }
            Self::Format { found, supported } if found > supported => {
                "start the newer version of wardround that wrote it".to_owned()
            }
            Self::Stopped { .. } => "check the disk, then restart the process".to_owned(),
            Self::Io { .. } | Self::Store { .. } => "check the disk and the directory's owner and permissions".to_owned(),
            Self::Format { .. } | Self::TooLarge { .. } | Self::Misuse(_) => return None,
        })
    }

    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    pub(crate) fn store(what: &'static str) -> impl FnOnce(sled::Error) -> Self {
        move |source| match source {
            sled::Error::Corruption { .. } => Self::Damaged { seq: 0, why: format!("can't {what}: {source}") },
            source => Self::Store { what, source },
        }
    }
}
