//! Write filters of embedded Windows: reading what their tools print, and the way from one state to another.
//!
//! While a filter is on, whatever is written lies in an overlay that the next restart throws away: a patch installs well, and is
//! gone. So it is turned off, the device restarts, the patch comes, the filter is turned on, and the device restarts again.
//! Sources: Microsoft, "EWF Manager Commands" (ms940853) and "FBWF Manager" (aa940817, ff794500).

use crate::config::{FilterKind, WriteFilter};

/// A filter as its tool shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterState {
    /// It protects the volume now.
    pub now: bool,
    /// It will after the next restart.
    pub next: bool,
    /// Its settings lie on the volume that it protects (EWF RAM Reg): turning it off must be committed with the overlay.
    pub on_itself: bool,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterStep {
    /// It is as wanted.
    Done,
    /// Run this line.
    Run(String),
    /// Restart the device.
    Restart,
}

/// Registry keys of the filters' drivers: where neither is there, no filter is.
pub const DRIVERS: [(FilterKind, &str); 2] = [
    (FilterKind::Ewf, r"HKLM\SYSTEM\CurrentControlSet\Services\EWF"),
    (FilterKind::Fbwf, r"HKLM\SYSTEM\CurrentControlSet\Services\FBWF"),
];

/// The line that shows the filter's state.
#[must_use]
pub fn show(filter: WriteFilter) -> String {
    match filter.kind {
        FilterKind::Ewf => format!("ewfmgr {}:", filter.volume),
        FilterKind::Fbwf => "fbwfmgr /displayconfig".to_owned(),
    }
}

/// What the tool printed; `None` where it is not understood, which is no "off".
#[must_use]
pub fn read(kind: FilterKind, output: &str) -> Option<FilterState> {
    match kind {
        FilterKind::Ewf => ewf(output),
        FilterKind::Fbwf => fbwf(output),
    }
}

/// " State           ENABLED", " Boot Command    NO_CMD", " Type            RAM (REG)".
fn ewf(output: &str) -> Option<FilterState> {
    let field = |name: &str| {
        output.lines().find_map(|line| {
            let rest = line.trim().strip_prefix(name)?;
            rest.starts_with([' ', '\t', ':', '.'])
                .then(|| rest.trim_matches([' ', '\t', ':', '.']).to_ascii_uppercase())
        })
    };
    let now = switch(&field("State")?)?;
    let command = field("Boot Command")?.replace(['_', ' '], "");
    let next = match command.as_str() {
        "NOCMD" | "COMMIT" => now,
        "DISABLE" | "COMMITDISABLE" | "COMMITANDDISABLE" => false,
        "ENABLE" => true,
        _ => return None,
    };
    let on_itself = field("Type").is_some_and(|kind| kind.contains("REG"));
    Some(FilterState { now, next, on_itself })
}

/// Two parts, for this session and the next, with "filter state: enabled." each.
fn fbwf(output: &str) -> Option<FilterState> {
    let lower = output.to_ascii_lowercase();
    let mut states = lower.lines().filter_map(|line| {
        let (_, state) = line.split_once("filter state:")?;
        Some(switch(&state.trim().trim_end_matches('.').to_ascii_uppercase()))
    });
    match (states.next()?, states.next()?, states.next()) {
        (Some(now), Some(next), None) => Some(FilterState { now, next, on_itself: false }),
        _ => None,
    }
}

fn switch(word: &str) -> Option<bool> {
    match word {
        "ENABLED" => Some(true),
        "DISABLED" => Some(false),
        _ => None,
    }
}

/// The next step towards `on`. `fresh` says that the device was restarted for this already, so that the overlay holds nothing
/// that somebody tried out and left.
#[must_use]
pub fn towards(on: bool, filter: WriteFilter, state: FilterState, fresh: bool) -> FilterStep {
    let volume = filter.volume;
    match (state.now == on, state.next == on) {
        (true, true) => FilterStep::Done,
        (false, true) => FilterStep::Restart,
        (_, false) => FilterStep::Run(match (filter.kind, on) {
            // What lies in the overlay would be committed with the setting: it is thrown away first.
            (FilterKind::Ewf, false) if state.on_itself && state.now && !fresh => return FilterStep::Restart,
            (FilterKind::Ewf, false) if state.on_itself && state.now => format!("ewfmgr {volume}: -commitanddisable"),
            (FilterKind::Ewf, false) => format!("ewfmgr {volume}: -disable"),
            (FilterKind::Ewf, true) => format!("ewfmgr {volume}: -enable"),
            (FilterKind::Fbwf, false) => "fbwfmgr /disable".to_owned(),
            (FilterKind::Fbwf, true) => "fbwfmgr /enable".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EWF: WriteFilter = WriteFilter { kind: FilterKind::Ewf, volume: 'C' };
    const FBWF: WriteFilter = WriteFilter { kind: FilterKind::Fbwf, volume: 'C' };

    fn state(now: bool, next: bool) -> FilterState {
        FilterState { now, next, on_itself: false }
    }

    #[test]
    fn what_the_tools_print_is_read_or_not_understood() {
        let ewf = |kind: &str, state: &str, command: &str| {
            format!(
                "Protected Volume Configuration\n Type            {kind}\n State           {state}\n Boot Command    {command}\n   Param1        0\n"
            )
        };
        for (text, found) in [
            (ewf("RAM", "ENABLED", "NO_CMD"), Some(state(true, true))),
            (ewf("RAM", "ENABLED", "DISABLE"), Some(state(true, false))),
            (
                ewf("RAM (REG)", "ENABLED", "COMMIT_AND_DISABLE"),
                Some(FilterState { on_itself: true, ..state(true, false) }),
            ),
            (ewf("RAM", "DISABLED", "ENABLE"), Some(state(false, true))),
            (ewf("RAM", "DISABLED", "NO_CMD"), Some(state(false, false))),
            (ewf("RAM", "AKTIVIERT", "NO_CMD"), None),
            (ewf("RAM", "ENABLED", "RESTORE"), None),
            (String::new(), None),
        ] {
            assert_eq!(read(FilterKind::Ewf, &text), found, "{text}");
        }
        let fbwf = |now: &str, next: &str| {
            format!(
                "File-based write filter configuration for the current session:\n    filter state: {now}.\n    overlay cache \
                 threshold: 64 MB.\nFile-based write filter configuration for the next session:\n    filter state: {next}.\n"
            )
        };
        assert_eq!(read(FilterKind::Fbwf, &fbwf("enabled", "disabled")), Some(state(true, false)));
        assert_eq!(read(FilterKind::Fbwf, &fbwf("disabled", "disabled")), Some(state(false, false)));
        for text in ["", "filter state: enabled.", &fbwf("on", "off")] {
            assert_eq!(read(FilterKind::Fbwf, text), None, "{text}");
        }
    }

    /// Follows the steps as a device would, and says how often it restarted.
    fn follow(on: bool, filter: WriteFilter, mut state: FilterState) -> usize {
        let (mut restarts, mut steps) = (0, 0);
        loop {
            steps += 1;
            assert!(steps < 8, "{filter:?} never gets there");
            match towards(on, filter, state, restarts > 0) {
                FilterStep::Done => return restarts,
                FilterStep::Run(_) => state.next = on,
                FilterStep::Restart => {
                    state.now = state.next;
                    restarts += 1;
                }
            }
        }
    }

    #[test]
    fn every_state_leads_to_the_wanted_one_by_as_few_restarts_as_it_takes() {
        for filter in [EWF, FBWF] {
            for (now, next) in [(true, true), (true, false), (false, true), (false, false)] {
                for on in [true, false] {
                    let restarts = follow(on, filter, state(now, next));
                    assert_eq!(restarts, usize::from(now != on), "{filter:?} {now} {next} {on}");
                }
            }
        }
        let on_itself = FilterState { on_itself: true, ..state(true, true) };
        assert_eq!(follow(false, EWF, on_itself), 2, "the overlay is thrown away before the setting is committed");
        assert_eq!(towards(false, EWF, on_itself, true), FilterStep::Run("ewfmgr C: -commitanddisable".into()));
    }
}
