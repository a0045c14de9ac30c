//! `wardround rollout amend`, and the reading of a version that waits: what it changes, checked against the version in
//! force before anybody signs or approves it.

use std::path::Path;

use clap::Args;
use serde::Serialize;
use wardround_proto::v1;
use wardround_rollout_plans::{
    describe::{Difference, describe_rollout},
    model::Rollout,
    resolve::check_members,
};
use wardround_signing::{Digest, read_document, tuf::rollout_path};

use super::{shown, sign::members};
use crate::{
    client::{Controller, call, incomplete},
    failure::{Exit, Failure},
    output,
    repository::Repository,
    request::check_rollout,
    session::Session,
    signer::Person,
};

/// Left-out devices that are named one by one.
const LEFT_OUT_SHOWN: usize = 10;

/// Resolve a rollout's signed plan against today's estate: new devices come in, untouched ones that are gone go
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround rollout amend winter-1

It shows what changes and keeps it as the next version, which waits: until people of both roles have signed it with
`wardround rollout sign winter-1`, the version before goes on.")]
pub(super) struct Amend {
    /// Rollout id
    id: String,
}

/// As JSON.
#[derive(Serialize)]
struct Amended {
    #[serde(flatten)]
    rollout: shown::Shown,
    difference: Vec<String>,
    left_out: Vec<LeftOut>,
}

#[derive(Serialize)]
struct LeftOut {
    device: String,
    reason: String,
}

impl Amend {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let controller = session.connect().await?;
        let request = v1::AmendRolloutRequest { id: self.id.clone() };
        let answer = controller.rollouts().amend_rollout(call(request)).await?.into_inner();
        let rollout = answer.rollout.ok_or_else(|| incomplete("rollout"))?;
        let waiting = read(&controller, &rollout).await?;
        let left_out = answer.left_out.into_iter().map(|l| LeftOut { device: l.device, reason: l.reason }).collect();
        let amended = Amended { rollout: shown::Shown::new(&rollout), difference: waiting.difference, left_out };
        output::emit(session.format(), &amended, || human(&amended))?;
        eprintln!(
            "next: people of both roles run `wardround rollout sign {}`; until then version {} goes on",
            rollout.id, rollout.version
        );
        Ok(Exit::Ok)
    }
}

fn human(amended: &Amended) -> String {
    let mut lines = amended.difference.clone();
    if !amended.left_out.is_empty() {
        lines.push(format!("no wave takes {}:", output::count(amended.left_out.len(), "device")));
        let shown = amended.left_out.iter().take(LEFT_OUT_SHOWN);
        lines.extend(shown.map(|l| output::one_line(&format!("  {}: {}", l.device, l.reason))));
        let more = amended.left_out.len().saturating_sub(LEFT_OUT_SHOWN);
        lines.extend((more > 0).then(|| format!("  and {more} more (--output json lists them)")));
    }
    lines.join("\n")
}

/// The version that waits, checked against the one in force.
pub(super) struct Waiting {
    id: String,
    document: Vec<u8>,
    version: u32,
    former: (u32, Digest),
    /// What changes, in plain words.
    pub(super) difference: Vec<String>,
    /// The whole in plain words.
    lines: Vec<String>,
}

/// Reads and checks the version that waits. The controller need not be in the right hands: everything is computed here.
pub(super) async fn read(controller: &Controller, rollout: &v1::Rollout) -> Result<Waiting, Failure> {
    let id = rollout.id.clone();
    let wrong = |why: String| {
        Failure::refused(format!("the amendment of rollout {id} must not be signed: {why}"))
            .hint("the controller shows something else than it holds: tell its operators, and sign nothing until then")
    };
    let waiting = rollout.amendment.as_ref().ok_or_else(|| incomplete("version that waits"))?;
    let own = Digest::of(&rollout.document);
    let before: Rollout = read_document(&rollout.document).map_err(wrong)?;
    let next: Rollout = read_document(&waiting.document).map_err(wrong)?;
    before.check_amendment(own, &next).map_err(wrong)?;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|e| wrong(e.to_string()));
    let patch = text(controller.patch(next.patch.as_str()).await?.document)?;
    let document = text(waiting.document.clone())?;
    let former_members = members(controller, &id, before.version).await?;
    check_members(&before, &former_members).map_err(wrong)?;
    let next_members = members(controller, &id, next.version).await?;
    let (next, patch) = check_rollout(&document, &patch, &next_members)?;
    let difference = Difference::between(&former_members, &next, &next_members).lines(&next);
    let mut lines = difference.clone();
    lines.push(String::new());
    lines.extend(describe_rollout(&next, &patch, &next_members));
    Ok(Waiting {
        document: document.into_bytes(),
        version: next.version,
        former: (before.version, own),
        difference,
        lines,
        id,
    })
}

impl Waiting {
    /// What a person reads before they sign.
    pub(super) fn text(&self) -> String {
        self.lines.join("\n")
    }

    /// "version 2 of rollout winter-1"
    pub(super) fn name(&self) -> String {
        format!("version {} of rollout {}", self.version, self.id)
    }

    /// Signs for it in the image repository, where the version in force must be what people of both roles signed.
    pub(super) async fn sign(&self, controller: &Controller, profile: &Path, person: &Person) -> Result<(), Failure> {
        let open = async || Repository::open(controller, profile).await;
        let path = |version: u32| {
            rollout_path(&self.id, u64::from(version)).map_err(|e| Failure::new(format!("rollout {}: {e}", self.id)))
        };
        let repository = open().await?;
        let (version, digest) = self.former;
        repository.check_agreed(&path(version)?, &digest)?;
        let newest = repository.newest_version(&self.id);
        if newest > self.version {
            return Err(Failure::refused(format!(
                "people of both roles have signed version {newest} of {} already",
                self.id
            ))
            .hint(
                "the controller shows an older one: it runs on an old copy, or somebody else runs it; sign nothing",
            ));
        }
        let path = path(self.version)?;
        // An earlier draft of this version never came into force; a signed place is freed before it is signed anew.
        if repository.take_back(&path, &self.document, &person.key).await? {
            return open().await?.sign_for(&path, &self.document, &person.key).await;
        }
        repository.sign_for(&path, &self.document, &person.key).await
    }
}

/// The version that an order is about: an approval that the version waiting needs is given for that one, every other order
/// for the one in force.
pub(super) fn awaited<'a>(rollout: &'a v1::Rollout, wave: &str) -> Option<&'a v1::Amendment> {
    let waiting = rollout.amendment.as_ref()?;
    waiting.approvals.iter().any(|wanted| wanted.wave == wave && waiting.signed).then_some(waiting)
}

/// The digest of the very document that waits, computed here as that of the version in force is.
pub(super) fn digest_of(waiting: &v1::Amendment) -> Result<Digest, Failure> {
    let digest = Digest::of(&waiting.document);
    if waiting.digest != digest.as_bytes() {
        return Err(Failure::refused("the version that waits is not the document that the controller names"));
    }
    Ok(digest)
}
