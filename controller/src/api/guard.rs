//! The layer before every method: who calls, may they, and for how long.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::net::TcpStream;
use tonic::{
    Code, Status,
    body::Body,
    codegen::{BoxFuture, http},
    transport::server::{Connected, TcpConnectInfo, TlsConnectInfo},
};
use tower::{Layer, Service};

use super::{
    access,
    access::Access,
    calls::{Calls, Permit},
    status,
};
use crate::{
    ca::{Identity, IdentityError, Peer},
    clock,
    core::Core,
};

/// How long a call may take until its answer begins.
const CALL_MAX: Duration = Duration::from_secs(30);

/// Makes [`Guard`]s.
#[derive(Clone)]
pub(crate) struct GuardLayer {
    core: Core,
    calls: Arc<Calls>,
}

impl GuardLayer {
    /// For the nodes that `core` knows.
    pub(crate) fn new(core: Core) -> Self {
        Self { core, calls: Arc::default() }
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;
    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, layer: self.clone() }
    }
}

/// A guarded service.
#[derive(Clone)]
pub(crate) struct Guard<S> {
    inner: S,
    layer: GuardLayer,
}

impl<S> Service<http::Request<Body>> for Guard<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let admitted = self.layer.admit(&mut request);
        // The service that was polled ready is the one that is called; the clone waits for its own turn.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        Box::pin(async move {
            let (long, _permit) = match admitted {
                Ok(admitted) => admitted,
                Err(refusal) => return Ok(refusal.into_http()),
            };
            if long {
                return inner.call(request).await;
            }
            match tokio::time::timeout(CALL_MAX, inner.call(request)).await {
                Ok(answer) => answer,
                Err(_) => Ok(Status::deadline_exceeded(format!(
                    "the controller did not answer within {} s",
                    CALL_MAX.as_secs()
                ))
                .into_http()),
            }
        })
    }
}

impl GuardLayer {
    fn admit(&self, request: &mut http::Request<Body>) -> Result<(bool, Option<Permit>), Status> {
        let path = request.uri().path();
        let Some((access, long)) = access::of(path) else {
            return Err(Status::unimplemented(format!("there is no method {path}")));
        };
        let peer = peer(request.extensions());
        let allowed = match (access, &peer) {
            (Access::Anyone, _) | (Access::AnyCertificate, Ok(Some(_))) => Ok(()),
            (_, Err(error)) => Err(unauthenticated(error)),
            (_, Ok(None)) => Err(status::make(
                Code::Unauthenticated,
                "NO_CERTIFICATE",
                "this method needs a client certificate",
                "nodes get one by enrolling, operators with the profile that `wardround init` wrote",
            )),
            (Access::Operator | Access::NodeOrOperator, Ok(Some(Peer { identity: Identity::Operator(_), .. }))) => {
                Ok(())
            }
            (Access::Node | Access::NodeOrOperator, Ok(Some(Peer { identity: Identity::Node(site), tls_key, .. }))) => {
                let present = self.core.read(|facts| facts.registry.node(site).map(|node| node.tls_key));
                if present == Some(*tls_key) {
                    Ok(())
                } else {
                    Err(status::make(
                        Code::PermissionDenied,
                        "NODE_REPLACED",
                        &format!("another node has enrolled for site {site} since this certificate was issued"),
                        "enrol this node anew if it is the one that should serve the site",
                    ))
                }
            }
            (_, Ok(Some(peer))) => Err(status::make(
                Code::PermissionDenied,
                "WRONG_ROLE",
                &format!("{} may not call {path}", peer.identity),
                "",
            )),
        };
        allowed?;
        let peer = peer.ok().flatten();
        let counted = match peer.as_ref().map(|peer| &peer.identity) {
            Some(Identity::Operator(_)) => None,
            Some(Identity::Node(site)) => Some(self.calls.begin(Some(site))),
            None => Some(self.calls.begin(None)),
        };
        if matches!(counted, Some(None)) {
            let text = "the controller has too many calls of this kind in hand";
            return Err(status::make(Code::ResourceExhausted, "BUSY", text, "try again"));
        }
        let permit = counted.flatten();
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        Ok((long, permit))
    }
}

fn peer(extensions: &http::Extensions) -> Result<Option<Peer>, IdentityError> {
    let info = extensions.get::<TlsConnectInfo<<TcpStream as Connected>::ConnectInfo>>();
    let Some(certificates) = info.and_then(TlsConnectInfo::<TcpConnectInfo>::peer_certs) else { return Ok(None) };
    // The first certificate is the client's own (RFC 8446, section 4.4.2); TLS has chained it to our CA.
    let Some(certificate) = certificates.first() else { return Ok(None) };
    Peer::read(certificate, clock::now()).map(Some)
}

fn unauthenticated(error: &IdentityError) -> Status {
    let hint = match error {
        IdentityError::Expired { .. } => "enrol the node anew, or have a new operator certificate issued",
        IdentityError::NotYet { .. } => "check this machine's clock",
        IdentityError::Form | IdentityError::Nobody => "use the certificate that this controller issued",
    };
    status::make(Code::Unauthenticated, "CERTIFICATE", &error.to_string(), hint)
}
