//! A file system on an image file, and what a power cut leaves of it.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use tempfile::TempDir;

/// Size of the image: over the free space that a controller insists on. It is sparse: only what was written is copied.
const IMAGE_BYTES: u64 = 1024 * 1024 * 1024;

/// The right to use loop devices, of which there are few; `None` where they can't be used, which CI turns into a failure.
pub(crate) fn turn() -> Option<MutexGuard<'static, ()>> {
    static TURN: Mutex<()> = Mutex::new(());
    static WHY_NOT: OnceLock<Option<String>> = OnceLock::new();
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let why_not = WHY_NOT.get_or_init(|| Disk::try_new().err());
    let Some(why) = why_not else { return Some(turn) };
    let required = std::env::var_os("WARDROUND_REQUIRE_PEERS").is_some_and(|v| v == "1");
    assert!(!required, "a power cut can't be tried here: {why}");
    println!("skipped: a power cut can't be tried here (root, loop devices and mkfs.ext4 are needed): {why}");
    None
}

/// A mounted file system; unmounted when dropped.
pub(crate) struct Disk {
    /// Holds the image and the mount point.
    dir: TempDir,
}

impl Disk {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self::try_new().unwrap()
    }

    fn try_new() -> Result<Self, String> {
        let dir = tempfile::Builder::new().prefix("wardround-power-cut-").tempdir().map_err(|e| e.to_string())?;
        let image = image(dir.path());
        std::fs::File::create(&image).and_then(|f| f.set_len(IMAGE_BYTES)).map_err(|e| e.to_string())?;
        // Everything is laid out at once, so that no background work of the file system's own changes the image later.
        // Few inodes and a small journal keep the image small.
        let options = "-q -F -m 0 -N 4096 -J size=4 -E lazy_itable_init=0,lazy_journal_init=0";
        run("mkfs.ext4", &options.split(' ').chain([path_str(&image)]).collect::<Vec<_>>())?;
        Self::mount(dir)
    }

    fn mount(dir: TempDir) -> Result<Self, String> {
        let point = point(dir.path());
        std::fs::create_dir(&point).map_err(|e| e.to_string())?;
        // commit: the file system's own timer must not save what nobody synced.
        run("mount", &["-t", "ext4", "-o", "loop,commit=600", path_str(&image(dir.path())), path_str(&point)])?;
        Ok(Self { dir })
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        point(self.dir.path())
    }

    /// The disk as it would be found if the power went off now. This one goes on undisturbed.
    pub(crate) fn power_cut(&self) -> Self {
        let dir = tempfile::Builder::new().prefix("wardround-power-cut-").tempdir().unwrap();
        // The image holds what reached the device; the mounted file system's cache is above it and is left behind.
        run("cp", &["--sparse=always", path_str(&image(self.dir.path())), path_str(&image(dir.path()))]).unwrap();
        Self::mount(dir).unwrap()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A panic while unwinding would abort the whole test binary and hide the first one.
        if let Err(why) = run("umount", &[path_str(&self.path())]) {
            eprintln!("{why}");
        }
    }
}

fn image(dir: &Path) -> PathBuf {
    dir.join("image")
}

fn point(dir: &Path) -> PathBuf {
    dir.join("mounted")
}

fn path_str(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    // Debian keeps mkfs.ext4 in /usr/sbin, which is not on everybody's PATH.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .output()
        .map_err(|e| format!("{program} can't be run: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}
