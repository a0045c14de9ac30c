//! One run: the production engine, driven event by event through a modelled world.

use std::collections::HashMap;

use wardround_signing::Envelope;

use super::{
    measure::{Risk, Waits},
    model::Model,
    people::Desk,
    prepared::Prepared,
    queue::{Happening, Queue},
    random::Random,
    run::{Run, Stop},
};
use crate::{
    engine::{Effect, Event, Glance, RolloutState, State, WaitingOn, WaveState, Wish},
    model::{DeploymentState, Health, Mode, Report, ReportBody, SiteId, Timestamp},
    window::Opening,
};

/// Between two looks at what holds the rollout up: a quarter of an hour, and of a long run one part in so many.
const LOOK_MS: i64 = 15 * 60_000;
const LOOKS: i64 = 500;
/// Sites that one look takes in.
pub(super) const SITES_LOOKED_AT: usize = 16;
/// Signed reports of devices that ended well that are made for each wave. Nodes ask for sixteen at most; the rest of a
/// million would be signed for nobody.
const SEALED_MAX: u32 = 64;
/// After so long without a move a run that was stopped is over.
const STILL_MS: i64 = 30 * 24 * 3_600_000;

/// What chance decides, each by itself: what is drawn for one changes nothing for another.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Link = 1,
    Offline,
    Trouble,
    Unhealthy,
    Breaks,
    Onset,
    InUse,
    Install,
    Reboot,
    Fails,
    Skipped,
    RollBack,
    Notice,
    Approve,
    Reaction,
    SiteTrouble,
}

/// Where a modelled device stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    Idle,
    /// Fetching the payload, or waiting until the device may be touched.
    Waiting,
    Installing,
    Rebooting,
    Soaking,
    /// Soaked; its clinical systems are still watched while the rollout goes on.
    Done,
    Backing,
    Ended,
}

impl Phase {
    /// It goes on by itself, and nothing holds it up.
    pub(super) fn is_at_work(self) -> bool {
        matches!(self, Self::Installing | Self::Rebooting | Self::Soaking | Self::Backing)
    }
}

/// A modelled device.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Dev {
    pub(super) phase: Phase,
    /// Of its step: what was planned before it changed is overtaken.
    pub(super) step: u16,
    pub(super) attempt: u16,
    pub(super) asked_in_use: bool,
    /// It waits for its node, with nothing planned.
    pub(super) parked: bool,
    pub(super) wanted_back: bool,
    pub(super) was_patched: bool,
    pub(super) broken: bool,
    pub(super) was_broken: bool,
    /// A failure of its systems is being counted.
    pub(super) counted: bool,
    /// An installer has run on it.
    pub(super) touched: bool,
    /// Its systems were failing with their site before the install, so that nothing is blamed for them.
    pub(super) ill_before: bool,
}

/// A modelled site's node.
#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    pub(super) seq: u64,
    pub(super) reading: bool,
    pub(super) mode: Option<Mode>,
    /// A clinical system was blamed, and no newer directive has been read.
    pub(super) blocked: bool,
    /// When its line went.
    pub(super) lost: Option<i64>,
    pub(super) losses: u32,
    pub(super) silent: bool,
    /// Reports that wait for the line.
    pub(super) outbox: Vec<ReportBody>,
    /// All its systems fail together: since when, and until when.
    pub(super) trouble: Option<(i64, i64)>,
    pub(super) troubles: u32,
    /// Its directive changed while its line was lost.
    pub(super) unread: bool,
    pub(super) reads: u32,
}

/// The world of one run.
pub(super) struct World<'p> {
    pub(super) p: &'p Prepared,
    pub(super) model: &'p Model,
    pub(super) seed: u64,
    pub(super) state: State,
    pub(super) now: i64,
    pub(super) queue: Queue,
    pub(super) devices: Vec<Dev>,
    pub(super) nodes: Vec<Node>,
    pub(super) blamed: Vec<bool>,
    /// Systems that the plan's control group keeps from being blamed, and since when.
    pub(super) excused: HashMap<u32, i64>,
    /// When a variant's payload is at a site.
    pub(super) staged: HashMap<(u32, u16), i64>,
    /// What windows say, by wave and hours, and from when on that was reckoned.
    pub(super) openings: HashMap<(u16, u32), (i64, Opening)>,
    pub(super) desk: Desk,
    pub(super) risk: Risk,
    pub(super) waits: Waits,
    pub(super) seen: Option<Glance>,
    pub(super) stop: Option<Stop>,
    pub(super) began: Vec<Option<i64>>,
    pub(super) first_install: Vec<Option<i64>>,
    pub(super) installed: Vec<Option<i64>>,
    pub(super) passed: Vec<Option<i64>>,
    pub(super) harmed_in: Vec<u64>,
    pub(super) harmed: u64,
    pub(super) reached: u64,
    pub(super) taken_back: u64,
    pub(super) events: u64,
    /// What is still on its way: devices at work, directives and reports that were not read, harm that does not show yet. When a
    /// rollout stands and nothing is, its run is over.
    pub(super) open: u64,
    /// When a device last moved.
    pub(super) moved: i64,
    sealed: Vec<u32>,
    looked: i64,
    wishes: Vec<Wish>,
    end: i64,
}

/// How a run was cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutShort;

impl<'p> World<'p> {
    pub(super) fn new(p: &'p Prepared, model: &'p Model, seed: u64, horizon_ms: u64) -> Self {
        let (now, waves) = (p.start.0, p.plan.waves.len());
        Self {
            p,
            model,
            seed,
            state: p.base.clone(),
            now,
            queue: Queue::default(),
            devices: vec![Dev::default(); p.members.len()],
            nodes: vec![Node { seq: 1, ..Node::default() }; p.sites.len()],
            blamed: vec![false; p.systems.len()],
            excused: HashMap::new(),
            staged: HashMap::new(),
            openings: HashMap::new(),
            desk: Desk::default(),
            risk: Risk::new(p),
            waits: Waits::default(),
            seen: None,
            stop: None,
            began: vec![None; waves],
            first_install: vec![None; waves],
            installed: vec![None; waves],
            passed: vec![None; waves],
            harmed_in: vec![0; waves],
            harmed: 0,
            reached: 0,
            taken_back: 0,
            events: 0,
            open: 0,
            moved: now,
            sealed: vec![0; waves],
            looked: now,
            wishes: Vec::new(),
            end: now.saturating_add(i64::try_from(horizon_ms).unwrap_or(i64::MAX)),
        }
    }

    /// Chance for one purpose and one thing.
    pub(super) fn chance(&self, purpose: Purpose, luck: u64) -> Random {
        Random::of(self.seed, purpose as u64, luck)
    }

    /// From the first order to the end. `go_on` is asked every few thousand events, with how many there were; when it says
    /// no, the run is cut short.
    pub(super) fn run(mut self, go_on: &mut dyn FnMut(u64) -> bool) -> Result<Run, CutShort> {
        self.misfortunes();
        self.tell_health();
        self.order_start();
        let mut still_since = self.now;
        loop {
            if self.events.is_multiple_of(4_096) && !go_on(self.events) {
                return Err(CutShort);
            }
            let Some(at) = self.next_moment() else { break };
            if at > self.end {
                self.now = self.end;
                break;
            }
            self.look(at);
            self.now = self.now.max(at);
            if self.queue.due() == Some(at) {
                let Some((_, what)) = self.queue.pop() else { break };
                self.happens(what);
            } else {
                self.step(&Event::Tick, None);
            }
            if self.is_over() {
                break;
            }
            match self.seen {
                Some(g) if g.state == RolloutState::Running => still_since = self.now,
                _ if self.now - still_since > STILL_MS => break,
                _ => {}
            }
        }
        Ok(self.finish())
    }

    /// What is next: something in the world, or something that the engine waits for.
    fn next_moment(&self) -> Option<i64> {
        let wake = self.state.next_wake().map(|at| at.0.max(self.now));
        [self.queue.due(), wake].into_iter().flatten().min()
    }

    fn is_over(&self) -> bool {
        let Some(glance) = self.seen else { return false };
        let stands = glance.state.is_ended() || matches!(glance.state, RolloutState::Halted | RolloutState::Paused);
        stands && !self.desk.is_busy() && self.open == 0
    }

    /// The losses of lines and the failures of systems that come whatever the rollout does.
    fn misfortunes(&mut self) {
        for s in 0..super::prepared::narrow(self.p.sites.len()) {
            self.next_loss(s);
            self.next_site_trouble(s, self.now);
        }
        if let Some(every) = self.model.trouble_every() {
            for (k, system) in (0..).zip(&self.p.systems) {
                let at = self.now.saturating_add_unsigned(self.chance(Purpose::Trouble, system.luck).wait(every));
                if at < self.end {
                    self.queue.push(at, Happening::Trouble(k));
                }
            }
        }
    }

    pub(super) fn next_loss(&mut self, s: u32) {
        let Some(every) = self.model.offline_every() else { return };
        let losses = u64::from(self.nodes[s as usize].losses);
        let luck = self.p.sites[s as usize].luck.wrapping_add(losses);
        let at = self.now.saturating_add_unsigned(self.chance(Purpose::Offline, luck).wait(every));
        if at < self.end {
            self.queue.push(at, Happening::Lost(s));
        }
    }

    fn happens(&mut self, what: Happening) {
        match what {
            Happening::Read(s) => self.read(s),
            Happening::Step(d, step) => self.device_step(d, step),
            Happening::Break(d) => self.breaks(d),
            Happening::Seen(d, k) => self.failure_seen(d, k),
            Happening::Noticed(d) => self.noticed(d),
            Happening::Trouble(k) => self.trouble(k),
            Happening::SiteTrouble(s) => self.site_trouble(s),
            Happening::Ailing(k) => self.ailing(k),
            Happening::SiteWell(s) => self.tell_site(s, Health::Healthy),
            Happening::Lost(s) => self.lose_line(s),
            Happening::Silent(s) => self.silence(s),
            Happening::Back(s) => self.line_back(s),
            Happening::Person(who) => self.person(who),
        }
    }

    /// One event through the engine. `by` is the site that reports.
    pub(super) fn step(&mut self, event: &Event, by: Option<u32>) {
        self.events += 1;
        // The engine refuses nothing that the modelled world says: orders are counted here, and reports have no gaps.
        let Ok(effects) = self.state.step(event, Timestamp(self.now)) else {
            debug_assert!(false, "refused: {event:?}");
            return;
        };
        self.look_at_waves();
        for effect in &effects {
            if let Effect::SiteChanged { site } = effect {
                self.tell(site);
            }
        }
        match by {
            Some(s) => self.recount(s),
            // Time alone ends soaks too, and does not say where.
            None if self.state.hand(&self.p.id) != self.risk.hand() => {
                (0..super::prepared::narrow(self.p.sites.len())).for_each(|s| self.recount(s));
            }
            None => {}
        }
        self.risk.settle(self.now, self.stop.is_some());
        debug_assert_eq!(self.state.hand(&self.p.id), self.risk.hand(), "after {event:?}");
    }

    /// A node whose directive has changed will read it.
    fn tell(&mut self, site: &SiteId) {
        let Some(s) = self.p.site_at.get(site).copied() else { return };
        self.recount(s);
        let node = &mut self.nodes[s as usize];
        if !node.reading && node.lost.is_none() {
            node.reading = true;
            node.reads += 1;
            self.open += 1;
            let luck = self.p.sites[s as usize].luck.wrapping_add(u64::from(node.reads));
            let reaction = self.model.network.reaction;
            let delay = self.chance(Purpose::Reaction, luck).within(reaction.least, reaction.most);
            self.queue.push(self.now.saturating_add_unsigned(delay), Happening::Read(s));
        } else if let Some(lost) = node.lost {
            self.open += u64::from(!std::mem::replace(&mut node.unread, true));
            // The engine may have offered it something; then the controller finds that it says nothing.
            let at = lost.saturating_add_unsigned(self.p.plan.timing.unknown_after.0).max(self.now);
            self.queue.push(at, Happening::Silent(s));
        }
    }

    fn recount(&mut self, s: u32) {
        let site = &self.p.sites[s as usize].id;
        let hand = self.state.hand_at(&self.p.id, site);
        let wave = self.seen.and_then(|g| g.current).unwrap_or(0);
        self.risk.at(self.now, self.p, s, hand, wave);
    }

    /// Has a wave or a decision moved?
    fn look_at_waves(&mut self) {
        let glance = self.state.glance(&self.p.id);
        if glance == self.seen {
            return;
        }
        let before = self.seen.and_then(|g| g.current);
        self.seen = glance;
        let Some(glance) = glance else { return };
        if let Some(current) = glance.current {
            for w in before.unwrap_or(0)..current {
                self.passed[usize::from(w)].get_or_insert(self.now);
            }
            self.began[usize::from(current)].get_or_insert(self.now);
            if glance.wave == Some(WaveState::Passed) {
                self.passed[usize::from(current)].get_or_insert(self.now);
            }
        }
        let stopped = matches!(glance.state, RolloutState::Halted | RolloutState::RollingBack);
        if stopped && self.stop.is_none() {
            let why = self.state.rollout(&self.p.id).map_or_else(String::new, |view| view.reason);
            self.stop = Some(Stop {
                at_ms: self.since_start(),
                why,
                harmed: self.harmed,
                reached: self.reached,
                false_alarm: self.harmed == 0,
            });
        }
        self.ask_people(glance);
    }

    pub(super) fn end_of_time(&self) -> i64 {
        self.end
    }

    /// What it waits for is people, as it stands.
    pub(super) fn waits_for_people(&self) -> bool {
        let on = self.state.held_up_by(&self.p.id, SITES_LOOKED_AT).map(|(_, on)| on);
        matches!(
            on,
            Some(
                WaitingOn::Approval { .. }
                    | WaitingOn::Evidence { .. }
                    | WaitingOn::CheckableEvidence { .. }
                    | WaitingOn::GateTest { .. }
            )
        )
    }

    pub(super) fn since_start(&self) -> u64 {
        u64::try_from(self.now - self.p.start.0).unwrap_or(0)
    }

    /// What holds it up, for the time until `at`.
    fn look(&mut self, at: i64) {
        let every = LOOK_MS.max((self.now - self.p.start.0) / LOOKS);
        if at - self.looked < every {
            return;
        }
        let running = self.seen.is_some_and(|g| g.state == RolloutState::Running);
        if let Some((wave, on)) = self.state.held_up_by(&self.p.id, SITES_LOOKED_AT).filter(|_| running) {
            self.waits.add(wave, &on, u64::try_from(at - self.looked).unwrap_or(0));
        }
        self.looked = at;
    }

    /// A node's report, now or when its line is back.
    pub(super) fn report(&mut self, s: u32, body: ReportBody) {
        if self.nodes[s as usize].lost.is_some() {
            self.nodes[s as usize].outbox.push(body);
            self.open += 1;
        } else {
            self.deliver(s, body);
        }
    }

    pub(super) fn deliver(&mut self, s: u32, mut body: ReportBody) {
        let node = &mut self.nodes[s as usize];
        node.seq += 1;
        let seq = node.seq;
        let (site, at) = (self.p.sites[s as usize].id.clone(), Timestamp(self.now));
        let mut envelope = None;
        if body.is_proof() && self.is_wanted_sealed(&body) {
            match &mut body {
                ReportBody::Deployment { evidence, .. } => evidence.document = Some(self.p.digest),
                ReportBody::Health { document, .. } => *document = Some(self.p.digest),
                _ => {}
            }
            let report = Report { site: site.clone(), seq, at, body };
            envelope = Envelope::seal(&report, &self.p.key).ok();
            body = report.body;
        }
        self.step(&Event::Report { site, seq, at, body, node_key: None, envelope }, Some(s));
    }

    /// Of those that ended well only as many are signed as anybody asks for.
    fn is_wanted_sealed(&mut self, body: &ReportBody) -> bool {
        let ReportBody::Deployment { state, .. } = body else { return true };
        if !matches!(state, DeploymentState::Succeeded | DeploymentState::Skipped) {
            return true;
        }
        let Some(w) = self.seen.and_then(|g| g.current) else { return false };
        let sealed = &mut self.sealed[usize::from(w)];
        *sealed += 1;
        *sealed <= SEALED_MAX
    }

    /// What is asked of a site, in a list that is used again.
    pub(super) fn wishes(&mut self, s: u32) -> (Option<Mode>, Vec<Wish>) {
        let mut wishes = std::mem::take(&mut self.wishes);
        let mode = self.state.wishes(&self.p.id, &self.p.sites[s as usize].id, &mut wishes);
        (mode, wishes)
    }

    pub(super) fn keep(&mut self, wishes: Vec<Wish>) {
        self.wishes = wishes;
    }
}
