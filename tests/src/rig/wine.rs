//! Legacy Windows: a device is a Wine prefix of its own, made from one that is built once and kept.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use nix::fcntl::{Flock, FlockArg};

use super::{cache_dir, require};

const LOADER: &str = "/usr/lib/wine/wine64";

/// Which Windows a prefix says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WineVersion {
    /// Windows XP Professional x64 (NT 5.2).
    XpX64,
    /// Windows Server 2003 (NT 5.2).
    Server2003,
    /// Windows Vista (NT 6.0).
    Vista,
    /// Windows 7 (NT 6.1).
    Seven,
}

impl WineVersion {
    /// What `winecfg -v` calls it.
    fn word(self) -> &'static str {
        match self {
            Self::XpX64 => "winxp64",
            Self::Server2003 => "win2003",
            Self::Vista => "vista",
            Self::Seven => "win7",
        }
    }

    /// Its CPE 2.3 name.
    #[must_use]
    pub fn platform(self) -> &'static str {
        match self {
            Self::XpX64 => "cpe:2.3:o:microsoft:windows_xp:-:sp2:*:*:professional:*:x64:*",
            Self::Server2003 => "cpe:2.3:o:microsoft:windows_server_2003:-:sp2:*:*:*:*:x64:*",
            Self::Vista => "cpe:2.3:o:microsoft:windows_vista:-:sp2:*:*:*:*:x64:*",
            Self::Seven => "cpe:2.3:o:microsoft:windows_7:-:sp1:*:*:*:*:x64:*",
        }
    }
}

/// One legacy device. Its programs end and its files go with it.
#[derive(Debug)]
pub struct WineDevice {
    root: PathBuf,
}

impl WineDevice {
    /// A fresh device; `None` where Wine is missing.
    ///
    /// # Panics
    /// When Wine is there but does not work.
    #[must_use]
    pub fn create(version: WineVersion) -> Option<Self> {
        require("wine64")?;
        let base = base(version);
        let devices = cache_dir().join("devices");
        fs::create_dir_all(&devices).expect("the target directory is writable");
        let root = tempfile::Builder::new().prefix("w").tempdir_in(&devices).expect("so is this one").keep();
        clone_tree(&base, &root);
        // A server that ends when idle would be a machine that restarts by itself: the next program would carry out
        // pending file renames.
        let started = command("wineserver", &root).arg("-p").status().expect("wineserver runs");
        assert!(started.success(), "wineserver -p: {started}");
        Some(Self { root })
    }

    /// The prefix.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file of drive C, by its path without `C:\`, with slashes.
    #[must_use]
    pub fn file(&self, path: &str) -> PathBuf {
        self.root.join("drive_c").join(path)
    }

    /// Runs a Windows program and waits.
    ///
    /// # Panics
    /// When Wine can't be started.
    pub fn run(&self, args: &[&str]) -> Output {
        wine(&self.root, args)
    }

    /// A registry value as `reg.exe` prints it, asked past everything that is under test.
    #[must_use]
    pub fn registry(&self, key: &str, value: &str) -> Option<String> {
        let output = self.run(&["reg", "query", key, "/v", value]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find(|line| line.trim_start().starts_with(value))?;
        Some(line.split("    ").last()?.trim().to_owned())
    }
}

impl Drop for WineDevice {
    fn drop(&mut self) {
        // Best effort: a prefix that stays behind is only disk space.
        let _ = command("wineserver", &self.root).arg("-k").status();
        let _ = command("wineserver", &self.root).arg("-w").status();
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn command(program: &str, prefix: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env("WINEPREFIX", prefix)
        .env("WINEARCH", "win64")
        .env("WINEDEBUG", "-all")
        .env("WINEDLLOVERRIDES", "mscoree,mshtml=")
        .env_remove("DISPLAY")
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn wine(prefix: &Path, args: &[&str]) -> Output {
    command(LOADER, prefix).args(args).output().expect("Wine runs")
}

/// The kept prefix of a version, built when it is not there yet. Test processes wait for each other.
fn base(version: WineVersion) -> PathBuf {
    let cache = cache_dir();
    let path = cache.join(format!("wine-{}", version.word()));
    let lock = fs::File::create(cache.join("wine.lock")).expect("the target directory is writable");
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error).expect("a lock is had");
    if path.is_dir() {
        return path;
    }
    let plain = cache.join("wine-plain");
    if !plain.is_dir() {
        make(&plain, |prefix| {
            wine(prefix, &["wineboot", "-i"]);
        });
    }
    make(&path, |prefix| {
        clone_tree(&plain, prefix);
        wine(prefix, &["winecfg", "-v", version.word()]);
    });
    path
}

/// Builds a prefix beside its place, and moves it there when its registry is on disk.
fn make(path: &Path, build: impl FnOnce(&Path)) {
    let building = path.with_extension("building");
    let _ = fs::remove_dir_all(&building);
    fs::create_dir_all(&building).expect("the target directory is writable");
    build(&building);
    let waited = command("wineserver", &building).arg("-w").status().expect("wineserver runs");
    assert!(waited.success() && building.join("system.reg").is_file(), "Wine made no prefix in {}", building.display());
    fs::rename(&building, path).expect("it is moved into place");
}

/// Copies a prefix. The 600 MB of Wine's own programs below `windows` are linked, which takes milliseconds: the packages
/// of the bench add files there, and never write into one of Wine's.
fn clone_tree(from: &Path, to: &Path) {
    copy(from, to, false);
}

fn copy(from: &Path, to: &Path, link: bool) {
    fs::create_dir_all(to).expect("a directory is made");
    for entry in fs::read_dir(from).expect("the prefix is readable") {
        let entry = entry.expect("the prefix is readable");
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().expect("the prefix is readable");
        if kind.is_symlink() {
            symlink(fs::read_link(&source).expect("a link is readable"), &target).expect("a link is made");
        } else if kind.is_dir() {
            copy(&source, &target, link || entry.file_name() == "windows");
        } else if !link || fs::hard_link(&source, &target).is_err() {
            fs::copy(&source, &target).expect("a file is copied");
        }
    }
}
