//! S7: an acknowledged order or report is never lost: kill -9, power cut, full disk. And nothing leaves that is not on disk.

use std::collections::BTreeMap;

use wardround_rollout_plans::model::{RolloutId, SiteId};
use wardround_signing::{Digest, document_bytes};

use super::{Invariant, Seen, Truth};

/// What was said.
#[derive(Debug, Default)]
pub(super) struct S7 {
    acknowledged: BTreeMap<SiteId, u64>,
    accepted: BTreeMap<RolloutId, u64>,
    /// Counters of directives that left: numbers of journal records.
    left: u64,
    /// Reports that left the nodes, by their content.
    reported: BTreeMap<(SiteId, u64), Digest>,
}

impl Invariant for S7 {
    fn name(&self) -> &'static str {
        "S7"
    }

    fn see(&mut self, seen: &Seen<'_>, truth: &Truth) -> Result<(), String> {
        match seen {
            Seen::Acknowledged { site, seq } => {
                let known = self.acknowledged.entry((*site).clone()).or_default();
                *known = (*known).max(*seq);
            }
            Seen::OrderAccepted { order, .. } => {
                let known = self.accepted.entry(order.rollout.clone()).or_default();
                *known = (*known).max(order.counter);
            }
            Seen::DirectiveLeaves { directive, .. } => self.left = self.left.max(directive.counter),
            Seen::ReportLeaves { report } if !truth.liars.contains(&report.site) => {
                let content = Digest::of(&document_bytes(*report).map_err(|e| e.to_string())?);
                let known = self.reported.entry((report.site.clone(), report.seq)).or_insert(content);
                if *known != content {
                    return Err(format!("report {} of {} left with two contents", report.seq, report.site));
                }
            }
            Seen::ControllerBack { ledger } => {
                if ledger.seq() < self.left {
                    let (seq, left) = (ledger.seq(), self.left);
                    return Err(format!("directive {left} left, and the controller's disk ends at record {seq}"));
                }
                for (site, seq) in &self.acknowledged {
                    let known = ledger.engine().acked_seq(site);
                    if known < *seq {
                        return Err(format!("report {seq} of {site} was acknowledged, and the disk ends at {known}"));
                    }
                }
                for (rollout, counter) in &self.accepted {
                    let known = ledger.engine().rollout(rollout).map_or(0, |view| view.order_counter);
                    if known < *counter {
                        return Err(format!("order {counter} of {rollout} was accepted, and the disk ends at {known}"));
                    }
                }
            }
            Seen::NodeBack { site, last } => {
                let newest = self.reported.keys().filter(|(of, _)| of == *site).map(|(_, seq)| *seq).max();
                if newest.is_some_and(|newest| newest > *last) && !truth.liars.contains(*site) {
                    return Err(format!("{site} had reported up to {newest:?}, and its disk ends at {last}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
