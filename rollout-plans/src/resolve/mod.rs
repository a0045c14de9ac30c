//! Resolution: a plan and a patch against the estate give the members of every wave.

mod advice;
mod amend;
mod document;
mod hours;
mod names;
mod select;

pub use amend::{Amended, CannotAmend, Former, amend};
pub use document::{check_members, document};

use std::collections::{BTreeMap, HashSet};

use select::Chooser;

use crate::{
    estate::Estate,
    language::{ParsedPlan, Problem},
    model::{DeviceId, Member, Patch, Plan, Selector},
};

/// Why an eligible device is left out.
const NO_WAVE: &str = "no wave selects it";

/// A resolved plan, before it becomes a document.
#[derive(Debug, Clone)]
pub struct Resolution {
    /// Members, wave by wave, each wave sorted by device id: this is the Merkle leaf order.
    pub waves: Vec<Vec<Member>>,
    /// Devices that no wave takes, and why.
    pub left_out: Vec<(DeviceId, String)>,
    /// What a careful reader should know.
    pub warnings: Vec<String>,
}

impl Resolution {
    /// All members in leaf order, wave by wave.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.waves.iter().flatten().cloned().collect()
    }
}

/// Resolves. The same input gives the same output; adding a site moves no other site's devices between waves.
///
/// # Errors
/// Problems that point into the plan: a wave that selects nothing, a name that the estate does not know.
pub fn resolve(parsed: &ParsedPlan, patch: &Patch, estate: &Estate) -> Result<Resolution, Vec<Problem>> {
    let plan = &parsed.plan;
    let mut problems = names::unknown(parsed, patch, estate);
    if !problems.is_empty() {
        // An unknown name empties waves; saying that too would only hide the cause.
        problems.sort_by_key(|p| (p.line, p.column));
        return Err(problems);
    }
    let (waves, left_out) = place(plan, patch, estate, |_| false, |_| true);
    for (index, members) in waves.iter().enumerate() {
        let wave = &plan.waves[index];
        if members.is_empty() {
            let field = format!("waves[{index}].select");
            let (message, hint) = why_empty(parsed, index, patch, estate, &left_out);
            problems.push(parsed.problem_at(&field, message, hint));
        } else if u64::from(wave.gate.evidence_min) > members.len() as u64 {
            let message = format!(
                "{} successes are demanded, but wave {} has only {} devices: its gate could never pass",
                wave.gate.evidence_min,
                wave.name,
                members.len()
            );
            let hint = format!("at most {}, or select more devices", members.len());
            problems.push(parsed.problem_at(&format!("waves[{index}].gate.evidence_min"), message, hint));
        }
    }
    if !problems.is_empty() {
        problems.sort_by_key(|p| (p.line, p.column));
        return Err(problems);
    }
    let warnings = advice::advice(plan, &waves, estate);
    Ok(Resolution { waves, left_out: left_out.into_iter().collect(), warnings })
}

/// Each device in the first of the `open` waves (by position) that takes it, or the reason why in none. Devices that are to
/// `stay` where they are, are not looked at.
fn place(
    plan: &Plan,
    patch: &Patch,
    estate: &Estate,
    stay: impl Fn(&DeviceId) -> bool,
    open: impl Fn(usize) -> bool,
) -> (Vec<Vec<Member>>, BTreeMap<DeviceId, String>) {
    let mut waves: Vec<Vec<Member>> = vec![Vec::new(); plan.waves.len()];
    let mut left_out = BTreeMap::new();
    let eligible = Chooser::new(&plan.eligible);
    let choosers: Vec<Chooser<'_>> = plan.waves.iter().map(|wave| Chooser::new(&wave.select)).collect();
    // An inventory that names a device twice, alike or not, must not make two members of it: the first entry counts.
    let mut seen = HashSet::new();
    for (site, device) in estate.devices() {
        if !seen.insert(&device.id) || stay(&device.id) {
            continue;
        }
        if let Err(why) = eligible.check(site, device) {
            left_out.insert(device.id.clone(), format!("not eligible: {why}"));
            continue;
        }
        let Some(variant) = patch.variant_for(&device.platform) else {
            left_out.insert(device.id.clone(), format!("{} has no variant for {}", patch.id, device.platform));
            continue;
        };
        let takes = |index: &usize| choosers[*index].takes(site, device);
        match (0..choosers.len()).filter(|index| open(*index)).find(takes) {
            Some(index) => waves[index].push(Member {
                wave: plan.waves[index].name.clone(),
                device: device.id.clone(),
                variant: variant.id.clone(),
            }),
            None => {
                let why = match (0..choosers.len()).find(takes) {
                    Some(closed) => format!("wave {}, which selects it, is over", plan.waves[closed].name),
                    None => NO_WAVE.to_owned(),
                };
                left_out.insert(device.id.clone(), why);
            }
        }
    }
    for wave in &mut waves {
        wave.sort_unstable_by(|a, b| a.device.cmp(&b.device));
    }
    (waves, left_out)
}

/// Why a wave has no members, and what would help.
fn why_empty(
    parsed: &ParsedPlan,
    index: usize,
    patch: &Patch,
    estate: &Estate,
    left_out: &BTreeMap<DeviceId, String>,
) -> (String, String) {
    let select = &parsed.plan.waves[index].select;
    let name = &parsed.plan.waves[index].name;
    let total = estate.devices().count();
    let usable: Vec<_> =
        estate.devices().filter(|(_, d)| left_out.get(&d.id).is_none_or(|why| why == NO_WAVE)).collect();
    if total == 0 {
        let hint = "enrol a site node first: `wardround site token`";
        return (format!("wave {name} selects nothing: the estate has no devices yet"), hint.to_owned());
    }
    if usable.is_empty() {
        let hint = left_out.iter().next().map(|(id, why)| format!("for example {id}: {why}")).unwrap_or_default();
        let message = format!(
            "wave {name} selects nothing: none of {total} devices is eligible and has a variant of {}",
            patch.id
        );
        return (message, hint);
    }
    let chooser = Chooser::new(select);
    let chosen = usable.iter().filter(|(site, device)| chooser.takes(site, device)).count();
    if chosen > 0 || select.remaining {
        let count = if select.remaining { usable.len() } else { chosen };
        let message = format!("wave {name} selects nothing: earlier waves take all {count} devices that it could have");
        return (message, "narrow the earlier waves, or remove this one".to_owned());
    }
    let message = format!("wave {name} selects nothing of {} eligible devices", usable.len());
    if let Some(percent) = select.percent {
        let others = Selector { percent: None, ..select.clone() };
        let others = Chooser::new(&others);
        let left = usable.iter().filter(|(site, device)| others.takes(site, device)).count();
        if left > 0 {
            let hint =
                format!("{percent} of {left} devices happens to be none: raise the percentage, or choose by label");
            return (message, hint);
        }
    }
    let hint = names::label_hint(select, estate).unwrap_or_else(|| {
        let (site, device) = usable[0];
        let why = chooser.check(site, device).err().unwrap_or_default();
        format!("for example {}: {why}", device.id)
    });
    (message, hint)
}
