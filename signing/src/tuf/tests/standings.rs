//! The next version of a role, before it is staged or signed.

use super::*;

fn names(holders: &[KeyHolder]) -> Vec<&str> {
    holders.iter().map(|holder| holder.holder.as_str()).collect()
}

#[test]
fn a_version_is_staged_until_enough_people_have_signed() {
    let world = World::new();
    let mut standing = world.read().unwrap().standing();
    let next = next_version(&world.targets, world.targets.head.expires);
    let mut signed = Signed::new(next).unwrap();
    let none = standing.check(RoleName::Targets, &signed.to_bytes(), NOW).unwrap();
    assert_eq!((none.missing, names(&none.signers).len()), (2, 0));
    signed.sign(&key(4)).unwrap();
    let one = standing.check(RoleName::Targets, &signed.to_bytes(), NOW).unwrap();
    assert_eq!((one.missing, names(&one.signers), names(&one.unsigned)), (1, vec!["Di"], vec!["Ed"]));
    assert!(matches!(
        standing.accept(RoleName::Targets, &signed.to_bytes(), NOW),
        Err(TufError::Signatures { found: 1, threshold: 2, .. })
    ));
    signed.sign(&key(5)).unwrap();
    let both = standing.accept(RoleName::Targets, &signed.to_bytes(), NOW).unwrap();
    assert!(both.is_complete());
    assert_eq!(standing.version(RoleName::Targets), 2);
}

#[test]
fn an_update_says_what_it_changes() {
    let mut world = World::new();
    world.agree("patches/KB1.json", b"p");
    let standing = world.read().unwrap().standing();
    let mut next = next_version(&world.release, world.release.head.expires);
    next.add_target("rollouts/R-1.1.json", b"r", Kind::Rollout).unwrap();
    assert!(next.remove_target("patches/KB1.json"));
    let update = standing.check(RoleName::Release, &world.signed(RoleName::Release, &next), NOW).unwrap();
    assert_eq!(update.changes.added.keys().collect::<Vec<_>>(), ["rollouts/R-1.1.json"]);
    assert_eq!(update.changes.removed.keys().collect::<Vec<_>>(), ["patches/KB1.json"]);
    let mut next = next_version(&world.root, world.root.head.expires);
    next.remove_key(RoleName::Root, &TufKey::new(public(3), None).id());
    next.add_key(RoleName::Root, public(30), Some("Ira"));
    let update = standing.check(RoleName::Root, &world.signed(RoleName::Root, &next), NOW).unwrap();
    assert!(update.is_complete());
    let shown =
        |keys: &[(RoleName, KeyHolder)]| keys.iter().map(|(r, k)| format!("{r} {}", k.holder)).collect::<Vec<_>>();
    assert_eq!(shown(&update.changes.keys_added), ["root Ira"]);
    assert_eq!(shown(&update.changes.keys_removed), ["root Cy"]);
}

#[test]
fn a_signed_document_never_changes_and_versions_never_jump() {
    let mut world = World::new();
    world.agree("patches/KB1.json", b"p");
    let standing = world.read().unwrap().standing();
    let mut next = next_version(&world.release, world.release.head.expires);
    next.add_target("patches/KB1.json", b"another", Kind::Patch).unwrap();
    let error = standing.check(RoleName::Release, &world.signed(RoleName::Release, &next), NOW).unwrap_err();
    assert!(matches!(error, TufError::Changed { .. }), "{error}");
    for version in [1, 2, 4] {
        let mut next = world.release.clone();
        next.head.version = version;
        let error = standing.check(RoleName::Release, &world.signed(RoleName::Release, &next), NOW).unwrap_err();
        assert_eq!(error, TufError::Version { role: "release".into(), present: 2, found: version });
    }
    let next = next_version(&world.release, NOW);
    let error = standing.check(RoleName::Release, &world.signed(RoleName::Release, &next), NOW).unwrap_err();
    assert!(matches!(error, TufError::Expired { .. }), "{error}");
}

#[test]
fn a_strangers_signature_counts_nothing_and_an_altered_one_is_refused() {
    let mut world = World::new();
    let standing = world.read().unwrap().standing();
    let next = next_version(&world.release, world.release.head.expires);
    world.signers.insert(RoleName::Release, vec![7]);
    let update = standing.check(RoleName::Release, &world.signed(RoleName::Release, &next), NOW).unwrap();
    assert_eq!((update.missing, update.signers.len()), (1, 0));
    world.signers.insert(RoleName::Release, vec![6]);
    let text = String::from_utf8(world.signed(RoleName::Release, &next)).unwrap();
    let mut file: serde_json::Value = serde_json::from_str(&text).unwrap();
    file["signatures"][0]["sig"] = "00".repeat(64).into();
    let error = standing.check(RoleName::Release, file.to_string().as_bytes(), NOW).unwrap_err();
    assert!(error.to_string().contains("the signature of Fay"), "{error}");
}

#[test]
fn a_new_root_needs_the_present_people_and_its_own() {
    let mut world = World::new();
    let standing = world.read().unwrap().standing();
    let mut next = next_version(&world.root, world.root.head.expires);
    for (old, new) in [(1, 30), (2, 31), (3, 32)] {
        next.remove_key(RoleName::Root, &TufKey::new(public(old), None).id());
        next.add_key(RoleName::Root, public(new), Some(&format!("New {new}")));
    }
    for (signers, missing) in [(vec![1, 2], 2), (vec![30, 31], 2), (vec![1, 30, 31], 1), (vec![1, 2, 30, 31], 0)] {
        world.signers.insert(RoleName::Root, signers.clone());
        let update = standing.check(RoleName::Root, &world.signed(RoleName::Root, &next), NOW).unwrap();
        assert_eq!(update.missing, missing, "{signers:?}");
    }
}

#[test]
fn a_ceremony_begins_with_the_root_alone() {
    let world = World::new();
    let mut standing = Standing::begin(world.pinned()).unwrap();
    assert!(matches!(
        standing.check(RoleName::Release, &world.files["1.release.json"], NOW),
        Err(TufError::Missing(_))
    ));
    for role in [RoleName::Targets, RoleName::Release, RoleName::Clinical] {
        standing.accept(role, &world.files[&role.versioned(1)], NOW).unwrap();
    }
    let mut single = World::new();
    single.files.clear();
    single.signers.insert(RoleName::Root, vec![1]);
    single.publish();
    assert!(matches!(Standing::begin(single.pinned()), Err(TufError::Signatures { found: 1, threshold: 2, .. })));
}
