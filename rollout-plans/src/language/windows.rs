//! Maintenance windows and change freezes of a plan.

use super::{
    reader::Reader,
    tree::{Node, Value},
};
use crate::{
    model::{Day, DurationMs, FREEZE_REASON_BYTES_MAX, FREEZES_MAX, Freeze, Plan, WINDOWS_MAX, Window},
    window::{AHEAD, Calendar, Opening, SOME_MONDAY},
};

pub(super) fn windows(reader: &mut Reader, node: &Node, path: &str) -> Option<Vec<Window>> {
    // Without an item it would read as "never" and mean "always".
    if matches!(&node.value, Value::List(items) if items.is_empty()) {
        let hint = match path {
            "on_call" => "add one, or remove the line",
            _ => "add one, or remove the line: without windows installs may begin at any time",
        };
        reader.problem(node.at, path, "no window is named", hint);
        return None;
    }
    reader.list(node, path, window)
}

fn window(reader: &mut Reader, node: &Node, path: &str) -> Option<Window> {
    let fields = reader.fields(node, path, &["days", "from", "to"])?;
    let days = reader.optional(&fields, "days", |r, n, p| r.some(n, p, |r, n, p| r.word(n, p, &Day::ALL)));
    let written = fields.has("days");
    let hint = "in quotes, hours and minutes: \"22:00\"";
    let from = reader.required(&fields, "from", "\"22:00\"", |r, n, p| r.parsed(n, p, hint));
    let to = reader.required(&fields, "to", "\"05:00\"", |r, n, p| r.parsed(n, p, hint));
    if written && days.is_none() {
        return None;
    }
    Some(Window { days: days.unwrap_or_default(), from: from?, to: to? })
}

pub(super) fn freezes(reader: &mut Reader, node: &Node, path: &str) -> Option<Vec<Freeze>> {
    reader.list(node, path, |reader, node, path| {
        let fields = reader.fields(node, path, &["from", "to", "reason"])?;
        let hint = "year-month-day: 2026-12-20";
        let from = reader.required(&fields, "from", "2026-12-20", |r, n, p| r.parsed(n, p, hint));
        let to = reader.required(&fields, "to", "2027-01-04", |r, n, p| r.parsed(n, p, hint));
        let example = "winter change freeze";
        let reason = reader.required(&fields, "reason", example, |r, n, p| r.line(n, p, FREEZE_REASON_BYTES_MAX));
        Some(Freeze { from: from?, to: to?, reason: reason? })
    })
}

/// Adds what is wrong with the windows and freezes of a plan.
pub(super) fn check(reader: &mut Reader, plan: &Plan) {
    let before = reader.count_problems();
    check_windows(reader, "windows", &plan.windows);
    check_windows(reader, "on_call", &plan.on_call);
    if plan.freezes.len() > FREEZES_MAX {
        let message = format!("the plan has {} freezes; at most {FREEZES_MAX} are allowed", plan.freezes.len());
        reader.problem_at("freezes", message, "join those that follow upon each other");
    }
    for (index, freeze) in plan.freezes.iter().enumerate() {
        if let Some((field, message, hint)) = freeze.fault() {
            reader.problem_at(&format!("freezes[{index}].{field}"), message, hint);
        }
    }
    for (index, wave) in plan.waves.iter().enumerate() {
        check_windows(reader, &format!("waves[{index}].windows"), &wave.windows);
    }
    if reader.count_problems() == before {
        check_room(reader, plan);
    }
}

fn check_windows(reader: &mut Reader, path: &str, windows: &[Window]) {
    if windows.len() > WINDOWS_MAX {
        let message = format!("the list has {} windows; at most {WINDOWS_MAX} are allowed", windows.len());
        reader.problem_at(path, message, "name several days in one window");
    }
    for (index, window) in windows.iter().enumerate() {
        if let Some((field, message, hint)) = window.fault() {
            reader.problem_at(&format!("{path}[{index}].{field}"), message, hint);
        }
    }
}

/// A window in which no install may ever begin holds the rollout for ever.
fn check_room(reader: &mut Reader, plan: &Plan) {
    let room = plan.timing.room();
    for (index, wave) in plan.waves.iter().enumerate() {
        if plan.windows.is_empty() && wave.windows.is_empty() {
            continue;
        }
        let windows = Calendar::always().and("the plan's", &plan.windows, &[]).and("the wave's", &wave.windows, &[]);
        let never = |room| matches!(windows.at(SOME_MONDAY, room), Opening::Closed(closed) if closed.until.is_none());
        let own = format!("waves[{index}].windows");
        let field = if wave.windows.is_empty() { "windows" } else { &own };
        if never(DurationMs(1)) {
            let hint = "a wave's windows narrow those of the plan: both must be open";
            reader.problem_at(field, format!("the windows of wave {} and of the plan never meet", wave.name), hint);
        } else if room > AHEAD || never(room) {
            let message = format!("no window is open for {room}, which an install with its reboot may take");
            let hint = "lengthen the window, or shorten timing.install_timeout and timing.reboot_timeout";
            reader.problem_at(field, message, hint);
            // The plan's own windows would be complained of for every wave.
            if wave.windows.is_empty() {
                return;
            }
        }
    }
}
