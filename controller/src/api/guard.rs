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
    caller::Caller,
    calls::{Calls, Permit},
    status,
};
use crate::{
    ca::{Identity, IdentityError, OperatorRole, Peer},
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
            let Admitted { long, caller, _permit } = match admitted {
                Ok(admitted) => admitted,
                Err(refusal) => return Ok(refusal.into_http()),
            };
            let answered = async {
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
            };
            let Some(caller) = caller else { return answered.await };
            let ended = caller.presence.ended();
            tokio::select! {
                biased;
                () = ended.cancelled() => Ok(caller.refusal().into_http()),
                answer = answered => Ok(answer?.map(|body| caller.guard(body))),
            }
        })
    }
}

/// A call that may begin.
struct Admitted {
    long: bool,
    caller: Option<Caller>,
    _permit: Option<Permit>,
}

impl GuardLayer {
    fn admit(&self, request: &mut http::Request<Body>) -> Result<Admitted, Status> {
        let path = request.uri().path();
        let Some((access, long)) = access::of(path) else {
            return Err(Status::unimplemented(format!("there is no method {path}")));
        };
        let peer = match (access, peer(request.extensions())) {
            (_, Ok(Some(peer))) => Some(peer),
            (Access::Anyone, _) => None,
            (_, Err(error)) => return Err(unauthenticated(&error)),
            (_, Ok(None)) => {
                return Err(status::make(
                    Code::Unauthenticated,
                    "NO_CERTIFICATE",
                    "this method needs a client certificate",
                    "nodes get one by enrolling, operators with a profile (`wardround init`, `wardround operator issue`)",
                ));
            }
        };
        // Entered before it is looked at: a revocation after the look ends the call.
        let caller = peer.map(|peer| Caller::new(&self.core, peer)).filter(|_| access != Access::Anyone);
        if let Some(caller) = &caller {
            caller.stands()?;
            may(access, &caller.peer, path.trim_start_matches('/'))?;
        }
        let counted = match caller.as_ref().map(|caller| &caller.peer.identity) {
            Some(Identity::Operator(_)) => None,
            Some(Identity::Node(site)) => Some(self.calls.begin(Some(site))),
            None => Some(self.calls.begin(None)),
        };
        if matches!(counted, Some(None)) {
            let text = "the controller has too many calls of this kind in hand";
            return Err(status::make(Code::ResourceExhausted, "BUSY", text, "try again"));
        }
        if let Some(caller) = &caller {
            request.extensions_mut().insert(caller.peer.clone());
        }
        Ok(Admitted { long, caller, _permit: counted.flatten() })
    }
}

/// May this caller, whose certificate counts, call this method?
fn may(access: Access, peer: &Peer, method: &str) -> Result<(), Status> {
    let (node, roles) = match access {
        Access::Anyone | Access::AnyCertificate => return Ok(()),
        Access::Node => (true, None),
        Access::NodeOr(row) => (true, Some(access::named(row))),
        Access::Operator(row) => (false, Some(access::named(row))),
    };
    let (whom, hint) = match (&peer.identity, &roles) {
        (Identity::Node(_), _) if node => return Ok(()),
        (Identity::Operator(_), Some(roles)) if roles.intersection(&peer.roles).next().is_some() => return Ok(()),
        (Identity::Node(_), _) => ("operators", "use an operator's profile".to_owned()),
        (Identity::Operator(_), None) => ("sites' nodes", "a site's node does this by itself".to_owned()),
        (Identity::Operator(name), Some(roles)) => {
            let role = roles.first().map_or("", |role| role.word());
            let text = format!(
                "ask somebody who has one of these roles, or have a certificate with it issued on the controller's machine: \
                 `wardround operator issue {name} --role {role}`"
            );
            ("operators", text)
        }
    };
    let whom = match &roles {
        Some(roles) => format!("{whom} with the roles {}", OperatorRole::list(roles)),
        None => whom.to_owned(),
    };
    let who = match &peer.identity {
        Identity::Operator(_) => format!("{} (roles: {})", peer.identity, OperatorRole::list(&peer.roles)),
        Identity::Node(_) => peer.identity.to_string(),
    };
    let text = format!("{who} may not call {method}: it is for {whom}");
    Err(status::make(Code::PermissionDenied, "WRONG_ROLE", &text, &hint))
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
