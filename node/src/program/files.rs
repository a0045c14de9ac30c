//! The record and the slots on disk, below `STATE/program`.
//!
//! | file | holds |
//! |---|---|
//! | `record.json` | the [`Record`]; replaced as a whole |
//! | `lock` | held while the record is read, decided upon, and replaced: by the node or its supervisor |
//! | `supervisor` | held by the supervisor for its life |
//! | `child.json` | the process that the supervisor has started |
//! | `a/wardround`, `b/wardround` | programs |
//! | `staged/OP/FILE` | a payload before it has its slot |

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use wardround_signing::{Digest, DigestWriter};

use super::{Answer, Event, Image, Record, Slot, decide, decide::RECORD_VERSION};
use crate::{
    NodeError,
    files::{PUBLIC, read, replace, sync_folder},
};

/// Longest record, bytes: it holds some ten short texts.
const RECORD_BYTES_MAX: u64 = 64 * 1024;
/// How much of a file is hashed at once.
const BLOCK: usize = 256 * 1024;

/// A node's programs.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    dir: PathBuf,
}

impl Programs {
    pub(crate) fn of(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("program") }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes the folders.
    pub(crate) fn prepare(&self) -> Result<(), NodeError> {
        for slot in Slot::ALL {
            let path = self.dir.join(slot.word());
            fs::create_dir_all(&path).map_err(|source| NodeError::File { path, verb: "made", source })?;
        }
        Ok(())
    }

    pub(crate) fn file(&self, slot: Slot) -> PathBuf {
        self.dir.join(slot.word()).join("wardround")
    }

    pub(crate) fn staged(&self, op: &str) -> PathBuf {
        self.dir.join("staged").join(op)
    }

    fn record_path(&self) -> PathBuf {
        self.dir.join("record.json")
    }

    /// The record; an empty one where there is none yet.
    ///
    /// # Errors
    /// [`NodeError::Program`] when it is damaged, or of a later form.
    pub(crate) fn record(&self) -> Result<Record, NodeError> {
        let path = self.record_path();
        let bytes = match read(&path, RECORD_BYTES_MAX) {
            Err(NodeError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(Record::default());
            }
            read => read?,
        };
        let damaged = |why: String| NodeError::Program { why: format!("{} can't be used: {why}", path.display()) };
        let record: Record = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if record.version != RECORD_VERSION {
            return Err(damaged(format!("it is of form {}, this program knows {RECORD_VERSION}", record.version)));
        }
        Ok(record)
    }

    /// Puts a record that can't be read aside.
    pub(crate) fn set_aside(&self) -> Result<(), NodeError> {
        let (path, aside) = (self.record_path(), self.dir.join("record.damaged.json"));
        fs::rename(&path, &aside).map_err(|source| NodeError::File { path, verb: "set aside", source })
    }

    /// Reads, decides, and writes when something has changed; the answer counts from then on.
    ///
    /// # Errors
    /// [`NodeError`] when the record can't be read or written: then nothing has changed.
    pub(crate) fn step(&self, event: &Event) -> Result<Answer, NodeError> {
        self.prepare()?;
        let _held = self.hold("lock").map_err(|source| self.unheld("lock", source))?;
        let record = self.record()?;
        let (next, answer) = decide(&record, event);
        if next != record {
            let bytes = serde_json::to_vec_pretty(&next).map_err(|e| NodeError::Program { why: e.to_string() })?;
            replace(&self.record_path(), &bytes, PUBLIC)?;
        }
        Ok(answer)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().create(true).truncate(false).write(true).open(self.dir.join(name))
    }

    fn hold(&self, name: &str) -> io::Result<File> {
        let file = self.open(name)?;
        file.lock()?;
        Ok(file)
    }

    fn unheld(&self, name: &str, source: io::Error) -> NodeError {
        NodeError::File { path: self.dir.join(name), verb: "held", source }
    }

    /// For the supervisor's life: there is one.
    pub(crate) fn only_supervisor(&self) -> Result<File, NodeError> {
        let file = self.open("supervisor").map_err(|source| self.unheld("supervisor", source))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => {
                Err(NodeError::Program { why: format!("another supervisor runs for {}", self.dir.display()) })
            }
            Err(fs::TryLockError::Error(source)) => Err(self.unheld("supervisor", source)),
        }
    }

    /// Moves a staged program into `image`'s slot; what lay there is gone.
    pub(crate) fn put(&self, staged: &Path, image: &Image) -> io::Result<()> {
        let to = self.file(image.slot);
        let file = File::open(staged)?;
        file.set_permissions(fs::Permissions::from_mode(0o700))?;
        file.sync_all()?;
        fs::rename(staged, &to)?;
        sync_folder(&self.dir.join(image.slot.word()))
    }
}

/// SHA-256 of a file, in blocks.
pub(crate) fn digest_of(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let (mut whole, mut block) = (DigestWriter::new(), vec![0; BLOCK]);
    loop {
        match file.read(&mut block)? {
            0 => return Ok(whole.finish()),
            count => whole.update(&block[..count]),
        }
    }
}
