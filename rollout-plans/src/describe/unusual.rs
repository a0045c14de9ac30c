//! What a careful reader would stop at, in the order of how much it can hurt.

use std::collections::BTreeSet;

use super::{
    rollout::per_site,
    words::{by_site, kind_words, some},
};
use crate::{
    language::shown,
    model::{DurationMs, Installer, Member, Patch, Percent, RebootNeed, Rollout, Scope, VariantId},
    words::count,
};

/// A first wave that is larger than this, and than a tenth of all devices, is no canary.
const CANARIES_MAX: usize = 5;
/// Who watches for less than this sees an install fail, but no clinic work with it.
const SOAK_MIN: DurationMs = DurationMs::from_secs(3600);
/// Most names that one line lists.
const NAMES_MAX: usize = 5;

pub(super) fn unusual(rollout: &Rollout, patch: &Patch, members: &[Member]) -> Vec<String> {
    let mut lines = Vec::new();
    canaries(rollout, members, &mut lines);
    at_one_site(rollout, members, &mut lines);
    untried(rollout, patch, members, &mut lines);
    gates(rollout, members, &mut lines);
    if rollout.plan.rollback.scope == Scope::Device {
        lines.push(
            "When a clinical system fails, only its own devices are taken back; all others keep the patch.".to_owned(),
        );
    }
    installers(patch, members, &mut lines);
    lines
}

fn canaries(rollout: &Rollout, members: &[Member], lines: &mut Vec<String>) {
    let Some(wave) = rollout.plan.waves.first() else { return };
    let first = members.iter().filter(|m| m.wave == wave.name).count();
    if rollout.plan.waves.len() == 1 {
        lines.push(format!("All {} are in one wave: nothing is tried on a few first.", count(members.len(), "device")));
    } else if first > CANARIES_MAX && first * 10 > members.len() {
        lines.push(format!("The first wave, {}, already has {first} of all {} devices.", wave.name, members.len()));
    }
}

fn at_one_site(rollout: &Rollout, members: &[Member], lines: &mut Vec<String>) {
    for wave in &rollout.plan.waves {
        let per_site = per_site(&rollout.plan, &wave.limits);
        if per_site < 2 {
            continue;
        }
        let here: Vec<Member> = members.iter().filter(|m| m.wave == wave.name).cloned().collect();
        let sites = by_site(&here);
        let most = sites.values().copied().max().unwrap_or_default().min(per_site as usize);
        if most < 2 {
            continue;
        }
        let all: Vec<String> = sites
            .iter()
            .filter(|(_, n)| **n > 1 && **n <= per_site as usize)
            .map(|(site, _)| site.to_string())
            .collect();
        let whole = match all.len() {
            0 => String::new(),
            n => format!("; at {} ({}) that is every device of the wave", count(n, "site"), some(&all, NAMES_MAX)),
        };
        lines.push(format!(
            "Up to {most} devices of one site are patched at the same time in wave {}{whole}.",
            wave.name
        ));
    }
}

/// Kinds that the first wave has nothing of. Platforms and models are not in the document; variants are.
fn untried(rollout: &Rollout, patch: &Patch, members: &[Member], lines: &mut Vec<String>) {
    let mut seen: BTreeSet<&VariantId> = BTreeSet::new();
    for (index, wave) in rollout.plan.waves.iter().enumerate() {
        let here = || members.iter().filter(|m| m.wave == wave.name);
        let new: BTreeSet<&VariantId> = here().map(|m| &m.variant).filter(|v| !seen.contains(v)).collect();
        for variant in new.iter().filter(|_| index > 0) {
            let n = here().filter(|m| m.variant == **variant).count();
            let kind = patch.variant(variant).map_or_else(|| variant.to_string(), kind_words);
            lines.push(format!(
                "No earlier wave tries the patch on {kind}: wave {} is the first, with {}.",
                wave.name,
                count(n, "device")
            ));
        }
        seen.extend(new);
    }
}

fn gates(rollout: &Rollout, members: &[Member], lines: &mut Vec<String>) {
    for (index, wave) in rollout.plan.waves.iter().enumerate() {
        if wave.soak < SOAK_MIN {
            lines.push(format!("The devices of wave {} are watched for only {}.", wave.name, wave.soak));
        }
        if wave.gate.success < Percent::ALL {
            lines.push(format!(
                "Wave {} passes when {} succeeded: the others may have failed.",
                wave.name, wave.gate.success
            ));
        }
        let Some(next) = rollout.plan.waves.get(index + 1) else { continue };
        if wave.gate.approvals.is_empty() {
            let n = members.iter().filter(|m| m.wave == next.name).count();
            lines.push(format!("Nobody is asked before wave {} begins, with {}.", next.name, count(n, "device")));
        }
    }
}

fn installers(patch: &Patch, members: &[Member], lines: &mut Vec<String>) {
    let used: BTreeSet<&VariantId> = members.iter().map(|m| &m.variant).collect();
    for variant in patch.variants.iter().filter(|v| used.contains(&v.id)) {
        if let Installer::Script { .. } = variant.installer {
            lines.push(format!(
                "On {} a script does the install, says itself whether it worked, and takes itself back: ask who has read it.",
                kind_words(variant)
            ));
        }
        if let Installer::Node { .. } = variant.installer {
            lines.push(
                "It replaces the program of the site nodes themselves: what it does, all later patches rest on."
                    .to_owned(),
            );
        }
        if let Some(reason) = &variant.irreversible {
            lines.push(format!(
                "On {} the patch can't be uninstalled ({}): only a site's snapshot of the device, or a person, takes it back.",
                kind_words(variant),
                shown(reason)
            ));
        }
        if variant.reboot == RebootNeed::Always {
            lines.push(format!("Every device on {} reboots.", kind_words(variant)));
        }
    }
}
