//! The log against the examples of its specifications, against independent readers, and under attack.

mod notes;
mod readers;
mod tiles;
mod tree;

use std::{collections::BTreeMap, convert::Infallible};

use crate::{
    Digest,
    log::{Frontier, Hashes},
    merkle::leaf_hash,
};

/// Hashes in memory.
#[derive(Debug, Default)]
struct Kept(BTreeMap<(u8, u64), Digest>);

impl Hashes for Kept {
    type Error = Infallible;

    fn hashes(&self, level: u8, start: u64, count: usize) -> Result<Vec<Digest>, Infallible> {
        assert_eq!(start / 256, (start + count as u64 - 1) / 256, "all of them stand in one tile");
        Ok((start..).take(count).map(|index| self.0[&(level, index)]).collect())
    }
}

impl Kept {
    fn push(&mut self, frontier: &mut Frontier, leaf: &[u8]) {
        for grown in frontier.push(leaf_hash(leaf)) {
            let before = self.0.insert((grown.level, grown.index), grown.hash);
            assert_eq!(before, None, "a hash that stands in a tile never changes");
        }
    }

    fn of(size: u64) -> (Self, Frontier) {
        let (mut kept, mut frontier) = (Self::default(), Frontier::default());
        (0..size).for_each(|n| kept.push(&mut frontier, &entry(n)));
        (kept, frontier)
    }
}

fn entry(n: u64) -> Vec<u8> {
    format!("entry {n}").into_bytes()
}
