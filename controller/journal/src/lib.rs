//! An append-only, checksummed, power-cut-safe journal on sled 0.34.
//!
//! One process writes; records are numbered from 1 without gaps; a record counts once [`Journal::sync`] has returned.
//! sled 0.34 has traps that this crate exists to close; each was measured, not read about:
//!
//! - `flush()` calls `sync_file_range`, which does not empty the drive's cache nor write file metadata: in simulated power
//!   cuts it lost acknowledged data in 20 of 22 tries. [`Journal::sync`] therefore also calls `sync_data` on its own handle
//!   of the file `db` (upstream issues 1351 and 1452). `tests/tests/power_cut.rs` keeps the proof.
//! - Values near a quarter of a segment move into files under `blobs/`, which nothing syncs. Records are cut into parts of
//!   at most [`PART_BYTES`], so that even a full tree node stays in `db`.
//! - `apply_batch` leaks when a tree is overwritten; `insert` does not. Nothing here uses batches or hot keys.
//! - Opening on a full disk leaves a broken `snap.*` file that spoils every later open. [`Journal::open`] refuses to open on a
//!   full disk and removes unfinished ones (sled rebuilds them from the log).
//!
//! The layout on disk is in [`layout`]; snapshots of the state are plain files beside the database, see [`Journal::put_snapshot`].
//!
//! **Invariant:** this crate knows nothing of what the records mean.

mod disk;
mod error;
mod journal;
pub mod layout;
mod replay;
mod snapshot;
#[cfg(test)]
mod tests;

pub use error::JournalError;
pub use journal::{Journal, Log, Options, SideEntry};
pub use layout::{PART_BYTES, RECORD_BYTES_MAX, SIDE_KEY_BYTES_MAX, SIDE_VALUE_BYTES_MAX, SNAPSHOT_BYTES_MAX};
pub use replay::{Replay, Whole, whole};
