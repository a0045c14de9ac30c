//! An export on disk, as c2sp.org/tlog-tiles lays it out:
//!
//! | path | holds |
//! |---|---|
//! | `checkpoint` | the signed note |
//! | `tile/LEVEL/…`, `tile/entries/…` | tiles and entry bundles |
//! | `cosignatures/SITE` | what a site's node has cosigned last: a signed note |
//! | `repository/` | people's signed metadata: every root and targets, the last release and clinical |

use std::{
    fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use wardround_signing::{
    log::{NOTE_BYTES_MAX, TilePath, read_bundle, tile_paths},
    tuf::RoleName,
};

use crate::failure::{Exit, Failure};

/// Largest file of an export, bytes: a bundle of 256 entries of 64 KiB.
const FILE_BYTES_MAX: u64 = 17 * 1024 * 1024;
/// Most cosignatures that are read: far over any estate.
const COSIGNATURES_MAX: usize = 1_000_000;

/// The export.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// An export that is there.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        if !path.join("checkpoint").is_file() {
            let why = format!("{} is not an exported log: it holds no file named checkpoint", path.display());
            return Err(Failure::with(Exit::NotFound, why).hint("make one with `wardround audit export DIR`"));
        }
        Ok(Self(path.to_owned()))
    }

    /// A folder to export to: new, empty, or an earlier export.
    pub(super) fn to_fill(path: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(path).map_err(|e| Failure::file("make", path, &e))?;
        let mut there = fs::read_dir(path).map_err(|e| Failure::file("read", path, &e))?;
        if there.next().is_some() && !path.join("checkpoint").is_file() && !path.join("tile").is_dir() {
            return Err(Failure::refused(format!("{} holds something else than an exported log", path.display()))
                .hint("name a new folder"));
        }
        Ok(Self(path.to_owned()))
    }

    pub(super) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        fs::File::open(self.0.join(name))?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes")));
        }
        Ok(bytes)
    }

    /// A file of people's metadata.
    pub(super) fn metadata(&self, role: RoleName, version: u64) -> Result<Vec<u8>, String> {
        let name = metadata_name(role, version);
        let bytes = self.read(&name).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => format!("{name} is missing"),
            _ => format!("{name} can't be read: {e}"),
        })?;
        // Parsing costs what the file is long.
        if bytes.len() as u64 > role.bytes_max() {
            return Err(format!("{name} has {} bytes; at most {} are read", bytes.len(), role.bytes_max()));
        }
        Ok(bytes)
    }

    /// Puts a file of people's metadata there.
    pub(super) fn put_metadata(&self, role: RoleName, version: u64, bytes: &[u8]) -> Result<(), Failure> {
        self.write(&metadata_name(role, version), bytes)
    }

    /// True when this file of people's metadata is there: a version never changes.
    pub(super) fn has_metadata(&self, role: RoleName, version: u64) -> bool {
        self.0.join(metadata_name(role, version)).is_file()
    }

    /// The signed note.
    pub(super) fn checkpoint(&self) -> Result<Vec<u8>, Failure> {
        self.read("checkpoint").map_err(|e| Failure::file("read", &self.0.join("checkpoint"), &e))
    }

    /// A tile or bundle.
    pub(super) fn piece(&self, path: TilePath) -> Result<Vec<u8>, String> {
        self.read(&path.to_string()).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => format!("{path} is missing"),
            _ => format!("{path} can't be read: {e}"),
        })
    }

    /// True when a full tile or bundle is there: it never changes.
    pub(super) fn has(&self, path: TilePath) -> bool {
        path.width() == 256 && self.0.join(path.to_string()).is_file()
    }

    /// Replaces a file as a whole.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let path = self.0.join(name);
        let written = || -> io::Result<()> {
            let folder = path.parent().ok_or_else(|| io::Error::other("a file needs a folder"))?;
            fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(bytes)?;
            file.persist(&path).map_err(|e| e.error)?;
            Ok(())
        };
        written().map_err(|e| Failure::file("write", &path, &e))
    }

    /// Puts a tile or bundle there and removes its narrower forms.
    pub(super) fn put(&self, piece: TilePath, bytes: &[u8]) -> Result<(), Failure> {
        let name = piece.to_string();
        let stem = name.split_once(".p/").map_or(name.as_str(), |(stem, _)| stem);
        let partial = self.0.join(format!("{stem}.p"));
        match fs::remove_dir_all(&partial) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Failure::file("remove", &partial, &e)),
            _ => {}
        }
        self.write(&name, bytes)
    }

    /// The cosignatures, by site.
    pub(super) fn cosignatures(&self) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        let folder = self.0.join("cosignatures");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Failure::file("read", &folder, &e)),
        };
        let mut found = Vec::new();
        for entry in entries.take(COSIGNATURES_MAX) {
            let entry = entry.map_err(|e| Failure::file("read", &folder, &e))?;
            let site = entry.file_name().to_string_lossy().into_owned();
            let mut note = self
                .read(&format!("cosignatures/{site}"))
                .map_err(|e| Failure::file("read", &folder.join(&site), &e))?;
            note.truncate(NOTE_BYTES_MAX + 1);
            found.push((site, note));
        }
        found.sort();
        Ok(found)
    }

    /// Gives every entry to `each`, in order.
    pub(super) fn entries(
        &self,
        size: u64,
        mut each: impl FnMut(u64, &[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        for path in tile_paths(size).filter(|path| matches!(path, TilePath::Entries { .. })) {
            let bytes = self.piece(path)?;
            let entries = read_bundle(&bytes, path.width()).map_err(|e| format!("{path}: {e}"))?;
            for (index, entry) in (path.index() * 256..).zip(entries) {
                each(index, entry)?;
            }
        }
        Ok(())
    }
}

fn metadata_name(role: RoleName, version: u64) -> String {
    format!("repository/{}", role.versioned(version))
}
