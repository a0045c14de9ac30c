//! Resolution: which device gets the patch in which wave, and what is said when that can't be.
#![expect(clippy::unwrap_used, reason = "helpers outside of test functions; a panic is the failure")]

mod common;

use common::*;
use wardround_rollout_plans::{
    language::ParsedPlan,
    model::{DeviceId, GroupId, Member, RolloutId, Timestamp, Window},
    resolve::{Resolution, check_members, document, resolve},
};
use wardround_signing::Digest;

fn show(resolution: &Resolution) -> String {
    let mut text = String::new();
    for member in resolution.waves.iter().flatten() {
        text += &format!("{}: {} gets {}\n", member.wave, member.device, member.variant);
    }
    for (device, why) in &resolution.left_out {
        text += &format!("left out: {device}: {why}\n");
    }
    for warning in &resolution.warnings {
        let word = if warning.accepted.is_some() { "accepted" } else { warning.rule.weight().word() };
        text += &format!("{word}[{}]: {}\n", warning.rule.word(), warning.problem.message);
    }
    text
}

fn problems(parsed: &ParsedPlan) -> String {
    problems_in(parsed, &three_sites())
}

fn problems_in(parsed: &ParsedPlan, estate: &wardround_rollout_plans::estate::Estate) -> String {
    let problems = resolve(parsed, &patch(), estate).map(|r| show(&r)).unwrap_err();
    problems.iter().map(|p| format!("{p}\n")).collect()
}

#[test]
fn advice_names_what_the_hours_of_sites_do_to_a_plan() {
    let mut known = three_sites();
    let mut north = known.site(&"rx1".parse().unwrap()).unwrap().clone();
    let window = |from: &str, to: &str| Window { days: vec![], from: from.parse().unwrap(), to: to.parse().unwrap() };
    north.hours.time_zone = Some("Europe/London".parse().unwrap());
    north.hours.windows = vec![window("20:00", "22:30")];
    north.devices[1].windows = vec![window("21:00", "24:00")];
    known.put(north);
    let warned = |rest: &str| {
        let parsed = plan(&format!("{rest}waves:\n  - {{ name: all, select: {{ remaining: true }}, soak: 8h }}\n"));
        let warnings = resolve(&parsed, &patch(), &known).unwrap().warnings;
        let warnings = warnings.into_iter().map(|finding| finding.problem.message);
        warnings.filter(|w| w.contains("window")).collect::<Vec<_>>()
    };
    assert_eq!(warned(""), [""; 0]);
    assert_eq!(
        warned("windows: [{ from: \"20:00\", to: \"21:45\" }]\n"),
        ["the plan's windows go by UTC at 2 of the sites, since their site files name no time_zone: rx2, ry1"]
    );
    // The site and the plan share 45 minutes, the device and the plan half an hour.
    let short = warned("windows: [{ from: \"19:00\", to: \"21:30\" }]\n");
    assert!(
        short[1].contains("on 1 of the devices") && short[1].ends_with("45m, which it may take: rx1/ct-02"),
        "{short:?}"
    );
    assert!(warned("windows: [{ from: \"22:00\", to: \"05:00\" }]\n")[1].ends_with("rx1/ct-01, rx1/ct-02"));
}

#[test]
fn every_device_has_its_wave_or_a_reason() {
    insta::assert_snapshot!(show(&resolve(&standard(), &patch(), &three_sites()).unwrap()));
}

#[test]
fn eligibility_bounds_every_wave() {
    let parsed = plan(
        "eligible: { regions: [north], labels: { trust: north } }\nwaves:\n  - { name: lab, select: { platforms: ['cpe:2.3:o:microsoft:windows_server_2003:*:*:*:*:*:*:*:*'] }, soak: 8h }\n  - { name: named, select: { devices: [rx1/ct-02] }, soak: 8h }\n  - { name: site, select: { sites: [rx1] }, soak: 8h }\n",
    );
    insta::assert_snapshot!(show(&resolve(&parsed, &patch(), &three_sites()).unwrap()));
}

#[test]
fn what_can_not_be_resolved_points_at_its_line() {
    let cases = [
        ("label_value", "waves:\n  - { name: a, select: { labels: { ring: canray } }, soak: 8h }\n"),
        ("label_key", "waves:\n  - { name: a, select: { labels: { rnig: canary } }, soak: 8h }\n"),
        ("label_unheard_of", "waves:\n  - { name: a, select: { labels: { ward: '7' } }, soak: 8h }\n"),
        ("criteria_that_never_meet", "waves:\n  - { name: a, select: { sites: [ry1], regions: [north] }, soak: 8h }\n"),
        (
            "taken_by_earlier_waves",
            "waves:\n  - { name: a, select: { regions: [north, south] }, soak: 8h }\n  - { name: b, select: { sites: [rx1] }, soak: 8h }\n  - { name: c, select: { remaining: true }, soak: 8h }\n",
        ),
        (
            "bad_luck_of_a_percentage",
            "waves:\n  - { name: a, select: { percent: 0.01% }, soak: 8h }\n  - { name: b, select: { remaining: true }, soak: 8h }\n",
        ),
        (
            "unknown_names",
            "eligible: { sites: [rx1, rx3] }\nwaves:\n  - { name: a, select: { regions: [nroth] }, soak: 8h }\n  - { name: b, select: { devices: [rx1/ct-1, zz9/x] }, soak: 8h }\n",
        ),
        (
            "too_much_evidence",
            "waves:\n  - name: a\n    select: { labels: { ring: canary } }\n    soak: 8h\n    gate: { evidence_min: 3 }\n",
        ),
        ("another_patch", "patch: KB1234567\nwaves:\n  - { name: a, select: { remaining: true }, soak: 8h }\n"),
        (
            "no_variant_at_all",
            "eligible: { platforms: ['cpe:2.3:o:microsoft:windows_10:*:*:*:*:*:*:*:*'] }\nwaves:\n  - { name: a, select: { remaining: true }, soak: 8h }\n",
        ),
    ];
    for (name, yaml) in cases {
        insta::assert_snapshot!(name, problems(&plan(yaml)), yaml);
    }
    insta::assert_snapshot!("no_devices_yet", problems_in(&standard(), &estate([])));
}

#[test]
fn advice_names_what_no_canary_stands_for() {
    let mut pair = site("rx1", "north", &[("a", XP, "CT", "canary"), ("b", XP, "CT", ""), ("c", XP, "CT", "")]);
    let group = GroupId::new("scanners").unwrap();
    pair.groups.insert(group.clone(), 1);
    for device in &mut pair.devices[1..] {
        device.group = Some(group.clone());
    }
    pair.systems[0].critical = true;
    let mut lonely = pair.systems[0].clone();
    lonely.id = "rx1/ris".parse().unwrap();
    lonely.devices = vec!["rx1/gone".parse().unwrap()];
    pair.systems.push(lonely);
    let parsed = plan(
        "rollback: { scope: device }\nlimits: { per_site: 2 }\nwaves:\n  - { name: a, select: { labels: { ring: canary } }, soak: 8h }\n  - { name: b, select: { remaining: true }, soak: 8h }\n",
    );
    insta::assert_snapshot!(show(&resolve(&parsed, &patch(), &estate([pair])).unwrap()));
}

#[test]
fn a_device_that_an_inventory_names_twice_is_one_member() {
    let mut twice = site("rx1", "north", &[("a", XP, "CT", "canary"), ("b", XP, "CT", "canary"), ("c", XP, "CT", "")]);
    twice.devices.push(twice.devices[0].clone());
    let resolution = resolve(&standard(), &patch(), &estate([twice])).unwrap();
    assert_eq!(resolution.waves.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    // Nor when it says two things of it: one device in two waves would make a document that nobody can sign.
    let mut two_faced =
        site("rx1", "north", &[("a", XP, "CT", "canary"), ("b", XP, "CT", "canary"), ("c", XP, "CT", "")]);
    let mut other = two_faced.devices[0].clone();
    other.labels.clear();
    two_faced.devices.push(other);
    let resolution = resolve(&standard(), &patch(), &estate([two_faced])).unwrap();
    assert_eq!(resolution.waves.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn the_document_commits_to_every_member() {
    let parsed = standard();
    let resolution = resolve(&parsed, &patch(), &three_sites()).unwrap();
    let id = RolloutId::new("r1").unwrap();
    let rollout = document(id, &parsed.plan, &patch(), Digest::of(b"patch"), &resolution, &[], Timestamp(7));
    let members = resolution.members();
    assert_eq!(check_members(&rollout, &members), Ok(()));
    // What a signer sees is what the bytes say.
    let bytes = serde_json::to_vec(&rollout).unwrap();
    assert_eq!(serde_json::from_slice::<wardround_rollout_plans::model::Rollout>(&bytes).unwrap(), rollout);

    let change = |f: fn(&mut Vec<Member>)| {
        let mut members = members.clone();
        f(&mut members);
        check_members(&rollout, &members).unwrap_err()
    };
    let refusals = [
        change(|m| m.truncate(5)),
        change(|m| drop(m.remove(0))),
        change(|m| m.swap(0, 1)),
        change(|m| m.push(m[0].clone())),
        change(|m| m[0].variant = "w2003".parse().unwrap()),
        change(|m| m[0].device = DeviceId::new("rx1/ct-00").unwrap()),
        change(|m| m[2].wave = m[0].wave.clone()),
        change(|m| {
            m.push(Member {
                wave: "extra".parse().unwrap(),
                device: "zz9/a".parse().unwrap(),
                variant: "xp".parse().unwrap(),
            })
        }),
        change(|m| m.rotate_left(2)),
        change(Vec::clear),
    ];
    insta::assert_snapshot!(refusals.join("\n"));
    let mut other_waves = rollout.clone();
    other_waves.waves.pop();
    assert!(check_members(&other_waves, &members[..2]).unwrap_err().contains("not those of its plan"));
}

/// The roots are right, but the members are not those that the plan's words promise.
#[test]
fn a_document_whose_members_contradict_its_plan_is_not_signed() {
    let parsed = plan(
        "waves:\n  - { name: canary, select: { labels: { ring: canary } }, soak: 8h }\n  - { name: full, select: { remaining: true }, soak: 8h }\n",
    );
    let resolution = resolve(&parsed, &patch(), &three_sites()).unwrap();
    let with = |change: &str| {
        let honest = document(
            RolloutId::new("r1").unwrap(),
            &parsed.plan,
            &patch(),
            Digest::of(b"patch"),
            &resolution,
            &[],
            Timestamp(7),
        );
        let mut rollout = honest.clone();
        rollout.plan = plan(change).plan;
        assert_ne!(rollout, honest);
        check_members(&rollout, &resolution.members()).unwrap_err()
    };
    let waves = "waves:\n  - { name: canary, select: { labels: { ring: canary } }, soak: 8h }\n  - { name: full, select: { remaining: true }, soak: 8h }\n";
    insta::assert_snapshot!(
        [
            with(&format!("patch: KB1\n{waves}")),
            with(&format!("eligible: {{ sites: [rx1, rx2] }}\n{waves}")),
            with(&format!("eligible: {{ devices: [rx1/ct-01] }}\n{waves}")),
            with(&waves.replace("labels: { ring: canary }", "sites: [rx1]")),
            with(&waves.replace("labels: { ring: canary }", "percent: 9%")),
        ]
        .join("\n")
    );
    let mut twice = document(
        RolloutId::new("r1").unwrap(),
        &parsed.plan,
        &patch(),
        Digest::of(b"patch"),
        &resolution,
        &[],
        Timestamp(7),
    );
    twice.plan.waves[1].name = twice.plan.waves[0].name.clone();
    twice.waves[1].name = twice.waves[0].name.clone();
    assert_eq!(check_members(&twice, &resolution.members()), Err("two waves are called canary".to_owned()));
}

#[test]
fn unknown_names_are_cut_off_before_they_cost_too_much() {
    let devices = (0..500).map(|n| format!("rx1/gone-{n}")).collect::<Vec<_>>().join(", ");
    let parsed = plan(&format!("waves:\n  - {{ name: a, select: {{ devices: [{devices}] }}, soak: 8h }}\n"));
    assert_eq!(resolve(&parsed, &patch(), &three_sites()).unwrap_err().len(), 20);
}
