//! DICOM services of dcmtk.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::{Running, listens, require, wait_until};
use crate::ports::free_port;

/// `storescp`: a PACS that answers C-ECHO, whatever AE title it is called by.
#[derive(Debug)]
pub struct Storescp {
    server: Running,
    port: u16,
    dir: TempDir,
}

impl Storescp {
    /// Starts one; `None` where dcmtk is missing.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        require("storescp")?;
        let dir = tempfile::tempdir().expect("a temporary directory is made");
        let mut service = Self { server: Running(None), port: free_port(), dir };
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
        command.args(["-aet", "PACS", "-od"]).arg(self.dir.path()).arg(port.to_string());
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
