//! Whether a selector chooses a device.

use wardround_signing::Digest;

use crate::model::{Device, DeviceId, Selector, SiteInventory};

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

/// `Ok` when every criterion that is present holds; otherwise the first that does not, in words.
pub(super) fn matches(selector: &Selector, site: &SiteInventory, device: &Device) -> Result<(), String> {
    for (key, wanted) in &selector.labels {
        match device.labels.get(key).or_else(|| site.labels.get(key)) {
            Some(value) if value == wanted => {}
            Some(value) => return Err(format!("label {key} is {value}, not {wanted}")),
            None => return Err(format!("label {key}={wanted} is missing")),
        }
    }
    if !selector.platforms.is_empty() && !selector.platforms.iter().any(|p| p.matches(&device.platform)) {
        return Err(format!("platform {} is not among those named", device.platform));
    }
    if !selector.sites.is_empty() && !selector.sites.contains(&site.site) {
        return Err(format!("site {} is not among those named", site.site));
    }
    if !selector.regions.is_empty() && !selector.regions.contains(&site.region) {
        return Err(format!("region {:?} is not among those named", site.region));
    }
    if !selector.devices.is_empty() && !selector.devices.contains(&device.id) {
        return Err("the device is not among those named".to_owned());
    }
    match selector.percent {
        Some(percent) if place(&device.id) >= percent.basis_points() => {
            Err(format!("it is not among the first {percent}"))
        }
        _ => Ok(()),
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
