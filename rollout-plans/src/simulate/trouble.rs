//! What goes wrong at a whole site at once, and the control group that a plan may ask for (`health.control`): while systems of the
//! site that nobody has patched fail together with a patched one, its node blames nobody, for so long as the plan says.

use super::{
    prepared::System,
    queue::Happening,
    world::{Purpose, World},
};
use crate::model::{Health, ReportBody, SystemId};

impl World<'_> {
    /// The next time that all systems of a site fail together, after `from`.
    pub(super) fn next_site_trouble(&mut self, s: u32, from: i64) {
        let Some(every) = self.model.site_trouble_every() else { return };
        let at = from.saturating_add_unsigned(self.chance(Purpose::SiteTrouble, self.trouble_luck(s)).wait(every));
        if at < self.end_of_time() {
            self.queue.push(at, Happening::SiteTrouble(s));
        }
    }

    fn trouble_luck(&self, s: u32) -> u64 {
        self.p.sites[s as usize].luck.wrapping_add(u64::from(self.nodes[s as usize].troubles))
    }

    pub(super) fn site_trouble(&mut self, s: u32) {
        let span = self.model.systems.site_trouble_for;
        let luck = self.trouble_luck(s).rotate_left(29);
        let until = self.later(self.chance(Purpose::SiteTrouble, luck).within(span.least, span.most).max(1));
        let node = &mut self.nodes[s as usize];
        node.troubles += 1;
        node.trouble = Some((self.now, until));
        let here = self.p;
        for k in here.systems_at.of_one(s) {
            // Another trouble, another wait.
            self.excused.remove(k);
            self.ail(*k, 0);
        }
        self.tell_site(s, Health::Unhealthy);
        if self.compares() {
            self.queue.push(until, Happening::SiteWell(s));
        }
        self.next_site_trouble(s, until);
    }

    /// Does a gate compare with systems that nobody has patched? Only then modelled nodes tell how these are.
    fn compares(&self) -> bool {
        self.p.plan.waves.iter().any(|wave| wave.gate.test.is_some())
    }

    /// Before the start: what nodes have said of their systems.
    pub(super) fn tell_health(&mut self) {
        for s in 0..super::prepared::narrow(self.p.sites.len()) {
            self.tell_site(s, Health::Healthy);
        }
    }

    /// How all systems of a site are that were well before, and through which no patch is watched.
    pub(super) fn tell_site(&mut self, s: u32, health: Health) {
        if !self.compares() {
            return;
        }
        let here = self.p;
        here.systems_at.of_one(s).iter().for_each(|k| self.tell_system(*k, health));
        for (id, luck) in &here.sites[s as usize].bystanders {
            if self.is_well(*luck) {
                self.tell_of(s, id, health);
            }
        }
    }

    /// The same of one system.
    pub(super) fn tell_system(&mut self, k: u32, health: Health) {
        if self.compares() && self.is_watched(k) && self.watcher(k).is_none() {
            let System { id, site, .. } = &self.p.systems[k as usize];
            self.tell_of(*site, id, health);
        }
    }

    fn tell_of(&mut self, s: u32, id: &SystemId, health: Health) {
        let body = ReportBody::Health { system: id.clone(), health, blames: None, document: None, probes: Vec::new() };
        self.report(s, body);
    }

    /// It was well before the patch came.
    pub(super) fn is_well(&self, luck: u64) -> bool {
        !self.chance(Purpose::Unhealthy, luck).chance(self.model.systems.unhealthy_before)
    }

    /// Since when and until when all systems of a site fail.
    pub(super) fn in_trouble(&self, s: u32) -> Option<(i64, i64)> {
        self.nodes[s as usize].trouble.filter(|(_, until)| *until > self.now)
    }

    /// Failures in a row that make a system unhealthy.
    pub(super) fn failures(&self, k: u32) -> u64 {
        if self.p.systems[k as usize].critical { 1 } else { u64::from(self.p.plan.health.failures.max(1)) }
    }

    /// How long it takes to count them, at most.
    pub(super) fn count_ms(&self, k: u32) -> u64 {
        self.failures(k).saturating_mul(self.p.plan.health.interval.0)
    }

    /// A watched device that needs the system, and whose system was well before the install.
    fn watcher(&self, k: u32) -> Option<u32> {
        let mut needed = self.p.needs.of_one(k).iter().copied();
        let found = needed.find(|d| self.is_under_watch(*d) && !self.devices[*d as usize].ill_before);
        found.filter(|_| self.is_watched(k))
    }

    /// A system fails with its site: if a patch is under watch through it, its node counts from `after_ms` on.
    fn ail(&mut self, k: u32, after_ms: u64) {
        if self.watcher(k).is_some() {
            self.open += 1;
            self.queue.push(self.later(after_ms.saturating_add(self.count_ms(k))), Happening::Ailing(k));
        }
    }

    /// A device whose install began before the trouble soaks in it.
    pub(super) fn comes_into_trouble(&mut self, s: u32, d: u32) {
        if self.in_trouble(s).is_some() {
            let here = self.p;
            here.needed_by.of_one(d).iter().for_each(|k| self.ail(*k, here.plan.health.grace.0));
        }
    }

    /// A system that failed with its site has failed often enough.
    pub(super) fn ailing(&mut self, k: u32) {
        self.open -= 1;
        let trouble = self.in_trouble(self.p.systems[k as usize].site);
        let (Some((began, _)), Some(d)) = (trouble, self.watcher(k)) else {
            // It is well again, or nobody looks any more.
            self.excused.remove(&k);
            return;
        };
        match self.excused_until(k, began) {
            Some(at) => {
                self.open += 1;
                self.queue.push(at, Happening::Ailing(k));
            }
            None => self.blame(d, k),
        }
    }

    /// When to ask again whether a system that began to fail at `began` is to be blamed; `None` when it is to be blamed now.
    pub(super) fn excused_until(&mut self, k: u32, began: i64) -> Option<i64> {
        let wait_max = self.p.plan.health.control.as_ref()?.wait_max.0;
        let s = self.p.systems[k as usize].site;
        let (since, until) = self.in_trouble(s)?;
        // Peers that began to fail long before or after it say nothing.
        if since.abs_diff(began) > wait_max || !self.has_peers(s, k) {
            return None;
        }
        let last = self.excused.entry(k).or_insert(self.now).saturating_add_unsigned(wait_max);
        // Once the peers are well its failures are counted anew.
        let anew = until.saturating_add_unsigned(self.count_ms(k));
        (self.now < last).then_some(last.min(anew))
    }

    /// Is there a system at the site that was well, and none of whose devices was touched?
    fn has_peers(&self, s: u32, k: u32) -> bool {
        let well = |(_, luck): &(SystemId, u64)| self.is_well(*luck);
        let untouched = |other: &&u32| {
            **other != k
                && self.is_watched(**other)
                && !self.p.needs.of_one(**other).iter().any(|d| self.is_touched(*d))
        };
        self.p.sites[s as usize].bystanders.iter().any(well)
            || self.p.systems_at.of_one(s).iter().any(|o| untouched(&o))
    }

    /// The patch may be, or may have been, on it.
    fn is_touched(&self, d: u32) -> bool {
        let dev = &self.devices[d as usize];
        dev.touched && (dev.phase.is_at_work() || self.seen.is_some_and(|g| !g.state.is_ended()))
    }

    /// A system of the device fails with its site, so that its last look waits.
    pub(super) fn ails(&self, d: u32) -> bool {
        let dev = &self.devices[d as usize];
        let watched = || self.p.needed_by.of_one(d).iter().any(|k| self.is_watched(*k));
        self.in_trouble(self.p.members[d as usize].site).is_some() && !dev.ill_before && watched()
    }

    /// Until when nothing begins on the device: a critical system that needs it fails with its site, or a system of the site is
    /// not blamed because its peers fail too.
    pub(super) fn kept_by_trouble(&self, s: u32, d: u32) -> Option<i64> {
        let (_, until) = self.in_trouble(s)?;
        let critical = self.p.needed_by.of_one(d).iter().any(|k| self.p.systems[*k as usize].critical);
        let excused = || self.p.systems_at.of_one(s).iter().any(|k| self.excused.contains_key(k));
        (critical || excused()).then_some(until)
    }
}
