//! Deadlines, silent sites and retries of a plan.

use super::{
    plan::{QUARTER, SECOND},
    reader::Reader,
    tree::{Node, Value},
};
use crate::model::{Deadline, DurationMs, Late, Offline, Plan, Retries, Timestamp, Timing, moment};

pub(super) fn deadline(reader: &mut Reader, node: &Node, path: &str) -> Option<Deadline> {
    reader.unless_problems(|reader| {
        let fields = reader.fields(node, path, &["by", "after", "then"])?;
        let by = reader.optional(&fields, "by", by);
        let after = reader.optional(&fields, "after", |r, n, p| r.duration(n, p, SECOND, QUARTER));
        let then = reader.optional(&fields, "then", |r, n, p| r.word(n, p, &Deadline::WORDS));
        Some(Deadline { by, after, then: then.unwrap_or_default() })
    })
}

fn by(reader: &mut Reader, node: &Node, path: &str) -> Option<Timestamp> {
    let text = match &node.value {
        Value::Text(_) => reader.text(node, path, 64)?,
        _ => {
            let message = format!("expected a day or a time, found {}", node.value.what());
            reader.problem(node.at, path, message, "write `2026-12-19`, or `\"2026-12-19T18:00:00+01:00\"` in quotes");
            return None;
        }
    };
    moment(&text).map_err(|message| reader.problem(node.at, path, message, "")).ok()
}

pub(super) fn offline(reader: &mut Reader, node: &Node, path: &str) -> Option<Offline> {
    reader.unless_problems(|reader| {
        let fields = reader.fields(node, path, &["alarm_after", "leave_out_after"])?;
        let mut wait = |name: &str| reader.optional(&fields, name, |r, n, p| r.duration(n, p, SECOND, QUARTER));
        Some(Offline { alarm_after: wait("alarm_after"), leave_out_after: wait("leave_out_after") })
    })
}

pub(super) fn timing(reader: &mut Reader, node: &Node, path: &str) -> Option<Timing> {
    let known = [
        "install_timeout",
        "reboot_timeout",
        "unknown_after",
        "defer_max",
        "retry_after",
        "retries",
        "retry",
        "retry_max",
    ];
    let fields = reader.fields(node, path, &known)?;
    let default = Timing::default();
    let retries = reader.optional(&fields, "retries", |r, n, p| r.count(n, p, 0, Retries::MOST));
    let mut wait = |name: &str, default: DurationMs| {
        reader.optional(&fields, name, |r, n, p| r.duration(n, p, SECOND, QUARTER)).unwrap_or(default)
    };
    let timing = Timing {
        install_timeout: wait("install_timeout", default.install_timeout),
        reboot_timeout: wait("reboot_timeout", default.reboot_timeout),
        unknown_after: wait("unknown_after", default.unknown_after),
        defer_max: wait("defer_max", default.defer_max),
        retry_after: wait("retry_after", default.retry_after),
        retries: retries.unwrap_or(default.retries),
        retry: wait("retry", default.retry),
        retry_max: wait("retry_max", default.retry_max),
    };
    Some(timing)
}

/// Adds what is wrong with them.
pub(super) fn check(reader: &mut Reader, plan: &Plan) {
    let timing = &plan.timing;
    if timing.retry_after > timing.defer_max {
        let message = format!("{} is longer than defer_max, {}", timing.retry_after, timing.defer_max);
        reader.problem_at("timing.retry_after", message, "a deferred device would never be tried again");
    }
    if timing.retry > timing.retry_max {
        let message = format!("{} is longer than retry_max, {}", timing.retry, timing.retry_max);
        reader.problem_at("timing.retry", message, "the first wait is the shortest: lower it, or raise retry_max");
    }
    if timing.retries > Retries::MOST {
        let message = format!("{} is not between 0 and {}", timing.retries, Retries::MOST);
        reader.problem_at("timing.retries", message, "what still fails then does not fail by chance");
    }
    let own =
        plan.waves.iter().enumerate().map(|(index, wave)| (format!("waves[{index}]."), wave.deadline, wave.offline));
    for (of, deadline, offline) in std::iter::once((String::new(), plan.deadline, plan.offline)).chain(own) {
        if let Some((message, hint)) = deadline.and_then(|deadline| deadline.fault()) {
            reader.problem_at(&format!("{of}deadline"), message, hint);
        }
        if let Some((message, hint)) = offline.and_then(|offline| offline.fault()) {
            reader.problem_at(&format!("{of}offline"), message, hint);
        }
    }
}

/// The waits of a plan, for those that did not come out of a file.
pub(super) fn durations(plan: &Plan) -> Vec<(String, DurationMs, DurationMs, DurationMs)> {
    let mut found = vec![
        ("timing.retry".to_owned(), plan.timing.retry, SECOND, QUARTER),
        ("timing.retry_max".to_owned(), plan.timing.retry_max, SECOND, QUARTER),
    ];
    let own =
        plan.waves.iter().enumerate().map(|(index, wave)| (format!("waves[{index}]."), wave.deadline, wave.offline));
    for (of, deadline, offline) in std::iter::once((String::new(), plan.deadline, plan.offline)).chain(own) {
        let waits = [
            ("deadline.after", deadline.and_then(|d| d.after)),
            ("offline.alarm_after", offline.and_then(|o| o.alarm_after)),
            ("offline.leave_out_after", offline.and_then(|o| o.leave_out_after)),
        ];
        let named = waits.into_iter().filter_map(|(name, wait)| Some((format!("{of}{name}"), wait?, SECOND, QUARTER)));
        found.extend(named);
    }
    found
}

/// May devices of this wave be left out?
pub(super) fn leaves_out(plan: &Plan, index: usize) -> bool {
    let Some(wave) = plan.waves.get(index) else { return false };
    plan.deadline_of(wave).is_some_and(|deadline| deadline.then == Late::LeaveOut)
        || plan.offline_of(wave).is_some_and(|offline| offline.leave_out_after.is_some())
}
