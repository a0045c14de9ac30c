//! The command line, run as people run it.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

/// The passphrase of every test key.
pub const PASSPHRASE: &str = "correct horse battery staple";

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// What was run, for messages.
    pub line: String,
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ran {
    /// Runs `program` with its home in `home`.
    #[must_use]
    pub fn run(program: &Path, home: &Path, args: &[&str], passphrase: &str) -> Self {
        Self::run_in(&[], program, home, args, passphrase)
    }

    /// As [`Ran::run`], with more in its environment.
    #[must_use]
    pub fn run_in(
        environment: &[(String, String)],
        program: &Path,
        home: &Path,
        args: &[&str],
        passphrase: &str,
    ) -> Self {
        let output: Output = Command::new(program)
            .args(args)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env("WARDROUND_HOME", home)
            .env("WARDROUND_PASSPHRASE", passphrase)
            .env_remove("WARDROUND_KEY")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self {
            line: format!("wardround {}", args.join(" ")),
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// It must have worked.
    ///
    /// # Panics
    /// With all that it said, when it did not.
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}\n{}{}", self.line, self.out, self.err);
        self
    }

    /// Its output as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{}: {e}\n{}{}", self.line, self.out, self.err))
    }

    /// It must have failed with this exit code and these words, and with a hint line with `hint` in it.
    ///
    /// # Panics
    /// With all that it said, when it did not.
    pub fn fails(&self, code: i32, error: &str, hint: &str) {
        self.ends(code, error);
        let hinted = self.err.lines().any(|l| l.trim_start().starts_with("hint: ") && l.contains(hint));
        assert!(hinted, "no hint {hint:?} in:\n{}", self.said());
    }

    /// It must have failed with this exit code and these words, which say the way out themselves.
    ///
    /// # Panics
    /// With all that it said, when it did not.
    pub fn ends(&self, code: i32, words: &str) {
        assert_eq!(self.code, Some(code), "{}", self.said());
        assert!(self.err.contains(words), "no {words:?} in:\n{}", self.said());
    }

    fn said(&self) -> String {
        format!("{}\n{}{}", self.line, self.out, self.err)
    }
}
