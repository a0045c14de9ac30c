//! The node's decisions: state is the fold of the journalled [`Input`]s, [`NodeState::step`] gives the [`Action`]s.
//!
//! **Invariant:** no clock, randomness, I/O or async in this room. The same inputs give the same state, so a crash at any
//! point is mended by replaying the journal and one [`Input::Restarted`].
//!
//! **Invariant:** an action follows from a record that is on disk before the action runs (intent before side effect).

mod action;
mod again;
mod deployment;
mod goals;
mod halts;
mod health;
mod holds;
mod input;
mod outbox;
mod own;
mod pump;
mod settle;
#[cfg(test)]
mod tests;
mod trouble;
mod versions;
mod windows;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wardround_rollout_plans::model::{DeviceId, DurationMs, Mode, ReportBody, RolloutId, SiteId, SystemId, Timestamp};
use wardround_signing::Digest;

pub use action::{Action, Verb};
use deployment::Env;
pub(crate) use deployment::{Cause, Deployment, Phase, is_first_run, run_of_install};
use halts::Halts;
pub use health::Monitored;
use health::SystemState;
use holds::Holds;
pub use holds::{HoldMark, ReleaseMark};
pub use input::{
    Begun, CheckFound, Fault, FaultKind, Found, GoalWish, Input, InstallFound, InstallOutcome, OrderMark,
    PreflightFound, RolloutPolicy, RolloutWish, SiteView, UninstallFound, WatchRules, WavePolicy, Wishes,
};
pub use outbox::Outbox;
pub(crate) use outbox::clip;
use trouble::Trouble;
pub use versions::Version;

/// Most distinct refusals that are reported; a controller that sends rubbish for ever must not fill the disk.
const REFUSALS_MAX: usize = 256;
/// Most rollouts that are no longer in the directive but remembered, so that none of their attempts is done twice.
const PAST_ROLLOUTS_MAX: usize = 64;

/// Everything that the node knows and must not forget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    site: SiteView,
    outbox: Outbox,
    /// Counter of the newest directive accepted: the floor.
    counter: u64,
    expires_at: Timestamp,
    /// Digest of the newest wishes: the same again is no news.
    wishes: Option<Digest>,
    rollouts: BTreeMap<RolloutId, RolloutState>,
    halts: BTreeMap<RolloutId, Halts>,
    /// People's holds on gates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    holds: BTreeMap<RolloutId, Holds>,
    /// Floors: the newest version accepted of each rollout that was amended.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    versions: BTreeMap<RolloutId, u32>,
    systems: BTreeMap<SystemId, SystemState>,
    refusals: BTreeSet<Digest>,
    /// The time of the newest input.
    #[serde(default)]
    clock: Timestamp,
}

/// One rollout on this site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RolloutState {
    pub(crate) digest: Digest,
    /// Its version.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub(crate) version: u32,
    pub(crate) patch_digest: Digest,
    pub(crate) policy: RolloutPolicy,
    pub(crate) mode: Mode,
    pub(crate) cancelled: bool,
    /// It stands in the newest directive.
    pub(crate) active: bool,
    /// The node has blamed it: nothing new until the controller has heard of that and still wants to go on.
    pub(crate) block: Option<Block>,
    /// Systems that are not blamed yet, since unpatched ones of the site fail too.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    trouble: BTreeMap<SystemId, Trouble>,
    pub(crate) goals: BTreeMap<DeviceId, GoalWish>,
    pub(crate) deployments: BTreeMap<DeviceId, Deployment>,
}

/// Since when a rollout is blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Block {
    /// Sequence number of the report that blames it.
    pub(crate) report: u64,
    /// Counter of the directive at that moment.
    pub(crate) counter: u64,
}

impl NodeState {
    /// A node that has just been enrolled.
    #[must_use]
    pub fn new(site: SiteId) -> Self {
        Self {
            site: SiteView::default(),
            outbox: Outbox::new(site),
            counter: 0,
            expires_at: Timestamp(0),
            wishes: None,
            rollouts: BTreeMap::new(),
            halts: BTreeMap::new(),
            holds: BTreeMap::new(),
            versions: BTreeMap::new(),
            systems: BTreeMap::new(),
            refusals: BTreeSet::new(),
            clock: Timestamp(0),
        }
    }

    /// Takes one input into the state and says what is to be done.
    #[must_use = "an action that is not run leaves its deployment waiting until the next start"]
    pub fn step(&mut self, input: &Input, now: Timestamp) -> Vec<Action> {
        self.keep_time(now);
        if matches!(input, Input::Restarted | Input::Site(_) | Input::Wishes(_)) {
            self.forget_windows();
        }
        match input {
            Input::Restarted => self.take_up(),
            Input::Site(view) => self.learn_site(view, now),
            Input::Wishes(wishes) => self.obey(wishes, now),
            Input::Halt(order) => self.learn_halt(order, now),
            Input::Refused { what, why, rollout } => self.refuse(what, why, rollout.as_ref(), now),
            Input::Acked { seq } => self.outbox.ack(*seq),
            Input::Tick => {}
            Input::Alarm { code, text, device } => {
                let device = device.clone();
                self.outbox.push(now, ReportBody::Alarm { code: clip(code), text: clip(text), device });
            }
            Input::Probed { system, answers } => self.probed(system, answers, now),
            Input::Done { rollout, device, task, found } => self.settle(rollout, device, *task, found, now),
        }
        self.pump(now)
    }

    /// False when the input would change nothing: such inputs are not journalled.
    #[must_use]
    pub fn is_news(&self, input: &Input, now: Timestamp) -> bool {
        match input {
            Input::Restarted | Input::Alarm { .. } => true,
            Input::Site(view) => self.site != **view,
            Input::Wishes(wishes) => wishes.counter >= self.counter && self.wishes != goals::identity(wishes),
            Input::Halt(order) => self.halts.get(&order.rollout).is_none_or(|h| !h.knows(&order.order)),
            Input::Refused { what, why, rollout } => {
                self.refusals.len() < REFUSALS_MAX && !self.refusals.contains(&refusal(what, why, rollout.as_ref()))
            }
            Input::Acked { seq } => (*seq).min(self.outbox.last()) > self.outbox.acked(),
            Input::Tick => now < self.clock || self.next_due().is_some_and(|due| due <= now),
            Input::Probed { system, answers } => self.probe_is_news(system, answers, now),
            Input::Done { rollout, device, task, .. } => self
                .rollouts
                .get(rollout)
                .and_then(|r| r.deployments.get(device))
                .is_some_and(|d| d.busy && d.task == *task),
        }
    }

    /// Reports that wait for the controller.
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Counter of the newest directive accepted.
    #[must_use]
    pub fn directive_counter(&self) -> u64 {
        self.counter
    }

    /// The newest directive has run out: nothing new begins on it.
    #[must_use]
    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        self.counter > 0 && now >= self.expires_at
    }

    /// Every deployment that is known.
    pub(crate) fn deployments(&self) -> impl Iterator<Item = (&RolloutId, &DeviceId, &Deployment)> {
        self.rollouts
            .iter()
            .flat_map(|(r, state)| state.deployments.iter().map(move |(d, deployment)| (r, d, deployment)))
    }

    /// The patch document of a rollout.
    pub(crate) fn patch_of(&self, rollout: &RolloutId) -> Option<Digest> {
        self.rollouts.get(rollout).map(|state| state.patch_digest)
    }

    /// Documents that the state still refers to: rollouts and patches.
    #[must_use]
    pub fn documents(&self) -> BTreeSet<Digest> {
        self.rollouts.values().flat_map(|r| [r.digest, r.patch_digest]).collect()
    }

    /// When the clock is set back, what was reckoned with it goes back too: else retries and soaks would wait, and a
    /// grace would excuse failing systems, for as long as the clock had been ahead.
    fn keep_time(&mut self, now: Timestamp) {
        let back = self.clock.since(now);
        self.clock = now;
        if back > DurationMs(0) {
            for deployment in self.rollouts.values_mut().flat_map(|r| r.deployments.values_mut()) {
                deployment.set_back(back);
            }
            let by = i64::try_from(back.0).unwrap_or(i64::MAX);
            let excused = self.rollouts.values_mut().flat_map(|r| r.trouble.values_mut()).map(|t| &mut t.since);
            let failing = self.systems.values_mut().filter_map(|s| s.failing_since.as_mut());
            excused.chain(failing).for_each(|at| at.0 = at.0.saturating_sub(by));
            self.forget_windows();
        }
    }

    /// The process began anew: no task is under way any more. Each is given out again; the device knows it by its
    /// operation id.
    fn take_up(&mut self) {
        for deployment in self.rollouts.values_mut().flat_map(|r| r.deployments.values_mut()) {
            deployment.resumed = deployment.busy;
            deployment.busy = false;
        }
        self.watch_own_anew();
    }

    fn learn_site(&mut self, view: &SiteView, now: Timestamp) {
        if self.site.inventory != view.inventory
            && let Some(inventory) = &view.inventory
        {
            self.outbox.push(now, ReportBody::Inventory { inventory: inventory.clone() });
        }
        self.site = view.clone();
        let declared: BTreeSet<&SystemId> =
            view.inventory.iter().flat_map(|i| i.systems.iter().map(|s| &s.id)).collect();
        self.systems.retain(|id, _| declared.contains(id));
    }

    fn refuse(&mut self, what: &str, why: &str, rollout: Option<&RolloutId>, now: Timestamp) {
        if self.refusals.len() < REFUSALS_MAX && self.refusals.insert(refusal(what, why, rollout)) {
            self.outbox.push(now, ReportBody::Refused { what: clip(what), why: clip(why), rollout: rollout.cloned() });
        }
    }

    /// Runs `act` on one deployment with its surroundings.
    fn with<T>(
        &mut self,
        rollout: &RolloutId,
        device: &DeviceId,
        now: Timestamp,
        act: impl FnOnce(&mut Deployment, &mut Env<'_>) -> T,
    ) -> Option<T> {
        let state = self.rollouts.get_mut(rollout)?;
        let deployment = state.deployments.get_mut(device)?;
        let mut env =
            Env { rollout, device, policy: &state.policy, document: state.digest, outbox: &mut self.outbox, now };
        Some(act(deployment, &mut env))
    }
}

fn first() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_first(version: &u32) -> bool {
    *version == 1
}

fn refusal(what: &str, why: &str, rollout: Option<&RolloutId>) -> Digest {
    Digest::of(format!("{what}\n{why}\n{}", rollout.map_or("", RolloutId::as_str)).as_bytes())
}
