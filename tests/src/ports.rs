//! Free TCP ports on loopback.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

use tokio::net::TcpSocket;

/// Below the range that Linux hands out to clients (net.ipv4.ip_local_port_range, from 32768), so that no outgoing
/// connection of another test takes a port between our asking and our using it.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;
const NONE_LEFT: &str = "of ports 20000 to 31999 at least one is free";

/// Ports of this process, each once, so that no two of its tests are given the same.
fn candidates() -> impl Iterator<Item = u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test programs that run side by side begin at different places.
    let offset = (std::process::id().wrapping_mul(211) % u32::from(COUNT)) as u16;
    (0..COUNT).map(move |_| FIRST + (offset + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT)
}

/// A port that nobody listens on now, and that no other test of this process was given: for a program that is started
/// with it. Who listens here takes a [`listener`].
///
/// # Panics
/// When all are taken.
#[must_use]
pub fn free_port() -> u16 {
    // Asked with a socket that never listens: a child that another thread forks right now holds it until its exec, and a
    // listening one would keep us from the port for as long (ip(7), SO_REUSEADDR).
    let is_free = |port: &u16| {
        let socket = TcpSocket::new_v4().expect("a socket can be had");
        socket.set_reuseaddr(true).and_then(|()| socket.bind(([127, 0, 0, 1], *port).into())).is_ok()
    };
    candidates().find(is_free).expect(NONE_LEFT)
}

/// A listener on a port that no other test of this process was given.
///
/// # Panics
/// When all are taken.
#[must_use]
pub fn listener() -> TcpListener {
    candidates().find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).expect(NONE_LEFT)
}

#[cfg(test)]
mod tests {
    use std::{process::Command, sync::atomic::AtomicBool, thread};

    use super::*;

    /// Seen in CI: a port was free, and taken when it was bound. Between the two another test had started a program.
    #[test]
    fn a_free_port_stays_free_while_others_start_programs() {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        Command::new("true").status().unwrap();
                    }
                });
            }
            let taken = (0..2_000).filter(|_| TcpListener::bind(("127.0.0.1", free_port())).is_err()).count();
            over.store(true, Ordering::Relaxed);
            assert_eq!(taken, 0, "of 2,000 free ports");
        });
    }
}
