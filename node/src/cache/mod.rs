//! Payloads: chunks by their SHA-256, each fetched once and verified alone, put together by streaming. A payload is
//! never held in memory as a whole.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::Mutex;
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
    /// Makes the directories.
    pub(crate) fn open(state_dir: &Path) -> io::Result<Self> {
        let cache =
            Self { chunks: state_dir.join("chunks"), payloads: state_dir.join("payloads"), bringing: Arc::default() };
        fs::create_dir_all(&cache.chunks)?;
        fs::create_dir_all(&cache.payloads)?;
        Ok(cache)
    }

    fn chunk(&self, digest: &Digest) -> PathBuf {
        self.chunks.join(digest.hex())
    }

    /// Where the whole payload is once [`Cache::bring`] has returned.
    pub(crate) fn payload(&self, digest: &Digest) -> PathBuf {
        self.payloads.join(digest.hex())
    }

    /// True when the whole payload is here.
    pub(crate) fn has(&self, payload: &Payload) -> bool {
        fs::metadata(self.payload(&payload.digest)).is_ok_and(|m| m.len() == payload.length)
    }

    /// Brings the payload here: fetches only the chunks that are missing, also after a restart.
    pub(crate) async fn bring(&self, payload: &Payload, controller: &Controller) -> Result<PathBuf, CacheError> {
        let path = self.payload(&payload.digest);
        if self.has(payload) {
            return Ok(path);
        }
        let bringing = Arc::clone(&self.bringing).lock_owned().await;
        if self.has(payload) {
            return Ok(path);
        }
        self.room_for(payload)?;
        let missing: BTreeSet<Digest> = payload.chunks.iter().filter(|d| !self.chunk(d).exists()).copied().collect();
        let missing: Vec<Digest> = missing.into_iter().collect();
        for wanted in missing.chunks(CHUNKS_PER_CALL) {
            self.fetch(wanted, controller).await?;
        }
        let (cache, payload) = (self.clone(), payload.clone());
        // The guard goes along: who stops waiting does not stop the thread that removes the chunks.
        let assemble = move || {
            let _bringing = bringing;
            cache.assemble(&payload)
        };
        tokio::task::spawn_blocking(assemble).await.map_err(|e| CacheError::Io(io::Error::other(e)))??;
        Ok(path)
    }

    fn room_for(&self, payload: &Payload) -> Result<(), CacheError> {
        let stat = nix::sys::statvfs::statvfs(&self.chunks).map_err(io::Error::from)?;
        let free = stat.blocks_available().saturating_mul(stat.fragment_size());
        // The chunks and the whole stand side by side for a moment.
        let needed = payload.length.saturating_mul(2).saturating_add(RESERVE_BYTES);
        if free < needed { Err(CacheError::Full { free, needed }) } else { Ok(()) }
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

    /// Removes payloads that nothing needs any more; they can be fetched again.
    pub(crate) fn retain(&self, wanted: &BTreeSet<Digest>) {
        let Ok(entries) = fs::read_dir(&self.payloads) else { return };
        let names: BTreeSet<String> = wanted.iter().map(Digest::hex).collect();
        for entry in entries.flatten() {
            let known = entry.file_name().to_str().is_some_and(|name| names.contains(name) || name.starts_with('.'));
            if !known && let Err(error) = fs::remove_file(entry.path()) {
                tracing::debug!(%error, "an old payload stays");
            }
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
        assert!(!cache.has(&payload) && !cache.chunk(&payload.chunks[1]).exists());
        take(&cache, &payload, &[b"second"]);
        cache.assemble(&payload).unwrap();
        assert_eq!(fs::read(cache.payload(&payload.digest)).unwrap(), b"firstsecond");
        cache.retain(&BTreeSet::new());
        assert!(!cache.has(&payload));
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
