//! Rollouts of patches that belong together: one requires or replaces the other.
//!
//! **Invariant:** two rollouts of which one replaces the other's patch are never under way with a common device. The older would
//! else be put on, or taken back from, a device that has the newer.
//!
//! A device whose patch requires another waits while a rollout under way is still to bring that. Whatever becomes of that, the
//! node looks for itself before it installs; it never begins where the prerequisite is missing.

use super::{Refusal, State, WaitingOn, out::Out, record::Record};
use crate::model::{Command, DeploymentState, DeviceId, PatchId};

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
    pub(super) fn check_replaced<'d>(
        &self,
        r: usize,
        devices: impl Iterator<Item = &'d DeviceId> + Clone,
    ) -> Result<(), Refusal> {
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

    /// The same for an order: only a start brings a rollout under way.
    pub(super) fn check_lineage(&self, r: usize, command: &Command) -> Result<(), Refusal> {
        match command {
            Command::Start => self.check_replaced(r, self.rollouts[r].deployments.iter().map(|d| &d.device)),
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
