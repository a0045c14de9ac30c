//! When somebody is on call, against the hours in which a plan installs: an ordinary week, minute by minute.

use crate::model::{Day, DurationMs, Plan, WavePlan, Window};

/// Minutes of a week.
const WEEK: usize = 7 * 24 * 60;

/// When something happens while nobody is on call, by the clock of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Alone {
    /// An install may begin then ("Sat 22:00").
    Begins(String),
    /// An install that begins then is still watched when nobody is on call any more.
    Soaks(String),
}

/// The first moment of the week at which an install of the wave would begin, or else soak, with nobody on call.
pub(super) fn alone(plan: &Plan, wave: &WavePlan) -> Option<Alone> {
    let on_call = minutes(&plan.on_call);
    let (of_plan, of_wave) = (minutes(&plan.windows), minutes(&wave.windows));
    let begins = || (0..WEEK).filter(|at| of_plan[*at] && of_wave[*at]);
    if let Some(at) = begins().find(|at| !on_call[*at]) {
        return Some(Alone::Begins(shown(at)));
    }
    let watched = DurationMs(plan.timing.room().0.saturating_add(wave.soak.0));
    let watched = usize::try_from(watched.0.div_ceil(60_000)).unwrap_or(usize::MAX);
    let left = left_on_call(&on_call);
    begins().find(|at| left[*at] < watched).map(|at| Alone::Soaks(shown(at)))
}

/// For each minute, how many minutes from it on somebody is on call without a break; a week and more is for ever.
fn left_on_call(on_call: &[bool]) -> Vec<usize> {
    if on_call.iter().all(|on| *on) {
        return vec![usize::MAX; WEEK];
    }
    let mut left = vec![0; WEEK];
    // Twice round, since the week has no end.
    for at in (0..WEEK).chain(0..WEEK).rev() {
        left[at] = if on_call[at] { left[(at + 1) % WEEK] + 1 } else { 0 };
    }
    left
}

/// Which minutes of the week one of the windows covers; without windows all.
fn minutes(windows: &[Window]) -> Vec<bool> {
    let mut covered = vec![windows.is_empty(); WEEK];
    for window in windows {
        let days =
            Day::ALL.iter().enumerate().filter(|(_, (_, day))| window.days.is_empty() || window.days.contains(day));
        let (from, to) = (usize::from(window.from.minutes()), usize::from(window.to.minutes()));
        let length = if to > from { to - from } else { to + 24 * 60 - from };
        for (day, _) in days {
            let begin = day * 24 * 60 + from;
            (begin..begin + length).for_each(|at| covered[at % WEEK] = true);
        }
    }
    covered
}

/// "Sat 22:00".
fn shown(at: usize) -> String {
    let word = Day::ALL[at / (24 * 60)].0;
    let day = word[..1].to_uppercase() + &word[1..];
    format!("{day} {:02}:{:02}", at / 60 % 24, at % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::parse_plan;

    fn asked(on_call: &str, windows: &str, soak: &str) -> Option<Alone> {
        let yaml = format!(
            "name: t\non_call: [{on_call}]\nwindows: [{windows}]\nwaves:\n  - {{ name: a, select: {{ remaining: true }}, soak: {soak} }}\n"
        );
        let plan = parse_plan(&yaml, "plan.yaml").unwrap().plan;
        alone(&plan, &plan.waves[0])
    }

    #[test]
    fn hours_of_people_and_of_installs() {
        let nights = "{ days: [mon, tue], from: \"22:00\", to: \"02:00\" }";
        let always = "{ from: \"00:00\", to: \"24:00\" }";
        let begins = |text: &str| Some(Alone::Begins(text.to_owned()));
        let soaks = |text: &str| Some(Alone::Soaks(text.to_owned()));
        assert_eq!(asked(always, nights, "90d"), None, "always is for ever");
        assert_eq!(
            asked("{ days: [mon, tue, wed], from: \"08:00\", to: \"20:00\" }", nights, "1h"),
            begins("Mon 22:00")
        );
        // The second night runs into Wednesday.
        let to_tuesday = "{ days: [mon, tue], from: \"00:00\", to: \"24:00\" }";
        assert_eq!(asked(to_tuesday, nights, "1h"), begins("Wed 00:00"));
        let to_wednesday = "{ days: [mon, tue, wed], from: \"00:00\", to: \"24:00\" }";
        assert_eq!(asked(to_wednesday, nights, "8h"), None);
        // 22:00 on Tuesday and 45 minutes of install leave 25 hours and 15 minutes.
        assert_eq!(
            asked(to_wednesday, "{ days: [tue], from: \"22:00\", to: \"23:00\" }", "25h15m"),
            soaks("Tue 22:01")
        );
        assert_eq!(asked(to_wednesday, "{ days: [tue], from: \"22:00\", to: \"23:00\" }", "24h"), None);
        // Round the end of the week.
        let weekend = "{ days: [sat], from: \"00:00\", to: \"24:00\" }, { days: [sun], from: \"00:00\", to: \"24:00\" }, { days: [mon], from: \"00:00\", to: \"06:00\" }";
        assert_eq!(asked(weekend, "{ days: [sun], from: \"22:00\", to: \"23:00\" }", "6h"), None);
        assert_eq!(asked(weekend, "{ days: [sun], from: \"22:00\", to: \"23:00\" }", "8h"), soaks("Sun 22:00"));
    }
}
