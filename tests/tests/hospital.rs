//! A night in two hospitals on one machine: every machine in a network of its own, legacy Windows on Wine behind real sshds, an
//! archive whose halves are Orthanc and storescp, a laboratory's HL7 receiver, real packages, and a line that is cut. Beside it, at the
//! same time, the days after such a night in a third one: `drift`. Both mostly wait for devices.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test: a failure is a panic that names the line")]

#[path = "hospital/drift.rs"]
mod drift;
#[path = "hospital/estate.rs"]
mod estate;
#[path = "hospital/tale.rs"]
mod tale;

use std::{
    fmt::Write as _,
    fs,
    io::Read as _,
    net::TcpStream,
    path::{Path, PathBuf},
};

use estate::{CENTRE, Estate};
use wardround_proto::v1::Deployment;
use wardround_tests::{
    rig::{Msi, ORTHANC_PORT, WineVersion},
    world::{Pace, World, wait_until},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wardround-under-test");
const GOOD: (&str, &str) = ("KB4500331", "spring-1");
const BAD: (&str, &str) = ("KB4500332", "spring-2");

/// `soaks`: of canary, pilot and full.
fn plan(soaks: [&str; 3], grace: &str) -> String {
    let [canary, pilot, full] = soaks;
    format!(
        "name: night\nlimits: {{ per_site: 2 }}\nhealth: {{ interval: 500ms, failures: 2, grace: {grace} }}\n\
         rollback: {{ scope: wave }}\n\
         timing: {{ install_timeout: 2m, reboot_timeout: 1m, unknown_after: 10s, retry_after: 1s, defer_max: 10m }}\nwaves:\n  \
         - name: canary\n    select: {{ labels: {{ ring: canary }} }}\n    soak: {canary}\n  \
         - name: pilot\n    select: {{ labels: {{ ring: pilot }} }}\n    soak: {pilot}\n  \
         - name: full\n    select: {{ remaining: true }}\n    soak: {full}\n"
    )
}

fn manifest(dir: &Path, id: &str, msi: &Msi, reboot: &str) -> PathBuf {
    let versions = [WineVersion::XpX64, WineVersion::Server2003, WineVersion::Seven];
    let text = format!(
        "id: {id}\ntitle: {} for the imaging department\nseverity: critical\nvariants:\n  - id: x64\n    platforms: {}\n    \
         payload: {{ file: {} }}\n    reboot: {reboot}\n    \
         installer: {{ technology: msi, product_code: \"{}\", display_version: \"{}\" }}\n",
        msi.name,
        serde_json::to_string(&versions.map(WineVersion::platform)).unwrap(),
        msi.path.file_name().unwrap().display(),
        msi.product_code,
        msi.version,
    );
    let file = dir.join(format!("{id}.yaml"));
    fs::write(&file, text).unwrap();
    file
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Which devices have a package.
fn with(estate: &Estate, package: &Msi) -> Vec<String> {
    estate.machines.iter().filter(|machine| machine.has(package)).map(|machine| machine.id.clone()).collect()
}

/// The licence service says its name where Orthanc listened.
fn port_is_taken(estate: &Estate) -> bool {
    let said = estate.machine("rx2/pacs-1").network.inside(|| {
        let mut stream = TcpStream::connect(("127.0.0.1", ORTHANC_PORT))?;
        let mut said = String::new();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(1)))?;
        stream.read_to_string(&mut said).map(|_| said)
    });
    said.is_ok_and(|said| said.starts_with("LICENCE"))
}

#[test]
fn an_archive_dies_of_a_package_while_its_hospital_is_cut_off() {
    let Some(estate) = Estate::build() else { return };
    let packages = tempfile::tempdir().unwrap();
    let Some(good) = Msi::build(packages.path(), "ViewerUpdate", 4_500_331, "2.1.0") else { return };
    let Some(bad) = Msi::build_bad(packages.path(), "LicenceService", 4_500_332, "1.0.0") else { return };
    let told = estate.centre.inside(|| night(&estate, packages.path(), &good, &bad));
    insta::assert_snapshot!("night", told);
}

fn night(estate: &Estate, packages: &Path, good: &Msi, bad: &Msi) -> String {
    let begin = now_ms();
    let pace = Pace { check_in_every: "500ms", silence_after: "10s" };
    let mut world = World::at(CENTRE, PROGRAM, pace, |_| {});
    for site in ["rx1", "rx2"] {
        let (file, devices) = (estate.site_file(site), estate.of(site).count());
        estate.hospital(site).inside(|| world.add_declared_site(site, &file, devices));
    }
    let all: Vec<String> = estate.machines.iter().map(|machine| machine.id.clone()).collect();
    let pacs = estate.machine("rx2/pacs-1");

    // A good package goes through three waves.
    world.patch_by(GOOD.0, &manifest(packages, GOOD.0, good, "when_asked"));
    world.start(GOOD.1, GOOD.0, &plan(["1s", "1s", "1s"], "0s"));
    world.wait_state(300, GOOD.1, "completed");
    assert_eq!(with(estate, good), all);

    // The bad one is on the canary, and on two devices of the pilot. Somebody is working at pacs-1, and so pacs-2 waits as well.
    fs::write(pacs.mark("reading"), "").unwrap();
    fs::write(pacs.mark("slow"), "").unwrap();
    world.patch_by(BAD.0, &manifest(packages, BAD.0, bad, "always"));
    let evening = now_ms();
    world.start(BAD.1, BAD.0, &plan(["2s", "10m", "2s"], "1s"));
    for device in ["rx1/us-1", "rx2/ws-1"] {
        world.wait_deployment(240, BAD.1, device, &["soaking"]);
    }
    world.wait_deployment(120, BAD.1, "rx2/pacs-1", &["deferred"]);
    assert_eq!(with(estate, bad), ["rx1/ct-1", "rx1/us-1", "rx2/ws-1"]);
    assert!(estate.answers("rx2", "archive") && !port_is_taken(estate));

    // pacs-1 is free, gets it, and restarts with it: the service is up before Orthanc is. The line of rx2 is cut right then.
    fs::remove_file(pacs.mark("reading")).unwrap();
    wait_until(120, "pacs-1 to restart", || pacs.mark("down").exists());
    estate.cut("rx2");
    let cut = now_ms();
    wait_until(60, "the port to be taken", || port_is_taken(estate));
    fs::remove_file(pacs.mark("slow")).unwrap();

    // Alone, rx2 takes it back, on both of its devices, to the end; nobody else knows.
    let here = ["rx2/pacs-1", "rx2/ws-1"];
    for id in here {
        wait_until(180, &format!("the rollback of {id}"), || estate.machine(id).is_done_with(BAD.1));
    }
    wait_until(60, "Orthanc to be back", || estate.answers("rx2", "archive"));
    for id in here {
        world.wait_deployment(60, BAD.1, id, &["unknown"]);
    }
    assert_eq!(with(estate, bad), ["rx1/ct-1", "rx1/us-1"]);
    let in_the_dark = world.api.deployments(BAD.1).unwrap();
    let mended = now_ms();
    estate.mend("rx2");

    // The line is back: the rest of the wave is taken back, and nothing else.
    world.wait_wave(240, BAD.1, "pilot", "rolled_back");
    world.wait_check_ins("rx1", 3);
    world.wait_check_ins("rx2", 3);
    assert_eq!(with(estate, bad), ["rx1/ct-1"]);
    assert_eq!(with(estate, good), all);
    let systems = [("rx1", "lis"), ("rx2", "archive"), ("rx2", "mirror")];
    assert!(systems.iter().all(|(site, system)| estate.answers(site, system)));
    assert!(!port_is_taken(estate));

    let records = world.api.records().unwrap();
    let [first, second] = [GOOD.1, BAD.1].map(|rollout| world.api.deployments(rollout).unwrap());
    let alarms: Vec<_> = ["rx1", "rx2"].iter().flat_map(|site| world.alarms(site)).collect();
    world.controller().stop();
    let said = tale::reports(&world.home().join("controller/journal"));
    println!("{}cut {} mended {} end {} ms", tale::diary(&said, begin), cut - begin, mended - begin, now_ms() - begin);
    for rollout in [GOOD.1, BAD.1] {
        let hands = ["rx2/pacs-1", "rx2/pacs-2"].map(|half| tale::in_hand(&said, rollout, half));
        let [one, Some(other)] = hands else { continue };
        let one = one.unwrap();
        assert!(one.1 <= other.0 || other.1 <= one.0, "{rollout}: both halves of the archive are in hand at once");
    }

    let of = |rollout: &str| records.iter().filter(|record| record.rollout == rollout).cloned().collect::<Vec<_>>();
    let states = |deployments: &[Deployment]| {
        deployments.iter().fold(String::new(), |text, d| format!("{text}  {:<10} {}\n", d.device, d.state))
    };
    let mut text = String::from("A good package goes round.\n");
    text += &tale::of_rollout(&of(GOOD.1), &said, &first, None);
    text += "\nA bad one takes the port of Orthanc. In brackets: while the line of rx2 is cut.\n";
    text += &tale::of_rollout(&of(BAD.1), &said, &second, Some((cut, mended)));
    text += "\nWhat the controller shows just before the line is mended.\n";
    text += &states(&in_the_dark);
    text += "\nWhat the nodes say of their clinical systems in the night of the bad one.\n";
    for line in ["rx1", "rx2"].iter().flat_map(|site| tale::health(&said, site, evening)) {
        writeln!(text, "  {line}").unwrap();
    }
    text += "\nThe alarms.\n";
    // On a busy machine everything takes longer than people would expect; that is no part of the story.
    for (code, line) in alarms.iter().filter(|(code, _)| code != "overdue") {
        writeln!(text, "  {code}: {line}").unwrap();
    }
    text += "\nIn the morning.\n";
    text += &states(&second);
    text
}
