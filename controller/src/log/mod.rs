//! The audit log: the audit record's leaves as a Merkle tree whose roots are signed (C2SP tlog-tiles, tlog-checkpoint).
//!
//! The leaves are the writer's ([`crate::core`]); this room hashes them, signs, serves and counts witnesses. It never holds up
//! the writer: it follows it.
//!
//! **Invariant:** a checkpoint is signed only after a sync of the journal that covers every leaf and every hash under it. So
//! a power cut loses no leaf of a signed checkpoint, and what is derived after it continues the same tree.
//! **Invariant:** a log that contradicts its own last checkpoint signs nothing more: two checkpoints that don't fit would be a
//! proof against this controller in every node's hands.

mod grow;
mod hashes;
#[cfg(test)]
mod tests;
mod witnesses;

pub(crate) use grow::follow;
pub(crate) use witnesses::{NotCounted, Witnesses};

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use wardround_journal::Journal;
use wardround_signing::{
    Digest, SecretKey, Signer as _,
    log::{self, LogError, LogKey, SignedCheckpoint, TilePath},
    merkle::ConsistencyProof,
};

use crate::core::{Core, read_leaves};
use grow::Growth;
use hashes::Stored;

/// Side tree of what is signed.
const TREE: &str = "log";
/// Key of the newest checkpoint in it.
const CHECKPOINT: &[u8] = b"checkpoint";
/// Proofs to the newest checkpoint that are kept: most nodes come from the same few sizes.
const PROOFS_MAX: usize = 1_024;

/// The log, for reading.
pub(crate) struct AuditLog {
    key: LogKey,
    journal: Arc<Journal>,
    newest: watch::Sender<Arc<SignedCheckpoint>>,
    /// Why nothing more is signed.
    damage: Option<String>,
    /// By the size that they begin at; all lead to the size beside them.
    proofs: Mutex<(u64, HashMap<u64, Arc<ConsistencyProof>>)>,
    /// Who has cosigned what.
    pub(crate) witnesses: Witnesses,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AuditLog {
    /// Opens the log beside the journal and brings it up to the leaves that are there; nothing is signed with a key that
    /// is not that of the last checkpoint, or over leaves that don't fit it ([`AuditLog::damage`]).
    ///
    /// # Errors
    /// What the journal says.
    pub(crate) fn open(core: &Core, signer: SecretKey) -> Result<(Arc<Self>, Option<Growth>), String> {
        let journal = Arc::clone(core.journal());
        let key = LogKey::new(signer.public()).map_err(|e| e.to_string())?;
        let opened = grow::recover(&journal, &key, *core.leaves().borrow());
        let (frontier, damage) = match opened? {
            Ok(frontier) => (Some(frontier), None),
            Err(why) => (None, Some(why)),
        };
        let last = match stored_checkpoint(&journal, &key) {
            Ok(Some(last)) => last,
            // The checkpoint of the empty log: with it a log begins.
            Ok(None) | Err(_) => SignedCheckpoint::sign(0, Digest::of(b""), &signer).map_err(|e| e.to_string())?,
        };
        let nodes = core.read(|facts| {
            facts.registry.nodes().map(|(site, node)| (site.clone(), node.report_key)).collect::<HashMap<_, _>>()
        });
        let witnesses = Witnesses::load(&journal, &nodes)?;
        let log = Arc::new(Self {
            key,
            journal,
            newest: watch::Sender::new(Arc::new(last)),
            damage,
            proofs: Mutex::default(),
            witnesses,
        });
        let growth = frontier.map(|frontier| Growth::new(Arc::clone(&log), signer, frontier));
        let Some(mut growth) = growth else { return Ok((log, None)) };
        // A disk without room is no reason not to start: halts must still go out. It is tried again.
        if let Err(error) = growth.grow_to(*core.leaves().borrow()) {
            tracing::warn!(error, "the audit log waits to grow");
        }
        Ok((log, Some(growth)))
    }

    /// The key that verifies its checkpoints.
    pub(crate) fn key(&self) -> &LogKey {
        &self.key
    }

    /// The newest checkpoint.
    pub(crate) fn newest(&self) -> Arc<SignedCheckpoint> {
        Arc::clone(&self.newest.borrow())
    }

    /// Why nothing more is signed, if so.
    pub(crate) fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// A tile or an entry bundle; `None` beyond the newest checkpoint. Reads the disk.
    pub(crate) fn piece(&self, path: TilePath) -> Result<Option<Vec<u8>>, String> {
        if !path.is_within(self.newest().size()) {
            return Ok(None);
        }
        let (start, width) = (path.index() * log::TILE_WIDTH, usize::from(path.width()));
        match path {
            TilePath::Tile { level, .. } => {
                let hashes = log::Hashes::hashes(&Stored(&self.journal), level, start, width)?;
                Ok(Some(hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()))
            }
            TilePath::Entries { .. } => {
                let leaves = read_leaves(&self.journal, start, width)?;
                if leaves.len() != width {
                    return Err(format!("leaf {} of the audit record is missing", start + leaves.len() as u64));
                }
                log::bundle(leaves.iter().map(Vec::as_slice)).map(Some).map_err(|e: LogError| e.to_string())
            }
        }
    }

    /// Proof that the log at `old` is the beginning of that at `new`; `None` when one of them is beyond the newest checkpoint.
    /// Reads the disk where the proof is not kept.
    pub(crate) fn consistency(&self, old: u64, new: u64) -> Result<Option<Arc<ConsistencyProof>>, String> {
        if new > self.newest().size() {
            return Ok(None);
        }
        {
            let kept = locked(&self.proofs);
            if kept.0 == new
                && let Some(proof) = kept.1.get(&old)
            {
                return Ok(Some(Arc::clone(proof)));
            }
        }
        let Some(proof) = log::consistency_proof(&Stored(&self.journal), old, new)? else { return Ok(None) };
        let proof = Arc::new(proof);
        let mut kept = locked(&self.proofs);
        if new > kept.0 {
            *kept = (new, HashMap::new());
        }
        if new == kept.0 && kept.1.len() < PROOFS_MAX {
            kept.1.insert(old, Arc::clone(&proof));
        }
        Ok(Some(proof))
    }

    /// Root of the log at a size up to that of the newest checkpoint. Reads the disk.
    pub(crate) fn root_at(&self, size: u64) -> Result<Option<Digest>, String> {
        let newest = self.newest();
        if size == newest.size() {
            return Ok(Some(newest.root()));
        }
        if size > newest.size() {
            return Ok(None);
        }
        log::root(&Stored(&self.journal), size).map(Some)
    }
}

/// What was signed last, if anything.
fn stored_checkpoint(journal: &Journal, key: &LogKey) -> Result<Option<SignedCheckpoint>, String> {
    let found = journal.side(TREE, CHECKPOINT, 1).map_err(|e| e.to_string())?;
    let Some((_, note)) = found.into_iter().find(|(name, _)| name == CHECKPOINT) else { return Ok(None) };
    SignedCheckpoint::open(&note, key).map(Some).map_err(|e| format!("its last checkpoint can't be used: {e}"))
}
