//! Chunks on their way to the disk.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
    thread,
};

use wardround_signing::Digest;

use super::{CHUNK_BYTES_MAX, Form, Kept, PayloadError, Payloads, io_error, plain};

/// Threads that hash, unpack, write and sync the chunks of one call: a sync waits for the disk, and several wait for it
/// together.
const WRITERS: usize = 8;

/// A chunk that is on the disk, but for the sync of its name.
pub(super) struct Incoming {
    pub(super) digest: Digest,
    pub(super) new: bool,
}

/// Makes the folders, and removes what a process that was killed was writing.
pub(super) fn prepare(directory: &Path) -> io::Result<()> {
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
}

impl Payloads {
    /// What was written, and the first fault.
    pub(super) fn write_all(&self, chunks: Vec<Kept>) -> (Vec<Incoming>, Option<PayloadError>) {
        let mut shares: Vec<Vec<Kept>> = (0..WRITERS.min(chunks.len())).map(|_| Vec::new()).collect();
        for (index, chunk) in chunks.into_iter().enumerate() {
            shares[index % WRITERS].push(chunk);
        }
        let written: Vec<Result<Incoming, PayloadError>> = thread::scope(|scope| {
            let writers: Vec<_> = shares
                .into_iter()
                .map(|share| scope.spawn(move || share.into_iter().map(|chunk| self.write(chunk)).collect::<Vec<_>>()))
                .collect();
            let ended = |writer: thread::ScopedJoinHandle<'_, Vec<_>>| {
                let panicked = || io_error("write chunks".to_owned())(io::Error::other("a writer has ended"));
                writer.join().unwrap_or_else(|_| vec![Err(panicked())])
            };
            writers.into_iter().flat_map(ended).collect()
        });
        let (mut stored, mut fault) = (Vec::new(), None);
        for one in written {
            match one {
                Ok(incoming) => stored.push(incoming),
                Err(error) => fault = fault.or(Some(error)),
            }
        }
        (stored, fault)
    }

    fn write(&self, chunk: Kept) -> Result<Incoming, PayloadError> {
        if chunk.data.is_empty() || chunk.data.len() > CHUNK_BYTES_MAX {
            return Err(PayloadError::Size(chunk.data.len()));
        }
        let packed = chunk.packed.then(|| chunk.data.clone());
        let plain = plain(chunk)?;
        if plain.is_empty() {
            return Err(PayloadError::Size(0));
        }
        let digest = Digest::of(&plain);
        if self.get(&digest).is_ok() {
            return Ok(Incoming { digest, new: false });
        }
        self.check_space()?;
        // What grew by being packed is kept as it is.
        let (data, form) = match packed {
            Some(packed) if packed.len() < plain.len() => (packed, Form::Packed),
            _ => (plain, Form::Plain),
        };
        let written = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(self.directory.join("tmp"))?;
            file.write_all(&data)?;
            file.as_file().sync_all()?;
            file.persist(self.path(&digest, form)).map_err(|e| e.error)?;
            // A damaged one of the other name would be found first.
            for other in Form::ALL.into_iter().filter(|other| *other != form) {
                match fs::remove_file(self.path(&digest, other)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            Ok(())
        };
        written().map_err(io_error(format!("write chunk {digest}")))?;
        self.found_sound(&digest);
        Ok(Incoming { digest, new: true })
    }
}

/// Makes the names in a folder survive a power cut.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
