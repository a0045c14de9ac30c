//! The modelled node with its devices: it takes its time and reports, and does to no device what the production node would
//! not do. What the production node does beyond that (verify, journal, talk) is not modelled.

use super::{
    model::{Onset, Span},
    queue::Happening,
    world::{Dev, Phase, Purpose, World},
};
use crate::{
    engine::Wish,
    model::{DeploymentState, Evidence, GoalAction, Health, Mode, Percent, ProbeAnswer, ReportBody, Scope, Timestamp},
    window::{Calendar, Opening},
};

/// Of the patches that say "a restart when it asks for one" so many do.
const ASKS_FOR_RESTART: Percent = Percent::basis(5_000);

impl World<'_> {
    /// The node reads its directive.
    pub(super) fn read(&mut self, s: u32) {
        self.open -= u64::from(std::mem::take(&mut self.nodes[s as usize].reading));
        if self.nodes[s as usize].lost.is_some() {
            self.open += u64::from(!std::mem::replace(&mut self.nodes[s as usize].unread, true));
            return;
        }
        let (mode, wishes) = self.wishes(s);
        let node = &mut self.nodes[s as usize];
        (node.mode, node.blocked) = (mode, false);
        for wish in &wishes {
            self.wish(s, *wish, mode);
        }
        self.keep(wishes);
    }

    fn wish(&mut self, s: u32, wish: Wish, mode: Option<Mode>) {
        let d = wish.index;
        self.devices[d as usize].attempt = u16::try_from(wish.attempt).unwrap_or(u16::MAX);
        let dev = self.devices[d as usize];
        match (wish.action, dev.phase) {
            (GoalAction::Install, Phase::Idle) if mode == Some(Mode::Proceed) => self.begin(s, d),
            (GoalAction::Install, Phase::Waiting) if dev.parked && mode == Some(Mode::Proceed) => self.preflight(s, d),
            (GoalAction::RollBack, Phase::Soaking | Phase::Done) => self.roll_back(s, d, "ordered"),
            (GoalAction::RollBack, Phase::Installing | Phase::Rebooting) => self.devices[d as usize].wanted_back = true,
            (GoalAction::RollBack, Phase::Idle | Phase::Waiting) => self.give_up(s, d, "ordered"),
            (GoalAction::Withdraw, Phase::Idle | Phase::Waiting) => self.give_up(s, d, "withdrawn"),
            _ => {}
        }
    }

    fn give_up(&mut self, s: u32, d: u32, code: &str) {
        self.enter(d, Phase::Ended);
        self.say(s, d, DeploymentState::Failed, code);
    }

    /// Enters a phase; what was planned for the one before is overtaken.
    fn enter(&mut self, d: u32, phase: Phase) -> &mut Dev {
        let dev = &mut self.devices[d as usize];
        self.open = self.open + u64::from(phase.is_at_work()) - u64::from(dev.phase.is_at_work());
        self.moved = self.now;
        dev.phase = phase;
        dev.step = dev.step.wrapping_add(1);
        dev.parked = false;
        dev
    }

    /// The present phase goes on at this moment.
    fn plan(&mut self, d: u32, at: i64) {
        let dev = &mut self.devices[d as usize];
        dev.parked = false;
        self.queue.push(at, Happening::Step(d, dev.step));
    }

    pub(super) fn later(&self, ms: u64) -> i64 {
        self.now.saturating_add_unsigned(ms)
    }

    fn draw(&self, purpose: Purpose, d: u32, span: Span) -> u64 {
        self.chance(purpose, self.p.members[d as usize].luck).within(span.least, span.most)
    }

    fn happens_to(&self, purpose: Purpose, d: u32, share: Percent) -> bool {
        self.chance(purpose, self.p.members[d as usize].luck).chance(share)
    }

    fn say(&mut self, s: u32, d: u32, state: DeploymentState, code: &str) {
        let body = ReportBody::Deployment {
            rollout: self.p.id.clone(),
            device: self.p.members[d as usize].device.clone(),
            attempt: u32::from(self.devices[d as usize].attempt),
            state,
            reason: String::new(),
            code: code.to_owned(),
            evidence: Evidence::default(),
        };
        self.report(s, body);
    }

    /// The payload is fetched once for a site and a variant.
    fn begin(&mut self, s: u32, d: u32) {
        let variant = self.p.members[d as usize].variant;
        let at = match self.staged.get(&(s, variant)) {
            Some(at) => (*at).max(self.now),
            None => {
                let span = self.model.network.link_kbit;
                let luck = self.p.sites[s as usize].luck;
                let kbit = self.chance(Purpose::Link, luck).within(span.least, span.most).max(1);
                let bytes = self.p.variants.get(usize::from(variant)).map_or(0, |v| v.bytes);
                let at = self.later(bytes.saturating_mul(8) / kbit);
                self.staged.insert((s, variant), at);
                at
            }
        };
        self.enter(d, Phase::Waiting);
        self.plan(d, at);
    }

    pub(super) fn device_step(&mut self, d: u32, step: u16) {
        let (dev, s) = (self.devices[d as usize], self.p.members[d as usize].site);
        if dev.step != step {
            return;
        }
        match dev.phase {
            Phase::Waiting => self.preflight(s, d),
            Phase::Installing => self.install_over(s, d),
            Phase::Rebooting => self.soak(s, d),
            Phase::Soaking if dev.counted || self.ails(d) => {
                // The last look finds a system that fails, and waits until it is sure.
                self.plan(d, self.later(self.p.plan.health.interval.0.max(1_000)));
            }
            Phase::Soaking => {
                self.enter(d, Phase::Done);
                self.say(s, d, DeploymentState::Succeeded, "");
            }
            Phase::Backing => self.back(s, d),
            Phase::Idle | Phase::Done | Phase::Ended => {}
        }
    }

    /// May it begin now?
    fn preflight(&mut self, s: u32, d: u32) {
        let node = &self.nodes[s as usize];
        if node.blocked || node.mode != Some(Mode::Proceed) {
            self.devices[d as usize].parked = true;
            return;
        }
        if let Some(closed) = self.opening(s, d).closed() {
            self.say(s, d, DeploymentState::Deferred, "window_closed");
            match closed.until {
                Some(until) => self.plan(d, until.0.max(self.now + 1)),
                None => self.devices[d as usize].parked = true,
            }
            return;
        }
        if let Some(until) = self.kept_by_trouble(s, d) {
            let retry = self.p.plan.timing.retry_after.0.max(1);
            self.say(s, d, DeploymentState::Deferred, "clinical_system");
            self.plan(d, self.later(until.abs_diff(self.now).div_ceil(retry).saturating_mul(retry)));
            return;
        }
        if self.happens_to(Purpose::Skipped, d, self.model.devices.skipped) {
            self.enter(d, Phase::Ended);
            self.say(s, d, DeploymentState::Skipped, "not_applicable");
            return;
        }
        if !std::mem::replace(&mut self.devices[d as usize].asked_in_use, true) {
            let mut chance = self.chance(Purpose::InUse, self.p.members[d as usize].luck);
            if chance.chance(self.model.devices.in_use) {
                let span = self.model.devices.in_use_for;
                let retry = self.p.plan.timing.retry_after.0.max(1);
                let tries = chance.within(span.least, span.most).div_ceil(retry).max(1);
                self.say(s, d, DeploymentState::Deferred, "in_use");
                self.plan(d, self.later(tries.saturating_mul(retry)));
                return;
            }
        }
        let ill_before = self.in_trouble(s).is_some();
        let dev = self.enter(d, Phase::Installing);
        (dev.touched, dev.ill_before) = (true, ill_before);
        self.first_install[usize::from(self.p.members[d as usize].wave)].get_or_insert(self.now);
        let lasts = self.draw(Purpose::Install, d, self.model.devices.install);
        self.plan(d, self.later(lasts.min(self.p.plan.timing.install_timeout.0)));
        self.say(s, d, DeploymentState::Installing, "");
    }

    /// Windows are reckoned once for all sites of the same hours, until the answer changes.
    fn opening(&mut self, s: u32, d: u32) -> Opening {
        let (wave, hours) = (self.p.members[d as usize].wave, self.p.sites[s as usize].hours);
        let own = self.p.windows.get(&d).map(Vec::as_slice).unwrap_or_default();
        let reckon = || {
            let plan = &self.p.plan;
            let calendar = Calendar::of_plan(plan, &plan.waves[usize::from(wave)].name);
            calendar.at_site(&self.p.hours[hours as usize], own).at(Timestamp(self.now), plan.timing.room())
        };
        if !own.is_empty() {
            return reckon();
        }
        let known = self.openings.get(&(wave, hours));
        if let Some((_, opening)) = known.filter(|(since, o)| {
            let far = since.saturating_add_unsigned(crate::window::AHEAD.0 / 2);
            self.now >= *since && self.now < o.until().map_or(far, |until| until.0)
        }) {
            return opening.clone();
        }
        let opening = reckon();
        self.openings.insert((wave, hours), (self.now, opening.clone()));
        opening
    }

    fn install_over(&mut self, s: u32, d: u32) {
        if self.happens_to(Purpose::Fails, d, self.model.devices.fails) {
            self.enter(d, Phase::Ended);
            self.say(s, d, DeploymentState::Failed, "exit_code");
            return;
        }
        self.reached += 1;
        self.devices[d as usize].was_patched = true;
        let always = self.p.variants.get(usize::from(self.p.members[d as usize].variant)).is_some_and(|v| v.reboots);
        if always || self.happens_to(Purpose::Reboot, d, ASKS_FOR_RESTART) {
            self.enter(d, Phase::Rebooting);
            let lasts = self.draw(Purpose::Reboot, d, self.model.devices.reboot);
            self.plan(d, self.later(lasts.min(self.p.plan.timing.reboot_timeout.0)));
        } else {
            self.soak(s, d);
        }
    }

    fn soak(&mut self, s: u32, d: u32) {
        let wanted_back = self.enter(d, Phase::Soaking).wanted_back;
        let wave = usize::from(self.p.members[d as usize].wave);
        self.installed[wave] = Some(self.now);
        self.plan(d, self.later(self.p.plan.waves[wave].soak.0));
        self.will_break(d);
        self.say(s, d, DeploymentState::Soaking, "");
        if wanted_back {
            self.roll_back(s, d, "ordered");
        } else {
            self.comes_into_trouble(s, d);
        }
    }

    /// Whether and when the patch breaks the device.
    fn will_break(&mut self, d: u32) {
        let Some(bad) = self.model.bad_patch.as_ref().filter(|_| self.p.members[d as usize].aimed_at) else { return };
        if !self.happens_to(Purpose::Breaks, d, bad.breaks) {
            return;
        }
        let luck = self.p.members[d as usize].luck;
        let after = match bad.after {
            Onset::Install => 0,
            // Memoryless: how long ago the last restart was says nothing about the next.
            Onset::Restart => self.chance(Purpose::Onset, luck).wait(self.model.devices.restart_every),
            Onset::Use(span) => self.chance(Purpose::Onset, luck).within(span.least, span.most),
        };
        self.open += 1;
        self.queue.push(self.later(after), Happening::Break(d));
    }

    pub(super) fn breaks(&mut self, d: u32) {
        self.open -= 1;
        let dev = &mut self.devices[d as usize];
        if !matches!(dev.phase, Phase::Soaking | Phase::Done) || dev.broken {
            return;
        }
        dev.broken = true;
        if !std::mem::replace(&mut dev.was_broken, true) {
            self.harmed += 1;
            self.harmed_in[usize::from(self.p.members[d as usize].wave)] += 1;
        }
        let seen = self.model.bad_patch.as_ref().map_or(Percent::ALL, |bad| bad.seen);
        let mut chance = self.chance(Purpose::Notice, self.p.members[d as usize].luck);
        let watched = self.p.needed_by.of_one(d).iter().copied().find(|k| self.is_watched(*k));
        match watched.filter(|_| chance.chance(seen)) {
            Some(k) => {
                self.devices[d as usize].counted = true;
                let health = &self.p.plan.health;
                // The first failing probe comes at some moment of an interval, after the grace.
                let more = (self.failures(k) - 1).saturating_mul(health.interval.0);
                let count = more + chance.below(health.interval.0);
                self.open += 1;
                self.queue.push(self.later(health.grace.0.saturating_add(count)), Happening::Seen(d, k));
            }
            None => {
                if let Some(span) = self.model.people.notice {
                    self.open += 1;
                    self.queue.push(self.later(chance.within(span.least, span.most)), Happening::Noticed(d));
                }
            }
        }
    }

    /// A system that was ill before the patch is never blamed on it; neither is one that was blamed already.
    pub(super) fn is_watched(&self, k: u32) -> bool {
        !self.blamed[k as usize] && self.is_well(self.p.systems[k as usize].luck)
    }

    /// The probes have failed often enough.
    pub(super) fn failure_seen(&mut self, d: u32, k: u32) {
        self.open -= 1;
        self.devices[d as usize].counted = false;
        if !self.is_under_watch(d) || self.blamed[k as usize] {
            return;
        }
        if let Some(at) = self.excused_until(k, self.now.saturating_sub_unsigned(self.count_ms(k))) {
            self.devices[d as usize].counted = true;
            self.open += 1;
            return self.queue.push(at, Happening::Seen(d, k));
        }
        self.blame(d, k);
    }

    /// The patch is on it, and its clinical systems are watched for it.
    pub(super) fn is_under_watch(&self, d: u32) -> bool {
        match self.devices[d as usize].phase {
            Phase::Soaking => true,
            Phase::Done => self.seen.is_some_and(|g| !g.state.is_ended()),
            _ => false,
        }
    }

    /// A system fails, and not by the patch: it is blamed all the same where the patch is on a device that it needs.
    pub(super) fn trouble(&mut self, k: u32) {
        let watched = self.p.needs.of_one(k).iter().copied().find(|d| self.is_under_watch(*d));
        let Some(d) = watched.filter(|_| self.is_watched(k)) else { return self.tell_system(k, Health::Unhealthy) };
        match self.excused_until(k, self.now) {
            Some(at) => self.queue.push(at, Happening::Trouble(k)),
            None => self.blame(d, k),
        }
    }

    /// What the production node does by itself: it tells, and takes back as far as the plan's scope reaches at its site.
    pub(super) fn blame(&mut self, d: u32, k: u32) {
        self.excused.remove(&k);
        self.blamed[k as usize] = true;
        let (s, system) = (self.p.members[d as usize].site, &self.p.systems[k as usize].id);
        let answer = ProbeAnswer {
            system: system.clone(),
            probe: "modelled".to_owned(),
            at: Timestamp(self.now),
            took_ms: 0,
            ok: false,
            answer: "no answer".to_owned(),
        };
        let body = ReportBody::Health {
            system: system.clone(),
            health: Health::Unhealthy,
            blames: Some(self.p.id.clone()),
            document: None,
            probes: vec![answer],
        };
        let scope = self.p.plan.rollback.scope;
        let wave = self.p.members[d as usize].wave;
        let hit: Vec<u32> = match scope {
            Scope::Device => self.p.needs.of_one(k).to_vec(),
            Scope::Wave => {
                let here = self.p.at_site.of_one(s).iter().copied();
                here.filter(|other| self.p.members[*other as usize].wave == wave).collect()
            }
            Scope::Site | Scope::Rollout => self.p.at_site.of_one(s).to_vec(),
        };
        self.nodes[s as usize].blocked = scope != Scope::Device;
        self.report(s, body);
        for other in hit {
            match self.devices[other as usize].phase {
                Phase::Soaking | Phase::Done => self.roll_back(s, other, "clinical_system"),
                Phase::Installing | Phase::Rebooting => self.devices[other as usize].wanted_back = true,
                Phase::Waiting => self.give_up(s, other, "clinical_system"),
                Phase::Idle | Phase::Backing | Phase::Ended => {}
            }
        }
    }

    fn roll_back(&mut self, s: u32, d: u32, code: &str) {
        self.enter(d, Phase::Backing);
        let model = &self.model.devices;
        let lasts = self.draw(Purpose::RollBack, d, model.install) + self.draw(Purpose::Reboot, d, model.reboot);
        self.plan(d, self.later(lasts));
        self.say(s, d, DeploymentState::RollingBack, code);
    }

    fn back(&mut self, s: u32, d: u32) {
        let stuck = self.happens_to(Purpose::RollBack, d, self.model.devices.stuck);
        self.enter(d, Phase::Ended);
        if stuck {
            self.say(s, d, DeploymentState::RollbackFailed, "uninstall");
            return;
        }
        self.devices[d as usize].broken = false;
        self.taken_back += 1;
        self.say(s, d, DeploymentState::RolledBack, "");
    }
}
