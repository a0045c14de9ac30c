//! How many calls are in hand at one moment, by caller: nobody may crowd out the others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use wardround_rollout_plans::model::SiteId;

/// Calls of one node, which has one stream, one check-in and a few fetches: as many as one connection may carry.
const NODE_MAX: usize = 64;
/// Calls of all nodes.
const NODES_MAX: usize = 4_096;
/// Calls of all who show no certificate: enrolments and questions about health. Apart from the nodes' calls, since anyone
/// on the network can make them and let them last.
const STRANGERS_MAX: usize = 256;

/// Calls whose answer has not begun. Operators are not counted: one of them may want to halt.
#[derive(Debug, Default)]
pub(super) struct Calls(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    strangers: usize,
    nodes: usize,
    by_site: HashMap<SiteId, usize>,
}

/// A call that is in hand until this is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    calls: Arc<Calls>,
    site: Option<SiteId>,
}

impl Calls {
    /// Begins a call of a site's node, or of a stranger; `None` when there are too many.
    pub(super) fn begin(self: &Arc<Self>, site: Option<&SiteId>) -> Option<Permit> {
        let mut counts = self.counts();
        match site {
            None if counts.strangers >= STRANGERS_MAX => return None,
            None => counts.strangers += 1,
            Some(site) => {
                let own = counts.by_site.get(site).copied().unwrap_or(0);
                if own >= NODE_MAX || counts.nodes >= NODES_MAX {
                    return None;
                }
                counts.nodes += 1;
                counts.by_site.insert(site.clone(), own + 1);
            }
        }
        drop(counts);
        Some(Permit { calls: Arc::clone(self), site: site.cloned() })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.calls.counts();
        let Some(site) = &self.site else {
            counts.strangers -= 1;
            return;
        };
        counts.nodes -= 1;
        if let Some(own) = counts.by_site.get_mut(site) {
            *own -= 1;
            if *own == 0 {
                counts.by_site.remove(site);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(calls: &Arc<Calls>, site: Option<&SiteId>) -> Vec<Permit> {
        std::iter::from_fn(|| calls.begin(site)).take(NODES_MAX + 1).collect()
    }

    #[test]
    fn neither_strangers_nor_one_node_crowd_out_the_others() {
        let calls = Arc::new(Calls::default());
        let strangers = fill(&calls, None);
        assert_eq!(strangers.len(), STRANGERS_MAX);
        let (one, other) = (SiteId::new("rx1").unwrap(), SiteId::new("rx2").unwrap());
        let greedy = fill(&calls, Some(&one));
        assert_eq!(greedy.len(), NODE_MAX);
        assert!(calls.begin(Some(&other)).is_some());
        drop(strangers);
        assert!(calls.begin(None).is_some());
        drop(greedy);
        assert!(calls.begin(Some(&one)).is_some());
        assert!(calls.counts().by_site.is_empty() && calls.counts().nodes == 0, "nothing is left behind");
    }

    #[test]
    fn all_nodes_together_have_a_limit() {
        let calls = Arc::new(Calls::default());
        let sites: Vec<SiteId> = (0..NODES_MAX / NODE_MAX).map(|n| SiteId::new(&format!("rx{n}")).unwrap()).collect();
        let permits: Vec<Permit> = sites.iter().flat_map(|site| fill(&calls, Some(site))).collect();
        assert_eq!(permits.len(), NODES_MAX);
        assert!(calls.begin(Some(&SiteId::new("ry").unwrap())).is_none());
        assert!(calls.begin(None).is_some());
    }
}
