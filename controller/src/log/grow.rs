//! How the tree follows the leaves.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use wardround_journal::Journal;
use wardround_signing::{
    SecretKey,
    log::{Frontier, LogKey, SignedCheckpoint},
    merkle::leaf_hash,
};

use super::{AuditLog, CHECKPOINT, TREE, hashes::Stored, stored_checkpoint};
use crate::{
    core::{Core, read_leaves},
    registry::RegistryEvent,
};

/// Leaves read at once.
const LEAVES_AT_ONCE: usize = 1_000;
/// Least time between two checkpoints: a busy estate makes hundreds of leaves a second, and each checkpoint costs a sync.
const PAUSE: Duration = Duration::from_millis(100);
/// Pause after a failure, such as a full disk.
const FAILED_PAUSE: Duration = Duration::from_secs(2);

/// The growing end of the log.
pub(crate) struct Growth {
    log: Arc<AuditLog>,
    signer: SecretKey,
    frontier: Frontier,
}

/// The tree as the last checkpoint has it, out of the stored hashes or, where they are damaged, out of the leaves again.
/// The inner error says how the log contradicts its last checkpoint.
pub(super) fn recover(journal: &Journal, key: &LogKey, leaves: u64) -> Result<Result<Frontier, String>, String> {
    let last = match stored_checkpoint(journal, key) {
        Ok(None) => return Ok(Ok(Frontier::default())),
        Ok(Some(last)) => last,
        Err(why) => return Ok(Err(why)),
    };
    if last.size() > leaves {
        return Ok(Err(format!("its last checkpoint covers {} entries, but only {leaves} are there", last.size())));
    }
    match Frontier::at(&Stored(journal), last.size()) {
        Ok(frontier) if frontier.root() == last.root() => return Ok(Ok(frontier)),
        Ok(_) => tracing::warn!("the log's hashes are damaged; they are made again"),
        Err(error) => tracing::warn!(error, "the log's hashes are damaged; they are made again"),
    }
    let mut frontier = Frontier::default();
    if let Err(why) = push(journal, &mut frontier, last.size()) {
        return Ok(Err(why));
    }
    if frontier.root() == last.root() {
        return Ok(Ok(frontier));
    }
    Ok(Err(format!("its entries don't lead to the root of its last checkpoint, of {} entries", last.size())))
}

/// Adds the leaves up to `size` and keeps the hashes that stand in tiles; durable with the journal's next sync.
fn push(journal: &Journal, frontier: &mut Frontier, size: u64) -> Result<(), String> {
    while frontier.size() < size {
        let wanted = usize::try_from(size - frontier.size()).unwrap_or(LEAVES_AT_ONCE).min(LEAVES_AT_ONCE);
        let leaves = read_leaves(journal, frontier.size(), wanted)?;
        if leaves.is_empty() {
            return Err(format!("leaf {} of the audit record is missing", frontier.size()));
        }
        for leaf in leaves {
            let mut grown_to = frontier.clone();
            for grown in grown_to.push(leaf_hash(&leaf)) {
                Stored(journal).put(&grown).map_err(|e| e.to_string())?;
            }
            *frontier = grown_to;
        }
    }
    Ok(())
}

impl Growth {
    pub(super) fn new(log: Arc<AuditLog>, signer: SecretKey, frontier: Frontier) -> Self {
        Self { log, signer, frontier }
    }

    /// Takes in the leaves up to `size` and signs a checkpoint over them. After an error it can be called again.
    ///
    /// # Errors
    /// What the journal says.
    pub(super) fn grow_to(&mut self, size: u64) -> Result<(), String> {
        let journal = &self.log.journal;
        let is_new = journal.side(TREE, CHECKPOINT, 1).map_err(|e| e.to_string())?.is_empty();
        if size <= self.log.newest().size() && !is_new {
            return Ok(());
        }
        push(journal, &mut self.frontier, size)?;
        // Leaves and hashes last from here on; only then may a signature say that they are there.
        journal.sync().map_err(|e| e.to_string())?;
        let signed = SignedCheckpoint::sign(self.frontier.size(), self.frontier.root(), &self.signer)
            .map_err(|e| e.to_string())?;
        // It lasts before anybody sees it: after a power cut no node may be shown a smaller log than before.
        journal.put_side(TREE, CHECKPOINT, signed.note().as_bytes()).map_err(|e| e.to_string())?;
        journal.sync().map_err(|e| e.to_string())?;
        self.log.newest.send_replace(Arc::new(signed));
        Ok(())
    }
}

/// Follows the leaves until `stop`, whatever happens: the controller goes on without a log, since halts must go out. A log
/// that is damaged raises an alarm instead, once for each start.
pub(crate) async fn follow(growth: Option<Growth>, core: Core, log: Arc<AuditLog>, stop: CancellationToken) {
    let failed = match growth {
        Some(growth) => grow(growth, &core, &stop).await,
        None => Some(log.damage().unwrap_or("it can't be read").to_owned()),
    };
    if let Some(why) = failed {
        tracing::error!(why, "the audit log is damaged: no new checkpoint is signed");
        let text = format!("the audit log is damaged and no new checkpoint is signed: {why}");
        let event = RegistryEvent::Alarm { code: "log_damaged".to_owned(), text, site: None };
        if let Err(error) = core.submit(event).await {
            tracing::error!(%error, "the alarm could not be recorded");
        }
    }
    stop.cancelled().await;
}

/// Returns before `stop` only with the reason why it can't go on.
async fn grow(mut growth: Growth, core: &Core, stop: &CancellationToken) -> Option<String> {
    let mut leaves = core.leaves();
    loop {
        let size = *leaves.borrow_and_update();
        let grown = tokio::task::spawn_blocking(move || {
            let done = growth.grow_to(size);
            (growth, done)
        });
        let done = match grown.await {
            Ok((back, done)) => {
                growth = back;
                done
            }
            Err(panic) => return Some(panic.to_string()),
        };
        let pause = match &done {
            Ok(()) => PAUSE,
            Err(error) => {
                tracing::warn!(error, "the audit log waits to grow");
                FAILED_PAUSE
            }
        };
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(pause) => {}
        }
        if done.is_ok() {
            tokio::select! {
                () = stop.cancelled() => return None,
                // Without a writer there are no more leaves.
                changed = leaves.changed() => if changed.is_err() { return None },
            }
        }
    }
}
