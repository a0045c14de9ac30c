//! Which devices a plan chooses.

use serde::{Deserialize, Serialize};

use super::{Device, DeviceId, Labels, Percent, Platform, SiteId, SiteInventory};

/// Most devices of each combination that a representative wave may ask for: beyond that a share says it better.
pub const REPRESENTATIVE_MAX: u32 = 100;

/// A choice of devices. Every criterion that is present must hold; `percent`, `count` and `representative` then draw from
/// what is left, by a stable hash of the device id, and at most one of the three is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selector {
    /// Labels of the device or its site; each must be there with this value.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Any of these CPE 2.3 patterns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// Any of these sites.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sites: Vec<SiteId>,
    /// Any of these regions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
    /// At a site of any of these types.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub site_types: Vec<String>,
    /// Needed by a clinical system of any of these kinds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub systems: Vec<String>,
    /// Any of these devices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceId>,
    /// Alone: each device whose fixed place on the scale of the hash lies below this share. With `by`: this share of every
    /// stratum, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<Percent>,
    /// The first so many by hash of those that no earlier wave took; with `by` the first so many of every stratum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// What makes a stratum: devices that are alike in all of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<Axis>,
    /// So many devices of every combination of platform, model and kind of clinical system that later waves have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub representative: Option<u32>,
    /// Everything that is left; stands alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remaining: bool,
}

impl Selector {
    /// Whether it draws from what its criteria leave, so that the choice of one device depends on the others.
    #[must_use]
    pub fn draws(&self) -> bool {
        self.count.is_some() || self.representative.is_some() || (self.percent.is_some() && !self.by.is_empty())
    }
}

/// What devices of one stratum have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// Platform, the whole CPE name.
    Platform,
    /// Maker's model.
    Model,
    /// Site.
    Site,
    /// Region of the site.
    Region,
    /// Type of the site.
    SiteType,
    /// The kinds of clinical systems that need it, all of them together.
    System,
}

impl Axis {
    /// All, with the words of plans.
    pub const ALL: [(&'static str, Self); 6] = [
        ("platform", Self::Platform),
        ("model", Self::Model),
        ("site", Self::Site),
        ("region", Self::Region),
        ("site_type", Self::SiteType),
        ("system", Self::System),
    ];

    /// The word in plans.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL[self as usize].0
    }

    /// What the device has there, where that is one text; the kinds of its clinical systems are not.
    pub(crate) fn text<'e>(self, site: &'e SiteInventory, device: &'e Device) -> Option<&'e str> {
        match self {
            Self::Platform => Some(device.platform.as_str()),
            Self::Model => Some(&device.model),
            Self::Site => Some(site.site.as_str()),
            Self::Region => Some(&site.region),
            Self::SiteType => Some(&site.site_type),
            Self::System => None,
        }
    }
}
