//! Patience: by when a wave must have begun with all its devices, and how long silent sites are waited for.
//!
//! Past either, an alarm says who is missing, or what has not begun is left out. Nothing is ever begun because of it, and
//! what is left out counts neither as tried nor as a success: the gate judges the rest.

use super::{
    RolloutState, State, deployment::Back, deployment::Deployment, link::narrow, out::Out, record::Record, site::Site,
};
use crate::{
    model::{Deadline, DeploymentState, Late, Offline, RolloutId, SiteId, Timestamp, moment_words},
    words::count,
};

/// In place of a site's position: the deadline of the wave that is under way.
const WAVE: u32 = u32::MAX;

impl Deployment {
    /// Offered, and by its last report no install has begun.
    fn is_untried(&self) -> bool {
        self.state.is_in_hand() && self.back == Back::No && !self.last_known().may_be_installed()
    }
}

impl Record {
    /// The wave that is under way in a rollout that runs. While it stands no time is up.
    fn goes_on(&self) -> Option<u16> {
        let w = self.current?;
        (self.state == RolloutState::Running && self.waves[usize::from(w)].state.is_under_way()).then_some(w)
    }

    /// When a wave began.
    pub(super) fn began(&self, w: u16) -> Timestamp {
        let wave = &self.waves[usize::from(w)];
        wave.began.unwrap_or(wave.since)
    }

    fn deadline(&self, w: u16) -> Option<(Deadline, Timestamp)> {
        let deadline = self.document.plan.deadline_of(self.wave_plan(w))?;
        Some((deadline, deadline.at(self.began(w))?))
    }

    fn offline(&self, w: u16) -> Option<Offline> {
        self.document.plan.offline_of(self.wave_plan(w))
    }

    /// Devices of a site in a wave that have not begun.
    fn not_begun_at(&self, at: u32, w: u16) -> impl Iterator<Item = u32> {
        let place = &self.index.places[at as usize];
        let offered = place.hand.range(self.wave_range(w)).filter(|d| self.deployments[**d as usize].is_untried());
        place.pending.range(self.wave_range(w)).chain(offered).copied()
    }
}

impl State {
    /// Rollouts that have devices at a site whose turn has not come, and whose plan says how long a silent site is waited for.
    /// Whoever watches for silence must know of one before its first device there is offered: that one would stay unknown.
    #[must_use]
    pub fn waits_for(&self, site: &SiteId) -> Vec<RolloutId> {
        let places = self.sites.get(site).into_iter().flat_map(Site::places);
        let records = places.map(|(r, at)| (&self.rollouts[r], at));
        let waits = |(record, at): &(&Record, u32)| {
            let plan = &record.document.plan;
            let says = plan.offline.is_some() || plan.waves.iter().any(|wave| wave.offline.is_some());
            let begins = record.is_active() || record.state == RolloutState::Signed;
            says && begins && !record.index.places[*at as usize].pending.is_empty()
        };
        records.filter(waits).map(|(record, _)| record.document.id.clone()).collect()
    }

    /// The deadline of the current wave, if it is over and leaves out what has not begun.
    pub(super) fn too_late(&self, r: usize) -> Option<Timestamp> {
        let record = &self.rollouts[r];
        let (deadline, at) = record.deadline(record.current?)?;
        (deadline.then == Late::LeaveOut && self.clock >= at).then_some(at)
    }

    /// Since when a wave waits for a site that does not answer; `None` when it answers.
    pub(super) fn silent_since(&self, r: usize, at: u32, w: u16) -> Option<Timestamp> {
        let record = &self.rollouts[r];
        let site = self.known(r, at);
        if site.answers() {
            return None;
        }
        let since = site.silent_since.unwrap_or_default();
        Some(since.max(record.began(w)))
    }

    /// When the devices of a silent site that have not begun are left out; `None` when nobody leaves them out.
    pub(super) fn left_out_at(&self, r: usize, at: u32) -> Option<Timestamp> {
        let record = &self.rollouts[r];
        let w = record.goes_on()?;
        Some(self.silent_since(r, at, w)?.after(record.offline(w)?.leave_out_after?))
    }

    /// When the plan's patience with a site has its next end.
    pub(super) fn patience_with(&self, r: usize, at: u32) -> Option<Timestamp> {
        let record = &self.rollouts[r];
        let w = record.goes_on()?;
        let offline = record.offline(w)?;
        let since = self.silent_since(r, at, w)?;
        let waits = record.not_begun_at(at, w).next().is_some();
        let hand = record.index.places[at as usize].hand.range(record.wave_range(w)).next().is_some();
        let told = record.silent_told.contains(&at) || !(waits || hand);
        let alarm = offline.alarm_after.filter(|_| !told).map(|long| since.after(long));
        let out = offline.leave_out_after.filter(|_| waits).map(|long| since.after(long));
        alarm.into_iter().chain(out).min()
    }

    /// Notes when the deadline of the wave under way has anything to say.
    pub(super) fn refresh_deadline(&mut self, r: usize) {
        let record = &self.rollouts[r];
        let when = record.goes_on().and_then(|w| {
            let (deadline, at) = record.deadline(w)?;
            let waits = record.index.waves[usize::from(w)].counts.of(DeploymentState::Pending) > 0;
            let leaves_out = deadline.then == Late::LeaveOut && waits;
            (!record.waves[usize::from(w)].late_told || leaves_out).then_some(at)
        });
        self.set_end(r, WAVE, when);
    }

    /// Notes when patience with a site ends.
    pub(super) fn set_patience(&mut self, r: usize, at: u32, when: Option<Timestamp>) {
        self.set_end(r, at, when);
    }

    /// Forgets all ends of a rollout's patience, before its indexes are made anew.
    pub(super) fn forget_patience(&mut self, r: usize) {
        for at in 0..narrow(self.rollouts[r].sites.len()) {
            self.set_end(r, at, None);
        }
        self.set_end(r, WAVE, None);
    }

    fn set_end(&mut self, r: usize, at: u32, when: Option<Timestamp>) {
        let index = &mut self.rollouts[r].index;
        let known = if at == WAVE { &mut index.deadline } else { &mut index.places[at as usize].patience };
        let old = std::mem::replace(known, when);
        if let Some(old) = old {
            self.patience.remove(&(old, narrow(r), at));
        }
        if let Some(new) = when {
            self.patience.insert((new, narrow(r), at));
        }
    }

    /// Time has passed: whose patience is over?
    pub(super) fn lose_patience(&mut self, out: &mut Out) {
        while let Some((when, r, at)) = self.patience.first().copied()
            && when <= out.now
        {
            // By itself too: an entry that nobody knows of must not be looked at for ever.
            self.patience.remove(&(when, r, at));
            let r = r as usize;
            self.set_end(r, at, None);
            if at == WAVE {
                self.deadline_over(out, r);
                self.refresh_deadline(r);
            } else {
                self.silent_for_long(out, r, at);
                let next = self.patience_with(r, at);
                self.set_end(r, at, next);
            }
        }
    }

    fn deadline_over(&mut self, out: &mut Out, r: usize) {
        let record = &self.rollouts[r];
        let Some(w) = record.goes_on() else { return };
        let Some((deadline, at)) = record.deadline(w) else { return };
        let missing = |d: &u32| {
            let deployment = &record.deployments[*d as usize];
            deployment.state == DeploymentState::Pending || deployment.is_untried()
        };
        let which: Vec<u32> = record.wave_range(w).filter(missing).collect();
        let (id, name) = (record.document.id.clone(), record.document.waves[usize::from(w)].name.clone());
        self.rollouts[r].waves[usize::from(w)].late_told = true;
        if which.is_empty() {
            return;
        }
        let (n, when) = (count(which.len(), "device"), moment_words(at));
        match deadline.then {
            Late::Alarm => {
                let text = format!(
                    "wave {name} of rollout {id}: its deadline, {when}, is over, and {n} of it did not begin in time; \
                     the wave goes on"
                );
                out.alarm("deadline", Some(&id), None, None, text);
            }
            Late::LeaveOut => {
                let text =
                    format!("wave {name}: its deadline, {when}, is over; {n} that did not begin will be left out");
                out.audit("left_out", Some(&id), None, text);
                self.do_without(out, r, &which, &format!("left out: the deadline of its wave, {when}, is over"));
            }
        }
        out.touched.insert(r);
    }

    fn silent_for_long(&mut self, out: &mut Out, r: usize, at: u32) {
        let record = &self.rollouts[r];
        let Some(w) = record.goes_on() else { return };
        let (Some(offline), Some(since)) = (record.offline(w), self.silent_since(r, at, w)) else { return };
        let (id, name) = (record.document.id.clone(), record.document.waves[usize::from(w)].name.clone());
        let site = record.sites[at as usize].clone();
        let now = out.now;
        let over = |long: Option<_>| long.filter(|long| since.after(*long) <= now);
        let which: Vec<u32> = record.not_begun_at(at, w).collect();
        let hand = record.index.places[at as usize].hand.range(record.wave_range(w)).count();
        let pending = record.index.places[at as usize].pending.range(record.wave_range(w)).count();
        if let Some(long) = over(offline.alarm_after)
            && self.rollouts[r].silent_told.insert(at)
        {
            let n = count(hand + pending, "device");
            let text =
                format!("site {site} does not answer for {long}: wave {name} of rollout {id} waits for {n} there");
            out.alarm("site_offline", Some(&id), Some(&site), None, text);
        }
        if let Some(long) = over(offline.leave_out_after)
            && !which.is_empty()
        {
            let n = count(which.len(), "device");
            let text =
                format!("wave {name}: site {site} does not answer for {long}; {n} that did not begin will be left out");
            out.audit("left_out", Some(&id), None, text);
            self.do_without(out, r, &which, &format!("left out: its site did not answer for {long}"));
        }
        out.rollout(&id);
        out.touched.insert(r);
    }

    /// Leaves out those whose turn has not come. Those that were offered are given up: their nodes must confirm that nothing
    /// has begun, since one may have begun behind a broken line; then it goes on and is tried like any other.
    fn do_without(&mut self, out: &mut Out, r: usize, which: &[u32], why: &str) {
        self.leave_out(out, r, which, why);
        for d in which {
            if self.deployment(r, *d).is_untried() {
                self.withdraw(out, r, &[*d], why);
                self.change(out, r, *d, |deployment| deployment.note().left_out = true);
            }
        }
    }

    /// A site is heard again: its next silence is another one.
    pub(super) fn forget_silence(&mut self, site: &SiteId) {
        for (r, at) in self.sites.get(site).into_iter().flat_map(Site::places) {
            self.rollouts[r].silent_told.remove(&at);
        }
    }
}
