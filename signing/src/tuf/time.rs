//! Moments as TUF metadata writes them: UTC, whole seconds (TUF 1.0.34, section 4.2.1).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A moment, Unix seconds. Text form: "2026-11-24T09:30:00Z". This crate asks no clock: the shells pass it in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Moment(i64);

/// Why a text is no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a moment: expected the form 2026-11-24T09:30:00Z")]
pub struct InvalidMoment(String);

const DAY: i64 = 86_400;

impl Moment {
    /// 1970: before every expiry.
    pub const EARLIEST: Self = Self(0);
    /// The last that four digits of a year can write.
    pub const LATEST: Self = Self(253_402_300_799);

    /// From Unix seconds, of the years 1970 to 9999.
    #[cfg(test)]
    pub(super) const fn from_seconds(seconds: i64) -> Self {
        Self(seconds)
    }

    /// From Unix milliseconds, rounded down; held within the years 1970 to 9999.
    #[must_use]
    pub fn from_ms(ms: i64) -> Self {
        Self(ms.div_euclid(1000)).clamp(Self::EARLIEST, Self::LATEST)
    }

    /// Unix milliseconds.
    #[must_use]
    pub const fn ms(self) -> i64 {
        self.0 * 1000
    }

    /// Later by so many seconds, at most [`Moment::LATEST`].
    #[must_use]
    pub fn plus_seconds(self, seconds: u32) -> Self {
        Self(self.0 + i64::from(seconds)).min(Self::LATEST)
    }
}

/// Civil date of a day counted from 1970-01-01 (H. Hinnant, "chrono-compatible low-level date algorithms").
fn civil(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, of_year - (153 * shifted_month + 2) / 5 + 1)
}

/// Its inverse.
fn day_of(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.0.div_euclid(DAY));
        let second = self.0.rem_euclid(DAY);
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
    }
}

impl FromStr for Moment {
    type Err = InvalidMoment;
    fn from_str(text: &str) -> Result<Self, InvalidMoment> {
        let number = |range: std::ops::Range<usize>| {
            let digits = text.get(range)?;
            digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<i64>().ok())?
        };
        let parsed = || {
            let days = day_of(number(0..4)?, number(5..7)?, number(8..10)?);
            Some(Self(days * DAY + number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?))
        };
        // Writing it again refuses every other spelling, and dates that do not exist.
        parsed()
            .filter(|moment| *moment >= Self::EARLIEST && moment.to_string() == text)
            .ok_or_else(|| InvalidMoment(text.chars().take(40).collect()))
    }
}

impl TryFrom<String> for Moment {
    type Error = InvalidMoment;
    fn try_from(text: String) -> Result<Self, InvalidMoment> {
        text.parse()
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.to_string()
    }
}
