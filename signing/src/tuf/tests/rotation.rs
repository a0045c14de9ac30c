//! Keys change while nodes are away.

use super::*;

fn sign_anew(world: &mut World) {
    for listing in [&mut world.targets, &mut world.release, &mut world.clinical] {
        *listing = next_version(listing, listing.head.expires);
    }
    world.publish();
}

#[test]
fn every_role_can_be_given_new_keys_while_a_node_is_away() {
    let mut world = World::new();
    let mut node = Node::new(&world);
    node.refresh(&world).unwrap();
    // Root: one person after the other; the others: at once.
    for (role, old, new, holder) in [
        (RoleName::Root, 1, 30, Some("Ira")),
        (RoleName::Root, 2, 31, Some("Jil")),
        (RoleName::Targets, 4, 32, Some("Kim")),
        (RoleName::Snapshot, 10, 33, None),
        (RoleName::Timestamp, 11, 34, None),
    ] {
        let id = TufKey::new(public(old), None).id();
        world.root = next_version(&world.root, world.root.head.expires);
        world.root.remove_key(role, &id);
        world.root.add_key(role, public(new), holder);
        let signers = world.signers.get_mut(&role).unwrap();
        let (before, after) = (signers.clone(), signers.iter().map(|n| if *n == old { new } else { *n }).collect());
        *signers = after;
        if role == RoleName::Root {
            // The present keys and the new ones sign.
            let all = [&before[..], &[new]].concat();
            let after = std::mem::replace(world.signers.get_mut(&role).unwrap(), all);
            sign_anew(&mut world);
            world.signers.insert(role, after);
        } else {
            sign_anew(&mut world);
        }
    }
    for (role, old, new, holder) in [(RoleName::Release, 6, 35, "Lou"), (RoleName::Clinical, 7, 36, "Max")] {
        world.targets = next_version(&world.targets, world.targets.head.expires);
        world.targets.remove_key(role, &TufKey::new(public(old), None).id());
        world.targets.add_key(role, public(new), Some(holder));
        world.signers.insert(role, vec![new]);
        sign_anew(&mut world);
    }
    world.agree("patches/KB1.json", b"p");
    let images = node.refresh(&world).unwrap();
    assert_eq!(images.version(RoleName::Root), 6);
    assert!(images.agreed("patches/KB1.json").is_ok());
    assert!(images.people().keys().iter().any(|key| key.holder == "Lou"));
    // A node that is new, and one that starts again from what it kept.
    assert!(Node::new(&world).refresh(&world).is_ok());
    assert!(Images::from_files(&node.pinned, &node.files, &node.floors, NOW).is_ok());
}

/// TUF 1.0.34, section 5.3.11: whoever had the online keys may have signed the highest versions there are.
#[test]
fn a_fast_forward_ends_with_new_online_keys() {
    let mut world = World::new();
    let mut node = Node::new(&world);
    world.publish_as(VERSION_MAX);
    node.refresh(&world).unwrap();
    world.publish_as(2);
    assert!(matches!(node.refresh(&world), Err(TufError::Rollback { .. })));
    world.root = next_version(&world.root, world.root.head.expires);
    for (role, old, new) in [(RoleName::Snapshot, 10, 33), (RoleName::Timestamp, 11, 34)] {
        world.root.remove_key(role, &TufKey::new(public(old), None).id());
        world.root.add_key(role, public(new), None);
        world.signers.insert(role, vec![new]);
    }
    world.publish_as(2);
    let images = node.refresh(&world).unwrap();
    assert_eq!((images.version(RoleName::Timestamp), images.version(RoleName::Root)), (2, 2));
    // The floors have come down with it, and hold again from there.
    node.files.clear();
    world.publish_as(1);
    assert!(matches!(node.refresh(&world), Err(TufError::Rollback { .. })));
}

#[test]
fn a_floor_stays_while_any_former_key_is_trusted() {
    let mut world = World::new();
    world.agree("patches/KB1.json", b"p");
    let mut node = Node::new(&world);
    node.refresh(&world).unwrap();
    world.targets = next_version(&world.targets, world.targets.head.expires);
    world.targets.add_key(RoleName::Release, public(35), Some("Lou"));
    world.release = Targets::listing(world.release.head.expires);
    world.publish();
    node.files.clear();
    let error = node.refresh(&world).unwrap_err();
    assert_eq!(error, TufError::Rollback { role: "release".into(), seen: 2, found: 1 });
}

#[test]
fn another_root_of_the_pinned_version_is_refused() {
    let world = World::new();
    let mut node = Node::new(&world);
    node.refresh(&world).unwrap();
    let mut other = World::new();
    other.root.head.expires = NOW.plus_seconds(5);
    other.files.clear();
    other.publish();
    node.pinned = other.pinned().to_vec();
    assert_eq!(node.refresh(&other).unwrap_err(), TufError::OtherRoot(1));
}
