//! Rollouts of patches that belong together: one requires or replaces the other.
//!
//! **Invariant:** two rollouts of which one replaces the other's patch are never under way with a common device. The older would
//! else be put on, or taken back from, a device that has the newer.
//!
//! **Invariant:** no device waits for rollouts that wait for one another: of a circle of patches that require each other at least one
//! rollout is not under way on a device.
//!
//! A device whose patch requires another waits while a rollout under way is still to bring that. Whatever becomes of that, the
//! node looks for itself before it installs; it never begins where the prerequisite is missing.

use super::{Refusal, State, WaitingOn, out::Out, record::Record};
use crate::{
    circle::shortest_circle,
    model::{Command, DeploymentState, DeviceId, PatchId},
};

impl Record {
    /// The patch that one of the two replaces, and the one that does.
    fn replaces<'a>(&'a self, other: &'a Self) -> Option<(&'a PatchId, &'a PatchId)> {
        let (mine, theirs) = (&self.document.patch, &other.document.patch);
        if self.document.supersedes.contains(theirs) {
            return Some((theirs, mine));
        }
        other.document.supersedes.contains(mine).then_some((mine, theirs))
    }
}

impl State {
    /// May a rollout be under way on these devices, beside the others that are?
    pub(super) fn check_beside<'d>(
        &self,
        r: usize,
        devices: impl Iterator<Item = &'d DeviceId> + Clone,
    ) -> Result<(), Refusal> {
        self.check_replaced(r, devices.clone())?;
        self.check_circle(r, devices)
    }

    /// Of two rollouts of which one replaces the other's patch.
    fn check_replaced<'d>(&self, r: usize, devices: impl Iterator<Item = &'d DeviceId> + Clone) -> Result<(), Refusal> {
        let record = &self.rollouts[r];
        let others = self.rollouts.iter().enumerate().filter(|(at, other)| *at != r && other.is_active());
        for (_, other) in others {
            let Some((old, new)) = record.replaces(other) else { continue };
            let Some(device) = devices.clone().find(|device| other.find(device).is_some()) else {
                continue;
            };
            let id = &other.document.id;
            return Err(Refusal::InvalidTransition {
                what: format!("rollout {}", record.document.id),
                verb: "be under way",
                state: format!(
                    "in conflict with rollout {id}, which is {} and has {device} too: {new} replaces {old}",
                    other.state.word().replace('_', " ")
                ),
                hint: format!("let {id} end, or cancel it, first"),
            });
        }
        Ok(())
    }

    /// Of rollouts each of which waits on a device for what the next one is to bring.
    fn check_circle<'d>(&self, r: usize, devices: impl Iterator<Item = &'d DeviceId>) -> Result<(), Refusal> {
        // Whatever the devices are: nearly always there is no circle, and nothing to look for on each.
        if self.circle(r, |_| true).is_none() {
            return Ok(());
        }
        // Who has begun waits no more. A device that an amendment brings in is not known yet.
        let waits = |at: usize, device: &DeviceId| {
            let state = self.rollouts[at].find(device).map(|d| self.rollouts[at].deployments[d as usize].state);
            state.map_or(at == r, |state| state == DeploymentState::Pending)
        };
        let circle = |device| if waits(r, device) { self.circle(r, |at| waits(at, device)) } else { None };
        let found = devices.into_iter().find_map(|device| Some((device, circle(device)?)));
        let Some((device, circle)) = found else { return Ok(()) };
        let patch = |at: &usize| &self.rollouts[*at].document.patch;
        let requires = circle.iter().zip(circle.iter().cycle().skip(1));
        let requires: Vec<String> =
            requires.map(|(at, next)| format!("{} requires {}", patch(at), patch(next))).collect();
        let others: Vec<&str> = circle[1..].iter().map(|at| self.rollouts[*at].document.id.as_str()).collect();
        Err(Refusal::InvalidTransition {
            what: format!("rollout {}", self.rollouts[r].document.id),
            verb: "be under way",
            state: format!(
                "in a circle on {device} with {}: {}, so that each would wait for the next for ever",
                others.join(", "),
                requires.join(", ")
            ),
            hint: format!("let {} end, or cancel it, first", others[0]),
        })
    }

    /// The shortest circle from `r` back to it: each rollout requires the patch of the next. Those that are `there` count, and
    /// `r` itself.
    fn circle(&self, r: usize, there: impl Fn(usize) -> bool) -> Option<Vec<usize>> {
        shortest_circle(&r, |of| {
            let (of, required) = (*of, &self.rollouts[*of].document.requires);
            let others = if required.is_empty() { &[] } else { self.rollouts.as_slice() };
            let brings = |(at, other): &(usize, &Record)| *at != of && required.contains(&other.document.patch);
            let counts = |(at, other): &(usize, &Record)| *at == r || other.is_active() && there(*at);
            others.iter().enumerate().filter(brings).filter(counts).map(|(at, _)| at).collect::<Vec<_>>()
        })
    }

    /// The same for an order: only a start brings a rollout under way.
    pub(super) fn check_lineage(&self, r: usize, command: &Command) -> Result<(), Refusal> {
        match command {
            Command::Start => self.check_beside(r, self.rollouts[r].deployments.iter().map(|d| &d.device)),
            _ => Ok(()),
        }
    }

    /// The rollout that is to bring to this device what its patch requires, and has not done so.
    pub(super) fn prerequisite_barred(&self, r: usize, d: u32) -> Option<WaitingOn> {
        let record = &self.rollouts[r];
        if record.document.requires.is_empty() {
            return None;
        }
        let deployment = self.deployment(r, d);
        let brings = |other: &&Record| {
            let at = other.find(&deployment.device);
            let open = |state: DeploymentState| state == DeploymentState::Pending || state.is_in_hand();
            other.is_active()
                && record.document.requires.contains(&other.document.patch)
                && at.is_some_and(|at| open(other.deployments[at as usize].state))
        };
        let other = self.known(r, deployment.site).places().map(|(at, _)| &self.rollouts[at]).find(brings)?;
        let (patch, rollout) = (other.document.patch.clone(), other.document.id.clone());
        Some(WaitingOn::Prerequisite { patch, rollout })
    }

    /// A rollout has begun or ended, so devices of others may have to wait for it, or no more.
    pub(super) fn look_at_dependants(&self, out: &mut Out, r: usize) {
        let record = &self.rollouts[r];
        if self
            .rollouts
            .iter()
            .any(|other| other.is_active() && other.document.requires.contains(&record.document.patch))
        {
            out.dirty.extend(record.sites.iter().cloned());
        }
    }
}
