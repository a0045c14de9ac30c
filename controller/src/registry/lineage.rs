//! What is known of the patches that a patch requires, and of those that replace it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use wardround_rollout_plans::{
    engine::{RolloutState, State},
    estate::KnownPatches,
    model::{DeploymentState, DeviceId, Patch, PatchId},
};

use super::Registry;

/// Devices to which rollouts have brought each patch. A copy is cheap: it shares the sets, and whoever changes one that is shared
/// makes that set anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Holders(BTreeMap<PatchId, Arc<BTreeSet<DeviceId>>>);

impl Holders {
    /// Out of what each device has.
    pub(super) fn of(installed: &BTreeMap<DeviceId, BTreeSet<PatchId>>) -> Self {
        let mut all: BTreeMap<PatchId, BTreeSet<DeviceId>> = BTreeMap::new();
        for (device, patches) in installed {
            for patch in patches {
                all.entry(patch.clone()).or_default().insert(device.clone());
            }
        }
        Self(all.into_iter().map(|(patch, devices)| (patch, Arc::new(devices))).collect())
    }

    pub(super) fn add(&mut self, patch: &PatchId, device: &DeviceId) {
        let devices = self.0.entry(patch.clone()).or_default();
        if !devices.contains(device) {
            Arc::make_mut(devices).insert(device.clone());
        }
    }

    pub(super) fn remove(&mut self, patch: &PatchId, device: &DeviceId) {
        let Some(devices) = self.0.get_mut(patch).filter(|devices| devices.contains(device)) else { return };
        Arc::make_mut(devices).remove(device);
        if devices.is_empty() {
            self.0.remove(patch);
        }
    }
}

/// What is known of a patch's kin, as it is taken out from under the state's lock: [`Kin::known`] is the long part.
pub(crate) struct Kin {
    holders: Vec<(PatchId, Arc<BTreeSet<DeviceId>>)>,
    coming: HashMap<DeviceId, BTreeSet<PatchId>>,
    superseding: BTreeSet<PatchId>,
}

impl Kin {
    /// For resolving the patch.
    pub(crate) fn known(self) -> KnownPatches {
        let mut brought: HashMap<DeviceId, BTreeSet<PatchId>> = HashMap::new();
        for (patch, devices) in self.holders {
            for device in devices.iter() {
                brought.entry(device.clone()).or_default().insert(patch.clone());
            }
        }
        KnownPatches { brought, coming: self.coming, superseding: self.superseding }
    }
}

impl Registry {
    /// The kin of `patch`. Devices of rollouts under way wait for what these are to bring, so that they count as well. Looks at no
    /// device but those of such rollouts.
    pub(crate) fn kin(&self, engine: &State, patch: &Patch) -> Kin {
        let superseding = KnownPatches::replacing(&patch.id, &self.replaced);
        let required = patch.required();
        let asked: BTreeSet<&PatchId> = superseding.iter().chain(&required).collect();
        let holders =
            asked.into_iter().filter_map(|id| Some((id.clone(), Arc::clone(self.holders.0.get(id)?)))).collect();
        let mut coming: HashMap<DeviceId, BTreeSet<PatchId>> = HashMap::new();
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
        Kin { holders, coming, superseding }
    }

    /// The way round when a patch requires others that require it.
    pub(crate) fn circle(&self, patch: &Patch) -> Option<Vec<PatchId>> {
        KnownPatches::circle(patch, &self.required)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(n: u64) -> PatchId {
        PatchId::new(&format!("KB{n}")).unwrap()
    }

    /// What the registry did before it kept an index: a walk over all devices.
    fn walked(
        installed: &BTreeMap<DeviceId, BTreeSet<PatchId>>,
        asked: &[PatchId],
    ) -> HashMap<DeviceId, BTreeSet<PatchId>> {
        let of = |patches: &BTreeSet<PatchId>| -> BTreeSet<PatchId> {
            patches.iter().filter(|id| asked.contains(id)).cloned().collect()
        };
        let found = installed.iter().map(|(device, patches)| (device.clone(), of(patches)));
        found.filter(|(_, patches)| !patches.is_empty()).collect()
    }

    #[test]
    fn the_index_says_what_a_walk_over_all_devices_says() {
        let mut registry = Registry::default();
        // A small linear congruential generator: the same mix in every run.
        let mut state: u64 = 7;
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for turn in 0..4_000 {
            let (device, id) = (DeviceId::new(&format!("rx{}/d{}", draw(9), draw(9))).unwrap(), patch(draw(6)));
            if draw(3) == 0 {
                registry.holders.remove(&id, &device);
                registry.installed.entry(device).or_default().remove(&id);
            } else {
                registry.holders.add(&id, &device);
                registry.installed.entry(device).or_default().insert(id);
            }
            if turn % 500 != 0 {
                continue;
            }
            let asked = [patch(1), patch(draw(6))];
            let taken = asked.iter().collect::<BTreeSet<_>>().into_iter();
            let holders = taken.filter_map(|id| Some((id.clone(), Arc::clone(registry.holders.0.get(id)?)))).collect();
            let kin = Kin { holders, coming: HashMap::new(), superseding: BTreeSet::new() };
            let before = walked(&registry.installed, &asked);
            // What was taken out stays as it was while the registry goes on.
            for device in before.keys() {
                registry.holders.remove(&patch(1), device);
            }
            registry.holders = Holders::of(&registry.installed);
            assert_eq!(kin.known().brought, before, "turn {turn}");
        }
        // Built anew after a snapshot it is the same.
        let kept = registry.holders.clone();
        registry.index();
        assert_eq!(registry.holders, kept);
    }
}
