//! `wardround rollout sign`: nobody signs what they have not read and this program has not checked.

use std::path::Path;

use clap::Args;
use wardround_proto::v1;
use wardround_rollout_plans::{
    describe::{describe_patch, describe_rollout},
    language::lint_plan,
    model::{DeviceId, Member, Patch, Rollout, VariantId, WaveName},
    patch_file::lint_patch,
    resolve::check_members,
};
use wardround_signing::tuf::rollout_path;

use super::shown;
use crate::{
    ask,
    client::{Controller, all_pages, call, from_wire, incomplete, signature_to_wire},
    failure::{Exit, Failure},
    output::{self, Format},
    repository::Repository,
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
    let patch_envelope = from_wire(patch.envelope.as_ref().ok_or_else(|| incomplete("patch document"))?);
    if patch_envelope.digest() != document.patch_digest {
        return Err(wrong(format!("it is for another document of patch {} than the controller holds", document.patch)));
    }
    let patch: Patch = patch_envelope.peek_unverified().map_err(wrong)?;
    if patch.id != document.patch {
        return Err(wrong(format!(
            "it says patch {}, and the document behind that is of patch {}",
            document.patch, patch.id
        )));
    }
    let members = members(controller, id).await?;
    check_members(&document, &members).map_err(|why| wrong(why.to_string()))?;
    if let Some(stranger) = members.iter().find(|m| patch.variant(&m.variant).is_none()) {
        return Err(wrong(format!(
            "{} would get variant {}, which the patch does not have",
            stranger.device, stranger.variant
        )));
    }
    // The controller checks this too; it need not be in the right hands, and with --yes nobody reads a warning.
    if let Some(fault) = lint_patch(&patch).into_iter().chain(lint_plan(&document.plan)).next() {
        return Err(wrong(fault));
    }
    envelope.signatures.clear();
    let mut lines = describe_patch(&patch);
    lines.push(String::new());
    lines.extend(describe_rollout(&document, &members));
    Ok(Reading { id: id.to_owned(), envelope, lines })
}

impl Reading {
    async fn sign(mut self, controller: &Controller, profile: &Path, person: &Person) -> Result<v1::Rollout, Failure> {
        if let Some(repository) = Repository::open(controller, profile).await? {
            let path = rollout_path(&self.id, 1).map_err(|e| Failure::new(format!("rollout {}: {e}", self.id)))?;
            repository.sign_for(&path, &self.envelope.payload, &person.key).await?;
        }
        self.envelope.sign(&person.key).map_err(|e| Failure::new(e.to_string()))?;
        let signatures = self.envelope.signatures.iter().map(signature_to_wire).collect();
        let request = v1::SignRolloutRequest { id: self.id, signatures };
        let answer = controller.rollouts().sign_rollout(call(request)).await?;
        answer.into_inner().rollout.ok_or_else(|| incomplete("rollout"))
    }
}

/// All members, in the order of the Merkle leaves.
async fn members(controller: &Controller, id: &str) -> Result<Vec<Member>, Failure> {
    let bad = |e: wardround_rollout_plans::model::InvalidId| {
        Failure::new(format!("the controller's answer is malformed: {e}"))
    };
    all_pages(async |page_token| {
        let request = v1::ListMembersRequest { id: id.to_owned(), page_size: MEMBERS_PAGE, page_token };
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
