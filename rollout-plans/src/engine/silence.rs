//! Sites that fall silent and are heard again, and what time alone changes.

use wardround_signing::KeyId;

use super::{Refusal, RolloutState, State, deployment::Back, out::Out, pending::ORDERS, site::Site};
use crate::model::{DeploymentState, DurationMs, SiteId, Timestamp};

impl State {
    /// Is this the key of the site's present node?
    pub(super) fn check_node(&self, site: &SiteId, key: &KeyId) -> Result<(), Refusal> {
        match self.sites.get(site).filter(|s| s.is_enrolled()) {
            None => Err(Refusal::NotFound { what: "site", id: site.to_string() }),
            Some(known) if known.is_key(key) => Ok(()),
            Some(_) => Err(Refusal::AnotherNode { site: site.clone(), key: key.clone() }),
        }
    }

    /// A site's node is revoked. What it has in hand is unknown from now on: it may still go on with it by itself.
    pub(super) fn node_revoked(&mut self, out: &mut Out, site: &SiteId, key: &KeyId, text: &str) {
        let text = format!("the node of site {site} with key {key} was revoked: {text}");
        out.audit("node_revoked", None, None, text);
        self.site_silent(out, site);
        if let Some(known) = self.sites.get_mut(site) {
            known.revoke();
        }
        self.forget_failures(out, site);
    }

    /// No word from a site: what is in hand there is unknown, and never counts as success.
    pub(super) fn site_silent(&mut self, out: &mut Out, site: &SiteId) {
        if let Some(known) = self.sites.get_mut(site) {
            known.silent = true;
            known.silent_since.get_or_insert(out.now);
        }
        out.dirty.insert(site.clone());
        let mut last = None;
        for (r, d) in self.in_hand_at(site) {
            let state = self.deployment(r, d).state;
            if state == DeploymentState::Unknown {
                continue;
            }
            let now = out.now;
            self.change(out, r, d, |at| {
                at.move_to(DeploymentState::Unknown, now);
                at.note().before = Some(state);
            });
            if last != Some(r) {
                last = Some(r);
                let id = self.rollouts[r].document.id.clone();
                let text = format!("site {site} does not answer: its deployments of rollout {id} are unknown");
                out.alarm("unknown", Some(&id), Some(site), None, text);
            }
        }
        self.touch_rollouts_of(out, site);
    }

    /// The first word after a silence: deployments are what they were, until their reports say more.
    pub(super) fn site_heard(&mut self, out: &mut Out, site: &SiteId) {
        if let Some(known) = self.sites.get_mut(site) {
            known.silent = false;
            known.silent_since = None;
        }
        self.forget_silence(site);
        out.dirty.insert(site.clone());
        for (r, d) in self.in_hand_at(site) {
            let deployment = self.deployment(r, d);
            if deployment.state != DeploymentState::Unknown {
                continue;
            }
            let before = deployment.last_known();
            let back = deployment.back == Back::Told && before.may_be_installed();
            let now = out.now;
            self.change(out, r, d, |at| {
                at.move_to(if back { DeploymentState::RollingBack } else { before }, now);
            });
        }
        self.touch_rollouts_of(out, site);
    }

    /// In hand at a site, as (rollout, deployment), by rollout.
    fn in_hand_at(&self, site: &SiteId) -> Vec<(usize, u32)> {
        let places = self.sites.get(site).into_iter().flat_map(Site::places);
        let hand = |(r, at): (usize, u32)| self.rollouts[r].index.places[at as usize].hand.iter().map(move |d| (r, *d));
        places.flat_map(hand).collect()
    }

    /// Their views say whom they wait for.
    fn touch_rollouts_of(&self, out: &mut Out, site: &SiteId) {
        for (r, _) in self.sites.get(site).into_iter().flat_map(Site::places) {
            let record = &self.rollouts[r];
            if record.is_active() {
                out.rollout(&record.document.id);
            }
        }
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, out: &mut Out) {
        while let Some((at, r, d)) = self.timers.first().copied()
            && at <= out.now
        {
            self.due(out, r as usize, d, at);
        }
        self.lose_patience(out);
    }

    /// One timer is due. Each way through changes the deployment so that this timer is gone.
    fn due(&mut self, out: &mut Out, r: usize, d: u32, at: Timestamp) {
        if d == ORDERS {
            return self.expire_pending(out, r);
        }
        let now = out.now;
        let deployment = self.deployment(r, d);
        let reported = deployment.note.as_ref().is_some_and(|n| n.success_reported);
        let waits = deployment.note.as_ref().is_some_and(|n| n.shut_since.is_some());
        match deployment.state {
            DeploymentState::Soaking if reported => {
                self.change(out, r, d, |at| at.move_to(DeploymentState::Succeeded, now));
            }
            DeploymentState::Deferred if deployment.back == Back::No && !waits => {
                let limit = self.rollouts[r].document.plan.timing.defer_max;
                let stands = matches!(self.rollouts[r].state, RolloutState::Paused | RolloutState::Halted);
                if stands && limit > DurationMs::default() {
                    // Its node may not try it now, so patience begins anew: it would fail for a person's halt.
                    return self.change(out, r, d, |at| at.note().deferred_since = Some(now));
                }
                let why =
                    format!("it was put off for {limit}, the longest that the plan allows: {}", deployment.reason());
                self.withdraw(out, r, &[d], &why);
            }
            state => {
                let (device, since) = (deployment.device.clone(), deployment.since);
                let id = self.rollouts[r].document.id.clone();
                self.change(out, r, d, |at| at.note().overdue = true);
                let text = format!(
                    "{device} in rollout {id} is {state} for {}, longer than expected: look at it",
                    at.since(since)
                );
                out.alarm("overdue", Some(&id), Some(&device.site()), Some(&device), text);
            }
        }
    }
}
