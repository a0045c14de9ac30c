//! The round: one signed patch through its waves, on real processes, with halts, approvals and rollbacks.
#![expect(clippy::unwrap_used, reason = "a test: a failure is a panic that names the line")]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use wardround_tests::world::{Blueprint, Device, World, installs_at_once, plan, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wardround-under-test");
const KB: &str = "KB4500331";

fn now_ns() -> i128 {
    i128::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

#[test]
fn three_waves_keep_their_limits_and_wait_for_approval() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("ct-1", "canary").device("ct-2", "pilot").device("ct-3", "full"));
    world.add_site(&Blueprint::new("rx2").device("mr-1", "canary").device("mr-2", "full").device("mr-3", "full"));
    world.add_site(&Blueprint::new("rx3").device("us-1", "pilot").device("us-2", "full").device("us-3", "full"));
    world.patch(KB, 0);
    world.rollout("r1", KB, &plan::three_waves("700ms", "{ per_site: 1, total: 2 }", "wave"));
    let sampler = world.sample("r1");
    world.run_as("ann", &["rollout", "start", "r1"]).ok();

    // S2: the pilot waits for a person, and says so; nothing of it is touched meanwhile.
    world.wait_wave(40, "r1", "pilot", "awaiting_approval");
    let rollout = world.api.rollout("r1").unwrap();
    let waiting = rollout.waves.iter().find(|w| w.name == "pilot").and_then(|w| w.waiting.clone()).unwrap();
    assert_eq!(waiting.code, "approval", "{waiting:?}");
    assert_eq!(world.wave("r1", "canary"), "passed");
    for device in world.devices() {
        let canary = device.id == "rx1/ct-1" || device.id == "rx2/mr-1";
        assert_eq!(device.installs(), usize::from(canary), "{}", device.id);
    }
    // Cy is on call and may halt, but the gate asks for the clinical safety officer.
    assert_eq!(world.run_as("cy", &["rollout", "approve", "r1", "pilot"]).code, Some(3));
    world.run_as("ben", &["rollout", "approve", "r1", "pilot"]).ok();
    world.wait_state(90, "r1", "completed");

    for device in world.devices() {
        assert!(device.installed(KB) && device.installs() == 1 && device.uninstalls() == 0, "{}", device.id);
    }
    let most = sampler.stop();
    assert_eq!(most.total, 2, "the total limit, used to the full: {most:?}");
    assert!(most.per_site.values().all(|n| *n == 1) && most.per_site.len() == 3, "{most:?}");
    assert!(installs_at_once(&world.devices()) <= 2);
    let kinds: Vec<String> = world.api.records().unwrap().into_iter().map(|r| r.kind).collect();
    for kind in ["order", "wave_decision"] {
        assert!(kinds.iter().any(|k| k == kind), "no {kind} in the record: {kinds:?}");
    }

    // The same patch again: what is installed stays as it is.
    world.start("r2", KB, &plan::one_wave("700ms", "{ per_site: 3 }", "wave"));
    world.wait_state(40, "r2", "completed");
    for deployment in world.api.deployments("r2").unwrap() {
        assert_eq!(deployment.state, "skipped", "{deployment:?}");
        assert!(deployment.reason.contains("already"), "{deployment:?}");
    }
    assert!(world.devices().iter().all(|d| d.installs() == 1));
}

#[test]
fn a_halt_stops_every_connected_node() {
    let mut world = World::new(PROGRAM);
    for site in ["rx1", "rx2"] {
        world.add_site(&Blueprint::new(site).device("a", "full").device("b", "full").device("c", "full"));
    }
    let devices: Vec<Device> = world.devices().into_iter().cloned().collect();
    // At each site one device is in the middle of its install, one is about to begin, one has not been offered.
    let [in_install, about, later] = ["a", "b", "c"].map(|n| ["rx1", "rx2"].map(|s| world.device(&format!("{s}/{n}"))));
    in_install.iter().for_each(|d| d.close("install"));
    about.iter().for_each(|d| d.close("preflight"));
    world.patch(KB, 0);
    world.start("r1", KB, &plan::one_wave("500ms", "{ per_site: 2 }", "device"));
    in_install.iter().for_each(|d| d.wait_held("install"));
    about.iter().for_each(|d| d.wait_held("preflight"));

    let asked = Instant::now();
    let halted = world.run_as("cy", &["rollout", "halt", "r1", "--reason", "images missing", "--output", "json"]).ok();
    let confirmed_at = now_ns();
    println!("halt: from the command to every node's confirmation {:?}", asked.elapsed());
    let halted = halted.json();
    assert_eq!(halted["all_connected_confirmed"], true, "{halted}");
    assert_eq!(halted["state"], "halted", "{halted}");
    println!("halt: confirmations took {} ms", halted["waited_ms"]);

    // What has begun is finished; what has not, does not begin.
    in_install.iter().for_each(|d| d.open("install"));
    about.iter().for_each(|d| d.open("preflight"));
    for device in &in_install {
        world.wait_deployment(30, "r1", &device.id, &["succeeded"]);
    }
    for site in ["rx1", "rx2"] {
        world.wait_check_ins(site, 3);
    }
    assert!(about.iter().chain(&later).all(Device::untouched), "{}", world.describe("r1"));

    // One person alone sets nothing going again.
    world.run_as("ann", &["rollout", "resume", "r1", "--reason", "images are there", "--yes"]).ok();
    world.run_as("ann", &["rollout", "cosign", "r1", "--yes"]).fails(3, "another person", "somebody else");
    world.run_as("cy", &["rollout", "cosign", "r1", "--yes"]).fails(3, "another person", "somebody else");
    for site in ["rx1", "rx2"] {
        world.wait_check_ins(site, 2);
    }
    assert!(about.iter().chain(&later).all(Device::untouched), "{}", world.describe("r1"));
    world.run_as("ben", &["rollout", "cosign", "r1", "--yes"]).ok();
    world.wait_state(60, "r1", "completed");
    for device in &devices {
        assert_eq!(device.installs(), 1, "{}", device.id);
    }
    for device in &in_install {
        assert!(device.install_begins().iter().all(|at| *at < confirmed_at));
    }
}

#[test]
fn a_pause_lets_run_what_runs_and_offers_nothing_new() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "canary").device("b", "full"));
    let (a, b) = (world.device("rx1/a"), world.device("rx1/b"));
    a.close("install");
    world.patch(KB, 0);
    world.start("r1", KB, &plan::two_waves("300ms", "{ per_site: 1 }", "wave"));
    a.wait_held("install");
    world.run_as("ben", &["rollout", "pause", "r1", "--reason", "visit of the inspectors"]).ok();
    a.open("install");
    world.wait_deployment(30, "r1", "rx1/a", &["succeeded"]);
    world.wait_check_ins("rx1", 2);
    assert!(b.untouched() && world.state("r1") == "paused", "{}", world.describe("r1"));
    world.run_by(&["ann", "ben"], &["rollout", "resume", "r1", "--yes"]).ok();
    world.wait_state(30, "r1", "completed");
    assert_eq!((a.installs(), b.installs()), (1, 1));
}

#[test]
fn a_rollback_reaches_what_it_names_and_nothing_else() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "canary").device("b", "full").device("c", "full"));
    world.add_site(&Blueprint::new("rx2").device("d", "canary").device("e", "full"));
    world.patch(KB, 0);
    world.start("r1", KB, &plan::two_waves("300ms", "{ per_site: 3 }", "wave"));
    world.wait_state(60, "r1", "completed");
    let standing = |world: &World| -> Vec<String> {
        world.devices().iter().filter(|d| d.installed(KB)).map(|d| d.id.clone()).collect()
    };
    assert_eq!(standing(&world).len(), 5);
    let steps: [(&[&str], &[&str]); 4] = [
        (&["--device", "rx1/b"], &["rx1/a", "rx1/c", "rx2/d", "rx2/e"]),
        (&["--site", "rx2"], &["rx1/a", "rx1/c"]),
        (&["--wave", "canary"], &["rx1/c"]),
        (&["--all"], &[]),
    ];
    for (target, left) in steps {
        let mut line = vec!["rollout", "rollback", "r1", "--reason", "viewer shows no images", "--yes"];
        line.extend(target);
        world.run_as("cy", &line).ok();
        world.run_as("ben", &["rollout", "cosign", "r1", "--yes"]).ok();
        let rolled_back = |world: &World| {
            let deployments = world.api.deployments("r1").unwrap_or_default();
            deployments.iter().filter(|d| d.state == "rolled_back").count()
        };
        wait_until(30, &format!("the rollback of {target:?}"), || rolled_back(&world) == 5 - left.len());
        assert_eq!(standing(&world), left, "{target:?}");
    }
    world.wait_state(20, "r1", "rolled_back");
    for device in world.devices() {
        assert_eq!((device.installs(), device.uninstalls()), (1, 1), "{}", device.id);
    }
}

#[test]
fn a_broken_clinical_system_takes_its_wave_back() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "canary").device("b", "pilot").patient());
    world.add_site(&Blueprint::new("rx2").device("c", "pilot").device("d", "full"));
    // A viewer that was ill before the patch is not blamed on it.
    world.device("rx1/a").set("down");
    // The viewer on c does not run with the patch.
    world.device("rx2/c").set(&format!("breaks-{KB}"));
    world.patch(KB, 0);
    // A rollout of one site's devices would finish before the other: the soak is long enough for both.
    world.start("r1", KB, &plan::three_waves("1500ms", "{ per_site: 1 }", "wave"));
    world.wait_wave(40, "r1", "pilot", "awaiting_approval");
    world.run_as("ben", &["rollout", "approve", "r1", "pilot"]).ok();
    world.wait_wave(40, "r1", "pilot", "rolled_back");
    let [a, b, c, d] = ["rx1/a", "rx1/b", "rx2/c", "rx2/d"].map(|id| world.device(id));
    assert!(a.installed(KB) && a.uninstalls() == 0, "the canary stays: the plan's scope is the wave");
    assert!(!b.installed(KB) && b.uninstalls() == b.installs(), "its neighbour in the wave");
    assert!(!c.installed(KB) && (c.installs(), c.uninstalls()) == (1, 1));
    assert!(d.untouched(), "S2");
    assert_eq!(world.state("r1"), "halted", "{}", world.describe("r1"));
    let evidence = world.deployment("r1", "rx2/c").unwrap();
    assert!(evidence.reason.contains("viewer"), "{evidence:?}");
    assert!(world.alarms("rx2").iter().any(|(code, _)| code == "clinical_system"), "{:?}", world.alarms("rx2"));
}

#[test]
fn a_node_alone_rolls_back_by_itself() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "full"));
    world.add_site(&Blueprint::new("rx2").device("b", "full"));
    let (a, b) = (world.device("rx1/a"), world.device("rx2/b"));
    world.patch(KB, 0);
    world.start("r1", KB, &plan::one_wave("1m", "{ per_site: 1 }", "wave"));
    for device in [&a, &b] {
        world.wait_deployment(40, "r1", &device.id, &["soaking"]);
    }
    // The controller is there and says nothing; then it is gone altogether.
    world.controller().freeze();
    a.set(&format!("breaks-{KB}"));
    wait_until(30, "the node to take the patch back by itself", || !a.installed(KB));
    assert_eq!(a.uninstalls(), 1);
    assert!(b.installed(KB), "no controller can have told the other site");
    world.controller().kill9();
    world.start_controller();
    world.controller_ready();
    // It hears of it later, and applies the plan's scope.
    world.wait_deployment(30, "r1", "rx1/a", &["rolled_back"]);
    world.wait_wave(30, "r1", "all", "rolled_back");
    assert!(!b.installed(KB));
    assert_eq!((a.installs(), a.uninstalls(), b.installs(), b.uninstalls()), (1, 1, 1, 1));
    assert_eq!(world.state("r1"), "halted");
}
