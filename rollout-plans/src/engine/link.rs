//! The one door through which a deployment changes, so that counters, queues, timers and the sites' directives can't
//! disagree with it; and the rebuilding of all of them after loading.

use std::collections::BTreeSet;

use super::{State, deployment::Back, deployment::Deployment, out::Out, record::Record};
use crate::model::{DeploymentState, Timestamp};

impl State {
    pub(super) fn deployment(&self, r: usize, d: u32) -> &Deployment {
        &self.rollouts[r].deployments[d as usize]
    }

    /// Changes one deployment.
    pub(super) fn change(&mut self, out: &mut Out, r: usize, d: u32, edit: impl FnOnce(&mut Deployment)) {
        let record = &mut self.rollouts[r];
        let active = record.is_active();
        let seen = |record: &Record| {
            let goal = record.goal(d, active);
            (goal, goal.map(|_| record.deployments[d as usize].attempt))
        };
        let (before, said) = (record.slot(d), seen(record));
        edit(&mut record.deployments[d as usize]);
        let (after, says) = (record.slot(d), seen(record));
        let site = &record.sites[record.deployments[d as usize].site as usize];
        if said != says {
            out.sites.insert(site.clone());
        }
        if !before.disrupts_as(after) {
            out.dirty.insert(site.clone());
        }
        out.rollout(&record.document.id);
        out.touched.insert(r);
        self.relink(r, d, Some(before), Some(after));
    }

    /// Enters a deployment into the indexes.
    pub(super) fn link(&mut self, r: usize, d: u32) {
        let slot = self.rollouts[r].slot(d);
        self.relink(r, d, None, Some(slot));
    }

    /// Takes a deployment out of the indexes.
    pub(super) fn unlink(&mut self, r: usize, d: u32) {
        let slot = self.rollouts[r].slot(d);
        self.relink(r, d, Some(slot), None);
    }

    /// Changes what differs. `None` stands for a deployment that is in no index.
    fn relink(&mut self, r: usize, d: u32, before: Option<Slot>, after: Option<Slot>) {
        let both = |asked: fn(Slot) -> bool| (before.is_some_and(asked), after.is_some_and(asked));
        let record = &mut self.rollouts[r];
        let deployment = &record.deployments[d as usize];
        let wave = &mut record.index.waves[usize::from(deployment.wave)];
        let place = &mut record.index.places[deployment.site as usize];
        if before.map(|b| b.state) != after.map(|a| a.state) {
            before.iter().for_each(|b| wave.counts.remove(b.state));
            after.iter().for_each(|a| wave.counts.add(a.state));
        }
        let (was_lost, is_lost) = both(|slot| slot.state.is_lost());
        wave.losses += u64::from(was_lost != is_lost);
        let (was_wanted, is_wanted) = both(|slot| slot.back != Back::No);
        wave.wanting = wave.wanting + u64::from(is_wanted) - u64::from(was_wanted);
        enter(&mut place.pending, d, both(|slot| slot.state == DeploymentState::Pending));
        enter(&mut place.back_waiting, d, both(|slot| slot.back == Back::Waiting));
        let (was_in_hand, is_in_hand) = both(|slot| slot.state.is_in_hand());
        if was_in_hand != is_in_hand {
            enter(&mut place.hand, d, (was_in_hand, is_in_hand));
            enter(&mut self.sites.at_mut(place.known).hand, (narrow(r), d), (was_in_hand, is_in_hand));
        }
        let (old, new) = (before.and_then(|b| b.timer), after.and_then(|a| a.timer));
        if old != new {
            if let Some(at) = old {
                self.timers.remove(&(at, narrow(r), d));
            }
            if let Some(at) = new {
                self.timers.insert((at, narrow(r), d));
            }
        }
        if was_in_hand != is_in_hand {
            record.count_region(d, is_in_hand);
        }
    }

    /// Indexes of one rollout, from its deployments.
    pub(super) fn index_rollout(&mut self, r: usize) {
        let record = &mut self.rollouts[r];
        record.frame_index();
        self.by_id.insert(record.document.id.clone(), r);
        for (at, (site, place)) in (0..).zip(record.sites.iter().zip(&mut record.index.places)) {
            place.known = self.sites.enter(site);
            self.sites.at_mut(place.known).rollouts.insert(narrow(r), at);
        }
        let record = &mut self.rollouts[r];
        for at in 0..narrow(record.sites.len()) {
            if let Some(inventory) = self.estate.site(&record.sites[at as usize]) {
                record.share_names(at, inventory);
            }
        }
        self.place_in_regions(r);
        for d in 0..narrow(self.rollouts[r].deployments.len()) {
            self.link(r, d);
        }
        self.time_pending(r);
    }

    /// All indexes, after loading a snapshot.
    pub(super) fn index_all(&mut self) {
        self.timers.clear();
        self.turns.clear();
        self.patience.clear();
        self.by_id.clear();
        for (id, site) in self.sites.iter_mut() {
            if let Some(inventory) = self.estate.shared(id) {
                site.learn_devices(inventory);
            }
        }
        for r in 0..self.rollouts.len() {
            self.index_rollout(r);
        }
        for r in 0..self.rollouts.len() {
            self.refresh_wave(r);
        }
    }
}

/// What the indexes know of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    state: DeploymentState,
    back: Back,
    timer: Option<Timestamp>,
}

impl Slot {
    /// Nothing at its site has to be looked at again for the difference.
    fn disrupts_as(self, other: Self) -> bool {
        let slot = |slot: Self| (slot.state == DeploymentState::Pending, slot.state.is_in_hand(), slot.back);
        slot(self) == slot(other)
    }
}

impl Record {
    fn slot(&self, d: u32) -> Slot {
        let deployment = &self.deployments[d as usize];
        Slot { state: deployment.state, back: deployment.back, timer: deployment.timer(&self.document.plan) }
    }
}

/// Makes a set hold what it should hold afterwards.
fn enter<T: Ord>(set: &mut BTreeSet<T>, what: T, (before, after): (bool, bool)) {
    if after && !before {
        set.insert(what);
    } else if before && !after {
        set.remove(&what);
    }
}

/// Positions are checked against [`super::record::MEMBERS_MAX`] when a rollout is created.
pub(super) fn narrow(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
