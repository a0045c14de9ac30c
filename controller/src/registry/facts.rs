//! What the registry learns from the engine's accepted events, for people to see.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wardround_rollout_plans::{
    engine::{Event, State},
    model::{DeploymentState, EVIDENCE_TEXT_MAX, Health, ReportBody, Timestamp},
};

use super::Registry;

/// A clinical system as last reported.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SystemFinding {
    /// Health.
    pub(crate) health: Health,
    /// Since when (the controller's clock).
    pub(crate) since: Timestamp,
    /// The deciding answer, in words; at most [`EVIDENCE_TEXT_MAX`] bytes.
    pub(crate) finding: String,
}

impl Registry {
    /// Called with each event that the engine has taken in. What a report says counts as far as the engine knows the thing:
    /// a node that makes things up must not fill the state.
    pub(crate) fn observe(&mut self, event: &Event, engine: &State, now: Timestamp) {
        self.follow_versions(event, engine);
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
            Event::Report { site, body, .. } if body.foreign_to(site).is_none() => {
                self.observe_report(body, engine, now)
            }
            Event::Report { .. }
            | Event::NodeEnrolled { .. }
            | Event::NodeRevoked { .. }
            | Event::RolloutSigned { .. }
            | Event::RolloutAmended { .. }
            | Event::AmendmentSigned { .. }
            | Event::Order { .. }
            | Event::Tick => {}
        }
    }

    fn observe_report(&mut self, body: &ReportBody, engine: &State, now: Timestamp) {
        match body {
            ReportBody::Health { system, health, probes, .. } => {
                let declared = engine.estate().site(&system.site());
                if !declared.is_some_and(|site| site.systems.iter().any(|s| s.id == *system)) {
                    return;
                }
                let finding = probes.iter().rev().find(|p| p.ok == (*health == Health::Healthy)).or(probes.last());
                let mut finding = finding.map(|p| format!("{}: {}", p.probe, p.answer)).unwrap_or_default();
                let end = (0..=EVIDENCE_TEXT_MAX.min(finding.len())).rev().find(|at| finding.is_char_boundary(*at));
                finding.truncate(end.unwrap_or(0));
                let since = match self.systems.get(system) {
                    Some(before) if before.health == *health => before.since,
                    _ => now,
                };
                self.systems.insert(system.clone(), SystemFinding { health: *health, since, finding });
            }
            ReportBody::Deployment { rollout, device, .. } => {
                let Some(patch) = self.rollouts.get(rollout).map(|r| r.patch.clone()) else { return };
                match engine.deployment_state(rollout, device) {
                    Some(DeploymentState::Soaking | DeploymentState::Succeeded | DeploymentState::RollbackFailed) => {
                        self.holders.add(&patch, device);
                        self.installed.entry(device.clone()).or_default().insert(patch);
                    }
                    Some(DeploymentState::RolledBack | DeploymentState::Failed) => {
                        if let Some(patches) = self.installed.get_mut(device) {
                            patches.remove(&patch);
                            self.holders.remove(&patch, device);
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

#[cfg(test)]
mod tests {
    use wardround_rollout_plans::model::{ClinicalSystem, ProbeAnswer, SiteId, SiteInventory, SystemId};
    use wardround_signing::KeyId;

    use super::*;

    #[test]
    fn only_declared_systems_are_kept_and_only_so_many_words_of_them() {
        let (site, pacs) = (SiteId::new("rx1").unwrap(), SystemId::new("rx1/pacs").unwrap());
        let inventory = SiteInventory {
            site: site.clone(),
            display_name: String::new(),
            region: String::new(),
            site_type: String::new(),
            labels: Default::default(),
            groups: Default::default(),
            hours: Default::default(),
            devices: Vec::new(),
            systems: vec![ClinicalSystem {
                id: pacs.clone(),
                kind: String::new(),
                critical: true,
                probes: None,
                devices: Vec::new(),
            }],
        };
        let report = |seq, body| {
            let (site, at) = (site.clone(), Timestamp(1));
            Event::Report { site, seq, at, body, node_key: None, envelope: None }
        };
        let mut engine = State::default();
        let enrolled = Event::NodeEnrolled { site: site.clone(), node_key: KeyId::claimed("a") };
        engine.step(&enrolled, Timestamp(1)).unwrap();
        engine.step(&report(1, ReportBody::Inventory { inventory }), Timestamp(1)).unwrap();
        let mut registry = Registry::default();
        let ghost = SystemId::new("rx1/ghost").unwrap();
        for system in [pacs.clone(), ghost.clone()] {
            let probe = ProbeAnswer {
                system: system.clone(),
                probe: "tcp".to_owned(),
                at: Timestamp(1),
                took_ms: 1,
                ok: false,
                answer: "ä".repeat(EVIDENCE_TEXT_MAX),
            };
            let health = Health::Unhealthy;
            let body = ReportBody::Health { system, health, blames: None, document: None, probes: vec![probe] };
            registry.observe(&report(2, body), &engine, Timestamp(5));
        }
        assert!(registry.system(&ghost).is_none());
        let finding = &registry.system(&pacs).unwrap().finding;
        assert!(finding.len() <= EVIDENCE_TEXT_MAX && finding.starts_with("tcp: ä"), "{} bytes", finding.len());
    }
}
