//! Merkle trees against the vectors of the Certificate Transparency project (RFC 6962 and RFC 9162 hash alike), and properties.

use proptest::prelude::*;

use crate::{
    Digest,
    merkle::{Crown, InclusionProof, PROOF_HASHES_MAX, Tree, leaf_hash},
};

/// Leaves of github.com/transparency-dev/merkle, testonly/constants.go.
const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
/// Roots over the first 0 to 8 of them.
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];
/// (index, size, path).
const PATHS: [(u64, u64, &[&str]); 4] = [
    (
        0,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        &[
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        1,
        5,
        &[
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
];

fn known(size: usize) -> Tree {
    Tree::new(LEAVES[..size].iter().map(|digits| hex::decode(digits).unwrap()))
}

fn counted(size: u64) -> Tree {
    Tree::new((0..size).map(u64::to_be_bytes))
}

#[test]
fn a_crown_proves_what_the_tree_proves() {
    for size in 0..70 {
        let (tree, crown) = (counted(size), Crown::new((0..size).map(u64::to_be_bytes)));
        for index in 0..size + 2 {
            assert_eq!(crown.prove(index, u64::to_be_bytes), tree.prove(index), "leaf {index} of {size}");
        }
    }
}

#[test]
fn known_roots() {
    for (size, root) in ROOTS.iter().enumerate() {
        assert_eq!(known(size).root().hex(), *root, "{size} leaves");
    }
}

#[test]
fn known_paths() {
    for (index, size, path) in PATHS {
        let tree = known(usize::try_from(size).unwrap());
        let proof = tree.prove(index).unwrap();
        assert_eq!(proof.hashes.iter().map(Digest::hex).collect::<Vec<_>>(), path, "leaf {index} of {size}");
        let leaf = leaf_hash(&hex::decode(LEAVES[usize::try_from(index).unwrap()]).unwrap());
        assert!(proof.proves(&leaf, &tree.root()));
    }
}

#[test]
fn nothing_is_in_an_empty_tree() {
    let tree = known(0);
    assert_eq!(tree.prove(0), None);
    let proof = InclusionProof { index: 0, size: 0, hashes: Vec::new() };
    assert!(!proof.proves(&tree.root(), &tree.root()));
    assert_eq!(known(8).prove(8), None);
}

#[test]
fn every_leaf_of_every_size_proves() {
    for size in 1..70 {
        let tree = counted(size);
        for index in 0..size {
            let proof = tree.prove(index).unwrap();
            assert!(proof.proves(&leaf_hash(&index.to_be_bytes()), &tree.root()), "{index} of {size}");
        }
    }
}

/// An inner node is no leaf, and its children are no proof for it (RFC 9162, section 2.1.1: the prefixes 0 and 1).
#[test]
fn an_inner_node_is_no_leaf() {
    let tree = known(4);
    let (left, right) = (leaf_hash(b""), leaf_hash(&[0]));
    let inner = [left.as_bytes().as_slice(), right.as_bytes()].concat();
    let above = tree.prove(0).unwrap().hashes[1];
    let forged = InclusionProof { index: 0, size: 2, hashes: vec![above] };
    assert!(!forged.proves(&leaf_hash(&inner), &tree.root()));
}

#[test]
fn overlong_proofs_are_refused_without_work() {
    let leaf = leaf_hash(b"x");
    let proof = InclusionProof { index: 0, size: u64::MAX, hashes: vec![leaf; PROOF_HASHES_MAX + 1] };
    assert!(!proof.proves(&leaf, &leaf));
}

/// What the module's documentation warns of, kept true: a root does not fix the number of leaves.
#[test]
fn a_size_needs_a_trusted_source() {
    let tree = counted(3);
    let mut proof = tree.prove(0).unwrap();
    proof.size = 4;
    assert!(proof.proves(&leaf_hash(&0_u64.to_be_bytes()), &tree.root()));
}

proptest! {
    #[test]
    fn a_changed_bit_proves_nothing(size in 1..300_u64, at in any::<prop::sample::Index>(), bit in 0..256_usize, which in any::<prop::sample::Index>()) {
        let tree = counted(size);
        let index = at.index(usize::try_from(size).unwrap()) as u64;
        let (leaf, root, proof) = (leaf_hash(&index.to_be_bytes()), tree.root(), tree.prove(index).unwrap());
        let flip = |digest: &Digest| {
            let mut bytes = *digest.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            Digest::from_bytes(bytes)
        };
        prop_assert!(!proof.proves(&flip(&leaf), &root));
        prop_assert!(!proof.proves(&leaf, &flip(&root)));
        if !proof.hashes.is_empty() {
            let mut changed = proof.clone();
            let at = which.index(changed.hashes.len());
            changed.hashes[at] = flip(&changed.hashes[at]);
            prop_assert!(!changed.proves(&leaf, &root));
        }
    }

    /// With the true size, a leaf proves at its own place only.
    #[test]
    fn another_place_proves_nothing(size in 2..200_u64, at in any::<prop::sample::Index>(), other in 0..400_u64) {
        let tree = counted(size);
        let index = at.index(usize::try_from(size).unwrap()) as u64;
        prop_assume!(other != index);
        let proof = InclusionProof { index: other, ..tree.prove(index).unwrap() };
        prop_assert!(!proof.proves(&leaf_hash(&index.to_be_bytes()), &tree.root()));
    }

    /// Whatever place and size are claimed, only a leaf of the tree ever proves.
    #[test]
    fn a_stranger_proves_nowhere(size in 1..100_u64, index in 0..120_u64, claimed in 0..130_u64, from in any::<prop::sample::Index>()) {
        let tree = counted(size);
        let hashes = tree.prove(from.index(usize::try_from(size).unwrap()) as u64).unwrap().hashes;
        let proof = InclusionProof { index, size: claimed, hashes };
        prop_assert!(!proof.proves(&leaf_hash(b"a device of another wave"), &tree.root()));
    }

    #[test]
    fn a_longer_or_shorter_path_proves_nothing(size in 2..200_u64, at in any::<prop::sample::Index>()) {
        let tree = counted(size);
        let index = at.index(usize::try_from(size).unwrap()) as u64;
        let (leaf, proof) = (leaf_hash(&index.to_be_bytes()), tree.prove(index).unwrap());
        let mut longer = proof.clone();
        longer.hashes.push(leaf);
        prop_assert!(!longer.proves(&leaf, &tree.root()));
        let mut shorter = proof;
        shorter.hashes.pop();
        prop_assert!(!shorter.proves(&leaf, &tree.root()));
    }
}
