//! S5: a clinical system that was healthy before and is not after is blamed, its devices rolled back, and the policy's scope
//! applied, whether or not the controller can be reached. One that was bad before is not blamed.

use std::collections::{BTreeMap, BTreeSet};

use wardround_rollout_plans::model::{DeploymentState, DeviceId, Health, ReportBody, RolloutId, SiteId, SystemId};

use super::{Invariant, Seen, Truth};
use crate::sim::device::{MINUTE, Ms};

/// What is allowed beside the plan's own times: backoffs of steps that could not be done.
const SLACK_MS: Ms = 4 * MINUTE;

/// What was so before each install, and since when it has been broken.
#[derive(Debug, Default)]
pub(super) struct S5 {
    /// Systems that were well when a device was last looked at before its install.
    well_before: BTreeMap<DeviceId, BTreeSet<SystemId>>,
    under_watch: BTreeMap<DeviceId, RolloutId>,
    going_back: BTreeSet<DeviceId>,
    called: BTreeSet<DeviceId>,
    /// When a device of the site was last disrupted or away.
    unrest: BTreeMap<SiteId, Ms>,
    blamed: BTreeSet<(RolloutId, SystemId)>,
    /// Devices that have soaked: they are watched as long as the rollout stands in their node's directive.
    soaked: BTreeSet<DeviceId>,
    named: BTreeMap<SiteId, BTreeSet<RolloutId>>,
}

impl Invariant for S5 {
    fn name(&self) -> &'static str {
        "S5"
    }

    fn see(&mut self, seen: &Seen<'_>, truth: &Truth) -> Result<(), String> {
        match seen {
            Seen::Preflight { device } => {
                let well = truth.systems.values().filter(|s| s.devices.contains(device));
                let well = well.filter(|s| s.is_well(&truth.devices, truth.now)).map(|s| s.id.clone()).collect();
                self.well_before.insert((*device).clone(), well);
                Ok(())
            }
            Seen::InstallBegins { device, rollout, .. } => {
                self.under_watch.insert((*device).clone(), (*rollout).clone());
                Ok(())
            }
            Seen::Obeyed { site, directive, .. } => {
                let named = directive.rollouts.iter().map(|part| part.rollout.clone()).collect();
                self.named.insert((*site).clone(), named);
                Ok(())
            }
            Seen::UninstallBegins { device, .. } => {
                self.going_back.insert((*device).clone());
                Ok(())
            }
            Seen::Alarm { device: Some(device), .. } => {
                self.called.insert((*device).clone());
                Ok(())
            }
            Seen::ReportMade { report } if !truth.liars.contains(&report.site) => self.report(&report.body, truth),
            Seen::Moment => self.moment(truth),
            Seen::Converged { .. } => self.taken_back(truth),
            _ => Ok(()),
        }
    }
}

impl S5 {
    /// The plan of the rollout that has a device in its hands.
    fn plan<'a>(&self, truth: &'a Truth, device: &DeviceId) -> Option<&'a wardround_rollout_plans::model::Plan> {
        let rollout = self.under_watch.get(device)?;
        truth.versions.values().find(|v| v.rollout.id == *rollout).map(|v| &v.rollout.plan)
    }

    fn was_well(&self, device: &DeviceId, system: &SystemId) -> bool {
        self.well_before.get(device).is_some_and(|well| well.contains(system))
    }

    fn report(&mut self, body: &ReportBody, truth: &Truth) -> Result<(), String> {
        match body {
            ReportBody::Deployment { device, state: DeploymentState::Succeeded, .. } => {
                if !self.under_watch.contains_key(device) {
                    return Ok(());
                }
                self.soaked.insert(device.clone());
                for system in truth.systems.values().filter(|s| s.devices.contains(device)) {
                    let broken = guilty_since(truth, device, &system.id).is_some_and(|at| at < truth.now);
                    if broken && self.was_well(device, &system.id) {
                        return Err(format!("{device} is reported as succeeded though it broke {}", system.id));
                    }
                }
                Ok(())
            }
            ReportBody::Health { system, health: Health::Unhealthy, blames: Some(rollout), .. } => {
                self.blamed.insert((rollout.clone(), system.clone()));
                let Some(known) = truth.systems.get(system) else { return Ok(()) };
                let suspects: Vec<&DeviceId> =
                    known.devices.iter().filter(|d| self.under_watch.get(*d) == Some(rollout)).collect();
                if suspects.iter().any(|device| self.was_well(device, system)) {
                    return Ok(());
                }
                Err(format!("{system} is blamed on {rollout}, though it was not healthy before any of its installs"))
            }
            ReportBody::Deployment { device, state, .. } if state.is_terminal() => {
                // Nothing is watched for it any more.
                self.under_watch.remove(device);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn moment(&mut self, truth: &Truth) -> Result<(), String> {
        for (id, device) in &truth.devices {
            if device.is_disrupted(truth.now) || !device.answers(truth.now) {
                self.unrest.insert(id.site(), truth.now);
            }
        }
        for (id, device) in &truth.devices {
            if !device.patched || self.going_back.contains(id) || self.called.contains(id) {
                continue;
            }
            let Some(plan) = self.plan(truth, id) else { continue };
            let rollout = self.under_watch.get(id);
            let named = self.named.get(&id.site()).zip(rollout).is_some_and(|(named, rollout)| named.contains(rollout));
            if self.soaked.contains(id) && !named {
                continue;
            }
            let Some(up) = truth.up_since.get(&id.site()) else { continue };
            let quiet = self.unrest.get(&id.site()).copied().unwrap_or(0).max(*up);
            let health = &plan.health;
            // While unpatched systems of the site fail too, nobody is blamed for so long, and failures are counted anew.
            let excused = health.control.as_ref().map_or(0, |c| c.wait_max.0 + health.interval.0 * 2);
            let patience = health.interval.0 * u64::from(health.failures + 3) + health.grace.0 + excused;
            let patience = i64::try_from(patience).unwrap_or(Ms::MAX) + SLACK_MS;
            for system in truth.systems.values().filter(|s| s.devices.contains(id) && self.was_well(id, &s.id)) {
                let Some(since) = guilty_since(truth, id, &system.id) else { continue };
                if truth.now - since.max(quiet) > patience {
                    let seconds = (truth.now - since) / 1_000;
                    return Err(format!("{id} broke {} {seconds} s ago and is not being taken back", system.id));
                }
            }
        }
        Ok(())
    }

    fn taken_back(&self, truth: &Truth) -> Result<(), String> {
        for (rollout, system) in &self.blamed {
            for device in truth.systems.get(system).into_iter().flat_map(|s| &s.devices) {
                let Some(known) = truth.devices.get(device) else { continue };
                let by_rollout =
                    truth.versions.values().any(|v| v.rollout.id == *rollout && v.wave_of(device).is_some());
                let stays = known.patched && !known.fate.patched_before && by_rollout;
                if stays && guilty_since(truth, device, system).is_some() && !self.called.contains(device) {
                    return Err(format!("{system} was blamed on {rollout}, and {device} still has the patch"));
                }
            }
        }
        Ok(())
    }
}

/// Since when the patch on this device has broken that system.
fn guilty_since(truth: &Truth, device: &DeviceId, system: &SystemId) -> Option<Ms> {
    let device = truth.devices.get(device).filter(|device| device.patched)?;
    let at = device.patched_at + device.fate.breaks.get(system)?;
    (at <= truth.now).then_some(at)
}
