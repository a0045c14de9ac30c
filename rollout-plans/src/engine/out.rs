//! What one step gives out, gathered while it runs and put in one fixed order at its end.

use std::collections::BTreeSet;

use wardround_signing::Envelope;

use super::Effect;
use crate::model::{DeviceId, GateDecision, RolloutId, SiteId, Timestamp};

/// Collector of one step.
pub(super) struct Out {
    /// The step's moment; never earlier than that of the step before.
    pub(super) now: Timestamp,
    halts: Vec<Effect>,
    /// Sites whose directive has changed.
    pub(super) sites: BTreeSet<SiteId>,
    rollouts: BTreeSet<RolloutId>,
    said: Vec<Effect>,
    /// Sites where a slot may have become free or taken: offers and rollbacks are looked at again.
    pub(super) dirty: BTreeSet<SiteId>,
    /// Rollouts (by position) whose waves are looked at again.
    pub(super) touched: BTreeSet<usize>,
}

impl Out {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            now,
            halts: Vec::new(),
            sites: BTreeSet::new(),
            rollouts: BTreeSet::new(),
            said: Vec::new(),
            dirty: BTreeSet::new(),
            touched: BTreeSet::new(),
        }
    }

    pub(super) fn rollout(&mut self, id: &RolloutId) {
        if !self.rollouts.contains(id) {
            self.rollouts.insert(id.clone());
        }
    }

    pub(super) fn halt(&mut self, rollout: &RolloutId, order: Option<Envelope>, sites: Vec<SiteId>) {
        self.halts.push(Effect::Halt { rollout: rollout.clone(), order, sites });
    }

    pub(super) fn audit(&mut self, kind: &str, rollout: Option<&RolloutId>, envelope: Option<&Envelope>, text: String) {
        self.said.push(Effect::Audit {
            kind: kind.to_owned(),
            text,
            rollout: rollout.cloned(),
            envelope: envelope.cloned(),
            gate: None,
        });
    }

    /// A wave's decision, with what its gate went by.
    pub(super) fn gate(&mut self, rollout: &RolloutId, text: String, decision: &GateDecision) {
        self.said.push(Effect::Audit {
            kind: "wave_decision".to_owned(),
            text,
            rollout: Some(rollout.clone()),
            envelope: None,
            gate: Some(Box::new(decision.clone())),
        });
    }

    pub(super) fn alarm(
        &mut self,
        code: &str,
        rollout: Option<&RolloutId>,
        site: Option<&SiteId>,
        device: Option<&DeviceId>,
        text: String,
    ) {
        self.said.push(Effect::Alarm {
            code: code.to_owned(),
            text,
            rollout: rollout.cloned(),
            site: site.cloned(),
            device: device.cloned(),
        });
    }

    /// Halts first, since nothing may be pushed before them; then who is told, then what is said in order of happening.
    pub(super) fn finish(self) -> Vec<Effect> {
        let mut effects = self.halts;
        effects.extend(self.sites.into_iter().map(|site| Effect::SiteChanged { site }));
        effects.extend(self.rollouts.into_iter().map(|rollout| Effect::RolloutChanged { rollout }));
        effects.extend(self.said);
        effects
    }
}
