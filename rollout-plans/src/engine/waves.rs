//! How a rollout moves from wave to wave, and how it ends.

use super::{
    RolloutState, State, WaveState,
    approvals::EVIDENCE_ROLES,
    gate::{Finding, Verdict},
    out::Out,
    record::Halt,
    rollback::needing_a_person,
};
use crate::{
    model::{Command, DeploymentState, GateAnswer, Scope},
    words::count,
};

impl State {
    /// Settles everything that follows from the event: decisions, rollbacks, offers, until nothing moves any more.
    pub(super) fn settle(&mut self, out: &mut Out) {
        loop {
            self.look_again(out);
            if let Some(r) = out.touched.pop_first() {
                self.advance(out, r);
            } else {
                self.offer(out);
                if out.touched.is_empty() && out.dirty.is_empty() {
                    return;
                }
            }
        }
    }

    /// Looks at one rollout's waves. Each decision may make the next one possible; [`State::settle`] calls again.
    fn advance(&mut self, out: &mut Out, r: usize) {
        self.finish_rollbacks(out, r);
        let record = &self.rollouts[r];
        let Some(w) = record.current.filter(|_| record.is_active()) else { return };
        if record.waves[usize::from(w)].state.is_under_way() && record.state != RolloutState::RollingBack {
            self.judge_wave(out, r, w);
        }
        let record = &self.rollouts[r];
        if record.waves[usize::from(w)].state == WaveState::Passed
            && !record.waves.iter().any(|wave| wave.state.is_lost())
        {
            self.after_passed(out, r, w);
        }
    }

    fn judge_wave(&mut self, out: &mut Out, r: usize, w: u16) {
        let record = &self.rollouts[r];
        let index = &record.index.waves[usize::from(w)];
        let counts = index.counts;
        let last = usize::from(w) + 1 == record.waves.len();
        match record.verdict(w) {
            Verdict::Open => {
                let soaking = counts.of(DeploymentState::Soaking);
                let wave = &record.waves[usize::from(w)];
                if wave.state == WaveState::Running && soaking > 0 && counts.open() == soaking {
                    self.set_wave(out, r, w, WaveState::Soaking);
                }
            }
            Verdict::Decided(finding) => match finding.answer {
                GateAnswer::Success => self.pass_wave(out, r, w, &finding, None),
                GateAnswer::Failure => self.fail_wave(out, r, w, &finding),
                // No wave depends on the last, so waiting would help nobody; the record says what was not shown.
                GateAnswer::Inconclusive if last => {
                    self.pass_wave(out, r, w, &finding, Some("it is the last wave, so nothing depends on it"));
                }
                GateAnswer::Inconclusive => self.ask_for_more(out, r, w, &finding),
            },
        }
    }

    /// The gate can't tell: people of both roles may let it pass, knowing that.
    fn ask_for_more(&mut self, out: &mut Out, r: usize, w: u16, finding: &Finding) {
        let record = &self.rollouts[r];
        let wave = &record.waves[usize::from(w)];
        let approvals = &record.waves[usize::from(w) + 1].approvals;
        let known = wave.short_since.is_some();
        if known && approvals.missing(&EVIDENCE_ROLES, true).is_empty() {
            return self.pass_wave(out, r, w, finding, Some("people of both roles let it pass, knowing that"));
        }
        if known && wave.decision.as_ref().is_some_and(|d| d.rule == finding.rule) {
            return;
        }
        let id = record.document.id.clone();
        let name = record.document.waves[usize::from(w)].name.clone();
        let decision = record.decision(w, finding, false, out.now);
        out.gate(&id, format!("wave {name}: {}", finding.text), &decision);
        out.alarm(
            "evidence",
            Some(&id),
            None,
            None,
            format!("wave {name} of {id}: {}; a person must decide", finding.text),
        );
        out.rollout(&id);
        let wave = &mut self.rollouts[r].waves[usize::from(w)];
        wave.short_since.get_or_insert(out.now);
        wave.gate.clone_from(&finding.text);
        wave.decision = Some(Box::new(decision));
    }

    /// `although` says why an inconclusive gate is passed.
    fn pass_wave(&mut self, out: &mut Out, r: usize, w: u16, finding: &Finding, although: Option<&str>) {
        self.decide(out, r, w, WaveState::Passed, finding, although);
        out.touched.insert(r);
    }

    /// Sets a wave's state by its gate's answer, and records it with what it went by.
    pub(super) fn decide(
        &mut self,
        out: &mut Out,
        r: usize,
        w: u16,
        state: WaveState,
        finding: &Finding,
        although: Option<&str>,
    ) {
        let record = &self.rollouts[r];
        let (id, name) = (&record.document.id, &record.document.waves[usize::from(w)].name);
        let decision = record.decision(w, finding, although.is_some(), out.now);
        let text = match although {
            Some(why) => format!("{}; {why}", finding.text),
            None => finding.text.clone(),
        };
        out.gate(id, format!("wave {name}: {text}"), &decision);
        self.set_wave(out, r, w, state);
        let wave = &mut self.rollouts[r].waves[usize::from(w)];
        wave.gate = text;
        wave.decision = Some(Box::new(decision));
    }

    /// Sets a wave's state for another reason than its gate's answer, and records it.
    pub(super) fn note(&mut self, out: &mut Out, r: usize, w: u16, state: WaveState, text: String) {
        self.set_wave(out, r, w, state);
        let record = &mut self.rollouts[r];
        let name = &record.document.waves[usize::from(w)].name;
        out.audit("wave_decision", Some(&record.document.id), None, format!("wave {name}: {text}"));
        record.waves[usize::from(w)].gate = text;
    }

    /// A wave has failed by its gate. What nodes took back by themselves stays; the plan's scope may take back more.
    fn fail_wave(&mut self, out: &mut Out, r: usize, w: u16, finding: &Finding) {
        let record = &self.rollouts[r];
        let (id, name) = (record.document.id.clone(), record.document.waves[usize::from(w)].name.clone());
        let why = format!("wave {name} {}", finding.text);
        out.alarm("wave_failed", Some(&id), None, None, format!("rollout {id}: {why}"));
        self.decide(out, r, w, WaveState::Failed, finding, None);
        self.halt_self(out, r, &why);
        match self.rollouts[r].document.plan.rollback.scope {
            Scope::Device | Scope::Site => {}
            Scope::Wave => self.roll_back_wave(out, r, w, &why, false),
            Scope::Rollout => self.roll_back_all(out, r, &why, false),
        }
    }

    /// The engine stops a rollout by itself. A rollout that is halted already keeps standing, for the newer reason.
    pub(super) fn halt_self(&mut self, out: &mut Out, r: usize, why: &str) {
        let record = &mut self.rollouts[r];
        match record.state {
            RolloutState::Running | RolloutState::Paused => {
                record.halt = Some(Halt { counter: None, confirmed: std::collections::BTreeSet::new() });
                out.halt(&record.document.id, None, record.sites.clone());
                self.set_rollout(out, r, RolloutState::Halted, why);
                let resume = |p: &super::pending::Pending| matches!(p.order.command, Command::Resume { .. });
                self.drop_pending(out, r, resume, "the rollout has halted by itself");
            }
            RolloutState::Halted => {
                why.clone_into(&mut record.reason);
                out.rollout(&record.document.id);
            }
            _ => {}
        }
    }

    /// The gate of wave `w` has passed: what comes next, and may it begin?
    fn after_passed(&mut self, out: &mut Out, r: usize, w: u16) {
        if !self.still_holds(r, w) {
            return self.reopen_wave(out, r, w);
        }
        let record = &self.rollouts[r];
        let running = record.state == RolloutState::Running;
        let next = w + 1;
        let held = record.is_held(w);
        let Some(wave) = record.waves.get(usize::from(next)) else {
            if running && !held {
                let wave = &record.waves[usize::from(w)];
                let sure = wave.decision.as_ref().is_none_or(|d| d.answer == GateAnswer::Success);
                let reason = if sure { String::new() } else { format!("last wave: {}", wave.gate) };
                self.end_rollout(out, r, RolloutState::Completed, &reason);
            }
            return;
        };
        let missing = wave.approvals.missing(&record.wave_plan(w).gate.approvals, false);
        if !missing.is_empty() {
            if wave.state == WaveState::Pending {
                self.set_wave(out, r, next, WaveState::AwaitingApproval);
            }
        } else if running && !held {
            self.start_wave(out, r, next);
        }
    }

    /// Devices may have been taken back between the gate's word and the beginning of the next wave, which can lie days
    /// apart. The word counts when it is used.
    fn still_holds(&self, r: usize, w: u16) -> bool {
        let record = &self.rollouts[r];
        match record.verdict(w).answer() {
            Some(GateAnswer::Success) => true,
            Some(GateAnswer::Inconclusive) => match record.waves.get(usize::from(w) + 1) {
                Some(next) => {
                    let short = record.waves[usize::from(w)].short_since.is_some();
                    short && next.approvals.missing(&EVIDENCE_ROLES, true).is_empty()
                }
                None => true,
            },
            None | Some(GateAnswer::Failure) => false,
        }
    }

    fn reopen_wave(&mut self, out: &mut Out, r: usize, w: u16) {
        if let Some(next) = self.rollouts[r].waves.get(usize::from(w) + 1)
            && next.state == WaveState::AwaitingApproval
        {
            self.set_wave(out, r, w + 1, WaveState::Pending);
        }
        let text = "looked at again: devices were taken back after its gate had passed".to_owned();
        self.note(out, r, w, WaveState::Soaking, text);
        self.rollouts[r].waves[usize::from(w)].decision = None;
        out.touched.insert(r);
    }

    /// Begins a wave: from here on its devices may be offered.
    pub(super) fn start_wave(&mut self, out: &mut Out, r: usize, w: u16) {
        let record = &mut self.rollouts[r];
        record.current = Some(w);
        record.waves[usize::from(w)].began = Some(out.now);
        if let Some(before) = w.checked_sub(1) {
            record.settle_proofs(before);
        }
        let name = &record.document.waves[usize::from(w)].name;
        let devices = record.document.waves[usize::from(w)].count;
        let text = format!("wave {name} begins: {}", count(devices, "device"));
        let approvals = record.waves[usize::from(w)].approvals.given();
        let before = w.checked_sub(1).and_then(|before| record.waves[usize::from(before)].decision.as_mut());
        match before {
            // What people said between the gate's answer and now belongs to it.
            Some(decision) => {
                decision.approvals = approvals;
                out.gate(&record.document.id, text, decision);
            }
            None => out.audit("wave_decision", Some(&record.document.id), None, text),
        }
        // Nodes must see the approvals of this wave, and of those before it in which they have no device.
        let begun = usize::from(w) + 1;
        let approved = |wave: usize| !record.waves[wave].approvals.is_empty();
        for at in &record.index.waves[usize::from(w)].sites {
            let there = |wave: &usize| record.index.waves[*wave].sites.binary_search(at).is_ok();
            let seen = (0..begun - 1).rev().find(there).map_or(0, |wave| wave + 1);
            if (seen..begun).any(approved) {
                out.sites.insert(record.sites[*at as usize].clone());
            }
        }
        self.set_wave(out, r, w, WaveState::Running);
        self.begin_control(r, w, out.now);
        // Members may have left already (a site taken out): the gate must look even if nobody reports.
        out.touched.insert(r);
    }

    pub(super) fn set_wave(&mut self, out: &mut Out, r: usize, w: u16, state: WaveState) {
        let record = &mut self.rollouts[r];
        let wave = &mut record.waves[usize::from(w)];
        if wave.state == state {
            return;
        }
        wave.state = state;
        wave.since = out.now;
        out.rollout(&record.document.id);
        self.refresh_wave(r);
    }

    pub(super) fn set_rollout(&mut self, out: &mut Out, r: usize, state: RolloutState, reason: &str) {
        let record = &mut self.rollouts[r];
        let begun = record.started_at.is_some();
        if begun && record.state.mode() != state.mode() {
            out.sites.extend(record.sites.iter().cloned());
        } else if begun && record.state.is_ended() != state.is_ended() {
            // The mode stays, so a site's directive changes only where a goal does, or where none is left.
            let record = &*record;
            for (place, site) in record.index.places.iter().zip(&record.sites) {
                let goals = || place.members.iter().map(|d| (record.goal(*d, true), record.goal(*d, false)));
                if goals().any(|(before, after)| before != after) || goals().all(|(_, after)| after.is_none()) {
                    out.sites.insert(site.clone());
                }
            }
        }
        if record.state != state {
            record.state = state;
            record.since = out.now;
        }
        reason.clone_into(&mut record.reason);
        out.rollout(&record.document.id);
        out.touched.insert(r);
        self.refresh_wave(r);
    }

    pub(super) fn end_rollout(&mut self, out: &mut Out, r: usize, state: RolloutState, reason: &str) {
        self.set_rollout(out, r, state, reason);
        self.look_at_dependants(out, r);
        self.drop_amendment(out, r);
        let record = &mut self.rollouts[r];
        record.ended_at = Some(out.now);
        let left = if state == RolloutState::RolledBack { needing_a_person(record.stuck()) } else { String::new() };
        let because = if reason.is_empty() { left } else { format!(": {reason}{left}") };
        let text = format!("rollout {} is {}{because}", record.document.id, state.word().replace('_', " "));
        out.audit("rollout_ended", Some(&record.document.id), None, text);
    }
}
