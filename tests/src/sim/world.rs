//! A world: one controller, some sites, people, lines and devices, and the one clock that is right. Everything that happens
//! stands in one queue; what happens at the same moment happens in the order in which it was decided.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
};

use wardround_controller::pure::{Ledger, Wish};
use wardround_node::pure::{Action, Input};
use wardround_rollout_plans::model::{DeviceId, Order, ReportBody, RolloutId, SiteId, SystemId, Timestamp};
use wardround_signing::{Digest, Envelope};

use super::{
    controller::{Answered, Tower},
    device::{Ms, SECOND},
    faults::Setting,
    hospital::Repository,
    invariants::{self, Invariant, Seen, Truth},
    node::Host,
    people::Act,
    random::Random,
    wire::Line,
};

/// When worlds begin: 2026-11-24T08:00:00Z, a Tuesday.
pub const BEGIN: Ms = 1_795_507_200_000;
/// Events that a violation's story shows.
const STORY_LINES: usize = 60;
/// Most events of a run: a run that needs more does not converge.
pub const EVENTS_MAX: u64 = 40_000;

/// Something that will happen.
#[derive(Debug, Clone)]
pub enum What {
    /// A machine gets its power back.
    NodePower(SiteId),
    /// So does the controller.
    ControllerPower,
    /// A deadline of a node's machine; void when the number is not the newest.
    NodeWakes(SiteId, u64),
    /// A deadline of the engine.
    ControllerWakes(u64),
    /// The controller looks for silent sites.
    SilenceLook,
    /// A node calls.
    CheckIn(SiteId),
    /// A call reaches the controller.
    CallComes {
        /// From.
        site: SiteId,
        /// Number.
        call: u64,
        /// Signed reports.
        reports: Vec<Envelope>,
    },
    /// The answer reaches the node.
    AnswerComes {
        /// To.
        site: SiteId,
        /// Number.
        call: u64,
        /// It.
        answer: Box<Answered>,
    },
    /// A node waits no longer for an answer.
    CallOver(SiteId, u64),
    /// A nudge reaches a node.
    NudgeComes(SiteId, Option<Box<Envelope>>),
    /// A clinical system is probed.
    Probe(SiteId, SystemId, u32),
    /// A task ends.
    TaskEnds {
        /// At.
        site: SiteId,
        /// In the life that began it.
        life: u32,
        /// Which.
        action: Box<Action>,
        /// What was found at its beginning.
        began: Began,
    },
    /// Something ends on a device, whoever waits for it.
    DeviceSettles(DeviceId),
    /// A person acts.
    Person(Act),
    /// An order reaches the controller.
    OrderComes(Box<Envelope>),
    /// Something goes wrong, or is mended.
    Fault(super::chance::Strike),
}

/// How the beginning of a task went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Began {
    /// Well.
    Well,
    /// The device did not answer.
    Unreachable,
    /// The install had not begun, and must not.
    NotBegun,
    /// There is no payload on the device.
    NotStaged,
    /// It takes longer than the plan allows.
    TooLong,
    /// Nothing had to be done.
    Nothing,
}

/// A broken line of the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// "S4", or "start" and "converge" for what no line names.
    pub invariant: String,
    /// One sentence.
    pub sentence: String,
    /// The last events.
    pub story: Vec<String>,
    /// After how many events.
    pub event: u64,
}

/// The world.
pub struct World {
    /// How it is to be.
    pub setting: Setting,
    /// The true state of everything that people care for.
    pub truth: Truth,
    /// The controller.
    pub tower: Tower,
    /// The sites' machines.
    pub hosts: BTreeMap<SiteId, Host>,
    /// Their lines.
    pub lines: BTreeMap<SiteId, Line>,
    /// What people sign.
    pub repository: Repository,
    /// The first violation.
    pub violation: Option<Violation>,
    /// Events so far.
    pub events: u64,
    /// Digest of every event so far.
    pub digest: Digest,
    /// Nothing goes wrong any more, and people answer what is asked.
    pub healing: bool,
    /// Each event goes to standard error.
    pub aloud: bool,
    /// Each event is kept in here, where somebody wants to tell it.
    pub tale: Option<Vec<String>>,
    pub(super) random: Random,
    pub(super) queue: BTreeMap<(Ms, u64), What>,
    pub(super) sequence: u64,
    pub(super) calls: u64,
    /// A directive that its node is just taking in, with the view by which it was judged.
    pub(super) pending_obeyed: Option<(SiteId, Box<wardround_rollout_plans::model::Directive>, u64)>,
    /// Reports that came and of which nobody knows yet whether they are on disk.
    pub(super) arrived: BTreeMap<(SiteId, u64), wardround_rollout_plans::model::Report>,
    pub(super) taken: BTreeMap<SiteId, u64>,
    pub(super) alarms_seen: u64,
    pub(super) sent_orders: Vec<Envelope>,
    pub(super) old_messages: VecDeque<What>,
    /// Of each wave's state as people saw it last, so that they can act at the worst moments.
    pub(super) seen_waves: Vec<String>,
    story: VecDeque<String>,
    watch: Vec<Box<dyn Invariant>>,
}

impl World {
    /// An empty one, with the patch that everybody knows.
    #[must_use]
    pub fn new(setting: Setting, random: Random) -> Self {
        Self {
            setting,
            truth: Truth { now: BEGIN, ..Truth::default() },
            tower: Tower::default(),
            hosts: BTreeMap::new(),
            lines: BTreeMap::new(),
            repository: Repository::begin(Timestamp(BEGIN)),
            violation: None,
            events: 0,
            digest: Digest::of(b"wardround simulation 1"),
            healing: false,
            aloud: false,
            tale: None,
            random,
            queue: BTreeMap::new(),
            sequence: 0,
            calls: 0,
            pending_obeyed: None,
            arrived: BTreeMap::new(),
            taken: BTreeMap::new(),
            alarms_seen: 0,
            sent_orders: Vec::new(),
            old_messages: VecDeque::new(),
            seen_waves: Vec::new(),
            story: VecDeque::new(),
            watch: invariants::all(),
        }
    }

    /// The right time.
    #[must_use]
    pub fn now(&self) -> Ms {
        self.truth.now
    }

    /// Something will happen so much later.
    pub fn after(&mut self, delay: Ms, what: What) {
        self.sequence += 1;
        self.queue.insert((self.truth.now + delay.max(0), self.sequence), what);
    }

    /// Writes a line into the story, and into the digest.
    pub fn say(&mut self, line: &str) {
        let mut text = String::with_capacity(line.len() + 20);
        let ms = self.truth.now - BEGIN;
        let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
        let _ = write!(text, "{h:02}:{m:02}:{s:02}.{:03} {line}", ms % 1_000);
        let mut chained = self.digest.as_bytes().to_vec();
        chained.extend_from_slice(text.as_bytes());
        self.digest = Digest::of(&chained);
        if self.aloud {
            eprintln!("{text}");
        }
        if let Some(tale) = &mut self.tale {
            tale.push(text.clone());
        }
        // Calls with nothing to say are no story.
        if line.contains(" calls with 0 reports") {
            return;
        }
        if self.story.len() == STORY_LINES {
            self.story.pop_front();
        }
        self.story.push_back(text);
    }

    /// Shows the contract what has happened.
    pub fn see(&mut self, seen: &Seen<'_>) {
        if self.violation.is_some() {
            return;
        }
        for invariant in &mut self.watch {
            if let Err(sentence) = invariant.see(seen, &self.truth) {
                let invariant = invariant.name().to_owned();
                self.violate(invariant, sentence);
                return;
            }
        }
    }

    /// The run has failed.
    pub fn violate(&mut self, invariant: impl Into<String>, sentence: impl Into<String>) {
        if self.violation.is_none() {
            let (invariant, sentence) = (invariant.into(), sentence.into());
            let story = self.story.iter().cloned().collect();
            self.violation = Some(Violation { invariant, sentence, story, event: self.events });
        }
    }

    /// What the controller knows; nothing while it has no power.
    #[must_use]
    pub fn ledger(&self) -> Option<&Ledger> {
        self.tower.ledger.as_ref()
    }

    /// The next event happens; `false` when there is none, or the run has failed.
    pub fn step(&mut self) -> bool {
        if self.violation.is_some() {
            return false;
        }
        let Some(((at, _), what)) = self.queue.pop_first() else { return false };
        self.truth.now = self.truth.now.max(at);
        self.events += 1;
        self.happen(what);
        let now = self.truth.now;
        self.truth.devices.values_mut().for_each(|device| device.settle(now));
        self.see(&Seen::Moment);
        true
    }

    /// Everything until this moment happens.
    pub fn run_until(&mut self, until: Ms) {
        while self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= until) && self.step() {}
        if self.violation.is_none() {
            self.truth.now = self.truth.now.max(until);
        }
    }

    fn happen(&mut self, what: What) {
        match what {
            What::NodePower(site) => self.node_starts(&site),
            What::ControllerPower => self.controller_starts(),
            What::NodeWakes(site, wake) => {
                if self.hosts.get(&site).is_some_and(|host| host.wake == wake) {
                    self.tell_node(&site, vec![Input::Tick]);
                }
            }
            What::ControllerWakes(wake) => {
                if self.tower.wake == wake {
                    self.commit(Vec::new());
                }
            }
            What::SilenceLook => self.look_for_silence(),
            What::CheckIn(site) => self.call_is_due(&site),
            What::CallComes { site, call, reports } => self.call_comes(&site, call, reports),
            What::AnswerComes { site, call, answer } => self.answer_comes(&site, call, *answer),
            What::CallOver(site, call) => self.call_over(&site, call),
            What::NudgeComes(site, halt) => self.nudge_comes(&site, halt.map(|halt| *halt)),
            What::Probe(site, system, life) => self.probe(&site, &system, life),
            What::TaskEnds { site, life, action, began } => self.task_ends(&site, life, &action, began),
            What::DeviceSettles(_) => {}
            What::Person(act) => self.act(act),
            What::OrderComes(envelope) => self.order_comes(&envelope),
            What::Fault(strike) => self.strike(strike),
        }
    }

    fn node_starts(&mut self, site: &SiteId) {
        let Some(host) = self.hosts.get_mut(site) else { return };
        if host.state.is_some() {
            return;
        }
        if let Err(why) = host.start() {
            return self.violate("S7", format!("the node of {site} can't start again: {why}"));
        }
        let (life, inputs) = (host.life, host.first_inputs());
        let last = host.state.as_ref().map_or(0, |state| state.outbox().last());
        self.truth.up_since.insert(site.clone(), self.truth.now);
        self.say(&format!("node {site} starts ({life})"));
        self.see(&Seen::NodeBack { site, last });
        self.tell_node(site, inputs);
        let delay = self.random.between(200, 3_000);
        self.call_in(site, delay);
    }

    fn controller_starts(&mut self) {
        if self.tower.ledger.is_some() {
            return;
        }
        if let Err(why) = self.tower.start(self.truth.now, BEGIN) {
            return self.violate("S7", format!("the controller can't start again: {why}"));
        }
        let life = self.tower.life;
        let seq = self.tower.ledger.as_ref().map_or(0, Ledger::seq);
        self.say(&format!("the controller starts ({life}) at record {seq}"));
        if let Some(ledger) = self.tower.ledger.take() {
            self.see(&Seen::ControllerBack { ledger: &ledger });
            self.tower.ledger = Some(ledger);
        }
        // What was on disk, and not said any more.
        let sites: Vec<SiteId> = self.hosts.keys().cloned().collect();
        sites.iter().for_each(|site| self.tell_taken(site));
        self.tell_alarms();
        if let Some(published) = self.tower.published.clone() {
            let wishes = self.tower.ledger.as_ref().map_or_else(Vec::new, |l| l.recognise(&published.images));
            if !wishes.is_empty() {
                self.commit(vec![wishes]);
            }
        }
        self.controller_sleeps();
    }

    /// The controller's next deadline.
    pub(super) fn controller_sleeps(&mut self) {
        let now = self.tower.now(self.truth.now, BEGIN);
        let Some(ledger) = &self.tower.ledger else { return };
        self.tower.wake += 1;
        if let Some(at) = ledger.engine().next_wake() {
            // As in production: at least a short pause, at most a minute.
            let wait = i64::try_from(at.since(now).0).unwrap_or(Ms::MAX).clamp(20, 60 * SECOND);
            let wait = if self.tower.disk.is_full() { wait.max(SECOND) } else { wait };
            self.after(wait, What::ControllerWakes(self.tower.wake));
        }
    }

    /// The node's next deadline, and probes.
    pub(super) fn node_sleeps(&mut self, site: &SiteId) {
        let now = self.truth.now;
        let Some(host) = self.hosts.get_mut(site) else { return };
        let Some(state) = &host.state else { return };
        host.wake += 1;
        let wake = host.wake;
        let due = state.next_due().map(|at| i64::try_from(at.since(host.clock.at(now)).0).unwrap_or(Ms::MAX));
        let least = if host.has_postponed() { SECOND } else { 1 };
        // The clock may be set: production looks every five seconds at most.
        let wait = due.map(|wait| wait.clamp(least, 60 * SECOND));
        let wait = if host.has_postponed() { Some(wait.unwrap_or(5 * SECOND)) } else { wait };
        let wanted = state.monitored();
        host.probes.retain(|system, _| wanted.contains_key(system));
        let life = host.life;
        let mut probes = Vec::new();
        for (system, interval) in wanted {
            let soonest = now + i64::try_from(interval.0).unwrap_or(Ms::MAX);
            let next = host.probes.get(&system).copied();
            if next.is_none_or(|at| at > soonest) {
                let delay = if next.is_none() { 100 } else { soonest - now };
                host.probes.insert(system.clone(), now + delay);
                probes.push((delay, system));
            }
        }
        if let Some(wait) = wait {
            self.after(wait, What::NodeWakes(site.clone(), wake));
        }
        for (delay, system) in probes {
            self.after(delay, What::Probe(site.clone(), system, life));
        }
    }

    /// Commands for the controller; `None` when it has no power, or lost it.
    pub(super) fn commit(&mut self, batch: Vec<Vec<Wish>>) -> Option<wardround_controller::pure::Committed> {
        let at = self.tower.now(self.truth.now, BEGIN);
        let committed = self.tower.commit(batch, at);
        match committed {
            Ok(committed) => {
                self.perform(&committed);
                self.controller_sleeps();
                Some(committed)
            }
            Err(_) => {
                self.controller_falls();
                None
            }
        }
    }

    /// What a report says, short.
    pub(super) fn line_of(body: &ReportBody) -> String {
        match body {
            ReportBody::Deployment { rollout, device, attempt, state, code, .. } => {
                format!("{device} {state} {code} ({rollout}, attempt {attempt})")
            }
            ReportBody::Health { system, health, blames, .. } => {
                let blames = blames.as_ref().map_or(String::new(), |r| format!(", blames {r}"));
                format!("{system} {health:?}{blames}")
            }
            ReportBody::HaltKnown { rollout, counter } => format!("halt {counter} of {rollout} known"),
            ReportBody::Refused { what, why, .. } => format!("refused {what}: {why}"),
            ReportBody::Alarm { code, text, .. } => format!("alarm {code}: {text}"),
            ReportBody::Inventory { inventory } => format!("inventory of {} devices", inventory.devices.len()),
        }
    }

    /// Signs an order as these people, counting on what the controller shows now, and sends it.
    ///
    /// # Errors
    /// A sentence when the controller does not answer, or knows no such rollout.
    pub fn order(
        &mut self,
        rollout: &RolloutId,
        command: wardround_rollout_plans::model::Command,
        by: &[super::hospital::Person],
    ) -> Result<(), String> {
        let view = self.ledger().and_then(|l| l.engine().rollout(rollout));
        let view = view.ok_or_else(|| format!("the controller shows no rollout {rollout}"))?;
        let order = Order {
            rollout: rollout.clone(),
            digest: view.digest,
            counter: view.order_counter + 1,
            issued_at: Timestamp(self.truth.now),
            command,
            reason: "simulated".to_owned(),
        };
        self.send_order(&order, by, 50);
        Ok(())
    }
}
