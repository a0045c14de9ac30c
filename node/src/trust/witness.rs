//! The node as a witness of the controller's log: it keeps the last checkpoint that it accepted, demands proof that each newer
//! one continues it, and cosigns what it accepted.
//!
//! What it keeps stands twice, each copy with a checksum, as the floors do: a damaged copy is told from a missing one, and a
//! node that has lost both refuses to begin anything instead of believing the next log that it is shown. A fork or a smaller
//! log is remembered with the checkpoint that shows it, over restarts, until a person has looked ([`accept`]).
//!
//! **Invariant:** a checkpoint is on disk before it is cosigned to anybody.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wardround_rollout_plans::model::Timestamp;
use wardround_signing::{
    Digest, Signer as _,
    log::{LogError, LogKey, SignedCheckpoint, Witness},
    merkle::{CONSISTENCY_HASHES_MAX, ConsistencyProof},
};

use super::Refusal;
use crate::{
    NodeError,
    files::{self, PUBLIC},
    identity::Identity,
};

const FOLDER: &str = "witness";
const COPIES: [&str; 2] = ["witness-a.json", "witness-b.json"];
/// Present from the first writing on: it tells a new node from one whose files were removed.
const MARK: &str = "witness-made";
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Abandoned checkpoints that are kept as evidence.
const ABANDONED_MAX: usize = 16;
/// Where a person finds what to do.
const WAY_OUT: &str = "nothing new begins here until a person has looked (wardround node witness)";

/// What is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// The last checkpoint accepted: the signed note.
    accepted: Option<String>,
    /// The log that was refused, if any.
    refused: Option<RefusedLog>,
    /// Accepted once, and given up by a person who then accepted another log; oldest first.
    abandoned: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusedLog {
    /// The signed note that does not continue what was accepted.
    note: String,
    /// Why, one sentence.
    why: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: u32,
    kept: Kept,
    check: Digest,
}

fn check(kept: &Kept) -> Result<Digest, serde_json::Error> {
    Ok(Digest::of(&[b"wardround witness v1\n", serde_json::to_vec(kept)?.as_slice()].concat()))
}

/// What a node knows of the controller's log, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessView {
    /// Key under which checkpoints count (a verifier key); absent on a node that enrolled before there was a log.
    pub log: Option<String>,
    /// The last checkpoint accepted.
    pub accepted: Option<SignedCheckpoint>,
    /// The checkpoint that was refused and why, until a person accepts it.
    pub refused: Option<(SignedCheckpoint, String)>,
    /// Why what was kept can't be read, if so.
    pub damage: Option<String>,
}

/// The files.
pub(crate) struct WitnessFile {
    folder: PathBuf,
    log: Option<LogKey>,
    witness: Witness,
    kept: Kept,
    accepted: Option<SignedCheckpoint>,
    damage: Option<String>,
    cosignature: String,
}

impl WitnessFile {
    /// Reads both copies and heals the one that is torn. Damage of both is no error: the node goes on to watch what is
    /// installed, and begins nothing.
    pub(crate) fn open(state_dir: &Path, identity: &Identity) -> Result<Self, NodeError> {
        let mut file = Self::look(state_dir, identity)?;
        if file.damage.is_none() {
            std::fs::create_dir_all(&file.folder).map_err(|source| NodeError::File {
                path: file.folder.clone(),
                verb: "written",
                source,
            })?;
            file.write(file.kept.clone())?;
            files::replace(&file.folder.join(MARK), b"", PUBLIC)?;
        }
        Ok(file)
    }

    /// Reads both copies and writes nothing: the node may be running.
    fn look(state_dir: &Path, identity: &Identity) -> Result<Self, NodeError> {
        let folder = state_dir.join(FOLDER);
        let unusable = |e: LogError| NodeError::Identity { path: state_dir.join("identity"), why: e.to_string() };
        let witness = Witness::of_site(identity.site.as_str(), identity.report_key.public()).map_err(unusable)?;
        let log = identity.log_key.map(LogKey::new).transpose().map_err(unusable)?;
        let new = !folder.join(MARK).exists() && COPIES.iter().all(|name| !folder.join(name).exists());
        let mut file = Self {
            folder,
            log,
            witness,
            kept: Kept::default(),
            accepted: None,
            damage: None,
            cosignature: String::new(),
        };
        if new {
            return Ok(file);
        }
        let copies = COPIES.map(|name| file.read(name));
        // The first copy is written first: where both are whole and differ, it is the newer one.
        match copies.iter().find_map(|copy| copy.as_ref().ok()) {
            Some(kept) => file.hold(kept.clone())?,
            None => {
                let why = copies.iter().filter_map(|copy| copy.as_ref().err().cloned()).collect::<Vec<_>>().join("; ");
                file.damage = Some(why);
            }
        }
        Ok(file)
    }

    fn hold(&mut self, kept: Kept) -> Result<(), NodeError> {
        let opened = match (&kept.accepted, &self.log) {
            (Some(note), Some(log)) => Some(SignedCheckpoint::open(note.as_bytes(), log)),
            _ => None,
        };
        let broken = |e: LogError| NodeError::Crypto { what: "keeping the log's checkpoint", why: e.to_string() };
        self.accepted = opened.transpose().map_err(broken)?;
        self.kept = kept;
        Ok(())
    }

    fn read(&self, name: &str) -> Result<Kept, String> {
        let named = |why: String| format!("{name}: {why}");
        let bytes =
            files::read(&self.folder.join(name), FILE_BYTES_MAX).map_err(|e| named(crate::enrol::causes(&e)))?;
        let form: Form = serde_json::from_slice(&bytes).map_err(|e| named(e.to_string()))?;
        if form.version != 1 || check(&form.kept).map_err(|e| named(e.to_string()))? != form.check {
            return Err(named("its checksum does not fit".into()));
        }
        if let (Some(note), Some(log)) = (&form.kept.accepted, &self.log) {
            SignedCheckpoint::open(note.as_bytes(), log).map_err(|e| named(e.to_string()))?;
        }
        Ok(form.kept)
    }

    /// One copy is written after the other, so one is always whole.
    fn write(&mut self, kept: Kept) -> Result<(), NodeError> {
        let broken = |e: String| NodeError::Crypto { what: "keeping the log's checkpoint", why: e };
        let form = Form { version: 1, check: check(&kept).map_err(|e| broken(e.to_string()))?, kept };
        let json = serde_json::to_vec(&form).map_err(|e| broken(e.to_string()))?;
        for name in COPIES {
            files::replace(&self.folder.join(name), &json, PUBLIC)?;
        }
        self.hold(form.kept)
    }

    /// Size of the last checkpoint accepted: from there the controller has to prove.
    pub(crate) fn size(&self) -> u64 {
        self.accepted.as_ref().map_or(0, SignedCheckpoint::size)
    }

    /// The cosignature of it; empty when there is none.
    pub(crate) fn cosignature(&self) -> &str {
        &self.cosignature
    }

    /// Looks at the checkpoint that came with a check-in. `None`: it continues what was accepted, and is kept and cosigned.
    /// A refusal means that nothing new may begin.
    ///
    /// # Errors
    /// [`NodeError::File`] when it can't be kept.
    pub(crate) fn see(
        &mut self,
        note: &str,
        consistency: &[Vec<u8>],
        identity: &Identity,
        now: Timestamp,
    ) -> Result<Option<Refusal>, NodeError> {
        let refuse = |why: String| Ok(Some(Refusal { what: "log", why, rollout: None }));
        // A node that enrolled before there was a log has no key for one.
        let Some(log) = self.log.clone() else { return Ok(None) };
        if let Some(why) = &self.damage {
            return refuse(format!("what was known of the controller's log is damaged ({why}): {WAY_OUT}"));
        }
        if let Some(refused) = &self.kept.refused {
            return refuse(refused.why.clone());
        }
        if note.is_empty() {
            return refuse(
                "the controller shows no checkpoint of its log: nothing new begins until it does".to_owned(),
            );
        }
        let seen = match SignedCheckpoint::open(note.as_bytes(), &log) {
            Ok(seen) => seen,
            Err(error) => return refuse(format!("the checkpoint of the controller's log does not count: {error}")),
        };
        if let Some(why) = self.accepted.as_ref().and_then(|accepted| contradiction(accepted, &seen, consistency)) {
            let why = format!("{why}: {WAY_OUT}");
            let refused = Some(RefusedLog { note: seen.note().to_owned(), why: why.clone() });
            self.write(Kept { refused, ..self.kept.clone() })?;
            self.cosignature.clear();
            return refuse(why);
        }
        if self.accepted.as_ref() != Some(&seen) {
            self.write(Kept { accepted: Some(seen.note().to_owned()), ..self.kept.clone() })?;
            self.cosignature.clear();
        }
        if self.cosignature.is_empty() {
            let at_s = u64::try_from(now.0 / 1000).unwrap_or(0);
            match self.witness.cosign(seen.checkpoint(), at_s, &identity.report_key) {
                Ok(cosignature) => cosignature.note().clone_into(&mut self.cosignature),
                Err(error) => tracing::warn!(%error, "the log's checkpoint could not be cosigned"),
            }
        }
        Ok(None)
    }

    fn accept(&mut self) -> Result<(), NodeError> {
        let mut kept = self.kept.clone();
        if let Some(refused) = kept.refused.take() {
            kept.abandoned.extend(kept.accepted.replace(refused.note));
            let surplus = kept.abandoned.len().saturating_sub(ABANDONED_MAX);
            kept.abandoned.drain(..surplus);
        }
        self.write(kept)?;
        self.damage = None;
        Ok(())
    }

    fn view(&self) -> WitnessView {
        let refused = self.kept.refused.as_ref().zip(self.log.as_ref()).and_then(|(refused, log)| {
            let seen = SignedCheckpoint::open(refused.note.as_bytes(), log).ok()?;
            Some((seen, refused.why.clone()))
        });
        WitnessView {
            log: self.log.as_ref().map(LogKey::vkey),
            accepted: self.accepted.clone(),
            refused,
            damage: self.damage.clone(),
        }
    }
}

/// Why `seen` does not continue `accepted`, both signed by the log.
fn contradiction(accepted: &SignedCheckpoint, seen: &SignedCheckpoint, consistency: &[Vec<u8>]) -> Option<String> {
    let (old, new) = (accepted.size(), seen.size());
    if new < old {
        return Some(format!("the controller's log has shrunk: it had {old} entries and is now shown with {new}"));
    }
    if consistency.len() > CONSISTENCY_HASHES_MAX {
        return Some("the proof of the controller's log is longer than any can be".to_owned());
    }
    let hashes: Result<Vec<Digest>, _> = consistency.iter().map(|hash| Digest::from_slice(hash)).collect();
    let proved =
        hashes.is_ok_and(|hashes| ConsistencyProof { old, new, hashes }.proves(&accepted.root(), &seen.root()));
    (!proved).then(|| {
        format!(
            "the controller's log has forked: its {old} entries with root {} are not the beginning of what is now shown \
             ({new} entries with root {})",
            accepted.root().short(),
            seen.root().short()
        )
    })
}

/// What the node in `state_dir` knows of the controller's log.
///
/// # Errors
/// [`NodeError`] when there is no node.
pub fn witness_view(state_dir: &Path) -> Result<WitnessView, NodeError> {
    Ok(WitnessFile::look(state_dir, &Identity::read(state_dir)?)?.view())
}

/// A person has looked: the log that was refused is the one that counts from now on; what was accepted before is kept as
/// evidence. Where what was known is damaged, the next log that is shown counts. The node must not be running.
///
/// # Errors
/// [`NodeError`] when there is no node, or its files can't be written.
pub(crate) fn accept(state_dir: &Path) -> Result<WitnessView, NodeError> {
    let mut file = WitnessFile::open(state_dir, &Identity::read(state_dir)?)?;
    file.accept()?;
    Ok(file.view())
}

#[cfg(test)]
mod tests {
    use wardround_rollout_plans::model::SiteId;
    use wardround_signing::{
        SecretKey,
        log::{Cosignature, Frontier, Hashes, consistency_proof},
        merkle::leaf_hash,
    };

    use super::*;

    /// A log in memory, small enough for one tile.
    struct Log(Vec<Digest>);

    impl Hashes for Log {
        type Error = std::convert::Infallible;
        fn hashes(&self, _: u8, start: u64, count: usize) -> Result<Vec<Digest>, Self::Error> {
            Ok(self.0[usize::try_from(start).unwrap()..][..count].to_vec())
        }
    }

    impl Log {
        fn new(words: &[&str]) -> Self {
            Self(words.iter().map(|word| leaf_hash(word.as_bytes())).collect())
        }

        fn at(&self, size: u64, key: &SecretKey) -> SignedCheckpoint {
            let Ok(frontier) = Frontier::at(self, size);
            SignedCheckpoint::sign(size, frontier.root(), key).unwrap()
        }

        fn proof(&self, old: u64, new: u64) -> Vec<Vec<u8>> {
            let Ok(proof) = consistency_proof(self, old, new);
            proof.unwrap().hashes.iter().map(|hash| hash.as_bytes().to_vec()).collect()
        }
    }

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn identity() -> Identity {
        Identity {
            site: SiteId::new("rx1").unwrap(),
            controller: "https://127.0.0.1:1".to_owned(),
            log_key: Some(key(1).public()),
            root: Vec::new(),
            report_key: key(9),
            cert_pem: String::new(),
            key_pem: String::new(),
            ca_pem: String::new(),
        }
    }

    const NOW: Timestamp = Timestamp(1_795_000_000_000);

    fn open(dir: &Path) -> WitnessFile {
        WitnessFile::open(dir, &identity()).unwrap()
    }

    fn see(file: &mut WitnessFile, seen: &SignedCheckpoint, proof: &[Vec<u8>]) -> Option<String> {
        file.see(seen.note(), proof, &identity(), NOW).unwrap().map(|refusal| refusal.why)
    }

    #[test]
    fn a_log_that_grows_is_accepted_kept_and_cosigned() {
        let dir = tempfile::tempdir().unwrap();
        let (log, signer) = (Log::new(&["a", "b", "c", "d", "e", "f"]), key(1));
        let mut file = open(dir.path());
        assert_eq!((file.size(), file.cosignature()), (0, ""));
        let mut from = 0;
        for size in [0, 2, 2, 3, 6] {
            assert_eq!(see(&mut file, &log.at(size, &signer), &log.proof(from, size)), None, "{size}");
            let witness = Witness::of_site("rx1", key(9).public()).unwrap();
            let cosigned = Cosignature::open(file.cosignature().as_bytes(), &witness).unwrap();
            assert_eq!((cosigned.checkpoint().size, cosigned.at_s()), (size, 1_795_000_000));
            // It lasts.
            assert_eq!(open(dir.path()).size(), size);
            from = size;
        }
    }

    #[test]
    fn a_fork_a_smaller_log_and_a_missing_proof_are_refused_until_a_person_has_looked() {
        let (log, fork, signer) = (Log::new(&["a", "b", "c", "d", "e"]), Log::new(&["a", "x", "c", "d", "e"]), key(1));
        for (name, seen, proof, word) in [
            ("smaller", log.at(2, &signer), log.proof(2, 2), "shrunk"),
            ("a fork of the same size", fork.at(3, &signer), Vec::new(), "forked"),
            ("a fork that grew", fork.at(5, &signer), fork.proof(3, 5), "forked"),
            ("a fork with the proof of the log", fork.at(5, &signer), log.proof(3, 5), "forked"),
            ("no proof", log.at(5, &signer), Vec::new(), "forked"),
            ("a proof of odd hashes", log.at(5, &signer), vec![vec![1; 31]], "forked"),
            ("an endless proof", log.at(5, &signer), vec![vec![1; 32]; 10_000], "longer"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let mut file = open(dir.path());
            assert_eq!(see(&mut file, &log.at(3, &signer), &log.proof(0, 3)), None);
            let why = see(&mut file, &seen, &proof).unwrap();
            assert!(why.contains(word), "{name}: {why}");
            assert_eq!((file.size(), file.cosignature()), (3, ""), "{name}: nothing is cosigned any more");
            // Neither the honest log nor a restart makes it good.
            assert_eq!(see(&mut file, &log.at(5, &signer), &log.proof(3, 5)).as_ref(), Some(&why), "{name}");
            let mut again = open(dir.path());
            assert_eq!(see(&mut again, &log.at(5, &signer), &log.proof(3, 5)), Some(why), "{name}");
            let view = again.view();
            assert_eq!(view.refused.map(|(refused, _)| refused), Some(seen.clone()), "{name}");
        }
    }

    #[test]
    fn what_does_not_count_is_refused_but_not_held_against_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let (log, signer) = (Log::new(&["a", "b", "c"]), key(1));
        let mut file = open(dir.path());
        let stranger = log.at(1, &key(7));
        assert!(see(&mut file, &stranger, &[]).unwrap().contains("does not count"));
        assert!(file.see("", &[], &identity(), NOW).unwrap().unwrap().why.contains("shows no checkpoint"));
        assert_eq!(see(&mut file, &log.at(3, &signer), &[]), None, "the log itself counts as before");
    }

    #[test]
    fn one_torn_copy_heals_and_two_are_a_refusal() {
        let dir = tempfile::tempdir().unwrap();
        let (log, signer) = (Log::new(&["a", "b", "c"]), key(1));
        assert_eq!(see(&mut open(dir.path()), &log.at(3, &signer), &[]), None);
        let path = |name: &str| dir.path().join(FOLDER).join(name);
        for name in COPIES {
            let whole = std::fs::read(path(name)).unwrap();
            std::fs::write(path(name), &whole[..30]).unwrap();
            assert_eq!(open(dir.path()).size(), 3, "{name} torn");
        }
        for how in ["damaged", "removed"] {
            for name in COPIES {
                if how == "damaged" {
                    let text = std::fs::read_to_string(path(name)).unwrap().replace("accepted\":\"", "accepted\":\"x");
                    std::fs::write(path(name), text).unwrap();
                } else {
                    std::fs::remove_file(path(name)).unwrap();
                }
            }
            let why = see(&mut open(dir.path()), &log.at(3, &signer), &[]).unwrap();
            assert!(why.contains("damaged"), "{how}: {why}");
        }
    }

    #[test]
    fn evidence_is_kept_when_a_person_accepts_another_log() {
        let dir = tempfile::tempdir().unwrap();
        let (log, fork, signer) = (Log::new(&["a", "b", "c"]), Log::new(&["a", "x", "y", "z"]), key(1));
        let mut file = open(dir.path());
        assert_eq!(see(&mut file, &log.at(3, &signer), &[]), None);
        assert!(see(&mut file, &fork.at(2, &signer), &[]).is_some());
        file.accept().unwrap();
        let mut again = open(dir.path());
        assert_eq!(again.kept.abandoned, [log.at(3, &signer).note()]);
        assert_eq!(see(&mut again, &fork.at(4, &signer), &fork.proof(2, 4)), None, "the other log goes on");
        assert!(see(&mut again, &log.at(3, &signer), &[]).is_some(), "and the first one is the fork now");
    }
}
