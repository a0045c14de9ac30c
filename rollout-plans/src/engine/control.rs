//! The control group of a wave: clinical systems of its sites that no device of it serves, watched at the same time.
//!
//! It is counted when the wave begins, which looks at all sites of the wave anyway; afterwards a report of health looks at
//! its own system only.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{State, record::Record};
use crate::model::{ClinicalSystem, ControlCounts, Health, SiteId, SystemId, Timestamp};

/// Most failed control systems that are told apart: more than a test looks at (`exact::FAILURES_MAX`).
const FAILED_MAX: usize = 1_000;

/// The control group of one wave.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Control {
    /// When it was counted.
    began: Timestamp,
    /// Systems that were healthy then.
    systems: u64,
    /// Of these, those that have failed since.
    failed: BTreeSet<SystemId>,
}

impl Record {
    /// True when no device whose turn has come by wave `w` serves the system.
    fn is_control(&self, w: u16, system: &ClinicalSystem) -> bool {
        let turn_has_come = |d: u32| self.deployments[d as usize].wave <= w;
        !system.devices.iter().any(|device| self.find(device).is_some_and(turn_has_come))
    }

    /// What the control group of a wave came to; nothing where the plan asks for no test.
    pub(super) fn control_counts(&self, w: u16) -> ControlCounts {
        let control = self.waves[usize::from(w)].control.as_ref();
        control.map_or_else(ControlCounts::default, |control| ControlCounts {
            systems: control.systems,
            failed: (control.failed.len() as u64).min(control.systems),
        })
    }
}

impl State {
    /// The wave begins, or its devices have changed: who is watched beside it?
    pub(super) fn begin_control(&mut self, r: usize, w: u16, now: Timestamp) {
        let record = &self.rollouts[r];
        if record.wave_plan(w).gate.test.is_none() {
            return;
        }
        let mut systems = 0;
        for at in &record.index.waves[usize::from(w)].sites {
            let Some(inventory) = self.estate.site(&record.sites[*at as usize]) else { continue };
            let site = self.known(r, *at);
            let healthy = inventory.systems.iter().filter(|s| site.healthy.contains_key(&s.id));
            systems += healthy.filter(|s| record.is_control(w, s)).count() as u64;
        }
        let control = Control { began: now, systems, failed: BTreeSet::new() };
        self.rollouts[r].waves[usize::from(w)].control = Some(Box::new(control));
    }

    /// A node says how a system is: it may belong to the control group of waves that are under way.
    pub(super) fn learn_health(&mut self, site: &SiteId, id: &SystemId, health: Health, blamed: bool, now: Timestamp) {
        let declared = self.estate.site(site).and_then(|i| i.systems.iter().find(|s| s.id == *id));
        let (Some(system), Some(known)) = (declared, self.sites.get_mut(site)) else { return };
        if health == Health::Healthy {
            known.healthy.entry(id.clone()).or_insert(now);
            return;
        }
        let Some(since) = known.healthy.remove(id).filter(|_| health == Health::Unhealthy && !blamed) else { return };
        for (r, at) in known.places() {
            let record = &mut self.rollouts[r];
            let Some(w) = record.current.filter(|_| record.is_active()) else { continue };
            let of_wave = record.index.waves[usize::from(w)].sites.binary_search(&at).is_ok();
            if !of_wave || !record.waves[usize::from(w)].state.is_under_way() || !record.is_control(w, system) {
                continue;
            }
            if let Some(control) = record.waves[usize::from(w)].control.as_mut()
                && since <= control.began
                && control.failed.len() < FAILED_MAX
            {
                control.failed.insert(id.clone());
            }
        }
    }
}
