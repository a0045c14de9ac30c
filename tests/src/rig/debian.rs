//! The machine of a site: a bare Debian with systemd as its first process, booted by `systemd-nspawn`. It has this machine's network, and
//! nothing else of it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use super::{Running, missing, require, wait_until};

/// What `tests/peers/install.sh` makes: copied for each machine, never booted.
const BARE: &str = "/opt/wardround-peers/debian/root";
/// A boot takes a second or two.
const BOOT: Duration = Duration::from_secs(60);

/// A machine. It ends with the test.
#[derive(Debug)]
pub struct Machine {
    first: Option<i32>,
    running: Option<Running>,
    dir: TempDir,
}

impl Machine {
    /// A machine that is switched off; `None` where something is missing.
    ///
    /// # Panics
    /// When that is so and `WARDROUND_REQUIRE_PEERS=1`, or the disk is full.
    #[must_use]
    pub fn bare() -> Option<Self> {
        for program in ["systemd-nspawn", "nsenter", "cp"] {
            require(program)?;
        }
        if !nix::unistd::Uid::effective().is_root() || !Path::new(BARE).is_dir() {
            missing("a bare Debian (root boots one)");
            return None;
        }
        let dir = tempfile::Builder::new().prefix("wardround-machine-").tempdir().expect("a folder for the machine");
        let copied = Command::new("cp").args(["-a", "--reflink=auto", BARE]).arg(dir.path()).status();
        assert!(copied.is_ok_and(|status| status.success()), "the machine's disk could not be copied");
        Some(Self { first: None, running: None, dir })
    }

    /// Switches it on, and waits until all that it starts by itself is started.
    ///
    /// # Panics
    /// When it does not boot.
    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.dir.path().join("console")).expect("a log");
        let mut command = Command::new("systemd-nspawn");
        command.args(["--quiet", "--register=no", "--keep-unit", "--resolv-conf=off", "--timezone=off"]);
        command.args(["--link-journal=no", "--console=pipe", "--machine=wardround-site", "--directory"]);
        command.arg(self.file("/")).arg("--boot");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        let running = self.running.insert(Running::start(&mut command));
        let children = format!("/proc/{0}/task/{0}/children", running.id());
        wait_until("the machine's first process", BOOT, || {
            let text = fs::read_to_string(&children).unwrap_or_default();
            self.first = text.split_whitespace().next().and_then(|pid| pid.parse().ok());
            self.first.is_some_and(|pid| fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name == b"systemd\n"))
        });
        wait_until("the machine's boot", BOOT, || {
            let (_, said) = self.sh("systemctl is-system-running");
            ["running", "degraded"].contains(&said.trim())
        });
    }

    /// A power cut: all of its processes end at once.
    ///
    /// # Panics
    /// When they do not.
    pub fn cut(&mut self) {
        if let (Some(mut running), Some(first)) = (self.running.take(), self.first.take()) {
            // The end of its first process is the end of all.
            let _ = kill(Pid::from_raw(first), Signal::SIGKILL);
            running.kill();
            wait_until("the machine's end", BOOT, || !Path::new(&format!("/proc/{first}")).exists());
        }
    }

    /// Runs a script on it as root: whether it ended with 0, and what it said.
    ///
    /// # Panics
    /// When the machine is switched off.
    #[must_use]
    pub fn sh(&self, script: &str) -> (bool, String) {
        let first = self.first.expect("the machine runs").to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &first, "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--root", "--wd"]);
        command.args(["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "sh", "-c", script]);
        let done = command.stdin(Stdio::null()).output().expect("nsenter is there");
        let said = [done.stdout, done.stderr].concat();
        (done.status.success(), String::from_utf8_lossy(&said).trim_end().to_owned())
    }

    /// As [`Machine::sh`], of what must succeed.
    ///
    /// # Panics
    /// When it does not.
    pub fn ok(&self, script: &str) -> String {
        let (succeeded, said) = self.sh(script);
        assert!(succeeded, "{script}: {said}\n{}", self.sh("journalctl --no-pager --lines=60").1);
        said
    }

    /// A file of it, by its path there.
    #[must_use]
    pub fn file(&self, path: &str) -> PathBuf {
        self.dir.path().join("root").join(path.trim_start_matches('/'))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let console = fs::read_to_string(self.dir.path().join("console")).unwrap_or_default();
            let journal = self.first.map(|_| self.sh("journalctl --no-pager --lines=80").1).unwrap_or_default();
            eprintln!("---- the machine ----\n{console}\n{journal}");
        }
        self.cut();
    }
}

/// The Debian package of `program`, built into `folder`.
///
/// # Panics
/// When it can't be built.
#[must_use]
pub fn deb(program: &Path, folder: &Path) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/deb.sh");
    let mut command = Command::new("sh");
    command.arg(script).arg(program).arg(folder);
    // Packed quickly: a debug build is large.
    command.env("SOURCE_DATE_EPOCH", "1790000000").env("COMPRESSION", "-Zgzip -z1");
    let done = command.output().expect("sh is there");
    let (path, talk) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{path}{talk}");
    PathBuf::from(path.trim())
}
