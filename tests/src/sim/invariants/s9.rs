//! S9: a rollback can't start a rollback loop, and a rollout can't be replayed.

use std::collections::{BTreeMap, BTreeSet};

use wardround_rollout_plans::model::{Command, DeploymentState, DeviceId, GoalAction, RolloutId, SiteId};

use super::{Invariant, Seen, Told, Truth};

/// Most runs of the uninstaller in one rollback.
const UNINSTALLS_MAX: u32 = 3;

/// What was done to each device.
#[derive(Debug, Default)]
pub(super) struct S9 {
    told: Told,
    /// Runs of the uninstaller since a person last asked for one.
    uninstalls: BTreeMap<(RolloutId, DeviceId), u32>,
    taken_back: BTreeSet<(RolloutId, DeviceId)>,
    /// The newest directive that each node has obeyed.
    obeyed: BTreeMap<SiteId, u64>,
}

impl Invariant for S9 {
    fn name(&self) -> &'static str {
        "S9"
    }

    fn see(&mut self, seen: &Seen<'_>, truth: &Truth) -> Result<(), String> {
        match seen {
            Seen::ReportTaken { report } => self.told.take(report, truth),
            Seen::InstallBegins { device, rollout, .. } => {
                let key = ((*rollout).clone(), (*device).clone());
                if self.taken_back.contains(&key) {
                    return Err(format!(
                        "an install began on {device} in {rollout}, which took the patch back from it"
                    ));
                }
                if truth.devices.get(*device).is_some_and(|d| d.patched) {
                    return Err(format!("an install began on {device}, which has the patch"));
                }
            }
            Seen::UninstallBegins { device, rollout } => {
                let key = ((*rollout).clone(), (*device).clone());
                let runs = self.uninstalls.entry(key.clone()).or_default();
                *runs += 1;
                self.taken_back.insert(key);
                if *runs > UNINSTALLS_MAX {
                    return Err(format!("the uninstaller ran {runs} times on {device} without anybody asking for it"));
                }
            }
            Seen::DirectiveLeaves { site, directive } => {
                for part in &directive.rollouts {
                    for goal in part.goals.iter().filter(|g| g.action == GoalAction::Install) {
                        let device = &goal.member.device;
                        let state = self.told.of(&part.rollout, device);
                        let back = matches!(state, Some(DeploymentState::RolledBack | DeploymentState::RollbackFailed));
                        if back {
                            return Err(format!(
                                "{device} was taken back in {}, and {site} is to install it",
                                part.rollout
                            ));
                        }
                    }
                }
            }
            Seen::Obeyed { site, directive, .. } => {
                let newest = self.obeyed.entry((*site).clone()).or_default();
                if directive.counter < *newest {
                    return Err(format!("{site} obeys directive {} after {newest}", directive.counter));
                }
                *newest = directive.counter;
            }
            Seen::OrderUncertain { order } => self.uninstalls.retain(|(rollout, _), _| *rollout != order.rollout),
            Seen::OrderAccepted { order, again, .. } => match order.command {
                Command::Halt => {}
                _ if *again => {
                    let (command, counter) = (order.command.sentence(), order.counter);
                    return Err(format!("order {counter} ({command}) of {} was accepted twice", order.rollout));
                }
                Command::RollBack { .. } => self.uninstalls.retain(|(rollout, _), _| *rollout != order.rollout),
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }
}
