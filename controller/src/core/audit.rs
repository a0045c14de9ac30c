//! The audit record as stored: derived from the journal, one leaf per index, without gaps.
//!
//! Side tree `audit`: key = index (u64, big-endian) and part (u16, big-endian), value = a piece of the leaf's JSON, since the
//! journal's side values are small. A leaf that stands is never written again: a checkpoint may cover its bytes, and a newer
//! program may put the same fact into other words when it replays the journal.

use wardround_journal::{Journal, JournalError, SIDE_VALUE_BYTES_MAX};
use wardround_rollout_plans::model::AuditEntry;

/// Name of the side tree.
const TREE: &str = "audit";
/// Side entries read at once; the journal gives at most 10,000.
const ENTRIES_AT_ONCE: usize = 2_000;

/// Writes a leaf that is not there yet; durable with the journal's next sync.
pub(super) fn put_leaf(journal: &Journal, entry: &AuditEntry) -> Result<(), JournalError> {
    // The last part goes first: a leaf is whole when its part 0 is there.
    let first = key(entry.index, 0);
    if journal.side(TREE, &first, 1)?.first().is_some_and(|(found, _)| *found == first) {
        return Ok(());
    }
    let bytes = entry.encode().map_err(|e| JournalError::Misuse(e.to_string()))?;
    for (part, piece) in bytes.chunks(SIDE_VALUE_BYTES_MAX).enumerate().rev() {
        let part = u16::try_from(part).map_err(|_| JournalError::Misuse("an audit leaf is too long".to_owned()))?;
        journal.put_side(TREE, &key(entry.index, part), piece)?;
    }
    Ok(())
}

fn key(index: u64, part: u16) -> [u8; 10] {
    let mut key = [0; 10];
    key[..8].copy_from_slice(&index.to_be_bytes());
    key[8..].copy_from_slice(&part.to_be_bytes());
    key
}

/// The bytes of up to `limit` leaves from `from` on, oldest first; they end where the next one is missing.
///
/// # Errors
/// What the journal says, or that a stored leaf is damaged.
pub(crate) fn read_leaves(journal: &Journal, from: u64, limit: usize) -> Result<Vec<Vec<u8>>, String> {
    let mut leaves: Vec<Vec<u8>> = Vec::new();
    let mut next = key(from, 0).to_vec();
    loop {
        let entries = journal.side(TREE, &next, ENTRIES_AT_ONCE).map_err(|e| e.to_string())?;
        let last = entries.len() < ENTRIES_AT_ONCE;
        for (key, value) in entries {
            let (index, part) = parse(&key).ok_or("an audit key is damaged")?;
            let whole = leaves.len() as u64;
            if whole > 0 && index == from + whole - 1 {
                leaves[usize::try_from(whole - 1).map_err(|e| e.to_string())?].extend_from_slice(&value);
            } else if index == from + whole && part == 0 && leaves.len() < limit {
                leaves.push(value);
            } else {
                // Enough, or the newest leaf is just being written, from its last part down: it is not there yet.
                return Ok(leaves);
            }
            next = key;
            next.push(0);
        }
        if last {
            return Ok(leaves);
        }
    }
}

fn parse(key: &[u8]) -> Option<(u64, u16)> {
    let (index, part) = key.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*index), u16::from_be_bytes(part.try_into().ok()?)))
}

/// Up to `limit` leaves from `from` on, oldest first.
///
/// # Errors
/// What the journal says, or that a stored leaf can't be read.
pub(crate) fn read_audit(journal: &Journal, from: u64, limit: usize) -> Result<Vec<AuditEntry>, String> {
    let read = |bytes: &Vec<u8>| {
        AuditEntry::decode(bytes).map_err(|e| format!("a leaf of the audit record can't be read: {e}"))
    };
    read_leaves(journal, from, limit)?.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use wardround_journal::Options;
    use wardround_rollout_plans::model::Timestamp;

    use super::*;

    fn leaf(index: u64) -> AuditEntry {
        AuditEntry {
            index,
            at: Timestamp(5),
            kind: "order".to_owned(),
            text: "x".repeat(usize::try_from(index % 4).unwrap() * 6000),
            rollout: None,
            envelope: None,
            node: None,
            directives: Vec::new(),
            files: Vec::new(),
            gate: None,
        }
    }

    #[test]
    fn long_and_short_leaves_go_round_and_pages_join() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path(), &Options { ballast_bytes: 0, ..Options::default() }).unwrap();
        let all: Vec<AuditEntry> = (0..50).map(leaf).collect();
        all.iter().chain(&all[..10]).for_each(|l| put_leaf(&journal, l).unwrap());
        assert_eq!(read_audit(&journal, 0, 1000).unwrap(), all);
        assert_eq!(read_audit(&journal, 7, 5).unwrap(), all[7..12]);
        assert!(read_audit(&journal, 50, 5).unwrap().is_empty());
        // A reader that comes while leaf 50 is being written sees what is whole.
        journal.put_side(TREE, &key(50, 1), b"tail").unwrap();
        assert_eq!(read_audit(&journal, 48, 5).unwrap(), all[48..]);
        assert!(read_audit(&journal, 50, 5).unwrap().is_empty());
    }

    #[test]
    fn a_leaf_that_stands_keeps_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path(), &Options { ballast_bytes: 0, ..Options::default() }).unwrap();
        put_leaf(&journal, &leaf(3)).unwrap();
        // A newer program that replays the same record in other words.
        put_leaf(&journal, &AuditEntry { text: "in other words".to_owned(), ..leaf(3) }).unwrap();
        assert_eq!(read_audit(&journal, 3, 1).unwrap(), [leaf(3)]);
    }
}
