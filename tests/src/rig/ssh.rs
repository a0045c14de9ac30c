//! Devices behind a real sshd: Windows (onto a Wine prefix) or a plain POSIX directory.

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::{Running, WineDevice, cache_dir, listens_at, peer_file, require, wait_until};
use crate::ports::free_port;

/// What kind of server.
#[derive(Debug, Clone, Default)]
pub struct SshOptions {
    /// Speaks only what servers spoke around 2005: group1-sha1, ssh-rsa, 3des-cbc, hmac-sha1.
    pub legacy: bool,
    /// A directory whose programs come before the system's in every session; without one, sshd's own list of places.
    pub programs: Option<PathBuf>,
    /// Where it listens, on port 22 of a machine in a network of its own; else on loopback.
    pub address: Option<Ipv4Addr>,
}

/// An sshd. It ends with the test.
#[derive(Debug)]
pub struct SshDevice {
    server: Running,
    dir: PathBuf,
    address: Ipv4Addr,
    port: u16,
    /// Where the device's directory is, as SFTP and its shell name it.
    upload_dir: String,
    device_dir: String,
    shell: &'static str,
    options: SshOptions,
}

impl SshDevice {
    /// A server that gives `device`'s `cmd` and drive; `None` where a program is missing.
    ///
    /// # Panics
    /// When sshd does not start.
    #[must_use]
    pub fn windows(device: &WineDevice, options: SshOptions) -> Option<Self> {
        let session = format!("{} {}", peer_file("windows-ssh.sh").display(), device.root().display());
        let upload = device.file("wardround").display().to_string();
        Self::start(&format!("/bin/bash {session}"), upload, r"C:\wardround".into(), "cmd", options)
    }

    /// A server that gives this machine's `sh`, with its wardround directory in `dir`; `None` where a program is missing.
    ///
    /// # Panics
    /// When sshd does not start.
    #[must_use]
    pub fn posix(dir: &Path, options: SshOptions) -> Option<Self> {
        let work = dir.join("wardround").display().to_string();
        Self::start("", work.clone(), work, "sh", options)
    }

    fn start(
        force: &str,
        upload_dir: String,
        device_dir: String,
        shell: &'static str,
        options: SshOptions,
    ) -> Option<Self> {
        let sshd = require("sshd")?;
        for program in ["ssh", "sftp", "ssh-keygen", "setsid"] {
            require(program)?;
        }
        // As root it separates privileges into a directory that a fresh machine has not made yet.
        let _ = fs::create_dir_all("/run/sshd");
        let parent = cache_dir().join("devices");
        fs::create_dir_all(&parent).expect("the target directory is writable");
        let dir = tempfile::Builder::new().prefix("s").tempdir_in(&parent).expect("so is this one").keep();
        let (kind, bits) = if options.legacy { ("rsa", "2048") } else { ("ed25519", "256") };
        keygen(&dir.join("host"), kind, bits);
        keygen(&dir.join("id"), "rsa", "2048");
        fs::copy(dir.join("id.pub"), dir.join("authorized_keys")).expect("a key is copied");
        let (address, port) =
            options.address.map_or_else(|| (Ipv4Addr::LOCALHOST, free_port()), |address| (address, 22));
        let mut lines = vec![
            format!("Port {port}"),
            format!("ListenAddress {address}"),
            format!("HostKey {}", dir.join("host").display()),
            format!("AuthorizedKeysFile {}", dir.join("authorized_keys").display()),
            "PidFile none".into(),
            "UsePAM no".into(),
            "StrictModes no".into(),
            "PasswordAuthentication no".into(),
            "KbdInteractiveAuthentication no".into(),
            "PermitRootLogin prohibit-password".into(),
            "PermitTTY no".into(),
            "MaxStartups 100".into(),
            "Subsystem sftp /usr/lib/openssh/sftp-server".into(),
        ];
        if !force.is_empty() {
            lines.push(format!("ForceCommand {force}"));
        }
        if let Some(programs) = &options.programs {
            lines.push(format!("SetEnv PATH={}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", programs.display()));
        }
        if options.legacy {
            lines.extend(
                [
                    "KexAlgorithms diffie-hellman-group1-sha1",
                    "HostKeyAlgorithms ssh-rsa",
                    "Ciphers 3des-cbc",
                    "MACs hmac-sha1",
                    // sshd offers the newer RSA signatures even where it is told not to; a real old one does not know them.
                    "PubkeyAcceptedAlgorithms ssh-rsa,rsa-sha2-256,rsa-sha2-512",
                ]
                .map(str::to_owned),
            );
        }
        let config = dir.join("sshd_config");
        fs::write(&config, lines.join("\n") + "\n").expect("the directory is writable");
        let mut command = Command::new(sshd);
        command.args(["-D", "-f"]).arg(config).arg("-E").arg(dir.join("sshd.log")).stdin(Stdio::null());
        let server = Running::start(&mut command);
        wait_until("sshd listens", Duration::from_secs(10), || listens_at(address, port));
        Some(Self { server, dir, address, port, upload_dir, device_dir, shell, options })
    }

    /// Its `transport:` in a site file, with the pinned key and, where the server needs it, the legacy algorithms.
    #[must_use]
    pub fn transport(&self) -> String {
        self.transport_with(&self.host_key(), self.options.legacy)
    }

    /// As [`SshDevice::transport`], with another pinned key, or with or without the legacy algorithms.
    ///
    /// # Panics
    /// When no account name is known.
    #[must_use]
    pub fn transport_with(&self, host_key: &str, legacy: bool) -> String {
        let user = nix::unistd::User::from_uid(nix::unistd::Uid::effective());
        let user = user.ok().flatten().expect("this account has a name").name;
        let legacy = if legacy {
            ", legacy: { kex: [diffie-hellman-group1-sha1], host_keys: [ssh-rsa], ciphers: [3des-cbc], macs: [hmac-sha1] }"
        } else {
            ""
        };
        format!(
            "{{ kind: ssh, host: {}, port: {}, user: {user}, identity_file: {}, host_key: \"{host_key}\", \
             shell: {}, upload_dir: '{}', device_dir: '{}'{legacy} }}",
            self.address,
            self.port,
            self.dir.join("id").display(),
            self.shell,
            self.upload_dir,
            self.device_dir,
        )
    }

    /// Its public host key.
    ///
    /// # Panics
    /// When the file is gone.
    #[must_use]
    pub fn host_key(&self) -> String {
        fs::read_to_string(self.dir.join("host.pub")).expect("the key is there").trim().to_owned()
    }

    /// A host key of the right form that is not this server's.
    #[must_use]
    pub fn other_host_key(&self) -> String {
        let path = self.dir.join("other");
        if !path.exists() {
            keygen(&path, "ed25519", "256");
        }
        fs::read_to_string(path.with_extension("pub")).expect("the key is there").trim().to_owned()
    }

    /// Cuts every connection at once, as a lost link does. What runs on the device runs on.
    pub fn cut(&self) {
        let sessions: Vec<(i32, i32)> = fs::read_dir("/proc")
            .expect("Linux")
            .filter_map(|entry| {
                let stat = fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
                // pid (comm) state ppid …
                let (pid, rest) = stat.split_once(" (sshd) ")?;
                Some((pid.parse().ok()?, rest.split(' ').nth(1)?.parse().ok()?))
            })
            .collect();
        let mut ours = vec![self.server.id()];
        while let Some(parent) = ours.pop() {
            for (pid, _) in sessions.iter().filter(|(_, of)| *of == parent) {
                ours.push(*pid);
                // It may have ended by itself.
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), nix::sys::signal::Signal::SIGKILL);
            }
        }
    }
}

impl Drop for SshDevice {
    fn drop(&mut self) {
        self.server.kill();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn keygen(path: &Path, kind: &str, bits: &str) {
    let output = Command::new("ssh-keygen")
        .args(["-q", "-N", "", "-C", "bench", "-t", kind, "-b", bits, "-f"])
        .arg(path)
        .output()
        .expect("ssh-keygen runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("it is ours");
}
