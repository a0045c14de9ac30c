//! Write filters of embedded Windows: what is written while one is on is gone with the next restart. The filters are simulated
//! (`tests/peers/filter.sh`, `filter.c`) on Wine devices behind a real sshd; installer and registry are real.

use std::{fs, path::Path, time::Duration};

use wardround_node::device::DeviceHandle;
use wardround_rollout_plans::model::Detected;
use wardround_tests::{
    rig::{Asks as _, Filter, Hotfix, Msi, SshDevice, SshOptions, WineDevice, WineVersion, handle_with},
    world::World,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wardround-under-test");

const LONG: Duration = Duration::from_secs(240);
const XP: WineVersion = WineVersion::XpX64;

fn handle(work: &Path, transport: &str, filter: &str) -> DeviceHandle {
    handle_with(work, XP.platform(), transport, filter)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_turning_it_off_a_patch_is_gone_with_the_restart() {
    let Some(device) = WineDevice::create(XP) else { return };
    let work = tempfile::tempdir().unwrap();
    let Some(msi) = Msi::build(work.path(), "AcmePump", 31, "1.0.0") else { return };
    let Some(ssh) = SshDevice::windows(&device, SshOptions::default()) else { return };
    let Some(filter) = Filter::install(&device, "ewf") else { return };
    let variant = msi.variant(XP.platform());
    let blind = handle(work.path(), &ssh.transport(), "");
    let why = blind.preflight(&variant, false).await.write_filter.unwrap();
    assert!(why.contains("write_filter: { kind: ewf }"), "{why}");
    blind.stage("a", &msi.path, &variant.payload).await.unwrap();
    assert_eq!(blind.install("a", &variant, LONG).await.unwrap().exit_code, 0);
    assert!(matches!(blind.detected("a", &variant).await, Detected::Present { .. }));
    blind.reboot(LONG).await.unwrap();
    assert_eq!(blind.detected("a", &variant).await, Detected::Absent, "the overlay is gone");
    assert!(filter.is_on());
    let wrong = handle(work.path(), &ssh.transport(), "write_filter: { kind: fbwf }");
    let why = wrong.preflight(&variant, false).await.write_filter.unwrap();
    assert!(why.contains("the device has none"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_stays_below_an_enhanced_write_filter() {
    let Some(device) = WineDevice::create(XP) else { return };
    let work = tempfile::tempdir().unwrap();
    let Some(hotfix) = Hotfix::build("KB4500331") else { return };
    let Some(ssh) = SshDevice::windows(&device, SshOptions::default()) else { return };
    let Some(filter) = Filter::install(&device, "ewf") else { return };
    let variant = hotfix.variant(XP.platform(), &[]);
    let handle = handle(work.path(), &ssh.transport(), "write_filter: { kind: ewf, volume: \"C:\" }");
    let before = handle.preflight(&variant, false).await;
    assert_eq!((before.write_filter, before.platform), (None, None));
    handle.stage("a", &hotfix.path, &variant.payload).await.unwrap();
    assert!(handle.unlock(LONG).await.unwrap(), "it restarted");
    assert!(!filter.is_on() && !handle.unlock(LONG).await.unwrap(), "once");
    assert!(!device.file("wardround/a").exists(), "what was staged lay in the overlay");
    handle.stage("a", &hotfix.path, &variant.payload).await.unwrap();
    assert_eq!(handle.install("a", &variant, LONG).await.unwrap().exit_code, 3010);
    handle.reboot(LONG).await.unwrap();
    assert!(handle.lock(LONG).await.unwrap() && filter.is_on());
    handle.reboot(LONG).await.unwrap();
    assert!(matches!(handle.detected("b", &variant).await, Detected::Present { .. }), "it outlives the restarts");
    assert_eq!(filter.restarts(), 4);
}

/// The whole way, by a node: off, restart, patch, restart, on, restart, watched; and back in the same way.
#[test]
fn a_node_brings_a_patch_below_a_write_filter_and_takes_it_off_again() {
    let Some(device) = WineDevice::create(XP) else { return };
    let Some(hotfix) = Hotfix::build("KB4500331") else { return };
    let Some(ssh) = SshDevice::windows(&device, SshOptions::default()) else { return };
    let Some(filter) = Filter::install(&device, "fbwf") else { return };
    let mut world = World::new(PROGRAM);
    let site = format!(
        "site: rx1\ndevices:\n  - name: ct-1\n    platform: \"{}\"\n    write_filter: {{ kind: fbwf }}\n    transport: {}\n",
        XP.platform(),
        ssh.transport()
    );
    world.add_declared_site("rx1", &site, 1);
    let folder = world.dir().join("packages");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(&hotfix.path, folder.join("k.exe")).unwrap();
    let manifest = folder.join("patch.yaml");
    let text = format!(
        "id: KB4500331\ntitle: t\nseverity: critical\nvariants:\n  - id: x64\n    platforms: [\"{}\"]\n    \
         payload: {{ file: k.exe }}\n    installer: {{ technology: hotfix, kb: KB4500331 }}\n",
        XP.platform()
    );
    fs::write(&manifest, text).unwrap();
    world.patch_by("KB4500331", &manifest);
    let plan = "name: embedded\ntiming: { install_timeout: 3m, reboot_timeout: 2m, retry_after: 1s, defer_max: 5m }\nwaves:\n  \
                - name: all\n    select: { remaining: true }\n    soak: 1s\n";
    filter.stick(true);
    world.start("r1", "KB4500331", plan);
    let put_off =
        world.wait_deployment(120, "r1", "rx1/ct-1", &["deferred", "rolling_back", "rollback_failed", "failed"]);
    assert_eq!(put_off.state, "deferred", "there is nothing to take back: {put_off:?}");
    assert!(put_off.reason.contains("write filter could not be turned off"), "{put_off:?}");
    assert!(filter.is_on() && filter.restarts() == 0);
    filter.stick(false);
    world.wait_state(240, "r1", "completed");
    assert!(filter.is_on());
    assert_eq!(filter.restarts(), 3, "off, the patch's own, on");
    assert!(device.registry(&hotfix.key(), "Installed").is_some());
    world.run_by(&["cy", "ben"], &["rollout", "rollback", "r1", "--all", "--reason", "drill", "--yes"]).ok();
    world.wait_state(240, "r1", "rolled_back");
    assert!(filter.is_on() && device.registry(&hotfix.key(), "Installed").is_none());
    assert_eq!(filter.restarts(), 6);
}
