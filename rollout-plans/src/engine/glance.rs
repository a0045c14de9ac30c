//! Cheap looks at a rollout, for whoever drives the engine through millions of events (`crate::simulate`): positions instead
//! of names, no proofs, and no list of all sites.

use super::{RolloutState, State, WaitingOn, WaveState, deployment::Back};
use crate::model::{DeploymentState, GoalAction, Mode, RolloutId, SiteId};

/// Where a rollout stands. Two that are alike mean that no wave and no decision has moved in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glance {
    /// State.
    pub state: RolloutState,
    /// The wave that runs or ran last, by position.
    pub current: Option<u16>,
    /// Its state.
    pub wave: Option<WaveState>,
    /// The state of the wave after it.
    pub next: Option<WaveState>,
    /// The gate of the current wave has too little evidence and waits for people.
    pub short: bool,
}

/// What is asked of one device, as its site's directive says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// The deployment, by its position among the members of the rollout.
    pub index: u32,
    /// What.
    pub action: GoalAction,
    /// Attempt.
    pub attempt: u32,
}

impl State {
    /// Where a rollout stands.
    #[must_use]
    pub fn glance(&self, id: &RolloutId) -> Option<Glance> {
        let record = &self.rollouts[*self.by_id.get(id)?];
        let at = record.current.map(usize::from);
        let wave = at.and_then(|w| record.waves.get(w));
        Some(Glance {
            state: record.state,
            current: record.current,
            wave: wave.map(|w| w.state),
            next: record.waves.get(at.map_or(0, |w| w + 1)).map(|w| w.state),
            short: wave.is_some_and(|w| w.short_since.is_some()),
        })
    }

    /// What the site's directive asks for in this rollout, put into `wishes`; `None` when the directive does not name the
    /// rollout.
    pub fn wishes(&self, id: &RolloutId, site: &SiteId, wishes: &mut Vec<Wish>) -> Option<Mode> {
        wishes.clear();
        let record = &self.rollouts[*self.by_id.get(id)?];
        let at = record.site_at(site.as_str())?;
        record.started_at?;
        if !record.is_listed(at) {
            return None;
        }
        let active = record.is_active();
        for d in &record.index.places[at as usize].members {
            if let Some(action) = record.goal(*d, active) {
                wishes.push(Wish { index: *d, action, attempt: record.deployments[*d as usize].attempt });
            }
        }
        Some(record.state.mode())
    }

    /// How many devices of a site this rollout has in hand: on their way to the patch, and on their way back.
    #[must_use]
    pub fn hand_at(&self, id: &RolloutId, site: &SiteId) -> (usize, usize) {
        let record = self.by_id.get(id).map(|r| &self.rollouts[*r]);
        let Some((record, at)) = record.and_then(|record| Some((record, record.site_at(site.as_str())?))) else {
            return (0, 0);
        };
        let hand = &record.index.places[at as usize].hand;
        let back = hand.iter().filter(|d| record.deployments[**d as usize].back != Back::No).count();
        (hand.len() - back, back)
    }

    /// How many devices this rollout has in hand.
    #[must_use]
    pub fn hand(&self, id: &RolloutId) -> u64 {
        self.by_id.get(id).map_or(0, |r| self.rollouts[*r].in_hand())
    }

    /// How many devices this rollout has in hand, or wants back and has not told yet.
    #[must_use]
    pub fn unsettled(&self, id: &RolloutId) -> u64 {
        self.by_id.get(id).map_or(0, |r| self.rollouts[*r].in_hand().max(self.rollouts[*r].wanting()))
    }

    /// What holds a rollout up at this moment: the wave that waits, by position, and on what. Where devices are still to
    /// come, that which holds up most of them; at most `looks` of the wave's sites are looked at.
    #[must_use]
    pub fn held_up_by(&self, id: &RolloutId, looks: usize) -> Option<(u16, WaitingOn)> {
        let r = *self.by_id.get(id)?;
        let record = &self.rollouts[r];
        let w = record.current.unwrap_or(0);
        if record.current.is_none() || record.waves[usize::from(w)].state == WaveState::Passed {
            let waits = if record.current.is_none() { w } else { w + 1 };
            let wave = if usize::from(waits) < record.waves.len() { waits } else { w };
            return Some((wave, self.wave_waiting(r, wave)?.on));
        }
        let index = &record.index.waves[usize::from(w)];
        if index.counts.of(DeploymentState::Pending) == 0 || record.state != RolloutState::Running {
            return Some((w, self.wave_waiting(r, w)?.on));
        }
        let stride = (index.sites.len() / looks.max(1)).max(1);
        let mut found: Vec<(WaitingOn, usize)> = Vec::new();
        for at in index.sites.iter().step_by(stride) {
            let mut pending = record.index.places[*at as usize].pending.range(record.wave_range(w));
            let Some(on) = pending.next().and_then(|d| self.pending_waiting(r, *d, record.since)) else { continue };
            let alike = |other: &WaitingOn| std::mem::discriminant(other) == std::mem::discriminant(&on.on);
            match found.iter_mut().find(|(other, _)| alike(other) && scope(other) == scope(&on.on)) {
                Some((_, count)) => *count += 1,
                None => found.push((on.on, 1)),
            }
        }
        let most = found.into_iter().rev().max_by_key(|(_, count)| *count);
        Some((w, most.map_or(WaitingOn::Deployments { open: index.counts.open() }, |(on, _)| on)))
    }
}

/// Which limit; empty where it is none.
fn scope(on: &WaitingOn) -> &str {
    if let WaitingOn::Concurrency { scope, .. } = on { scope } else { "" }
}
