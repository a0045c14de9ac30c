//! A small repository in memory, and what is done to it.

mod attacks;
mod forms;
mod policies;
mod rotation;
mod standings;

use std::{collections::BTreeMap, sync::Arc};

use super::{workflow::InMemory, *};
use crate::SecretKey;

/// 2026-11-24T09:30:00Z.
const NOW: Moment = Moment::from_seconds(1_795_512_600);
const DAY: u32 = 86_400;

/// The same key for the same number.
fn key(number: u8) -> SecretKey {
    SecretKey::from_seed(&[number; 32])
}

fn public(number: u8) -> crate::PublicKey {
    crate::Signer::public(&key(number))
}

/// Root 1 Ada, 2 Bo, 3 Cy · targets 4 Di, 5 Ed · release 6 Fay · clinical 7 Gus · on-call 8 Hal · online 10, 11, 12.
struct World {
    root: Root,
    targets: Targets,
    release: Targets,
    clinical: Targets,
    /// Who signs: root, targets, release, clinical, snapshot, timestamp.
    signers: BTreeMap<RoleName, Vec<u8>>,
    /// Versions of snapshot and timestamp.
    online: u64,
    /// The repository's files under their versioned names.
    files: Files,
}

impl World {
    /// Version 1 of everything, published.
    fn new() -> Self {
        let mut root = Root::new(NOW.plus_seconds(365 * DAY));
        for (role, number, holder) in [
            (RoleName::Root, 1, Some("Ada")),
            (RoleName::Root, 2, Some("Bo")),
            (RoleName::Root, 3, Some("Cy")),
            (RoleName::Targets, 4, Some("Di")),
            (RoleName::Targets, 5, Some("Ed")),
            (RoleName::Snapshot, 10, None),
            (RoleName::Timestamp, 11, None),
        ] {
            root.add_key(role, public(number), holder);
        }
        let mut targets = Targets::top(NOW.plus_seconds(300 * DAY));
        for (role, number, holder) in [
            (RoleName::Release, 6, Some("Fay")),
            (RoleName::Clinical, 7, Some("Gus")),
            (RoleName::OnCall, 8, Some("Hal")),
            (RoleName::OnCall, 6, Some("Fay")),
            (RoleName::Controller, 12, None),
        ] {
            targets.add_key(role, public(number), holder);
        }
        let listing = Targets::listing(NOW.plus_seconds(200 * DAY));
        let signers = [
            (RoleName::Root, vec![1, 2]),
            (RoleName::Targets, vec![4, 5]),
            (RoleName::Release, vec![6]),
            (RoleName::Clinical, vec![7]),
            (RoleName::Snapshot, vec![10]),
            (RoleName::Timestamp, vec![11]),
        ];
        let mut world = Self {
            root,
            targets,
            release: listing.clone(),
            clinical: listing,
            signers: signers.into(),
            online: 0,
            files: Files::new(),
        };
        world.publish();
        world
    }

    fn signed<M: Metadata>(&self, role: RoleName, metadata: &M) -> Vec<u8> {
        let mut signed = Signed::new(metadata.clone()).unwrap();
        for number in &self.signers[&role] {
            signed.sign(&key(*number)).unwrap();
        }
        signed.to_bytes()
    }

    /// Signs everything as it is and publishes it under the next snapshot and timestamp.
    fn publish(&mut self) {
        self.online += 1;
        self.publish_as(self.online);
    }

    fn publish_as(&mut self, version: u64) {
        let root = self.signed(RoleName::Root, &self.root);
        self.files.entry(RoleName::Root.versioned(self.root.head.version)).or_insert(root);
        let mut pinned = BTreeMap::new();
        for (role, listing) in [
            (RoleName::Targets, &self.targets),
            (RoleName::Release, &self.release),
            (RoleName::Clinical, &self.clinical),
        ] {
            let bytes = self.signed(role, listing);
            self.files.insert(role.versioned(listing.head.version), bytes.clone());
            pinned.insert(role, bytes);
        }
        self.pin(version, &pinned);
    }

    fn pin(&mut self, version: u64, pinned: &BTreeMap<RoleName, Vec<u8>>) {
        let snapshot = Snapshot::of(version, NOW.plus_seconds(7 * DAY), pinned).unwrap();
        let snapshot = self.signed(RoleName::Snapshot, &snapshot);
        let timestamp = Timestamp::of(version, NOW.plus_seconds(DAY), &snapshot).unwrap();
        let timestamp = self.signed(RoleName::Timestamp, &timestamp);
        self.files.insert(RoleName::Snapshot.versioned(version), snapshot);
        self.files.insert(RoleName::Timestamp.file(), timestamp);
    }

    /// Both roles sign for a document in their next version.
    fn agree(&mut self, path: &str, bytes: &[u8]) {
        let kind = Kind::of(path).unwrap();
        for listing in [&mut self.release, &mut self.clinical] {
            let mut next = next_version(listing, listing.head.expires);
            next.add_target(path, bytes, kind).unwrap();
            *listing = next;
        }
        self.publish();
    }

    /// The pinned root: version 1.
    fn pinned(&self) -> &[u8] {
        &self.files["1.root.json"]
    }

    /// As a program without any files reads it.
    fn read(&self) -> Result<Images, TufError> {
        Images::from_files(self.pinned(), &self.files, &Floors::default(), NOW)
    }
}

/// A node: what it keeps between refreshes.
struct Node {
    pinned: Vec<u8>,
    files: Files,
    floors: Floors,
}

impl Node {
    fn new(world: &World) -> Self {
        Self { pinned: world.pinned().to_vec(), files: Files::new(), floors: Floors::default() }
    }

    fn refresh_at(&mut self, files: &Files, now: Moment) -> Result<Images, TufError> {
        self.refresh_from(Arc::new(InMemory(files.clone())), now)
    }

    fn refresh_from(&mut self, from: Arc<dyn Fetch>, now: Moment) -> Result<Images, TufError> {
        let kept = std::mem::take(&mut self.files);
        let refreshed = workflow::at_once(Images::refresh(&self.pinned, kept, from, &self.floors, now)).unwrap();
        self.files = refreshed.files;
        let images = refreshed.result?;
        self.floors = images.raise(&self.floors);
        Ok(images)
    }

    fn refresh(&mut self, world: &World) -> Result<Images, TufError> {
        self.refresh_at(&world.files, NOW)
    }
}

#[test]
fn a_document_counts_when_both_roles_signed_for_it_and_only_then() {
    let mut world = World::new();
    let path = patch_path("KB4012598").unwrap();
    assert!(matches!(world.read().unwrap().agreed(&path), Err(NotAgreed::Neither { .. })));
    let mut release = next_version(&world.release, world.release.head.expires);
    release.add_target(&path, b"the patch", Kind::Patch).unwrap();
    world.release = release;
    world.publish();
    let missing = world.read().unwrap().agreed(&path).unwrap_err();
    assert_eq!(missing, NotAgreed::Missing { path: path.clone(), role: RoleName::Clinical });
    for (bytes, what) in [(&b"other patch"[..], "length"), (b"THE patch", "hash")] {
        let mut clinical = next_version(&world.clinical, world.clinical.head.expires);
        clinical.add_target(&path, bytes, Kind::Patch).unwrap();
        world.clinical = clinical;
        world.publish();
        assert_eq!(world.read().unwrap().agreed(&path).unwrap_err(), NotAgreed::Differs { path: path.clone(), what },);
    }
    let mut clinical = next_version(&world.clinical, world.clinical.head.expires);
    clinical.add_target(&path, b"the patch", Kind::Patch).unwrap();
    world.clinical = clinical;
    let mut other = world.clinical.clone();
    other.targets.get_mut(&path).unwrap().custom = Some(serde_json::json!({"wardround": {"kind": "patch"}, "x": 1}));
    let same = std::mem::replace(&mut world.clinical, other);
    world.publish();
    let differs = world.read().unwrap().agreed(&path).unwrap_err();
    assert_eq!(differs, NotAgreed::Differs { path: path.clone(), what: "custom part" });
    world.clinical = next_version(&same, same.head.expires);
    world.publish();
    let images = world.read().unwrap();
    let agreed = images.agreed(&path).unwrap();
    assert_eq!((agreed.length, agreed.sha256, agreed.kind), (9, crate::Digest::of(b"the patch"), Kind::Patch));
    assert_eq!(images.all_agreed().into_keys().collect::<Vec<_>>(), [path]);
}

#[test]
fn the_view_says_whose_keys_count_and_until_when() {
    let images = World::new().read().unwrap();
    assert_eq!(images.controller_key(), public(12));
    let people: Vec<_> = images
        .people()
        .keys()
        .iter()
        .map(|k| (k.holder.as_str(), k.roles.iter().map(|r| r.word()).collect()))
        .collect();
    let mut expected: Vec<(&str, Vec<&str>)> =
        vec![("Fay", vec!["release", "on-call"]), ("Gus", vec!["clinical"]), ("Hal", vec!["on-call"])];
    let mut people: Vec<(&str, Vec<&str>)> = people;
    people.sort();
    expected.sort();
    assert_eq!(people, expected);
    assert_eq!(images.earliest_expiry(), (RoleName::Timestamp, NOW.plus_seconds(DAY)));
    assert_eq!(images.is_fresh(NOW), Ok(()));
    let late = images.is_fresh(NOW.plus_seconds(DAY)).unwrap_err();
    assert_eq!(late.to_string(), "timestamp metadata expired at 2026-11-25T09:30:00Z");
    for role in RoleName::FILES {
        assert_eq!(images.version(role), 1, "{role}");
    }
}

#[test]
fn alone_a_node_reads_what_it_kept_even_when_it_has_expired() {
    let mut world = World::new();
    world.agree("patches/KB1.json", b"p");
    let mut node = Node::new(&world);
    node.refresh(&world).unwrap();
    let late = NOW.plus_seconds(400 * DAY);
    let strict = Images::from_files(&node.pinned, &node.files, &node.floors, late).unwrap_err();
    assert!(matches!(strict, TufError::Expired { .. }), "{strict}");
    let images = Images::from_files_expired_allowed(&node.pinned, &node.files, &node.floors).unwrap();
    assert!(images.agreed("patches/KB1.json").is_ok());
    assert!(images.is_fresh(late).is_err());
}
