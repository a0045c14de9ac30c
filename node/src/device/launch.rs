//! Steps that change a device: begun at most once, running on without the node, picked up by operation id.

use std::time::{Duration, Instant};

use wardround_rollout_plans::{
    model::{Payload, Variant},
    patch_file::uninstalls,
};

use super::{Ran, Trace, Withdrawal, bounded};
use crate::{
    installers::{Meaning, Place, Refused, Staged, Step, launch_lines, meaning, parse_exit_code, staged_for},
    transports::{
        DeviceError, QUESTION_TIMEOUT, Transport,
        adapter::AdapterLink,
        shell::{self, Look, Shell, StepState},
        tail,
    },
};

/// First and longest pause between two looks for the result.
const POLL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How often a step that has begun is checked for being alive.
const ALIVE_EVERY: Duration = Duration::from_secs(3);
/// How long a launcher that was started may take to claim its step. Then the step is withdrawn.
const CLAIM_MAX: Duration = Duration::from_secs(30);

/// Performs `step`, or picks it up where an earlier call left it.
pub(super) async fn perform(
    transport: &Transport,
    op: &str,
    variant: &Variant,
    step: Step,
    timeout: Duration,
) -> Result<Ran, DeviceError> {
    let op = &shell::op_name(op)?;
    shell::file_name(&variant.payload.file_name)?;
    transport.here()?;
    let whole = transport.whole_steps().await?;
    let files = match whole {
        None => launcher(transport, op, variant, step)?,
        Some(_) if step == Step::Uninstall => {
            uninstalls(variant).map(|()| Vec::new()).map_err(Refused::Irreversible)?
        }
        Some(_) => Vec::new(),
    };
    let launch = Launch { transport, whole, op, step, begun: Instant::now(), timeout };
    let code = match launch.look(Look::Only).await? {
        StepState::Done(code) => code,
        StepState::None => {
            if let Some(payload) = needed(variant, step) {
                check_size(transport, op, shell::file_name(&payload.file_name)?, payload.length).await?;
            }
            match whole {
                None => {
                    transport.put_texts(op, &files).await?;
                    transport.start(op, &format!("wr-{}.{}", step.word(), transport.shell().extension())).await?;
                }
                Some(link) => drop(link.begin(op, step, variant, timeout).await?),
            }
            launch.wait().await?
        }
        StepState::Withdrawn => return Err(launch.withdrawn()),
        StepState::Running | StepState::Dead => launch.wait().await?,
    };
    launch.ran(variant, code).await
}

/// The files that perform `step` on the device.
fn launcher(
    transport: &Transport,
    op: &str,
    variant: &Variant,
    step: Step,
) -> Result<Vec<(String, String)>, DeviceError> {
    let (shell, dir, root) = (transport.shell(), transport.op_dir(op), transport.root());
    let lines = launch_lines(variant, step, Place { shell, dir: &dir, root: root.as_deref() })?;
    Ok(shell::step_files(shell, &dir, root.as_deref(), step.word(), &lines)?)
}

/// What a step finds on the device, staged before.
pub(super) fn needed(variant: &Variant, step: Step) -> Option<&Payload> {
    match staged_for(variant, step) {
        Staged::Nothing => None,
        Staged::Payload => Some(&variant.payload),
        Staged::Previous => variant.previous.as_ref(),
    }
}

/// What the device shows of `step`.
pub(super) async fn trace(transport: &Transport, op: &str, step: Step) -> Result<Trace, DeviceError> {
    let op = &shell::op_name(op)?;
    transport.here()?;
    let whole = transport.whole_steps().await?;
    let launch = Launch { transport, whole, op, step, begun: Instant::now(), timeout: QUESTION_TIMEOUT };
    Ok(match launch.look(Look::Only).await? {
        StepState::None | StepState::Withdrawn => Trace::None,
        StepState::Running => Trace::AtWork,
        StepState::Done(_) | StepState::Dead => Trace::Over,
    })
}

/// Withdraws `step` unless it has begun.
pub(super) async fn withdraw(transport: &Transport, op: &str, step: Step) -> Result<Withdrawal, DeviceError> {
    let op = &shell::op_name(op)?;
    transport.here()?;
    let whole = transport.whole_steps().await?;
    let launch = Launch { transport, whole, op, step, begun: Instant::now(), timeout: QUESTION_TIMEOUT };
    match launch.look(Look::Withdraw).await? {
        StepState::Withdrawn => Ok(Withdrawal::Withdrawn),
        StepState::Running => Ok(Withdrawal::AtWork),
        StepState::Done(_) | StepState::Dead => Ok(Withdrawal::Over),
        StepState::None => Err(launch.not_withdrawn()),
    }
}

struct Launch<'a> {
    transport: &'a Transport,
    /// Whoever performs steps in the launcher's place.
    whole: Option<&'a AdapterLink>,
    op: &'a str,
    step: Step,
    begun: Instant,
    timeout: Duration,
}

impl Launch<'_> {
    /// Puts a state script, and runs it.
    async fn look(&self, look: Look) -> Result<StepState, DeviceError> {
        if let Some(link) = self.whole {
            return link.step_state(self.op, self.step, look).await;
        }
        let kind = self.transport.shell();
        let script = shell::state_script(kind, &self.transport.op_dir(self.op), self.step.word(), look)?;
        self.transport.put_texts(self.op, &[script]).await?;
        self.ask(look).await
    }

    async fn ask(&self, look: Look) -> Result<StepState, DeviceError> {
        if let Some(link) = self.whole {
            return link.step_state(self.op, self.step, look).await;
        }
        let kind = self.transport.shell();
        let path = kind.join(&self.transport.op_dir(self.op), &look.file(kind, self.step.word()));
        let line = match kind {
            Shell::Sh => format!("sh {}", shell::quote(kind, &path)?),
            Shell::Cmd => format!("call {path}"),
        };
        let answer = self.transport.run_line(&line, QUESTION_TIMEOUT).await?;
        shell::step_state(&answer).ok_or_else(|| DeviceError::Garbled {
            what: format!("the state of the {}", self.step.word()),
            text: tail(&answer, 200).to_owned(),
        })
    }

    /// As [`Launch::look`], but asks a device that is a directory here by looking at it: that is cheap enough to do
    /// often, and tells all but a dead launcher.
    async fn glance(&self) -> Result<Option<StepState>, DeviceError> {
        if self.transport.local_root().is_none() {
            return self.ask(Look::Only).await.map(Some);
        }
        let rc = self.transport.read_text(self.op, &format!("wr-{}.rc", self.step.word())).await?;
        Ok(rc.and_then(|text| parse_exit_code(&text)).map(StepState::Done))
    }

    fn interrupted(&self, why: String) -> DeviceError {
        DeviceError::Interrupted { step: self.step.word(), why }
    }

    fn withdrawn(&self) -> DeviceError {
        self.interrupted("its launcher did not begin in time, and will not any more".into())
    }

    /// The script could not claim a step that nobody has claimed.
    fn not_withdrawn(&self) -> DeviceError {
        let detail = format!("the {} has not begun, and could not be withdrawn: is the disk full?", self.step.word());
        DeviceError::Unreachable { detail }
    }

    /// Waits for the result. A lost link is no result: it is looked for again until the time is up. A step that has not
    /// begun by then is withdrawn, so that a launcher that is only slow does not begin it when nobody looks any more.
    async fn wait(&self) -> Result<u32, DeviceError> {
        let mut pause = POLL.0;
        let mut asked = Instant::now();
        loop {
            let over = self.begun.elapsed() >= self.timeout;
            let looked = if over || asked.elapsed() >= ALIVE_EVERY {
                asked = Instant::now();
                match self.ask(Look::Only).await {
                    Ok(StepState::None) if over || self.begun.elapsed() >= CLAIM_MAX => {
                        self.look(Look::Withdraw).await.map(Some)
                    }
                    other => other.map(Some),
                }
            } else {
                self.glance().await
            };
            match looked {
                Ok(Some(StepState::Done(code))) => return Ok(code),
                Ok(Some(StepState::Dead)) => {
                    return Err(self.interrupted("its launcher has ended; the device may have restarted".into()));
                }
                Ok(Some(StepState::Withdrawn)) => return Err(self.withdrawn()),
                Ok(Some(StepState::None)) if over => return Err(self.not_withdrawn()),
                Ok(_) if over => return Err(self.interrupted(format!("none after {}s", self.timeout.as_secs()))),
                Err(error) if over || !error.is_transient() => return Err(error),
                Err(error) => tracing::debug!(%error, op = self.op, "looking again"),
                Ok(_) => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(POLL.1);
        }
    }

    async fn ran(&self, variant: &Variant, code: u32) -> Result<Ran, DeviceError> {
        // The result counts, whatever becomes of its log.
        let log = self.transport.read_text(self.op, &format!("wr-{}.log", self.step.word())).await;
        let output = match log {
            Ok(text) => bounded(&text.unwrap_or_default()),
            Err(error) => bounded(&format!("the log could not be read: {error}")),
        };
        let Meaning { class, words } = meaning(&variant.installer, &variant.nt_versions(), self.step, code);
        Ok(Ran { exit_code: code, class, words, output })
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
                // Prints no number for a file that is not there.
                Shell::Cmd => format!("for %I in ({path}) do @echo %~zI"),
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
