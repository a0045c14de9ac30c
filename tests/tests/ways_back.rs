//! The ways back, by rank: the site's snapshot, the uninstaller, a person. With real processes and sandbox devices, whose snapshots are
//! copies of their folders.
#![expect(clippy::unwrap_used, reason = "a test: a failure is a panic that names the line")]

use std::{fs, path::Path};

use serde_json::json;
use wardround_tests::world::{Blueprint, Device, World, plan, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wardround-under-test");
const KB: &str = "KB4500331";
const ACCEPTED: &str = "irreversible: the vendor keeps no files for the way back";

/// The site's own programs: a snapshot is a copy of the marks on the device, and each call is written down.
fn snapshots(world: &World, device: &Device) -> serde_json::Value {
    let folder = world.dir().join("snapshots");
    fs::create_dir_all(&folder).unwrap();
    let script = folder.join(format!("{}.sh", device.name()));
    let text = format!(
        "root={} kept={}\necho \"$1 $2 $3\" >> {}\n\
         case $1 in\n\
         take) : > $root/held-snapshot; while [ -e $root/gate-snapshot ]; do sleep 0.02; done; rm -f $root/held-snapshot\n\
           [ ! -e $root/no-snapshot ] || {{ echo no room >&2; exit 1; }}; ls $root | grep ^installed- > $kept || true ;;\n\
         restore) [ ! -e $root/lost-snapshot ] || {{ echo lost >&2; exit 1; }}\n\
           for mark in $root/installed-*; do grep -qx \"${{mark##*/}}\" $kept || rm -f \"$mark\"; done ;;\n\
         remove) rm -f $kept ;;\nesac\n",
        device.root().display(),
        folder.join(format!("{}.kept", device.name())).display(),
        log(world, device).display()
    );
    fs::write(&script, text).unwrap();
    let call = |word: &str| json!(["sh", script, word]);
    json!({ "rollback": { "snapshot": { "take": call("take"), "restore": call("restore"), "remove": call("remove") } } })
}

fn log(world: &World, device: &Device) -> std::path::PathBuf {
    world.dir().join("snapshots").join(format!("{}.log", device.name()))
}

fn calls(log: &Path) -> Vec<String> {
    fs::read_to_string(log).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn declared(world: &mut World, id: &str, with_snapshots: bool) -> Device {
    let device = world.device(id);
    if with_snapshots {
        let fields = snapshots(world, &device);
        world.site("rx1").declare(device.name(), &fields);
    }
    device
}

/// One site; its node reads the file with the snapshots at its start.
fn hospital(names: &[(&str, bool)]) -> (World, Vec<Device>) {
    let mut world = World::new(PROGRAM);
    let plan = names.iter().fold(Blueprint::new("rx1"), |plan, (name, _)| plan.device(name, "full"));
    world.lay_out_site(&plan);
    let devices = names.iter().map(|(name, with)| declared(&mut world, &format!("rx1/{name}"), *with)).collect();
    world.enrol("rx1");
    world.start_node("rx1");
    world.wait_connected("rx1");
    (world, devices)
}

#[test]
fn what_can_not_be_uninstalled_is_taken_back_by_a_snapshot_or_by_a_person() {
    let (world, devices) = hospital(&[("a", true), ("b", false)]);
    let [a, b] = &devices[..] else { panic!("two devices") };
    world.patch_with(KB, ACCEPTED);
    // Who signs reads it first.
    let shown = world.run_as("ann", &["patch", "sign", KB, "--yes"]);
    let read = format!("{}{}", shown.out, shown.err);
    assert!(read.contains("IT CAN'T BE UNINSTALLED"), "{read}");
    for device in &devices {
        device.set(&format!("breaks-{KB}"));
    }
    world.start("r1", KB, &plan::one_wave("20s", "{ per_site: 2 }", "device"));
    world.wait_deployment(60, "r1", "rx1/a", &["rolled_back"]);
    assert!(!a.installed(KB) && a.uninstalls() == 0, "by the snapshot");
    let said = calls(&log(&world, a));
    assert!(said[0].starts_with("take a r1.a.1") && said[1].starts_with("restore a r1.a.1"), "{said:?}");
    wait_until(30, "the snapshot to be removed", || {
        calls(&log(&world, a)).iter().any(|call| call.starts_with("remove a"))
    });

    let stuck = world.wait_deployment(60, "r1", "rx1/b", &["rollback_failed"]);
    assert!(stuck.reason.contains("can't be uninstalled"), "{stuck:?}");
    assert!(b.installed(KB) && b.uninstalls() == 0);
    wait_until(20, "the alarm", || world.alarms("rx1").iter().any(|(code, _)| code == "rollback_failed"));
}

#[test]
fn without_the_snapshot_that_the_site_wants_nothing_begins_and_a_lost_one_leaves_the_uninstaller() {
    let (world, devices) = hospital(&[("b", true)]);
    let [b] = &devices[..] else { panic!("one device") };
    world.patch(KB, 0);
    b.set("no-snapshot");
    b.set("lost-snapshot");
    world.start("r1", KB, &plan::one_wave("5m", "{ per_site: 2 }", "device"));
    let put_off = world.wait_deployment(60, "r1", "rx1/b", &["deferred"]);
    assert!(put_off.reason.contains("no snapshot could be taken") && put_off.reason.contains("no room"), "{put_off:?}");
    assert!(b.untouched());
    b.clear("no-snapshot");
    world.wait_deployment(60, "r1", "rx1/b", &["soaking"]);
    b.set(&format!("breaks-{KB}"));
    world.wait_deployment(60, "r1", "rx1/b", &["rolled_back"]);
    assert_eq!((b.installs(), b.uninstalls(), b.installed(KB)), (1, 1, false), "the uninstaller did it");
}

#[test]
fn a_halt_that_comes_while_a_snapshot_is_taken_keeps_the_install_from_beginning() {
    let (world, devices) = hospital(&[("c", true)]);
    let [c] = &devices[..] else { panic!("one device") };
    world.patch(KB, 0);
    c.close("snapshot");
    world.start("r1", KB, &plan::one_wave("300ms", "{ per_site: 1 }", "device"));
    c.wait_held("snapshot");
    let halted = world.run_as("cy", &["rollout", "halt", "r1", "--reason", "images missing", "--output", "json"]).ok();
    assert_eq!(halted.json()["all_connected_confirmed"], true, "the node knows of it");
    c.open("snapshot");
    wait_until(20, "the snapshot to be taken", || !c.has("held-snapshot"));
    world.wait_check_ins("rx1", 4);
    assert!(c.untouched(), "S3: {}", world.describe("r1"));
    world.run_by(&["ann", "ben"], &["rollout", "resume", "r1", "--reason", "images are there", "--yes"]).ok();
    world.wait_state(60, "r1", "completed");
    assert_eq!((c.installs(), c.uninstalls()), (1, 0));
}
