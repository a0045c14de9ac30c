//! PostgreSQL: a cluster of its own in a temporary directory, run by the account `postgres`, since the server refuses root.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::{Keys, Running, missing, wait_until};
use crate::ports::free_port;

/// The password of every role.
pub const POSTGRES_PASSWORD: &str = "a pass word";

/// A server with the database `lis` and the roles `probe_scram` and `probe_md5`, whose passwords are kept as their names say.
/// `probe_clear` is asked for its password in clear, and `probe_trust` for none.
#[derive(Debug)]
pub struct Postgres {
    _server: Running,
    port: u16,
    _dir: TempDir,
}

impl Postgres {
    /// Starts one that speaks TLS with `keys`; `None` where PostgreSQL is missing.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(keys: &Keys) -> Option<Self> {
        let programs = programs()?;
        let dir = tempfile::tempdir().expect("a temporary directory is made");
        let (data, port) = (dir.path().join("data"), free_port());
        let run = |program: &str, arguments: &[&str]| {
            let done = by_postgres(&programs.join(program)).args(arguments).current_dir("/").output();
            let done = done.unwrap_or_else(|error| panic!("{program}: {error}"));
            assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
        };
        owned_by_postgres(dir.path());
        run(
            "initdb",
            &["-D", &data.display().to_string(), "-A", "trust", "-U", "postgres", "--no-sync", "--no-locale"],
        );
        for (from, to) in [(&keys.cert, "server.pem"), (&keys.key, "server.key")] {
            let to = data.join(to);
            fs::copy(from, &to).expect("it is ours");
            owned_by_postgres(&to);
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            fs::set_permissions(&to, mode).expect("it is ours");
        }
        let settings = format!(
            "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\nfsync = off\nssl = on\n\
             ssl_cert_file = 'server.pem'\nssl_key_file = 'server.key'\n",
            dir.path().display()
        );
        fs::write(data.join("postgresql.auto.conf"), settings).expect("it is ours");
        let rules = "local all postgres trust\nhost all probe_trust all trust\nhost all probe_md5 all md5\n\
                     host all probe_clear all password\nhost all probe_scram all scram-sha-256\n";
        fs::write(data.join("pg_hba.conf"), rules).expect("it is ours");
        let mut command = by_postgres(&programs.join("postgres"));
        command.arg("-D").arg(&data).current_dir("/").stdout(Stdio::null()).stderr(Stdio::null());
        let server = Running::start(&mut command);
        let psql = |sql: &str| {
            let mut command = by_postgres(&programs.join("psql"));
            command
                .args(["-q", "-U", "postgres", "-p", &port.to_string(), "-c", sql, "-h"])
                .arg(dir.path())
                .current_dir("/");
            command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
        };
        wait_until("PostgreSQL listens", Duration::from_secs(60), || psql("SELECT 1"));
        for sql in [
            "CREATE DATABASE lis",
            &format!("CREATE ROLE probe_scram LOGIN PASSWORD '{POSTGRES_PASSWORD}'"),
            &format!("CREATE ROLE probe_clear LOGIN PASSWORD '{POSTGRES_PASSWORD}'"),
            &format!("SET password_encryption = 'md5'; CREATE ROLE probe_md5 LOGIN PASSWORD '{POSTGRES_PASSWORD}'"),
            "CREATE ROLE probe_trust LOGIN",
        ] {
            assert!(psql(sql), "{sql}");
        }
        Some(Self { _server: server, port, _dir: dir })
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Debian keeps the server's programs outside of the PATH.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok().into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin")).find(|bin| bin.join("initdb").is_file());
    if found.is_none() {
        missing("PostgreSQL's initdb");
    }
    found
}

fn by_postgres(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups", "--pdeathsig", "INT"]).arg(program);
    command
}

fn owned_by_postgres(path: &Path) {
    let user = nix::unistd::User::from_name("postgres").expect("accounts can be read").expect("the account is there");
    nix::unistd::chown(path, Some(user.uid), Some(user.gid)).expect("the tests run as root");
}
