//! Signing for a patch or a rollout with the controller at hand: the same request, reading and answer as over an air gap.

use std::path::Path;

use wardround_rollout_plans::model::{Member, Patch, Rollout};
use wardround_signing::{
    Signer as _, read_document,
    tuf::{patch_path, rollout_path},
};

use super::import::hand_in;
use crate::{
    client::Controller,
    commands::rollout::members,
    failure::Failure,
    output::{self, Format},
    repository::Repository,
    request::{Reading, Request, signing_role},
    session::Session,
    signer::Person,
    when,
};

/// A document of the controller, checked and put into words, and what is to be signed for it.
pub(crate) struct ToSign {
    repository: Repository,
    path: String,
    document: String,
    reading: Reading,
}

impl ToSign {
    /// A patch.
    pub(crate) async fn patch(controller: &Controller, profile: &Path, id: &str) -> Result<Self, Failure> {
        let repository = Repository::open(controller, profile).await?;
        let (path, document) = patch(controller, id).await?;
        let listing = repository.listing_for(&path, document.as_bytes()).await?;
        let reading = Reading::new(Request::Patch { document: document.clone(), listing }, when::now_ms())?;
        Ok(Self { repository, path, document, reading })
    }

    /// A rollout.
    pub(crate) async fn rollout(controller: &Controller, profile: &Path, id: &str) -> Result<Self, Failure> {
        let repository = Repository::open(controller, profile).await?;
        let Fetched { path, document, patch, members } = rollout(controller, id, false).await?;
        let listing = repository.listing_for(&path, document.as_bytes()).await?;
        let request = Request::Rollout { document: document.clone(), patch, members, listing };
        let reading = Reading::new(request, when::now_ms())?;
        Ok(Self { repository, path, document, reading })
    }

    /// Shows what is signed. JSON has standard output to itself; a person still reads it.
    pub(crate) fn show(&self, session: &Session) -> Result<(), Failure> {
        let text = self.reading.lines.join("\n");
        match session.format() {
            Format::Human => output::text(&text)?,
            Format::Json => eprintln!("{}", output::harmless(&text)),
        }
        Ok(())
    }

    /// Signs and hands it in. Does nothing when the role has signed for it already.
    pub(crate) async fn sign(&self, controller: &Controller, person: &Person) -> Result<(), Failure> {
        let role = signing_role(self.repository.images(), person.key.public())?;
        if self.repository.has_signed(role, &self.path, self.document.as_bytes()) {
            eprintln!("{role} has signed for it already");
            return Ok(());
        }
        hand_in(controller, &self.reading.sign(person)?).await
    }
}

/// The place and the text of a patch document, which says itself that it is the one that was asked for.
pub(super) async fn patch(controller: &Controller, id: &str) -> Result<(String, String), Failure> {
    let document = text(controller.patch(id).await?.document, "patch", id)?;
    let patch: Patch = read_document(document.as_bytes()).map_err(|why| wrong("patch", id, &why))?;
    if patch.id.as_str() != id {
        return Err(wrong("patch", id, &format!("its document says {}", patch.id)));
    }
    let path = patch_path(id).map_err(|e| Failure::new(format!("patch {id}: {e}")))?;
    Ok((path, document))
}

/// A rollout with everything that explains it.
pub(super) struct Fetched {
    pub(super) path: String,
    pub(super) document: String,
    pub(super) patch: String,
    pub(super) members: Vec<Member>,
}

/// The version in force, or `newest` of all: one that waits to be signed for.
pub(super) async fn rollout(controller: &Controller, id: &str, newest: bool) -> Result<Fetched, Failure> {
    let rollout = controller.rollout(id).await?;
    let waiting = rollout.amendment.filter(|_| newest).map(|waiting| waiting.document);
    let document = text(waiting.unwrap_or(rollout.document), "rollout", id)?;
    let rollout: Rollout = read_document(document.as_bytes()).map_err(|why| wrong("rollout", id, &why))?;
    if rollout.id.as_str() != id {
        return Err(wrong("rollout", id, &format!("its document says {}", rollout.id)));
    }
    let (_, patch) = patch(controller, rollout.patch.as_str()).await?;
    let path = rollout_path(id, u64::from(rollout.version)).map_err(|e| Failure::new(format!("rollout {id}: {e}")))?;
    let members = members(controller, id, rollout.version).await?;
    Ok(Fetched { path, document, patch, members })
}

fn text(document: Vec<u8>, what: &str, id: &str) -> Result<String, Failure> {
    String::from_utf8(document).map_err(|e| wrong(what, id, &e.to_string()))
}

fn wrong(what: &str, id: &str, why: &str) -> Failure {
    Failure::refused(format!("{what} {id} must not be signed: {why}"))
        .hint("the controller shows something else than it holds: tell its operators, and sign nothing until then")
}
