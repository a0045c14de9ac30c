//! People's orders: what is accepted, and what each does.

use std::collections::BTreeSet;

use wardround_signing::{Envelope, Role};

use super::{
    Refusal, RolloutState, State, WaveState,
    approvals::{EVIDENCE_ROLES, people},
    deployment::Deployment,
    link::narrow,
    out::Out,
    record::{Halt, InForce, Record},
};
use crate::model::{
    Command, DeploymentState, LIFTED_HALTS_MAX, Lacking, Order, REASON_BYTES_MAX, RollBackTarget,
    SECOND_SIGNATURE_WITHIN, Signatory, Timestamp,
};

/// Most halts whose replay is told. An older one that is replayed halts once more, which is the safe side.
const HALTS_SEEN_MAX: usize = 256;

/// How far ahead of the counter a halt may be. What is written in earnest is ahead by the orders that crossed it; one at
/// the end of the numbers would leave none for any order after it, not even a rollback.
const HALT_AHEAD_MAX: u64 = 1 << 32;

/// An order with those who signed it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signed<'a> {
    pub(super) order: &'a Order,
    pub(super) roles: &'a BTreeSet<Role>,
    pub(super) holders: &'a [String],
    /// Absent in yesterday's journals, see [`super::Event::Order`].
    pub(super) signers: Option<&'a [Signatory]>,
    pub(super) envelope: &'a Envelope,
}

/// What becomes of an order that is accepted.
pub(super) enum Standing {
    /// It takes effect.
    Counts,
    /// It waits for a person who holds one of these roles.
    Waits(Vec<Role>),
}

impl Signed<'_> {
    fn standing(&self, record: &Record) -> Result<Standing, Refusal> {
        let needs = self.order.command.needs();
        if let (Command::Release { wave, lifts }, Some(signers)) = (&self.order.command, self.signers)
            && record.are_own_holds(wave, lifts, signers)
        {
            return Ok(Standing::Counts);
        }
        let Some(signers) = self.signers else {
            let one = people(self.holders) > 0 && needs.roles.iter().any(|r| self.roles.contains(r));
            return if one { Ok(Standing::Counts) } else { Err(self.not_permitted(needs.roles)) };
        };
        match needs.met_by(signers) {
            Ok(()) => Ok(Standing::Counts),
            Err(Lacking::Permission { roles }) => Err(self.not_permitted(roles)),
            Err(Lacking::Person { roles, .. }) => Ok(Standing::Waits(roles)),
        }
    }

    fn not_permitted(&self, roles: &[Role]) -> Refusal {
        let word = self.order.command.word().replace('_', " ");
        Refusal::NotPermitted { why: format!("{word} needs a signature of {}", list(roles)) }
    }
}

impl State {
    /// Is this order acceptable, and does it take effect or wait?
    pub(super) fn judge_order(&self, given: &Signed<'_>, now: Timestamp) -> Result<Standing, Refusal> {
        let Signed { order, envelope, .. } = *given;
        let r = self.find(&order.rollout)?;
        let record = &self.rollouts[r];
        let early = record.is_for_next(order);
        if !early {
            record.is_for_this(order)?;
        }
        if order.reason.len() > REASON_BYTES_MAX {
            let why = format!("the reason has {} bytes; at most {REASON_BYTES_MAX} are kept", order.reason.len());
            return Err(Refusal::Invalid { why });
        }
        let standing = given.standing(record)?;
        if let Some(pending) = record.pending(envelope) {
            // A full disk stops the ticks, so its end is looked at here too.
            if now >= pending.until {
                let why = "it waited too long for its second signature".to_owned();
                return Err(Refusal::StaleOrder { why });
            }
            if !pending.is_new_to(given.signers.unwrap_or_default()) {
                let why = format!(
                    "order {} waits for the signature of another person than have signed it: {}",
                    order.counter,
                    list(&pending.roles)
                );
                return Err(Refusal::NotPermitted { why });
            }
        } else {
            record.in_its_turn(order, envelope)?;
        }
        if given.signers.is_some() {
            record.names_its_halts(&order.command)?;
        }
        if early {
            self.allows_early_approval(r, given)?;
        } else {
            record.allows(order, given.roles, given.holders)?;
            self.check_lineage(r, &order.command)?;
        }
        Ok(standing)
    }

    pub(super) fn order(&mut self, out: &mut Out, given: &Signed<'_>) {
        let Signed { order, holders, envelope, .. } = *given;
        let Some(r) = self.by_id.get(&order.rollout).copied() else { return };
        let Ok(standing) = given.standing(&self.rollouts[r]) else { return };
        let waited = self.rollouts[r].pending(envelope).is_some();
        let record = &mut self.rollouts[r];
        if !waited {
            record.order_counter = record.order_counter.saturating_add(1).max(order.counter);
        }
        let by = holders.join(if given.signers.is_some() { " and " } else { ", " });
        let reason = if order.reason.is_empty() { String::new() } else { format!(": {}", order.reason) };
        let waits = match &standing {
            Standing::Counts => String::new(),
            Standing::Waits(roles) => {
                format!("; it waits {SECOND_SIGNATURE_WITHIN} for a second person: {}", list(roles))
            }
        };
        let text = format!(
            "order {}: {} for rollout {} by {by}{reason}{waits}",
            order.counter,
            order.command.sentence(),
            order.rollout
        );
        out.audit("order", Some(&order.rollout), Some(envelope), text);
        out.rollout(&order.rollout);
        out.touched.insert(r);
        self.overtake(out, r, order, envelope);
        let why = format!("ordered by {by}{reason}");
        match standing {
            Standing::Waits(roles) => self.await_signature(out, r, given, roles),
            Standing::Counts if self.rollouts[r].is_for_next(order) => self.approve_early(out, r, given),
            Standing::Counts => {
                self.take_pending(r, envelope);
                self.carry_out(out, r, given, &why);
            }
        }
    }

    fn carry_out(&mut self, out: &mut Out, r: usize, given: &Signed<'_>, why: &str) {
        let Signed { order, roles, holders, envelope, .. } = *given;
        let record = &mut self.rollouts[r];
        match &order.command {
            Command::Start => {
                record.orders.start = Some(envelope.clone());
                record.started_at = Some(out.now);
                out.sites.extend(record.sites.iter().cloned());
                self.set_rollout(out, r, RolloutState::Running, "");
                self.start_wave(out, r, 0);
                self.look_at_dependants(out, r);
            }
            Command::Approve { wave } => {
                if let (Some(w), Some(holder)) = (record.wave_position(wave).map(usize::from), holders.first()) {
                    let knowing = w > 0 && record.waves[w - 1].short_since.is_some();
                    record.waves[w].approvals.give(holder, roles, out.now, knowing, envelope.clone());
                }
            }
            Command::Pause => self.set_rollout(out, r, RolloutState::Paused, why),
            Command::Withdraw { .. } => {}
            Command::Hold { wave } => self.hold(out, r, order, wave, given),
            Command::Release { wave, lifts } => self.release(out, r, wave, lifts, envelope),
            Command::Resume { .. } => {
                record.orders.stop_or_go = Some(envelope.clone());
                record.halts_in_force.clear();
                out.sites.extend(record.sites.iter().cloned());
                self.set_rollout(out, r, RolloutState::Running, "");
            }
            Command::Halt => self.halt(out, r, order, holders, envelope, why),
            Command::RollBack { target } => self.roll_back(out, r, target, envelope, why),
            Command::Cancel => {
                record.orders.cancel = Some(envelope.clone());
                out.sites.extend(record.sites.iter().filter(|_| record.started_at.is_some()).cloned());
                let which: Vec<u32> = record.index.places.iter().flat_map(|p| &p.hand).copied().collect();
                self.withdraw(out, r, &which, &format!("the rollout was cancelled, {why}"));
                self.end_rollout(out, r, RolloutState::Cancelled, why);
                self.keep_unshown(out, r);
            }
        }
    }

    fn halt(&mut self, out: &mut Out, r: usize, order: &Order, holders: &[String], envelope: &Envelope, why: &str) {
        let record = &mut self.rollouts[r];
        record.halts_in_force.push_back(InForce {
            order: envelope.digest(),
            counter: order.counter,
            by: holders.join(" and "),
            reason: order.reason.clone(),
            at: out.now,
        });
        while record.halts_in_force.len() > LIFTED_HALTS_MAX {
            record.halts_in_force.pop_front();
        }
        record.halts_seen.push_back(envelope.digest());
        while record.halts_seen.len() > HALTS_SEEN_MAX {
            record.halts_seen.pop_front();
        }
        record.halt = Some(Halt { counter: Some(order.counter), confirmed: BTreeSet::new() });
        record.orders.stop_or_go = Some(envelope.clone());
        out.halt(&record.document.id, Some(envelope.clone()), record.sites.clone());
        out.sites.extend(record.sites.iter().cloned());
        if matches!(record.state, RolloutState::Running | RolloutState::Paused) {
            self.set_rollout(out, r, RolloutState::Halted, why);
        }
    }

    fn roll_back(&mut self, out: &mut Out, r: usize, target: &RollBackTarget, envelope: &Envelope, why: &str) {
        let record = &mut self.rollouts[r];
        record.orders.roll_backs.retain(|(other, _)| other != target);
        record.orders.roll_backs.push((target.clone(), envelope.clone()));
        record.ordered_back();
        let told: Vec<u32> = match target {
            RollBackTarget::Device { device } => record.site_at(device.site_text()).into_iter().collect(),
            RollBackTarget::Site { site } => record.site_at(site.as_str()).into_iter().collect(),
            RollBackTarget::Wave { wave } => {
                record.wave_position(wave).map_or_else(Vec::new, |w| record.index.waves[usize::from(w)].sites.clone())
            }
            RollBackTarget::Rollout => (0..narrow(record.sites.len())).collect(),
        };
        // Their nodes see the order. Where an ended rollout has no goal left, none is told.
        out.dirty.extend(told.iter().map(|at| record.sites[*at as usize].clone()));
        let told = told.into_iter().filter(|at| record.is_listed(*at));
        out.sites.extend(told.map(|at| record.sites[at as usize].clone()));
        match target {
            RollBackTarget::Device { device } => {
                let which: Vec<u32> = record.find(device).into_iter().collect();
                self.want_back(out, r, &which, why, true);
            }
            RollBackTarget::Site { site } => {
                let which = self.members_at(r, site);
                self.want_back(out, r, &which, why, true);
                // Who takes a site back does not want its next device patched a minute later.
                self.leave_out(out, r, &which, &format!("its site was taken back, {why}"));
            }
            RollBackTarget::Wave { wave } => {
                if let Some(w) = record.wave_position(wave) {
                    // Nothing may follow a wave that was taken back, so the rollout stands.
                    self.halt_self(out, r, &format!("wave {wave} is taken back, {why}"));
                    self.roll_back_wave(out, r, w, why, true);
                }
            }
            RollBackTarget::Rollout => {
                self.halt_self(out, r, why);
                self.roll_back_all(out, r, why, true);
            }
        }
    }
}

impl Record {
    /// True for what was made for the version that waits.
    fn is_for_next(&self, order: &Order) -> bool {
        let named = self.document.version_named(self.digest, order.digest);
        named.is_none() && self.next.as_ref().is_some_and(|next| next.digest == order.digest)
    }

    /// An order is for the version in force or one before it; an approval for the wave as it is now.
    fn is_for_this(&self, order: &Order) -> Result<(), Refusal> {
        let (document, digest) = (&self.document, self.digest);
        let Some(version) = document.version_named(digest, order.digest) else {
            let why = format!("it was made for document {}, and rollout {} is {digest}", order.digest, order.rollout);
            return Err(Refusal::StaleOrder { why });
        };
        if let Command::Approve { wave } = &order.command
            && let Some(since) = document.waves.iter().find(|w| w.name == *wave).map(|w| w.since)
            && !document.approval_counts(digest, order.digest, wave)
        {
            let why =
                format!("it approves wave {wave} as version {version} had it, and version {since} changed the wave");
            return Err(Refusal::StaleOrder { why });
        }
        Ok(())
    }

    /// Its counter is the next, so that it counts once; a halt may also be late.
    fn in_its_turn(&self, order: &Order, envelope: &Envelope) -> Result<(), Refusal> {
        let next = self.order_counter.saturating_add(1);
        if order.command == Command::Halt {
            if order.counter.saturating_sub(self.order_counter) > HALT_AHEAD_MAX {
                let why = format!("its counter is {}, too far ahead of the next, {next}; make it again", order.counter);
                return Err(Refusal::Invalid { why });
            }
            if self.halts_seen.contains(&envelope.digest()) {
                return Err(Refusal::StaleOrder { why: "this very halt was accepted before".to_owned() });
            }
        } else if Some(order.counter) != self.order_counter.checked_add(1) {
            let why = format!("its counter is {}, and the next is {next}", order.counter);
            return Err(Refusal::StaleOrder { why });
        }
        Ok(())
    }

    /// A resume lifts no halt that it does not name: whoever signed it must have seen them all.
    fn names_its_halts(&self, command: &Command) -> Result<(), Refusal> {
        let Command::Resume { lifts } = command else { return Ok(()) };
        let unseen = self.halts_in_force.iter().find(|halt| !lifts.contains(&halt.order));
        let Some(halt) = unseen else { return Ok(()) };
        let reason = if halt.reason.is_empty() { String::new() } else { format!(": {}", halt.reason) };
        let why = format!("it does not name the halt by {} (order {}){reason}", halt.by, halt.counter);
        Err(Refusal::StaleOrder { why })
    }

    /// Does the rollout's state allow this order?
    fn allows(&self, order: &Order, roles: &BTreeSet<Role>, holders: &[String]) -> Result<(), Refusal> {
        use RolloutState::{Draft, Halted, Paused, RolledBack, RollingBack, Running, Signed};
        let id = &self.document.id;
        let refuse = |verb, hint: String| {
            let state = self.state.word().replace('_', " ");
            Err(Refusal::InvalidTransition { what: format!("rollout {id}"), verb, state, hint })
        };
        match &order.command {
            Command::Start => match self.state {
                Signed => Ok(()),
                Draft => refuse("start", "release and clinical must both sign it first".to_owned()),
                _ => refuse("start", "a rollout starts once; make a new one".to_owned()),
            },
            Command::Approve { wave } => self.allows_approval(wave, roles, holders),
            Command::Pause => match self.state {
                Running => Ok(()),
                _ => refuse("pause", "only a running rollout can be paused".to_owned()),
            },
            Command::Resume { .. } => {
                let lost = self.waves.iter().position(|w| w.state.is_lost());
                match (self.state, lost) {
                    (Paused | Halted, None) => Ok(()),
                    (Paused | Halted, Some(w)) => {
                        let (name, state) = (&self.document.waves[w].name, self.waves[w].state);
                        refuse("resume", format!("wave {name} {}: roll back or cancel", phrase(state)))
                    }
                    _ => refuse("resume", "only a paused or halted rollout can be resumed".to_owned()),
                }
            }
            Command::Hold { .. } | Command::Release { .. } if self.state == Draft || self.state.is_ended() => {
                refuse(order.command.word(), "nothing of it is going to begin".to_owned())
            }
            Command::Hold { wave } => self.allows_hold(wave),
            Command::Release { wave, lifts } => self.allows_release(wave, lifts),
            Command::Halt => match self.state {
                Running | Paused | Halted | RollingBack => Ok(()),
                Draft | Signed => refuse("halt", "nothing has started; cancel it, so that nothing will".to_owned()),
                _ => refuse("halt", "it begins nothing any more; roll back what must not stay".to_owned()),
            },
            Command::RollBack { target } => {
                if self.started_at.is_none() {
                    return refuse("roll back", "nothing has started; cancel it, so that nothing will".to_owned());
                }
                self.allows_roll_back(target)?;
                if *target == RollBackTarget::Rollout
                    && self.state == RolledBack
                    && !self.reaches(self.deployments.iter())
                {
                    return refuse("roll back", "nothing is left to take back".to_owned());
                }
                Ok(())
            }
            Command::Withdraw { order } => match self.pending.iter().any(|p| p.order.counter == *order) {
                true => Ok(()),
                false => Err(Refusal::NotFound { what: "waiting order", id: order.to_string() }),
            },
            Command::Cancel if self.state.is_ended() => refuse("cancel", "it has ended already".to_owned()),
            Command::Cancel => Ok(()),
        }
    }

    /// True when a rollback order would find something to do among these.
    fn reaches<'a>(&self, mut among: impl Iterator<Item = &'a Deployment>) -> bool {
        among.any(|d| d.is_touched() || d.state == DeploymentState::RollbackFailed)
    }

    fn allows_roll_back(&self, target: &RollBackTarget) -> Result<(), Refusal> {
        let nothing = |what: String, state: String| {
            let hint = "there is nothing to take back; halt or cancel the rollout to keep it so".to_owned();
            Err(Refusal::InvalidTransition { what, verb: "roll back", state, hint })
        };
        match target {
            RollBackTarget::Device { device } => {
                let at = self.find(device);
                let Some(d) = at else {
                    return Err(Refusal::NotFound { what: "device", id: device.to_string() });
                };
                let deployment = &self.deployments[d as usize];
                if self.reaches(std::iter::once(deployment)) {
                    return Ok(());
                }
                nothing(format!("device {device}"), deployment.state.word().replace('_', " "))
            }
            RollBackTarget::Site { site } => {
                let Some(at) = self.site_at(site.as_str()) else {
                    return Err(Refusal::NotFound { what: "site", id: site.to_string() });
                };
                let members = &self.index.places[at as usize].members;
                if self.reaches(members.iter().map(|d| &self.deployments[*d as usize])) {
                    return Ok(());
                }
                nothing(format!("site {site}"), "not touched".to_owned())
            }
            RollBackTarget::Wave { wave } => {
                let Some(w) = self.wave_position(wave) else {
                    return Err(Refusal::NotFound { what: "wave", id: wave.to_string() });
                };
                let range = self.wave_range(w);
                if self.reaches(self.deployments[range.start as usize..range.end as usize].iter()) {
                    return Ok(());
                }
                let state = self.waves[usize::from(w)].state;
                nothing(format!("wave {wave}"), state.word().replace('_', " "))
            }
            RollBackTarget::Rollout => Ok(()),
        }
    }

    fn allows_approval(
        &self,
        wave: &crate::model::WaveName,
        roles: &BTreeSet<Role>,
        holders: &[String],
    ) -> Result<(), Refusal> {
        let id = &self.document.id;
        let Some(w) = self.wave_position(wave) else {
            return Err(Refusal::NotFound { what: "wave", id: wave.to_string() });
        };
        let refuse = |state: String, hint: &str| {
            let what = format!("wave {wave} of rollout {id}");
            Err(Refusal::InvalidTransition { what, verb: "be approved", state, hint: hint.to_owned() })
        };
        if self.state == RolloutState::Draft || self.state.is_ended() {
            return refuse(
                format!("in a rollout that is {}", self.state.word().replace('_', " ")),
                "there is nothing to let begin",
            );
        }
        let state = self.waves[usize::from(w)].state;
        if !matches!(state, WaveState::Pending | WaveState::AwaitingApproval) {
            return refuse(state.word().replace('_', " "), "it has begun already");
        }
        let Some(before) = w.checked_sub(1) else {
            return refuse(state.word().to_owned(), "the first wave begins with the start order");
        };
        if let Some(lost) = self.waves.iter().position(|w| w.state.is_lost()) {
            let hint = format!(
                "wave {} {}, so nothing follows",
                self.document.waves[lost].name,
                phrase(self.waves[lost].state)
            );
            return refuse(state.word().replace('_', " "), &hint);
        }
        // The engine is told who signed and in which roles, but not who of several holds which: it can't count them.
        if people(holders) != 1 {
            let why = "an approval carries one person's signature; let each sign one of their own".to_owned();
            return Err(Refusal::Invalid { why });
        }
        let short = self.waves[usize::from(before)].short_since.is_some();
        let mut wanted = self.wave_plan(before).gate.approvals.clone();
        if short {
            wanted.extend(EVIDENCE_ROLES);
        }
        if wanted.iter().any(|r| roles.contains(r)) {
            return Ok(());
        }
        let why = if wanted.is_empty() {
            format!("wave {wave} waits for no approval: it begins when the gate before it has passed")
        } else {
            format!("wave {wave} waits for the approval of {}", list(&wanted))
        };
        Err(Refusal::NotPermitted { why })
    }
}

fn phrase(state: WaveState) -> &'static str {
    match state {
        WaveState::RollingBack => "is rolling back",
        WaveState::RolledBack => "was rolled back",
        _ => "failed",
    }
}

/// "release or clinical".
fn list(roles: &[Role]) -> String {
    roles.iter().collect::<BTreeSet<_>>().into_iter().map(|r| r.word()).collect::<Vec<_>>().join(" or ")
}
