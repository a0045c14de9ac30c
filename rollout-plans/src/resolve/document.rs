//! The rollout document out of a resolution, and the check that every signer and the controller make of its members.

use std::collections::BTreeSet;

use wardround_signing::{Digest, merkle::Tree};

use super::Resolution;
use crate::model::{Member, Patch, Plan, ResolvedWave, Rollout, RolloutId, Timestamp};

/// The document that people of both roles sign. `patch_digest` is that of the patch document's bytes.
#[must_use]
pub fn document(
    id: RolloutId,
    plan: &Plan,
    patch: &Patch,
    patch_digest: Digest,
    resolution: &Resolution,
    now: Timestamp,
) -> Rollout {
    let waves = plan
        .waves
        .iter()
        .zip(&resolution.waves)
        .map(|(wave, members)| {
            let tree = Tree::new(members.iter().map(Member::leaf));
            ResolvedWave { name: wave.name.clone(), root: tree.root(), count: tree.size() }
        })
        .collect();
    Rollout { id, patch: patch.id.clone(), patch_digest, plan: plan.clone(), waves, created_at: now }
}

/// Checks that `members` (all waves, in leaf order) are exactly those under the document's Merkle roots.
///
/// # Errors
/// A sentence that names the wave or device that differs.
pub fn check_members(rollout: &Rollout, members: &[Member]) -> Result<(), String> {
    if rollout.waves.len() != rollout.plan.waves.len()
        || rollout.waves.iter().zip(&rollout.plan.waves).any(|(resolved, planned)| resolved.name != planned.name)
    {
        return Err(format!("the waves of rollout {} are not those of its plan", rollout.id));
    }
    let mut devices = BTreeSet::new();
    if let Some(twice) = members.iter().find(|member| !devices.insert(&member.device)) {
        return Err(format!("device {} is a member twice", twice.device));
    }
    let mut rest = members;
    for wave in &rollout.waves {
        let count = rest.iter().take_while(|member| member.wave == wave.name).count();
        let (here, after) = rest.split_at(count);
        rest = after;
        if count as u64 != wave.count {
            return Err(format!("wave {} has {count} members; the document says {}", wave.name, wave.count));
        }
        if !here.is_sorted_by(|a, b| a.device < b.device) {
            return Err(format!("the members of wave {} are not in order", wave.name));
        }
        if Tree::new(here.iter().map(Member::leaf)).root() != wave.root {
            return Err(format!("the members of wave {} are not those under the document's root", wave.name));
        }
    }
    match rest.first() {
        Some(member) => Err(format!("device {} is in wave {}, out of place or unknown", member.device, member.wave)),
        None => Ok(()),
    }
}
