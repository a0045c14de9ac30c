//! Whose calls are under way, so that a revocation ends them at once and does not wait for the next call.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;
use wardround_rollout_plans::model::SiteId;

use crate::ca::{Identity, Peer};

/// Calls under way by caller.
#[derive(Debug, Default)]
pub(crate) struct Peers(Mutex<Present>);

#[derive(Debug, Default)]
struct Present {
    next: u64,
    calls: HashMap<Identity, Vec<Call>>,
}

#[derive(Debug)]
struct Call {
    id: u64,
    peer: Peer,
    ended: CancellationToken,
}

/// One call; it is under way until this is dropped.
#[derive(Debug)]
pub(crate) struct Presence {
    peers: Arc<Peers>,
    identity: Identity,
    id: u64,
    ended: CancellationToken,
}

impl Peers {
    /// A call begins. To be entered *before* the caller's standing is looked at: a revocation after that look finds it here.
    pub(crate) fn enter(self: &Arc<Self>, peer: &Peer) -> Presence {
        let ended = CancellationToken::new();
        let mut present = self.present();
        let id = present.next;
        present.next += 1;
        let call = Call { id, peer: peer.clone(), ended: ended.clone() };
        present.calls.entry(peer.identity.clone()).or_default().push(call);
        Presence { peers: Arc::clone(self), identity: peer.identity.clone(), id, ended }
    }

    /// Ends the calls of a site's nodes that do not stand any more.
    pub(super) fn end_at_site(&self, site: &SiteId, stands: impl Fn(&Peer) -> bool) {
        if let Some(calls) = self.present().calls.get(&Identity::Node(site.clone())) {
            calls.iter().filter(|call| !stands(&call.peer)).for_each(|call| call.ended.cancel());
        }
    }

    /// Ends the calls of operators who do not stand any more.
    pub(super) fn end_of_operators(&self, stands: impl Fn(&Peer) -> bool) {
        let present = self.present();
        let operators = present.calls.iter().filter(|(identity, _)| matches!(identity, Identity::Operator(_)));
        let calls = operators.flat_map(|(_, calls)| calls);
        calls.filter(|call| !stands(&call.peer)).for_each(|call| call.ended.cancel());
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Presence {
    /// Cancelled when the caller does not stand any more.
    pub(crate) fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut present = self.peers.present();
        if let Some(calls) = present.calls.get_mut(&self.identity) {
            calls.retain(|call| call.id != self.id);
            if calls.is_empty() {
                present.calls.remove(&self.identity);
            }
        }
    }
}
