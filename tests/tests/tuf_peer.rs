//! python-tuf, the reference implementation, as the peer of our TUF repository: it reads ours, we read its, and it plays
//! each attack on metadata. `tests/peers/tuf_peer.py` is its side.
#![expect(clippy::unwrap_used, reason = "a test: a failure is a panic that names the line")]

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use serde_json::{Value, json};
use wardround_node::{RefreshError, TrustStore, Vouched, reanchor};
use wardround_rollout_plans::model::Timestamp as Time;
use wardround_signing::{
    Digest, SecretKey, Signer as _,
    tuf::{
        Fetch, Fetched, Files, Floors, Images, Kind, Metadata, Moment, PolicyError, RoleName, Root, Signed, Snapshot,
        Targets, Timestamp, TufError, TufKey, next_version, patch_path, rollout_path,
    },
};
use wardround_tests::rig::{peer_file, require};

const DOCUMENT: &[u8] = b"{\"id\":\"KB4012598\"}";
const PATH: &str = "patches/KB4012598.json";

/// A folder of metadata, read as a web server would serve it.
struct Folder(PathBuf);

impl Fetch for Folder {
    fn metadata<'a>(&'a self, name: &'a str, max: u64) -> Fetched<'a> {
        let mut bytes = Vec::new();
        let read = match fs::File::open(self.0.join(name)) {
            Ok(file) => file.take(max + 1).read_to_end(&mut bytes).map(|_| Some(bytes)).map_err(|e| e.to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
        };
        Box::pin(async move { read })
    }
}

fn now() -> Time {
    Time(jiff::Timestamp::now().as_millisecond())
}

fn later(days: u32) -> Moment {
    Moment::from_ms(now().0).plus_seconds(days * 86_400)
}

fn python(program: &Path, arguments: &[&str]) -> Value {
    let output = Command::new(program).arg(peer_file("tuf_peer.py")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A node of its own for every case.
struct Node {
    folder: tempfile::TempDir,
    root: Vec<u8>,
}

impl Node {
    /// Enrolled with the first root of that repository.
    fn new(repository: &Path) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), root: fs::read(repository.join("1.root.json")).unwrap() }
    }

    async fn refresh(&self, repository: &Path) -> Result<Images, RefreshError> {
        // Opened each time: what it knows must have survived.
        let mut store = TrustStore::open(self.folder.path())?;
        store.refresh(&self.root, Arc::new(Folder(repository.to_owned())), now()).await
    }
}

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

/// Our writer: two of three for root, two of two for targets, a rotation of the root, four delegations, a patch and a rollout.
fn write_ours(folder: &Path) {
    let mut root = Root::new(later(365));
    for (role, number, holder) in [
        (RoleName::Root, 1, Some("Ada")),
        (RoleName::Root, 2, Some("Bo")),
        (RoleName::Root, 3, Some("Cy")),
        (RoleName::Targets, 4, Some("Di")),
        (RoleName::Targets, 5, Some("Ed")),
        (RoleName::Snapshot, 10, None),
        (RoleName::Timestamp, 11, None),
    ] {
        root.add_key(role, key(number).public(), holder);
    }
    let mut next = next_version(&root, later(365));
    next.remove_key(RoleName::Root, &TufKey::new(key(1).public(), None).id());
    next.add_key(RoleName::Root, key(20).public(), Some("Zoë \"Zo\" O\\Neil"));
    let mut targets = Targets::top(later(365));
    for (role, number, holder) in [
        (RoleName::Release, 6, Some("Fay")),
        (RoleName::Clinical, 7, Some("Gus")),
        (RoleName::OnCall, 8, Some("Hal")),
        (RoleName::Controller, 12, None),
    ] {
        targets.add_key(role, key(number).public(), holder);
    }
    let mut listing = Targets::listing(later(300));
    let documents = [(patch_path("KB4012598").unwrap(), Kind::Patch), (rollout_path("R-1", 1).unwrap(), Kind::Rollout)];
    for (path, kind) in &documents {
        listing.add_target(path, DOCUMENT, *kind).unwrap();
        let (dir, name) = path.split_once('/').unwrap();
        let dir = folder.join("targets").join(dir);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("{}.{name}", Digest::of(DOCUMENT).hex())), DOCUMENT).unwrap();
    }
    let pinned = BTreeMap::from([
        (RoleName::Targets, signed(&targets, &[4, 5])),
        (RoleName::Release, signed(&listing, &[6])),
        (RoleName::Clinical, signed(&listing, &[7])),
    ]);
    let snapshot = signed(&Snapshot::of(1, later(30), &pinned).unwrap(), &[10]);
    let timestamp = signed(&Timestamp::of(1, later(7), &snapshot).unwrap(), &[11]);
    let mut files: Files = pinned.into_iter().map(|(role, bytes)| (role.versioned(1), bytes)).collect();
    files.insert(RoleName::Root.versioned(1), signed(&root, &[1, 3]));
    files.insert(RoleName::Root.versioned(2), signed(&next, &[3, 2]));
    files.insert(RoleName::Snapshot.versioned(1), snapshot);
    files.insert(RoleName::Timestamp.file(), timestamp);
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

#[test]
fn python_tuf_reads_what_we_write() {
    let Some(program) = require("wardround-tuf-python") else { return };
    let work = tempfile::tempdir().unwrap();
    let repository = work.path().join("repository");
    fs::create_dir(&repository).unwrap();
    write_ours(&repository);
    let kept = work.path().join("kept");
    let rollout = rollout_path("R-1", 1).unwrap();
    let read = python(&program, &["read", repository.to_str().unwrap(), kept.to_str().unwrap(), PATH, &rollout]);
    assert_eq!(read["versions"], json!({"root": 2, "timestamp": 1, "snapshot": 1, "targets": 1}));
    assert_eq!(read["holders"], json!(["Fay", "Gus", "Hal"]));
    assert_eq!(read["listed"], json!({"release": [PATH, rollout], "clinical": [PATH, rollout]}));
    for (path, kind) in [(PATH, "patch"), (&*rollout, "rollout")] {
        let found = &read["targets"][path];
        assert_eq!(found["text"].as_str().unwrap().as_bytes(), DOCUMENT);
        assert_eq!(found["custom"], json!({"wardround": {"kind": kind}}));
        assert_eq!(found["hashes"]["sha256"], json!(Digest::of(DOCUMENT).hex()));
    }
}

/// What python-tuf wrote, made once for the tests that read it.
fn theirs(program: &Path) -> tempfile::TempDir {
    let work = tempfile::tempdir().unwrap();
    python(program, &["write", work.path().to_str().unwrap()]);
    work
}

#[tokio::test]
async fn we_read_what_python_tuf_writes_through_rotations_of_every_role() {
    let Some(program) = require("wardround-tuf-python") else { return };
    let work = theirs(&program);
    let node = Node::new(&work.path().join("first"));
    let images = node.refresh(&work.path().join("first")).await.unwrap();
    assert!(images.agreed(PATH).is_err());
    let images = node.refresh(&work.path().join("seen")).await.unwrap();
    let agreed = images.agreed(PATH).unwrap();
    assert_eq!((agreed.sha256, agreed.length), (Digest::of(DOCUMENT), DOCUMENT.len() as u64));
    assert_eq!(images.people().keys().len(), 3);
    // Months later, with other keys for all.
    let images = node.refresh(&work.path().join("rotated")).await.unwrap();
    assert_eq!((images.version(RoleName::Root), images.version(RoleName::Release)), (5, 3));
    assert!(images.agreed(PATH).is_ok());
}

/// What must refuse it, in the words of the error.
fn refused(attack: &str, error: &TufError) -> bool {
    use PolicyError as P;
    use TufError as E;
    match attack {
        "rollback-timestamp" | "rollback-snapshot" => matches!(error, E::Rollback { .. }),
        "rollback-roles" => {
            matches!(error, E::Rollback { role, .. } if role.contains("release") || role.contains("clinical"))
        }
        "freeze" => matches!(error, E::Expired { role, .. } if role == "timestamp"),
        "endless-data" => matches!(error, E::TooLarge { what, .. } if what == "timestamp.json"),
        "mix-and-match-role" | "mix-and-match-snapshot" => matches!(error, E::Pin(_)),
        "one-of-two-targets" => matches!(error, E::Signatures { found: 1, threshold: 2, .. }),
        "documents-by-online-keys" => matches!(error, E::Signatures { found: 0, .. }),
        "role-left-out" => error.to_string().contains("clinical.json"),
        "one-key-two-ids" => matches!(error, E::Policy(P::SameKey { .. } | P::KeyId { .. })),
        "root-of-one" => matches!(error, E::Policy(P::Threshold { role: RoleName::Root, threshold: 1, .. })),
        "root-of-others" => matches!(error, E::Signatures { role, found: 0, .. } if role == "root"),
        "root-with-a-gap" => matches!(error, E::Version { present: 1, found: 3, .. }),
        "one-key-in-both-roles" => matches!(error, E::Policy(P::BothRolesKey { .. })),
        "delegation-of-everything" => matches!(error, E::Policy(P::Paths { role: RoleName::Release, .. })),
        other => panic!("an attack without an expectation: {other}"),
    }
}

#[tokio::test]
async fn every_attack_of_python_tuf_is_refused_and_the_honest_view_stays() {
    let Some(program) = require("wardround-tuf-python") else { return };
    let work = theirs(&program);
    let seen = work.path().join("seen");
    let mut played = 0;
    for entry in fs::read_dir(work.path().join("attacks")).unwrap() {
        let path = entry.unwrap().path();
        let attack = path.file_name().unwrap().to_str().unwrap();
        let node = Node::new(&seen);
        node.refresh(&seen).await.unwrap();
        match node.refresh(&path).await {
            Err(RefreshError::Metadata(error)) => {
                assert!(refused(attack, &error), "{attack}: {error}");
                assert!(!error.hint().is_empty(), "{attack}");
                println!("{attack}: {error}");
            }
            other => panic!("{attack}: {:?}", other.map(|images| images.version(RoleName::Timestamp))),
        }
        let store = TrustStore::open(node.folder.path()).unwrap();
        assert_eq!(store.floors().get(RoleName::Timestamp).unwrap().version, 2, "{attack}");
        played += 1;
    }
    assert_eq!(played, 16);
    // The hole is a real one: the reference client takes one person for two.
    let hole = work.path().join("attacks/one-key-two-ids");
    let kept = work.path().join("kept");
    let fooled = python(&program, &["read", hole.to_str().unwrap(), kept.to_str().unwrap()]);
    assert_eq!(fooled["versions"]["root"], 2);
}

#[tokio::test]
async fn a_fast_forward_is_undone_by_new_online_keys_only() {
    let Some(program) = require("wardround-tuf-python") else { return };
    let work = theirs(&program);
    let folder = |name: &str| work.path().join("fast-forward").join(name);
    let node = Node::new(&work.path().join("seen"));
    node.refresh(&work.path().join("seen")).await.unwrap();
    assert_eq!(node.refresh(&folder("ahead")).await.unwrap().version(RoleName::Timestamp), 1 << 40);
    let error = node.refresh(&folder("behind")).await.unwrap_err();
    assert!(matches!(error, RefreshError::Metadata(TufError::Rollback { .. })), "{error}");
    let images = node.refresh(&folder("recovered")).await.unwrap();
    assert_eq!((images.version(RoleName::Timestamp), images.version(RoleName::Root)), (3, 2));
    assert!(images.agreed(PATH).is_ok());
}

/// Hole A with the reference implementation's own metadata: a torn cache, then version 1, which has not expired.
#[tokio::test]
async fn a_torn_cache_lets_no_old_metadata_in() {
    let Some(program) = require("wardround-tuf-python") else { return };
    let work = theirs(&program);
    let (first, seen) = (work.path().join("first"), work.path().join("seen"));
    let node = Node::new(&first);
    node.refresh(&seen).await.unwrap();
    let store = TrustStore::open(node.folder.path()).unwrap();
    let mut torn = store.files().clone();
    drop(store);
    for name in ["timestamp.json", "snapshot.json"] {
        torn.get_mut(name).unwrap().truncate(20);
    }
    let from = Arc::new(Folder(first.clone()));
    let plain = Images::refresh(&node.root, torn, from, &Floors::default(), Moment::from_ms(now().0)).await;
    assert!(plain.result.is_ok(), "without seals and floors the attack works");
    for entry in fs::read_dir(node.folder.path().join("trust")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("timestamp.") || name.starts_with("snapshot.") {
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..20]).unwrap();
        }
    }
    let damaged = node.refresh(&first).await.unwrap_err();
    assert!(matches!(damaged, RefreshError::Node(_)) && damaged.to_string().contains("damaged"), "{damaged}");
    reanchor(node.folder.path(), &Vouched::default()).unwrap();
    let error = node.refresh(&first).await.unwrap_err();
    assert!(matches!(error, RefreshError::Metadata(TufError::Rollback { .. })), "{error}");
    assert!(node.refresh(&seen).await.unwrap().agreed(PATH).is_ok());
}
