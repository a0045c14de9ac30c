//! Files that survive a power cut: written beside, synced, renamed, and the folder synced.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use crate::NodeError;

/// Mode of a file that holds a secret.
pub(crate) const SECRET: u32 = 0o600;
/// Mode of a file that does not.
pub(crate) const PUBLIC: u32 = 0o644;

/// Replaces `path` as a whole: after a crash it holds the old bytes or the new ones.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), NodeError> {
    write(path, bytes, mode).map_err(|source| NodeError::File { path: path.to_owned(), verb: "written", source })
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::other("a file needs a folder"))?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    sync_folder(folder)
}

/// Makes a rename or a new entry in `folder` last.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// Reads a file of at most `max` bytes.
pub(crate) fn read(path: &Path, max: u64) -> Result<Vec<u8>, NodeError> {
    let fail = |source| NodeError::File { path: path.to_owned(), verb: "read", source };
    let mut bytes = Vec::new();
    fs::File::open(path).and_then(|file| file.take(max + 1).read_to_end(&mut bytes)).map_err(fail)?;
    if bytes.len() as u64 > max {
        return Err(fail(io::Error::other(format!("it has more than {max} bytes"))));
    }
    Ok(bytes)
}
