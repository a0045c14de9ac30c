//! Trying a failed install again, where the plan wants that.
//!
//! Only what says nothing about the patch is tried again: the line broke, the time was up, the launcher left no result. And
//! only when the device itself shows that nothing has changed. What the installer itself has called a failure is one.

use std::collections::BTreeMap;

use wardround_rollout_plans::model::{DeploymentState, Detected, Evidence, ProbeAnswer, SystemId};

use super::{Cause, CheckFound, Deployment, Phase, deployment::Env, settle::verdicts};

impl Deployment {
    /// True when the plan has a try left. What an earlier attempt left on the device is no ground to try anything.
    pub(super) fn may_retry(&self, env: &Env<'_>) -> bool {
        self.take_back.is_none() && !self.left && self.retries < env.policy.retries.most
    }

    /// It failed, and nobody knows what has become of the device: that is asked first.
    pub(super) fn look(&mut self, env: &mut Env<'_>, cause: Cause) {
        self.disrupted_at = Some(env.now);
        self.go(Phase::Look, env.now);
        self.show(env, DeploymentState::Installing, cause, Evidence::default());
    }

    /// The device was looked at after an install that failed.
    pub(super) fn looked(&mut self, env: &mut Env<'_>, found: &CheckFound, evidence: Evidence) {
        let cause = self.cause.clone();
        match &found.detected {
            Detected::Absent => self.retry(env, &cause, evidence),
            Detected::Unknown { .. } if env.now.since(self.phase_since) < env.policy.reboot_timeout => {
                self.again(env.now)
            }
            Detected::Present { .. } | Detected::Unknown { .. } => self.roll_back(env, &cause, evidence),
        }
    }

    /// Nothing has changed on the device: another run of the installer, under an operation id of its own, after a while.
    /// Everything is asked anew before it begins: halts, limits, windows, and whether the device is in use.
    pub(super) fn retry(&mut self, env: &mut Env<'_>, cause: &Cause, evidence: Evidence) {
        self.retries += 1;
        self.install_run += 1;
        let who = format!("{} {} {}", env.rollout, env.device, self.attempt);
        let (most, wait) = (env.policy.retries.most, env.policy.retries.wait(self.retries, &who));
        let reason = format!(
            "{}; nothing has changed on the device: tried again after {wait}, {} of {most}",
            cause.reason, self.retries
        );
        self.defer(env, Phase::Stage, Cause::new(&cause.code, reason), evidence);
        if self.phase == Phase::Stage {
            self.retry_at = Some(env.now.after(wait));
        }
    }

    /// A clinical system that was healthy before the first try and is not now: then nothing is tried any more, and it never
    /// counts as one that was ill before.
    pub(super) fn harmed(&self, probes: &[ProbeAnswer]) -> Option<SystemId> {
        if self.retries == 0 {
            return None;
        }
        let now: BTreeMap<SystemId, bool> = verdicts(probes);
        self.baseline.iter().find(|(id, healthy)| **healthy && now.get(*id) == Some(&false)).map(|(id, _)| id.clone())
    }
}
