//! The connection that calls over SSH share: its keeper dies, hangs, or belongs to another node.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use wardround_node::{config::parse_site_file, device::DeviceHandle};
use wardround_tests::rig::{SshDevice, SshOptions, wait_until};

const LONG: Duration = Duration::from_secs(120);
const LINUX: &str = "cpe:2.3:o:debian:debian_linux:4.0:*:*:*:*:*:x86:*";

fn handle(work: &Path, transport: &str) -> DeviceHandle {
    let yaml = format!(
        "site: rx1\ndevices:\n  - name: dev\n    platform: \"{LINUX}\"\n    transport: {transport}\nsystems: []\n"
    );
    let site = parse_site_file(&yaml, "site.yaml").unwrap();
    let (id, config) = site.devices.first_key_value().unwrap();
    DeviceHandle::new(id, config, work)
}

/// The keepers of shared connections whose socket is in `work`: OpenSSH writes it into their title.
fn keepers(work: &Path) -> Vec<Pid> {
    let ours = format!("ssh: {}", work.display());
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let entry = entry.ok()?;
        let title = fs::read(entry.path().join("cmdline")).ok()?;
        let is_ours = String::from_utf8_lossy(&title).starts_with(&ours);
        is_ours.then(|| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw)).flatten()
    });
    all.collect()
}

async fn answers(device: &DeviceHandle) {
    device.reboot_pending().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_dies_or_hangs_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    let Some(server) = SshDevice::posix(&dir.path().join("d"), SshOptions::default()) else { return };
    let work = dir.path().join("node");
    let device = handle(&work, &server.transport());
    answers(&device).await;
    let first = keepers(&work);
    assert_eq!(first.len(), 1, "one connection is shared");
    answers(&device).await;
    assert_eq!(keepers(&work), first, "and is shared again");

    kill(first[0], Signal::SIGKILL).unwrap();
    tokio::task::block_in_place(|| wait_until("it is gone", LONG, || keepers(&work).is_empty()));
    answers(&device).await;
    let second = keepers(&work);
    assert!(second.len() == 1 && second != first);

    // A handle that has not looked a moment ago, as after a pause.
    kill(second[0], Signal::SIGSTOP).unwrap();
    let device = handle(&work, &server.transport());
    let begin = Instant::now();
    answers(&device).await;
    assert!(begin.elapsed() < Duration::from_secs(45), "a call's own time-out is 60 s: {:?}", begin.elapsed());
    assert!(keepers(&work).len() == 2, "a new one beside the one that hangs");
    for keeper in keepers(&work) {
        kill(keeper, Signal::SIGKILL).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_share_no_connection() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    let Some(server) = SshDevice::posix(&dir.path().join("d"), SshOptions::default()) else { return };
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let (first, second) = (handle(&one, &server.transport()), handle(&two, &server.transport()));
    tokio::join!(answers(&first), answers(&second));
    let (of_one, of_two) = (keepers(&one), keepers(&two));
    assert_eq!((of_one.len(), of_two.len()), (1, 1));
    kill(of_one[0], Signal::SIGKILL).unwrap();
    answers(&second).await;
    assert_eq!(keepers(&two), of_two, "the other's goes on");
    answers(&first).await;
    for keeper in [keepers(&one), of_two].concat() {
        // It ends by itself half a minute later.
        let _ = kill(keeper, Signal::SIGKILL);
    }
}
