//! A network link that a test can stall and cut: a TCP relay between a node and its controller.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::ports::listener;

/// The link.
pub struct Link {
    /// Where the node connects to.
    pub port: u16,
    state: Arc<State>,
}

struct State {
    target: u16,
    cut: AtomicBool,
    /// Bytes towards the node so far.
    down: AtomicU64,
    /// Bytes towards the node after which the link goes silent.
    allowed: Mutex<u64>,
    changed: Condvar,
    open: Mutex<Vec<TcpStream>>,
}

impl Link {
    /// A good link to `target` on loopback.
    #[must_use]
    pub fn to(target: u16) -> Self {
        let listener = listener();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            target,
            cut: AtomicBool::new(false),
            down: AtomicU64::new(0),
            allowed: Mutex::new(u64::MAX),
            changed: Condvar::new(),
            open: Mutex::new(Vec::new()),
        });
        let link = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                link.relay(stream);
            }
        });
        Self { port, state }
    }

    /// Bytes that went to the node so far.
    #[must_use]
    pub fn bytes_down(&self) -> u64 {
        self.state.down.load(Ordering::SeqCst)
    }

    /// After `bytes` more towards the node the link goes silent, its connections open.
    pub fn stall_after(&self, bytes: u64) {
        *self.state.allowed.lock().unwrap() = self.bytes_down() + bytes;
    }

    /// Is it silent since [`Link::stall_after`]?
    #[must_use]
    pub fn stalled(&self) -> bool {
        self.bytes_down() >= *self.state.allowed.lock().unwrap()
    }

    /// Drops every connection and takes no new one.
    pub fn cut(&self) {
        self.state.cut.store(true, Ordering::SeqCst);
        for stream in self.state.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.state.changed.notify_all();
    }

    /// A good link again.
    pub fn mend(&self) {
        *self.state.allowed.lock().unwrap() = u64::MAX;
        self.state.cut.store(false, Ordering::SeqCst);
        self.state.changed.notify_all();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.cut();
    }
}

impl State {
    fn relay(self: &Arc<Self>, node: TcpStream) {
        if self.cut.load(Ordering::SeqCst) {
            return;
        }
        let Ok(controller) = TcpStream::connect(("127.0.0.1", self.target)) else { return };
        let (Ok(node_copy), Ok(controller_copy)) = (node.try_clone(), controller.try_clone()) else { return };
        for stream in [&node, &controller] {
            self.open.lock().unwrap().extend(stream.try_clone());
        }
        let up = Arc::clone(self);
        thread::spawn(move || up.copy(node_copy, controller_copy, false));
        let down = Arc::clone(self);
        thread::spawn(move || down.copy(controller, node, true));
    }

    fn copy(&self, mut from: TcpStream, mut to: TcpStream, counts: bool) {
        let mut buffer = [0; 16 * 1024];
        while let Ok(n) = from.read(&mut buffer) {
            if n == 0 || (counts && !self.pass()) || to.write_all(&buffer[..n]).is_err() {
                break;
            }
            if counts {
                self.down.fetch_add(n as u64, Ordering::SeqCst);
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    /// Waits while the link is silent; false when it was cut.
    fn pass(&self) -> bool {
        let mut allowed = self.allowed.lock().unwrap();
        while self.down.load(Ordering::SeqCst) >= *allowed && !self.cut.load(Ordering::SeqCst) {
            allowed = self.changed.wait_timeout(allowed, Duration::from_millis(200)).unwrap().0;
        }
        !self.cut.load(Ordering::SeqCst)
    }
}
