//! The rules of the lint: each is found where its risk is, and only there; a plan can accept it with a reason.
#![expect(clippy::unwrap_used, reason = "helpers outside of test functions; a panic is the failure")]

mod common;

use std::collections::BTreeSet;

use common::*;
use wardround_rollout_plans::{
    describe::describe_rollout,
    estate::Estate,
    language::{Finding, Rule, lint_plan, parse_plan},
    model::{GroupId, RolloutId, Timestamp, Window},
    resolve::{document, resolve},
};
use wardround_signing::Digest;

/// 2026-11-24, noon in UTC.
const TODAY: Timestamp = Timestamp(1_795_521_600_000);

/// A plan that no rule finds anything in, by itself and in the estate below.
const CAREFUL: &str = "\
windows: [{ from: \"20:00\", to: \"05:00\" }]
freezes: [{ from: 2026-12-20, to: 2027-01-04, reason: winter }]
on_call: [{ from: \"00:00\", to: \"24:00\" }]
limits: { per_site: 1 }
rollback: { scope: wave }
waves:
  - { name: canary, select: { count: 2, by: [model] }, soak: 8h, gate: { evidence_min: 2, approvals: [clinical] } }
  - { name: full, select: { remaining: true }, soak: 8h, gate: { success: 98% } }
";

/// Twenty sites with a scanner and an analyser each, watched and on their own clock.
fn calm() -> Estate {
    let sites = (0..20).map(|n| {
        let mut site = site(&format!("s{n:02}"), "north", &[("ct", XP, "CT", ""), ("lab", W2003, "Lab", "")]);
        site.hours.time_zone = Some("Europe/London".parse().unwrap());
        site.systems[0].devices = site.devices.iter().map(|device| device.id.clone()).collect();
        site.systems[0].probes = Some(2);
        site
    });
    estate(sites)
}

fn findings(rest: &str, estate: &Estate) -> Vec<Finding> {
    let parsed = plan(rest);
    let resolution = resolve(&parsed, &patch(), estate).unwrap_or_else(|problems| panic!("{}", problems[0]));
    [parsed.warnings.clone(), parsed.warnings_on(TODAY), resolution.warnings].concat()
}

fn rules(rest: &str, estate: &Estate) -> BTreeSet<&'static str> {
    findings(rest, estate).iter().map(|finding| finding.rule.word()).collect()
}

/// Each rule with a change to the careful plan that brings it up; what else may come up with it.
const OF_PLAN: [(&str, &str, &str, &[&str]); 24] = [
    ("soak_missing", "true }, soak: 8h", "true }, soak: 0s", &[]),
    ("soak_blind", "true }, soak: 8h", "true }, soak: 20s", &["slow_silence"]),
    ("soak_short", "true }, soak: 8h", "true }, soak: 7h", &[]),
    ("unapproved", ", approvals: [clinical]", "", &["unapproved_largest"]),
    ("unapproved_largest", ", approvals: [clinical]", "", &["unapproved"]),
    ("gate_lenient", "evidence_min: 2", "success: 89.99%, evidence_min: 2", &[]),
    ("per_site", "per_site: 1", "per_site: 2", &[]),
    ("scope_device", "scope: wave", "scope: device", &[]),
    ("slow_silence", "rollback:", "timing: { unknown_after: 9h }\nrollback:", &[]),
    ("no_windows", "windows: [{ from: \"20:00\", to: \"05:00\" }]\n", "", &[]),
    ("on_call_unsaid", "on_call: [{ from: \"00:00\", to: \"24:00\" }]\n", "", &[]),
    ("off_call_begin", "on_call: [{ from: \"00:00\"", "on_call: [{ from: \"21:00\"", &[]),
    (
        "off_call_soak",
        "on_call: [{ from: \"00:00\"",
        "on_call: [{ from: \"18:00\", to: \"06:00\" }, { from: \"18:00\"",
        &["off_call_begin"],
    ),
    ("thin_rest", "rollback:", "deadline: { after: 3d, then: leave_out }\nrollback:", &[]),
    ("many_retries", "rollback:", "timing: { retries: 4 }\nrollback:", &[]),
    ("deadline_past", "rollback:", "deadline: { by: 2026-11-23 }\nrollback:", &[]),
    ("freeze_past", "to: 2027-01-04", "to: 2026-11-22", &["never"]),
    ("large_canary", "count: 2", "count: 3", &[]),
    ("large_step", "count: 2, by: [model]", "representative: 1", &["thin_evidence"]),
    ("unrepresented", "count: 2, by: [model]", "devices: [s00/ct, s01/ct]", &["large_step"]),
    ("canary_at_one_site", "count: 2, by: [model]", "sites: [s00]", &["large_step"]),
    ("no_canary", "count: 2, by: [model]", "percent: 10.01%", &["unrepresented", "large_canary"]),
    (
        "thin_evidence",
        "count: 2, by: [model] }, soak: 8h, gate: { evidence_min: 2",
        "count: 5, by: [model] }, soak: 8h, gate: { evidence_min: 1",
        &["large_canary"],
    ),
    ("unused_acceptance", "rollback:", "accept: [{ rule: no_canary, reason: x }]\nrollback:", &[]),
];

#[test]
fn a_careful_plan_has_no_findings() {
    let found = findings(CAREFUL, &calm());
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn each_rule_speaks_where_its_risk_is() {
    let mut tried: BTreeSet<&str> = BTreeSet::new();
    for (rule, from, to, besides) in OF_PLAN {
        assert!(CAREFUL.contains(from), "{from}");
        let mut changed = CAREFUL.replacen(from, to, 1);
        if rule == "freeze_past" {
            changed = changed.replacen("from: 2026-12-20", "from: 2026-11-01", 1);
        }
        if rule == "thin_rest" {
            changed = changed.replacen("evidence_min: 2", "evidence_min: 1", 1);
        }
        if rule == "off_call_soak" {
            changed = changed.replacen("to: \"24:00\" }]\nlimits", "to: \"06:00\" }]\nlimits", 1);
        }
        let found = rules(&changed, &calm());
        let allowed: BTreeSet<&str> = besides.iter().copied().chain([rule]).collect();
        assert!(found.contains(rule) && found.is_subset(&allowed), "{rule}: {found:?}\n{changed}");
        tried.insert(rule);
    }
    for (rule, found) in of_estates() {
        assert!(found.contains(rule), "{rule}: {found:?}");
        tried.insert(rule);
    }
    let all: BTreeSet<&str> = Rule::ALL.iter().map(|rule| rule.word()).collect();
    assert_eq!(tried, all, "a rule that nothing brings up");
}

/// A site file names what the patch requires for all devices but one.
fn lacking() -> BTreeSet<&'static str> {
    let mut patch = patch();
    patch.requires =
        serde_json::from_str(r#"[{"patch":"KB1111111","sign":{"technology":"hotfix","kb":"KB1111111"}}]"#).unwrap();
    let mut known = Estate::default();
    for site in calm().sites() {
        let mut site = site.clone();
        site.devices.iter_mut().for_each(|device| device.patches = vec!["KB1111111".parse().unwrap()]);
        known.put(site);
    }
    let mut first = known.site(&"s00".parse().unwrap()).unwrap().clone();
    first.devices[0].patches.clear();
    known.put(first);
    let found = resolve(&plan(CAREFUL), &patch, &known).unwrap().warnings;
    found.iter().map(|finding| finding.rule.word()).collect()
}

/// What an estate brings up in the careful plan.
fn of_estates() -> Vec<(&'static str, BTreeSet<&'static str>)> {
    let with = |plan: &str, edit: &dyn Fn(&mut wardround_rollout_plans::model::SiteInventory)| {
        let mut changed = Estate::default();
        for site in calm().sites() {
            let mut site = site.clone();
            edit(&mut site);
            changed.put(site);
        }
        rules(plan, &changed)
    };
    let twins = |site: &mut wardround_rollout_plans::model::SiteInventory| {
        let group = GroupId::new("pair").unwrap();
        site.groups.insert(group.clone(), 1);
        site.devices.iter_mut().for_each(|device| device.group = Some(group.clone()));
    };
    let by_site = CAREFUL.replace("count: 2, by: [model]", "sites: [s00, s01]");
    let night = Window { days: vec![], from: "06:00".parse().unwrap(), to: "12:00".parse().unwrap() };
    vec![
        ("unwatched", with(CAREFUL, &|site| site.systems[0].devices.truncate(1))),
        ("no_probe", with(CAREFUL, &|site| site.systems[0].probes = Some(0))),
        ("system_without_devices", with(CAREFUL, &|site| site.systems[0].devices.clear())),
        ("no_time_zone", with(CAREFUL, &|site| site.hours.time_zone = None)),
        ("never_open", with(CAREFUL, &|site| site.hours.windows = vec![night.clone()])),
        (
            "critical_kept",
            with(&CAREFUL.replace("scope: wave", "scope: device"), &|site| site.systems[0].critical = true),
        ),
        ("group_in_canary", with(&by_site, &twins)),
        ("group_at_once", with(&by_site.replace("per_site: 1", "per_site: 2"), &twins)),
        ("prerequisite_unknown", lacking()),
        (
            "order_unmatched",
            rules(
                &CAREFUL.replace(
                    "soak: 8h, gate: { succ",
                    "order: [{ by: model, values: [XR, CT, Lab] }], soak: 8h, gate: { succ",
                ),
                &calm(),
            ),
        ),
        ("single_wave", rules("waves: [{ name: all, select: { remaining: true }, soak: 8h }]\n", &calm())),
    ]
}

#[test]
fn a_plan_accepts_a_risk_with_a_reason() {
    let risky = CAREFUL.replace("count: 2, by: [model]", "devices: [s00/ct, s01/ct]");
    let accepting = |accept: &str| {
        let found = findings(&format!("accept: [{accept}]\n{risky}"), &calm());
        let words = found.iter().map(|finding| {
            let wave = finding.wave.as_ref().map(ToString::to_string).unwrap_or_default();
            let accepted = if finding.accepted.is_some() { "accepted " } else { "" };
            format!("{accepted}{} {wave}", finding.rule.word())
        });
        words.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(accepting(""), ["large_step full", "unrepresented full"]);
    let whole = "{ rule: unrepresented, reason: x }, { rule: large_step, reason: x, wave: full }";
    assert_eq!(accepting(whole), ["accepted large_step full", "accepted unrepresented full"]);
    assert_eq!(
        accepting("{ rule: large_step, reason: x, wave: canary }"),
        ["large_step full", "unrepresented full", "unused_acceptance "]
    );
    let one = "{ rule: unrepresented, reason: x, combinations: [{ model: Lab, system: pacs }] }";
    assert_eq!(accepting(one), ["accepted unrepresented full", "large_step full"]);
    let none = "{ rule: unrepresented, reason: x, combinations: [{ model: Lab, system: lab }] }";
    assert_eq!(accepting(none), ["large_step full", "unrepresented full", "unused_acceptance "]);
    let past = "{ rule: freeze_past, reason: x }";
    assert_eq!(accepting(past), ["large_step full", "unrepresented full", "unused_acceptance "]);
}

/// Without a date or an estate nothing is known of the rules that need them, so they are not called unused.
#[test]
fn an_accepted_risk_is_unused_only_where_it_was_looked_for() {
    let parsed = plan(&format!(
        "accept: [{{ rule: freeze_past, reason: x }}, {{ rule: large_step, reason: x }}, {{ rule: soak_short, reason: x }}]\n{CAREFUL}"
    ));
    let text = parsed.warnings.iter().map(|finding| format!("{finding}\n")).collect::<String>();
    insta::assert_snapshot!(text);
}

#[test]
fn signers_read_what_is_accepted_and_why() {
    let parsed = plan(&format!(
        "accept:\n  - {{ rule: large_step, reason: \"two are all we have\", wave: full }}\n  - rule: unrepresented\n    reason: spare parts\n    combinations: [{{ platform: \"{XP}\", model: \"\", system: \"\" }}, {{ system: lab }}]\n{CAREFUL}"
    ));
    let resolution = resolve(&parsed, &patch(), &calm()).unwrap();
    let id = RolloutId::new("r1").unwrap();
    let mut rollout = document(id, &parsed.plan, &patch(), Digest::of(b"p"), &resolution, &[], Timestamp(0));
    let told = |rollout: &_| {
        let lines = describe_rollout(rollout, &patch(), &resolution.members());
        lines.into_iter().filter(|line| line.contains("ccepted risk") || line.contains("on call")).collect::<Vec<_>>()
    };
    let honest = told(&rollout);
    // What a controller in an attacker's hands might put there.
    rollout.plan.accept[0].rule = "al\u{1b}[2Jl".to_owned();
    rollout.plan.on_call.clear();
    let faults = lint_plan(&rollout.plan);
    assert!(faults.iter().any(|fault| fault.contains("accept[0].rule")), "{faults:?}");
    let text = [honest, told(&rollout), faults].concat().join("\n");
    assert!(!text.chars().any(|c| c != '\n' && wardround_signing::is_hidden(c)), "{text:?}");
    insta::assert_snapshot!(text);
}

/// The table in docs/plans.md is the one of the program.
#[test]
fn every_rule_is_documented() {
    let docs = include_str!("../../docs/plans.md");
    let row = |rule: &Rule| {
        format!("| `{}` | {} | {} | {} |", rule.word(), rule.weight().word(), rule.needs().word(), rule.summary())
    };
    let table = Rule::ALL.iter().map(row).collect::<Vec<_>>().join("\n");
    assert!(docs.contains(&table), "docs/plans.md, \"Warnings\", wants this table:\n{table}");
}

#[test]
fn findings_point_at_their_line() {
    let yaml = format!("name: t\n{}", CAREFUL.replace("true }, soak: 8h", "true }, soak: 7h"));
    let parsed = parse_plan(&yaml, "plan.yaml").unwrap();
    let [finding] = parsed.warnings.as_slice() else { panic!("{:?}", parsed.warnings) };
    assert_eq!(
        finding.to_string().lines().next().unwrap(),
        "warning[soak_short]: plan.yaml:9:54: waves[1].soak: 7h is shorter than a working day (8h)"
    );
}
