//! Transports: how to reach a device. Verbs: put, read, run, start, reboot, ping.
//!
//! **Invariant:** a transport knows nothing of patches, and an installer nothing of transports. Exit codes come back as
//! text, since a Unix status keeps 8 of a Windows code's 32 bits.

pub mod adapter;
mod error;
mod process;
mod reboot;
mod sandbox;
pub mod shell;
mod ssh;
mod windows_boot;
mod wine;

use std::{path::Path, time::Duration};

use adapter::AdapterLink;
pub use adapter::Broken;
pub use error::DeviceError;
pub(crate) use process::{Finished, decode, keep_from_programs, run as run_process, secret_names, tail};
use sandbox::Sandbox;
pub(crate) use shell::Shell;
use ssh::SshLink;
use wardround_rollout_plans::model::DeviceId;
pub(crate) use windows_boot::cim_ms;
use wine::WinePrefix;

use crate::{
    config::{DeviceConfig, LocalShell, TransportConfig},
    program::Own,
};

/// Longest text read back from a device at once, bytes. Registry answers and logs' tails are far below.
pub(crate) const TEXT_BYTES_MAX: usize = 256 * 1024;
/// How long a short question to a device may take. A cold Wine prefix or an old Pentium needs seconds.
pub(crate) const QUESTION_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks at a device that restarts.
const REBOOT_POLL: Duration = Duration::from_millis(500);

/// One device's transport.
#[derive(Debug)]
pub(crate) enum Transport {
    /// A directory with POSIX `sh`.
    Sandbox(Sandbox),
    /// A Wine prefix with its `cmd`.
    Wine(WinePrefix),
    /// An SSH server.
    Ssh(Box<SshLink>),
    /// An adapter program.
    Adapter(Box<AdapterLink>),
    /// The node itself: its program is replaced, and no command runs there.
    Node(Own),
}

impl Transport {
    pub(crate) fn new(id: &DeviceId, config: &DeviceConfig, work_dir: &Path) -> Self {
        match &config.transport {
            TransportConfig::Local { root, shell: LocalShell::Sh } => Self::Sandbox(Sandbox::new(root)),
            TransportConfig::Local { root, shell: LocalShell::Wine } => Self::Wine(WinePrefix::new(root)),
            TransportConfig::Ssh(ssh) => Self::Ssh(Box::new(SshLink::new(id, ssh, work_dir))),
            TransportConfig::Adapter(adapter) => Self::Adapter(Box::new(AdapterLink::new(id, adapter))),
            TransportConfig::Node => Self::Node(Own::elsewhere()),
        }
    }

    /// The adapter, where steps are its own and not the node's launcher's.
    pub(crate) async fn whole_steps(&self) -> Result<Option<&AdapterLink>, DeviceError> {
        match self {
            Self::Adapter(link) if link.does_whole_steps().await? => Ok(Some(link)),
            _ => Ok(None),
        }
    }

    /// What the device's commands are written for.
    pub(crate) fn shell(&self) -> Shell {
        match self {
            Self::Sandbox(_) | Self::Node(_) => Shell::Sh,
            Self::Wine(_) => Shell::Cmd,
            Self::Ssh(ssh) => ssh.shell(),
            Self::Adapter(adapter) => adapter.shell(),
        }
    }

    /// The directory of an operation as the device names it. `op` has been checked.
    pub(crate) fn op_dir(&self, op: &str) -> String {
        match self {
            Self::Sandbox(sandbox) => sandbox.op_dir(op).display().to_string(),
            Self::Wine(_) => format!(r"C:\wardround\{op}"),
            Self::Ssh(ssh) => ssh.op_dir(op),
            Self::Adapter(adapter) => adapter.op_dir(op),
            Self::Node(own) => own.staged(op).display().to_string(),
        }
    }

    /// The device's root, where it has one that scripts are told of.
    pub(crate) fn root(&self) -> Option<String> {
        match self {
            Self::Sandbox(sandbox) => Some(sandbox.root().display().to_string()),
            Self::Wine(_) | Self::Ssh(_) | Self::Adapter(_) | Self::Node(_) => None,
        }
    }

    /// Whether the device answers.
    pub(crate) async fn ping(&self) -> Result<(), DeviceError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.ping(),
            Self::Wine(wine) => wine.ping(),
            Self::Ssh(ssh) => ssh.ping().await,
            Self::Adapter(adapter) => adapter.ping().await,
            Self::Node(own) => own.ping(),
        }
    }

    /// Whether a device that is a directory here is there. Any other shows it by answering the next question.
    pub(crate) fn here(&self) -> Result<(), DeviceError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.ping(),
            Self::Wine(wine) => wine.ping(),
            Self::Ssh(_) | Self::Adapter(_) | Self::Node(_) => Ok(()),
        }
    }

    /// Copies files into the operation's directory, by name; an older one of a name is replaced in one step.
    pub(crate) async fn put(&self, op: &str, files: &[(&str, &Path)]) -> Result<(), DeviceError> {
        let dir = match self {
            Self::Sandbox(sandbox) => sandbox.op_dir(op),
            Self::Wine(wine) => wine.op_dir(op),
            Self::Ssh(ssh) => return ssh.put(op, files).await,
            Self::Adapter(adapter) => return adapter.put(op, files).await,
            Self::Node(own) => own.staged(op),
        };
        for (name, source) in files {
            process::copy_into(&dir, name, source).await?;
        }
        Ok(())
    }

    /// As [`Transport::put`], for short texts.
    pub(crate) async fn put_texts(&self, op: &str, texts: &[(String, String)]) -> Result<(), DeviceError> {
        let io = |source| DeviceError::Io { what: "write scripts for the device".into(), source };
        let dir = tempfile::tempdir().map_err(io)?;
        let paths: Vec<_> = texts.iter().map(|(name, _)| dir.path().join(name)).collect();
        for ((_, text), path) in texts.iter().zip(&paths) {
            std::fs::write(path, text).map_err(io)?;
        }
        let files: Vec<(&str, &Path)> =
            texts.iter().zip(&paths).map(|((name, _), path)| (name.as_str(), path.as_path())).collect();
        self.put(op, &files).await
    }

    /// Runs one line in the device's shell and gives what it printed, decoded. It may pass through several shells on its way, each of
    /// which takes double quotes for its own: they stand around letters, digits, spaces and `._-$` only.
    pub(crate) async fn run_line(&self, line: &str, timeout: Duration) -> Result<String, DeviceError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.run_line(line, timeout).await,
            Self::Wine(wine) => wine.run_line(line, timeout).await,
            Self::Ssh(ssh) => ssh.run_line(line, timeout).await,
            Self::Adapter(adapter) => adapter.run_line(line, timeout).await,
            Self::Node(_) => Err(no_commands()),
        }
    }

    /// Starts a staged script so that it outlives the node, the connection and this call.
    pub(crate) async fn start(&self, op: &str, name: &str) -> Result<(), DeviceError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.start(op, name),
            Self::Wine(wine) => wine.start(op, name),
            Self::Ssh(ssh) => ssh.start(op, name).await,
            Self::Adapter(adapter) => adapter.start(op, name).await,
            Self::Node(_) => Err(no_commands()),
        }
    }

    /// The end of a file of the operation's directory; `None` when it is not there (or, over SSH, empty).
    pub(crate) async fn read_text(&self, op: &str, name: &str) -> Result<Option<String>, DeviceError> {
        match self {
            Self::Sandbox(sandbox) => process::read_tail(&sandbox.op_dir(op).join(name), TEXT_BYTES_MAX),
            Self::Wine(wine) => process::read_tail(&wine.op_dir(op).join(name), TEXT_BYTES_MAX),
            Self::Ssh(ssh) => ssh.read_text(op, name).await,
            Self::Adapter(adapter) => adapter.read_text(op, name).await,
            Self::Node(_) => Err(no_commands()),
        }
    }

    /// Restarts the device and waits for the proof that it did: something that changes with its start has changed, and its
    /// registry (or root) can be read.
    pub(crate) async fn reboot(&self, timeout: Duration) -> Result<(), DeviceError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.reboot(timeout).await,
            Self::Wine(wine) => wine.reboot(timeout).await,
            Self::Ssh(ssh) => reboot::restart(ssh.as_ref(), timeout, REBOOT_POLL).await,
            Self::Adapter(adapter) => reboot::restart(adapter.as_ref(), timeout, REBOOT_POLL).await,
            Self::Node(own) => own.reboot(timeout).await,
        }
    }

    /// Removes the operation's directory.
    pub(crate) async fn remove(&self, op: &str) -> Result<(), DeviceError> {
        match self {
            Self::Sandbox(sandbox) => process::remove_dir(&sandbox.op_dir(op)),
            Self::Wine(wine) => process::remove_dir(&wine.op_dir(op)),
            Self::Ssh(ssh) => ssh.remove(op).await,
            Self::Adapter(adapter) => adapter.remove(op).await,
            Self::Node(own) => process::remove_dir(&own.staged(op)),
        }
    }

    /// What it is called, with the adapter's own name and version.
    pub(crate) async fn words(&self) -> String {
        match self {
            Self::Sandbox(_) => "local sh".to_owned(),
            Self::Wine(_) => "local wine".to_owned(),
            Self::Ssh(_) => "ssh".to_owned(),
            Self::Adapter(adapter) => match adapter.described().await {
                Ok(described) => format!("adapter {}", described.name).trim_end().to_owned(),
                Err(_) => "adapter".to_owned(),
            },
            Self::Node(_) => "node".to_owned(),
        }
    }

    /// The device's directory on this machine, where it has one.
    pub(crate) fn local_root(&self) -> Option<&Path> {
        match self {
            Self::Sandbox(sandbox) => Some(sandbox.root()),
            Self::Wine(wine) => Some(wine.root()),
            Self::Ssh(_) | Self::Adapter(_) | Self::Node(_) => None,
        }
    }
}

fn no_commands() -> DeviceError {
    DeviceError::Unreachable { detail: "the node's own program takes no commands".to_owned() }
}
