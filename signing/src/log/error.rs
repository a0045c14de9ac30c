//! What is wrong with something of a log.

/// Why bytes are not what a log or a witness would have written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Not a signed note.
    #[error("not a signed note: {0}")]
    Note(&'static str),
    /// Not a name for a key.
    #[error("{0:?} can't name a key: it must not be empty nor hold spaces, control characters or '+'")]
    KeyName(String),
    /// Not a verifier key.
    #[error("not a verifier key: {0}")]
    VerifierKey(&'static str),
    /// The text of the note is no checkpoint.
    #[error("not a checkpoint: {0}")]
    Checkpoint(&'static str),
    /// A checkpoint of another log.
    #[error("the checkpoint is of the log {found:?}, not of {expected:?}")]
    Origin {
        /// As it says.
        found: String,
        /// As wanted.
        expected: String,
    },
    /// The key has not signed it.
    #[error("{0} has not signed it")]
    Unsigned(String),
    /// There is a signature under that key, and it does not verify.
    #[error("the signature of {0} does not verify")]
    Altered(String),
    /// The key did not sign.
    #[error(transparent)]
    Sign(#[from] crate::SignError),
    /// Not a path of a tile.
    #[error("{0:?} is not the path of a tile or an entry bundle")]
    Path(String),
    /// Bytes of another length or form.
    #[error("not an entry bundle: {0}")]
    Bundle(&'static str),
    /// Bytes of another length.
    #[error("not a tile of {width} hashes: it has {bytes} bytes")]
    Tile {
        /// Hashes wanted.
        width: u16,
        /// Bytes there.
        bytes: usize,
    },
    /// An entry that does not fit.
    #[error("an entry has {0} bytes; at most {max} fit", max = super::ENTRY_BYTES_MAX)]
    Entry(usize),
}
