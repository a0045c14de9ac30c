//! What the published repository says of the patches and rollouts that this controller holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use wardround_rollout_plans::{
    engine::Event,
    model::{PatchId, RolloutId},
};
use wardround_signing::{
    Digest, Role,
    tuf::{Images, Kind, RoleName, patch_path, rollout_path},
};

use super::{ImageError, Repository};
use crate::{
    core::{Change, Facts},
    registry::{Document as Held, RegistryEvent, Signed},
};

/// The roles that sign documents.
pub(crate) const SIGNING: [(RoleName, Role); 2] =
    [(RoleName::Release, Role::Release), (RoleName::Clinical, Role::Clinical)];

/// What a path of the repository names.
pub(super) enum Document {
    /// A patch.
    Patch(PatchId),
    /// A version of a rollout.
    Rollout(RolloutId, u32),
}

impl Document {
    /// `patches/ID.json` or `rollouts/ID.VERSION.json`.
    pub(super) fn of(path: &str) -> Option<Self> {
        let (_, name) = path.split_once('/')?;
        let name = name.strip_suffix(".json")?;
        match Kind::of(path)? {
            Kind::Patch => PatchId::new(name).ok().map(Self::Patch),
            Kind::Rollout => {
                let (id, version) = name.rsplit_once('.')?;
                let version: u32 = version.parse().ok()?;
                let id = RolloutId::new(id).ok()?;
                // One spelling of each number.
                (rollout_path(id.as_str(), u64::from(version)).ok()? == path).then_some(Self::Rollout(id, version))
            }
        }
    }

    /// The document that this controller holds under that name.
    fn record<'a>(&self, facts: &'a Facts) -> Option<&'a Held> {
        match self {
            Self::Patch(id) => facts.registry.patch(id).map(|patch| &patch.document),
            // That of a version that waits is the engine's to know: it hears of it from `amendments`.
            Self::Rollout(id, version) if *version == facts.registry.version(id) => {
                facts.registry.rollout(id).map(|rollout| &rollout.document)
            }
            Self::Rollout(..) => None,
        }
    }

    /// Digest and length of the document that this controller holds under that name.
    pub(super) fn held(&self, facts: &Facts) -> Option<(Digest, u64)> {
        if let Self::Rollout(id, version) = self
            && *version != facts.registry.version(id)
        {
            let waiting = facts.registry.amendment(id).filter(|waiting| waiting.version == *version);
            return waiting.map(|waiting| (waiting.digest, waiting.document.len() as u64));
        }
        self.record(facts).map(|held| (held.digest, held.text.len() as u64))
    }
}

/// Roles that have signed for the very document at a path, and whether that is enough.
fn standing(images: &Images, path: &str, held: Digest) -> (BTreeSet<Role>, bool) {
    let has = |name| {
        images.targets(name).any(|(at, target)| at == path && target.sha256().is_ok_and(|sha256| sha256 == held))
    };
    let roles = SIGNING.into_iter().filter(|(name, _)| has(*name)).map(|(_, role)| role).collect();
    (roles, images.agreed(path).is_ok_and(|agreed| agreed.sha256 == held))
}

/// The changes that bring the record of patches and rollouts up to what is published.
pub(super) fn changes(facts: &Facts, images: &Images) -> Vec<Change> {
    let signers: BTreeMap<Role, Vec<String>> = SIGNING
        .into_iter()
        .map(|(name, role)| (role, images.signers(name).into_iter().map(|signer| signer.holder).collect()))
        .collect();
    let patches = facts.registry.patches().keys().map(|id| (patch_path(id.as_str()), Document::Patch(id.clone())));
    let rollouts = facts.registry.rollouts().keys();
    let rollouts = rollouts.map(|id| {
        let version = facts.registry.version(id);
        (rollout_path(id.as_str(), u64::from(version)), Document::Rollout(id.clone(), version))
    });
    let all = patches.chain(rollouts).filter_map(|(path, document)| Some((path.ok()?, document)));
    all.flat_map(|(path, document)| change(facts, images, &path, document, &signers)).collect()
}

fn change(
    facts: &Facts,
    images: &Images,
    path: &str,
    document: Document,
    signers: &BTreeMap<Role, Vec<String>>,
) -> Vec<Change> {
    let Some(held) = document.record(facts) else { return Vec::new() };
    let (roles, ready) = standing(images, path, held.digest);
    if (roles.iter().eq(held.signed.keys())) && ready == held.ready {
        return Vec::new();
    }
    // Who signed first stays named: a later version of the role is somebody's signature on all of it.
    let known = |role: &Role| held.signed.get(role).filter(|names| !names.is_empty());
    let names = |role: Role| known(&role).or_else(|| signers.get(&role)).cloned().unwrap_or_default();
    let by = roles.into_iter().map(|role| (role, names(role))).collect();
    let signed = Signed { by, ready };
    let taken_back = held.ready && !ready;
    match document {
        Document::Patch(id) => {
            let alarm = taken_back.then(|| alarm(&format!("patch {id}"), &format!("rollouts of patch {id}")));
            let mut all = vec![RegistryEvent::PatchSigned { id, signed }.into()];
            all.extend(alarm);
            all
        }
        Document::Rollout(id, _) => {
            let becomes_ready = ready && !held.ready;
            let alarm = taken_back.then(|| alarm(&format!("rollout {id}"), &format!("rollout {id}")));
            let change = Change::from(RegistryEvent::RolloutSigned { id: id.clone(), signed });
            let whole = change.clone().and(Event::RolloutSigned { rollout: id });
            // One that was cancelled meanwhile is signed all the same, and stays cancelled.
            let goes_on = becomes_ready && facts.check(&whole, facts.now()).is_ok();
            let mut all = vec![if goes_on { whole } else { change }];
            all.extend(alarm);
            all
        }
    }
}

/// What counted does so no more: a person took it back, and what runs must be looked at.
fn alarm(what: &str, stops: &str) -> Change {
    let text = format!(
        "{what} is no longer signed for by both release and clinical: nodes begin nothing new of {stops}; what runs is \
         halted, rolled back or cancelled by an order"
    );
    RegistryEvent::Alarm { code: "not_signed_for".to_owned(), text, site: None }.into()
}

impl Repository {
    /// Brings the record up to what is published: after a restore people's signatures may be there before the document is.
    pub(crate) async fn recognise(self: &Arc<Self>) -> Result<(), ImageError> {
        let repository = Arc::clone(self);
        // To its end, whatever becomes of the caller: no publication may come in between.
        let task = tokio::spawn(async move {
            let _turn = repository.turn.lock().await;
            let Some(view) = repository.view() else { return Ok(()) };
            let changes = repository.core.read(|facts| super::all_changes(facts, &view.images));
            if !changes.is_empty() {
                repository.core.submit_all(changes).await?;
            }
            Ok(())
        });
        task.await.map_err(|e| ImageError::Disk(format!("reading the published documents stopped: {e}")))?
    }
}
