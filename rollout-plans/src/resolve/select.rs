//! Whether a selector chooses a device.

use std::{collections::BTreeSet, fmt};

use wardround_signing::Digest;

use crate::model::{Device, DeviceId, Percent, Selector, SiteId, SiteInventory};

/// Separates this use of SHA-256 from every other. Changing it would move devices between waves.
const PERCENT_DOMAIN: &[u8] = b"wardround/percent/v1\n";

/// A device's fixed place on the scale of 10 000 basis points. It depends on the device id alone, so that growing a
/// percentage only adds devices, and adding a site moves none.
fn place(id: &DeviceId) -> u32 {
    let digest = Digest::of(&[PERCENT_DOMAIN, id.as_str().as_bytes()].concat());
    let first = digest.as_bytes().first_chunk::<8>().copied().unwrap_or_default();
    // Below 10 000 by the remainder; the bias of 2^64 mod 10 000 is beyond notice.
    u32::try_from(u64::from_be_bytes(first) % 10_000).unwrap_or_default()
}

/// A selector made ready for an estate of a million devices: its lists are looked up, not searched.
pub(super) struct Chooser<'s> {
    selector: &'s Selector,
    sites: BTreeSet<&'s SiteId>,
    regions: BTreeSet<&'s str>,
    devices: BTreeSet<&'s DeviceId>,
}

impl<'s> Chooser<'s> {
    pub(super) fn new(selector: &'s Selector) -> Self {
        Self {
            selector,
            sites: selector.sites.iter().collect(),
            regions: selector.regions.iter().map(String::as_str).collect(),
            devices: selector.devices.iter().collect(),
        }
    }

    /// Whether every criterion that is present holds.
    pub(super) fn takes(&self, site: &SiteInventory, device: &Device) -> bool {
        self.refusal(site, device).is_none()
    }

    /// `Ok`, or the first criterion that does not hold, in words.
    pub(super) fn check(&self, site: &SiteInventory, device: &Device) -> Result<(), String> {
        self.refusal(site, device).map_or(Ok(()), |why| Err(why.to_string()))
    }

    /// As far as a device's id alone tells: what a signer can check without trusting anybody's word about the estate.
    pub(super) fn check_id(&self, id: &DeviceId) -> Result<(), String> {
        self.refusal_by_id(id).map_or(Ok(()), |why| Err(why.to_string()))
    }

    fn refusal<'d>(&self, site: &'d SiteInventory, device: &'d Device) -> Option<Refusal<'s, 'd>> {
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
        if !self.regions.is_empty() && !self.regions.contains(site.region.as_str()) {
            return Some(Refusal::NotNamed("region", &site.region));
        }
        self.refusal_by_id(&device.id)
    }

    fn refusal_by_id<'d>(&self, id: &'d DeviceId) -> Option<Refusal<'s, 'd>> {
        if !self.sites.is_empty() && !self.sites.contains(&id.site()) {
            return Some(Refusal::NotNamed("site", id.as_str().split('/').next().unwrap_or_default()));
        }
        if !self.devices.is_empty() && !self.devices.contains(id) {
            return Some(Refusal::NotNamed("device", id.as_str()));
        }
        let percent = self.selector.percent?;
        (place(id) >= percent.basis_points()).then_some(Refusal::Percent(percent))
    }
}

/// Why a device is not chosen; put into words only for those that are left out.
enum Refusal<'s, 'd> {
    Label { key: &'s str, wanted: &'s str, value: Option<&'d str> },
    NotNamed(&'static str, &'d str),
    Percent(Percent),
}

impl fmt::Display for Refusal<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label { key, wanted, value: Some(value) } => write!(f, "label {key} is {value}, not {wanted}"),
            Self::Label { key, wanted, value: None } => write!(f, "label {key}={wanted} is missing"),
            Self::NotNamed(what, "") => write!(f, "it has no {what}, and some are named"),
            Self::NotNamed(what, name) => write!(f, "{what} {name} is not among those named"),
            Self::Percent(percent) => write!(f, "it is not among the first {percent}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Yesterday's places: a signed rollout must resolve alike in every version.
    #[test]
    fn places_never_change() {
        let places = ["rx1/ct-01", "rx1/ct-02", "ry2/lab-01"].map(|id| place(&DeviceId::new(id).unwrap()));
        assert_eq!(places, [883, 8240, 8481]);
    }
}
