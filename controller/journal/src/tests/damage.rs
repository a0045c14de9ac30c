//! What a disk or a crash can do, and that none of it is read as if it were right.

use super::{all, open, raw, raw_db, try_open};
use crate::{JournalError, layout};

fn three_records(dir: &std::path::Path) {
    let journal = open(dir);
    for record in [vec![1; 10], vec![2; 10_000], vec![3; 10_000]] {
        journal.append(&record).unwrap();
    }
    journal.sync().unwrap();
}

fn damaged_at(dir: &std::path::Path) -> (u64, String) {
    match try_open(dir) {
        Err(JournalError::Damaged { seq, why }) => (seq, why),
        other => panic!("expected damage, got {other:?}"),
    }
}

#[test]
fn a_torn_record_at_the_end_is_dropped_and_its_number_used_again() {
    let dir = tempfile::tempdir().unwrap();
    three_records(dir.path());
    let tree = raw(dir.path());
    tree.remove(layout::key(3, 2)).unwrap().unwrap();
    drop(tree);

    let journal = open(dir.path());
    assert_eq!(journal.last_seq(), 2);
    assert_eq!(journal.append(b"instead").unwrap(), 3);
    assert_eq!(all(&journal, 2), [(3, b"instead".to_vec())]);
    drop(journal);
    assert_eq!(open(dir.path()).last_seq(), 3);
}

#[test]
fn a_missing_record_or_part_in_the_middle_is_an_error() {
    for (seq, part, at) in [(2, 0, 2), (2, 1, 2), (2, 2, 2), (1, 0, 1)] {
        let dir = tempfile::tempdir().unwrap();
        three_records(dir.path());
        let tree = raw(dir.path());
        tree.remove(layout::key(seq, part)).unwrap().unwrap();
        drop(tree);
        let (found, why) = damaged_at(dir.path());
        assert_eq!(found, at, "{why}");
        assert!(why.contains("missing"), "{why}");
    }
}

#[test]
fn a_missing_whole_record_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    three_records(dir.path());
    let tree = raw(dir.path());
    for part in 0..3 {
        tree.remove(layout::key(2, part)).unwrap().unwrap();
    }
    drop(tree);
    let (seq, why) = damaged_at(dir.path());
    assert_eq!(seq, 2);
    assert!(why.contains("the next one there is 3"), "{why}");
}

#[test]
fn any_flipped_bit_of_a_part_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    three_records(dir.path());
    let original = raw(dir.path()).get(layout::key(1, 0)).unwrap().unwrap();
    for bit in 0..original.len() * 8 {
        let mut bytes = original.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(layout::parse_part(1, 0, &bytes).is_err(), "bit {bit}");
    }
    let mut bytes = original.to_vec();
    bytes[25] ^= 1;
    raw(dir.path()).insert(layout::key(1, 0), bytes).unwrap();
    let (seq, why) = damaged_at(dir.path());
    assert_eq!(seq, 1);
    assert!(why.contains("checksum"), "{why}");
}

#[test]
fn a_record_under_another_number_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    three_records(dir.path());
    let tree = raw(dir.path());
    let first = tree.get(layout::key(1, 0)).unwrap().unwrap();
    tree.insert(layout::key(4, 0), first).unwrap();
    drop(tree);
    let (seq, why) = damaged_at(dir.path());
    assert_eq!(seq, 4);
    assert!(why.contains("record 1"), "{why}");
}

/// sled cuts its log at the first byte that it can't believe, so the newest records may be lost with a damaged file; but what is
/// read must be what was written, from the first record on, and never a changed one.
#[test]
fn a_changed_byte_of_the_database_file_never_changes_a_record() {
    let dir = tempfile::tempdir().unwrap();
    three_records(dir.path());
    let file = dir.path().join("db");
    let whole = std::fs::read(&file).unwrap();
    let written = {
        let journal = open(dir.path());
        all(&journal, 0)
    };
    let interesting: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).step_by(397).collect();
    assert!(interesting.len() > 20, "{}", interesting.len());
    let (mut refused, mut read) = (0, 0);
    for at in interesting {
        let copy = tempfile::tempdir().unwrap();
        std::fs::copy(dir.path().join("conf"), copy.path().join("conf")).unwrap();
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        std::fs::write(copy.path().join("db"), bytes).unwrap();
        std::fs::create_dir(copy.path().join("blobs")).unwrap();
        match try_open(copy.path()) {
            Ok(journal) => {
                read += 1;
                let found = all(&journal, 0);
                assert_eq!(found, written[..found.len()], "byte {at}");
            }
            Err(JournalError::Damaged { .. }) => refused += 1,
            Err(other) => panic!("byte {at}: {other:?}"),
        }
    }
    assert!(read + refused > 20, "{read} {refused}");
}

#[test]
fn an_unknown_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    three_records(dir.path());
    let db = raw_db(dir.path());
    db.open_tree(layout::META).unwrap().insert(layout::META_FORMAT, &[0, 0, 0, 2]).unwrap();
    drop(db);
    assert!(matches!(try_open(dir.path()), Err(JournalError::Format { found: 2, supported: 1 })));

    let db = raw_db(dir.path());
    db.open_tree(layout::META).unwrap().remove(layout::META_FORMAT).unwrap();
    drop(db);
    assert!(matches!(try_open(dir.path()), Err(JournalError::Damaged { seq: 0, .. })));
}

/// What opening on a full disk leaves behind (upstream issue 1533): without the removal sled says "Read corrupted data".
#[test]
fn unfinished_index_files_do_not_spoil_the_next_open() {
    for (name, content) in [
        ("snap.0000000000000000.generating", ""),
        ("snap.FFFFFFFFFFFFFFFF.generating", "torn"),
        ("snap.FFFFFFFFFFFFFFFF", ""),
    ] {
        let dir = tempfile::tempdir().unwrap();
        three_records(dir.path());
        std::fs::write(dir.path().join(name), content).unwrap();
        assert_eq!(open(dir.path()).last_seq(), 3, "{name}");
    }
}
