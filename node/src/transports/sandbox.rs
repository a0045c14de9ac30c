//! A sandbox device: a directory on the node, with POSIX `sh`. Scripts see it as `$WARDROUND_DEVICE_ROOT`.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::process::Command;

use super::{DeviceError, Finished, TEXT_BYTES_MAX, decode, process};

#[derive(Debug)]
pub(crate) struct Sandbox {
    root: PathBuf,
}

impl Sandbox {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: std::path::absolute(root).unwrap_or_else(|_| root.to_owned()) }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn op_dir(&self, op: &str) -> PathBuf {
        self.root.join("wardround").join(op)
    }

    /// A directory that is gone is a device that is switched off.
    pub(super) fn ping(&self) -> Result<(), DeviceError> {
        if self.root.is_dir() {
            return Ok(());
        }
        Err(DeviceError::Unreachable { detail: format!("directory {} is not there", self.root.display()) })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).env("WARDROUND_DEVICE_ROOT", &self.root);
        command
    }

    async fn run(&self, mut command: Command, what: &str, timeout: Duration) -> Result<Finished, DeviceError> {
        self.ping()?;
        command.stdin(Stdio::null());
        let done = process::run(command, None, timeout, TEXT_BYTES_MAX)
            .await
            .map_err(|source| DeviceError::Io { what: what.to_owned(), source })?;
        if done.timed_out {
            return Err(DeviceError::Timeout { what: what.to_owned(), after: timeout });
        }
        Ok(done)
    }

    pub(super) async fn run_line(&self, line: &str, timeout: Duration) -> Result<String, DeviceError> {
        let mut command = self.command("sh");
        command.args(["-c", line]);
        self.run(command, "a command on the device", timeout).await.map(|done| decode(&done.stdout))
    }

    /// In a session of its own, so that neither the node's end nor its terminal's takes the installer along.
    pub(super) fn start(&self, op: &str, name: &str) -> Result<(), DeviceError> {
        self.ping()?;
        let mut command = std::process::Command::new("setsid");
        command
            .args(["--fork", "sh"])
            .arg(self.op_dir(op).join(name))
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        start_detached(command)
    }

    /// Runs `reboot.sh` where the device has one, which must write a new `boot-id` as a start does; else that is done here,
    /// and `reboot-pending` goes.
    pub(super) async fn reboot(&self, timeout: Duration) -> Result<(), DeviceError> {
        self.ping()?;
        let script = self.root.join("reboot.sh");
        if script.is_file() {
            let mark = || std::fs::read(self.root.join("boot-id")).ok();
            let before = mark();
            let mut command = self.command("sh");
            command.arg(&script);
            let done = self.run(command, "the reboot", timeout).await?;
            return match done.code {
                Some(0) => {
                    self.ping()?;
                    let now = mark();
                    if now.is_none() || now == before {
                        let text = "reboot.sh ended with 0, and boot-id is what it was".to_owned();
                        return Err(DeviceError::Garbled { what: "the reboot".into(), text });
                    }
                    std::fs::read_dir(&self.root)
                        .map(drop)
                        .map_err(|source| DeviceError::Io { what: format!("read {}", self.root.display()), source })
                }
                code => Err(DeviceError::Unreachable {
                    detail: format!("reboot.sh ended with {code:?}: {}", decode(&done.stderr).trim()),
                }),
            };
        }
        let io = |source| DeviceError::Io { what: format!("restart {}", self.root.display()), source };
        let mut id = [0u8; 16];
        getrandom::fill(&mut id).map_err(|error| io(std::io::Error::other(error)))?;
        let part = self.root.join("boot-id.part");
        std::fs::write(&part, hex::encode(id)).map_err(io)?;
        std::fs::rename(&part, self.root.join("boot-id")).map_err(io)?;
        match std::fs::remove_file(self.root.join("reboot-pending")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io(error)),
            _ => Ok(()),
        }
    }
}

/// Starts a program that forks itself away and ends at once.
pub(super) fn start_detached(mut command: std::process::Command) -> Result<(), DeviceError> {
    let io = |source| DeviceError::Io { what: "start the launcher".into(), source };
    for name in process::secret_names() {
        command.env_remove(name);
    }
    let status = command.status().map_err(io)?;
    if status.success() {
        return Ok(());
    }
    Err(io(std::io::Error::other(format!("setsid ended with {status}"))))
}
