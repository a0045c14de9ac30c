//! The TUF client workflow (`sigstore-tuf`) between a repository and the files that are kept: the only door to it.

use std::{
    collections::BTreeMap,
    error::Error as _,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use sigstore_tuf::{
    Error, MetadataStore, Repository, TrustedMetadataSet, Updater, UpdaterConfig, transport::FetchFuture,
};

use super::{Moment, RoleName, Root, Rules, Signed, Snapshot, TufError, check_root, policy::check_foreign, provider};
use crate::Digest;

/// Verified metadata files by name: `N.root.json`, and the other roles' without version.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What a [`Fetch`] answers with: the bytes, `None` where the repository has no such file, or why it can't say.
pub type Fetched<'a> = Pin<Box<dyn Future<Output = Result<Option<Vec<u8>>, String>> + Send + 'a>>;

/// Where metadata comes from. Nothing that it returns is believed.
pub trait Fetch: Send + Sync {
    /// The file `name`, such as `timestamp.json` or `3.release.json`. It should stop reading after `max` bytes; more
    /// are refused.
    fn metadata<'a>(&'a self, name: &'a str, max: u64) -> Fetched<'a>;

    /// A document of a foreign repository. Ours are fetched by their hash elsewhere, never through the client.
    fn target<'a>(&'a self, path: &'a str, max: u64) -> Fetched<'a> {
        let _ = max;
        Box::pin(async move { Err(format!("{path} is not fetched through this client")) })
    }
}

/// Where the client keeps documents, among the files.
pub(super) const TARGETS_FOLDER: &str = "targets/";
/// Most root versions that one refresh walks through; the next goes on from there.
const ROOTS_PER_REFRESH_MAX: u32 = 64;
/// Most targets files of a foreign repository that one search visits.
const DELEGATIONS_MAX: u32 = 32;

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// The kept files as the client sees them.
#[derive(Clone)]
struct Kept(Arc<Mutex<Files>>);

impl Kept {
    fn lock(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Our name for the client's; `None` for its second copies.
    fn name(theirs: &str) -> Option<&str> {
        match theirs.strip_prefix("root_history/") {
            Some(root) => Some(root),
            None if theirs.starts_with(TARGETS_FOLDER) => Some(theirs),
            None if theirs == "root.json" || theirs.contains('/') => None,
            None if theirs.strip_suffix(".snapshot.json").is_some_and(is_number) => None,
            None => Some(theirs),
        }
    }

    /// A delegated role's file where the kept one is the pinned one: the client would fetch it every time.
    fn pinned(&self, versioned: &str) -> Option<Vec<u8>> {
        let (_, file) = versioned.split_once('.')?;
        if file != RoleName::Release.file() && file != RoleName::Clinical.file() {
            return None;
        }
        let kept = self.lock();
        let snapshot = Signed::<Snapshot>::parse(RoleName::Snapshot, kept.get(&RoleName::Snapshot.file())?).ok()?;
        let pin = snapshot.metadata().meta.get(file)?;
        let bytes = kept.get(file)?;
        let hash = pin.hashes.as_ref()?.get("sha256")?;
        (*hash == Digest::of(bytes).hex() && versioned == format!("{}.{file}", pin.version)).then(|| bytes.clone())
    }
}

impl MetadataStore for Kept {
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(Self::name(name).and_then(|name| self.lock().get(name).cloned()))
    }
    fn store(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        if let Some(name) = Self::name(name) {
            self.lock().insert(name.to_owned(), bytes.to_vec());
        }
        Ok(())
    }
}

/// Stands between the repository and the client: sizes, and the policy on every root before it is believed.
struct Gate {
    from: Arc<dyn Fetch>,
    kept: Kept,
    rules: Rules,
}

impl Repository for Gate {
    fn fetch_metadata<'a>(&'a self, name: &'a str, max: u64) -> FetchFuture<'a> {
        Box::pin(async move {
            if let Some(bytes) = self.kept.pinned(name) {
                return Ok(Some(bytes));
            }
            let Some(bytes) = bounded(name, max, self.from.metadata(name, max)).await? else {
                return Ok(None);
            };
            if name.ends_with(".root.json") {
                let root = Signed::<Root>::parse(RoleName::Root, &bytes).map_err(refuse)?;
                check_root(root.metadata(), self.rules).map_err(|e| refuse(e.into()))?;
            } else if self.rules == Rules::ForeignRepository {
                // Ours are checked as a whole, together with their root, before the view is made.
                check_foreign(&bytes).map_err(|e| refuse(e.into()))?;
            }
            Ok(Some(bytes))
        })
    }

    fn fetch_target<'a>(&'a self, path: &'a str, max: u64) -> FetchFuture<'a> {
        Box::pin(async move { bounded(path, max, self.from.target(path, max)).await })
    }
}

fn refuse(error: TufError) -> Error {
    Error::transport_with_source(error.to_string(), error)
}

/// What was fetched, if it is no longer than it may be.
async fn bounded(name: &str, max: u64, fetched: Fetched<'_>) -> Result<Option<Vec<u8>>, Error> {
    let bytes = fetched.await.map_err(|why| refuse(TufError::Fetch { name: name.to_owned(), why }))?;
    match bytes {
        Some(bytes) if bytes.len() as u64 > max => {
            Err(refuse(TufError::TooLarge { what: name.to_owned(), bytes: bytes.len() as u64, max }))
        }
        other => Ok(other),
    }
}

/// One run of the client.
pub(super) struct Workflow {
    updater: Updater,
    kept: Kept,
}

impl Workflow {
    /// From the pinned root and the files that were kept.
    pub(super) fn open(root: &[u8], files: Files, from: Arc<dyn Fetch>, rules: Rules) -> Result<Self, TufError> {
        provider::installed()?;
        // 5.2: the trusted root; ours is checked like every later one.
        let pinned = Signed::<Root>::parse(RoleName::Root, root)?;
        check_root(pinned.metadata(), rules)?;
        for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".root.json")) {
            let kept = Signed::<Root>::parse(RoleName::Root, bytes)?;
            check_root(kept.metadata(), rules)?;
            if kept.version() == pinned.version() && bytes != root {
                return Err(TufError::OtherRoot(kept.version()));
            }
            if *name != RoleName::Root.versioned(kept.version()) {
                return Err(TufError::Form { what: name.clone(), why: "its name is of another version".to_owned() });
            }
        }
        let kept = Kept(Arc::new(Mutex::new(files)));
        let gate = Gate { from, kept: kept.clone(), rules };
        let updater = Updater::new(gate, root).map_err(translate)?.with_config(limits(rules)).with_store(kept.clone());
        Ok(Self { updater, kept })
    }

    /// 5.3 to 5.6: root chain, timestamp, snapshot, targets.
    pub(super) async fn refresh(&mut self, now: Moment) -> Result<(), TufError> {
        let at = now.to_string().parse().map_err(|_| TufError::Refused(format!("{now} is no time")))?;
        self.updater.refresh(at).await.map_err(translate)
    }

    /// 5.6.7: searches a target through the delegations, loading each role on the way.
    pub(super) async fn search(
        &mut self,
        path: &str,
        now: Moment,
    ) -> Result<Option<sigstore_tuf::TargetFile>, TufError> {
        let at = now.to_string().parse().map_err(|_| TufError::Refused(format!("{now} is no time")))?;
        self.updater.get_target_info(path, at).await.map_err(translate)
    }

    /// A document of a foreign repository: searched, fetched unless the lent copy is the right one, verified.
    pub(super) async fn download(&mut self, path: &str, now: Moment) -> Result<Vec<u8>, TufError> {
        let at = now.to_string().parse().map_err(|_| TufError::Refused(format!("{now} is no time")))?;
        self.updater.get_target(path, at).await.map_err(translate)
    }

    /// Puts a document where the client looks for a copy of it.
    pub(super) fn lend(&self, name: &str, bytes: Vec<u8>) {
        self.kept.lock().insert(name.to_owned(), bytes);
    }

    pub(super) fn trusted(&self) -> &TrustedMetadataSet {
        self.updater.trusted()
    }

    pub(super) fn files(&self) -> Files {
        let metadata = |(name, _): &(&String, &Vec<u8>)| !name.starts_with(TARGETS_FOLDER);
        self.kept.lock().iter().filter(metadata).map(|(name, bytes)| (name.clone(), bytes.clone())).collect()
    }
}

fn limits(rules: Rules) -> UpdaterConfig {
    let mut config = UpdaterConfig::default();
    config.max_root_rotations = ROOTS_PER_REFRESH_MAX;
    config.max_delegations = DELEGATIONS_MAX;
    if rules == Rules::Wardround {
        config.root_max_length = RoleName::Root.bytes_max();
        config.timestamp_max_length = RoleName::Timestamp.bytes_max();
        config.snapshot_max_length = RoleName::Snapshot.bytes_max();
        config.targets_max_length = RoleName::Targets.bytes_max();
    }
    config
}

/// The client's errors in our words; an error of ours that went through it comes out again.
pub(super) fn translate(error: Error) -> TufError {
    match error {
        Error::Transport { source: Some(source), message } => match source.downcast::<TufError>() {
            Ok(ours) => *ours,
            Err(other) => TufError::Fetch { name: message, why: other.to_string() },
        },
        Error::Transport { source: None, message } => match message.strip_suffix(" not found") {
            Some(name) => TufError::Missing(name.to_owned()),
            None => TufError::Refused(message),
        },
        Error::Expired { role, expires } => TufError::Expired { role, at: expires.to_string() },
        Error::Rollback { role, trusted, new } => TufError::Rollback { role, seen: trusted, found: new },
        Error::BadRootVersion { trusted, new } => {
            TufError::Version { role: "root".to_owned(), present: trusted, found: new }
        }
        Error::ThresholdNotMet { role, found, threshold } => {
            TufError::Signatures { role, found: found as u64, threshold: threshold as u64 }
        }
        Error::IntegrityMismatch(what) => TufError::Pin(what),
        other => {
            let mut text = other.to_string();
            let mut cause = other.source();
            while let Some(error) = cause {
                text.push_str(": ");
                text.push_str(&error.to_string());
                cause = error.source();
            }
            TufError::Refused(text)
        }
    }
}

/// Runs a future that never waits for anything: one over bytes in memory.
pub(super) fn at_once<F: Future>(future: F) -> Option<F::Output> {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// A repository in memory, under versioned names or as files are kept.
pub(super) struct InMemory(pub(super) Files);

impl Fetch for InMemory {
    fn metadata<'a>(&'a self, name: &'a str, _: u64) -> Fetched<'a> {
        let kept = || {
            let (version, file) = name.split_once('.')?;
            (is_number(version) && file != "root.json").then(|| self.0.get(file))?
        };
        let bytes = self.0.get(name).or_else(kept).cloned();
        Box::pin(async move { Ok(bytes) })
    }
}
