//! `wardround rollout hold` and `release`: people who let nothing follow a wave until they have looked.

use clap::Args;
use wardround_proto::v1;
use wardround_rollout_plans::model::{Command, WaveName};
use wardround_signing::Digest;

use super::order;
use crate::{
    ask,
    client::incomplete,
    failure::{Exit, Failure},
    output,
    session::Session,
    when,
};

/// Let nothing follow a wave until the hold is lifted; what runs goes on
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround rollout hold winter-1 pilot --reason \"wait until Monday's clinic has used it\"

You lift it with `wardround rollout release winter-1 pilot`; without you two people can.")]
pub(super) struct Hold {
    /// Rollout id
    id: String,
    /// The wave whose gate is held
    wave: WaveName,
    /// Why, for the record
    #[arg(long)]
    reason: String,
}

/// Lift the holds of a wave: your own, or with a second person anybody's
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround rollout release winter-1 pilot --reason \"clinic ran well\"

Where a hold is not your own, a second person signs with `wardround rollout cosign winter-1`.")]
pub(super) struct Release {
    /// Rollout id
    id: String,
    /// The wave whose gate is held
    wave: WaveName,
    /// Only the hold with this order number
    #[arg(long, value_name = "NUMBER")]
    order: Option<u64>,
    /// Why, for the record
    #[arg(long, default_value = "")]
    reason: String,
    /// Do it without being asked
    #[arg(long)]
    yes: bool,
}

impl Hold {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let done = format!("nothing follows wave {} until the hold is lifted", self.wave);
        order::simple(session, &self.id, Command::Hold { wave: self.wave.clone() }, &self.reason, &done).await
    }
}

impl Release {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let controller = session.connect().await?;
        let rollout = controller.rollout(&self.id).await?;
        let holds = self.chosen(&rollout)?;
        for hold in &holds {
            eprintln!("{}", words(self.wave.as_str(), hold));
        }
        let lifts: Vec<Digest> = holds
            .iter()
            .map(|hold| Digest::from_slice(&hold.order).map_err(|_| incomplete("hold")))
            .collect::<Result<_, _>>()?;
        let command = Command::Release { wave: self.wave.clone(), lifts };
        ask::confirm(&format!("{} in rollout {}", command.sentence(), self.id), self.yes).await?;
        let people = session.signers().await?;
        let given = order::submit_as(&controller, &people, rollout, &command, &self.reason).await?;
        order::finish(session, &given, &format!("lifted: wave {} is held no more by these", self.wave))
    }

    fn chosen<'a>(&self, rollout: &'a v1::Rollout) -> Result<Vec<&'a v1::Hold>, Failure> {
        let wave = rollout.waves.iter().find(|w| w.name == self.wave.as_str());
        let holds = wave.into_iter().flat_map(|w| &w.holds);
        let chosen: Vec<&v1::Hold> = holds.filter(|h| self.order.is_none_or(|order| h.counter == order)).collect();
        if chosen.is_empty() {
            let text = format!("no such hold stands on wave {} of rollout {}", self.wave, rollout.id);
            let hint = format!("see `wardround rollout status {}`", rollout.id);
            return Err(Failure::with(Exit::NotFound, text).hint(hint));
        }
        Ok(chosen)
    }
}

/// "wave pilot, by Cy Fox since …: wait for Monday (order 5)"
pub(super) fn words(wave: &str, hold: &v1::Hold) -> String {
    let why = if hold.reason.is_empty() { "no reason given" } else { &hold.reason };
    let (by, since) = (&hold.by, when::local(hold.at_ms));
    output::one_line(&format!("wave {wave} is held by {by} since {since}: {why} (order {})", hold.counter))
}
