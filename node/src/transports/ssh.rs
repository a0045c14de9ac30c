//! A device behind SSH, driven with the system's OpenSSH client.
//!
//! The client is a program of its own, so that old algorithms can be allowed for one device, and a connection that hangs
//! can be killed. One connection is shared by all calls (ControlMaster); when it breaks, the next call makes another.

use std::{
    fmt::Write as _,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};

use tokio::{process::Command, sync::OnceCell};
use wardround_rollout_plans::model::DeviceId;

use super::{
    DeviceError, Finished, QUESTION_TIMEOUT, REBOOT_POLL, TEXT_BYTES_MAX, decode, process,
    reboot::{Boot, ROOT_READABLE, Restart},
    shell::{Shell, quote},
    tail, windows_boot,
};
use crate::config::{RemoteShell, SshConfig};

/// Longest path of a control socket: `sun_path` has 108 bytes (unix(7)), and the client appends 17 while it connects.
const CONTROL_PATH_MAX: usize = 90;
/// How often a directory that is still in use is tried.
const REMOVE_TRIES: usize = 5;
/// How long the shared connection's keeper, a program on this machine, may take to say that it is there.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(5);
/// For how long it is believed then.
const CONTROL_FOR: Duration = Duration::from_secs(5);
/// The status that the client gives its own failures (ssh(1), EXIT STATUS).
const CLIENT_FAILED: i32 = 255;
/// Slowest upload that is waited for, bytes per second: half of the slowest link in the design (2 Mbit/s).
const UPLOAD_RATE_MIN: u64 = 128 * 1024;
/// Marks round an answer: without the second one it was cut off.
const MARKS: (&str, &str) = ("::begin answer", "::end answer");

#[derive(Debug)]
pub(crate) struct SshLink {
    config: SshConfig,
    alias: String,
    known_hosts: PathBuf,
    control: Option<PathBuf>,
    /// When the keeper of the shared connection was last seen to be there.
    checked: Mutex<Option<Instant>>,
    ready: OnceCell<()>,
}

impl SshLink {
    pub(super) fn new(id: &DeviceId, config: &SshConfig, work_dir: &Path) -> Self {
        let work_dir = std::path::absolute(work_dir).unwrap_or_else(|_| work_dir.to_owned());
        let alias = id.as_str().replace('/', ".");
        Self {
            config: config.clone(),
            known_hosts: work_dir.join(format!("{alias}.known_hosts")),
            control: control_path(&work_dir, &alias, config),
            alias,
            checked: Mutex::new(None),
            ready: OnceCell::new(),
        }
    }

    pub(super) fn shell(&self) -> Shell {
        match self.config.shell {
            RemoteShell::Sh => Shell::Sh,
            RemoteShell::Cmd => Shell::Cmd,
        }
    }

    pub(super) fn op_dir(&self, op: &str) -> String {
        self.shell().join(&self.config.device_dir, op)
    }

    /// Writes the pinned key where the client looks for it.
    async fn prepare(&self) -> Result<(), DeviceError> {
        self.ready
            .get_or_try_init(|| async {
                let io = |source| DeviceError::Io { what: format!("write {}", self.known_hosts.display()), source };
                let dir = self.known_hosts.parent().unwrap_or(Path::new("."));
                std::fs::create_dir_all(dir).map_err(io)?;
                let mut file = tempfile::NamedTempFile::new_in(dir).map_err(io)?;
                std::io::Write::write_all(&mut file, format!("{} {}\n", self.alias, self.config.host_key).as_bytes())
                    .map_err(io)?;
                file.persist(&self.known_hosts).map_err(|error| io(error.error))?;
                Ok(())
            })
            .await
            .copied()
    }

    /// Options that `ssh` and `sftp` share. Nothing of the account's own configuration takes part.
    fn options(&self) -> Vec<String> {
        let config = &self.config;
        let mut options: Vec<String> = [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            "GlobalKnownHostsFile=/dev/null",
            "UpdateHostKeys=no",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "PreferredAuthentications=publickey",
            "ClearAllForwardings=yes",
            "ConnectTimeout=10",
            // A link that has died is noticed within 15 seconds.
            "ServerAliveInterval=5",
            "ServerAliveCountMax=3",
            // Below INFO the client does not say why it could not agree on algorithms.
            "LogLevel=INFO",
        ]
        .map(str::to_owned)
        .to_vec();
        options.push(format!("HostKeyAlias={}", self.alias));
        options.push(format!("UserKnownHostsFile={}", option_path(&self.known_hosts)));
        options.push(format!("IdentityFile={}", option_path(&config.identity_file)));
        options.push(format!("Port={}", config.port));
        options.push(format!("User={}", config.user));
        let legacy = &config.legacy;
        for (name, list) in [
            ("KexAlgorithms", &legacy.kex),
            ("HostKeyAlgorithms", &legacy.host_keys),
            ("PubkeyAcceptedAlgorithms", &legacy.host_keys),
            ("Ciphers", &legacy.ciphers),
            ("MACs", &legacy.macs),
        ] {
            if !list.is_empty() {
                options.push(format!("{name}=+{}", list.join(",")));
            }
        }
        if let Some(control) = &self.control {
            options.extend([
                "ControlMaster=auto".to_owned(),
                "ControlPersist=30".to_owned(),
                format!("ControlPath={}", option_path(control)),
            ]);
        }
        options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect()
    }

    async fn client(
        &self,
        program: &str,
        rest: &[&str],
        input: Option<&[u8]>,
        timeout: Duration,
    ) -> Result<Finished, DeviceError> {
        self.prepare().await?;
        self.check_control().await;
        let mut command = Command::new(program);
        command.args(["-F", "/dev/null"]).args(self.options()).args(rest).env_remove("SSH_AUTH_SOCK");
        let what = format!("{program} to {}", self.config.host);
        let begin = Instant::now();
        let done = process::run(command, input, timeout, TEXT_BYTES_MAX)
            .await
            .map_err(|source| DeviceError::Io { what: format!("run {what}"), source })?;
        tracing::debug!(device = self.alias, program, took = ?begin.elapsed(), code = done.code, "ssh client");
        if done.timed_out {
            // The shared connection may be the one that hangs.
            self.hang_up();
            return Err(DeviceError::Timeout { what, after: timeout });
        }
        Ok(done)
    }

    /// Looks whether the keeper of the shared connection answers. One that hangs would hold every call until its time is up,
    /// and that of an upload is hours.
    async fn check_control(&self) {
        let Some(control) = self.control.as_ref().filter(|path| path.exists()) else { return };
        let is_fresh = |at: &Option<Instant>| at.is_some_and(|at| at.elapsed() < CONTROL_FOR);
        if self.checked.lock().is_ok_and(|at| is_fresh(&at)) {
            return;
        }
        let mut command = Command::new("ssh");
        command.args(["-F", "/dev/null", "-O", "check", "-o", &format!("ControlPath={}", option_path(control))]);
        command.args(["--", &self.config.host]).env_remove("SSH_AUTH_SOCK");
        let there = process::run(command, None, CONTROL_TIMEOUT, 1024).await;
        if there.is_ok_and(|done| done.code == Some(0) && !done.timed_out) {
            if let Ok(mut at) = self.checked.lock() {
                *at = Some(Instant::now());
            }
        } else {
            tracing::debug!(device = self.alias, "the shared connection is given up");
            self.hang_up();
        }
    }

    /// Runs one line. What the remote command's status is does not matter: it has lost three of its four bytes.
    pub(super) async fn run_line(&self, line: &str, timeout: Duration) -> Result<String, DeviceError> {
        let (begin, end) = MARKS;
        let command = match self.config.shell {
            RemoteShell::Sh => format!("echo '{begin}'; {line}\necho; echo '{end}'"),
            // The server hands this to `cmd /c`; `call` keeps a batch file from ending the line early.
            RemoteShell::Cmd => format!("cmd /v:on /c \"echo {begin}& {line}& echo.& echo {end}\""),
        };
        let done = self.client("ssh", &["-T", "--", &self.config.host, &command], None, timeout).await?;
        let stdout = decode(&done.stdout);
        if let Some((_, rest)) = stdout.split_once(&format!("{begin}\n"))
            && let Some(at) = rest.rfind(end)
        {
            return Ok(rest[..at].trim_end_matches('\n').to_owned());
        }
        Err(self.explained(&done))
    }

    /// Why the client or the device gave no whole answer.
    fn explained(&self, done: &Finished) -> DeviceError {
        let stderr = decode(&done.stderr);
        let detail = tail(stderr.trim(), 500).to_owned();
        let has = |text: &str| stderr.contains(text);
        if has("REMOTE HOST IDENTIFICATION HAS CHANGED") || has("Host key verification failed") {
            return DeviceError::HostKey { detail: detail.lines().last().unwrap_or_default().to_owned() };
        }
        if has("no matching") || has("no mutual signature algorithm") {
            return DeviceError::Algorithms { detail };
        }
        // With the methods in brackets, as the client says it; an upload may be denied too.
        if has("Permission denied (") {
            return DeviceError::Login { detail };
        }
        if done.code == Some(CLIENT_FAILED) || done.code.is_none() {
            let detail = if detail.is_empty() { "the connection was lost".to_owned() } else { detail };
            return DeviceError::Unreachable { detail };
        }
        let text = format!("{} {detail}", tail(&decode(&done.stdout), 500));
        DeviceError::Garbled { what: "a command".into(), text: text.trim().to_owned() }
    }

    pub(super) async fn ping(&self) -> Result<(), DeviceError> {
        self.run_line("echo pong", QUESTION_TIMEOUT).await.map(drop)
    }

    /// Uploads beside each name and renames when whole: SFTP has no checksum, so the caller compares the size.
    pub(super) async fn put(&self, op: &str, files: &[(&str, &Path)]) -> Result<(), DeviceError> {
        let dir = &self.config.upload_dir;
        // A minus lets the batch go on: the directory may be there, the file may not (sftp(1)).
        let mut batch = format!("-mkdir \"{dir}\"\n-mkdir \"{dir}/{op}\"\n");
        let mut length = 0;
        for (name, source) in files {
            let io = |error| DeviceError::Io { what: format!("read {}", source.display()), source: error };
            length += std::fs::metadata(source).map_err(io)?.len();
            let source = source.display().to_string();
            // Inside double quotes a backslash escapes, and nothing is taken for a pattern (sftp(1)).
            if source.chars().any(|c| c.is_control() || "\"\\".contains(c)) {
                return Err(DeviceError::BadName { what: "file", name: source });
            }
            let target = format!("{dir}/{op}/{name}");
            let _ = write!(
                batch,
                "put \"{source}\" \"{target}.part\"\n-rm \"{target}\"\nrename \"{target}.part\" \"{target}\"\n"
            );
        }
        let timeout = QUESTION_TIMEOUT + Duration::from_secs(length / UPLOAD_RATE_MIN);
        // Without -q, which would also silence why there is no connection.
        let host = sftp_host(&self.config.host);
        let args = ["-b", "-", "--", &host];
        let done = self.client("sftp", &args, Some(batch.as_bytes()), timeout).await?;
        if done.code == Some(0) {
            return Ok(());
        }
        match self.explained(&done) {
            DeviceError::Garbled { text, .. } => {
                Err(DeviceError::Unreachable { detail: format!("the upload failed: {text}") })
            }
            other => Err(other),
        }
    }

    pub(super) async fn read_text(&self, op: &str, name: &str) -> Result<Option<String>, DeviceError> {
        let path = self.shell().join(&self.op_dir(op), name);
        let line = match self.config.shell {
            RemoteShell::Sh => format!("tail -c 4000 {} 2>/dev/null", quote(Shell::Sh, &path)?),
            RemoteShell::Cmd => format!("type {path} 2>nul"),
        };
        let text = self.run_line(&line, QUESTION_TIMEOUT).await?;
        Ok((!text.is_empty()).then_some(text))
    }

    /// Servers on Windows may end a session's programs with it, so the process service starts the launcher where it
    /// can (`wmic`, XP Professional and later); else `start /b`. The launcher runs once however often it is started.
    pub(super) async fn start(&self, op: &str, name: &str) -> Result<(), DeviceError> {
        let path = self.shell().join(&self.op_dir(op), name);
        match self.config.shell {
            RemoteShell::Sh => {
                let path = quote(Shell::Sh, &path)?;
                let line = format!("nohup sh {path} < /dev/null > /dev/null 2>&1 &");
                self.run_line(&line, QUESTION_TIMEOUT).await.map(drop)
            }
            RemoteShell::Cmd => {
                let line = format!(
                    "wmic process call create 'cmd /c {path}' >nul 2>nul & start /b cmd /c {path} >nul 2>nul <nul"
                );
                self.run_line(&line, QUESTION_TIMEOUT).await.map(drop)
            }
        }
    }

    /// Windows removes nothing that a program still holds open, and a launcher ends a moment after its result.
    pub(super) async fn remove(&self, op: &str) -> Result<(), DeviceError> {
        let dir = self.op_dir(op);
        let line = match self.config.shell {
            RemoteShell::Sh => format!("rm -rf {0}; ls {0} 2>/dev/null", quote(Shell::Sh, &dir)?),
            RemoteShell::Cmd => format!("rd /s /q {dir} 2>nul& dir /b {dir} 2>nul"),
        };
        for _ in 0..REMOVE_TRIES {
            if self.run_line(&line, QUESTION_TIMEOUT).await?.trim().is_empty() {
                return Ok(());
            }
            tokio::time::sleep(REBOOT_POLL).await;
        }
        Err(DeviceError::Garbled { what: format!("the removal of {dir}"), text: "it is still there".into() })
    }
}

impl Restart for SshLink {
    async fn boot(&self) -> Result<Option<Boot>, DeviceError> {
        match self.config.shell {
            RemoteShell::Sh => {
                // Both are written once in each start; the second is kept where there is no Linux.
                let line = "cat /proc/sys/kernel/random/boot_id 2>/dev/null || who -b";
                let answer = self.run_line(line, QUESTION_TIMEOUT).await?;
                let mark = answer.lines().map(str::trim).find(|line| line.chars().any(|c| c.is_ascii_digit()));
                Ok(mark.map(|mark| Boot::Mark(mark.to_owned())))
            }
            RemoteShell::Cmd => {
                let times = self.run_line(&format!("{} 2>nul", windows_boot::WMI_TIMES), QUESTION_TIMEOUT).await?;
                if let Some(times) = windows_boot::wmi_times(&times) {
                    return Ok(Some(times));
                }
                let answer = self.run_line(&format!("{} 2>nul", windows_boot::SHUTDOWN_TIME), QUESTION_TIMEOUT).await?;
                Ok(windows_boot::shutdown_time(&answer))
            }
        }
    }

    async fn readable(&self) -> Result<bool, DeviceError> {
        match self.config.shell {
            RemoteShell::Sh => Ok(self.run_line(ROOT_READABLE, QUESTION_TIMEOUT).await?.trim() == "READABLE"),
            RemoteShell::Cmd => {
                let answer = self.run_line(&format!("{} 2>nul", windows_boot::READABLE), QUESTION_TIMEOUT).await?;
                Ok(windows_boot::is_readable(&answer))
            }
        }
    }

    async fn restart(&self, _before: &Boot) -> Result<(), DeviceError> {
        let line = match self.config.shell {
            RemoteShell::Sh => "(sleep 1; shutdown -r now || reboot) > /dev/null 2>&1 &",
            RemoteShell::Cmd => "shutdown -r -t 0",
        };
        self.run_line(line, QUESTION_TIMEOUT).await.map(drop)
    }

    /// Forgets the shared connection, so that the next call makes a new one. The old one ends by its own keep-alive.
    fn hang_up(&self) {
        if let Some(control) = &self.control {
            // It need not be there.
            let _ = std::fs::remove_file(control);
        }
    }
}

/// sftp(1) takes what follows a colon for a path, unless the address stands in brackets; ssh(1) wants it without.
fn sftp_host(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

/// ssh_config(5) splits values at white space and expands `%` and `~`: quote, and double the percent signs.
fn option_path(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('%', "%%"))
}

/// A control socket in the work directory, or, where that name would be too long, in a private directory of this
/// account among the temporary files. `None` means that each call makes its own connection.
fn control_path(work_dir: &Path, alias: &str, config: &SshConfig) -> Option<PathBuf> {
    // 64 bits of a digest tell the devices of all nodes on this machine apart. The declaration is a part of it: a device that
    // is declared anew must not be reached over the connection to where it was before.
    let whole = format!("{} {config:?}", work_dir.join(alias).display());
    let digest = wardround_signing::Digest::of(whole.as_bytes()).hex();
    let name = format!("s-{}", &digest[..16]);
    let near = work_dir.join(&name);
    if near.as_os_str().len() <= CONTROL_PATH_MAX {
        return Some(near);
    }
    let uid = nix::unistd::Uid::effective().as_raw();
    let dir = std::env::temp_dir().join(format!("wardround-ssh-{uid}"));
    let made = std::fs::DirBuilder::new().mode(0o700).create(&dir);
    if made.is_err() {
        // Somebody else's directory of that name must not hold our socket.
        let found = std::fs::symlink_metadata(&dir).ok()?;
        if !found.is_dir() || found.uid() != uid || found.mode() & 0o077 != 0 {
            return None;
        }
    }
    let far = dir.join(name);
    (far.as_os_str().len() <= CONTROL_PATH_MAX).then_some(far)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LegacyAlgorithms;

    fn config(host: &str) -> SshConfig {
        SshConfig {
            host: host.to_owned(),
            port: 22,
            user: "patch".to_owned(),
            identity_file: PathBuf::from("/keys/id"),
            host_key: "ssh-ed25519 AAAA".to_owned(),
            shell: RemoteShell::Cmd,
            upload_dir: "/C:/wardround".to_owned(),
            device_dir: r"C:\wardround".to_owned(),
            legacy: LegacyAlgorithms::default(),
        }
    }

    #[test]
    fn addresses_reach_sftp_as_they_are_meant() {
        assert_eq!(sftp_host("fe80::1%eth0"), "[fe80::1%eth0]");
        assert_eq!((sftp_host("10.0.0.1"), sftp_host("[::1]")), ("10.0.0.1".to_owned(), "[::1]".to_owned()));
    }

    #[test]
    fn a_device_that_is_declared_anew_gets_a_connection_of_its_own() {
        let dir = Path::new("/var/lib/wardround/devices");
        let path = |config: &SshConfig| control_path(dir, "rx1.ct-01", config).unwrap();
        assert_eq!(path(&config("10.0.0.1")), path(&config("10.0.0.1")));
        assert_ne!(path(&config("10.0.0.1")), path(&config("10.0.0.2")));
        let repinned = SshConfig { host_key: "ssh-ed25519 BBBB".to_owned(), ..config("10.0.0.1") };
        assert_ne!(path(&config("10.0.0.1")), path(&repinned));
        // Two nodes on one machine share no connection to one device.
        let other = control_path(Path::new("/var/lib/wardround-2/devices"), "rx1.ct-01", &config("10.0.0.1")).unwrap();
        assert_ne!(path(&config("10.0.0.1")), other);
    }
}
