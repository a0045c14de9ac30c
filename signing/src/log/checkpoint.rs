//! Checkpoints (<https://c2sp.org/tlog-checkpoint>): a log's size and root, signed by its key.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::{
    LogError,
    note::{self, Note, NoteKey, NoteKind},
};
use crate::{Digest, PublicKey, SignError, Signer};

/// What every log's origin begins with; the key in hex follows.
const ORIGIN_PREFIX: &str = "wardround/log/";

/// The key of a log. Its origin and its name are one and hold the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogKey(NoteKey);

impl LogKey {
    /// The log whose key this is.
    ///
    /// # Errors
    /// None that can be met: the origin is a valid name.
    pub fn new(key: PublicKey) -> Result<Self, LogError> {
        let origin = format!("{ORIGIN_PREFIX}{}", hex::encode(key.to_bytes()));
        NoteKey::new(&origin, NoteKind::Ed25519, key).map(Self)
    }

    /// The key that an origin names. That it is the key of the log that is meant has to be known from elsewhere.
    ///
    /// # Errors
    /// [`LogError::Checkpoint`] for an origin of another form.
    pub fn claimed_by(origin: &str) -> Result<Self, LogError> {
        let bad = LogError::Checkpoint("its origin is not that of a wardround log");
        let digits = origin.strip_prefix(ORIGIN_PREFIX).ok_or_else(|| bad.clone())?;
        let bytes = hex::decode(digits).map_err(|_| bad.clone())?;
        let key = Self::new(PublicKey::from_bytes(&bytes).map_err(|_| bad.clone())?)?;
        // Upper-case digits would be a second origin of the same key.
        if key.origin() == origin { Ok(key) } else { Err(bad) }
    }

    /// First line of its checkpoints.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.0.name()
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        self.0.key()
    }

    /// For other programs that read notes.
    #[must_use]
    pub fn vkey(&self) -> String {
        self.0.vkey()
    }
}

/// Size and root of a log at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Digest,
}

impl Checkpoint {
    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root.as_bytes()))
    }

    /// Reads the text. Extension lines are refused: our logs write none, and nobody could say what they mean.
    pub(super) fn parse(text: &str) -> Result<Self, LogError> {
        let bad = LogError::Checkpoint;
        let lines: Vec<&str> = text.strip_suffix('\n').unwrap_or(text).split('\n').collect();
        let &[origin, size, root] = lines.as_slice() else {
            return Err(bad("it has not exactly three lines"));
        };
        let size = size.parse::<u64>().map_err(|_| bad("its size is not a number"))?;
        let root = BASE64.decode(root).map_err(|_| bad("its root is not base64"))?;
        let root = Digest::from_slice(&root).map_err(|_| bad("its root has not 32 bytes"))?;
        let checkpoint = Self { origin: origin.to_owned(), size, root };
        // "+5", "05" and the like: there is one spelling only.
        if origin.is_empty() || checkpoint.text() != text {
            return Err(bad("it is not in its one canonical form"));
        }
        Ok(checkpoint)
    }
}

/// A checkpoint with its log's signature, verified. It can be made in no other way than by the methods here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: String,
}

impl SignedCheckpoint {
    /// Signs size and root with the log's key.
    ///
    /// # Errors
    /// [`LogError::Sign`].
    pub fn sign(size: u64, root: Digest, signer: &dyn Signer) -> Result<Self, LogError> {
        let key = LogKey::new(signer.public())?;
        let checkpoint = Checkpoint { origin: key.origin().to_owned(), size, root };
        let note = note::sign(&checkpoint.text(), &key.0, signer).map_err(|e: SignError| LogError::Sign(e))?;
        Ok(Self { checkpoint, note: note.write() })
    }

    /// Reads and verifies what came from elsewhere. Signatures of others under it are ignored and left out.
    ///
    /// # Errors
    /// [`LogError`] says what is wrong: form, another log, no or a wrong signature.
    pub fn open(bytes: &[u8], key: &LogKey) -> Result<Self, LogError> {
        let note = Note::parse(bytes)?;
        let checkpoint = Checkpoint::parse(&note.text)?;
        if checkpoint.origin != key.origin() {
            return Err(LogError::Origin { found: checkpoint.origin, expected: key.origin().to_owned() });
        }
        let signature = note.signed_by(&key.0)?;
        if !key.0.verifies(note.text.as_bytes(), signature) {
            return Err(LogError::Altered(key.origin().to_owned()));
        }
        let own = Note { signatures: vec![key.0.signature(signature)], text: note.text };
        Ok(Self { checkpoint, note: own.write() })
    }

    /// The origin of a note, unverified: to say of which log something is before its key is known.
    ///
    /// # Errors
    /// [`LogError`] when it is no checkpoint.
    pub fn claimed_origin(bytes: &[u8]) -> Result<String, LogError> {
        Ok(Checkpoint::parse(&Note::parse(bytes)?.text)?.origin)
    }

    /// What was signed.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Number of entries.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.checkpoint.size
    }

    /// Root of the tree.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.checkpoint.root
    }

    /// The signed note, as written to files and the wire.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }
}
