//! The audit record as stored: derived from the journal, one leaf per index, without gaps.
//!
//! Side tree `audit`: key = index (u64, big-endian) and part (u16, big-endian), value = a piece of the leaf's JSON, since the
//! journal's side values are small. Writing a leaf again writes the same bytes, so a replay changes nothing.

use serde::{Deserialize, Serialize};
use wardround_journal::{Journal, JournalError, SIDE_VALUE_BYTES_MAX};
use wardround_rollout_plans::model::{RolloutId, Timestamp};
use wardround_signing::Envelope;

/// Name of the side tree.
const TREE: &str = "audit";
/// Side entries read at once; the journal gives at most 10,000.
const ENTRIES_AT_ONCE: usize = 2_000;

/// One line of the audit record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct AuditLeaf {
    /// Position, from 0, without gaps.
    pub(crate) index: u64,
    /// When.
    pub(crate) at: Timestamp,
    /// Machine word.
    pub(crate) kind: String,
    /// One sentence.
    pub(crate) text: String,
    /// Rollout, if any.
    pub(crate) rollout: Option<RolloutId>,
    /// The signed document behind it, if any.
    pub(crate) envelope: Option<Envelope>,
}

impl AuditLeaf {
    /// Writes it; durable with the journal's next sync.
    pub(super) fn put(&self, journal: &Journal) -> Result<(), JournalError> {
        let bytes = serde_json::to_vec(self).map_err(|e| JournalError::Misuse(e.to_string()))?;
        // The last part goes first: a leaf is whole when its part 0 is there.
        for (part, piece) in bytes.chunks(SIDE_VALUE_BYTES_MAX).enumerate().rev() {
            let part = u16::try_from(part).map_err(|_| JournalError::Misuse("an audit leaf is too long".to_owned()))?;
            journal.put_side(TREE, &key(self.index, part), piece)?;
        }
        Ok(())
    }
}

fn key(index: u64, part: u16) -> [u8; 10] {
    let mut key = [0; 10];
    key[..8].copy_from_slice(&index.to_be_bytes());
    key[8..].copy_from_slice(&part.to_be_bytes());
    key
}

/// Up to `limit` leaves from `from` on, oldest first.
///
/// # Errors
/// What the journal says, or that a stored leaf can't be read.
pub(crate) fn read_audit(journal: &Journal, from: u64, limit: usize) -> Result<Vec<AuditLeaf>, String> {
    let mut leaves = Vec::new();
    let mut open: Option<(u64, Vec<u8>)> = None;
    let mut next = key(from, 0).to_vec();
    loop {
        let entries = journal.side(TREE, &next, ENTRIES_AT_ONCE).map_err(|e| e.to_string())?;
        let last = entries.len() < ENTRIES_AT_ONCE;
        for (key, value) in entries {
            let index = key.first_chunk::<8>().map(|b| u64::from_be_bytes(*b)).ok_or("an audit key is damaged")?;
            match &mut open {
                Some((at, bytes)) if *at == index => bytes.extend_from_slice(&value),
                // The newest leaf is just being written, from its last part down: it is not there yet.
                _ if key.get(8..) != Some(&[0, 0][..]) => {
                    if let Some((_, bytes)) = open {
                        leaves.push(read(&bytes)?);
                    }
                    return Ok(leaves);
                }
                _ => {
                    if let Some((_, bytes)) = open.replace((index, value)) {
                        leaves.push(read(&bytes)?);
                        if leaves.len() == limit {
                            return Ok(leaves);
                        }
                    }
                }
            }
            next = key;
            next.push(0);
        }
        if last {
            if let Some((_, bytes)) = open {
                leaves.push(read(&bytes)?);
            }
            return Ok(leaves);
        }
    }
}

fn read(bytes: &[u8]) -> Result<AuditLeaf, String> {
    serde_json::from_slice(bytes).map_err(|e| format!("a leaf of the audit record can't be read: {e}"))
}

#[cfg(test)]
mod tests {
    use wardround_journal::Options;

    use super::*;

    #[test]
    fn long_and_short_leaves_go_round_and_pages_join() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path(), &Options { ballast_bytes: 0, ..Options::default() }).unwrap();
        let leaf = |index: u64| AuditLeaf {
            index,
            at: Timestamp(5),
            kind: "order".to_owned(),
            text: "x".repeat(usize::try_from(index % 4).unwrap() * 6000),
            rollout: None,
            envelope: None,
        };
        let all: Vec<AuditLeaf> = (0..50).map(leaf).collect();
        all.iter().chain(&all[..10]).for_each(|l| l.put(&journal).unwrap());
        assert_eq!(read_audit(&journal, 0, 1000).unwrap(), all);
        assert_eq!(read_audit(&journal, 7, 5).unwrap(), all[7..12]);
        assert!(read_audit(&journal, 50, 5).unwrap().is_empty());
        // A reader that comes while leaf 50 is being written sees what is whole.
        journal.put_side(TREE, &key(50, 1), b"tail").unwrap();
        assert_eq!(read_audit(&journal, 48, 5).unwrap(), all[48..]);
        assert!(read_audit(&journal, 50, 5).unwrap().is_empty());
    }
}
