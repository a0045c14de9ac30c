//! Hole A: a torn cache followed by old metadata that has not expired. And every other damage to what a node keeps.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use wardround_rollout_plans::model::Timestamp as Time;
use wardround_signing::{
    SecretKey, Signer as _,
    tuf::{
        Fetch, Fetched, Files, Floors, Images, Kind, Metadata, Moment, RoleName, Root, Signed, Snapshot, Targets,
        Timestamp, TufError, next_version,
    },
};

use super::{
    floor::Floor,
    store::{RefreshError, TrustStore, Vouched, reanchor},
};
use crate::NodeError;

/// 2026-11-24T09:30:00Z.
const NOW: Time = Time(1_795_512_600_000);

fn key(number: u8) -> SecretKey {
    SecretKey::from_seed(&[number; 32])
}

fn signed<M: Metadata>(metadata: &M, signers: &[u8]) -> Vec<u8> {
    let mut signed = Signed::new(metadata.clone()).unwrap();
    for number in signers {
        signed.sign(&key(*number)).unwrap();
    }
    signed.to_bytes()
}

fn later(days: u32) -> Moment {
    Moment::from_ms(NOW.0).plus_seconds(days * 86_400)
}

/// A repository of which every version is still there, as an attacker would keep it.
pub(super) struct Repository {
    release: Targets,
    clinical: Targets,
    targets: Vec<u8>,
    files: Files,
}

impl Repository {
    pub(super) fn new() -> Self {
        let mut root = Root::new(later(365));
        for (role, number, holder) in [
            (RoleName::Root, 1, Some("Ada")),
            (RoleName::Root, 2, Some("Bo")),
            (RoleName::Targets, 3, Some("Cy")),
            (RoleName::Targets, 4, Some("Di")),
            (RoleName::Snapshot, 10, None),
            (RoleName::Timestamp, 11, None),
        ] {
            root.add_key(role, key(number).public(), holder);
        }
        let mut targets = Targets::top(later(365));
        for (role, number, holder) in [
            (RoleName::Release, 6, Some("Ed")),
            (RoleName::Clinical, 7, Some("Fay")),
            (RoleName::OnCall, 8, Some("Gus")),
            (RoleName::Controller, 12, None),
        ] {
            targets.add_key(role, key(number).public(), holder);
        }
        let files = [(RoleName::Root.versioned(1), signed(&root, &[1, 2]))].into();
        let listing = Targets::listing(later(300));
        let (release, clinical) = (listing.clone(), listing);
        let mut repository = Self { release, clinical, targets: signed(&targets, &[3, 4]), files };
        repository.publish();
        repository
    }

    /// Everything under the version of the listings.
    fn publish(&mut self) {
        let version = self.release.head.version;
        let release = signed(&self.release, &[6]);
        let clinical = signed(&self.clinical, &[7]);
        let pinned = BTreeMap::from([
            (RoleName::Targets, self.targets.clone()),
            (RoleName::Release, release.clone()),
            (RoleName::Clinical, clinical.clone()),
        ]);
        let snapshot = signed(&Snapshot::of(version, later(30), &pinned).unwrap(), &[10]);
        let timestamp = signed(&Timestamp::of(version, later(30), &snapshot).unwrap(), &[11]);
        self.files.extend([
            (RoleName::Targets.versioned(1), self.targets.clone()),
            (RoleName::Release.versioned(version), release),
            (RoleName::Clinical.versioned(version), clinical),
            (RoleName::Snapshot.versioned(version), snapshot),
            (RoleName::Timestamp.file(), timestamp),
        ]);
    }

    fn agree(&mut self, path: &str) {
        self.list(path, Kind::Patch, Some(b"patch"), Some(b"patch"));
    }

    /// The next version, in which each role names these bytes at `path`, or nothing.
    pub(super) fn list(&mut self, path: &str, kind: Kind, release: Option<&[u8]>, clinical: Option<&[u8]>) {
        for (listing, bytes) in [(&mut self.release, release), (&mut self.clinical, clinical)] {
            *listing = next_version(listing, later(300));
            listing.remove_target(path);
            if let Some(bytes) = bytes {
                listing.add_target(path, bytes, kind).unwrap();
            }
        }
        self.publish();
    }

    /// What a node sees.
    pub(super) fn images(&self) -> Images {
        Images::from_files(self.root(), &self.files, &Floors::default(), Moment::from_ms(NOW.0)).unwrap()
    }

    fn root(&self) -> &[u8] {
        &self.files["1.root.json"]
    }

    fn fetch(&self) -> Arc<dyn Fetch> {
        Arc::new(Memory(self.files.clone()))
    }
}

struct Memory(Files);

impl Fetch for Memory {
    fn metadata<'a>(&'a self, name: &'a str, _: u64) -> Fetched<'a> {
        let bytes = self.0.get(name).cloned();
        Box::pin(async move { Ok(bytes) })
    }
}

/// A node that has seen version 2, and the repository as it was at version 1.
async fn seen(folder: &Path) -> (Repository, Arc<dyn Fetch>) {
    let mut repository = Repository::new();
    let old = repository.fetch();
    repository.agree("patches/KB1.json");
    let mut store = TrustStore::open(folder).unwrap();
    let images = store.refresh(repository.root(), repository.fetch(), NOW).await.unwrap();
    assert_eq!(images.version(RoleName::Timestamp), 2);
    (repository, old)
}

/// The files on disk whose name begins so.
fn on_disk(folder: &Path, start: &str) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder.join("trust")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(start)).collect()
}

fn cut(path: &Path, length: usize) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..length]).unwrap();
}

#[tokio::test]
async fn a_torn_cache_is_no_way_back_to_old_metadata() {
    let folder = tempfile::tempdir().unwrap();
    let (repository, old) = seen(folder.path()).await;
    for start in ["timestamp.", "snapshot."] {
        let found = on_disk(folder.path(), start);
        assert_eq!(found.len(), 1, "{start}: {found:?}");
        cut(&found[0], 20);
    }
    // A plain store, for which a corrupt file counts as none, takes the old metadata for new.
    let mut plain = Files::new();
    for entry in fs::read_dir(folder.path().join("trust")).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        let role = RoleName::FILES.into_iter().find(|role| name.starts_with(&format!("{role}.")));
        if let Some(role) = role {
            plain.insert(role.file(), fs::read(entry.path()).unwrap());
        }
    }
    let now = Moment::from_ms(NOW.0);
    let fooled = Images::refresh(repository.root(), plain, Arc::clone(&old), &Floors::default(), now).await;
    assert_eq!(fooled.result.unwrap().version(RoleName::Timestamp), 1, "the attack works on a plain store");
    // Ours says what is damaged, and what to do.
    let error = TrustStore::open(folder.path()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("snapshot.") && text.contains("timestamp.") && text.contains("has 20 of its"), "{text}");
    assert!(error.hint().contains("reanchor"), "{}", error.hint());
    // And after a person has re-anchored it, the floors still refuse the old metadata.
    let done = reanchor(folder.path(), &Vouched::default()).unwrap();
    assert!(done.floors_kept && done.set_aside.join("trust").is_dir());
    let mut store = TrustStore::open(folder.path()).unwrap();
    let error = store.refresh(repository.root(), old, NOW).await.unwrap_err();
    assert!(matches!(error, RefreshError::Metadata(TufError::Rollback { seen: 2, found: 1, .. })), "{error}");
    let images = store.refresh(repository.root(), repository.fetch(), NOW).await.unwrap();
    assert!(images.agreed("patches/KB1.json").is_ok());
}

#[tokio::test]
async fn every_kind_of_damage_is_refused_by_name() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 6] = [
        ("a bit flipped", |folder| {
            let path = &on_disk(folder, "release.")[0];
            let mut bytes = fs::read(path).unwrap();
            bytes[30] ^= 1;
            fs::write(path, bytes).unwrap();
        }),
        ("a file gone", |folder| fs::remove_file(&on_disk(folder, "clinical.")[0]).unwrap()),
        ("an empty file", |folder| fs::write(&on_disk(folder, "targets.")[0], "").unwrap()),
        ("the index cut", |folder| cut(&on_disk(folder, "index")[0], 20)),
        ("the index changed", |folder| {
            let path = &on_disk(folder, "index")[0];
            let text = fs::read_to_string(path).unwrap().replacen("timestamp.json", "timestamq.json", 1);
            fs::write(path, text).unwrap();
        }),
        ("everything gone", |folder| fs::remove_dir_all(folder.join("trust")).unwrap()),
    ];
    for (what, damage) in damages {
        let folder = tempfile::tempdir().unwrap();
        seen(folder.path()).await;
        damage(folder.path());
        let error = TrustStore::open(folder.path()).unwrap_err();
        assert!(matches!(error, NodeError::Trust { .. }), "{what}: {error}");
    }
}

#[tokio::test]
async fn what_was_kept_is_there_after_a_restart_and_old_versions_are_swept() {
    let folder = tempfile::tempdir().unwrap();
    let (mut repository, _) = seen(folder.path()).await;
    repository.agree("patches/KB2.json");
    let mut store = TrustStore::open(folder.path()).unwrap();
    store.refresh(repository.root(), repository.fetch(), NOW).await.unwrap();
    assert_eq!(on_disk(folder.path(), "timestamp.").len(), 1);
    drop(store);
    let store = TrustStore::open(folder.path()).unwrap();
    let images = store.view_expired_allowed(repository.root()).unwrap();
    assert!(images.agreed("patches/KB2.json").is_ok());
    assert_eq!(store.floors().get(RoleName::Release).unwrap().version, 3);
}

/// A crash after the new files and before the new index: the old set counts.
#[tokio::test]
async fn a_crash_between_files_and_index_leaves_the_old_set() {
    let folder = tempfile::tempdir().unwrap();
    let (mut repository, _) = seen(folder.path()).await;
    let old_index = fs::read(folder.path().join("trust/index.json")).unwrap();
    let old_files: Vec<_> = on_disk(folder.path(), "").into_iter().map(|p| (p.clone(), fs::read(p).unwrap())).collect();
    repository.agree("patches/KB2.json");
    let mut store = TrustStore::open(folder.path()).unwrap();
    store.refresh(repository.root(), repository.fetch(), NOW).await.unwrap();
    drop(store);
    for (path, bytes) in old_files {
        fs::write(path, bytes).unwrap();
    }
    fs::write(folder.path().join("trust/index.json"), old_index).unwrap();
    // The floors are ahead of such a set: it is no damage, but it is not believed before it is brought up to date.
    let mut store = TrustStore::open(folder.path()).unwrap();
    let error = store.view_expired_allowed(repository.root()).unwrap_err();
    assert!(matches!(error, TufError::Rollback { .. }), "{error}");
    assert!(store.refresh(repository.root(), repository.fetch(), NOW).await.is_ok());
}

#[tokio::test]
async fn lost_floors_need_a_person_who_vouches_for_new_ones() {
    let folder = tempfile::tempdir().unwrap();
    let (repository, old) = seen(folder.path()).await;
    for name in ["floor-a.json", "floor-b.json"] {
        cut(&folder.path().join("floor").join(name), 20);
    }
    assert!(matches!(TrustStore::open(folder.path()), Err(NodeError::Floor { .. })));
    let nothing = reanchor(folder.path(), &Vouched::default()).unwrap_err();
    assert!(matches!(nothing, NodeError::Vouch { .. }), "{nothing}");
    let versions = [(RoleName::Root, 1), (RoleName::Timestamp, 2)].into();
    let vouched = Vouched { counter: 7, attested: Time(5), versions };
    let done = reanchor(folder.path(), &vouched).unwrap();
    assert!(!done.floors_kept && done.set_aside.join("floor").is_dir());
    let mut store = TrustStore::open(folder.path()).unwrap();
    assert_eq!(store.floor(), Floor { counter: 7, attested: Time(5) });
    let error = store.refresh(repository.root(), old, NOW).await.unwrap_err();
    assert!(matches!(error, RefreshError::Metadata(TufError::Rollback { .. })), "{error}");
    assert!(store.refresh(repository.root(), repository.fetch(), NOW).await.is_ok());
    store.raise(Floor { counter: 8, attested: Time(5) }).unwrap();
    assert_eq!(TrustStore::open(folder.path()).unwrap().floor().counter, 8);
    // Vouching never lowers what is whole.
    reanchor(folder.path(), &Vouched { counter: 1, ..Vouched::default() }).unwrap();
    assert_eq!(TrustStore::open(folder.path()).unwrap().floor().counter, 8);
}

/// The clock of a site may go back; what it believes about expiry does not.
#[tokio::test]
async fn a_clock_that_goes_back_does_not_make_expired_metadata_fresh() {
    let folder = tempfile::tempdir().unwrap();
    let (repository, _) = seen(folder.path()).await;
    let mut store = TrustStore::open(folder.path()).unwrap();
    store.raise(Floor { counter: 0, attested: Time(later(31).ms()) }).unwrap();
    let error = store.refresh(repository.root(), repository.fetch(), NOW).await.unwrap_err();
    assert!(matches!(error, RefreshError::Metadata(TufError::Expired { .. })), "{error}");
}
