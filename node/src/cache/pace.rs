//! How fast the node may fetch: the site's word, held over all fetches together.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use wardround_rollout_plans::model::Timestamp;

use crate::config::Limit;

/// Longest sleep before the site's word is asked for again: the file, and the hour, may change.
const SLEEP_MAX: Duration = Duration::from_secs(5);

/// A token bucket that may be overdrawn by one call: who asks pays before, and the next waits until the debt is paid. On
/// average the limit holds exactly, and a call is never so small that nothing fits through.
#[derive(Debug)]
struct Bucket {
    /// Bytes that may be fetched now; less than none is debt.
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// `None` when the call is paid; else how long to wait before the next try.
    fn pay(&mut self, bytes: u64, rate: u64, now: Instant) -> Option<Duration> {
        let rate = rate.max(1) as f64;
        // What is saved up while nothing is fetched: one second's worth.
        self.tokens = (self.tokens + now.duration_since(self.at).as_secs_f64() * rate).min(rate);
        self.at = now;
        if self.tokens > 0.0 {
            self.tokens -= bytes as f64;
            return None;
        }
        Some(Duration::from_secs_f64((1.0 - self.tokens) / rate))
    }
}

/// The bucket of a node.
#[derive(Debug, Clone)]
pub(crate) struct Pace(Arc<Mutex<Bucket>>);

impl Default for Pace {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Bucket { tokens: 0.0, at: Instant::now() })))
    }
}

impl Pace {
    /// Waits until so many bytes may be asked for.
    ///
    /// # Errors
    /// Until when, when nothing may be fetched now.
    pub(crate) async fn pay(
        &self,
        bytes: u64,
        limit: &(dyn Fn() -> Limit + Send + Sync),
    ) -> Result<(), Option<Timestamp>> {
        loop {
            let wait = match limit() {
                Limit::None => return Ok(()),
                Limit::Closed { until } => return Err(until),
                Limit::Rate(rate) => {
                    self.0.lock().unwrap_or_else(PoisonError::into_inner).pay(bytes, rate, Instant::now())
                }
            };
            match wait {
                None => return Ok(()),
                Some(wait) => tokio::time::sleep(wait.min(SLEEP_MAX)).await,
            }
        }
    }

    /// Gives back what was paid and did not come over the line.
    pub(crate) fn refund(&self, bytes: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).tokens += bytes as f64;
    }
}

/// Most bytes of a call under this limit: a second's worth, so that a change of the hour is soon obeyed.
pub(crate) fn batch(limit: Limit, most: u64) -> u64 {
    match limit {
        Limit::Rate(rate) => most.min(rate),
        Limit::None | Limit::Closed { .. } => most,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pays when it is time to, on a clock of its own.
    fn pay(bucket: &mut Bucket, bytes: u64, rate: u64, now: &mut Instant) {
        while let Some(wait) = bucket.pay(bytes, rate, *now) {
            *now += wait;
        }
    }

    #[test]
    fn the_limit_holds_over_all_who_fetch() {
        let begun = Instant::now();
        let (mut bucket, mut now) = (Bucket { tokens: 0.0, at: begun }, begun);
        for _ in 0..100 {
            pay(&mut bucket, 10_000, 100_000, &mut now);
        }
        // 1,000,000 bytes at 100,000 in a second; the last call is paid for afterwards.
        let seconds = (now - begun).as_secs_f64();
        assert!((9.8..=10.1).contains(&seconds), "{seconds} s");
    }

    #[test]
    fn little_is_saved_up_and_what_did_not_come_is_given_back() {
        let begun = Instant::now();
        let mut now = begun + Duration::from_secs(3600);
        let pace = Pace(Arc::new(Mutex::new(Bucket { tokens: 0.0, at: begun })));
        let mut held = pace.0.lock().unwrap();
        assert_eq!(held.pay(5_000, 1_000, now), None);
        drop(held);
        pace.refund(3_000);
        let asked = now;
        pay(&mut pace.0.lock().unwrap(), 1, 1_000, &mut now);
        let waited = (now - asked).as_millis();
        assert!(
            (1_000..=1_010).contains(&waited),
            "2,000 bytes at 1,000 in a second, half of them saved up: {waited} ms"
        );
    }

    #[tokio::test]
    async fn the_sites_word_is_asked_for_at_each_call() {
        let pace = Pace::default();
        assert_eq!(pace.pay(86_400, &|| Limit::None).await, Ok(()));
        assert_eq!(pace.pay(1, &|| Limit::Closed { until: Some(Timestamp(7)) }).await, Err(Some(Timestamp(7))));
    }

    #[test]
    fn a_call_asks_for_no_more_than_a_second_allows() {
        assert_eq!(batch(Limit::Rate(1_000), 4_000), 1_000);
        assert_eq!(batch(Limit::None, 4_000), 4_000);
    }
}
