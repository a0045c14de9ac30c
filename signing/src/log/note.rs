//! Signed notes (<https://c2sp.org/signed-note>): a text and signature lines under it.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::LogError;
use crate::{Digest, PublicKey, SignError, Signer};

/// Longest note that is read, bytes: a checkpoint has some 250, and 16 signatures, which everyone must read, some 200 each.
pub const NOTE_BYTES_MAX: usize = 16 * 1024;
/// Most signature lines; the specification demands at least 16.
const SIGNATURES_MAX: usize = 64;
/// Longest name of a key, bytes.
const NAME_BYTES_MAX: usize = 256;

/// What a key signs ("Signature types" of the specification).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoteKind {
    /// The text of the note.
    Ed25519,
    /// `cosignature/v1`: a time and the text.
    CosignatureV1,
}

impl NoteKind {
    fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::CosignatureV1 => 0x04,
        }
    }
}

/// A key with the name under which it signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteKey {
    name: String,
    kind: NoteKind,
    key: PublicKey,
}

impl NoteKey {
    /// A key under a name.
    ///
    /// # Errors
    /// [`LogError::KeyName`].
    pub fn new(name: &str, kind: NoteKind, key: PublicKey) -> Result<Self, LogError> {
        if !valid_name(name) {
            return Err(LogError::KeyName(name.to_owned()));
        }
        Ok(Self { name: name.to_owned(), kind, key })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// SHA-256(name ‖ 0x0A ‖ signature type ‖ key)\[:4\].
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        let text = [self.name.as_bytes(), b"\n", &[self.kind.byte()], &self.key.to_bytes()].concat();
        let [a, b, c, d, ..] = *Digest::of(&text).as_bytes();
        [a, b, c, d]
    }

    /// Verifier key: name, id and key as one text, for other programs.
    #[must_use]
    pub fn vkey(&self) -> String {
        let material = [&[self.kind.byte()][..], &self.key.to_bytes()].concat();
        format!("{}+{}+{}", self.name, hex::encode(self.id()), BASE64.encode(material))
    }

    /// From a verifier key.
    ///
    /// # Errors
    /// [`LogError::VerifierKey`], also when the id is not that of the name and the key.
    pub fn parse(vkey: &str) -> Result<Self, LogError> {
        let bad = LogError::VerifierKey;
        // The base64 part may hold a '+' of its own.
        let mut parts = vkey.trim_end().splitn(3, '+');
        let (Some(name), Some(id), Some(material)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad("it has not the form NAME+ID+KEY"));
        };
        let material = BASE64.decode(material).map_err(|_| bad("its key is not base64"))?;
        let kind = match material.first() {
            Some(0x01) => NoteKind::Ed25519,
            Some(0x04) => NoteKind::CosignatureV1,
            _ => return Err(bad("its signature type is unknown")),
        };
        let key = PublicKey::from_bytes(&material[1..]).map_err(|_| bad("its key is no acceptable Ed25519 key"))?;
        let key = Self::new(name, kind, key)?;
        if hex::encode(key.id()) != id {
            return Err(bad("its id is not that of its name and key"));
        }
        Ok(key)
    }

    /// The line that signs a note with `bytes`.
    pub(super) fn signature(&self, bytes: &[u8]) -> NoteSignature {
        NoteSignature { name: self.name.clone(), id: self.id(), bytes: bytes.to_vec() }
    }

    /// Strict verification of 64 bytes over `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verifies(message, signature)
    }
}

fn valid_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// Name of the key.
    pub name: String,
    /// Id of the key.
    pub id: [u8; 4],
    /// What follows the id: for Ed25519 64 bytes, for a cosignature 8 of time and 64.
    pub bytes: Vec<u8>,
}

impl NoteSignature {
    fn is_of(&self, key: &NoteKey) -> bool {
        // The name and the id together name a key; one of them alone is somebody else's.
        self.name == key.name && self.id == key.id()
    }
}

/// A note as it is written; nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The text, ended by a line feed.
    pub text: String,
    /// In order.
    pub signatures: Vec<NoteSignature>,
}

impl Note {
    /// Reads a note, strictly.
    ///
    /// # Errors
    /// [`LogError::Note`].
    pub fn parse(bytes: &[u8]) -> Result<Self, LogError> {
        let bad = LogError::Note;
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(bad("it is too long"));
        }
        let note = std::str::from_utf8(bytes).map_err(|_| bad("it is not UTF-8"))?;
        if note.bytes().any(|b| b < 0x20 && b != b'\n') {
            return Err(bad("it holds control characters"));
        }
        // The last empty line separates the text, which may hold empty lines, from the signatures.
        let split = note.rfind("\n\n").ok_or(bad("no empty line separates text and signatures"))?;
        let (text, lines) = (&note[..=split], &note[split + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(bad("it does not end in a line feed"))?;
        let signatures = lines.split('\n').map(read_line).collect::<Result<Vec<_>, _>>()?;
        if signatures.len() > SIGNATURES_MAX {
            return Err(bad("it has too many signatures"));
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// As it is written.
    #[must_use]
    pub fn write(&self) -> String {
        let mut note = format!("{}\n", self.text);
        for signature in &self.signatures {
            let bytes = [&signature.id[..], &signature.bytes].concat();
            let _ = writeln!(note, "\u{2014} {} {}", signature.name, BASE64.encode(bytes));
        }
        note
    }

    /// The bytes that `key` has put under it, of which the caller verifies that they sign it. Lines of others are ignored.
    pub(super) fn signed_by(&self, key: &NoteKey) -> Result<&[u8], LogError> {
        let mut own = self.signatures.iter().filter(|s| s.is_of(key));
        let first = own.next().ok_or_else(|| LogError::Unsigned(key.name.clone()))?;
        // Which of two would count is left to nobody's choice.
        if own.next().is_some() { Err(LogError::Note("one key has signed it twice")) } else { Ok(&first.bytes) }
    }
}

fn read_line(line: &str) -> Result<NoteSignature, LogError> {
    let bad = LogError::Note;
    let rest = line.strip_prefix("\u{2014} ").ok_or(bad("a signature line does not begin with a dash"))?;
    let (name, encoded) = rest.split_once(' ').ok_or(bad("a signature line lacks its signature"))?;
    if !valid_name(name) {
        return Err(bad("a signature line has no valid name"));
    }
    let bytes = BASE64.decode(encoded).map_err(|_| bad("a signature is not base64"))?;
    let (id, bytes) = bytes.split_first_chunk::<4>().ok_or(bad("a signature is too short"))?;
    if bytes.is_empty() {
        return Err(bad("a signature is too short"));
    }
    Ok(NoteSignature { name: name.to_owned(), id: *id, bytes: bytes.to_vec() })
}

/// Signs a text that is a whole note's.
pub(super) fn sign(text: &str, key: &NoteKey, signer: &dyn Signer) -> Result<Note, SignError> {
    let signature = key.signature(&signer.sign(text.as_bytes())?);
    Ok(Note { text: text.to_owned(), signatures: vec![signature] })
}
