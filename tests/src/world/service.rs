//! A clinical service over HTTP whose health truly depends on what stands on the device.
//!
//! `GET /<site>/<device>` answers 200 unless the device carries `down`, or a mark `breaks-<patch>` while that patch is
//! installed (a viewer that does not run with it). With `hangs` it takes the request and never answers.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crate::ports::listener;

/// Longest request that is read, bytes.
const REQUEST_MAX: usize = 4_096;
/// How long a hanging answer hangs at least; the probe must give up long before.
const HANG: Duration = Duration::from_secs(120);

/// The running service.
pub struct Service {
    /// Where it listens.
    pub port: u16,
    stopped: Arc<AtomicBool>,
}

impl Service {
    /// Starts it for the devices under `sites`.
    #[must_use]
    pub fn start(sites: &Path) -> Self {
        let listener = listener();
        let port = listener.local_addr().unwrap().port();
        let stopped = Arc::new(AtomicBool::new(false));
        let (sites, over) = (sites.to_owned(), Arc::clone(&stopped));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let sites = sites.clone();
                thread::spawn(move || answer(stream, &sites));
            }
        });
        Self { port, stopped }
    }

    /// The address that a probe of `device` asks.
    #[must_use]
    pub fn url(&self, device: &str) -> String {
        format!("http://127.0.0.1:{}/{device}", self.port)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the listener, which then sees that it is over.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn answer(mut stream: TcpStream, sites: &Path) {
    let mut request = Vec::new();
    let mut buffer = [0; 512];
    while !request.windows(4).any(|w| w == b"\r\n\r\n") && request.len() < REQUEST_MAX {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(n) => request.extend_from_slice(&buffer[..n]),
        }
    }
    let text = String::from_utf8_lossy(&request);
    let path = text.split(' ').nth(1).unwrap_or("/").trim_start_matches('/');
    let root = sites.join(path);
    if root.join("hangs").exists() {
        // Reads until the probe hangs up; nothing is ever said.
        let _ = stream.set_read_timeout(Some(HANG));
        let _ = stream.read(&mut buffer);
        return;
    }
    let (status, body) = health(&root);
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
}

fn health(root: &PathBuf) -> (&'static str, String) {
    let Ok(entries) = std::fs::read_dir(root) else {
        return ("503 Service Unavailable", "the workstation is off".into());
    };
    let names: Vec<String> = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    if names.iter().any(|n| n == "down") {
        return ("503 Service Unavailable", "the viewer is down".into());
    }
    let broken = names.iter().filter_map(|n| n.strip_prefix("breaks-")).find(|p| {
        let mark = format!("installed-{p}");
        names.contains(&mark)
    });
    match broken {
        Some(patch) => ("500 Internal Server Error", format!("the viewer does not run with {patch}")),
        None => ("200 OK", "viewer ready".into()),
    }
}
