//! From the written form to the validated one: every rule that YAML and serde can't state.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    str::FromStr,
};

use serde_saphyr::Spanned;
use wardround_rollout_plans::language::is_hidden;
use wardround_rollout_plans::model::{
    ClinicalSystem, Device, DeviceId, GroupId, Platform, SITE_DEVICES_MAX, SiteId, SiteInventory, SystemId,
};

use super::{
    CONCURRENCY_DEFAULT, CONCURRENCY_MAX, ConfigError, DeviceConfig, INVENTORY_INTERVAL, INVENTORY_INTERVAL_DEFAULT,
    RollbackMeans, SYSTEM_COUNT_MAX, SYSTEM_INTERVAL, SYSTEM_PROBES_MAX, SYSTEMS_MAX, SiteFile, SystemConfig,
    TransportConfig,
    probe::Around,
    raw::{RawDevice, RawSite, RawSystem, Text},
};

/// Most arguments, and most bytes of one, of a command that the node runs itself.
const ARGV_MAX: (usize, usize) = (64, 4096);
/// Most patches that a device is said to have: others require or replace only so many.
const PATCHES_MAX: usize = 500;
/// Longest type of a site, bytes: as long as a label's value.
const SITE_TYPE_BYTES_MAX: usize = 63;

/// Knows the file that is complained of and the directory that relative paths begin at.
pub(super) struct Validator<'a> {
    pub(super) file: &'a str,
    pub(super) dir: &'a Path,
}

pub(super) type Checked<T> = Result<T, ConfigError>;

impl Validator<'_> {
    pub(super) fn fail<T, V>(
        &self,
        at: &Spanned<V>,
        field: &str,
        message: impl Into<String>,
        hint: &str,
    ) -> Checked<T> {
        Err(ConfigError {
            file: self.file.to_owned(),
            line: at.referenced.line(),
            column: at.referenced.column(),
            field: field.to_owned(),
            message: message.into(),
            hint: hint.to_owned(),
        })
    }

    /// Parses the text with `T`'s own rules and keeps its words.
    pub(super) fn parsed<T: FromStr<Err: std::fmt::Display>>(
        &self,
        text: &Text,
        whole: &str,
        field: &str,
    ) -> Checked<T> {
        T::from_str(whole).or_else(|error| self.fail(text, field, error.to_string(), ""))
    }

    pub(super) fn site(&self, raw: RawSite) -> Checked<SiteFile> {
        let site: SiteId = self.parsed(&raw.site, &raw.site.value, "site")?;
        let mut groups = BTreeMap::new();
        for (name, limit) in &raw.groups {
            let field = format!("groups.{name}");
            let group = GroupId::new(name).or_else(|error| self.fail(limit, &field, error.to_string(), ""))?;
            if limit.value == 0 {
                return self.fail(
                    limit,
                    &field,
                    "at least 1 device must be allowed to be disrupted",
                    "write 1 or more",
                );
            }
            groups.insert(group, limit.value);
        }
        let concurrency_max = match &raw.concurrency_max {
            None => CONCURRENCY_DEFAULT,
            Some(n) if (1..=CONCURRENCY_MAX).contains(&n.value) => n.value,
            Some(n) => {
                let message = format!("{} is not from 1 to {CONCURRENCY_MAX}", n.value);
                return self.fail(n, "concurrency_max", message, "");
            }
        };
        if raw.devices.len() > SITE_DEVICES_MAX || raw.systems.len() > SYSTEMS_MAX {
            let message = format!("a site holds at most {SITE_DEVICES_MAX} devices and {SYSTEMS_MAX} clinical systems");
            return self.fail(&raw.site, "site", message, "split the site");
        }
        let site_type = match &raw.r#type {
            None => String::new(),
            Some(text) => self.site_type(text)?,
        };
        let hours = self.hours(raw.time_zone.as_ref(), raw.windows.as_ref(), raw.freezes.as_ref())?;
        let bandwidth = self.bandwidth(raw.bandwidth.as_ref())?;
        let cache_bytes_max = self.cache_bytes_max(raw.cache.as_ref())?;
        let inventory_interval = match raw.inventory.as_ref().and_then(|inventory| inventory.interval.as_ref()) {
            None => INVENTORY_INTERVAL_DEFAULT,
            Some(text) => {
                let interval = self.duration(text, "inventory.interval")?;
                let (least, most) = INVENTORY_INTERVAL;
                if interval < least || interval > most {
                    let message = format!("{} is not from {least} to {most}", text.value);
                    return self.fail(text, "inventory.interval", message, "");
                }
                interval
            }
        };
        let mut inventory = SiteInventory {
            site: site.clone(),
            display_name: raw.display_name,
            region: raw.region,
            site_type,
            labels: raw.labels,
            groups,
            hours,
            devices: Vec::new(),
            systems: Vec::new(),
        };
        let mut devices = BTreeMap::new();
        for (index, device) in raw.devices.into_iter().enumerate() {
            let name = device.name.clone();
            let (told, kept) = self.device(device, index, &inventory)?;
            let own = |config: &DeviceConfig| config.transport == TransportConfig::Node;
            if own(&kept) && devices.values().any(own) {
                let message = "a site has one node, and it is there already";
                return self.fail(&name, &format!("devices[{index}].transport"), message, "remove one of them");
            }
            devices.insert(told.id.clone(), kept);
            inventory.devices.push(told);
        }
        let mut systems = BTreeMap::new();
        for (index, system) in raw.systems.into_iter().enumerate() {
            let (told, kept) = self.system(system, index, &site, &devices, &systems)?;
            systems.insert(told.id.clone(), kept);
            inventory.systems.push(told);
        }
        Ok(SiteFile { inventory, devices, systems, concurrency_max, bandwidth, cache_bytes_max, inventory_interval })
    }

    /// One short plain line: plans name it, and people read it before they sign.
    fn site_type(&self, text: &Text) -> Checked<String> {
        let word = &text.value;
        if word.trim().is_empty() || word.len() > SITE_TYPE_BYTES_MAX || word.chars().any(is_hidden) {
            let message = format!("{:?} is no plain text of 1 to {SITE_TYPE_BYTES_MAX} bytes", word);
            return self.fail(text, "type", message, "a word such as acute or community");
        }
        Ok(word.clone())
    }

    fn device(&self, raw: RawDevice, index: usize, site: &SiteInventory) -> Checked<(Device, DeviceConfig)> {
        let field = |name: &str| format!("devices[{index}].{name}");
        let id: DeviceId = self.parsed(&raw.name, &format!("{}/{}", site.site, raw.name.value), &field("name"))?;
        if site.devices.iter().any(|d| d.id == id) {
            return self.fail(&raw.name, &field("name"), format!("{:?} is there twice", raw.name.value), "rename one");
        }
        let platform: Platform = self.parsed(&raw.platform, &raw.platform.value, &field("platform"))?;
        let group = match &raw.group {
            None => None,
            Some(text) => {
                let group: GroupId = self.parsed(text, &text.value, &field("group"))?;
                if !site.groups.contains_key(&group) {
                    let message = format!("redundancy group {:?} is not declared", text.value);
                    return self.fail(text, &field("group"), message, "add it under groups: with its limit");
                }
                Some(group)
            }
        };
        let in_use = match raw.in_use {
            None => None,
            Some(asked) => Some(self.in_use(&asked, &field("in_use"))?),
        };
        let write_filter = match &raw.write_filter {
            None => None,
            Some(filter) => Some(self.write_filter(filter, &field("write_filter"))?),
        };
        let rollback = match &raw.rollback {
            None => RollbackMeans::default(),
            Some(means) => self.rollback(means, &field("rollback"))?,
        };
        let windows = self.windows(raw.windows.as_ref(), &field("windows"))?;
        let transport = self.transport(&raw.transport, &field("transport"))?;
        if platform.is_node() != (transport == TransportConfig::Node) {
            let message = "the platform cpe:2.3:a:wardround:node:… and the transport of kind node go together";
            return self.fail(&raw.platform, &field("platform"), message, "docs/self-update.md shows the entry");
        }
        if transport == TransportConfig::Node && (raw.write_filter.is_some() || raw.rollback.is_some()) {
            let message = "the node's own program has no write filter, and a way back of its own";
            return self.fail(&raw.name, &field("transport"), message, "remove write_filter and rollback");
        }
        let mut patches = Vec::new();
        for (at, text) in raw.patches.iter().enumerate().take(PATCHES_MAX + 1) {
            let field = format!("devices[{index}].patches[{at}]");
            if at == PATCHES_MAX {
                let message = format!("at most {PATCHES_MAX} patches are told");
                return self.fail(text, &field, message, "name those that others require or replace");
            }
            patches.push(self.parsed(text, &text.value, &field)?);
        }
        let (model, labels) = (raw.model, raw.labels);
        let told = Device { id, platform: platform.clone(), model, labels, group, windows, patches };
        Ok((told, DeviceConfig { platform, transport, in_use, write_filter, rollback }))
    }

    pub(super) fn argv(&self, argv: &Spanned<Vec<String>>, field: &str) -> Checked<Vec<String>> {
        let words = &argv.value;
        if words.first().is_none_or(String::is_empty) {
            return self.fail(
                argv,
                field,
                "a program is missing",
                "write a list: [\"/path/to/program\", \"argument\"]",
            );
        }
        if words.len() > ARGV_MAX.0 || words.iter().any(|w| w.len() > ARGV_MAX.1 || w.contains('\0')) {
            let message = format!("at most {} words of {} bytes each, without NUL", ARGV_MAX.0, ARGV_MAX.1);
            return self.fail(argv, field, message, "put it into a script");
        }
        let mut words = words.clone();
        // A bare name is looked for in PATH; anything with a slash is a path, relative to the site file.
        if words[0].contains('/') {
            words[0] = self.path(&words[0]).display().to_string();
        }
        Ok(words)
    }

    pub(super) fn path(&self, text: &str) -> PathBuf {
        self.dir.join(text)
    }

    pub(super) fn needed<'t, V>(
        &self,
        value: Option<&'t Spanned<V>>,
        whole: &Text,
        field: &str,
        name: &str,
    ) -> Checked<&'t Spanned<V>> {
        match value {
            Some(value) => Ok(value),
            None => self.fail(
                whole,
                &format!("{field}.{name}"),
                format!("kind {:?} needs {name}", whole.value),
                "docs/site-file.md shows an example",
            ),
        }
    }

    /// Complains of the first field that is given but not wanted by the kind.
    pub(super) fn unwanted(&self, kind: &Text, field: &str, given: &[(&str, bool)], wanted: &[&str]) -> Checked<()> {
        match given.iter().find(|(name, given)| *given && !wanted.contains(name)) {
            None => Ok(()),
            Some((name, _)) => self.fail(
                kind,
                &format!("{field}.{name}"),
                format!("kind {:?} has no field {name:?}", kind.value),
                &format!("it takes {}", wanted.join(", ")),
            ),
        }
    }

    fn system(
        &self,
        raw: RawSystem,
        index: usize,
        site: &SiteId,
        devices: &BTreeMap<DeviceId, DeviceConfig>,
        known: &BTreeMap<SystemId, SystemConfig>,
    ) -> Checked<(ClinicalSystem, SystemConfig)> {
        let field = |name: &str| format!("systems[{index}].{name}");
        let id: SystemId = self.parsed(&raw.name, &format!("{site}/{}", raw.name.value), &field("name"))?;
        if known.contains_key(&id) {
            return self.fail(&raw.name, &field("name"), format!("{:?} is there twice", raw.name.value), "rename one");
        }
        let mut needs = BTreeSet::new();
        for name in &raw.devices {
            let device: DeviceId = self.parsed(name, &format!("{site}/{}", name.value), &field("devices"))?;
            if !devices.contains_key(&device) {
                let message = format!("device {:?} is not declared", name.value);
                return self.fail(name, &field("devices"), message, "add it under devices:, or correct the name");
            }
            needs.insert(device);
        }
        if raw.probes.len() > SYSTEM_PROBES_MAX {
            let message = format!("a system has at most {SYSTEM_PROBES_MAX} probes");
            return self.fail(&raw.name, &field("probes"), message, "split the system");
        }
        let around = Around { site, needs: &needs };
        let probes = raw
            .probes
            .iter()
            .enumerate()
            .map(|(n, probe)| self.probe(probe, &field(&format!("probes[{n}]")), &around))
            .collect::<Checked<Vec<_>>>()?;
        let told = ClinicalSystem {
            id,
            kind: raw.kind,
            critical: raw.critical,
            probes: Some(u32::try_from(probes.len()).unwrap_or(u32::MAX)),
            devices: needs.into_iter().collect(),
        };
        let count = |raw: &Option<Spanned<u32>>, name: &str| match raw {
            Some(n) if !(1..=SYSTEM_COUNT_MAX).contains(&n.value) => {
                let message = format!("{} is not from 1 to {SYSTEM_COUNT_MAX}", n.value);
                self.fail(n, &field(name), message, "")
            }
            raw => Ok(raw.as_ref().map(|n| n.value)),
        };
        let (failures, successes) = (count(&raw.failures, "failures")?, count(&raw.successes, "successes")?);
        let interval = match &raw.interval {
            None => None,
            Some(text) => {
                let interval = self.duration(text, &field("interval"))?;
                let (least, most) = SYSTEM_INTERVAL;
                if interval < least || interval > most {
                    let message = format!("{} is not from {least} to {most}", text.value);
                    return self.fail(text, &field("interval"), message, "");
                }
                Some(interval)
            }
        };
        Ok((told, SystemConfig { probes, interval, failures, successes }))
    }
}
