//! DICOM services of dcmtk, and Orthanc.

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::{Keys, Running, WineDevice, listens, peer_file, require, wait_until};
use crate::ports::free_port;

/// `storescp`: a PACS that answers C-ECHO, whatever AE title it is called by.
#[derive(Debug)]
pub struct Storescp {
    server: Running,
    port: u16,
    dir: TempDir,
    tls: Vec<OsString>,
}

impl Storescp {
    /// Starts one; `None` where dcmtk is missing.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::start_with(Vec::new())
    }

    /// As [`Storescp::start`], over TLS: it wants a certificate that `ca` vouches for.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_secured(keys: &Keys, ca: &Path) -> Option<Self> {
        let words: [&OsStr; 5] = ["+tls".as_ref(), keys.key.as_ref(), keys.cert.as_ref(), "+cf".as_ref(), ca.as_ref()];
        Self::start_with(words.map(OsStr::to_owned).to_vec())
    }

    fn start_with(tls: Vec<OsString>) -> Option<Self> {
        require("storescp")?;
        let dir = tempfile::tempdir().expect("a temporary directory is made");
        let mut service = Self { server: Running(None), port: free_port(), dir, tls };
        service.restart();
        Some(service)
    }

    /// Its port; it stays the same over restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        let port = self.port;
        let mut command = Command::new("storescp");
        command.args(["-aet", "PACS", "-od"]).arg(self.dir.path()).args(&self.tls).arg(port.to_string());
        self.server = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
        wait_until("storescp listens", Duration::from_secs(10), || listens(port));
    }
}

/// `dcmqrscp`: an archive that rejects an AE title that it does not know.
#[derive(Debug)]
pub struct QueryRetrieve {
    _server: Running,
    port: u16,
    _dir: TempDir,
}

impl QueryRetrieve {
    /// Starts one that is called `ARCHIVE`; `None` where dcmtk is missing.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        require("dcmqrscp")?;
        let dir = tempfile::tempdir().expect("a temporary directory is made");
        let store = dir.path().join("store");
        fs::create_dir(&store).expect("it is ours");
        let port = free_port();
        let config = dir.path().join("dcmqrscp.cfg");
        let text = format!(
            "NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\nHostTable BEGIN\nHostTable END\n\
             VendorTable BEGIN\nVendorTable END\nAETable BEGIN\nARCHIVE {} RW (9, 1024mb) ANY\nAETable END\n",
            store.display()
        );
        fs::write(&config, text).expect("it is ours");
        let mut command = Command::new("dcmqrscp");
        command.arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Running::start(&mut command);
        wait_until("dcmqrscp listens", Duration::from_secs(10), || listens(port));
        Some(Self { _server: server, port, _dir: dir })
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Where Orthanc listens unless it is told otherwise. `tests/peers/licence.c` wants the same.
pub const ORTHANC_PORT: u16 = 4242;

/// Orthanc: a PACS that rejects an AE title that is not its own.
#[derive(Debug)]
pub struct Orthanc {
    _server: Running,
    port: u16,
    _dir: TempDir,
}

impl Orthanc {
    /// Starts one that is called `ORTHANC`; over TLS with a server's certificate and the authority of its clients. `None` where
    /// it is missing.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(tls: Option<(&Keys, &Path)>) -> Option<Self> {
        Self::start_by(Command::new, free_port(), tls)
    }

    /// As the application of a device, without TLS, on [`ORTHANC_PORT`]: it goes down when the device restarts, and is started
    /// again as often as it ends (`tests/peers/application.sh`). It ends with the network that it is started in.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_on(device: &WineDevice) -> Option<Self> {
        let keeper = |program: PathBuf| {
            let mut command = Command::new(peer_file("application.sh"));
            command.arg(device.root()).arg(program);
            command
        };
        Self::start_by(keeper, ORTHANC_PORT, None)
    }

    fn start_by(command: impl FnOnce(PathBuf) -> Command, port: u16, tls: Option<(&Keys, &Path)>) -> Option<Self> {
        let program = require("Orthanc")?;
        let dir = tempfile::tempdir().expect("a temporary directory is made");
        let mut config = serde_json::json!({
            "DicomAet": "ORTHANC",
            "DicomPort": port,
            "DicomCheckCalledAet": true,
            "DicomAlwaysAllowEcho": true,
            "HttpServerEnabled": false,
            "StorageDirectory": dir.path().join("store"),
            "IndexDirectory": dir.path().join("index"),
        });
        if let Some((keys, ca)) = tls {
            config["DicomTlsEnabled"] = true.into();
            config["DicomTlsCertificate"] = keys.cert.display().to_string().into();
            config["DicomTlsPrivateKey"] = keys.key.display().to_string().into();
            config["DicomTlsTrustedCertificates"] = ca.display().to_string().into();
        }
        let file = dir.path().join("orthanc.json");
        fs::write(&file, config.to_string()).expect("it is ours");
        let server = Running::start(command(program).arg(&file).stdout(Stdio::null()).stderr(Stdio::null()));
        wait_until("Orthanc listens", Duration::from_secs(60), || listens(port));
        Some(Self { _server: server, port, _dir: dir })
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}
