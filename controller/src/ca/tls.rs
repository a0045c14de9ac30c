//! The TLS side of the listener: a server certificate that can be renewed while running, and limits on handshakes.

use std::{
    io,
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
    sync::{Semaphore, mpsc},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use wardround_rollout_plans::model::Timestamp;

use super::{Authority, CaError};

/// How long a handshake may take: a slow line needs about three round trips and 6 KiB.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Handshakes at one moment: each costs a signature, and 1,430 a second were measured (reference, stores).
const HANDSHAKES_AT_ONCE: usize = 256;
/// How long a refused client may take to read why.
const LINGER_MAX: Duration = Duration::from_secs(2);
/// Pause after the system refused a connection (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
        shutdown: CancellationToken,
    ) -> ReceiverStream<io::Result<TlsStream<TcpStream>>> {
        let (sender, receiver) = mpsc::channel(64);
        tokio::spawn(async move {
            let handshakes = Arc::new(Semaphore::new(HANDSHAKES_AT_ONCE));
            loop {
                let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await else { return };
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
                let (tls, sender) = (self.tls.clone(), sender.clone());
                tokio::spawn(async move {
                    let _permit = permit;
                    // Small messages both ways: Nagle would hold a halt back.
                    let _ = stream.set_nodelay(true);
                    match tokio::time::timeout(HANDSHAKE_MAX, tls.accept(stream).into_fallible()).await {
                        Ok(Ok(stream)) => {
                            let _ = sender.send(Ok(stream)).await;
                        }
                        Ok(Err((error, stream))) => {
                            tracing::info!(%address, %error, "TLS handshake refused");
                            linger(stream).await;
                        }
                        Err(_) => tracing::info!(%address, "TLS handshake took too long"),
                    }
                });
            }
        });
        ReceiverStream::new(receiver)
    }
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
