//! Snapshots as plain files beside the database: they may be large, and sled is for small values.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use crate::{JournalError, disk, layout};

const TEMPORARY: &str = "snapshot.tmp";

/// The snapshot files of a directory.
pub(crate) struct Snapshots {
    dir: PathBuf,
}

impl Snapshots {
    /// Removes what a crash left half written.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        match fs::remove_file(dir.join(TEMPORARY)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// The numbers of all, newest first.
    pub(crate) fn list(&self) -> io::Result<Vec<u64>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            found.extend(entry?.file_name().to_str().and_then(layout::parse_snapshot_name));
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        Ok(found)
    }

    /// Durable on return, or not there at all.
    pub(crate) fn write(&self, seq: u64, content: &[u8]) -> io::Result<()> {
        let temporary = self.dir.join(TEMPORARY);
        let written = (|| {
            let mut file = File::create(&temporary)?;
            file.write_all(&layout::snapshot_header(seq, content))?;
            file.write_all(content)?;
            file.sync_all()
        })();
        if let Err(error) = written {
            // Best effort: the next open removes it too.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        fs::rename(&temporary, self.dir.join(layout::snapshot_name(seq)))?;
        disk::sync_dir(&self.dir)
    }

    /// The content of one, or why it does not count.
    pub(crate) fn read(&self, seq: u64) -> Result<Vec<u8>, String> {
        let read = || -> io::Result<Vec<u8>> {
            let file = File::open(self.dir.join(layout::snapshot_name(seq)))?;
            let limit = layout::SNAPSHOT_BYTES_MAX + layout::SNAPSHOT_HEADER_BYTES as u64;
            let mut bytes = Vec::with_capacity(usize::try_from(file.metadata()?.len().min(limit)).unwrap_or(0));
            file.take(limit).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        layout::parse_snapshot(seq, read().map_err(|e| e.to_string())?).map_err(str::to_owned)
    }

    /// The newest intact one among those older than `before`.
    pub(crate) fn newest_intact(&self, before: Option<u64>) -> Result<Option<(u64, Vec<u8>)>, JournalError> {
        let all = self.list().map_err(JournalError::io("list the snapshots"))?;
        for seq in all.into_iter().filter(|s| before.is_none_or(|b| *s < b)) {
            match self.read(seq) {
                Ok(content) => return Ok(Some((seq, content))),
                Err(why) => {
                    tracing::error!(snapshot = seq, %why, "a snapshot is damaged; falling back to the one before")
                }
            }
        }
        Ok(None)
    }

    /// Removes those older than `seq`.
    pub(crate) fn remove_before(&self, seq: u64) -> io::Result<()> {
        for old in self.list()?.into_iter().filter(|s| *s < seq) {
            fs::remove_file(self.dir.join(layout::snapshot_name(old)))?;
        }
        Ok(())
    }
}
