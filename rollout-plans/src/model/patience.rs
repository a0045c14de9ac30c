//! How long a plan waits: for what has not begun, for sites that do not answer, and before a failed install is tried again.
//!
//! Nothing here ever forces an install, and nothing that is left out counts as a success.

use serde::{Deserialize, Serialize};
use wardround_signing::Digest;

use super::{CalendarDate, DurationMs, Timestamp};

/// By when a wave must have begun with all its devices. One of `by` and `after` is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deadline {
    /// This moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Timestamp>,
    /// So long after the wave began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<DurationMs>,
    /// What becomes of what has not begun by then.
    #[serde(default)]
    pub then: Late,
}

/// What becomes of devices that have not begun when a deadline is over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Late {
    /// An alarm shows them, and the wave goes on.
    #[default]
    Alarm,
    /// They are left out: skipped, with the reason.
    LeaveOut,
}

impl Deadline {
    /// Both words of a plan.
    pub const WORDS: [(&'static str, Late); 2] = [("alarm", Late::Alarm), ("leave_out", Late::LeaveOut)];

    /// The moment, for a wave that began at `began`: the earlier of both where both are named.
    #[must_use]
    pub fn at(&self, began: Timestamp) -> Option<Timestamp> {
        self.by.into_iter().chain(self.after.map(|after| began.after(after))).min()
    }

    /// The moment from which on a node begins nothing more of the wave, as far as the plan alone tells it.
    #[must_use]
    pub fn begin_by(&self) -> Option<Timestamp> {
        self.by.filter(|_| self.then == Late::LeaveOut)
    }

    /// What makes no sense in it: sentence, hint.
    #[must_use]
    pub fn fault(&self) -> Option<(&'static str, &'static str)> {
        match (self.by, self.after) {
            (None, None) => Some(("it names no moment", "add `by: 2026-12-19`, or `after: 3d` since the wave began")),
            (Some(_), Some(_)) => Some(("it names two moments", "keep one of `by` and `after`")),
            (Some(by), None) if !is_readable(by) => Some(("no calendar of ours has that moment", "is the year right?")),
            _ => None,
        }
    }
}

fn is_readable(at: Timestamp) -> bool {
    let first: i64 = 946_684_800_000; // 2000-01-01
    let last: i64 = 7_258_118_400_000; // 2200-01-01
    (first..=last).contains(&at.0)
}

/// Reads the moment of a deadline: a time of RFC 3339 with its offset, or a day, which is over when it is over in UTC.
///
/// # Errors
/// A sentence that names the forms wanted.
pub fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(day) = text.parse::<CalendarDate>() {
        let next = day.civil().tomorrow().ok().map(|day| day.to_datetime(jiff::civil::Time::midnight()));
        if let Some(next) = next.and_then(|next| jiff::tz::Offset::UTC.to_timestamp(next).ok()) {
            return Ok(Timestamp(next.as_millisecond()));
        }
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(at) if is_readable(Timestamp(at.as_millisecond())) => Ok(Timestamp(at.as_millisecond())),
        _ => Err(format!(
            "{text:?} is no moment: expected a day (2026-12-19) or a time with its offset (2026-12-19T18:00:00+01:00)"
        )),
    }
}

/// "2026-12-20 00:00 UTC", for people; a number where no calendar reaches so far.
#[must_use]
pub fn moment_words(at: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(at.0) {
        Ok(instant) => {
            let shown = jiff::tz::TimeZone::UTC.to_datetime(instant);
            format!("{} {:02}:{:02} UTC", shown.date(), shown.hour(), shown.minute())
        }
        Err(_) => format!("{} ms", at.0),
    }
}

/// What becomes of devices whose site does not answer, counted from when it counts as silent or, if that is later, from the
/// beginning of the wave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offline {
    /// A person hears of a site that the wave waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm_after: Option<DurationMs>,
    /// Devices there that have not begun are left out. What may have begun stays unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leave_out_after: Option<DurationMs>,
}

impl Offline {
    /// What makes no sense in it: sentence, hint.
    #[must_use]
    pub fn fault(&self) -> Option<(&'static str, &'static str)> {
        match (self.alarm_after, self.leave_out_after) {
            (None, None) => Some(("it says nothing", "add `alarm_after: 2h`, or `leave_out_after: 3d`, or both")),
            (Some(alarm), Some(out)) if alarm > out => {
                Some(("the alarm would come when nothing is left to wait for", "alarm before devices are left out"))
            }
            _ => None,
        }
    }
}

/// How a node tries a failed install again by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retries {
    /// So often.
    pub most: u32,
    /// Before the first; the wait doubles with each.
    pub first: DurationMs,
    /// Longest wait.
    pub longest: DurationMs,
}

impl Retries {
    /// Most that a plan may ask for: what still fails then does not fail by chance.
    pub const MOST: u32 = 10;

    pub(super) fn default_first() -> DurationMs {
        DurationMs::from_secs(60)
    }

    pub(super) fn default_longest() -> DurationMs {
        DurationMs::from_secs(30 * 60)
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if hands out a reference")]
    pub(super) fn is_default_first(wait: &DurationMs) -> bool {
        *wait == Self::default_first()
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if hands out a reference")]
    pub(super) fn is_default_longest(wait: &DurationMs) -> bool {
        *wait == Self::default_longest()
    }

    /// True when nothing is tried again.
    #[must_use]
    pub fn are_none(&self) -> bool {
        self.most == 0
    }

    /// The wait before the try of this number, from 1. It doubles up to [`Retries::longest`], and is shorter by up to a
    /// quarter, by a hash of `who`: devices that failed together are not tried again together, and the same device waits the
    /// same time whoever reckons.
    #[must_use]
    pub fn wait(&self, number: u32, who: &str) -> DurationMs {
        let doubled = self.first.0.saturating_mul(1_u64 << number.saturating_sub(1).min(31));
        let whole = doubled.min(self.longest.0);
        let hash = Digest::of(format!("retry {number} {who}").as_bytes());
        let part = u64::from(hash.as_bytes()[0]);
        DurationMs(whole - whole / 4 * part / 256)
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self { most: 0, first: Self::default_first(), longest: Self::default_longest() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_and_print() {
        for (text, shown) in [
            ("2026-12-19", "2026-12-20 00:00 UTC"),
            ("2026-12-19T18:00:00+01:00", "2026-12-19 17:00 UTC"),
            ("2026-12-19T18:00:00Z", "2026-12-19 18:00 UTC"),
            ("2026-12-31", "2027-01-01 00:00 UTC"),
        ] {
            assert_eq!(moment_words(moment(text).unwrap()), shown, "{text}");
        }
        for bad in ["2026-12-32", "19.12.2026", "2026-12-19T18:00:00", "18:00", "tomorrow", "", "1999-12-30T00:00:00Z"]
        {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_deadline_is_counted_from_the_beginning_or_is_a_moment() {
        let began = Timestamp(1_000);
        let deadline = |by, after| Deadline { by, after, then: Late::LeaveOut };
        assert_eq!(deadline(Some(Timestamp(5)), None).at(began), Some(Timestamp(5)));
        assert_eq!(deadline(None, Some(DurationMs(500))).at(began), Some(Timestamp(1_500)));
        assert!(deadline(None, None).fault().is_some());
        assert_eq!(deadline(None, Some(DurationMs(500))).begin_by(), None, "no node knows when a wave began");
    }

    #[test]
    fn waits_double_up_to_the_longest_and_differ_by_device() {
        let retries = Retries { most: 9, first: DurationMs(60_000), longest: DurationMs(600_000) };
        for (number, whole) in [(1, 60_000), (2, 120_000), (3, 240_000), (4, 480_000), (5, 600_000), (40, 600_000)] {
            for device in ["rx1/ct-01", "rx1/ct-02", "rx9/lab"] {
                let wait = retries.wait(number, device);
                assert!(wait.0 <= whole && wait.0 > whole / 4 * 3, "{number} {device}: {wait}");
                assert_eq!(wait, retries.wait(number, device));
            }
        }
        assert_ne!(retries.wait(1, "rx1/ct-01"), retries.wait(1, "rx1/ct-02"));
    }
}
