//! Rules about a plan as a whole, and what a careful reader should know about it.

use std::collections::BTreeSet;

use super::{ParsedPlan, Problem, reader::Reader};
use crate::model::{DurationMs, GateTest, Percent, Plan, Scope, WAVES_MAX};

/// A working day: what a hospital needs to have used a system in earnest.
const WORKING_DAY: DurationMs = DurationMs::from_secs(8 * 60 * 60);
/// A first wave that takes a larger share by chance is no canary, basis points.
const CANARY_SHARE_MAX: u32 = 1_000;

/// Adds what is wrong.
pub(super) fn check(reader: &mut Reader, plan: &Plan) {
    if plan.waves.is_empty() {
        reader.problem_at("waves", "the plan has no waves", "add at least a canary and `select: { remaining: true }`");
    }
    if plan.waves.len() > WAVES_MAX {
        let message = format!("the plan has {} waves; at most {WAVES_MAX} are allowed", plan.waves.len());
        reader.problem_at("waves", message, "a person must be able to follow them; join some");
    }
    super::selector::check(reader, plan);
    let mut names = BTreeSet::new();
    for (index, wave) in plan.waves.iter().enumerate() {
        let path = format!("waves[{index}]");
        let last = index + 1 == plan.waves.len();
        if !names.insert(&wave.name) {
            let message = format!("an earlier wave is called {:?} too", wave.name.as_str());
            reader.problem_at(&format!("{path}.name"), message, "give each wave a name of its own");
        }
        if last && !wave.gate.approvals.is_empty() {
            let hint = "approvals are asked before the next wave: move them to the gate of the wave before";
            reader.problem_at(&format!("{path}.gate.approvals"), "no wave follows that could be approved", hint);
        }
        if wave.gate.approvals.iter().collect::<BTreeSet<_>>().len() < wave.gate.approvals.len() {
            reader.problem_at(&format!("{path}.gate.approvals"), "a role is named twice", "name each role once");
        }
        gate_test(reader, &format!("{path}.gate.test"), wave.gate.test.as_ref());
        if wave.soak.0 > 0 && plan.health.grace >= wave.soak {
            let message = format!("the soak of {} is over before the grace of {} is", wave.soak, plan.health.grace);
            let hint = "no failure would ever count: shorten health.grace or lengthen the soak";
            reader.problem_at(&format!("{path}.soak"), message, hint);
        }
    }
    super::windows::check(reader, plan);
    if plan.timing.retry_after > plan.timing.defer_max {
        let message = format!("{} is longer than defer_max, {}", plan.timing.retry_after, plan.timing.defer_max);
        reader.problem_at("timing.retry_after", message, "a deferred device would never be tried again");
    }
}

/// A test whose shares contradict each other says nothing.
fn gate_test(reader: &mut Reader, path: &str, test: Option<&GateTest>) {
    let Some(test) = test else { return };
    let most = |points| Percent::from_basis_points(points).unwrap_or(Percent::ALL);
    for (name, share, max) in [("alpha", test.alpha, GateTest::ALPHA_MAX), ("miss", test.miss, GateTest::MISS_MAX)] {
        if !(1..=max).contains(&share.basis_points()) {
            let message = format!("{share} is not between 0.01% and {}", most(max));
            reader.problem_at(&format!("{path}.{name}"), message, "5% is usual for alpha, 20% for miss");
        }
    }
    if test.harm.basis_points() == 0 {
        let hint = "name the share of devices that a bad patch makes fail, for example 30%";
        reader.problem_at(&format!("{path}.harm"), "0% is no harm", hint);
    }
    if let Some(background) = test.background.filter(|share| *share >= test.harm) {
        let message = format!("{background} fail without the patch, which is not less than the harm of {}", test.harm);
        reader.problem_at(&format!("{path}.background"), message, "raise `harm` above it, or lower `background`");
    }
}

/// What is allowed, but risky.
pub(super) fn warnings(parsed: &ParsedPlan) -> Vec<Problem> {
    let plan = &parsed.plan;
    let mut warnings = Vec::new();
    let mut warn = |field: &str, message: String, hint: &str| {
        warnings.push(parsed.problem_at(field, message, hint.to_owned()));
    };
    if let Some(first) = plan.waves.first() {
        let large = first.select.percent.is_some_and(|p| p.basis_points() > CANARY_SHARE_MAX);
        if first.select.remaining || large {
            let hint = "begin with a few devices that stand for all others, chosen by a label";
            warn("waves[0].select", format!("no canary: the first wave, {:?}, is large", first.name.as_str()), hint);
        }
    }
    if plan.limits.per_site.is_some_and(|n| n > 1) {
        let hint = "patients of one site then meet several disturbed devices together";
        warn("limits.per_site", "more than one device of a site is in hand at once".to_owned(), hint);
    }
    if plan.rollback.scope == Scope::Device {
        let hint = "`wave` takes the patch back from all devices of the wave when one clinical system fails";
        warn("rollback.scope", "after a failure the other devices of the wave keep the patch".to_owned(), hint);
    }
    for (index, wave) in plan.waves.iter().enumerate() {
        let soak = format!("waves[{index}].soak");
        let notice = DurationMs(plan.health.grace.0 + plan.health.interval.0 * u64::from(plan.health.failures));
        if wave.soak.0 < 1_000 {
            let hint = "a fault that shows only in use will be met in the next wave";
            warn(&soak, "nothing is watched after the install".to_owned(), hint);
        } else if wave.soak < notice {
            let hint = "lengthen the soak, or lower health.interval, health.failures or health.grace";
            warn(&soak, format!("a failing system is noticed after {notice}, the soak ends after {}", wave.soak), hint);
        } else if wave.soak < WORKING_DAY {
            let hint = "a fault that shows only in use may be met in the next wave";
            warn(&soak, format!("{} is shorter than a working day (8h)", wave.soak), hint);
        }
        let last = index + 1 == plan.waves.len();
        if !last && wave.gate.approvals.is_empty() {
            let next = &plan.waves[index + 1].name;
            let hint = "add `approvals: [clinical]` to this gate if a person should look first";
            warn(&format!("waves[{index}].gate"), format!("wave {next} begins without anybody's approval"), hint);
        }
    }
    warnings.sort_by_key(|w| (w.line, w.column));
    warnings
}
