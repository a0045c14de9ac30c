//! What a careful reader should know about a resolution.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    combinations::Unrepresented,
    survey::{Candidate, Survey},
};
use crate::{
    estate::Estate,
    model::{Device, DeviceId, Plan, Scope, SiteId, WaveName},
};

/// Most names that one sentence lists.
const NAMES_MAX: usize = 5;

/// Warnings, each one sentence.
pub(super) fn advice(
    plan: &Plan,
    survey: &Survey<'_>,
    waves: &[Vec<usize>],
    unrepresented: &[Unrepresented],
    estate: &Estate,
) -> Vec<String> {
    let waves: Vec<Vec<&Candidate<'_>>> =
        waves.iter().map(|wave| wave.iter().map(|at| &survey.candidates[*at]).collect()).collect();
    let mut warnings = untried(plan, unrepresented);
    warnings.extend(shared_groups(plan, &waves));
    warnings.extend(unwatched(&waves, survey));
    warnings.extend(systems_without_devices(&waves, estate));
    warnings.extend(super::hours::advice(plan, &waves));
    if plan.rollback.scope == Scope::Device {
        let critical = estate.sites().flat_map(|s| &s.systems).filter(|s| s.critical).count();
        if critical > 0 {
            warnings.push(format!(
                "rollback scope is device although {critical} clinical systems are critical: other devices keep the patch after one fails"
            ));
        }
    }
    warnings
}

fn untried(plan: &Plan, unrepresented: &[Unrepresented]) -> Vec<String> {
    let of_wave = |name: &WaveName| unrepresented.iter().filter(|new| new.wave == *name).map(words).collect::<Vec<_>>();
    let waves = plan.waves.iter().map(|wave| (&wave.name, of_wave(&wave.name))).filter(|(_, new)| !new.is_empty());
    waves
        .map(|(name, new)| format!("wave {name} meets combinations that no earlier wave has tried: {}", names(&new)))
        .collect()
}

/// "windows_xp sp3 x86 on ScanMaker CT for pacs (3)".
fn words(new: &Unrepresented) -> String {
    let model = if new.model.is_empty() { "unknown model" } else { &new.model };
    let kind = if new.kind.is_empty() { String::new() } else { format!(" for {}", new.kind) };
    format!("{} on {model}{kind} ({})", short_platform(&new.platform), new.count)
}

/// "windows_xp sp3 x86" out of a CPE name: the parts that are neither `*` nor `-`, without the vendor.
fn short_platform(cpe: &str) -> String {
    let parts = cpe.split(':').skip(4).filter(|part| !matches!(*part, "*" | "-"));
    parts.collect::<Vec<_>>().join(" ")
}

fn shared_groups(plan: &Plan, waves: &[Vec<&Candidate<'_>>]) -> Vec<String> {
    let mut warnings = Vec::new();
    for (wave, members) in plan.waves.iter().zip(waves) {
        let per_site = match (plan.per_site(), wave.limits.per_site) {
            (plan, Some(wave)) => plan.min(wave),
            (plan, None) => plan,
        };
        if per_site < 2 {
            continue;
        }
        let mut groups: BTreeMap<String, usize> = BTreeMap::new();
        for Candidate { site, device, .. } in members {
            if let Some(group) = &device.group {
                *groups.entry(format!("{}/{group}", site.site)).or_default() += 1;
            }
        }
        let shared: Vec<String> = groups.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name).collect();
        if !shared.is_empty() {
            warnings.push(format!(
                "wave {} has several devices of one redundancy group, and {per_site} per site at once; only the group's own limit keeps them apart: {}",
                wave.name,
                names(&shared)
            ));
        }
    }
    warnings
}

fn unwatched(waves: &[Vec<&Candidate<'_>>], survey: &Survey<'_>) -> Option<String> {
    let mut unwatched: Vec<&DeviceId> = Vec::new();
    for wave in waves {
        let mut here: Vec<&DeviceId> =
            wave.iter().filter(|c| survey.kinds_of(c).is_empty()).map(|c| &c.device.id).collect();
        here.sort_unstable();
        unwatched.extend(here);
    }
    (!unwatched.is_empty()).then(|| {
        format!(
            "nothing watches {} of the devices: no clinical system says that it needs {}",
            unwatched.len(),
            names(&unwatched)
        )
    })
}

fn systems_without_devices(waves: &[Vec<&Candidate<'_>>], estate: &Estate) -> Option<String> {
    let sites: BTreeSet<&SiteId> = waves.iter().flatten().map(|c| &c.site.site).collect();
    let known = |devices: &[Device], id: &DeviceId| devices.iter().any(|d| d.id == *id);
    let lonely: Vec<String> = estate
        .sites()
        .filter(|site| sites.contains(&site.site))
        .flat_map(|site| {
            site.systems
                .iter()
                .filter(|s| !s.devices.iter().any(|id| known(&site.devices, id)))
                .map(|s| s.id.to_string())
        })
        .collect();
    (!lonely.is_empty()).then(|| {
        format!("clinical systems that name no device; their failure is blamed on nothing: {}", names(&lonely))
    })
}

/// The first few, and how many more.
pub(super) fn names<T: ToString>(all: &[T]) -> String {
    let shown = all.iter().take(NAMES_MAX).map(T::to_string).collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
