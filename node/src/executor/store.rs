//! The machine's journal: one record per input, a snapshot now and then.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use wardround_journal::{Journal, JournalError, Options};
use wardround_rollout_plans::model::{GoalAction, Mode, SiteId, Timestamp};

use crate::{
    NodeError,
    machine::{Input, NodeState},
};

/// Form of the records and snapshots.
const VERSION: u32 = 1;
/// Records between two snapshots: replaying so many takes a fraction of a second.
const SNAPSHOT_EVERY: u64 = 2_000;
const MIB: u64 = 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct Record {
    v: u32,
    at: Timestamp,
    input: Input,
}

#[derive(Serialize, Deserialize)]
struct Snapshot {
    v: u32,
    state: NodeState,
}

/// The open journal.
pub(super) struct Store {
    journal: Arc<Journal>,
    snapshot_at: u64,
    folder: PathBuf,
}

impl Store {
    /// Opens the journal and folds it into the state.
    pub(super) fn open(state_dir: &Path, site: &SiteId) -> Result<(NodeState, Self), NodeError> {
        let dir = state_dir.join("journal");
        // A site machine is small, and one record is some KiB: little of everything is enough.
        let options = Options { free_bytes_min: 32 * MIB, cache_bytes: 8 * MIB, ballast_bytes: 8 * MIB };
        let broken = |source: JournalError| NodeError::Journal { path: dir.clone(), source };
        let journal = Journal::open(&dir, &options).map_err(broken)?;
        let damaged = |seq: u64| move |why: String| NodeError::Record { seq, why };
        let (after, mut state) = match journal.latest_snapshot().map_err(broken)? {
            None => (0, NodeState::new(site.clone())),
            Some((seq, bytes)) => {
                let snapshot: Snapshot =
                    serde_json::from_slice(&bytes).map_err(|e| damaged(seq)(format!("snapshot: {e}")))?;
                (seq, known(snapshot.v, snapshot.state).map_err(damaged(seq))?)
            }
        };
        for record in journal.replay(after) {
            let (seq, bytes) = record.map_err(broken)?;
            let record: Record = serde_json::from_slice(&bytes).map_err(|e| damaged(seq)(e.to_string()))?;
            let input = known(record.v, record.input).map_err(damaged(seq))?;
            // What followed from it has been done or is given out anew after the restart.
            let _ = state.step(&input, record.at);
        }
        if state.outbox().site() != site {
            return Err(damaged(after)(format!("the journal is that of site {}", state.outbox().site())));
        }
        Ok((state, Self { journal: Arc::new(journal), snapshot_at: after, folder: dir }))
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Adds an input. It counts after [`Store::sync`].
    pub(super) fn append(&self, input: &Input, at: Timestamp) -> Result<(), JournalError> {
        let record = Record { v: VERSION, at, input: input.clone() };
        let bytes = serde_json::to_vec(&record).map_err(|e| JournalError::Misuse(e.to_string()))?;
        // New work needs a disk with room; what is under way may use the reserve, so that it can be finished.
        if is_urgent(input) { self.journal.append_urgent(&bytes) } else { self.journal.append(&bytes) }.map(drop)
    }

    /// Makes what was added survive a power cut.
    pub(super) async fn sync(&self) -> Result<(), JournalError> {
        let journal = Arc::clone(&self.journal);
        blocking(move || journal.sync()).await
    }

    /// Writes a snapshot when enough records have come since the last.
    pub(super) async fn compact(&mut self, state: &NodeState) -> Result<bool, JournalError> {
        let seq = self.journal.last_seq();
        if seq < self.snapshot_at + SNAPSHOT_EVERY {
            return Ok(false);
        }
        let snapshot = Snapshot { v: VERSION, state: state.clone() };
        let journal = Arc::clone(&self.journal);
        blocking(move || {
            let bytes = serde_json::to_vec(&snapshot).map_err(|e| JournalError::Misuse(e.to_string()))?;
            journal.put_snapshot(seq, &bytes)
        })
        .await?;
        self.snapshot_at = seq;
        Ok(true)
    }
}

/// What makes things safer: it may use the disk's reserve. A directive that takes something back or halts is of that kind;
/// what else it wants needs room for its payload first.
fn is_urgent(input: &Input) -> bool {
    match input {
        Input::Site(_) => false,
        Input::Wishes(wishes) => wishes.rollouts.iter().any(|r| {
            r.mode != Mode::Proceed || r.cancelled || r.goals.iter().any(|g| g.action == GoalAction::RollBack)
        }),
        _ => true,
    }
}

fn known<T>(version: u32, value: T) -> Result<T, String> {
    if version == VERSION { Ok(value) } else { Err(format!("form {version} is unknown; this program reads {VERSION}")) }
}

async fn blocking(work: impl FnOnce() -> Result<(), JournalError> + Send + 'static) -> Result<(), JournalError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| JournalError::Misuse(format!("a journal task ended: {e}")))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Wishes;

    #[test]
    fn on_a_nearly_full_disk_a_directive_may_take_back_and_halt_but_bring_nothing_new() {
        let wishes = |json: serde_json::Value| {
            let rollout: crate::machine::RolloutWish = serde_json::from_value(json).unwrap();
            is_urgent(&Input::Wishes(Box::new(Wishes {
                counter: 1,
                expires_at: Timestamp(1),
                rollouts: vec![rollout],
            })))
        };
        let wish = |mode: &str, cancelled: bool, action: &str| {
            let digest = wardround_signing::Digest::of(b"x");
            serde_json::json!({
                "rollout": "r1", "digest": digest, "patch": "KB1", "patch_digest": digest,
                "policy": {
                    "health": {}, "scope": "device", "per_site": 1, "install_timeout": 1, "reboot_timeout": 1,
                    "defer_max": 1, "retry_after": 1, "waves": {},
                },
                "mode": mode, "cancelled": cancelled, "halts": [], "resumes": [],
                "goals": [{
                    "device": "rx1/a", "wave": "w", "variant": "xp", "reboot": "always", "payload": digest,
                    "payload_length": 1, "action": action, "attempt": 1,
                }],
            })
        };
        assert!(!wishes(wish("proceed", false, "install")));
        assert!(wishes(wish("proceed", false, "roll_back")));
        assert!(wishes(wish("halted", false, "install")));
        assert!(wishes(wish("proceed", true, "install")));
        assert!(is_urgent(&Input::Restarted) && !is_urgent(&Input::Site(Box::default())));
    }
}
