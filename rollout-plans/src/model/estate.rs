//! The estate: sites, devices and clinical systems, as nodes report them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DeviceId, GroupId, PatchId, Platform, SiteHours, SiteId, SystemId, Window};

/// Labels: short words on sites and devices, matched by plans.
pub type Labels = BTreeMap<String, String>;

/// Most devices of one site. A large trust has some thousands; the report must stay below the gRPC message limit.
pub const SITE_DEVICES_MAX: usize = 5_000;

/// What a site's node says of its site. Each inventory replaces the one before as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteInventory {
    /// The site.
    pub site: SiteId,
    /// For people.
    #[serde(default)]
    pub display_name: String,
    /// Region; empty means none.
    #[serde(default)]
    pub region: String,
    /// What kind of place it is ("acute", "community"); empty means that the site does not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub site_type: String,
    /// Labels of the site; devices inherit them.
    #[serde(default)]
    pub labels: Labels,
    /// Redundancy groups and how many of their devices may be disrupted at once (at least 1).
    #[serde(default)]
    pub groups: BTreeMap<GroupId, u32>,
    /// When the site allows work, and by which clock.
    #[serde(default, skip_serializing_if = "SiteHours::is_default")]
    pub hours: SiteHours,
    /// Devices.
    pub devices: Vec<Device>,
    /// Clinical systems.
    #[serde(default)]
    pub systems: Vec<ClinicalSystem>,
}

/// A machine that gets patched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Id.
    pub id: DeviceId,
    /// Its operating system.
    pub platform: Platform,
    /// Maker's model; empty means unknown.
    #[serde(default)]
    pub model: String,
    /// Labels.
    #[serde(default)]
    pub labels: Labels,
    /// Redundancy group of its site, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupId>,
    /// When it may be worked on, beside the site's windows; none means whenever the site allows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    /// Patches that its site file says are there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<PatchId>,
}

/// A service that patients depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClinicalSystem {
    /// Id.
    pub id: SystemId,
    /// Kind ("pacs", "viewer", "lab").
    #[serde(default)]
    pub kind: String,
    /// One confirmed failure is enough to act.
    #[serde(default)]
    pub critical: bool,
    /// How many probes watch it; absent where the node does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<u32>,
    /// Devices of its site that it needs: these are blamed when it fails after their patch.
    pub devices: Vec<DeviceId>,
}
