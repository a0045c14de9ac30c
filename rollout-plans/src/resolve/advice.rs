//! What the plan against an estate shows to be risky.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{
    combinations::Unrepresented,
    sizes,
    survey::{Candidate, Survey},
};
use crate::{
    estate::Estate,
    language::{Finding, Needs, ParsedPlan, Rule, settle},
    model::{ClinicalSystem, DeviceId, Plan, Scope, SiteId, SiteInventory, WaveName},
};

/// Most names that one sentence lists.
const NAMES_MAX: usize = 5;

/// The candidates of each wave.
pub(super) type Waves<'w, 'e> = &'w [Vec<&'w Candidate<'e>>];

/// Gathers findings, each at its place in the plan.
pub(super) struct Advice<'p> {
    parsed: &'p ParsedPlan,
    findings: Vec<Finding>,
}

impl Advice<'_> {
    pub(super) fn plan(&self) -> &Plan {
        &self.parsed.plan
    }

    /// About a wave (at its position; `field` is within it) or about the whole.
    pub(super) fn add(&mut self, rule: Rule, wave: Option<usize>, field: &str, message: String, hint: &str) {
        let path = match (wave, field) {
            (None, field) => field.to_owned(),
            (Some(index), "") => format!("waves[{index}]"),
            (Some(index), field) => format!("waves[{index}].{field}"),
        };
        let problem = self.parsed.problem_at(&path, message, hint.to_owned());
        let wave = wave.map(|index| self.plan().waves[index].name.clone());
        self.findings.push(Finding { rule, wave, problem, accepted: None });
    }
}

/// All of it; those that the plan accepts are marked.
pub(super) fn advice(
    parsed: &ParsedPlan,
    survey: &Survey<'_>,
    waves: &[Vec<usize>],
    unrepresented: &[Unrepresented],
    estate: &Estate,
) -> Vec<Finding> {
    let waves: Vec<Vec<&Candidate<'_>>> =
        waves.iter().map(|wave| wave.iter().map(|at| &survey.candidates[*at]).collect()).collect();
    let mut advice = Advice { parsed, findings: Vec::new() };
    untried(&mut advice, unrepresented);
    sizes::advise(&mut advice, &waves);
    groups(&mut advice, &waves);
    unwatched(&mut advice, &waves, survey);
    systems(&mut advice, &waves, estate);
    if !survey.lacking.is_empty() {
        let mut lacking: Vec<&DeviceId> = survey.lacking.iter().collect();
        lacking.sort_unstable();
        let message = format!(
            "{} devices are left out, since nothing says that they have what the patch requires: {}",
            lacking.len(),
            names(&lacking)
        );
        let hint = "roll that out first, or name it under `patches` of the device in its site file";
        advice.add(Rule::PrerequisiteUnknown, None, "waves", message, hint);
    }
    super::hours::advise(&mut advice, &waves);
    super::order::advise(&mut advice, &waves, survey);
    let critical = estate.sites().flat_map(|s| &s.systems).filter(|s| s.critical).count();
    if parsed.plan.rollback.scope == Scope::Device && critical > 0 {
        let message = format!(
            "rollback scope is device although {critical} clinical systems are critical: other devices keep the patch after one fails"
        );
        advice.add(Rule::CriticalKept, None, "rollback.scope", message, "`wave` takes it back from all");
    }
    settle(parsed, advice.findings, Needs::Estate)
}

/// For each wave one finding of what the plan does not accept, and one for each acceptance that names combinations.
fn untried(advice: &mut Advice<'_>, unrepresented: &[Unrepresented]) {
    let mut parts: BTreeMap<(usize, Option<usize>), Vec<String>> = BTreeMap::new();
    let position = |name: &WaveName| advice.plan().waves.iter().position(|wave| wave.name == *name);
    for new in unrepresented {
        let Some(wave) = position(&new.wave) else { continue };
        let accepted = advice.plan().accept.iter().position(|accepted| {
            accepted.rule == Rule::Unrepresented.word()
                && accepted.wave.as_ref().is_none_or(|wave| *wave == new.wave)
                && accepted.combinations.iter().any(|one| one.fits(&new.platform, &new.model, &new.kind))
        });
        parts.entry((wave, accepted)).or_default().push(words(new));
    }
    for ((wave, accepted), new) in parts {
        let name = &advice.plan().waves[wave].name;
        let message = format!("wave {name} meets combinations that no earlier wave has tried: {}", names(&new));
        let hint = "choose an earlier wave by `representative: true`, label one of them, or accept it with a reason";
        advice.add(Rule::Unrepresented, Some(wave), "select", message, hint);
        if let Some(finding) = advice.findings.last_mut() {
            finding.accepted = accepted;
        }
    }
}

/// "windows_xp sp3 x86 on ScanMaker CT for pacs (3)".
fn words(new: &Unrepresented) -> String {
    let model = if new.model.is_empty() { "unknown model" } else { &new.model };
    let kind = if new.kind.is_empty() { String::new() } else { format!(" for {}", new.kind) };
    // The parts that are neither `*` nor `-`, without the vendor.
    let parts = new.platform.as_str().split(':').skip(4).filter(|part| !matches!(*part, "*" | "-"));
    format!("{} on {model}{kind} ({})", parts.collect::<Vec<_>>().join(" "), new.count)
}

fn groups(advice: &mut Advice<'_>, waves: Waves<'_, '_>) {
    for (index, candidates) in waves.iter().enumerate() {
        let mut groups: BTreeMap<String, usize> = BTreeMap::new();
        for Candidate { site, device, .. } in candidates {
            if let Some(group) = &device.group {
                *groups.entry(format!("{}/{group}", site.site)).or_default() += 1;
            }
        }
        let shared: Vec<String> = groups.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name).collect();
        if shared.is_empty() {
            continue;
        }
        let (plan, wave) = (advice.plan(), &advice.plan().waves[index]);
        let per_site = wave.limits.per_site.map_or(plan.per_site(), |n| n.min(plan.per_site()));
        let (name, several) = (wave.name.clone(), names(&shared));
        if index == 0 && waves.len() > 1 {
            let message = format!(
                "wave {name} has several devices of one redundancy group: what a canary breaks, its twin can't carry: {several}"
            );
            advice.add(Rule::GroupInCanary, Some(index), "select", message, "choose one of each group");
        }
        if per_site > 1 {
            let message = format!(
                "wave {name} has several devices of one redundancy group, and {per_site} per site at once; only the group's own limit keeps them apart: {several}"
            );
            advice.add(Rule::GroupAtOnce, Some(index), "limits.per_site", message, "one at a site at once");
        }
    }
}

fn unwatched(advice: &mut Advice<'_>, waves: Waves<'_, '_>, survey: &Survey<'_>) {
    let mut unwatched: Vec<&DeviceId> = Vec::new();
    for wave in waves {
        let alone = wave.iter().filter(|c| survey.kinds_of(c).is_empty());
        let mut here: Vec<&DeviceId> = alone.map(|c| &c.device.id).collect();
        here.sort_unstable();
        unwatched.extend(here);
    }
    if !unwatched.is_empty() {
        let message = format!(
            "nothing watches {} of the devices: no clinical system says that it needs {}",
            unwatched.len(),
            names(&unwatched)
        );
        advice.add(Rule::Unwatched, None, "waves", message, "name them under `systems` in their site files");
    }
}

fn systems(advice: &mut Advice<'_>, waves: Waves<'_, '_>, estate: &Estate) {
    let sites: BTreeSet<&SiteId> = waves.iter().flatten().map(|c| &c.site.site).collect();
    let members: HashSet<&DeviceId> = waves.iter().flatten().map(|c| &c.device.id).collect();
    let here = || estate.sites().filter(|site| sites.contains(&site.site));
    let known = |site: &SiteInventory, system: &ClinicalSystem| {
        let devices: HashSet<&DeviceId> = site.devices.iter().map(|device| &device.id).collect();
        system.devices.iter().any(|id| devices.contains(id))
    };
    let lonely = here().flat_map(|site| site.systems.iter().filter(move |s| !known(site, s)).map(|s| &s.id));
    let lonely: Vec<_> = lonely.collect();
    if !lonely.is_empty() {
        let message =
            format!("clinical systems that name no device; their failure is blamed on nothing: {}", names(&lonely));
        advice.add(Rule::SystemWithoutDevices, None, "waves", message, "name what they need in their site files");
    }
    let needs = |system: &&ClinicalSystem| system.devices.iter().any(|id| members.contains(id));
    let blind = here().flat_map(|site| &site.systems).filter(|s| s.probes == Some(0)).filter(needs).map(|s| &s.id);
    let blind: Vec<_> = blind.collect();
    if !blind.is_empty() {
        let message = format!("clinical systems without a probe need these devices: {}", names(&blind));
        let hint = "their health is unknown, before and after: add probes in their site files";
        advice.add(Rule::NoProbe, None, "waves", message, hint);
    }
}

/// The first few, and how many more.
pub(super) fn names<T: ToString>(all: &[T]) -> String {
    let shown = all.iter().take(NAMES_MAX).map(T::to_string).collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
