//! The image repository: people's metadata, staged until it is complete, then published with the controller's snapshot and
//! timestamp.
//!
//! **Order on disk.** A publication's files are written and synced first, under names with versions; then one journal
//! record makes them the present ones; only then are they served. What a crash leaves behind before the record was never
//! served and is written over; after the record nothing is missing. So a restart needs no repair but that of
//! `timestamp.json`, which is a copy.
//!
//! **Invariant:** nothing is served that was not read back before as a node reads it ([`Images::from_files`]), expiry of
//! people's metadata aside: the controller goes on telling nodes what is true while people are late.

mod amendments;
mod documents;
mod error;
mod files;
mod keys;
mod publish;
mod renew;
mod stage;

pub(crate) use documents::SIGNING;
pub(crate) use error::ImageError;
pub(crate) use keys::KeyRing;
pub use keys::make_online_keys;
pub(crate) use renew::keep_timestamp_fresh;
pub(crate) use stage::Waiting;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use wardround_rollout_plans::model::Timestamp;
use wardround_signing::{
    Digest, SecretKey,
    tuf::{Files, Floors, Images, Moment, RoleName, Standing},
};

use self::files::{Folder, parse_name};
use crate::{
    clock,
    core::{Change, Core, Facts},
    registry::ImageRecord,
    setup::InitError,
};

/// Roots that the controller's own check walks through: older ones were checked when they were the present ones.
const ROOTS_CHECKED: u64 = 32;

/// The changes that bring the record of patches, rollouts and versions that wait up to what is published.
pub(crate) fn all_changes(facts: &Facts, images: &Images) -> Vec<Change> {
    let mut changes = documents::changes(facts, images);
    changes.extend(amendments::changes(facts, images));
    changes
}

/// The repository of this controller.
pub(crate) struct Repository {
    data: PathBuf,
    folder: Folder,
    core: Core,
    /// One change at a time, over everything from the check to the journal.
    turn: Arc<tokio::sync::Mutex<()>>,
    view: RwLock<Option<Arc<View>>>,
    /// Snapshots and timestamps get versions above it: after a restore nodes know higher ones than the copy.
    version_base: u64,
}

/// What is published, verified.
pub(crate) struct View {
    /// What it says.
    pub(crate) images: Images,
    /// Present files of all roles, and the newest roots, under TUF's names.
    files: Files,
    /// Signs directives: the key that the targets name.
    pub(crate) directives: Arc<SecretKey>,
}

impl View {
    /// A present file.
    fn file(&self, role: RoleName) -> Option<&Vec<u8>> {
        self.files.get(&role.versioned(self.images.version(role)))
    }
}

fn moment(now: Timestamp) -> Moment {
    Moment::from_ms(now.0)
}

/// Reads a repository as a node would that trusts its oldest root.
fn read_back(files: &Files, floors: &Floors) -> Result<Images, ImageError> {
    let oldest = files.keys().filter_map(|name| match parse_name(name) {
        Some((RoleName::Root, Some(version))) => Some(version),
        _ => None,
    });
    let oldest = oldest.min().ok_or(ImageError::NoRoot)?;
    let root = files.get(&RoleName::Root.versioned(oldest)).ok_or(ImageError::NoRoot)?;
    Ok(Images::from_files_expired_allowed(root, files, floors)?)
}

impl Repository {
    /// Opens the repository as the journal says it stands.
    ///
    /// # Errors
    /// [`ImageError::Damaged`] names a file that is not what was published.
    pub(crate) fn open(data: &Path, core: Core, version_base: u64) -> Result<Self, ImageError> {
        let folder = Folder::open(data)?;
        let record = core.read(|facts| facts.registry.images().clone());
        let view = match record.published.get(&RoleName::Root) {
            Some(root) => {
                folder.get_pinned(RoleName::Root, root.version, &root.sha256)?;
                let mut files = folder.roots(root.version.saturating_sub(ROOTS_CHECKED).max(1), root.version)?;
                for (role, pin) in record.published.iter().filter(|(role, _)| **role != RoleName::Root) {
                    files.insert(role.versioned(pin.version), folder.get_pinned(*role, pin.version, &pin.sha256)?);
                }
                let images = read_back(&files, &Floors::default())?;
                let directives = publish::directive_key(&images, &KeyRing::load(data)?)?;
                Some(Arc::new(View { images, files, directives }))
            }
            None => None,
        };
        if let Some(timestamp) = view.as_ref().and_then(|view| view.file(RoleName::Timestamp)) {
            folder.put_timestamp(timestamp)?;
        }
        Ok(Self { data: data.to_owned(), folder, core, turn: Arc::default(), view: RwLock::new(view), version_base })
    }

    /// What is published now.
    pub(crate) fn view(&self) -> Option<Arc<View>> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is published now.
    ///
    /// # Errors
    /// [`ImageError::NoRoot`] before the ceremony.
    pub(crate) fn require(&self) -> Result<Arc<View>, ImageError> {
        self.view().ok_or(ImageError::NoRoot)
    }

    /// Version of the present timestamp; 0 before the ceremony.
    pub(crate) fn timestamp_version(&self) -> u64 {
        self.view().map_or(0, |view| view.images.version(RoleName::Timestamp))
    }

    /// Version 1 of the root, whose hash tokens pin.
    pub(crate) fn first_root(&self) -> Result<Vec<u8>, ImageError> {
        self.require()?;
        self.folder.get(RoleName::Root, 1)?.ok_or(ImageError::NoRoot)
    }

    /// A published file by its name in the repository.
    pub(crate) fn fetch(&self, name: &str) -> Result<Option<Vec<u8>>, ImageError> {
        let view = self.require()?;
        let Some((role, version)) = parse_name(name) else { return Ok(None) };
        if let Some(bytes) = view.files.get(name) {
            return Ok(Some(bytes.clone()));
        }
        match version {
            // Beyond the present version there may be files that were never published.
            Some(version) if version < view.images.version(role) => self.folder.get(role, version),
            _ => Ok(None),
        }
    }

    /// The online keys as they are on disk now.
    pub(crate) fn keys(&self) -> Result<KeyRing, ImageError> {
        KeyRing::load(&self.data)
    }

    fn record(&self) -> ImageRecord {
        self.core.read(|facts| facts.registry.images().clone())
    }

    /// Publishes for the first time what `wardround root import` has put into the folder. Does nothing when the repository
    /// has begun already, or no root was imported.
    pub(crate) async fn begin(self: &Arc<Self>) -> Result<(), ImageError> {
        let now = clock::now();
        if self.view().is_some() {
            // After a long stop the timestamp has expired; no node shall be told so first.
            if let Err(error) = self.renew(now).await {
                tracing::error!(%error, "the timestamp could not be renewed");
            }
            return self.recognise().await;
        }
        let newest = self.folder.newest_root();
        if newest == 0 {
            tracing::warn!("{}; {}", ImageError::NoRoot, ImageError::NoRoot.hint());
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        let (root, targets) = imported(&self.folder, newest, now)?;
        let draft =
            self.draft(None, self.folder.roots(1, newest)?, BTreeMap::from([(RoleName::Targets, targets)]), now)?;
        let text = format!("the image repository begins with root version {newest} ({root})");
        self.commit(draft, text).await
    }
}

/// Checks an imported root chain with its targets; the root's digest and the targets.
fn imported(folder: &Folder, newest: u64, now: Timestamp) -> Result<(Digest, Vec<u8>), ImageError> {
    let roots = folder.roots(1, newest)?;
    let first = roots.get(&RoleName::Root.versioned(1)).ok_or(ImageError::NoRoot)?;
    let mut standing = Standing::begin(first)?;
    for version in 2..=newest {
        let next = roots.get(&RoleName::Root.versioned(version)).ok_or(ImageError::NoRoot)?;
        standing.accept(RoleName::Root, next, moment(now))?;
    }
    let missing = || wardround_signing::tuf::TufError::Missing(RoleName::Targets.versioned(1));
    let targets = folder.get(RoleName::Targets, 1)?.ok_or_else(missing)?;
    standing.accept(RoleName::Targets, &targets, moment(now))?;
    Ok((Digest::of(first), targets))
}

/// Puts the result of the root ceremony into a data directory: `1.root.json` (and the later ones, if there are) and
/// `1.targets.json` of `from`. The controller publishes them when it starts.
///
/// # Errors
/// [`InitError`] when they break a rule, lack signatures, name online keys that this controller does not hold, or when the
/// controller has another root already.
pub fn import_root(data: &Path, from: &Path) -> Result<Digest, InitError> {
    let wrong = |error: ImageError| InitError::Root { why: error.to_string(), hint: error.hint() };
    if !data.join("config.json").is_file() {
        return Err(InitError::NotOurs { path: data.to_owned(), why: "it holds no config.json".to_owned() });
    }
    let source = Folder::reading(from);
    let newest = source.newest_root();
    let (root, targets) = imported(&source, newest, clock::now()).map_err(wrong)?;
    let roots = source.roots(1, newest).map_err(wrong)?;
    let ring = KeyRing::load(data).map_err(wrong)?;
    publish::check_online_keys(&roots, newest, &targets, &ring).map_err(wrong)?;
    let folder = Folder::open(data).map_err(wrong)?;
    if let Some(other) = folder.get(RoleName::Root, 1).map_err(wrong)?
        && Digest::of(&other) != root
    {
        return Err(InitError::Exists { path: data.join("images/1.root.json") });
    }
    // The first root last: with it the import is whole.
    folder.put(RoleName::Targets, 1, &targets).map_err(wrong)?;
    for version in (1..=newest).rev() {
        if let Some(bytes) = roots.get(&RoleName::Root.versioned(version)) {
            folder.put(RoleName::Root, version, bytes).map_err(wrong)?;
        }
    }
    Ok(root)
}
