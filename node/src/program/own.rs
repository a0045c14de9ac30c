//! What a running node does with its own program, as with a device: it puts a new one into a slot, ends itself so that its supervisor
//! begins it, and says whether it is the one that runs.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::process::Command;
use tokio_util::sync::CancellationToken;
use wardround_rollout_plans::{
    model::{Detected, Installer, Payload, Variant},
    patch_file::uninstalls,
};
use wardround_signing::Digest;

use super::{Answer, Event, Image, Programs, Record, SUPERVISOR_VARIABLE, Turn, UNWRITTEN_VARIABLE, VERSION};
use super::{files::digest_of, hardware};
use crate::{
    NodeError,
    device::Withdrawal,
    installers::Refused,
    transports::{DeviceError, decode, run_process, tail},
};

/// How long a new program may take for its own test.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest output of it that is kept, bytes.
const TEST_BYTES_MAX: usize = 8 * 1024;
/// How often it is tried to start a file that another thread's child may still hold open for writing, and the pause between.
const TEXT_BUSY: (u32, Duration) = (20, Duration::from_millis(100));

/// What installing or taking back came to: an exit code of the table `NODE`, and words.
pub(crate) type Did = (u32, String);

/// A node, as its own device.
#[derive(Debug, Clone)]
pub(crate) struct Own(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    programs: Programs,
    /// `--state … --site …`, for the new program's own test.
    test: Vec<OsString>,
    /// Why it can't be handled; `None` where the supervisor that started this process is there.
    outside: Option<String>,
    /// Why the record could not be written at the start.
    unwritten: Option<String>,
    running: OnceLock<Digest>,
    restart: CancellationToken,
}

impl Own {
    /// The node that this process is.
    pub(crate) fn new(state_dir: &Path, site_file: &Path) -> Self {
        let test = ["--state".into(), state_dir.into(), "--site".into(), site_file.into()];
        Self(Arc::new(Inner {
            programs: Programs::of(state_dir),
            test: test.to_vec(),
            outside: outside(std::env::var_os(SUPERVISOR_VARIABLE)),
            unwritten: std::env::var(UNWRITTEN_VARIABLE).ok(),
            running: OnceLock::new(),
            restart: CancellationToken::new(),
        }))
    }

    /// For whoever is not that process: nothing can be done.
    pub(crate) fn elsewhere() -> Self {
        Self(Arc::new(Inner {
            programs: Programs::of(Path::new("/nonexistent")),
            test: Vec::new(),
            outside: Some("only the running node handles its own program".to_owned()),
            unwritten: None,
            running: OnceLock::new(),
            restart: CancellationToken::new(),
        }))
    }

    /// Cancelled when the process is to end, so that its supervisor starts another program.
    pub(crate) fn restart_wanted(&self) -> &CancellationToken {
        &self.0.restart
    }

    /// Whether its program can be changed at all.
    pub(crate) fn ping(&self) -> Result<(), DeviceError> {
        match &self.0.outside {
            None => Ok(()),
            Some(why) => Err(DeviceError::Unreachable { detail: why.clone() }),
        }
    }

    pub(crate) fn staged(&self, op: &str) -> PathBuf {
        self.0.programs.staged(op)
    }

    /// What it is, as a CPE name.
    pub(crate) fn platform(&self) -> String {
        format!("cpe:2.3:a:wardround:node:{VERSION}:*:*:*:*:*:{}:*", hardware())
    }

    pub(crate) fn free_bytes(&self) -> Option<u64> {
        self.0.programs.prepare().ok()?;
        let stat = nix::sys::statvfs::statvfs(self.0.programs.dir()).ok()?;
        Some(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }

    /// What is next waits for a restart.
    pub(crate) fn reboot_pending(&self) -> Result<bool, DeviceError> {
        Ok(self.record()?.next.is_some())
    }

    fn record(&self) -> Result<Record, DeviceError> {
        self.0.programs.record().map_err(|error| broken("read the record of the node's programs", &error))
    }

    async fn step(&self, event: Event) -> Result<Answer, DeviceError> {
        let programs = self.0.programs.clone();
        let stepped = tokio::task::spawn_blocking(move || programs.step(&event)).await;
        match stepped {
            Ok(stepped) => stepped.map_err(|error| broken("write the record of the node's programs", &error)),
            Err(error) => Err(DeviceError::Io { what: "decide".into(), source: io::Error::other(error) }),
        }
    }

    /// SHA-256 of the program that this process runs.
    pub(crate) async fn running(&self) -> Result<Digest, DeviceError> {
        if let Some(known) = self.0.running.get() {
            return Ok(*known);
        }
        // The kernel's own link to the file that was started, whatever stands at its path now.
        let digest = hashed(PathBuf::from("/proc/self/exe")).await?;
        Ok(*self.0.running.get_or_init(|| digest))
    }

    /// Whether this very program runs, and is well.
    pub(crate) async fn detect(&self, variant: &Variant) -> Result<Detected, DeviceError> {
        version_of(variant)?;
        let wanted = variant.payload.digest;
        if self.running().await? != wanted {
            return Ok(Detected::Absent);
        }
        let trial = self.record()?.trial.filter(|trial| trial.image.digest == wanted);
        if trial.is_some_and(|trial| !trial.well) {
            let why = "the new program runs, and its controller has not answered it yet".to_owned();
            return Ok(Detected::Unknown { why });
        }
        Ok(Detected::Present { proof: format!("the node runs {VERSION}, {wanted}") })
    }

    /// Why the program is not here, where its supervisor has left it.
    pub(crate) fn why_left(&self, variant: &Variant) -> Option<String> {
        let record = self.record().ok()?;
        let why = record.why_left(&variant.payload.digest)?;
        Some(format!("the supervisor went back to the program from before: {why}"))
    }

    /// Tests the staged program, gives it a slot, and leaves it ready for the restart.
    pub(crate) async fn install(&self, op: &str, staged: &Path, variant: &Variant) -> Result<Did, DeviceError> {
        self.ping()?;
        let version = version_of(variant)?;
        let ready = || (3010, "the program has its slot; the node's restart begins it, on trial".to_owned());
        let record = self.record()?;
        let tried = |turn: &Turn| matches!(turn, Turn::Try { op: by, .. } if by == op);
        if record.next.is_some_and(|next| tried(&next.turn)) || record.trial.is_some_and(|trial| trial.op == op) {
            return Ok(ready());
        }
        let Payload { digest, file_name, .. } = &variant.payload;
        // The link may have been cut before, or a start have moved it already.
        let is =
            async |path: &Path| path.is_file() && hashed(path.to_owned()).await.is_ok_and(|found| found == *digest);
        if !is(staged).await {
            return Err(DeviceError::NotStaged { file: file_name.clone() });
        }
        if let Err(why) = self.test(staged, version).await? {
            return Ok((1, why));
        }
        let slot = match self.step(Event::Room).await? {
            Answer::Use(slot) => slot,
            other => return Ok((1, refused(other))),
        };
        let image = Image { slot, digest: *digest, version: version.to_owned() };
        let (programs, from, to) = (self.0.programs.clone(), staged.to_owned(), image.clone());
        let put = tokio::task::spawn_blocking(move || programs.put(&from, &to)).await;
        put.map_err(io::Error::other)
            .flatten()
            .map_err(|source| DeviceError::Io { what: format!("put the program into slot {}", slot.word()), source })?;
        match self.step(Event::Ready { image, op: op.to_owned() }).await? {
            Answer::RestartNeeded => Ok(ready()),
            other => Err(DeviceError::Interrupted { step: "install", why: refused(other) }),
        }
    }

    /// The new program reads what this one lives on, and says who it is; the inner error is its fault.
    async fn test(&self, program: &Path, version: &str) -> Result<Result<(), String>, DeviceError> {
        let io = |source| DeviceError::Io { what: "test the new program".into(), source };
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(program, mode).map_err(io)?;
        let mut tries = 0;
        let done = loop {
            let mut command = Command::new(program);
            command.args(["node", "selftest"]).args(&self.0.test).args(["--output", "json"]);
            command.env_remove(SUPERVISOR_VARIABLE);
            match run_process(command, None, TEST_TIMEOUT, TEST_BYTES_MAX).await {
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < TEXT_BUSY.0 => {
                    tries += 1;
                    tokio::time::sleep(TEXT_BUSY.1).await;
                }
                Err(error) => return Ok(Err(format!("it can't be started: {error}"))),
                Ok(done) => break done,
            }
        };
        let said = decode(&done.stdout);
        if done.timed_out {
            return Ok(Err(format!("its own test was not over in {}s", TEST_TIMEOUT.as_secs())));
        }
        if done.code != Some(0) {
            let words = decode(&done.stderr);
            return Ok(Err(format!("its own test ended with {:?}: {}", done.code, tail(words.trim(), 500))));
        }
        let told: Option<String> = serde_json::from_str(&said)
            .ok()
            .and_then(|answer: serde_json::Value| Some(answer.get("version")?.as_str()?.to_owned()));
        Ok(match told {
            Some(told) if told == version => Ok(()),
            Some(told) => Err(format!("it says that it is {told}; the patch says {version}")),
            None => Err("its own test did not say which version it is".to_owned()),
        })
    }

    /// Whether this operation has made its program ready, or is on trial.
    pub(crate) fn has_begun(&self, op: &str) -> Result<bool, DeviceError> {
        let record = self.record()?;
        let ready = matches!(record.next.map(|next| next.turn), Some(Turn::Try { op: by, .. }) if by == op);
        Ok(ready || record.trial.is_some_and(|trial| trial.op == op))
    }

    /// Withdraws an install unless it has made its program ready.
    pub(crate) async fn withdraw(&self, op: &str) -> Result<Withdrawal, DeviceError> {
        match self.step(Event::Withdraw { op: op.to_owned() }).await? {
            Answer::Refused(_) => Ok(Withdrawal::Over),
            _ => Ok(Withdrawal::Withdrawn),
        }
    }

    /// Leaves the way back ready for the restart.
    pub(crate) async fn uninstall(&self, variant: &Variant) -> Result<Did, DeviceError> {
        self.ping()?;
        version_of(variant)?;
        uninstalls(variant).map_err(|why| DeviceError::from(Refused::Irreversible(why)))?;
        Ok(match self.step(Event::TakeBack { digest: variant.payload.digest }).await? {
            Answer::RestartNeeded => (3010, "the node's restart begins the program from before".to_owned()),
            Answer::Refused(why) => (2, why),
            _ => (0, "it had not begun".to_owned()),
        })
    }

    /// Ends this process where something waits for that. A process that finds nothing waiting is the one after it.
    pub(crate) async fn reboot(&self, timeout: Duration) -> Result<(), DeviceError> {
        self.ping()?;
        if self.record()?.next.is_none() {
            return Ok(());
        }
        if let Some(why) = &self.0.unwritten {
            // It would end in the same way again.
            let source = io::Error::other(why.clone());
            return Err(DeviceError::Io { what: "begin another program".into(), source });
        }
        let limit_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.step(Event::Restart { limit_ms }).await?;
        tracing::info!("the node ends, so that its supervisor begins another program");
        self.0.restart.cancel();
        std::future::pending().await
    }

    /// The controller has answered this process.
    pub(crate) async fn well(&self) -> Result<(), DeviceError> {
        if self.0.outside.is_some() || self.record()?.trial.is_none() {
            return Ok(());
        }
        let digest = self.running().await?;
        self.step(Event::Well { digest }).await.map(drop)
    }

    /// These operations are over; the program stays where they ended well.
    pub(crate) async fn over(&self, ops: &[String], kept: bool) -> Result<(), DeviceError> {
        if self.0.outside.is_some() {
            return Ok(());
        }
        self.step(Event::Over { ops: ops.to_vec(), kept }).await.map(drop)
    }
}

/// The version that the variant is to be.
fn version_of(variant: &Variant) -> Result<&str, DeviceError> {
    match &variant.installer {
        Installer::Node { version } => Ok(version),
        other => Err(Refused::WrongShell { technology: other.word(), shell: "the node itself" }.into()),
    }
}

fn refused(answer: Answer) -> String {
    match answer {
        Answer::Refused(why) => why,
        other => format!("an answer out of turn: {other:?}"),
    }
}

async fn hashed(path: PathBuf) -> Result<Digest, DeviceError> {
    let what = format!("read {}", path.display());
    let hashed = tokio::task::spawn_blocking(move || digest_of(&path)).await;
    hashed.map_err(io::Error::other).flatten().map_err(|source| DeviceError::Io { what, source })
}

fn broken(what: &str, error: &NodeError) -> DeviceError {
    let source = match error {
        NodeError::File { source, .. } => io::Error::new(source.kind(), error.to_string()),
        other => io::Error::other(other.to_string()),
    };
    DeviceError::Io { what: what.to_owned(), source }
}

/// Why this process is not its supervisor's child: what a program inherits, anybody may have set.
fn outside(told: Option<OsString>) -> Option<String> {
    let parent = nix::unistd::getppid().as_raw();
    let told = told.and_then(|text| text.to_str()?.parse::<i32>().ok());
    (told != Some(parent))
        .then(|| "the node was not started by `wardround node supervise`, so its program can't be replaced".to_owned())
}
