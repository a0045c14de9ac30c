//! Secrets of the site: where one is kept, never what it is.
//!
//! The site file names a place: a file, a variable of the node's environment, or a command such as a password manager's.
//!
//! **Invariant:** what a [`Secret`] yields appears in no log, report, error or debug output, and in no process list: its
//! text leaves memory when it is dropped.

use std::{fmt, path::PathBuf, process::Stdio, time::Duration};

use nix::{sys::signal, unistd::Pid};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
};
use zeroize::Zeroizing;

/// Longest secret, bytes: a private key with its chain fits, a wrong file mostly does not.
pub const SECRET_BYTES_MAX: usize = 64 * 1024;
/// How long reading one may take: a vault across the network, no person at a prompt.
pub const SECRET_TIMEOUT: Duration = Duration::from_secs(20);

/// Where a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// In a file that the node's account may read.
    File(PathBuf),
    /// In a variable of the node's environment.
    Env(String),
    /// Printed by a program: its first output line. Never passed to a shell.
    Command(Vec<String>),
}

/// A secret's text. Shows nothing of itself, and leaves memory when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Wraps a text that is a secret.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself, for the one place that sends it where it belongs.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// Why a secret could not be read. Names its place, never a part of it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file.
    #[error("the secret's file {} could not be read: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The variable.
    #[error("the environment variable {name} of the secret {why}")]
    Env {
        /// Which.
        name: String,
        /// "is not set", "is no UTF-8".
        why: &'static str,
    },
    /// The program did not run to its end.
    #[error("the secret's command {program} could not be run: {source}")]
    Command {
        /// Which.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// The program failed. What it printed may hold the secret and is not shown.
    #[error("the secret's command {program} ended with {status}")]
    Failed {
        /// Which.
        program: String,
        /// "exit status: 1".
        status: String,
    },
    /// It took too long.
    #[error("the secret's {place} gave nothing within {}ms", after.as_millis())]
    Timeout {
        /// "command pass", "file /etc/x".
        place: String,
        /// The limit.
        after: Duration,
    },
    /// It is too long, not text, or nothing.
    #[error("the secret's {place} {why}")]
    Unfit {
        /// "command pass", "file /etc/x".
        place: String,
        /// "holds more than 65536 bytes", "is no UTF-8 text", "is empty".
        why: String,
    },
}

/// The secret's command with its children: killed unless it has ended.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may be gone already.
            let _ = signal::killpg(group, signal::Signal::SIGKILL);
        }
    }
}

impl Secret {
    /// Reads it anew: a rotated secret counts at once. Of a file, the line end at its end is dropped; of a command the
    /// first line counts, as password managers print it.
    ///
    /// # Errors
    /// [`SecretError`]; reading takes at most [`SECRET_TIMEOUT`] and [`SECRET_BYTES_MAX`].
    pub async fn read(&self) -> Result<SecretText, SecretError> {
        self.read_within(SECRET_TIMEOUT).await
    }

    async fn read_within(&self, limit: Duration) -> Result<SecretText, SecretError> {
        let read = async {
            match self {
                Self::File(path) => self.text(self.file(path).await?),
                Self::Env(name) => self.text(variable(name)?),
                Self::Command(argv) => {
                    let mut bytes = self.command(argv).await?;
                    let line = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
                    bytes.truncate(line);
                    self.text(bytes)
                }
            }
        };
        match tokio::time::timeout(limit, read).await {
            Ok(read) => read,
            Err(_) => Err(SecretError::Timeout { place: self.place(), after: limit }),
        }
    }

    /// "file /etc/x", "variable X", "command pass": for people.
    fn place(&self) -> String {
        match self {
            Self::File(path) => format!("file {}", path.display()),
            Self::Env(name) => format!("variable {name}"),
            Self::Command(argv) => format!("command {}", argv.first().map_or("", String::as_str)),
        }
    }

    async fn file(&self, path: &PathBuf) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        let fail = |source| SecretError::File { path: path.clone(), source };
        let file = tokio::fs::File::open(path).await.map_err(fail)?;
        self.limited(file, fail).await
    }

    async fn command(&self, argv: &[String]) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        let program = argv.first().cloned().unwrap_or_default();
        let fail = |source| SecretError::Command { program: program.clone(), source };
        // What it says on standard error may hold anything, and is not kept.
        let mut command = Command::new(&program);
        // Another secret's variable is none of its business.
        for name in crate::transports::secret_names() {
            command.env_remove(name);
        }
        let mut child = command
            .args(argv.get(1..).unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(fail)?;
        let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
        let stdout = child.stdout.take().ok_or_else(|| fail(std::io::Error::other("it has no output")))?;
        let bytes = self.limited(stdout, fail).await?;
        let status = child.wait().await.map_err(fail)?;
        group.0 = None;
        if !status.success() {
            return Err(SecretError::Failed { program: program.clone(), status: status.to_string() });
        }
        Ok(bytes)
    }

    async fn limited(
        &self,
        source: impl AsyncRead + Unpin,
        fail: impl Fn(std::io::Error) -> SecretError,
    ) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        // Room for all of it from the beginning: a buffer that grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 1));
        source.take(SECRET_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).await.map_err(fail)?;
        if bytes.len() > SECRET_BYTES_MAX {
            return Err(self.unfit(format!("holds more than {SECRET_BYTES_MAX} bytes")));
        }
        Ok(bytes)
    }

    /// Without the line end at its end.
    fn text(&self, bytes: Zeroizing<Vec<u8>>) -> Result<SecretText, SecretError> {
        let text = std::str::from_utf8(&bytes).map_err(|_| self.unfit("is no UTF-8 text".to_owned()))?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        match text {
            "" => Err(self.unfit("is empty".to_owned())),
            text => Ok(SecretText::new(text.to_owned())),
        }
    }

    fn unfit(&self, why: String) -> SecretError {
        SecretError::Unfit { place: self.place(), why }
    }
}

fn variable(name: &str) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    match std::env::var(name) {
        Ok(text) => Ok(Zeroizing::new(text.into_bytes())),
        Err(std::env::VarError::NotPresent) => Err(SecretError::Env { name: name.to_owned(), why: "is not set" }),
        Err(std::env::VarError::NotUnicode(_)) => Err(SecretError::Env { name: name.to_owned(), why: "is no UTF-8" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(script: &str) -> Secret {
        Secret::Command(["sh", "-c", script].map(str::to_owned).to_vec())
    }

    #[tokio::test]
    async fn a_secret_comes_from_each_place_without_its_line_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, " p\u{e4}ss word \r\n").unwrap();
        assert_eq!(Secret::File(path).read().await.unwrap().expose(), " p\u{e4}ss word ");
        assert_eq!(command("echo first; echo second").read().await.unwrap().expose(), "first");
        assert_eq!(command("printf bare").read().await.unwrap().expose(), "bare");
        // Every test run has it: the environment of a program of many threads is only read.
        let path = std::env::var("PATH").unwrap();
        assert_eq!(Secret::Env("PATH".to_owned()).read().await.unwrap().expose(), path);
    }

    #[tokio::test]
    async fn what_fails_names_the_place_and_nothing_of_the_secret() {
        let dir = tempfile::tempdir().unwrap();
        let large = dir.path().join("large");
        std::fs::write(&large, vec![b's'; SECRET_BYTES_MAX + 1]).unwrap();
        let odd = dir.path().join("odd");
        std::fs::write(&odd, b"s3cret\xff").unwrap();
        let empty = dir.path().join("empty");
        std::fs::write(&empty, "\n").unwrap();
        for (secret, why) in [
            (Secret::File(dir.path().join("none")), "could not be read"),
            (Secret::File(large), "more than 65536 bytes"),
            (Secret::File(odd), "no UTF-8"),
            (Secret::File(empty), "is empty"),
            (Secret::Env("WARDROUND_NO_SUCH_VARIABLE".to_owned()), "is not set"),
            (command("echo s3cret; echo s3cret >&2; exit 3"), "exit status: 3"),
            (command("yes s3cret"), "more than 65536 bytes"),
            (Secret::Command(vec!["/nowhere/pass".to_owned(), "s3cret".to_owned()]), "could not be run"),
        ] {
            let error = secret.read().await.unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(why) && !shown.contains("s3cret"), "{shown}");
        }
    }

    #[tokio::test]
    async fn a_command_that_waits_for_a_person_is_given_up() {
        let error = command("sleep 600; echo s3cret").read_within(Duration::from_millis(300)).await.unwrap_err();
        assert_eq!(error.to_string(), "the secret's command sh gave nothing within 300ms");
    }

    #[test]
    fn its_text_is_in_no_debug_output() {
        assert_eq!(format!("{:?}", SecretText::new("s3cret".to_owned())), "SecretText(…)");
    }
}
