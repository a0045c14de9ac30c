//! Merkle trees as in RFC 9162, section 2.1: membership of a device in a signed wave is proved in a few hashes.
//!
//! A proof shows that a leaf **is in** the tree with that root. It shows *where* only together with a size from a trusted
//! source: a root does not fix the number of leaves (the first leaf's proof in a tree of three also fits one of four).
//! Whoever relies on [`InclusionProof::index`] compares [`InclusionProof::size`] with a signed one first.

use serde::{Deserialize, Serialize};

use crate::{Digest, DigestWriter};

/// Longest proof: a tree of 2^32 leaves, far over any estate.
pub const PROOF_HASHES_MAX: usize = 32;

/// Hash of a leaf: SHA-256(0x00 ‖ data).
#[must_use]
pub fn leaf_hash(data: &[u8]) -> Digest {
    let mut hash = DigestWriter::new();
    hash.update(&[0]);
    hash.update(data);
    hash.finish()
}

pub(crate) fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut hash = DigestWriter::new();
    hash.update(&[1]);
    hash.update(left.as_bytes());
    hash.update(right.as_bytes());
    hash.finish()
}

/// Proof that a leaf stands at `index` in a tree of `size` leaves (RFC 9162, section 2.1.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InclusionProof {
    /// Position of the leaf.
    pub index: u64,
    /// Number of leaves.
    pub size: u64,
    /// Sibling hashes, from the leaf up.
    pub hashes: Vec<Digest>,
}

impl InclusionProof {
    /// True when this proof leads from `leaf` (its hash) to `root` (RFC 9162, section 2.1.3.2). Says nothing of the
    /// truth of [`InclusionProof::size`], see the module.
    #[must_use]
    pub fn proves(&self, leaf: &Digest, root: &Digest) -> bool {
        if self.index >= self.size || self.hashes.len() > PROOF_HASHES_MAX {
            return false;
        }
        let (mut index, mut last) = (self.index, self.size - 1);
        let mut hash = *leaf;
        for sibling in &self.hashes {
            if last == 0 {
                return false;
            }
            if index & 1 == 1 || index == last {
                hash = node_hash(sibling, &hash);
                while index & 1 == 0 && index != 0 {
                    index >>= 1;
                    last >>= 1;
                }
            } else {
                hash = node_hash(&hash, sibling);
            }
            index >>= 1;
            last >>= 1;
        }
        last == 0 && hash == *root
    }
}

/// Longest consistency proof: one hash for each level of the largest tree, and one for where it begins.
pub const CONSISTENCY_HASHES_MAX: usize = 65;

/// Proof that one tree is the beginning of another (RFC 9162, section 2.1.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsistencyProof {
    /// Number of leaves of the older tree.
    pub old: u64,
    /// Number of leaves of the newer one.
    pub new: u64,
    /// In the order of the specification.
    pub hashes: Vec<Digest>,
}

impl ConsistencyProof {
    /// True when the tree with `old_root` is the beginning of that with `new_root` (RFC 9162, section 2.1.4.2). Sizes and
    /// roots must come from signed checkpoints.
    #[must_use]
    pub fn proves(&self, old_root: &Digest, new_root: &Digest) -> bool {
        if self.old == 0 || self.old == self.new {
            let same = if self.old == self.new { old_root == new_root } else { *old_root == Digest::of(b"") };
            return same && self.hashes.is_empty();
        }
        if self.old > self.new || self.hashes.len() > CONSISTENCY_HASHES_MAX {
            return false;
        }
        // 2. A full tree is its own first hash.
        let own = self.old.is_power_of_two().then_some(old_root);
        let mut path = own.into_iter().chain(&self.hashes);
        let Some(first) = path.next() else { return false };
        // 3. and 4.
        let (mut index, mut last) = (self.old - 1, self.new - 1);
        while index & 1 == 1 {
            index >>= 1;
            last >>= 1;
        }
        // 5. and 6.
        let (mut old, mut new) = (*first, *first);
        for hash in path {
            if last == 0 {
                return false;
            }
            if index & 1 == 1 || index == last {
                old = node_hash(hash, &old);
                new = node_hash(hash, &new);
                while index & 1 == 0 && index != 0 {
                    index >>= 1;
                    last >>= 1;
                }
            } else {
                new = node_hash(&new, hash);
            }
            index >>= 1;
            last >>= 1;
        }
        // 7.
        last == 0 && old == *old_root && new == *new_root
    }
}

/// This level and those above it, up to the root.
fn levels_over(lowest: Vec<Digest>) -> Vec<Vec<Digest>> {
    let mut levels = vec![lowest];
    while let Some(below) = levels.last().filter(|l| l.len() > 1) {
        levels.push(below.chunks(2).map(over_pair).collect());
    }
    levels
}

/// An odd last node moves up unchanged.
fn over_pair(pair: &[Digest]) -> Digest {
    match pair {
        [left, right] => node_hash(left, right),
        single => single[0],
    }
}

/// Siblings of the node at `at` and of those over it, below the root.
fn siblings(levels: &[Vec<Digest>], mut at: usize, hashes: &mut Vec<Digest>) {
    for level in &levels[..levels.len() - 1] {
        hashes.extend(level.get(at ^ 1));
        at >>= 1;
    }
}

/// A tree without its leaves, which its owner has in another form: half the memory of a [`Tree`].
#[derive(Debug, Clone)]
pub struct Crown {
    size: u64,
    /// From the nodes over two leaves each up to the root.
    levels: Vec<Vec<Digest>>,
}

impl Crown {
    /// Over leaves in this order.
    pub fn new<I: IntoIterator<Item: AsRef<[u8]>>>(leaves: I) -> Self {
        let (mut size, mut left, mut lowest) = (0, None, Vec::new());
        for leaf in leaves {
            size += 1;
            let right = leaf_hash(leaf.as_ref());
            match left.take() {
                Some(left) => lowest.push(node_hash(&left, &right)),
                None => left = Some(right),
            }
        }
        lowest.extend(left);
        Self { size, levels: levels_over(lowest) }
    }

    /// Proof for the leaf at `index`; `None` beyond the last. `leaf` is asked for one other leaf's data, and must know it.
    #[must_use]
    pub fn prove<L: AsRef<[u8]>>(&self, index: u64, leaf: impl FnOnce(u64) -> L) -> Option<InclusionProof> {
        if index >= self.size {
            return None;
        }
        let mut hashes = Vec::new();
        let beside = index ^ 1;
        if beside < self.size {
            hashes.push(leaf_hash(leaf(beside).as_ref()));
        }
        siblings(&self.levels, usize::try_from(index >> 1).ok()?, &mut hashes);
        Some(InclusionProof { index, size: self.size, hashes })
    }
}

/// A tree held as its levels, so that every proof costs a few look-ups.
#[derive(Debug, Clone)]
pub struct Tree {
    /// From the leaf hashes up to the root; an odd last node moves up unchanged.
    levels: Vec<Vec<Digest>>,
}

impl Tree {
    /// Over leaves in this order.
    pub fn new<I: IntoIterator<Item: AsRef<[u8]>>>(leaves: I) -> Self {
        Self { levels: levels_over(leaves.into_iter().map(|l| leaf_hash(l.as_ref())).collect()) }
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.levels[0].len() as u64
    }

    /// The root; that of no leaves is SHA-256 of nothing.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.levels.last().and_then(|l| l.first()).copied().unwrap_or_else(|| Digest::of(b""))
    }

    /// Proof for the leaf at `index`; `None` beyond the last.
    #[must_use]
    pub fn prove(&self, index: u64) -> Option<InclusionProof> {
        if index >= self.size() {
            return None;
        }
        let mut hashes = Vec::new();
        siblings(&self.levels, usize::try_from(index).ok()?, &mut hashes);
        Some(InclusionProof { index, size: self.size(), hashes })
    }
}
