//! What a careful reader should know about a resolution.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    estate::Estate,
    model::{Device, DeviceId, Member, Plan, Scope},
};

/// Most names that one sentence lists.
const NAMES_MAX: usize = 5;

/// Warnings, each one sentence.
pub(super) fn advice(plan: &Plan, waves: &[Vec<Member>], estate: &Estate) -> Vec<String> {
    let kinds = kinds_by_device(estate);
    let mut warnings = unrepresented(plan, waves, estate, &kinds);
    warnings.extend(shared_groups(plan, waves, estate));
    warnings.extend(unwatched(waves, &kinds));
    warnings.extend(systems_without_devices(waves, estate));
    warnings.extend(super::hours::advice(plan, waves, estate));
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

/// Kinds of the clinical systems that need each device.
type Kinds<'e> = BTreeMap<&'e DeviceId, BTreeSet<&'e str>>;

fn kinds_by_device(estate: &Estate) -> Kinds<'_> {
    let mut kinds = Kinds::new();
    for system in estate.sites().flat_map(|site| &site.systems) {
        for device in &system.devices {
            kinds.entry(device).or_default().insert(&system.kind);
        }
    }
    kinds
}

/// Combinations of platform, model and kind of clinical system that no earlier wave has tried (DESIGN, "Canaries that
/// represent").
fn unrepresented(plan: &Plan, waves: &[Vec<Member>], estate: &Estate, kinds: &Kinds<'_>) -> Vec<String> {
    let none = BTreeSet::new();
    let mut seen: BTreeSet<(&str, &str, &str)> = BTreeSet::new();
    let mut warnings = Vec::new();
    for (index, members) in waves.iter().enumerate() {
        let mut here: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
        for (_, device) in members.iter().filter_map(|m| estate.device(&m.device)) {
            let mut add = |kind| *here.entry((device.platform.as_str(), device.model.as_str(), kind)).or_default() += 1;
            let kinds = kinds.get(&device.id).unwrap_or(&none);
            if kinds.is_empty() {
                add("");
            }
            kinds.iter().for_each(|kind| add(kind));
        }
        if index > 0 {
            let new: Vec<String> = here
                .iter()
                .filter(|((platform, model, kind), _)| match *kind {
                    "" => !seen.iter().any(|(p, m, _)| p == platform && m == model),
                    kind => !seen.contains(&(*platform, *model, kind)),
                })
                .map(|((platform, model, kind), count)| {
                    let model = if model.is_empty() { "unknown model" } else { model };
                    let kind = if kind.is_empty() { String::new() } else { format!(" for {kind}") };
                    format!("{} on {model}{kind} ({count})", short_platform(platform))
                })
                .collect();
            if !new.is_empty() {
                let name = &plan.waves[index].name;
                warnings
                    .push(format!("wave {name} meets combinations that no earlier wave has tried: {}", names(&new)));
            }
        }
        seen.extend(here.into_keys());
    }
    warnings
}

/// "windows_xp sp3 x86" out of a CPE name: the parts that are neither `*` nor `-`, without the vendor.
fn short_platform(cpe: &str) -> String {
    let parts = cpe.split(':').skip(4).filter(|part| !matches!(*part, "*" | "-"));
    parts.collect::<Vec<_>>().join(" ")
}

fn shared_groups(plan: &Plan, waves: &[Vec<Member>], estate: &Estate) -> Vec<String> {
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
        for (site, device) in members.iter().filter_map(|m| estate.device(&m.device)) {
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

fn unwatched(waves: &[Vec<Member>], kinds: &Kinds<'_>) -> Option<String> {
    let unwatched: Vec<String> = waves
        .iter()
        .flatten()
        .filter(|member| !kinds.contains_key(&member.device))
        .map(|member| member.device.to_string())
        .collect();
    (!unwatched.is_empty()).then(|| {
        format!(
            "nothing watches {} of the devices: no clinical system says that it needs {}",
            unwatched.len(),
            names(&unwatched)
        )
    })
}

fn systems_without_devices(waves: &[Vec<Member>], estate: &Estate) -> Option<String> {
    let sites: BTreeSet<_> = waves.iter().flatten().map(|member| member.device.site()).collect();
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
pub(super) fn names(all: &[String]) -> String {
    let shown = all.iter().take(NAMES_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
