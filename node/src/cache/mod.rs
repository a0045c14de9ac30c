//! Payloads: chunks by their SHA-256, each fetched once and verified alone, put together by streaming. A payload is
//! never held in memory as a whole.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::{Mutex, OwnedMutexGuard};
use wardround_rollout_plans::model::Payload;
use wardround_signing::{Digest, DigestWriter};

use crate::sync::{Controller, FetchError};

/// Chunks that one call asks for: 16 MiB at 256 KiB each, so that a broken line costs little.
const CHUNKS_PER_CALL: usize = 64;
/// Largest chunk (`FetchChunksResponse.data`), bytes.
const CHUNK_BYTES_MAX: usize = 1024 * 1024;
/// Room that stays free for the node's journal, bytes.
const RESERVE_BYTES: u64 = 96 * 1024 * 1024;

/// Why a payload is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    /// The controller.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A chunk, or the whole, is not what was signed.
    #[error("{0}")]
    Corrupt(String),
    /// No room.
    #[error("no room on the node: {free} bytes are free, {needed} are needed")]
    Full {
        /// Free.
        free: u64,
        /// Needed.
        needed: u64,
    },
    /// The disk.
    #[error("the payload cache: {0}")]
    Io(#[from] io::Error),
}

impl CacheError {
    /// True when making room would help.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Io(error) => matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded),
            _ => false,
        }
    }
}

/// The cache of a state directory.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    chunks: PathBuf,
    payloads: PathBuf,
    /// Held while a payload is brought: the devices of a site share the chunks, and putting together removes them. The
    /// next device then finds the whole.
    bringing: Arc<Mutex<()>>,
}

impl Cache {
    /// Makes the directories, and removes what a process that was killed was writing. The caller holds the state folder.
    pub(crate) fn open(state_dir: &Path) -> io::Result<Self> {
        let cache =
            Self { chunks: state_dir.join("chunks"), payloads: state_dir.join("payloads"), bringing: Arc::default() };
        for dir in [&cache.chunks, &cache.payloads] {
            fs::create_dir_all(dir)?;
            remove_where(dir, |name| name.starts_with('.'));
        }
        Ok(cache)
    }

    fn chunk(&self, digest: &Digest) -> PathBuf {
        self.chunks.join(digest.hex())
    }

    /// Where the whole payload is once [`Cache::bring`] has returned.
    pub(crate) fn payload(&self, digest: &Digest) -> PathBuf {
        self.payloads.join(digest.hex())
    }

    /// True when the whole payload is here, as it was signed: it may have lain on the node's disk for weeks. One that the
    /// disk has changed is removed.
    fn sound(&self, payload: &Payload) -> io::Result<bool> {
        let path = self.payload(&payload.digest);
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened?,
        };
        let mut found = DigestWriter::new();
        if file.metadata()?.len() == payload.length {
            io::copy(&mut file, &mut found)?;
            if found.finish() == payload.digest {
                return Ok(true);
            }
        }
        tracing::warn!(payload = payload.file_name, "a payload was damaged on the node's disk; it is fetched again");
        fs::remove_file(&path)?;
        Ok(false)
    }

    /// Brings the payload here: fetches only the chunks that are missing, also after a restart.
    pub(crate) async fn bring(&self, payload: &Payload, controller: &Controller) -> Result<PathBuf, CacheError> {
        // The guard goes along: who stops waiting does not stop the thread that removes the chunks.
        let turn = Arc::new(Arc::clone(&self.bringing).lock_owned().await);
        if !self.beside(&turn, payload, |cache, payload| Ok(cache.sound(payload)?)).await? {
            self.room_for(payload)?;
            let missing: BTreeSet<Digest> =
                payload.chunks.iter().filter(|d| !self.chunk(d).exists()).copied().collect();
            let missing: Vec<Digest> = missing.into_iter().collect();
            for wanted in missing.chunks(CHUNKS_PER_CALL) {
                self.fetch(wanted, controller).await?;
            }
            self.beside(&turn, payload, Self::assemble).await?;
        }
        Ok(self.payload(&payload.digest))
    }

    /// Works on the disk, beside the runtime.
    async fn beside<T: Send + 'static>(
        &self,
        turn: &Arc<OwnedMutexGuard<()>>,
        payload: &Payload,
        work: impl FnOnce(&Self, &Payload) -> Result<T, CacheError> + Send + 'static,
    ) -> Result<T, CacheError> {
        let (cache, payload, turn) = (self.clone(), payload.clone(), Arc::clone(turn));
        let work = move || {
            let done = work(&cache, &payload);
            drop(turn);
            done
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| CacheError::Io(io::Error::other(error)))?
    }

    fn room_for(&self, payload: &Payload) -> Result<(), CacheError> {
        let stat = nix::sys::statvfs::statvfs(&self.chunks).map_err(io::Error::from)?;
        let free = stat.blocks_available().saturating_mul(stat.fragment_size());
        let needed = self.needed(payload);
        if free < needed { Err(CacheError::Full { free, needed }) } else { Ok(()) }
    }

    /// Bytes that must be free: the chunks that are not here yet and the whole stand side by side for a moment.
    fn needed(&self, payload: &Payload) -> u64 {
        let distinct: BTreeSet<&Digest> = payload.chunks.iter().collect();
        let here = distinct.into_iter().filter_map(|d| fs::metadata(self.chunk(d)).ok()).map(|m| m.len()).sum();
        payload.length.saturating_sub(here).saturating_add(payload.length).saturating_add(RESERVE_BYTES)
    }

    async fn fetch(&self, wanted: &[Digest], controller: &Controller) -> Result<(), CacheError> {
        let mut open: BTreeSet<Digest> = wanted.iter().copied().collect();
        let mut failed = None;
        controller
            .chunks(wanted, |_, data| match self.take(&mut open, &data) {
                Ok(()) => true,
                Err(error) => {
                    failed = Some(error);
                    false
                }
            })
            .await?;
        if let Some(error) = failed {
            return Err(error);
        }
        match open.first() {
            None => Ok(()),
            Some(digest) => Err(FetchError::Unreachable(format!("chunk {} did not come", digest.short())).into()),
        }
    }

    /// The digest is computed here: what the controller calls a chunk does not matter.
    fn take(&self, open: &mut BTreeSet<Digest>, data: &[u8]) -> Result<(), CacheError> {
        if data.len() > CHUNK_BYTES_MAX {
            return Err(CacheError::Corrupt(format!(
                "a chunk has {} bytes; at most {CHUNK_BYTES_MAX} are accepted",
                data.len()
            )));
        }
        let found = Digest::of(data);
        if !open.remove(&found) {
            return Err(CacheError::Corrupt(format!(
                "a chunk came with digest {}, which was not asked for",
                found.short()
            )));
        }
        put(&self.chunk(&found), |file| file.write_all(data))?;
        Ok(())
    }

    /// Joins the chunks, hashing as it goes, and removes them.
    fn assemble(&self, payload: &Payload) -> Result<(), CacheError> {
        let path = self.payload(&payload.digest);
        let mut corrupt = None;
        let written = put(&path, |file| {
            let mut whole = DigestWriter::new();
            let mut length = 0_u64;
            let mut buffer = Vec::with_capacity(CHUNK_BYTES_MAX);
            for digest in &payload.chunks {
                buffer.clear();
                let chunk = self.chunk(digest);
                File::open(&chunk)?.take(CHUNK_BYTES_MAX as u64 + 1).read_to_end(&mut buffer)?;
                // It was right when it came: the disk has changed it. It is fetched again.
                if Digest::of(&buffer) != *digest {
                    fs::remove_file(&chunk)?;
                    corrupt = Some(format!("chunk {} was damaged on the node's disk", digest.short()));
                    return Err(io::Error::other("damaged chunk"));
                }
                whole.update(&buffer);
                length += buffer.len() as u64;
                file.write_all(&buffer)?;
            }
            let found = whole.finish();
            if found != payload.digest || length != payload.length {
                corrupt = Some(format!(
                    "the payload {} has digest {} and {length} bytes once put together, not those that were signed",
                    payload.file_name,
                    found.short()
                ));
                return Err(io::Error::other("damaged payload"));
            }
            Ok(())
        });
        if let Some(why) = corrupt {
            return Err(CacheError::Corrupt(why));
        }
        written?;
        for digest in &payload.chunks {
            // A repeated chunk is gone already.
            let _ = fs::remove_file(self.chunk(digest));
        }
        Ok(())
    }

    /// Removes payloads that nothing needs any more, and chunks once no payload is still to be put together. They can be
    /// fetched again.
    pub(crate) fn retain(&self, wanted: &BTreeSet<Digest>) {
        let Ok(_turn) = self.bringing.try_lock() else { return };
        let names: BTreeSet<String> = wanted.iter().map(Digest::hex).collect();
        remove_where(&self.payloads, |name| !names.contains(name));
        if wanted.iter().all(|digest| self.payload(digest).exists()) {
            remove_where(&self.chunks, |_| true);
        }
    }
}

/// Removes the files of a folder whose names are so. What can't be removed stays, and costs only room.
fn remove_where(dir: &Path, goes: impl Fn(&str) -> bool) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten().filter(|entry| goes(&entry.file_name().to_string_lossy())) {
        if let Err(error) = fs::remove_file(entry.path()) {
            tracing::debug!(%error, "an old file of the payload cache stays");
        }
    }
}

/// Writes a file that is there whole or not at all.
fn put(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut temp = tempfile::NamedTempFile::new_in(dir)?;
    write(temp.as_file_mut())?;
    temp.as_file().sync_all()?;
    temp.persist(path).map_err(|e| e.error)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(chunks: &[&[u8]]) -> Payload {
        let whole = chunks.concat();
        Payload {
            file_name: "kb.exe".to_owned(),
            digest: Digest::of(&whole),
            length: whole.len() as u64,
            chunks: chunks.iter().map(|c| Digest::of(c)).collect(),
        }
    }

    fn take(cache: &Cache, payload: &Payload, chunks: &[&[u8]]) {
        let mut open = payload.chunks.iter().copied().collect();
        for chunk in chunks {
            cache.take(&mut open, chunk).unwrap();
        }
    }

    #[test]
    fn chunks_become_a_payload_only_when_every_bit_is_right() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let payload = payload(&[b"first", b"second"]);
        take(&cache, &payload, &[b"second", b"first"]);
        // Rot on the node's own disk.
        fs::write(cache.chunk(&payload.chunks[1]), b"secont").unwrap();
        assert!(matches!(cache.assemble(&payload), Err(CacheError::Corrupt(_))));
        assert!(!cache.sound(&payload).unwrap() && !cache.chunk(&payload.chunks[1]).exists());
        take(&cache, &payload, &[b"second"]);
        cache.assemble(&payload).unwrap();
        assert_eq!(fs::read(cache.payload(&payload.digest)).unwrap(), b"firstsecond");
        assert!(cache.sound(&payload).unwrap());
        cache.retain(&BTreeSet::from([payload.digest]));
        assert!(cache.sound(&payload).unwrap());
        cache.retain(&BTreeSet::new());
        assert!(!cache.sound(&payload).unwrap());
    }

    #[test]
    fn a_payload_that_the_disk_has_changed_is_not_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let payload = payload(&[b"first", b"second"]);
        take(&cache, &payload, &[b"first", b"second"]);
        cache.assemble(&payload).unwrap();
        fs::write(cache.payload(&payload.digest), b"firstsecone").unwrap();
        assert!(!cache.sound(&payload).unwrap() && !cache.payload(&payload.digest).exists());
    }

    #[test]
    fn nothing_is_left_behind_and_what_is_here_needs_no_room_again() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let (payload, other) = (payload(&[b"first", b"second", b"first"]), payload(&[b"other"]));
        assert_eq!(cache.needed(&payload), RESERVE_BYTES + 32);
        take(&cache, &payload, &[b"second"]);
        assert_eq!(cache.needed(&payload), RESERVE_BYTES + 26);
        // The payload is still to be put together: its chunks stay.
        cache.retain(&BTreeSet::from([payload.digest]));
        assert!(cache.chunk(&payload.chunks[1]).exists());
        take(&cache, &other, &[b"other"]);
        cache.assemble(&other).unwrap();
        cache.retain(&BTreeSet::from([other.digest]));
        assert!(!cache.chunk(&payload.chunks[1]).exists(), "nobody wants it any more");
        // A process that is killed leaves what it was writing.
        let halves = [dir.path().join("chunks/.tmpA"), dir.path().join("payloads/.tmpB")];
        halves.iter().for_each(|half| fs::write(half, b"ha").unwrap());
        let cache = Cache::open(dir.path()).unwrap();
        assert!(halves.iter().all(|half| !half.exists()) && cache.sound(&other).unwrap());
    }

    #[tokio::test]
    async fn a_cache_that_works_is_not_swept() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let payload = payload(&[b"first"]);
        take(&cache, &payload, &[b"first"]);
        let turn = Arc::clone(&cache.bringing).lock_owned().await;
        cache.retain(&BTreeSet::new());
        assert!(cache.chunk(&payload.chunks[0]).exists());
        drop(turn);
        cache.retain(&BTreeSet::new());
        assert!(!cache.chunk(&payload.chunks[0]).exists());
    }

    #[test]
    fn a_flipped_bit_or_an_unwanted_chunk_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let payload = payload(&[b"first"]);
        let mut open: BTreeSet<Digest> = payload.chunks.iter().copied().collect();
        assert!(matches!(cache.take(&mut open, b"firsu"), Err(CacheError::Corrupt(_))));
        assert_eq!(open.len(), 1, "the right one is still wanted");
        let mut whole = payload.clone();
        whole.digest = Digest::of(b"other");
        take(&cache, &payload, &[b"first"]);
        assert!(matches!(cache.assemble(&whole), Err(CacheError::Corrupt(_))));
    }
}
