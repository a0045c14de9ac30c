//! The tree's hashes as stored. Side tree `log-hashes`: key = level of tiles (u8) and position (u64, big-endian), value = 32
//! bytes. Written once, never changed; derived from the leaves, so they can be made again.

use wardround_journal::{Journal, JournalError};
use wardround_signing::{
    Digest,
    log::{Hashes, TileHash},
};

const TREE: &str = "log-hashes";

/// The stored hashes.
pub(super) struct Stored<'a>(pub(super) &'a Journal);

fn key(level: u8, index: u64) -> [u8; 9] {
    let mut key = [level; 9];
    key[1..].copy_from_slice(&index.to_be_bytes());
    key
}

impl Stored<'_> {
    /// Keeps a hash; durable with the journal's next sync.
    pub(super) fn put(&self, grown: &TileHash) -> Result<(), JournalError> {
        self.0.put_side(TREE, &key(grown.level, grown.index), grown.hash.as_bytes())
    }
}

impl Hashes for Stored<'_> {
    type Error = String;

    fn hashes(&self, level: u8, start: u64, count: usize) -> Result<Vec<Digest>, String> {
        let found = self.0.side(TREE, &key(level, start), count).map_err(|e| e.to_string())?;
        let expected = (start..).map(|index| key(level, index));
        if found.len() != count || found.iter().zip(expected).any(|((found, _), key)| *found != key) {
            return Err(format!("hashes of level {level} from {start} on are missing"));
        }
        let digest = |(_, value): (Vec<u8>, Vec<u8>)| {
            Digest::from_slice(&value).map_err(|_| format!("a hash of level {level} from {start} on is damaged"))
        };
        found.into_iter().map(digest).collect()
    }
}
