//! People's holds on gates: once seen, nothing behind the held wave begins before its release is seen.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wardround_rollout_plans::model::{DeviceId, HOLDS_MAX, RolloutId, Timestamp, WaveName};
use wardround_signing::Digest;

use super::{Cause, NodeState, RolloutWish};

/// A verified hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldMark {
    /// SHA-256 of the order's bytes.
    pub order: Digest,
    /// Who put it, in the form in which people are told apart.
    pub people: BTreeSet<String>,
    /// The waves behind the one that is held.
    pub bars: BTreeSet<WaveName>,
}

/// A verified release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseMark {
    /// The holds that it names.
    pub lifts: Vec<Digest>,
    /// Who signed it, in the form in which people are told apart.
    pub people: BTreeSet<String>,
    /// Two people did: then it lifts anybody's holds.
    pub by_two: bool,
}

/// What is known of one rollout's holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holds {
    standing: BTreeMap<Digest, HoldMark>,
    lifted: BTreeSet<Digest>,
}

impl Holds {
    /// An engine keeps as many at most as are remembered here; one that shows more is not believed less.
    fn learn(&mut self, holds: &[HoldMark], releases: &[ReleaseMark]) {
        for hold in holds.iter().filter(|h| !self.lifted.contains(&h.order)) {
            if self.standing.len() < HOLDS_MAX {
                self.standing.entry(hold.order).or_insert_with(|| hold.clone());
            }
        }
        for release in releases {
            let own = |hold: &HoldMark| !hold.people.is_disjoint(&release.people);
            let counts = |order: &&Digest| self.standing.get(*order).is_some_and(|hold| release.by_two || own(hold));
            let lifted: Vec<Digest> = release.lifts.iter().filter(counts).copied().collect();
            for order in lifted {
                self.standing.remove(&order);
                if self.lifted.len() < HOLDS_MAX {
                    self.lifted.insert(order);
                }
            }
        }
    }

    fn bar(&self, wave: &WaveName) -> bool {
        self.standing.values().any(|hold| hold.bars.contains(wave))
    }
}

impl NodeState {
    pub(super) fn learn_holds(&mut self, wish: &RolloutWish) {
        if !wish.holds.is_empty() || !wish.releases.is_empty() {
            self.holds.entry(wish.rollout.clone()).or_default().learn(&wish.holds, &wish.releases);
        }
    }

    /// Why an install that is still being prepared must not begin: a halt, a closed window, or a wish to take it back, that came
    /// meanwhile.
    #[must_use]
    pub(crate) fn barred(&self, rollout: &RolloutId, device: &DeviceId, now: Timestamp) -> Option<String> {
        let deployment = self.rollouts.get(rollout).and_then(|state| state.deployments.get(device));
        let Some(deployment) = deployment else { return Some("nobody wants it any more".to_owned()) };
        let back = deployment.take_back.clone();
        let held =
            || self.hold_of(rollout, device, now).or_else(|| self.shut(rollout, device, now).map(|shut| shut.cause));
        back.or_else(held).map(|cause| cause.reason)
    }

    /// Why nothing new may begin on this device; `None` when it may.
    pub(super) fn hold_of(&self, rollout: &RolloutId, device: &DeviceId, now: Timestamp) -> Option<Cause> {
        self.hold(rollout, now).or_else(|| {
            let state = self.rollouts.get(rollout)?;
            let wave = &state.deployments.get(device)?.wave;
            if state.policy.waves.get(wave).and_then(|w| w.begin_by).is_some_and(|by| now >= by) {
                return Some(Cause::new("deadline", "the deadline of its wave is over; nothing of it begins any more"));
            }
            let held = self.holds.get(rollout).is_some_and(|holds| holds.bar(wave));
            held.then(|| Cause::new("held", "a person holds the gate of a wave before; a signed release lets it go on"))
        })
    }
}
