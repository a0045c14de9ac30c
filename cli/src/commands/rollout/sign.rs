//! `wardround rollout sign`: nobody signs what they have not read and this program has not checked.

use std::path::Path;

use clap::Args;
use wardround_proto::v1;
use wardround_rollout_plans::model::{DeviceId, Member, VariantId, WaveName};

use super::{amend, shown};
use crate::{
    ask,
    client::{Controller, all_pages, call},
    commands::sign::ToSign,
    failure::{Exit, Failure},
    output::{self, Format},
    session::Session,
    signed,
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
        let to_sign = ToSign::rollout(&controller, &session.operator_folder()?, &self.id).await?;
        to_sign.show(session)?;
        let person = session.signer().await?;
        ask::confirm(&format!("sign rollout {} as {}", self.id, person.name()), self.yes).await?;
        to_sign.sign(&controller, &person).await?;
        let rollout = controller.rollout(&self.id).await?;
        output::emit(session.format(), &shown::Shown::new(&rollout), || {
            let by = signed::words(&rollout.signatures, &rollout.signed_roles);
            format!("rollout {} is {}, signed {by}", rollout.id, shown::words(&rollout.state))
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
    ToSign::rollout(controller, profile, id).await?.sign(controller, person).await?;
    controller.rollout(id).await
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
