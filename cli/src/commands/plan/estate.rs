//! The controller's estate, as its interface shows it.

use std::collections::BTreeMap;

use wardround_proto::v1;
use wardround_rollout_plans::{
    estate::Estate,
    model::{ClinicalSystem, Device, DeviceId, GroupId, SiteHours, SiteId, SiteInventory, SystemId},
};

use crate::{
    client::{Controller, PAGE, all_pages, call},
    commands::site,
    failure::Failure,
};

/// All sites with their devices and clinical systems. What the interface tells in words only is left out: windows of sites
/// and devices, and how many of a redundancy group may be disrupted, which counts as one.
pub(super) async fn fetch(controller: &Controller) -> Result<Estate, Failure> {
    let mut sites: BTreeMap<String, SiteInventory> = BTreeMap::new();
    for site in site::list(controller).await? {
        let id: SiteId = site.id.parse().map_err(|e| wrong(&e))?;
        let hours = SiteHours { time_zone: site.time_zone.parse().ok(), ..SiteHours::default() };
        let inventory = SiteInventory {
            site: id,
            display_name: site.display_name,
            region: site.region,
            site_type: site.site_type,
            labels: site.labels.into_iter().collect(),
            groups: BTreeMap::new(),
            hours,
            devices: Vec::new(),
            systems: Vec::new(),
        };
        sites.insert(site.id, inventory);
    }
    for device in devices(controller).await? {
        let id: DeviceId = device.id.parse().map_err(|e| wrong(&e))?;
        let Some(site) = sites.get_mut(id.site().as_str()) else { continue };
        let group = match device.redundancy_group.as_str() {
            "" => None,
            text => Some(text.parse::<GroupId>().map_err(|e| wrong(&e))?),
        };
        site.groups.extend(group.clone().map(|group| (group, 1)));
        site.devices.push(Device {
            id,
            platform: device.platform.parse().map_err(|e| wrong(&e))?,
            model: device.model,
            labels: device.labels.into_iter().collect(),
            group,
            windows: Vec::new(),
            patches: device
                .installed_patches
                .iter()
                .map(|id| id.parse().map_err(|e| wrong(&e)))
                .collect::<Result<_, _>>()?,
        });
    }
    for system in systems(controller).await? {
        let id: SystemId = system.id.parse().map_err(|e| wrong(&e))?;
        let Some(site) = sites.get_mut(id.site().as_str()) else { continue };
        let devices = system.devices.iter().map(|id| id.parse().map_err(|e| wrong(&e))).collect::<Result<_, _>>()?;
        let v1::ClinicalSystem { kind, critical, probes, .. } = system;
        site.systems.push(ClinicalSystem { id, kind, critical, probes, devices });
    }
    let mut estate = Estate::default();
    sites.into_values().for_each(|site| estate.put(site));
    Ok(estate)
}

fn wrong(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(format!("the controller's estate can't be read: {error}"))
}

async fn devices(controller: &Controller) -> Result<Vec<v1::Device>, Failure> {
    all_pages(async |page_token| {
        let ask = v1::ListDevicesRequest { site: String::new(), page_size: PAGE, page_token };
        let page = controller.estate().list_devices(call(ask)).await?.into_inner();
        Ok((page.devices, page.next_page_token))
    })
    .await
}

async fn systems(controller: &Controller) -> Result<Vec<v1::ClinicalSystem>, Failure> {
    all_pages(async |page_token| {
        let ask = v1::ListClinicalSystemsRequest { site: String::new(), page_size: PAGE, page_token };
        let page = controller.estate().list_clinical_systems(call(ask)).await?.into_inner();
        Ok((page.clinical_systems, page.next_page_token))
    })
    .await
}
