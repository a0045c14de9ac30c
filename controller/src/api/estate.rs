//! `EstateService`: sites, devices and clinical systems, as nodes reported them.

use std::collections::BTreeSet;

use tonic::{Request, Response, Status};
use wardround_proto::v1::{self, estate_service_server::EstateService};
use wardround_rollout_plans::{
    describe::window_words,
    model::{ClinicalSystem, Device, DeviceId, Health, PatchId, SiteId, SiteInventory, SystemId},
};

use super::{Api, Service, convert, id, page, status};
use crate::core::Facts;

/// Alarms shown with a site.
const ALARMS_MAX: usize = 50;

#[tonic::async_trait]
impl EstateService for Service {
    async fn get_site(&self, request: Request<v1::GetSiteRequest>) -> Result<Response<v1::GetSiteResponse>, Status> {
        let id: SiteId = id("id", &request.into_inner().id)?;
        let answer = self.0.core.read(|facts| {
            let inventory = facts.engine.estate().site(&id);
            if inventory.is_none() && facts.registry.node(&id).is_none() && facts.registry.revoked_node(&id).is_none() {
                return Err(status::not_found("site", id.as_str(), "see `wardround site list`"));
            }
            let ours = facts.alarms.newest().filter(|a| a.site.as_ref() == Some(&id));
            Ok(v1::GetSiteResponse {
                site: Some(self.0.site(facts, &id, inventory)),
                devices: inventory.into_iter().flat_map(sorted_devices).map(|d| device(facts, d)).collect(),
                clinical_systems: inventory.into_iter().flat_map(sorted_systems).map(|s| system(facts, s)).collect(),
                alarms: ours.take(ALARMS_MAX).map(convert::alarm).collect(),
            })
        })?;
        Ok(Response::new(answer))
    }

    async fn list_sites(
        &self,
        request: Request<v1::ListSitesRequest>,
    ) -> Result<Response<v1::ListSitesResponse>, Status> {
        let asked = request.into_inner();
        let size = page::size(asked.page_size, 100, 1000);
        let after: Option<SiteId> = page::after(&asked.page_token)?.map(|t| id("page_token", &t)).transpose()?;
        let found = self.0.core.read(|facts| {
            // A site counts from its enrolment on, before its first inventory has come.
            let reported = facts.engine.estate().sites().map(|s| &s.site);
            let enrolled = facts.registry.nodes().map(|(site, _)| site).chain(facts.registry.revoked_nodes());
            let ids: BTreeSet<&SiteId> =
                reported.chain(enrolled).filter(|id| after.as_ref().is_none_or(|a| *id > a)).collect();
            let ids = ids.into_iter().take(size + 1);
            ids.map(|id| self.0.site(facts, id, facts.engine.estate().site(id))).collect()
        });
        let (sites, next_page_token) = page::cut(found, size, |s: &v1::Site| s.id.clone());
        Ok(Response::new(v1::ListSitesResponse { sites, next_page_token }))
    }

    async fn list_devices(
        &self,
        request: Request<v1::ListDevicesRequest>,
    ) -> Result<Response<v1::ListDevicesResponse>, Status> {
        let asked = request.into_inner();
        let size = page::size(asked.page_size, 100, 1000);
        let after: Option<DeviceId> = page::after(&asked.page_token)?.map(|t| id("page_token", &t)).transpose()?;
        let only = only_site(&asked.site)?;
        let found = self.0.core.read(|facts| {
            let sites = sites_from(facts, only.as_ref(), after.as_ref().map(DeviceId::site));
            let devices = sites.flat_map(sorted_devices);
            let later = devices.filter(|d| after.as_ref().is_none_or(|a| (d.id.site(), &d.id) > (a.site(), a)));
            later.take(size + 1).map(|d| device(facts, d)).collect()
        });
        let (devices, next_page_token) = page::cut(found, size, |d: &v1::Device| d.id.clone());
        Ok(Response::new(v1::ListDevicesResponse { devices, next_page_token }))
    }

    async fn list_clinical_systems(
        &self,
        request: Request<v1::ListClinicalSystemsRequest>,
    ) -> Result<Response<v1::ListClinicalSystemsResponse>, Status> {
        let asked = request.into_inner();
        let size = page::size(asked.page_size, 100, 1000);
        let after: Option<SystemId> = page::after(&asked.page_token)?.map(|t| id("page_token", &t)).transpose()?;
        let only = only_site(&asked.site)?;
        let found = self.0.core.read(|facts| {
            let sites = sites_from(facts, only.as_ref(), after.as_ref().map(SystemId::site));
            let systems = sites.flat_map(sorted_systems);
            let later = systems.filter(|s| after.as_ref().is_none_or(|a| (s.id.site(), &s.id) > (a.site(), a)));
            later.take(size + 1).map(|s| system(facts, s)).collect()
        });
        let (clinical_systems, next_page_token) = page::cut(found, size, |s: &v1::ClinicalSystem| s.id.clone());
        Ok(Response::new(v1::ListClinicalSystemsResponse { clinical_systems, next_page_token }))
    }

    async fn list_alarms(
        &self,
        request: Request<v1::ListAlarmsRequest>,
    ) -> Result<Response<v1::ListAlarmsResponse>, Status> {
        let asked = request.into_inner();
        let size = page::size(asked.page_size, 100, 1000);
        let before = page::position(&asked.page_token)?;
        let only = only_site(&asked.site)?;
        let found = self.0.core.read(|facts| {
            let older = facts.alarms.newest().filter(|a| before.is_none_or(|before| a.index < before));
            let ours = older.filter(|a| only.is_none() || a.site == only);
            ours.take(size + 1).map(|a| (a.index, convert::alarm(a))).collect()
        });
        let (found, next_page_token) = page::cut(found, size, |(index, _)| index.to_string());
        let alarms = found.into_iter().map(|(_, alarm)| alarm).collect();
        Ok(Response::new(v1::ListAlarmsResponse { alarms, next_page_token }))
    }

    async fn get_device(
        &self,
        request: Request<v1::GetDeviceRequest>,
    ) -> Result<Response<v1::GetDeviceResponse>, Status> {
        let id: DeviceId = id("id", &request.into_inner().id)?;
        let found = self.0.core.read(|facts| declared(facts, &id).map(|found| device(facts, found)));
        let found = found.ok_or_else(|| status::not_found("device", id.as_str(), "see `wardround device list`"))?;
        let inventory = self.0.inventory(&id).await?;
        Ok(Response::new(v1::GetDeviceResponse { device: Some(found), inventory }))
    }

    async fn list_drift(
        &self,
        request: Request<v1::ListDriftRequest>,
    ) -> Result<Response<v1::ListDriftResponse>, Status> {
        Ok(Response::new(self.0.drifting(request.into_inner()).await?))
    }
}

/// A device as its site declares it.
pub(super) fn declared<'a>(facts: &'a Facts, id: &DeviceId) -> Option<&'a Device> {
    facts.engine.estate().site(&id.site())?.devices.iter().find(|device| device.id == *id)
}

fn only_site(text: &str) -> Result<Option<SiteId>, Status> {
    (!text.is_empty()).then(|| id("site", text)).transpose()
}

/// Sites in the order of their ids, from the one where the last page ended.
fn sites_from<'a>(
    facts: &'a Facts,
    only: Option<&'a SiteId>,
    from: Option<SiteId>,
) -> impl Iterator<Item = &'a SiteInventory> {
    let sites = facts.engine.estate().sites();
    sites.filter(move |s| only.is_none_or(|only| s.site == *only) && from.as_ref().is_none_or(|from| s.site >= *from))
}

fn sorted_devices(site: &SiteInventory) -> Vec<&Device> {
    let mut devices: Vec<&Device> = site.devices.iter().collect();
    devices.sort_by(|a, b| a.id.cmp(&b.id));
    devices
}

fn sorted_systems(site: &SiteInventory) -> Vec<&ClinicalSystem> {
    let mut systems: Vec<&ClinicalSystem> = site.systems.iter().collect();
    systems.sort_by(|a, b| a.id.cmp(&b.id));
    systems
}

impl Api {
    fn site(&self, facts: &Facts, id: &SiteId, inventory: Option<&SiteInventory>) -> v1::Site {
        let link = self.core.hub().link(id);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let revoked = facts.registry.revoked_node(id);
        let (node, since) = match (facts.registry.node(id), revoked) {
            (Some(node), _) => ("enrolled", node.enrolled_at.0),
            (None, Some(revoked)) => ("revoked", revoked.at.0),
            (None, None) => ("none", 0),
        };
        let hours = inventory.map(|i| &i.hours);
        v1::Site {
            id: id.to_string(),
            display_name: inventory.map(|i| i.display_name.clone()).unwrap_or_default(),
            region: inventory.map(|i| i.region.clone()).unwrap_or_default(),
            labels: inventory.map(|i| i.labels.clone().into_iter().collect()).unwrap_or_default(),
            device_count: inventory.map_or(0, |i| count(i.devices.len())),
            clinical_system_count: inventory.map_or(0, |i| count(i.systems.len())),
            connected: link.connected,
            last_seen_ms: link.heard.map_or(0, |t| t.0),
            directive_counter: link.directive_counter,
            node: node.to_owned(),
            node_since_ms: since,
            node_revoked_why: revoked.map(|r| r.text.clone()).unwrap_or_default(),
            time_zone: hours.and_then(|h| h.time_zone.as_ref()).map(ToString::to_string).unwrap_or_default(),
            windows: hours.map(|h| window_words(&h.windows)).unwrap_or_default(),
            site_type: inventory.map(|i| i.site_type.clone()).unwrap_or_default(),
        }
    }
}

fn device(facts: &Facts, device: &Device) -> v1::Device {
    let patches: BTreeSet<&PatchId> = facts.registry.installed(&device.id).chain(&device.patches).collect();
    v1::Device {
        id: device.id.to_string(),
        platform: device.platform.to_string(),
        model: device.model.clone(),
        labels: device.labels.clone().into_iter().collect(),
        redundancy_group: device.group.as_ref().map(ToString::to_string).unwrap_or_default(),
        installed_patches: patches.into_iter().map(ToString::to_string).collect(),
    }
}

fn system(facts: &Facts, system: &ClinicalSystem) -> v1::ClinicalSystem {
    let found = facts.registry.system(&system.id);
    let health = match found.map(|f| f.health) {
        Some(Health::Healthy) => "healthy",
        Some(Health::Unhealthy) => "unhealthy",
        Some(Health::Unknown) | None => "unknown",
    };
    v1::ClinicalSystem {
        id: system.id.to_string(),
        kind: system.kind.clone(),
        critical: system.critical,
        devices: system.devices.iter().map(ToString::to_string).collect(),
        health: health.to_owned(),
        finding: found.map(|f| f.finding.clone()).unwrap_or_default(),
        since_ms: found.map_or(0, |f| f.since.0),
        probes: system.probes,
    }
}
