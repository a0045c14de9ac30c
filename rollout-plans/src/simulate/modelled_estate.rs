//! A modelled estate: sites and devices that a plan could have been written for, so that a plan can be tried before there is
//! an estate, and beyond the size of one's own.

use std::collections::{BTreeMap, BTreeSet};

use super::model::Model;
use crate::{
    estate::Estate,
    model::{
        ClinicalSystem, Device, DeviceId, GroupId, InvalidId, Labels, Patch, Plan, Platform, Selector, SiteHours,
        SiteId, SiteInventory, SystemId,
    },
};

/// How large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Sites.
    pub sites: usize,
    /// Devices of each.
    pub devices_each: usize,
}

/// Regions where a plan names none.
const REGIONS: [&str; 4] = ["east", "north", "south", "west"];
/// Models of devices; every platform has each.
const MODELS: [&str; 3] = ["model-a", "model-b", "model-c"];
/// The type of sites, beside those that a plan names.
const SITE_TYPE: &str = "acute";
/// Kinds of clinical systems, beside those that a plan names.
const KINDS: [&str; 4] = ["lab", "pacs", "pharmacy", "viewer"];
/// Devices that one clinical system needs.
const DEVICES_OF_SYSTEM: usize = 3;
/// Of the devices of a wave that goes by labels one in so many has them; in the first wave, one in a hundred.
const LABELLED: usize = 10;
const CANARIES: usize = 100;
/// What a platform says where a pattern leaves it open: "not applicable" (NIST IR 7695, section 5.3.1), which only `*` covers.
const OPEN_PART: &str = "-";

/// An estate with the regions, sites, devices, platforms and labels that the plan and the bad patch name.
///
/// # Errors
/// A platform of patch and plan that can't be made into one of a device.
pub fn modelled_estate(plan: &Plan, patch: &Patch, model: &Model, shape: Shape) -> Result<Estate, String> {
    let platforms = platforms(plan, patch)?;
    let selectors = || std::iter::once(&plan.eligible).chain(plan.waves.iter().map(|w| &w.select));
    let mut regions: BTreeSet<&str> = selectors().flat_map(|s| &s.regions).map(String::as_str).collect();
    if regions.len() < 2 {
        regions.extend(REGIONS);
    }
    let regions: Vec<&str> = regions.into_iter().collect();
    let mut types: BTreeSet<&str> = selectors().flat_map(|s| &s.site_types).map(String::as_str).collect();
    types.insert(SITE_TYPE);
    let types: Vec<&str> = types.into_iter().collect();
    let bad = model.bad_patch.as_ref();
    let mut kinds: BTreeSet<&str> = selectors().flat_map(|s| &s.systems).map(String::as_str).collect();
    kinds.extend(KINDS);
    kinds.extend(bad.map(|b| b.system.as_str()).filter(|kind| !kind.is_empty()));
    let kinds: Vec<&str> = kinds.into_iter().collect();
    let named: BTreeSet<SiteId> =
        selectors().flat_map(|s| s.sites.iter().cloned().chain(s.devices.iter().map(DeviceId::site))).collect();
    let wanted: BTreeSet<&DeviceId> = selectors().flat_map(|s| &s.devices).collect();
    let width = shape.sites.max(1).to_string().len();
    let mut sites = named.into_iter().collect::<Vec<_>>();
    for n in 1.. {
        if sites.len() >= shape.sites {
            break;
        }
        sites.push(SiteId::new(&format!("m{n:0width$}")).map_err(wrong)?);
    }
    let mut inventories = Vec::with_capacity(sites.len());
    for (s, id) in sites.into_iter().enumerate() {
        let named: Vec<DeviceId> = wanted.iter().filter(|d| d.site() == id).map(|d| (*d).clone()).collect();
        let maker = Maker {
            s,
            id,
            platforms: &platforms,
            kinds: &kinds,
            model: bad.map_or("", |b| &b.device_model),
            labels: &plan.eligible.labels,
        };
        // The whole cycle of types comes in every region.
        let (region, site_type) = (regions[s % regions.len()], types[(s / regions.len()) % types.len()]);
        inventories.push(maker.site(region, site_type, &model.people.zone, shape.devices_each, named)?);
    }
    label(plan, &mut inventories);
    let mut estate = Estate::default();
    inventories.into_iter().for_each(|inventory| estate.put(inventory));
    Ok(estate)
}

#[expect(clippy::needless_pass_by_value, reason = "stands in `map_err`")]
fn wrong(error: InvalidId) -> String {
    error.to_string()
}

/// One platform for each pattern of the patch that the plan admits.
fn platforms(plan: &Plan, patch: &Patch) -> Result<Vec<Platform>, String> {
    let admitted = &plan.eligible.platforms;
    let mut found = BTreeSet::new();
    for pattern in patch.variants.iter().flat_map(|v| &v.platforms) {
        for also in admitted.iter().filter(|a| a.overlaps(pattern)).map(Some).chain(admitted.is_empty().then_some(None))
        {
            found.insert(of_pattern(pattern, also)?);
        }
    }
    if found.is_empty() {
        return Err(format!("no platform fits both {} and the plan's `eligible`", patch.id));
    }
    Ok(found.into_iter().collect())
}

/// A platform that both patterns cover. Colons that are escaped stay with their part.
fn of_pattern(pattern: &Platform, also: Option<&Platform>) -> Result<Platform, String> {
    let parts = |p: &Platform| p.parts().map(str::to_owned).collect::<Vec<_>>();
    let (mut merged, also) = (parts(pattern), also.map(parts).unwrap_or_default());
    for (part, other) in merged.iter_mut().zip(also) {
        if part == "*" {
            *part = other;
        }
    }
    let defaults = ["o", "vendor", "system"];
    for (at, part) in merged.iter_mut().enumerate().filter(|(_, part)| *part == "*") {
        defaults.get(at).copied().unwrap_or(OPEN_PART).clone_into(part);
    }
    Platform::new(&format!("cpe:2.3:{}", merged.join(":"))).map_err(|e| e.to_string())
}

/// Makes one site.
struct Maker<'a> {
    s: usize,
    id: SiteId,
    platforms: &'a [Platform],
    kinds: &'a [&'a str],
    /// That the bad patch names; empty means none.
    model: &'a str,
    /// That every eligible device has.
    labels: &'a Labels,
}

impl Maker<'_> {
    fn site(
        self,
        region: &str,
        site_type: &str,
        zone: &str,
        count: usize,
        named: Vec<DeviceId>,
    ) -> Result<SiteInventory, String> {
        let mut ids = named;
        for n in 1.. {
            if ids.len() >= count {
                break;
            }
            ids.push(DeviceId::new(&format!("{}/d{n:02}", self.id)).map_err(wrong)?);
        }
        ids.sort();
        let twins = GroupId::new("twins").map_err(wrong)?;
        let devices = ids.iter().enumerate().map(|(d, id)| self.device(d, id.clone(), &twins)).collect::<Vec<_>>();
        let systems = self.systems(&ids)?;
        Ok(SiteInventory {
            site: self.id.clone(),
            display_name: String::new(),
            region: region.to_owned(),
            site_type: site_type.to_owned(),
            labels: self.labels.clone(),
            groups: BTreeMap::from([(twins, 1)]),
            hours: SiteHours { time_zone: zone.parse().ok(), ..SiteHours::default() },
            devices,
            systems,
        })
    }

    fn device(&self, d: usize, id: DeviceId, twins: &GroupId) -> Device {
        let models: Vec<&str> = MODELS.into_iter().chain(Some(self.model).filter(|m| !m.is_empty())).collect();
        let at = self.s + d;
        Device {
            id,
            platform: self.platforms[at % self.platforms.len()].clone(),
            model: models[(at / self.platforms.len()) % models.len()].to_owned(),
            labels: Labels::new(),
            // Of the first two one can stand in for the other.
            group: (d < 2).then(|| twins.clone()),
            windows: Vec::new(),
            patches: Vec::new(),
        }
    }

    fn systems(&self, ids: &[DeviceId]) -> Result<Vec<ClinicalSystem>, String> {
        let named = |(n, devices): (usize, &[DeviceId])| {
            let kind = self.kinds[(self.s + n) % self.kinds.len()];
            Ok(ClinicalSystem {
                id: SystemId::new(&format!("{}/s{n}", self.id)).map_err(wrong)?,
                kind: kind.to_owned(),
                critical: false,
                probes: Some(1),
                devices: devices.to_vec(),
            })
        };
        ids.chunks(DEVICES_OF_SYSTEM).enumerate().map(named).collect()
    }
}

/// Gives every wave that goes by labels some devices that have them, spread evenly over those that fit its other criteria.
fn label(plan: &Plan, inventories: &mut [SiteInventory]) {
    let mut taken: BTreeSet<(usize, usize)> = BTreeSet::new();
    for (w, wave) in plan.waves.iter().enumerate() {
        let select = &wave.select;
        let wanted: Labels =
            select.labels.iter().filter(|(k, v)| plan.eligible.labels.get(*k) != Some(v)).map(own).collect();
        if wanted.is_empty() {
            continue;
        }
        let mut fit = Vec::new();
        for (s, site) in inventories.iter().enumerate() {
            let here = site.devices.iter().enumerate().filter(|(_, device)| fits(select, site, device));
            fit.extend(here.map(|(d, _)| (s, d)).filter(|at| !taken.contains(at)));
        }
        let share = fit.len() / if w == 0 { CANARIES } else { LABELLED };
        let count = share.max(2 * wave.gate.evidence_min as usize).clamp(1, fit.len().max(1));
        let stride = (fit.len() / count).max(1);
        for (s, d) in fit.into_iter().step_by(stride).take(count) {
            taken.insert((s, d));
            inventories[s].devices[d].labels.extend(wanted.clone());
        }
    }
}

fn own((key, value): (&String, &String)) -> (String, String) {
    (key.clone(), value.clone())
}

/// Apart from labels and shares.
fn fits(select: &Selector, site: &SiteInventory, device: &Device) -> bool {
    (select.sites.is_empty() || select.sites.contains(&site.site))
        && (select.regions.is_empty() || select.regions.contains(&site.region))
        && (select.site_types.is_empty() || select.site_types.contains(&site.site_type))
        && (select.systems.is_empty()
            || site.systems.iter().any(|s| select.systems.contains(&s.kind) && s.devices.contains(&device.id)))
        && (select.devices.is_empty() || select.devices.contains(&device.id))
        && (select.platforms.is_empty() || select.platforms.iter().any(|p| p.matches(&device.platform)))
}
