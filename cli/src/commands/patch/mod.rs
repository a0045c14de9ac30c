//! `wardround patch`: what is released.

mod import;
mod list;
mod package;
mod sign;

use clap::{Args, Subcommand};
use serde::Serialize;
use wardround_proto::v1;
use wardround_rollout_plans::model;
use wardround_signing::{Digest, read_document};

pub(crate) use import::import;
pub(crate) use sign::sign;

use crate::{
    failure::{Exit, Failure},
    session::Session,
    signed, when,
};

/// Import, sign and look at patches
#[derive(Debug, Args)]
pub(crate) struct Patch {
    #[command(subcommand)]
    command: PatchCommand,
}

#[derive(Debug, Subcommand)]
enum PatchCommand {
    Import(import::Import),
    Sign(sign::Sign),
    List(list::List),
    Show(list::Show),
}

/// A patch, as JSON.
#[derive(Debug, Serialize)]
struct Shown {
    id: String,
    title: String,
    digest: String,
    signed_roles: Vec<String>,
    signatures: Vec<signed::Signature>,
    ready: bool,
    created_at: Option<String>,
}

impl Patch {
    pub(crate) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        match &self.command {
            PatchCommand::Import(import) => import.run(session).await,
            PatchCommand::Sign(sign) => sign.run(session).await,
            PatchCommand::List(list) => list.run(session).await,
            PatchCommand::Show(show) => show.run(session).await,
        }
    }
}

impl Shown {
    fn new(patch: &v1::Patch) -> Self {
        Self {
            id: patch.id.clone(),
            title: patch.title.clone(),
            digest: Digest::from_slice(&patch.digest).map(|d| d.to_string()).unwrap_or_default(),
            signed_roles: patch.signed_roles.clone(),
            signatures: signed::Signature::all(&patch.signatures),
            ready: patch.ready,
            created_at: when::rfc3339(patch.created_at_ms),
        }
    }
}

/// "signed for release by Ann Lee; clinical is missing: Ben Fox may sign", or "…; ready".
fn standing(patch: &v1::Patch) -> String {
    let ready = if patch.ready { "; ready" } else { "" };
    format!("signed {}{ready}", signed::words(&patch.signatures, &patch.signed_roles))
}

/// The document as fetched, with the digest that the controller names checked against it.
pub(crate) fn document(patch: &v1::Patch) -> Result<model::Patch, Failure> {
    let wrong = |why: String| {
        Failure::refused(format!("patch {} can't be trusted: {why}", patch.id))
            .hint("the controller shows something else than it holds: tell its operators")
    };
    let document: model::Patch = read_document(&patch.document).map_err(wrong)?;
    if document.id.as_str() != patch.id {
        return Err(wrong(format!("its document says {}", document.id)));
    }
    if Digest::of(&patch.document).as_bytes().as_slice() != patch.digest.as_slice() {
        return Err(wrong("its document does not match the digest that is shown".into()));
    }
    Ok(document)
}
