//! `wardround rollout halt`: the one command that must never be hard to give.

use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use wardround_rollout_plans::model::Command;

use super::{
    order::submit,
    shown::{self, Spread, spread_words},
};
use crate::{
    failure::{Exit, Failure},
    output::{self, Format},
    session::Session,
};

/// How long confirmations are waited for.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// When a person is told how far it has got, if not everyone has confirmed by then.
const FIRST_WORD: Duration = Duration::from_millis(800);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Stop a rollout everywhere, at once: no further install begins; what has begun is finished or taken back
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround rollout halt winter-1 --reason \"images missing at rx1\"

Any of the roles release, clinical and on-call may halt. Nothing is asked. `wardround key use FILE` names your key once.")]
pub(super) struct Halt {
    /// Rollout id
    id: String,
    /// Why, for the record
    #[arg(long)]
    reason: String,
}

#[derive(Serialize)]
struct Halted {
    #[serde(flatten)]
    rollout: shown::Shown,
    all_connected_confirmed: bool,
    waited_ms: u64,
}

impl Halt {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        // Opening the key takes scrypt's time and connecting takes the network's: side by side.
        let (controller, person) = tokio::join!(session.connect(), session.signer());
        let (controller, person) = (controller?, person?);
        let mut rollout = submit(&controller, &person, &self.id, &Command::Halt, &self.reason).await?.rollout;
        let begun = Instant::now();
        let mut told = false;
        loop {
            let spread = Spread::new(&rollout);
            let everyone = spread.confirmed_sites >= spread.connected_sites;
            if everyone || begun.elapsed() >= WAIT_MAX {
                let waited_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                let halted =
                    Halted { rollout: shown::Shown::new(&rollout), all_connected_confirmed: everyone, waited_ms };
                output::emit(session.format(), &halted, || format!("halt is on disk; {}", spread_words(spread)))?;
                return Ok(Exit::Ok);
            }
            if !told && begun.elapsed() >= FIRST_WORD {
                told = true;
                if session.format() == Format::Human {
                    eprintln!("halt is on disk; {} so far", spread_words(spread));
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
            // The halt stands whatever becomes of this question, and its answer is not waited for beyond the time for it.
            match tokio::time::timeout_at((begun + WAIT_MAX).into(), controller.rollout(&self.id)).await {
                Ok(Ok(now)) => rollout = now,
                Ok(Err(failure)) => tracing::warn!(%failure, "cannot ask how far the halt has reached"),
                Err(_) => tracing::warn!("the controller does not say how far the halt has reached"),
            }
        }
    }
}
