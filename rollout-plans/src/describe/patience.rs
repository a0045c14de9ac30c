//! Deadlines, silent sites and retries in plain words.

use crate::{
    model::{Deadline, Late, Offline, Plan, moment_words},
    words::count,
};

/// What the deadline of a wave does; `None` when it has none.
pub(super) fn deadline_words(plan: &Plan, index: usize) -> Option<String> {
    let deadline = plan.deadline_of(plan.waves.get(index)?)?;
    let Deadline { by, after, then } = deadline;
    let when = by.map(|by| format!("by {}", moment_words(by)));
    let when = when.or_else(|| after.map(|after| format!("within {after} of the wave's beginning")))?;
    Some(match then {
        Late::Alarm => format!("an alarm tells which devices have not begun {when}; the wave goes on"),
        Late::LeaveOut => {
            format!("what has not begun {when} is left out for good, and its gate judges only those that were tried")
        }
    })
}

/// What becomes of silent sites: once for all waves where they agree, else wave by wave.
pub(super) fn offline_lines(plan: &Plan) -> Vec<String> {
    let own = plan.waves.iter().any(|wave| wave.offline.is_some_and(|own| Some(own) != plan.offline));
    if !own {
        return plan.offline.iter().map(|offline| offline_words("A site", offline)).collect();
    }
    let waves = plan.waves.iter();
    waves
        .filter_map(|wave| Some(offline_words(&format!("In wave {} a site", wave.name), &plan.offline_of(wave)?)))
        .collect()
}

fn offline_words(who: &str, offline: &Offline) -> String {
    let alarm = offline.alarm_after.map(|long| format!("raises an alarm after {long}"));
    let out = offline.leave_out_after.map(|long| {
        format!("is waited for no longer than {long}: its devices that have not begun are left out for good")
    });
    let what: Vec<String> = alarm.into_iter().chain(out).collect();
    format!(
        "{who} that does not answer {}. What may have begun there stays unknown, never a success.",
        what.join(", and ")
    )
}

/// Which failed installs are tried again; `None` when none are.
pub(super) fn retry_words(plan: &Plan) -> Option<String> {
    let again = plan.timing.again();
    (!again.are_none()).then(|| {
        format!(
            "An install that fails because the line broke or the time was up, and has changed nothing on the device, is tried \
             again up to {}, after {} and then twice as long, at most {}. What the installer itself calls a failure is one.",
            count(again.most as usize, "time"),
            again.first,
            again.longest
        )
    })
}
