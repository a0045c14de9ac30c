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
    model::{Patch, Timestamp},
    resolve::Resolution,
    simulate::foresee,
};

use super::{Api, blocking, status};
use crate::clock;

/// Most devices: of more, the runs would not be over within [`LASTS_MAX`] on the machine of a controller, and their state
/// would stand beside that of the real rollouts.
const DEVICES_MAX: usize = 200_000;
/// Longest that one may take. The call of a preview waits for it.
const LASTS_MAX: Duration = Duration::from_secs(20);

/// Who has a plan foreseen.
pub(crate) struct Foreseeing {
    operators: Mutex<BTreeSet<String>>,
    /// The controller has better to do with its other processors.
    one: Semaphore,
}

impl Default for Foreseeing {
    fn default() -> Self {
        Self { operators: Mutex::default(), one: Semaphore::new(1) }
    }
}

/// An operator's turn, for as long as the call lasts. When the call is dropped, the work is told to stop.
struct Turn<'a> {
    all: &'a Foreseeing,
    by: String,
    given_up: Arc<AtomicBool>,
}

impl Foreseeing {
    fn turn(&self, by: &str) -> Option<Turn<'_>> {
        let mut operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
        operators.insert(by.to_owned()).then(|| Turn { all: self, by: by.to_owned(), given_up: Arc::default() })
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
        let devices: usize = resolution.waves.iter().map(Vec::len).sum();
        if devices > DEVICES_MAX {
            let why = format!(
                "{devices} devices are too many to foresee on the controller (at most {DEVICES_MAX}); `wardround plan simulate` does \
                 it on your machine"
            );
            return Ok((parsed, resolution, Err(why)));
        }
        let start = match asked.start_ms {
            0 => clock::now(),
            at if Timestamp(at).since(clock::now()).0 > START_AHEAD_MS || at < 0 => {
                return Err(status::invalid("start_ms", "a start lies within the next ten years"));
            }
            at => Timestamp(at),
        };
        let Some(turn) = self.foreseeing.turn(by) else {
            let why = "another preview of yours is being foreseen; ask again when it is done".to_owned();
            return Ok((parsed, resolution, Err(why)));
        };
        let permit = self.foreseeing.one.acquire().await.map_err(|e| Status::internal(e.to_string()))?;
        let estate = self.core.read(|facts| facts.engine.estate().clone());
        let given_up = Arc::clone(&turn.given_up);
        let done = blocking(move || {
            let begun = Instant::now();
            let mut go_on = || !given_up.load(Ordering::Relaxed) && begun.elapsed() < LASTS_MAX;
            let foreseen = foresee(&parsed.plan, &patch, &resolution, &estate, start, &mut go_on);
            let json =
                foreseen.map_err(|e| e.to_string()).and_then(|f| serde_json::to_string(&f).map_err(|e| e.to_string()));
            (parsed, resolution, json)
        })
        .await;
        drop(permit);
        drop(turn);
        done
    }
}

/// Ten years: time zones are known that far.
const START_AHEAD_MS: u64 = 10 * 366 * 24 * 3_600_000;
