//! The worst moments: what goes wrong just when it does the most harm.

use std::collections::BTreeSet;

use wardround_rollout_plans::model::{Command, DeviceId, Directive, Order, RollBackTarget, RolloutId, SiteId};

use super::{
    device::{MINUTE, Ms, SECOND},
    faults::Fault,
    hospital::Person,
    people::Act,
    world::{BEGIN, What, World},
};

impl World {
    /// An installer has begun on a device: people look, the site may be lost for as long as it takes to do harm there alone, and
    /// what the patch breaks may break together with what it has not touched.
    pub(super) fn install_has_begun(&mut self, device: &DeviceId) {
        self.people_see_work(25);
        if self.healing {
            return;
        }
        let site = device.site();
        if self.setting.has(Fault::Partitions) && self.random.chance(120) {
            let until = self.now() + self.random.between(6 * MINUTE, 25 * MINUTE);
            if let Some(line) = self.lines.get_mut(&site) {
                line.up_cut_until = line.up_cut_until.max(until);
                line.down_cut_until = line.down_cut_until.max(until);
            }
            self.say(&format!("the line of {site} is cut in the middle of an install"));
        }
        if self.setting.has(Fault::Trouble) && self.random.chance(400) {
            self.peers_fail_with(device);
        }
    }

    /// Just when the patch breaks a system, those of the site that it has not touched fail too, and for longer than anybody waits.
    fn peers_fail_with(&mut self, device: &DeviceId) {
        let Some(known) = self.truth.devices.get(device) else { return };
        let Some((broken, delay)) = known.fate.breaks.first_key_value().map(|(system, ms)| (system.clone(), *ms))
        else {
            return;
        };
        let reboot = if known.fate.reboot { known.fate.reboot_ms + 5 * SECOND } else { 0 };
        let patched = self.now() + known.fate.install_ms + reboot;
        let from = patched + delay + self.random.between(-15 * SECOND, 15 * SECOND);
        let to = from + self.random.between(8 * MINUTE, 25 * MINUTE);
        let peers: Vec<_> = self.truth.sites[&device.site()].systems.iter().map(|s| s.id.clone()).collect();
        for peer in peers.iter().filter(|peer| **peer != broken) {
            if let Some(system) = self.truth.systems.get_mut(peer) {
                system.trouble.push((from, to));
            }
        }
    }

    /// A directive leaves with a resume that has just been signed: it may be slow, and somebody halts again while it is under
    /// way. Says how much later it arrives.
    pub(super) fn resume_is_slow(&mut self, directive: &Directive) -> Ms {
        let may = !self.healing && self.setting.has(Fault::Halts) && self.setting.has(Fault::Delays);
        let fresh = |world: &Self, order: &Order| {
            matches!(order.command, Command::Resume { .. }) && order.issued_at.0 > world.now() - 20 * SECOND
        };
        let orders = directive.rollouts.iter().flat_map(|part| &part.orders);
        let resumed = orders.filter_map(|e| e.peek_unverified::<Order>().ok()).find(|order| fresh(self, order));
        let Some(order) = resumed.filter(|_| may && self.random.chance(350)) else { return 0 };
        let (soon, late) = (self.random.between(100, 3 * SECOND), self.random.between(5 * SECOND, 15 * SECOND));
        let pause = self.random.between(30 * SECOND, 4 * MINUTE);
        self.after(soon, What::Person(Act::HaltAndResume { id: order.rollout, pause }));
        late
    }

    /// A resume that does not name all halts in force, or none, though two people sign it.
    pub(super) fn resume_blindly(&mut self, id: &RolloutId) {
        let Some(view) = self.ledger().and_then(|l| l.engine().rollout(id)) else { return };
        let mut lifts: BTreeSet<_> = view.halts_in_force.iter().map(|halt| halt.order).collect();
        if let Some(unseen) = view.halts_in_force.last().map(|halt| halt.order) {
            lifts.remove(&unseen);
        }
        drop(self.order(id, Command::Resume { lifts: lifts.into_iter().collect() }, &[Person::Ann, Person::Ben]));
    }

    /// A site has fallen silent: who takes it back now must be obeyed once it is heard again.
    pub(super) fn people_see_silence(&mut self, site: SiteId) {
        let id = self.ledger().and_then(|l| l.engine().rollouts().first().cloned());
        let may = !self.healing && self.setting.has(Fault::Rollbacks);
        let Some(id) = id.filter(|_| may && self.random.chance(350)) else { return };
        let here = |world: &Self| {
            let versions = world.truth.versions.values().filter(|v| v.rollout.id == id);
            let member = versions.flat_map(|v| &v.members).find(|m| m.device.site() == site);
            member.map(|m| (m.device.clone(), m.wave.clone()))
        };
        let target = match (self.random.below(4), here(self)) {
            (0, Some((device, _))) => RollBackTarget::Device { device },
            (1, Some((_, wave))) => RollBackTarget::Wave { wave },
            _ => RollBackTarget::Site { site },
        };
        self.act(Act::Order { id, command: Command::RollBack { target }, by: vec![Person::Cem, Person::Ben] });
    }

    /// So many minutes after the beginning, as plans write moments.
    pub(super) fn moment(minutes: i64) -> String {
        let at = wardround_signing::tuf::Moment::from_ms(BEGIN + minutes * MINUTE);
        at.to_string()
    }
}
