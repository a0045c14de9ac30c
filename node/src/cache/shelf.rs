//! Payloads that are whole: shared by the devices of the site, kept for as long as there is room, and a source of chunks for
//! newer builds of the same thing.
//!
//! `payloads/HEX` is the payload, `payloads/HEX.index` lists its chunks. An index is a hint: what it points at is hashed before
//! it is used, and one that is torn, lies or is not there costs only a fetch.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use wardround_rollout_plans::model::{CHUNK_BYTES_MAX, CHUNKS_MAX, Payload, Span};
use wardround_signing::{Digest, DigestWriter};

use super::{CacheError, part::Part};

const INDEX: &str = ".index";
/// What an index begins with; the last byte is its version.
const MAGIC: &[u8; 8] = b"WRINDEX\x01";
/// Bytes of an entry: SHA-256, and length in little-endian.
const ENTRY: usize = 36;

/// The folder.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    pub(super) folder: PathBuf,
}

/// One file on the shelf, or one that is on its way.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) digest: Digest,
    path: PathBuf,
    pub(super) bytes: u64,
    /// When it was last used.
    used: SystemTime,
}

/// Which go so that `over` bytes are gained: those that were used longest ago first, and those that others are made from
/// (`serves`) last. None that is `needed`.
pub(super) fn leaves<'h>(
    held: &'h [Held],
    over: u64,
    needed: &BTreeSet<Digest>,
    serves: &BTreeSet<Digest>,
) -> Vec<&'h Held> {
    let mut may: Vec<&Held> = held.iter().filter(|one| !needed.contains(&one.digest)).collect();
    may.sort_by_key(|one| (serves.contains(&one.digest), one.used, one.digest));
    let mut gained = 0;
    may.into_iter()
        .take_while(|one| {
            let more = gained < over;
            gained += one.bytes;
            more
        })
        .collect()
}

impl Shelf {
    pub(super) fn payload(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }

    fn index(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.hex() + INDEX)
    }

    /// True when the whole payload is here, as it was signed: it may have lain on the node's disk for weeks. One that the
    /// disk has changed is removed.
    pub(super) fn sound(&self, payload: &Payload) -> io::Result<bool> {
        let path = self.payload(&payload.digest);
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened?,
        };
        let mut found = DigestWriter::new();
        if file.metadata()?.len() == payload.length {
            let mut buffer = vec![0; 256 * 1024];
            loop {
                let read = file.read(&mut buffer)?;
                if read == 0 {
                    break;
                }
                found.update(&buffer[..read]);
            }
            if found.finish() == payload.digest {
                self.touch(&payload.digest);
                return Ok(true);
            }
        }
        tracing::warn!(payload = payload.file_name, "a payload was damaged on the node's disk; it is fetched again");
        fs::remove_file(&path)?;
        Ok(false)
    }

    /// It was used now. Where that can't be noted it only goes earlier.
    fn touch(&self, digest: &Digest) {
        let noted =
            File::options().write(true).open(self.payload(digest)).and_then(|f| f.set_modified(SystemTime::now()));
        if let Err(error) = noted {
            tracing::debug!(%error, "the use of a payload could not be noted");
        }
    }

    /// Lists the chunks of a payload that has just become whole.
    pub(super) fn list(&self, payload: &Payload, spans: &[Span]) -> io::Result<()> {
        let mut bytes = MAGIC.to_vec();
        for span in spans {
            bytes.extend_from_slice(span.digest.as_bytes());
            bytes.extend_from_slice(&span.bytes.to_le_bytes());
        }
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        io::Write::write_all(&mut file, &bytes)?;
        file.persist(self.index(&payload.digest)).map_err(|e| e.error)?;
        Ok(())
    }

    /// Where chunks that `part` wants are said to be in this payload. What is no index says nothing.
    fn offers(&self, digest: &Digest, part: &Part) -> Vec<(Digest, u64, u32)> {
        let most = MAGIC.len() + CHUNKS_MAX * ENTRY;
        let mut bytes = Vec::new();
        let read = File::open(self.index(digest)).and_then(|file| file.take(most as u64 + 1).read_to_end(&mut bytes));
        let Some(entries) = read.ok().and(bytes.strip_prefix(MAGIC)).filter(|entries| entries.len() % ENTRY == 0)
        else {
            return Vec::new();
        };
        let (mut offset, mut offers) = (0_u64, Vec::new());
        for entry in entries.chunks_exact(ENTRY) {
            let (chunk, length) = entry.split_at(32);
            let (Ok(chunk), Ok(length)) = (Digest::from_slice(chunk), length.try_into().map(u32::from_le_bytes)) else {
                return Vec::new();
            };
            if length > CHUNK_BYTES_MAX {
                return Vec::new();
            }
            if part.wanted(&chunk).is_some() {
                offers.push((chunk, offset, length));
            }
            offset += u64::from(length);
        }
        offers
    }

    /// Takes what the part lacks out of the payloads that are here; says how many bytes that spared the line, and from which
    /// payloads they came.
    pub(super) fn give(&self, own: &Digest, part: &Part) -> Result<(u64, BTreeSet<Digest>), CacheError> {
        let (mut spared, mut from) = (0, BTreeSet::new());
        for held in self.held()? {
            if held.digest == *own || part.lacks() == 0 {
                continue;
            }
            let Ok(file) = File::open(&held.path) else { continue };
            let mut buffer = Vec::new();
            for (digest, offset, length) in self.offers(&held.digest, part) {
                let Some(span) = part.wanted(&digest).filter(|span| span.bytes == length) else { continue };
                buffer.resize(length as usize, 0);
                if file.read_exact_at(&mut buffer, offset).is_err() {
                    break;
                }
                match part.keep(&span, &buffer) {
                    Ok(()) => {
                        spared += u64::from(length);
                        from.insert(held.digest);
                    }
                    // The index lies, or the disk has changed the payload: it is fetched instead.
                    Err(CacheError::Corrupt(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        for digest in &from {
            self.touch(digest);
        }
        Ok((spared, from))
    }

    /// The payloads from which the part could be made, as their indices say.
    pub(super) fn serving(&self, part: &Part) -> io::Result<BTreeSet<Digest>> {
        let all = self.held()?.into_iter().map(|held| held.digest);
        Ok(all.filter(|digest| !self.offers(digest, part).is_empty()).collect())
    }

    /// What is on the shelf.
    pub(super) fn held(&self) -> io::Result<Vec<Held>> {
        held(&self.folder)
    }

    /// Removes one, and what belongs to it. What can't be removed stays, and costs only room.
    pub(super) fn remove(&self, held: &Held) {
        // Also one that is on its way: its index is not there yet, or is that of a whole one that has gone.
        for path in [&self.index(&held.digest), &held.path] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, "an old payload stays on the node's disk");
                }
                _ => {}
            }
        }
    }
}

/// The payload files of a folder, by the digests that they are named for.
pub(super) fn held(folder: &Path) -> io::Result<Vec<Held>> {
    let mut held = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(Ok(digest)) = name.to_str().map(|hex| format!("sha256:{hex}").parse()) else { continue };
        let meta = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            meta => meta?,
        };
        held.push(Held { digest, path: entry.path(), bytes: meta.len(), used: meta.modified()? });
    }
    Ok(held)
}
