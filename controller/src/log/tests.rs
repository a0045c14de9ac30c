//! The log over crashes and damage.

use std::{path::Path, sync::Arc, time::Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wardround_journal::{Journal, Options};
use wardround_signing::{
    Digest, SecretKey, Signer as _,
    log::{SignedCheckpoint, TilePath, Witness, read_bundle},
    merkle::Tree,
};

use super::*;
use crate::{
    core::{CoreError, Limits, Writer},
    registry::RegistryEvent,
};

struct Running {
    core: Core,
    log: Arc<AuditLog>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

fn open(dir: &Path) -> Arc<Journal> {
    Arc::new(Journal::open(dir, &Options { ballast_bytes: 0, free_bytes_min: 0, ..Options::default() }).unwrap())
}

/// A writer and a log that follows it.
fn start(dir: &Path, seed: u8) -> Running {
    let (writer, core) = Writer::recover(open(dir), Limits { snapshot_every: 7 }).unwrap();
    let (log, growth) = AuditLog::open(&core, SecretKey::from_seed(&[seed; 32])).unwrap();
    let stop = CancellationToken::new();
    let writing = tokio::spawn({
        let stop = stop.clone();
        async move {
            let ended: Result<(), CoreError> = writer.run(stop).await;
            ended.unwrap();
        }
    });
    let following = tokio::spawn(follow(growth, core.clone(), Arc::clone(&log), stop.clone()));
    Running { core, log, stop, tasks: vec![writing, following] }
}

impl Running {
    async fn alarms(&self, count: usize) {
        for n in 0..count {
            let event = RegistryEvent::Alarm { code: "test".to_owned(), text: format!("alarm {n}"), site: None };
            self.core.submit(event).await.unwrap();
        }
    }

    /// Waits for a checkpoint over everything that is there.
    async fn settled(&self) -> Arc<SignedCheckpoint> {
        let size = self.core.read(crate::core::Facts::audit_len);
        let mut newest = self.log.newest.subscribe();
        let grown = newest.wait_for(|checkpoint| checkpoint.size() >= size);
        Arc::clone(&*tokio::time::timeout(std::time::Duration::from_secs(60), grown).await.unwrap().unwrap())
    }

    async fn end(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

fn tree(journal: &Journal, size: u64) -> Digest {
    let leaves = read_leaves(journal, 0, usize::try_from(size).unwrap()).unwrap();
    assert_eq!(leaves.len() as u64, size);
    Tree::new(leaves).root()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_restart_goes_on_with_the_same_tree() {
    let dir = tempfile::tempdir().unwrap();
    let mut before: Option<Arc<SignedCheckpoint>> = None;
    for _ in 0..4 {
        let running = start(dir.path(), 1);
        if let Some(before) = &before {
            assert!(running.log.newest().size() >= before.size(), "what is served first is no smaller");
        }
        running.alarms(90).await;
        let now = running.settled().await;
        assert_eq!(now.root(), tree(running.core.journal(), now.size()));
        if let Some(before) = &before {
            let proof = running.log.consistency(before.size(), now.size()).unwrap().unwrap();
            assert!(proof.proves(&before.root(), &now.root()));
            assert_eq!(running.log.root_at(before.size()).unwrap(), Some(before.root()));
        }
        assert_eq!(running.log.consistency(now.size(), now.size() + 1).unwrap(), None);
        before = Some(now);
        running.end().await;
    }
    assert_eq!(before.unwrap().size(), 360);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_hashes_to_what_is_signed() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path(), 1);
    running.alarms(300).await;
    let newest = running.settled().await;
    let mut entries: Vec<Vec<u8>> = Vec::new();
    for path in log::tile_paths(newest.size()) {
        let piece = running.log.piece(path).unwrap().unwrap();
        match path {
            TilePath::Tile { width, .. } => assert_eq!(piece.len(), usize::from(width) * 32, "{path}"),
            TilePath::Entries { width, .. } => {
                entries.extend(read_bundle(&piece, width).unwrap().into_iter().map(<[u8]>::to_vec));
            }
        }
    }
    assert_eq!(Tree::new(&entries).root(), newest.root());
    let beyond = TilePath::Entries { index: 1, width: 45 };
    assert_eq!(running.log.piece(beyond).unwrap(), None, "nothing beyond the checkpoint is served");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_hashes_are_made_again_and_other_leaves_or_keys_are_never_signed() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path(), 1);
    running.alarms(20).await;
    let before = running.settled().await;
    running.end().await;

    // A hash is lost.
    open(dir.path()).put_side("log-hashes", &[0; 9], &[9; 32]).unwrap();
    let running = start(dir.path(), 1);
    assert_eq!((running.log.damage(), running.settled().await.root()), (None, before.root()));
    running.end().await;

    // Another key stands in the data directory.
    let running = start(dir.path(), 2);
    assert!(running.log.damage().unwrap().contains("checkpoint"), "{:?}", running.log.damage());
    running.end().await;

    // An entry says something else than what was signed.
    let journal = open(dir.path());
    let mut leaf = read_leaves(&journal, 0, 1).unwrap().remove(0);
    *leaf.last_mut().unwrap() = b' ';
    leaf.push(b'}');
    journal.put_side("audit", &[0; 10], &leaf).unwrap();
    journal.put_side("log-hashes", &[0; 9], &[9; 32]).unwrap();
    drop(journal);
    let running = start(dir.path(), 1);
    let damage = running.log.damage().unwrap().to_owned();
    assert!(damage.contains("root"), "{damage}");
    running.alarms(5).await;
    assert_eq!(running.log.newest().root(), before.root(), "it signs nothing more");
    let alarmed = running.core.read(|facts| facts.alarms.newest().any(|alarm| alarm.code == "log_damaged"));
    assert!(alarmed, "and a person hears of it");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_cosignatures_of_this_very_log_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path(), 1);
    running.alarms(9).await;
    let newest = running.settled().await;
    let node = SecretKey::from_seed(&[5; 32]);
    let site = wardround_rollout_plans::model::SiteId::new("rx1").unwrap();
    let witness = Witness::of_site("rx1", node.public()).unwrap();
    let take = |note: &str| running.log.take(&site, node.public(), note);

    let good = witness.cosign(newest.checkpoint(), 5, &node).unwrap();
    take(good.note()).unwrap();
    assert_eq!((running.log.witnesses.at(newest.size()), running.log.witnesses.at(3)), (1, 0));
    let fork = SignedCheckpoint::sign(4, Digest::of(b"another log"), &SecretKey::from_seed(&[1; 32])).unwrap();
    let forked = witness.cosign(fork.checkpoint(), 5, &node).unwrap();
    assert!(matches!(take(forked.note()), Err(NotCounted::Foreign { size: 4, .. })));
    let stranger = SecretKey::from_seed(&[6; 32]);
    let by_stranger = Witness::of_site("rx1", stranger.public()).unwrap();
    let by_stranger = by_stranger.cosign(newest.checkpoint(), 5, &stranger).unwrap();
    assert!(matches!(take(by_stranger.note()), Err(NotCounted::Unverified(_))));
    assert_eq!(running.log.witnesses.after(None, 10).len(), 1);
    running.end().await;
}

/// Says what the log costs; run with `--ignored --nocapture` in a release build for a figure.
#[test]
#[ignore = "a measurement, not a check"]
fn cost_of_a_leaf() {
    use wardround_signing::{log::Frontier, merkle::leaf_hash};
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let entry = vec![b'x'; 400];
    let mut frontier = Frontier::default();
    for step in [10_000_u64, 100_000, 200_000] {
        let begun = Instant::now();
        let from = frontier.size();
        while frontier.size() < step {
            for grown in frontier.push(leaf_hash(&entry)) {
                Stored(&journal).put(&grown).unwrap();
            }
        }
        let per = begun.elapsed() / u32::try_from(step - from).unwrap();
        let begun = Instant::now();
        let proof = log::consistency_proof(&Stored(&journal), step / 3, step).unwrap().unwrap();
        let proved = begun.elapsed();
        let begun = Instant::now();
        journal.sync().unwrap();
        println!(
            "at {step} leaves: {per:?} a leaf, {proved:?} for a proof of {} hashes, {:?} to sync",
            proof.hashes.len(),
            begun.elapsed()
        );
    }
}
