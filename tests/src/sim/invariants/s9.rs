//! S9: a rollback can't start a rollback loop, and a rollout can't be replayed.

use std::collections::{BTreeMap, BTreeSet};

use wardround_rollout_plans::model::{Command, DeploymentState, DeviceId, GoalAction, RolloutId, SiteId};

use super::{Invariant, Seen, Told, Truth};
use crate::sim::device::{Device, Run};

/// Most runs of the uninstaller in one rollback.
const UNINSTALLS_MAX: u32 = 3;

/// An installer begins: may it, after how its runs before ended? The device knows; only what says nothing about the patch is
/// tried again, and no more often than the plan says.
fn tried_again(truth: &Truth, device: &Device, rollout: &RolloutId, was_away: bool) -> Result<(), String> {
    let before = &device.fate.installs[..(device.install_runs - 1).min(device.fate.installs.len())];
    let Some(version) = truth.versions.values().find(|v| v.rollout.id == *rollout) else { return Ok(()) };
    let most = version.rollout.plan.timing.retries as usize;
    let counted: Vec<Run> = before.iter().copied().filter(|run| *run != Run::Busy).collect();
    if counted.len() > most {
        let runs = counted.len() + 1;
        return Err(format!(
            "the installer begins on {} for the {runs}. time, where {most} more tries are allowed",
            device.id
        ));
    }
    match counted.iter().find(|run| **run != Run::Crash && !was_away) {
        Some(run) => Err(format!("an install began on {}, where the run before it ended as {run:?}", device.id)),
        None => Ok(()),
    }
}

/// What was done to each device.
#[derive(Debug, Default)]
pub(super) struct S9 {
    told: Told,
    /// Runs of the uninstaller since a person last asked for one.
    uninstalls: BTreeMap<(RolloutId, DeviceId), u32>,
    taken_back: BTreeSet<(RolloutId, DeviceId)>,
    /// The newest directive that each node has obeyed.
    obeyed: BTreeMap<SiteId, u64>,
    /// Devices that did not answer for a while: how a run ended their nodes may not have heard.
    away: BTreeSet<DeviceId>,
}

impl Invariant for S9 {
    fn name(&self) -> &'static str {
        "S9"
    }

    fn see(&mut self, seen: &Seen<'_>, truth: &Truth) -> Result<(), String> {
        match seen {
            Seen::ReportTaken { report } => self.told.take(report, truth),
            Seen::Moment => {
                let away = truth.devices.values().filter(|device| device.away_until > truth.now).map(|d| &d.id);
                for device in away {
                    if !self.away.contains(device) {
                        self.away.insert(device.clone());
                    }
                }
            }
            Seen::InstallBegins { device, rollout, .. } => {
                let key = ((*rollout).clone(), (*device).clone());
                if self.taken_back.contains(&key) {
                    return Err(format!(
                        "an install began on {device} in {rollout}, which took the patch back from it"
                    ));
                }
                let Some(known) = truth.devices.get(*device) else { return Ok(()) };
                if known.patched {
                    return Err(format!("an install began on {device}, which has the patch"));
                }
                tried_again(truth, known, rollout, self.away.contains(*device))?;
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
