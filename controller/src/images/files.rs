//! The repository's files: `images/`, under TUF's names for consistent snapshots. A published file never changes.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use wardround_signing::{
    Digest,
    tuf::{Files, RoleName},
};

use super::ImageError;

/// Versions of a role that are kept, so that a node in the middle of a refresh still finds what it began with. Roots and
/// targets are all kept: a node that comes back after months walks through the roots, and an auditor sees in both whose
/// keys counted when.
const VERSIONS_KEPT: u64 = 16;
/// Folder of versions that wait for signatures.
const STAGED: &str = "staged";
/// How files that are being written begin.
const TEMPORARY: &str = ".new-";

/// The folder.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

/// A file's name with its role and version; none for a timestamp, which has one name for all versions.
pub(super) fn parse_name(name: &str) -> Option<(RoleName, Option<u64>)> {
    if name == RoleName::Timestamp.file() {
        return Some((RoleName::Timestamp, None));
    }
    let (version, rest) = name.split_once('.')?;
    let role = RoleName::from_word(rest.strip_suffix(".json")?)?;
    let number: u64 = version.parse().ok()?;
    // One spelling, and no other role's file.
    let canonical = RoleName::FILES.contains(&role) && role != RoleName::Timestamp && role.versioned(number) == name;
    (canonical && number > 0).then_some((role, Some(number)))
}

/// The name under which a version is kept here. Timestamps have numbers too, so that none is ever overwritten.
pub(super) fn kept_name(role: RoleName, version: u64) -> String {
    format!("{version}.{}.json", role.word())
}

impl Folder {
    pub(super) fn open(data: &Path) -> Result<Self, ImageError> {
        let folder = Self(data.join("images"));
        let made = || -> io::Result<()> {
            fs::create_dir_all(folder.0.join(STAGED))?;
            remove_left_overs(&folder.0)?;
            remove_left_overs(&folder.0.join(STAGED))?;
            File::open(&folder.0)?.sync_all()?;
            File::open(data)?.sync_all()
        };
        made().map_err(|e| ImageError::Disk(format!("can't open {}: {e}", folder.0.display())))?;
        Ok(folder)
    }

    /// A folder that is only read.
    pub(super) fn reading(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// Writes `timestamp.json`, the copy of the newest timestamp: with it the folder can be copied to any web server.
    pub(super) fn put_timestamp(&self, bytes: &[u8]) -> Result<(), ImageError> {
        self.write(&RoleName::Timestamp.file(), bytes)
    }

    /// Writes a version durably. What stands there under this name already was never published, or is the same.
    pub(super) fn put(&self, role: RoleName, version: u64, bytes: &[u8]) -> Result<(), ImageError> {
        let name = kept_name(role, version);
        if fs::read(self.0.join(&name)).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        self.write(&name, bytes)
    }

    /// A version's file, if it is there.
    pub(super) fn get(&self, role: RoleName, version: u64) -> Result<Option<Vec<u8>>, ImageError> {
        self.read(&kept_name(role, version), role.bytes_max())
    }

    /// A version's file with this SHA-256.
    pub(super) fn get_pinned(&self, role: RoleName, version: u64, sha256: &Digest) -> Result<Vec<u8>, ImageError> {
        let name = kept_name(role, version);
        let bytes = self.get(role, version)?.ok_or_else(|| ImageError::Damaged(self.path(&name), "is missing"))?;
        if Digest::of(&bytes) == *sha256 {
            Ok(bytes)
        } else {
            Err(ImageError::Damaged(self.path(&name), "was changed"))
        }
    }

    /// The newest version of a role that is there without a gap from 1 on; 0 for none.
    pub(super) fn newest_root(&self) -> u64 {
        (1..).take_while(|version| self.0.join(kept_name(RoleName::Root, *version)).is_file()).last().unwrap_or(0)
    }

    /// The roots from `first` to `last`, under TUF's names.
    pub(super) fn roots(&self, first: u64, last: u64) -> Result<Files, ImageError> {
        let mut files = Files::new();
        for version in first..=last {
            let name = RoleName::Root.versioned(version);
            let bytes = self.get(RoleName::Root, version)?;
            let bytes = bytes.ok_or_else(|| ImageError::Damaged(self.path(&name), "is missing"))?;
            files.insert(name, bytes);
        }
        Ok(files)
    }

    /// Keeps a staged version under its content's name.
    pub(super) fn stage(&self, role: RoleName, bytes: &[u8]) -> Result<Digest, ImageError> {
        let sha256 = Digest::of(bytes);
        self.write(&staged_name(role, &sha256), bytes)?;
        Ok(sha256)
    }

    /// A staged version.
    pub(super) fn staged(&self, role: RoleName, sha256: &Digest) -> Result<Vec<u8>, ImageError> {
        let name = staged_name(role, sha256);
        let bytes = self.read(&name, role.bytes_max())?;
        let bytes = bytes.ok_or_else(|| ImageError::Damaged(self.path(&name), "is missing"))?;
        if Digest::of(&bytes) == *sha256 {
            Ok(bytes)
        } else {
            Err(ImageError::Damaged(self.path(&name), "was changed"))
        }
    }

    /// Removes staged files except these, and published versions that no reader needs. Left-overs only cost space, so a
    /// failure is no error.
    pub(super) fn tidy(&self, staged: &[(RoleName, Digest)], present: impl Fn(RoleName) -> u64) {
        let wanted: Vec<String> = staged.iter().map(|(role, sha256)| staged_name(*role, sha256)).collect();
        let is_wanted = |path: &Path| wanted.iter().any(|name| self.0.join(name) == *path);
        let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let staged = entries(&self.0.join(STAGED)).filter(|path| !is_wanted(path));
        let old = entries(&self.0).filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some((version, rest)) = name.split_once('.') else { return false };
            let (Ok(version), Some(role)) =
                (version.parse::<u64>(), rest.strip_suffix(".json").and_then(RoleName::from_word))
            else {
                return false;
            };
            !matches!(role, RoleName::Root | RoleName::Targets) && version + VERSIONS_KEPT <= present(role)
        });
        for path in staged.chain(old).collect::<Vec<_>>() {
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(%error, path = %path.display(), "a file that is no longer needed stays");
            }
        }
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn read(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>, ImageError> {
        let path = self.0.join(name);
        let failed = |e: io::Error| ImageError::Disk(format!("can't read {}: {e}", path.display()));
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = Vec::new();
        file.take(max + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > max {
            return Err(ImageError::Damaged(path.display().to_string(), "is longer than such a file can be"));
        }
        Ok(Some(bytes))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ImageError> {
        let path = self.0.join(name);
        replace(&path, bytes).map_err(|e| ImageError::Disk(format!("can't write {}: {e}", path.display())))
    }
}

/// Files of writes that a power cut ended.
fn remove_left_overs(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn staged_name(role: RoleName, sha256: &Digest) -> String {
    format!("{STAGED}/{}.{}.json", role.word(), sha256.hex())
}

/// Puts a whole file in place durably: after a power cut it is the old one or the new one.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_a_repository_are_read() {
        assert_eq!(parse_name("timestamp.json"), Some((RoleName::Timestamp, None)));
        assert_eq!(parse_name("12.root.json"), Some((RoleName::Root, Some(12))));
        assert_eq!(parse_name("3.release.json"), Some((RoleName::Release, Some(3))));
        for other in ["3.timestamp.json", "03.root.json", "+3.root.json", "0.root.json", "root.json", "3.on-call.json"]
        {
            assert_eq!(parse_name(other), None, "{other}");
        }
        for other in ["../1.root.json", "1.root.json/..", "1.release.json.tmp", "", "1..json", "staged/1.root.json"] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_changed_or_missing_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        folder.put(RoleName::Release, 2, b"two").unwrap();
        assert_eq!(folder.get_pinned(RoleName::Release, 2, &Digest::of(b"two")).unwrap(), b"two");
        let changed = folder.get_pinned(RoleName::Release, 2, &Digest::of(b"other")).unwrap_err().to_string();
        assert!(changed.contains("2.release.json was changed"), "{changed}");
        let missing = folder.get_pinned(RoleName::Release, 3, &Digest::of(b"x")).unwrap_err().to_string();
        assert!(missing.contains("3.release.json is missing"), "{missing}");
        fs::write(dir.path().join("images/4.snapshot.json"), vec![b' '; 20_000]).unwrap();
        assert!(folder.get(RoleName::Snapshot, 4).unwrap_err().to_string().contains("longer"));
    }

    #[test]
    fn old_versions_go_and_whose_keys_counted_stays() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        for version in 1..=20 {
            for role in [RoleName::Root, RoleName::Targets, RoleName::Release, RoleName::Timestamp] {
                folder.put(role, version, b"x").unwrap();
            }
        }
        let kept = folder.stage(RoleName::Clinical, b"kept").unwrap();
        let gone = folder.stage(RoleName::Clinical, b"gone").unwrap();
        folder.tidy(&[(RoleName::Clinical, kept)], |_| 20);
        assert_eq!(folder.newest_root(), 20);
        assert!(folder.get(RoleName::Targets, 1).unwrap().is_some());
        for (version, there) in [(4, false), (5, true), (20, true)] {
            assert_eq!(folder.get(RoleName::Release, version).unwrap().is_some(), there, "{version}");
        }
        assert!(folder.staged(RoleName::Clinical, &kept).is_ok());
        assert!(folder.staged(RoleName::Clinical, &gone).is_err());
    }
}
