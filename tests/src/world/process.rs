//! Real processes: started in a group of their own, killed when dropped, their words kept.

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

use super::wait::wait;

/// Most of a log that a failing test prints, bytes.
const TAIL_MAX: usize = 12_000;

/// A running (or killed) program.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

/// What every process of the estate finds in its environment, and what a test adds.
pub(super) fn environment(more: &[(String, String)]) -> Vec<(&str, &str)> {
    let more = more.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    std::iter::once(("RUST_LOG", "info")).chain(more).collect()
}

impl Process {
    /// Starts `program`; what it writes is appended to `log`. Its standard input ends when this process does.
    pub fn start<S: AsRef<OsStr>>(
        name: &str,
        program: &Path,
        args: impl IntoIterator<Item = S>,
        environment: &[(&str, &str)],
        log: &Path,
    ) -> Self {
        let open = || -> File { OpenOptions::new().create(true).append(true).open(log).unwrap() };
        let child = Command::new(program)
            .args(args)
            .envs(environment.iter().copied())
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::piped())
            .stdout(open())
            .stderr(open())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
        Self { name: name.to_owned(), child, log: log.to_owned(), ended: None }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status, once it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended
    }

    /// Sends a signal to the program alone, not to what it has started.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            kill(self.pid(), signal).unwrap();
        }
    }

    /// `kill -9`, and waits until it is gone. What it had started on devices lives on, as it would there.
    pub fn kill9(&mut self) {
        self.signal(Signal::SIGKILL);
        self.gone(10);
    }

    /// Freezes it: its connections stay open and silent.
    pub fn freeze(&mut self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn thaw(&mut self) {
        self.signal(Signal::SIGCONT);
    }

    /// Asks it to stop (SIGTERM) and waits for it.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.gone(20)
    }

    /// Waits until it has ended.
    pub fn gone(&mut self, seconds: u64) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        wait(seconds, &what, || self.ended())
    }

    /// Everything that it has written.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    fn print_tail(&self) {
        let log = self.log();
        let mut from = log.len().saturating_sub(TAIL_MAX);
        while !log.is_char_boundary(from) {
            from += 1;
        }
        eprintln!("---- {} ----\n{}", self.name, &log[from..]);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The group may outlive its leader; a group that is gone is what we want.
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.wait();
        if std::thread::panicking() {
            self.print_tail();
        }
    }
}
