//! The node's own program among its devices: it is replaced while no device is in the middle of a step, since the node ends itself for
//! that. What runs on devices would go on without it; nobody would look after it meanwhile.

use wardround_rollout_plans::model::{DeviceId, DurationMs, RolloutId, Timestamp};

use super::{Cause, Deployment, NodeState, Phase};

impl NodeState {
    fn is_own(&self, device: &DeviceId) -> bool {
        self.site.own.as_ref() == Some(device)
    }

    /// Others that are in the middle of a step.
    fn at_step<'s>(&'s self, own: &'s DeviceId) -> impl Iterator<Item = (&'s DeviceId, &'s Deployment)> {
        let others = self.deployments().filter(move |(_, device, _)| *device != own);
        others.map(|(_, device, d)| (device, d)).filter(|(_, d)| d.phase.disturbs() && d.has_begun())
    }

    /// Why a device must not begin beside the node's own program, or that beside it.
    pub(super) fn not_beside(&self, device: &DeviceId) -> Option<Cause> {
        let own = self.site.own.as_ref()?;
        if own == device {
            let (other, _) = self.at_step(own).next()?;
            let text = format!("the node replaces its program when no device is in the middle of a step; {other} is");
            return Some(Cause::new("site_at_work", text));
        }
        let replaced = self.deployments().any(|(_, device, d)| device == own && d.phase.disturbs());
        replaced.then(|| Cause::new("node_restarts", "the node replaces its own program first"))
    }

    /// Why the node must not end itself now, and until when at most: nothing new begins meanwhile, and what has begun ends within
    /// its own limits.
    pub(super) fn not_ended_yet(
        &self,
        rollout: &RolloutId,
        device: &DeviceId,
        now: Timestamp,
    ) -> Option<(Cause, Timestamp)> {
        let state = self.rollouts.get(rollout)?;
        let own = state.deployments.get(device)?;
        if !self.is_own(device) || !matches!(own.phase, Phase::Reboot | Phase::RebootBack) {
            return None;
        }
        let limit = state.policy.install_timeout.0.saturating_add(state.policy.reboot_timeout.0);
        let until = own.phase_since.after(DurationMs(limit));
        let (other, _) = self.at_step(device).find(|(_, d)| d.busy).filter(|_| now < until)?;
        let text = format!("the node restarts itself once {other} is no longer in the middle of a step");
        Some((Cause::new("site_at_work", text), until))
    }

    /// The process began anew while its own program was under watch: it is looked at again, and watched anew.
    pub(super) fn watch_own_anew(&mut self) {
        let (own, now) = (self.site.own.clone(), self.clock);
        for (device, deployment) in self.rollouts.values_mut().flat_map(|r| r.deployments.iter_mut()) {
            if own.as_ref() == Some(device) && deployment.phase == Phase::Soak {
                deployment.go(Phase::Verify, now);
            }
        }
    }
}
