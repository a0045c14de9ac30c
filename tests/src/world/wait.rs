//! Waiting for a condition, never for a length of time.

use std::time::{Duration, Instant};

/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until `find` gives something, at most `seconds`.
///
/// # Panics
/// When the time is over; the message says for what it waited.
pub fn wait<T>(seconds: u64, what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    match try_wait(seconds, &mut find) {
        Some(found) => found,
        None => panic!("waited {seconds} s in vain for: {what}"),
    }
}

/// Looks until `find` gives something, at most `seconds`; `None` when the time is over.
pub fn try_wait<T>(seconds: u64, mut find: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(found) = find() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Looks until `holds`, at most `seconds`.
///
/// # Panics
/// When the time is over; the message says for what it waited.
pub fn wait_until(seconds: u64, what: &str, mut holds: impl FnMut() -> bool) {
    wait(seconds, what, || holds().then_some(()));
}
