//! A node by itself: without its controller in each step, for a week, with a clock that is set, with a twin that holds its
//! identity, and in the place of another. It ends what it has begun, takes back what hurts, and begins nothing that it may not.
#![expect(clippy::unwrap_used, reason = "a test: a failure is a panic that names the line")]

use wardround_tests::{
    rig::Clock,
    world::{Blueprint, World, plan, try_wait, wait_until},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wardround-under-test");
const KB: &str = "KB4500331";
const OTHER: &str = "KB4012598";
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// Cuts the line of `rx1`, and waits until the controller has missed it.
fn cut(world: &World) {
    world.site("rx1").link.as_ref().unwrap().cut();
    wait_until(30, "the controller to miss the node", || {
        world.api.site("rx1").is_ok_and(|s| s.site.is_some_and(|s| !s.connected))
    });
}

fn mend(world: &World) {
    world.site("rx1").link.as_ref().unwrap().mend();
    world.wait_connected("rx1");
}

#[test]
fn a_line_cut_in_each_step_stops_nothing_that_has_begun() {
    // In the order in which a device comes to them; it is looked at after the restart too.
    const STEPS: [&str; 4] = ["preflight", "install", "verify", "reboot"];
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "full").linked());
    let device = world.device("rx1/a");
    device.set("wants-reboot");
    STEPS.iter().for_each(|step| device.close(step));
    world.patch(KB, 0);
    world.start("r1", KB, &plan::one_wave("3s", "{ per_site: 1 }", "device"));
    for (n, step) in STEPS.iter().enumerate() {
        device.wait_held(step);
        cut(&world);
        device.open(step);
        // The next step comes without a word from the controller.
        if let Some(next) = STEPS.get(n + 1) {
            device.wait_held(next);
        }
        mend(&world);
    }
    world.wait_deployment(40, "r1", &device.id, &["soaking", "succeeded"]);
    cut(&world);
    // The soak ends while nobody hears of it; what the node says of it waits for the line.
    mend(&world);
    world.wait_state(60, "r1", "completed");
    assert_eq!((device.installs(), device.uninstalls()), (1, 0));

    // The way back, in each of its steps too.
    device.close("uninstall");
    device.close("reboot");
    world.run_by(&["cy", "ben"], &["rollout", "rollback", "r1", "--all", "--reason", "drill", "--yes"]).ok();
    device.wait_held("uninstall");
    cut(&world);
    device.open("uninstall");
    wait_until(40, "the patch to be off without the controller", || !device.installed(KB));
    device.open("reboot");
    mend(&world);
    world.wait_state(60, "r1", "rolled_back");
    assert_eq!((device.installs(), device.uninstalls()), (1, 1));
}

#[test]
fn a_patch_that_hurts_while_the_line_is_cut_is_taken_back_by_the_node() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "full").device("b", "full").linked());
    let (a, b) = (world.device("rx1/a"), world.device("rx1/b"));
    world.patch(KB, 0);
    world.start("r1", KB, &plan::one_wave("5m", "{ per_site: 1 }", "device"));
    let first = try_wait(40, || [&a, &b].into_iter().find(|d| d.installed(KB))).unwrap().clone();
    world.wait_deployment(40, "r1", &first.id, &["soaking"]);
    cut(&world);
    first.set("down");
    wait_until(60, "the node to take it back by itself", || !first.installed(KB) && first.uninstalls() == 1);
    let told = world.deployment("r1", &first.id).unwrap();
    assert_eq!(told.state, "soaking", "the controller can't know yet");
    first.clear("down");
    mend(&world);
    let told = world.wait_deployment(40, "r1", &first.id, &["rolled_back"]);
    assert!(told.reason.contains("viewer"), "{told:?}");
    assert_eq!(first.installs(), 1);
}

/// All wall clocks go on by eight days at once, while the controller lies dead.
#[test]
fn a_week_without_the_controller_begins_nothing_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(clock) = Clock::right(folder.path(), "everyone") else { return };
    // It begins eight days ago and ends today, since the test itself looks on by the right time.
    clock.set_ahead(-8 * DAY);
    let mut world = World::in_environment(PROGRAM, clock.environment());
    world.add_site(&Blueprint::new("rx1").device("a", "full").device("b", "full").device("c", "full"));
    let [a, b, c] = ["a", "b", "c"].map(|name| world.device(&format!("rx1/{name}")));
    b.set("busy");
    world.patch(KB, 0);
    let patient = plan::one_wave("48h", "{ per_site: 3 }", "device").replace("defer_max: 5m", "defer_max: 30d");
    world.start("r1", KB, &format!("{patient}    gate: {{ success: 50% }}\n"));
    for device in [&a, &c] {
        world.wait_deployment(40, "r1", &device.id, &["soaking"]);
    }
    world.wait_deployment(40, "r1", &b.id, &["deferred"]);

    // A power cut at the controller, and nobody mends it for eight days.
    world.controller().kill9();
    c.set("down");
    wait_until(60, "the node to take it back by itself", || c.uninstalls() == 1 && !c.installed(KB));
    c.clear("down");
    clock.set_ahead(0);
    let said = |world: &mut World, times: usize| {
        world.site_mut("rx1").node().log().matches("directive has expired: nothing new begins").count() == times
    };
    b.clear("busy");
    wait_until(60, "the node to say why it begins nothing", || said(&mut world, 1));
    assert!(b.untouched(), "its metadata is eight days old");
    assert!(a.installed(KB) && a.installs() == 1 && a.uninstalls() == 0);
    // A power cut there, too: what it knows outlives it.
    world.site_mut("rx1").node().kill9();
    world.start_node("rx1");
    wait_until(60, "the node to be back", || said(&mut world, 2));
    assert!(b.untouched());

    world.start_controller();
    world.controller_ready();
    world.wait_connected("rx1");
    world.wait_deployment(60, "r1", &a.id, &["succeeded"]);
    world.wait_deployment(60, "r1", &c.id, &["rolled_back"]);
    world.wait_deployment(60, "r1", &b.id, &["soaking"]);
    assert_eq!((a.installs(), b.installs(), c.installs()), (1, 1, 1));
    assert_eq!((a.uninstalls(), b.uninstalls(), c.uninstalls()), (0, 0, 1));
}

#[test]
fn a_clock_that_is_set_neither_shortens_a_soak_nor_repeats_a_step() {
    let mut world = World::new(PROGRAM);
    let Some(clock) = Clock::right(world.dir(), "node") else { return };
    world.lay_out_site(&Blueprint::new("rx1").device("a", "full"));
    world.site_mut("rx1").environment = clock.environment();
    world.enrol("rx1");
    world.start_node("rx1");
    world.wait_connected("rx1");
    let device = world.device("rx1/a");
    ["install", "verify"].iter().for_each(|step| device.close(step));
    world.patch(KB, 0);
    world.start("r1", KB, &plan::one_wave("4s", "{ per_site: 1 }", "device"));
    for (step, hours) in [("install", -5), ("verify", 5)] {
        device.wait_held(step);
        clock.set_ahead(hours * HOUR);
        device.open(step);
    }
    world.wait_deployment(40, "r1", &device.id, &["soaking", "succeeded"]);
    clock.set_ahead(0);
    world.wait_state(60, "r1", "completed");
    assert_eq!((device.installs(), device.uninstalls()), (1, 0));

    // Set back in a soak: it ends all the same.
    world.patch(OTHER, 0);
    world.start("r2", OTHER, &plan::one_wave("4s", "{ per_site: 1 }", "device"));
    world.wait_deployment(40, "r2", &device.id, &["soaking"]);
    clock.set_ahead(-2 * HOUR);
    world.wait_state(60, "r2", "completed");
    assert_eq!((device.installs(), device.uninstalls()), (2, 0));
}

/// A cloned virtual machine: two nodes with one identity at the same devices.
#[test]
fn twins_with_one_identity_install_once_and_are_told_of() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "full").device("b", "full"));
    let devices = ["rx1/a", "rx1/b"].map(|id| world.device(id));
    for device in &devices {
        device.set("wants-reboot");
    }
    world.patch(KB, 0);
    world.site_mut("rx1").node().stop();
    world.site_mut("rx1").node = None;
    let program = world.program().to_owned();
    let mut twin = world.site("rx1").start_twin(&program);
    world.start_node("rx1");
    wait_until(60, "the controller to tell of two nodes", || {
        world.alarms("rx1").iter().any(|(code, _)| code == "identity_shared")
    });
    world.start("r1", KB, &plan::one_wave("10s", "{ per_site: 2 }", "device"));
    // What one of them reports hides what the other does: only the devices tell.
    for device in &devices {
        wait_until(60, "the patch to be on the device", || device.installed(KB));
    }
    // A person does what the alarm says: one of the two goes, the other enrols anew and finds what is so.
    twin.kill9();
    world.site_mut("rx1").node().kill9();
    std::fs::remove_dir_all(world.site("rx1").state()).unwrap();
    world.enrol("rx1");
    world.start_node("rx1");
    world.wait_state(90, "r1", "completed");
    for device in &devices {
        assert_eq!((device.installs(), device.uninstalls()), (1, 0), "{}: {}", device.id, world.describe("r1"));
    }
}

/// The third try of an install is at work when the node's disk is lost. The one that takes its place finds that try, not the first; and
/// where people want the patch back meanwhile, it waits for the end of it.
#[test]
fn a_node_in_anothers_place_waits_for_the_try_that_is_at_work() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "canary").device("b", "full"));
    let devices = ["rx1/a", "rx1/b"].map(|id| world.device(id));
    devices.iter().for_each(|device| device.close("install"));
    let retries = "retry_after: 1s, retries: 2, retry: 4s, retry_max: 1m";
    for (rollout, patch, ring) in [("r1", KB, "canary"), ("r2", OTHER, "full")] {
        world.patch(patch, 0);
        let plan = plan::one_wave("1s", "{ per_site: 2 }", "device").replace("retry_after: 1s", retries);
        world.start(rollout, patch, &plan.replace("{ remaining: true }", &format!("{{ labels: {{ ring: {ring} }} }}")));
    }
    for (round, death) in ["dies-1", "dies-2"].into_iter().enumerate() {
        for device in &devices {
            device.wait_held("install");
            assert_eq!(device.installs(), round + 1);
            device.set(death);
            device.open("install");
            wait_until(30, "the install to die", || !device.has(death));
            device.close("install");
        }
    }
    for device in &devices {
        wait_until(30, "the third try", || device.installs() == 3);
        device.wait_held("install");
    }
    world.site_mut("rx1").node().kill9();
    std::fs::remove_dir_all(world.site("rx1").state()).unwrap();
    let back = ["rollout", "rollback", "r2", "--device", "rx1/b", "--reason", "not on this one", "--yes"];
    world.run_by(&["ann", "ben"], &back).ok();
    world.enrol("rx1");
    world.start_node("rx1");
    let [a, b] = &devices;
    let taken =
        || world.deployment("r1", &a.id).is_some_and(|d| d.reason.contains("a node that has lost what it knew"));
    wait_until(60, "the new node to take it over", || taken() || a.installs() > 3);
    a.open("install");
    let done = world.wait_deployment(60, "r1", &a.id, &["succeeded", "failed", "rolled_back"]);
    assert_eq!((done.state.as_str(), b.uninstalls()), ("succeeded", 0), "{}", world.describe("r1"));
    b.open("install");
    world.wait_deployment(90, "r2", &b.id, &["rolled_back"]);
    assert_eq!([a, b].map(|device| (device.installs(), device.uninstalls())), [(3, 0), (3, 1)]);
    assert!(a.installed(KB) && !b.installed(OTHER));
    for device in &devices {
        wait_until(30, "what the tries left to be removed", || {
            std::fs::read_dir(device.root().join("wardround")).unwrap().count() == 0
        });
    }
}
