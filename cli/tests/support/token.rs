//! A real PKCS#11 token: SoftHSM2 with a folder of its own.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::support::{Bench, PASSPHRASE};

/// PIN of its user.
pub(crate) const PIN: &str = "246810";

const LIBRARIES: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/libsofthsm2.so",
];

/// A token called "ward" in the bench's folder.
pub(crate) struct Token {
    /// SoftHSM's library.
    pub(crate) module: &'static str,
    conf: std::path::PathBuf,
}

impl Token {
    /// `None`, with a line that names it, where SoftHSM2 is missing and peers are not demanded.
    pub(crate) fn new(bench: &Bench) -> Option<Self> {
        let Some(module) = LIBRARIES.into_iter().find(|path| Path::new(path).exists()) else {
            let line = "softhsm2 is missing (tests/peers/install.sh installs it)";
            assert!(std::env::var_os("WARDROUND_REQUIRE_PEERS").is_none_or(|v| v != "1"), "{line}");
            println!("skipped: {line}");
            return None;
        };
        let folder = bench.path().join("tokens");
        std::fs::create_dir_all(&folder).unwrap();
        bench.write(
            "softhsm2.conf",
            &format!("directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n", folder.display()),
        );
        let token = Self { module, conf: bench.path().join("softhsm2.conf") };
        token.util(&["--init-token", "--free", "--label", "ward", "--pin", PIN, "--so-pin", "13579111"]);
        Some(token)
    }

    fn util(&self, arguments: &[&str]) {
        let mut command = Command::new("softhsm2-util");
        let done = command.args(arguments).env("SOFTHSM2_CONF", &self.conf).stdin(Stdio::null()).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }

    /// A command that sees the token, and knows its PIN unless `pin` is another.
    pub(crate) fn command(&self, bench: &Bench, line: &[&str], pin: Option<&str>) -> Command {
        let mut command = bench.command(line);
        command.env("SOFTHSM2_CONF", &self.conf).env("WARDROUND_PKCS11_MODULE", self.module);
        command.env("WARDROUND_PASSPHRASE", PASSPHRASE);
        if let Some(pin) = pin {
            command.env("WARDROUND_PIN", pin);
        }
        command
    }

    /// Runs it with the right PIN and shows what it did.
    pub(crate) fn run(&self, bench: &Bench, line: &[&str]) -> String {
        bench.show(&mut self.command(bench, line, Some(PIN)), line)
    }
}
