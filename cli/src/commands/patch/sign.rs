//! `wardround patch sign`.

use std::path::Path;

use clap::Args;
use wardround_proto::v1;
use wardround_rollout_plans::{describe::describe_patch, patch_file::lint_patch};
use wardround_signing::{Envelope, tuf::patch_path};

use super::{Shown, document, standing};
use crate::{
    ask,
    client::{Controller, call, incomplete, signature_to_wire},
    failure::{Exit, Failure},
    output::{self, Format},
    repository::Repository,
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
        let (envelope, lines) = read(&controller, &self.id).await?;
        // JSON has standard output to itself; a person still reads what is signed.
        match session.format() {
            Format::Human => output::text(&lines.join("\n"))?,
            Format::Json => eprintln!("{}", output::harmless(&lines.join("\n"))),
        }
        let person = session.signer().await?;
        ask::confirm(&format!("sign patch {} as {}", self.id, person.name()), self.yes).await?;
        let patch = add(&controller, &session.operator_folder()?, &self.id, envelope, &person).await?;
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
    let (envelope, _) = read(controller, id).await?;
    add(controller, profile, id, envelope, person).await
}

/// The document, and what it says to a person.
async fn read(controller: &Controller, id: &str) -> Result<(Envelope, Vec<String>), Failure> {
    let patch = controller.patch(id).await?;
    let (envelope, document) = document(&patch)?;
    // The controller checks this too; it need not be in the right hands.
    if let Some(fault) = lint_patch(&document).first() {
        return Err(Failure::refused(format!("patch {} must not be signed: {fault}", patch.id))
            .hint("the controller should have refused it: tell its operators, and sign nothing until then"));
    }
    Ok((envelope, describe_patch(&document)))
}

async fn add(
    controller: &Controller,
    profile: &Path,
    id: &str,
    mut envelope: Envelope,
    person: &Person,
) -> Result<v1::Patch, Failure> {
    if let Some(repository) = Repository::open(controller, profile).await? {
        let path = patch_path(id).map_err(|e| Failure::new(format!("patch {id}: {e}")))?;
        repository.sign_for(&path, &envelope.payload, &person.key).await?;
    }
    envelope.signatures.clear();
    envelope.sign(&person.key).map_err(|e| Failure::new(e.to_string()))?;
    let signatures = envelope.signatures.iter().map(signature_to_wire).collect();
    let request = v1::SignPatchRequest { id: id.to_owned(), signatures };
    let answer = controller.patches().sign_patch(call(request)).await?;
    answer.into_inner().patch.ok_or_else(|| incomplete("patch"))
}
