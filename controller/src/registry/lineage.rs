//! What is known of the patches that a patch requires, and of those that replace it.

use std::collections::{BTreeSet, HashMap};

use wardround_rollout_plans::{
    engine::{RolloutState, State},
    estate::KnownPatches,
    model::{DeploymentState, DeviceId, Patch, PatchId},
};

use super::Registry;

impl Registry {
    /// For resolving `patch`. Devices of rollouts under way wait for what these are to bring, so that they count as well.
    pub(crate) fn known_patches(&self, engine: &State, patch: &Patch) -> KnownPatches {
        let superseding = KnownPatches::replacing(&patch.id, &self.replaced);
        let required = patch.required();
        let asked = |id: &PatchId| superseding.contains(id) || required.contains(id);
        if superseding.is_empty() && required.is_empty() {
            return KnownPatches::default();
        }
        let mut brought: HashMap<DeviceId, BTreeSet<PatchId>> = HashMap::new();
        let mut coming: HashMap<DeviceId, BTreeSet<PatchId>> = HashMap::new();
        for (device, patches) in &self.installed {
            let patches: BTreeSet<PatchId> = patches.iter().filter(|id| asked(id)).cloned().collect();
            if !patches.is_empty() {
                brought.insert(device.clone(), patches);
            }
        }
        for (id, record) in self.rollouts.iter().filter(|(_, record)| required.contains(&record.patch)) {
            let state = engine.rollout(id).map(|view| view.state);
            if !matches!(state, Some(RolloutState::Running | RolloutState::Paused | RolloutState::Halted)) {
                continue;
            }
            for member in record.members.iter() {
                let open = |state: DeploymentState| state == DeploymentState::Pending || state.is_in_hand();
                if engine.deployment_state(id, &member.device).is_some_and(open) {
                    coming.entry(member.device.clone()).or_default().insert(record.patch.clone());
                }
            }
        }
        KnownPatches { brought, coming, superseding }
    }
}
