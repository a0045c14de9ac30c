//! The one door through which a deployment changes, so that counters, queues, timers and the sites' directives can't
//! disagree with it; and the rebuilding of all of them after loading.

use super::{State, deployment::Back, deployment::Deployment, out::Out, record::Record};
use crate::model::DeploymentState;

impl State {
    pub(super) fn deployment(&self, r: usize, d: u32) -> &Deployment {
        &self.rollouts[r].deployments[d as usize]
    }

    /// Changes one deployment.
    pub(super) fn change(&mut self, out: &mut Out, r: usize, d: u32, edit: impl FnOnce(&mut Deployment)) {
        self.unlink(r, d);
        let record = &mut self.rollouts[r];
        let active = record.is_active();
        let seen = |record: &Record| {
            let at = &record.deployments[d as usize];
            let slot = (at.state == DeploymentState::Pending, at.state.is_in_hand(), at.back);
            let goal = record.goal(d, active);
            (goal, goal.map(|_| at.attempt), slot)
        };
        let before = seen(record);
        edit(&mut record.deployments[d as usize]);
        let after = seen(record);
        let site = &record.sites[record.deployments[d as usize].site as usize];
        if (before.0, before.1) != (after.0, after.1) {
            out.sites.insert(site.clone());
        }
        if before.2 != after.2 {
            out.dirty.insert(site.clone());
        }
        out.rollout(&record.document.id);
        out.touched.insert(r);
        self.link(r, d);
    }

    /// Enters a deployment into the indexes.
    pub(super) fn link(&mut self, r: usize, d: u32) {
        let record = &mut self.rollouts[r];
        let deployment = &record.deployments[d as usize];
        let wave = &mut record.index.waves[usize::from(deployment.wave)];
        wave.counts.add(deployment.state);
        let place = &mut record.index.places[deployment.site as usize];
        if deployment.state == DeploymentState::Pending {
            place.pending.insert(d);
        }
        if deployment.state.is_in_hand() {
            place.hand.insert(d);
            let site = self.sites.entry(record.sites[deployment.site as usize].clone()).or_default();
            site.hand.insert((deployment.device.clone(), narrow(r)));
        }
        if deployment.back != Back::No {
            wave.wanting += 1;
        }
        if deployment.back == Back::Waiting {
            place.back_waiting.insert(d);
        }
        if let Some(at) = deployment.timer(&record.document.plan) {
            self.timers.insert((at, narrow(r), d));
        }
        if deployment.state.is_in_hand() {
            record.count_region(d, true);
        }
    }

    /// Takes a deployment out of the indexes, before it changes.
    pub(super) fn unlink(&mut self, r: usize, d: u32) {
        let record = &mut self.rollouts[r];
        let deployment = &record.deployments[d as usize];
        let wave = &mut record.index.waves[usize::from(deployment.wave)];
        wave.counts.remove(deployment.state);
        let place = &mut record.index.places[deployment.site as usize];
        place.pending.remove(&d);
        place.hand.remove(&d);
        place.back_waiting.remove(&d);
        if deployment.state.is_in_hand()
            && let Some(site) = self.sites.get_mut(&record.sites[deployment.site as usize])
        {
            site.hand.remove(&(deployment.device.clone(), narrow(r)));
        }
        if deployment.back != Back::No {
            wave.wanting -= 1;
        }
        if let Some(at) = deployment.timer(&record.document.plan) {
            self.timers.remove(&(at, narrow(r), d));
        }
        if deployment.state.is_in_hand() {
            record.count_region(d, false);
        }
    }

    /// Indexes of one rollout, from its deployments.
    pub(super) fn index_rollout(&mut self, r: usize) {
        let record = &mut self.rollouts[r];
        record.frame_index();
        self.by_id.insert(record.document.id.clone(), r);
        for site in record.sites.clone() {
            self.sites.entry(site).or_default().rollouts.insert(narrow(r));
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
        for (id, site) in &mut self.sites {
            if let Some(inventory) = self.estate.site(id) {
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

/// Positions are checked against [`super::record::MEMBERS_MAX`] when a rollout is created.
pub(super) fn narrow(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
