//! Peers written in a few lines of Python over well-known packages: pynetdicom and hl7.

use std::{
    net::Ipv4Addr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use super::{Running, listens_at, peer_file, require, wait_until};
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
        Self::start("dicom_peer.py", Ipv4Addr::LOCALHOST, mode, &[])
    }

    /// A receiver of HL7 messages that acknowledges with `code`, over TLS with a certificate and its key; `None` where the
    /// package is missing.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn hl7(code: &str, keys: &[&Path]) -> Option<Self> {
        Self::start("hl7_peer.py", Ipv4Addr::LOCALHOST, code, keys)
    }

    /// As [`Scripted::hl7`] with AA, without TLS, on another address than loopback.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn hl7_at(address: Ipv4Addr) -> Option<Self> {
        Self::start("hl7_peer.py", address, "AA", &[])
    }

    fn start(script: &str, address: Ipv4Addr, mode: &str, more: &[&Path]) -> Option<Self> {
        let python = require("wardround-probes-python")?;
        let port = free_port();
        let mut command = Command::new(python);
        let place = if address.is_loopback() { port.to_string() } else { format!("{address}:{port}") };
        command.arg(peer_file(script)).arg(place).arg(mode).args(more);
        let server = Running::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
        wait_until("the scripted peer listens", Duration::from_secs(60), || listens_at(address, port));
        Some(Self { _server: server, port })
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}
