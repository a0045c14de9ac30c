//! Peers written in a few lines of Python over well-known packages: pynetdicom and hl7.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use super::{Running, listens, peer_file, require, wait_until};
use crate::ports::free_port;

/// A service that runs one of the scripts in `tests/peers`. It ends with the test.
#[derive(Debug)]
pub struct Scripted {
    _server: Running,
    port: u16,
}

impl Scripted {
    /// `pynetdicom`, a PACS in a mode of `dicom_peer.py`; `None` where it is missing.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn dicom(mode: &str) -> Option<Self> {
        Self::start("dicom_peer.py", mode, &[])
    }

    /// A receiver of HL7 messages that acknowledges with `code`, over TLS with a certificate and its key; `None` where the
    /// package is missing.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn hl7(code: &str, keys: &[&Path]) -> Option<Self> {
        Self::start("hl7_peer.py", code, keys)
    }

    fn start(script: &str, mode: &str, more: &[&Path]) -> Option<Self> {
        let python = require("wardround-probes-python")?;
        let port = free_port();
        let mut command = Command::new(python);
        command.arg(peer_file(script)).arg(port.to_string()).arg(mode).args(more);
        let server = Running::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
        wait_until("the scripted peer listens", Duration::from_secs(60), || listens(port));
        Some(Self { _server: server, port })
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}
