//! Every installer technology on a device: what the vendor's code says, what the device shows, and the way back.
//!
//! Real: Windows Installer and the registry of Wine, dpkg, rpm. Simulated: wusa, pkgmgr and DISM (`tests/peers/servicing.c`).

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;
use wardround_node::{
    device::{DeviceHandle, Ran},
    installers::{ExitClass, Outcome, outcome},
};
use wardround_rollout_plans::model::{
    Detected, Detection, FileVersion, Installer, PackageManager, Payload, Sign, Variant,
};
use wardround_tests::rig::{Asks as _, Hotfix, Msi, Servicing, WineDevice, WineVersion, handle, require, variant};

const LONG: Duration = Duration::from_secs(240);
const KB: &str = "KB4012212";
const NAME: &str = "Package_for_KB4012212~31bf3856ad364e35~amd64~~6.1.1.0";
const LINUX: &str = "cpe:2.3:o:debian:debian_linux:*:*:*:*:*:*:*:*";

fn windows(work: &TempDir, device: &WineDevice, version: WineVersion) -> DeviceHandle {
    let transport = format!("{{ kind: local, root: '{}', shell: wine }}", device.root().display());
    handle(work.path(), version.platform(), &transport)
}

fn is_present(found: &Detected) -> bool {
    matches!(found, Detected::Present { .. })
}

/// A package for the servicing stand-ins.
fn package(work: &TempDir, file: &str, word: &str) -> PathBuf {
    let path = work.path().join(file);
    fs::write(&path, format!("{NAME}\n{word}\n")).unwrap();
    path
}

async fn installed(handle: &DeviceHandle, op: &str, path: &Path, variant: &Variant) -> (Ran, Outcome) {
    let before = handle.detected(op, variant).await;
    handle.stage(op, path, &variant.payload).await.unwrap();
    let ran = handle.install(op, variant, LONG).await.unwrap();
    let after = handle.detected(op, variant).await;
    let outcome = outcome(ran.class, &before, &after, false);
    (ran, outcome)
}

async fn uninstalled(handle: &DeviceHandle, op: &str, needed: Option<&Path>, variant: &Variant) -> Ran {
    assert_eq!(DeviceHandle::needed_to_uninstall(variant).is_some(), needed.is_some());
    if let (Some(file), Some(payload)) = (needed, DeviceHandle::needed_to_uninstall(variant)) {
        handle.stage(op, file, payload).await.unwrap();
    }
    handle.uninstall(op, variant, LONG).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_msu_comes_by_wusa_and_leaves_by_it_on_windows_7() {
    let Some(device) = WineDevice::create(WineVersion::Seven) else { return };
    let Some(_) = Servicing::install(&device) else { return };
    let work = tempfile::tempdir().unwrap();
    let handle = windows(&work, &device, WineVersion::Seven);
    let msu = |file: &str, word: &str| {
        let path = package(&work, file, word);
        let installer = Installer::Msu { kb: KB.into(), package: Some(NAME.into()) };
        let variant = variant(&path, installer, WineVersion::Seven.platform());
        (path, variant)
    };
    let (path, good) = msu("good.msu", "reboot");
    let (ran, came) = installed(&handle, "a", &path, &good).await;
    assert_eq!((ran.exit_code, came), (3010, Outcome::NeedsReboot), "{}", ran.output);
    let Detected::Present { proof } = handle.detected("a", &good).await else { panic!("it is in force") };
    assert!(proof.ends_with(r"CurrentState = 0x70"), "{proof}");
    let (ran, came) = installed(&handle, "b", &path, &good).await;
    assert_eq!((ran.exit_code, ran.class, came), (0x24_0006, ExitClass::AlreadyInstalled, Outcome::NothingToDo));
    let ran = uninstalled(&handle, "c", Some(&path), &good).await;
    assert_eq!((ran.exit_code, handle.detected("c", &good).await), (0, Detected::Absent), "{}", ran.output);
    let ran = uninstalled(&handle, "d", Some(&path), &good).await;
    assert_eq!((ran.exit_code, ran.class), (0x24_0007, ExitClass::AlreadyAbsent));

    let (path, foreign) = msu("foreign.msu", "foreign");
    let (ran, came) = installed(&handle, "e", &path, &foreign).await;
    assert_eq!((ran.exit_code, ran.class, came), (0x8024_0017, ExitClass::NotApplicable, Outcome::NothingToDo));
    let (path, liar) = msu("liar.msu", "lie");
    let (ran, came) = installed(&handle, "f", &path, &liar).await;
    assert_eq!(ran.exit_code, 0);
    assert!(matches!(came, Outcome::Failed { code: "failed_verification", .. }), "{came:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_vista_one_code_means_two_things_and_pkgmgr_takes_off() {
    let Some(device) = WineDevice::create(WineVersion::Vista) else { return };
    let Some(_) = Servicing::install(&device) else { return };
    let work = tempfile::tempdir().unwrap();
    let handle = windows(&work, &device, WineVersion::Vista);
    let path = package(&work, "k.msu", "");
    let installer = Installer::Msu { kb: KB.into(), package: Some(NAME.into()) };
    let good = variant(&path, installer.clone(), WineVersion::Vista.platform());
    let (ran, came) = installed(&handle, "a", &path, &good).await;
    assert_eq!((ran.exit_code, came), (0, Outcome::Installed), "{}", ran.output);
    let (ran, came) = installed(&handle, "b", &path, &good).await;
    assert_eq!((ran.exit_code, ran.class, came), (1, ExitClass::Ambiguous, Outcome::NothingToDo));
    let ran = handle.uninstall("c", &good, LONG).await.unwrap();
    assert_eq!((ran.exit_code, handle.detected("c", &good).await), (0, Detected::Absent), "{}", ran.output);
    let path = package(&work, "foreign.msu", "foreign");
    let foreign = variant(&path, installer, WineVersion::Vista.platform());
    let (ran, came) = installed(&handle, "d", &path, &foreign).await;
    assert_eq!((ran.exit_code, ran.class), (1, ExitClass::Ambiguous));
    assert!(matches!(came, Outcome::Failed { code: "failed_verification", .. }), "{came:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cab_comes_and_goes_by_dism() {
    let Some(device) = WineDevice::create(WineVersion::Seven) else { return };
    let Some(_) = Servicing::install(&device) else { return };
    let work = tempfile::tempdir().unwrap();
    let handle = windows(&work, &device, WineVersion::Seven);
    let path = package(&work, "k.cab", "");
    let good = variant(&path, Installer::Cab { package: NAME.into() }, WineVersion::Seven.platform());
    let (ran, came) = installed(&handle, "a", &path, &good).await;
    assert_eq!((ran.exit_code, came), (0, Outcome::Installed), "{}", ran.output);
    let ran = uninstalled(&handle, "b", None, &good).await;
    assert_eq!((ran.exit_code, handle.detected("b", &good).await), (0, Detected::Absent), "{}", ran.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_too_old_denies_what_the_registry_says() {
    let Some(device) = WineDevice::create(WineVersion::Server2003) else { return };
    let Some(hotfix) = Hotfix::build("KB4500331") else { return };
    let work = tempfile::tempdir().unwrap();
    let handle = windows(&work, &device, WineVersion::Server2003);
    let with = |file: &str, version: &str| {
        let files = vec![FileVersion { path: file.into(), version: version.parse().unwrap() }];
        let plain = hotfix.variant(WineVersion::Server2003.platform(), &[]);
        Variant { detection: Detection { any_of: Vec::new(), files }, ..plain }
    };
    // A file of Wine itself has a version that does not change within a release.
    let file = r"%windir%\system32\kernel32.dll";
    let old = with(file, "5.2.3790.1");
    installed(&handle, "a", &hotfix.path, &old).await;
    let Detected::Present { proof } = handle.detected("a", &old).await else { panic!("it is there") };
    assert!(proof.contains("HotFix") && proof.contains("kernel32.dll 10.0."), "{proof}");
    assert_eq!(handle.detected("a", &with(file, "99.0.0.0")).await, Detected::Absent);
    assert_eq!(handle.detected("a", &with(r"C:\windows\nowhere.dll", "1.0.0.0")).await, Detected::Absent);

    // What any of several signs shows; Wine lists one update, whatever is asked.
    let sign = |kb: &str| Sign::Msu { kb: kb.into(), package: None };
    assert!(is_present(&handle.detect_sign("b", &sign("KB1234567")).await));
    assert_eq!(handle.detect_sign("b", &sign("KB7654321")).await, Detected::Absent);
    let other = hotfix.variant(WineVersion::Server2003.platform(), &[]);
    let any = |kb: &str| {
        let installer = Installer::Hotfix { kb: "KB9999999".into(), switches: Vec::new() };
        let detection = Detection { any_of: vec![sign(kb)], files: Vec::new() };
        Variant { installer, detection, ..other.clone() }
    };
    assert!(is_present(&handle.detected("c", &any("KB1234567")).await));
    assert_eq!(handle.detected("c", &any("KB7654321")).await, Detected::Absent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_of_a_product_stands_where_windows_installer_keeps_it() {
    let Some(device) = WineDevice::create(WineVersion::Seven) else { return };
    let work = tempfile::tempdir().unwrap();
    let Some(msi) = Msi::build(work.path(), "AcmePump", 7, "1.0.0") else { return };
    let handle = windows(&work, &device, WineVersion::Seven);
    let product = msi.variant(WineVersion::Seven.platform());
    installed(&handle, "a", &msi.path, &product).await;
    // wixl makes no patches: this one's entry is written by hand below the key that Windows Installer made.
    let packed = "D4C3B2A1000000040800000000000070";
    let products = r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Installer\UserData\S-1-5-18\Products";
    let below = format!(r"{products}\{packed}");
    let listed = device.run(&["reg", "query", products]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains(packed), "{listed}");
    let sign = Sign::Msp { product_code: msi.product_code.clone(), patch_code: msi.product_code.clone() };
    assert_eq!(handle.detect_sign("b", &sign).await, Detected::Absent);
    let key = format!(r"{below}\Patches\{packed}");
    assert!(device.run(&["reg", "add", &key, "/v", "State", "/t", "REG_DWORD", "/d", "1", "/f"]).status.success());
    assert!(is_present(&handle.detect_sign("b", &sign).await));
}

/// Two versions of one package, and a folder that stands for a Linux.
struct Linux {
    work: TempDir,
    old: PathBuf,
    new: PathBuf,
    manager: PackageManager,
}

impl Linux {
    fn dpkg() -> Option<Self> {
        require("dpkg-deb")?;
        let work = tempfile::tempdir().unwrap();
        let root = work.path().join("root");
        fs::create_dir_all(root.join("var/lib/dpkg/info")).unwrap();
        fs::create_dir_all(root.join("var/lib/dpkg/updates")).unwrap();
        fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
        let build = |version: &str| {
            let tree = work.path().join(format!("tree-{version}"));
            fs::create_dir_all(tree.join("DEBIAN")).unwrap();
            fs::create_dir_all(tree.join("opt/acme")).unwrap();
            fs::write(tree.join("opt/acme/version"), version).unwrap();
            let control = format!(
                "Package: acme-pump\nVersion: {version}\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: a pump\n"
            );
            fs::write(tree.join("DEBIAN/control"), control).unwrap();
            let path = work.path().join(format!("acme-pump-{version}.deb"));
            run(Command::new("dpkg-deb").args(["--root-owner-group", "-b"]).arg(&tree).arg(&path));
            path
        };
        let (old, new) = (build("1.0-1"), build("1.0-2"));
        Some(Self { old, new, work, manager: PackageManager::Dpkg })
    }

    fn rpm() -> Option<Self> {
        require("rpmbuild")?;
        let work = tempfile::tempdir().unwrap();
        fs::create_dir_all(work.path().join("root/var/lib/rpm")).unwrap();
        run(Command::new("rpm").arg(format!("--root={}", work.path().join("root").display())).arg("--initdb"));
        let build = |release: &str| {
            let spec = work.path().join(format!("{release}.spec"));
            let text = format!(
                "Name: acme-pump\nVersion: 1.0\nRelease: {release}\nSummary: a pump\nLicense: MIT\nBuildArch: noarch\n\
                 %description\na pump\n%install\nmkdir -p %{{buildroot}}/opt/acme\n\
                 echo -n 1.0-{release} > %{{buildroot}}/opt/acme/version\n%files\n/opt/acme/version\n"
            );
            fs::write(&spec, text).unwrap();
            let top = format!("_topdir {}", work.path().join("rpm").display());
            run(Command::new("rpmbuild").args(["-bb", "--quiet", "-D", &top]).arg(&spec));
            work.path().join(format!("rpm/RPMS/noarch/acme-pump-1.0-{release}.noarch.rpm"))
        };
        let (old, new) = (build("1"), build("2"));
        Some(Self { old, new, work, manager: PackageManager::Rpm })
    }

    fn handle(&self) -> DeviceHandle {
        let transport = format!("{{ kind: local, root: '{}', shell: sh }}", self.work.path().join("root").display());
        handle(self.work.path(), LINUX, &transport)
    }

    fn variant(&self, path: &Path, version: &str, replaces: Option<&str>) -> Variant {
        let installer = Installer::LinuxPackage {
            manager: self.manager,
            name: "acme-pump".into(),
            version: version.into(),
            replaces: replaces.map(str::to_owned),
        };
        let previous = replaces.map(|_| payload(&self.old));
        Variant { previous, ..variant(path, installer, LINUX) }
    }

    fn version(&self) -> Option<String> {
        fs::read_to_string(self.work.path().join("root/opt/acme/version")).ok()
    }

    async fn life(&self) {
        let handle = self.handle();
        let first = self.variant(&self.old, "1.0-1", None);
        let (ran, came) = installed(&handle, "a", &self.old, &first).await;
        assert_eq!((ran.exit_code, came), (0, Outcome::Installed), "{}", ran.output);
        assert_eq!(self.version().as_deref(), Some("1.0-1"));

        let second = self.variant(&self.new, "1.0-2", Some("1.0-1"));
        assert_eq!(handle.detected("b", &second).await, Detected::Absent, "another version is there");
        let (ran, came) = installed(&handle, "b", &self.new, &second).await;
        assert_eq!((ran.exit_code, came), (0, Outcome::Installed), "{}", ran.output);
        assert_eq!(self.version().as_deref(), Some("1.0-2"));
        // It is as it was.
        let ran = uninstalled(&handle, "c", Some(&self.old), &second).await;
        assert_eq!((ran.exit_code, self.version().as_deref()), (0, Some("1.0-1")), "{}", ran.output);
        assert_eq!(handle.detected("c", &second).await, Detected::Absent);
        assert!(is_present(&handle.detected("c", &first).await));

        // What it could not put back it does not replace.
        let stranger = self.variant(&self.new, "1.0-2", Some("0.9-1"));
        let (ran, came) = installed(&handle, "d", &self.new, &stranger).await;
        assert_eq!((ran.exit_code, ran.class), (93, ExitClass::AlreadyInstalled), "{}", ran.output);
        assert!(matches!(came, Outcome::Failed { code: "other_version_installed", .. }), "{came:?}");
        assert_eq!(self.version().as_deref(), Some("1.0-1"));

        let ran = uninstalled(&handle, "e", None, &first).await;
        assert_eq!((ran.exit_code, self.version()), (0, None), "{}", ran.output);
        assert_eq!(handle.detected("e", &first).await, Detected::Absent);
    }
}

fn payload(path: &Path) -> Payload {
    variant(path, Installer::Cab { package: NAME.into() }, LINUX).payload
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debian_package_is_replaced_and_put_back() {
    let Some(linux) = Linux::dpkg() else { return };
    linux.life().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_rpm_is_replaced_and_put_back() {
    let Some(linux) = Linux::rpm() else { return };
    linux.life().await;
}
