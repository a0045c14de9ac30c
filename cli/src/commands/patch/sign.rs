//! `wardround patch sign`.

use std::path::Path;

use clap::Args;
use wardround_proto::v1;

use super::{Shown, standing};
use crate::{
    ask,
    client::Controller,
    commands::sign::ToSign,
    failure::{Exit, Failure},
    output,
    session::Session,
    signer::Person,
};

/// Read what a patch is and for whom, and sign it
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround patch sign KB4500331 --key ann.key")]
pub(super) struct Sign {
    /// Patch id
    id: String,
    /// Sign without being asked
    #[arg(long)]
    yes: bool,
}

impl Sign {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let controller = session.connect().await?;
        let to_sign = ToSign::patch(&controller, &session.operator_folder()?, &self.id).await?;
        to_sign.show(session)?;
        let person = session.signer().await?;
        ask::confirm(&format!("sign patch {} as {}", self.id, person.name()), self.yes).await?;
        to_sign.sign(&controller, &person).await?;
        let patch = controller.patch(&self.id).await?;
        output::emit(session.format(), &Shown::new(&patch), || format!("patch {}: {}", patch.id, standing(&patch)))?;
        Ok(Exit::Ok)
    }
}

/// Reads, checks and signs without asking: for the quickstart, whose people are its own.
pub(crate) async fn sign(
    controller: &Controller,
    profile: &Path,
    id: &str,
    person: &Person,
) -> Result<v1::Patch, Failure> {
    ToSign::patch(controller, profile, id).await?.sign(controller, person).await?;
    controller.patch(id).await
}
