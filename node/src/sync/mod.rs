//! Everything that talks to the controller. The node dials out; nobody dials in.

mod check_in;
mod connect;
mod convert;
mod metadata;
mod renew;
mod watch;

pub(crate) use check_in::{CheckIns, REPORT_BYTES_MAX, REPORTS_MAX, View, Wakers, run as run_check_ins};
pub(crate) use connect::{Controller, FetchError};
pub(crate) use renew::run as run_renewal;
pub(crate) use watch::run as run_watch;

use std::time::Duration;

/// First pause after a failed call: a controller that restarts is back in a moment.
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
/// Longest pause.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// A pause that doubles with each failure, with a jitter of a quarter to either side, so that a whole estate does not
/// come back in the same moment.
fn backoff(failures: u32) -> Duration {
    jittered(BACKOFF_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(BACKOFF_MAX))
}

fn jittered(pause: Duration) -> Duration {
    let mut bytes = [0_u8; 1];
    // Without randomness the estate merely comes in step.
    let _ = getrandom::fill(&mut bytes);
    pause.mul_f64(0.75 + f64::from(bytes[0]) / 512.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap() {
        for (failures, least, most) in [(1, 150, 250), (2, 300, 500), (5, 2_400, 4_000), (40, 22_500, 37_500)] {
            let pause = backoff(failures).as_millis();
            assert!((least..=most).contains(&pause), "{failures}: {pause} ms");
        }
    }
}
