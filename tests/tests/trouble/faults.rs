//! Faults: kills in every state, cut links, full disks, devices that stay away, probes that hang. The rollout ends right,
//! nothing is installed twice, no limit is exceeded.
#![expect(clippy::unwrap_used, reason = "a test: a failure is a panic that names the line")]

use wardround_tests::world::{Blueprint, Device, Pace, SmallDisk, World, installs_at_once, payload, plan, wait_until};

use crate::PROGRAM;
const KB: &str = "KB4500331";
const OTHER: &str = "KB4012598";

/// Kills the controller in this state of a wave, and finds it there again.
fn crash_in(world: &mut World, rollout: &str, wave: &str, state: &str) {
    world.wait_wave(40, rollout, wave, state);
    let before = world.api.rollout(rollout).unwrap();
    world.crash_controller();
    let after = world.api.rollout(rollout).unwrap();
    let rank = |r: &wardround_proto::v1::Rollout| {
        let order =
            ["pending", "awaiting_approval", "running", "soaking", "passed", "failed", "rolling_back", "rolled_back"];
        let wave = r.waves.iter().find(|w| w.name == wave).unwrap();
        order.iter().position(|s| *s == wave.state).unwrap()
    };
    assert!(rank(&after) >= rank(&before), "{wave} went back from {before:?} to {after:?}");
    assert_eq!((after.order_counter, &after.digest), (before.order_counter, &before.digest));
}

#[test]
fn a_controller_killed_in_each_state_of_its_waves_goes_on() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "canary").device("b", "full"));
    world.add_site(&Blueprint::new("rx2").device("c", "canary").device("d", "full"));
    let [a, b, c, d] = ["rx1/a", "rx1/b", "rx2/c", "rx2/d"].map(|id| world.device(id));
    let limits = "{ per_site: 1, total: 2 }";
    let text = plan::two_waves("2s", limits, "device").replacen(
        "    soak: 2s\n",
        "    soak: 2s\n    gate: { approvals: [clinical] }\n",
        1,
    );
    world.patch(KB, 0);
    world.draft("r1", KB, &text).ok();
    crash_in(&mut world, "r1", "canary", "pending");
    for person in ["ann", "ben"] {
        world.run_as(person, &["rollout", "sign", "r1", "--yes"]).ok();
    }
    crash_in(&mut world, "r1", "canary", "pending");
    let sampler = world.sample("r1");
    [&a, &c].iter().for_each(|d| d.close("install"));
    world.run_as("ann", &["rollout", "start", "r1"]).ok();
    [&a, &c].iter().for_each(|d| d.wait_held("install"));
    crash_in(&mut world, "r1", "canary", "running");
    [&a, &c].iter().for_each(|d| d.open("install"));
    crash_in(&mut world, "r1", "canary", "soaking");
    crash_in(&mut world, "r1", "canary", "passed");
    crash_in(&mut world, "r1", "full", "awaiting_approval");
    assert!(b.untouched() && d.untouched());
    world.run_as("ben", &["rollout", "approve", "r1", "full"]).ok();
    crash_in(&mut world, "r1", "full", "running");
    world.wait_state(60, "r1", "completed");
    crash_in(&mut world, "r1", "full", "passed");
    assert_eq!(world.state("r1"), "completed");
    let most = sampler.stop();
    assert!(most.total <= 2 && most.per_site.values().all(|n| *n <= 1), "{most:?}");
    assert!(installs_at_once(&world.devices()) <= 2);
    for device in [&a, &b, &c, &d] {
        assert_eq!((device.installs(), device.uninstalls()), (1, 0), "{}", device.id);
    }

    // The way back: the installer fails on a, so the wave fails; then everything is taken back by order.
    // It may fail only once c is done: a failed wave offers nothing more, and c would never begin.
    a.set("fails");
    a.close("install");
    world.patch(OTHER, 0);
    world.start("r2", OTHER, &text);
    a.wait_held("install");
    world.wait_deployment(30, "r2", "rx2/c", &["succeeded"]);
    a.open("install");
    crash_in(&mut world, "r2", "canary", "failed");
    assert_eq!(world.state("r2"), "halted", "{}", world.describe("r2"));
    c.close("uninstall");
    world.run_by(&["cy", "ben"], &["rollout", "rollback", "r2", "--all", "--reason", "canary failed", "--yes"]).ok();
    c.wait_held("uninstall");
    crash_in(&mut world, "r2", "canary", "rolling_back");
    c.open("uninstall");
    crash_in(&mut world, "r2", "canary", "rolled_back");
    world.wait_state(20, "r2", "rolled_back");
    assert!(!a.installed(OTHER) && !c.installed(OTHER) && c.installed(KB), "S8: what was there before is there");
    assert_eq!((a.installs(), c.installs(), c.uninstalls()), (2, 2, 1), "one more each, for the other patch");
    assert_eq!((b.installs(), d.installs()), (1, 1), "S2");
}

/// Kills a node whose device stands at a gate. What runs on the device runs on: before the node is back, or after.
fn kill_node_at(world: &mut World, device: &Device, gate: &str, release_while_dead: bool) {
    let site = device.id.split('/').next().unwrap().to_owned();
    device.wait_held(gate);
    world.site_mut(&site).node().kill9();
    if release_while_dead {
        device.open(gate);
        wait_until(20, "the step to end without its node", || !device.has(&format!("held-{gate}")));
        world.start_node(&site);
    } else {
        world.start_node(&site);
        world.wait_connected(&site);
        device.open(gate);
    }
}

#[test]
fn a_node_killed_in_each_step_goes_on_and_installs_once() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "full").linked());
    world.add_site(&Blueprint::new("rx2").device("b", "full").linked());
    world.patch(KB, 2 * 1024 * 1024);
    let devices = ["rx1/a", "rx2/b"].map(|id| world.device(id));
    for device in &devices {
        device.set("wants-reboot");
        ["preflight", "install", "reboot"].iter().for_each(|gate| device.close(gate));
    }
    // Downloading: the link goes silent in the middle of the payload.
    for site in ["rx1", "rx2"] {
        world.site(site).link.as_ref().unwrap().stall_after(700 * 1024);
    }
    world.start("r1", KB, &plan::one_wave("3s", "{ per_site: 1 }", "wave"));
    for site in ["rx1", "rx2"] {
        wait_until(30, "the download to stall", || world.site(site).link.as_ref().unwrap().stalled());
        world.site_mut(site).node().kill9();
        world.site(site).link.as_ref().unwrap().mend();
        world.start_node(site);
    }
    for (device, while_dead) in devices.iter().zip([true, false]) {
        kill_node_at(&mut world, device, "preflight", while_dead);
    }
    for (device, while_dead) in devices.iter().zip([true, false]) {
        kill_node_at(&mut world, device, "install", while_dead);
    }
    for (device, while_dead) in devices.iter().zip([true, false]) {
        device.wait_held("reboot");
        device.close("verify");
        kill_node_at(&mut world, device, "reboot", while_dead);
    }
    for (device, while_dead) in devices.iter().zip([true, false]) {
        kill_node_at(&mut world, device, "verify", while_dead);
    }
    for device in &devices {
        let site = device.id.split('/').next().unwrap();
        world.wait_deployment(60, "r1", &device.id, &["soaking"]);
        world.site_mut(site).node().kill9();
        world.start_node(site);
    }
    world.wait_state(60, "r1", "completed");
    for device in &devices {
        assert!(device.installed(KB) && device.installs() == 1, "{}: {} installs", device.id, device.installs());
        device.close("uninstall");
    }
    world.run_by(&["cy", "ben"], &["rollout", "rollback", "r1", "--all", "--reason", "drill", "--yes"]).ok();
    for (device, while_dead) in devices.iter().zip([true, false]) {
        kill_node_at(&mut world, device, "uninstall", while_dead);
    }
    world.wait_state(60, "r1", "rolled_back");
    for device in &devices {
        assert!(!device.installed(KB));
        assert_eq!((device.installs(), device.uninstalls()), (1, 1), "{}", device.id);
    }
}

/// Bytes of a payload as its chunks travel.
fn on_the_line(bytes: usize) -> u64 {
    let payload = payload(KB, bytes);
    let mut packer = wardround_chunks::Packer::new().unwrap();
    let chunks = wardround_chunks::cut(payload.as_slice(), payload.len() as u64).map(Result::unwrap);
    chunks.map(|chunk| packer.pack(&chunk).map_or(chunk.len(), |packed| packed.len()) as u64).sum()
}

#[test]
fn a_cut_link_costs_only_the_chunks_that_were_under_way() {
    const PAYLOAD: usize = 12 * 1024 * 1024;
    let line = on_the_line(PAYLOAD);
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "full").linked());
    world.patch(KB, PAYLOAD);
    let before = {
        let link = world.site("rx1").link.as_ref().unwrap();
        link.stall_after(line * 2 / 3);
        link.bytes_down()
    };
    world.start("r1", KB, &plan::one_wave("300ms", "{ per_site: 1 }", "wave"));
    let link = world.site("rx1").link.as_ref().unwrap();
    wait_until(40, "two thirds to be here", || link.stalled());
    link.cut();
    wait_until(30, "the controller to miss the node", || {
        world.api.site("rx1").is_ok_and(|s| s.site.is_some_and(|s| !s.connected))
    });
    link.mend();
    world.wait_state(60, "r1", "completed");
    let moved = world.site("rx1").link.as_ref().unwrap().bytes_down() - before;
    // The first of four calls that breaks ends the others, with what they had not written: half a MiB each, and a chunk of at most 256 KiB.
    // The rest is for everything else that was said. Two thirds that were fetched anew would be 4.4 MB.
    assert!(moved < line + 3 * 1024 * 1024, "{moved} bytes for a payload that takes {line}");
    assert_eq!(world.device("rx1/a").installs(), 1);
}

#[test]
fn the_devices_of_a_site_share_one_download() {
    const PAYLOAD: usize = 12 * 1024 * 1024;
    let line = on_the_line(PAYLOAD);
    let names = ["a", "b", "c", "d"];
    let mut world = World::new(PROGRAM);
    world.add_site(&names.iter().fold(Blueprint::new("rx1"), |site, name| site.device(name, "full")).linked());
    world.patch(KB, PAYLOAD);
    let before = world.site("rx1").link.as_ref().unwrap().bytes_down();
    // All four want it while the first third is here.
    world.site("rx1").link.as_ref().unwrap().stall_after(line / 3);
    world.start("r1", KB, &plan::one_wave("300ms", "{ per_site: 4 }", "wave"));
    let link = world.site("rx1").link.as_ref().unwrap();
    wait_until(40, "a third to be here", || link.stalled());
    link.mend();
    world.wait_state(60, "r1", "completed");
    let moved = world.site("rx1").link.as_ref().unwrap().bytes_down() - before;
    assert!(moved < line + 1024 * 1024, "{moved} bytes for a payload that takes {line}");
    for name in names {
        assert_eq!(world.device(&format!("rx1/{name}")).installs(), 1, "{name}: {}", world.describe("r1"));
    }
}

#[test]
fn a_full_disk_of_a_node_defers_and_loses_nothing() {
    let mut world = World::new(PROGRAM);
    world.lay_out_site(&Blueprint::new("rx1").device("a", "full"));
    let Some(disk) = SmallDisk::mount(world.site("rx1").state(), 256) else { return };
    world.enrol("rx1");
    world.start_node("rx1");
    world.wait_connected("rx1");
    world.patch(KB, 1024 * 1024);
    // Enough for the node's journal, too little for a payload beside it.
    disk.fill(64 * 1024 * 1024);
    world.start("r1", KB, &plan::one_wave("300ms", "{ per_site: 1 }", "wave"));
    let deployment = world.wait_deployment(40, "r1", "rx1/a", &["deferred"]);
    assert!(deployment.reason.contains("room") || deployment.reason.contains("disk"), "{deployment:?}");
    assert!(world.device("rx1/a").untouched());
    disk.free_again();
    world.wait_state(60, "r1", "completed");
    assert_eq!(world.device("rx1/a").installs(), 1);
}

#[test]
fn a_full_disk_of_the_controller_says_so_and_loses_nothing() {
    const MIB: u64 = 1024 * 1024;
    let mut disk = None;
    let mut world = World::with(PROGRAM, Pace::default(), |home| disk = SmallDisk::mount(home, 400));
    let Some(disk) = disk else { return };
    world.add_site(&Blueprint::new("rx1").device("a", "full"));
    let device = world.device("rx1/a");
    device.set("busy");
    world.patch(KB, 0);
    world.start("r1", KB, &plan::one_wave("300ms", "{ per_site: 1 }", "wave"));
    world.wait_deployment(40, "r1", "rx1/a", &["deferred"]);

    // Nearly full: what stops things still works, what begins things does not.
    disk.fill(200 * MIB);
    let order = |world: &World, who: &str, what: &str| world.run_as(who, &["rollout", what, "r1", "--reason", "drill"]);
    order(&world, "ben", "pause").ok();
    let resume = |world: &World| world.run_by(&["ann", "ben"], &["rollout", "resume", "r1", "--yes"]);
    resume(&world).fails(1, "disk is too full", "nothing was changed");
    assert_eq!(world.state("r1"), "paused");
    order(&world, "cy", "halt").ok();
    let mut counter = 3;
    assert_eq!(world.api.rollout("r1").unwrap().order_counter, counter, "start, pause, halt");

    // Not a byte left: either it goes into pages that are there already, or the controller says why not and stops.
    disk.fill(0);
    while let Some(0) = order(&world, "cy", "halt").code {
        counter += 1;
        assert!(counter < 100, "a disk without a free byte takes orders for ever");
    }
    let said = world.controller().log();
    assert!(said.contains("disk"), "{said}");

    // docs/operations.md, "Disk full": the ballast is there to be removed. S7: what was acknowledged is there, and no more.
    std::fs::remove_file(world.home().join("controller/journal/ballast")).unwrap();
    world.crash_controller();
    let rollout = world.api.rollout("r1").unwrap();
    assert_eq!((rollout.state.as_str(), rollout.order_counter), ("halted", counter));
    order(&world, "cy", "halt").ok();
    disk.free_again();
    wait_until(30, "room to be noticed", || resume(&world).code == Some(0));
    device.clear("busy");
    world.wait_state(60, "r1", "completed");
    assert_eq!(device.installs(), 1);
}

#[test]
fn a_device_in_use_is_left_alone_until_it_is_free() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "full").device("b", "full"));
    let (a, b) = (world.device("rx1/a"), world.device("rx1/b"));
    a.set("busy");
    world.patch(KB, 0);
    world.start("r1", KB, &plan::one_wave("300ms", "{ per_site: 2 }", "wave"));
    world.wait_deployment(40, "r1", "rx1/b", &["succeeded"]);
    let deferred = world.wait_deployment(20, "r1", "rx1/a", &["deferred"]);
    assert!(deferred.reason.contains("a scan is running"), "{deferred:?}");
    assert!(a.untouched());
    a.clear("busy");
    world.wait_state(40, "r1", "completed");
    assert_eq!((a.installs(), b.installs()), (1, 1));
}

#[test]
fn a_device_that_never_comes_back_is_handed_to_a_person() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "canary").device("b", "full"));
    let device = world.device("rx1/a");
    device.set("wants-reboot");
    device.set("never-back");
    world.patch(KB, 0);
    world.start("r1", KB, &plan::two_waves("300ms", "{ per_site: 1 }", "wave"));
    let ended = world.wait_deployment(60, "r1", "rx1/a", &["failed", "rollback_failed"]);
    assert_eq!(ended.state, "rollback_failed", "nobody knows what is on it: {ended:?}");
    assert!(ended.reason.contains("reboot") || ended.reason.contains("come back"), "{ended:?}");
    wait_until(20, "the alarm", || !world.alarms("rx1").is_empty());
    let alarms = world.alarms("rx1");
    assert!(alarms.iter().any(|(code, text)| code.contains("reboot") || text.contains("rx1/a")), "{alarms:?}");
    wait_until(30, "the rollout to stand", || ["halted", "rolled_back"].contains(&world.state("r1").as_str()));
    assert!(world.device("rx1/b").untouched());
    assert_eq!(device.installs(), 1);
}

#[test]
fn a_probe_that_hangs_counts_as_a_failure_and_holds_nothing_up() {
    let mut world = World::new(PROGRAM);
    let site = Blueprint::new("rx1").device("a", "full").device("b", "full").patient().probe_timeout("400ms");
    world.add_site(&site);
    let (a, b) = (world.device("rx1/a"), world.device("rx1/b"));
    world.patch(KB, 0);
    world.start("r1", KB, &plan::one_wave("8s", "{ per_site: 2 }", "device"));
    world.wait_deployment(40, "r1", "rx1/a", &["soaking"]);
    a.set("hangs");
    let back = world.wait_deployment(30, "r1", "rx1/a", &["rolled_back"]);
    assert!(back.reason.contains("viewer"), "{back:?}");
    world.wait_deployment(30, "r1", "rx1/b", &["succeeded"]);
    assert_eq!((a.uninstalls(), b.uninstalls()), (1, 0));
    let system = world.api.site("rx1").unwrap().clinical_systems.into_iter().find(|s| s.id == "rx1/a-viewer").unwrap();
    assert_eq!(system.health, "unhealthy", "{system:?}");
}
