//! The quickstart's processes: this very program, started again as controller, node and viewer.

use std::{
    ffi::OsString,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::process::{Child, Command};

use crate::failure::Failure;

/// How long a process may take to end by itself.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);
/// How much of a log is shown when its process failed, bytes.
const TAIL_BYTES: u64 = 2_000;

/// All processes, in the order of their start.
pub(super) struct Children {
    program: PathBuf,
    logs: PathBuf,
    running: Vec<Running>,
}

struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Children {
    pub(super) fn new(logs: PathBuf) -> Result<Self, Failure> {
        let program = std::env::current_exe()
            .map_err(|e| Failure::new(format!("this program can't find itself to start its children: {e}")))?;
        std::fs::create_dir_all(&logs).map_err(|e| Failure::file("make", &logs, &e))?;
        Ok(Self { program, logs, running: Vec::new() })
    }

    /// "14 processes".
    pub(super) fn words(&self) -> String {
        match self.running.len() {
            1 => "1 process".into(),
            n => format!("{n} processes"),
        }
    }

    /// A process of its own group, so that Ctrl-C reaches it only through us; it also ends when we do, however we end,
    /// since its standard input ends then.
    fn command(&self, name: &str, args: &[OsString]) -> Result<(Command, PathBuf), Failure> {
        let log = self.logs.join(format!("{name}.log"));
        let open = || {
            let out = File::options().create(true).append(true).open(&log)?;
            Ok((out.try_clone()?, out))
        };
        let (out, err) = open().map_err(|e: std::io::Error| Failure::file("write", &log, &e))?;
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env_remove("WARDROUND_KEY")
            .env_remove("WARDROUND_PASSPHRASE")
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .kill_on_drop(true);
        Ok((command, log))
    }

    /// Starts a process that stays.
    pub(super) fn start(&mut self, name: &str, args: &[OsString]) -> Result<(), Failure> {
        let (mut command, log) = self.command(name, args)?;
        let child = command.spawn().map_err(|e| Failure::new(format!("cannot start {name}: {e}")))?;
        self.running.push(Running { name: name.to_owned(), child, log });
        Ok(())
    }

    /// Runs a process to its end.
    pub(super) async fn finish(&self, name: &str, args: &[OsString], secret: (&str, &str)) -> Result<(), Failure> {
        let (mut command, log) = self.command(name, args)?;
        // A secret travels in the environment: anyone may read a command line.
        let status = command
            .env(secret.0, secret.1)
            .status()
            .await
            .map_err(|e| Failure::new(format!("cannot start {name}: {e}")))?;
        if status.success() { Ok(()) } else { Err(died(name, &log, &status.to_string())) }
    }

    /// An error when a process that should stay has ended.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        for running in &mut self.running {
            if let Ok(Some(status)) = running.child.try_wait() {
                return Err(died(&running.name, &running.log, &status.to_string()));
            }
        }
        Ok(())
    }

    /// Ends all: the last started first, politely, then by force. Returns the names of those that had to be forced.
    pub(super) async fn stop(&mut self) -> Vec<String> {
        let mut forced = Vec::new();
        // Nodes and viewers first; the controller, started first, hears them out.
        let mut rest = self.running.split_off(1.min(self.running.len()));
        std::mem::swap(&mut rest, &mut self.running);
        for mut group in [std::mem::take(&mut self.running), rest] {
            for running in &group {
                signal(&running.child, Signal::SIGTERM);
            }
            let deadline = tokio::time::Instant::now() + STOP_TIMEOUT;
            for running in &mut group {
                if tokio::time::timeout_at(deadline, running.child.wait()).await.is_err() {
                    signal(&running.child, Signal::SIGKILL);
                    forced.push(running.name.clone());
                    drop(running.child.wait().await);
                }
            }
        }
        forced
    }
}

impl Drop for Children {
    /// Whatever path led here, no process stays.
    fn drop(&mut self) {
        for running in &self.running {
            signal(&running.child, Signal::SIGKILL);
        }
    }
}

fn signal(child: &Child, signal: Signal) {
    if let Some(group) = child.id().and_then(|id| i32::try_from(id).ok()) {
        // It may just have ended by itself.
        let _ = killpg(Pid::from_raw(group), signal);
    }
}

fn died(name: &str, log: &Path, how: &str) -> Failure {
    let details = tail(log).lines().map(|line| format!("{name}: {line}")).collect();
    Failure::new(format!("{name} ended before its time ({how})"))
        .details(details)
        .hint(format!("its whole log is {}", log.display()))
}

fn tail(path: &Path) -> String {
    let read = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}
