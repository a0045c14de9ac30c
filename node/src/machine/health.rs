//! Clinical systems: watching them, and blaming a patch after which one is worse than before (S5).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wardround_rollout_plans::model::{
    DeploymentState, DeviceId, DurationMs, Health, ProbeAnswer, ReportBody, RolloutId, Scope, SystemId, Timestamp,
    WaveName,
};

use super::{Block, Cause, Deployment, NodeState, Phase, RolloutState, WatchRules, settle::verdicts};

/// Between two probes of a system of which no device is under watch: often enough for the console, no load for anyone.
const IDLE_INTERVAL: DurationMs = DurationMs::from_secs(60);
/// Shortest interval between two probes of a system, whatever a plan says.
const INTERVAL_MIN: DurationMs = DurationMs(100);
/// Consecutive failures that make a system unhealthy where no plan says otherwise; the default of plans.
const IDLE_FAILURES: u32 = 3;

/// Which systems to probe and how often.
pub type Monitored = BTreeMap<SystemId, DurationMs>;

/// A system as last seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SystemState {
    pub(super) health: Health,
    /// Consecutive failures.
    failures: u32,
    /// Consecutive good answers of an unhealthy system.
    #[serde(default, skip_serializing_if = "is_zero")]
    successes: u32,
    /// Since when it has failed, where it was healthy before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) failing_since: Option<Timestamp>,
}

impl Default for SystemState {
    fn default() -> Self {
        Self { health: Health::Unknown, failures: 0, successes: 0, failing_since: None }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Deployment {
    /// Its patch is on the device, and the systems that need the device are watched for it.
    pub(super) fn is_watched(&self, rollout: &RolloutState) -> bool {
        self.phase.is_watched()
            || (rollout.active && self.phase == Phase::Done && self.state == DeploymentState::Succeeded)
    }
}

impl NodeState {
    /// What the health monitor is to probe now.
    #[must_use]
    pub fn monitored(&self) -> Monitored {
        let systems = self.site.inventory.iter().flat_map(|i| &i.systems);
        let peers = self.peer_interval();
        systems
            .map(|system| {
                let watched = self
                    .rollouts
                    .values()
                    .filter(|r| system.devices.iter().any(|d| r.deployments.get(d).is_some_and(|x| x.is_watched(r))));
                let planned = watched.map(|r| r.policy.health.interval).chain(peers).min();
                // The plan's own while a patch is under watch: its failures are counted at its pace.
                let interval = match planned {
                    Some(planned) => planned.clamp(INTERVAL_MIN, IDLE_INTERVAL),
                    None => self.rules(&system.id).interval.unwrap_or(IDLE_INTERVAL).max(INTERVAL_MIN),
                };
                (system.id.clone(), interval)
            })
            .collect()
    }

    fn rules(&self, system: &SystemId) -> WatchRules {
        self.site.watch.get(system).copied().unwrap_or_default()
    }

    /// Devices that a system needs.
    pub(super) fn devices_of(&self, system: &SystemId) -> &[DeviceId] {
        let mut systems = self.site.inventory.iter().flat_map(|i| &i.systems);
        systems.find(|s| s.id == *system).map_or(&[], |s| &s.devices)
    }

    /// True while work on one of its devices, or the grace after it, explains a failure: the planned disruption.
    pub(super) fn is_disturbed(&self, system: &SystemId, now: Timestamp) -> bool {
        self.devices_of(system).iter().any(|device| {
            self.rollouts.values().any(|r| {
                r.deployments.get(device).is_some_and(|d| {
                    d.phase.disturbs() || d.disrupted_at.is_some_and(|at| now < at.after(r.policy.health.grace))
                })
            })
        })
    }

    /// Rollouts that would be blamed for this system, with the device that is watched.
    pub(super) fn blamable(&self, system: &SystemId) -> Vec<(RolloutId, DeviceId)> {
        let devices = self.devices_of(system);
        let of = |id: &RolloutId, r: &RolloutState| {
            let watched = devices.iter().filter(|device| {
                r.deployments.get(device).is_some_and(|d| d.is_watched(r) && d.baseline.get(system) == Some(&true))
            });
            watched.map(|device| (id.clone(), device.clone())).collect::<Vec<_>>()
        };
        self.rollouts.iter().flat_map(|(id, r)| of(id, r)).collect()
    }

    pub(super) fn probe_is_news(&self, system: &SystemId, answers: &[ProbeAnswer], now: Timestamp) -> bool {
        let Some(ok) = verdicts(answers).get(system).copied() else { return false };
        let state = self.systems.get(system).cloned().unwrap_or_default();
        if ok {
            let counting = self.blamable(system).iter().any(|(r, d)| {
                self.rollouts.get(r).and_then(|r| r.deployments.get(d)).is_some_and(|d| d.failures.contains_key(system))
            });
            return state.health != Health::Healthy || state.failures > 0 || counting;
        }
        state.health != Health::Unhealthy
            || state.successes > 0
            || (!self.is_disturbed(system, now) && !self.blamable(system).is_empty())
    }

    /// Probes that a preflight or check brought along.
    pub(super) fn look(&mut self, probes: &[ProbeAnswer], now: Timestamp) {
        for system in verdicts(probes).keys() {
            let own: Vec<ProbeAnswer> = probes.iter().filter(|p| p.system == *system).cloned().collect();
            self.probed(system, &own, now);
        }
    }

    /// One look at a system.
    pub(super) fn probed(&mut self, system: &SystemId, answers: &[ProbeAnswer], now: Timestamp) {
        let Some(ok) = verdicts(answers).get(system).copied() else { return };
        let declared = self.site.inventory.iter().flat_map(|i| &i.systems).any(|s| s.id == *system);
        if !declared {
            return;
        }
        let watched = self.blamable(system);
        self.end_trouble(system, &watched, ok, now);
        if ok {
            for (rollout, device) in &watched {
                self.with(rollout, device, now, |d, _| d.failures.remove(system));
            }
            return self.count_success(system, answers, now);
        }
        let state = self.systems.entry(system.clone()).or_default();
        state.successes = 0;
        if state.health == Health::Healthy {
            state.failing_since.get_or_insert(now);
        }
        // One failure of a critical system is enough to act (model, `ClinicalSystem::critical`).
        let critical = self.site.inventory.iter().flat_map(|i| &i.systems).any(|s| s.id == *system && s.critical);
        let mut blamed: Vec<RolloutId> = Vec::new();
        if !self.is_disturbed(system, now) {
            for (rollout, device) in &watched {
                let reached = self.with(rollout, device, now, |d, env| {
                    let failures = d.failures.entry(system.clone()).or_insert(0);
                    *failures = failures.saturating_add(1);
                    *failures >= if critical { 1 } else { env.policy.health.failures.max(1) }
                });
                if (reached == Some(true) || self.has_waited(rollout, system, now)) && !blamed.contains(rollout) {
                    blamed.push(rollout.clone());
                }
            }
        }
        blamed.retain(|rollout| !self.is_excused(rollout, system, now));
        for rollout in &blamed {
            self.blame(system, rollout, answers, now);
        }
        if blamed.is_empty() {
            self.count_failure(system, answers, !watched.is_empty(), now);
        }
    }

    fn set_health(&mut self, system: &SystemId, health: Health, answers: &[ProbeAnswer], now: Timestamp) {
        let state = self.systems.entry(system.clone()).or_default();
        state.successes = 0;
        if health == Health::Healthy {
            state.failures = 0;
            state.failing_since = None;
        }
        if state.health != health {
            state.health = health;
            let body = ReportBody::Health {
                system: system.clone(),
                health,
                blames: None,
                document: None,
                probes: answers.to_vec(),
            };
            self.outbox.push(now, body);
        }
    }

    /// A good answer. An unhealthy system needs as many in a row as its site says before it counts as healthy again.
    fn count_success(&mut self, system: &SystemId, answers: &[ProbeAnswer], now: Timestamp) {
        let wanted = self.rules(system).successes.unwrap_or(1);
        let state = self.systems.entry(system.clone()).or_default();
        state.successes = state.successes.saturating_add(1);
        if state.health != Health::Unhealthy || state.successes >= wanted {
            self.set_health(system, Health::Healthy, answers, now);
        }
    }

    /// A failure that no patch is blamed for (yet).
    fn count_failure(&mut self, system: &SystemId, answers: &[ProbeAnswer], watched: bool, now: Timestamp) {
        let disturbed = self.is_disturbed(system, now);
        // What the planned disruption explains does not count, also not when it is over.
        if disturbed && self.site.spares_disrupted {
            return;
        }
        let most = self.rules(system).failures.unwrap_or(IDLE_FAILURES);
        let state = self.systems.entry(system.clone()).or_default();
        state.failures = state.failures.saturating_add(1);
        // While a patch is under watch its own count decides, so that health and blame are told together.
        if state.failures >= most && !disturbed && !watched {
            self.set_health(system, Health::Unhealthy, answers, now);
        }
    }

    /// The system was healthy before the install and is not after: tell it, and take back what the plan's scope says.
    fn blame(&mut self, system: &SystemId, rollout: &RolloutId, answers: &[ProbeAnswer], now: Timestamp) {
        self.systems.insert(
            system.clone(),
            SystemState { health: Health::Unhealthy, failures: IDLE_FAILURES, ..SystemState::default() },
        );
        let document = self.rollouts.get(rollout).map(|state| state.digest);
        let report = self.outbox.push(
            now,
            ReportBody::Health {
                system: system.clone(),
                health: Health::Unhealthy,
                blames: Some(rollout.clone()),
                document,
                probes: answers.to_vec(),
            },
        );
        let needed = self.devices_of(system).to_vec();
        let counter = self.counter;
        let Some(state) = self.rollouts.get_mut(rollout) else { return };
        let guilty: Vec<WaveName> = state
            .deployments
            .iter()
            .filter(|(device, d)| needed.contains(device) && d.failures.contains_key(system))
            .map(|(_, d)| d.wave.clone())
            .collect();
        let scope = state.policy.scope;
        if scope != Scope::Device {
            state.block = Some(Block { report, counter });
        }
        let affected: Vec<DeviceId> = state
            .deployments
            .iter()
            .filter(|(device, d)| match scope {
                Scope::Device => needed.contains(device),
                Scope::Wave => guilty.contains(&d.wave),
                // Of the whole rollout a node only sees its own site.
                Scope::Site | Scope::Rollout => true,
            })
            .map(|(device, _)| device.clone())
            .collect();
        let answer = answers.iter().find(|a| !a.ok).map_or("", |a| a.answer.as_str());
        let text = format!("clinical system {system} was healthy before the install and is not now: {answer}");
        let cause = Cause::new("clinical_system", text);
        for device in affected {
            self.with(rollout, &device, now, |d, env| d.want_back(env, &cause));
        }
    }
}
