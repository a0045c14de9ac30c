//! A publication: the new files with a snapshot and a timestamp, read back as a whole, then made true.

use std::{collections::BTreeMap, sync::Arc, sync::PoisonError};

use wardround_rollout_plans::model::Timestamp;
use wardround_signing::{
    Digest, SecretKey,
    tuf::{
        Files, Floors, Images, Metadata, RoleName, Root, Signed, Snapshot, Targets, Timestamp as Stamp, TufKey,
        TufKeyId,
    },
};

use super::{ImageError, KeyRing, Repository, View, moment, read_back};
use crate::{
    core::Change,
    registry::{FilePin, RegistryEvent},
};

/// Life of a timestamp, seconds: an attacker who cuts a node off from news can keep it believing for no longer.
pub(super) const TIMESTAMP_LIFE_S: u32 = 24 * 60 * 60;
/// Life of a snapshot, seconds.
pub(super) const SNAPSHOT_LIFE_S: u32 = 7 * 24 * 60 * 60;
/// A snapshot is signed anew with the next timestamp when less of its life is left, seconds.
const SNAPSHOT_LEFT_MIN_S: u32 = 4 * 24 * 60 * 60;

/// Files that were verified together and are not published yet.
pub(super) struct Draft {
    files: Files,
    images: Images,
    directives: Arc<SecretKey>,
    /// Role, version, bytes: what is not on disk yet.
    new: Vec<(RoleName, u64, Vec<u8>)>,
}

impl Draft {
    /// Version of its timestamp.
    pub(super) fn timestamp_version(&self) -> u64 {
        self.images.version(RoleName::Timestamp)
    }
}

impl Repository {
    /// Signs what the controller must sign and reads the whole back. `new` are people's complete new versions.
    pub(super) fn draft(
        &self,
        view: Option<&View>,
        roots: Files,
        new: BTreeMap<RoleName, Vec<u8>>,
        now: Timestamp,
    ) -> Result<Draft, ImageError> {
        let mut files = roots;
        let mut written = Vec::new();
        let mut listings = BTreeMap::new();
        for role in [RoleName::Targets, RoleName::Release, RoleName::Clinical] {
            let present = || view.and_then(|view| view.file(role)).cloned();
            let Some(bytes) = new.get(&role).cloned().or_else(present) else { continue };
            listings.insert(role, bytes);
        }
        if let Some(root) = new.get(&RoleName::Root) {
            files
                .insert(RoleName::Root.versioned(Signed::<Root>::parse(RoleName::Root, root)?.version()), root.clone());
        }
        let (root_version, root) = newest_root(&files)?;
        if new.contains_key(&RoleName::Root) || view.is_none() {
            written.push((RoleName::Root, root_version, files[&RoleName::Root.versioned(root_version)].clone()));
        }
        for (role, bytes) in &listings {
            let version = Signed::<Targets>::parse(*role, bytes)?.version();
            files.insert(role.versioned(version), bytes.clone());
            if new.contains_key(role) {
                written.push((*role, version, bytes.clone()));
            }
        }
        let ring = self.keys()?;
        let next_version = |role| view.map_or(0, |view| view.images.version(role)).max(self.version_base) + 1;
        let now = moment(now);
        let kept = view.filter(|view| {
            let left = view.images.expires(RoleName::Snapshot);
            let raised = view.images.version(RoleName::Snapshot) > self.version_base;
            new.is_empty() && raised && left.is_some_and(|at| at > now.plus_seconds(SNAPSHOT_LEFT_MIN_S))
        });
        let snapshot = match kept.and_then(|view| view.file(RoleName::Snapshot)) {
            Some(bytes) => bytes.clone(),
            None => {
                let next = next_version(RoleName::Snapshot);
                let unsigned = Snapshot::of(next, now.plus_seconds(SNAPSHOT_LIFE_S), &listings)?;
                let bytes = sign(unsigned, RoleName::Snapshot, &root, &ring)?;
                written.push((RoleName::Snapshot, next, bytes.clone()));
                bytes
            }
        };
        let snapshot_version = Signed::<Snapshot>::parse(RoleName::Snapshot, &snapshot)?.version();
        let next = next_version(RoleName::Timestamp);
        let unsigned = Stamp::of(next, now.plus_seconds(TIMESTAMP_LIFE_S), &snapshot)?;
        let timestamp = sign(unsigned, RoleName::Timestamp, &root, &ring)?;
        written.push((RoleName::Timestamp, next, timestamp.clone()));
        files.insert(RoleName::Snapshot.versioned(snapshot_version), snapshot);
        files.insert(RoleName::Timestamp.file(), timestamp);
        let floors = view.map(|view| view.images.raise(&Floors::default())).unwrap_or_default();
        let images = read_back(&files, &floors)?;
        let directives = directive_key(&images, &ring)?;
        Ok(Draft { files, images, directives, new: written })
    }

    /// Makes a draft true: files, journal, then what is served. The caller holds the turn.
    pub(super) async fn commit(self: &Arc<Self>, draft: Draft, text: String) -> Result<(), ImageError> {
        let Draft { files, images, directives, new } = draft;
        let pins: BTreeMap<RoleName, FilePin> = new
            .iter()
            .map(|(role, version, bytes)| (*role, FilePin { version: *version, sha256: Digest::of(bytes) }))
            .collect();
        let repository = Arc::clone(self);
        blocking(move || {
            new.iter().try_for_each(|(role, version, bytes)| repository.folder.put(*role, *version, bytes))
        })
        .await?;
        let mut changes = vec![Change::from(RegistryEvent::ImagesPublished { files: pins, text: text.clone() })];
        changes.extend(self.core.read(|facts| super::all_changes(facts, &images)));
        let outcomes = self.core.submit_all(changes).await?;
        for refusal in outcomes.into_iter().filter_map(Result::err) {
            tracing::error!(%refusal, "a document's new standing was not recorded");
        }
        tracing::info!(text, "images published");
        let view = Arc::new(View { images, files, directives });
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&view));
        let repository = Arc::clone(self);
        blocking(move || {
            if let Some(timestamp) = view.file(RoleName::Timestamp) {
                repository.folder.put_timestamp(timestamp)?;
            }
            let staged = repository.record().staged;
            let staged: Vec<_> = staged.into_iter().map(|(role, pin)| (role, pin.file.sha256)).collect();
            repository.folder.tidy(&staged, |role| view.images.version(role));
            Ok(())
        })
        .await
        // It is published whatever becomes of the copy; the next start writes it again.
        .unwrap_or_else(|error: ImageError| tracing::warn!(%error, "timestamp.json could not be written"));
        Ok(())
    }
}

/// The key that signs directives from then on.
pub(super) fn directive_key(images: &Images, ring: &KeyRing) -> Result<Arc<SecretKey>, ImageError> {
    ring.of(images.controller_key()).ok_or_else(|| {
        let key = TufKey::new(images.controller_key(), None).id();
        no_key(RoleName::Targets.versioned(images.version(RoleName::Targets)), RoleName::Controller, &key)
    })
}

/// The newest root of a chain.
fn newest_root(files: &Files) -> Result<(u64, Root), ImageError> {
    let roots = files.iter().filter(|(name, _)| name.ends_with(".root.json"));
    let roots = roots.map(|(_, bytes)| Signed::<Root>::parse(RoleName::Root, bytes));
    let roots = roots.collect::<Result<Vec<_>, _>>()?;
    let newest = roots.into_iter().max_by_key(Signed::version).ok_or(ImageError::NoRoot)?;
    Ok((newest.version(), newest.metadata().clone()))
}

/// Signs with as many of the role's keys as there are here; fewer than the root wants are an error that names one.
fn sign<M: Metadata>(metadata: M, role: RoleName, root: &Root, ring: &KeyRing) -> Result<Vec<u8>, ImageError> {
    let mut signed = Signed::new(metadata)?;
    for id in root.keyids(role) {
        if let Some(key) = ring.get(id) {
            signed.sign(key)?;
        }
    }
    check_held(root, role, ring)?;
    Ok(signed.to_bytes())
}

/// Does this controller hold enough of an online role's keys?
pub(super) fn check_held(root: &Root, role: RoleName, ring: &KeyRing) -> Result<(), ImageError> {
    let ids = root.keyids(role);
    let held = ids.iter().filter(|id| ring.get(id).is_some()).count() as u64;
    match ids.iter().find(|id| ring.get(id).is_none()) {
        Some(id) if held < root.threshold(role) => Err(no_key(RoleName::Root.versioned(root.head.version), role, id)),
        _ => Ok(()),
    }
}

/// The same for the key that signs directives.
pub(super) fn check_directives(targets: &Targets, ring: &KeyRing) -> Result<(), ImageError> {
    let all = targets.delegations.as_ref();
    let ids = all.map_or(&[][..], |all| all.keyids(RoleName::Controller));
    match ids.iter().find(|id| ring.get(id).is_none()) {
        Some(id) => Err(no_key(RoleName::Targets.versioned(targets.head.version), RoleName::Controller, id)),
        None => Ok(()),
    }
}

/// Before an import: every online key that root and targets name must be here.
pub(super) fn check_online_keys(roots: &Files, newest: u64, targets: &[u8], ring: &KeyRing) -> Result<(), ImageError> {
    let root = roots.get(&RoleName::Root.versioned(newest)).ok_or(ImageError::NoRoot)?;
    let root = Signed::<Root>::parse(RoleName::Root, root)?;
    check_held(root.metadata(), RoleName::Snapshot, ring)?;
    check_held(root.metadata(), RoleName::Timestamp, ring)?;
    check_directives(Signed::<Targets>::parse(RoleName::Targets, targets)?.metadata(), ring)
}

fn no_key(file: String, role: RoleName, key: &TufKeyId) -> ImageError {
    ImageError::NoOnlineKey { file, role, key: key.short().to_owned() }
}

/// Runs file work off the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(ImageError::Disk(error.to_string())),
    }
}
