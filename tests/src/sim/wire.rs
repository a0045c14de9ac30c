//! Lines between sites and the controller, and what is said over them.

use wardround_controller::pure::{Committed, Wish};
use wardround_node::pure::{Input, Refusal};
use wardround_rollout_plans::{
    engine::{Effect, Event},
    model::{Command, Directive, Order, Report, SiteId},
};
use wardround_signing::Envelope;

use super::{
    controller::{Answered, CHECK_IN_EVERY},
    device::{Ms, SECOND},
    faults::Fault,
    invariants::Seen,
    node::Read,
    world::{BEGIN, What, World},
};

/// How long a node waits for an answer.
const CALL_MAX: Ms = 20 * SECOND;
/// Longest pause after a call that failed.
const BACKOFF_MAX: Ms = 30 * SECOND;
/// Old messages that are kept to be sent again.
const OLD_MAX: usize = 24;

/// A site's line.
#[derive(Debug, Clone, Default)]
pub struct Line {
    /// Nothing goes up before this.
    pub up_cut_until: Ms,
    /// Nothing comes down before this.
    pub down_cut_until: Ms,
    /// Least time of a message.
    pub delay: Ms,
    /// At most so much more.
    pub jitter: Ms,
    /// So many of a thousand messages are lost.
    pub drops: u64,
    /// So many of a thousand come twice.
    pub duplicates: u64,
}

impl Line {
    /// Does anything get through now?
    #[must_use]
    pub fn is_whole(&self, now: Ms) -> bool {
        now >= self.up_cut_until && now >= self.down_cut_until
    }
}

impl World {
    fn send(&mut self, site: &SiteId, up: bool, what: What) {
        self.send_late(site, up, what, 0);
    }

    /// As `send`, and so many milliseconds slower.
    fn send_late(&mut self, site: &SiteId, up: bool, what: What, late: Ms) {
        let now = self.now();
        let line = self.lines.get(site).cloned().unwrap_or_default();
        let cut = if up { line.up_cut_until } else { line.down_cut_until };
        if now < cut || self.random.chance(line.drops) {
            return self.say(&format!("a message {} {site} is lost", if up { "from" } else { "to" }));
        }
        let delay = late + line.delay + self.random.between(0, line.jitter);
        if self.random.chance(line.duplicates) {
            let later = delay + self.random.between(0, line.jitter * 4 + 1_000);
            self.after(later, what.clone());
        }
        if self.setting.has(Fault::Replays) {
            if self.old_messages.len() == OLD_MAX {
                self.old_messages.pop_front();
            }
            self.old_messages.push_back(what.clone());
        }
        self.after(delay, what);
    }

    /// A node will call so much later, or sooner if that is planned already.
    pub(super) fn call_in(&mut self, site: &SiteId, delay: Ms) {
        let at = self.now() + delay;
        let Some(host) = self.hosts.get_mut(site) else { return };
        if host.call_at.is_none_or(|planned| planned > at) {
            host.call_at = Some(at);
            self.after(delay, What::CheckIn(site.clone()));
        }
    }

    /// A planned call.
    pub(super) fn call_is_due(&mut self, site: &SiteId) {
        let now = self.now();
        let due = self.hosts.get_mut(site).and_then(|host| host.call_at.take_if(|at| *at <= now));
        if due.is_some() {
            self.calls(site);
        }
    }

    /// A node calls, if it has power and does not wait for an answer.
    pub(super) fn calls(&mut self, site: &SiteId) {
        let Some(host) = self.hosts.get_mut(site) else { return };
        if host.call.is_some() {
            return;
        }
        let Some(batch) = host.batch() else { return };
        self.calls += 1;
        let call = self.calls;
        host.call = Some(call);
        let reports = if self.truth.liars.contains(site) && !self.healing {
            self.lie(site, batch.reports)
        } else {
            batch.reports
        };
        for envelope in &reports {
            if let Ok(report) = envelope.peek_unverified::<Report>() {
                self.see(&Seen::ReportLeaves { report: &report });
            }
        }
        self.say(&format!("{site} calls with {} reports ({call})", reports.len()));
        self.send(site, true, What::CallComes { site: site.clone(), call, reports });
        self.after(CALL_MAX, What::CallOver(site.clone(), call));
    }

    pub(super) fn call_over(&mut self, site: &SiteId, call: u64) {
        let Some(host) = self.hosts.get_mut(site).filter(|host| host.call == Some(call)) else { return };
        host.call = None;
        host.failures += 1;
        let pause = (200_i64 << host.failures.min(8)).min(BACKOFF_MAX);
        self.call_in(site, pause);
    }

    pub(super) fn call_comes(&mut self, site: &SiteId, call: u64, reports: Vec<Envelope>) {
        let at = self.tower.now(self.now(), BEGIN);
        let wall = self.tower.clock.at(self.now());
        if self.tower.ledger.is_none() || self.tower.published.is_none() {
            return;
        }
        let called = self.tower.check_in(site, reports, at, wall);
        for report in called.came {
            self.arrived.insert((site.clone(), report.seq), report);
        }
        // Between what is on disk and what is said of it.
        let lost = self.setting.has(Fault::Crashes) && !self.healing && self.random.chance(3);
        let Some(answer) = called.answer.filter(|_| !lost) else { return self.controller_falls() };
        for committed in &called.committed {
            self.perform(committed);
        }
        self.tell_taken(site);
        self.controller_sleeps();
        self.people_look();
        match answer {
            Ok(answer) => {
                self.see(&Seen::Acknowledged { site, seq: answer.acked });
                let mut late = 0;
                if let Ok(directive) = answer.directive.peek_unverified::<Directive>() {
                    self.see(&Seen::DirectiveLeaves { site, directive: &directive });
                    late = self.resume_is_slow(&directive);
                }
                let answer = Box::new(answer);
                self.send_late(site, false, What::AnswerComes { site: site.clone(), call, answer }, late);
            }
            Err(why) => self.say(&format!("the call of {site} is refused: {why}")),
        }
    }

    /// Says which reports are on the controller's disk by now.
    pub(super) fn tell_taken(&mut self, site: &SiteId) {
        let Some(acked) = self.ledger().map(|ledger| ledger.engine().acked_seq(site)) else { return };
        let known = self.taken.insert(site.clone(), acked).unwrap_or(0);
        for seq in known + 1..=acked {
            if let Some(report) = self.arrived.remove(&(site.clone(), seq)) {
                self.say(&format!("taken in: {site} {seq}: {}", Self::line_of(&report.body)));
                self.see(&Seen::ReportTaken { report: &report });
            }
        }
    }

    /// Says which alarms people see by now.
    pub(super) fn tell_alarms(&mut self) {
        let Some((alarms, next)) = self.ledger().map(|ledger| ledger.alarms(self.alarms_seen)) else { return };
        self.alarms_seen = next;
        for alarm in alarms {
            self.say(&format!("alarm {}: {}", alarm.code, alarm.text));
            let (device, rollout) = (alarm.device.as_ref(), alarm.rollout.as_ref());
            self.see(&Seen::Alarm { code: &alarm.code, device, rollout });
        }
    }

    pub(super) fn answer_comes(&mut self, site: &SiteId, call: u64, answer: Answered) {
        let (now, healing) = (self.now(), self.healing);
        let Some(host) = self.hosts.get_mut(site).filter(|host| host.state.is_some()) else { return };
        let awaited = host.call == Some(call);
        if awaited {
            host.call = None;
            host.failures = 0;
        } else if !self.setting.has(Fault::Replays) {
            // An answer that nobody waits for is dropped by the transport.
            return;
        }
        let life = host.life;
        // What a transport would drop comes through when somebody in between sends it again: only its directive.
        if awaited && self.tell_node(site, vec![Input::Acked { seq: answer.acked }]).is_none() {
            return;
        }
        let whole = self.lines.get(site).is_none_or(|line| line.is_whole(now)) && self.tower.ledger.is_some();
        if whole
            && let Some(published) = self.tower.published.clone()
            && let Some(host) = self.hosts.get_mut(site)
        {
            host.refresh(&published);
        }
        self.obey(site, &answer.directive, whole);
        let Some(host) = self.hosts.get(site) else { return };
        if host.life != life || !awaited {
            return;
        }
        let more = host.state.as_ref().is_some_and(|s| s.outbox().last() > s.outbox().acked());
        let every = if healing { CHECK_IN_EVERY / 2 } else { CHECK_IN_EVERY };
        let jitter = self.random.between(0, SECOND * 3);
        let pause = if more { 300 } else { every };
        self.call_in(site, pause + jitter);
    }

    fn obey(&mut self, site: &SiteId, envelope: &Envelope, whole: bool) {
        for _ in 0..8 {
            let Some(host) = self.hosts.get(site) else { return };
            match host.read(envelope, self.now()) {
                Read::Known => return,
                Read::Refused(refusal) => {
                    self.refuse(site, vec![refusal]);
                    return;
                }
                Read::Wants(digest) => {
                    let bytes = if whole { self.tower.document(&digest) } else { None };
                    let Some(bytes) = bytes else { return };
                    let kept = self.hosts.get_mut(site).map(|host| host.keep(&bytes, &digest));
                    if let Some(Err(why)) = kept {
                        self.refuse(site, vec![Refusal { what: "rollout", why, rollout: None }]);
                        return;
                    }
                }
                Read::Verified { directive, wishes, refusals, mark } => {
                    // The floor first: what is acted on can never be followed by something older.
                    if let Some(host) = self.hosts.get_mut(site) {
                        host.raise(&directive);
                    }
                    if self.refuse(site, refusals).is_none() {
                        return;
                    }
                    let life = self.hosts.get(site).map(|host| host.life);
                    let view = self.hosts.get(site).and_then(|h| h.view.as_ref()).map_or(0, |(version, _)| *version);
                    let counter = directive.counter;
                    self.say(&format!("{site} reads directive {counter}: {}", short(&directive)));
                    let known = self.hosts.get(site).and_then(|h| h.state.as_ref()).map(|s| s.directive_counter());
                    self.pending_obeyed = Some((site.clone(), directive, view));
                    let settled = self.tell_node(site, vec![Input::Wishes(Box::new(wishes))]);
                    self.pending_obeyed = None;
                    let taken = settled.is_some_and(|settled| settled.iter().all(|taken| *taken));
                    let host = self.hosts.get_mut(site).filter(|host| Some(host.life) == life);
                    if let Some(host) = host.filter(|_| taken && known.is_some_and(|known| known <= counter)) {
                        host.mark(mark);
                    }
                    return;
                }
            }
        }
    }

    fn refuse(&mut self, site: &SiteId, refusals: Vec<Refusal>) -> Option<()> {
        for Refusal { what, why, rollout } in refusals {
            self.tell_node(site, vec![Input::Refused { what: what.to_owned(), why, rollout }])?;
        }
        Some(())
    }

    pub(super) fn nudge_comes(&mut self, site: &SiteId, halt: Option<Envelope>) {
        let Some(host) = self.hosts.get(site).filter(|host| host.state.is_some()) else { return };
        if let Some(envelope) = halt {
            match host.halt(&envelope) {
                Ok(input) => {
                    self.say(&format!("{site} hears of a halt"));
                    let taken = self.tell_node(site, vec![input]);
                    let known = taken.is_some_and(|taken| taken.iter().all(|taken| *taken));
                    if let Some(order) = envelope.peek_unverified::<Order>().ok().filter(|_| known) {
                        self.see(&Seen::HaltKnown { site, order: &order, digest: envelope.digest() });
                        if self.setting.has(Fault::Crashes) && !self.healing && self.random.chance(150) {
                            return self.node_falls(site);
                        }
                    }
                }
                Err(refusal) => drop(self.refuse(site, vec![refusal])),
            }
        }
        self.calls(site);
    }

    /// A batch's effects: every halt before anything else.
    pub(super) fn perform(&mut self, committed: &Committed) {
        for effect in &committed.effects {
            if let Effect::Halt { rollout, order, sites } = effect {
                self.say(&format!("{rollout} is halted"));
                self.see(&Seen::HaltLeaves { rollout });
                for site in sites {
                    let halt = order.clone().map(Box::new);
                    self.send(site, false, What::NudgeComes(site.clone(), halt));
                }
            }
        }
        for effect in &committed.effects {
            match effect {
                Effect::SiteChanged { site } => self.send(site, false, What::NudgeComes(site.clone(), None)),
                Effect::Audit { kind, text, .. } if kind == "wave_decision" => self.say(text),
                _ => {}
            }
        }
        self.tell_alarms();
    }

    pub(super) fn look_for_silence(&mut self) {
        let wall = self.tower.clock.at(self.now());
        let silent = self.tower.silent(wall);
        if !silent.is_empty() {
            let names: Vec<String> = silent.iter().map(ToString::to_string).collect();
            self.say(&format!("no word from {}", names.join(" and ")));
            let first = silent[0].clone();
            let wishes: Vec<Wish> = silent.into_iter().map(|site| Event::SiteSilent { site }.into()).collect();
            self.commit(vec![wishes]);
            self.people_see_silence(first);
        }
        self.after(15 * SECOND, What::SilenceLook);
    }

    /// The controller loses its power, and gets it back.
    pub fn controller_falls(&mut self) {
        if self.tower.ledger.is_none() {
            return;
        }
        let torn = self.setting.has(Fault::Torn);
        self.tower.power_off(&mut self.random, torn);
        self.say("the controller loses its power");
        let pause = if self.healing { SECOND } else { self.random.between(SECOND, 90 * SECOND) };
        self.after(pause, What::ControllerPower);
    }
}

fn short(directive: &Directive) -> String {
    let parts = directive.rollouts.iter().map(|part| {
        let goals: Vec<String> =
            part.goals.iter().map(|g| format!("{} {:?} {}", g.member.device.name(), g.action, g.attempt)).collect();
        let orders: Vec<&str> = part
            .orders
            .iter()
            .filter_map(|e| e.peek_unverified::<Order>().ok())
            .map(|o| match o.command {
                Command::Halt => "halt",
                Command::Resume { .. } => "resume",
                Command::RollBack { .. } => "roll back",
                Command::Cancel => "cancel",
                _ => "",
            })
            .filter(|word| !word.is_empty())
            .collect();
        format!("{} {:?} [{}] {}", part.rollout, part.mode, goals.join(", "), orders.join(", "))
    });
    parts.collect::<Vec<_>>().join("; ")
}
