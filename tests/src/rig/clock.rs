//! The wall clock of processes, which a test may set: libfaketime, loaded before them. Their steady clock stays as it is, as after
//! a person (or a broken time server) has set a machine's time.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::missing;

/// Where Debian keeps the library, below `/usr/lib`.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// A wall clock.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// A clock that shows the right time, kept in `dir` under this name; `None` where the library is missing.
    ///
    /// # Panics
    /// When it can't be written.
    #[must_use]
    pub fn right(dir: &Path, name: &str) -> Option<Self> {
        let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        let found = folders.map(|folder| folder.path().join(LIBRARY)).find(|path| path.is_file());
        let Some(library) = found else {
            missing("libfaketime");
            return None;
        };
        let clock = Self { library, file: dir.join(format!("{name}.clock")) };
        clock.set_ahead(0);
        Some(clock)
    }

    /// From now on it shows so many seconds more than is true, or fewer.
    ///
    /// # Panics
    /// When it can't be written.
    pub fn set_ahead(&self, seconds: i64) {
        // Never half a file under a process's eyes.
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{seconds:+}\n")).expect("the test's folder is writable");
        fs::rename(&new, &self.file).expect("so it is");
    }

    /// What a process needs in its environment to go by it.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let pairs = [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            // It asks the file each time, not every ten seconds.
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}
