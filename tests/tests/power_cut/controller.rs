//! The same of a whole controller: a real process on such a disk, orders and reports over the API, and a second controller
//! started on what a power cut leaves.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use wardround_tests::{
    free_port,
    world::{Api, Blueprint, Pace, Process, World, plan, wait_until},
};

use crate::mount::{self, Disk};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wardround-under-test");
const KB: &str = "KB4500331";

/// A controller on what was left of the disk. Dropped in this order: the process before its disk.
struct Second {
    _process: Process,
    api: Api,
    home: PathBuf,
    _disk: Disk,
}

impl Second {
    fn start(disk: Disk) -> Self {
        let home = disk.path().join("home");
        let port = free_port();
        let listen = format!("127.0.0.1:{port}");
        let folder = home.display().to_string();
        let args = ["--home", &folder, "controller", "run", "--listen", &listen, "--no-console", "--stop-with-stdin"];
        // Not on the small disk: its log is no part of what is tested.
        let log = disk.path().with_extension("log");
        let mut process = Process::start("second controller", Path::new(PROGRAM), args, &[("RUST_LOG", "info")], &log);
        let api = Api::new(&home.join("operator"), "127.0.0.1", port);
        wait_until(30, "the second controller to answer", || {
            if let Some(status) = process.ended() {
                panic!("the second controller ended: {status}");
            }
            api.records().is_ok()
        });
        Self { _process: process, api, home, _disk: disk }
    }
}

/// Everything that the controller has said so far must be known to a controller on the disk as it is now.
fn survives(step: &str, world: &World, disk: &Disk) -> Second {
    let said = world.api.records().unwrap();
    let second = Second::start(disk.power_cut());
    let found = second.api.records().unwrap();
    assert!(found.len() >= said.len(), "{step}: {} records were shown, {} are there", said.len(), found.len());
    assert_eq!(found[..said.len()], said, "{step}");
    second
}

/// Content of every chunk by its place.
fn chunks(home: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![home.join("controller").join("payloads"), home.join("data").join("payloads")];
    folders.retain(|f| f.is_dir());
    assert!(!folders.is_empty(), "no payloads below {}", home.display());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(home).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// A controller whose home lies on `disk`; its nodes and their devices do not.
fn world_on(disk: &Disk) -> World {
    World::with(PROGRAM, Pace::default(), |home| {
        let on_disk = disk.path().join("home");
        fs::create_dir(&on_disk).unwrap();
        fs::remove_dir(home).unwrap();
        symlink(&on_disk, home).unwrap();
    })
}

#[test]
fn what_people_were_told_survives() {
    let Some(_turn) = mount::turn() else { return };
    let disk = Disk::new();
    let world = world_on(&disk);
    survives("set up", &world, &disk);
    let _ = world.token("rx1");
    survives("a token", &world, &disk);
    world.import(KB, 600_000);
    let second = survives("a patch", &world, &disk);
    assert_eq!(chunks(&second.home), chunks(world.home()), "a payload that was acknowledged is there to the last byte");
    drop(second);
    for person in ["ann", "ben"] {
        world.run_as(person, &["patch", "sign", KB, "--yes"]).ok();
        survives("a patch's signature", &world, &disk);
    }
}

#[test]
fn orders_survive() {
    let Some(_turn) = mount::turn() else { return };
    let disk = Disk::new();
    let mut world = world_on(&disk);
    world.add_site(&Blueprint::new("rx1").device("ct-1", "canary").device("ct-2", "full"));
    let second = survives("a site", &world, &disk);
    assert_eq!(second.api.site("rx1").unwrap().devices.len(), 2, "its inventory is a report of its node");
    drop(second);
    world.patch(KB, 0);
    world.rollout("r1", KB, &plan::two_waves("60s", "{ per_site: 1 }", "wave"));
    assert_eq!(survives("a rollout", &world, &disk).api.rollout("r1").unwrap().state, "signed");
    world.run_as("ann", &["rollout", "start", "r1"]).ok();
    assert_eq!(survives("the start", &world, &disk).api.rollout("r1").unwrap().state, "running");
    world.run_as("cy", &["rollout", "halt", "r1", "--reason", "a call from radiology"]).ok();
    assert_eq!(survives("a halt", &world, &disk).api.rollout("r1").unwrap().state, "halted");
}

#[test]
fn reports_survive() {
    let Some(_turn) = mount::turn() else { return };
    let disk = Disk::new();
    let mut world = world_on(&disk);
    world.add_site(&Blueprint::new("rx1").device("ct-1", "canary").device("ct-2", "full"));
    world.patch(KB, 0);
    world.start("r1", KB, &plan::two_waves("300ms", "{ per_site: 1 }", "wave"));
    world.wait_deployment(60, "r1", "rx1/ct-1", &["succeeded"]);
    let second = survives("the canary's reports", &world, &disk);
    let deployments = second.api.deployments("r1").unwrap();
    let canary = deployments.iter().find(|d| d.device == "rx1/ct-1").unwrap();
    assert_eq!(canary.state, "succeeded", "{canary:?}");
    drop(second);

    world.wait_state(60, "r1", "completed");
    let said = world.api.deployments("r1").unwrap();
    let second = survives("the end", &world, &disk);
    assert_eq!(second.api.rollout("r1").unwrap().state, "completed");
    assert_eq!(second.api.deployments("r1").unwrap(), said);
}
