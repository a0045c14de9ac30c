//! The rollout document out of a resolution, and the check that every signer makes of its members.

use std::collections::{BTreeMap, BTreeSet};

use wardround_signing::{Digest, merkle::Tree};

use super::{Resolution, order, select::Chooser, survey::Rank};
use crate::model::{
    Axis, Member, Patch, Plan, Reporter, Reporters, ResolvedWave, Rollout, RolloutId, SiteId, Timestamp, WaveName,
    WavePlan,
};

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
        requires: patch.required(),
        supersedes: patch.supersedes.clone(),
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
        check_order(rollout, &wave.name, here)?;
        if Tree::new(here.iter().map(Member::leaf)).root() != wave.root {
            return Err(format!("the members of wave {} are not those under the document's root", wave.name));
        }
    }
    match rest.first() {
        Some(member) => Err(format!("device {} is in wave {}, out of place or unknown", member.device, member.wave)),
        None => check_choice(rollout, members),
    }
}

/// By id where the plan names no order. Of one that it names, a first version shows what ids tell; an amendment keeps what it
/// has in front.
fn check_order(rollout: &Rollout, name: &WaveName, here: &[Member]) -> Result<(), String> {
    let Some(wave) = rollout.plan.waves.iter().find(|wave| wave.name == *name) else { return Ok(()) };
    if wave.order.is_empty() && !here.is_sorted_by(|a, b| a.device < b.device) {
        return Err(format!("the members of wave {name} are not in order"));
    }
    if rollout.version > 1 {
        return Ok(());
    }
    match order::contradicted(wave, here.iter().map(|member| &member.device)) {
        Some(why) => Err(format!("the members of wave {name} are not in the order of its plan: {why}")),
        None => Ok(()),
    }
}

/// `members` stand in waves of the plan, wave by wave.
///
/// What the id of a device does not tell is not claimed: labels, platforms, regions, types of sites and clinical systems,
/// and with them who is drawn by stratum or by combination.
fn check_choice(rollout: &Rollout, members: &[Member]) -> Result<(), String> {
    let plan = &rollout.plan;
    let eligible = Chooser::new(&plan.eligible);
    if let Some((member, why)) = members.iter().find_map(|m| Some((m, eligible.check_id(&m.device).err()?))) {
        return Err(format!("device {} is not eligible by the plan: {why}", member.device));
    }
    let mut rest = members;
    for wave in &plan.waves {
        let chooser = Chooser::new(&wave.select);
        let here = rest.iter().take_while(|member| member.wave == wave.name).count();
        let (here, later) = rest.split_at(here);
        rest = later;
        if let Some((member, why)) = here.iter().find_map(|m| Some((m, chooser.check_id(&m.device).err()?))) {
            return Err(format!("device {} is not one that wave {} chooses: {why}", member.device, wave.name));
        }
        let Some(count) = wave.select.count else { continue };
        check_count(wave, count, here)?;
        // An amendment keeps whom it has, so a device that comes later may stand before them in the order.
        if wave.select.by.is_empty() && chooser.goes_by_id() && rollout.version == 1 {
            let last = here.iter().map(|m| (Rank::of(&m.device), &m.device)).max();
            let passed_over = |m: &&Member| {
                last.is_some_and(|last| (Rank::of(&m.device), &m.device) < last) && chooser.check_id(&m.device).is_ok()
            };
            if let Some(member) = later.iter().find(passed_over) {
                return Err(format!("device {} should have been drawn for wave {}", member.device, wave.name));
            }
        }
    }
    Ok(())
}

/// Never more than the plan says, in the wave or at each site.
fn check_count(wave: &WavePlan, count: u32, here: &[Member]) -> Result<(), String> {
    let (name, most) = (&wave.name, count as usize);
    match wave.select.by.as_slice() {
        [] if here.len() > most => Err(format!("wave {name} has {} devices; its plan chooses {count}", here.len())),
        [Axis::Site] => {
            let mut sites: BTreeMap<SiteId, usize> = BTreeMap::new();
            here.iter().for_each(|member| *sites.entry(member.device.site()).or_default() += 1);
            match sites.iter().find(|(_, n)| **n > most) {
                Some((site, n)) => Err(format!("wave {name} has {n} devices of site {site}; its plan chooses {count}")),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}
