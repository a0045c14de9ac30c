//! What the registry learns from the engine's accepted events, for people to see.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wardround_rollout_plans::{
    engine::Event,
    model::{DeploymentState, Health, ReportBody, Timestamp},
};

use super::Registry;

/// A clinical system as last reported.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SystemFinding {
    /// Health.
    pub(crate) health: Health,
    /// Since when (the controller's clock).
    pub(crate) since: Timestamp,
    /// The deciding answer, in words.
    pub(crate) finding: String,
}

impl Registry {
    /// Called with each event that the engine has accepted.
    pub(crate) fn observe(&mut self, event: &Event, now: Timestamp) {
        match event {
            Event::RolloutCreated { rollout, members, .. } => {
                if let Some(record) = self.rollouts.get_mut(&rollout.id) {
                    record.unknown_after = rollout.plan.timing.unknown_after;
                    record.members = Arc::new(members.clone());
                }
            }
            Event::SiteSilent { site } => {
                self.silent.insert(site.clone());
            }
            Event::SiteHeard { site } => {
                self.silent.remove(site);
            }
            Event::Report { body, .. } => self.observe_report(body, now),
            Event::NodeEnrolled { .. } | Event::RolloutSigned { .. } | Event::Order { .. } | Event::Tick => {}
        }
    }

    fn observe_report(&mut self, body: &ReportBody, now: Timestamp) {
        match body {
            ReportBody::Health { system, health, probes, .. } => {
                let finding = probes.iter().rev().find(|p| p.ok == (*health == Health::Healthy)).or(probes.last());
                let finding = finding.map(|p| format!("{}: {}", p.probe, p.answer)).unwrap_or_default();
                let since = match self.systems.get(system) {
                    Some(before) if before.health == *health => before.since,
                    _ => now,
                };
                self.systems.insert(system.clone(), SystemFinding { health: *health, since, finding });
            }
            ReportBody::Deployment { rollout, device, state, .. } => {
                let Some(patch) = self.rollouts.get(rollout).map(|r| r.patch.clone()) else { return };
                match state {
                    DeploymentState::Soaking | DeploymentState::Succeeded => {
                        self.installed.entry(device.clone()).or_default().insert(patch);
                    }
                    DeploymentState::RolledBack | DeploymentState::Failed => {
                        if let Some(patches) = self.installed.get_mut(device) {
                            patches.remove(&patch);
                        }
                    }
                    _ => {}
                }
            }
            ReportBody::Inventory { .. }
            | ReportBody::Refused { .. }
            | ReportBody::HaltKnown { .. }
            | ReportBody::Alarm { .. } => {}
        }
    }
}
