//! What a person must look at: the last thousand, oldest first.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use wardround_rollout_plans::{
    engine::Effect,
    model::{DeviceId, RolloutId, SiteId, Timestamp},
};

/// How many are kept; older ones stay in the audit record.
const ALARMS_MAX: usize = 1_000;

/// One alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Alarm {
    /// Position since the beginning, from 0.
    pub(crate) index: u64,
    /// When.
    pub(crate) at: Timestamp,
    /// Machine word.
    pub(crate) code: String,
    /// One sentence.
    pub(crate) text: String,
    /// Rollout, if any.
    pub(crate) rollout: Option<RolloutId>,
    /// Site, if any.
    pub(crate) site: Option<SiteId>,
    /// Device, if any.
    pub(crate) device: Option<DeviceId>,
}

/// The last alarms.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Alarms {
    next: u64,
    last: VecDeque<Alarm>,
}

impl Alarms {
    /// Takes in an effect if it is an alarm.
    pub(crate) fn observe(&mut self, effect: &Effect, at: Timestamp) {
        let Effect::Alarm { code, text, rollout, site, device } = effect else { return };
        if self.last.len() == ALARMS_MAX {
            self.last.pop_front();
        }
        self.last.push_back(Alarm {
            index: self.next,
            at,
            code: code.clone(),
            text: text.clone(),
            rollout: rollout.clone(),
            site: site.clone().or_else(|| device.as_ref().map(DeviceId::site)),
            device: device.clone(),
        });
        self.next += 1;
    }

    /// Index that the next alarm will have.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Those from `index` on that are still here, oldest first.
    pub(crate) fn since(&self, index: u64) -> impl Iterator<Item = &Alarm> {
        self.last.iter().filter(move |a| a.index >= index)
    }

    /// Newest first.
    pub(crate) fn newest(&self) -> impl Iterator<Item = &Alarm> {
        self.last.iter().rev()
    }
}
