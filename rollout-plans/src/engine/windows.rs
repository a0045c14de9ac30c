//! Maintenance windows and change freezes, as far as the engine goes by them.
//!
//! The node decides; it knows the site's clock. The engine reckons with the same words so that a device which would only
//! wait for its window is not offered: what is offered holds a slot, and others could use it meanwhile.

use super::{State, Waiting, WaitingOn, out::Out};
use crate::{
    model::{DeviceId, DurationMs, SiteHours, Timestamp},
    window::{Calendar, Closed, Opening},
};

/// A device that a node has put off for its window is no longer expected to begin by itself after so long: longer than a
/// week, since a window may open once a week.
pub(super) const SHUT_MAX: DurationMs = DurationMs::from_secs(8 * 24 * 60 * 60);

impl State {
    /// Whether an install of a wave may begin at a site now, and on `device` if one is named.
    fn opening(&self, r: usize, at: u32, wave: u16, device: Option<&DeviceId>) -> Opening {
        let record = &self.rollouts[r];
        let plan = &record.document.plan;
        let site = self.known(r, at);
        let unsaid = SiteHours::default();
        let hours = site.inventory().map_or(&unsaid, |inventory| &inventory.hours);
        let own = device.and_then(|device| site.windows_of(device)).unwrap_or_default();
        let calendar = Calendar::of_plan(plan, &record.wave_plan(wave).name).at_site(hours, own);
        calendar.at(self.clock, plan.timing.room())
    }

    /// The next member that could be offered of those that wait at a site, as far as windows go, and when that changes.
    pub(super) fn next_in_window(&self, r: usize, at: u32, wave: u16) -> (Option<u32>, Option<Timestamp>) {
        let record = &self.rollouts[r];
        let opening = self.opening(r, at, wave, None);
        let mut turn = opening.until();
        if opening.closed().is_some() {
            return (None, turn);
        }
        for d in record.index.places[at as usize].pending.range(record.wave_range(wave)) {
            if self.device_barred(r, *d).is_some() || self.prerequisite_barred(r, *d).is_some() {
                continue;
            }
            let device = &self.deployment(r, *d).device;
            if self.known(r, at).windows_of(device).is_none() {
                return (Some(*d), turn);
            }
            let opening = self.opening(r, at, wave, Some(device));
            turn = turn.into_iter().chain(opening.until()).min();
            if opening.closed().is_none() {
                return (Some(*d), turn);
            }
        }
        (None, turn)
    }

    /// Notes when a site's windows must be looked at again.
    pub(super) fn set_turn(&mut self, r: usize, at: u32, turn: Option<Timestamp>) {
        let narrow = super::link::narrow(r);
        let place = &mut self.rollouts[r].index.places[at as usize];
        if let Some(old) = std::mem::replace(&mut place.turn, turn) {
            self.turns.remove(&(old, narrow, at));
        }
        if let Some(new) = turn {
            self.turns.insert((new, narrow, at));
        }
    }

    /// Windows have opened or closed since the last step.
    pub(super) fn turn_windows(&mut self, out: &mut Out) {
        while let Some((when, r, at)) = self.turns.first().copied()
            && when <= out.now
        {
            // By itself too: an entry that no site knows of must not be looked at for ever.
            self.turns.remove(&(when, r, at));
            let r = r as usize;
            self.set_turn(r, at, None);
            let record = &self.rollouts[r];
            out.dirty.insert(record.sites[at as usize].clone());
            out.rollout(&record.document.id);
        }
    }

    /// Why no install may begin on a device now.
    fn shut(&self, r: usize, d: u32) -> Option<Closed> {
        let deployment = self.deployment(r, d);
        self.opening(r, deployment.site, deployment.wave, Some(&deployment.device)).closed()
    }

    /// The same as a reason to wait.
    pub(super) fn window_waiting(&self, r: usize, d: u32, since: Timestamp) -> Option<Waiting> {
        let Closed { until, opens, why } = self.shut(r, d)?;
        let site = self.rollouts[r].sites[self.deployment(r, d).site as usize].clone();
        Some(Waiting { on: WaitingOn::Window { site, opens, reason: why }, since, until })
    }
}
