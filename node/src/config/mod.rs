//! The site file: what a site engineer writes about one site, its devices and its clinical systems.
//!
//! `docs/site-file.md` documents every field. Names in the file carry no site prefix; ids here do.

mod bandwidth;
mod care;
mod error;
mod hours;
mod probe;
mod raw;
mod read;
mod secret;
#[cfg(test)]
mod tests;
mod tls;
mod transport;
mod validate;

use std::collections::BTreeMap;

use wardround_rollout_plans::model::{DeviceId, DurationMs, Platform, SiteInventory, SystemId};

pub use bandwidth::{Bandwidth, CACHE_BYTES_DEFAULT, Limit, Rate, RateHours};
pub use care::{FilterKind, InUse, RollbackMeans, SNAPSHOT_FRESH_DEFAULT, SNAPSHOT_FRESH_MAX, Snapshot, WriteFilter};
pub use error::ConfigError;
pub use probe::{
    CERTIFICATE_LEFT_DEFAULT, Check, Endpoint, HL7_MESSAGE_BYTES_MAX, Hl7Message, PROBE_TIMEOUT_DEFAULT,
    PROBE_TIMEOUT_MAX, ProbeSpec, ServiceState,
};
#[cfg(test)]
use read::parse;
pub use read::{SITE_FILE_BYTES_MAX, parse_site_file, read_site_file};
pub use tls::TlsSettings;
pub use transport::{AdapterConfig, LegacyAlgorithms, LocalShell, RemoteShell, SshConfig, TransportConfig};

/// Devices that a node works on at once, when the file does not say.
pub const CONCURRENCY_DEFAULT: u32 = 4;
/// Most devices that a node may work on at once: each may hold an SSH connection and a payload copy.
pub const CONCURRENCY_MAX: u32 = 64;
/// Most clinical systems of one site.
pub const SYSTEMS_MAX: usize = 1_000;
/// Most probes of one clinical system: they run in parallel, each with a socket or process of its own.
pub const SYSTEM_PROBES_MAX: usize = 16;
/// Between two looks at a system: no load for anyone, and yet no older than a person's look at the console.
pub const SYSTEM_INTERVAL: (DurationMs, DurationMs) = (DurationMs::from_secs(1), DurationMs::from_secs(15 * 60));
/// Most answers in a row that a change of a system's health may need.
pub const SYSTEM_COUNT_MAX: u32 = 20;

/// Between two looks at what a device is made of, when the file does not say.
pub const INVENTORY_INTERVAL_DEFAULT: DurationMs = DurationMs::from_secs(24 * 3600);
/// Shortest and longest: each look takes an old device some seconds, and a month is too long for somebody's hand to stay unseen.
pub const INVENTORY_INTERVAL: (DurationMs, DurationMs) =
    (DurationMs::from_secs(5), DurationMs::from_secs(30 * 24 * 3600));

/// A whole site file, validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteFile {
    /// What the controller is told.
    pub inventory: SiteInventory,
    /// How to reach each device.
    pub devices: BTreeMap<DeviceId, DeviceConfig>,
    /// How to look at each clinical system.
    pub systems: BTreeMap<SystemId, SystemConfig>,
    /// Devices that the node works on at once, 1 to [`CONCURRENCY_MAX`].
    pub concurrency_max: u32,
    /// How fast the node may fetch payloads.
    pub bandwidth: Bandwidth,
    /// Bytes that payloads may take up on the node, but for those that are needed.
    pub cache_bytes_max: u64,
    /// Between two looks at what a device is made of, within [`INVENTORY_INTERVAL`].
    pub inventory_interval: DurationMs,
}

impl SiteFile {
    /// The devices that an inventory is made of: all but the node's own program, which answers no questions.
    pub(crate) fn devices_to_look_at(&self) -> impl Iterator<Item = &DeviceId> {
        let asked = |device: &DeviceConfig| !matches!(device.transport, TransportConfig::Node);
        self.devices.iter().filter(move |(_, config)| asked(config)).map(|(device, _)| device)
    }
}

/// How a node reaches and treats one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceConfig {
    /// The operating system that the site declares.
    pub platform: Platform,
    /// How to reach it.
    pub transport: TransportConfig,
    /// How to learn whether a clinician is using it; none means that it may be patched within the windows at any time.
    pub in_use: Option<InUse>,
    /// What throws away what is written, unless it is turned off first.
    pub write_filter: Option<WriteFilter>,
    /// What takes it back, beside the package's own means.
    pub rollback: RollbackMeans,
}

/// How a node looks at one clinical system. It is healthy when every probe is; without probes its health is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemConfig {
    /// At most [`SYSTEM_PROBES_MAX`].
    pub probes: Vec<ProbeSpec>,
    /// Between two looks while no plan says otherwise, within [`SYSTEM_INTERVAL`].
    pub interval: Option<DurationMs>,
    /// Failures in a row that make it unhealthy while no plan says otherwise, 1 to [`SYSTEM_COUNT_MAX`].
    pub failures: Option<u32>,
    /// Good answers in a row that make it healthy again, 1 to [`SYSTEM_COUNT_MAX`].
    pub successes: Option<u32>,
}
