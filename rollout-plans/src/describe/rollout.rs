//! A rollout in plain words.

use std::collections::BTreeMap;

use super::{
    patch::{describe_patch, headline},
    patience::{deadline_words, offline_lines, retry_words},
    unusual::unusual,
    windows::{window_lines, window_words},
    words::{article, by_site, kinds, paragraph, platform_words, selection, sites, some},
};
use crate::{
    language::{Rule, shown},
    model::{
        Acceptance, Combined, Gate, GateTest, Limits, Member, Patch, Plan, Precedence, PrecedenceBy, Rollout, Scope,
        WavePlan,
    },
    resolve::check_members,
    words::count,
};

/// Most sites and devices that one line names.
const NAMES_MAX: usize = 12;

/// A rollout in plain words. `members` are those of all waves in leaf order, `patch` is the one that it brings; when they
/// are not the document's, the first line says so.
#[must_use]
pub fn describe_rollout(rollout: &Rollout, patch: &Patch, members: &[Member]) -> Vec<String> {
    let mut lines = Vec::new();
    if let Err(why) = check_members(rollout, members) {
        lines.push(format!("WARNING: the list of devices is not the one in this document ({why}). Do not sign."));
    }
    lines.push(format!(
        "ROLLOUT {}: patch {} for {} at {}, in {}.",
        rollout.id,
        rollout.patch,
        count(members.len(), "device"),
        count(sites(members).len(), "site"),
        count(rollout.waves.len(), "wave")
    ));
    // A document of before says neither, and the engine goes by less then; nodes go by the patch.
    let required = patch.required();
    let strange = rollout.requires.iter().find(|id| !required.contains(id));
    if let Some(id) = strange.or_else(|| rollout.supersedes.iter().find(|id| !patch.supersedes.contains(id))) {
        let what = "the patch neither requires nor replaces it, though this document says so";
        lines.push(format!("WARNING: {id}: {what}. Do not sign."));
    }
    lines.push(headline(patch));
    lines.push(String::new());
    let unusual = unusual(rollout, patch, members);
    if unusual.is_empty() {
        lines.push("Nothing unusual was found in the plan.".to_owned());
    } else {
        lines.push("UNUSUAL, read this first".to_owned());
        lines.extend(unusual.iter().map(|line| format!("  ! {line}")));
    }
    section(&mut lines, "ACCEPTED RISKS", accepted(&rollout.plan));
    section(&mut lines, "WHY", paragraph("", &rollout.plan.description));
    section(&mut lines, "WHERE", place(patch, members));
    section(&mut lines, "WHEN", window_lines(&rollout.plan));
    section(&mut lines, "IN WHICH ORDER", order(&rollout.plan, patch, members));
    section(&mut lines, "IF SOMETHING GOES WRONG", policies(&rollout.plan, members));
    section(&mut lines, "DETAILS OF THE PATCH", describe_patch(patch));
    section(&mut lines, "DETAILS OF THE PLAN", details(rollout));
    lines
}

fn section(lines: &mut Vec<String>, title: &str, content: Vec<String>) {
    if !content.is_empty() {
        lines.extend([String::new(), title.to_owned()]);
        lines.extend(content.into_iter().map(|line| format!("  {line}")));
    }
}

/// What the plan goes against knowingly, a line each.
fn accepted(plan: &Plan) -> Vec<String> {
    let words = |accepted: &Acceptance| {
        // An unknown word is refused before anybody signs; it is told all the same.
        let risk = Rule::from_word(&accepted.rule).map_or("a risk that this program does not know", Rule::summary);
        let wave = accepted.wave.as_ref().map(|wave| format!(" in wave {wave}")).unwrap_or_default();
        let which: Vec<String> = accepted.combinations.iter().map(combination).collect();
        let which = if which.is_empty() { String::new() } else { format!(" ({})", some(&which, NAMES_MAX)) };
        let (rule, reason) = (shown(&accepted.rule), shown(&accepted.reason));
        format!("accepted risk {rule}{wave}: {risk}{which}, because {reason:?}")
    };
    plan.accept.iter().map(words).collect()
}

fn combination(one: &Combined) -> String {
    let platform = one.platform.as_ref().map_or_else(|| "any platform".to_owned(), platform_words);
    let named = |text: &Option<String>, none: &str, any: &str| match text.as_deref() {
        None => any.to_owned(),
        Some("") => none.to_owned(),
        Some(text) => shown(text),
    };
    let model = named(&one.model, "unknown model", "any model");
    let system = named(&one.system, "no clinical system", "any clinical system");
    format!("{platform} on {model} for {system}")
}

fn place(patch: &Patch, members: &[Member]) -> Vec<String> {
    let mut by_site: Vec<_> = by_site(members).into_iter().collect();
    by_site.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let sites: Vec<String> = by_site.iter().map(|(site, n)| format!("{site} ({n})")).collect();
    vec![
        format!("{}: {}", count(members.len(), "device"), kinds(patch, members)),
        format!("{}: {}", count(sites.len(), "site"), some(&sites, NAMES_MAX)),
    ]
}

fn order(plan: &Plan, patch: &Patch, members: &[Member]) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, wave) in plan.waves.iter().enumerate() {
        let here: Vec<Member> = members.iter().filter(|m| m.wave == wave.name).cloned().collect();
        let devices: Vec<String> = here.iter().map(|m| m.device.to_string()).collect();
        lines.push(format!(
            "{}. {}: {} at {} ({})",
            index + 1,
            wave.name,
            count(here.len(), "device"),
            count(sites(&here).len(), "site"),
            kinds(patch, &here)
        ));
        lines.push(format!("   {}", some(&devices, NAMES_MAX)));
        lines.extend(order_words(wave).map(|words| format!("   {words}.")));
        let per_site = match per_site(plan, &wave.limits) {
            1 => "one at a time at each site".to_owned(),
            n => format!("up to {n} at a time at each site"),
        };
        let in_all = match at_once(plan, index, &here) {
            1 => "so never more than 1 in hand".to_owned(),
            n => format!("so at most {n} in hand at once"),
        };
        lines.push(format!("   {per_site}, {in_all}; each is watched for {} after its install", wave.soak));
        lines.extend(deadline_words(plan, index).map(|words| format!("   {}.", sentence(&words))));
        lines.push(format!("   {}.", sentence(&gate_words(plan, index))));
        lines.extend(wave.gate.test.iter().flat_map(test_words).map(|line| format!("   {line}")));
    }
    lines
}

/// What goes first within a wave, in plain words: "First by label criticality: low, then medium, then all others; where that is the
/// same, one device of each site before a second of any". Absent where the plan names no order.
#[must_use]
pub fn order_words(wave: &WavePlan) -> Option<String> {
    let values = |rule: &Precedence| {
        let values: Vec<String> = rule.values.iter().map(|value| shown(value)).collect();
        format!("{}, then all others", some(&values, NAMES_MAX).replace(", ", ", then "))
    };
    let rule = |rule: &Precedence| match (&rule.label, rule.by) {
        (Some(key), _) => format!("by label {}: {}", shown(key), values(rule)),
        (None, Some(PrecedenceBy::Model)) => format!("by model: {}", values(rule)),
        (None, Some(PrecedenceBy::Site)) => format!("by site: {}", values(rule)),
        (None, Some(PrecedenceBy::Region)) => format!("by region: {}", values(rule)),
        (None, Some(PrecedenceBy::SiteType)) => format!("by type of site: {}", values(rule)),
        (None, Some(PrecedenceBy::System)) => {
            format!("by the clinical systems that need the device: none, then {}", values(rule))
        }
        (None, Some(PrecedenceBy::CriticalLast)) => {
            "what no clinical system needs, then what no critical one needs, then the rest".to_owned()
        }
        (None, Some(PrecedenceBy::SpareFirst)) => "devices whose redundancy group has a spare one".to_owned(),
        (None, Some(PrecedenceBy::SiteTurns)) => "one device of each site before a second one of any".to_owned(),
        (None, Some(PrecedenceBy::Hash)) => "by a fixed order".to_owned(),
        (None, None) => "a rule that this program does not know".to_owned(),
    };
    let rules: Vec<String> = wave.order.iter().map(rule).collect();
    (!rules.is_empty()).then(|| format!("First {}", rules.join("; where that is the same, ")))
}

/// With a capital.
fn sentence(words: &str) -> String {
    let mut chars = words.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase()).into_iter();
    first.chain(chars).collect()
}

/// A wave's gate in plain words: "then, if 100% of the tried devices succeeded (at least 2), and after a clinical approval, wave 2".
/// Empty when there is no such wave.
#[must_use]
pub fn gate_words(plan: &Plan, index: usize) -> String {
    let Some(wave) = plan.waves.get(index) else { return String::new() };
    let success = success_words(&wave.gate);
    if index + 1 == plan.waves.len() {
        return format!("the rollout is complete {success}");
    }
    let roles: Vec<String> =
        wave.gate.approvals.iter().map(|role| format!("{} {role} approval", article(role.word()))).collect();
    let approvals = if roles.is_empty() {
        ", without anybody's approval".to_owned()
    } else {
        format!(", and after {}", roles.join(" and "))
    };
    format!("then, {success}{approvals}, wave {}", index + 2)
}

/// What an exact test does, for those who sign.
fn test_words(test: &GateTest) -> [String; 2] {
    let compared =
        format!("unpatched clinical systems of the same sites at the same time (at least {})", test.control_min);
    let compared = match test.background {
        Some(share) => format!("{compared}, or with {share} of devices where there are fewer"),
        None => compared,
    };
    [
        format!(
            "The exact test compares the failures with {compared}; it stops a harmless patch by chance in at most {} of cases.",
            test.alpha
        ),
        format!(
            "It passes when so many were seen that a patch which makes {} of devices fail would get through in at most {} of \
             cases; until then people must decide.",
            test.harm, test.miss
        ),
    ]
}

fn success_words(gate: &Gate) -> String {
    let mut words = format!("if {} of the tried devices succeeded (at least {})", gate.success, gate.evidence_min);
    match gate.failures_max {
        None => {}
        Some(0) => words += ", none failed",
        Some(most) => words += &format!(", at most {most} failed"),
    }
    if gate.test.is_some() {
        words += ", the exact test passes";
    }
    words
}

/// Most devices of a wave that can be in hand at one moment, as far as its members and the plan's limits say.
#[must_use]
pub fn at_once(plan: &Plan, index: usize, members: &[Member]) -> u64 {
    let Some(wave) = plan.waves.get(index) else { return 0 };
    let mut by_site: BTreeMap<_, u64> = BTreeMap::new();
    for member in members {
        *by_site.entry(member.device.site()).or_default() += 1;
    }
    let per_site = u64::from(per_site(plan, &wave.limits));
    let sum: u64 = by_site.values().map(|n| per_site.min(*n)).sum();
    [plan.limits.total, wave.limits.total].into_iter().flatten().fold(sum, |least, total| least.min(u64::from(total)))
}

/// The plan's limit is 1 unless it says otherwise; a wave can only narrow it.
pub(super) fn per_site(plan: &Plan, wave: &Limits) -> u32 {
    let plan = plan.per_site();
    wave.per_site.map_or(plan, |n| n.min(plan))
}

fn policies(plan: &Plan, members: &[Member]) -> Vec<String> {
    let grace = match plan.health.grace.0 {
        0 => String::new(),
        _ => format!("; the first {} after an install or its reboot do not count", plan.health.grace),
    };
    let failures = match plan.health.failures {
        1 => "one failure makes".to_owned(),
        n => format!("{n} failures in a row (one, if the system is critical) make"),
    };
    let most = |groups: BTreeMap<String, usize>| groups.into_values().max().unwrap_or_default();
    let groups = |key: fn(&Member) -> String| {
        let mut groups: BTreeMap<String, usize> = BTreeMap::new();
        members.iter().for_each(|member| *groups.entry(key(member)).or_default() += 1);
        most(groups)
    };
    let scope = match plan.rollback.scope {
        Scope::Device => "the devices that it needs, and only those; all others keep it".to_owned(),
        Scope::Site => {
            format!("every device of its site: at most {}", count(groups(|m| m.device.site().to_string()), "device"))
        }
        Scope::Wave => {
            format!("every device of the same wave: at most {}", count(groups(|m| m.wave.to_string()), "device"))
        }
        Scope::Rollout => format!("every device of the rollout: at most {}", count(members.len(), "device")),
    };
    let control = plan.health.control.as_ref().map(|control| {
        format!(
            "While unpatched clinical systems of the same site fail at the same time, the blame waits for them, but no longer \
             than {}; meanwhile nothing new begins there.",
            control.wait_max
        )
    });
    let timing = &plan.timing;
    let on_call = match plan.on_call.as_slice() {
        [] => "The plan does not say when anybody is on call.".to_owned(),
        hours => format!("Somebody is on call {}, by the clock of each site.", window_words(hours)),
    };
    let mut lines = vec![
        on_call,
        format!(
            "When a clinical system that was healthy before fails, the patch is taken back by itself from {scope}."
        ),
        format!(
            "Clinical systems are looked at every {}; {failures} a healthy one unhealthy{grace}.",
            plan.health.interval
        ),
        format!(
            "An install may run for {}, a reboot for {}. A device that is in use is tried again every {} for {}, then handed to a person.",
            timing.install_timeout, timing.reboot_timeout, timing.retry_after, timing.defer_max
        ),
        format!(
            "After {} without word from a site its devices are unknown, which never counts as success.",
            timing.unknown_after
        ),
    ];
    lines.splice(3..3, control);
    lines.extend(retry_words(plan));
    lines.extend(offline_lines(plan));
    lines
}

fn details(rollout: &Rollout) -> Vec<String> {
    let plan = &rollout.plan;
    let mut lines = vec![
        format!("plan {:?}", shown(&plan.name)),
        format!("patch document, SHA-256 {}", rollout.patch_digest.hex()),
        match selection(&plan.eligible) {
            Some(words) => format!("nothing else than {words} can be touched"),
            None => "every device for which the patch has a variant could be chosen".to_owned(),
        },
    ];
    if let Some(total) = plan.limits.total {
        lines.push(format!("at no moment are more than {} in hand", count(total as usize, "device")));
    }
    if let Some(limit) = plan.limits.per_region {
        lines.push(format!("at no moment are more than {} in hand in one region", count(limit as usize, "device")));
    }
    for (index, wave) in plan.waves.iter().enumerate() {
        let chosen = selection(&wave.select).unwrap_or_else(|| "every device".to_owned());
        let total = wave.limits.total.map(|n| format!("; at most {n} in hand")).unwrap_or_default();
        let region = wave.limits.per_region.map(|n| format!("; at most {n} in hand in one region")).unwrap_or_default();
        lines.push(format!("wave {} {} is made of {chosen}{total}{region}", index + 1, wave.name));
    }
    lines
}
