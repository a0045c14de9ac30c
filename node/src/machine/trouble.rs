//! Is it the patch, or the site? Unpatched peers that fail at the same time speak for the site.
//!
//! A system that would be blamed is compared with its *peers*: the other clinical systems of the site none of whose devices was
//! touched. While half of them or more began to fail together with it, nobody is blamed and nothing new begins here. Once
//! they are well again the failures are counted anew. S5: whatever the peers do, after the plan's `wait_max` it is blamed.

use serde::{Deserialize, Serialize};
use wardround_rollout_plans::model::{
    DeploymentState, DeviceId, DurationMs, Evidence, Health, ReportBody, RolloutId, SystemId, Timestamp,
};

use super::{Cause, Deployment, NodeState, Phase, RolloutState, clip};

/// A system that is not blamed yet, since its peers fail too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trouble {
    /// Since when: the wait is counted from here until the system is well or blamed.
    pub(super) since: Timestamp,
    /// The peers are well again, and the system's failures are counted anew.
    clearing: bool,
}

/// Unpatched systems beside the one that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Peers {
    failing: usize,
    well: usize,
}

impl Peers {
    fn are_in_trouble(self) -> bool {
        self.failing > 0 && self.failing >= self.well
    }
}

impl Deployment {
    /// The patch may be, or may have been, on its device.
    fn has_touched(&self, rollout: &RolloutState) -> bool {
        match self.phase {
            Phase::Done => rollout.active && self.state != DeploymentState::Skipped,
            phase => !phase.is_untouched(),
        }
    }
}

impl NodeState {
    fn is_touched(&self, device: &DeviceId) -> bool {
        self.rollouts.values().any(|r| r.deployments.get(device).is_some_and(|d| d.has_touched(r)))
    }

    /// Peers that were well when `system` was, and those of them that began to fail within so long of it.
    fn peers(&self, system: &SystemId, within: DurationMs) -> Peers {
        let began = self.systems.get(system).and_then(|s| s.failing_since);
        let mut peers = Peers { failing: 0, well: 0 };
        let others = self.site.inventory.iter().flat_map(|i| &i.systems).filter(|s| s.id != *system);
        for other in others.filter(|s| !s.devices.iter().any(|d| self.is_touched(d))) {
            let Some(state) = self.systems.get(&other.id) else { continue };
            match (state.failing_since, began) {
                // One that has failed for longer says nothing about now.
                (Some(at), Some(began)) if at.since(began) <= within && began.since(at) <= within => peers.failing += 1,
                (None, _) if state.health == Health::Healthy => peers.well += 1,
                _ => {}
            }
        }
        peers
    }

    /// The longest wait is over: it is blamed, however many failures have been counted anew.
    pub(super) fn has_waited(&self, rollout: &RolloutId, system: &SystemId, now: Timestamp) -> bool {
        let Some(state) = self.rollouts.get(rollout) else { return false };
        let wait_max = state.policy.health.control.as_ref().map_or(DurationMs(0), |control| control.wait_max);
        state.trouble.get(system).is_some_and(|trouble| now >= trouble.since.after(wait_max))
    }

    /// Enough failures to be blamed: do the peers say that it is the site?
    pub(super) fn is_excused(&mut self, rollout: &RolloutId, system: &SystemId, now: Timestamp) -> bool {
        let Some(state) = self.rollouts.get(rollout) else { return false };
        let Some(control) = state.policy.health.control.clone() else { return false };
        let known = state.trouble.get(system).copied();
        let peers = self.peers(system, control.wait_max);
        let next = match known {
            _ if self.has_waited(rollout, system, now) => None,
            None if peers.are_in_trouble() => Some(Trouble { since: now, clearing: false }),
            None => None,
            Some(known) if peers.are_in_trouble() => Some(Trouble { clearing: false, ..known }),
            Some(known) if !known.clearing => Some(Trouble { clearing: true, ..known }),
            Some(_) => None,
        };
        let Some(next) = next else {
            self.forget_trouble(rollout, system);
            return false;
        };
        if known.is_none() {
            self.tell_trouble(rollout, system, peers, control.wait_max, now);
        }
        if let Some(state) = self.rollouts.get_mut(rollout) {
            state.trouble.insert(system.clone(), next);
            // Failures of the time in which the site itself was in trouble do not count.
            let counted = state.deployments.values_mut().filter_map(|d| d.failures.get_mut(system));
            counted.filter(|_| next.clearing).for_each(|count| *count = 0);
        }
        true
    }

    fn tell_trouble(&mut self, rollout: &RolloutId, system: &SystemId, peers: Peers, most: DurationMs, now: Timestamp) {
        let Peers { failing, well } = peers;
        let text = format!(
            "clinical system {system} fails after the patch, and so do {failing} of {} unpatched ones of the site: it looks \
             like the site, so rollout {rollout} is not blamed for up to {most}, and nothing new begins here",
            failing + well
        );
        let alarm = ReportBody::Alarm { code: "site_trouble".to_owned(), text: clip(&text), device: None };
        self.outbox.push(now, alarm);
        self.show_trouble(rollout, system, &Cause::new("site_trouble", text), now);
    }

    /// The reason of devices that soak and serve the system.
    fn show_trouble(&mut self, rollout: &RolloutId, system: &SystemId, cause: &Cause, now: Timestamp) {
        for device in self.devices_of(system).to_vec() {
            self.with(rollout, &device, now, |d, env| {
                if d.phase.is_watched() && d.state == DeploymentState::Soaking {
                    d.show(env, DeploymentState::Soaking, cause.clone(), Evidence::default());
                }
            });
        }
    }

    fn forget_trouble(&mut self, rollout: &RolloutId, system: &SystemId) {
        if let Some(state) = self.rollouts.get_mut(rollout) {
            state.trouble.remove(system);
        }
    }

    /// The system is well, or no rollout is watched through it any more.
    pub(super) fn end_trouble(
        &mut self,
        system: &SystemId,
        watched: &[(RolloutId, DeviceId)],
        ok: bool,
        now: Timestamp,
    ) {
        let over = |(id, r): &(&RolloutId, &RolloutState)| {
            r.trouble.contains_key(system) && (ok || watched.iter().all(|(of, _)| of != *id))
        };
        let ended: Vec<RolloutId> = self.rollouts.iter().filter(over).map(|(id, _)| id.clone()).collect();
        for rollout in ended {
            self.forget_trouble(&rollout, system);
            self.show_trouble(&rollout, system, &Cause::default(), now);
        }
    }

    /// True while a system of the site is not blamed because its peers fail too.
    pub(super) fn is_in_trouble(&self) -> bool {
        let of = |(id, r): (&RolloutId, &RolloutState)| {
            r.trouble.keys().any(|system| self.blamable(system).iter().any(|(blamed, _)| blamed == id))
        };
        self.rollouts.iter().any(of)
    }

    /// How often peers are probed while a patch is under watch that is compared with them.
    pub(super) fn peer_interval(&self) -> Option<DurationMs> {
        let compared = self.rollouts.values().filter(|r| r.policy.health.control.is_some());
        let watched = compared.filter(|r| r.deployments.values().any(|d| d.is_watched(r)));
        watched.map(|r| r.policy.health.interval).min()
    }
}
