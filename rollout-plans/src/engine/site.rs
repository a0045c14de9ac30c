//! What the engine knows of a site beside its inventory: its node, and which of its devices are in hand.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use wardround_signing::KeyId;

use super::link::narrow;
use crate::model::{DeviceId, GroupId, SiteInventory, SystemId, Timestamp, Window};

/// Most former node keys that are remembered for a site; a site that is enrolled more often forgets the lowest ids.
const RETIRED_KEYS_MAX: usize = 64;

/// One site.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Site {
    node_key: Option<KeyId>,
    /// Highest report taken in from the present key.
    pub(super) acked: u64,
    /// Former keys with the highest report taken in: a key that comes back goes on where it was, so that its old
    /// reports can't be replayed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    retired: BTreeMap<KeyId, u64>,
    pub(super) silent: bool,
    /// Since when; absent in snapshots of before this was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) silent_since: Option<Timestamp>,
    /// Declared clinical systems that are healthy by their node's last word, since when.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) healthy: BTreeMap<SystemId, Timestamp>,
    /// Deployments in hand, as (rollout, deployment) by their positions.
    #[serde(skip)]
    pub(super) hand: BTreeSet<(u32, u32)>,
    /// As its node last reported it.
    #[serde(skip)]
    inventory: Option<Arc<SiteInventory>>,
    /// Redundancy group of each device of the inventory.
    #[serde(skip)]
    groups: HashMap<DeviceId, Option<GroupId>>,
    /// Windows of the devices of the inventory that have their own.
    #[serde(skip)]
    windows: HashMap<DeviceId, Vec<Window>>,
    /// Rollouts (by position) with members here, and the position of the site in each.
    #[serde(skip)]
    pub(super) rollouts: BTreeMap<u32, u32>,
}

impl Site {
    /// A node has enrolled. The same key again keeps its sequence.
    pub(super) fn enrol(&mut self, key: &KeyId) {
        self.silent = false;
        self.silent_since = None;
        if self.node_key.as_ref() == Some(key) {
            return;
        }
        let back = self.retired.remove(key).unwrap_or(0);
        if let Some(old) = self.node_key.replace(key.clone()) {
            self.retire(old);
        }
        self.acked = back;
        self.healthy.clear();
    }

    /// Its node is revoked. Like a key that was replaced, this one goes on where it was should it ever come back.
    pub(super) fn revoke(&mut self) {
        if let Some(old) = self.node_key.take() {
            self.retire(old);
        }
        self.acked = 0;
    }

    /// Where it stands in rollouts, as (rollout, site) by their positions.
    pub(super) fn places(&self) -> impl Iterator<Item = (usize, u32)> {
        self.rollouts.iter().map(|(r, at)| (*r as usize, *at))
    }

    /// Its position in a rollout (by position) that has members here.
    pub(super) fn place_in(&self, r: usize) -> Option<u32> {
        self.rollouts.get(&narrow(r)).copied()
    }

    /// As its node last reported it.
    pub(super) fn inventory(&self) -> Option<&SiteInventory> {
        self.inventory.as_deref()
    }

    fn retire(&mut self, old: KeyId) {
        self.retired.insert(old, self.acked);
        while self.retired.len() > RETIRED_KEYS_MAX {
            self.retired.pop_first();
        }
    }

    /// True when this is the key of the present node.
    pub(super) fn is_key(&self, key: &KeyId) -> bool {
        self.node_key.as_ref() == Some(key)
    }

    pub(super) fn is_enrolled(&self) -> bool {
        self.node_key.is_some()
    }

    /// True when something new may be asked of it. A site without a node can't answer.
    pub(super) fn answers(&self) -> bool {
        self.is_enrolled() && !self.silent
    }

    pub(super) fn learn_devices(&mut self, inventory: &Arc<SiteInventory>) {
        self.inventory = Some(Arc::clone(inventory));
        self.groups = inventory.devices.iter().map(|d| (d.id.clone(), d.group.clone())).collect();
        let own = inventory.devices.iter().filter(|d| !d.windows.is_empty());
        self.healthy.retain(|id, _| inventory.systems.iter().any(|s| s.id == *id));
        self.windows = own.map(|d| (d.id.clone(), d.windows.clone())).collect();
    }

    /// How many devices of a group may be disrupted at the same time.
    pub(super) fn group_max(&self, group: &GroupId) -> usize {
        let declared = self.inventory().and_then(|inventory| inventory.groups.get(group)).copied();
        // A group that is not declared is meant all the same: the strictest reading.
        declared.unwrap_or(1).max(1) as usize
    }

    /// The windows that this device has of its own.
    pub(super) fn windows_of(&self, device: &DeviceId) -> Option<&[Window]> {
        self.windows.get(device).map(Vec::as_slice)
    }

    /// The group of a device. A device that has left the inventory stays in the group in which it was offered
    /// (`when_offered`), since it may still be disrupted.
    pub(super) fn group<'a>(&'a self, device: &DeviceId, when_offered: Option<&'a GroupId>) -> Option<&'a GroupId> {
        self.groups.get(device).map_or(when_offered, Option::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_comes_back_goes_on_where_it_was() {
        let (a, b) = (KeyId::claimed("a"), KeyId::claimed("b"));
        let mut site = Site::default();
        site.enrol(&a);
        site.acked = 7;
        site.enrol(&a);
        assert_eq!(site.acked, 7, "the same node keeps its sequence");
        site.enrol(&b);
        assert_eq!(site.acked, 0, "a new key begins anew");
        site.acked = 3;
        site.enrol(&a);
        assert_eq!(site.acked, 7, "an old key's reports can't be replayed");
        site.revoke();
        assert!(!site.is_enrolled() && !site.is_key(&a) && site.acked == 0);
        site.enrol(&a);
        assert_eq!(site.acked, 7, "nor those of one that was revoked");
    }

    #[test]
    fn former_keys_are_remembered_up_to_a_number() {
        let mut site = Site::default();
        for n in 0..200 {
            site.enrol(&KeyId::claimed(&n.to_string()));
        }
        assert_eq!(site.retired.len(), RETIRED_KEYS_MAX);
    }
}
