//! Whether the criteria of a selector hold for a device.

use std::{collections::BTreeSet, fmt};

use super::survey::Rank;
use crate::model::{Device, DeviceId, Percent, Selector, SiteId, SiteInventory};

/// A selector made ready for an estate of a million devices: its lists are looked up, not searched.
pub(super) struct Chooser<'s> {
    selector: &'s Selector,
    sites: BTreeSet<&'s SiteId>,
    regions: BTreeSet<&'s str>,
    site_types: BTreeSet<&'s str>,
    systems: BTreeSet<&'s str>,
    devices: BTreeSet<&'s DeviceId>,
}

impl<'s> Chooser<'s> {
    pub(super) fn new(selector: &'s Selector) -> Self {
        Self {
            selector,
            sites: selector.sites.iter().collect(),
            regions: selector.regions.iter().map(String::as_str).collect(),
            site_types: selector.site_types.iter().map(String::as_str).collect(),
            systems: selector.systems.iter().map(String::as_str).collect(),
            devices: selector.devices.iter().collect(),
        }
    }

    /// `Ok` where every criterion holds for a device that clinical systems of these `kinds` need, or the first that does
    /// not. Draws are not looked at, except for a plain percentage, which depends on the id alone.
    pub(super) fn check<'d>(
        &self,
        site: &'d SiteInventory,
        device: &'d Device,
        kinds: &[&str],
    ) -> Result<(), Refusal<'s, 'd>> {
        let refusal = self.refusal(site, device, kinds).or_else(|| self.refusal_by_id(&device.id));
        refusal.map_or(Ok(()), Err)
    }

    /// As far as a device's id alone tells: what a signer can check without trusting anybody's word about the estate.
    pub(super) fn check_id(&self, id: &DeviceId) -> Result<(), String> {
        self.refusal_by_id(id).map_or(Ok(()), |why| Err(why.to_string()))
    }

    /// Whether the id alone tells everything that the criteria ask for.
    pub(super) fn goes_by_id(&self) -> bool {
        let Selector { labels, platforms, regions, site_types, systems, .. } = self.selector;
        labels.is_empty() && platforms.is_empty() && [regions, site_types, systems].into_iter().all(Vec::is_empty)
    }

    /// What the id does not tell.
    fn refusal<'d>(&self, site: &'d SiteInventory, device: &'d Device, kinds: &[&str]) -> Option<Refusal<'s, 'd>> {
        for (key, wanted) in &self.selector.labels {
            let value = device.labels.get(key).or_else(|| site.labels.get(key));
            if value != Some(wanted) {
                return Some(Refusal::Label { key, wanted, value: value.map(String::as_str) });
            }
        }
        let platforms = &self.selector.platforms;
        if !platforms.is_empty() && !platforms.iter().any(|p| p.matches(&device.platform)) {
            return Some(Refusal::NotNamed("platform", device.platform.as_str()));
        }
        for (what, named, own) in
            [("region", &self.regions, &site.region), ("site type", &self.site_types, &site.site_type)]
        {
            if !named.is_empty() && !named.contains(own.as_str()) {
                return Some(Refusal::NotNamed(what, own));
            }
        }
        let needed = kinds.iter().any(|kind| self.systems.contains(kind));
        (!self.systems.is_empty() && !needed).then_some(Refusal::NotNeeded)
    }

    fn refusal_by_id<'d>(&self, id: &'d DeviceId) -> Option<Refusal<'s, 'd>> {
        if !self.sites.is_empty() && !self.sites.contains(&id.site()) {
            return Some(Refusal::NotNamed("site", id.as_str().split('/').next().unwrap_or_default()));
        }
        if !self.devices.is_empty() && !self.devices.contains(id) {
            return Some(Refusal::NotNamed("device", id.as_str()));
        }
        // With strata a place alone says nothing.
        let percent = self.selector.percent.filter(|_| self.selector.by.is_empty())?;
        (Rank::of(id).place() >= percent.basis_points()).then_some(Refusal::Percent(percent))
    }
}

/// Why a device is not chosen; put into words only for those that are left out.
pub(super) enum Refusal<'s, 'd> {
    Label { key: &'s str, wanted: &'s str, value: Option<&'d str> },
    NotNamed(&'static str, &'d str),
    NotNeeded,
    Percent(Percent),
}

impl fmt::Display for Refusal<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label { key, wanted, value: Some(value) } => write!(f, "label {key} is {value}, not {wanted}"),
            Self::Label { key, wanted, value: None } => write!(f, "label {key}={wanted} is missing"),
            Self::NotNamed(what, "") => write!(f, "it has no {what}, and some are named"),
            Self::NotNamed(what, name) => write!(f, "{what} {name} is not among those named"),
            Self::NotNeeded => f.write_str("no clinical system of the kinds named needs it"),
            Self::Percent(percent) => write!(f, "it is not among the first {percent}"),
        }
    }
}
