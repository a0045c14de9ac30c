//! A device in a Wine prefix on the node: Windows' registry, `cmd` and Windows Installer without Windows.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::process::Command;

use super::{
    DeviceError, QUESTION_TIMEOUT, REBOOT_POLL, TEXT_BYTES_MAX, decode, process, sandbox::start_detached, windows_boot,
};

/// Where Debian and others put the loader. `/usr/bin/wine` comes last: where 32-bit Wine is missing it prints a banner.
const LOADERS: [&str; 3] = ["/usr/lib/wine/wine64", "/usr/bin/wine64", "/usr/bin/wine"];

/// What the device starts once, with its next start.
const RUN_ONCE: &str = r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\RunOnce";
/// What it then writes, on drive C.
const BOOT_FILE: &str = "wardround-boot.txt";

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
        let words = words(line);
        self.run(&[&["cmd", "/v:on", "/c"], words.as_slice()].concat(), timeout).await
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

    /// `wineboot -r` ends every program of the prefix, carries out pending file renames, and starts services again. The
    /// proof is a file that the start itself writes, by an entry of `RunOnce`, and a registry that can be read.
    pub(super) async fn reboot(&self, timeout: Duration) -> Result<(), DeviceError> {
        let deadline = Instant::now() + timeout;
        let mut token = [0u8; 16];
        getrandom::fill(&mut token)
            .map_err(|error| DeviceError::Io { what: "make a mark".into(), source: std::io::Error::other(error) })?;
        let token = hex::encode(token);
        // The space keeps a last digit from being taken for the handle that is redirected.
        let data = format!(r"cmd /c echo {token} > C:\{BOOT_FILE}");
        let args = ["reg", "add", RUN_ONCE, "/v", "wardround-boot", "/d", &data, "/f"];
        self.run(&args, timeout.min(QUESTION_TIMEOUT)).await?;
        self.run(&["wineboot", "-r"], timeout).await?;
        let file = self.root.join("drive_c").join(BOOT_FILE);
        let mut last = "its start has left no mark";
        loop {
            let started = std::fs::read_to_string(&file).is_ok_and(|text| text.trim() == token);
            if started {
                let answer = self.run_line(windows_boot::READABLE, QUESTION_TIMEOUT).await?;
                if windows_boot::is_readable(&answer) {
                    return Ok(());
                }
                last = "its registry can't be read";
            }
            if Instant::now() >= deadline {
                return Err(DeviceError::Timeout { what: format!("the reboot ({last})"), after: timeout });
            }
            tokio::time::sleep(REBOOT_POLL).await;
        }
    }
}

/// A line as Wine's loader takes it: it makes one command line of its arguments again, with quotes around those that have a space, and
/// would escape a quote inside one. A line whose quotes hold anything but whole, plain words stays as it is.
fn words(line: &str) -> Vec<&str> {
    split(line).unwrap_or_else(|| vec![line])
}

fn split(line: &str) -> Option<Vec<&str>> {
    if !line.contains('"') {
        return None;
    }
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted
                .split_once('"')
                .filter(|(word, _)| !word.is_empty() && !word.contains(['&', '|', '<', '>', '^']))?,
            None => rest.split_at(rest.find(' ').unwrap_or(rest.len())),
        };
        if word.contains('"') || !(after.is_empty() || after.starts_with(' ')) {
            return None;
        }
        words.push(word);
        rest = after.trim_start();
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_words_become_arguments_and_other_lines_stay() {
        assert_eq!(words(r#"sc query "Acme Viewer 2" 2>nul"#), ["sc", "query", "Acme Viewer 2", "2>nul"]);
        for line in [
            "sc query MSIServer",
            r#"type "a b"& echo c"#,
            r#"echo "a&b c" d"#,
            r#"x /d:"a b""#,
            r#"open "a b"#,
            r#"x """#,
        ] {
            assert_eq!(words(line), [line]);
        }
    }
}
