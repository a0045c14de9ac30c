//! Limits per region: who is next within them, without looking through a region's sites.
//!
//! What was offered counts for the region that its site had then, and for the one that it has now where that is another:
//! the strictest reading, since nobody can say which of the two was meant. Sites that name no region are one region.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    State, WaitingOn,
    deployment::Deployment,
    link::narrow,
    record::{Index, Record},
    site::Site,
};
use crate::model::{Limits, Plan, SiteId};

/// One region of a rollout.
#[derive(Debug, Clone, Default)]
pub(super) struct Region {
    name: String,
    /// Deployments in hand, by wave.
    hand: BTreeMap<u16, u64>,
    /// Its sites that could take their next device but for this limit and the total ones, as (device, site).
    ready: BTreeSet<(u32, u32)>,
    /// Its entry in [`Index::ready`]: the first of these, while the limit allows one.
    head: Option<(u32, u32)>,
}

/// Whether a plan limits regions at all. Where it does not, all sites are one region.
fn limits_regions(plan: &Plan) -> bool {
    let limits = |limits: &Limits| limits.per_region.is_some();
    limits(&plan.limits) || plan.waves.iter().any(|wave| limits(&wave.limits))
}

impl Index {
    fn region(&mut self, name: &str) -> u32 {
        if let Some(known) = self.by_region.get(name) {
            return *known;
        }
        let new = narrow(self.regions.len());
        self.by_region.insert(name.to_owned(), new);
        self.regions.push(Region { name: name.to_owned(), ..Region::default() });
        new
    }
}

impl Record {
    /// The region limit that is reached at a site's region, if one is.
    fn region_limit(&self, region: u32) -> Option<u32> {
        let wave = self.current?;
        let region = &self.index.regions[region as usize];
        let reached = |limit: Option<u32>, held: u64| limit.filter(|l| held >= u64::from(*l));
        reached(self.document.plan.limits.per_region, region.hand.values().sum())
            .or_else(|| reached(self.wave_plan(wave).limits.per_region, region.hand.get(&wave).copied().unwrap_or(0)))
    }

    /// Puts a site into its region. Only while nothing of it stands in an index.
    fn place_in(&mut self, at: u32, name: &str) {
        let name = if limits_regions(&self.document.plan) { name } else { "" };
        self.index.places[at as usize].region = self.index.region(name);
    }

    /// Regions for which a deployment in hand counts.
    fn regions_of(&mut self, d: u32) -> [Option<u32>; 2] {
        let deployment = &self.deployments[d as usize];
        let now = self.index.places[deployment.site as usize].region;
        let then = deployment.note.as_ref().and_then(|n| n.region.as_deref()).map(|name| self.index.region(name));
        [Some(now), then.filter(|then| *then != now)]
    }

    /// A deployment is in hand from now on (`more`), or is so no longer.
    pub(super) fn count_region(&mut self, d: u32, more: bool) {
        let wave = self.deployments[d as usize].wave;
        for region in self.regions_of(d).into_iter().flatten() {
            let held = self.index.regions[region as usize].hand.entry(wave).or_default();
            *held = if more { *held + 1 } else { held.saturating_sub(1) };
            self.refresh_region(region);
        }
    }

    /// The device that a site could offer next.
    pub(super) fn set_ready(&mut self, at: u32, next: Option<u32>) {
        let place = &mut self.index.places[at as usize];
        let region = place.region;
        let old = std::mem::replace(&mut place.ready, next);
        if old == next {
            return;
        }
        let ready = &mut self.index.regions[region as usize].ready;
        if let Some(old) = old {
            ready.remove(&(old, at));
        }
        if let Some(new) = next {
            ready.insert((new, at));
        }
        self.refresh_region(region);
    }

    fn refresh_region(&mut self, region: u32) {
        let first = self.index.regions[region as usize].ready.first().copied();
        let head = first.filter(|_| self.region_limit(region).is_none());
        let old = std::mem::replace(&mut self.index.regions[region as usize].head, head);
        if old == head {
            return;
        }
        if let Some(old) = old {
            self.index.ready.remove(&old);
        }
        if let Some(new) = head {
            self.index.ready.insert(new);
        }
    }

    /// Another wave has other limits.
    pub(super) fn refresh_regions(&mut self) {
        for region in 0..narrow(self.index.regions.len()) {
            self.refresh_region(region);
        }
    }
}

impl State {
    /// Puts all sites of a rollout into their regions, before its deployments are linked.
    pub(super) fn place_in_regions(&mut self, r: usize) {
        for at in 0..narrow(self.rollouts[r].sites.len()) {
            let region = self.estate.site(&self.rollouts[r].sites[at as usize]).map_or("", |site| site.region.as_str());
            self.rollouts[r].place_in(at, region);
        }
    }

    /// A site's inventory names another region than before.
    pub(super) fn change_region(&mut self, site: &SiteId, before: &str, after: &str) {
        let places: Vec<(usize, u32)> = self.sites.get(site).into_iter().flat_map(Site::places).collect();
        for (r, at) in places {
            let record = &mut self.rollouts[r];
            if !limits_regions(&record.document.plan) {
                continue;
            }
            record.set_ready(at, None);
            let hand: Vec<u32> = record.index.places[at as usize].hand.iter().copied().collect();
            for d in &hand {
                self.unlink(r, *d);
            }
            self.rollouts[r].place_in(at, after);
            for d in hand {
                let deployment: &mut Deployment = &mut self.rollouts[r].deployments[d as usize];
                deployment.note().region.get_or_insert_with(|| before.to_owned());
                self.link(r, d);
            }
        }
    }

    /// What the limits of its region forbid to a site's next device.
    pub(super) fn region_barred(&self, r: usize, at: u32) -> Option<WaitingOn> {
        let record = &self.rollouts[r];
        let region = record.index.places[at as usize].region;
        let limit = record.region_limit(region)?;
        Some(WaitingOn::Region { region: record.index.regions[region as usize].name.clone(), limit })
    }
}
