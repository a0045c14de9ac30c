//! What the node keeps of the image repository, and the one way to bring it up to date.
//!
//! A TUF client takes a torn file for a missing one and begins at the pinned root again: whoever can tear a file, or a power
//! cut at the wrong moment, would open the way to old metadata. Here every file stands in an index with its hash, the index
//! is sealed, and the floors know that there was one: what does not fit is damage, and damage is refused, never forgotten.
//!
//! | file in `trust/` | holds |
//! |---|---|
//! | `NAME.HASH.json` | one metadata file; a new version is a new file |
//! | `index.json` | names, lengths and hashes of those that count; replaced as a whole, so a crash leaves the old set or the new |

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use wardround_rollout_plans::model::Timestamp;
use wardround_signing::{
    Digest,
    tuf::{Fetch, Files, Floors, Images, Moment, RoleName, TufError},
};

use super::floor::{Floor, FloorFile};
use crate::{
    NodeError,
    files::{self, PUBLIC},
};

/// Folder of the state with the kept metadata.
pub(crate) const METADATA_FOLDER: &str = "trust";
/// Folder of the state with the floors.
pub(crate) const FLOOR_FOLDER: &str = "floor";
const INDEX: &str = "index.json";
/// Six roles and a root for every rotation: about 120 bytes each.
const INDEX_BYTES_MAX: u64 = 1_000_000;

/// What a file of the index must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    length: u64,
    sha256: Digest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    version: u32,
    files: BTreeMap<String, Entry>,
    check: Digest,
}

/// Why the view could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// What came from the controller, or did not come, is refused. The node goes on with what it had.
    #[error(transparent)]
    Metadata(#[from] TufError),
    /// The node's own files.
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// The kept metadata and the floors.
#[derive(Debug)]
pub struct TrustStore {
    folder: PathBuf,
    floor: FloorFile,
    files: Files,
}

impl TrustStore {
    /// Opens what a node keeps under its state directory, and checks every byte of it. A new node keeps nothing.
    ///
    /// # Errors
    /// [`NodeError::Trust`] and [`NodeError::Floor`] for damage: see [`reanchor`].
    pub fn open(state_dir: &Path) -> Result<Self, NodeError> {
        let floor = FloorFile::open(&state_dir.join(FLOOR_FOLDER))?;
        let folder = state_dir.join(METADATA_FOLDER);
        fs::create_dir_all(&folder).map_err(|source| NodeError::File {
            path: folder.clone(),
            verb: "written",
            source,
        })?;
        let files = read_all(&folder, floor.roles())?;
        Ok(Self { folder, floor, files })
    }

    /// The kept files.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// The role versions below which nothing is believed.
    #[must_use]
    pub fn floors(&self) -> &Floors {
        self.floor.roles()
    }

    /// The latest time that the node has seen attested: the clock is never believed to be earlier.
    #[must_use]
    pub fn attested(&self) -> Timestamp {
        self.floor.get().attested
    }

    /// The directive floor.
    pub(crate) fn floor(&self) -> Floor {
        self.floor.get()
    }

    /// Raises the directive floor, durably; see [`FloorFile::raise`].
    pub(crate) fn raise(&mut self, to: Floor) -> Result<(), NodeError> {
        self.floor.raise(to)
    }

    /// Fetches what is new, verifies it from the pinned `root` on, keeps it, and raises the floors: in this order, so that
    /// a crash in between leaves nothing that the next start would refuse.
    ///
    /// # Errors
    /// [`RefreshError`]; what was verified before the failure is kept.
    pub async fn refresh(&mut self, root: &[u8], from: Arc<dyn Fetch>, now: Timestamp) -> Result<Images, RefreshError> {
        let now = Moment::from_ms(now.max(self.attested()).0);
        let refreshed = Images::refresh(root, self.files.clone(), from, self.floor.roles(), now).await;
        self.keep(&refreshed.files)?;
        let images = refreshed.result?;
        self.floor.raise_roles(&images)?;
        Ok(images)
    }

    /// The view of what is kept, without fetching. **It may have expired**: [`Images::is_fresh`] must be asked before
    /// anything new is begun.
    ///
    /// # Errors
    /// [`TufError`] when nothing complete was kept yet.
    pub fn view_expired_allowed(&self, root: &[u8]) -> Result<Images, TufError> {
        Images::from_files_expired_allowed(root, &self.files, self.floor.roles())
    }

    /// Replaces the kept files, durably: all or none.
    fn keep(&mut self, new: &Files) -> Result<(), NodeError> {
        if *new == self.files {
            return Ok(());
        }
        let mut index = BTreeMap::new();
        for (name, bytes) in new {
            let sha256 = Digest::of(bytes);
            if self.files.get(name) != Some(bytes) {
                files::replace(&self.folder.join(stored(name, &sha256)?), bytes, PUBLIC)?;
            }
            index.insert(name.clone(), Entry { length: bytes.len() as u64, sha256 });
        }
        write_index(&self.folder, index)?;
        self.files.clone_from(new);
        sweep(&self.folder, new);
        Ok(())
    }
}

/// The name on disk. Names come out of a client that only knows roles; anything else must not become a path.
fn stored(name: &str, sha256: &Digest) -> Result<String, NodeError> {
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    match name.strip_suffix(".json").filter(|stem| stem.chars().all(harmless) && !stem.starts_with('.')) {
        Some(stem) => Ok(format!("{stem}.{}.json", sha256.short())),
        None => Err(NodeError::Trust { path: PathBuf::from(name), why: "it is no name of a metadata file".to_owned() }),
    }
}

fn seal(files: &BTreeMap<String, Entry>) -> Digest {
    let mut text = "wardround trust index v1\n".to_owned();
    for (name, entry) in files {
        text.push_str(&format!("{name}\n{}\n{}\n", entry.length, entry.sha256));
    }
    Digest::of(text.as_bytes())
}

fn write_index(folder: &Path, files: BTreeMap<String, Entry>) -> Result<(), NodeError> {
    let index = Index { version: 1, check: seal(&files), files };
    let path = folder.join(INDEX);
    let json = serde_json::to_vec(&index).map_err(|e| NodeError::Trust { path: path.clone(), why: e.to_string() })?;
    files::replace(&path, &json, PUBLIC)
}

/// Every file of the index, each checked; or what is damaged, by name.
fn read_all(folder: &Path, floors: &Floors) -> Result<Files, NodeError> {
    let damage = |why: String| NodeError::Trust { path: folder.to_owned(), why };
    let path = folder.join(INDEX);
    if !path.try_exists().map_err(|source| NodeError::File { path: path.clone(), verb: "read", source })? {
        let lost = floors.iter().map(|(role, floor)| format!("{role} {}", floor.version)).collect::<Vec<_>>();
        if !lost.is_empty() {
            return Err(damage(format!("{INDEX} is gone, though this node has seen {}", lost.join(", "))));
        }
        return Ok(Files::new());
    }
    let bytes = files::read(&path, INDEX_BYTES_MAX)?;
    let index: Index = serde_json::from_slice(&bytes).map_err(|e| damage(format!("{INDEX}: {e}")))?;
    if index.version != 1 || index.check != seal(&index.files) {
        return Err(damage(format!("{INDEX}: its checksum does not fit")));
    }
    let (mut files, mut broken) = (Files::new(), Vec::new());
    for (name, entry) in &index.files {
        let stored = stored(name, &entry.sha256)?;
        match files::read(&folder.join(&stored), entry.length) {
            Ok(bytes) if Digest::of(&bytes) == entry.sha256 => drop(files.insert(name.clone(), bytes)),
            Ok(bytes) if (bytes.len() as u64) < entry.length => {
                broken.push(format!("{stored} has {} of its {} bytes", bytes.len(), entry.length));
            }
            Ok(_) => broken.push(format!("{stored}: its checksum does not fit")),
            Err(error) => broken.push(format!("{stored}: {}", crate::enrol::causes(&error))),
        }
    }
    if broken.is_empty() { Ok(files) } else { Err(damage(broken.join("; "))) }
}

/// Removes what no index names: former versions, and leftovers of a crash. What can't be removed costs only room.
fn sweep(folder: &Path, kept: &Files) {
    let named: BTreeSet<String> = kept
        .iter()
        .filter_map(|(name, bytes)| stored(name, &Digest::of(bytes)).ok())
        .chain([INDEX.to_owned()])
        .collect();
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_str().is_none_or(|name| !named.contains(name))) {
        if let Err(error) = fs::remove_file(entry.path()) {
            tracing::warn!(%error, path = %entry.path().display(), "an old metadata file can't be removed");
        }
    }
}

/// What a person vouches for when a node's floors are lost: read from another node of the estate or from the audit log,
/// never from the controller alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vouched {
    /// The lowest directive counter to accept.
    pub counter: u64,
    /// A time that has certainly passed.
    pub attested: Timestamp,
    /// The lowest version to accept of each role.
    pub versions: BTreeMap<RoleName, u64>,
}

/// What re-anchoring did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reanchored {
    /// Where the former files are, for whoever asks what damaged them.
    pub set_aside: PathBuf,
    /// The floors were whole and still hold. Without them only what was vouched for does.
    pub floors_kept: bool,
}

/// Lets a person start a node with a damaged trust store again: its metadata is set aside and will be fetched anew from the
/// pinned root. Floors that are whole stay; `vouched` can raise them but never lower them. Where both copies are damaged,
/// `vouched` must say at least the counter and the versions of root and timestamp, or old metadata would pass for new.
/// The node must not be running.
///
/// # Errors
/// [`NodeError::Vouch`] when floors are lost and too little is vouched for; [`NodeError::File`].
pub fn reanchor(state_dir: &Path, vouched: &Vouched) -> Result<Reanchored, NodeError> {
    let floor_folder = state_dir.join(FLOOR_FOLDER);
    let kept = FloorFile::open(&floor_folder);
    let floors_kept = kept.is_ok();
    let needed = [RoleName::Root, RoleName::Timestamp];
    if !floors_kept && (vouched.counter == 0 || !needed.iter().all(|role| vouched.versions.contains_key(role))) {
        return Err(NodeError::Vouch { path: floor_folder });
    }
    let set_aside = (1..)
        .map(|number: u32| state_dir.join(format!("trust-damaged-{number}")))
        .find(|path| !path.exists())
        .unwrap_or_else(|| state_dir.join("trust-damaged"));
    let fail = |source: io::Error| NodeError::File { path: set_aside.clone(), verb: "written", source };
    fs::create_dir(&set_aside).map_err(fail)?;
    // The folder of floors goes only when it is damaged; then the new floors stand before the old metadata is gone.
    let mut floor = match kept {
        Ok(floor) => floor,
        Err(_) => {
            fs::rename(&floor_folder, set_aside.join(FLOOR_FOLDER)).map_err(fail)?;
            FloorFile::open(&floor_folder)?
        }
    };
    floor.vouch(vouched)?;
    let folder = state_dir.join(METADATA_FOLDER);
    if folder.exists() {
        fs::rename(&folder, set_aside.join(METADATA_FOLDER)).map_err(fail)?;
    }
    fs::create_dir_all(&folder).map_err(fail)?;
    write_index(&folder, BTreeMap::new())?;
    files::sync_folder(state_dir).map_err(fail)?;
    Ok(Reanchored { set_aside, floors_kept })
}
