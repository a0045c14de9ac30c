//! Versions of rollouts: an amendment takes the place of the version before it, and no older one counts again.

use serde::{Deserialize, Serialize};
use wardround_rollout_plans::model::{GoalAction, Timestamp};
use wardround_signing::Digest;

use super::{NodeState, RolloutWish};

/// Which version of a rollout's document this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// From 1.
    pub number: u32,
    /// SHA-256 of those before it, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<Digest>,
}

impl Default for Version {
    fn default() -> Self {
        Self { number: 1, ancestors: Vec::new() }
    }
}

impl Version {
    pub(super) fn is_first(&self) -> bool {
        self.number == 1 && self.ancestors.is_empty()
    }
}

/// What becomes of a rollout's part of a directive.
pub(super) enum Taken {
    /// It is the version that counts here now.
    Whole,
    /// It is an older one: devices are taken back on it, since that makes things safer and no version changes what was
    /// touched; nothing else.
    Older,
    /// It is no version of what is known here.
    No,
}

impl NodeState {
    /// Judges the version that a directive leans on, and takes a newer one for the present.
    pub(super) fn take_version(&mut self, wish: &RolloutWish, now: Timestamp) -> Taken {
        let (id, number) = (&wish.rollout, wish.version.number);
        let floor = self.versions.get(id).copied().unwrap_or(1);
        if number < floor {
            let why = format!(
                "the controller came with version {number} of rollout {id} after version {floor}: an older version never \
                 counts again"
            );
            self.refuse("rollout", &why, Some(id), now);
            return Taken::Older;
        }
        let known = self.rollouts.get(id).filter(|known| known.digest != wish.digest);
        if let Some(known) = known {
            let why = if number == known.version {
                format!("version {number} of rollout {id} is known with other content: a version never changes")
            } else if wish.version.ancestors.get(known.version.saturating_sub(1) as usize) != Some(&known.digest) {
                let held = known.version;
                format!("version {number} of rollout {id} does not descend from version {held}, which is known here")
            } else if (known.patch_digest, &known.policy) != (wish.patch_digest, &wish.policy) {
                format!("version {number} of rollout {id} has another patch or plan than the version before")
            } else {
                String::new()
            };
            if !why.is_empty() {
                self.refuse("rollout", &why, Some(id), now);
                return Taken::No;
            }
        }
        if let Some(known) = self.rollouts.get_mut(id) {
            (known.digest, known.version) = (wish.digest, number);
        }
        // Kept when the rollout itself is forgotten. Two people sign each entry, so that nobody alone can fill the disk.
        if number > 1 {
            self.versions.insert(id.clone(), number);
        }
        Taken::Whole
    }

    /// The part of an older version that counts: halts, and goals to take a patch back.
    pub(super) fn learn_older(&mut self, wish: &RolloutWish, now: Timestamp) {
        for halt in &wish.halts {
            self.learn_halt(halt, now);
        }
        if let Some(state) = self.rollouts.get_mut(&wish.rollout) {
            let back = wish.goals.iter().filter(|goal| goal.action == GoalAction::RollBack);
            state.goals = back.map(|goal| (goal.device.clone(), goal.clone())).collect();
        }
    }
}
