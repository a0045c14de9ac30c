//! `wardround sign import`: hands a signature in.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use wardround_proto::v1;
use wardround_rollout_plans::model::{Order, Patch, Rollout};
use wardround_signing::{Digest, Document as _, Envelope};

use crate::{
    client::{Controller, call, from_wire, incomplete, signature_to_wire, to_wire},
    commands::rollout::{order::send, shown},
    failure::{Exit, Failure},
    output,
    request::Answer,
    session::Session,
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
        if answer.document.is_none() {
            return Err(Failure::usage(format!("{} answers a root ceremony", self.answer.display()))
                .hint("hand it to `wardround root assemble`"));
        }
        let envelope = answer.envelope()?;
        let (standing, roles) = match envelope.payload_type.as_str() {
            Patch::PAYLOAD_TYPE => patch(&session.connect().await?, &envelope).await?,
            Rollout::PAYLOAD_TYPE => rollout(&session.connect().await?, &envelope).await?,
            Order::PAYLOAD_TYPE => order(&session.connect().await?, &envelope).await?,
            other => {
                return Err(Failure::new(format!(
                    "{} holds a {other:?}, which this program does not hand in",
                    self.answer.display()
                ))
                .hint("use the same version of wardround on both machines"));
            }
        };
        let done = Done { subject: answer.subject.clone(), signer: answer.signer(), signed_roles: roles };
        output::emit(session.format(), &done, || format!("signature of {} handed in: {standing}", answer.signer()))?;
        Ok(Exit::Ok)
    }
}

async fn patch(controller: &Controller, envelope: &Envelope) -> Result<(String, Vec<String>), Failure> {
    let document: Patch = envelope.peek_unverified().map_err(Failure::new)?;
    let held = controller.patch(document.id.as_str()).await?;
    same(&format!("patch {}", document.id), held.envelope.as_ref(), envelope.digest())?;
    let signatures = envelope.signatures.iter().map(signature_to_wire).collect();
    let request = v1::SignPatchRequest { id: document.id.to_string(), signatures };
    let answer = controller.patches().sign_patch(call(request)).await?.into_inner();
    let patch = answer.patch.ok_or_else(|| incomplete("patch"))?;
    Ok((format!("patch {} is signed by {}", patch.id, patch.signed_roles.join(", ")), patch.signed_roles))
}

async fn rollout(controller: &Controller, envelope: &Envelope) -> Result<(String, Vec<String>), Failure> {
    let document: Rollout = envelope.peek_unverified().map_err(Failure::new)?;
    let held = controller.rollout(document.id.as_str()).await?;
    same(&format!("rollout {}", document.id), held.envelope.as_ref(), envelope.digest())?;
    let signatures = envelope.signatures.iter().map(signature_to_wire).collect();
    let request = v1::SignRolloutRequest { id: document.id.to_string(), signatures };
    let answer = controller.rollouts().sign_rollout(call(request)).await?.into_inner();
    let rollout = answer.rollout.ok_or_else(|| incomplete("rollout"))?;
    let roles = rollout.signed_roles.join(", ");
    Ok((format!("rollout {} is {}, signed by {roles}", rollout.id, shown::words(&rollout.state)), rollout.signed_roles))
}

async fn order(controller: &Controller, envelope: &Envelope) -> Result<(String, Vec<String>), Failure> {
    let order: Order = envelope.peek_unverified().map_err(Failure::new)?;
    let held = controller.rollout(order.rollout.as_str()).await?;
    same(&format!("rollout {}", order.rollout), held.envelope.as_ref(), order.digest)?;
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

/// The controller holds the very document that was signed.
fn same(what: &str, held: Option<&v1::Envelope>, signed: Digest) -> Result<(), Failure> {
    let held = from_wire(held.ok_or_else(|| incomplete("document"))?).digest();
    if held == signed {
        return Ok(());
    }
    Err(Failure::refused(format!("{what}: another document was signed than the controller holds")).hint(format!(
        "signed was SHA-256 {}, the controller holds {}: export it again",
        signed.hex(),
        held.hex()
    )))
}
