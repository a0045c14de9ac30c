//! What the plan alone shows to be risky. What an estate shows besides is in `crate::resolve`.

use super::{
    Finding, Needs, ParsedPlan, Rule, accept,
    on_call::{Alone, alone},
    patience,
};
use crate::model::{CalendarDate, DurationMs, Plan, Scope, Timestamp, WaveName, moment_words};

/// A working day: what a hospital needs to have used a system in earnest.
const WORKING_DAY: DurationMs = DurationMs::from_secs(8 * 60 * 60);
/// A first wave that takes a larger share by chance is no canary, basis points.
const CANARY_SHARE_MAX: u32 = 1_000;
/// A gate that lets more than a tenth fail is lenient, basis points.
const SUCCESS_MIN: u32 = 9_000;
/// More tries than this after a failure hide what is wrong.
const RETRIES_MANY: u32 = 3;

/// Gathers findings, each at its place in the plan.
struct Lint<'p> {
    parsed: &'p ParsedPlan,
    findings: Vec<Finding>,
}

impl Lint<'_> {
    fn add(&mut self, rule: Rule, wave: Option<&WaveName>, field: &str, message: String, hint: &str) {
        let problem = self.parsed.problem_at(field, message, hint.to_owned());
        self.findings.push(Finding { rule, wave: wave.cloned(), problem, accepted: None });
    }
}

/// All findings that need nothing but the plan, by line; those that it accepts are marked.
pub(super) fn of_plan(parsed: &ParsedPlan) -> Vec<Finding> {
    let mut lint = Lint { parsed, findings: Vec::new() };
    first_wave(&mut lint, &parsed.plan);
    whole(&mut lint, &parsed.plan);
    for index in 0..parsed.plan.waves.len() {
        soak(&mut lint, &parsed.plan, index);
        gate(&mut lint, &parsed.plan, index);
        on_call(&mut lint, &parsed.plan, index);
    }
    let mut findings = accept::settle(parsed, lint.findings, Needs::Plan);
    findings.sort_by_key(|finding| (finding.problem.line, finding.problem.column));
    findings
}

/// What depends on the day: change freezes that are over everywhere.
pub(super) fn of_day(parsed: &ParsedPlan, now: Timestamp) -> Vec<Finding> {
    let mut lint = Lint { parsed, findings: Vec::new() };
    // Where the calendar is furthest behind, it is still the day before.
    let today = CalendarDate::in_utc(Timestamp(now.0.saturating_sub(24 * 60 * 60 * 1000)));
    for (index, freeze) in parsed.plan.freezes.iter().enumerate().filter(|(_, freeze)| Some(freeze.to) < today) {
        let message = format!("the freeze to {} ({}) is over", freeze.to, freeze.reason);
        let hint = "remove it, or put in the next one";
        lint.add(Rule::FreezePast, None, &format!("freezes[{index}]"), message, hint);
    }
    let own = parsed.plan.waves.iter().enumerate();
    let own = own.map(|(index, wave)| (Some(&wave.name), format!("waves[{index}].deadline"), wave.deadline));
    let whole = std::iter::once((None, "deadline".to_owned(), parsed.plan.deadline));
    for (wave, field, by) in whole.chain(own).filter_map(|(wave, field, d)| Some((wave, field, d?.by?))) {
        if by <= now {
            let message = format!("the deadline {} is over", moment_words(by));
            lint.add(Rule::DeadlinePast, wave, &field, message, "put in a later one, or remove it");
        }
    }
    accept::settle(parsed, lint.findings, Needs::Clock)
}

fn first_wave(lint: &mut Lint<'_>, plan: &Plan) {
    let Some(first) = plan.waves.first() else { return };
    let hint = "begin with a few devices that stand for all others: `representative: true`, or a label";
    let large = first.select.percent.is_some_and(|p| p.basis_points() > CANARY_SHARE_MAX);
    if plan.waves.len() == 1 {
        let message = format!("the only wave, {:?}, takes everything at once", first.name.as_str());
        lint.add(Rule::SingleWave, Some(&first.name), "waves[0]", message, hint);
    } else if first.select.remaining || large {
        let message = format!("no canary: the first wave, {:?}, is large", first.name.as_str());
        lint.add(Rule::NoCanary, Some(&first.name), "waves[0].select", message, hint);
    }
}

fn whole(lint: &mut Lint<'_>, plan: &Plan) {
    if plan.limits.per_site.is_some_and(|n| n > 1) {
        let hint = "patients of one site then meet several disturbed devices together";
        let message = "more than one device of a site is in hand at once".to_owned();
        lint.add(Rule::PerSite, None, "limits.per_site", message, hint);
    }
    if plan.rollback.scope == Scope::Device {
        let hint = "`wave` takes the patch back from all devices of the wave when one clinical system fails";
        let message = "after a failure the other devices of the wave keep the patch".to_owned();
        lint.add(Rule::ScopeDevice, None, "rollback.scope", message, hint);
    }
    let open = plan.waves.iter().find(|wave| plan.windows.is_empty() && wave.windows.is_empty());
    if let Some(wave) = open {
        let message = format!("installs of wave {} may begin at any hour", wave.name);
        let hint = "name the hours in which a disturbed device harms least: `windows`";
        lint.add(Rule::NoWindows, None, "windows", message, hint);
    }
    if plan.timing.retries > RETRIES_MANY {
        let message = format!("a failed install is tried again up to {} times", plan.timing.retries);
        let hint = "what fails so often does not fail by chance, and each try troubles the device";
        lint.add(Rule::ManyRetries, None, "timing.retries", message, hint);
    }
    if plan.on_call.is_empty() {
        let hint = "write `on_call`, as windows are written, and installs outside of these hours are pointed out";
        lint.add(Rule::OnCallUnsaid, None, "on_call", "nothing says when anybody is on call".to_owned(), hint);
    }
}

fn soak(lint: &mut Lint<'_>, plan: &Plan, index: usize) {
    let wave = &plan.waves[index];
    let (name, field, soak) = (Some(&wave.name), format!("waves[{index}].soak"), wave.soak);
    let health = &plan.health;
    let rounds = health.interval.0.saturating_mul(u64::from(health.failures));
    let notice = DurationMs(health.grace.0.saturating_add(rounds));
    if soak.0 < 1_000 {
        let hint = "a fault that shows only in use will be met in the next wave";
        lint.add(Rule::SoakMissing, name, &field, "nothing is watched after the install".to_owned(), hint);
        return;
    }
    if soak < notice {
        let hint = "lengthen the soak, or lower health.interval, health.failures or health.grace";
        let message = format!("a failing system is noticed after {notice}, the soak ends after {soak}");
        lint.add(Rule::SoakBlind, name, &field, message, hint);
    } else if soak < WORKING_DAY {
        let hint = "a fault that shows only in use may be met in the next wave";
        lint.add(Rule::SoakShort, name, &field, format!("{soak} is shorter than a working day (8h)"), hint);
    }
    if plan.timing.unknown_after > soak {
        let message =
            format!("{} without word count as unknown, and the soak is over after {soak}", plan.timing.unknown_after);
        let hint = "lower timing.unknown_after, or lengthen the soak";
        lint.add(Rule::SlowSilence, name, &field, message, hint);
    }
}

fn gate(lint: &mut Lint<'_>, plan: &Plan, index: usize) {
    let wave = &plan.waves[index];
    let Some(next) = plan.waves.get(index + 1) else { return };
    if wave.gate.evidence_min <= 1 && patience::leaves_out(plan, index) {
        let message = format!("devices of wave {} may be left out, and one success is enough for its gate", wave.name);
        let hint = "name in gate.evidence_min how many must have succeeded, whoever is left out";
        lint.add(Rule::ThinRest, Some(&wave.name), &format!("waves[{index}].gate"), message, hint);
    }
    if wave.gate.approvals.is_empty() {
        let hint = "add `approvals: [clinical]` to this gate if a person should look first";
        let message = format!("wave {} begins without anybody's approval", next.name);
        lint.add(Rule::Unapproved, Some(&next.name), &format!("waves[{index}].gate"), message, hint);
    }
    if wave.gate.success.basis_points() < SUCCESS_MIN {
        let message =
            format!("wave {} passes when {} succeeded: the others may have failed", wave.name, wave.gate.success);
        let hint = "ask for 90% at least; what a bad patch does to a few it does to many";
        lint.add(Rule::GateLenient, Some(&wave.name), &format!("waves[{index}].gate.success"), message, hint);
    }
}

fn on_call(lint: &mut Lint<'_>, plan: &Plan, index: usize) {
    if plan.on_call.is_empty() {
        return;
    }
    let wave = &plan.waves[index];
    let path = format!("waves[{index}]");
    match alone(plan, wave) {
        Some(Alone::Begins(at)) => {
            let message =
                format!("installs of wave {} may begin while nobody is on call, for example on {at}", wave.name);
            let hint = "narrow the windows, or widen on_call";
            lint.add(Rule::OffCallBegin, Some(&wave.name), &path, message, hint);
        }
        Some(Alone::Soaks(at)) => {
            let message =
                format!("what wave {} installs on {at} may still soak when nobody is on call any more", wave.name);
            let hint = "nodes take a bad patch back by themselves; a person who halts the rest must be woken";
            lint.add(Rule::OffCallSoak, Some(&wave.name), &path, message, hint);
        }
        None => {}
    }
}
