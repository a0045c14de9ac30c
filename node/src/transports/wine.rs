//! A device in a Wine prefix on the node: Windows' registry, `cmd` and Windows Installer without Windows.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::process::Command;

use super::{DeviceError, TEXT_BYTES_MAX, decode, process, sandbox::start_detached};

/// Where Debian and others put the loader. `/usr/bin/wine` comes last: where 32-bit Wine is missing it prints a banner.
const LOADERS: [&str; 3] = ["/usr/lib/wine/wine64", "/usr/bin/wine64", "/usr/bin/wine"];

#[derive(Debug)]
pub(crate) struct WinePrefix {
    root: PathBuf,
}

/// The environment that makes Wine headless and quiet.
fn environment(root: &Path) -> [(&'static str, std::ffi::OsString); 4] {
    [
        ("WINEPREFIX", root.into()),
        ("WINEARCH", "win64".into()),
        ("WINEDEBUG", "-all".into()),
        // Neither .NET nor a browser is asked for at the first start.
        ("WINEDLLOVERRIDES", "mscoree,mshtml=".into()),
    ]
}

impl WinePrefix {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: std::path::absolute(root).unwrap_or_else(|_| root.to_owned()) }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn op_dir(&self, op: &str) -> PathBuf {
        self.root.join("drive_c").join("wardround").join(op)
    }

    pub(super) fn ping(&self) -> Result<(), DeviceError> {
        if self.root.join("drive_c").is_dir() {
            return Ok(());
        }
        Err(DeviceError::Unreachable { detail: format!("{} is no Wine prefix", self.root.display()) })
    }

    fn loader() -> Result<&'static str, DeviceError> {
        LOADERS.into_iter().find(|path| Path::new(path).exists()).ok_or_else(|| DeviceError::Unreachable {
            detail: format!("Wine is not installed on the node (looked for {})", LOADERS.join(", ")),
        })
    }

    async fn run(&self, args: &[&str], timeout: Duration) -> Result<String, DeviceError> {
        self.ping()?;
        let mut command = Command::new(Self::loader()?);
        command.args(args).current_dir(self.root.join("drive_c")).envs(environment(&self.root)).env_remove("DISPLAY");
        let what = format!("wine {}", args.join(" "));
        let done = process::run(command, None, timeout, TEXT_BYTES_MAX)
            .await
            .map_err(|source| DeviceError::Io { what: format!("run {what}"), source })?;
        if done.timed_out {
            return Err(DeviceError::Timeout { what, after: timeout });
        }
        Ok(decode(&done.stdout))
    }

    pub(super) async fn run_line(&self, line: &str, timeout: Duration) -> Result<String, DeviceError> {
        self.run(&["cmd", "/v:on", "/c", line], timeout).await
    }

    pub(super) fn start(&self, op: &str, name: &str) -> Result<(), DeviceError> {
        self.ping()?;
        let mut command = std::process::Command::new("setsid");
        command
            .args(["--fork", Self::loader()?, "cmd", "/c"])
            .arg(format!(r"C:\wardround\{op}\{name}"))
            .current_dir(self.root.join("drive_c"))
            .envs(environment(&self.root))
            .env_remove("DISPLAY")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        start_detached(command)
    }

    /// `wineboot -r` ends every program of the prefix, carries out pending file renames, and starts services again.
    pub(super) async fn reboot(&self, timeout: Duration) -> Result<(), DeviceError> {
        self.run(&["wineboot", "-r"], timeout).await?;
        let answer = self.run_line("ver", timeout).await?;
        if answer.contains("Windows") {
            return Ok(());
        }
        Err(DeviceError::Garbled { what: "ver".into(), text: process::tail(&answer, 200).to_owned() })
    }
}
