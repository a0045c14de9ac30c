//! Who is connected, when each site was last heard, and who waits for news. In memory only: losing it costs time, no facts.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};
use wardround_rollout_plans::{
    engine::Effect,
    model::{RolloutId, SiteId, Timestamp},
};
use wardround_signing::Envelope;

/// Halts that wait for one slow connection; older ones stand in the directive anyway.
const HALTS_WAITING_MAX: usize = 64;

/// What a node's stream is told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Nudge {
    /// Obey this first.
    Halt(Box<Envelope>),
    /// Check in now.
    CheckIn,
    /// Another stream of the same site has come.
    Replaced,
}

/// The sending side of one node's stream: coalesces nudges, never drops a halt for one.
#[derive(Debug, Default)]
pub(crate) struct NodeStream {
    pending: Mutex<Pending>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    halts: VecDeque<Envelope>,
    nudge: bool,
    replaced: bool,
}

impl NodeStream {
    /// The next nudge, halts first.
    pub(crate) async fn next(&self) -> Nudge {
        loop {
            let woken = self.wake.notified();
            {
                let mut pending = lock(&self.pending);
                if let Some(halt) = pending.halts.pop_front() {
                    return Nudge::Halt(Box::new(halt));
                }
                if pending.replaced {
                    return Nudge::Replaced;
                }
                if std::mem::take(&mut pending.nudge) {
                    return Nudge::CheckIn;
                }
            }
            woken.await;
        }
    }

    fn put(&self, change: impl FnOnce(&mut Pending)) {
        change(&mut lock(&self.pending));
        self.wake.notify_one();
    }
}

#[derive(Debug, Default)]
struct SiteLink {
    heard: Option<Timestamp>,
    directive_counter: u64,
    stream: Option<Arc<NodeStream>>,
    /// When open streams were replaced, newest last.
    replaced: VecDeque<Instant>,
}

/// Connections and watchers.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    sites: Mutex<HashMap<SiteId, SiteLink>>,
    rollouts: Mutex<HashMap<RolloutId, watch::Sender<u64>>>,
}

/// A site's connection as people see it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LinkView {
    /// Holds a watch stream.
    pub(crate) connected: bool,
    /// Last check-in since this process began.
    pub(crate) heard: Option<Timestamp>,
    /// Newest directive counter that the node has accepted.
    pub(crate) directive_counter: u64,
}

impl Hub {
    /// Opens a site's stream and closes the one that stood. Also how often that happened within `window`.
    pub(crate) fn connect(&self, site: &SiteId, now: Instant, window: Duration) -> (Arc<NodeStream>, u32) {
        let stream = Arc::new(NodeStream::default());
        // The node checks in at once: it may have missed nudges while it was away.
        stream.put(|p| p.nudge = true);
        let mut sites = lock(&self.sites);
        let link = sites.entry(site.clone()).or_default();
        link.replaced.retain(|at| now.duration_since(*at) < window);
        if let Some(before) = link.stream.replace(Arc::clone(&stream)) {
            before.put(|p| p.replaced = true);
            link.replaced.push_back(now);
        }
        (stream, u32::try_from(link.replaced.len()).unwrap_or(u32::MAX))
    }

    /// Closes a site's stream, unless a newer one has taken its place.
    pub(crate) fn disconnect(&self, site: &SiteId, stream: &Arc<NodeStream>) {
        if let Some(link) = lock(&self.sites).get_mut(site)
            && link.stream.as_ref().is_some_and(|present| Arc::ptr_eq(present, stream))
        {
            link.stream = None;
        }
    }

    /// A check-in came.
    pub(crate) fn heard(&self, site: &SiteId, now: Timestamp, directive_counter: u64) {
        let mut sites = lock(&self.sites);
        let link = sites.entry(site.clone()).or_default();
        link.heard = Some(now);
        link.directive_counter = directive_counter;
    }

    /// How a site is connected.
    pub(crate) fn link(&self, site: &SiteId) -> LinkView {
        lock(&self.sites).get(site).map_or_else(LinkView::default, |link| LinkView {
            connected: link.stream.is_some(),
            heard: link.heard,
            directive_counter: link.directive_counter,
        })
    }

    /// How many of these sites hold a watch stream.
    pub(crate) fn connected<'a>(&self, sites: impl Iterator<Item = &'a SiteId>) -> usize {
        let links = lock(&self.sites);
        sites.filter(|site| links.get(*site).is_some_and(|link| link.stream.is_some())).count()
    }

    /// Passes a batch's effects on: every halt before anything else.
    pub(crate) fn perform(&self, effects: &[Effect]) {
        for effect in effects {
            if let Effect::Halt { order, sites, .. } = effect {
                self.halt(sites, order.as_ref());
            }
        }
        for effect in effects {
            match effect {
                Effect::SiteChanged { site } => self.nudge(site),
                Effect::RolloutChanged { rollout } => self.changed(rollout),
                Effect::Alarm { rollout: Some(rollout), .. } => self.changed(rollout),
                Effect::Alarm { .. } | Effect::Halt { .. } | Effect::Audit { .. } => {}
            }
        }
    }

    fn halt(&self, sites: &[SiteId], order: Option<&Envelope>) {
        // The streams are collected first, so that 50,000 wake-ups do not hold the map.
        let streams: Vec<Arc<NodeStream>> = {
            let links = lock(&self.sites);
            sites.iter().filter_map(|site| links.get(site)?.stream.clone()).collect()
        };
        for stream in streams {
            stream.put(|pending| {
                pending.nudge = true;
                if let Some(order) = order {
                    if pending.halts.len() == HALTS_WAITING_MAX {
                        pending.halts.pop_front();
                    }
                    pending.halts.push_back(order.clone());
                }
            });
        }
    }

    fn nudge(&self, site: &SiteId) {
        let stream = lock(&self.sites).get(site).and_then(|link| link.stream.clone());
        if let Some(stream) = stream {
            stream.put(|p| p.nudge = true);
        }
    }

    /// News of a rollout: the receiver changes with each.
    pub(crate) fn watch_rollout(&self, id: &RolloutId) -> watch::Receiver<u64> {
        let mut rollouts = lock(&self.rollouts);
        rollouts.retain(|_, sender| sender.receiver_count() > 0);
        rollouts.entry(id.clone()).or_insert_with(|| watch::channel(0).0).subscribe()
    }

    fn changed(&self, rollout: &RolloutId) {
        if let Some(sender) = lock(&self.rollouts).get(rollout) {
            sender.send_modify(|version| *version += 1);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    fn site() -> SiteId {
        SiteId::new("rx1").unwrap()
    }

    fn order(n: u8) -> Envelope {
        Envelope { payload_type: "order".to_owned(), payload: vec![n], signatures: Vec::new() }
    }

    #[tokio::test]
    async fn halts_come_first_in_order_and_nudges_are_merged() {
        let hub = Hub::default();
        let (stream, replaced) = hub.connect(&site(), Instant::now(), WINDOW);
        assert_eq!(replaced, 0);
        let rollout = RolloutId::new("r").unwrap();
        let halt = |n| Effect::Halt { rollout: rollout.clone(), order: Some(order(n)), sites: vec![site()] };
        hub.perform(&[Effect::SiteChanged { site: site() }, halt(1), Effect::SiteChanged { site: site() }, halt(2)]);
        assert_eq!(stream.next().await, Nudge::Halt(Box::new(order(1))));
        assert_eq!(stream.next().await, Nudge::Halt(Box::new(order(2))));
        assert_eq!(stream.next().await, Nudge::CheckIn);
        assert!(tokio::time::timeout(std::time::Duration::from_millis(10), stream.next()).await.is_err());
    }

    #[tokio::test]
    async fn the_newer_stream_wins_and_the_older_hears_of_it() {
        let hub = Hub::default();
        let start = Instant::now();
        let (old, _) = hub.connect(&site(), start, WINDOW);
        let (new, replaced) = hub.connect(&site(), start, WINDOW);
        assert_eq!(replaced, 1);
        assert_eq!(old.next().await, Nudge::Replaced);
        hub.disconnect(&site(), &old);
        assert!(hub.link(&site()).connected, "an old stream's end does not close the new one");
        let (newest, replaced) = hub.connect(&site(), start + WINDOW, WINDOW);
        assert_eq!(replaced, 1, "the first one was long ago");
        hub.disconnect(&site(), &new);
        hub.disconnect(&site(), &newest);
        assert!(!hub.link(&site()).connected);
    }
}
