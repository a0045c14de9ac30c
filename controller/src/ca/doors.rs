//! How many connections stand at one moment, and whose they are: nobody may keep the others out.
//!
//! Before its handshake a connection is known by its address only. There it may be pushed out by a newer one, so that
//! the listener never waits for somebody who says nothing. After it, one without a certificate is counted by address and
//! among all strangers; one with a certificate by its key, since many sites may share one address.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::{IpAddr, Ipv6Addr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use wardround_signing::Digest;

/// The numbers.
#[derive(Debug, Clone)]
pub(crate) struct DoorLimits {
    /// How long a handshake may take: a slow line needs about three round trips and 6 KiB.
    pub(crate) handshake: Duration,
    /// Handshakes at one moment: each costs a signature, and 1,430 a second were measured (reference, stores).
    pub(crate) handshakes: usize,
    /// Connections without a certificate from one address: nodes that enrol, questions about health.
    pub(crate) strangers_per_address: usize,
    /// Connections without a certificate in all.
    pub(crate) strangers: usize,
    /// Connections of one certificate's key: a node has one or two, an operator one for each command under way.
    pub(crate) per_key: usize,
}

impl Default for DoorLimits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            handshakes: 256,
            strangers_per_address: 64,
            strangers: 1_024,
            per_key: 64,
        }
    }
}

/// Who a connection is counted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    /// An address. Of IPv6 the network of 64 bits, of which one machine may use every address (RFC 4291, section 2.5.4).
    Address(IpAddr),
    /// The key of a certificate.
    Key(Digest),
}

fn source(address: IpAddr) -> Source {
    Source::Address(match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX))),
        v4 => v4,
    })
}

#[derive(Debug, Default)]
struct Counts {
    next: u64,
    /// Oldest first.
    handshakes: BTreeMap<u64, (Source, CancellationToken)>,
    standing: HashMap<Source, usize>,
    strangers: usize,
}

/// The counts of one listener.
#[derive(Debug)]
pub(super) struct Doors {
    pub(super) limits: DoorLimits,
    counts: Mutex<Counts>,
}

impl Doors {
    pub(super) fn new(limits: DoorLimits) -> Arc<Self> {
        Arc::new(Self { limits, counts: Mutex::default() })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection begins its handshake. Where there are too many, the oldest one of the address with the most is pushed
    /// out: whoever shakes hands only once at a time is the last to be hit.
    pub(super) fn knock(self: &Arc<Self>, address: IpAddr) -> Handshake {
        let mut counts = self.counts();
        while counts.handshakes.len() >= self.limits.handshakes.max(1) {
            let mut by_source: HashMap<Source, usize> = HashMap::new();
            counts.handshakes.values().for_each(|(source, _)| *by_source.entry(*source).or_default() += 1);
            let most = by_source.values().copied().max().unwrap_or(0);
            let oldest = counts.handshakes.iter().find(|(_, (source, _))| by_source[source] == most).map(|(id, _)| *id);
            let Some((_, pushed)) = oldest.and_then(|id| counts.handshakes.remove(&id)) else { break };
            pushed.cancel();
        }
        let (id, pushed_out) = (counts.next, CancellationToken::new());
        counts.next += 1;
        counts.handshakes.insert(id, (source(address), pushed_out.clone()));
        drop(counts);
        Handshake { doors: Arc::clone(self), id, pushed_out }
    }

    /// A handshake is done; `None` when this one's owner has too many connections already.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr, key: Option<Digest>) -> Option<Place> {
        let mut counts = self.counts();
        let (source, most) = match key {
            Some(key) => (Source::Key(key), self.limits.per_key),
            None if counts.strangers >= self.limits.strangers => return None,
            None => (source(address), self.limits.strangers_per_address),
        };
        let standing = counts.standing.entry(source).or_default();
        if *standing >= most {
            return None;
        }
        *standing += 1;
        counts.strangers += usize::from(key.is_none());
        drop(counts);
        Some(Place { doors: Arc::clone(self), source })
    }
}

/// A handshake under way; ends when it is dropped.
pub(super) struct Handshake {
    doors: Arc<Doors>,
    id: u64,
    pushed_out: CancellationToken,
}

impl Handshake {
    /// Returns when it must make room.
    pub(super) async fn pushed_out(&self) {
        self.pushed_out.cancelled().await;
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.doors.counts().handshakes.remove(&self.id);
    }
}

/// A connection's place; free when it is dropped.
pub(super) struct Place {
    doors: Arc<Doors>,
    source: Source,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.doors.counts();
        counts.strangers -= usize::from(matches!(self.source, Source::Address(_)));
        if let Some(standing) = counts.standing.get_mut(&self.source) {
            *standing -= 1;
            if *standing == 0 {
                counts.standing.remove(&self.source);
            }
        }
    }
}

/// A connection that keeps its place for as long as it stands.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    _place: Place,
}

impl Connection {
    pub(super) fn new(stream: TlsStream<TcpStream>, place: Place) -> Self {
        Self { stream, _place: place }
    }
}

impl Connected for Connection {
    type ConnectInfo = <TlsStream<TcpStream> as Connected>::ConnectInfo;
    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doors() -> Arc<Doors> {
        let handshake = Duration::from_secs(1);
        Doors::new(DoorLimits { handshake, handshakes: 4, strangers_per_address: 2, strangers: 3, per_key: 2 })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn who_knocks_once_is_not_pushed_out_by_who_knocks_again_and_again() {
        let doors = doors();
        let patient = doors.knock(ip("10.0.0.1"));
        let greedy: Vec<Handshake> = (0..10).map(|_| doors.knock(ip("10.0.0.2"))).collect();
        assert!(!patient.pushed_out.is_cancelled());
        let pushed: Vec<bool> = greedy.iter().map(|h| h.pushed_out.is_cancelled()).collect();
        assert_eq!(pushed, [[true; 7].as_slice(), &[false; 3]].concat(), "the oldest go first");
        drop((patient, greedy));
        assert!(doors.counts().handshakes.is_empty());
    }

    #[test]
    fn connections_are_counted_by_address_without_and_by_key_with_a_certificate() {
        let doors = doors();
        let at = |address: &str, key: Option<&[u8]>| doors.enter(ip(address), key.map(Digest::of));
        let strangers = [at("10.0.0.1", None).unwrap(), at("::ffff:10.0.0.1", None).unwrap()];
        assert!(at("10.0.0.1", None).is_none());
        let other = at("2001:db8::1", None).unwrap();
        assert!(at("10.0.0.3", None).is_none(), "all strangers together have a limit too");
        let known: Vec<Place> = [b"a", b"a", b"b"].iter().map(|k| at("10.0.0.1", Some(*k)).unwrap()).collect();
        assert!(at("10.0.0.9", Some(b"a")).is_none(), "a key is the same at every address");
        drop((strangers, known));
        assert!(at("10.0.0.1", None).is_some());
        drop(other);
        assert!(doors.counts().standing.is_empty() && doors.counts().strangers == 0, "nothing is left behind");
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        assert_eq!(source(ip("2001:db8::1")), source(ip("2001:db8::ffff:0:0:2")));
        assert_ne!(source(ip("2001:db8::1")), source(ip("2001:db8:0:1::1")));
    }
}
