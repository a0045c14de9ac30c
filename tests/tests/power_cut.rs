//! What is left after a power cut: the blocks that had reached the device, and nothing else.
//!
//! A file system is made on an image file and mounted. Right after an acknowledgement the image is copied **beneath** that
//! file system's page cache: what was written but not synced is not in the copy, as it would not be on the disk of a machine
//! that lost power. The copy is mounted, as after the restart, and everything acknowledged must be in it.
//!
//! The same procedure with sled's `flush()` alone must lose something: a test that can't see a missing sync proves nothing.
//!
//! Needs root, loop devices and mkfs.ext4 on Linux. Where they are missing the tests say so, and fail when
//! `WARDROUND_REQUIRE_PEERS=1`.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test: a failure is a panic that names the line")]

#[path = "power_cut/controller.rs"]
mod controller;
#[path = "power_cut/mount.rs"]
mod mount;

use std::path::Path;

use mount::Disk;
use wardround_journal::{Journal, JournalError, Options};

/// Rounds of each kind. The unsynced kind lost something in nearly every round when it was measured.
const ROUNDS: u32 = 12;
/// Acknowledgements within a round.
const ACKNOWLEDGED_PER_ROUND: u32 = 6;

fn options() -> Options {
    Options { free_bytes_min: 1 << 20, cache_bytes: 8 << 20, ballast_bytes: 1 << 20 }
}

/// Records of the sizes that a controller writes: single events, batches of a hundred, and a few large ones.
fn record(number: u64) -> Vec<u8> {
    let length = match number % 7 {
        0 => 200_000,
        3 => 30_000,
        _ => 300,
    };
    (0..length).map(|at: u64| (at.wrapping_mul(31).wrapping_add(number) % 251) as u8).collect()
}

/// What is missing or wrong in the journal of a disk that lost its power, in words.
fn lost(dir: &Path, acknowledged: u64, snapshot: Option<u64>) -> Option<String> {
    let journal = match Journal::open(dir, &options()) {
        Ok(journal) => journal,
        Err(error) => return Some(format!("it can't be opened: {error}")),
    };
    if journal.last_seq() < acknowledged {
        return Some(format!("{acknowledged} records were acknowledged, {} are there", journal.last_seq()));
    }
    let found = journal.latest_snapshot().ok().flatten();
    if found.as_ref().map(|(seq, _)| *seq) < snapshot {
        return Some(format!(
            "a snapshot of record {snapshot:?} was acknowledged, that of {:?} is there",
            found.map(|(s, _)| s)
        ));
    }
    if let Some((seq, bytes)) = &found
        && *bytes != record(*seq)
    {
        return Some(format!("the snapshot of record {seq} is another than was written"));
    }
    let after = found.map_or(0, |(seq, _)| seq);
    for entry in journal.replay(after) {
        match entry {
            Ok((seq, bytes)) if bytes == record(seq) => {}
            Ok((seq, _)) => return Some(format!("record {seq} is another than was written")),
            Err(error) => return Some(error.to_string()),
        }
    }
    None
}

/// One fresh disk, several acknowledgements, a power cut after each; gives the first loss.
fn round(number: u32, acknowledge: fn(&Journal) -> Result<(), JournalError>, snapshots: bool) -> Option<String> {
    let disk = Disk::new();
    let dir = disk.path().join("journal");
    let journal = Journal::open(&dir, &options()).unwrap();
    let mut snapshot = None;
    for step in 0..ACKNOWLEDGED_PER_ROUND {
        for _ in 0..=(number + step) % 5 {
            journal.append(&record(journal.last_seq() + 1)).unwrap();
        }
        acknowledge(&journal).unwrap();
        let acknowledged = journal.last_seq();
        if snapshots && step % 2 == 1 {
            journal.put_snapshot(acknowledged, &record(acknowledged)).unwrap();
            snapshot = Some(acknowledged);
        }
        let after = disk.power_cut();
        if let Some(what) = lost(&after.path().join("journal"), acknowledged, snapshot) {
            return Some(format!("round {number}, step {step}: {what}"));
        }
    }
    None
}

#[test]
fn what_the_journal_acknowledged_survives() {
    let Some(_turn) = mount::turn() else { return };
    for number in 0..ROUNDS {
        assert_eq!(round(number, Journal::sync, true), None);
    }
}

#[test]
fn a_missing_sync_would_be_seen() {
    let Some(_turn) = mount::turn() else { return };
    let losses: Vec<String> =
        (0..ROUNDS).filter_map(|number| round(number, Journal::flush_without_sync_for_tests, false)).collect();
    println!("without the sync {} of {ROUNDS} rounds lost something:", losses.len());
    for loss in &losses {
        println!("  {loss}");
    }
    assert!(
        !losses.is_empty(),
        "a journal that never syncs passed every round: this test would not see a missing sync"
    );
}
