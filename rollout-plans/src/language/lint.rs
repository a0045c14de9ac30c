//! The plan language's rules for a plan that did not come out of it: the one in a rollout document.

use super::{
    plan::{DAY, INTERVAL_MIN, LIMIT_MAX, NAME_BYTES_MAX, NONE, QUARTER, SECOND, TEXT_BYTES_MAX},
    reader::Reader,
    rules,
};
use crate::model::{ControlPolicy, DurationMs, Plan, REPRESENTATIVE_MAX};

/// What the plan language would refuse in `plan`; empty when it could have been written in it.
///
/// Whoever signs a rollout signs its plan, and nothing forces a controller to have made it from a plan file: an interval of
/// zero would trouble the clinical systems, a limit of zero holds a rollout for ever.
#[must_use]
pub fn lint_plan(plan: &Plan) -> Vec<String> {
    let mut reader = Reader::new("");
    let mut durations = vec![
        ("health.interval".to_owned(), plan.health.interval, INTERVAL_MIN, DAY),
        ("health.grace".to_owned(), plan.health.grace, NONE, DAY),
        (
            "health.control.wait_max".to_owned(),
            plan.health.control.as_ref().map_or(SECOND, |control| control.wait_max),
            SECOND,
            ControlPolicy::WAIT_MAX,
        ),
        ("timing.install_timeout".to_owned(), plan.timing.install_timeout, SECOND, QUARTER),
        ("timing.reboot_timeout".to_owned(), plan.timing.reboot_timeout, SECOND, QUARTER),
        ("timing.unknown_after".to_owned(), plan.timing.unknown_after, SECOND, QUARTER),
        ("timing.defer_max".to_owned(), plan.timing.defer_max, SECOND, QUARTER),
        ("timing.retry_after".to_owned(), plan.timing.retry_after, SECOND, QUARTER),
    ];
    let mut counts = vec![
        ("health.failures".to_owned(), Some(plan.health.failures), 100),
        ("limits.per_site".to_owned(), plan.limits.per_site, LIMIT_MAX),
        ("limits.per_region".to_owned(), plan.limits.per_region, LIMIT_MAX),
        ("limits.total".to_owned(), plan.limits.total, LIMIT_MAX),
    ];
    durations.extend(super::patience::durations(plan));
    for (index, wave) in plan.waves.iter().enumerate() {
        let at = |field: &str| format!("waves[{index}].{field}");
        durations.push((at("soak"), wave.soak, NONE, QUARTER));
        counts.push((at("select.count"), wave.select.count, LIMIT_MAX));
        counts.push((at("select.representative"), wave.select.representative, REPRESENTATIVE_MAX));
        counts.push((at("limits.per_site"), wave.limits.per_site, LIMIT_MAX));
        counts.push((at("limits.per_region"), wave.limits.per_region, LIMIT_MAX));
        counts.push((at("limits.total"), wave.limits.total, LIMIT_MAX));
        counts.push((at("gate.evidence_min"), Some(wave.gate.evidence_min), LIMIT_MAX));
        // None at all may fail.
        counts.push((at("gate.failures_max"), wave.gate.failures_max.filter(|n| *n > 0), LIMIT_MAX));
        counts.push((at("gate.test.control_min"), wave.gate.test.as_ref().map(|t| t.control_min), LIMIT_MAX));
    }
    for (field, value, min, max) in durations {
        if value < min || value > max {
            let shown = |value: DurationMs| if value.0 == 0 { "0s".to_owned() } else { value.to_string() };
            let message = format!("{} is not between {} and {}", shown(value), shown(min), shown(max));
            reader.problem_at(&field, message, "");
        }
    }
    for (field, value, max) in counts {
        if let Some(value) = value.filter(|value| !(1..=max).contains(value)) {
            reader.problem_at(&field, format!("{value} is not between 1 and {max}"), "");
        }
    }
    for (field, text, max) in [("name", &plan.name, NAME_BYTES_MAX), ("description", &plan.description, TEXT_BYTES_MAX)]
    {
        if text.len() > max {
            reader.problem_at(field, format!("it has {} bytes; at most {max} are allowed", text.len()), "");
        }
    }
    rules::check(&mut reader, plan);
    let (_, problems) = reader.finish();
    problems.into_iter().map(|problem| format!("plan: {}: {}", problem.field, problem.message)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        language::parse_plan,
        model::{Axis, Deadline, Freeze, GateTest, Late, Offline, Window},
    };

    type Change = fn(&mut Plan);

    const PLAN: &str = "name: three\nwaves:\n  - name: canary\n    select: { percent: 1% }\n    soak: 8h\n  \
                        - name: full\n    select: { remaining: true }\n    soak: 8h\n";

    #[test]
    fn what_the_language_takes_passes_and_what_it_refuses_does_not() {
        let plan = parse_plan(PLAN, "plan.yaml").unwrap().plan;
        assert_eq!(lint_plan(&plan), [""; 0]);
        let window =
            |from: &str, to: &str| Window { days: Vec::new(), from: from.parse().unwrap(), to: to.parse().unwrap() };
        assert_eq!(lint_plan(&Plan { windows: vec![window("22:00", "05:00")], ..plan.clone() }), [""; 0]);
        let changes: &[(&str, Change)] = &[
            ("waves[0].gate.failures_max", |p| p.waves[0].gate.failures_max = Some(u32::MAX)),
            ("waves[0].gate.test.control_min", |p| {
                p.waves[0].gate.test = Some(GateTest { control_min: 0, ..GateTest::default() });
            }),
            ("waves[0].gate.test.alpha", |p| {
                let alpha = crate::model::Percent::ALL;
                p.waves[0].gate.test = Some(GateTest { alpha, ..GateTest::default() });
            }),
            ("waves[0].select.count", |p| p.waves[0].select.count = Some(0)),
            ("waves[0].select.count", |p| p.waves[0].select.count = Some(3)),
            ("waves[0].select.representative", |p| p.waves[0].select.representative = Some(0)),
            ("waves[0].select.by", |p| p.waves[0].select.by = vec![Axis::Site, Axis::Site]),
            ("health.interval", |p| p.health.interval = DurationMs(0)),
            ("health.control.wait_max", |p| p.health.control = Some(ControlPolicy { wait_max: DAY })),
            ("health.failures", |p| p.health.failures = 0),
            ("limits.per_site", |p| p.limits.per_site = Some(0)),
            ("waves[1].limits.per_region", |p| p.waves[1].limits.per_region = Some(0)),
            ("waves[1].limits.total", |p| p.waves[1].limits.total = Some(0)),
            ("waves[0].gate.evidence_min", |p| p.waves[0].gate.evidence_min = 0),
            ("timing.install_timeout", |p| p.timing.install_timeout = DurationMs(0)),
            ("health.grace", |p| p.health.grace = DurationMs(u64::MAX)),
            ("timing.retries", |p| p.timing.retries = 11),
            ("timing.retry_max", |p| p.timing.retry_max = DurationMs(0)),
            ("deadline", |p| {
                p.deadline = Some(Deadline { by: None, after: None, then: Late::LeaveOut });
            }),
            ("waves[1].deadline.after", |p| {
                p.waves[1].deadline = Some(Deadline { by: None, after: Some(DurationMs(0)), then: Late::Alarm });
            }),
            ("waves[0].offline", |p| p.waves[0].offline = Some(Offline::default())),
            ("offline.leave_out_after", |p| {
                p.offline = Some(Offline { alarm_after: None, leave_out_after: Some(DurationMs(1)) });
            }),
            ("windows[0].to", |p| {
                let at = "22:00".parse().unwrap();
                p.windows = vec![Window { days: Vec::new(), from: at, to: at }];
            }),
            ("waves[1].windows", |p| {
                let (from, to) = ("22:00".parse().unwrap(), "22:10".parse().unwrap());
                p.waves[1].windows = vec![Window { days: Vec::new(), from, to }];
            }),
            ("freezes[0].reason", |p| {
                let day = "2026-12-20".parse().unwrap();
                p.freezes = vec![Freeze { from: day, to: day, reason: "a\u{202e}b".to_owned() }];
            }),
            ("waves[1].name", |p| p.waves[1].name = p.waves[0].name.clone()),
        ];
        for (field, change) in changes {
            let mut bad = plan.clone();
            change(&mut bad);
            let faults = lint_plan(&bad);
            assert!(faults.iter().any(|fault| fault.contains(field)), "{field}: {faults:?}");
        }
    }
}
