//! A caller with a certificate, for as long as the call is under way.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::{Frame, SizeHint};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{
    Code, Status,
    body::Body,
    codegen::{Bytes, http::HeaderMap},
};

use super::status;
use crate::{
    ca::{Identity, Peer, day},
    core::{Core, Presence},
};

/// Somebody whose call is under way.
pub(super) struct Caller {
    core: Core,
    pub(super) peer: Peer,
    pub(super) presence: Presence,
}

impl Caller {
    pub(super) fn new(core: &Core, peer: Peer) -> Self {
        Self { core: core.clone(), presence: core.peers().enter(&peer), peer }
    }

    /// Does this certificate count at this moment, as far as it is known here?
    pub(super) fn stands(&self) -> Result<(), Status> {
        match &self.peer.identity {
            Identity::Node(site) => self.core.read(|facts| {
                let registry = &facts.registry;
                match (registry.node(site), registry.revoked_node(site)) {
                    (Some(node), _) if node.tls_key == self.peer.tls_key => Ok(()),
                    (Some(_), _) => Err(status::make(
                        Code::PermissionDenied,
                        "NODE_REPLACED",
                        &format!("another node has enrolled for site {site} since this certificate was issued"),
                        "enrol this node anew if it is the one that should serve the site",
                    )),
                    (None, Some(revoked)) => Err(status::make(
                        Code::PermissionDenied,
                        "NODE_REVOKED",
                        &format!("the node of site {site} was revoked on {} by {}", day(revoked.at), revoked.text),
                        &format!("a node that should serve the site enrols with a new `wardround site token {site}`"),
                    )),
                    (None, None) => Err(status::make(
                        Code::PermissionDenied,
                        "NODE_UNKNOWN",
                        &format!("this controller knows of no node of site {site}"),
                        &format!("was it restored from an older copy? Enrol anew: `wardround site token {site}`"),
                    )),
                }
            }),
            Identity::Operator(name) => {
                let revoked = self.core.read(|facts| facts.registry.revoked(&self.peer).cloned());
                let Some(revoked) = revoked else { return Ok(()) };
                Err(status::make(
                    Code::PermissionDenied,
                    "OPERATOR_REVOKED",
                    &format!(
                        "the certificate of operator {name} was revoked on {} by {}",
                        day(revoked.at),
                        revoked.text
                    ),
                    "have another issued on the controller's machine (`wardround operator issue`) if that was a mistake",
                ))
            }
        }
    }

    /// Why the call ends before its time.
    pub(super) fn refusal(&self) -> Status {
        self.stands().err().unwrap_or_else(|| Status::aborted("the call was ended; try again"))
    }

    /// The answer's body, which ends with the caller's standing.
    pub(super) fn guard(self, inner: Body) -> Body {
        let ended = Box::pin(self.presence.ended().cancelled_owned());
        Body::new(Guarded { inner, ended, caller: self, over: false })
    }
}

struct Guarded {
    inner: Body,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    caller: Caller,
    over: bool,
}

impl http_body::Body for Guarded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.over {
            return Poll::Ready(None);
        }
        if self.ended.as_mut().poll(context).is_ready() {
            self.over = true;
            let mut trailers = HeaderMap::new();
            let refusal = self.caller.refusal();
            return Poll::Ready(Some(refusal.add_header(&mut trailers).map(|()| Frame::trailers(trailers))));
        }
        Poll::Ready(ready!(Pin::new(&mut self.inner).poll_frame(context)))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
