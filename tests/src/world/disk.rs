//! Small disks of their own, to be filled and freed.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use nix::sys::statvfs::statvfs;

/// A tmpfs of fixed size. It is taken away, also from under those who use it, when dropped.
pub struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts one; `None`, with a line that says so, where that is not allowed.
    ///
    /// # Panics
    /// When it is not allowed and `WARDROUND_REQUIRE_PEERS=1`.
    #[must_use]
    pub fn mount(at: &Path, megabytes: u32) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let size = format!("size={megabytes}m,mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "wardround-test"]).arg(at).output();
        if mounted.as_ref().is_ok_and(|o| o.status.success()) {
            return Some(Self { at: at.to_owned() });
        }
        let line = format!("mount is not allowed here (a full disk needs root): {mounted:?}");
        assert!(std::env::var("WARDROUND_REQUIRE_PEERS").as_deref() != Ok("1"), "{line}");
        println!("skipped: {line}");
        None
    }

    /// Bytes that are free.
    #[must_use]
    pub fn free(&self) -> u64 {
        let stat = statvfs(&self.at).unwrap();
        stat.blocks_available() * stat.fragment_size()
    }

    /// Fills it until at most `left` bytes are free.
    pub fn fill(&self, left: u64) {
        let mut file = File::options().create(true).append(true).open(self.at.join("filler")).unwrap();
        let page = [0x5a; 4096];
        while self.free() > left {
            if file.write_all(&page).is_err() {
                return;
            }
        }
    }

    /// Frees what [`SmallDisk::fill`] took.
    pub fn free_again(&self) {
        fs::remove_file(self.at.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazy: those who have it open keep it until they end.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}
