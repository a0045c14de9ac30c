//! A launcher that was started, and is late: once the node has given the step up it must not begin it any more.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use wardround_node::device::{DeviceError, DeviceHandle, Withdrawal};
use wardround_rollout_plans::model::{Installer, Interpreter, Variant};
use wardround_tests::rig::{Hotfix, SshDevice, SshOptions, WineDevice, WineVersion, handle, variant, wait_until};

const LONG: Duration = Duration::from_secs(240);
const KB: &str = "KB4500331";
const CONSOLE: &str = "cpe:2.3:o:acme:console:4:*:*:*:*:*:*:*";
/// Names the directory of a [`Hold`] to a test that runs in a process of its own.
const HOLD: &str = "WARDROUND_TEST_HOLD";

/// Holds every launcher between its start and its first line.
struct Hold(PathBuf);

impl Hold {
    fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir).unwrap();
        let hold = Self(dir.to_owned());
        hold.again();
        hold
    }

    /// Programs that stand before those that start launchers: `setsid` here, `nohup` over SSH.
    fn with_programs(dir: &Path) -> Self {
        let hold = Self::new(dir);
        let at = dir.display();
        let late = format!(
            "while test -e {at}/hold; do sleep 0.05; done\n\"$@\"\n: > {at}/ended\n) < /dev/null > /dev/null 2>&1 &\n\
             : > {at}/held\n"
        );
        for (name, shift) in [("setsid", "shift"), ("nohup", "trap '' HUP")] {
            let path = dir.join(name);
            fs::write(&path, format!("#!/bin/sh\n{shift}\n(\n{late}")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        hold
    }

    /// In the process that has the programs, which this test runs in once more: programs are looked up in a process's own
    /// environment. `None` in the outer one, when the inner one has passed.
    fn here(test: &str) -> Option<Self> {
        if let Some(dir) = std::env::var_os(HOLD) {
            return Some(Self(dir.into()));
        }
        let dir = tempfile::tempdir().unwrap();
        let hold = Self::with_programs(dir.path());
        let path = format!("{}:{}", hold.0.display(), std::env::var("PATH").unwrap());
        let mut inner = Command::new(std::env::current_exe().unwrap());
        inner.args(["--exact", test, "--nocapture"]).env("PATH", path).env(HOLD, &hold.0);
        assert!(inner.status().unwrap().success(), "{test} with held launchers");
        None
    }

    fn again(&self) {
        for name in ["held", "ended"] {
            let _ = fs::remove_file(self.0.join(name));
        }
        fs::write(self.0.join("hold"), "").unwrap();
    }

    fn wait_for(&self, what: &str) {
        let there = || self.0.join(what).exists();
        tokio::task::block_in_place(|| wait_until(&format!("the launcher is {what}"), LONG, there));
    }

    /// Lets the launcher go on, and waits for its end.
    fn release(&self) {
        self.wait_for("held");
        fs::remove_file(self.0.join("hold")).unwrap();
        self.wait_for("ended");
    }
}

async fn nothing_begins_late(
    device: impl Fn() -> DeviceHandle,
    payload: &Path,
    variant: &Variant,
    hold: &Hold,
    begun: impl Fn() -> usize,
) {
    // Its time is up before it has begun.
    let node = device();
    node.stage("slow", payload, &variant.payload).await.unwrap();
    let given_up = node.install("slow", variant, Duration::from_secs(1)).await;
    assert!(matches!(given_up, Err(DeviceError::Interrupted { .. })), "{given_up:?}");
    hold.release();
    assert_eq!(begun(), 0, "it was installed after the node had given up");
    let again = node.install("slow", variant, LONG).await;
    assert!(matches!(again, Err(DeviceError::Interrupted { .. })), "{again:?}");

    // A halt comes between the start and the beginning.
    hold.again();
    node.stage("halted", payload, &variant.payload).await.unwrap();
    let install = tokio::spawn({
        let (node, variant) = (device(), variant.clone());
        async move { node.install("halted", &variant, LONG).await }
    });
    hold.wait_for("held");
    assert_eq!(node.withdraw_install("halted").await.unwrap(), Withdrawal::Withdrawn);
    hold.release();
    let ended = install.await.unwrap();
    assert!(matches!(ended, Err(DeviceError::Interrupted { .. })), "{ended:?}");
    assert_eq!(begun(), 0, "it was installed after the halt");

    // The next run has an operation of its own, and is not held.
    node.stage("next", payload, &variant.payload).await.unwrap();
    node.install("next", variant, LONG).await.unwrap();
    assert_eq!(begun(), 1);
    assert_eq!(node.withdraw_install("next").await.unwrap(), Withdrawal::Over);
}

/// A payload that writes a line for each of its installs.
fn script(dir: &Path) -> (PathBuf, Variant, PathBuf) {
    let (payload, log) = (dir.join("fix.sh"), dir.join("begun.log"));
    fs::write(&payload, format!("test $1 != install || echo begun >> {}\n", log.display())).unwrap();
    let variant = variant(&payload, Installer::Script { interpreter: Interpreter::Sh }, CONSOLE);
    (payload, variant, log)
}

fn lines(log: &Path) -> usize {
    fs::read_to_string(log).unwrap_or_default().matches("begun").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_sh_launcher_does_nothing() {
    let Some(hold) = Hold::here("a_late_sh_launcher_does_nothing") else { return };
    let work = tempfile::tempdir().unwrap();
    let root = work.path().join("device");
    fs::create_dir(&root).unwrap();
    let (payload, variant, log) = script(work.path());
    let transport = format!("{{ kind: local, root: {}, shell: sh }}", root.display());
    let device = || handle(work.path(), CONSOLE, &transport);
    nothing_begins_late(device, &payload, &variant, &hold, || lines(&log)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_sh_launcher_over_ssh_does_nothing() {
    let work = tempfile::tempdir().unwrap();
    let hold = Hold::with_programs(&work.path().join("hold"));
    fs::create_dir(work.path().join("d")).unwrap();
    let options = SshOptions { programs: Some(hold.0.clone()), ..SshOptions::default() };
    let Some(server) = SshDevice::posix(&work.path().join("d"), options) else { return };
    let (payload, variant, log) = script(work.path());
    let transport = server.transport();
    let device = || handle(work.path(), CONSOLE, &transport);
    nothing_begins_late(device, &payload, &variant, &hold, || lines(&log)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_cmd_launcher_does_nothing() {
    let Some(hold) = Hold::here("a_late_cmd_launcher_does_nothing") else { return };
    let Some(windows) = WineDevice::create(WineVersion::XpX64) else { return };
    let Some(hotfix) = Hotfix::build(KB) else { return };
    let work = tempfile::tempdir().unwrap();
    let platform = WineVersion::XpX64.platform();
    let variant = hotfix.variant(platform, &[]);
    let log = windows.file(&format!("windows/{KB}.log"));
    let transport = format!("{{ kind: local, root: '{}', shell: wine }}", windows.root().display());
    let device = || handle(work.path(), platform, &transport);
    nothing_begins_late(device, &hotfix.path, &variant, &hold, || lines(&log)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_cmd_launcher_over_ssh_does_nothing() {
    let Some(windows) = WineDevice::create(WineVersion::XpX64) else { return };
    let Some(server) = SshDevice::windows(&windows, SshOptions::default()) else { return };
    let Some(hotfix) = Hotfix::build(KB) else { return };
    let hold = Hold::new(&windows.root().join("rig"));
    let work = tempfile::tempdir().unwrap();
    let platform = WineVersion::XpX64.platform();
    let variant = hotfix.variant(platform, &[]);
    let log = windows.file(&format!("windows/{KB}.log"));
    let transport = server.transport();
    let device = || handle(work.path(), platform, &transport);
    nothing_begins_late(device, &hotfix.path, &variant, &hold, || lines(&log)).await;
}

/// Launcher and withdrawal at the same moment: exactly one of them has the step.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_is_begun_or_withdrawn_never_both() {
    let work = tempfile::tempdir().unwrap();
    let root = work.path().join("device");
    fs::create_dir(&root).unwrap();
    let (payload, variant, log) = script(work.path());
    let transport = format!("{{ kind: local, root: {}, shell: sh }}", root.display());
    for round in 0..30 {
        let before = lines(&log);
        let op = format!("op-{round}");
        let (node, other) = (handle(work.path(), CONSOLE, &transport), handle(work.path(), CONSOLE, &transport));
        node.stage(&op, &payload, &variant.payload).await.unwrap();
        let install = tokio::spawn({
            let (op, variant) = (op.clone(), variant.clone());
            async move { node.install(&op, &variant, LONG).await }
        });
        let launcher = root.join("wardround").join(&op).join("wr-install.sh");
        tokio::task::block_in_place(|| wait_until("the launcher is there", LONG, || launcher.exists()));
        let withdrawal = other.withdraw_install(&op).await.unwrap();
        let installed = install.await.unwrap();
        let begun = lines(&log) - before;
        match withdrawal {
            Withdrawal::Withdrawn => assert!(installed.is_err() && begun == 0, "{installed:?}, begun {begun}"),
            Withdrawal::AtWork | Withdrawal::Over => assert!(installed.is_ok() && begun == 1, "{installed:?}, {begun}"),
        }
    }
}
