//! The estate as a whole.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Device, DeviceId, SiteId, SiteInventory};

/// All sites, as their nodes last reported them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Estate {
    sites: BTreeMap<SiteId, SiteInventory>,
}

impl Estate {
    /// Replaces a site's inventory.
    pub fn put(&mut self, inventory: SiteInventory) {
        self.sites.insert(inventory.site.clone(), inventory);
    }

    /// One site.
    #[must_use]
    pub fn site(&self, id: &SiteId) -> Option<&SiteInventory> {
        self.sites.get(id)
    }

    /// All sites, by id.
    pub fn sites(&self) -> impl Iterator<Item = &SiteInventory> {
        self.sites.values()
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
