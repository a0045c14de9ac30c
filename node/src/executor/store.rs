//! The machine's journal: one record per input, a snapshot now and then.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use wardround_journal::{Journal, JournalError, Options};
use wardround_rollout_plans::model::{SiteId, Timestamp};

use super::record;
use crate::{
    NodeError,
    machine::{Input, NodeState},
};

/// Records between two snapshots: replaying so many takes a fraction of a second.
const SNAPSHOT_EVERY: u64 = 2_000;
const MIB: u64 = 1024 * 1024;

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
            Some((seq, bytes)) => (seq, record::restore(&bytes).map_err(damaged(seq))?),
        };
        for found in journal.replay(after) {
            let (seq, bytes) = found.map_err(broken)?;
            record::replay(&mut state, &bytes).map_err(damaged(seq))?;
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
        record::append(&*self.journal, input, at)
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
        let (state, journal) = (state.clone(), Arc::clone(&self.journal));
        blocking(move || journal.put_snapshot(seq, &record::snapshot(&state)?)).await?;
        self.snapshot_at = seq;
        Ok(true)
    }
}

async fn blocking(work: impl FnOnce() -> Result<(), JournalError> + Send + 'static) -> Result<(), JournalError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| JournalError::Misuse(format!("a journal task ended: {e}")))?
}

#[cfg(test)]
mod tests {
    use super::{super::record::is_urgent, *};
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
