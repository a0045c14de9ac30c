//! What each deployment does next, given what holds it back.

use wardround_rollout_plans::model::{
    DeploymentState, Detected, DeviceId, Evidence, GroupId, Mode, RolloutId, SystemId, Timestamp,
};

use super::{Action, Cause, NodeState, Phase, Verb};

impl NodeState {
    /// The earliest moment at which a deployment wants to be looked at again.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.deployments()
            .filter(|(_, _, d)| !d.busy)
            .filter_map(|(_, _, d)| match d.phase {
                Phase::Soak => d.soak_until,
                Phase::Ready | Phase::Reboot | Phase::RebootBack => d.retry_at.or(d.opens_at),
                _ => d.retry_at,
            })
            .min()
    }

    /// Why nothing new may begin in this rollout; `None` when it may.
    pub(super) fn hold(&self, rollout: &RolloutId, now: Timestamp) -> Option<Cause> {
        let Some(state) = self.rollouts.get(rollout) else {
            return Some(Cause::new("unknown", "the rollout is not known"));
        };
        let halted = self.halts.get(rollout).is_some_and(super::Halts::is_halted);
        let hold = match state.mode {
            _ if halted => ("halted", "the rollout is halted; a signed resume lets it go on"),
            Mode::Halted => ("halted", "the rollout is halted; a signed resume lets it go on"),
            _ if state.cancelled => ("cancelled", "the rollout was cancelled"),
            Mode::Paused => ("paused", "the rollout is paused"),
            Mode::Proceed if !state.active => ("withdrawn", "the newest directive does not name the rollout"),
            Mode::Proceed if state.block.is_some() => {
                ("clinical_system", "a clinical system failed after this patch; the controller must decide")
            }
            Mode::Proceed if self.is_in_trouble() => {
                ("site_trouble", "unpatched clinical systems of the site fail too; nothing begins until they are well")
            }
            Mode::Proceed if now >= self.expires_at => {
                ("expired", "the controller's directive has expired; the node waits for a new one")
            }
            Mode::Proceed => return None,
        };
        Some(Cause::new(hold.0, hold.1))
    }

    /// Why there is no room for this device now (S4); `None` when there is.
    fn no_room(&self, rollout: &RolloutId, device: &DeviceId) -> Option<Cause> {
        let state = self.rollouts.get(rollout)?;
        let own = state.deployments.get(device)?;
        let placed = || self.deployments().filter(|(r, d, x)| x.phase.holds_place() && (*r, *d) != (rollout, device));
        if let Some((other, _, _)) = placed().find(|(_, d, _)| *d == device) {
            return Some(Cause::new("device_busy", format!("rollout {other} is at work on this device")));
        }
        if let Some(cause) = self.not_beside(device) {
            return Some(cause);
        }
        let of_rollout = || placed().filter(|(r, _, _)| *r == rollout);
        let limit = state.policy.per_site.max(1);
        if of_rollout().count() >= limit as usize {
            return Some(Cause::new(
                "concurrency",
                format!("the plan lets {limit} device(s) of a site be in hand at once"),
            ));
        }
        if let Some(limit) = state.policy.waves.get(&own.wave).and_then(|w| w.per_site)
            && of_rollout().filter(|(_, _, d)| d.wave == own.wave).count() >= limit.max(1) as usize
        {
            let text = format!("wave {} lets {limit} device(s) of a site be in hand at once", own.wave);
            return Some(Cause::new("concurrency", text));
        }
        if let Some((group, limit)) = self.group_of(device)
            && placed().filter(|(_, d, _)| self.group_of(d).is_some_and(|(g, _)| g == group)).count() >= limit as usize
        {
            let text = format!("{limit} device(s) of redundancy group {group} may be in hand at once");
            return Some(Cause::new("redundancy_group", text));
        }
        let limit = self.site.concurrency_max.max(1);
        if placed().filter(|(_, _, d)| d.phase != Phase::Soak).count() >= limit as usize {
            return Some(Cause::new("concurrency", format!("this node works on {limit} device(s) at once")));
        }
        None
    }

    /// Why taking the patch back must not begin now; `None` when it may. To take it back from a whole redundancy group at
    /// once is as bad as installing it at once (S4).
    fn not_back_yet(&self, rollout: &RolloutId, device: &DeviceId) -> Option<Cause> {
        let at_work = || {
            self.deployments().filter(|(r, d, x)| (*r, *d) != (rollout, device) && x.phase.disturbs() && x.has_begun())
        };
        if let Some((other, _, _)) = at_work().find(|(_, d, _)| *d == device) {
            return Some(Cause::new("device_busy", format!("rollout {other} is at work on this device")));
        }
        let (group, limit) = self.group_of(device)?;
        if at_work().filter(|(_, d, _)| self.group_of(d).is_some_and(|(g, _)| g == group)).count() >= limit as usize {
            let text = format!("{limit} device(s) of redundancy group {group} may be disrupted at once");
            return Some(Cause::new("redundancy_group", text));
        }
        None
    }

    /// The redundancy group of a device, and how many of it may be in hand.
    fn group_of(&self, device: &DeviceId) -> Option<(&GroupId, u32)> {
        let inventory = self.site.inventory.as_ref()?;
        let group = inventory.devices.iter().find(|d| d.id == *device)?.group.as_ref()?;
        Some((group, inventory.groups.get(group).copied().unwrap_or(1).max(1)))
    }

    /// Clinical systems that need this device.
    pub(super) fn systems_of(&self, device: &DeviceId) -> Vec<SystemId> {
        let systems = self.site.inventory.iter().flat_map(|i| &i.systems);
        systems.filter(|s| s.devices.contains(device)).map(|s| s.id.clone()).collect()
    }

    /// Gives every deployment its next task.
    pub(super) fn pump(&mut self, now: Timestamp) -> Vec<Action> {
        let all: Vec<(RolloutId, DeviceId)> =
            self.deployments().filter(|(_, _, d)| !d.busy).map(|(r, d, _)| (r.clone(), d.clone())).collect();
        all.iter().filter_map(|(rollout, device)| self.pump_one(rollout, device, now)).collect()
    }

    fn pump_one(&mut self, rollout: &RolloutId, device: &DeviceId, now: Timestamp) -> Option<Action> {
        let may_begin = self.hold_of(rollout, device, now).is_none();
        let known = self.rollouts.get_mut(rollout)?.deployments.get_mut(device)?;
        known.excuse(!may_begin && known.phase.is_untouched(), now);
        if known.retry_at.is_some_and(|at| at > now) {
            return None;
        }
        known.retry_at = None;
        known.opens_at = known.opens_at.filter(|at| *at > now);
        let phase = known.phase;
        if phase == Phase::Ready && may_begin {
            if known.opens_at.is_some() {
                known.excuse(true, now);
                return None;
            }
            if let Some(shut) = self.shut(rollout, device, now) {
                self.with(rollout, device, now, |d, env| {
                    d.excuse(true, now);
                    d.opens_at = Some(shut.until);
                    d.show(env, DeploymentState::Deferred, shut.cause, Evidence::default());
                });
                return None;
            }
            if let Some(cause) = self.no_room(rollout, device) {
                self.with(rollout, device, now, |d, env| {
                    d.excuse(true, now);
                    d.show(env, DeploymentState::Deferred, cause, Evidence::default());
                });
                return None;
            }
            self.with(rollout, device, now, |d, env| {
                d.go(Phase::Preflight, now);
                // A device that was put off stays so until the preflight says otherwise.
                if d.state != DeploymentState::Deferred {
                    d.show(env, DeploymentState::Preflight, Cause::default(), Evidence::default());
                }
            });
        }
        if phase == Phase::Uninstall {
            let begun = self.rollouts.get(rollout)?.deployments.get(device)?.has_begun();
            let waits = if begun { None } else { self.not_back_yet(rollout, device) };
            let held = waits.is_some();
            self.with(rollout, device, now, |d, env| {
                let cause = waits.or_else(|| d.take_back.clone()).unwrap_or_default();
                d.show(env, DeploymentState::RollingBack, cause, Evidence::default());
            });
            if held {
                return None;
            }
        }
        if matches!(phase, Phase::Reboot | Phase::RebootBack) {
            let waits = self.not_ended_yet(rollout, device, now);
            let held = waits.is_some();
            self.with(rollout, device, now, |d, env| {
                d.opens_at = waits.as_ref().map(|(_, until)| *until);
                if let Some((cause, _)) = waits {
                    d.show(env, d.state, cause, Evidence::default());
                }
            });
            if held {
                return None;
            }
        }
        let systems = self.systems_of(device);
        let shut = phase == Phase::Install && self.shut(rollout, device, now).is_some();
        let state = self.rollouts.get_mut(rollout)?;
        let policy = &state.policy;
        let deployment = state.deployments.get_mut(device)?;
        if deployment.phase == Phase::Soak && deployment.soak_until.is_none_or(|until| until <= now) {
            deployment.go(Phase::Final, now);
        }
        let verb = match deployment.phase {
            Phase::Fetch if may_begin => Verb::Fetch,
            Phase::Stage if may_begin => Verb::Stage { gone: deployment.op_before(rollout, device) },
            Phase::Preflight => Verb::Preflight { systems },
            Phase::Install => Verb::Install {
                timeout: policy.install_timeout,
                before: deployment.before.clone().unwrap_or(Detected::Absent),
                // The first try follows from a preflight that found no halt and an open window; a later one must not begin
                // what is not begun.
                may_begin: (may_begin && !shut) || (!deployment.resumed && deployment.tries == 0),
            },
            Phase::Reboot | Phase::RebootBack => {
                Verb::Reboot { timeout: policy.reboot_timeout, again: deployment.resumed || deployment.tries > 0 }
            }
            Phase::Look => Verb::Check { systems, install: Some(deployment.newest_install(rollout, device)) },
            Phase::Verify | Phase::Final | Phase::VerifyBack => Verb::Check { systems, install: None },
            Phase::Uninstall => {
                Verb::Uninstall { timeout: policy.install_timeout, install: deployment.newest_install(rollout, device) }
            }
            Phase::Done if !deployment.cleaned => {
                let kept = deployment.state == DeploymentState::Succeeded;
                Verb::Cleanup { ops: deployment.ops(rollout, device), kept }
            }
            Phase::Fetch | Phase::Stage | Phase::Ready | Phase::Soak | Phase::Done => return None,
        };
        deployment.busy = true;
        deployment.task += 1;
        let (task, op, variant) = (deployment.task, deployment.op(rollout, device), deployment.variant.clone());
        let patch = state.patch_digest;
        if matches!(verb, Verb::Fetch) {
            self.with(rollout, device, now, |d, env| {
                if d.state == DeploymentState::Offered {
                    d.show(env, DeploymentState::Downloading, Cause::default(), Evidence::default());
                }
            });
        }
        Some(Action { rollout: rollout.clone(), device: device.clone(), task, op, patch, variant, verb })
    }
}
