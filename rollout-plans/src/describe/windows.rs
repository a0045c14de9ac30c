//! Windows and freezes in plain words.

use crate::{
    language::shown,
    model::{Day, Freeze, Plan, Window},
};

/// When installs of a plan may begin: one line for each rule.
#[must_use]
pub fn window_lines(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    let room = plan.timing.room();
    let narrowed: Vec<_> = plan.waves.iter().filter(|wave| !wave.windows.is_empty()).collect();
    if plan.windows.is_empty() && narrowed.len() < plan.waves.len() {
        let which = if narrowed.is_empty() { "Installs" } else { "Installs of the other waves" };
        lines.push(format!("{which} may begin at any hour of any day: the plan names no maintenance windows."));
    } else if !plan.windows.is_empty() {
        lines.push(format!("Installs begin only {}.", window_words(&plan.windows)));
    }
    for wave in &narrowed {
        let beside = if plan.windows.is_empty() { "" } else { ", and only when the plan's windows are open too" };
        lines.push(format!("Installs of wave {} begin only {}{beside}.", wave.name, window_words(&wave.windows)));
    }
    if !(plan.windows.is_empty() && narrowed.is_empty()) {
        lines.push(format!("The window must stay open for another {room}, which an install with its reboot may take."));
    }
    lines.extend(plan.freezes.iter().map(freeze_words));
    if !(plan.windows.is_empty() && narrowed.is_empty() && plan.freezes.is_empty()) {
        lines.push(
            "All of this goes by the clock of each site. What has begun is finished; taking back never waits.".into(),
        );
    }
    lines
}

/// "from Mon to Fri from 22:00 to 05:00 of the next day, or on Sat and Sun from 00:00 to 24:00".
#[must_use]
pub fn window_words(windows: &[Window]) -> String {
    let words = |w: &Window| {
        let next = if w.to <= w.from { " of the next day" } else { "" };
        format!("{} from {} to {}{next}", days(&w.days), w.from, w.to)
    };
    windows.iter().map(words).collect::<Vec<_>>().join(", or ")
}

/// "None begins from 2026-12-20 to 2027-01-04, first and last day included: year end."
fn freeze_words(freeze: &Freeze) -> String {
    let reason = shown(&freeze.reason);
    if freeze.from == freeze.to {
        return format!("None begins on {}: {reason}.", freeze.from);
    }
    format!("None begins from {} to {}, both days included: {reason}.", freeze.from, freeze.to)
}

fn days(named: &[Day]) -> String {
    let mut days = named.to_vec();
    days.sort_unstable();
    days.dedup();
    let word = |day: &Day| {
        let mut chars = day.word().chars();
        chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
    };
    match days.as_slice() {
        [] => "every day".to_owned(),
        all if all.len() == Day::ALL.len() => "every day".to_owned(),
        [first, .., last] if days.len() > 2 && *last as usize - *first as usize + 1 == days.len() => {
            format!("from {} to {}", word(first), word(last))
        }
        some => format!("on {}", some.iter().map(word).collect::<Vec<_>>().join(" and ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_read_as_people_say_them() {
        use Day::{Fri, Mon, Sat, Sun, Thu, Tue, Wed};
        for (named, words) in [
            (&[][..], "every day"),
            (&[Mon, Tue, Wed, Thu, Fri, Sat, Sun], "every day"),
            (&[Fri, Mon, Tue, Wed, Thu], "from Mon to Fri"),
            (&[Sat, Sun], "on Sat and Sun"),
            (&[Mon, Wed, Sun], "on Mon and Wed and Sun"),
        ] {
            assert_eq!(days(named), words);
        }
    }
}
