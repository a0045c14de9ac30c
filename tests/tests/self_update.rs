//! A node that replaces its own program: through the same rollout, signatures and waves as every patch, with real processes. The new
//! program is a copy of the one under test with some bytes behind its end; bad ones are small programs of their own.
#![expect(clippy::unwrap_used, reason = "a test: a failure is a panic that names the line")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use wardround_signing::Digest;
use wardround_tests::world::{Blueprint, World, plan, wait, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wardround-under-test");
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A program that stands its test and says that it is `version`, and then does `body`.
fn bad(world: &World, name: &str, version: &str, body: &str) -> PathBuf {
    let (source, to) = (world.dir().join(format!("{name}.c")), world.patches().join(name));
    let text = format!(
        "#include <stdio.h>\n#include <string.h>\n#include <unistd.h>\nint main(int argc, char **argv) {{\n\
         if (argc > 2 && !strcmp(argv[2], \"selftest\")) {{ puts(\"{{\\\"version\\\":\\\"{version}\\\"}}\"); return 0; }}\n\
         {body}\n}}\n"
    );
    fs::write(&source, text).unwrap();
    assert!(Command::new("cc").arg("-o").arg(&to).arg(&source).status().unwrap().success());
    to
}

fn timing(plan: &str, reboot: &str) -> String {
    plan.replace("reboot_timeout: 4s", &format!("reboot_timeout: {reboot}"))
}

fn record(world: &World, site: &str) -> Value {
    let path = world.site(site).state().join("program/record.json");
    fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// The node's process, which its supervisor has started.
fn node(world: &World, site: &str) -> i32 {
    let path = world.site(site).state().join("program/child.json");
    wait(20, "the node's process", || {
        let bytes = fs::read(&path).ok()?;
        let kept: Value = serde_json::from_slice(&bytes).ok()?;
        i32::try_from(kept["pid"].as_i64()?).ok()
    })
}

/// SHA-256 of the program that the node of a site runs.
fn running(world: &World, site: &str) -> Option<Digest> {
    fs::read(format!("/proc/{}/exe", node(world, site))).ok().map(|bytes| Digest::of(&bytes))
}

fn wait_running(world: &World, site: &str, program: &Path) {
    let wanted = Digest::of(&fs::read(program).unwrap());
    wait_until(30, &format!("{site} to run {}", program.display()), || running(world, site) == Some(wanted));
}

fn doctor(world: &World, site: &str) -> String {
    let (state, file) = (world.site(site).state().display().to_string(), world.site(site).file().display().to_string());
    let ran = world.run(&["node", "doctor", "--state", &state, "--site", &file, "--no-devices"]);
    format!("{}{}", ran.out, ran.err)
}

#[test]
fn a_new_program_goes_from_site_to_site_counts_after_its_soak_and_is_taken_back_by_people() {
    let mut world = World::new(PROGRAM);
    let packaged = world.packaged();
    world.add_supervised_site(&Blueprint::new("rx1").device("ct", "full"), "canary", &packaged);
    world.add_supervised_site(&Blueprint::new("rx2"), "full", &packaged);
    let new = world.another_build("node-2");
    let id = world.own_patch(&new);
    // What signers read names it.
    let shown = world.run_as("ann", &["patch", "sign", &id, "--yes"]);
    let read = format!("{}{}", shown.out, shown.err);
    assert!(read.contains("THE SITE NODE'S OWN PROGRAM"), "{read}");
    world.start("r1", &id, &timing(&plan::two_waves("1s", "{ per_site: 2 }", "site"), "30s"));
    world.wait_state(90, "r1", "completed");
    for site in ["rx1", "rx2"] {
        let done = world.deployment("r1", &format!("{site}/node")).unwrap();
        assert_eq!(done.state, "succeeded", "{}", world.describe("r1"));
        wait_running(&world, site, &new);
        wait_until(20, "the program to count", || record(&world, site)["confirmed"]["slot"] == "a");
        assert_eq!(record(&world, site)["trial"], Value::Null);
    }
    let said = doctor(&world, "rx1");
    assert!(said.contains(&format!("{VERSION} from slot a")) && said.contains("counts"), "{said}");
    // The same again is there already.
    world.start("r2", &id, &timing(&plan::one_wave("1s", "{ per_site: 2 }", "site"), "30s"));
    world.wait_deployment(60, "r2", "rx1/node", &["skipped"]);

    world
        .run_by(&["ann", "ben"], &["rollout", "rollback", "r1", "--all", "--reason", "slower than before", "--yes"])
        .ok();
    world.wait_state(90, "r1", "rolled_back");
    for site in ["rx1", "rx2"] {
        wait_running(&world, site, &packaged);
        assert_eq!(record(&world, site)["confirmed"], Value::Null);
    }
    assert!(doctor(&world, "rx1").contains("its rollout took it back"));
    assert!(world.device("rx1/ct").untouched());
}

#[test]
fn a_program_that_does_not_stay_or_is_not_well_is_left_and_its_rollout_goes_no_further() {
    let mut world = World::new(PROGRAM);
    let packaged = world.packaged();
    world.add_supervised_site(&Blueprint::new("rx1"), "canary", &packaged);
    world.add_supervised_site(&Blueprint::new("rx2"), "full", &packaged);
    for (name, version, body, reboot, why) in [
        ("bad-ends", VERSION, "return 7;", "30s", "started 3 times and did not stay: it ended with 7"),
        ("bad-hangs", VERSION, "for (;;) pause();", "5s", "not well within 5s"),
        ("bad-other", "9.9.9", "return 7;", "30s", "it says that it is 9.9.9"),
    ] {
        let id = world.own_patch(&bad(&world, name, version, body));
        world.start(name, &id, &timing(&plan::two_waves("1s", "{ per_site: 2 }", "site"), reboot));
        if name == "bad-hangs" {
            // A supervisor that is killed leaves it behind, since it does not look at its input; the next one ends it.
            wait_running(&world, "rx1", &world.patches().join(name));
            let orphan = node(&world, "rx1");
            world.site_mut("rx1").node().kill9();
            world.site_mut("rx1").start_supervised(&packaged);
            wait_until(20, "the end of what was left behind", || fs::read(format!("/proc/{orphan}/exe")).is_err());
        }
        let failed = world.wait_deployment(60, name, "rx1/node", &["failed", "rolled_back", "rollback_failed"]);
        let told = format!("{} {}", failed.reason, failed.evidence_json);
        assert!(failed.state == "failed" && told.contains(why), "{}", world.describe(name));
        wait_running(&world, "rx1", &packaged);
        let spared = world.deployment(name, "rx2/node").map(|d| d.state).unwrap_or_default();
        assert!(!["installing", "rebooting", "soaking", "succeeded"].contains(&spared.as_str()), "{spared}");
        let cancelled = world.run_as("cy", &["rollout", "cancel", name, "--reason", "next", "--yes"]);
        assert!(matches!(cancelled.code, Some(0 | 3)), "{cancelled:?}");
    }
    let said = doctor(&world, "rx1");
    assert!(said.contains("went back from") && said.contains("not well within 5s"), "{said}");
}

#[test]
fn neither_a_killed_node_nor_a_killed_supervisor_ends_a_good_trial() {
    let mut world = World::new(PROGRAM);
    let packaged = world.packaged();
    world.add_supervised_site(&Blueprint::new("rx1").device("ct", "full"), "canary", &packaged);
    let new = world.another_build("node-2");
    let id = world.own_patch(&new);
    // A device is in the middle of its install: the node does not end itself beside it.
    let ct = world.device("rx1/ct");
    world.patch("KB1", 0);
    ct.close("install");
    world.start("r0", "KB1", &plan::one_wave("1s", "{ per_site: 1 }", "device"));
    ct.wait_held("install");
    world.start("r1", &id, &timing(&plan::one_wave("4s", "{ per_site: 1 }", "site"), "30s"));
    let waits = world.wait_deployment(60, "r1", "rx1/node", &["deferred"]);
    assert!(waits.reason.contains("in the middle of a step"), "{waits:?}");
    assert_eq!(running(&world, "rx1"), Some(Digest::of(&fs::read(&packaged).unwrap())));
    ct.open("install");
    world.wait_deployment(60, "r1", "rx1/node", &["soaking"]);
    wait_running(&world, "rx1", &new);
    let first = node(&world, "rx1");
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    wait_until(20, "another process", || node(&world, "rx1") != first);
    world.site_mut("rx1").node().kill9();
    world.site_mut("rx1").start_supervised(&packaged);
    world.wait_state(90, "r1", "completed");
    wait_running(&world, "rx1", &new);
    wait_until(20, "the program to count", || record(&world, "rx1")["confirmed"]["slot"] == "a");
    world.wait_state(60, "r0", "completed");
    assert_eq!((ct.installs(), ct.uninstalls()), (1, 0));
    // It stops when it is told to, and leaves nothing behind.
    let last = node(&world, "rx1");
    assert!(world.site_mut("rx1").node().stop().success());
    assert!(!Path::new(&format!("/proc/{last}")).exists());

    // What lies in the slot is no longer what was verified: it is passed over.
    let slot = world.site("rx1").state().join("program/a/wardround");
    fs::write(&slot, "#!/bin/sh\nexit 0\n").unwrap();
    world.site_mut("rx1").start_supervised(&packaged);
    wait_running(&world, "rx1", &packaged);
    let said = doctor(&world, "rx1");
    assert!(
        said.contains("its file is not what was verified") && said.contains("the packaged program counts"),
        "{said}"
    );
}

#[test]
fn a_node_without_its_supervisor_leaves_its_program_alone() {
    let mut world = World::new(PROGRAM);
    world.lay_out_site(&Blueprint::new("rx1"));
    world.site("rx1").declare_own("full");
    world.enrol("rx1");
    world.start_node("rx1");
    wait_until(30, "the site's device", || world.api.site("rx1").is_ok_and(|site| site.devices.len() == 1));
    let id = world.own_patch(&bad(&world, "node-2", VERSION, "return 0;"));
    world.start("r1", &id, &plan::one_wave("1s", "{ per_site: 1 }", "site"));
    let waits = world.wait_deployment(60, "r1", "rx1/node", &["deferred"]);
    assert!(waits.reason.contains("was not started by `wardround node supervise`"), "{waits:?}");
    assert_eq!(record(&world, "rx1"), Value::Null);
}
