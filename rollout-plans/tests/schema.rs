//! The published schema against a validator that is not ours: python3-jsonschema (`tests/peers/install.sh`). It takes the
//! plans that we ship and refuses what the reader refuses, as far as a schema can tell.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use wardround_rollout_plans::language::{parse_plan, plan_schema};

/// Reads schema and plans from standard input, writes the first complaint of each plan, or nothing.
const VALIDATE: &str = "\
import json, sys, jsonschema
given = json.load(sys.stdin)
jsonschema.Draft202012Validator.check_schema(given['schema'])
judge = jsonschema.Draft202012Validator(given['schema'])
json.dump([next((e.json_path + ': ' + e.message for e in judge.iter_errors(plan)), '') for plan in given['plans']], sys.stdout)
";

/// The validator's word on each plan; `None` without the peer, and then it says so.
fn validated(plans: &[Value]) -> Option<Vec<String>> {
    // Of Debian, not of whatever environment stands first in PATH.
    let python = ["/usr/bin/python3", "python3"].into_iter().find(|python| {
        let asked = Command::new(python).args(["-c", "import jsonschema"]).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    });
    let Some(python) = python else {
        let line = "python3-jsonschema is missing (tests/peers/install.sh installs it)";
        assert!(std::env::var("WARDROUND_REQUIRE_PEERS").as_deref() != Ok("1"), "{line}");
        println!("skipped: {line}");
        return None;
    };
    let mut child =
        Command::new(python).args(["-c", VALIDATE]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let given = serde_json::to_vec(&json!({ "schema": plan_schema(), "plans": plans })).unwrap();
    child.stdin.take().unwrap().write_all(&given).unwrap();
    let answer = child.wait_with_output().unwrap();
    assert!(answer.status.success(), "the validator failed");
    Some(serde_json::from_slice(&answer.stdout).unwrap())
}

fn as_json(yaml: &str) -> Value {
    serde_saphyr::from_str(yaml).unwrap()
}

const PLAN: &str = "\
name: t
description: d
patch: KB1
eligible: { labels: { ring: canary }, site_types: [acute], systems: [pacs], regions: [north] }
windows: [{ days: [mon, tue], from: \"20:00\", to: \"24:00\" }]
freezes: [{ from: 2026-12-20, to: 2027-01-04, reason: winter }]
on_call: [{ from: \"00:00\", to: \"24:00\" }]
accept:
  - { rule: unrepresented, reason: r, wave: one, combinations: [{ model: \"\" }] }
limits: { per_site: 1, per_region: 20, total: 200 }
health: { interval: 10s, failures: 3, grace: 0 }
rollback: { scope: wave }
timing: { install_timeout: 1h30m }
waves:
  - { name: one, select: { representative: true }, soak: 8h, gate: { success: 97.5%, evidence_min: 2, failures_max: 0, approvals: [clinical, on-call], test: { alpha: 5% } } }
  - { name: two, select: { count: 3, by: [model, site] }, order: [{ label: criticality, values: [low, high] }, { by: region, values: [north] }, { by: site_turns }], soak: 8h }
  - { name: three, select: { percent: 10%, by: [platform] }, soak: 8h }
  - { name: four, select: { platforms: [\"cpe:2.3:o:microsoft:windows_xp:*:*:*:*:*:*:*:*\"], sites: [rx1], devices: [rx1/ct-01] }, soak: 1d }
  - { name: five, select: { remaining: true }, soak: 500ms, limits: { per_site: 1 } }
";

/// What stands in the plan above, and what must not.
const MISTAKES: [(&str, &str); 39] = [
    ("name: t", "nome: t"),
    ("name: t", "name: 7"),
    ("patch: KB1", "patch: KB 1"),
    ("labels: { ring: canary }", "labels: { ring: 1 }"),
    ("labels: { ring: canary }", "labels: {}"),
    ("systems: [pacs]", "systems: pacs"),
    ("regions: [north]", "regions: []"),
    ("eligible: {", "eligible: { count: 1,"),
    ("days: [mon, tue]", "days: [mon, Tues]"),
    ("from: \"20:00\"", "from: \"8:00\""),
    ("to: \"24:00\" }]\nfreezes", "to: \"24:01\" }]\nfreezes"),
    ("to: 2027-01-04", "to: 4.1.2027"),
    (", reason: winter", ""),
    ("rule: unrepresented", "rule: unrepresentd"),
    ("rule: unrepresented", "rule: unused_acceptance"),
    (" reason: r,", ""),
    ("[{ model: \"\" }]", "[{}]"),
    ("per_site: 1, per_region", "per_site: 0, per_region"),
    ("total: 200", "totel: 200"),
    ("interval: 10s", "interval: 10"),
    ("failures: 3", "failures: 101"),
    ("scope: wave", "scope: waves"),
    ("1h30m", "1 hour"),
    ("representative: true", "representative: 101"),
    ("representative: true", "representative: true, count: 1"),
    ("count: 3", "count: 0"),
    ("by: [model, site]", "by: [modell]"),
    ("by: [model, site]", "by: [model, model]"),
    ("success: 97.5%", "success: 97.555%"),
    ("approvals: [clinical, on-call]", "approvals: [clinical, node]"),
    ("alpha: 5%", "alpha: 5"),
    ("devices: [rx1/ct-01]", "devices: [ct-01]"),
    ("soak: 1d", "sook: 1d"),
    ("label: criticality, ", ""),
    ("{ label: criticality, values: [low, high] }", "{ label: criticality }"),
    ("by: region, values: [north]", "by: region"),
    ("by: site_turns", "by: site_turns, values: [a]"),
    ("by: site_turns", "by: sites_turn"),
    ("[rx1]", "[RX1]"),
];

#[test]
fn a_foreign_validator_judges_plans_as_the_reader_does() {
    let shipped = [
        include_str!("../examples/standard.yaml"),
        include_str!("../examples/urgent.yaml"),
        include_str!("../examples/single-site.yaml"),
        PLAN,
    ];
    let wrong = MISTAKES.map(|(from, to)| {
        assert!(PLAN.contains(from), "{from}");
        PLAN.replacen(from, to, 1)
    });
    for yaml in &shipped {
        parse_plan(yaml, "plan.yaml").unwrap_or_else(|problems| panic!("{}", problems[0]));
    }
    for (yaml, mistake) in wrong.iter().zip(MISTAKES) {
        assert!(parse_plan(yaml, "plan.yaml").is_err(), "the reader takes {mistake:?}");
    }
    let plans: Vec<Value> = shipped.into_iter().chain(wrong.iter().map(String::as_str)).map(as_json).collect();
    let Some(words) = validated(&plans) else { return };
    assert_eq!(words[..shipped.len()], [""; 4], "a good plan is refused");
    for (word, mistake) in words[shipped.len()..].iter().zip(MISTAKES) {
        assert!(!word.is_empty(), "the schema takes {mistake:?}");
    }
}

/// Editors find the schema by the first line.
#[test]
fn shipped_plans_name_the_schema() {
    for yaml in [
        include_str!("../examples/standard.yaml"),
        include_str!("../examples/urgent.yaml"),
        include_str!("../examples/single-site.yaml"),
    ] {
        assert_eq!(yaml.lines().next(), Some("# yaml-language-server: $schema=../plan.schema.json"));
    }
}
