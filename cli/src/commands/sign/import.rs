//! `wardround sign import`: hands a signature in.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use wardround_proto::v1;
use wardround_rollout_plans::model::Order;
use wardround_signing::{Digest, Envelope, tuf::Kind};

use crate::{
    client::{Controller, from_wire, incomplete, to_wire},
    commands::rollout::{
        order::{document_digest, send},
        shown,
    },
    failure::{Exit, Failure},
    output, repository,
    request::Answer,
    session::Session,
    signed,
};

/// Hand in the answer of a machine without a network
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround sign import winter-1.answer.json")]
pub(super) struct Import {
    /// The answer file
    answer: PathBuf,
}

#[derive(Serialize)]
struct Done {
    subject: String,
    signer: String,
    signed_roles: Vec<String>,
}

impl Import {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let answer = Answer::load(&self.answer)?;
        let (standing, roles) = match (&answer.path, &answer.document) {
            (Some(path), _) => document(&session.connect().await?, &answer, path).await?,
            (None, Some(_)) => order(&session.connect().await?, &answer.envelope()?).await?,
            (None, None) => {
                return Err(Failure::usage(format!("{} answers a root ceremony", self.answer.display()))
                    .hint("hand it to `wardround root assemble`"));
            }
        };
        let done = Done { subject: answer.subject.clone(), signer: answer.signer(), signed_roles: roles };
        output::emit(session.format(), &done, || format!("signature of {} handed in: {standing}", answer.signer()))?;
        Ok(Exit::Ok)
    }
}

/// Hands in the version of a role that adds a patch or a rollout.
pub(super) async fn hand_in(controller: &Controller, answer: &Answer) -> Result<(), Failure> {
    let file = answer.metadata.as_ref().ok_or_else(|| Failure::refused("this answer holds no signed version"))?;
    repository::submit(controller, file.role, answer.version(file)?).await
}

async fn document(controller: &Controller, answer: &Answer, path: &str) -> Result<(String, Vec<String>), Failure> {
    let name = path.split_once('/').and_then(|(_, name)| name.strip_suffix(".json")).unwrap_or_default();
    let unknown = || Failure::refused(format!("this answer is for {path}, which is no place of a document"));
    let kind = Kind::of(path).ok_or_else(unknown)?;
    hand_in(controller, answer).await.map_err(|failure| match failure.exit {
        Exit::Refused => {
            let hint = if failure.hint.is_empty() { String::new() } else { format!("{}; ", failure.hint) };
            failure.hint(format!("{hint}where others have signed meanwhile, export it again and sign that"))
        }
        _ => failure,
    })?;
    match kind {
        Kind::Patch => {
            let patch = controller.patch(name).await?;
            let by = signed::words(&patch.signatures, &patch.signed_roles);
            Ok((format!("patch {} is signed {by}", patch.id), patch.signed_roles))
        }
        Kind::Rollout => {
            let (id, _) = name.rsplit_once('.').ok_or_else(unknown)?;
            let rollout = controller.rollout(id).await?;
            let by = signed::words(&rollout.signatures, &rollout.signed_roles);
            Ok((
                format!("rollout {} is {}, signed {by}", rollout.id, shown::words(&rollout.state)),
                rollout.signed_roles,
            ))
        }
    }
}

async fn order(controller: &Controller, envelope: &Envelope) -> Result<(String, Vec<String>), Failure> {
    let order: Order = envelope.peek_unverified().map_err(Failure::new)?;
    let held = controller.rollout(order.rollout.as_str()).await?;
    same(&format!("rollout {}", order.rollout), document_digest(&held)?, order.digest)?;
    let sent = send(controller, &order.command, to_wire(envelope)).await.map_err(|status| {
        let stale = status.code() == tonic::Code::Aborted;
        let failure = Failure::from(status);
        if stale { failure.hint("another order came first: export the order again and sign that") } else { failure }
    })?;
    let rollout = sent.ok_or_else(|| incomplete("rollout"))?;
    let digest = envelope.digest();
    let waits = |p: &&v1::PendingOrder| p.envelope.as_ref().is_some_and(|e| from_wire(e).digest() == digest);
    let standing = match rollout.pending_orders.iter().find(waits) {
        Some(pending) => shown::pending_words(&rollout.id, pending),
        None => format!("rollout {} is {}", rollout.id, shown::words(&rollout.state)),
    };
    Ok((standing, rollout.signed_roles))
}

/// The controller holds the very rollout that the order names.
fn same(what: &str, held: Digest, signed: Digest) -> Result<(), Failure> {
    if held == signed {
        return Ok(());
    }
    Err(Failure::refused(format!("{what}: another document was signed than the controller holds")).hint(format!(
        "signed was SHA-256 {}, the controller holds {}: export it again",
        signed.hex(),
        held.hex()
    )))
}
