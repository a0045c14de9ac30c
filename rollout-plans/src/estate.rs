//! The estate as a whole.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::model::{Device, DeviceId, SiteId, SiteInventory};

/// All sites, as their nodes last reported them. A copy is cheap: it shares the inventories.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Estate {
    sites: BTreeMap<SiteId, Arc<SiteInventory>>,
}

impl Estate {
    /// Replaces a site's inventory.
    pub fn put(&mut self, inventory: SiteInventory) {
        self.sites.insert(inventory.site.clone(), Arc::new(inventory));
    }

    /// One site.
    #[must_use]
    pub fn site(&self, id: &SiteId) -> Option<&SiteInventory> {
        self.sites.get(id).map(Arc::as_ref)
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
