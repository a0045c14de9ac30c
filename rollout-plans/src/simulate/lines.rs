//! Sites that lose their line: the node goes on with what it has, and its reports wait.

use super::{queue::Happening, world::Purpose, world::World};
use crate::engine::Event;

impl World<'_> {
    pub(super) fn lose_line(&mut self, s: u32) {
        let span = self.model.network.offline_for;
        let node = &mut self.nodes[s as usize];
        node.losses += 1;
        node.lost = Some(self.now);
        let luck = self.p.sites[s as usize].luck.wrapping_add(u64::from(node.losses)).rotate_left(17);
        let lasts = self.chance(Purpose::Offline, luck).within(span.least, span.most);
        self.queue.push(self.now.saturating_add_unsigned(lasts), Happening::Back(s));
        let patience = self.p.plan.timing.unknown_after.0;
        self.queue.push(self.now.saturating_add_unsigned(patience), Happening::Silent(s));
    }

    /// The controller calls a site silent only while something is in hand there, or is waited for by a plan that says how long.
    pub(super) fn silence(&mut self, s: u32) {
        let site = &self.p.sites[s as usize].id;
        let node = &self.nodes[s as usize];
        let patience = self.p.plan.timing.unknown_after.0;
        let long = node.lost.is_some_and(|lost| self.now >= lost.saturating_add_unsigned(patience));
        let concerned = || self.state.hand_at(&self.p.id, site) != (0, 0) || !self.state.waits_for(site).is_empty();
        if long && !node.silent && concerned() {
            self.nodes[s as usize].silent = true;
            self.step(&Event::SiteSilent { site: site.clone() }, Some(s));
        }
    }

    pub(super) fn line_back(&mut self, s: u32) {
        let node = &mut self.nodes[s as usize];
        node.lost = None;
        if std::mem::take(&mut node.silent) {
            self.step(&Event::SiteHeard { site: self.p.sites[s as usize].id.clone() }, Some(s));
        }
        for body in std::mem::take(&mut self.nodes[s as usize].outbox) {
            self.open -= 1;
            self.deliver(s, body);
        }
        self.open -= u64::from(std::mem::take(&mut self.nodes[s as usize].unread));
        self.read(s);
        self.next_loss(s);
    }
}
