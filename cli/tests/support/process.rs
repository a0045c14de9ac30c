//! Processes that end with the test, and waiting for what they do.

use std::{
    net::{SocketAddr, TcpStream},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use super::support::Bench;

/// How long a condition may take to come true on a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process that is killed when it is dropped.
pub(crate) struct Running(Child);

impl Running {
    /// Starts a command; what it says goes to `log`.
    pub(crate) fn start(bench: &Bench, log: &str, line: &[&str]) -> Self {
        let log = std::fs::File::create(bench.path().join(log)).unwrap();
        let mut command = bench.command(line);
        Self(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    /// Starts the controller and waits until it listens.
    pub(crate) fn controller(bench: &Bench, address: SocketAddr) -> Self {
        let line = ["controller", "run", "--no-console", "--stop-with-stdin", "--check-in-every", "300ms"];
        let mut running = Self::start(bench, "controller.log", &line);
        until("the controller listens", || {
            assert!(running.0.try_wait().unwrap().is_none(), "{}", bench.read("controller.log"));
            TcpStream::connect(address).is_ok()
        });
        running
    }

    /// Ends its standard input, which stops it; gives its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        drop(self.0.stdin.take());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Waits for a condition, not for a time.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
