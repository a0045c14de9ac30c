//! Roots and proofs, against the tree that is built at once.

use proptest::prelude::*;

use super::{Kept, entry};
use crate::{
    Digest,
    log::{Frontier, consistency_proof, inclusion_proof, root},
    merkle::{ConsistencyProof, Tree, leaf_hash},
};

fn whole(size: u64) -> Tree {
    Tree::new((0..size).map(entry))
}

#[test]
fn every_size_has_the_root_of_the_tree_built_at_once() {
    let (mut kept, mut frontier) = (Kept::default(), Frontier::default());
    for size in 0..=1_100 {
        assert_eq!(frontier.root(), whole(size).root(), "{size}");
        assert_eq!(Frontier::at(&kept, size).unwrap(), frontier, "{size}");
        kept.push(&mut frontier, &entry(size));
    }
    // Level 0 holds all leaves, level 1 one hash of each full tile.
    assert_eq!(kept.0.keys().filter(|(level, _)| *level == 0).count(), 1_101);
    assert_eq!(kept.0.keys().filter(|(level, _)| *level == 1).count(), 4);
    assert_eq!(root(&kept, 777).unwrap(), whole(777).root());
}

#[test]
fn three_levels_of_tiles_join() {
    let (kept, frontier) = Kept::of(66_000);
    assert_eq!(kept.0.keys().filter(|(level, _)| *level == 2).count(), 1);
    assert_eq!(frontier.root(), whole(66_000).root());
    let proof = consistency_proof(&kept, 65_537, 66_000).unwrap().unwrap();
    assert!(proof.proves(&whole(65_537).root(), &frontier.root()));
}

#[test]
fn every_pair_of_small_sizes_is_proved_and_no_other_root_is() {
    let (kept, _) = Kept::of(40);
    let roots: Vec<Digest> = (0..=40).map(|size| whole(size).root()).collect();
    for new in 0..=40_usize {
        for old in 0..=new {
            let proof = consistency_proof(&kept, old as u64, new as u64).unwrap().unwrap();
            assert!(proof.proves(&roots[old], &roots[new]), "{old} {new}");
            for other in (0..=40).filter(|other| *other != old && *other != new) {
                assert!(!proof.proves(&roots[other], &roots[new]), "{other} for {old} in {new}");
                // From nothing every root follows.
                assert!(old == 0 || !proof.proves(&roots[old], &roots[other]), "{other} for {new} from {old}");
            }
            let mut longer = proof.clone();
            longer.hashes.push(roots[3]);
            assert!(!longer.proves(&roots[old], &roots[new]), "{old} {new} with one hash more");
            if !proof.hashes.is_empty() {
                let mut shorter = proof.clone();
                shorter.hashes.pop();
                assert!(!shorter.proves(&roots[old], &roots[new]), "{old} {new} with one hash less");
            }
        }
        let index_beyond = inclusion_proof(&kept, new as u64, new as u64).unwrap();
        assert!(index_beyond.is_none() && consistency_proof(&kept, new as u64 + 1, new as u64).unwrap().is_none());
    }
    let backwards = ConsistencyProof { old: 5, new: 3, hashes: vec![] };
    assert!(!backwards.proves(&roots[5], &roots[3]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn proofs_of_any_leaf_and_any_size_hold(size in 1_u64..900, a in 0_u64..900, b in 0_u64..900, flip in 0_usize..20) {
        let (kept, frontier) = Kept::of(size);
        let index = a % size;
        let proof = inclusion_proof(&kept, index, size).unwrap().unwrap();
        prop_assert_eq!(Some(proof.clone()), whole(size).prove(index));
        prop_assert!(proof.proves(&leaf_hash(&entry(index)), &frontier.root()));
        let old = b % (size + 1);
        let mut proof = consistency_proof(&kept, old, size).unwrap().unwrap();
        prop_assert!(proof.proves(&whole(old).root(), &frontier.root()));
        if !proof.hashes.is_empty() {
            let at = flip % proof.hashes.len();
            let mut bytes = *proof.hashes[at].as_bytes();
            bytes[flip] ^= 1;
            proof.hashes[at] = Digest::from_bytes(bytes);
            prop_assert!(!proof.proves(&whole(old).root(), &frontier.root()));
        }
    }
}
