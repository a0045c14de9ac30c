//! Entries of the audit log: who decided what. Their bytes are the leaves of the log's tree, so they are written once and
//! never again in another way.

use serde::{Deserialize, Serialize};
use wardround_signing::{Digest, Envelope, PublicKey, tuf::RoleName};

use super::{GateDecision, RolloutId, SiteId, Timestamp};

/// Longest entry, bytes: below what a bundle can hold (65,535), and 256 of them below the largest answer of the API.
const ENTRY_BYTES_MAX: usize = 60_000;
/// Longest text of an entry that would be too long otherwise, characters of up to 6 bytes each in JSON.
const TEXT_CHARS_MAX: usize = 4_000;
/// Most directives of one entry: with ids of the greatest length, 200 bytes each, they stay below the longest entry.
pub const DIRECTIVES_OF_ENTRY_MAX: usize = 250;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Position, from 0, without gaps.
    pub index: u64,
    /// When.
    pub at: Timestamp,
    /// Machine word ("order", "wave_decision", "directives" ...).
    pub kind: String,
    /// One sentence.
    pub text: String,
    /// Rollout, if any.
    pub rollout: Option<RolloutId>,
    /// The signed document behind it, if any.
    pub envelope: Option<Envelope>,
    /// The key of a node that enrolled: cosignatures of its site are counted against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeKey>,
    /// What nodes were told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directives: Vec<DirectiveMark>,
    /// Files of people's metadata that were published: whose keys count from here on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileMark>,
    /// What a gate decided, and what it went by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Box<GateDecision>>,
}

/// A published file of people's metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMark {
    /// Role: root, targets, release or clinical.
    pub role: RoleName,
    /// Version.
    pub version: u64,
    /// SHA-256 of the whole file.
    pub sha256: Digest,
}

/// The key of a site's node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeKey {
    /// Site.
    pub site: SiteId,
    /// With which it signs reports and cosignatures.
    pub report_key: PublicKey,
}

/// A directive that was issued with another content than the one before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectiveMark {
    /// For which site.
    pub site: SiteId,
    /// Its counter.
    pub counter: u64,
    /// SHA-256 of the JSON of its `rollouts`: what it wants, without when it was signed.
    pub content: Digest,
}

impl AuditEntry {
    /// The leaf's bytes. What would be too long for a log is cut: a document is then named by its digest.
    ///
    /// # Errors
    /// None that JSON knows for such fields.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let bytes = serde_json::to_vec(self)?;
        if bytes.len() <= ENTRY_BYTES_MAX {
            return Ok(bytes);
        }
        let mut short = self.clone();
        short.text = short.text.chars().take(TEXT_CHARS_MAX).collect();
        if let Some(envelope) = short.envelope.take() {
            short.text = format!("{} (the document {} is too long for the log)", short.text, envelope.digest());
        }
        serde_json::to_vec(&short)
    }

    /// Reads a leaf's bytes.
    ///
    /// # Errors
    /// When they are not JSON of this form.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> AuditEntry {
        AuditEntry {
            index: 7,
            at: Timestamp(5),
            kind: "order".to_owned(),
            text: "ann ordered".to_owned(),
            rollout: None,
            envelope: None,
            node: None,
            directives: Vec::new(),
            files: Vec::new(),
            gate: None,
        }
    }

    #[test]
    fn an_entry_is_written_as_ever() {
        let bytes = br#"{"index":7,"at":5,"kind":"order","text":"ann ordered","rollout":null,"envelope":null}"#;
        assert_eq!(entry().encode().unwrap(), bytes);
        assert_eq!(AuditEntry::decode(bytes).unwrap(), entry());
    }

    #[test]
    fn what_is_too_long_is_cut_and_names_its_document() {
        let payload = vec![0; 64 * 1024];
        let envelope = Envelope { payload_type: "x".to_owned(), payload, signatures: Vec::new() };
        let long = AuditEntry { text: "\u{1}".repeat(50_000), envelope: Some(envelope.clone()), ..entry() };
        let bytes = long.encode().unwrap();
        assert!(bytes.len() <= ENTRY_BYTES_MAX, "{}", bytes.len());
        let read = AuditEntry::decode(&bytes).unwrap();
        assert!(read.envelope.is_none() && read.text.contains(&envelope.digest().to_string()), "{:.60}", read.text);
    }

    #[test]
    fn a_full_entry_of_directives_fits_a_bundle() {
        let mark = DirectiveMark {
            site: SiteId::new(&"s".repeat(super::super::ID_LEN_MAX)).unwrap(),
            counter: u64::MAX,
            content: Digest::of(b""),
        };
        let full = AuditEntry { directives: vec![mark; DIRECTIVES_OF_ENTRY_MAX], ..entry() };
        let bytes = full.encode().unwrap();
        assert!(bytes.len() <= ENTRY_BYTES_MAX, "{}", bytes.len());
        assert_eq!(AuditEntry::decode(&bytes).unwrap(), full);
    }
}
