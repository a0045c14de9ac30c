//! Hours of a site: its time zone, its windows and its freezes.

use serde_saphyr::Spanned;
use wardround_rollout_plans::model::{Day, FREEZES_MAX, Freeze, SiteHours, WINDOWS_MAX, Window};

use super::{
    raw::{RawFreeze, RawWindow, Text},
    validate::{Checked, Validator},
};

const TIME_HINT: &str = "hours and minutes in quotes: \"22:00\"";
const DATE_HINT: &str = "year-month-day: 2026-12-20";

/// A list whose items keep their places.
type List<T> = Spanned<Vec<Spanned<T>>>;

impl Validator<'_> {
    pub(super) fn hours(
        &self,
        time_zone: Option<&Text>,
        windows: Option<&List<RawWindow>>,
        freezes: Option<&List<RawFreeze>>,
    ) -> Checked<SiteHours> {
        let time_zone = match time_zone {
            None => None,
            Some(text) => {
                let hint = "a name such as Europe/London; those of Windows are others";
                Some(self.hinted(text, "time_zone", hint)?)
            }
        };
        let freezes = match freezes {
            None => Vec::new(),
            Some(list) if list.value.len() > FREEZES_MAX => {
                let message = format!("there are {} freezes; at most {FREEZES_MAX} are allowed", list.value.len());
                return self.fail(list, "freezes", message, "join those that follow upon each other");
            }
            Some(list) => {
                list.value.iter().enumerate().map(|(n, f)| self.freeze(&f.value, n)).collect::<Checked<_>>()?
            }
        };
        Ok(SiteHours { time_zone, windows: self.windows(windows, "windows")?, freezes })
    }

    pub(super) fn windows(&self, list: Option<&List<RawWindow>>, field: &str) -> Checked<Vec<Window>> {
        let Some(list) = list else { return Ok(Vec::new()) };
        // Without an item it would read as "never" and mean "always".
        if list.value.is_empty() || list.value.len() > WINDOWS_MAX {
            let message = format!("{} windows are named; expected 1 to {WINDOWS_MAX}", list.value.len());
            return self.fail(list, field, message, "remove the line if work is allowed at any time");
        }
        list.value.iter().enumerate().map(|(n, w)| self.window(w, &format!("{field}[{n}]"))).collect()
    }

    fn window(&self, raw: &Spanned<RawWindow>, field: &str) -> Checked<Window> {
        let RawWindow { days, from, to } = &raw.value;
        self.window_of(days.as_ref(), from, to, field)
    }

    pub(super) fn window_of(
        &self,
        days: Option<&Spanned<Vec<Text>>>,
        from: &Text,
        to: &Text,
        field: &str,
    ) -> Checked<Window> {
        let day = |text: &Text| match Day::ALL.iter().find(|(word, _)| *word == text.value) {
            Some((_, day)) => Ok(*day),
            None => {
                let message = format!("{:?} is no day", text.value);
                self.fail(text, &format!("{field}.days"), message, "write mon, tue, wed, thu, fri, sat or sun")
            }
        };
        let named = match days {
            None => Vec::new(),
            Some(list) if list.value.is_empty() => {
                let hint = "remove the line for every day";
                return self.fail(list, &format!("{field}.days"), "no day is named", hint);
            }
            Some(list) => list.value.iter().map(day).collect::<Checked<_>>()?,
        };
        let window = Window {
            days: named,
            from: self.hinted(from, &format!("{field}.from"), TIME_HINT)?,
            to: self.hinted(to, &format!("{field}.to"), TIME_HINT)?,
        };
        match window.fault() {
            None => Ok(window),
            Some((name, message, hint)) => {
                let field = format!("{field}.{name}");
                match (name, days) {
                    ("days", Some(days)) => self.fail(days, &field, message, hint),
                    ("from", _) => self.fail(from, &field, message, hint),
                    _ => self.fail(to, &field, message, hint),
                }
            }
        }
    }

    fn freeze(&self, raw: &RawFreeze, index: usize) -> Checked<Freeze> {
        let field = |name: &str| format!("freezes[{index}].{name}");
        let freeze = Freeze {
            from: self.hinted(&raw.from, &field("from"), DATE_HINT)?,
            to: self.hinted(&raw.to, &field("to"), DATE_HINT)?,
            reason: raw.reason.value.clone(),
        };
        match freeze.fault() {
            None => Ok(freeze),
            Some((name, message, hint)) => {
                self.fail(if name == "reason" { &raw.reason } else { &raw.to }, &field(name), message, hint)
            }
        }
    }

    /// As [`Validator::parsed`], with a way out.
    fn hinted<T: std::str::FromStr<Err: std::fmt::Display>>(&self, text: &Text, field: &str, hint: &str) -> Checked<T> {
        text.value.parse().or_else(|error: T::Err| self.fail(text, field, error.to_string(), hint))
    }
}
