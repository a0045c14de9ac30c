//! How long a plan waits, with a real controller and real nodes: failed installs that are tried again, sites that do not answer,
//! and waves whose time is over.

use std::collections::BTreeSet;

use wardround_tests::world::{Blueprint, Pace, World, plan, wait, wait_until};

use crate::PROGRAM;
const KB: &str = "KB4500331";
/// As [`plan`] has it.
const RETRY_AFTER: &str = "retry_after: 1s";

/// Silence counts after three seconds.
fn attentive() -> World {
    World::with(PROGRAM, Pace { check_in_every: "300ms", silence_after: "3s" }, |_| {})
}

/// With two more tries, the first after two seconds.
fn with_retries(plan: &str) -> String {
    plan.replace(RETRY_AFTER, &format!("{RETRY_AFTER}, retries: 2, retry: 2s, retry_max: 1m"))
}

/// A line of `rollout deployments`.
fn line_of(world: &World, rollout: &str, device: &str) -> String {
    let shown = world.run(&["rollout", "deployments", rollout]).ok().out;
    shown.lines().find(|line| line.contains(device)).unwrap_or_default().to_owned()
}

/// A wave's line of reasons.
fn waiting(world: &World, rollout: &str, wave: usize) -> Option<(String, String)> {
    let waiting = world.api.rollout(rollout).ok()?.waves.into_iter().nth(wave)?.waiting?;
    Some((waiting.code, waiting.text))
}

/// All alarms as the command line shows them, by code.
fn alarms(world: &World, code: &str) -> Vec<String> {
    let shown = world.run(&["alarms", "--output", "json"]).ok().json();
    let all = shown.as_array().cloned().unwrap_or_default();
    all.iter()
        .filter(|alarm| alarm["code"] == code)
        .filter_map(|alarm| Some(alarm["text"].as_str()?.to_owned()))
        .collect()
}

fn after(seconds: i64) -> jiff::Timestamp {
    jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds)
}

#[test]
fn an_install_that_left_no_result_twice_works_the_third_time() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "full"));
    let device = world.device("rx1/a");
    device.set("dies-1");
    device.set("dies-2");
    world.patch(KB, 0);
    let plan = with_retries(&plan::one_wave("300ms", "{ per_site: 1 }", "wave"));
    world.start("r1", KB, &plan);

    // What people see while it waits, and what would move it.
    wait_until(60, "the first try to be told of", || line_of(&world, "r1", "rx1/a").contains("1 of 2"));
    let line = line_of(&world, "r1", "rx1/a");
    assert!(
        line.contains("deferred") && line.contains("nothing has changed on the device: tried again after"),
        "{line}"
    );
    assert!(line.contains("its node tries again by itself: ") && line.contains("until "), "{line}");
    assert_eq!(line.matches("tried again after").count(), 1, "said once: {line}");
    let (code, text) = waiting(&world, "r1", 0).unwrap();
    assert_eq!(code, "deployments", "{text}");
    // A node that dies meanwhile forgets no try.
    world.site_mut("rx1").node().kill9();
    world.start_node("rx1");
    wait_until(60, "the second try to be told of", || line_of(&world, "r1", "rx1/a").contains("2 of 2"));

    world.wait_state(60, "r1", "completed");
    assert!(device.installed(KB));
    assert_eq!((device.installs(), device.uninstalls()), (3, 0));
    let begins = device.install_begins();
    let waits: Vec<i128> = begins.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000_000).collect();
    // Two seconds and four, each shorter by up to a quarter.
    assert!(waits[0] >= 1_500 && waits[1] >= 3_000, "{waits:?} ms");
    let ended = world.deployment("r1", "rx1/a").unwrap();
    assert_eq!((ended.state.as_str(), ended.attempt), ("succeeded", 1), "to the controller it is one attempt");
}

#[test]
fn what_fails_more_often_than_the_plan_tries_it_fails() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "canary").device("b", "full"));
    let device = world.device("rx1/a");
    for death in ["dies-1", "dies-2", "dies-3"] {
        device.set(death);
    }
    world.patch(KB, 0);
    world.start("r1", KB, &with_retries(&plan::two_waves("300ms", "{ per_site: 1 }", "wave")));

    world.wait_deployment(90, "r1", "rx1/a", &["failed"]);
    wait_until(30, "the wave to have ended", || {
        ["failed", "rolled_back"].contains(&world.wave("r1", "canary").as_str())
    });
    assert_eq!((device.installs(), device.uninstalls(), device.installed(KB)), (3, 0, false));
    let line = line_of(&world, "r1", "rx1/a");
    assert!(line.contains("failed") && line.contains("the installer left no result"), "{line}");
    world.wait_check_ins("rx1", 3);
    assert!(world.device("rx1/b").untouched(), "{}", world.describe("r1"));
    // Without a wish of the plan one failure is one, at once.
    let other = world.device("rx1/b");
    other.set("dies-1");
    world.run_as("ann", &["rollout", "cancel", "r1", "--yes"]).ok();
    let once = plan::one_wave("300ms", "{ per_site: 1 }", "wave").replace("remaining: true", "devices: [rx1/b]");
    world.start("r2", KB, &once);
    world.wait_deployment(60, "r2", "rx1/b", &["failed"]);
    assert_eq!(other.installs(), 1);
}

#[test]
fn a_silent_site_is_told_of_then_left_out_and_stays_so_behind_the_gate() {
    let mut world = attentive();
    world.add_site(&Blueprint::new("rx1").device("a", "canary").device("c", "full"));
    world.add_site(&Blueprint::new("rx2").device("b", "canary").device("d", "full"));
    world.patch(KB, 0);
    // The second wave only tells of silent sites.
    let plan = plan::two_waves("300ms", "{ per_site: 1 }", "wave").replacen(
        "soak: 300ms\n",
        "soak: 300ms\n    offline: { alarm_after: 2s, leave_out_after: 5s }\n",
        1,
    );
    let plan = format!("offline: {{ alarm_after: 1s }}\n{plan}");
    world.rollout("r1", KB, &plan);
    world.site_mut("rx2").node().kill9();
    // Such a plan has sites watched before their turn: nothing is offered to one that is silent already.
    wait_until(30, "the silence to be seen", || {
        world.controller().log().contains("no word from this site's node site=rx2")
    });
    world.run_as("ann", &["rollout", "start", "r1"]).ok();

    // First the reason, then the alarm, then it goes on without it.
    wait_until(60, "the wave to say whom it waits for", || {
        waiting(&world, "r1", 0).is_some_and(|(code, text)| code == "silent_sites" && text.contains("rx2"))
    });
    let status = world.run(&["rollout", "status", "r1"]).ok().out;
    assert!(status.contains("rx2"), "{status}");
    let told = wait(30, "the alarm", || alarms(&world, "site_offline").into_iter().next());
    assert!(
        told.contains("site rx2 does not answer for 2s: wave canary of rollout r1 waits for 1 device there"),
        "{told}"
    );
    world.wait_deployment(60, "r1", "rx2/b", &["skipped"]);
    let line = line_of(&world, "r1", "rx2/b");
    assert!(line.contains("left out: its site did not answer for 5s"), "{line}");

    // The gate judged the one that was tried. Behind it the rest of the silent site is waited for.
    world.wait_wave(60, "r1", "canary", "passed");
    world.wait_deployment(60, "r1", "rx1/c", &["succeeded"]);
    wait_until(60, "the second wave to wait for rx2", || {
        waiting(&world, "r1", 1).is_some_and(|(code, text)| code == "silent_sites" && text.contains("rx2"))
    });
    assert_eq!(alarms(&world, "site_offline").len(), 1, "once for each silence");
    assert!(world.device("rx2/b").untouched() && world.device("rx2/d").untouched());

    // It comes back: its turn in the second wave has come, and that in the first is over.
    world.start_node("rx2");
    world.wait_state(90, "r1", "completed");
    assert!(world.device("rx2/d").installed(KB));
    world.wait_check_ins("rx2", 3);
    assert!(world.device("rx2/b").untouched(), "{}", world.describe("r1"));
    let gate = world.api.rollout("r1").unwrap().waves[0].gate.clone();
    assert!(gate.contains("1 of 1"), "{gate}");
}

#[test]
fn what_was_offered_to_a_site_that_fell_silent_ends_when_its_node_says_that_nothing_began() {
    let mut world = attentive();
    world.add_site(&Blueprint::new("rx1").device("a", "canary").device("c", "full"));
    world.add_site(&Blueprint::new("rx2").device("b", "canary"));
    world.device("rx2/b").set("busy");
    world.patch(KB, 0);
    let plan = format!("offline: {{ leave_out_after: 2s }}\n{}", plan::two_waves("300ms", "{ per_site: 1 }", "wave"));
    world.start("r1", KB, &plan);
    world.wait_deployment(60, "r1", "rx2/b", &["deferred"]);
    world.site_mut("rx2").node().kill9();

    // It may have begun behind its last report: nobody goes on without knowing.
    wait_until(60, "rx2/b to be given up", || line_of(&world, "r1", "rx2/b").contains("left out: its site did not"));
    let line = line_of(&world, "r1", "rx2/b");
    let words = "left out: its site did not answer for 2s; the node of rx2 must answer again";
    assert!(line.contains("unknown") && line.contains(words), "{line}");
    world.wait_deployment(60, "r1", "rx1/a", &["succeeded"]);
    let (code, text) = waiting(&world, "r1", 0).unwrap();
    assert_eq!(code, "silent_sites", "{text}");
    assert!(world.device("rx1/c").untouched(), "{}", world.describe("r1"));

    // It comes back, hears that nobody waits for it any more, and does not begin when the device becomes free.
    world.start_node("rx2");
    world.wait_deployment(60, "r1", "rx2/b", &["skipped"]);
    world.device("rx2/b").clear("busy");
    world.wait_state(60, "r1", "completed");
    world.wait_check_ins("rx2", 3);
    assert!(world.device("rx2/b").untouched() && world.device("rx1/c").installed(KB), "{}", world.describe("r1"));
}

#[test]
fn a_wave_whose_time_is_over_alarms_once_and_goes_on() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "full").device("b", "full"));
    world.device("rx1/a").close("install");
    world.patch(KB, 0);
    let plan = format!("deadline: {{ after: 2s }}\n{}", plan::one_wave("300ms", "{ per_site: 1 }", "wave"));
    world.start("r1", KB, &plan);
    world.device("rx1/a").wait_held("install");

    let told = wait(30, "the alarm", || alarms(&world, "deadline").into_iter().next());
    let words = "and 1 device of it did not begin in time; the wave goes on";
    assert!(told.contains("wave all of rollout r1: its deadline") && told.contains(words), "{told}");
    assert_eq!(world.deployment("r1", "rx1/b").unwrap().state, "pending");
    world.device("rx1/a").open("install");
    world.wait_state(60, "r1", "completed");
    assert!(world.devices().iter().all(|device| device.installed(KB)), "nothing is forced, and nothing is left out");
    assert_eq!(alarms(&world, "deadline").len(), 1);
}

#[test]
fn a_wave_whose_time_is_over_leaves_out_what_has_not_begun_and_finishes_the_rest() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "full").device("b", "full"));
    world.device("rx1/a").close("install");
    world.patch(KB, 0);
    let plan = plan::one_wave("300ms", "{ per_site: 1 }", "wave");
    world.start("r1", KB, &format!("deadline: {{ after: 2s, then: leave_out }}\n{plan}"));
    world.device("rx1/a").wait_held("install");

    world.wait_deployment(30, "r1", "rx1/b", &["skipped"]);
    let line = line_of(&world, "r1", "rx1/b");
    assert!(line.contains("left out: the deadline of its wave") && line.contains("is over"), "{line}");
    assert_eq!(world.state("r1"), "running", "what has begun is waited for");
    world.device("rx1/a").open("install");
    world.wait_state(60, "r1", "completed");
    world.wait_check_ins("rx1", 3);
    assert!(world.device("rx1/a").installed(KB) && world.device("rx1/b").untouched(), "{}", world.describe("r1"));
    let told: BTreeSet<String> = world.api.records().unwrap().into_iter().map(|record| record.text).collect();
    assert!(told.iter().any(|text| text.contains("1 device that did not begin will be left out")), "{told:?}");
}

#[test]
fn a_node_that_is_alone_begins_nothing_after_the_day_of_the_signed_plan() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "full").device("b", "other"));
    world.patch(KB, 0);
    for device in ["rx1/a", "rx1/b"] {
        world.device(device).set("busy");
    }
    let all = plan::one_wave("300ms", "{ per_site: 1 }", "wave");
    let of = |ring: &str| all.replace("remaining: true", &format!("labels: {{ ring: {ring} }}"));
    let by = after(20);
    world.start("r1", KB, &format!("deadline: {{ by: \"{by}\", then: leave_out }}\n{}", of("full")));
    world.start("r2", KB, &of("other"));
    world.wait_deployment(15, "r1", "rx1/a", &["deferred"]);
    world.wait_deployment(15, "r2", "rx1/b", &["deferred"]);
    world.controller().kill9();

    // Both are free again, after that day: the other rollout has none, so its device shows that the node is at work.
    wait_until(60, "the deadline", || jiff::Timestamp::now() > by);
    world.device("rx1/a").clear("busy");
    world.device("rx1/b").clear("busy");
    wait_until(60, "the other rollout's device", || world.device("rx1/b").installed(KB));
    assert!(world.device("rx1/a").untouched());

    world.start_controller();
    world.controller_ready();
    world.wait_deployment(60, "r1", "rx1/a", &["skipped"]);
    world.wait_check_ins("rx1", 3);
    assert!(world.device("rx1/a").untouched(), "{}", world.describe("r1"));
    let line = line_of(&world, "r1", "rx1/a");
    assert!(line.contains("left out: the deadline of its wave"), "{line}");
}
