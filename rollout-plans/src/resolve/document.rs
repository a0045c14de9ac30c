//! The rollout document out of a resolution, and the check that every signer makes of its members.

use std::collections::{BTreeMap, BTreeSet};

use wardround_signing::{Digest, merkle::Tree};

use super::{Resolution, select::Chooser};
use crate::model::{Member, Patch, Plan, Reporter, Reporters, ResolvedWave, Rollout, RolloutId, Timestamp};

/// The document that people of both roles sign. `patch_digest` is that of the patch document's bytes; `nodes` are the
/// enrolled nodes, in the order of their sites.
#[must_use]
pub fn document(
    id: RolloutId,
    plan: &Plan,
    patch: &Patch,
    patch_digest: Digest,
    resolution: &Resolution,
    nodes: &[Reporter],
    now: Timestamp,
) -> Rollout {
    let waves = plan
        .waves
        .iter()
        .zip(&resolution.waves)
        .map(|(wave, members)| {
            let tree = Tree::new(members.iter().map(Member::leaf));
            let reporters = Reporters::of(nodes, members);
            ResolvedWave { name: wave.name.clone(), root: tree.root(), count: tree.size(), since: 1, reporters }
        })
        .collect();
    Rollout {
        id,
        version: 1,
        ancestors: Vec::new(),
        patch: patch.id.clone(),
        patch_digest,
        plan: plan.clone(),
        waves,
        created_at: now,
    }
}

/// Checks that `members` (all waves, in leaf order) are exactly those under the document's Merkle roots, and that none of
/// them contradicts the plan in the same document as far as device ids tell. Who signs reads "nothing else than site rx1
/// can be touched", and a node goes by the roots: a controller in an attacker's hands must not make the two differ.
///
/// # Errors
/// A sentence that names the wave or device that differs.
pub fn check_members(rollout: &Rollout, members: &[Member]) -> Result<(), String> {
    rollout.check_lineage()?;
    if rollout.waves.len() != rollout.plan.waves.len()
        || rollout.waves.iter().zip(&rollout.plan.waves).any(|(resolved, planned)| resolved.name != planned.name)
    {
        return Err(format!("the waves of rollout {} are not those of its plan", rollout.id));
    }
    if let Some(wanted) = rollout.plan.patch.as_ref().filter(|wanted| **wanted != rollout.patch) {
        return Err(format!("the plan is for patch {wanted}, the rollout for {}", rollout.patch));
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = rollout.waves.iter().find(|wave| !names.insert(&wave.name)) {
        return Err(format!("two waves are called {}", twice.name));
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
        None => check_choice(&rollout.plan, members),
    }
}

/// `members` stand in waves of the plan.
fn check_choice(plan: &Plan, members: &[Member]) -> Result<(), String> {
    let eligible = Chooser::new(&plan.eligible);
    let waves: BTreeMap<_, _> = plan.waves.iter().map(|wave| (&wave.name, Chooser::new(&wave.select))).collect();
    for member in members {
        if let Err(why) = eligible.check_id(&member.device) {
            return Err(format!("device {} is not eligible by the plan: {why}", member.device));
        }
        if let Some(Err(why)) = waves.get(&member.wave).map(|wave| wave.check_id(&member.device)) {
            return Err(format!("device {} is not one that wave {} chooses: {why}", member.device, member.wave));
        }
    }
    Ok(())
}
