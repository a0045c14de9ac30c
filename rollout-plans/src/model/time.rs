//! Time as the pure core sees it: numbers that come from outside.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A moment, Unix milliseconds. The pure crates never ask a clock; the shells pass it in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Later by `duration`, saturating.
    #[must_use]
    pub fn after(self, duration: DurationMs) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.0).unwrap_or(i64::MAX)))
    }

    /// Time since `earlier`; zero when that lies in the future (a clock that was set back).
    #[must_use]
    pub fn since(self, earlier: Self) -> DurationMs {
        DurationMs(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// A length of time, milliseconds. In plans and site files it is written "90s", "10m", "8h", "2d".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DurationMs(pub u64);

impl DurationMs {
    /// From seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1000)
    }

    /// Reads "250ms", "90s", "10m", "8h", "2d" or sums such as "1h30m".
    ///
    /// # Errors
    /// A sentence that names the form wanted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || {
            format!("{text:?} is not a duration: expected a number with ms, s, m, h or d, such as \"90s\" or \"1h30m\"")
        };
        let mut rest = text;
        let mut total: u64 = 0;
        if rest.is_empty() {
            return Err(bad());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
            let number: u64 = rest[..digits].parse().map_err(|_| bad())?;
            rest = &rest[digits..];
            let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let factor = match &rest[..unit] {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return Err(bad()),
            };
            rest = &rest[unit..];
            total = number.checked_mul(factor).and_then(|n| total.checked_add(n)).ok_or_else(bad)?;
        }
        Ok(Self(total))
    }
}

impl fmt::Display for DurationMs {
    /// The two largest units: "2d 3h", "1h 30m", "90s" as "1m 30s", "250ms".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
        let mut rest = self.0;
        let mut shown = 0;
        for (size, unit) in UNITS {
            if rest >= size && shown < 2 {
                if shown > 0 {
                    f.write_str(" ")?;
                }
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
                shown += 1;
            }
        }
        if shown == 0 { write!(f, "{rest}ms") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print() {
        for (text, ms, shown) in [
            ("250ms", 250, "250ms"),
            ("90s", 90_000, "1m 30s"),
            ("1h30m", 5_400_000, "1h 30m"),
            ("2d", 172_800_000, "2d"),
        ] {
            let duration = DurationMs::parse(text).unwrap();
            assert_eq!((duration.0, duration.to_string().as_str()), (ms, shown));
        }
        for bad in ["", "10", "s", "10x", "99999999999999999999d", "-5s"] {
            assert!(DurationMs::parse(bad).is_err(), "{bad}");
        }
    }
}
