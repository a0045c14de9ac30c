//! A device, with the verbs that a deployment needs. Every verb may be called again after a crash: steps are known by
//! their operation id, and a step that has begun is picked up, not begun twice.

mod detect;
mod facts;
mod filter;
mod in_use;
mod launch;
mod look;
mod preflight;
mod restore_point;

use std::{collections::BTreeSet, path::Path, time::Duration};

use wardround_rollout_plans::model::{Detected, DeviceId, EVIDENCE_TEXT_MAX, Installer, Payload, Sign, Variant};

pub(crate) use facts::facts;
pub(crate) use look::{Looked, Seen, SeenKind};
pub use preflight::Preflight;

pub use crate::transports::DeviceError;
use crate::{
    config::{DeviceConfig, RollbackMeans},
    installers::{ExitClass, Meaning, Step, meaning},
    program::Own,
    transports::{QUESTION_TIMEOUT, Transport, shell},
};

/// A step that ran to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// The installer's exit code, all 32 bits.
    pub exit_code: u32,
    /// What it says.
    pub class: ExitClass,
    /// The vendor's meaning in words.
    pub words: &'static str,
    /// The end of what the installer printed, at most [`EVIDENCE_TEXT_MAX`] bytes.
    pub output: String,
}

/// What became of a step that was to be withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdrawal {
    /// It had not begun, and never will: a launcher that comes later finds it claimed.
    Withdrawn,
    /// It is at work.
    AtWork,
    /// It had begun, and has ended.
    Over,
}

/// What a device shows of a step, whoever began it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    /// It has not begun.
    None,
    /// It is at work.
    AtWork,
    /// It has ended, or was cut off.
    Over,
}

/// One device. Cheap to make; calls on one device should not overlap.
#[derive(Debug)]
pub struct DeviceHandle {
    id: DeviceId,
    config: DeviceConfig,
    transport: Transport,
}

impl DeviceHandle {
    /// A handle on a declared device. `work_dir` is the node's: pinned host keys and control sockets are kept there.
    #[must_use]
    pub fn new(id: &DeviceId, config: &DeviceConfig, work_dir: &Path) -> Self {
        Self { id: id.clone(), config: config.clone(), transport: Transport::new(id, config, work_dir) }
    }

    /// With the node that this process is, where the device is the node's own program.
    #[must_use]
    pub(crate) fn with_own(mut self, own: &Own) -> Self {
        if matches!(self.transport, Transport::Node(_)) {
            self.transport = Transport::Node(own.clone());
        }
        self
    }

    /// The device's id.
    #[must_use]
    pub fn id(&self) -> &DeviceId {
        &self.id
    }

    /// As the site file declares it.
    pub(crate) fn config(&self) -> &DeviceConfig {
        &self.config
    }

    /// How it is reached.
    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Whether the patch is there, and what of it can be compared later.
    pub(crate) async fn look(&self, op: &str, variant: &Variant) -> Result<Looked, DeviceError> {
        look::look(&self.transport, op, variant).await
    }

    /// Looks, without changing anything, whether the device is ready for `variant`.
    /// `confirmed`: a person has said that nobody needs it now.
    pub async fn preflight(&self, variant: &Variant, confirmed: bool) -> Preflight {
        preflight::preflight(&self.config, &self.transport, variant, confirmed).await
    }

    /// What takes it back beside the package's own means.
    #[must_use]
    pub fn rollback_means(&self) -> &RollbackMeans {
        &self.config.rollback
    }

    /// Whether it answers.
    ///
    /// # Errors
    /// [`DeviceError`] when it does not.
    pub async fn ping(&self) -> Result<(), DeviceError> {
        self.transport.ping().await
    }

    /// Makes a restore point of Windows' System Restore, and says its number.
    ///
    /// # Errors
    /// [`DeviceError`] when the device has none (servers), has it turned off, or does not answer.
    pub async fn make_restore_point(&self, op: &str) -> Result<u32, DeviceError> {
        restore_point::make(&self.transport, op).await
    }

    /// Puts a restore point back. A restart completes it.
    ///
    /// # Errors
    /// As [`DeviceHandle::make_restore_point`].
    pub async fn restore(&self, op: &str, point: u32) -> Result<(), DeviceError> {
        restore_point::restore(&self.transport, op, point).await
    }

    /// Whether a write filter is declared: then [`DeviceHandle::unlock`] goes before what must stay, [`DeviceHandle::lock`] after.
    #[must_use]
    pub fn has_write_filter(&self) -> bool {
        self.config.write_filter.is_some()
    }

    /// Turns the write filter off, with the restarts that this takes. True when it restarted: what lay in the overlay is gone.
    ///
    /// # Errors
    /// [`DeviceError`] when the filter can't be asked, does not obey, or the device does not come back.
    pub async fn unlock(&self, timeout: Duration) -> Result<bool, DeviceError> {
        match self.config.write_filter {
            Some(filter) => filter::turn(&self.transport, filter, false, timeout).await,
            None => Ok(false),
        }
    }

    /// Turns the write filter on again. True when the device restarted.
    ///
    /// # Errors
    /// As [`DeviceHandle::unlock`].
    pub async fn lock(&self, timeout: Duration) -> Result<bool, DeviceError> {
        match self.config.write_filter {
            Some(filter) => filter::turn(&self.transport, filter, true, timeout).await,
            None => Ok(false),
        }
    }

    /// Puts a verified payload of a variant onto the device, under its own file name in the operation's directory.
    ///
    /// # Errors
    /// [`DeviceError`] when the device does not answer, or holds fewer or more bytes afterwards.
    pub async fn stage(&self, op: &str, file: &Path, payload: &Payload) -> Result<(), DeviceError> {
        let op = &shell::op_name(op)?;
        let name = shell::file_name(&payload.file_name)?;
        self.transport.here()?;
        self.transport.put(op, &[(name, file)]).await?;
        if matches!(self.transport, Transport::Node(_)) {
            // Its digest is looked at before it is used.
            return Ok(());
        }
        launch::check_size(&self.transport, op, name, payload.length).await
    }

    /// What an uninstall of `variant` needs on the device.
    #[must_use]
    pub fn needed_to_uninstall(variant: &Variant) -> Option<&Payload> {
        launch::needed(variant, Step::Uninstall)
    }

    /// Whether the patch is on the device.
    pub async fn detect(&self, op: &str, variant: &Variant) -> Detected {
        let found = match &self.transport {
            Transport::Node(own) => own.detect(variant).await,
            transport => detect::detect(transport, op, variant).await,
        };
        match found {
            Ok(found) => found,
            Err(error) => Detected::Unknown { why: bounded(&error.to_string()) },
        }
    }

    /// Whether a patch that leaves this sign is on the device.
    pub async fn detect_sign(&self, op: &str, sign: &Sign) -> Detected {
        match detect::sign(&self.transport, op, sign).await {
            Ok(found) => found,
            Err(error) => Detected::Unknown { why: bounded(&error.to_string()) },
        }
    }

    /// Why the patch is no longer on the device, where it was left there without the node's doing.
    #[must_use]
    pub fn why_left(&self, variant: &Variant) -> Option<String> {
        match &self.transport {
            Transport::Node(own) => own.why_left(variant),
            _ => None,
        }
    }

    /// These operations are over, and their patch stays (`kept`) or not.
    ///
    /// # Errors
    /// [`DeviceError`] when that can't be written down.
    pub async fn over(&self, ops: &[String], kept: bool) -> Result<(), DeviceError> {
        match &self.transport {
            Transport::Node(own) => own.over(ops, kept).await,
            _ => Ok(()),
        }
    }

    /// Installs. Picks up an install of the same `op` that has begun or ended already.
    ///
    /// # Errors
    /// [`DeviceError::Interrupted`] when it began and left no result (detect, then decide); others when it did not begin.
    pub async fn install(&self, op: &str, variant: &Variant, timeout: Duration) -> Result<Ran, DeviceError> {
        if let Transport::Node(own) = &self.transport {
            let staged = own.staged(&shell::op_name(op)?).join(shell::file_name(&variant.payload.file_name)?);
            return own.install(op, &staged, variant).await.map(|did| ran(&variant.installer, Step::Install, did));
        }
        launch::perform(&self.transport, op, variant, Step::Install, timeout).await
    }

    /// What the device shows of an install of this `op`, whoever remembers it.
    ///
    /// # Errors
    /// [`DeviceError`] when the device can't be asked.
    pub async fn install_trace(&self, op: &str) -> Result<Trace, DeviceError> {
        if let Transport::Node(own) = &self.transport {
            return Ok(if own.has_begun(op)? { Trace::Over } else { Trace::None });
        }
        launch::trace(&self.transport, op, Step::Install).await
    }

    /// Which of these operations have a directory on the device.
    ///
    /// # Errors
    /// [`DeviceError`] when the device can't be asked.
    pub async fn there(&self, ops: Vec<String>) -> Result<Vec<String>, DeviceError> {
        let line = match (&self.transport, self.transport.shell()) {
            (Transport::Node(_), _) => return Ok(Vec::new()),
            (transport, kind @ shell::Shell::Sh) => {
                format!("ls -1 {} 2>/dev/null; :", shell::quote(kind, &transport.op_dir(""))?)
            }
            (transport, shell::Shell::Cmd) => {
                format!("dir /b /ad {} 2>nul", transport.op_dir("").trim_end_matches('\\'))
            }
        };
        self.transport.here()?;
        let listed = self.transport.run_line(&line, QUESTION_TIMEOUT).await?;
        let names: BTreeSet<&str> = listed.lines().map(str::trim).collect();
        Ok(ops.into_iter().filter(|op| shell::op_name(op).is_ok_and(|name| names.contains(name.as_str()))).collect())
    }

    /// Withdraws the install of this `op` unless it has begun. After [`Withdrawal::Withdrawn`] it never begins under this
    /// `op`, however late the launcher is that was started for it.
    ///
    /// # Errors
    /// [`DeviceError`] when the device can't be asked, or can't be made to refuse its launcher.
    pub async fn withdraw_install(&self, op: &str) -> Result<Withdrawal, DeviceError> {
        if let Transport::Node(own) = &self.transport {
            return own.withdraw(op).await;
        }
        launch::withdraw(&self.transport, op, Step::Install).await
    }

    /// Uninstalls. Picks up an uninstall of the same `op` that has begun or ended already.
    ///
    /// # Errors
    /// As [`DeviceHandle::install`].
    pub async fn uninstall(&self, op: &str, variant: &Variant, timeout: Duration) -> Result<Ran, DeviceError> {
        if let Transport::Node(own) = &self.transport {
            return own.uninstall(variant).await.map(|did| ran(&variant.installer, Step::Uninstall, did));
        }
        launch::perform(&self.transport, op, variant, Step::Uninstall, timeout).await
    }

    /// Whether the device asks for a reboot.
    ///
    /// # Errors
    /// [`DeviceError`] when it can't be asked.
    pub async fn reboot_pending(&self) -> Result<bool, DeviceError> {
        if let Transport::Node(own) = &self.transport {
            return own.reboot_pending();
        }
        facts::reboot_pending(&self.transport).await
    }

    /// Restarts the device and waits until it is back.
    ///
    /// # Errors
    /// [`DeviceError::Timeout`] when it does not come back in time.
    pub async fn reboot(&self, timeout: Duration) -> Result<(), DeviceError> {
        self.transport.reboot(timeout).await
    }

    /// Removes the operation's directory from the device. Call it only when the operation's result is recorded.
    ///
    /// # Errors
    /// [`DeviceError`] when the device can't be asked; the directory is then left behind, and harms nothing.
    pub async fn cleanup(&self, op: &str) -> Result<(), DeviceError> {
        self.transport.remove(&shell::op_name(op)?).await
    }
}

/// What the node did with its own program.
fn ran(installer: &Installer, step: Step, (exit_code, output): (u32, String)) -> Ran {
    let Meaning { class, words } = meaning(installer, &Default::default(), step, exit_code);
    Ran { exit_code, class, words, output: bounded(&output) }
}

/// A text for evidence: its end, at most [`EVIDENCE_TEXT_MAX`] bytes.
fn bounded(text: &str) -> String {
    crate::transports::tail(text.trim(), EVIDENCE_TEXT_MAX).to_owned()
}

/// Runs a query script of the device and gives its output.
async fn ask(
    transport: &Transport,
    op: &str,
    name: &str,
    sections: &[shell::Section<'_>],
) -> Result<String, DeviceError> {
    ask_with(transport, op, name, sections, Vec::new()).await
}

/// As [`ask`], with files that the lines need.
pub(crate) async fn ask_with(
    transport: &Transport,
    op: &str,
    name: &str,
    sections: &[shell::Section<'_>],
    mut files: Vec<(String, String)>,
) -> Result<String, DeviceError> {
    let kind = transport.shell();
    let file = format!("wr-{name}.{}", kind.extension());
    let path = kind.join(&transport.op_dir(op), &file);
    files.push((file, shell::query_script(kind, sections)));
    transport.put_texts(op, &files).await?;
    let line = match kind {
        shell::Shell::Sh => format!("sh {}", shell::quote(kind, &path)?),
        shell::Shell::Cmd => format!("call {path}"),
    };
    transport.run_line(&line, QUESTION_TIMEOUT).await
}
