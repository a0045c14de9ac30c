//! Maintenance windows and change freezes, as plans and site files say them: times on the wall clock of a site.
//!
//! What they mean at a moment, daylight saving included, is in `crate::window`.

use std::{fmt, str::FromStr};

use jiff::civil;
use serde::{Deserialize, Serialize};

use super::Timestamp;

/// Most windows of one list: a week has seven nights.
pub const WINDOWS_MAX: usize = 32;
/// Most freezes of one list.
pub const FREEZES_MAX: usize = 32;
/// Longest freeze, days: whoever freezes a year means to cancel.
pub const FREEZE_DAYS_MAX: i32 = 366;
/// Longest reason of a freeze, bytes: it stands in one line of every list.
pub const FREEZE_REASON_BYTES_MAX: usize = 200;
/// Longest name of a time zone, bytes; the longest of IANA has 32.
const ZONE_BYTES_MAX: usize = 64;
/// Years of a freeze: a slip of the pen must not freeze a century.
const YEARS: std::ops::RangeInclusive<i16> = 2000..=2199;
/// Minutes of a day.
const DAY_MINUTES: u16 = 24 * 60;

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Day {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

impl Day {
    /// All, with the words of plans and site files.
    pub const ALL: [(&'static str, Self); 7] = [
        ("mon", Self::Mon),
        ("tue", Self::Tue),
        ("wed", Self::Wed),
        ("thu", Self::Thu),
        ("fri", Self::Fri),
        ("sat", Self::Sat),
        ("sun", Self::Sun),
    ];

    /// The word in plans and site files.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL[self as usize].0
    }
}

/// A time on the wall clock, in whole minutes: "00:00" to "24:00".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClockTime(u16);

impl ClockTime {
    /// The end of the day, which is the beginning of the next.
    pub const MIDNIGHT: Self = Self(DAY_MINUTES);

    /// Minutes since the beginning of the day, 0 to 1440.
    #[must_use]
    pub fn minutes(self) -> u16 {
        self.0
    }
}

impl FromStr for ClockTime {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| -> Option<u16> {
            (digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok()).flatten()
        };
        let parts = text.split_once(':').and_then(|(hours, minutes)| Some((number(hours)?, number(minutes)?)));
        let minutes = parts.filter(|(_, minutes)| *minutes < 60).map(|(hours, minutes)| hours * 60 + minutes);
        minutes
            .filter(|minutes| *minutes <= DAY_MINUTES)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no time of day: expected \"00:00\" to \"24:00\""))
    }
}

impl TryFrom<String> for ClockTime {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ClockTime> for String {
    fn from(time: ClockTime) -> Self {
        time.to_string()
    }
}

impl fmt::Display for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// A day of the calendar: "2026-12-20".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CalendarDate(civil::Date);

impl CalendarDate {
    pub(crate) fn civil(self) -> civil::Date {
        self.0
    }

    /// The day that the clock of UTC shows at this moment; `None` when no calendar reaches so far.
    #[must_use]
    pub fn in_utc(at: Timestamp) -> Option<Self> {
        let instant = jiff::Timestamp::from_millisecond(at.0).ok()?;
        Some(Self(jiff::tz::TimeZone::UTC.to_datetime(instant).date()))
    }
}

impl FromStr for CalendarDate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no date: expected year-month-day, such as \"2026-12-20\"");
        let numbers: Vec<i16> = text.split('-').map(str::parse).collect::<Result<_, _>>().map_err(|_| bad())?;
        let [year, month, day] = numbers[..] else { return Err(bad()) };
        let part = |n: i16| i8::try_from(n).map_err(|_| bad());
        let date = civil::Date::new(year, part(month)?, part(day)?).map_err(|_| bad())?;
        // Also refuses what the calendar would take but people don't write, such as "2026-1-2".
        if !YEARS.contains(&year) || date.to_string() != text {
            return Err(bad());
        }
        Ok(Self(date))
    }
}

impl TryFrom<String> for CalendarDate {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<CalendarDate> for String {
    fn from(date: CalendarDate) -> Self {
        date.to_string()
    }
}

impl fmt::Display for CalendarDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// When work may be done, each week anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Days on which it begins; none named means every day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<Day>,
    /// Beginning.
    pub from: ClockTime,
    /// End; one that is not after the beginning is that of the next day.
    pub to: ClockTime,
}

impl Window {
    /// What makes no sense in it: field, sentence, hint.
    #[must_use]
    pub fn fault(&self) -> Option<(&'static str, String, &'static str)> {
        let mut days = self.days.clone();
        days.sort_unstable();
        days.dedup();
        if days.len() < self.days.len() {
            return Some(("days", "a day is named twice".to_owned(), "name each day once"));
        }
        if self.from == ClockTime::MIDNIGHT {
            return Some(("from", "24:00 is the end of a day".to_owned(), "write 00:00, of the day after"));
        }
        if self.from == self.to {
            let message = format!("the window begins and ends at {}: it would never be open", self.to);
            return Some(("to", message, "for whole days write from \"00:00\" to \"24:00\""));
        }
        None
    }
}

/// Days on which nothing may begin, first and last included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// First day.
    pub from: CalendarDate,
    /// Last day.
    pub to: CalendarDate,
    /// Why, one line.
    pub reason: String,
}

impl Freeze {
    /// What makes no sense in it: field, sentence, hint.
    #[must_use]
    pub fn fault(&self) -> Option<(&'static str, String, &'static str)> {
        let (from, to) = (self.from, self.to);
        if to < from {
            return Some(("to", format!("the freeze ends on {to}, before it begins on {from}"), "swap the two"));
        }
        let days = to.civil().duration_since(from.civil()).as_hours() / 24;
        if days >= i64::from(FREEZE_DAYS_MAX) {
            let message = format!("the freeze has {} days; at most {FREEZE_DAYS_MAX} are allowed", days + 1);
            return Some(("to", message, "is the year right?"));
        }
        let reason = &self.reason;
        if reason.trim().is_empty()
            || reason.len() > FREEZE_REASON_BYTES_MAX
            || reason.chars().any(wardround_signing::is_hidden)
        {
            let message = format!("the reason is not one plain line of 1 to {FREEZE_REASON_BYTES_MAX} bytes");
            return Some(("reason", message, "say in a few words why nothing may change"));
        }
        None
    }
}

/// Name of a time zone of the IANA database ("Europe/London").
///
/// A name that is read from a file must be known; one that comes from elsewhere need not be, since another program's
/// database may be newer. Where it is not known, windows count as closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeZoneName(String);

impl TimeZoneName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TimeZoneName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let name = Self::try_from(text.to_owned())?;
        let known = crate::window::known_zone(&name);
        known.map(Self).ok_or_else(|| format!("{text:?} is no time zone of the IANA database"))
    }
}

impl TryFrom<String> for TimeZoneName {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/_+-".contains(&b);
        if text.is_empty() || text.len() > ZONE_BYTES_MAX || !text.bytes().all(plain) {
            return Err(format!("{text:?} is no name of a time zone, such as \"Europe/London\""));
        }
        Ok(Self(text))
    }
}

impl From<TimeZoneName> for String {
    fn from(name: TimeZoneName) -> Self {
        name.0
    }
}

impl fmt::Display for TimeZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// When a site allows work, and by which clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SiteHours {
    /// By whose wall clock windows and freezes are read, the plan's too; absent means UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<TimeZoneName>,
    /// When the site allows work; none means always.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    /// When it allows none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub freezes: Vec<Freeze>,
}

impl SiteHours {
    /// True when the site says nothing of its hours.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_dates_and_zones_read_and_print() {
        for good in ["00:00", "05:30", "23:59", "24:00"] {
            assert_eq!(good.parse::<ClockTime>().unwrap().to_string(), good);
        }
        for bad in ["24:01", "22:60", "9:00", "2200", "22:00:00", "-1:00", "+9:00", ""] {
            assert!(bad.parse::<ClockTime>().is_err(), "{bad}");
        }
        assert_eq!("2028-02-29".parse::<CalendarDate>().unwrap().to_string(), "2028-02-29");
        for bad in ["2027-02-29", "2026-13-01", "26-12-20", "2026-1-2", "20-12-2026", "9999-01-01", "2026-12-20T00:00"]
        {
            assert!(bad.parse::<CalendarDate>().is_err(), "{bad}");
        }
        assert_eq!("europe/london".parse::<TimeZoneName>().unwrap().as_str(), "Europe/London");
        for bad in ["Europe/Londn", "GMT+25", "Europe London", ""] {
            assert!(bad.parse::<TimeZoneName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_zone_that_only_another_program_knows_can_still_be_carried() {
        let name: TimeZoneName = serde_json::from_str("\"Mars/Olympus\"").unwrap();
        assert_eq!(serde_json::to_string(&name).unwrap(), "\"Mars/Olympus\"");
        assert!(serde_json::from_str::<TimeZoneName>("\"a b\"").is_err());
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let window = |days: &[Day], from: &str, to: &str| Window {
            days: days.to_vec(),
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
        };
        assert!(window(&[], "22:00", "05:00").fault().is_none());
        assert!(window(&[Day::Sat], "00:00", "24:00").fault().is_none());
        assert_eq!(window(&[], "22:00", "22:00").fault().unwrap().0, "to");
        assert_eq!(window(&[], "24:00", "05:00").fault().unwrap().0, "from");
        assert_eq!(window(&[Day::Sat, Day::Sat], "22:00", "05:00").fault().unwrap().0, "days");
        let freeze = |from: &str, to: &str, reason: &str| Freeze {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            reason: reason.to_owned(),
        };
        assert!(freeze("2026-12-20", "2026-12-20", "go-live").fault().is_none());
        assert_eq!(freeze("2026-12-20", "2026-12-19", "go-live").fault().unwrap().0, "to");
        assert!(freeze("2026-01-01", "2027-01-01", "go-live").fault().is_none());
        assert_eq!(freeze("2026-01-01", "2027-01-02", "go-live").fault().unwrap().0, "to");
        assert_eq!(freeze("2026-12-20", "2026-12-21", " ").fault().unwrap().0, "reason");
    }
}
