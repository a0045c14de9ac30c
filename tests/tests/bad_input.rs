//! Bad input: each has a clear error, an exit code, a way out, and costs nothing that was there before.

use std::{fs, time::Instant};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType, date_time_ymd};
use wardround_tests::{
    free_port, listener,
    world::{Blueprint, PASSPHRASE, Process, Ran, World, plan, wait},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wardround-under-test");
const KB: &str = "KB4500331";

#[test]
fn a_plan_with_mistakes_names_the_line_and_the_way_out() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "canary").device("b", "full"));
    world.patch(KB, 0);
    let good = plan::two_waves("1s", "{ per_site: 1 }", "wave");

    let unknown = good.replace("rollback:", "rolback: { scope: site }\nrollback:");
    let ran = world.draft("r1", KB, &unknown);
    ran.fails(1, "rolback", "rollback");
    assert!(ran.err.contains("plan.yaml:4"), "the line: {}", ran.err);

    let percent = good.replacen("select: { labels: { ring: canary } }", "select: { percent: 101% }", 1);
    let ran = world.draft("r1", KB, &percent);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("101") && ran.err.contains("100") && ran.err.contains("hint: "), "{}", ran.err);

    let nothing = good.replacen("ring: canary", "ring: platinum", 1);
    let ran = world.draft("r1", KB, &nothing);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("canary") && ran.err.contains("hint: "), "{}", ran.err);

    world.draft("r1", "KB0000000", &good).fails(4, "KB0000000", "");
    // None of them left anything behind: the id is free.
    world.draft("r1", KB, &good).ok();
    world.draft("r1", KB, &good).fails(3, "exists", "");
}

#[test]
fn both_roles_sign_and_they_are_two_people() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "canary").device("b", "full"));
    let good = plan::two_waves("300ms", "{ per_site: 1 }", "wave");
    world.import(KB, 0);

    // Dora's key would do for both roles; the ceremony gave it one, since nobody may hold both.
    world.run_as("dora", &["patch", "sign", KB, "--yes"]).ok();
    let shown = world.run(&["patch", "show", KB, "--output", "json"]).ok().json();
    assert_eq!(shown["ready"], false, "{shown}");
    world.draft("r1", KB, &good).fails(3, KB, "");

    // Two people of one role are not both roles.
    world.run_as("ann", &["patch", "sign", KB, "--yes"]).ok();
    world.draft("r1", KB, &good).fails(3, KB, "");
    world.run_as("ben", &["patch", "sign", KB, "--yes"]).ok();
    world.draft("r1", KB, &good).ok();
    world
        .run_as("ann", &["rollout", "start", "r1"])
        .ends(3, "it is draft; release and clinical must both sign it first");
    world.run_as("dora", &["rollout", "sign", "r1", "--yes"]).ok();
    world
        .run_as("ann", &["rollout", "start", "r1"])
        .ends(3, "it is draft; release and clinical must both sign it first");
    // Cy is on call: neither of the two.
    assert_ne!(world.run_as("cy", &["rollout", "sign", "r1", "--yes"]).code, Some(0));
    world.run_as("ann", &["rollout", "sign", "r1", "--yes"]).ok();
    assert_eq!(world.state("r1"), "draft");
    world.run_as("ben", &["rollout", "sign", "r1", "--yes"]).ok();
    assert_eq!(world.state("r1"), "signed");
    // Ben may approve and halt, but a start is the release manager's.
    world.run_as("ben", &["rollout", "start", "r1"]).fails(3, "release", "");
    assert!(world.device("rx1/a").untouched());
    world.run_as("ann", &["rollout", "start", "r1"]).ok();
    world.wait_state(40, "r1", "completed");
}

#[test]
fn a_short_passphrase_makes_no_key() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let out = dir.path().join("short.key").display().to_string();
    let args = ["key", "create", "--holder", "Eve", "--role", "release", "--out", &out];
    Ran::run(PROGRAM.as_ref(), &home, &args, "too short").fails(3, "too short", "");
    assert!(!dir.path().join("short.key").exists());
}

#[test]
fn a_wrong_passphrase_signs_nothing() {
    let world = World::new(PROGRAM);
    world.import(KB, 0);
    let key = world.key("ann");
    let sign = ["patch", "sign", KB, "--yes", "--key", &key];
    world.run_with_passphrase("wrong horse battery staple", &sign).fails(3, "passphrase does not open", "");
    let shown = world.run(&["patch", "show", KB, "--output", "json"]).ok().json();
    assert_eq!(shown["signed_roles"], serde_json::json!([]), "{shown}");
    world.run(&sign).ok();
}

#[test]
fn a_token_works_once_and_only_here() {
    let world = World::new(PROGRAM);
    let token = world.token("rx1");
    let url = format!("https://127.0.0.1:{}", world.port());
    let enrol = |token: &str, state: &str| {
        let state = world.dir().join(state).display().to_string();
        world.run(&["node", "enrol", "--controller", &url, "--token", token, "--state", &state])
    };
    enrol(&token, "first").ok();
    enrol(&token, "second").fails(3, "was used", "wardround site token rx1");
    assert!(!world.dir().join("second").join("identity.json").exists());
    // A token of another controller pins another CA: the node does not even say its secret.
    let other = World::new(PROGRAM);
    let ran = enrol(&other.token("rx1"), "third");
    ran.fails(3, "does not match the token", "");
    enrol("not.a-token", "fourth").fails(1, "not an enrolment token", "wardround site token");
    // The first identity is not overwritten by a second enrolment into its folder.
    enrol(&world.token("rx1"), "first").fails(3, "identity of site rx1 already", "");
}

#[test]
fn an_expired_certificate_is_named_as_such() {
    let world = World::new(PROGRAM);
    let read = |path: &str| fs::read_to_string(world.home().join(path)).unwrap();
    let ca_key = KeyPair::from_pem(&read("controller/ca.key")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("operator/ca.pem"), ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(2025, 1, 1);
    params.subject_alt_names = vec![SanType::URI("wardround:operator/operator".try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, &issuer).unwrap();

    let home = world.dir().join("late");
    fs::create_dir_all(home.join("operator")).unwrap();
    for name in ["ca.pem", "profile.json"] {
        fs::copy(world.home().join("operator").join(name), home.join("operator").join(name)).unwrap();
    }
    fs::write(home.join("operator/cert.pem"), certificate.pem()).unwrap();
    fs::write(home.join("operator/key.pem"), key.serialize_pem()).unwrap();
    let ran = Ran::run(world.program(), &home, &["site", "list"], PASSPHRASE);
    ran.fails(3, "expired on 2025-01-01", "new profile");
    world.run(&["site", "list"]).ok();
}

#[test]
fn an_unreachable_controller_costs_seconds_not_minutes() {
    let mut world = World::new(PROGRAM);
    world.controller().kill9();
    let begun = Instant::now();
    world.run(&["rollout", "list"]).fails(5, "", "is the controller running");
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
    // A program that listens but says nothing is no better.
    let listener = listener();
    let port = listener.local_addr().unwrap().port();
    let profile = world.home().join("operator/profile.json");
    let text = fs::read_to_string(&profile).unwrap().replace(&world.port().to_string(), &port.to_string());
    fs::write(&profile, text).unwrap();
    world.run(&["rollout", "list"]).fails(5, "", "");
    drop(listener);
}

#[test]
fn two_controllers_never_share_their_data() {
    let mut world = World::new(PROGRAM);
    let home = world.home().display().to_string();
    let listen = format!("127.0.0.1:{}", free_port());
    let args = ["--home", &home, "controller", "run", "--listen", &listen];
    let log = world.dir().join("second.log");
    let mut second = Process::start("second controller", world.program(), args, &[], &log);
    let status = wait(60, "the second controller to give up", || second.ended());
    assert_eq!(status.code(), Some(1), "{}", second.log());
    let said = second.log();
    assert!(said.contains("error: ") && said.contains("another") && said.contains("hint: "), "{said}");
    assert!(world.controller().ended().is_none(), "the first goes on");
    world.run(&["site", "list"]).ok();
}
