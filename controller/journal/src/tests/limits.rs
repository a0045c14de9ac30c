//! Room on the disk and sizes.

use super::{all, open, options};
use crate::{Journal, JournalError, Options, RECORD_BYTES_MAX, SIDE_KEY_BYTES_MAX, SIDE_VALUE_BYTES_MAX, layout};

#[test]
fn below_the_floor_new_work_is_refused_and_urgent_work_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), &Options { free_bytes_min: u64::MAX, ..options() }).unwrap();
    let error = journal.append(b"a new rollout").unwrap_err();
    let JournalError::Full { free, floor, .. } = &error else { panic!("{error:?}") };
    assert!(free < floor);
    assert!(error.hint().unwrap().contains("ballast"), "{error}");
    assert!(matches!(journal.put_snapshot(0, b"state"), Err(JournalError::Full { .. })));
    assert_eq!(journal.last_seq(), 0);

    assert_eq!(journal.append_urgent(b"halt").unwrap(), 1);
    journal.sync().unwrap();
    assert_eq!(all(&journal, 0), [(1, b"halt".to_vec())]);
}

#[test]
fn the_ballast_is_there_once_and_really_takes_room() {
    let dir = tempfile::tempdir().unwrap();
    let with = Options { ballast_bytes: 1 << 20, ..options() };
    drop(Journal::open(dir.path(), &with).unwrap());
    let path = dir.path().join(layout::BALLAST);
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!(metadata.len(), 1 << 20);
    #[cfg(unix)]
    assert!(std::os::unix::fs::MetadataExt::blocks(&metadata) * 512 >= 1 << 20, "a sparse file holds nothing back");

    std::fs::remove_file(&path).unwrap();
    drop(Journal::open(dir.path(), &Options { free_bytes_min: u64::MAX, ..with.clone() }).unwrap());
    assert!(!path.exists(), "no ballast while the disk is short of room");
    drop(Journal::open(dir.path(), &with).unwrap());
    assert!(path.exists());
}

#[test]
fn sizes_have_limits() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    for error in [
        journal.append(&vec![0; RECORD_BYTES_MAX + 1]).unwrap_err(),
        journal.put_side("audit", &[0; SIDE_KEY_BYTES_MAX + 1], b"").unwrap_err(),
        journal.put_side("audit", b"", &[0; SIDE_VALUE_BYTES_MAX + 1]).unwrap_err(),
    ] {
        assert!(matches!(error, JournalError::TooLarge { .. }), "{error:?}");
    }
    assert_eq!(journal.append(&vec![0; RECORD_BYTES_MAX]).unwrap(), 1);
}

/// What sled moves into `blobs/` is not covered by our sync: nothing may ever go there.
#[test]
fn large_records_and_full_leaves_stay_in_the_synced_file() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    for n in 0..40_usize {
        journal.append(&vec![1; 1 + n * 9_973]).unwrap();
    }
    for n in 0..2_000_u32 {
        journal.put_side("audit", &n.to_be_bytes(), &[2; SIDE_VALUE_BYTES_MAX]).unwrap();
        // Keys that keep hitting the same leaf from within, too.
        journal.put_side("audit", &(n % 26).to_be_bytes(), &[3; SIDE_VALUE_BYTES_MAX]).unwrap();
    }
    journal.sync().unwrap();
    assert_eq!(std::fs::read_dir(dir.path().join("blobs")).unwrap().count(), 0);
}
