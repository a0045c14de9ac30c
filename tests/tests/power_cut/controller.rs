//! The same of a whole controller: a real process on such a disk, orders and reports over the API, and a second controller
//! started on what a power cut leaves.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use wardround_tests::world::{Api, Pace, Process, World, free_port, wait_until};

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
        let api = Api::new(&home.join("operator"), port);
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
