//! S7: an acknowledged order or report is never lost: kill -9, power cut, full disk. And nothing leaves that is not on disk.

use std::collections::{BTreeMap, BTreeSet};

use wardround_rollout_plans::model::{Command, DeviceId, Order, RolloutId, SiteId};
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
    /// Devices that had the patch when people ordered it back, with the number of the order.
    ordered_back: BTreeMap<(RolloutId, DeviceId), u64>,
    /// For whom a person was called.
    called: BTreeSet<DeviceId>,
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
            Seen::OrderAccepted { order, complete, .. } => {
                let known = self.accepted.entry(order.rollout.clone()).or_default();
                *known = (*known).max(order.counter);
                if *complete {
                    self.back_is_wanted(order, truth);
                }
            }
            Seen::Alarm { device: Some(device), code, .. } if matches!(*code, "rollback_failed" | "needs_person") => {
                self.called.insert((*device).clone());
            }
            Seen::Converged { .. } => {
                for ((rollout, device), counter) in &self.ordered_back {
                    let patched = truth.devices.get(device).is_some_and(|d| d.patched);
                    let honest = !truth.liars.contains(&device.site());
                    if patched && honest && !self.called.contains(device) {
                        return Err(format!(
                            "order {counter} of {rollout} to take the patch back from {device} was accepted, and it is there"
                        ));
                    }
                }
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

impl S7 {
    /// An accepted rollback reaches every device that had the patch by then, also where its site could not be reached.
    fn back_is_wanted(&mut self, order: &Order, truth: &Truth) {
        let Command::RollBack { target } = &order.command else { return };
        for version in truth.versions.values().filter(|v| v.rollout.id == order.rollout) {
            for member in version.members.iter().filter(|member| target.covers(member)) {
                let known = truth.devices.get(&member.device);
                if known.is_some_and(|d| d.patched && !d.fate.patched_before) {
                    self.ordered_back.insert((order.rollout.clone(), member.device.clone()), order.counter);
                }
            }
        }
    }
}
