//! Moments for people and for programs.

use jiff::{Timestamp, ZonedDateTime};
use wardround_rollout_plans::model::DurationMs;

/// Now, Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// RFC 3339 in UTC; `None` for 0, which the API uses for "not yet".
pub(crate) fn rfc3339(ms: i64) -> Option<String> {
    (ms != 0).then(|| Timestamp::from_millisecond(ms).ok()).flatten().map(|at| at.to_string())
}

/// For people: the local clock, with the date unless it is today's. "-" for 0.
pub(crate) fn local(ms: i64) -> String {
    let Some(at) = (ms != 0).then(|| Timestamp::from_millisecond(ms).ok()).flatten() else {
        return "-".into();
    };
    let here = at.to_zoned_datetime(jiff::tz::TimeZone::system());
    let format = if here.date() == ZonedDateTime::now().date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M" };
    here.strftime(format).to_string()
}

/// "2m 5s": how long ago.
pub(crate) fn ago(ms: i64) -> String {
    length(now_ms().saturating_sub(ms))
}

/// A length of time, to the second above one second.
pub(crate) fn length(ms: i64) -> String {
    let ms = u64::try_from(ms).unwrap_or(0);
    DurationMs(if ms >= 1000 { ms / 1000 * 1000 } else { ms }).to_string()
}
