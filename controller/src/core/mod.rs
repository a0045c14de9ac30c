//! The one owner of the state: changes come in over a channel, go to disk, and only then become true.
//!
//! `writer` is the task; [`Core`] is the handle that everything else holds. Readers see [`Facts`] behind a lock whose
//! write side is held only while a durable batch is stepped.

mod audit;
mod facts;
mod hub;
mod judge;
mod peers;
mod record;
mod recovery;
mod steady;
mod writer;

pub(crate) use audit::{read_audit, read_leaves};
pub(crate) use facts::{Applied, Facts};
pub(crate) use hub::{Hub, NodeStream, Nudge};
pub(crate) use judge::{Judged, judge};
pub(crate) use peers::{Peers, Presence};
pub(crate) use record::{Change, Entry, Record, Subject};
pub(crate) use recovery::RecoveryError;
pub use steady::Steady;
pub(crate) use writer::{Limits, Writer, write_down};

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{mpsc, oneshot, watch};
use wardround_journal::Journal;
use wardround_rollout_plans::engine::Refusal;

/// Changes that wait for the writer; beyond that, callers wait.
const WAITING_MAX: usize = 1_024;
/// Most bytes of one command as it is journalled: below the journal's own limit for a record.
const CHANGES_BYTES_MAX: usize = wardround_journal::RECORD_BYTES_MAX - 64 * 1024;

/// Why a change did not become true.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CoreError {
    /// It is not acceptable.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No room to write it down.
    #[error("the controller's disk is too full to write this down: {0}")]
    DiskFull(String),
    /// More than one record can hold.
    #[error("this is too large to be written down: {0}")]
    TooLarge(String),
    /// The journal failed; the process is stopping.
    #[error("the controller's journal has failed and the controller is stopping: {0}")]
    Broken(String),
    /// The process is stopping.
    #[error("the controller is shutting down")]
    Stopping,
}

/// What each change of a command came to.
pub(crate) type Outcomes = Vec<Result<(), Refusal>>;

/// Changes with the place where their outcome goes.
pub(crate) struct Command {
    changes: Vec<Change>,
    /// Size as it will be journalled.
    bytes: usize,
    reply: oneshot::Sender<Result<Outcomes, CoreError>>,
}

/// Handle of the state.
#[derive(Clone)]
pub(crate) struct Core {
    facts: Arc<RwLock<Facts>>,
    hub: Arc<Hub>,
    peers: Arc<Peers>,
    journal: Arc<Journal>,
    changes: mpsc::Sender<Command>,
    urgent: mpsc::Sender<Command>,
    /// How many audit leaves stand beside the journal.
    leaves: watch::Receiver<u64>,
}

impl Core {
    /// Reads the state. `look` must be short: the writer waits for it.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&Facts) -> R) -> R {
        look(&self.facts.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Connections and watchers.
    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Calls under way.
    pub(crate) fn peers(&self) -> &Arc<Peers> {
        &self.peers
    }

    /// The journal's side trees, for reading.
    pub(crate) fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// How many audit leaves stand beside the journal; they last from its next sync on.
    pub(crate) fn leaves(&self) -> watch::Receiver<u64> {
        self.leaves.clone()
    }

    /// Makes one change true. Answers when it is on disk and stepped.
    pub(crate) async fn submit(&self, change: impl Into<Change>) -> Result<(), CoreError> {
        let outcomes = self.submit_all(vec![change.into()]).await?;
        outcomes.into_iter().next().unwrap_or(Ok(())).map_err(CoreError::Refused)
    }

    /// Makes changes true, each for itself, in order.
    pub(crate) async fn submit_all(&self, changes: Vec<Change>) -> Result<Outcomes, CoreError> {
        let bytes = serde_json::to_vec(&changes).map_err(|e| CoreError::TooLarge(e.to_string()))?.len();
        if bytes > CHANGES_BYTES_MAX {
            return Err(CoreError::TooLarge(format!("it has {bytes} bytes; at most {CHANGES_BYTES_MAX} fit")));
        }
        let urgent = changes.iter().any(Change::is_order);
        let (reply, answer) = oneshot::channel();
        let lane = if urgent { &self.urgent } else { &self.changes };
        lane.send(Command { changes, bytes, reply }).await.map_err(|_| CoreError::Stopping)?;
        answer.await.map_err(|_| CoreError::Stopping)?
    }
}
