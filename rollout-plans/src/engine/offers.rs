//! Offering: who is next, and what stands in the way. Also whose rollback is next, since both disrupt devices.

use std::collections::BTreeSet;

use super::{RolloutState, State, WaitingOn, deployment::Back, link::narrow, out::Out, site::Site};
use crate::model::{DeploymentState, DeviceId, GroupId, Timestamp, moment_words};

impl State {
    /// Looks again at sites where something has changed: first rollbacks, then which device could be offered next.
    pub(super) fn look_again(&mut self, out: &mut Out) {
        while let Some(site) = out.dirty.pop_first() {
            let Some(known) = self.sites.position(&site) else { continue };
            self.release_rollbacks(out, known);
            self.refresh_site(known);
        }
    }

    /// Offers what the limits allow, rollouts in order of creation, devices in order of members.
    pub(super) fn offer(&mut self, out: &mut Out) {
        for r in 0..self.rollouts.len() {
            // Most rollouts have ended and have nobody ready, which is asked first since it costs nothing.
            while let Some((d, _)) = self.rollouts[r].index.ready.first().copied()
                && self.total_limit(r).is_none()
            {
                let group = self.group_of(r, d).cloned();
                let now = out.now;
                self.change(out, r, d, |deployment| {
                    deployment.attempt += 1;
                    deployment.move_to(DeploymentState::Offered, now);
                    if group.is_some() {
                        deployment.note().group = group;
                    }
                });
                // The slot is taken at once for every rollout at the site, before the next offer is looked at.
                self.look_again(out);
            }
        }
    }

    /// What is known of a site of a rollout.
    pub(super) fn known(&self, r: usize, at: u32) -> &Site {
        self.sites.at(self.rollouts[r].index.places[at as usize].known)
    }

    fn group_of(&self, r: usize, d: u32) -> Option<&GroupId> {
        let deployment = self.deployment(r, d);
        self.known(r, deployment.site).group(&deployment.device, deployment.group())
    }

    /// True when another rollout has the device in hand.
    fn held_by_other(&self, site: &Site, device: &DeviceId, r: u32) -> bool {
        let others = site.hand.iter().filter(|(holder, _)| *holder != r);
        others.copied().any(|(holder, at)| self.deployment(holder as usize, at).device == *device)
    }

    /// What forbids that this device is disrupted now; `None` when nothing does. Counts over all rollouts.
    pub(super) fn device_barred(&self, r: usize, d: u32) -> Option<WaitingOn> {
        let deployment = self.deployment(r, d);
        let site = self.known(r, deployment.site);
        if self.held_by_other(site, &deployment.device, narrow(r)) {
            return Some(WaitingOn::Concurrency { scope: "device".to_owned(), limit: 1 });
        }
        let group = self.group_of(r, d)?;
        if deployment.state.is_in_hand() {
            return None;
        }
        let mut held = BTreeSet::new();
        for (holder, at) in &site.hand {
            let other = self.deployment(*holder as usize, *at);
            if other.device != deployment.device && site.group(&other.device, other.group()) == Some(group) {
                held.insert(&other.device);
            }
        }
        (held.len() >= site.group_max(group)).then(|| WaitingOn::RedundancyGroup { group: group.clone() })
    }

    /// What forbids any further offer at a site of a rollout.
    pub(super) fn site_barred(&self, r: usize, at: u32) -> Option<WaitingOn> {
        let record = &self.rollouts[r];
        let wave = record.current?;
        if let Some(by) = self.too_late(r) {
            let name = record.document.waves[usize::from(wave)].name.clone();
            return Some(WaitingOn::Deadline { wave: name, by: moment_words(by) });
        }
        let site = self.known(r, at);
        if !site.answers() {
            return Some(WaitingOn::SilentSites { sites: vec![record.sites[at as usize].clone()] });
        }
        // Rollbacks go before installs, whoever's they are.
        let backs = |(r, at): (usize, u32)| self.rollouts[r].index.places[at as usize].back_waiting.len();
        let backs: usize = site.places().map(backs).sum();
        if backs > 0 {
            return Some(WaitingOn::Rollbacks { open: backs as u64 });
        }
        let place = &record.index.places[at as usize];
        let site_limit = record.document.plan.per_site();
        if place.hand.len() >= site_limit as usize {
            return Some(WaitingOn::Concurrency { scope: "site".to_owned(), limit: site_limit });
        }
        let wave_limit = record.wave_plan(wave).limits.per_site?;
        let in_wave = place.hand.range(record.wave_range(wave)).count();
        (in_wave >= wave_limit as usize).then(|| WaitingOn::Concurrency { scope: "site".to_owned(), limit: wave_limit })
    }

    /// The total limit that is reached, if one is.
    pub(super) fn total_limit(&self, r: usize) -> Option<WaitingOn> {
        let record = &self.rollouts[r];
        let reached = |scope: &str, limit: Option<u32>, held: u64| {
            limit
                .filter(|l| held >= u64::from(*l))
                .map(|limit| WaitingOn::Concurrency { scope: scope.to_owned(), limit })
        };
        let wave = record.current?;
        let plan = &record.document.plan;
        let in_wave = record.index.waves[usize::from(wave)].counts.in_hand();
        reached("total", plan.limits.total, record.in_hand())
            .or_else(|| reached("wave", record.wave_plan(wave).limits.total, in_wave))
    }

    /// Recomputes which device each rollout at `site` could offer next.
    fn refresh_site(&mut self, known: u32) {
        let places: Vec<(usize, u32)> = self.sites.at(known).places().collect();
        for (r, at) in places {
            let (next, turn) = self.next_offer(r, at);
            self.set_turn(r, at, turn);
            self.rollouts[r].set_ready(at, next);
            let patience = self.patience_with(r, at);
            self.set_patience(r, at, patience);
        }
    }

    /// Recomputes it for all sites of the current wave: after a start, a resume, a stop, or loading.
    pub(super) fn refresh_wave(&mut self, r: usize) {
        self.rollouts[r].refresh_regions();
        self.refresh_deadline(r);
        let record = &self.rollouts[r];
        let Some(wave) = record.current else { return };
        let places = record.index.waves[usize::from(wave)].sites.iter();
        let sites: Vec<u32> = places.map(|at| record.index.places[*at as usize].known).collect();
        for site in sites {
            self.refresh_site(site);
        }
    }

    /// The next member of the current wave at this site that could be offered, limits of region and total aside; and when a window
    /// changes that.
    fn next_offer(&self, r: usize, at: u32) -> (Option<u32>, Option<Timestamp>) {
        let record = &self.rollouts[r];
        let Some(wave) = record.current else { return (None, None) };
        let under_way = record.waves[usize::from(wave)].state.is_under_way();
        if record.state != RolloutState::Running || !under_way || self.site_barred(r, at).is_some() {
            return (None, None);
        }
        if record.index.places[at as usize].pending.range(record.wave_range(wave)).next().is_none() {
            return (None, None);
        }
        self.next_in_window(r, at, wave)
    }

    /// Tells the node of rollbacks whose turn has come: a redundancy group is not taken down by its rollback either.
    fn release_rollbacks(&mut self, out: &mut Out, known: u32) {
        let places: Vec<(usize, u32)> = self.sites.at(known).places().collect();
        for (r, at) in places {
            let waiting: Vec<u32> = self.rollouts[r].index.places[at as usize].back_waiting.iter().copied().collect();
            for d in waiting {
                if !self.deployment(r, d).is_withdrawn() && !self.rollouts[r].is_shown(d) {
                    self.ask_people(out, r);
                } else if self.device_barred(r, d).is_none() {
                    self.tell_back(out, r, d);
                }
            }
        }
    }

    fn tell_back(&mut self, out: &mut Out, r: usize, d: u32) {
        let now = out.now;
        self.change(out, r, d, |deployment| {
            deployment.back = Back::Told;
            let reason = deployment.note().back_reason.clone();
            deployment.note().overdue = false;
            match deployment.state {
                // The node decides what it is when it answers again.
                DeploymentState::Unknown => {}
                DeploymentState::RollbackFailed => {
                    deployment.attempt += 1;
                    deployment.move_to(DeploymentState::RollingBack, now);
                }
                state if state.may_be_installed() => deployment.move_to(DeploymentState::RollingBack, now),
                // Not installed by its last report: it keeps its slot until the node has said that nothing is left.
                _ => deployment.since = now,
            }
            deployment.say(&reason);
        });
    }
}
