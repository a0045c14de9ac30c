//! Payload chunks on disk: `payloads/ab/abcd…`, named by their SHA-256, checked when written and when read.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use wardround_signing::Digest;

/// Largest chunk, bytes: what one message may carry.
pub(crate) const CHUNK_BYTES_MAX: usize = 1024 * 1024;

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

/// The store.
#[derive(Debug, Clone)]
pub(crate) struct Payloads {
    directory: PathBuf,
    free_bytes_min: u64,
}

impl Payloads {
    /// The store in `directory`; `free_bytes_min` stays free for the journal. Left-overs of interrupted writes are removed.
    pub(crate) fn open(directory: &Path, free_bytes_min: u64) -> Result<Self, PayloadError> {
        let made = || -> io::Result<()> {
            // All folders now, so that no chunk is ever acknowledged in one that a power cut could take away.
            for folder in 0..=u8::MAX {
                fs::create_dir_all(directory.join(format!("{folder:02x}")))?;
            }
            fs::create_dir_all(directory.join("tmp"))?;
            for entry in fs::read_dir(directory.join("tmp"))? {
                fs::remove_file(entry?.path())?;
            }
            sync_folder(directory)?;
            // "" is what a relative path of one component has for a parent.
            let parent = directory.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            sync_folder(parent)
        };
        made().map_err(io_error(format!("open the payload store {}", directory.display())))?;
        Ok(Self { directory: directory.to_owned(), free_bytes_min })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.directory.join(&hex[..2]).join(hex)
    }

    /// True when the chunk's file is there. Its content is checked when it is read.
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    /// Stores a chunk durably under its SHA-256. `true` when it was new; a damaged one is replaced.
    pub(crate) fn put(&self, data: &[u8]) -> Result<(Digest, bool), PayloadError> {
        if data.is_empty() || data.len() > CHUNK_BYTES_MAX {
            return Err(PayloadError::Size(data.len()));
        }
        let digest = Digest::of(data);
        if self.get(&digest).is_ok() {
            // It may have been put there by another call a moment ago.
            self.settle(std::slice::from_ref(&digest))?;
            return Ok((digest, false));
        }
        self.check_space()?;
        let path = self.path(&digest);
        let written = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(self.directory.join("tmp"))?;
            file.write_all(data)?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|e| e.error)?;
            Ok(())
        };
        written().map_err(io_error(format!("write chunk {digest}")))?;
        self.settle(std::slice::from_ref(&digest))?;
        Ok((digest, true))
    }

    /// Makes chunks that are here survive a power cut. Their content is synced before they get their name; this syncs the
    /// names, also of those whose own call has not come that far.
    pub(crate) fn settle(&self, digests: &[Digest]) -> Result<(), PayloadError> {
        let folders: BTreeSet<PathBuf> =
            digests.iter().filter_map(|digest| self.path(digest).parent().map(Path::to_owned)).collect();
        folders.iter().try_for_each(|folder| {
            sync_folder(folder).map_err(io_error(format!("sync the payload folder {}", folder.display())))
        })
    }

    /// A chunk, checked.
    pub(crate) fn get(&self, digest: &Digest) -> Result<Vec<u8>, PayloadError> {
        let path = self.path(digest);
        let damaged = || PayloadError::Damaged { digest: *digest, path: path.display().to_string() };
        let data = match fs::metadata(&path) {
            // Never read a file into memory that can't be a chunk.
            Ok(meta) if meta.len() > CHUNK_BYTES_MAX as u64 => return Err(damaged()),
            Ok(_) => fs::read(&path),
            Err(error) => Err(error),
        };
        let data = data.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => PayloadError::NotFound(*digest),
            _ => PayloadError::Io { what: format!("read chunk {digest}"), source },
        })?;
        if Digest::of(&data) == *digest { Ok(data) } else { Err(damaged()) }
    }

    fn check_space(&self) -> Result<(), PayloadError> {
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

/// Makes the names in a folder survive a power cut.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn io_error(what: String) -> impl FnOnce(io::Error) -> PayloadError {
    move |source| PayloadError::Io { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_goes_round_and_a_flipped_bit_is_found_and_mended() {
        let dir = tempfile::tempdir().unwrap();
        let store = Payloads::open(dir.path(), 0).unwrap();
        let (digest, new) = store.put(b"payload").unwrap();
        assert!(new && store.has(&digest));
        assert!(!store.put(b"payload").unwrap().1);
        assert_eq!(store.get(&digest).unwrap(), b"payload");
        let path = store.path(&digest);
        let mut bytes = fs::read(&path).unwrap();
        bytes[3] ^= 1;
        fs::write(&path, bytes).unwrap();
        let error = store.get(&digest).unwrap_err();
        assert!(matches!(error, PayloadError::Damaged { .. }), "{error}");
        assert!(store.put(b"payload").unwrap().1, "stored anew");
        assert_eq!(store.get(&digest).unwrap(), b"payload");
    }

    #[test]
    fn every_folder_is_there_from_the_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let store = Payloads::open(&dir.path().join("payloads"), 0).unwrap();
        for n in 0..64_u8 {
            let digest = Digest::of(&[n]);
            assert!(store.path(&digest).parent().unwrap().is_dir(), "{digest}");
        }
        store.settle(&[Digest::of(b"a"), Digest::of(b"b")]).unwrap();
    }

    #[test]
    fn limits_hold() {
        let dir = tempfile::tempdir().unwrap();
        let store = Payloads::open(dir.path(), u64::MAX).unwrap();
        assert!(matches!(store.put(b"x"), Err(PayloadError::DiskFull { .. })));
        assert!(matches!(store.put(b""), Err(PayloadError::Size(0))));
        assert!(matches!(store.put(&vec![0; CHUNK_BYTES_MAX + 1]), Err(PayloadError::Size(_))));
        assert!(matches!(store.get(&Digest::of(b"absent")), Err(PayloadError::NotFound(_))));
        assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
    }
}
