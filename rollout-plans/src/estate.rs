//! The estate as a whole.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    circle::shortest_circle,
    model::{Device, DeviceId, Patch, PatchId, SiteId, SiteInventory},
};

/// All sites, as their nodes last reported them. A copy is cheap: it shares the inventories.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Estate {
    sites: BTreeMap<SiteId, Arc<SiteInventory>>,
    /// Never written: whoever resolves says it anew.
    #[serde(skip)]
    known: Arc<KnownPatches>,
}

/// What is known of patches beside what inventories say, for the patch that is being resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownPatches {
    /// What rollouts have brought to devices, and still stands there.
    pub brought: HashMap<DeviceId, BTreeSet<PatchId>>,
    /// What rollouts under way are to bring: the engine lets the device wait for it.
    pub coming: HashMap<DeviceId, BTreeSet<PatchId>>,
    /// Patches that replace the one that is being resolved, directly or one over another.
    pub superseding: BTreeSet<PatchId>,
}

impl KnownPatches {
    /// Patches that replace `patch`, directly or one over another, of all patches with what each replaces.
    #[must_use]
    pub fn replacing(patch: &PatchId, all: &BTreeMap<PatchId, Vec<PatchId>>) -> BTreeSet<PatchId> {
        let mut found = BTreeSet::new();
        let mut open = vec![patch.clone()];
        while let Some(old) = open.pop() {
            let new = all.iter().filter(|(id, replaced)| *id != patch && replaced.contains(&old));
            let new: Vec<PatchId> = new.map(|(id, _)| id.clone()).filter(|id| found.insert(id.clone())).collect();
            open.extend(new);
        }
        found
    }

    /// The shortest way from a patch back to itself, each requiring the next, of all patches with what each requires. None of them
    /// could be the first on a device.
    #[must_use]
    pub fn circle(patch: &Patch, all: &BTreeMap<PatchId, Vec<PatchId>>) -> Option<Vec<PatchId>> {
        shortest_circle(&patch.id, |id| {
            if *id == patch.id { patch.required() } else { all.get(id).cloned().unwrap_or_default() }
        })
    }
}

impl Estate {
    /// Replaces a site's inventory.
    pub fn put(&mut self, inventory: SiteInventory) {
        self.sites.insert(inventory.site.clone(), Arc::new(inventory));
    }

    /// The same estate with what is known of patches besides.
    #[must_use]
    pub fn knowing(mut self, known: KnownPatches) -> Self {
        self.known = Arc::new(known);
        self
    }

    /// What is known of patches besides.
    pub(crate) fn known(&self) -> &KnownPatches {
        &self.known
    }

    /// One site.
    #[must_use]
    pub fn site(&self, id: &SiteId) -> Option<&SiteInventory> {
        self.sites.get(id).map(Arc::as_ref)
    }

    /// The same, to keep.
    pub(crate) fn shared(&self, id: &SiteId) -> Option<&Arc<SiteInventory>> {
        self.sites.get(id)
    }

    /// All sites, by id.
    pub fn sites(&self) -> impl Iterator<Item = &SiteInventory> {
        self.sites.values().map(Arc::as_ref)
    }

    /// All devices with their sites, by site and then as reported.
    pub fn devices(&self) -> impl Iterator<Item = (&SiteInventory, &Device)> {
        self.sites().flat_map(|site| site.devices.iter().map(move |device| (site, device)))
    }

    /// One device with its site.
    #[must_use]
    pub fn device(&self, id: &DeviceId) -> Option<(&SiteInventory, &Device)> {
        let site = self.sites.get(&id.site())?;
        Some((site, site.devices.iter().find(|d| d.id == *id)?))
    }
}
