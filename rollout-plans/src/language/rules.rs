//! Rules about a plan as a whole.

use std::collections::BTreeSet;

use super::reader::Reader;
use crate::model::{GateTest, Percent, Plan, WAVES_MAX};

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
    super::order::check(reader, plan);
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
    super::accept::check(reader, plan);
    super::patience::check(reader, plan);
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
