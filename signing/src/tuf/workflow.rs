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

use super::{Moment, RoleName, Root, Rules, Signed, Snapshot, TufError, check_root, provider};
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
}

/// Most root versions that one refresh walks through; the next goes on from there.
const ROOTS_PER_REFRESH_MAX: u32 = 64;
/// Most targets files of a foreign repository that one search visits.
const DELEGATIONS_MAX: u32 = 32;

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
            None if theirs == "root.json" || theirs.contains('/') => None,
            None if theirs.ends_with(".snapshot.json") => None,
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
            let refuse = |error: TufError| Error::transport_with_source(name, error);
            let fetched = self.from.metadata(name, max).await;
            let Some(bytes) = fetched.map_err(|why| refuse(TufError::Fetch { name: name.to_owned(), why }))? else {
                return Ok(None);
            };
            if bytes.len() as u64 > max {
                return Err(refuse(TufError::TooLarge { what: name.to_owned(), bytes: bytes.len() as u64, max }));
            }
            if name.ends_with(".root.json") {
                let root = Signed::<Root>::parse(RoleName::Root, &bytes).map_err(refuse)?;
                check_root(root.metadata(), self.rules).map_err(|e| refuse(e.into()))?;
            }
            Ok(Some(bytes))
        })
    }

    /// Documents are fetched by their hash elsewhere, never through the client.
    fn fetch_target<'a>(&'a self, path: &'a str, _: u64) -> FetchFuture<'a> {
        Box::pin(async move { Err(Error::transport(format!("{path}: documents are not fetched through this client"))) })
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

    pub(super) fn trusted(&self) -> &TrustedMetadataSet {
        self.updater.trusted()
    }

    pub(super) fn files(&self) -> Files {
        self.kept.lock().clone()
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
            (version.bytes().all(|b| b.is_ascii_digit()) && file != "root.json").then(|| self.0.get(file))?
        };
        let bytes = self.0.get(name).or_else(kept).cloned();
        Box::pin(async move { Ok(bytes) })
    }
}
