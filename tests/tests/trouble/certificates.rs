//! A node's certificate: renewed before it ends, and refused by name when it has ended.
#![expect(clippy::unwrap_used, reason = "a test: a failure is a panic that names the line")]

use std::{fs, time::Duration};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType, date_time_ymd};
use wardround_tests::world::{Blueprint, Ran, World, plan, wait_until};

use crate::PROGRAM;
const DAY: u64 = 24 * 60 * 60;

/// What the controller's CA would have given to this node: `age` days ago, with `left` days to go.
fn certificate(world: &World, key_pem: &str, age: u64, left: i64) -> String {
    certificate_in_seconds(world, key_pem, age * DAY, left * 24 * 60 * 60)
}

fn certificate_in_seconds(world: &World, key_pem: &str, age: u64, left: i64) -> String {
    let read = |path: &str| fs::read_to_string(world.home().join(path)).unwrap();
    let ca_key = KeyPair::from_pem(&read("controller/ca.key")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("operator/ca.pem"), ca_key).unwrap();
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap();
    let at = |seconds: u64| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    let mut params = CertificateParams::default();
    params.not_before = at(now - age);
    params.not_after = at(now.checked_add_signed(left).unwrap());
    params.subject_alt_names = vec![SanType::URI("wardround://node/rx1".try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.signed_by(&KeyPair::from_pem(key_pem).unwrap(), &issuer).unwrap().pem()
}

#[test]
fn a_node_renews_its_certificate_and_goes_on_with_it() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "canary"));
    let identity = world.site("rx1").state().join("identity");
    let enrolled = fs::read_to_string(identity.join("cert.pem")).unwrap();
    assert!(world.site_mut("rx1").node().stop().success());

    // Nine days are left of thirty: it is time.
    let key = fs::read_to_string(identity.join("key.pem")).unwrap();
    let old = certificate(&world, &key, 21, 9);
    fs::write(identity.join("cert.pem"), &old).unwrap();
    world.start_node("rx1");
    wait_until(60, "a fresh certificate", || {
        let present = fs::read_to_string(identity.join("cert.pem")).unwrap();
        present != old && present != enrolled
    });
    assert_eq!(fs::read_to_string(identity.join("key.pem")).unwrap(), key, "the key stays");
    // The file is replaced before the connection is, and the node may be stopped only after both.
    wait_until(60, "the node to say so", || world.site_mut("rx1").node().log().contains("certificate is renewed"));

    // It is a certificate like any other: the node comes back with it, and does not ask for another.
    assert!(world.site_mut("rx1").node().stop().success());
    let renewed = fs::read_to_string(identity.join("cert.pem")).unwrap();
    world.start_node("rx1");
    world.wait_connected("rx1");
    assert_eq!(fs::read_to_string(identity.join("cert.pem")).unwrap(), renewed);
}

const RENEWED: &str = "certificate is renewed";

/// The canary's wave is over, the pilot waits for a person, and in between the node changes its certificate.
#[test]
fn a_renewal_in_the_middle_of_a_rollout_drops_nothing_of_it() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "canary").device("b", "pilot").device("c", "full"));
    world.patch("KB1", 0);
    world.rollout("r1", "KB1", &plan::three_waves("300ms", "{ per_site: 1 }", "wave"));
    let identity = world.site("rx1").state().join("identity");
    let key = fs::read_to_string(identity.join("key.pem")).unwrap();
    let renewals = |world: &mut World| world.site_mut("rx1").node().log().matches(RENEWED).count();
    let mut started = false;
    let mut in_time = false;
    // Long enough that the rollout stands in its middle by then, also on a slow machine.
    for seconds in [15, 60, 240] {
        assert!(world.site_mut("rx1").node().stop().success());
        // Two thirds of 30 days are over in so many seconds.
        let month = certificate_in_seconds(&world, &key, 20 * DAY - seconds, 10 * 24 * 60 * 60 + seconds.cast_signed());
        fs::write(identity.join("cert.pem"), month).unwrap();
        let before = renewals(&mut world);
        world.start_node("rx1");
        world.wait_connected("rx1");
        if !started {
            world.run_as("ann", &["rollout", "start", "r1"]).ok();
            started = true;
        }
        world.wait_wave(120, "r1", "pilot", "awaiting_approval");
        in_time = renewals(&mut world) == before;
        if in_time {
            wait_until(seconds + 60, "the renewal", || renewals(&mut world) > before);
            break;
        }
    }
    assert!(in_time, "the machine is too slow to be between two waves before the renewal");
    assert!(!world.device("rx1/b").installed("KB1"));
    world.run_as("ben", &["rollout", "approve", "r1", "pilot"]).ok();
    world.wait_state(120, "r1", "completed");
    for device in world.devices() {
        assert_eq!((device.installs(), device.uninstalls()), (1, 0), "{}", device.id);
    }
    assert!(world.alarms("rx1").is_empty(), "{:?}", world.alarms("rx1"));
}

#[test]
fn a_revoked_node_hears_why_finishes_alone_and_another_takes_its_place() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "canary").device("b", "full"));
    world.patch("KB1", 0);
    let device = world.device("rx1/a");
    device.close("install");
    world.start("r1", "KB1", &plan::two_waves("300ms", "{ per_site: 1 }", "wave"));
    device.wait_held("install");
    let unasked = world.run(&["site", "revoke", "rx1", "--reason", "stolen"]);
    assert_eq!(unasked.code, Some(7), "{unasked:?}");
    world.run(&["site", "revoke", "rx1", "--reason", "stolen", "--yes"]).ok();
    world.wait_deployment(30, "r1", "rx1/a", &["unknown"]);
    let shown = world.run(&["site", "show", "rx1"]).ok();
    assert!(shown.out.contains("node: none: revoked") && shown.out.contains("stolen"), "{shown:?}");
    wait_until(60, "the node to hear of it", || world.site_mut("rx1").node().log().contains("was revoked on"));
    // What it had begun it finishes by itself, and nothing of it counts.
    device.open("install");
    wait_until(60, "the end of the install", || device.installed("KB1"));
    assert_eq!(world.deployment("r1", "rx1/a").unwrap().state, "unknown");
    assert!(world.device("rx1/b").untouched());
    world.crash_controller();
    let state = world.site("rx1").state().display().to_string();
    assert!(world.site_mut("rx1").node().stop().success());

    fs::remove_dir_all(&state).unwrap();
    world.enrol("rx1");
    world.start_node("rx1");
    world.wait_connected("rx1");
    assert_eq!(world.api.site("rx1").unwrap().site.unwrap().node, "enrolled");
    world.run_as("ann", &["rollout", "cancel", "r1", "--reason", "begun by another node", "--yes"]).ok();
}

#[test]
fn a_node_with_an_expired_certificate_names_the_date_and_the_way_out() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "canary"));
    assert!(world.site_mut("rx1").node().stop().success());
    let site = world.site("rx1");
    let identity = site.state().join("identity");
    let key = fs::read_to_string(identity.join("key.pem")).unwrap();
    let yesterday = || (jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24)).to_string()[..10].to_owned();
    let before = yesterday();
    fs::write(identity.join("cert.pem"), certificate(&world, &key, 31, -1)).unwrap();
    // It may just have become midnight.
    let days = [before, yesterday()].map(|day| format!("certificate expired on {day}"));
    let (state, file) = (site.state().display().to_string(), site.file().display().to_string());
    let ran = Ran::run(PROGRAM.as_ref(), world.dir(), &["node", "run", "--state", &state, "--site", &file], "");
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(days.iter().any(|day| ran.err.contains(day)), "{days:?}: {ran:?}");
    assert!(ran.err.contains("wardround site token"), "{ran:?}");
}
