//! Snapshots: two are kept, and the records after the older one.

use std::path::{Path, PathBuf};

use super::{all, open, raw, try_open};
use crate::{JournalError, layout};

fn path(dir: &Path, seq: u64) -> PathBuf {
    dir.join(layout::snapshot_name(seq))
}

/// Ten records, snapshots after 3, 5 and 8.
fn filled(dir: &Path) {
    let journal = open(dir);
    for n in 1..=10_u64 {
        journal.append(&n.to_be_bytes()).unwrap();
        if [3, 5, 8].contains(&n) {
            journal.put_snapshot(n, format!("state {n}").as_bytes()).unwrap();
        }
    }
    journal.sync().unwrap();
}

#[test]
fn old_ones_and_the_records_that_they_cover_go() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let journal = open(dir.path());
    assert_eq!(journal.latest_snapshot().unwrap(), Some((8, b"state 8".to_vec())));
    assert!(!path(dir.path(), 3).exists() && path(dir.path(), 5).exists());
    assert_eq!(all(&journal, 5).first().unwrap().0, 6);
    assert!(
        matches!(journal.replay(4).next(), Some(Err(JournalError::Damaged { seq: 5, .. }))),
        "records that were forgotten must not be skipped silently"
    );
    assert_eq!(journal.append(b"next").unwrap(), 11);
}

#[test]
fn a_damaged_one_falls_back_to_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let whole = std::fs::read(path(dir.path(), 8)).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for bad in [&whole[..whole.len() - 1], &[], &flipped, &[whole.as_slice(), b"more"].concat()] {
        std::fs::write(path(dir.path(), 8), bad).unwrap();
        let journal = open(dir.path());
        assert_eq!(journal.latest_snapshot().unwrap(), Some((5, b"state 5".to_vec())));
        assert_eq!(all(&journal, 5).len(), 5);
    }
    // The snapshot of another number under this name is no snapshot of this number.
    std::fs::copy(path(dir.path(), 5), path(dir.path(), 8)).unwrap();
    assert_eq!(open(dir.path()).latest_snapshot().unwrap().unwrap().0, 5);
}

#[test]
fn a_damaged_one_never_counts_as_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    std::fs::write(path(dir.path(), 8), b"gone").unwrap();
    {
        let journal = open(dir.path());
        journal.put_snapshot(10, b"state 10").unwrap();
    }
    std::fs::write(path(dir.path(), 10), b"gone too").unwrap();
    let journal = open(dir.path());
    assert_eq!(journal.latest_snapshot().unwrap(), Some((5, b"state 5".to_vec())));
    assert_eq!(all(&journal, 5).len(), 5);
}

#[test]
fn without_any_intact_one_forgotten_records_are_missed() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    for seq in [5, 8] {
        std::fs::write(path(dir.path(), seq), b"gone").unwrap();
    }
    assert!(matches!(try_open(dir.path()), Err(JournalError::Damaged { seq: 1, .. })));
}

#[test]
fn a_snapshot_that_knows_more_than_the_journal_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    std::fs::copy(path(dir.path(), 8), path(dir.path(), 99)).unwrap();
    assert!(matches!(try_open(dir.path()), Err(JournalError::Damaged { seq: 11, .. })));
}

#[test]
fn only_what_is_there_can_be_covered() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    assert!(matches!(journal.put_snapshot(1, b""), Err(JournalError::Misuse(_))));
    journal.put_snapshot(0, b"the state before any record").unwrap();
    assert_eq!(journal.latest_snapshot().unwrap(), Some((0, b"the state before any record".to_vec())));
    // Again for the same record: replaced, and still there.
    journal.put_snapshot(0, b"better").unwrap();
    assert_eq!(journal.latest_snapshot().unwrap(), Some((0, b"better".to_vec())));
}

#[test]
fn what_a_crash_left_half_written_goes() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    std::fs::write(dir.path().join("snapshot.tmp"), b"half").unwrap();
    assert_eq!(open(dir.path()).latest_snapshot().unwrap().unwrap().0, 8);
    assert!(!dir.path().join("snapshot.tmp").exists());
}

/// Old records go part by part, so a kill on the way leaves the rest of one. It is covered by a snapshot: no damage.
#[test]
fn a_kill_while_old_records_are_forgotten_leaves_a_journal_that_opens() {
    for cut in 0..=9_u16 {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        for n in 1..=6_u8 {
            // Three parts each.
            journal.append(&vec![n; 10_000]).unwrap();
        }
        for seq in [3, 5] {
            std::fs::write(path(dir.path(), seq), snapshot_file(seq)).unwrap();
        }
        journal.sync().unwrap();
        drop(journal);
        let tree = raw(dir.path());
        for gone in 0..cut {
            tree.remove(layout::key(u64::from(gone / 3) + 1, gone % 3)).unwrap().unwrap();
        }
        drop(tree);

        let journal = open(dir.path());
        assert_eq!(journal.last_seq(), 6, "{cut} parts were gone");
        assert_eq!(all(&journal, 3).iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [4, 5, 6]);
        journal.put_snapshot(6, b"state 6").unwrap();
        drop(journal);
        assert_eq!(all(&open(dir.path()), 5), [(6, vec![6; 10_000])]);
    }
}

/// Only what was to be forgotten may be incomplete.
#[test]
fn a_record_without_its_first_part_that_was_to_be_kept_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    for n in 1..=4_u8 {
        journal.append(&vec![n; 10_000]).unwrap();
    }
    journal.put_snapshot(2, b"state 2").unwrap();
    journal.put_snapshot(4, b"state 4").unwrap();
    drop(journal);
    raw(dir.path()).remove(layout::key(3, 0)).unwrap().unwrap();
    assert!(matches!(try_open(dir.path()), Err(JournalError::Damaged { seq: 3, .. })));
}

fn snapshot_file(seq: u64) -> Vec<u8> {
    let content = format!("state {seq}").into_bytes();
    [layout::snapshot_header(seq, &content).as_slice(), &content].concat()
}
