//! The audit log: a real round is exported, verified by our command and by programs that we have not written, and every change
//! to it is found; a log that a controller rewrote stops its nodes.
#![expect(clippy::unwrap_used, reason = "a test: a failure is a panic that names the line")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{
    Checkpoint, Error, Hash, HashReader as _, Tile, TileHashReader, TileReader, record_hash, stored_hash_index,
    tree_hash,
};
use wardround_signing::{
    Digest, SecretKey,
    log::{LogKey, SignedCheckpoint, TilePath, bundle, read_bundle, tile_paths},
    merkle::leaf_hash,
};
use wardround_tests::world::{Blueprint, World, plan, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wardround-under-test");
const KB: &str = "KB4500331";

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target)
        } else {
            let _ = fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// An export that a test changes.
struct Export {
    world_dir: PathBuf,
    folder: PathBuf,
    size: u64,
}

impl Export {
    fn path(&self, piece: TilePath) -> PathBuf {
        self.folder.join(piece.to_string())
    }

    /// The one bundle of a small log.
    fn bundle(&self) -> TilePath {
        tile_paths(self.size).find(|p| matches!(p, TilePath::Entries { .. })).unwrap()
    }

    fn tile(&self) -> PathBuf {
        self.path(tile_paths(self.size).find(|p| matches!(p, TilePath::Tile { level: 0, .. })).unwrap())
    }

    fn entries(&self) -> Vec<Vec<u8>> {
        let bytes = fs::read(self.path(self.bundle())).unwrap();
        read_bundle(&bytes, self.bundle().width()).unwrap().into_iter().map(<[u8]>::to_vec).collect()
    }

    fn set_entries(&self, entries: &[Vec<u8>]) {
        fs::write(self.path(self.bundle()), bundle(entries.iter().map(Vec::as_slice)).unwrap()).unwrap();
    }

    fn set_tile(&self, entries: &[Vec<u8>]) {
        let hashes: Vec<u8> = entries.iter().flat_map(|e| *leaf_hash(e).as_bytes()).collect();
        fs::write(self.tile(), hashes).unwrap();
    }

    /// A copy to change.
    fn again(&self, name: &str) -> Self {
        let folder = self.world_dir.join(format!("changed-{name}"));
        copy(&self.folder, &folder);
        Self { world_dir: self.world_dir.clone(), folder, size: self.size }
    }
}

impl TileReader for Export {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        // Theirs name the height after "tile".
        Ok(tiles
            .iter()
            .map(|t| fs::read(self.folder.join(t.path().replacen("tile/8/", "tile/", 1))).unwrap())
            .collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

fn replaced(entry: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(entry).unwrap();
    assert!(text.contains(from), "{from:?} in {text}");
    text.replacen(from, to, 1).into_bytes()
}

#[test]
fn a_round_is_exported_and_verified_and_every_change_to_it_is_found() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "canary").device("b", "canary"));
    world.patch(KB, 0);
    let early = world.dir().join("early").display().to_string();
    world.run(&["audit", "export", &early]).ok();
    world.start("r1", KB, &plan::one_wave("300ms", "{ per_site: 2 }", "wave"));
    world.wait_state(60, "r1", "completed");

    // The node witnesses the newest checkpoint once nothing more happens.
    wait_until(60, "the node to witness the newest checkpoint", || {
        let shown = world.run(&["audit", "show", "--output", "json"]).ok().json();
        shown["checkpoint"]["witnesses"] == 1 && shown["checkpoint"]["nodes"] == 1
    });
    // A crash takes no entry of a signed checkpoint, and what follows continues it.
    let path = world.dir().join("export").display().to_string();
    world.run(&["audit", "export", &path]).ok();
    let before_crash = world.dir().join("before-crash");
    fs::copy(Path::new(&path).join("checkpoint"), &before_crash).unwrap();
    world.crash_controller();
    world.run(&["audit", "export", &path]).ok();

    let verify = |folder: &Path, more: &[&str]| {
        let folder = folder.display().to_string();
        let mut args = vec!["audit", "verify", &folder, "--output", "json"];
        args.extend(more);
        world.run(&args)
    };
    let folder = PathBuf::from(&path);
    for since in [Path::new(&early).join("checkpoint"), before_crash] {
        let sound = verify(&folder, &["--since", &since.display().to_string()]).ok().json();
        assert!(sound["sound"] == true && sound["since"].as_u64().unwrap() > 0, "{sound}");
    }
    let sound = verify(&folder, &[]).ok().json();
    let size = sound["size"].as_u64().unwrap();
    assert!((1..256).contains(&size), "one bundle: {sound}");
    assert_eq!((&sound["orders"], &sound["nodes"], &sound["cosigned"]), (&1.into(), &1.into(), &1.into()), "{sound}");
    assert_eq!(sound["documents"], 2, "a patch and a rollout: {sound}");
    world.run(&["audit", "verify", "--live"]).ok();
    // Whose orders counted follows from the hash on the ceremony's paper alone.
    let pin = Digest::of(&fs::read(world.home().join("controller/images/1.root.json")).unwrap()).hex();
    verify(&folder, &["--root", &pin]).ok();
    let export = Export { world_dir: world.dir().to_owned(), folder: folder.clone(), size };

    independent_readers_agree(&export);

    let entries = export.entries();
    let kinds: Vec<String> = entries
        .iter()
        .map(|e| serde_json::from_slice::<serde_json::Value>(e).unwrap()["kind"].as_str().unwrap().to_owned())
        .collect();
    for kind in ["node_enrolled", "patch_signed", "rollout_signed", "order", "directives", "wave_decision"] {
        assert!(kinds.iter().any(|k| k == kind), "no {kind} among {kinds:?}");
    }
    let order = kinds.iter().position(|kind| kind == "order").unwrap();
    let found = |case: &Export, words: &str, more: &[&str]| {
        let ran = verify(&case.folder, more);
        assert_eq!(ran.code, Some(3), "{}: {}{}", case.folder.display(), ran.out, ran.err);
        assert!(ran.out.contains(words) || ran.err.contains(words), "no {words:?}: {}{}", ran.out, ran.err);
    };

    let case = export.again("entry");
    let mut changed = entries.clone();
    changed[2] = replaced(&entries[2], "\"text\":\"", "\"text\":\"not ");
    case.set_entries(&changed);
    found(&case, "entry 2 is not the one", &[]);
    // With its tile, so that only the signed root tells.
    case.set_tile(&changed);
    found(&case, "changed together", &[]);

    let case = export.again("dropped");
    case.set_entries(&entries[..entries.len() - 1]);
    found(&case, "dropped or added", &[]);

    let case = export.again("dropped-inside");
    let mut changed = entries.clone();
    changed.remove(3);
    changed.push(entries[3].clone());
    case.set_entries(&changed);
    found(&case, "at position 3 stands entry 4", &[]);

    let case = export.again("reordered");
    let mut changed = entries.clone();
    changed.swap(1, 4);
    case.set_entries(&changed);
    found(&case, "at position 1 stands entry 4", &[]);

    let case = export.again("added");
    case.set_entries(&[entries.as_slice(), &[entries[0].clone()]].concat());
    found(&case, "dropped or added", &[]);

    let case = export.again("order");
    let mut changed = entries.clone();
    let envelope: serde_json::Value = serde_json::from_slice(&entries[order]).unwrap();
    let signature = envelope["envelope"]["signatures"][0]["sig"].as_str().unwrap();
    let other = if signature.starts_with('A') { "B" } else { "A" };
    changed[order] = replaced(&entries[order], signature, &format!("{other}{}", &signature[1..]));
    case.set_entries(&changed);
    found(&case, &format!("entry {order}: the order in it does not count"), &[]);

    found(&export, "which is not the pinned one", &["--root", &"0".repeat(64)]);
    let case = export.again("people");
    let targets = case.folder.join("repository/1.targets.json");
    let text = fs::read_to_string(&targets).unwrap();
    assert!(text.contains("Ann Lee"), "{text}");
    fs::write(&targets, text.replacen("Ann Lee", "Eve Lee", 1)).unwrap();
    found(&case, "1.targets.json is not what the log says was published", &["--root", &pin]);
    fs::remove_file(targets).unwrap();
    found(&case, "1.targets.json is missing", &[]);

    let case = export.again("tile");
    let mut tile = fs::read(case.tile()).unwrap();
    tile[5 * 32] ^= 1;
    fs::write(case.tile(), tile).unwrap();
    found(&case, "entry 5 is not the one", &[]);
    fs::remove_file(case.tile()).unwrap();
    found(&case, "is missing", &[]);

    let case = export.again("checkpoint");
    let note = fs::read_to_string(case.folder.join("checkpoint")).unwrap();
    fs::write(case.folder.join("checkpoint"), note.replacen(&format!("\n{size}\n"), &format!("\n{}\n", size - 1), 1))
        .unwrap();
    found(&case, "does not verify", &[]);

    let case = export.again("cosignature");
    let note = case.folder.join("cosignatures/rx1");
    let text = fs::read_to_string(&note).unwrap();
    // Another size than it has: after the crash it may be that of an early checkpoint, even 1.
    let seen: u64 = text.lines().nth(1).unwrap().parse().unwrap();
    let changed = text.replacen(&format!("\n{seen}\n"), &format!("\n{}\n", seen + 1), 1);
    assert_ne!(changed, text);
    fs::write(&note, changed).unwrap();
    found(&case, "the cosignature of site rx1 does not count", &[]);

    // Another log under the very same key, shown to somebody else before.
    let key = SecretKey::from_plain_pem(&fs::read_to_string(world.home().join("controller/log.key")).unwrap()).unwrap();
    let fork = SignedCheckpoint::sign(4, Digest::of(b"another log"), &key).unwrap();
    let file = world.dir().join("fork");
    fs::write(&file, fork.note()).unwrap();
    found(&export, "the log has forked", &["--since", &file.display().to_string()]);
    let stranger = SecretKey::from_seed(&[9; 32]);
    let other_key = wardround_signing::Signer::public(&stranger).to_string();
    found(&export, "is of the log", &["--log-key", &other_key]);
}

/// `signed_note` and `tlog_tiles` read what we exported, and come to the same root and the same entries.
fn independent_readers_agree(export: &Export) {
    let bytes = fs::read(export.folder.join("checkpoint")).unwrap();
    let origin = SignedCheckpoint::claimed_origin(&bytes).unwrap();
    let vkey = LogKey::claimed_by(&origin).unwrap().vkey();
    let note = Note::from_bytes(&bytes).unwrap();
    let (verified, _) = note.verify(&VerifierList::new(vec![Box::new(StandardVerifier::new(&vkey).unwrap())])).unwrap();
    assert_eq!(verified.len(), 1);
    let checkpoint = Checkpoint::from_bytes(note.text()).unwrap();
    assert_eq!((checkpoint.size(), checkpoint.origin()), (export.size, origin.as_str()));
    let root = Hash(checkpoint.hash().0);
    let reader = TileHashReader::new(export.size, Hash(root.0), export);
    assert_eq!(tree_hash(export.size, &reader).unwrap().0, root.0);
    for (index, entry) in (0..).zip(export.entries()) {
        let stored = reader.read_hashes(&[stored_hash_index(0, index)]).unwrap();
        assert_eq!(stored[0].0, record_hash(&entry).0, "entry {index}");
    }
}

#[test]
fn a_controller_that_comes_back_with_a_smaller_log_is_not_obeyed_until_a_person_has_looked() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "canary"));
    world.patch(KB, 0);
    world.rollout("r1", KB, &plan::one_wave("300ms", "{ per_site: 1 }", "wave"));
    let (data, copied) = (world.home().join("controller"), world.dir().join("copied"));
    let before = world.api.records().unwrap().len() as u64;
    world.controller().stop();
    copy(&data, &copied);
    world.start_controller();
    world.controller_ready();
    // Enough that what the restored controller writes by itself does not make up for it.
    for site in 0..12 {
        assert!(!world.token(&format!("later-{site}")).is_empty());
    }
    let records = world.api.records().unwrap().len() as u64;
    assert!(records >= before + 12, "{before} records, then {records}");
    wait_until(60, "the node to witness what came after the copy", || {
        let shown = world.run(&["audit", "show", "--output", "json"]).ok().json();
        shown["checkpoint"]["size"].as_u64().unwrap() >= records && shown["checkpoint"]["witnesses"] == 1
    });

    world.controller().stop();
    fs::remove_dir_all(&data).unwrap();
    copy(&copied, &data);
    // As after any restore from a copy, so that nothing but the log stands in the way.
    let config = data.join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replacen("\"directive_counter_base\": 0", "\"directive_counter_base\": 1000000", 1))
        .unwrap();
    world.start_controller();
    world.controller_ready();
    wait_until(60, "the alarms about the log", || {
        let alarms = world.alarms("rx1");
        let ahead = alarms.iter().any(|(code, _)| code == "log_ahead");
        ahead && alarms.iter().any(|(_, text)| text.contains("log has shrunk"))
    });
    world.run_as("ann", &["rollout", "start", "r1"]).ok();
    world.wait_check_ins("rx1", 4);
    assert!(world.device("rx1/a").untouched());

    // A person looks, at the node.
    let state = world.site("rx1").state().display().to_string();
    let witness = |world: &World, accept: bool| {
        let mut args = vec!["node", "witness", "--state", &state];
        args.extend(accept.then_some("--accept"));
        world.run(&args)
    };
    let seen = witness(&world, false);
    assert!(seen.code == Some(3) && seen.out.contains("shrunk"), "{seen:?}");
    let running = witness(&world, true);
    assert!(running.code != Some(0) && running.err.contains("stop it"), "{running:?}");
    world.site_mut("rx1").node().stop();
    witness(&world, true).ok();
    assert_eq!(witness(&world, true).code, Some(3), "there is nothing more to accept");
    world.start_node("rx1");
    world.wait_state(60, "r1", "completed");
    assert!(world.device("rx1/a").installed(KB));
}

/// `operator issue` speaks to no controller: the running one finds what was issued, once each, whatever else lies in the folder.
#[test]
fn a_certificate_that_is_issued_beside_a_running_controller_comes_into_the_record_once() {
    let mut world = World::new(PROGRAM);
    fs::write(world.home().join("controller/operators/notes.pem"), "nothing of ours").unwrap();
    let issued = |world: &World, name: &str| {
        let records = world.api.records().unwrap_or_default();
        records.iter().filter(|r| r.kind == "operator_issued" && r.text.contains(name)).count()
    };
    for name in ["cy.poole", "di.marsh"] {
        let profile = world.dir().join(name).display().to_string();
        world.run(&["operator", "issue", name, "--role", "on-call", "--out", &profile]).ok();
        wait_until(30, &format!("the record of {name}"), || issued(&world, name) == 1);
    }
    world.crash_controller();
    for name in ["cy.poole", "di.marsh"] {
        assert_eq!(issued(&world, name), 1, "{name}");
    }
}
