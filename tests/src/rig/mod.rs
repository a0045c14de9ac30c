//! The bench: real peers for the tests, started and stopped by them. Each says *skipped* where its program is missing
//! (`tests/peers/install.sh` installs all), and panics instead when `WARDROUND_REQUIRE_PEERS=1`.

mod clock;
mod debian;
mod dicom;
mod handle;
mod netns;
mod packages;
mod postgres;
mod probes;
mod scripted;
mod smb;
mod ssh;
mod tls;
mod wine;

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

pub use clock::Clock;
pub use debian::{Machine, deb};
pub use dicom::{ORTHANC_PORT, Orthanc, QueryRetrieve, Storescp};
pub use handle::{Asks, handle, handle_with};
pub use netns::Namespace;
pub use packages::{Filter, Hotfix, Msi, Servicing, variant};
pub use postgres::{POSTGRES_PASSWORD, Postgres};
pub use probes::{PROBE_TIME_MS, probe, probe_at, probe_device, told};
pub use scripted::Scripted;
pub use smb::{Dialects, SmbDevice};
pub use ssh::{SshDevice, SshOptions};
pub use tls::{Authority, Keys, SecureServer};
pub use wine::{WineDevice, WineVersion};

/// The program's path, or `None` with a line that says which test peer is missing.
///
/// # Panics
/// When it is missing and `WARDROUND_REQUIRE_PEERS=1`.
#[must_use]
pub fn require(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/bin", "/usr/lib/wine"].map(PathBuf::from));
    let found = places.map(|dir| dir.join(program)).find(|path| path.is_file());
    if found.is_none() {
        missing(program);
    }
    found
}

/// Says that a peer is missing.
///
/// # Panics
/// When `WARDROUND_REQUIRE_PEERS=1`.
fn missing(peer: &str) {
    let line = format!("{peer} is missing (tests/peers/install.sh installs it)");
    assert!(std::env::var("WARDROUND_REQUIRE_PEERS").as_deref() != Ok("1"), "{line}");
    println!("skipped: {line}");
}

/// `tests/peers/NAME` of the source tree.
#[must_use]
pub fn peer_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name)
}

/// Where things are kept that are worth keeping between runs: below the target directory.
///
/// # Panics
/// When it can't be made.
#[must_use]
pub fn cache_dir() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    let dir = target.join("peers");
    std::fs::create_dir_all(&dir).expect("the target directory is writable");
    dir.canonicalize().expect("it is there")
}

/// Waits until `condition` holds.
///
/// # Panics
/// With `what` when it does not within `deadline`.
pub fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < deadline, "{what}: not within {deadline:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// A child process that ends with the test.
#[derive(Debug)]
pub(crate) struct Running(Option<Child>);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(Some(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))))
    }

    /// Its process id.
    pub(crate) fn id(&self) -> i32 {
        self.0.as_ref().and_then(|child| i32::try_from(child.id()).ok()).unwrap_or(-1)
    }

    /// Kills it as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.0.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// True when somebody accepts connections on a loopback port.
pub(crate) fn listens(port: u16) -> bool {
    listens_at(Ipv4Addr::LOCALHOST, port)
}

/// As [`listens`], on another address.
pub(crate) fn listens_at(address: Ipv4Addr, port: u16) -> bool {
    std::net::TcpStream::connect((address, port)).is_ok()
}
