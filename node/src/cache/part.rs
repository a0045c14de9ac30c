//! A payload that is on its way: one file, into which each chunk is written at its place once it is known to be right.
//!
//! The file is all that there is to know after a crash: what is in it is read and hashed, and what is not right is missing.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use wardround_chunks::Unpacker;
use wardround_rollout_plans::model::{CHUNK_BYTES_MAX, Payload, Span};
use wardround_signing::{Digest, DigestWriter};

use super::{CacheError, Came};

/// Bytes that are hashed in one go.
const BLOCK: usize = 256 * 1024;
/// Bytes after which the disk is made to begin: the sync at the end would else wait for all of them at once.
const WRITE_BACK_BYTES: u64 = 32 * 1024 * 1024;

/// The file and what is right in it.
pub(super) struct Part {
    path: PathBuf,
    file: File,
    spans: Vec<Span>,
    /// Where each chunk stands: more than once, when it is repeated.
    places: HashMap<Digest, Vec<usize>>,
    state: Mutex<State>,
    /// Bytes that were written since the disk was last made to begin.
    unwritten: AtomicU64,
    /// The whole is hashed while it comes, behind what is there without a gap.
    whole: Mutex<Whole>,
}

#[derive(Debug)]
struct State {
    done: Vec<bool>,
    /// Every chunk before this one is there.
    gap: usize,
}

struct Whole {
    hash: DigestWriter,
    upto: u64,
}

fn corrupt<T>(why: String) -> Result<T, CacheError> {
    Err(CacheError::Corrupt(why))
}

impl Part {
    /// Goes on with what is there, however it came about.
    pub(super) fn open(path: &Path, spans: Vec<Span>) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut places: HashMap<Digest, Vec<usize>> = HashMap::with_capacity(spans.len());
        for (index, span) in spans.iter().enumerate() {
            places.entry(span.digest).or_default().push(index);
        }
        let there = file.metadata()?.len();
        let mut done = vec![false; spans.len()];
        let mut buffer = Vec::new();
        for (span, done) in spans.iter().zip(&mut done) {
            if span.offset + u64::from(span.bytes) <= there {
                buffer.resize(span.bytes as usize, 0);
                file.read_exact_at(&mut buffer, span.offset)?;
                *done = Digest::of(&buffer) == span.digest;
            }
        }
        let part = Self {
            path: path.to_owned(),
            file,
            spans,
            places,
            state: Mutex::new(State { done, gap: 0 }),
            unwritten: AtomicU64::new(0),
            whole: Mutex::new(Whole { hash: DigestWriter::new(), upto: 0 }),
        };
        part.state().close(&[]);
        Ok(part)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False when the file that this writes to has gone, or another has taken its place.
    pub(super) fn is_there(&self) -> bool {
        let same = || Ok::<_, io::Error>(fs::metadata(&self.path)?.ino() == self.file.metadata()?.ino());
        same().unwrap_or(false)
    }

    pub(super) fn spans(&self) -> &[Span] {
        &self.spans
    }

    pub(super) fn span(&self, index: usize) -> Span {
        self.spans[index]
    }

    /// The chunks that are not there yet, each once, in order.
    pub(super) fn missing(&self) -> Vec<usize> {
        let state = self.state();
        let first = |index: &usize| self.places[&self.spans[*index].digest].first() == Some(index);
        (0..self.spans.len()).filter(|index| !state.done[*index]).filter(first).collect()
    }

    /// Bytes that are not there yet.
    pub(super) fn lacks(&self) -> u64 {
        let state = self.state();
        self.spans.iter().zip(&state.done).filter(|(_, done)| !**done).map(|(span, _)| u64::from(span.bytes)).sum()
    }

    /// The chunk with this digest, if it is one that is missing.
    pub(super) fn wanted(&self, digest: &Digest) -> Option<Span> {
        let first = *self.places.get(digest)?.first()?;
        (!self.state().done[first]).then(|| self.spans[first])
    }

    /// Takes in what came over the line for these chunks: any bytes at all. Only those whose SHA-256 was signed are written.
    pub(super) fn take(&self, came: Vec<(usize, Came)>) -> Result<(), CacheError> {
        let mut unpacker: Option<Unpacker> = None;
        for (index, came) in came {
            let span = self.spans[index];
            let short = span.digest.short();
            if came.data.len() > CHUNK_BYTES_MAX as usize {
                return corrupt(format!(
                    "a chunk has {} bytes; at most {CHUNK_BYTES_MAX} are accepted",
                    came.data.len()
                ));
            }
            if came.packed {
                let unpacker = match &mut unpacker {
                    Some(unpacker) => unpacker,
                    none => none.insert(Unpacker::new()?),
                };
                match unpacker.unpack(&came.data, span.bytes as usize) {
                    Ok(plain) => self.keep(&span, &plain)?,
                    Err(error) => return corrupt(format!("chunk {short} came packed, and {error}")),
                }
            } else {
                self.keep(&span, &came.data)?;
            }
        }
        self.write_back()?;
        self.hash_on()
    }

    /// What has been written goes to the disk while the line brings more. One thread waits for it, the others go on.
    fn write_back(&self) -> io::Result<()> {
        let due = |unwritten: u64| (unwritten >= WRITE_BACK_BYTES).then_some(0);
        match self.unwritten.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due) {
            Ok(_) => self.file.sync_data(),
            Err(_) => Ok(()),
        }
    }

    /// Writes a chunk wherever it stands. Here it is decided whether it is one.
    pub(super) fn keep(&self, span: &Span, plain: &[u8]) -> Result<(), CacheError> {
        if plain.len() != span.bytes as usize {
            let (short, came) = (span.digest.short(), plain.len());
            return corrupt(format!("chunk {short} came with {came} bytes; {} were signed", span.bytes));
        }
        let found = Digest::of(plain);
        if found != span.digest {
            return corrupt(format!("chunk {} came with digest {}", span.digest.short(), found.short()));
        }
        let places = &self.places[&span.digest];
        for index in places {
            self.file.write_all_at(plain, self.spans[*index].offset)?;
            self.unwritten.fetch_add(plain.len() as u64, Ordering::Relaxed);
        }
        self.state().close(places);
        Ok(())
    }

    /// Hashes the whole as far as it is there without a gap. Whoever finds another at it leaves it to that one.
    pub(super) fn hash_on(&self) -> Result<(), CacheError> {
        let Ok(mut whole) = self.whole.try_lock() else { return Ok(()) };
        self.hash_upto(&mut whole)
    }

    fn hash_upto(&self, whole: &mut Whole) -> Result<(), CacheError> {
        let mut buffer = vec![0; BLOCK];
        loop {
            let gap = self.state().gap;
            let end = self.spans.get(gap).map_or_else(|| self.bytes(), |span| span.offset);
            if whole.upto >= end {
                return Ok(());
            }
            while whole.upto < end {
                let next = usize::try_from(end - whole.upto).map_or(BLOCK, |left| left.min(BLOCK));
                self.file.read_exact_at(&mut buffer[..next], whole.upto)?;
                whole.hash.update(&buffer[..next]);
                whole.upto += next as u64;
            }
        }
    }

    fn bytes(&self) -> u64 {
        self.spans.last().map_or(0, |last| last.offset + u64::from(last.bytes))
    }

    /// Makes it the payload `at`: only when every chunk is there and the whole is what was signed.
    pub(super) fn finish(&self, payload: &Payload, at: &Path) -> Result<(), CacheError> {
        if let Some(index) = self.state().done.iter().position(|done| !done) {
            return corrupt(format!("chunk {} is not there", self.spans[index].digest.short()));
        }
        let mut whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        self.hash_upto(&mut whole)?;
        let found = std::mem::take(&mut whole.hash).finish();
        if found != payload.digest || whole.upto != payload.length {
            // Every chunk was right when it came: either the disk has changed one, or the document contradicts itself.
            fs::remove_file(&self.path)?;
            return corrupt(format!(
                "the payload {} has digest {} and {} bytes once put together, not those that were signed",
                payload.file_name,
                found.short(),
                whole.upto
            ));
        }
        self.file.set_len(payload.length)?;
        self.file.sync_all()?;
        fs::rename(&self.path, at)?;
        if let Some(folder) = at.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

impl State {
    /// These are there now.
    fn close(&mut self, places: &[usize]) {
        for index in places {
            self.done[*index] = true;
        }
        while self.done.get(self.gap) == Some(&true) {
            self.gap += 1;
        }
    }
}
