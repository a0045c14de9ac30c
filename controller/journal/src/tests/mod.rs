//! Each test uses a real database in a directory of its own; damage is done to it from beside, as a disk would.

mod damage;
mod limits;
mod properties;
mod snapshots;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use crate::{Journal, JournalError, Options};

/// Small enough for any disk that the tests run on.
fn options() -> Options {
    Options { free_bytes_min: 1, cache_bytes: 4 << 20, ballast_bytes: 0 }
}

fn open(dir: &Path) -> Journal {
    try_open(dir).unwrap()
}

fn try_open(dir: &Path) -> Result<Journal, JournalError> {
    Journal::open(dir, &options())
}

fn all(journal: &Journal, after: u64) -> Vec<(u64, Vec<u8>)> {
    journal.replay(after).collect::<Result<_, _>>().unwrap()
}

/// The database without the journal around it. Threads of the one before may hold it for a moment longer.
fn raw_db(dir: &Path) -> sled::Db {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match sled::Config::new().path(dir).open() {
            Ok(db) => return db,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    }
}

fn raw(dir: &Path) -> sled::Tree {
    raw_db(dir).open_tree(crate::layout::RECORDS).unwrap()
}

#[test]
fn what_is_written_is_read_back_in_order_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let records: Vec<Vec<u8>> = vec![b"first".to_vec(), Vec::new(), vec![7; 300_000], b"last".to_vec()];
    {
        let journal = open(dir.path());
        assert_eq!(journal.last_seq(), 0);
        assert_eq!(all(&journal, 0), []);
        for (at, record) in records.iter().enumerate() {
            assert_eq!(journal.append(record).unwrap(), at as u64 + 1);
        }
        journal.sync().unwrap();
    }
    let journal = open(dir.path());
    assert_eq!(journal.last_seq(), 4);
    let expected: Vec<_> = (1..).zip(records).collect();
    assert_eq!(all(&journal, 0), expected);
    assert_eq!(all(&journal, 2), expected[2..]);
    assert_eq!(all(&journal, 4), []);
    assert_eq!(journal.append(b"next").unwrap(), 5);
}

#[test]
fn a_journal_may_be_made_deep_below_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b/c");
    assert_eq!(open(&deep).append(b"first").unwrap(), 1);
}

#[test]
fn a_second_opening_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let error = try_open(dir.path()).unwrap_err();
    assert!(matches!(error, JournalError::Locked { .. }), "{error:?}");
    assert!(error.to_string().starts_with("another process has the journal"), "{error}");
    drop(first);
    open(dir.path());
}

/// sled's threads let go a moment after the journal was dropped; opening it again must not depend on how long that is.
#[test]
fn a_closed_journal_can_be_opened_at_once() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..40_u64 {
        let journal = open(dir.path());
        assert_eq!(journal.append(&[1; 9_000]).unwrap(), n + 1);
        journal.sync().unwrap();
    }
}

/// Another program on the same database is told apart from a damaged one.
#[test]
fn a_foreign_holder_of_the_database_is_named() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let _holder = raw_db(dir.path());
    assert!(matches!(try_open(dir.path()), Err(JournalError::Locked { .. })));
}

#[test]
fn records_of_several_threads_get_one_gapless_order() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let journal = &journal;
            scope.spawn(move || {
                for _ in 0..50 {
                    // Two parts each, so that an interleaving would tear them.
                    journal.append(&[thread; 5_000]).unwrap();
                    journal.sync().unwrap();
                }
            });
        }
    });
    let records = all(&journal, 0);
    assert_eq!(records.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), (1..=200).collect::<Vec<_>>());
    assert!(records.iter().all(|(_, bytes)| bytes.len() == 5_000 && bytes.iter().all(|b| *b == bytes[0])));
}

#[test]
fn side_data_is_ordered_by_key_and_survives() {
    let dir = tempfile::tempdir().unwrap();
    {
        let journal = open(dir.path());
        for n in [3_u8, 1, 2] {
            journal.put_side("audit", &[n], &[n, n]).unwrap();
        }
        journal.put_side("other", &[9], b"x").unwrap();
        journal.sync().unwrap();
    }
    let journal = open(dir.path());
    let pair = |n: u8| (vec![n], vec![n, n]);
    assert_eq!(journal.side("audit", &[], 100).unwrap(), [pair(1), pair(2), pair(3)]);
    assert_eq!(journal.side("audit", &[2], 1).unwrap(), [pair(2)]);
    assert_eq!(journal.side("nothing", &[], 100).unwrap(), []);
    assert!(matches!(journal.put_side("Not A Name", b"k", b"v"), Err(JournalError::Misuse(_))));
}

/// The form of version 1, byte by byte: what an older release wrote must be readable for ever.
#[test]
fn reads_yesterdays_bytes() {
    let dir = tempfile::tempdir().unwrap();
    {
        let db = sled::Config::new().path(dir.path()).open().unwrap();
        db.open_tree("meta").unwrap().insert("format", &[0, 0, 0, 1]).unwrap();
        let records = db.open_tree("records").unwrap();
        for (key, value) in include_str!("yesterday.txt").lines().filter_map(|l| l.split_once(' ')) {
            records.insert(hex(key), hex(value)).unwrap();
        }
        db.flush().unwrap();
    }
    let snapshot = hex(include_str!("yesterday-snapshot.txt").trim());
    std::fs::write(dir.path().join("snapshot-00000000000000000001"), snapshot).unwrap();

    let journal = open(dir.path());
    assert_eq!(all(&journal, 0), [(1, b"ordered: halt".to_vec()), (2, Vec::new())]);
    assert_eq!(journal.latest_snapshot().unwrap(), Some((1, b"state after record 1".to_vec())));
}

fn hex(digits: &str) -> Vec<u8> {
    let nibble = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok()).unwrap();
    digits.as_bytes().chunks(2).map(|pair| nibble(pair[0]) << 4 | nibble(pair[1])).collect()
}
