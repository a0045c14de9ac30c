//! A node that is killed over and over (`kill -9`), wherever it happens to be, while rollouts go through its site and are taken back. Two
//! hundred times in each run: every deployment ends, nothing is installed twice, and what is taken back is off.

use std::{fs, path::Path};

use wardround_tests::world::{Blueprint, Device, World, plan, try_wait};

use crate::PROGRAM;
const DEVICES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const KILLS: usize = 100;
/// Rollouts in which so many kills must find room.
const ROLLOUTS_MAX: usize = 40;

/// What has happened on a device, counted: files of operations, and lines of its logs.
fn traces(device: &Device) -> usize {
    let files = |dir: &Path| fs::read_dir(dir).map_or(0, |entries| entries.count());
    let operations = fs::read_dir(device.root().join("wardround"));
    let of_operations: usize = operations.map_or(0, |dirs| dirs.flatten().map(|dir| 1 + files(&dir.path())).sum());
    let lines = |name: &str| fs::read_to_string(device.root().join(name)).map_or(0, |text| text.lines().count());
    of_operations + ["installs.log", "uninstalls.log", "reboots.log"].iter().map(|name| lines(name)).sum::<usize>()
}

/// Kills the node of `rx1` again and again until the rollout has ended, or enough kills were made; each time after so many traces
/// more on the devices, or none. The stride changes, so that every step is met at its beginning, middle and end.
fn torment(world: &mut World, rollout: &str, ends: &[&str], kills: &mut usize) {
    let devices: Vec<Device> = world.devices().into_iter().cloned().collect();
    let count = || devices.iter().map(traces).sum::<usize>();
    while *kills < KILLS && !ends.contains(&world.state(rollout).as_str()) {
        let (before, stride) = (count(), *kills % 7);
        // Housekeeping makes traces fewer: any change counts.
        let _ = try_wait(2, || (count().abs_diff(before) >= stride).then_some(()));
        world.site_mut("rx1").node().kill9();
        *kills += 1;
        world.start_node("rx1");
    }
}

fn site(world: &mut World) {
    world.add_site(&DEVICES.iter().fold(Blueprint::new("rx1"), |plan, name| plan.device(name, "full")));
    for device in world.devices() {
        device.set("wants-reboot");
    }
}

#[test]
fn a_node_that_is_killed_a_hundred_times_brings_every_patch_once() {
    let mut world = World::new(PROGRAM);
    site(&mut world);
    let mut kills = 0;
    let mut brought = 0;
    while kills < KILLS {
        brought += 1;
        assert!(brought < ROLLOUTS_MAX, "only {kills} kills in {brought} rollouts");
        let (patch, rollout) = (format!("KB45003{brought:02}"), format!("r{brought}"));
        world.patch(&patch, 0);
        world.start(&rollout, &patch, &plan::one_wave("300ms", "{ per_site: 3 }", "wave"));
        torment(&mut world, &rollout, &["completed"], &mut kills);
        world.wait_state(120, &rollout, "completed");
        for device in world.devices() {
            assert!(device.installed(&patch), "{} {patch}", device.id);
            assert_eq!((device.installs(), device.uninstalls()), (brought, 0), "{} {patch}", device.id);
        }
    }
    println!("{kills} kills in {brought} rollouts");
}

#[test]
fn a_node_that_is_killed_a_hundred_times_takes_every_bad_patch_back() {
    let mut world = World::new(PROGRAM);
    site(&mut world);
    let mut kills = 0;
    let mut brought = 0;
    while kills < KILLS {
        brought += 1;
        assert!(brought < ROLLOUTS_MAX, "only {kills} kills in {brought} rollouts");
        let (patch, rollout) = (format!("KB46003{brought:02}"), format!("r{brought}"));
        world.patch(&patch, 0);
        for device in world.devices() {
            device.set(&format!("breaks-{patch}"));
        }
        world.start(&rollout, &patch, &plan::one_wave("20s", "{ per_site: 6 }", "site"));
        torment(&mut world, &rollout, &["rolled_back", "halted"], &mut kills);
        for device in world.devices() {
            world.wait_deployment(120, &rollout, &device.id, &["rolled_back", "failed", "skipped"]);
            assert!(!device.installed(&patch), "{} {patch}: it is as it was", device.id);
            assert!(device.installs() <= brought, "{} {patch}: {} installs", device.id, device.installs());
        }
        // One that stands halted would hold its devices.
        let cancelled = world.run_as("cy", &["rollout", "cancel", &rollout, "--reason", "next", "--yes"]);
        assert!(matches!(cancelled.code, Some(0 | 3)), "{cancelled:?}");
    }
    println!("{kills} kills in {brought} rollouts");
}
