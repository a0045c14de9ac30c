//! How fast the node may fetch, at which hours, and how much room payloads may take up.

use serde_saphyr::Spanned;
use wardround_rollout_plans::{
    model::{DurationMs, SiteHours, TimeZoneName, Timestamp, Window},
    window::{Calendar, Opening},
};

use super::{
    raw::{RawBandwidth, RawCache, Text},
    validate::{Checked, Validator},
};

/// Bytes that payloads may take up when the site file does not say: four of the largest.
pub const CACHE_BYTES_DEFAULT: u64 = 8 << 30;
/// Least and most that a site file may say: a payload of some size, and what a node's disk has at most.
const CACHE_BYTES: std::ops::RangeInclusive<u64> = (64 << 20)..=(16 << 40);
/// Slowest and fastest limit, bits in a second: slower, and a large patch takes weeks; faster is no line.
const RATE_BITS: std::ops::RangeInclusive<u64> = 64_000..=100_000_000_000;
/// Most entries of `hours`: as many as there may be windows.
const HOURS_MAX: usize = wardround_rollout_plans::model::WINDOWS_MAX;

const RATE_HINT: &str = "such as 512kbit/s, 4Mbit/s or 1Gbit/s; unlimited; or 0 for no fetch at all";
const SIZE_HINT: &str = "such as 500MiB or 8GiB";

/// How fast the node may fetch payloads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// At hours that [`Bandwidth::hours`] does not name.
    pub limit: Rate,
    /// Other limits at some hours; the first that names a moment counts.
    pub hours: Vec<RateHours>,
}

/// A limit at some hours of the week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateHours {
    /// When, on the site's clock.
    pub window: Window,
    /// The limit then.
    pub limit: Rate,
}

/// A limit as it is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rate {
    /// As fast as the line is.
    #[default]
    Unlimited,
    /// Bytes in a second; 0 means that nothing is fetched.
    Bytes(u64),
}

/// What a site allows at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// As fast as the line is.
    None,
    /// Bytes in a second, at least 1.
    Rate(u64),
    /// Nothing is fetched.
    Closed {
        /// When that may change, as far as is known.
        until: Option<Timestamp>,
    },
}

impl Bandwidth {
    /// What holds `now`, on the clock of this time zone.
    #[must_use]
    pub fn at(&self, zone: Option<&TimeZoneName>, now: Timestamp) -> Limit {
        let clock = SiteHours { time_zone: zone.cloned(), ..SiteHours::default() };
        let mut changes: Option<Timestamp> = None;
        let mut rate = self.limit;
        for hours in &self.hours {
            let window = std::slice::from_ref(&hours.window);
            let opening = Calendar::always().and("the site's", window, &[]).at_site(&clock, &[]).at(now, DurationMs(0));
            let until = opening.until();
            changes = match (changes, until) {
                (Some(earlier), Some(until)) => Some(earlier.min(until)),
                (known, until) => known.or(until),
            };
            if matches!(opening, Opening::Open { .. }) {
                rate = hours.limit;
                break;
            }
        }
        match rate {
            Rate::Unlimited => Limit::None,
            Rate::Bytes(0) => Limit::Closed { until: changes },
            Rate::Bytes(bytes) => Limit::Rate(bytes),
        }
    }
}

impl Validator<'_> {
    pub(super) fn bandwidth(&self, raw: Option<&RawBandwidth>) -> Checked<Bandwidth> {
        let Some(raw) = raw else { return Ok(Bandwidth::default()) };
        let limit = match &raw.limit {
            None => Rate::Unlimited,
            Some(text) => self.rate(text, "bandwidth.limit")?,
        };
        let listed = raw.hours.as_ref().map_or(&[][..], |hours| &hours.value);
        if let Some(hours) = raw.hours.as_ref().filter(|hours| hours.value.len() > HOURS_MAX) {
            let message = format!("there are {} entries; at most {HOURS_MAX} are allowed", hours.value.len());
            return self.fail(hours, "bandwidth.hours", message, "join those that have the same limit");
        }
        let one = |(index, hours): (usize, &Spanned<super::raw::RawRateHours>)| -> Checked<RateHours> {
            let field = format!("bandwidth.hours[{index}]");
            let hours = &hours.value;
            Ok(RateHours {
                window: self.window_of(hours.days.as_ref(), &hours.from, &hours.to, &field)?,
                limit: self.rate(&hours.limit, &format!("{field}.limit"))?,
            })
        };
        Ok(Bandwidth { limit, hours: listed.iter().enumerate().map(one).collect::<Checked<_>>()? })
    }

    /// Bits in a second, as lines are sold.
    fn rate(&self, text: &Text, field: &str) -> Checked<Rate> {
        let word = text.value.trim();
        match word {
            "unlimited" => return Ok(Rate::Unlimited),
            "0" => return Ok(Rate::Bytes(0)),
            _ => {}
        }
        let units = [("kbit/s", 1_000), ("Mbit/s", 1_000_000), ("Gbit/s", 1_000_000_000)];
        match scaled(word, &units).filter(|bits| RATE_BITS.contains(bits)) {
            Some(bits) => Ok(Rate::Bytes(bits / 8)),
            None => {
                let message = format!("{word:?} is no limit from 64kbit/s to 100Gbit/s");
                self.fail(text, field, message, RATE_HINT)
            }
        }
    }

    pub(super) fn cache_bytes_max(&self, raw: Option<&RawCache>) -> Checked<u64> {
        let Some(text) = raw.and_then(|cache| cache.size_max.as_ref()) else { return Ok(CACHE_BYTES_DEFAULT) };
        let units = [("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
        match scaled(text.value.trim(), &units).filter(|bytes| CACHE_BYTES.contains(bytes)) {
            Some(bytes) => Ok(bytes),
            None => {
                let message = format!("{:?} is no size from 64MiB to 16TiB", text.value);
                self.fail(text, "cache.size_max", message, SIZE_HINT)
            }
        }
    }
}

/// A whole number and its unit.
fn scaled(word: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = units.iter().find_map(|(name, unit)| Some((word.strip_suffix(name)?.trim_end(), unit)))?;
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| number.parse::<u64>().ok()?.checked_mul(*unit)).flatten()
}

#[cfg(test)]
mod tests {
    use super::super::{ConfigError, SiteFile, parse_site_file};
    use super::*;

    fn read(lines: &str) -> Result<SiteFile, ConfigError> {
        parse_site_file(&format!("site: rx1\ntime_zone: Europe/London\n{lines}"), "site.yaml")
    }

    fn at(file: &SiteFile, moment: &str) -> Limit {
        let now = Timestamp(moment.parse::<jiff::Timestamp>().unwrap().as_millisecond());
        file.bandwidth.at(file.inventory.hours.time_zone.as_ref(), now)
    }

    #[test]
    fn without_a_word_the_line_is_free_and_the_cache_bounded() {
        let file = read("").unwrap();
        assert_eq!((file.cache_bytes_max, at(&file, "2027-01-11T09:00:00Z")), (CACHE_BYTES_DEFAULT, Limit::None));
        assert_eq!(read("cache: { size_max: 500MiB }").unwrap().cache_bytes_max, 500 << 20);
    }

    #[test]
    fn hours_are_those_of_the_sites_clock() {
        let file = read(
            "bandwidth:\n  limit: 4Mbit/s\n  hours:\n    - { days: [mon, tue], from: \"08:00\", to: \"18:00\", limit: 1Mbit/s }\n    \
             - { from: \"18:00\", to: \"19:00\", limit: 0 }\n    - { days: [sun], from: \"00:00\", to: \"24:00\", limit: unlimited }\n",
        )
        .unwrap();
        // A Monday in winter, and one in summer, when London is an hour ahead of UTC.
        assert_eq!(at(&file, "2027-01-11T07:59:59Z"), Limit::Rate(500_000));
        assert_eq!(at(&file, "2027-01-11T08:00:00Z"), Limit::Rate(125_000));
        assert_eq!(at(&file, "2027-06-14T07:00:00Z"), Limit::Rate(125_000));
        assert_eq!(at(&file, "2027-06-14T17:30:00Z"), Limit::Closed { until: Some(Timestamp(1_812_996_000_000)) });
        assert_eq!(at(&file, "2027-01-17T12:00:00Z"), Limit::None);
        assert_eq!(at(&file, "2027-01-13T12:00:00Z"), Limit::Rate(500_000));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for (lines, field) in [
            ("bandwidth: { limit: none }", "bandwidth.limit"),
            ("bandwidth: { limit: 4MB/s }", "bandwidth.limit"),
            ("bandwidth: { limit: 1bit/s }", "bandwidth.limit"),
            ("bandwidth: { limit: 1kbit/s }", "bandwidth.limit"),
            ("bandwidth: { limit: 99999999999999999999Gbit/s }", "bandwidth.limit"),
            ("bandwidth: { hours: [{ from: \"9\", to: \"10:00\", limit: 0 }] }", "bandwidth.hours[0].from"),
            ("bandwidth: { hours: [{ from: \"09:00\", to: \"09:00\", limit: 0 }] }", "bandwidth.hours[0].to"),
            ("bandwidth: { hours: [{ from: \"09:00\", to: \"10:00\", limit: fast }] }", "bandwidth.hours[0].limit"),
            ("cache: { size_max: 8GB }", "cache.size_max"),
            ("cache: { size_max: 1MiB }", "cache.size_max"),
        ] {
            let error = read(lines).unwrap_err();
            assert_eq!(error.field, field, "{lines}: {error}");
            assert!(error.line == 3 && !error.hint.is_empty(), "{error}");
        }
        assert!(read("bandwidth: { speed: 1 }").is_err() && read("cache: { bytes: 1 }").is_err());
    }
}
