//! The next version of a rollout: the signed plan against today's estate, without touching what has been done.

use std::collections::{HashMap, HashSet};

use wardround_signing::{Digest, merkle::Tree};

use super::{
    place::{Before, Ground, place},
    survey::Survey,
};
use crate::{
    estate::Estate,
    model::{
        ANCESTORS_MAX, DeviceId, Member, Patch, Reporter, Reporters, ResolvedWave, Rollout, Timestamp, WaveName,
        WavePlan,
    },
};

/// The version that is in force, and how far it has come.
#[derive(Debug, Clone, Copy)]
pub struct Former<'a> {
    /// Its document.
    pub rollout: &'a Rollout,
    /// SHA-256 of the document's bytes.
    pub digest: Digest,
    /// Its members, all waves in leaf order.
    pub members: &'a [Member],
    /// For each member: has its turn come, whatever became of it? Such a device stays as it is.
    pub touched: &'a [bool],
    /// The nodes that are enrolled today, in the order of their sites: waves that change pin them.
    pub reporters: &'a [Reporter],
    /// For each wave: has its gate passed? Such a wave stays as it is.
    pub passed: &'a [bool],
}

/// The next version.
#[derive(Debug, Clone)]
pub struct Amended {
    /// Its document.
    pub rollout: Rollout,
    /// Its members, all waves in leaf order.
    pub members: Vec<Member>,
    /// Devices of today's estate that no wave takes, and why.
    pub left_out: Vec<(DeviceId, String)>,
}

/// Why there is no next version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct CannotAmend {
    /// One sentence.
    pub why: String,
    /// What to do instead.
    pub hint: String,
}

fn cannot<T>(why: impl Into<String>, hint: impl Into<String>) -> Result<T, CannotAmend> {
    Err(CannotAmend { why: why.into(), hint: hint.into() })
}

/// Resolves the plan of `former` anew. New devices go to the first wave that takes them and is not over; untouched devices
/// that no wave takes any more are left out; everything else stays. A wave that draws keeps the devices that it has, and
/// draws new ones only for places that became free or that the plan asks for besides. `patch` is the patch of the former version.
///
/// # Errors
/// [`CannotAmend`] when nothing would change, when a wave would be left without the devices that its gate needs, or when
/// there have been too many versions.
pub fn amend(former: &Former<'_>, patch: &Patch, estate: &Estate, now: Timestamp) -> Result<Amended, CannotAmend> {
    let Former { rollout, members, .. } = *former;
    if rollout.ancestors.len() >= ANCESTORS_MAX {
        let why = format!("rollout {} has had {} versions; a document names no more", rollout.id, rollout.version);
        return cannot(why, "cancel it, and make a new rollout for what is left");
    }
    let position: HashMap<&WaveName, usize> = rollout.waves.iter().map(|w| &w.name).zip(0..).collect();
    let passed = |wave: usize| former.passed.get(wave) == Some(&true);
    let mut ground = Ground { before: HashMap::new(), passed: former.passed };
    let mut stays: Vec<Vec<Member>> = vec![Vec::new(); rollout.waves.len()];
    for (member, touched) in members.iter().zip(former.touched) {
        let Some(wave) = position.get(&member.wave).copied() else { continue };
        let fixed = *touched || passed(wave);
        ground.before.insert(&member.device, Before { wave, fixed });
        if fixed {
            stays[wave].push(member.clone());
        }
    }
    let survey = Survey::new(&rollout.plan, patch, estate);
    if let Some((device, [one, other])) = survey.ambiguous {
        let why = format!("{device} is covered by two variants of {}: {one} and {other}", patch.id);
        return cannot(
            why,
            "which one it gets would be chance: take it out, or make a new rollout of a patch that says it",
        );
    }
    let placed = place(&rollout.plan, &survey, &ground);
    let of_wave = |(at, stays): (usize, Vec<Member>)| {
        let others = super::place::members(&rollout.plan, &survey, at, &placed.waves[at]);
        in_order(&rollout.plan.waves[at], members, [stays, others].concat())
    };
    let waves: Vec<Vec<Member>> = stays.into_iter().enumerate().map(of_wave).collect();
    // One that stays is not left out, whatever today's site files say of it.
    let stays = |(device, _): &(DeviceId, String)| ground.before.get(device).is_some_and(|before| before.fixed);
    let mut left_out = [survey.left_out, placed.left_out].concat();
    left_out.retain(|left| !stays(left));
    left_out.sort_unstable();
    let mut next = Rollout {
        version: rollout.version + 1,
        ancestors: rollout.ancestors.iter().copied().chain([former.digest]).collect(),
        created_at: now,
        ..rollout.clone()
    };
    for (index, wave) in waves.iter().enumerate() {
        check_size(rollout, index, wave.len(), !passed(index))?;
        let tree = Tree::new(wave.iter().map(Member::leaf));
        let before = &rollout.waves[index];
        if (tree.root(), tree.size()) != (before.root, before.count) {
            let name = before.name.clone();
            let (since, reporters) = (next.version, Reporters::of(former.reporters, wave));
            next.waves[index] = ResolvedWave { name, root: tree.root(), count: tree.size(), since, reporters };
        }
    }
    if next.waves == rollout.waves {
        let why = format!("the plan of rollout {} takes the same devices of today's estate as before", rollout.id);
        return cannot(why, hint_of_left_out(&left_out));
    }
    Ok(Amended { rollout: next, members: waves.concat(), left_out })
}

/// The members of a wave of the next version; those that stay come first, and then others in the order of the plan.
///
/// A wave that has the same members as before keeps their order too, whatever labels say today: else a new label alone would
/// take its approvals away.
fn in_order(wave: &WavePlan, before: &[Member], mut members: Vec<Member>) -> Vec<Member> {
    if wave.order.is_empty() {
        members.sort_unstable_by(|a, b| a.device.cmp(&b.device));
        return members;
    }
    let before = || before.iter().filter(|member| member.wave == wave.name);
    let same: HashSet<&Member> = before().collect();
    if same.len() == members.len() && members.iter().all(|member| same.contains(member)) {
        return before().cloned().collect();
    }
    members
}

/// A wave without the devices that its gate needs could never pass.
fn check_size(rollout: &Rollout, wave: usize, count: usize, open: bool) -> Result<(), CannotAmend> {
    let plan = &rollout.plan.waves[wave];
    if count == 0 {
        let why = format!("wave {} of rollout {} would have no devices left", plan.name, rollout.id);
        return cannot(why, "keep one of its devices in the site files, or cancel the rollout and make a new one");
    }
    if open && u64::from(plan.gate.evidence_min) > count as u64 {
        let (need, name) = (plan.gate.evidence_min, &plan.name);
        let why = format!("{need} successes are demanded, but wave {name} would have only {count} devices left");
        return cannot(why, "its gate could never pass: cancel the rollout and make a new one");
    }
    Ok(())
}

fn hint_of_left_out(left_out: &[(DeviceId, String)]) -> String {
    match left_out.first() {
        Some((device, why)) => {
            format!("{} of today's devices are left out, for example {device}: {why}", left_out.len())
        }
        None => "enrol the new site first, or take the device out of its site file: `wardround site list`".to_owned(),
    }
}
