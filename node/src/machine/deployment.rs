//! One patch on one device: where it stands and the named moves between states.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wardround_rollout_plans::model::{
    DeploymentState, Detected, DeviceId, DurationMs, Evidence, RebootNeed, ReportBody, RolloutId, SystemId, Timestamp,
    VariantId, WaveName,
};
use wardround_signing::Digest;

use super::{
    input::{GoalWish, RolloutPolicy, is_zero},
    outbox::{Outbox, clip},
};

/// What a deployment does next or is doing. Finer than [`DeploymentState`], which is what people see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// Bring the payload into the cache.
    Fetch,
    /// Put it on the device.
    Stage,
    /// Waits for its turn, a resume, or a retry; then preflight.
    Ready,
    /// Ask the device and its systems.
    Preflight,
    /// The installer may run: from here on the patch may be on the device.
    Install,
    /// The installer failed, and the device is asked whether that has changed anything.
    Look,
    /// The device reboots.
    Reboot,
    /// Detection and first probes.
    Verify,
    /// Watched until the soak ends.
    Soak,
    /// Last detection and probes.
    Final,
    /// The uninstaller may run.
    Uninstall,
    /// The device reboots after the uninstall.
    RebootBack,
    /// Is the device as it was?
    VerifyBack,
    /// At an end; what is left on the device is removed.
    Done,
}

impl Phase {
    /// The device is being disrupted or watched: it holds a place under the limits (S4).
    pub(crate) fn holds_place(self) -> bool {
        !matches!(self, Self::Fetch | Self::Stage | Self::Ready | Self::Done)
    }

    /// Nothing has been changed on the device yet.
    pub(crate) fn is_untouched(self) -> bool {
        matches!(self, Self::Fetch | Self::Stage | Self::Ready | Self::Preflight)
    }

    /// Its clinical systems may fail because of work that is under way.
    pub(crate) fn disturbs(self) -> bool {
        matches!(self, Self::Install | Self::Look | Self::Reboot | Self::Uninstall | Self::RebootBack)
    }

    /// Installed and under watch.
    pub(crate) fn is_watched(self) -> bool {
        matches!(self, Self::Verify | Self::Soak | Self::Final)
    }
}

/// Why something is so: a machine word and a sentence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cause {
    /// Machine word.
    pub(crate) code: String,
    /// One sentence.
    pub(crate) reason: String,
}

impl Cause {
    pub(crate) fn new(code: &str, reason: impl Into<String>) -> Self {
        Self { code: code.to_owned(), reason: clip(&reason.into()) }
    }
}

/// A deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deployment {
    pub(crate) wave: WaveName,
    pub(crate) variant: VariantId,
    pub(crate) reboot: RebootNeed,
    pub(crate) payload: Digest,
    pub(crate) payload_length: u64,
    /// What the payload replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) previous: Option<Digest>,
    /// The goal's attempt that reports answer.
    pub(crate) attempt: u32,
    /// The attempt under which the device knows the operation.
    pub(crate) op_attempt: u32,
    /// What people see.
    pub(crate) state: DeploymentState,
    pub(crate) since: Timestamp,
    pub(crate) cause: Cause,
    pub(crate) phase: Phase,
    /// A task is under way.
    pub(crate) busy: bool,
    /// Number of the newest task.
    pub(crate) task: u64,
    /// The process ended while the present phase's task was under way.
    pub(crate) resumed: bool,
    /// Not before this.
    pub(crate) retry_at: Option<Timestamp>,
    /// No window is open until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) opens_at: Option<Timestamp>,
    /// Since when it has been put off, without the time for which others made it wait.
    pub(crate) deferred_since: Option<Timestamp>,
    /// Since when it waits for a resume, a place or the controller: that is not the device's doing.
    #[serde(default)]
    pub(crate) excused_since: Option<Timestamp>,
    /// Failures of the present phase.
    pub(crate) tries: u32,
    /// Since when the present phase has been tried.
    pub(crate) phase_since: Timestamp,
    /// From 1; a second run of the installer (after "busy") has an operation id of its own.
    pub(crate) install_run: u32,
    /// How often an install that failed was tried again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) retries: u32,
    /// From 1 once a rollback began.
    pub(crate) uninstall_run: u32,
    pub(crate) before: Option<Detected>,
    /// Was the system healthy before the install? Systems without probes are absent.
    pub(crate) baseline: BTreeMap<SystemId, bool>,
    /// When the last install or reboot ended.
    pub(crate) disrupted_at: Option<Timestamp>,
    /// Consecutive failures that count, by system.
    pub(crate) failures: BTreeMap<SystemId, u32>,
    pub(crate) soak_until: Option<Timestamp>,
    /// Set when the patch is to be taken back.
    pub(crate) take_back: Option<Cause>,
    /// The attempt whose rollback wish was answered.
    pub(crate) rollback_answered: u32,
    pub(crate) cleaned: bool,
    /// An attempt before this one ended without its patch being taken back: it may still be on the device.
    #[serde(default)]
    pub(crate) left: bool,
}

/// Operation id of a run of the installer whose first one is `first`.
pub(crate) fn run_of_install(first: &str, run: u32) -> String {
    if run > 1 { format!("{first}.i{run}") } else { first.to_owned() }
}

/// False for an operation id of a later run of an installer: ids end with the number of the attempt, or with ".i" and that of the run.
pub(crate) fn is_first_run(op: &str) -> bool {
    op.rsplit_once(".i").is_none_or(|(_, run)| run.is_empty() || !run.bytes().all(|b| b.is_ascii_digit()))
}

/// What a move needs from around the deployment.
pub(crate) struct Env<'a> {
    pub(crate) rollout: &'a RolloutId,
    pub(crate) device: &'a DeviceId,
    pub(crate) policy: &'a RolloutPolicy,
    /// The rollout's document.
    pub(crate) document: Digest,
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) now: Timestamp,
}

impl Deployment {
    /// As offered.
    pub(crate) fn offered(goal: &GoalWish, now: Timestamp) -> Self {
        Self {
            wave: goal.wave.clone(),
            variant: goal.variant.clone(),
            reboot: goal.reboot,
            payload: goal.payload,
            payload_length: goal.payload_length,
            previous: goal.previous,
            attempt: goal.attempt,
            op_attempt: goal.attempt,
            state: DeploymentState::Offered,
            since: now,
            cause: Cause::default(),
            phase: Phase::Fetch,
            busy: false,
            task: 0,
            resumed: false,
            retry_at: None,
            opens_at: None,
            deferred_since: None,
            excused_since: None,
            tries: 0,
            phase_since: now,
            install_run: 1,
            retries: 0,
            uninstall_run: 0,
            before: None,
            baseline: BTreeMap::new(),
            disrupted_at: None,
            failures: BTreeMap::new(),
            soak_until: None,
            take_back: None,
            rollback_answered: 0,
            cleaned: false,
            left: false,
        }
    }

    /// Operation id of the present phase. "r1.ct-01.1" for the first install and the first uninstall; further runs get
    /// a suffix, since a device answers a repeated id with the recorded result.
    pub(crate) fn op(&self, rollout: &RolloutId, device: &DeviceId) -> String {
        let back = matches!(self.phase, Phase::Uninstall | Phase::RebootBack | Phase::VerifyBack);
        if back && self.uninstall_run > 1 {
            return format!("{}.u{}", self.op_base(rollout, device), self.uninstall_run);
        }
        self.install_op(rollout, device, self.install_run)
    }

    fn op_base(&self, rollout: &RolloutId, device: &DeviceId) -> String {
        format!("{rollout}.{}.{}", device.name(), self.op_attempt)
    }

    fn install_op(&self, rollout: &RolloutId, device: &DeviceId, run: u32) -> String {
        run_of_install(&self.op_base(rollout, device), run)
    }

    /// Operation id of the present run of the installer.
    pub(crate) fn newest_install(&self, rollout: &RolloutId, device: &DeviceId) -> String {
        self.install_op(rollout, device, self.install_run)
    }

    /// Operation id of the run of the installer before the present one.
    pub(crate) fn op_before(&self, rollout: &RolloutId, device: &DeviceId) -> Option<String> {
        (self.install_run > 1).then(|| self.install_op(rollout, device, self.install_run - 1))
    }

    /// Every operation id under which something may be left on the device. Runs before [`Deployment::op_before`] were removed when the
    /// next one was staged; but a node that has taken a later run over had staged the first one.
    pub(crate) fn ops(&self, rollout: &RolloutId, device: &DeviceId) -> Vec<String> {
        let runs = BTreeSet::from([1, self.install_run.saturating_sub(1).max(1), self.install_run]);
        let installs = runs.into_iter().map(|run| self.install_op(rollout, device, run));
        let uninstalls = (2..=self.uninstall_run).map(|run| format!("{}.u{run}", self.op_base(rollout, device)));
        installs.chain(uninstalls).collect()
    }

    /// False while the uninstall still waits for its turn.
    pub(crate) fn has_begun(&self) -> bool {
        self.phase != Phase::Uninstall || self.busy || self.resumed || self.tries > 0
    }

    /// The clock was set back by so much.
    pub(crate) fn set_back(&mut self, by: DurationMs) {
        let by = i64::try_from(by.0).unwrap_or(i64::MAX);
        let optional = [
            &mut self.retry_at,
            &mut self.deferred_since,
            &mut self.excused_since,
            &mut self.disrupted_at,
            &mut self.soak_until,
        ];
        for at in [&mut self.since, &mut self.phase_since].into_iter().chain(optional.into_iter().flatten()) {
            at.0 = at.0.saturating_sub(by);
        }
    }

    /// Moves to another phase: counters of the phase begin anew.
    pub(crate) fn go(&mut self, phase: Phase, now: Timestamp) {
        self.phase = phase;
        self.busy = false;
        self.resumed = false;
        self.retry_at = None;
        self.tries = 0;
        self.phase_since = now;
    }

    /// Shows a state to the world; says nothing when nothing changed.
    pub(crate) fn show(&mut self, env: &mut Env<'_>, state: DeploymentState, cause: Cause, evidence: Evidence) {
        if self.state == state && self.cause == cause && evidence == Evidence::default() {
            return;
        }
        if self.state != state {
            self.since = env.now;
        }
        self.state = state;
        self.cause = cause;
        self.report(env, evidence);
    }

    /// Reports the state as it is.
    pub(crate) fn report(&self, env: &mut Env<'_>, evidence: Evidence) {
        let evidence = Evidence { document: Some(env.document), ..evidence };
        env.outbox.push(
            env.now,
            ReportBody::Deployment {
                rollout: env.rollout.clone(),
                device: env.device.clone(),
                attempt: self.attempt,
                state: self.state,
                reason: self.cause.reason.clone(),
                code: self.cause.code.clone(),
                evidence,
            },
        );
    }

    /// Comes to an end.
    pub(crate) fn end(&mut self, env: &mut Env<'_>, state: DeploymentState, cause: Cause, evidence: Evidence) {
        self.go(Phase::Done, env.now);
        // "Failed" says that the device is as it was, which nobody knows here.
        let unknown = self.left && state == DeploymentState::Failed;
        self.show(env, if unknown { DeploymentState::RollbackFailed } else { state }, cause, evidence);
    }

    /// Comes to an end that a person must look at.
    pub(crate) fn give_up(&mut self, env: &mut Env<'_>, state: DeploymentState, cause: Cause, evidence: Evidence) {
        let text = format!("{} in rollout {}: {}", env.device, env.rollout, cause.reason);
        let code = if state == DeploymentState::RollbackFailed { "rollback_failed" } else { "needs_person" };
        self.end(env, state, cause, evidence);
        self.alarm(env, code, &text);
    }

    /// Calls a person.
    #[expect(clippy::unused_self, reason = "an alarm is about this deployment, which the environment names")]
    pub(crate) fn alarm(&self, env: &mut Env<'_>, code: &str, text: &str) {
        let body = ReportBody::Alarm { code: code.to_owned(), text: clip(text), device: Some(env.device.clone()) };
        env.outbox.push(env.now, body);
    }

    /// Not now: tried again later, and handed to a person when that went on for too long.
    pub(crate) fn defer(&mut self, env: &mut Env<'_>, to: Phase, cause: Cause, evidence: Evidence) {
        let since = *self.deferred_since.get_or_insert(env.now);
        if env.now.since(since) >= env.policy.defer_max {
            let reason = format!("put off for {} and given up: {}", env.policy.defer_max, cause.reason);
            return self.give_up(env, DeploymentState::Failed, Cause::new(&cause.code, reason), evidence);
        }
        self.go(to, env.now);
        self.retry_at = Some(env.now.after(env.policy.retry_after));
        // The same reason again is no news, whatever the probes' times say.
        if self.state != DeploymentState::Deferred || self.cause != cause {
            self.show(env, DeploymentState::Deferred, cause, evidence);
        }
    }

    /// Time for which a halt, a limit or the controller makes it wait does not count as being put off: after a halt of a
    /// week a device would be given up at its first busy minute.
    pub(crate) fn excuse(&mut self, waits: bool, now: Timestamp) {
        if waits {
            self.excused_since.get_or_insert(now);
        } else if let Some(since) = self.excused_since.take() {
            self.deferred_since = self.deferred_since.map(|put_off| put_off.after(now.since(since)));
        }
    }

    /// Tries the present phase again after a while that doubles from one second to a minute.
    pub(crate) fn again(&mut self, now: Timestamp) {
        self.busy = false;
        self.tries = self.tries.saturating_add(1);
        let seconds = 1_u64 << self.tries.saturating_sub(1).min(6);
        self.retry_at = Some(now.after(DurationMs::from_secs(seconds.min(60))));
    }

    /// Wants the patch taken back. What has not touched the device ends; a step that is under way is finished first.
    pub(crate) fn want_back(&mut self, env: &mut Env<'_>, cause: &Cause) {
        if self.take_back.is_some() {
            return;
        }
        match self.phase {
            phase if phase.is_untouched() && self.left => self.roll_back(env, cause, Evidence::default()),
            phase if phase.is_untouched() => {
                self.end(env, DeploymentState::Failed, cause.clone(), Evidence::default());
            }
            Phase::Install | Phase::Reboot => self.take_back = Some(cause.clone()),
            Phase::Look | Phase::Verify | Phase::Soak | Phase::Final => {
                self.roll_back(env, cause, Evidence::default());
            }
            Phase::Done if self.state == DeploymentState::Succeeded => self.roll_back(env, cause, Evidence::default()),
            _ => {}
        }
    }

    /// Begins to take the patch back.
    pub(crate) fn roll_back(&mut self, env: &mut Env<'_>, cause: &Cause, evidence: Evidence) {
        self.take_back = Some(cause.clone());
        self.uninstall_run = 1;
        self.cleaned = false;
        self.failures.clear();
        self.go(Phase::Uninstall, env.now);
        self.show(env, DeploymentState::RollingBack, cause.clone(), evidence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_runs_are_told_from_later_ones() {
        for first in ["r1.ct-01.1", "r1.ct.i2.1", "r.i3.x.12"] {
            assert!(is_first_run(first) && run_of_install(first, 1) == first, "{first}");
            assert!(!is_first_run(&run_of_install(first, 2)), "{first}");
        }
    }
}
