//! Devices with real peers: Wine, sshd, Windows Installer packages.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use tempfile::TempDir;
use wardround_node::{
    device::{DeviceError, DeviceHandle, Withdrawal},
    installers::{ExitClass, Outcome, outcome},
};
use wardround_rollout_plans::model::{Detected, Installer, Interpreter, Variant};
use wardround_tests::rig::{
    Asks as _, Hotfix, Msi, SshDevice, SshOptions, WineDevice, WineVersion, handle, variant, wait_until,
};

const LONG: Duration = Duration::from_secs(240);
const KB: &str = "KB4500331";

fn local(work: &TempDir, device: &WineDevice, version: WineVersion) -> DeviceHandle {
    let transport = format!("{{ kind: local, root: '{}', shell: wine }}", device.root().display());
    handle(work.path(), version.platform(), &transport)
}

fn present(found: &Detected) -> bool {
    matches!(found, Detected::Present { .. })
}

/// Stage, detect, install, detect, uninstall, detect: the whole life of a package on a device, proved by the registry.
async fn life_of_an_msi(handle: &DeviceHandle, device: &WineDevice, msi: &Msi, variant: &Variant) {
    let before = handle.preflight(variant, false).await;
    assert_eq!(before.reachable, Ok(()));
    assert_eq!((before.reboot_pending, before.platform, before.in_use), (Some(false), None, None));
    assert!(before.free_bytes.is_some_and(|bytes| bytes > 1_000_000), "{:?}", before.free_bytes);

    handle.stage("op-1", &msi.path, &variant.payload).await.unwrap();
    assert_eq!(handle.detected("op-1", variant).await, Detected::Absent);
    let ran = handle.install("op-1", variant, LONG).await.unwrap();
    assert_eq!((ran.exit_code, ran.class), (0, ExitClass::Success), "{}", ran.output);
    let after = handle.detected("op-1", variant).await;
    assert!(present(&after), "{after:?}");
    assert_eq!(device.registry(&msi.uninstall_key(), "DisplayVersion").as_deref(), Some(msi.version.as_str()));
    assert_eq!(outcome(ran.class, &Detected::Absent, &after, false), Outcome::Installed);

    let ran = handle.uninstall("op-2", variant, LONG).await.unwrap();
    assert_eq!((ran.exit_code, ran.class), (0, ExitClass::Success), "{}", ran.output);
    assert_eq!(handle.detected("op-2", variant).await, Detected::Absent);
    assert_eq!(device.registry(&msi.uninstall_key(), "DisplayVersion"), None);

    // The true code of "unknown product", which a Unix status would cut down to 69.
    let ran = handle.uninstall("op-3", variant, LONG).await.unwrap();
    assert_eq!((ran.exit_code, ran.class), (1605, ExitClass::AlreadyAbsent), "{}", ran.output);
    for op in ["op-1", "op-2", "op-3"] {
        // A launcher ends a moment after its result, and until then Windows keeps its folder; a node tries again too.
        let here = tokio::runtime::Handle::current();
        let gone = || here.block_on(handle.cleanup(op)).is_ok();
        tokio::task::block_in_place(|| wait_until("the folder of the operation goes", LONG, gone));
        assert!(!device.file("wardround").join(op).exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_msi_comes_and_goes_on_windows_xp() {
    let Some(device) = WineDevice::create(WineVersion::XpX64) else { return };
    let work = tempfile::tempdir().unwrap();
    let Some(msi) = Msi::build(work.path(), "AcmePump", 1, "1.0.1") else { return };
    let handle = local(&work, &device, WineVersion::XpX64);
    life_of_an_msi(&handle, &device, &msi, &msi.variant(WineVersion::XpX64.platform())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_of_the_product_keeps_its_code() {
    let Some(device) = WineDevice::create(WineVersion::Seven) else { return };
    let work = tempfile::tempdir().unwrap();
    let Some(old) = Msi::build(work.path(), "AcmePump", 2, "1.0.0") else { return };
    let Some(new) = Msi::build(work.path(), "AcmePump", 2, "1.0.1") else { return };
    let handle = local(&work, &device, WineVersion::Seven);
    let (old_variant, new_variant) =
        (old.variant(WineVersion::Seven.platform()), new.variant(WineVersion::Seven.platform()));
    handle.stage("old", &old.path, &old_variant.payload).await.unwrap();
    handle.install("old", &old_variant, LONG).await.unwrap();
    handle.stage("new", &new.path, &new_variant.payload).await.unwrap();
    let before = handle.detected("new", &new_variant).await;
    assert_eq!(before, Detected::Absent, "1.0.0 is not 1.0.1");
    let ran = handle.install("new", &new_variant, LONG).await.unwrap();
    assert_eq!((ran.exit_code, ran.class), (1638, ExitClass::AlreadyInstalled), "{}", ran.output);
    let after = handle.detected("new", &new_variant).await;
    assert!(matches!(
        outcome(ran.class, &before, &after, false),
        Outcome::Failed { code: "other_version_installed", .. }
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hotfix_is_verified_after_its_reboot_and_leaves_by_spuninst() {
    let Some(device) = WineDevice::create(WineVersion::Server2003) else { return };
    let Some(hotfix) = Hotfix::build(KB) else { return };
    let work = tempfile::tempdir().unwrap();
    let handle = local(&work, &device, WineVersion::Server2003);
    let variant = hotfix.variant(WineVersion::Server2003.platform(), &[]);
    handle.stage("up", &hotfix.path, &variant.payload).await.unwrap();
    assert_eq!(handle.detected("up", &variant).await, Detected::Absent);

    let ran = handle.install("up", &variant, LONG).await.unwrap();
    assert_eq!((ran.exit_code, ran.class), (3010, ExitClass::RebootRequired), "{}", ran.output);
    assert!(ran.output.contains("restart needed"), "{}", ran.output);
    assert!(handle.reboot_pending().await.unwrap());
    let patched = device.file(&format!("windows/system32/{KB}.sys"));
    assert!(!patched.exists(), "in place only after the restart");
    handle.reboot(LONG).await.unwrap();
    assert!(!handle.reboot_pending().await.unwrap());
    assert!(patched.exists());
    assert!(present(&handle.detected("up", &variant).await));
    assert_eq!(device.registry(&hotfix.key(), "Installed").as_deref(), Some("0x1"));

    let ran = handle.uninstall("down", &variant, LONG).await.unwrap();
    assert_eq!((ran.exit_code, ran.class), (3010, ExitClass::RebootRequired), "{}", ran.output);
    handle.reboot(LONG).await.unwrap();
    assert_eq!(handle.detected("down", &variant).await, Detected::Absent);
    assert!(!patched.exists() && device.registry(&hotfix.key(), "Installed").is_none());

    std::fs::remove_dir_all(device.file(&format!("windows/$NtUninstall{KB}$"))).unwrap();
    let ran = handle.uninstall("gone", &variant, LONG).await.unwrap();
    assert_eq!(ran.class, ExitClass::NotUninstallable, "{}", ran.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hotfix_that_fails_or_lies_is_found_out() {
    let Some(device) = WineDevice::create(WineVersion::XpX64) else { return };
    let Some(hotfix) = Hotfix::build(KB) else { return };
    let work = tempfile::tempdir().unwrap();
    let handle = local(&work, &device, WineVersion::XpX64);
    for (op, switch, code, word) in
        [("fail", "/fail", 1603, "installer_failed"), ("lie", "/lie", 0, "failed_verification")]
    {
        let variant = hotfix.variant(WineVersion::XpX64.platform(), &[switch]);
        handle.stage(op, &hotfix.path, &variant.payload).await.unwrap();
        let ran = handle.install(op, &variant, LONG).await.unwrap();
        assert_eq!(ran.exit_code, code, "{}", ran.output);
        let after = handle.detected(op, &variant).await;
        let pending = handle.reboot_pending().await.unwrap();
        match outcome(ran.class, &Detected::Absent, &after, pending) {
            Outcome::Failed { code, .. } => assert_eq!(code, word),
            other => panic!("{other:?}"),
        }
    }
    let seven = hotfix.variant(WineVersion::Seven.platform(), &[]);
    let why = handle.preflight(&seven, false).await.platform.unwrap();
    assert!(why.contains("NT 5.2") && why.contains("windows_7"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_behind_ssh_is_patched_rebooted_and_rolled_back() {
    let Some(device) = WineDevice::create(WineVersion::XpX64) else { return };
    let Some(server) = SshDevice::windows(&device, SshOptions::default()) else { return };
    let work = tempfile::tempdir().unwrap();
    let Some(msi) = Msi::build(work.path(), "AcmePump", 3, "2.0.0") else { return };
    let Some(hotfix) = Hotfix::build(KB) else { return };
    let handle = handle(work.path(), WineVersion::XpX64.platform(), &server.transport());
    life_of_an_msi(&handle, &device, &msi, &msi.variant(WineVersion::XpX64.platform())).await;

    let variant = hotfix.variant(WineVersion::XpX64.platform(), &[]);
    handle.stage("up", &hotfix.path, &variant.payload).await.unwrap();
    let ran = handle.install("up", &variant, LONG).await.unwrap();
    assert_eq!((ran.exit_code, ran.class), (3010, ExitClass::RebootRequired), "{}", ran.output);
    assert!(handle.reboot_pending().await.unwrap());
    handle.reboot(LONG).await.unwrap();
    assert!(!handle.reboot_pending().await.unwrap());
    assert!(present(&handle.detected("up", &variant).await));
    assert!(device.file(&format!("windows/system32/{KB}.sys")).exists(), "the restart put it in place");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_install_outlives_its_link_and_its_node() {
    let Some(device) = WineDevice::create(WineVersion::XpX64) else { return };
    let Some(server) = SshDevice::windows(&device, SshOptions::default()) else { return };
    let Some(hotfix) = Hotfix::build(KB) else { return };
    let work = tempfile::tempdir().unwrap();
    let variant = hotfix.variant(WineVersion::XpX64.platform(), &["/hold"]);
    let first = handle(work.path(), WineVersion::XpX64.platform(), &server.transport());
    first.stage("op", &hotfix.path, &variant.payload).await.unwrap();

    let log = device.file(&format!("windows/{KB}.log"));
    let lines = || std::fs::read_to_string(&log).unwrap_or_default();
    let task = tokio::spawn({
        let variant = variant.clone();
        async move { first.install("op", &variant, LONG).await }
    });
    let asked = handle(work.path(), WineVersion::XpX64.platform(), &server.transport());
    tokio::task::block_in_place(|| wait_until("the install begins", LONG, || lines().contains("begun")));
    assert_eq!(asked.withdraw_install("op").await.unwrap(), Withdrawal::AtWork);
    assert_eq!(asked.withdraw_install("other").await.unwrap(), Withdrawal::Withdrawn);
    // The link goes, and with it the node that had asked.
    server.cut();
    task.abort();
    assert!(task.await.is_err());
    assert!(!lines().contains("installed"), "it is still at work");
    std::fs::write(device.file("windows/go"), "").unwrap();

    let second = handle(work.path(), WineVersion::XpX64.platform(), &server.transport());
    let ran = second.install("op", &variant, LONG).await.unwrap();
    assert_eq!(ran.exit_code, 3010, "{}", ran.output);
    assert!(present(&second.detected("op", &variant).await));
    let again = second.install("op", &variant, LONG).await.unwrap();
    assert_eq!(again, ran, "the recorded result");
    assert_eq!(second.withdraw_install("op").await.unwrap(), Withdrawal::Over);
    assert_eq!(lines().matches("begun").count(), 1, "installed once: {}", lines());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_cut_is_made_again_while_an_install_runs() {
    let Some(device) = WineDevice::create(WineVersion::XpX64) else { return };
    let Some(server) = SshDevice::windows(&device, SshOptions::default()) else { return };
    let Some(hotfix) = Hotfix::build(KB) else { return };
    let work = tempfile::tempdir().unwrap();
    let variant = hotfix.variant(WineVersion::XpX64.platform(), &["/hold"]);
    let handle = handle(work.path(), WineVersion::XpX64.platform(), &server.transport());
    handle.stage("op", &hotfix.path, &variant.payload).await.unwrap();
    let log = device.file(&format!("windows/{KB}.log"));
    let begun = move || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("begun"));
    let install = handle.install("op", &variant, LONG);
    let go = device.file("windows/go");
    let cut = tokio::task::spawn_blocking(move || {
        wait_until("the install begins", LONG, begun);
        server.cut();
        std::fs::write(go, "").unwrap();
        server
    });
    let (ran, server) = tokio::join!(install, cut);
    assert_eq!(ran.unwrap().exit_code, 3010);
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_died_is_told_from_one_that_works() {
    let Some(device) = WineDevice::create(WineVersion::XpX64) else { return };
    let Some(hotfix) = Hotfix::build(KB) else { return };
    let work = tempfile::tempdir().unwrap();
    let handle = local(&work, &device, WineVersion::XpX64);
    let variant = hotfix.variant(WineVersion::XpX64.platform(), &["/hold"]);
    handle.stage("op", &hotfix.path, &variant.payload).await.unwrap();
    let log = device.file(&format!("windows/{KB}.log"));
    let restart = tokio::task::spawn_blocking(move || {
        let begun = || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("begun"));
        wait_until("the install begins", LONG, begun);
        // Somebody restarts the device in the middle of the installation.
        device.run(&["wineboot", "-k", "-f"]);
        device
    });
    let (ran, device) = tokio::join!(handle.install("op", &variant, LONG), restart);
    assert!(matches!(ran, Err(DeviceError::Interrupted { .. })), "{ran:?}");
    assert_eq!(handle.detected("op", &variant).await, Detected::Absent);
    drop(device);
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_trusts_one_key_and_modern_algorithms_only() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("m")).unwrap();
    std::fs::create_dir_all(dir.path().join("l")).unwrap();
    let Some(modern) = SshDevice::posix(&dir.path().join("m"), SshOptions::default()) else { return };
    let Some(legacy) = SshDevice::posix(&dir.path().join("l"), SshOptions { legacy: true, ..SshOptions::default() })
    else {
        return;
    };
    let platform = "cpe:2.3:o:debian:debian_linux:4.0:*:*:*:*:*:x86:*";
    let payload = dir.path().join("p.sh");
    std::fs::write(&payload, "exit 0\n").unwrap();
    let variant = variant(&payload, Installer::Script { interpreter: Interpreter::Sh }, platform);
    let stage = async |name: &str, transport: String| {
        handle(&dir.path().join(name), platform, &transport).stage("op", &payload, &variant.payload).await
    };
    stage("w1", modern.transport()).await.unwrap();
    assert!(dir.path().join("m/wardround/op/p.sh").is_file());
    let wrong = stage("w2", modern.transport_with(&modern.other_host_key(), false)).await;
    assert!(matches!(wrong, Err(DeviceError::HostKey { .. })), "{wrong:?}");
    let refused = stage("w3", legacy.transport_with(&legacy.host_key(), false)).await;
    assert!(matches!(refused, Err(DeviceError::Algorithms { .. })), "{refused:?}");
    // A path that looks like a pattern is none, though another file would fit it.
    let (odd, fitting) = (dir.path().join("state[1] *?"), dir.path().join("state1 xy"));
    for (dir, text) in [(&odd, "exit 0\n"), (&fitting, "exit 1\n")] {
        std::fs::create_dir(dir).unwrap();
        std::fs::write(dir.join("p.sh"), text).unwrap();
    }
    let device = handle(&dir.path().join("w1"), platform, &modern.transport());
    device.stage("odd", &odd.join("p.sh"), &variant.payload).await.unwrap();
    assert_eq!(std::fs::read_to_string(dir.path().join("m/wardround/odd/p.sh")).unwrap(), "exit 0\n");
    stage("w4", legacy.transport()).await.unwrap();
    assert!(dir.path().join("l/wardround/op/p.sh").is_file());
    let transport = modern.transport();
    drop(modern);
    let gone = stage("w5", transport).await;
    assert!(matches!(gone, Err(DeviceError::Unreachable { .. })), "{gone:?}");
}

const SCRIPT: &str = r#"
set -u
here=$WARDROUND_DEVICE_ROOT
case $1 in
install) echo installing; echo new > "$here/driver"; : > "$here/reboot-pending" ;;
uninstall) rm -f "$here/driver" ;;
detect) if test -e "$here/driver"; then cat "$here/driver"; else exit 1; fi ;;
esac
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_script_comes_and_goes_in_a_sandbox() {
    let work = tempfile::tempdir().unwrap();
    let root = work.path().join("it's a device");
    let platform = "cpe:2.3:o:acme:console:4:*:*:*:*:*:*:*";
    let payload = work.path().join("fix.sh");
    std::fs::write(&payload, SCRIPT).unwrap();
    let variant = variant(&payload, Installer::Script { interpreter: Interpreter::Sh }, platform);
    let transport = format!("{{ kind: local, root: \"{}\", shell: sh }}", root.display());
    let handle = handle(work.path(), platform, &transport);
    assert!(handle.preflight(&variant, false).await.reachable.is_err(), "switched off");
    assert!(matches!(handle.stage("op", &payload, &variant.payload).await, Err(DeviceError::Unreachable { .. })));
    std::fs::create_dir(&root).unwrap();

    assert!(matches!(handle.install("op", &variant, LONG).await, Err(DeviceError::NotStaged { .. })));
    let unstaged = handle.detected("op", &variant).await;
    assert!(matches!(&unstaged, Detected::Unknown { why } if why.contains("not on the device")), "{unstaged:?}");
    handle.stage("op", &payload, &variant.payload).await.unwrap();
    assert_eq!(handle.detected("op", &variant).await, Detected::Absent);
    let ran = handle.install("op", &variant, LONG).await.unwrap();
    assert_eq!((ran.exit_code, ran.output.as_str()), (0, "installing"));
    let after = handle.detected("op", &variant).await;
    assert_eq!(after, Detected::Present { proof: "detect ended with 0: new".into() });
    assert!(handle.reboot_pending().await.unwrap());
    assert_eq!(outcome(ran.class, &Detected::Absent, &after, true), Outcome::NeedsReboot);
    let boot_id = || std::fs::read_to_string(root.join("boot-id")).ok();
    let before = boot_id();
    handle.reboot(LONG).await.unwrap();
    assert!(boot_id().is_some() && boot_id() != before && !handle.reboot_pending().await.unwrap());
    handle.uninstall("op", &variant, LONG).await.unwrap();
    assert_eq!(handle.detected("op", &variant).await, Detected::Absent);

    std::fs::write(root.join("platform"), "cpe:2.3:o:acme:console:5:*:*:*:*:*:*:*\n").unwrap();
    assert!(handle.preflight(&variant, false).await.platform.unwrap().contains("console:5"));
    std::fs::write(root.join("wardround/op/fix.sh"), "cut").unwrap();
    let cut = handle.install("op-2", &variant, LONG).await;
    assert!(matches!(cut, Err(DeviceError::NotStaged { .. })), "{cut:?}");
    for bad in ["", "../x", "a b", "a;reboot"] {
        let refused = handle.stage(bad, &payload, &variant.payload).await;
        assert!(matches!(refused, Err(DeviceError::BadName { .. })), "{bad:?}: {refused:?}");
    }
}
