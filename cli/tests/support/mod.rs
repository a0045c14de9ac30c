//! Runs the built `wardround` in a folder of its own and shows what it did: exit code and both streams.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use tokio::net::TcpSocket;

/// Passphrase of every key in these tests.
pub(crate) const PASSPHRASE: &str = "correct horse battery staple";

/// A folder in which commands run.
pub(crate) struct Bench {
    dir: tempfile::TempDir,
    /// What differs from run to run, and what stands for it.
    masks: Vec<(String, String)>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), masks: Vec::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }

    pub(crate) fn mask(&mut self, text: impl Into<String>, stands: &str) {
        self.masks.push((text.into(), stands.to_owned()));
    }

    pub(crate) fn command(&self, line: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wardround"));
        command.args(line).current_dir(self.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("WARDROUND")) {
            command.env_remove(name);
        }
        command.env("WARDROUND_HOME", self.path().join("home")).env("TZ", "UTC").env_remove("RUST_LOG");
        command
    }

    /// Runs a command with the passphrase in the environment.
    pub(crate) fn run(&self, line: &[&str]) -> String {
        self.show(self.command(line).env("WARDROUND_PASSPHRASE", PASSPHRASE), line)
    }

    /// Runs `command` and shows it as `line`.
    pub(crate) fn show(&self, command: &mut Command, line: &[&str]) -> String {
        let done = command.output().unwrap();
        let mut text = format!("$ wardround {}\nexit {}\n", line.join(" "), done.status.code().unwrap_or(-1));
        for (name, bytes) in [("stdout", done.stdout), ("stderr", done.stderr)] {
            if !bytes.is_empty() {
                text += &format!("--- {name}\n{}", String::from_utf8(bytes).unwrap());
            }
        }
        text = text.replace(&self.path().display().to_string(), "BENCH");
        for (real, stands) in &self.masks {
            text = text.replace(real, stands);
        }
        masked_times(&text)
    }

    /// A key; its id and public half are masked. An empty role means none.
    pub(crate) fn key(&mut self, file: &str, holder: &str, role: &str) -> String {
        let mut create = self.command(&["key", "create", "--holder", holder, "--out", file]);
        if !role.is_empty() {
            create.args(["--role", role]);
        }
        let done = create.env("WARDROUND_PASSPHRASE", PASSPHRASE).args(["--output", "json"]).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        let made: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        let id = made["key_id"].as_str().unwrap().to_owned();
        self.mask(id.clone(), &format!("ID-OF-{file}"));
        self.mask(id[..12].to_owned(), &format!("ID-OF-{file}"));
        let public = made["public_key"].as_str().unwrap();
        self.mask(public, &format!("KEY-OF-{file}"));
        // Metadata has other key ids than envelopes.
        let in_root = wardround_signing::tuf::TufKey::new(public.parse().unwrap(), None).id();
        self.mask(in_root.as_str(), &format!("TUF-ID-OF-{file}"));
        self.mask(in_root.short(), &format!("TUF-ID-OF-{file}"));
        id
    }
}

/// "2026-11-24T08:40:00.123Z", "08:40:00" and around midnight "2026-11-25 00:10" differ from run to run.
fn masked_times(text: &str) -> String {
    let shape = |text: &str| -> String { text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect() };
    let day = |hours: i64| jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours);
    let near = [-24, 24].map(|hours| day(hours).strftime("%Y-%m-%d ").to_string());
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let full = rest.get(..19).is_some_and(|t| shape(t) == "0000-00-00T00:00:00");
        // Half an hour from now may be tomorrow, and has its date then.
        let dated = rest.get(..16).is_some_and(|t| near.iter().any(|day| t.starts_with(day)));
        let clock = rest.get(..8).is_some_and(|t| shape(t) == "00:00:00");
        if full {
            let end = rest.find('Z').unwrap_or(18) + 1;
            out += "TIME";
            rest = &rest[end..];
        } else if clock {
            out += "TIME    ";
            rest = &rest[8..];
        } else if dated {
            out += "TIME    ";
            rest = &rest[16..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

/// An address that nobody listens on. It is asked for with a socket that never listens: a child that another test forks
/// right now holds it until its exec, and a listening one would keep the address from us for as long.
pub(crate) fn free_address() -> SocketAddr {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    socket.local_addr().unwrap()
}
