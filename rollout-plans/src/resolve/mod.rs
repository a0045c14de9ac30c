//! Resolution: a plan and a patch against the estate give the members of every wave.

mod advice;
mod amend;
mod combinations;
mod document;
mod draw;
mod hours;
mod lineage;
mod names;
mod order;
mod place;
mod select;
mod sizes;
mod survey;

pub use amend::{Amended, CannotAmend, Former, amend};
pub use combinations::Unrepresented;
pub use document::{check_members, document};

use place::{Ground, members, place};
use select::Chooser;
use survey::Survey;

use crate::{
    estate::Estate,
    language::{Finding, ParsedPlan, Problem},
    model::{DeviceId, Member, Patch, Selector},
};

/// A resolved plan, before it becomes a document.
#[derive(Debug, Clone)]
pub struct Resolution {
    /// Members, wave by wave, each wave in the order in which it takes them (by device id where the plan names none): this is
    /// the Merkle leaf order.
    pub waves: Vec<Vec<Member>>,
    /// Devices that no wave takes, and why.
    pub left_out: Vec<(DeviceId, String)>,
    /// Combinations that a wave meets first, although waves came before it: wave by wave, and sorted.
    pub unrepresented: Vec<Unrepresented>,
    /// What the plan against this estate shows to be risky; those that it accepts are marked. What the plan alone shows is
    /// in [`ParsedPlan::warnings`].
    pub warnings: Vec<Finding>,
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
    let survey = Survey::new(plan, patch, estate);
    if let Some((device, [one, other])) = survey.ambiguous {
        let message = format!("{device} is covered by two variants of {}: {one} and {other}", patch.id);
        let hint = "which one it gets would be chance: their platforms must not overlap; import the patch anew";
        return Err(vec![parsed.problem_at("patch", message, hint.to_owned())]);
    }
    let placed = place(plan, &survey, &Ground::default());
    for (index, wave) in plan.waves.iter().enumerate() {
        let count = placed.waves[index].len();
        if count == 0 {
            let field = format!("waves[{index}].select");
            let (message, hint) = why_empty(parsed, index, patch, (&survey, estate));
            problems.push(parsed.problem_at(&field, message, hint));
        } else if u64::from(wave.gate.evidence_min) > count as u64 {
            let message = format!(
                "{} successes are demanded, but wave {} has only {count} devices: its gate could never pass",
                wave.gate.evidence_min, wave.name,
            );
            let hint = format!("at most {count}, or select more devices");
            problems.push(parsed.problem_at(&format!("waves[{index}].gate.evidence_min"), message, hint));
        }
    }
    if !problems.is_empty() {
        problems.sort_by_key(|p| (p.line, p.column));
        return Err(problems);
    }
    let unrepresented = combinations::unrepresented(plan, &survey, &placed.waves);
    let warnings = advice::advice(parsed, &survey, &placed.waves, &unrepresented, estate);
    let waves = placed.waves.iter().enumerate().map(|(at, placed)| members(plan, &survey, at, placed)).collect();
    let mut left_out = [survey.left_out, placed.left_out].concat();
    left_out.sort_unstable();
    Ok(Resolution { waves, left_out, unrepresented, warnings })
}

/// Why a wave has no members, and what would help.
fn why_empty(
    parsed: &ParsedPlan,
    index: usize,
    patch: &Patch,
    (survey, estate): (&Survey<'_>, &Estate),
) -> (String, String) {
    let select = &parsed.plan.waves[index].select;
    let name = &parsed.plan.waves[index].name;
    let usable = &survey.candidates;
    let total = usable.len() + survey.left_out.len();
    if total == 0 {
        let hint = "enrol a site node first: `wardround site token`";
        return (format!("wave {name} selects nothing: the estate has no devices yet"), hint.to_owned());
    }
    if usable.is_empty() {
        let hint = survey.left_out.iter().min().map(|(id, why)| format!("for example {id}: {why}")).unwrap_or_default();
        let message = format!(
            "wave {name} selects nothing: none of {total} devices is eligible and has a variant of {}",
            patch.id
        );
        return (message, hint);
    }
    let chooser = Chooser::new(select);
    let chosen = usable.iter().filter(|candidate| survey.meets(&chooser, candidate)).count();
    if chosen > 0 && select.representative.is_some() {
        let message = format!("wave {name} selects nothing: no later wave could take a device that it could stand for");
        return (message, "widen the later waves, or choose in another way".to_owned());
    }
    if chosen > 0 {
        let message =
            format!("wave {name} selects nothing: earlier waves take all {chosen} devices that it could have");
        return (message, "narrow the earlier waves, or remove this one".to_owned());
    }
    let message = format!("wave {name} selects nothing of {} eligible devices", usable.len());
    if let Some(percent) = select.percent {
        let others = Selector { percent: None, ..select.clone() };
        let others = Chooser::new(&others);
        let left = usable.iter().filter(|candidate| survey.meets(&others, candidate)).count();
        if left > 0 {
            let hint = format!(
                "{percent} of {left} devices happens to be none: raise the percentage, say `count`, or choose by label"
            );
            return (message, hint);
        }
    }
    let hint = names::label_hint(select, estate).unwrap_or_else(|| {
        let first = &usable[0];
        let why = chooser.check(first.site, first.device, survey.kinds_of(first)).err();
        format!("for example {}: {}", first.device.id, why.map(|why| why.to_string()).unwrap_or_default())
    });
    (message, hint)
}
