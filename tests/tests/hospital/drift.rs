//! Inventory and drift with real parts: Windows Installer on Wine, one device behind a real sshd, and hands that change what a
//! rollout has brought.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use serde_json::Value;
use wardround_tests::{
    rig::{Msi, SshDevice, SshOptions, WineDevice, WineVersion},
    world::{World, wait_until},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wardround-under-test");
/// A look is some fifty programs on Wine; on a machine that does much else they take half a minute. Seconds.
const LOOKS: u64 = 240;
const PATCH: &str = "KB4500331";
const SITE: &str = "rx1";
const XP: &str = "rx1/ct-1";
const SERVER: &str = "rx1/pacs-1";
/// Of the file below, as Wine's own library says it.
const VERSION: &str = "5.1.2600.2180";
const FILE: &str = r"C:\Program Files\ViewerUpdate\driver.dll";

struct Hospital {
    xp: WineDevice,
    server: WineDevice,
    ssh: SshDevice,
    msi: PathBuf,
    product: String,
}

impl Hospital {
    /// `None` where a peer is missing.
    fn build(dir: &Path) -> Option<Self> {
        let xp = WineDevice::create(WineVersion::XpX64)?;
        let server = WineDevice::create(WineVersion::Server2003)?;
        let ssh = SshDevice::windows(&server, SshOptions::default())?;
        wardround_tests::rig::require("wixl")?;
        // A file that has a version.
        fs::copy(xp.file("windows/system32/version.dll"), dir.join("driver.dll")).unwrap();
        let msi = dir.join("ViewerUpdate.msi");
        let product = Msi::pack(dir, &msi, ("ViewerUpdate", 4_500_331, "2.1.0"), "driver.dll");
        Some(Self { xp, server, ssh, msi, product: format!("{{{product}}}") })
    }

    /// The server is declared with another service pack than it has.
    fn site_file(&self, server: &str) -> String {
        format!(
            "site: {SITE}\ntime_zone: Europe/London\ninventory: {{ interval: 5s }}\ndevices:\n  - name: ct-1\n    platform: \"{}\"\n    \
             transport: {{ kind: local, root: '{}', shell: wine }}\n  - name: pacs-1\n    platform: \"{server}\"\n    transport: {}\n",
            WineVersion::XpX64.platform(),
            self.xp.root().display(),
            self.ssh.transport()
        )
    }

    fn manifest(&self, world: &World) -> PathBuf {
        let folder = world.dir().join("packages");
        fs::create_dir_all(&folder).unwrap();
        fs::copy(&self.msi, folder.join("ViewerUpdate.msi")).unwrap();
        let text = format!(
            "id: {PATCH}\ntitle: the viewer\nseverity: critical\nvariants:\n  - id: x64\n    platforms: [\"{}\", \"{}\"]\n    \
             payload: {{ file: ViewerUpdate.msi }}\n    installer: {{ technology: msi, product_code: \"{}\", display_version: \"2.1.0\" }}\n    \
             detection: {{ files: [{{ path: '{FILE}', version: {VERSION} }}] }}\n",
            WineVersion::XpX64.platform(),
            WineVersion::Server2003.platform(),
            self.product,
        );
        let file = folder.join("patch.yaml");
        fs::write(&file, text).unwrap();
        file
    }

    fn run_msiexec(&self, device: &WineDevice, args: &[&str]) {
        let ran = device.run(&[&["msiexec"], args].concat());
        assert!(ran.status.success(), "msiexec {args:?}: {:?}", ran.status);
    }
}

const PLAN: &str = "name: all\nlimits: { per_site: 2 }\n\
     timing: { install_timeout: 2m, reboot_timeout: 1m, retry_after: 1s, defer_max: 5m }\nwaves:\n  \
     - name: all\n    select: { remaining: true }\n    soak: 1s\n";

fn device(world: &World, id: &str) -> Value {
    world.run(&["device", "show", id, "--output", "json"]).ok().json()
}

/// Kinds of drift that stand, with their sentences.
fn drift(world: &World, id: &str) -> Vec<(String, String)> {
    let told = world.run(&["device", "list", "--drift", "--output", "json"]).ok().json();
    let of = |one: &Value| {
        let text = |name: &str| one[name].as_str().unwrap().to_owned();
        (text("kind"), text("text"))
    };
    let ours = told.as_array().unwrap().iter().filter(|one| one["id"] == id);
    ours.flat_map(|one| one["drift"].as_array().unwrap().iter().map(of).collect::<Vec<_>>()).collect()
}

fn wait_drift(world: &World, id: &str, kinds: &[&str]) {
    wait_until(LOOKS, &format!("{id} to drift by {kinds:?}"), || {
        let found = drift(world, id);
        found.len() == kinds.len() && kinds.iter().all(|kind| found.iter().any(|(known, _)| known == kind))
    });
}

fn alarms(world: &World, code: &str, word: &str) -> usize {
    world.alarms(SITE).iter().filter(|(known, text)| known == code && text.contains(word)).count()
}

/// Another look at each, and what it found is told.
fn wait_looked(world: &World, ids: &[&str]) {
    let at = |id: &&str| device(world, id)["inventory"]["collected_at"].as_str().map(str::to_owned);
    let before: Vec<_> = ids.iter().map(at).collect();
    wait_until(LOOKS, &format!("another look at {ids:?}"), || {
        ids.iter().map(at).zip(&before).all(|(now, was)| now != *was)
    });
}

#[test]
fn what_hands_change_is_told_until_it_is_undone() {
    let mut world = World::new(PROGRAM);
    let Some(hospital) = Hospital::build(world.dir()) else { return };
    let other = WineVersion::Server2003.platform().replace(":sp2:", ":sp1:");
    world.add_declared_site(SITE, &hospital.site_file(&other), 2);

    // What each is made of arrives, as CPE 2.3.
    for (id, platform, transport) in [
        (XP, "cpe:2.3:o:microsoft:windows_xp:-:sp2:*:en-us:*:*:x64:*", "local wine"),
        (SERVER, "cpe:2.3:o:microsoft:windows_server_2003:-:sp2:*:en-us:*:*:x64:*", "ssh"),
    ] {
        wait_until(LOOKS, &format!("the inventory of {id}"), || {
            device(&world, id)["inventory"]["collected_at"].is_string()
        });
        let told = device(&world, id)["inventory"].clone();
        assert_eq!(told["platform"], platform, "{told}");
        assert_eq!((&told["nt_version"], &told["transport"]), (&"5.2".into(), &transport.into()), "{told}");
        assert_eq!(told["products_told"], true, "{told}");
        assert!(told["update_sources"].as_array().unwrap().contains(&"hotfix_key".into()), "{told}");
        assert!(told["memory_bytes"].as_u64().unwrap() > 0 && !told["disks"].as_array().unwrap().is_empty(), "{told}");
        assert!(told["boot_time"].is_string() && told["logged_on"].is_boolean(), "{told}");
        assert!(
            !told.to_string().contains(&std::env::var("USER").unwrap_or("root".into()).to_lowercase()),
            "no names: {told}"
        );
    }
    let people = world.run(&["device", "show", XP]).ok().out;
    assert!(people.contains("windows_xp") && people.contains("NT 5.2"), "{people}");

    // It is not what the site file declares; declared rightly it is.
    wait_drift(&world, SERVER, &["platform_differs"]);
    wait_until(LOOKS, "the alarm", || alarms(&world, "drift", "sp2") == 1);
    let file = world.site(SITE).file().to_owned();
    fs::write(&file, hospital.site_file(WineVersion::Server2003.platform())).unwrap();
    wait_drift(&world, SERVER, &[]);

    // What a rollout brings is no drift.
    world.patch_by(PATCH, &hospital.manifest(&world));
    world.start("r1", PATCH, PLAN);
    world.wait_state(300, "r1", "completed");
    for id in [XP, SERVER] {
        wait_until(LOOKS, &format!("the product of {id}"), || {
            let told = device(&world, id);
            told["inventory"]["products"]
                .as_array()
                .is_some_and(|all| all.iter().any(|p| p["code"] == *hospital.product))
        });
    }
    wait_looked(&world, &[XP, SERVER]);
    assert_eq!((drift(&world, XP), drift(&world, SERVER)), (vec![], vec![]));

    // Somebody takes it off by hand, through no controller of ours.
    hospital.run_msiexec(&hospital.xp, &["/x", &hospital.product, "/qn"]);
    wait_drift(&world, XP, &["update_gone", "file_changed"]);
    wait_until(LOOKS, "the alarm", || alarms(&world, "drift", PATCH) == 1);
    assert_eq!(drift(&world, SERVER), [], "the other is as it was");
    assert!(
        hospital
            .xp
            .registry(
                &format!(r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall\{}", hospital.product),
                "DisplayVersion"
            )
            .is_none(),
        "nothing is put back by itself"
    );

    // The node dies and comes back: it still knows what it saw, and says nothing twice.
    world.site_mut(SITE).node().kill9();
    world.start_node(SITE);
    wait_looked(&world, &[XP]);
    wait_drift(&world, XP, &["update_gone", "file_changed"]);
    assert_eq!(alarms(&world, "drift", PATCH), 1, "{:?}", world.alarms(SITE));

    // Put back, it is over.
    let package = hospital.xp.file("package.msi");
    fs::copy(&hospital.msi, &package).unwrap();
    hospital.run_msiexec(&hospital.xp, &["/i", r"C:\package.msi", "/qn"]);
    wait_drift(&world, XP, &[]);
    wait_until(LOOKS, "the alarm to end", || alarms(&world, "drift_ended", PATCH) == 1);

    // A patched file changes: behind sshd too.
    let patched = hospital.server.file("Program Files/ViewerUpdate/driver.dll");
    let before = fs::read(&patched).unwrap();
    fs::OpenOptions::new().append(true).open(&patched).unwrap().write_all(b"not the vendor's").unwrap();
    wait_drift(&world, SERVER, &["file_changed"]);
    assert!(drift(&world, SERVER)[0].1.contains("bytes"), "{:?}", drift(&world, SERVER));
    fs::write(&patched, before).unwrap();
    wait_drift(&world, SERVER, &[]);

    // What nobody ordered appears, until a person at the node accepts it.
    let hotfix = r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\HotFix\KB999999";
    assert!(
        hospital
            .xp
            .run(&["reg", "add", hotfix, "/v", "Installed", "/t", "REG_DWORD", "/d", "1", "/f"])
            .status
            .success()
    );
    wait_drift(&world, XP, &["update_appeared"]);
    let state = world.site(SITE).state().display().to_string();
    let file = file.display().to_string();
    let asked = ["node", "inventory", "--state", &state, "--site", &file, "ct-1"];
    let told = world.run(&[&asked[..], &["--output", "json"]].concat()).ok().json();
    assert_eq!(told[0]["inventory"]["drift"][0]["subject"], "KB999999", "{told}");
    world.run(&[&asked[..], &["--accept"]].concat()).ok();
    wait_drift(&world, XP, &[]);

    // Silence is no drift: nothing is known of a device that is switched off.
    let root = hospital.xp.root().to_owned();
    let away = root.with_extension("away");
    fs::rename(&root, &away).unwrap();
    wait_until(LOOKS, "a look in vain", || device(&world, XP)["inventory"]["missed_at"].is_string());
    assert_eq!(drift(&world, XP), []);
    fs::rename(&away, &root).unwrap();
    wait_until(LOOKS, "the device to be back", || device(&world, XP)["inventory"]["missed_at"].is_null());

    // What a rollout takes back itself is no drift.
    world.run_by(&["cy", "ben"], &["rollout", "rollback", "r1", "--all", "--reason", "drill", "--yes"]).ok();
    world.wait_state(300, "r1", "rolled_back");
    // The first may have begun before that.
    for _ in 0..2 {
        wait_looked(&world, &[XP, SERVER]);
    }
    assert_eq!((drift(&world, XP), drift(&world, SERVER)), (vec![], vec![]));
}
