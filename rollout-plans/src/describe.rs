//! Plain words for those who sign: what will happen to which devices, and what a patch is.
//!
//! Everything here comes from the documents alone, so the same bytes always read the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    language::shown,
    model::{
        Installer, Interpreter, Limits, Member, Patch, Plan, RebootNeed, Rollout, Scope, Selector, Severity, Variant,
    },
    patch_file::lint_patch,
    resolve::check_members,
};

/// A rollout in plain words, one sentence or list item per line. `members` are those of all waves in leaf order; when
/// they are not the document's, the first line says so.
#[must_use]
pub fn describe_rollout(rollout: &Rollout, members: &[Member]) -> Vec<String> {
    let plan = &rollout.plan;
    let mut lines = Vec::new();
    if let Err(why) = check_members(rollout, members) {
        lines.push(format!("WARNING: the list of devices is not the one in this document ({why}). Do not sign."));
    }
    lines.push(format!(
        "Rollout {} brings {} (document {}) to {} at {} in {}, by the plan {:?}.",
        rollout.id,
        rollout.patch,
        rollout.patch_digest.short(),
        count(members.len(), "device"),
        count(sites(members).len(), "site"),
        count(rollout.waves.len(), "wave"),
        plan.name
    ));
    lines.extend(paragraph("", &plan.description));
    lines.push(match selection(&plan.eligible) {
        Some(words) => format!("Nothing else than {words} can be touched."),
        None => "Every device for which the patch has a variant may be touched.".to_owned(),
    });
    if let Some(total) = plan.limits.total {
        lines.push(format!("At no moment are more than {} in hand.", count(total as usize, "device")));
    }
    for (index, wave) in plan.waves.iter().enumerate() {
        let here: Vec<Member> = members.iter().filter(|m| m.wave == wave.name).cloned().collect();
        lines.push(wave_words(plan, index, &here));
        let chosen = selection(&wave.select).unwrap_or_else(|| "every device".to_owned());
        lines.push(format!("  chosen: {chosen}; {}", variants(&here)));
    }
    lines.extend(policies(plan));
    lines
}

/// "Wave 1 canary: 2 devices at 2 sites, one at a time per site; each watched for 8h; then, if …, wave 2."
fn wave_words(plan: &Plan, index: usize, members: &[Member]) -> String {
    let wave = &plan.waves[index];
    let per_site = per_site(plan, &wave.limits);
    let pace = match (per_site, wave.limits.total) {
        (1, None) => "one at a time per site".to_owned(),
        (n, None) => format!("up to {n} at a time per site"),
        (n, Some(total)) => format!("up to {n} at a time per site and {total} in all"),
    };
    format!(
        "Wave {} {}: {} at {}, {pace}; each watched for {}; {}.",
        index + 1,
        wave.name,
        count(members.len(), "device"),
        count(sites(members).len(), "site"),
        wave.soak,
        gate_words(plan, index)
    )
}

/// A wave's gate in plain words: "then, if 100% succeeded with at least 2 proofs and a clinical approval, wave 2".
/// Empty when there is no such wave.
#[must_use]
pub fn gate_words(plan: &Plan, index: usize) -> String {
    let Some(wave) = plan.waves.get(index) else { return String::new() };
    let proofs = match wave.gate.evidence_min {
        1 => "at least one proof".to_owned(),
        n => format!("at least {n} proofs"),
    };
    if index + 1 == plan.waves.len() {
        return format!("the rollout is complete if {} succeeded with {proofs}", wave.gate.success);
    }
    let roles: Vec<String> =
        wave.gate.approvals.iter().map(|role| format!("{} {role} approval", article(role.word()))).collect();
    let approvals = if roles.is_empty() {
        ", without anybody's approval".to_owned()
    } else {
        format!(" and {}", roles.join(" and "))
    };
    format!("then, if {} succeeded with {proofs}{approvals}, wave {}", wave.gate.success, index + 2)
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
fn per_site(plan: &Plan, wave: &Limits) -> u32 {
    let plan = plan.per_site();
    wave.per_site.map_or(plan, |n| n.min(plan))
}

fn policies(plan: &Plan) -> [String; 4] {
    let grace = match plan.health.grace.0 {
        0 => String::new(),
        _ => format!("; the first {} after an install or its reboot do not count", plan.health.grace),
    };
    let failures = match plan.health.failures {
        1 => "one failure makes".to_owned(),
        n => format!("{n} failures in a row (one, if the system is critical) make"),
    };
    let scope = match plan.rollback.scope {
        Scope::Device => "the devices that it needs, and only those",
        Scope::Site => "every device of its site",
        Scope::Wave => "every device of the wave",
        Scope::Rollout => "every device of the rollout",
    };
    let timing = &plan.timing;
    [
        format!(
            "Clinical systems are probed every {}; {failures} a healthy one unhealthy{grace}.",
            plan.health.interval
        ),
        format!("When a system that was healthy before fails, the patch is taken back from {scope}."),
        format!(
            "An install may run for {}, a reboot for {}. A device that is in use is tried again every {} for {}, then handed to a person.",
            timing.install_timeout, timing.reboot_timeout, timing.retry_after, timing.defer_max
        ),
        format!(
            "After {} without word from a site its devices are unknown, which never counts as success.",
            timing.unknown_after
        ),
    ]
}

/// A patch in plain words. When the controller should have refused it, the first lines say so.
#[must_use]
pub fn describe_patch(patch: &Patch) -> Vec<String> {
    let severity = match patch.severity {
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    };
    let mut lines: Vec<String> =
        lint_patch(patch).iter().map(|fault| format!("WARNING: {}. Do not sign.", shown(fault))).collect();
    lines.push(format!("{} ({severity}): {}", patch.id, shown(&patch.title)));
    if !patch.cves.is_empty() {
        lines.push(format!("Closes {}.", patch.cves.iter().map(|id| shown(id)).collect::<Vec<_>>().join(", ")));
    }
    if !patch.supersedes.is_empty() {
        let ids: Vec<&str> = patch.supersedes.iter().map(|id| id.as_str()).collect();
        lines.push(format!("Replaces {}.", ids.join(", ")));
    }
    lines.extend(paragraph("", &patch.guidance));
    lines.push(format!("{}:", count(patch.variants.len(), "variant")));
    lines.extend(patch.variants.iter().flat_map(variant_words));
    lines
}

/// What is brought, what proves that it is there, and what takes it away. The whole digest: a few digits of it could be
/// met by a payload made for that.
fn variant_words(variant: &Variant) -> Vec<String> {
    let payload = &variant.payload;
    let reboot = match variant.reboot {
        RebootNeed::WhenAsked => "reboots when the installer asks for it",
        RebootNeed::Always => "always reboots",
    };
    let own = || ("its own word".to_owned(), "its own uninstall".to_owned());
    let (how, (proof, back)) = match &variant.installer {
        Installer::Msi { product_code, display_version, properties } => {
            let code = shown(product_code);
            let version = display_version.as_deref().map(|v| format!(" version {}", shown(v))).unwrap_or_default();
            (arguments("msi package", properties), (format!("product {code}{version}"), format!("msiexec /x {code}")))
        }
        Installer::Hotfix { kb, switches } => {
            let kb = shown(kb);
            let back = format!("spuninst.exe of {kb}");
            (arguments("update.exe package", switches), (kb, back))
        }
        Installer::Script { interpreter: Interpreter::Sh } => ("sh script".to_owned(), own()),
        Installer::Script { interpreter: Interpreter::Cmd } => ("cmd script".to_owned(), own()),
    };
    let name = shown(&payload.file_name);
    let mut lines = vec![
        format!(
            "  {}: {how} {name}, {}; {reboot}; detected by {proof}; taken back by {back}",
            variant.id,
            bytes(payload.length)
        ),
        format!("    SHA-256 {}", payload.digest.hex()),
    ];
    lines.extend(variant.platforms.iter().map(|platform| format!("    for {platform}")));
    lines
}

fn arguments(what: &str, arguments: &[String]) -> String {
    if arguments.is_empty() {
        return what.to_owned();
    }
    format!("{what} (with {})", arguments.iter().map(|a| shown(a)).collect::<Vec<_>>().join(" "))
}

/// A selector in words; `None` when it has no criterion.
fn selection(selector: &Selector) -> Option<String> {
    if selector.remaining {
        return Some("everything that is left".to_owned());
    }
    let mut parts: Vec<String> =
        selector.labels.iter().map(|(k, v)| format!("label {}={}", shown(k), shown(v))).collect();
    let mut list = |what: &str, items: Vec<&str>| {
        if let [first, rest @ ..] = items.as_slice() {
            let more = if rest.is_empty() { String::new() } else { format!(" or {}", rest.join(" or ")) };
            parts.push(format!("{what} {}{}", shown(first), shown(&more)));
        }
    };
    list("platform", selector.platforms.iter().map(|p| p.as_str()).collect());
    list("site", selector.sites.iter().map(|s| s.as_str()).collect());
    list("region", selector.regions.iter().map(String::as_str).collect());
    list("id", selector.devices.iter().map(|d| d.as_str()).collect());
    parts.extend(selector.percent.map(|percent| format!("a place among the first {percent} of the estate")));
    (!parts.is_empty()).then(|| format!("devices with {}", parts.join(" and ")))
}

/// "variants xp 3, w2003 1".
fn variants(members: &[Member]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for member in members {
        *counts.entry(member.variant.as_str()).or_default() += 1;
    }
    let counts: Vec<String> = counts.into_iter().map(|(variant, n)| format!("{variant} {n}")).collect();
    format!("variants {}", counts.join(", "))
}

fn sites(members: &[Member]) -> BTreeSet<crate::model::SiteId> {
    members.iter().map(|m| m.device.site()).collect()
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// Decimal units, as vendors give file sizes.
fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} bytes"),
        1_000..1_000_000 => format!("{} KB", n.div_ceil(1_000)),
        1_000_000..1_000_000_000 => format!("{}.{} MB", n / 1_000_000, n / 100_000 % 10),
        _ => format!("{}.{:02} GB", n / 1_000_000_000, n / 10_000_000 % 100),
    }
}

/// The lines of a longer text.
fn paragraph(indent: &str, text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| format!("{indent}{}", shown(&line.trim_end().replace('\t', " "))))
        .collect()
}
