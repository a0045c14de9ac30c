//! Halts and resumes of a rollout: a halt sticks until a newer resume is known.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use wardround_rollout_plans::model::{Mode, ReportBody, Timestamp};
use wardround_signing::Digest;

use super::{NodeState, OrderMark};

/// Most halt orders of a rollout that are told apart; further ones still halt, but are not confirmed one by one.
const SEEN_MAX: usize = 64;
/// Most rollouts whose halts are remembered without the rollout being known.
const HALTS_MAX: usize = 1_000;

/// What is known of one rollout's halts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Halts {
    seen: BTreeSet<Digest>,
    /// Highest counter of a halt or resume that is known.
    top: u64,
    /// Halted: only a resume with a higher counter than this lifts it.
    mark: Option<u64>,
    /// A halt whose counter was not above what was known when it came: whoever signed a resume may never have seen it,
    /// though the resume's counter is higher. Only one that names it lifts it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    late: BTreeSet<Digest>,
}

impl Halts {
    pub(crate) fn is_halted(&self) -> bool {
        self.mark.is_some()
    }

    pub(crate) fn knows(&self, order: &Digest) -> bool {
        self.seen.contains(order)
    }

    /// True when the halt is news. A halt with a stale counter counts too: refusing it would be the greater danger.
    fn halt(&mut self, order: &OrderMark) -> bool {
        if self.knows(&order.order) {
            return false;
        }
        if order.counter > self.top {
            // Whoever resumes after this one has a counter that is higher still, and so has seen those before it.
            self.late.clear();
        } else if self.late.len() < SEEN_MAX {
            self.late.insert(order.order);
        }
        self.top = self.top.max(order.counter);
        self.mark = Some(self.top);
        self.seen.len() < SEEN_MAX && self.seen.insert(order.order)
    }

    fn resume(&mut self, counter: u64, lifted: &BTreeSet<Digest>) {
        self.top = self.top.max(counter);
        if self.mark.is_some_and(|mark| counter > mark) && self.late.is_subset(lifted) {
            self.mark = None;
            self.late.clear();
        }
    }
}

impl NodeState {
    pub(super) fn learn_halt(&mut self, order: &OrderMark, now: Timestamp) {
        if self.halts.len() >= HALTS_MAX && !self.halts.contains_key(&order.rollout) {
            let unknown = self.halts.keys().find(|id| !self.rollouts.contains_key(*id)).cloned();
            if let Some(id) = unknown {
                self.halts.remove(&id);
            }
        }
        if self.halts.entry(order.rollout.clone()).or_default().halt(order) {
            let body = ReportBody::HaltKnown { rollout: order.rollout.clone(), counter: order.counter };
            self.outbox.push(now, body);
        }
    }

    /// Orders of a directive, in the order of their counters.
    pub(super) fn learn_orders(
        &mut self,
        halts: &[OrderMark],
        resumes: &[u64],
        mode: Mode,
        wish: &super::RolloutWish,
        now: Timestamp,
    ) {
        let mut halts: Vec<&OrderMark> = halts.iter().collect();
        halts.sort_by_key(|h| h.counter);
        let mut resumes = resumes.to_vec();
        resumes.sort_unstable();
        let mut resumes = resumes.into_iter().peekable();
        for halt in halts {
            while let Some(counter) = resumes.next_if(|r| *r < halt.counter) {
                self.halts.entry(wish.rollout.clone()).or_default().resume(counter, &wish.lifted);
            }
            self.learn_halt(halt, now);
        }
        let known = self.halts.entry(wish.rollout.clone()).or_default();
        for counter in resumes {
            known.resume(counter, &wish.lifted);
        }
        // The controller's own word halts as well, and sticks in the same way.
        if mode == Mode::Halted && known.mark.is_none() {
            known.mark = Some(known.top);
        }
    }
}
