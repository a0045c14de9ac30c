//! Two hospitals of legacy Windows: real packages on Wine, one device behind a real sshd, a real DICOM archive.
#![expect(clippy::unwrap_used, reason = "a test: a failure is a panic that names the line")]

use std::path::Path;

use wardround_tests::{
    rig::{Hotfix, Msi, SshDevice, SshOptions, Storescp, WineDevice, WineVersion},
    world::World,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wardround-under-test");
const PATCH: &str = "KB4500331";
const FIX: &str = "KB4012598";

/// Three devices at two sites, and the archive that two of them need.
struct Hospital {
    xp: WineDevice,
    server: WineDevice,
    seven: WineDevice,
    ssh: SshDevice,
    pacs: Storescp,
}

impl Hospital {
    /// `None` where a peer is missing.
    fn build() -> Option<Self> {
        let pacs = Storescp::start()?;
        let xp = WineDevice::create(WineVersion::XpX64)?;
        let server = WineDevice::create(WineVersion::Server2003)?;
        let seven = WineDevice::create(WineVersion::Seven)?;
        let ssh = SshDevice::windows(&server, SshOptions::default())?;
        Some(Self { xp, server, seven, ssh, pacs })
    }

    /// rx1 has the canary, without a clinical system of its own; rx2 has the others and the archive.
    fn open(&self, world: &mut World) {
        let local =
            |device: &WineDevice| format!("{{ kind: local, root: '{}', shell: wine }}", device.root().display());
        let device = |name: &str, version: WineVersion, ring: &str, transport: &str| {
            format!(
                "  - name: {name}\n    platform: \"{}\"\n    labels: {{ ring: {ring} }}\n    transport: {transport}\n",
                version.platform()
            )
        };
        let first = device("ct-1", WineVersion::XpX64, "canary", &local(&self.xp));
        let second = device("pacs-1", WineVersion::Server2003, "pilot", &self.ssh.transport())
            + &device("us-1", WineVersion::Seven, "full", &local(&self.seven));
        let pacs = format!(
            "systems:\n  - name: pacs\n    kind: pacs\n    critical: true\n    devices: [pacs-1]\n    probes:\n      \
             - {{ kind: dicom_echo, host: 127.0.0.1, port: {}, called_ae: PACS, timeout: 2s }}\n",
            self.pacs.port()
        );
        world.add_declared_site("rx1", &format!("site: rx1\ndevices:\n{first}"), 1);
        world.add_declared_site("rx2", &format!("site: rx2\ndevices:\n{second}{pacs}"), 2);
    }
}

fn plan(soak: &str, scope: &str) -> String {
    format!(
        "name: wine\nlimits: {{ per_site: 1 }}\nhealth: {{ interval: 500ms, failures: 2 }}\nrollback: {{ scope: {scope} }}\n\
         timing: {{ install_timeout: 2m, reboot_timeout: 1m, retry_after: 1s, defer_max: 5m }}\nwaves:\n  \
         - name: canary\n    select: {{ labels: {{ ring: canary }} }}\n    soak: 1s\n  \
         - name: pilot\n    select: {{ labels: {{ ring: pilot }} }}\n    soak: {soak}\n  \
         - name: full\n    select: {{ remaining: true }}\n    soak: 1s\n"
    )
}

const ALL: [WineVersion; 3] = [WineVersion::XpX64, WineVersion::Server2003, WineVersion::Seven];

fn manifest(world: &World, id: &str, payload: &Path, installer: &str, versions: &[WineVersion]) -> std::path::PathBuf {
    let folder = world.dir().join("packages");
    std::fs::create_dir_all(&folder).unwrap();
    let name = payload.file_name().unwrap().to_str().unwrap();
    std::fs::copy(payload, folder.join(name)).unwrap();
    let platforms: Vec<&str> = versions.iter().map(|version| version.platform()).collect();
    let text = format!(
        "id: {id}\ntitle: {id} for the imaging department\nseverity: critical\ncves: [CVE-2017-0144]\nvariants:\n  \
         - id: x64\n    platforms: {}\n    payload: {{ file: {name} }}\n    installer: {installer}\n",
        serde_json::to_string(&platforms).unwrap()
    );
    let file = folder.join(format!("{id}.yaml"));
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
fn a_package_goes_through_the_waves_and_comes_back_when_the_archive_dies() {
    let Some(mut hospital) = Hospital::build() else { return };
    let mut world = World::new(PROGRAM);
    let Some(msi) = Msi::build(world.dir(), "ViewerUpdate", 4_500_331, "2.1.0") else { return };
    hospital.open(&mut world);
    let installer =
        format!("{{ technology: msi, product_code: \"{}\", display_version: \"{}\" }}", msi.product_code, msi.version);
    world.patch_by(PATCH, &manifest(&world, PATCH, &msi.path, &installer, &ALL));
    let version = |device: &WineDevice| device.registry(&msi.uninstall_key(), "DisplayVersion");
    assert!([&hospital.xp, &hospital.server, &hospital.seven].iter().all(|d| version(d).is_none()));

    world.start("r1", PATCH, &plan("2m", "rollout"));
    world.wait_wave(120, "r1", "canary", "passed");
    assert_eq!(version(&hospital.xp).as_deref(), Some("2.1.0"));
    world.wait_deployment(120, "r1", "rx2/pacs-1", &["soaking"]);
    assert_eq!(version(&hospital.server).as_deref(), Some("2.1.0"), "through sshd");

    // The archive dies during the soak of the pilot: the plan's scope is the whole rollout.
    hospital.pacs.kill();
    world.wait_state(120, "r1", "rolled_back");
    for (device, name) in [(&hospital.xp, "ct-1"), (&hospital.server, "pacs-1"), (&hospital.seven, "us-1")] {
        assert_eq!(version(device), None, "{name}");
    }
    let pilot = world.deployment("r1", "rx2/pacs-1").unwrap();
    assert!(pilot.reason.contains("pacs"), "{pilot:?}");
    assert_eq!(world.deployment("r1", "rx2/us-1").unwrap().attempt, 0, "the last wave was never offered");
    assert!(world.alarms("rx2").iter().any(|(code, _)| code == "clinical_system"), "{:?}", world.alarms("rx2"));
}

#[test]
fn a_hotfix_that_wants_a_reboot_gets_it() {
    let Some(hospital) = Hospital::build() else { return };
    let Some(hotfix) = Hotfix::build(FIX) else { return };
    let mut world = World::new(PROGRAM);
    hospital.open(&mut world);
    let installer = format!("{{ technology: hotfix, kb: {FIX} }}");
    world.patch_by(FIX, &manifest(&world, FIX, &hotfix.path, &installer, &ALL[..2]));
    // Windows 7 has no packages of this kind: the last wave would be empty.
    let plan = plan("1s", "wave");
    world.start("r1", FIX, plan.split("  - name: full").next().unwrap());
    world.wait_state(240, "r1", "completed");
    let devices = [(&hospital.xp, "rx1/ct-1"), (&hospital.server, "rx2/pacs-1")];
    for (device, id) in devices {
        assert!(device.registry(&hotfix.key(), "Installed").is_some(), "{id}");
        let evidence = world.deployment("r1", id).unwrap().evidence_json;
        assert!(evidence.contains("Present") || evidence.contains("present"), "{evidence}");
    }
    world.run_by(&["cy", "ben"], &["rollout", "rollback", "r1", "--all", "--reason", "drill", "--yes"]).ok();
    world.wait_state(240, "r1", "rolled_back");
    for (device, id) in devices {
        assert!(device.registry(&hotfix.key(), "Installed").is_none(), "{id}");
    }
}
