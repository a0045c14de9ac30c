//! The attacks of the TUF specification (section 1.5.2) that concern metadata, against a node that has seen better.

use super::*;

fn seen() -> (World, Node, Files) {
    let mut world = World::new();
    let first = world.files.clone();
    let mut node = Node::new(&world);
    node.refresh(&world).unwrap();
    world.agree("patches/KB1.json", b"p");
    node.refresh(&world).unwrap();
    (world, node, first)
}

#[test]
fn rollback_is_refused_with_the_kept_files_and_without_them() {
    let (_, mut node, first) = seen();
    let error = node.refresh_at(&first, NOW).unwrap_err();
    assert_eq!(error, TufError::Rollback { role: "timestamp".into(), seen: 2, found: 1 });
    // Torn, lost: the floors alone refuse it.
    for kept in [Files::new(), torn(&node.files)] {
        node.files = kept.clone();
        let error = node.refresh_at(&first, NOW).unwrap_err();
        assert!(matches!(error, TufError::Rollback { .. }), "{error}");
        assert_eq!(node.files, kept, "what is below a floor is not kept");
    }
}

fn torn(files: &Files) -> Files {
    let mut torn = files.clone();
    for name in ["timestamp.json", "snapshot.json"] {
        torn.get_mut(name).unwrap().truncate(20);
    }
    torn
}

#[test]
fn freeze_is_noticed_when_the_timestamp_expires() {
    let (world, mut node, _) = seen();
    let error = node.refresh_at(&world.files, NOW.plus_seconds(DAY + 1)).unwrap_err();
    assert!(matches!(error, TufError::Expired { ref role, .. } if role == "timestamp"), "{error}");
}

#[test]
fn a_role_left_out_of_the_snapshot_is_a_rollback() {
    let (mut world, mut node, _) = seen();
    let pinned: BTreeMap<_, _> = [RoleName::Targets, RoleName::Release]
        .map(|role| (role, world.files[&role.versioned(if role == RoleName::Targets { 1 } else { 2 })].clone()))
        .into();
    world.pin(3, &pinned);
    assert!(node.refresh(&world).is_err());
    node.files.clear();
    let error = node.refresh(&world).unwrap_err();
    assert_eq!(error, TufError::Rollback { role: "clinical".into(), seen: 2, found: 0 });
}

#[test]
fn endless_data_is_cut_off() {
    struct Endless(Files);
    impl Fetch for Endless {
        fn metadata<'a>(&'a self, name: &'a str, max: u64) -> Fetched<'a> {
            let bytes = self.0.get(name).cloned();
            let long = (name == "timestamp.json").then(|| vec![b' '; usize::try_from(max).unwrap() + 1]);
            Box::pin(async move { Ok(long.or(bytes)) })
        }
    }
    let (world, mut node, _) = seen();
    let error = node.refresh_from(Arc::new(Endless(world.files)), NOW).unwrap_err();
    assert!(matches!(error, TufError::TooLarge { ref what, .. } if what == "timestamp.json"), "{error}");
}

#[test]
fn mix_and_match_is_refused() {
    let (mut world, mut node, first) = seen();
    world.agree("patches/KB2.json", b"q");
    let mut mixed = world.files.clone();
    mixed.insert("3.release.json".into(), first["1.release.json"].clone());
    let before = node.files.clone();
    let error = node.refresh_at(&mixed, NOW).unwrap_err();
    assert!(matches!(error, TufError::Pin(_)), "{error}");
    node.files = before;
    let mut mixed = world.files.clone();
    mixed.insert("3.snapshot.json".into(), world.files["2.snapshot.json"].clone());
    assert!(matches!(node.refresh_at(&mixed, NOW), Err(TufError::Pin(_))));
    assert!(node.refresh(&world).is_ok(), "the honest repository is still read");
}

#[test]
fn the_online_keys_alone_sign_no_document() {
    let (mut world, mut node, _) = seen();
    for (role, number) in [(RoleName::Release, 10), (RoleName::Clinical, 11), (RoleName::Targets, 12)] {
        let (mut evil, mut node_copy) = (World::new(), Node { files: node.files.clone(), ..Node::new(&world) });
        evil.files = world.files.clone();
        evil.online = world.online;
        (evil.release, evil.clinical, evil.targets) =
            (world.release.clone(), world.clinical.clone(), world.targets.clone());
        let listing = match role {
            RoleName::Release => &mut evil.release,
            RoleName::Clinical => &mut evil.clinical,
            _ => &mut evil.targets,
        };
        *listing = next_version(listing, listing.head.expires);
        evil.signers.insert(role, vec![number]);
        evil.publish();
        let error = node_copy.refresh(&evil).unwrap_err();
        assert!(matches!(error, TufError::Signatures { found: 0, .. }), "{role}: {error}");
    }
    world.agree("patches/KB2.json", b"q");
    assert!(node.refresh(&world).is_ok());
}

#[test]
fn one_person_of_two_signs_no_targets() {
    let (mut world, mut node, _) = seen();
    world.targets = next_version(&world.targets, world.targets.head.expires);
    world.signers.insert(RoleName::Targets, vec![4]);
    world.publish();
    let error = node.refresh(&world).unwrap_err();
    assert_eq!(error.to_string(), "targets metadata carries 1 of the 2 valid signatures that it needs");
}

#[test]
fn a_root_of_other_people_is_refused_and_so_is_a_gap() {
    let (mut world, mut node, _) = seen();
    world.root = next_version(&world.root, world.root.head.expires);
    for number in [20, 21] {
        world.root.add_key(RoleName::Root, public(number), Some(&format!("Evil {number}")));
    }
    world.signers.insert(RoleName::Root, vec![20, 21]);
    world.publish();
    let error = node.refresh(&world).unwrap_err();
    assert!(matches!(error, TufError::Signatures { ref role, found: 0, .. } if role == "root"), "{error}");
    let (mut world, mut node, _) = seen();
    world.root = next_version(&world.root, world.root.head.expires);
    world.root.head.version = 3;
    let jump = world.signed(RoleName::Root, &world.root);
    world.files.insert("2.root.json".into(), jump);
    let error = node.refresh(&world).unwrap_err();
    assert_eq!(error, TufError::Version { role: "root".into(), present: 1, found: 3 });
}

#[test]
fn a_release_manager_alone_cannot_end_the_search_before_clinical() {
    let (mut world, mut node, _) = seen();
    world.release = next_version(&world.release, world.release.head.expires);
    world.release.add_target("patches/KB9.json", b"only release", Kind::Patch).unwrap();
    world.publish();
    let images = node.refresh(&world).unwrap();
    assert!(matches!(images.agreed("patches/KB9.json"), Err(NotAgreed::Missing { role: RoleName::Clinical, .. })));
    assert!(images.agreed("patches/KB1.json").is_ok());
}

#[test]
fn an_unchanged_role_is_not_fetched_again() {
    struct Counting(Files, std::sync::Mutex<Vec<String>>);
    impl Fetch for Counting {
        fn metadata<'a>(&'a self, name: &'a str, _: u64) -> Fetched<'a> {
            self.1.lock().unwrap().push(name.to_owned());
            let bytes = self.0.get(name).cloned();
            Box::pin(async move { Ok(bytes) })
        }
    }
    let (world, mut node, _) = seen();
    let from = Arc::new(Counting(world.files, std::sync::Mutex::default()));
    node.refresh_from(from.clone(), NOW).unwrap();
    assert_eq!(*from.1.lock().unwrap(), ["2.root.json", "timestamp.json"]);
}
