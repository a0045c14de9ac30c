//! Payload chunks on disk, named by the SHA-256 of their plain bytes: `payloads/ab/abcd…` as they are,
//! `payloads/ab/abcd….zst` packed. Checked when written, and when read for the first time since the start.

mod disk;
mod sweep;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use wardround_chunks::Unpacker;
use wardround_signing::Digest;

use disk::sync_folder;
pub(crate) use sweep::keep_swept;

/// Largest chunk, bytes, plain or packed: what one message may carry.
pub(crate) const CHUNK_BYTES_MAX: usize = 1024 * 1024;
/// Chunks of which it is remembered that they were read and right: 8 MiB of digests, 16 GiB of payloads.
const SOUND_MAX: usize = 256 * 1024;

/// Why a chunk could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PayloadError {
    /// Not there.
    #[error("there is no chunk {0}")]
    NotFound(Digest),
    /// Not what it was.
    #[error("chunk {digest} is damaged on the controller's disk ({path}): its content has another SHA-256")]
    Damaged {
        /// Which.
        digest: Digest,
        /// Where.
        path: String,
    },
    /// Over the limit, or empty.
    #[error("a chunk has 1 to {CHUNK_BYTES_MAX} bytes, not {0}")]
    Size(usize),
    /// Nothing that becomes a chunk.
    #[error("a packed chunk is no chunk: {0}")]
    Packed(String),
    /// Too little space left.
    #[error("{free} bytes are free below {directory}; chunks are taken only while more than {floor} are free")]
    DiskFull {
        /// Where.
        directory: String,
        /// Free now.
        free: u64,
        /// Kept for the journal.
        floor: u64,
    },
    /// The file system said no.
    #[error("can't {what}: {source}")]
    Io {
        /// As in "can't write chunk …".
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A chunk as it lies on the disk, or travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Its bytes, or one zstd frame of them.
    pub(crate) data: Vec<u8>,
    /// Which of the two.
    pub(crate) packed: bool,
}

/// The store.
#[derive(Debug, Clone)]
pub(crate) struct Payloads {
    directory: PathBuf,
    free_bytes_min: u64,
    /// Chunks that were read and right since the start: a payload that thousands of sites fetch is hashed once. A node
    /// compares anyway, and has a chunk read anew when it is not right.
    sound: Arc<Mutex<HashSet<Digest>>>,
    /// Whoever relies on chunks that are here reads; the sweep writes.
    sweeping: Arc<RwLock<()>>,
}

/// The two names that a chunk may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Packed,
    Plain,
}

impl Form {
    const ALL: [Self; 2] = [Self::Packed, Self::Plain];

    fn ending(self) -> &'static str {
        match self {
            Self::Packed => ".zst",
            Self::Plain => "",
        }
    }
}

impl Payloads {
    /// The store in `directory`; `free_bytes_min` stays free for the journal. Left-overs of interrupted writes are removed.
    pub(crate) fn open(directory: &Path, free_bytes_min: u64) -> Result<Self, PayloadError> {
        disk::prepare(directory).map_err(io_error(format!("open the payload store {}", directory.display())))?;
        Ok(Self { directory: directory.to_owned(), free_bytes_min, sound: Arc::default(), sweeping: Arc::default() })
    }

    fn path(&self, digest: &Digest, form: Form) -> PathBuf {
        let hex = digest.hex();
        self.directory.join(&hex[..2]).join(hex + form.ending())
    }

    /// True when the chunk's file is there.
    #[cfg(test)]
    fn has(&self, digest: &Digest) -> bool {
        Form::ALL.iter().any(|form| self.path(digest, *form).is_file())
    }

    /// A chunk's plain bytes, checked.
    pub(crate) fn get(&self, digest: &Digest) -> Result<Vec<u8>, PayloadError> {
        let kept = self.read(digest)?;
        self.checked(digest, kept)
    }

    /// A chunk as it may be sent: packed only to those who take it so; checked when it was not yet, and when it is
    /// demanded.
    pub(crate) fn serve(&self, digest: &Digest, takes_packed: bool, afresh: bool) -> Result<Kept, PayloadError> {
        let kept = self.read(digest)?;
        let sound = !afresh && self.sound().contains(digest);
        if sound && (takes_packed || !kept.packed) {
            return Ok(kept);
        }
        if takes_packed && kept.packed {
            self.checked(digest, kept.clone())?;
            return Ok(kept);
        }
        Ok(Kept { data: self.checked(digest, kept)?, packed: false })
    }

    fn sound(&self) -> std::sync::MutexGuard<'_, HashSet<Digest>> {
        self.sound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn found_sound(&self, digest: &Digest) {
        let mut sound = self.sound();
        if sound.len() >= SOUND_MAX {
            sound.clear();
        }
        sound.insert(*digest);
    }

    fn read(&self, digest: &Digest) -> Result<Kept, PayloadError> {
        for form in Form::ALL {
            let path = self.path(digest, form);
            let read = File::open(&path).and_then(|file| {
                let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
                // Room for all of it from the beginning: what grows is copied each time.
                let mut data = Vec::with_capacity(length.min(CHUNK_BYTES_MAX));
                // Never read a file into memory that can't be a chunk.
                file.take(CHUNK_BYTES_MAX as u64 + 1).read_to_end(&mut data)?;
                Ok(data)
            });
            match read {
                Ok(data) if data.len() > CHUNK_BYTES_MAX => return Err(self.damaged(digest, form)),
                Ok(data) => return Ok(Kept { data, packed: form == Form::Packed }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(PayloadError::Io { what: format!("read chunk {digest}"), source }),
            }
        }
        Err(PayloadError::NotFound(*digest))
    }

    /// The plain bytes, when they are those of the name.
    fn checked(&self, digest: &Digest, kept: Kept) -> Result<Vec<u8>, PayloadError> {
        let form = if kept.packed { Form::Packed } else { Form::Plain };
        let plain = plain(kept).ok().filter(|plain| Digest::of(plain) == *digest);
        match plain {
            Some(plain) => {
                self.found_sound(digest);
                Ok(plain)
            }
            None => {
                self.sound().remove(digest);
                Err(self.damaged(digest, form))
            }
        }
    }

    fn damaged(&self, digest: &Digest, form: Form) -> PayloadError {
        PayloadError::Damaged { digest: *digest, path: self.path(digest, form).display().to_string() }
    }

    /// Stores chunks durably, each under the SHA-256 of its plain bytes, and says how many were new. A damaged one is
    /// replaced. The first fault ends it; what was stored until then stays.
    pub(crate) fn put_all(&self, chunks: Vec<Kept>) -> Result<u64, PayloadError> {
        let _held = self.sweeping.read().unwrap_or_else(PoisonError::into_inner);
        let (stored, fault) = self.write_all(chunks);
        // It may have been put there by another call a moment ago: that one counts for this call too.
        self.settle(&stored.iter().map(|incoming| incoming.digest).collect::<Vec<_>>())?;
        match fault {
            None => Ok(stored.iter().filter(|incoming| incoming.new).count() as u64),
            Some(fault) => Err(fault),
        }
    }

    /// Makes chunks that are here survive a power cut. Their content is synced before they get their name; this syncs the
    /// names, also of those whose own call has not come that far.
    fn settle(&self, digests: &[Digest]) -> Result<(), PayloadError> {
        let folders: std::collections::BTreeSet<PathBuf> =
            digests.iter().filter_map(|digest| self.path(digest, Form::Plain).parent().map(Path::to_owned)).collect();
        folders.iter().try_for_each(|folder| {
            sync_folder(folder).map_err(io_error(format!("sync the payload folder {}", folder.display())))
        })
    }

    /// Keeps chunks from the sweep for as long as an import may take, and on the disk for good. Says which are not there.
    pub(crate) fn hold(&self, digests: &[Digest]) -> Result<Vec<Digest>, PayloadError> {
        let _held = self.sweeping.read().unwrap_or_else(PoisonError::into_inner);
        let now = std::time::SystemTime::now();
        let mut absent = Vec::new();
        for digest in digests {
            let mut there = false;
            for form in Form::ALL {
                match fs::OpenOptions::new().write(true).open(self.path(digest, form)) {
                    Ok(file) => {
                        there = true;
                        file.set_modified(now).map_err(io_error(format!("keep chunk {digest}")))?;
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(source) => return Err(PayloadError::Io { what: format!("keep chunk {digest}"), source }),
                }
            }
            if !there {
                absent.push(*digest);
            }
        }
        self.settle(digests)?;
        Ok(absent)
    }

    pub(super) fn check_space(&self) -> Result<(), PayloadError> {
        let stat = nix::sys::statvfs::statvfs(&self.directory)
            .map_err(|e| PayloadError::Io { what: "ask for the free space".to_owned(), source: e.into() })?;
        let free = stat.blocks_available().saturating_mul(stat.fragment_size());
        if free > self.free_bytes_min {
            return Ok(());
        }
        Err(PayloadError::DiskFull {
            directory: self.directory.display().to_string(),
            free,
            floor: self.free_bytes_min,
        })
    }
}

/// What a chunk's bytes become.
fn plain(kept: Kept) -> Result<Vec<u8>, PayloadError> {
    if !kept.packed {
        return Ok(kept.data);
    }
    let packed = |why: String| PayloadError::Packed(why);
    let mut unpacker = Unpacker::new().map_err(|error| packed(error.to_string()))?;
    unpacker.unpack_at_most(&kept.data, CHUNK_BYTES_MAX).map_err(|error| packed(error.to_string()))
}

fn io_error(what: String) -> impl FnOnce(io::Error) -> PayloadError {
    move |source| PayloadError::Io { what, source }
}
