//! What we write, read by programs that we have not written (`signed_note`, `tlog_tiles`); and what they prove, read by us.

use signed_note::{Note as TheirNote, StandardVerifier, VerifierList};
use tlog_tiles::{
    Checkpoint as TheirCheckpoint, Error, Hash, HashReader as _, Tile, TileHashReader, TileReader, check_record,
    check_tree, prove_record, prove_tree, record_hash, stored_hash_index, tree_hash,
};

use super::{Kept, entry};
use crate::{
    SecretKey, Signer as _,
    log::{
        Hashes as _, LogKey, SignedCheckpoint, TilePath, Witness, consistency_proof, inclusion_proof, root, tile_paths,
    },
    merkle::leaf_hash,
};

/// Serves our tiles to their reader, which checks each against the root before it uses it.
struct OurTiles<'a>(&'a Kept);

impl TileReader for OurTiles<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        let read = |tile: &Tile| {
            let start = tile.level_index() * 256;
            let Ok(hashes) = self.0.hashes(tile.level(), start, tile.width() as usize);
            hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
        };
        Ok(tiles.iter().map(read).collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

#[test]
fn their_reader_verifies_our_checkpoint_and_refuses_an_altered_one() {
    let log = SecretKey::from_seed(&[1; 32]);
    let (kept, frontier) = Kept::of(300);
    let signed = SignedCheckpoint::sign(300, frontier.root(), &log).unwrap();
    let vkey = LogKey::new(log.public()).unwrap().vkey();
    let known = || VerifierList::new(vec![Box::new(StandardVerifier::new(&vkey).unwrap())]);

    let note = TheirNote::from_bytes(signed.note().as_bytes()).unwrap();
    let (verified, others) = note.verify(&known()).unwrap();
    assert_eq!((verified.len(), others.len(), note.to_bytes().as_slice()), (1, 0, signed.note().as_bytes()));
    let checkpoint = TheirCheckpoint::from_bytes(note.text()).unwrap();
    assert_eq!((checkpoint.size(), checkpoint.hash().0), (300, *root(&kept, 300).unwrap().as_bytes()));
    assert_eq!(checkpoint.origin(), signed.checkpoint().origin);
    assert_eq!(checkpoint.to_bytes(), signed.checkpoint().text().as_bytes());

    let altered = signed.note().replace("\n300\n", "\n301\n");
    assert!(TheirNote::from_bytes(altered.as_bytes()).unwrap().verify(&known()).is_err());

    // A witness's line beside it is one more signature of an unknown key to them.
    let node = SecretKey::from_seed(&[3; 32]);
    let witness = Witness::of_site("rx1", node.public()).unwrap();
    let cosigned = witness.cosign(signed.checkpoint(), 1_795_000_000, &node).unwrap();
    let both = format!("{}{}\n", signed.note(), cosigned.note().lines().last().unwrap());
    let note = TheirNote::from_bytes(both.as_bytes()).unwrap();
    let (verified, others) = note.verify(&known()).unwrap();
    assert_eq!((verified.len(), others[0].name(), others[0].signature().len()), (1, witness.name(), 72));
}

#[test]
fn their_tiles_have_our_paths() {
    for size in [1_u64, 255, 256, 257, 70_000] {
        // Theirs name the height after "tile".
        let mut theirs: Vec<String> =
            Tile::new_tiles(8, 0, size).iter().map(|t| t.path().replacen("tile/8/", "tile/", 1)).collect();
        let mut ours: Vec<String> =
            tile_paths(size).filter(|p| matches!(p, TilePath::Tile { .. })).map(|p| p.to_string()).collect();
        theirs.sort();
        ours.sort();
        assert_eq!(theirs, ours, "{size}");
    }
}

#[test]
fn roots_proofs_and_tiles_agree() {
    let (kept, _) = Kept::of(66_500);
    for size in [1_u64, 2, 3, 255, 256, 257, 1_000, 65_535, 65_536, 65_537, 66_500] {
        let ours = root(&kept, size).unwrap();
        let tiles = OurTiles(&kept);
        let reader = TileHashReader::new(size, Hash(*ours.as_bytes()), &tiles);
        assert_eq!(tree_hash(size, &reader).unwrap().0, *ours.as_bytes(), "{size}");
        for index in [0, size / 3, size / 2, size - 1] {
            assert_eq!(record_hash(&entry(index)).0, *leaf_hash(&entry(index)).as_bytes());
            let stored = reader.read_hashes(&[stored_hash_index(0, index)]).unwrap();
            assert_eq!(stored[0].0, *leaf_hash(&entry(index)).as_bytes());
            let proof = inclusion_proof(&kept, index, size).unwrap().unwrap();
            let proof: Vec<Hash> = proof.hashes.iter().map(|hash| Hash(*hash.as_bytes())).collect();
            assert_eq!(proof, prove_record(size, index, &reader).unwrap(), "{index} in {size}");
            check_record(&proof, size, Hash(*ours.as_bytes()), index, record_hash(&entry(index))).unwrap();
        }
        for old in [1, size / 3, size / 2, size - 1, size].into_iter().filter(|old| *old > 0) {
            let before = root(&kept, old).unwrap();
            let proof = consistency_proof(&kept, old, size).unwrap().unwrap();
            let proof: Vec<Hash> = proof.hashes.iter().map(|hash| Hash(*hash.as_bytes())).collect();
            assert_eq!(proof, prove_tree(size, old, &reader).unwrap(), "{old} in {size}");
            check_tree(&proof, size, Hash(*ours.as_bytes()), old, Hash(*before.as_bytes())).unwrap();
        }
    }
}
