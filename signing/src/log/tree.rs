//! The tree over tiles: grown leaf by leaf, and read for proofs. Kept are only the hashes that stand in tiles (those at the
//! heights 0, 8, 16 ...); what lies between is computed.

use super::TILE_WIDTH;
use crate::{
    Digest,
    merkle::{ConsistencyProof, InclusionProof, node_hash},
};

/// Levels of the tree in one level of tiles.
const TILE_HEIGHT: u8 = 8;

/// A hash that stands in a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileHash {
    /// Level of the tile.
    pub level: u8,
    /// Position in that level, counted in hashes.
    pub index: u64,
    /// The hash.
    pub hash: Digest,
}

/// Where a log's hashes are kept.
pub trait Hashes {
    /// What may fail.
    type Error;

    /// The `count` hashes of a level of tiles from `start` on; all of them stand in one tile.
    ///
    /// # Errors
    /// When one of them is not there or can't be read.
    fn hashes(&self, level: u8, start: u64, count: usize) -> Result<Vec<Digest>, Self::Error>;
}

/// The roots of the full subtrees of a tree, from the left: all that is needed to go on. Grows with the logarithm of the size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// From the largest; the heights are the bits of the size.
    subtrees: Vec<Digest>,
}

impl Frontier {
    /// Of a tree of `size` leaves whose hashes are kept.
    ///
    /// # Errors
    /// What `kept` says.
    pub fn at<H: Hashes>(kept: &H, size: u64) -> Result<Self, H::Error> {
        let mut subtrees = Vec::new();
        let mut start = 0;
        for height in (0..64).rev().filter(|height| size >> height & 1 == 1) {
            subtrees.push(full(kept, height, start >> height)?);
            start += 1 << height;
        }
        Ok(Self { size, subtrees })
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf by its hash ([`crate::merkle::leaf_hash`]). Returned are the hashes that now stand in tiles: the leaf's own,
    /// and one more for each tile that it fills.
    #[must_use = "hashes that are not kept are lost"]
    pub fn push(&mut self, leaf: Digest) -> Vec<TileHash> {
        let mut grown = vec![TileHash { level: 0, index: self.size, hash: leaf }];
        let mut hash = leaf;
        let mut height = 0;
        while self.size >> height & 1 == 1 {
            let Some(left) = self.subtrees.pop() else { break };
            hash = node_hash(&left, &hash);
            height += 1;
            if height % TILE_HEIGHT == 0 {
                grown.push(TileHash { level: height / TILE_HEIGHT, index: self.size >> height, hash });
            }
        }
        self.subtrees.push(hash);
        self.size += 1;
        grown
    }

    /// Root of the tree; that of no leaves is SHA-256 of nothing.
    #[must_use]
    pub fn root(&self) -> Digest {
        let fold = |right: Digest, left: &Digest| node_hash(left, &right);
        match self.subtrees.split_last() {
            Some((last, before)) => before.iter().rev().fold(*last, fold),
            None => Digest::of(b""),
        }
    }
}

/// Root of the full subtree with 2^height leaves at this position of its height.
fn full<H: Hashes>(kept: &H, height: u8, index: u64) -> Result<Digest, H::Error> {
    let (level, between) = (height / TILE_HEIGHT, height % TILE_HEIGHT);
    let mut row = kept.hashes(level, index << between, 1 << between)?;
    while row.len() > 1 {
        row = row.chunks(2).map(|pair| if let [l, r] = pair { node_hash(l, r) } else { pair[0] }).collect();
    }
    // Whoever keeps hashes gives as many as were asked for or an error.
    Ok(row.first().copied().unwrap_or_else(|| Digest::of(b"")))
}

/// MTH(D\[start:end\]) of RFC 6962, section 2.1, for the ranges that its proofs meet.
fn range<H: Hashes>(kept: &H, start: u64, end: u64) -> Result<Digest, H::Error> {
    let leaves = end - start;
    if leaves.is_power_of_two() {
        let height = leaves.trailing_zeros();
        // At most 63.
        return full(kept, u8::try_from(height).unwrap_or(63), start >> height);
    }
    let split = start + split(leaves);
    Ok(node_hash(&range(kept, start, split)?, &range(kept, split, end)?))
}

/// The largest power of two below `leaves`, which is at least 2.
fn split(leaves: u64) -> u64 {
    1 << (63 - (leaves - 1).leading_zeros())
}

/// Root of the first `size` leaves.
///
/// # Errors
/// What `kept` says.
pub fn root<H: Hashes>(kept: &H, size: u64) -> Result<Digest, H::Error> {
    Frontier::at(kept, size).map(|frontier| frontier.root())
}

/// Proof that the leaf at `index` stands in the tree of the first `size` leaves (RFC 9162, section 2.1.3.1); `None` beyond it.
///
/// # Errors
/// What `kept` says.
pub fn inclusion_proof<H: Hashes>(kept: &H, index: u64, size: u64) -> Result<Option<InclusionProof>, H::Error> {
    if index >= size {
        return Ok(None);
    }
    let mut hashes = Vec::new();
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            hashes.push(range(kept, middle, end)?);
            end = middle;
        } else {
            hashes.push(range(kept, start, middle)?);
            start = middle;
        }
    }
    hashes.reverse();
    Ok(Some(InclusionProof { index, size, hashes }))
}

/// Proof that the tree of the first `old` leaves is the beginning of that of the first `new` (RFC 9162, section 2.1.4.1);
/// `None` when it would be larger.
///
/// # Errors
/// What `kept` says.
pub fn consistency_proof<H: Hashes>(kept: &H, old: u64, new: u64) -> Result<Option<ConsistencyProof>, H::Error> {
    if old > new {
        return Ok(None);
    }
    let mut hashes = Vec::new();
    // An empty tree is the beginning of every tree, and a tree is its own.
    if old != 0 && old != new {
        let (mut start, mut end, mut left_edge) = (0, new, true);
        while end != old {
            let middle = start + split(end - start);
            if old <= middle {
                hashes.push(range(kept, middle, end)?);
                end = middle;
            } else {
                hashes.push(range(kept, start, middle)?);
                start = middle;
                left_edge = false;
            }
        }
        if !left_edge {
            hashes.push(range(kept, start, end)?);
        }
        hashes.reverse();
    }
    Ok(Some(ConsistencyProof { old, new, hashes }))
}

const _: () = assert!(TILE_WIDTH == 1 << TILE_HEIGHT);
