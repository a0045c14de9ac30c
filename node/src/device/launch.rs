//! Steps that change a device: begun at most once, running on without the node, picked up by operation id.

use std::time::{Duration, Instant};

use wardround_rollout_plans::model::{Installer, Variant};

use super::{Ran, bounded};
use crate::{
    installers::{Step, classify, launch_lines, parse_exit_code},
    transports::{
        DeviceError, QUESTION_TIMEOUT, Transport,
        shell::{self, Shell},
        tail,
    },
};

/// First and longest pause between two looks for the result.
const POLL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How often a step that has begun is checked for being alive.
const ALIVE_EVERY: Duration = Duration::from_secs(3);
/// How long a launcher that was started may take to claim its step.
const CLAIM_MAX: Duration = Duration::from_secs(30);

/// Performs `step`, or picks it up where an earlier call left it.
pub(super) async fn perform(
    transport: &Transport,
    op: &str,
    variant: &Variant,
    step: Step,
    timeout: Duration,
) -> Result<Ran, DeviceError> {
    let op = shell::checked("operation", op)?;
    let file = shell::checked("file", &variant.payload.file_name)?;
    let kind = transport.shell();
    let dir = transport.op_dir(op);
    let lines = launch_lines(&variant.installer, step, kind, &kind.join(&dir, file))?;
    let launch = Launch { transport, op, step, begun: Instant::now(), timeout };
    transport.ping().await?;
    if let Some(code) = launch.result().await? {
        return launch.ran(&variant.installer, code).await;
    }
    if !launch.claimed().await? {
        let needs_payload = step == Step::Install || matches!(variant.installer, Installer::Script { .. });
        if needs_payload {
            check_size(transport, op, file, variant.payload.length).await?;
        }
        let word = step.word();
        let extension = kind.extension();
        transport.put_text(op, &format!("{word}.run.{extension}"), &shell::step_script(kind, &lines)).await?;
        let launcher = shell::launcher_script(kind, &dir, transport.root().as_deref(), word)?;
        let launcher_file = format!("{word}.{extension}");
        transport.put_text(op, &launcher_file, &launcher).await?;
        transport.start(op, &launcher_file).await?;
    }
    let code = launch.wait().await?;
    launch.ran(&variant.installer, code).await
}

struct Launch<'a> {
    transport: &'a Transport,
    op: &'a str,
    step: Step,
    begun: Instant,
    timeout: Duration,
}

impl Launch<'_> {
    async fn result(&self) -> Result<Option<u32>, DeviceError> {
        let name = format!("{}.rc", self.step.word());
        match self.transport.read_text(self.op, &name).await? {
            None => Ok(None),
            Some(text) => parse_exit_code(&text)
                .map(Some)
                .ok_or_else(|| DeviceError::Garbled { what: name, text: tail(&text, 100).to_owned() }),
        }
    }

    async fn claimed(&self) -> Result<bool, DeviceError> {
        let name = format!("{}.started", self.step.word());
        let kind = self.transport.shell();
        let path = kind.join(&self.transport.op_dir(self.op), &name);
        if let Some(root) = self.transport.local_root() {
            return Ok(local_path(kind, root, self.op, &name).is_dir());
        }
        let line = match kind {
            Shell::Sh => format!("if test -d {}; then echo YES; else echo NO; fi", shell::quote(kind, &path)?),
            Shell::Cmd => format!("if exist {path} (echo YES) else (echo NO)"),
        };
        self.word(&line, "YES", "NO").await
    }

    async fn alive(&self) -> Result<bool, DeviceError> {
        let kind = self.transport.shell();
        let line = shell::alive_line(kind, &self.transport.op_dir(self.op), self.step.word())?;
        self.word(&line, "HELD", "FREE").await
    }

    async fn word(&self, line: &str, yes: &str, no: &str) -> Result<bool, DeviceError> {
        let answer = self.transport.run_line(line, QUESTION_TIMEOUT).await?;
        match answer.trim() {
            word if word == yes => Ok(true),
            word if word == no => Ok(false),
            other => {
                Err(DeviceError::Garbled { what: "the state of a step".into(), text: tail(other, 200).to_owned() })
            }
        }
    }

    fn interrupted(&self, why: String) -> DeviceError {
        DeviceError::Interrupted { step: self.step.word(), why }
    }

    /// Waits for the result. A lost link is no result: it is looked for again until the time is up.
    async fn wait(&self) -> Result<u32, DeviceError> {
        let mut pause = POLL.0;
        let mut alive_checked = Instant::now();
        loop {
            let looked = self.look(&mut alive_checked).await;
            match looked {
                Ok(Some(code)) => return Ok(code),
                Err(error) if !error.is_transient() => return Err(error),
                Err(error) if self.begun.elapsed() >= self.timeout => return Err(error),
                Ok(None) if self.begun.elapsed() >= self.timeout => {
                    return Err(self.interrupted(format!("none after {}s", self.timeout.as_secs())));
                }
                Err(error) => tracing::debug!(%error, op = self.op, "looking again"),
                Ok(None) => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(POLL.1);
        }
    }

    async fn look(&self, alive_checked: &mut Instant) -> Result<Option<u32>, DeviceError> {
        if let Some(code) = self.result().await? {
            return Ok(Some(code));
        }
        if alive_checked.elapsed() < ALIVE_EVERY {
            return Ok(None);
        }
        *alive_checked = Instant::now();
        if !self.claimed().await? {
            if self.begun.elapsed() > CLAIM_MAX {
                return Err(self.interrupted("its launcher did not begin".into()));
            }
            return Ok(None);
        }
        if self.alive().await? {
            return Ok(None);
        }
        // It may have ended between the first look and the check.
        match self.result().await? {
            Some(code) => Ok(Some(code)),
            None => Err(self.interrupted("its launcher has ended; the device may have restarted".into())),
        }
    }

    async fn ran(&self, installer: &Installer, code: u32) -> Result<Ran, DeviceError> {
        let log = self.transport.read_text(self.op, &format!("{}.log", self.step.word())).await?;
        let output = bounded(&log.unwrap_or_default());
        Ok(Ran { exit_code: code, class: classify(installer, self.step, code), output })
    }
}

fn local_path(kind: Shell, root: &std::path::Path, op: &str, name: &str) -> std::path::PathBuf {
    let base = if kind == Shell::Cmd { root.join("drive_c") } else { root.to_owned() };
    base.join("wardround").join(op).join(name)
}

/// The staged file has the length that was signed.
pub(super) async fn check_size(transport: &Transport, op: &str, file: &str, length: u64) -> Result<(), DeviceError> {
    let kind = transport.shell();
    let found = match transport.local_root() {
        Some(root) => std::fs::metadata(local_path(kind, root, op, file)).ok().map(|meta| meta.len()),
        None => {
            let path = kind.join(&transport.op_dir(op), file);
            let line = match kind {
                Shell::Sh => {
                    let path = shell::quote(kind, &path)?;
                    format!("if test -f {path}; then wc -c < {path}; else echo none; fi")
                }
                Shell::Cmd => format!("if exist {path} (for %I in ({path}) do @echo %~zI) else (echo none)"),
            };
            transport.run_line(&line, QUESTION_TIMEOUT).await?.trim().parse().ok()
        }
    };
    match found {
        None => Err(DeviceError::NotStaged { file: file.to_owned() }),
        Some(found) if found == length => Ok(()),
        Some(found) => Err(DeviceError::Unreachable {
            detail: format!("{file} has {found} bytes on the device instead of {length}: the upload was cut off"),
        }),
    }
}
