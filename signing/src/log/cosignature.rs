//! Cosignatures (<https://c2sp.org/tlog-cosignature>, `cosignature/v1`): a witness says that, as of a time, the largest
//! consistent tree that it has seen of a log has this root.

use super::{
    LogError,
    checkpoint::Checkpoint,
    note::{Note, NoteKey, NoteKind},
};
use crate::{PublicKey, Signer};

/// A site's node as a witness: its name, and the key with which it also signs reports. The two can't be mistaken for each
/// other: a report is signed as DSSE's "DSSEv1 …", a cosignature as "cosignature/v1\n…".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness(NoteKey);

impl Witness {
    /// The node of a site.
    ///
    /// # Errors
    /// [`LogError::KeyName`] for a site id that can't stand in a name.
    pub fn of_site(site: &str, key: PublicKey) -> Result<Self, LogError> {
        NoteKey::new(&format!("wardround/site/{site}"), NoteKind::CosignatureV1, key).map(Self)
    }

    /// Name in the signature line.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// For other programs that read notes.
    #[must_use]
    pub fn vkey(&self) -> String {
        self.0.vkey()
    }

    /// Cosigns; `at_s` in Unix seconds. `signer` must hold this witness's key.
    ///
    /// # Errors
    /// [`LogError::Sign`].
    pub fn cosign(&self, checkpoint: &Checkpoint, at_s: u64, signer: &dyn Signer) -> Result<Cosignature, LogError> {
        let text = checkpoint.text();
        let signature = signer.sign(message(&text, at_s).as_bytes())?;
        let bytes = [&at_s.to_be_bytes()[..], &signature].concat();
        let note = Note { text, signatures: vec![self.0.signature(&bytes)] }.write();
        Ok(Cosignature { checkpoint: checkpoint.clone(), at_s, note })
    }
}

fn message(text: &str, at_s: u64) -> String {
    format!("cosignature/v1\ntime {at_s}\n{text}")
}

/// A checkpoint with a witness's signature, verified. It says nothing of the log's own signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosignature {
    checkpoint: Checkpoint,
    at_s: u64,
    note: String,
}

impl Cosignature {
    /// Reads and verifies what came from elsewhere.
    ///
    /// # Errors
    /// [`LogError`] says what is wrong.
    pub fn open(bytes: &[u8], witness: &Witness) -> Result<Self, LogError> {
        let note = Note::parse(bytes)?;
        let checkpoint = Checkpoint::parse(&note.text)?;
        let altered = || LogError::Altered(witness.name().to_owned());
        let line = note.signed_by(&witness.0)?;
        let (time, signature) = line.split_first_chunk::<8>().ok_or_else(altered)?;
        let at_s = u64::from_be_bytes(*time);
        // "It MUST NOT exceed 2^63 - 1."
        if at_s > i64::MAX.unsigned_abs() || !witness.0.verifies(message(&note.text, at_s).as_bytes(), signature) {
            return Err(altered());
        }
        let own = Note { signatures: vec![witness.0.signature(line)], text: note.text };
        Ok(Self { checkpoint, at_s, note: own.write() })
    }

    /// What was cosigned.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// When, by the witness's clock, Unix seconds.
    #[must_use]
    pub fn at_s(&self) -> u64 {
        self.at_s
    }

    /// The note: the checkpoint's text with the witness's line alone.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }
}
