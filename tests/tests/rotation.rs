//! People's keys change while a site is away: it comes back, follows the chain of roots, and goes by the new people.
#![expect(clippy::unwrap_used, reason = "a test: a failure is a panic that names the line")]

use std::fs;

use wardround_controller::make_online_keys;
use wardround_proto::v1::MetadataState;
use wardround_signing::{
    SecretKey, Signer as _, TrustedKey,
    tuf::{Metadata, Moment, RoleName, Root, Signed, Targets, TufKey, TufKeyId, next_version},
};
use wardround_tests::world::{
    Blueprint, PASSPHRASE, Pace, Ran, World, plan,
    repository::{HOLDERS, key, signed_by},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wardround-under-test");
const YEAR_S: u32 = 365 * 24 * 60 * 60;

fn id(key: &SecretKey) -> TufKeyId {
    TufKey::new(key.public(), None).id()
}

/// The next version of what is published under `name`.
fn next<M: Metadata>(world: &World, role: RoleName, name: &str) -> M {
    let present = Signed::<M>::parse(role, &world.api.metadata(name).unwrap()).unwrap();
    let expires = Moment::from_ms(jiff::Timestamp::now().as_millisecond()).plus_seconds(YEAR_S);
    next_version(present.metadata(), expires)
}

#[test]
fn a_site_that_was_away_follows_new_people_of_every_role() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "canary"));
    world.patch("KB1", 0);
    world.start("r1", "KB1", &plan::one_wave("300ms", "{ per_site: 1 }", "wave"));
    world.wait_state(60, "r1", "completed");
    assert!(world.site_mut("rx1").node().stop().success());

    // Both holders of the root give way, one after the other; then those of targets, and all online keys.
    let [rae, rob] = HOLDERS.map(|(seed, _)| key(seed));
    let [ira, ned, sue] = [211, 212, 213].map(key);
    let submit = |role: &str, bytes: Vec<u8>| world.api.submit(role, bytes).unwrap();
    let mut root: Root = next(&world, RoleName::Root, "1.root.json");
    root.remove_key(RoleName::Root, &id(&rae));
    root.add_key(RoleName::Root, ira.public(), Some("Ira Wolf"));
    assert_eq!(submit("root", signed_by(root, &[&rae, &rob, &ira])).state(), MetadataState::Published);
    let fresh = make_online_keys(&world.home().join("controller")).unwrap();
    let mut root: Root = next(&world, RoleName::Root, "2.root.json");
    root.remove_key(RoleName::Root, &id(&rob));
    root.add_key(RoleName::Root, ned.public(), Some("Ned Kerr"));
    for (role, new) in [(RoleName::Snapshot, fresh.snapshot), (RoleName::Timestamp, fresh.timestamp)] {
        root.keyids(role).to_vec().iter().for_each(|old| root.remove_key(role, old));
        root.add_key(role, new, None);
    }
    assert_eq!(submit("root", signed_by(root, &[&ira, &rob, &ned])).state(), MetadataState::Published);
    let mut root: Root = next(&world, RoleName::Root, "3.root.json");
    for (old, new, holder) in [(&rae, &ira, "Ira Wolf"), (&rob, &sue, "Sue Owen")] {
        root.remove_key(RoleName::Targets, &id(old));
        root.add_key(RoleName::Targets, new.public(), Some(holder));
    }
    assert_eq!(submit("root", signed_by(root, &[&ira, &ned])).state(), MetadataState::Staged);

    // Gil releases instead of Ann and Dora, and signs anew what they had.
    let gil = world.dir().join("gil.key").display().to_string();
    let create = ["key", "create", "--holder", "Gil Park", "--role", "release", "--out", &gil];
    Ran::run(world.program(), world.home(), &create, PASSPHRASE).ok();
    let public: TrustedKey = serde_json::from_slice(&fs::read(world.dir().join("gil.pub.json")).unwrap()).unwrap();
    let secret = SecretKey::from_encrypted_pem(&fs::read_to_string(&gil).unwrap(), PASSPHRASE).unwrap();
    let mut targets: Targets = next(&world, RoleName::Targets, "1.targets.json");
    for role in [RoleName::Release, RoleName::Controller] {
        let old = targets.delegations.as_ref().unwrap().keyids(role).to_vec();
        old.iter().for_each(|old| targets.remove_key(role, old));
    }
    targets.add_key(RoleName::Release, public.key, Some("Gil Park"));
    targets.add_key(RoleName::Controller, fresh.directives, None);
    submit("targets", signed_by(targets, &[&ira, &sue]));
    let listed = (1..).take_while(|n| world.api.metadata(&format!("{n}.release.json")).is_ok()).last().unwrap();
    let release: Targets = next(&world, RoleName::Release, &format!("{listed}.release.json"));
    assert_eq!(submit("release", signed_by(release, &[&secret])).state(), MetadataState::Published);

    // The node comes back and does what Gil and Ben sign, under the new directive key.
    world.start_node("rx1");
    world.wait_connected("rx1");
    world.import("KB2", 0);
    world.run(&["patch", "sign", "KB2", "--yes", "--key", &gil]).ok();
    world.run_as("ben", &["patch", "sign", "KB2", "--yes"]).ok();
    world.draft("r2", "KB2", &plan::one_wave("300ms", "{ per_site: 1 }", "wave")).ok();
    world.run(&["rollout", "sign", "r2", "--yes", "--key", &gil]).ok();
    world.run_as("ben", &["rollout", "sign", "r2", "--yes"]).ok();
    assert_ne!(world.run_as("ann", &["rollout", "start", "r2"]).code, Some(0), "Ann's key counts no longer");
    world.run(&["rollout", "start", "r2", "--key", &gil]).ok();
    world.wait_state(60, "r2", "completed");
    assert!(world.device("rx1/a").installed("KB2"));
    assert_eq!(world.alarms("rx1"), [], "nothing was refused on the way");
}

/// The node has not heard of the new key when the halt comes: it looks for newer metadata before it refuses.
#[test]
fn a_halt_of_somebody_who_got_the_key_a_moment_ago_counts() {
    let mut world = World::with(PROGRAM, Pace { check_in_every: "30s", ..Pace::default() }, |_| {});
    world.add_site(&Blueprint::new("rx1").device("a", "canary"));
    world.patch("KB1", 0);
    world.start("r1", "KB1", &plan::one_wave("1h", "{ per_site: 1 }", "wave"));
    world.wait_deployment(60, "r1", "rx1/a", &["soaking"]);

    let flo = world.dir().join("flo.key").display().to_string();
    let create = ["key", "create", "--holder", "Flo Hart", "--role", "on-call", "--out", &flo];
    Ran::run(world.program(), world.home(), &create, PASSPHRASE).ok();
    let public: TrustedKey = serde_json::from_slice(&fs::read(world.dir().join("flo.pub.json")).unwrap()).unwrap();
    let mut targets: Targets = next(&world, RoleName::Targets, "1.targets.json");
    targets.add_key(RoleName::OnCall, public.key, Some("Flo Hart"));
    let holders = HOLDERS.map(|(seed, _)| key(seed));
    let answer = world.api.submit("targets", signed_by(targets, &holders.each_ref())).unwrap();
    assert_eq!(answer.state(), MetadataState::Published);
    let halt = ["rollout", "halt", "r1", "--reason", "images missing", "--key", &flo, "--output", "json"];
    let halted = world.run(&halt).ok().json();
    assert_eq!(halted["all_connected_confirmed"], true, "{halted}");
    assert_eq!(world.alarms("rx1"), [], "nothing was refused on the way");
}
