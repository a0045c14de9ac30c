//! S3: after a halt is accepted no directive leaves that lets work begin; after a node knows of it no new install begins. An
//! install already begun is finished or taken back, never left half way.

use std::collections::{BTreeMap, BTreeSet};

use wardround_rollout_plans::model::{Command, Directive, Mode, Order, RolloutId, SiteId};
use wardround_signing::Digest;

use super::{Invariant, Seen, Truth};

/// Halts in force, at the controller and at each node.
#[derive(Debug, Default)]
pub(super) struct S3 {
    accepted: BTreeMap<RolloutId, BTreeMap<Digest, u64>>,
    known: BTreeMap<(SiteId, RolloutId), BTreeMap<Digest, u64>>,
    /// What the newest directive in force at a node halts by its own word, as the controller does when a wave has failed.
    told: BTreeMap<SiteId, BTreeSet<RolloutId>>,
}

impl Invariant for S3 {
    fn name(&self) -> &'static str {
        "S3"
    }

    fn see(&mut self, seen: &Seen<'_>, truth: &Truth) -> Result<(), String> {
        match seen {
            Seen::OrderAccepted { order, digest, again, complete } => match &order.command {
                Command::Halt if !again => {
                    self.accepted.entry(order.rollout.clone()).or_default().insert(*digest, order.counter);
                }
                Command::Resume { .. } if *complete => {
                    let signed = truth.orders.iter().filter(|o| o.digest == *digest).flat_map(|o| &o.by);
                    if signed.collect::<BTreeSet<_>>().len() < 2 {
                        return Err(format!("order {}, a resume, counts with one signature", order.counter));
                    }
                    self.resumed(order);
                }
                _ => {}
            },
            Seen::OrderUncertain { order } => self.resumed(order),
            Seen::DirectiveLeaves { site, directive } => {
                for part in &directive.rollouts {
                    let halts = self.accepted.get(&part.rollout).is_some_and(|halts| !halts.is_empty());
                    if halts && part.mode != Mode::Halted {
                        return Err(format!(
                            "a directive {} left for {site} that lets rollout {} go on, which is halted",
                            directive.counter, part.rollout
                        ));
                    }
                }
            }
            Seen::HaltKnown { site, order, digest } => {
                let key = ((*site).clone(), order.rollout.clone());
                self.known.entry(key).or_default().insert(*digest, order.counter);
            }
            Seen::Obeyed { site, directive, .. } => {
                self.obeyed(site, directive, true);
                let halted = directive.rollouts.iter().filter(|part| part.mode == Mode::Halted);
                self.told.insert((*site).clone(), halted.map(|part| part.rollout.clone()).collect());
            }
            Seen::MaybeObeyed { site, directive, .. } => {
                self.obeyed(site, directive, false);
                // Which of the two is in force nobody knows.
                self.told.remove(*site);
            }
            Seen::InstallBegins { device, rollout, .. } => {
                let key = (device.site(), (*rollout).clone());
                if self.known.get(&key).is_some_and(|halts| !halts.is_empty()) {
                    return Err(format!("an install began on {device} though its node knows that {rollout} is halted"));
                }
                if self.told.get(&device.site()).is_some_and(|told| told.contains(*rollout)) {
                    return Err(format!(
                        "an install began on {device} though the newest directive of its node halts {rollout}"
                    ));
                }
            }
            Seen::Converged { .. } => {
                if let Some(device) = truth.devices.values().find(|device| device.is_disrupted(truth.now)) {
                    return Err(format!("{} was left half way", device.id));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl S3 {
    /// A resume lifts the halts that it names, and no other: whoever signed it must have seen them.
    fn resumed(&mut self, order: &Order) {
        let Command::Resume { lifts } = &order.command else { return };
        self.accepted.entry(order.rollout.clone()).or_default().retain(|halt, _| !lifts.contains(halt));
    }

    /// Halts count when the directive surely is in force, resumes also when it may be.
    fn obeyed(&mut self, site: &SiteId, directive: &Directive, surely: bool) {
        for part in &directive.rollouts {
            let orders: Vec<(Digest, Order)> =
                part.orders.iter().filter_map(|e| Some((e.digest(), e.peek_unverified().ok()?))).collect();
            let known = self.known.entry((site.clone(), part.rollout.clone())).or_default();
            for (digest, order) in &orders {
                if surely && order.command == Command::Halt {
                    known.insert(*digest, order.counter);
                }
            }
            let mut lifted: BTreeSet<Digest> = BTreeSet::new();
            for (_, order) in &orders {
                if let Command::Resume { lifts } = &order.command {
                    let of = |(digest, counter): (&Digest, &u64)| {
                        (*counter < order.counter || lifts.contains(digest)).then_some(*digest)
                    };
                    lifted.extend(known.iter().filter_map(of));
                }
            }
            known.retain(|digest, _| !lifted.contains(digest));
        }
    }
}
