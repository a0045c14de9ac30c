//! The loop that owns the state.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use wardround_journal::JournalError;
use wardround_rollout_plans::model::{DeploymentState, DeviceId, ProbeAnswer, RolloutId, SystemId};
use wardround_signing::Digest;

use super::{Absorbed, Batch, Site, group::absorb, now, store::Store, tasks::Tasks, told};
use crate::{
    NodeError,
    cache::Cache,
    identity::Identity,
    inventory::{Standing, StandingPatch, Standings},
    machine::{Deployment, Found, Input, Monitored, NodeState, OrderMark, Phase, SiteView, Wishes},
    sync::Wakers,
    trust::{Documents, Refusal},
};

/// Inputs that share one sync.
const GROUP_MAX: usize = 256;
/// Longest sleep: the clock may be set.
const SLEEP_MAX: Duration = Duration::from_secs(5);
/// Shortest sleep while the disk has no room: a deadline that can't be journalled stays due.
const SLEEP_FULL: Duration = Duration::from_secs(1);

pub(super) enum Message {
    Input(Input),
    /// Answered once it is on disk and in force; `false` when the disk has no room for it.
    Settled(Input, oneshot::Sender<bool>),
    Batch(oneshot::Sender<Batch>),
    /// Answered with why the install must not begin, after all that came before it.
    Barred(RolloutId, DeviceId, oneshot::Sender<Option<String>>),
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
        self.send(Input::Alarm { code: code.to_owned(), text, device: None }).await;
    }

    /// As [`Owner::alarm`], about a device. `false` when it is not on disk: it has to be raised again.
    pub(crate) async fn alarm_of(&self, code: &str, text: String, device: &DeviceId) -> bool {
        self.settle(Input::Alarm { code: code.to_owned(), text, device: Some(device.clone()) }).await
    }

    pub(super) async fn done(&self, rollout: RolloutId, device: DeviceId, task: u64, found: Found) {
        self.send(Input::Done { rollout, device, task, found }).await;
    }

    /// Why the install that is being prepared must not begin any more: asked again when the preparation took its time.
    pub(super) async fn barred(&self, rollout: &RolloutId, device: &DeviceId) -> Option<String> {
        let (sender, receiver) = oneshot::channel();
        let _ = self.0.send(Message::Barred(rollout.clone(), device.clone(), sender)).await;
        receiver.await.unwrap_or_else(|_| Some("the node ends".to_owned()))
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

/// Where each device with a deployment stands.
pub(super) fn standings(state: &NodeState) -> Standings {
    let mut all = Standings::new();
    for (rollout, device, deployment) in state.deployments() {
        let standing: &mut Standing = all.entry(device.clone()).or_default();
        let idle = matches!(deployment.phase, Phase::Fetch | Phase::Ready | Phase::Soak | Phase::Done);
        standing.at_work |= !idle || (deployment.busy && deployment.phase != Phase::Fetch);
        let there = match deployment.state {
            DeploymentState::Soaking | DeploymentState::Succeeded => true,
            DeploymentState::RolledBack | DeploymentState::RollbackFailed => false,
            _ => continue,
        };
        let Some(patch) = state.patch_of(rollout) else { continue };
        let (rollout, variant, since) = (rollout.clone(), deployment.variant.clone(), deployment.since);
        standing.patches.push(StandingPatch { rollout, patch, variant, there, since });
    }
    // The newest word on a patch counts.
    for standing in all.values_mut() {
        standing.patches.sort_by_key(|patch| patch.since);
    }
    all
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
    /// Where each device stands, for whoever would like to look at it.
    pub(super) standings: watch::Sender<Option<Standings>>,
    /// Inputs that found no room on the disk, oldest first.
    pub(super) postponed: Vec<Input>,
    /// The newest input found no room.
    pub(super) full: bool,
    /// The controller's newest directive has run out.
    pub(super) expired: bool,
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
        let mut batches = Vec::new();
        let mut inputs = Vec::new();
        let mut asked = Vec::new();
        // Messages that are no news come so often that no sleep ends among them: a clock that was set back, and what has fallen due, must
        // not wait for one.
        if self.state.is_news(&Input::Tick, at) {
            inputs.push((Input::Tick, None));
        }
        for message in group.drain(..) {
            match message {
                Message::Batch(reply) => batches.push(reply),
                Message::Settled(input, reply) => inputs.push((input, Some(reply))),
                Message::Input(input) => inputs.push((input, None)),
                Message::Barred(rollout, device, reply) => asked.push((rollout, device, reply)),
            }
        }
        let store = &self.store;
        let absorbed = absorb(&mut self.state, &mut self.postponed, inputs, at, &mut |input| store.append(input, at))?;
        let Absorbed { actions, settled, appended, full } = absorbed;
        let was_full = std::mem::replace(&mut self.full, full.is_some());
        if let Some(error) = full.filter(|_| !was_full) {
            tracing::error!(%error, hint = error.hint(), "the disk is nearly full: nothing new is begun");
        }
        if appended {
            self.store.sync().await?;
        }
        if appended {
            self.cache.need(self.needed());
        }
        for action in actions {
            self.tasks.begin(action);
        }
        for (reply, taken) in settled {
            let _ = reply.map(|reply| reply.send(taken));
        }
        for (rollout, device, reply) in asked {
            let _ = reply.send(self.state.barred(&rollout, &device, at));
        }
        for reply in batches {
            let _ = reply.send(Batch::of(&self.state, &self.identity.report_key));
        }
        told::expiry(&self.state, &mut self.expired, at);
        if self.state.outbox().last() > last {
            told::reports(&self.state, last);
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
            let standings = standings(&self.state);
            self.standings.send_if_modified(|known| {
                let changed = known.as_ref() != Some(&standings);
                if changed {
                    *known = Some(standings);
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

    fn collect_garbage(&self) {
        self.documents.retain(&self.state.documents());
        self.cache.need(self.needed());
        self.cache.tidy();
    }

    /// Payloads that must stay. A soaked device may still have to be taken back, and some uninstall with a payload.
    fn needed(&self) -> BTreeSet<Digest> {
        let open = |d: &Deployment| d.phase != Phase::Done || d.state == DeploymentState::Succeeded;
        let deployments = self.state.deployments().filter(|(_, _, d)| open(d));
        deployments.flat_map(|(_, _, d)| std::iter::once(d.payload).chain(d.previous)).collect()
    }
}
