//! The loop that owns the state.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use wardround_journal::JournalError;
use wardround_rollout_plans::model::{DeploymentState, DeviceId, ProbeAnswer, RolloutId, SystemId};
use wardround_signing::{Digest, Envelope};

use super::{Site, now, store::Store, tasks::Tasks};
use crate::{
    NodeError,
    cache::Cache,
    identity::Identity,
    machine::{Action, Found, Input, Monitored, NodeState, OrderMark, Phase, SiteView, Wishes},
    sync::{REPORT_BYTES_MAX, REPORTS_MAX, Wakers},
    trust::{Documents, Refusal},
};

/// Inputs that share one sync.
const GROUP_MAX: usize = 256;
/// Longest sleep: the clock may be set.
const SLEEP_MAX: Duration = Duration::from_secs(5);
/// Shortest sleep while the disk has no room: a deadline that can't be journalled stays due.
const SLEEP_FULL: Duration = Duration::from_secs(1);

/// Reports for one check-in.
pub(crate) struct Batch {
    /// Highest sequence number that the controller has acknowledged so far.
    pub(crate) acked: u64,
    /// Signed, oldest first.
    pub(crate) reports: Vec<Envelope>,
    /// More are waiting.
    pub(crate) more: bool,
    /// Counter of the newest directive accepted.
    pub(crate) directive_counter: u64,
}

pub(super) enum Message {
    Input(Input),
    /// Answered once it is on disk and in force; `false` when the disk has no room for it.
    Settled(Input, oneshot::Sender<bool>),
    Batch(oneshot::Sender<Batch>),
}

impl Message {
    fn is_halt(&self) -> bool {
        matches!(self, Self::Input(Input::Halt(_)) | Self::Settled(Input::Halt(_), _))
    }
}

/// Inputs that nobody says again. Without room in the journal they wait here instead of being forgotten: the answer of a
/// task would leave its deployment waiting for ever, a halt would not hold, a changed site file would not count.
fn is_said_once(input: &Input) -> bool {
    matches!(input, Input::Restarted | Input::Site(_) | Input::Halt(_) | Input::Alarm { .. } | Input::Done { .. })
}

/// The way to the loop. When the loop has ended nothing is listened to any more, and calls return at once.
#[derive(Clone)]
pub(crate) struct Owner(mpsc::Sender<Message>);

impl Owner {
    pub(super) fn new(sender: mpsc::Sender<Message>) -> Self {
        Self(sender)
    }

    async fn send(&self, input: Input) {
        let _ = self.0.send(Message::Input(input)).await;
    }

    /// Returns when the input is on disk and in force; `false` when it is not.
    async fn settle(&self, input: Input) -> bool {
        let (sender, receiver) = oneshot::channel();
        let _ = self.0.send(Message::Settled(input, sender)).await;
        receiver.await.unwrap_or(false)
    }

    pub(crate) async fn halt(&self, order: OrderMark) {
        self.settle(Input::Halt(order)).await;
    }

    /// `false` when there was no room for it: it has to be said again.
    pub(crate) async fn wishes(&self, wishes: Wishes) -> bool {
        self.settle(Input::Wishes(Box::new(wishes))).await
    }

    pub(crate) async fn acked(&self, seq: u64) {
        self.settle(Input::Acked { seq }).await;
    }

    pub(crate) async fn refused(&self, refusal: Refusal) {
        let Refusal { what, why, rollout } = refusal;
        self.send(Input::Refused { what: what.to_owned(), why, rollout }).await;
    }

    pub(super) async fn site(&self, view: SiteView) {
        self.send(Input::Site(Box::new(view))).await;
    }

    pub(super) async fn probed(&self, system: SystemId, answers: Vec<ProbeAnswer>) {
        self.send(Input::Probed { system, answers }).await;
    }

    pub(super) async fn alarm(&self, code: &str, text: String) {
        self.send(Input::Alarm { code: code.to_owned(), text }).await;
    }

    pub(super) async fn done(&self, rollout: RolloutId, device: DeviceId, task: u64, found: Found) {
        self.send(Input::Done { rollout, device, task, found }).await;
    }

    /// The next reports.
    pub(crate) async fn batch(&self) -> Batch {
        let (sender, receiver) = oneshot::channel();
        let _ = self.0.send(Message::Batch(sender)).await;
        match receiver.await {
            Ok(batch) => batch,
            // The loop has ended; so will the caller, at its next look at the stop token.
            Err(_) => std::future::pending().await,
        }
    }
}

/// What the loop works with.
pub(super) struct Work {
    pub(super) state: NodeState,
    pub(super) store: Store,
    pub(super) tasks: Tasks,
    pub(super) identity: Arc<Identity>,
    pub(super) documents: Arc<Documents>,
    pub(super) cache: Cache,
    /// Wakes the check-ins when there is something to say.
    pub(super) wakers: Arc<Wakers>,
    pub(super) monitored: watch::Sender<Monitored>,
    /// Inputs that found no room on the disk, oldest first.
    pub(super) postponed: Vec<Input>,
    /// The newest input found no room.
    pub(super) full: bool,
}

impl Work {
    /// Runs until `stop`.
    pub(super) async fn run(
        mut self,
        mut receiver: mpsc::Receiver<Message>,
        site: watch::Receiver<Arc<Site>>,
        stop: CancellationToken,
    ) -> Result<(), NodeError> {
        let view = site.borrow().view();
        self.collect_garbage();
        // The site before the restart: what is taken up again needs it.
        let mut group = vec![Message::Input(Input::Site(Box::new(view))), Message::Input(Input::Restarted)];
        loop {
            let ran = self.take(&mut group).await;
            ran.map_err(|source| NodeError::Journal { path: self.store.folder().to_owned(), source })?;
            let due = self.state.next_due().map(|at| Duration::from_millis(at.since(now()).0));
            let least = if self.full { SLEEP_FULL } else { Duration::ZERO };
            let sleep = tokio::time::sleep(due.unwrap_or(SLEEP_MAX).clamp(least, SLEEP_MAX));
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                received = receiver.recv_many(&mut group, GROUP_MAX) => {
                    if received == 0 {
                        return Ok(());
                    }
                }
                () = sleep => group.push(Message::Input(Input::Tick)),
            }
        }
    }

    /// One group: journal, step, sync; then act and answer.
    async fn take(&mut self, group: &mut Vec<Message>) -> Result<(), JournalError> {
        let at = now();
        let last = self.state.outbox().last();
        let mut actions: Vec<Action> = Vec::new();
        let mut settled = Vec::new();
        let mut batches = Vec::new();
        let mut appended = false;
        // What found no room before comes before what is newer.
        let postponed = std::mem::take(&mut self.postponed);
        group.splice(0..0, postponed.into_iter().map(Message::Input));
        let was_full = std::mem::take(&mut self.full);
        // Halts before everything else: what waited in the same queue must not begin an install behind one.
        group.sort_by_key(|message| !message.is_halt());
        for message in group.drain(..) {
            let (input, reply) = match message {
                Message::Batch(reply) => {
                    batches.push(reply);
                    continue;
                }
                Message::Settled(input, reply) => (input, Some(reply)),
                Message::Input(input) => (input, None),
            };
            let mut taken = true;
            if self.state.is_news(&input, at) {
                match self.store.append(&input, at) {
                    Ok(()) => {
                        actions.extend(self.state.step(&input, at));
                        appended = true;
                    }
                    // Nothing new is begun on a full disk. What the controller wants comes again with a later check-in.
                    Err(error @ JournalError::Full { .. }) => {
                        if !(was_full || self.full) {
                            tracing::error!(%error, hint = error.hint(), "the disk is nearly full: nothing new is begun");
                        }
                        self.full = true;
                        taken = false;
                        if is_said_once(&input) {
                            // Of the site file only the newest counts.
                            let site = matches!(input, Input::Site(_));
                            self.postponed.retain(|known| !(site && matches!(known, Input::Site(_))));
                            self.postponed.push(input);
                        }
                    }
                    // A controller that wants too much at once must not stop the watch over what is installed.
                    Err(error @ JournalError::TooLarge { .. }) if matches!(input, Input::Wishes(_)) => {
                        tracing::error!(%error, "a directive is too large to be journalled and is not obeyed");
                        taken = false;
                    }
                    Err(error) => return Err(error),
                }
            }
            settled.extend(reply.map(|reply| (reply, taken)));
        }
        if appended {
            self.store.sync().await?;
        }
        for action in actions {
            self.tasks.begin(action);
        }
        for (reply, taken) in settled {
            let _ = reply.send(taken);
        }
        for reply in batches {
            let _ = reply.send(self.batch());
        }
        if self.state.outbox().last() > last {
            self.wakers.news.notify_one();
        }
        if appended {
            let monitored = self.state.monitored();
            self.monitored.send_if_modified(|known| {
                let changed = *known != monitored;
                if changed {
                    *known = monitored;
                }
                changed
            });
            match self.store.compact(&self.state).await {
                Ok(true) => self.collect_garbage(),
                Ok(false) => {}
                Err(error @ JournalError::Full { .. }) => tracing::warn!(%error, "no snapshot for lack of room"),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn batch(&self) -> Batch {
        let mut bytes = 0;
        let mut reports = Vec::new();
        let mut more = false;
        for report in self.state.outbox().waiting() {
            // Ed25519 is deterministic: a report that is sent again has the same bytes.
            let envelope = match Envelope::seal(report, &self.identity.report_key) {
                Ok(envelope) => envelope,
                Err(error) => {
                    tracing::error!(%error, seq = report.seq, "a report can't be signed");
                    break;
                }
            };
            bytes += envelope.payload.len() + 256;
            if reports.len() >= REPORTS_MAX || (bytes > REPORT_BYTES_MAX && !reports.is_empty()) {
                more = true;
                break;
            }
            reports.push(envelope);
        }
        let acked = self.state.outbox().acked();
        Batch { acked, reports, more, directive_counter: self.state.directive_counter() }
    }

    fn collect_garbage(&self) {
        self.documents.retain(&self.state.documents());
        // A soaked device may still have to be taken back, and scripts uninstall with their payload.
        let wanted: BTreeSet<Digest> = self
            .state
            .deployments()
            .filter(|(_, _, d)| d.phase != Phase::Done || d.state == DeploymentState::Succeeded)
            .map(|(_, _, d)| d.payload)
            .collect();
        self.cache.retain(&wanted);
    }
}
