//! What people read before they sign.
#![expect(clippy::unwrap_used, reason = "helpers outside of test functions; a panic is the failure")]

mod common;

use common::*;
use wardround_rollout_plans::{
    describe::{at_once, describe_order, describe_patch, describe_rollout},
    language::ParsedPlan,
    model::{Member, Order, Patch, Rollout, RolloutId, Timestamp},
    resolve::{document, resolve},
};
use wardround_signing::Digest;

fn rollout(parsed: &ParsedPlan) -> (Rollout, Vec<Member>) {
    let resolution = resolve(parsed, &patch(), &three_sites()).unwrap();
    let id = RolloutId::new("kb4500331-1").unwrap();
    let rollout = document(id, &parsed.plan, &patch(), Digest::of(b"patch"), &resolution, &[], Timestamp(0));
    (rollout, resolution.members())
}

#[test]
fn a_rollout_in_plain_words() {
    let (rollout, members) = rollout(&standard());
    insta::assert_snapshot!(describe_rollout(&rollout, &patch(), &members).join("\n"));
}

#[test]
fn every_field_of_a_plan_is_told() {
    let parsed = plan(concat!(
        "description: \"Why.\\n\\nAnd more.\"\n",
        "eligible: { regions: [north, south], labels: { trust: north } }\n",
        "windows: [{ days: [mon, tue, wed, thu, fri], from: \"22:00\", to: \"05:00\" }, { days: [sat, sun], from: \"00:00\", to: \"24:00\" }]\n",
        "freezes: [{ from: 2026-12-20, to: 2027-01-04, reason: year end }, { from: 2027-02-01, to: 2027-02-01, reason: \"new PACS goes live\" }]\n",
        "limits: { per_site: 3, per_region: 20, total: 50 }\n",
        "health: { interval: 5s, failures: 1, grace: 2m, control: { wait_max: 7m } }\n",
        "rollback: { scope: rollout }\n",
        "timing: { retries: 2, retry: 2m, retry_max: 1h }\n",
        "deadline: { after: 5d }\n",
        "offline: { alarm_after: 2h, leave_out_after: 3d }\n",
        "waves:\n",
        "  - { name: one, select: { devices: [rx1/ct-01] }, windows: [{ days: [tue], from: \"22:00\", to: \"24:00\" }], soak: 1h, limits: { per_site: 2, per_region: 3, total: 4 } }\n",
        "  - { name: two, select: { percent: 90% }, soak: 90m, gate: { success: 97.5%, failures_max: 3, test: { alpha: 4%, harm: 25%, miss: 10%, background: 0.5%, control_min: 7 }, approvals: [release, on-call] }, deadline: { by: 2026-12-19, then: leave_out }, offline: { alarm_after: 1h } }\n",
        "  - { name: three, select: { remaining: true }, soak: 2d }\n",
    ));
    let (rollout, members) = rollout(&parsed);
    insta::assert_snapshot!(describe_rollout(&rollout, &patch(), &members).join("\n"));
}

/// Each way to choose, in the words that signers read.
#[test]
fn every_choice_is_told() {
    let choices = [
        "count: 1, regions: [north, south]",
        "count: 1, by: [site, system]",
        "percent: 10%, by: [platform, model, region, site_type], labels: { trust: north }",
        "representative: true",
        "representative: 2, systems: [pacs, viewer], site_types: [acute]",
        "systems: [pacs], platforms: [\"cpe:2.3:o:microsoft:windows_xp:*:*:*:*:*:*:*:*\"]",
    ];
    let told = choices.map(|choice| {
        let mut parsed = plan(&format!(
            "eligible: {{ site_types: [acute], systems: [pacs, viewer] }}\nwaves:\n  - {{ name: one, select: {{ {choice} }}, soak: 8h }}\n  - {{ name: two, select: {{ remaining: true }}, soak: 8h }}\n"
        ));
        let chosen = std::mem::take(&mut parsed.plan.waves[0].select);
        parsed.plan.eligible.systems.clear();
        parsed.plan.eligible.site_types.clear();
        parsed.plan.waves[0].select.count = Some(1);
        let (mut rollout, members) = rollout(&parsed);
        rollout.plan.waves[0].select = chosen;
        rollout.plan.eligible.systems = vec!["pacs".to_owned()];
        rollout.plan.eligible.site_types = vec!["acute".to_owned(), "communi\u{202e}ty".to_owned()];
        let lines = describe_rollout(&rollout, &patch(), &members);
        lines.into_iter().filter(|line| line.contains("can be touched") || line.contains("is made of")).collect::<Vec<_>>()
    });
    insta::assert_snapshot!(told.map(|lines| format!("{}\n", lines.join("\n"))).join("\n"));
}

#[test]
fn members_of_another_document_are_not_passed_off_as_its_own() {
    let (rollout, mut members) = rollout(&standard());
    members[0].device = "rx1/other".parse().unwrap();
    let lines = describe_rollout(&rollout, &patch(), &members);
    assert!(lines[0].starts_with("WARNING") && lines[0].ends_with("Do not sign."), "{}", lines[0]);
}

/// Each rule of what is unusual is told where it holds, and nothing is where it doesn't.
#[test]
fn what_is_unusual_is_said_first() {
    let careful = |rest: &str| {
        plan(&format!(
            "{rest}waves:\n  - {{ name: one, select: {{ devices: [rx1/ct-01, rx2/lab-01] }}, soak: 8h, gate: {{ approvals: [clinical] }} }}\n  - {{ name: two, select: {{ remaining: true }}, soak: 8h }}\n"
        ))
    };
    let text = |parsed: &ParsedPlan, patch: &Patch| {
        let (rollout, members) = rollout(parsed);
        let lines = describe_rollout(&rollout, patch, &members);
        let end = lines.iter().position(|line| line == "WHERE").unwrap();
        lines[..end].join("\n")
    };
    let quiet = text(&careful(""), &patch());
    assert!(quiet.contains("Nothing unusual was found") && !quiet.contains('!'), "{quiet}");
    let all_at_once = plan("waves:\n  - { name: all, select: { remaining: true }, soak: 5m }\n");
    let told = text(&all_at_once, &patch());
    assert!(told.contains("! All 6 devices are in one wave: nothing is tried on a few first."), "{told}");
    assert!(told.contains("! The devices of wave all are watched for only 5m."), "{told}");
    let told = text(&careful("rollback: { scope: device }\n"), &patch());
    assert!(told.contains("! When a clinical system fails, only its own devices are taken back"), "{told}");
    // Eight of nine in the first wave. The estate of these tests is smaller, so the members are made up.
    let (many, mut members) = rollout(&careful(""));
    let (first, last) = (members[0].clone(), members.last().unwrap().clone());
    members.clear();
    members.extend((1..9).map(|n| Member { device: format!("rx9/ct-{n}").parse().unwrap(), ..first.clone() }));
    members.push(last);
    let told = describe_rollout(&many, &patch(), &members).join("\n");
    assert!(told.contains("! The first wave, one, already has 8 of all 9 devices."), "{told}");
    let mut script = patch();
    script.variants[0].installer =
        serde_json::from_value(serde_json::json!({"technology": "script", "interpreter": "cmd"})).unwrap();
    script.variants[1].reboot = wardround_rollout_plans::model::RebootNeed::Always;
    let told = text(&careful(""), &script);
    assert!(told.contains("! On Windows XP a script does the install"), "{told}");
    assert!(told.contains("! Every device on Windows Server 2003 reboots."), "{told}");
}

#[test]
fn an_order_in_plain_words() {
    let (rollout, members) = rollout(&standard());
    let say = |command: serde_json::Value| {
        let order: Order = serde_json::from_value(serde_json::json!({
            "rollout": rollout.id, "digest": Digest::of(b"rollout"), "counter": 4, "issued_at": 1_795_000_000_000_i64,
            "command": command, "reason": "images\u{1b}[2J missing",
        }))
        .unwrap();
        describe_order(&order, &rollout, &patch(), &members).join("\n")
    };
    let places = [
        serde_json::json!({"target": "device", "device": "rx1/ct-01"}),
        serde_json::json!({"target": "site", "site": "ry1"}),
        serde_json::json!({"target": "wave", "wave": "nowhere"}),
    ];
    let mut told: Vec<String> = ["start", "pause", "resume", "halt", "cancel"]
        .map(|word| say(serde_json::json!({ "command": word })))
        .into_iter()
        .chain(places.map(|target| say(serde_json::json!({"command": "roll_back", "target": target}))))
        .collect();
    told.push(say(serde_json::json!({"command": "approve", "wave": "full"})));
    let text = told.join("\n\n----\n");
    assert!(!text.chars().any(|c| c != '\n' && wardround_signing::is_hidden(c)), "{text:?}");
    insta::assert_snapshot!(text);
}

#[test]
fn a_patch_in_plain_words() {
    let mut patch = patch();
    patch.supersedes.push("KB4012598".parse().unwrap());
    patch.requires = serde_json::from_value(serde_json::json!([
        { "patch": "KB936929", "sign": { "technology": "hotfix", "kb": "KB936929" } },
        { "patch": "console-2", "sign": { "technology": "msi", "product_code": "{90120000-0030-0000-0000-0000000FF1CE}", "display_version": "2.0" } },
    ]))
    .unwrap();
    let payload = &mut patch.variants[1].payload;
    payload.file_name = "console.msi".to_owned();
    payload.length = 3_456_789;
    payload.chunks = vec![payload.digest; 14];
    patch.variants[1].installer = serde_json::from_value(serde_json::json!({
        "technology": "msi", "product_code": "{90120000-0030-0000-0000-0000000FF1CE}", "display_version": "2.1",
        "properties": ["ALLUSERS=1"]
    }))
    .unwrap();
    insta::assert_snapshot!(describe_patch(&patch).join("\n"));
}

/// A controller in an attacker's hands need not refuse it; whoever is asked to sign is told.
#[test]
fn a_patch_that_should_have_been_refused_says_so_first() {
    let mut patch = patch();
    patch.title.push_str("\u{1b}[2J");
    patch.guidance = "a\tb\n\u{2028}c".to_owned();
    patch.variants[0].installer = serde_json::from_value(serde_json::json!({
        "technology": "hotfix", "kb": "KB4500331", "switches": ["/nobackup", "/x\u{202e}"]
    }))
    .unwrap();
    let text = describe_patch(&patch).join("\n");
    assert!(!text.chars().any(|c| c != '\n' && wardround_signing::is_hidden(c)), "{text:?}");
    insta::assert_snapshot!(text);
}

#[test]
fn at_most_so_many_at_once() {
    let (rollout, members) = rollout(&standard());
    let full: Vec<Member> = members.into_iter().filter(|m| m.wave.as_str() == "full").collect();
    let with = |f: fn(&mut Rollout)| {
        let mut rollout = rollout.clone();
        f(&mut rollout);
        at_once(&rollout.plan, 1, &full)
    };
    // Four devices at three sites, two of them at ry1.
    assert_eq!(with(|_| {}), 3);
    assert_eq!(with(|r| r.plan.limits.per_site = Some(9)), 4);
    assert_eq!(with(|r| r.plan.limits.total = Some(2)), 2);
    assert_eq!(with(|r| r.plan.waves[1].limits.total = Some(1)), 1);
    assert_eq!(with(|r| r.plan.waves[1].limits.per_site = Some(9)), 3, "a wave can't widen the plan's limit");
}
