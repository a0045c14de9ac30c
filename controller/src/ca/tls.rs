//! The TLS side of the listener: a server certificate that can be renewed while running, and limits on handshakes.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use wardround_rollout_plans::model::{DurationMs, Timestamp};

use super::{
    Authority, CaError, SERVER_LIFE,
    doors::{Connection, DoorLimits, Doors},
    identity::tls_key,
};
use crate::clock;

/// How long a refused client may take to read why.
const LINGER_MAX: Duration = Duration::from_secs(2);
/// Pause after the system refused a connection (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Until a renewal of the server's certificate that failed is tried again: ten days are left for them.
const RENEW_AGAIN: Duration = Duration::from_secs(10 * 60);
/// Longest sleep until the renewal: the machine's clock may be set, and the machine may sleep.
const LOOK_EVERY: Duration = Duration::from_secs(60 * 60);

/// The server's present certificate.
#[derive(Debug)]
pub(crate) struct ServerCertificate {
    present: RwLock<Arc<CertifiedKey>>,
}

impl ServerCertificate {
    /// Issues one.
    pub(crate) fn issue(ca: &Authority, names: &[String], now: Timestamp) -> Result<Self, CaError> {
        Ok(Self { present: RwLock::new(certified(ca, names, now)?) })
    }

    /// Replaces it; connections that stand are not touched.
    pub(crate) fn renew(&self, ca: &Authority, names: &[String], now: Timestamp) -> Result<(), CaError> {
        let fresh = certified(ca, names, now)?;
        *self.present.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.present.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn certified(ca: &Authority, names: &[String], now: Timestamp) -> Result<Arc<CertifiedKey>, CaError> {
    let issued = ca.server(names, now)?;
    let read = |e: rustls::Error| CaError::Read { file: "the server's certificate", why: e.to_string() };
    let key = ring::sign::any_supported_type(&issued.key_der.into()).map_err(read)?;
    // The CA stands in the chain because a node that enrols knows only the CA's hash.
    Ok(Arc::new(CertifiedKey::new(vec![issued.certificate_der, ca.certificate_der().clone()], key)))
}

/// Accepts TLS connections.
pub(crate) struct Acceptor {
    tls: TlsAcceptor,
}

impl Acceptor {
    /// Client certificates are optional in TLS; which call needs one is decided per method.
    pub(crate) fn new(ca: &Authority, certificate: Arc<ServerCertificate>) -> Result<Self, CaError> {
        let bad = |why: String| CaError::Read { file: "ca.pem", why };
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(ca.certificate_der().clone()).map_err(|e| bad(e.to_string()))?;
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .map_err(|e| bad(e.to_string()))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| bad(e.to_string()))?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(certificate);
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { tls: TlsAcceptor::from(Arc::new(config)) })
    }

    /// Accepts until `shutdown`; the stream ends then.
    pub(crate) fn incoming(
        self,
        listener: TcpListener,
        limits: DoorLimits,
        shutdown: CancellationToken,
    ) -> ReceiverStream<io::Result<Connection>> {
        let (sender, receiver) = mpsc::channel(64);
        tokio::spawn(async move {
            let doors = Doors::new(limits);
            loop {
                let accepted = tokio::select! {
                    () = shutdown.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let (stream, address) = match accepted {
                    Ok(pair) => pair,
                    Err(error) => {
                        tracing::warn!(%error, "a connection was not accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                };
                // Small messages both ways: Nagle would hold a halt back.
                let _ = stream.set_nodelay(true);
                let handshake = doors.knock(address.ip());
                let (tls, doors, sender) = (self.tls.clone(), Arc::clone(&doors), sender.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = handshake.pushed_out() => tracing::info!(%address, "TLS handshake made room for a newer one"),
                        connection = shake_hands(&tls, stream, address, &doors) => if let Some(connection) = connection {
                            let _ = sender.send(Ok(connection)).await;
                        },
                    }
                });
            }
        });
        ReceiverStream::new(receiver)
    }
}

async fn shake_hands(
    tls: &TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
    doors: &Arc<Doors>,
) -> Option<Connection> {
    match tokio::time::timeout(doors.limits.handshake, tls.accept(stream).into_fallible()).await {
        Ok(Ok(stream)) => {
            let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let place = doors.enter(address.ip(), certificate.and_then(tls_key));
            if place.is_none() {
                tracing::warn!(%address, certificate = certificate.is_some(), "too many connections: one was closed");
            }
            place.map(|place| Connection::new(stream, place))
        }
        Ok(Err((error, stream))) => {
            tracing::info!(%address, %error, "TLS handshake refused");
            linger(stream).await;
            None
        }
        Err(_) => {
            tracing::info!(%address, "TLS handshake took too long");
            None
        }
    }
}

/// Renews the server's certificate when two thirds of its life are over, until `stop`.
pub(crate) async fn keep_fresh(
    ca: Arc<Authority>,
    certificate: Arc<ServerCertificate>,
    names: Vec<String>,
    stop: CancellationToken,
) {
    let mut due = renewal_after(clock::now());
    loop {
        let pause = turn(&mut due, clock::now(), |now| certificate.renew(&ca, &names, now));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn renewal_after(issued: Timestamp) -> Timestamp {
    let life = u64::try_from(SERVER_LIFE.as_millis()).unwrap_or(u64::MAX);
    issued.after(DurationMs(life / 3 * 2))
}

/// Renews if it is time, and says when to look again.
fn turn(due: &mut Timestamp, now: Timestamp, renew: impl FnOnce(Timestamp) -> Result<(), CaError>) -> Duration {
    if now >= *due {
        if let Err(error) = renew(now) {
            tracing::error!(%error, "the server's certificate could not be renewed; it is tried again");
            return RENEW_AGAIN;
        }
        tracing::info!("the server's certificate was renewed");
        *due = renewal_after(now);
    }
    Duration::from_millis(due.since(now).0).min(LOOK_EVERY)
}

/// Lets the client read why it was refused: closing at once, with its bytes unread, would reset the connection before the
/// TLS alert ("certificate expired") arrives.
async fn linger(mut stream: TcpStream) {
    let mut rest = [0; 1024];
    let drained = async {
        stream.shutdown().await?;
        // Bounded: a client that goes on sending is cut off by the time limit.
        while stream.read(&mut rest).await? > 0 {}
        Ok::<(), io::Error>(())
    };
    let _ = tokio::time::timeout(LINGER_MAX, drained).await;
}

#[cfg(test)]
mod tests {
    use rustls::{ClientConfig, pki_types::ServerName};
    use tokio_rustls::TlsConnector;
    use tokio_stream::StreamExt as _;

    use super::*;

    #[test]
    fn a_renewal_that_failed_is_tried_again_long_before_the_end() {
        let begun = Timestamp(0);
        let (mut due, mut now) = (renewal_after(begun), begun);
        let mut tries = Vec::new();
        while now < begun.after(DurationMs(u64::try_from(SERVER_LIFE.as_millis()).unwrap())) && tries.len() < 3 {
            let pause = turn(&mut due, now, |now| {
                tries.push(now);
                if tries.len() < 3 { Err(CaError::Randomness("none".to_owned())) } else { Ok(()) }
            });
            assert!(pause > Duration::ZERO && pause <= LOOK_EVERY, "{pause:?}");
            now = now.after(DurationMs(u64::try_from(pause.as_millis()).unwrap()));
        }
        let day = |t: &Timestamp| t.since(begun).0 / (24 * 60 * 60 * 1000);
        assert_eq!(tries.iter().map(day).collect::<Vec<_>>(), [20, 20, 20]);
        assert_eq!(due, renewal_after(tries[2]), "and from its success on as ever");
    }

    async fn connect(ca: &Authority, to: SocketAddr) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(ca.certificate_der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(to).await?).await
    }

    #[tokio::test]
    async fn idle_handshakes_do_not_keep_others_out_and_each_address_has_its_number_of_connections() {
        let (ca, _) = Authority::create(clock::now()).unwrap();
        let certificate = ServerCertificate::issue(&ca, &["localhost".to_owned()], clock::now()).unwrap();
        let acceptor = Acceptor::new(&ca, Arc::new(certificate)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // Nothing here is to end because time is over.
        let hour = Duration::from_secs(60 * 60);
        let limits = DoorLimits { handshake: hour, handshakes: 8, strangers_per_address: 2, ..DoorLimits::default() };
        let stop = CancellationToken::new();
        let mut incoming = acceptor.incoming(listener, limits, stop.clone());
        let mut idle = Vec::new();
        for _ in 0..20 {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let patience = Duration::from_secs(60);
        let mut standing = Vec::new();
        for _ in 0..2 {
            let client = tokio::time::timeout(patience, connect(&ca, address)).await.expect("a handshake").unwrap();
            standing.push((client, incoming.next().await.unwrap().unwrap()));
        }
        let mut third = tokio::time::timeout(patience, connect(&ca, address)).await.expect("a handshake").unwrap();
        let heard = tokio::time::timeout(patience, third.read(&mut [0; 1])).await.expect("the end of the third");
        assert!(matches!(heard, Ok(0) | Err(_)), "{heard:?}");
        standing.pop();
        let mut again = tokio::time::timeout(patience, connect(&ca, address)).await.expect("a handshake").unwrap();
        let _held = incoming.next().await.unwrap().unwrap();
        again.write_all(b"x").await.unwrap();
        stop.cancel();
    }
}
