//! The supervisor: it starts the program that counts, and goes back from one on trial that ends or is not well in time.
//!
//! It is the packaged program, small and seldom changed: it reads the record and the slots, and nothing else of the node's state.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use wardround_signing::Digest;

use super::files::digest_of;
use super::{
    Answer, End, Event, Programs, RESTART_CODE, Record, Run, SUPERVISOR_VARIABLE, Seen, Slot, UNWRITTEN_VARIABLE,
    unwritten,
};
use crate::{
    NodeError,
    files::{PUBLIC, replace},
};

/// How long a program may take to end when it is asked to.
const END_MAX: Duration = Duration::from_secs(20);
/// Between the end of a program and its next start; a program on trial shows sooner what it is worth.
const PAUSE: Duration = Duration::from_secs(5);
const PAUSE_ON_TRIAL: Duration = Duration::from_secs(1);
/// Between two looks whether a program on trial is well, or an old process is gone.
const LOOK: Duration = Duration::from_millis(100);
/// The packaged program: the file that this very process was started from, whatever stands at its path now.
const PACKAGED: &str = "/proc/self/exe";

/// How to supervise.
#[derive(Debug, Clone)]
pub struct SuperviseOptions {
    /// The node's state directory.
    pub state_dir: PathBuf,
    /// Arguments for the node: `node run …`.
    pub arguments: Vec<OsString>,
}

/// The process that was started, as the next supervisor finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    pid: i32,
    /// When it was started, clock ticks since the boot (proc(5), `stat` 22): a number is used again, this pair is not.
    since: u64,
}

/// Keeps a node running until `shutdown`.
///
/// # Errors
/// [`NodeError`]: another supervisor on the same state, or folders that can't be made.
pub async fn supervise(options: SuperviseOptions, shutdown: CancellationToken) -> Result<(), NodeError> {
    let programs = Programs::of(&options.state_dir);
    programs.prepare()?;
    let _only = programs.only_supervisor()?;
    let packaged = digest_of(Path::new(PACKAGED)).map_err(|source| NodeError::File {
        path: PACKAGED.into(),
        verb: "read",
        source,
    })?;
    let supervisor = Supervisor { programs, options, packaged, shutdown };
    supervisor.end_orphan().await;
    supervisor.run().await;
    Ok(())
}

struct Supervisor {
    programs: Programs,
    options: SuperviseOptions,
    packaged: Digest,
    shutdown: CancellationToken,
}

impl Supervisor {
    async fn run(&self) {
        // Programs that can't be started, whatever comes.
        let mut dead: Vec<(Slot, Digest)> = Vec::new();
        while !self.shutdown.is_cancelled() {
            let (run, refused) = self.choose(&dead);
            let what = run.image.as_ref().map_or_else(
                || "the packaged program".to_owned(),
                |image| format!("{} from slot {}", image.version, image.slot.word()),
            );
            tracing::info!(program = what, on_trial = run.limit_ms.is_some(), "the supervisor starts the node");
            let mut child = match self.start(&run, refused.as_deref()) {
                Ok(child) => child,
                Err(error) => {
                    tracing::error!(%error, program = what, "the program can't be started");
                    match &run.image {
                        Some(image) if is_final(&error) => dead.push((image.slot, image.digest)),
                        _ => self.pause(PAUSE).await,
                    }
                    continue;
                }
            };
            let end = self.watch(&mut child, &run).await;
            let _ = fs::remove_file(self.child_path());
            let Some(end) = end else { continue };
            if let End::Died(how) = &end {
                tracing::error!(how, program = what, "the node ended");
            }
            let asked = end == End::Restart;
            self.note(&Event::Ended(end));
            if !asked {
                let on_trial = self.programs.record().is_ok_and(|record| record.trial.is_some());
                self.pause(if on_trial { PAUSE_ON_TRIAL } else { PAUSE }).await;
            }
        }
    }

    async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    /// What to start, and why the record could not be written.
    fn choose(&self, dead: &[(Slot, Digest)]) -> (Run, Option<String>) {
        let mut slots: std::collections::BTreeMap<Slot, Digest> =
            Slot::ALL.into_iter().filter_map(|slot| Some((slot, digest_of(&self.programs.file(slot)).ok()?))).collect();
        slots.retain(|slot, digest| !dead.contains(&(*slot, *digest)));
        let seen = Seen { packaged: self.packaged, slots };
        let record = match self.programs.record() {
            Ok(record) => record,
            Err(error) => {
                tracing::error!(%error, "the packaged program runs");
                if let Err(error) = self.programs.set_aside() {
                    tracing::error!(%error, "the damaged record stays where it is");
                }
                Record::default()
            }
        };
        match self.programs.step(&Event::Start(seen.clone())) {
            Ok(Answer::Run(run)) => (run, None),
            Ok(other) => (unwritten(&record, &seen), Some(format!("an answer out of turn: {other:?}"))),
            Err(error) => {
                tracing::error!(%error, "the record can't be written: nothing new is tried");
                (unwritten(&record, &seen), Some(error.to_string()))
            }
        }
    }

    fn start(&self, run: &Run, refused: Option<&str>) -> io::Result<Child> {
        let path = run.image.as_ref().map_or_else(|| PACKAGED.into(), |image| self.programs.file(image.slot));
        let mut command = Command::new(&path);
        command
            .arg0("wardround")
            .args(&self.options.arguments)
            .env(SUPERVISOR_VARIABLE, std::process::id().to_string())
            .env_remove(UNWRITTEN_VARIABLE)
            // It ends with this process, however that ends.
            .stdin(Stdio::piped());
        if let Some(why) = refused {
            command.env(UNWRITTEN_VARIABLE, why);
        }
        let child = command.spawn()?;
        let kept =
            child.id().and_then(|id| i32::try_from(id).ok()).and_then(|pid| Some(Kept { pid, since: since(pid)? }));
        if let Some(kept) = kept
            && let Ok(bytes) = serde_json::to_vec(&kept)
            && let Err(error) = replace(&self.child_path(), &bytes, PUBLIC)
        {
            tracing::warn!(%error, "the started process can't be written down");
        }
        Ok(child)
    }

    /// Waits for its end; `None` when a program on trial was left because its time was up.
    async fn watch(&self, child: &mut Child, run: &Run) -> Option<End> {
        // Held until the end: the node stops when it is closed.
        let _stdin = child.stdin.take();
        let overdue = async {
            match run.limit_ms {
                None => std::future::pending().await,
                Some(limit_ms) => self.overdue(Duration::from_millis(limit_ms)).await,
            }
        };
        tokio::select! {
            status = child.wait() => Some(match status {
                Ok(status) if status.code() == Some(RESTART_CODE.into()) => End::Restart,
                Ok(status) => End::Died(words(status)),
                Err(error) => End::Died(error.to_string()),
            }),
            () = self.shutdown.cancelled() => {
                end(child).await;
                Some(End::Stopped)
            }
            () = overdue => {
                tracing::error!("the program on trial is not well in time, and is ended");
                self.note(&Event::Overdue);
                end(child).await;
                None
            }
        }
    }

    /// Returns when the time is over and the program is not well; else never.
    async fn overdue(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        loop {
            if self.programs.record().is_ok_and(|record| record.trial.is_none_or(|trial| trial.well)) {
                std::future::pending::<()>().await;
            }
            if Instant::now() >= deadline {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn note(&self, event: &Event) {
        if let Err(error) = self.programs.step(event) {
            tracing::error!(%error, "the record can't be written");
        }
    }

    fn child_path(&self) -> PathBuf {
        self.programs.dir().join("child.json")
    }

    /// A supervisor that was killed leaves a node that ends by itself; a program on trial that does not is ended here.
    async fn end_orphan(&self) {
        let kept: Option<Kept> = fs::read(self.child_path()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let Some(kept) = kept else { return };
        let there = || since(kept.pid) == Some(kept.since);
        for (signal, limit) in [(Signal::SIGTERM, END_MAX), (Signal::SIGKILL, END_MAX)] {
            if !there() {
                break;
            }
            let _ = kill(Pid::from_raw(kept.pid), signal);
            let deadline = Instant::now() + limit;
            while there() && Instant::now() < deadline {
                tokio::time::sleep(LOOK).await;
            }
        }
        let _ = fs::remove_file(self.child_path());
    }
}

/// Whether a file will never be a program that can be started; a machine without memory or processes may have some later.
fn is_final(error: &io::Error) -> bool {
    let unknown_format = error.raw_os_error() == Some(nix::errno::Errno::ENOEXEC as i32);
    unknown_format || matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
}

/// SHA-256 of the program that the supervisor's child runs now; `None` where there is none.
pub(crate) fn running(programs: &Programs) -> Option<Digest> {
    let kept: Kept = serde_json::from_slice(&fs::read(programs.dir().join("child.json")).ok()?).ok()?;
    if since(kept.pid) != Some(kept.since) {
        return None;
    }
    digest_of(Path::new(&format!("/proc/{}/exe", kept.pid))).ok()
}

/// When a process was started; `None` when it is gone. A process that nobody has waited for yet is gone too.
fn since(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Ends it: asked first.
async fn end(child: &mut Child) {
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    if tokio::time::timeout(END_MAX, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

fn words(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with {code}"),
        (None, Some(signal)) => format!("signal {signal} ended it"),
        (None, None) => "it ended".to_owned(),
    }
}
