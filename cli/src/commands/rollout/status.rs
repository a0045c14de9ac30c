//! `wardround rollout status`.

use clap::Args;

use super::shown;
use crate::{
    failure::{Exit, Failure},
    output,
    session::Session,
};

/// Show how a rollout stands, and why what waits is waiting
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround rollout status winter-1")]
pub(super) struct Status {
    /// Rollout id
    id: String,
}

impl Status {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let rollout = session.connect().await?.rollout(&self.id).await?;
        output::emit(session.format(), &shown::Shown::new(&rollout), || shown::human(&rollout))?;
        Ok(Exit::Ok)
    }
}
