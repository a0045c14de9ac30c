//! `wardround node doctor`: each thing that is wrong is named, with the way out; what runs is not disturbed.

use std::{fs, os::unix::fs::PermissionsExt as _};

use wardround_tests::world::{Blueprint, Ran, World};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wardround-under-test");

fn doctor(world: &World) -> Ran {
    let site = world.site("rx1");
    let (state, file) = (site.state().display().to_string(), site.file().display().to_string());
    world.run(&["node", "doctor", "--state", &state, "--site", &file])
}

/// It ends with 1, and these words stand on one line and the way out on the next.
fn finds(world: &World, line: &str, hint: &str) {
    let ran = doctor(world);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let mut lines = ran.out.lines();
    let found = lines.by_ref().find(|found| found.starts_with("bad") && found.contains(line));
    assert!(found.is_some(), "{line:?} is not found: {}", ran.out);
    assert!(lines.next().is_some_and(|next| next.contains(hint)), "{hint:?} is not the way out: {}", ran.out);
}

#[test]
fn each_thing_that_is_wrong_is_named_with_the_way_out() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "full").device("b", "full"));
    world.wait_check_ins("rx1", 2);
    let well = doctor(&world);
    assert_eq!(well.code, Some(0), "{well:?}");
    for line in ["good    identity: site rx1", "good    trust:", "good    devices: 2 of 2", "good    controller: https"]
    {
        assert!(well.out.contains(line), "{line}: {}", well.out);
    }
    let json = world.run(&[
        "node",
        "doctor",
        "--output",
        "json",
        "--no-devices",
        "--state",
        &world.site("rx1").state().display().to_string(),
        "--site",
        &world.site("rx1").file().display().to_string(),
    ]);
    assert_eq!(json.ok().json()["healthy"], true);
    // The node that ran meanwhile was not disturbed.
    world.wait_check_ins("rx1", 2);

    let key = world.site("rx1").state().join("identity/report.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    finds(&world, "others may read", "chmod 600");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();

    let root = world.device("rx1/a").root().to_owned();
    fs::rename(&root, root.with_extension("off")).unwrap();
    finds(&world, "device rx1/a", "switched on");
    fs::rename(root.with_extension("off"), &root).unwrap();

    world.run(&["site", "revoke", "rx1", "--reason", "stolen", "--yes"]).ok();
    finds(&world, "controller", "revoked");
    world.controller().kill9();
    finds(&world, "controller", "firewall");

    let state = world.site("rx1").state().to_owned();
    world.site_mut("rx1").node().kill9();
    for copy in fs::read_dir(state.join("floor")).unwrap().flatten() {
        fs::write(copy.path(), "junk").unwrap();
    }
    finds(&world, &format!("both copies of the trust floor in {}", state.join("floor").display()), "reanchor");
    let file = world.site("rx1").file().to_owned();
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, good.replacen("\"shell\": \"sh\"", "\"shell\": \"zsh\"", 1)).unwrap();
    finds(&world, "no local shell", "write sh or wine");
    fs::write(&file, good.replacen("\"site\": \"rx1\"", "\"site\": \"rx2\"", 1)).unwrap();
    finds(&world, "it is that of rx2", "belongs to this node");
    fs::remove_dir_all(state.join("identity")).unwrap();
    finds(&world, "not been enrolled", "enrol anew");
}
