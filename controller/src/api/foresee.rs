//! Foreseeing a plan for a preview: away from the async threads, one for each operator and one at a time in all, within a
//! limit of size and time, and given up when nobody waits for it any more.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;
use tonic::Status;
use wardround_proto::v1;
use wardround_rollout_plans::{
    language::ParsedPlan,
    model::{DurationMs, Patch, Timestamp},
    resolve::Resolution,
    simulate::{NoForecast, foresee},
};

use super::{Api, blocking, status};
use crate::clock;

/// How much is foreseen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Most devices: of more, the runs would not be over within `lasts_max` on the machine of a controller, and their state
    /// would stand beside that of the real rollouts.
    devices_max: usize,
    /// Longest that one may take. The call of a preview waits for it.
    lasts_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { devices_max: 200_000, lasts_max: Duration::from_secs(20) }
    }
}

/// Where there is no limit but one's own patience.
const ELSEWHERE: &str = "`wardround plan simulate --estate controller` does it on your machine";

impl Limits {
    /// Why so many devices are not foreseen.
    fn too_many(&self, devices: usize) -> Option<String> {
        let most = self.devices_max;
        (devices > most).then(|| {
            format!("{devices} devices are too many to foresee on the controller (at most {most}); {ELSEWHERE}")
        })
    }

    fn no_forecast(&self, why: &NoForecast, devices: usize) -> String {
        match why {
            NoForecast::CutShort => {
                let most = DurationMs(u64::try_from(self.lasts_max.as_millis()).unwrap_or(u64::MAX));
                format!("it takes longer than {most} to foresee {devices} devices on the controller; {ELSEWHERE}")
            }
            NoForecast::Refused(why) => why.clone(),
        }
    }
}

/// Who has a plan foreseen.
pub(crate) struct Foreseeing {
    limits: Limits,
    operators: Mutex<BTreeSet<String>>,
    /// The controller has better to do with its other processors.
    one: Arc<Semaphore>,
}

impl Default for Foreseeing {
    fn default() -> Self {
        Self::within(Limits::default())
    }
}

/// An operator's turn, for as long as the call lasts. When the call is dropped, the work is told to stop.
struct Turn<'a> {
    all: &'a Foreseeing,
    by: String,
    given_up: Arc<AtomicBool>,
}

impl Foreseeing {
    fn within(limits: Limits) -> Self {
        Self { limits, operators: Mutex::default(), one: Arc::new(Semaphore::new(1)) }
    }

    /// An operator's turn; `None` while another call of the operator has one.
    fn turn(&self, by: &str) -> Option<Turn<'_>> {
        let mut operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
        operators.insert(by.to_owned()).then(|| Turn { all: self, by: by.to_owned(), given_up: Arc::default() })
    }
}

impl Turn<'_> {
    /// Does the work when nobody else's is being done. It is to ask now and then whether it may go on: no longer than the limit
    /// says, and not when nobody waits for it any more.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn FnMut() -> bool) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let one = Arc::clone(&self.all.one);
        let permit = one.acquire_owned().await.map_err(|e| Status::internal(e.to_string()))?;
        let (given_up, lasts_max) = (Arc::clone(&self.given_up), self.all.limits.lasts_max);
        blocking(move || {
            let begun = Instant::now();
            let done = work(&mut || !given_up.load(Ordering::Relaxed) && begun.elapsed() < lasts_max);
            // Not before: work that nobody waits for takes a moment to stop.
            drop(permit);
            done
        })
        .await
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.given_up.store(true, Ordering::Relaxed);
        self.all.operators.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.by);
    }
}

impl Api {
    /// The forecast as JSON, or why there is none. Gives back what it was given.
    pub(super) async fn forecast(
        &self,
        by: &str,
        asked: &v1::PreviewPlanRequest,
        parsed: ParsedPlan,
        patch: Patch,
        resolution: Resolution,
    ) -> Result<(ParsedPlan, Resolution, Result<String, String>), Status> {
        if !asked.with_forecast {
            return Ok((parsed, resolution, Ok(String::new())));
        }
        let start = start(asked.start_ms, clock::now())?;
        let limits = self.foreseeing.limits;
        let devices: usize = resolution.waves.iter().map(Vec::len).sum();
        if let Some(why) = limits.too_many(devices) {
            return Ok((parsed, resolution, Err(why)));
        }
        let Some(turn) = self.foreseeing.turn(by) else {
            let why = "another preview of yours is being foreseen; ask again when it is done".to_owned();
            return Ok((parsed, resolution, Err(why)));
        };
        let estate = self.core.read(|facts| facts.engine.estate().clone());
        let work = move |go_on: &mut dyn FnMut() -> bool| {
            let foreseen = foresee(&parsed.plan, &patch, &resolution, &estate, start, go_on);
            let json = foreseen
                .map_err(|why| limits.no_forecast(&why, devices))
                .and_then(|f| serde_json::to_string(&f).map_err(|e| e.to_string()));
            (parsed, resolution, json)
        };
        turn.work(work).await
    }
}

/// Ten years: time zones are known that far.
const START_AHEAD_MS: u64 = 10 * 366 * 24 * 3_600_000;

/// The moment that is asked for; 0 is now.
fn start(asked_ms: i64, now: Timestamp) -> Result<Timestamp, Status> {
    match asked_ms {
        0 => Ok(now),
        at if at < 0 || Timestamp(at).since(now).0 > START_AHEAD_MS => {
            Err(status::invalid("start_ms", "a start lies within the next ten years"))
        }
        at => Ok(Timestamp(at)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Works until it is told to stop; says when it begins and when it ends.
    fn until_stopped(
        name: &'static str,
        told: mpsc::Sender<(&'static str, bool)>,
    ) -> impl FnOnce(&mut dyn FnMut() -> bool) {
        move |go_on| {
            let _ = told.send((name, true));
            while go_on() {
                std::thread::yield_now();
            }
            let _ = told.send((name, false));
        }
    }

    #[test]
    fn more_devices_than_the_limit_are_not_foreseen_and_it_says_who_does_it() {
        let limits = Limits { devices_max: 2, ..Limits::default() };
        assert_eq!(limits.too_many(2), None);
        let why = limits.too_many(3).unwrap();
        assert!(why.contains("3 devices are too many to foresee on the controller (at most 2)"), "{why}");
        assert!(why.ends_with("`wardround plan simulate --estate controller` does it on your machine"), "{why}");
        assert_eq!(Limits::default().too_many(200_000), None);
        assert!(Limits::default().too_many(200_001).is_some());
    }

    #[tokio::test]
    async fn what_takes_too_long_is_cut_short_and_it_says_how_long_and_who_does_it() {
        let limits = Limits { lasts_max: Duration::from_millis(20), ..Limits::default() };
        let foreseeing = Foreseeing::within(limits);
        let turn = foreseeing.turn("ann").unwrap();
        let (told, ended) = mpsc::channel();
        turn.work(until_stopped("ann", told)).await.unwrap();
        assert_eq!(ended.iter().collect::<Vec<_>>(), [("ann", true), ("ann", false)]);
        let why = limits.no_forecast(&NoForecast::CutShort, 70_000);
        assert!(why.starts_with(
            "it takes longer than 20ms to foresee 70000 devices on the controller; `wardround plan simulate"
        ));
    }

    #[tokio::test]
    async fn an_operator_has_one_at_a_time_and_a_cancelled_call_stops_its_work() {
        let foreseeing = Arc::new(Foreseeing::default());
        let (told, ended) = mpsc::channel();
        let call = tokio::spawn({
            let (all, told) = (Arc::clone(&foreseeing), told.clone());
            async move { all.turn("ann").unwrap().work(until_stopped("ann", told)).await }
        });
        let (mut next, ended) = tokio::task::spawn_blocking(move || (ended.recv().unwrap(), ended)).await.unwrap();
        assert_eq!(next, ("ann", true));
        assert!(foreseeing.turn("ann").is_none(), "her first is being reckoned");
        let ben = foreseeing.turn("ben").unwrap();
        let work = ben.work({
            let told = told.clone();
            move |_: &mut dyn FnMut() -> bool| told.send(("ben", true)).is_ok()
        });
        tokio::pin!(work);
        assert!(futures_now(&mut work).await.is_none(), "one at a time in all");

        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        assert!(work.await.unwrap());
        next = ended.recv().unwrap();
        assert_eq!((next, ended.recv().unwrap()), (("ann", false), ("ben", true)), "not before hers has stopped");
        assert!(foreseeing.turn("ann").is_some());
    }

    /// What a future says at once.
    async fn futures_now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        std::future::poll_fn(|context| match std::pin::Pin::new(&mut *future).poll(context) {
            std::task::Poll::Ready(done) => std::task::Poll::Ready(Some(done)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        })
        .await
    }

    #[test]
    fn a_start_lies_ahead_and_within_sight() {
        let now = Timestamp(1_795_510_800_000);
        assert_eq!(start(0, now).unwrap(), now);
        assert_eq!(start(now.0 + 5, now).unwrap(), Timestamp(now.0 + 5));
        for wrong in [-1, now.0 + 11 * 366 * 24 * 3_600_000] {
            let status = start(wrong, now).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            assert!(status.message().contains("a start lies within the next ten years"), "{status:?}");
        }
    }
}
