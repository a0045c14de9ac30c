//! Amendments on real processes: a running rollout gains a site and loses a device, and nobody goes back to a version of
//! before.
#![expect(clippy::unwrap_used, reason = "a test: a failure is a panic that names the line")]

use wardround_rollout_plans::model::{Command, DeviceId, Member, Timestamp, VariantId, WaveName};
use wardround_signing::{Digest, Envelope, merkle::Tree, tuf::Kind};
use wardround_tests::{
    evil::{Case, FULL},
    world::{Blueprint, World, plan, wait_until},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wardround-under-test");
const KB: &str = "KB4500331";

fn waiting(world: &World) -> Option<wardround_proto::v1::Amendment> {
    world.api.rollout("r1").unwrap().amendment
}

#[test]
fn a_running_rollout_gains_a_site_and_loses_a_device_that_was_not_touched() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "full").device("b", "full"));
    world.device("rx1/a").close("install");
    world.patch(KB, 0);
    world.start("r1", KB, &plan::one_wave("300ms", "{ per_site: 1 }", "wave"));
    world.device("rx1/a").wait_held("install");

    // Nothing has changed yet, and so there is nothing to amend.
    world.run(&["rollout", "amend", "r1"]).fails(3, "the same devices", "enrol the new site");
    world.add_site(&Blueprint::new("rx2").device("c", "full"));
    world.site("rx1").drop_device("b");
    wait_until(30, "the device to be gone", || world.api.site("rx1").is_ok_and(|s| s.devices.len() == 1));
    let drafted = world.run(&["rollout", "amend", "r1"]).ok();
    for said in
        ["1 device comes in", "wave all, 1: rx2/c", "1 device is taken out", "wave all, 1: rx1/b", "1 device stays"]
    {
        assert!(drafted.out.contains(said), "{said}: {}", drafted.out);
    }

    // It is a draft until both roles have signed: what runs is the version before.
    let before = world.api.rollout("r1").unwrap();
    let draft = before.amendment.clone().unwrap();
    assert_eq!((before.version, draft.version, draft.signed), (1, 2, false));
    world.run_as("ann", &["rollout", "sign", "r1", "--yes"]).ok();
    let status = world.run(&["rollout", "status", "r1"]).ok();
    assert!(
        status.out.contains("version 2 (1 device in, 1 out) waits for the signature of clinical"),
        "{}",
        status.out
    );
    world.wait_check_ins("rx2", 2);
    assert!(world.device("rx2/c").untouched() && world.deployment("r1", "rx1/b").is_some());
    world.run_as("ben", &["rollout", "sign", "r1", "--yes"]).ok();
    let after = world.api.rollout("r1").unwrap();
    assert_eq!((after.version, after.digest.clone(), after.amendment), (2, draft.digest, None));
    let json = world.run(&["rollout", "status", "r1", "--output", "json"]).ok().json();
    assert_eq!((json["version"].as_u64(), json["amendment"].is_null()), (Some(2), true), "{json}");

    // What was in hand goes on; the new site is patched without another start; the device that went is left alone.
    world.device("rx1/a").open("install");
    world.wait_state(60, "r1", "completed");
    for id in ["rx1/a", "rx2/c"] {
        let device = world.device(id);
        assert!(device.installed(KB) && device.installs() == 1 && device.uninstalls() == 0, "{id}");
    }
    assert!(world.device("rx1/b").untouched() && world.deployment("r1", "rx1/b").is_none());
    for site in ["rx1", "rx2"] {
        assert!(!world.alarms(site).iter().any(|(code, _)| code == "refused"), "{:?}", world.alarms(site));
    }
    let kinds: Vec<String> = world.api.records().unwrap().into_iter().map(|r| r.kind).collect();
    assert!(kinds.iter().any(|kind| kind == "rollout_amended"), "{kinds:?}");
    world.run(&["rollout", "amend", "r1"]).ends(3, "it is completed; new devices need a new rollout");
}

#[test]
fn a_draft_that_came_too_late_is_signed_anew_and_survives_a_crash() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "full").device("b", "full"));
    for name in ["rx1/a", "rx1/b"] {
        world.device(name).close("install");
    }
    world.patch(KB, 0);
    world.start("r1", KB, &plan::one_wave("300ms", "{ per_site: 1 }", "wave"));
    world.device("rx1/a").wait_held("install");
    world.site("rx1").drop_device("b");
    wait_until(30, "the device to be gone", || world.api.site("rx1").is_ok_and(|s| s.devices.len() == 1));
    world.run(&["rollout", "amend", "r1"]).ok();
    world.run_as("ann", &["rollout", "sign", "r1", "--yes"]).ok();
    // The second draft takes the first one's place, for which Ann has signed already.
    world.add_site(&Blueprint::new("rx2").device("c", "full"));
    world.run(&["rollout", "amend", "r1"]).ok();
    world.crash_controller();
    let digest = waiting(&world).unwrap().digest;
    world.run_as("ben", &["rollout", "sign", "r1", "--yes"]).ok();
    assert!(!waiting(&world).unwrap().signed, "they have not signed the same document");
    world.run_as("ann", &["rollout", "sign", "r1", "--yes"]).ok();
    let rollout = world.api.rollout("r1").unwrap();
    assert_eq!((rollout.version, rollout.digest), (2, digest));
    world.crash_controller();
    assert_eq!(world.api.rollout("r1").unwrap().version, 2);
    world.device("rx1/a").open("install");
    world.wait_state(60, "r1", "completed");
    assert!(world.device("rx2/c").installed(KB) && world.device("rx1/b").untouched());
}

/// A wave that was approved with its devices gains one: it goes on with those that were approved until it is approved anew.
#[test]
fn a_wave_under_way_takes_in_nobody_whom_nobody_approved() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "canary").device("b", "full"));
    world.device("rx1/b").close("install");
    world.patch(KB, 0);
    let gate = "    soak: 300ms\n    gate: { approvals: [clinical] }\n";
    world.start("r1", KB, &plan::two_waves("300ms", "{ per_site: 1 }", "wave").replacen("    soak: 300ms\n", gate, 1));
    world.wait_wave(40, "r1", "full", "awaiting_approval");
    world.run_as("ben", &["rollout", "approve", "r1", "full"]).ok();
    world.device("rx1/b").wait_held("install");
    world.add_site(&Blueprint::new("rx2").device("c", "full"));
    let drafted = world.run(&["rollout", "amend", "r1"]).ok();
    assert!(drafted.out.contains("wave full changes: clinical must approve it in this version"), "{}", drafted.out);
    for person in ["ann", "ben"] {
        world.run_as(person, &["rollout", "sign", "r1", "--yes"]).ok();
    }
    let status = world.run(&["rollout", "status", "r1"]).ok();
    assert!(status.out.contains("waits for the approval of clinical for wave full"), "{}", status.out);
    world.wait_check_ins("rx2", 2);
    assert_eq!(world.api.rollout("r1").unwrap().version, 1);
    world.run_as("cy", &["rollout", "approve", "r1", "full"]).fails(
        3,
        "waits for the approval of clinical",
        "must sign",
    );
    world.run_as("ben", &["rollout", "approve", "r1", "full"]).ok();
    assert_eq!(world.api.rollout("r1").unwrap().version, 2);
    world.device("rx1/b").open("install");
    world.wait_state(60, "r1", "completed");
    assert!(["rx1/a", "rx1/b", "rx2/c"].iter().all(|id| world.device(id).installs() == 1));
    for site in ["rx1", "rx2"] {
        assert!(!world.alarms(site).iter().any(|(code, _)| code == "refused"), "{:?}", world.alarms(site));
    }
}

/// The attacker holds every version that people ever signed, and offers the one in which device `b` still stood.
#[test]
fn a_version_of_before_is_refused_by_name() {
    let mut case = Case::new(PROGRAM, "an older version of a rollout");
    let approval = case.estate.approval(&case.estate.people.ben);
    let old = case.estate.directive(3, vec![case.estate.start(), approval], vec![case.estate.goal(FULL)]);
    let old_document = case.estate.rollout_document();
    let start = case.estate.start();
    let path = "rollouts/r1.1.json";

    // In version 2 another device stands in the place of `b`.
    let wave = WaveName::new("full").unwrap();
    let device = DeviceId::new("rx1/c").unwrap();
    let members = vec![Member { wave, device, variant: VariantId::new("xp").unwrap() }];
    let next = &mut case.estate.rollout;
    (next.version, next.ancestors) = (2, vec![old_document.digest()]);
    (next.waves[FULL].root, next.waves[FULL].since) = (Tree::new(members.iter().map(Member::leaf)).root(), 2);
    case.estate.members[FULL] = members;
    let both = |case: &Case| {
        case.serve_honestly();
        case.publish(|repository, _| {
            for listing in [&mut repository.release, &mut repository.clinical] {
                listing.add_target(path, &old_document.payload, Kind::Rollout).unwrap();
            }
        });
        case.evil.with(|served| served.documents.insert(old_document.digest(), old_document.clone()));
    };
    both(&case);
    case.say(case.estate.seal(&case.estate.directive(1, vec![start.clone()], Vec::new())));
    case.check_ins(3);
    case.say(case.estate.seal(&old));
    case.refuses("rollout", "version 1 of rollout r1 after version 2");
    // The floor is on the node's disk.
    case.site.node().kill9();
    case.start_node();
    let mut again = old.clone();
    (again.counter, again.issued_at) = (4, Timestamp(old.issued_at.0 + 1));
    case.say(case.estate.seal(&again));
    case.check_ins(3);
    assert!(case.site.devices.iter().all(wardround_tests::world::Device::untouched));
    // The version in force goes on, under the order that started the one before it.
    let canary = case.estate.directive(5, vec![start], vec![case.estate.goal(0)]);
    both(&case);
    case.say(case.estate.seal(&canary));
    wait_until(40, "the honest install", || case.site.device("a").installed(KB));
    assert!(case.site.device("b").untouched());
}

/// People approved the wave before its devices changed.
#[test]
fn an_approval_of_before_does_not_cover_a_changed_wave() {
    let mut case = Case::new(PROGRAM, "an approval of an older version");
    let approval = case.estate.approval(&case.estate.people.ben);
    let own: Digest = case.estate.rollout_document().digest();
    let orders: Vec<Envelope> = vec![case.estate.start(), approval];
    let next = &mut case.estate.rollout;
    (next.version, next.ancestors, next.waves[FULL].since) = (2, vec![own], 2);
    case.serve_honestly();
    case.say(case.estate.seal(&case.estate.directive(1, orders.clone(), vec![case.estate.goal(FULL)])));
    case.refuses("order", "wave full as it was before an amendment");
    case.refuses("directive", "wave full needs signed approvals");
    let wave = WaveName::new("full").unwrap();
    let anew = case.estate.order(3, Command::Approve { wave }, &case.estate.people.ben);
    let directive = case.estate.directive(2, vec![orders[0].clone(), anew], vec![case.estate.goal(FULL)]);
    case.honest_words_install(&directive, "b");
}
