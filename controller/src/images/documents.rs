//! What a publication means for the patches and rollouts that this controller holds.

use std::collections::{BTreeMap, BTreeSet};

use wardround_rollout_plans::{
    engine::Event,
    model::{PatchId, RolloutId},
};
use wardround_signing::{
    Digest, Role,
    tuf::{Images, KeyHolder, Kind, RoleName, rollout_path},
};

use crate::{
    core::{Change, Core, Facts},
    registry::{RegistryEvent, Signed},
};

/// The roles that sign documents.
const SIGNING: [(RoleName, Role); 2] = [(RoleName::Release, Role::Release), (RoleName::Clinical, Role::Clinical)];

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

    /// Digest and length of the document that this controller holds under that name.
    pub(super) fn held(&self, facts: &Facts) -> Option<(Digest, u64)> {
        match self {
            Self::Patch(id) => facts.registry.patch(id).map(|p| (p.digest, p.envelope.payload.len() as u64)),
            Self::Rollout(id, version) if *version == facts.registry.version(id) => {
                facts.registry.rollout(id).map(|r| (r.digest, r.envelope.payload.len() as u64))
            }
            Self::Rollout(id, version) => {
                let waiting = facts.registry.amendment(id).filter(|waiting| waiting.version == *version);
                waiting.map(|waiting| (waiting.digest, waiting.document.len() as u64))
            }
        }
    }
}

/// Which roles signed for a path's very document, and whether it counts.
type Standing = (BTreeSet<Role>, bool);

/// By path: every document that some role signed for.
fn standings(images: Option<&Images>) -> BTreeMap<String, (Digest, Standing)> {
    let mut all: BTreeMap<String, (Digest, Standing)> = BTreeMap::new();
    let Some(images) = images else { return all };
    for (name, role) in SIGNING {
        for (path, target) in images.targets(name) {
            let Ok(sha256) = target.sha256() else { continue };
            let (_, standing) = all.entry(path.to_owned()).or_insert_with(|| (sha256, Standing::default()));
            standing.0.insert(role);
        }
    }
    for (path, (sha256, standing)) in &mut all {
        match images.agreed(path) {
            Ok(agreed) => {
                standing.1 = true;
                *sha256 = agreed.sha256;
            }
            Err(_) => standing.1 = false,
        }
    }
    all
}

/// The changes that bring patches and rollouts up to date with what was published.
pub(super) fn changes(core: &Core, before: Option<&Images>, after: &Images, signers: &[KeyHolder]) -> Vec<Change> {
    let (before, after) = (standings(before), standings(Some(after)));
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let holders: Vec<String> = signers.iter().map(|signer| signer.holder.clone()).collect();
    core.read(|facts| {
        let changed = paths.into_iter().filter(|path| before.get(*path) != after.get(*path));
        changed.filter_map(|path| change(facts, path, after.get(path), &holders)).collect()
    })
}

fn change(facts: &Facts, path: &str, standing: Option<&(Digest, Standing)>, holders: &[String]) -> Option<Change> {
    let document = Document::of(path)?;
    let (held, _) = document.held(facts)?;
    // Somebody else's document under the same name does not count for ours.
    let (roles, ready) =
        standing.filter(|(sha256, _)| *sha256 == held).map(|(_, standing)| standing.clone()).unwrap_or_default();
    let signed = Signed { signatures: Vec::new(), holders: holders.to_vec(), roles, ready };
    match document {
        Document::Patch(id) => Some(RegistryEvent::PatchSigned { id, signed }.into()),
        // The engine hears of it from `amendments`.
        Document::Rollout(id, version) if version != facts.registry.version(&id) => None,
        Document::Rollout(id, _) => {
            let becomes_ready = ready && !facts.registry.rollout(&id)?.ready;
            let change = Change::from(RegistryEvent::RolloutSigned { id: id.clone(), signed });
            let whole = change.clone().and(Event::RolloutSigned { rollout: id });
            // One that was cancelled meanwhile is signed all the same, and stays cancelled.
            let goes_on = becomes_ready && facts.check(&whole, facts.now()).is_ok();
            Some(if goes_on { whole } else { change })
        }
    }
}
