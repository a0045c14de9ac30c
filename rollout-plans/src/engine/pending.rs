//! Orders that wait for a second person's signature.
//!
//! Such an order has used up its counter, so that nothing else bears its number, and it takes effect only while it stands
//! here: what has run out, was withdrawn, replaced or overtaken never counts again, whoever signs it later.

use serde::{Deserialize, Serialize};
use wardround_signing::{Envelope, Role, same_person};

use super::{State, orders::Signed, out::Out, record::Record};
use crate::model::{Command, Order, SECOND_SIGNATURE_WITHIN, Signatory, Timestamp};

/// Most orders of one rollout that wait at once; a further one takes the place of the oldest.
const PENDING_MAX: usize = 16;

/// In place of a deployment's position: the timer of the orders that wait.
pub(super) const ORDERS: u32 = u32::MAX;

/// An order that waits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) order: Order,
    /// With the signatures so far.
    pub(super) envelope: Envelope,
    pub(super) signers: Vec<Signatory>,
    /// Roles of which the next signer must hold one.
    pub(super) roles: Vec<Role>,
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
}

impl Pending {
    /// "order 5 (roll back site rx1), signed by Ann Lee,"
    fn name(&self) -> String {
        let by: Vec<&str> = self.signers.iter().map(|s| s.holder.as_str()).collect();
        format!("order {} ({}), signed by {},", self.order.counter, self.order.command.sentence(), by.join(" and "))
    }

    /// True when one of these is a person who has not signed it yet, and whose signature helps.
    pub(super) fn is_new_to(&self, signers: &[Signatory]) -> bool {
        let needed = self.order.command.needs().roles;
        let may = |s: &&Signatory| s.roles.iter().any(|r| needed.contains(r));
        let is_new = |s: &Signatory| self.signers.iter().all(|k| same_person(&k.holder) != same_person(&s.holder));
        signers.iter().filter(may).any(is_new)
    }
}

impl Record {
    /// The waiting order with these very bytes.
    pub(super) fn pending(&self, envelope: &Envelope) -> Option<&Pending> {
        let digest = envelope.digest();
        self.pending.iter().find(|p| p.envelope.digest() == digest)
    }
}

impl State {
    /// The order has too few signatures: it waits for one more.
    pub(super) fn await_signature(&mut self, out: &mut Out, r: usize, given: &Signed<'_>, roles: Vec<Role>) {
        let (since, until) = match self.rollouts[r].pending(given.envelope) {
            Some(known) => (known.since, known.until),
            None => (out.now, out.now.after(SECOND_SIGNATURE_WITHIN)),
        };
        let pending = Pending {
            order: given.order.clone(),
            envelope: given.envelope.clone(),
            signers: given.signers.unwrap_or_default().to_vec(),
            roles,
            since,
            until,
        };
        let digest = given.envelope.digest();
        if let Some(oldest) = self.rollouts[r].pending.first().filter(|_| self.rollouts[r].pending.len() >= PENDING_MAX)
        {
            let oldest = oldest.order.counter;
            self.drop_pending(out, r, |p| p.order.counter == oldest, "too many orders wait");
        }
        self.edit_pending(r, |list| {
            list.retain(|p| p.envelope.digest() != digest);
            list.push(pending);
        });
    }

    /// The order has all its signatures, and is out of here.
    pub(super) fn take_pending(&mut self, r: usize, envelope: &Envelope) -> bool {
        let digest = envelope.digest();
        let before = self.rollouts[r].pending.len();
        self.edit_pending(r, |list| list.retain(|p| p.envelope.digest() != digest));
        self.rollouts[r].pending.len() < before
    }

    /// What an accepted order does to those that wait. A resume was signed in view of what stood then, so that anything
    /// that comes between ends it; a rollback makes nothing less safe and waits on, unless it is ordered anew.
    pub(super) fn overtake(&mut self, out: &mut Out, r: usize, by: &Order, envelope: &Envelope) {
        let own = envelope.digest();
        let what = format!("order {} ({}) came in between", by.counter, by.command.sentence());
        let over = |p: &Pending| {
            p.envelope.digest() != own
                && (matches!(p.order.command, Command::Resume { .. })
                    || p.order.command == by.command
                    || matches!(by.command, Command::Withdraw { order } if order == p.order.counter))
        };
        self.drop_pending(out, r, over, &what);
    }

    /// Ends some of those that wait.
    pub(super) fn drop_pending(&mut self, out: &mut Out, r: usize, over: impl Fn(&Pending) -> bool, why: &str) {
        let record = &self.rollouts[r];
        let gone: Vec<String> = record.pending.iter().filter(|p| over(p)).map(Pending::name).collect();
        if gone.is_empty() {
            return;
        }
        let id = record.document.id.clone();
        self.edit_pending(r, |list| list.retain(|p| !over(p)));
        for name in gone {
            let text = format!("rollout {id}: {name} waits no longer and will not count: {why}");
            out.audit("order_ended", Some(&id), None, text);
        }
        out.rollout(&id);
    }

    /// Their time is over.
    pub(super) fn expire_pending(&mut self, out: &mut Out, r: usize) {
        let now = out.now;
        self.drop_pending(out, r, |p| p.until <= now, "nobody else signed it in time");
    }

    /// The one door through which the list changes, so that its timers follow.
    fn edit_pending(&mut self, r: usize, edit: impl FnOnce(&mut Vec<Pending>)) {
        let at = super::link::narrow(r);
        for pending in &self.rollouts[r].pending {
            self.timers.remove(&(pending.until, at, ORDERS));
        }
        edit(&mut self.rollouts[r].pending);
        self.time_pending(r);
    }

    /// Enters the timers.
    pub(super) fn time_pending(&mut self, r: usize) {
        let at = super::link::narrow(r);
        self.timers.extend(self.rollouts[r].pending.iter().map(|p| (p.until, at, ORDERS)));
    }
}
