//! The quickstart as a program sees it: one JSON document, an exit code, and nothing left behind.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    rollouts: Vec<Rollout>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rollout {
    patch: String,
    state: String,
    waves: Vec<Wave>,
    duration_s: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wave {
    name: String,
    state: String,
    deployments: BTreeMap<String, u64>,
}

impl Rollout {
    /// Name and state of each wave.
    fn waves(&self) -> Vec<(&str, &str)> {
        self.waves.iter().map(|w| (w.name.as_str(), w.state.as_str())).collect()
    }

    fn count(&self, wave: usize, state: &str) -> u64 {
        self.waves[wave].deployments.get(state).copied().unwrap_or(0)
    }
}

fn wardround(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wardround"));
    command.args(args).stdin(Stdio::null());
    for name in ["WARDROUND_HOME", "WARDROUND_KEY", "WARDROUND_PASSPHRASE", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

/// Devices of the quickstart's three waves.
const DEVICES: [u64; 3] = [2, 4, 8];

#[test]
fn a_good_patch_completes_and_a_bad_one_is_taken_back() {
    // Without a home it takes a temporary folder.
    let done = wardround(&["quickstart", "--exit", "--pace", "fast", "--output", "json"]).output().unwrap();
    let told = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(0), "{told}");
    let output = String::from_utf8(done.stdout).unwrap();
    assert_eq!(output.lines().count(), 1, "one document: {output}");
    let report: Report = serde_json::from_str(&output).unwrap();
    let [good, bad] = report.rollouts.as_slice() else { panic!("two rollouts: {report:?}") };

    assert_eq!((good.patch.as_str(), good.state.as_str()), ("VIEW-2026-11", "completed"));
    assert_eq!(good.waves(), [("canary", "passed"), ("pilot", "passed"), ("full", "passed")]);
    for (wave, devices) in DEVICES.iter().enumerate() {
        assert_eq!(good.waves[wave].deployments, BTreeMap::from([("succeeded".to_owned(), *devices)]));
    }

    assert_eq!((bad.patch.as_str(), bad.state.as_str()), ("VIEW-2026-12", "rolled_back"));
    assert_eq!(bad.waves(), [("canary", "rolled_back"), ("pilot", "rolled_back"), ("full", "pending")]);
    assert_eq!(bad.count(0, "rolled_back"), DEVICES[0], "{bad:?}");
    assert!(bad.count(1, "rolled_back") >= 1, "{bad:?}");
    assert_eq!(bad.waves[1].deployments.values().sum::<u64>(), DEVICES[1]);
    assert_eq!(bad.waves[2].deployments, BTreeMap::from([("pending".to_owned(), DEVICES[2])]));
    for rollout in &report.rollouts {
        assert!(rollout.duration_s > 0.0, "{rollout:?}");
    }
    assert!(told.contains("no trace of VIEW-2026-12"), "{told}");
}

/// Starts a quickstart that would keep running, and waits until its first node has.
fn started(home: &Path, told: &Path) -> Child {
    let mut command = wardround(&["quickstart", "--home"]);
    let log = std::fs::File::create(told).unwrap();
    let mut child = command.arg(home).stdout(log).stderr(Stdio::null()).spawn().unwrap();
    let first = home.join("logs/node-rx1.log");
    until("the first node runs", || {
        assert!(child.try_wait().unwrap().is_none(), "{}", std::fs::read_to_string(told).unwrap());
        first.exists()
    });
    assert!(processes(home).len() > 1, "the quickstart and its children");
    child
}

/// Processes whose command line names `home`.
fn processes(home: &Path) -> Vec<String> {
    let home = home.display().to_string();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(&home))
        .collect()
}

/// Waits for a condition, not for a time.
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn ctrl_c_stops_every_process() {
    let dir = tempfile::tempdir().unwrap();
    let (home, told) = (dir.path().join("home"), dir.path().join("told"));
    let mut child = started(&home, &told);
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    let status = child.wait().unwrap();
    let told = std::fs::read_to_string(told).unwrap();
    assert_eq!(status.code(), Some(130), "{told}");
    assert_eq!(processes(&home), Vec::<String>::new());
    assert!(!told.contains("had to be killed"), "{told}");
}

#[test]
fn a_killed_quickstart_leaves_no_process_behind() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let mut child = started(&home, &dir.path().join("told"));
    child.kill().unwrap();
    child.wait().unwrap();
    until("all processes have noticed", || processes(&home).is_empty());
}
