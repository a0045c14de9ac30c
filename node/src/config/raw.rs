//! The site file as it is written. Each value keeps its place, so that a complaint can point at it.
//!
//! Transports and probes are flat here, with every field of every kind optional: serde's tagged enums lose the places.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::Spanned;

pub(super) type Text = Spanned<String>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSite {
    pub(super) site: Text,
    #[serde(default)]
    pub(super) display_name: String,
    #[serde(default)]
    pub(super) region: String,
    pub(super) r#type: Option<Text>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) groups: BTreeMap<String, Spanned<u32>>,
    pub(super) concurrency_max: Option<Spanned<u32>>,
    pub(super) time_zone: Option<Text>,
    pub(super) windows: Option<Spanned<Vec<Spanned<RawWindow>>>>,
    pub(super) freezes: Option<Spanned<Vec<Spanned<RawFreeze>>>>,
    pub(super) bandwidth: Option<RawBandwidth>,
    pub(super) cache: Option<RawCache>,
    pub(super) inventory: Option<RawInventory>,
    #[serde(default)]
    pub(super) devices: Vec<RawDevice>,
    #[serde(default)]
    pub(super) systems: Vec<RawSystem>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDevice {
    pub(super) name: Text,
    pub(super) platform: Text,
    #[serde(default)]
    pub(super) model: String,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    pub(super) group: Option<Text>,
    pub(super) transport: Spanned<RawTransport>,
    pub(super) in_use: Option<RawInUse>,
    pub(super) write_filter: Option<RawWriteFilter>,
    pub(super) rollback: Option<Spanned<RawRollback>>,
    pub(super) windows: Option<Spanned<Vec<Spanned<RawWindow>>>>,
    #[serde(default)]
    pub(super) patches: Vec<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWindow {
    pub(super) days: Option<Spanned<Vec<Text>>>,
    pub(super) from: Text,
    pub(super) to: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFreeze {
    pub(super) from: Text,
    pub(super) to: Text,
    pub(super) reason: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBandwidth {
    pub(super) limit: Option<Text>,
    pub(super) hours: Option<Spanned<Vec<Spanned<RawRateHours>>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRateHours {
    pub(super) days: Option<Spanned<Vec<Text>>>,
    pub(super) from: Text,
    pub(super) to: Text,
    pub(super) limit: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCache {
    pub(super) size_max: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawInventory {
    pub(super) interval: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawInUse {
    pub(super) command: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    pub(super) logged_on: bool,
    #[serde(default)]
    pub(super) processes: Vec<Text>,
    #[serde(default)]
    pub(super) connections: Vec<Spanned<u16>>,
    #[serde(default)]
    pub(super) confirm: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWriteFilter {
    pub(super) kind: Text,
    pub(super) volume: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRollback {
    pub(super) snapshot: Option<RawSnapshot>,
    #[serde(default)]
    pub(super) restore_point: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSnapshot {
    pub(super) take: Spanned<Vec<String>>,
    pub(super) restore: Spanned<Vec<String>>,
    pub(super) remove: Option<Spanned<Vec<String>>>,
    pub(super) fresh_for: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTransport {
    pub(super) kind: Text,
    pub(super) root: Option<Text>,
    pub(super) shell: Option<Text>,
    pub(super) host: Option<Text>,
    pub(super) port: Option<Spanned<u16>>,
    pub(super) user: Option<Text>,
    pub(super) identity_file: Option<Text>,
    pub(super) host_key: Option<Text>,
    pub(super) upload_dir: Option<Text>,
    pub(super) device_dir: Option<Text>,
    pub(super) legacy: Option<RawLegacy>,
    pub(super) program: Option<Spanned<Vec<String>>>,
    pub(super) options: Option<BTreeMap<String, Text>>,
    pub(super) credentials: Option<BTreeMap<String, Spanned<RawSecret>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLegacy {
    #[serde(default)]
    pub(super) kex: Vec<Text>,
    #[serde(default)]
    pub(super) host_keys: Vec<Text>,
    #[serde(default)]
    pub(super) ciphers: Vec<Text>,
    #[serde(default)]
    pub(super) macs: Vec<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSystem {
    pub(super) name: Text,
    #[serde(default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) critical: bool,
    #[serde(default)]
    pub(super) devices: Vec<Text>,
    #[serde(default)]
    pub(super) probes: Vec<Spanned<RawProbe>>,
    pub(super) interval: Option<Text>,
    pub(super) failures: Option<Spanned<u32>>,
    pub(super) successes: Option<Spanned<u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProbe {
    pub(super) kind: Text,
    pub(super) host: Option<Text>,
    pub(super) port: Option<Spanned<u16>>,
    pub(super) called_ae: Option<Text>,
    pub(super) calling_ae: Option<Text>,
    pub(super) url: Option<Text>,
    pub(super) status: Option<Spanned<u16>>,
    pub(super) contains: Option<Text>,
    pub(super) argv: Option<Spanned<Vec<String>>>,
    pub(super) timeout: Option<Text>,
    pub(super) tls: Option<Spanned<RawTls>>,
    pub(super) message: Option<Text>,
    pub(super) message_file: Option<Text>,
    pub(super) version: Option<Text>,
    pub(super) at_least: Option<Text>,
    pub(super) database: Option<Text>,
    pub(super) user: Option<Text>,
    pub(super) password: Option<Spanned<RawSecret>>,
    pub(super) device: Option<Text>,
    pub(super) service: Option<Text>,
    pub(super) state: Option<Text>,
    pub(super) process: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTls {
    pub(super) ca: Option<Text>,
    pub(super) server_name: Option<Text>,
    pub(super) cert: Option<Text>,
    pub(super) key: Option<Text>,
}

/// Where a secret is kept. Anything else is read too, so that it can be refused in words.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum RawSecret {
    Place(BTreeMap<String, RawPlace>),
    Else(IgnoredAny),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum RawPlace {
    Text(String),
    List(Vec<String>),
    Else(IgnoredAny),
}
