//! What a site's directive says: a function of the present state, so that losing or repeating one costs only time.

use wardround_signing::Envelope;

use super::{State, record::Record};
use crate::model::{Goal, RollBackTarget, SiteId, SiteRollout, WaveName};

impl State {
    pub(super) fn site_rollouts(&self, site: &SiteId) -> Vec<SiteRollout> {
        let places = self.sites.get(site).into_iter().flat_map(super::site::Site::places);
        let mut parts: Vec<SiteRollout> =
            places.filter_map(|(r, at)| self.rollouts[r].site_rollout(site, at)).collect();
        parts.sort_by(|a, b| a.rollout.cmp(&b.rollout));
        parts
    }
}

impl Record {
    /// This rollout's part of the site's directive; nothing before the start, and nothing once all is done.
    fn site_rollout(&self, site: &SiteId, at: u32) -> Option<SiteRollout> {
        self.started_at?;
        if !self.is_listed(at) {
            return None;
        }
        Some(SiteRollout {
            rollout: self.document.id.clone(),
            digest: self.digest,
            mode: self.state.mode(),
            orders: self.site_orders(site, at),
            goals: self.goals(at),
            passages: self.passages(at),
            failures: self.failures(at),
        })
    }

    /// True while the rollout wants something of this site, or may come to want it.
    pub(super) fn is_listed(&self, at: u32) -> bool {
        let members = &self.index.places[at as usize].members;
        self.is_active() || members.iter().any(|d| self.goal(*d, false).is_some())
    }

    fn goals(&self, at: u32) -> Vec<Goal> {
        let active = self.is_active();
        let members = self.index.places[at as usize].members.iter();
        let mut goals: Vec<Goal> = members
            .filter_map(|d| {
                let deployment = &self.deployments[*d as usize];
                let action = self.goal(*d, active)?;
                Some(Goal { member: self.member(*d), proof: self.prove(*d)?, action, attempt: deployment.attempt })
            })
            .collect();
        goals.sort_by(|a, b| a.member.device.cmp(&b.member.device));
        goals
    }

    /// The orders that this site's node must see. Of the approvals those of every wave up to the last that has begun and
    /// has a device there: a node lets no wave begin before another that waits for people.
    fn site_orders(&self, site: &SiteId, at: u32) -> Vec<Envelope> {
        let mut orders: Vec<Envelope> = self.orders.start.iter().cloned().collect();
        let begun = self.current.map_or(0, |w| usize::from(w) + 1);
        let there = |w: &usize| self.index.waves[*w].sites.binary_search(&at).is_ok();
        let seen = (0..begun).rev().find(there).map_or(0, |w| w + 1);
        for wave in &self.waves[..seen] {
            orders.extend(wave.approvals.envelopes().cloned());
        }
        orders.extend(self.hold_envelopes().cloned());
        orders.extend(self.orders.stop_or_go.iter().chain(&self.orders.cancel).cloned());
        let concerns = |wave: &WaveName| {
            let w = self.wave_position(wave).map(usize::from);
            w.is_some_and(|w| self.index.waves[w].sites.binary_search(&at).is_ok())
        };
        let roll_backs = self.orders.roll_backs.iter().filter(|(target, _)| match target {
            RollBackTarget::Device { device } => device.site() == *site,
            RollBackTarget::Site { site: other } => other == site,
            RollBackTarget::Wave { wave } => concerns(wave),
            RollBackTarget::Rollout => true,
        });
        orders.extend(roll_backs.map(|(_, envelope)| envelope.clone()));
        orders
    }
}
