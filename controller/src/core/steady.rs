//! Time as the engine is told it: it runs as the machine's steady clock does, whatever happens to the wall clock.
//!
//! Soaks are counted with it. A wall clock that is set forward would end them all at once, one that is set back would make
//! them stand still; both happen when a machine begins with a wrong clock and the network then corrects it.

use std::time::Duration;

use tokio::time::Instant;
use wardround_rollout_plans::model::{DurationMs, Timestamp};

/// How often the wall clock is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A wall clock that is ahead or behind is approached by one part in this many: no soak is cut short by more. An everyday
/// correction of a second is caught up with in a quarter of an hour.
const APPROACH: i64 = 1_000;
/// A person must know when the two are farther apart than this, milliseconds.
const APART_MAX_MS: i64 = 60_000;

/// The clock.
#[derive(Debug)]
pub struct Steady {
    from: Timestamp,
    at: Instant,
    apart_ms: i64,
    told: bool,
}

impl Steady {
    /// Begins at `from`.
    #[must_use]
    pub fn new(from: Timestamp, at: Instant) -> Self {
        Self { from, at, apart_ms: 0, told: false }
    }

    /// The time at the moment `at`, when the wall clock says `wall`.
    pub fn now(&mut self, wall: Timestamp, at: Instant) -> Timestamp {
        let passed = at.saturating_duration_since(self.at);
        let passed_ms = i64::try_from(passed.as_millis()).unwrap_or(i64::MAX);
        let counted = Timestamp(self.from.0.saturating_add(passed_ms));
        self.apart_ms = wall.0.saturating_sub(counted.0);
        if passed < LOOK_EVERY {
            return counted;
        }
        let most = passed_ms / APPROACH;
        self.from = Timestamp(counted.0.saturating_add(self.apart_ms.clamp(-most, most)));
        self.at = at;
        self.from
    }

    /// What a person must be told about the wall clock, if they have not been told yet.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        if self.told || self.apart_ms.abs() <= APART_MAX_MS {
            return None;
        }
        let apart = DurationMs(self.apart_ms.unsigned_abs());
        let side = if self.apart_ms > 0 { "ahead of" } else { "behind" };
        Some(format!(
            "the controller's clock is {apart} {side} the time that it has counted: it was set, or the machine slept. Soaks are \
             counted on as if nothing had happened; check the clock, and once it is right restart the controller"
        ))
    }

    /// The warning was written down.
    pub fn told(&mut self) {
        self.told = true;
    }

    /// Once the two agree again, the next jump is news.
    pub fn settled(&mut self) {
        self.told &= self.apart_ms.abs() > APART_MAX_MS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn a_wall_clock_that_is_set_neither_ends_nor_stops_a_soak() {
        for jump in [HOUR_MS, -HOUR_MS, 365 * 24 * HOUR_MS] {
            let start = Instant::now();
            let mut clock = Steady::new(Timestamp(0), start);
            let mut before = Timestamp(0);
            for second in 0..3_600_u64 {
                let wall = Timestamp(i64::try_from(second).unwrap() * 1_000 + jump);
                let now = clock.now(wall, start + Duration::from_secs(second));
                assert!(now.0 >= before.0, "it went back at {second}");
                before = now;
            }
            let counted = before.0 - 3_599_000;
            assert!(counted.abs() <= HOUR_MS / APPROACH, "{counted} ms off after an hour, for a jump of {jump}");
        }
    }

    #[test]
    fn a_small_correction_is_followed_and_told_to_nobody() {
        let start = Instant::now();
        let mut clock = Steady::new(Timestamp(0), start);
        let mut now = Timestamp(0);
        for second in 0..2_000_i64 {
            now = clock.now(Timestamp(second * 1_000 + 900), start + Duration::from_secs(second.unsigned_abs()));
            assert_eq!(clock.warning(), None);
        }
        assert_eq!(now.0, 1_999_000 + 900);
    }

    #[test]
    fn a_person_is_told_once_of_each_jump() {
        let start = Instant::now();
        let mut clock = Steady::new(Timestamp(0), start);
        clock.now(Timestamp(2 * HOUR_MS), start);
        let text = clock.warning().unwrap();
        assert!(text.contains("2h") && text.contains("ahead"), "{text}");
        clock.told();
        assert_eq!(clock.warning(), None);
        clock.now(Timestamp(0), start);
        clock.settled();
        clock.now(Timestamp(-HOUR_MS), start);
        assert!(clock.warning().unwrap().contains("behind"));
    }
}
