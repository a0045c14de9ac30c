//! `wardround rollout sign`: nobody signs what they have not read and this program has not checked.

use std::path::Path;

use clap::Args;
use wardround_proto::v1;
use wardround_rollout_plans::{
    describe::describe_rollout,
    model::{DeviceId, Member, Rollout, VariantId, WaveName},
};
use wardround_signing::tuf::rollout_path;

use super::{amend, shown};
use crate::{
    ask,
    client::{Controller, all_pages, call, from_wire, incomplete, signature_to_wire},
    failure::{Exit, Failure},
    output::{self, Format},
    repository::Repository,
    request::check_rollout,
    session::Session,
    signer::Person,
};

/// Members of one page (the API's limit).
const MEMBERS_PAGE: u32 = 10_000;

/// Read what a rollout will do to which devices, and sign it
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround rollout sign winter-1 --key ann.key")]
pub(super) struct Sign {
    /// Rollout id
    id: String,
    /// Sign without being asked
    #[arg(long)]
    yes: bool,
}

impl Sign {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let controller = session.connect().await?;
        let standing = controller.rollout(&self.id).await?;
        if standing.amendment.is_some() {
            return self.amendment(session, &controller, &standing).await;
        }
        let reading = read(&controller, &self.id).await?;
        // JSON has standard output to itself; a person still reads what is signed.
        let text = reading.lines.join("\n");
        match session.format() {
            Format::Human => output::text(&text)?,
            Format::Json => eprintln!("{}", output::harmless(&text)),
        }
        let person = session.signer().await?;
        ask::confirm(&format!("sign rollout {} as {}", self.id, person.name()), self.yes).await?;
        let rollout = reading.sign(&controller, &session.operator_folder()?, &person).await?;
        output::emit(session.format(), &shown::Shown::new(&rollout), || {
            let roles = rollout.signed_roles.join(" and ");
            format!(
                "signed: rollout {} is {}, with the signatures of {roles}",
                rollout.id,
                shown::words(&rollout.state)
            )
        })?;
        Ok(Exit::Ok)
    }
}

impl Sign {
    /// The newest version is the one that waits.
    async fn amendment(
        &self,
        session: &Session,
        controller: &Controller,
        standing: &v1::Rollout,
    ) -> Result<Exit, Failure> {
        let waiting = amend::read(controller, standing).await?;
        match session.format() {
            Format::Human => output::text(&waiting.text())?,
            Format::Json => eprintln!("{}", output::harmless(&waiting.text())),
        }
        let person = session.signer().await?;
        ask::confirm(&format!("sign {} as {}", waiting.name(), person.name()), self.yes).await?;
        waiting.sign(controller, &session.operator_folder()?, &person).await?;
        let rollout = controller.rollout(&self.id).await?;
        output::emit(session.format(), &shown::Shown::new(&rollout), || match shown::amendment_words(&rollout) {
            Some(words) => format!("signed: {words}"),
            None => format!("signed: version {} of rollout {} is in force", rollout.version, rollout.id),
        })?;
        Ok(Exit::Ok)
    }
}

/// Reads, checks and signs without asking: for the quickstart, whose people are its own.
pub(crate) async fn sign(
    controller: &Controller,
    profile: &Path,
    id: &str,
    person: &Person,
) -> Result<v1::Rollout, Failure> {
    read(controller, id).await?.sign(controller, profile, person).await
}

/// A rollout document that was fetched and checked, and what it says.
struct Reading {
    id: String,
    version: u32,
    envelope: wardround_signing::Envelope,
    lines: Vec<String>,
}

async fn read(controller: &Controller, id: &str) -> Result<Reading, Failure> {
    let rollout = controller.rollout(id).await?;
    let mut envelope = from_wire(rollout.envelope.as_ref().ok_or_else(|| incomplete("rollout document"))?);
    let wrong = |why: String| {
        Failure::refused(format!("rollout {id} must not be signed: {why}"))
            .hint("the controller shows something else than it holds: tell its operators, and sign nothing until then")
    };
    let document: Rollout = envelope.peek_unverified().map_err(wrong)?;
    if document.id.as_str() != id {
        return Err(wrong(format!("its document says {}", document.id)));
    }
    let patch = controller.patch(document.patch.as_str()).await?;
    let patch = from_wire(patch.envelope.as_ref().ok_or_else(|| incomplete("patch document"))?);
    let members = members(controller, id, document.version).await?;
    let (document, patch) = check_rollout(&envelope, &patch, &members)?;
    envelope.signatures.clear();
    Ok(Reading {
        id: id.to_owned(),
        version: document.version,
        envelope,
        lines: describe_rollout(&document, &patch, &members),
    })
}

impl Reading {
    async fn sign(mut self, controller: &Controller, profile: &Path, person: &Person) -> Result<v1::Rollout, Failure> {
        if let Some(repository) = Repository::open(controller, profile).await? {
            let path = rollout_path(&self.id, u64::from(self.version))
                .map_err(|e| Failure::new(format!("rollout {}: {e}", self.id)))?;
            repository.sign_for(&path, &self.envelope.payload, &person.key).await?;
        }
        self.envelope.sign(&person.key).map_err(|e| Failure::new(e.to_string()))?;
        let signatures = self.envelope.signatures.iter().map(signature_to_wire).collect();
        let request = v1::SignRolloutRequest { id: self.id, signatures };
        let answer = controller.rollouts().sign_rollout(call(request)).await?;
        answer.into_inner().rollout.ok_or_else(|| incomplete("rollout"))
    }
}

/// All members of a version, in the order of the Merkle leaves.
pub(crate) async fn members(controller: &Controller, id: &str, version: u32) -> Result<Vec<Member>, Failure> {
    let bad = |e: wardround_rollout_plans::model::InvalidId| {
        Failure::new(format!("the controller's answer is malformed: {e}"))
    };
    all_pages(async |page_token| {
        let request = v1::ListMembersRequest { id: id.to_owned(), page_size: MEMBERS_PAGE, page_token, version };
        let page = controller.rollouts().list_members(call(request)).await?.into_inner();
        let members = page.members.iter().map(|member| {
            Ok(Member {
                wave: WaveName::new(&member.wave).map_err(bad)?,
                device: DeviceId::new(&member.device).map_err(bad)?,
                variant: VariantId::new(&member.variant).map_err(bad)?,
            })
        });
        Ok((members.collect::<Result<_, Failure>>()?, page.next_page_token))
    })
    .await
}
