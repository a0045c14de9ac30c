//! Holds by people: while one stands on a wave's gate, nothing follows that wave.
//!
//! Whoever put a hold lifts it alone; anybody else needs a second person. Nodes are shown holds and releases alike: a node that
//! has seen a hold begins nothing behind it until it sees the release, whatever the controller says.

use serde::{Deserialize, Serialize};
use wardround_signing::{Digest, Envelope, same_person};

use super::{HoldView, Refusal, State, WaitingOn, WaveState, orders::Signed, out::Out, record::Record};
use crate::model::{HOLDS_MAX, Order, Signatory, Timestamp, WaveName};

/// A hold, also one that was lifted: nodes must see both.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Held {
    wave: WaveName,
    /// SHA-256 of the order's payload.
    order: Digest,
    counter: u64,
    /// Who put it.
    holders: Vec<String>,
    reason: String,
    at: Timestamp,
    envelope: Envelope,
    lifted: bool,
}

impl Record {
    /// Holds of a wave that stand.
    fn holds_of<'a>(&'a self, wave: &'a WaveName) -> impl Iterator<Item = &'a Held> {
        self.holds.iter().filter(move |h| !h.lifted && h.wave == *wave)
    }

    /// Is one of these the person who put every hold of the wave that is named?
    pub(super) fn are_own_holds(&self, wave: &WaveName, lifts: &[Digest], signers: &[Signatory]) -> bool {
        let mut named = self.holds_of(wave).filter(|h| lifts.contains(&h.order)).peekable();
        if named.peek().is_none() {
            return false;
        }
        let named: Vec<&Held> = named.collect();
        let put = |h: &Held, s: &Signatory| h.holders.iter().any(|by| same_person(by) == same_person(&s.holder));
        signers.iter().any(|s| named.iter().all(|h| put(h, s)))
    }

    pub(super) fn allows_hold(&self, wave: &WaveName) -> Result<(), Refusal> {
        let w = self.held_wave(wave)?;
        let refuse = |state: &str, hint: String| {
            let (what, state) = (format!("the gate of wave {wave}"), state.replace('_', " "));
            Err(Refusal::InvalidTransition { what, verb: "be held", state, hint })
        };
        if self.current.is_some_and(|current| current > w) {
            let hint = "the wave behind it has begun already; pause or halt the rollout".to_owned();
            return refuse(self.waves[usize::from(w)].state.word(), hint);
        }
        if self.holds.len() >= HOLDS_MAX {
            let hint = format!("this rollout was held {HOLDS_MAX} times; pause it");
            return refuse(self.waves[usize::from(w)].state.word(), hint);
        }
        Ok(())
    }

    fn held_wave(&self, wave: &WaveName) -> Result<u16, Refusal> {
        self.wave_position(wave).ok_or_else(|| Refusal::NotFound { what: "wave", id: wave.to_string() })
    }

    pub(super) fn allows_release(&self, wave: &WaveName, lifts: &[Digest]) -> Result<(), Refusal> {
        self.held_wave(wave)?;
        if self.holds_of(wave).any(|h| lifts.contains(&h.order)) {
            return Ok(());
        }
        Err(Refusal::NotFound { what: "hold that stands and is named, on wave", id: wave.to_string() })
    }

    /// Who holds the gate of a wave, for its record: "Cy Fox: until Monday's clinic".
    pub(super) fn held_by(&self, w: u16) -> Vec<String> {
        let Some(wave) = self.document.waves.get(usize::from(w)) else { return Vec::new() };
        let words = |h: &Held| match h.reason.as_str() {
            "" => h.holders.join(" and "),
            reason => format!("{}: {reason}", h.holders.join(" and ")),
        };
        self.holds_of(&wave.name).map(words).collect()
    }

    /// Why nothing follows wave `w`, if people hold it; since when.
    pub(super) fn hold_waiting(&self, w: u16) -> Option<(WaitingOn, Timestamp)> {
        let wave = &self.document.waves.get(usize::from(w))?.name;
        let first = self.holds_of(wave).next()?;
        let more = self.holds_of(wave).count() as u64 - 1;
        let (by, reason) = (first.holders.join(" and "), first.reason.clone());
        Some((WaitingOn::Hold { wave: wave.clone(), by, reason, more }, first.at))
    }

    pub(super) fn is_held(&self, w: u16) -> bool {
        self.hold_waiting(w).is_some()
    }

    pub(super) fn hold_views(&self, wave: &WaveName) -> Vec<HoldView> {
        let view = |h: &Held| HoldView {
            order: h.order,
            counter: h.counter,
            by: h.holders.join(" and "),
            reason: h.reason.clone(),
            at: h.at,
        };
        self.holds_of(wave).map(view).collect()
    }

    /// Holds and releases, as nodes must see them.
    pub(super) fn hold_envelopes(&self) -> impl Iterator<Item = &Envelope> {
        self.holds.iter().map(|h| &h.envelope).chain(&self.orders.releases)
    }
}

impl State {
    pub(super) fn hold(&mut self, out: &mut Out, r: usize, order: &Order, wave: &WaveName, given: &Signed<'_>) {
        let record = &mut self.rollouts[r];
        record.holds.push(Held {
            wave: wave.clone(),
            order: given.envelope.digest(),
            counter: order.counter,
            holders: given.holders.to_vec(),
            reason: order.reason.clone(),
            at: out.now,
            envelope: given.envelope.clone(),
            lifted: false,
        });
        self.holds_changed(out, r, wave);
    }

    pub(super) fn release(&mut self, out: &mut Out, r: usize, wave: &WaveName, lifts: &[Digest], envelope: &Envelope) {
        let record = &mut self.rollouts[r];
        let named = record.holds.iter_mut().filter(|h| h.wave == *wave && lifts.contains(&h.order));
        named.for_each(|h| h.lifted = true);
        record.orders.releases.push(envelope.clone());
        self.holds_changed(out, r, wave);
    }

    fn holds_changed(&mut self, out: &mut Out, r: usize, wave: &WaveName) {
        let record = &mut self.rollouts[r];
        if record.started_at.is_some() {
            out.sites.extend(record.sites.iter().cloned());
        }
        let Some(w) = record.wave_position(wave) else { return };
        let held_by = record.held_by(w);
        let at = &mut record.waves[usize::from(w)];
        if let Some(decision) = at.decision.as_mut().filter(|_| at.state == WaveState::Passed) {
            decision.held_by = held_by;
        }
    }
}
