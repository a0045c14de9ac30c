//! The engine: events in, effects out; state is the fold of the events.
//!
//! `State::step` is deterministic: the same events with the same times give the same state and effects, byte for byte.
//! The controller journals an event before it steps; replaying the journal is the recovery.

mod event;
mod reason;
mod view;

pub use event::{Effect, Event, Refusal};
pub use reason::{Waiting, WaitingOn};
pub use view::{DeploymentView, HaltSpread, RolloutState, RolloutView, WaveState, WaveView};

use serde::{Deserialize, Serialize};

use crate::{
    estate::Estate,
    model::{DeploymentState, RolloutId, SiteId, SiteRollout, Timestamp, WaveName},
};

/// Everything that the engine knows. Serialisable for snapshots.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    estate: Estate,
}

impl State {
    /// Would `event` be accepted now? Asked before the event is journalled.
    ///
    /// # Errors
    /// [`Refusal`] says why not, and what would help.
    pub fn check(&self, _event: &Event, _now: Timestamp) -> Result<(), Refusal> {
        todo!()
    }

    /// Takes in one event. A refused event changes nothing.
    ///
    /// # Errors
    /// As [`State::check`].
    pub fn step(&mut self, _event: &Event, _now: Timestamp) -> Result<Vec<Effect>, Refusal> {
        todo!()
    }

    /// The earliest moment at which an [`Event::Tick`] would change something; `None` when only other events can.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        todo!()
    }

    /// The estate as reported.
    #[must_use]
    pub fn estate(&self) -> &Estate {
        &self.estate
    }

    /// The highest report sequence number taken in from this site's present node key; 0 means none.
    #[must_use]
    pub fn acked_seq(&self, _site: &SiteId) -> u64 {
        todo!()
    }

    /// What the directive for `site` must say now: only rollouts that were started and still concern the site.
    #[must_use]
    pub fn directive(&self, _site: &SiteId) -> Vec<SiteRollout> {
        todo!()
    }

    /// All rollouts, newest first.
    #[must_use]
    pub fn rollouts(&self) -> Vec<RolloutId> {
        todo!()
    }

    /// One rollout as people see it.
    #[must_use]
    pub fn rollout(&self, _id: &RolloutId) -> Option<RolloutView> {
        todo!()
    }

    /// Deployments of a rollout in order of wave and device, after `after` (the index of the last one seen, as given in
    /// [`DeploymentView::index`]), at most `limit`.
    #[must_use]
    pub fn deployments(
        &self,
        _id: &RolloutId,
        _wave: Option<&WaveName>,
        _state: Option<DeploymentState>,
        _after: Option<u64>,
        _limit: usize,
    ) -> Vec<DeploymentView> {
        todo!()
    }
}
