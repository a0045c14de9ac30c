//! Hole B and its neighbours: metadata that enough people signed, and that is refused all the same.

use super::*;

fn refused(world: &mut World) -> PolicyError {
    world.publish();
    match world.read() {
        Err(TufError::Policy(error)) => error,
        other => panic!("{:?}", other.map(|images| images.version(RoleName::Root))),
    }
}

/// A world whose root was changed before anything was signed.
fn with_root(change: impl FnOnce(&mut World)) -> PolicyError {
    let mut world = World::new();
    world.files.clear();
    change(&mut world);
    refused(&mut world)
}

#[test]
fn one_key_under_two_ids_does_not_satisfy_a_threshold_of_two() {
    let error = with_root(|world| {
        let object = world.root.keys[&TufKey::new(public(1), None).id()].clone();
        let other = TufKeyId::claimed(&"a".repeat(64));
        world.root.keys.insert(other.clone(), object);
        let root = world.root.roles.get_mut("root").unwrap();
        root.keyids = vec![TufKey::new(public(1), None).id(), other];
    });
    assert!(matches!(error, PolicyError::SameKey { .. }), "{error}");
    // The same in upper case: another id and another text for the same key.
    let error = with_root(|world| {
        let mut object = TufKey::new(public(1), Some("Zed"));
        object.keyval.public.make_ascii_uppercase();
        world.root.roles.get_mut("root").unwrap().keyids.push(object.id());
        world.root.keys.insert(object.id(), object);
    });
    assert!(matches!(error, PolicyError::Key { .. }), "{error}");
}

#[test]
fn key_ids_are_hashes_of_good_ed25519_keys() {
    let error = with_root(|world| {
        let id = world.root.keyids(RoleName::Root)[2].clone();
        let object = world.root.keys.remove(&id).unwrap();
        let other = TufKeyId::claimed("mine");
        world.root.keys.insert(other.clone(), object);
        *world.root.roles.get_mut("root").unwrap().keyids.last_mut().unwrap() = other;
    });
    assert!(matches!(error, PolicyError::KeyId { .. }), "{error}");
    let weak = hex::encode([0_u8; 32]);
    for (keytype, scheme, public) in [
        ("ed25519", "ed25519", weak.as_str()),
        ("rsa", "rsassa-pss-sha256", "-----BEGIN PUBLIC KEY-----"),
        ("ecdsa", "ecdsa-sha2-nistp256", "-----BEGIN PUBLIC KEY-----"),
        ("rsa", "ed25519", "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"),
        ("ed25519", "ed25519", "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c "),
    ] {
        let error = with_root(|world| {
            let mut object = TufKey::new(super::public(3), Some("Cy"));
            (object.keytype, object.scheme) = (keytype.into(), scheme.into());
            object.keyval.public = public.into();
            world.root.keys.insert(object.id(), object);
        });
        assert!(matches!(error, PolicyError::Key { .. }), "{keytype} {scheme}: {error}");
    }
}

#[test]
fn thresholds_mean_people() {
    let error = with_root(|world| world.root.set_threshold(RoleName::Root, 1));
    assert_eq!(error.to_string(), "role root has the threshold 1 with 3 key(s): 2 to 3 is accepted");
    let error = with_root(|world| world.root.set_threshold(RoleName::Targets, 1));
    assert!(matches!(error, PolicyError::Threshold { .. }), "{error}");
    let error = with_root(|world| world.root.set_threshold(RoleName::Targets, 3));
    assert!(matches!(error, PolicyError::Threshold { threshold: 3, keys: 2, .. }), "{error}");
    let error = with_root(|world| world.root.set_threshold(RoleName::Snapshot, 0));
    assert!(matches!(error, PolicyError::Threshold { .. }), "{error}");
    let error = with_root(|world| {
        let id = TufKey::new(public(2), None).id();
        world.root.keys.get_mut(&id).unwrap().holder = Some(" ADA ".into());
    });
    assert!(matches!(error, PolicyError::OneHolder { role: RoleName::Root, .. }), "{error}");
    for name in [None, Some(""), Some(" "), Some("A\u{200b}da"), Some("Ada\n")] {
        let error = with_root(|world| {
            let id = TufKey::new(public(1), None).id();
            world.root.keys.get_mut(&id).unwrap().holder = name.map(str::to_owned);
        });
        assert!(matches!(error, PolicyError::Holder { .. }), "{name:?}: {error}");
    }
    let error = with_root(|world| {
        let id = world.root.keyids(RoleName::Root)[0].clone();
        world.root.roles.get_mut("root").unwrap().keyids.push(id);
    });
    assert!(matches!(error, PolicyError::Twice { .. }), "{error}");
    let error = with_root(|world| {
        world.root.roles.get_mut("root").unwrap().keyids.push(TufKeyId::claimed("nobody"));
    });
    assert!(matches!(error, PolicyError::NoSuchKey { .. }), "{error}");
}

#[test]
fn what_a_root_must_say() {
    let error = with_root(|world| world.root.consistent_snapshot = false);
    assert_eq!(error, PolicyError::NotConsistent);
    let error = with_root(|world| {
        let role = world.root.roles["snapshot"].clone();
        world.root.roles.insert("mirrors".into(), role);
    });
    assert!(matches!(error, PolicyError::UnknownRole { .. }), "{error}");
    let error = with_root(|world| drop(world.root.add_key(RoleName::Targets, public(10), Some("Jo"))));
    assert!(matches!(error, PolicyError::Online { .. }), "{error}");
}

#[test]
fn release_and_clinical_are_different_keys_and_different_people() {
    let mut world = World::new();
    world.targets = next_version(&world.targets, world.targets.head.expires);
    world.targets.add_key(RoleName::Clinical, public(6), Some("Fay"));
    assert!(matches!(refused(&mut world), PolicyError::BothRolesKey { .. }));
    let mut world = World::new();
    world.targets = next_version(&world.targets, world.targets.head.expires);
    world.targets.add_key(RoleName::Clinical, public(9), Some("fay "));
    let error = refused(&mut world);
    assert_eq!(
        error.to_string(),
        "Fay holds a key in release and one in clinical: the two roles need different people"
    );
}

#[test]
fn delegations_are_the_four_and_nothing_else() {
    type Change = fn(&mut Targets);
    let changes: [(&str, Change); 9] = [
        ("a fifth", |t| {
            let all = t.delegations.as_mut().unwrap();
            let mut other = all.roles[0].clone();
            other.name = "extra".into();
            all.roles.insert(0, other);
        }),
        ("one twice", |t| {
            let all = t.delegations.as_mut().unwrap();
            all.roles.push(all.roles[0].clone());
        }),
        ("one gone", |t| drop(t.delegations.as_mut().unwrap().roles.remove(1))),
        ("terminating", |t| t.delegations.as_mut().unwrap().roles[0].terminating = true),
        ("other paths", |t| t.delegations.as_mut().unwrap().roles[0].paths = Some(vec!["*".into()])),
        ("hash bins", |t| {
            let role = &mut t.delegations.as_mut().unwrap().roles[0];
            role.unknown.insert("path_hash_prefixes".into(), serde_json::json!([""]));
        }),
        ("targets of its own", |t| {
            t.targets.insert("patches/KB1.json".into(), Target::of(b"p", Kind::Patch));
        }),
        ("two directive keys", |t| drop(t.add_key(RoleName::Controller, public(13), None))),
        ("an online key among people", |t| drop(t.add_key(RoleName::OnCall, public(12), Some("Jo")))),
    ];
    for (what, change) in changes {
        let mut world = World::new();
        world.targets = next_version(&world.targets, world.targets.head.expires);
        change(&mut world.targets);
        let error = refused(&mut world);
        assert!(!error.to_string().is_empty(), "{what}");
    }
}

#[test]
fn a_role_of_people_delegates_no_further_and_lists_only_our_paths() {
    let mut world = World::new();
    let delegations = world.targets.delegations.clone();
    world.release = next_version(&world.release, world.release.head.expires);
    world.release.delegations = delegations;
    assert!(matches!(refused(&mut world), PolicyError::Foreign { .. }));
    for path in [
        "other/x.json",
        "patches/../x.json",
        "patches/a/b.json",
        "patches/.json",
        "patches/é.json",
        "rollouts/R.json",
        "rollouts/R.0.json",
        "rollouts/R.01.json",
        "rollouts/R.+1.json",
        "patches/x",
    ] {
        let mut world = World::new();
        world.release = next_version(&world.release, world.release.head.expires);
        world.release.targets.insert(path.into(), Target::of(b"p", Kind::Patch));
        assert!(matches!(refused(&mut world), PolicyError::Target { .. }), "{path}");
        assert!(world.release.add_target(path, b"p", Kind::Patch).is_err(), "{path}");
    }
    assert!(world.release.add_target("patches/R.1.json", b"p", Kind::Rollout).is_err());
}
