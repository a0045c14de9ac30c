//! From the written form to the validated one: every rule that YAML and serde can't state.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use base64::Engine as _;
use serde_saphyr::Spanned;
use wardround_rollout_plans::language::is_hidden;
use wardround_rollout_plans::model::{
    ClinicalSystem, Device, DeviceId, DurationMs, GroupId, Platform, SITE_DEVICES_MAX, SiteId, SiteInventory, SystemId,
};

use super::{
    CONCURRENCY_DEFAULT, CONCURRENCY_MAX, Check, ConfigError, DeviceConfig, InUse, LegacyAlgorithms, LocalShell,
    PROBE_TIMEOUT_DEFAULT, PROBE_TIMEOUT_MAX, ProbeSpec, RemoteShell, SYSTEM_PROBES_MAX, SYSTEMS_MAX, SiteFile,
    SshConfig, SystemConfig, TransportConfig,
    raw::{RawDevice, RawLegacy, RawProbe, RawSite, RawSystem, RawTransport, Text},
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
            let (told, kept) = self.device(device, index, &inventory)?;
            devices.insert(told.id.clone(), kept);
            inventory.devices.push(told);
        }
        let mut systems = BTreeMap::new();
        for (index, system) in raw.systems.into_iter().enumerate() {
            let (told, kept) = self.system(system, index, &site, &devices, &systems)?;
            systems.insert(told.id.clone(), kept);
            inventory.systems.push(told);
        }
        Ok(SiteFile { inventory, devices, systems, concurrency_max })
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
            Some(asked) => Some(InUse { command: self.argv(&asked.command, &field("in_use.command"))? }),
        };
        let windows = self.windows(raw.windows.as_ref(), &field("windows"))?;
        let transport = self.transport(&raw.transport, &field("transport"))?;
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
        Ok((told, DeviceConfig { platform, transport, in_use }))
    }

    fn argv(&self, argv: &Spanned<Vec<String>>, field: &str) -> Checked<Vec<String>> {
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

    fn path(&self, text: &str) -> PathBuf {
        self.dir.join(text)
    }

    fn needed<'t, V>(
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
    fn unwanted(&self, kind: &Text, field: &str, given: &[(&str, bool)], wanted: &[&str]) -> Checked<()> {
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

    fn transport(&self, whole: &Spanned<RawTransport>, field: &str) -> Checked<TransportConfig> {
        let raw = &whole.value;
        let given = [
            ("root", raw.root.is_some()),
            ("shell", raw.shell.is_some()),
            ("host", raw.host.is_some()),
            ("port", raw.port.is_some()),
            ("user", raw.user.is_some()),
            ("identity_file", raw.identity_file.is_some()),
            ("host_key", raw.host_key.is_some()),
            ("upload_dir", raw.upload_dir.is_some()),
            ("device_dir", raw.device_dir.is_some()),
            ("legacy", raw.legacy.is_some()),
        ];
        let kind = &raw.kind;
        match kind.value.as_str() {
            "local" => {
                self.unwanted(kind, field, &given, &["root", "shell"])?;
                let root = self.path(&self.needed(raw.root.as_ref(), kind, field, "root")?.value);
                let shell = self.needed(raw.shell.as_ref(), kind, field, "shell")?;
                let shell = match shell.value.as_str() {
                    "sh" => LocalShell::Sh,
                    "wine" => LocalShell::Wine,
                    other => {
                        let message = format!("{other:?} is no local shell");
                        return self.fail(shell, &format!("{field}.shell"), message, "write sh or wine");
                    }
                };
                Ok(TransportConfig::Local { root, shell })
            }
            "ssh" => {
                self.unwanted(kind, field, &given, &given.map(|(name, _)| name)[1..])?;
                self.ssh(raw, field).map(|ssh| TransportConfig::Ssh(Box::new(ssh)))
            }
            other => {
                self.fail(kind, &format!("{field}.kind"), format!("{other:?} is no transport"), "write local or ssh")
            }
        }
    }

    fn ssh(&self, raw: &RawTransport, field: &str) -> Checked<SshConfig> {
        let kind = &raw.kind;
        let word = |text: &Text, name: &str| {
            // The OpenSSH client takes these as arguments: nothing that begins with '-' or holds white space.
            let ok = |c: char| c.is_ascii_alphanumeric() || ".-_:@\\".contains(c);
            let text_ok = !text.value.is_empty()
                && text.value.len() <= 255
                && !text.value.starts_with('-')
                && text.value.chars().all(ok);
            if text_ok {
                Ok(text.value.clone())
            } else {
                let message = format!("{:?} is no plain {name}", text.value);
                self.fail(text, &format!("{field}.{name}"), message, "letters, digits and . - _ : only")
            }
        };
        let shell = self.needed(raw.shell.as_ref(), kind, field, "shell")?;
        let remote = match shell.value.as_str() {
            "sh" => RemoteShell::Sh,
            "cmd" => RemoteShell::Cmd,
            other => {
                let message = format!("{other:?} is no remote shell");
                return self.fail(shell, &format!("{field}.shell"), message, "write sh or cmd");
            }
        };
        let directory = |text: &Text, name: &str| {
            let ok = |c: char| c.is_ascii_alphanumeric() || "/\\:._-".contains(c);
            if text.value.len() > 2 && text.value.len() <= 200 && text.value.chars().all(ok) {
                Ok(text.value.trim_end_matches(['/', '\\']).to_owned())
            } else {
                let message = format!("{:?} is no plain directory", text.value);
                self.fail(
                    text,
                    &format!("{field}.{name}"),
                    message,
                    "use letters, digits and / \\ : . _ - only, at most 200",
                )
            }
        };
        let whole = self.needed(raw.device_dir.as_ref(), kind, field, "device_dir")?;
        let device_dir = directory(whole, "device_dir")?;
        // What runs there begins in another directory than the session that started it.
        let absolute = match remote {
            RemoteShell::Sh => device_dir.starts_with('/'),
            RemoteShell::Cmd => {
                matches!(device_dir.as_bytes(), [drive, b':', b'\\', ..] if drive.is_ascii_alphabetic())
            }
        };
        if !absolute {
            let message = format!("{device_dir:?} is no absolute directory of a device whose shell is {}", shell.value);
            return self.fail(
                whole,
                &format!("{field}.device_dir"),
                message,
                r"write C:\wardround, or /opt/wardround for sh",
            );
        }
        let identity = self.needed(raw.identity_file.as_ref(), kind, field, "identity_file")?;
        let host_key = self.needed(raw.host_key.as_ref(), kind, field, "host_key")?;
        Ok(SshConfig {
            host: word(self.needed(raw.host.as_ref(), kind, field, "host")?, "host")?,
            port: raw.port.as_ref().map_or(22, |port| port.value),
            user: word(self.needed(raw.user.as_ref(), kind, field, "user")?, "user")?,
            identity_file: self.path(&identity.value),
            host_key: self.host_key(host_key, &format!("{field}.host_key"))?,
            shell: remote,
            upload_dir: directory(self.needed(raw.upload_dir.as_ref(), kind, field, "upload_dir")?, "upload_dir")?,
            device_dir,
            legacy: self.legacy(raw.legacy.as_ref(), &format!("{field}.legacy"))?,
        })
    }

    /// "type base64", with an optional comment that is dropped.
    fn host_key(&self, text: &Text, field: &str) -> Checked<String> {
        let mut words = text.value.split_ascii_whitespace();
        let (kind, blob) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let kind_ok = !kind.is_empty() && kind.chars().all(|c| c.is_ascii_alphanumeric() || "-@.".contains(c));
        let blob_ok = base64::engine::general_purpose::STANDARD.decode(blob).is_ok_and(|bytes| {
            // RFC 4253 6.6: the blob begins with the length and the name of its type.
            bytes.get(..4).is_some_and(|n| n == (kind.len() as u32).to_be_bytes())
                && bytes[4..].starts_with(kind.as_bytes())
        });
        if kind_ok && blob_ok {
            return Ok(format!("{kind} {blob}"));
        }
        self.fail(
            text,
            field,
            "is no SSH host key of the form \"ssh-ed25519 AAAA…\"",
            "read the .pub file on the device itself, not over the network",
        )
    }

    fn legacy(&self, raw: Option<&RawLegacy>, field: &str) -> Checked<LegacyAlgorithms> {
        let list = |texts: &[Text], name: &str| -> Checked<Vec<String>> {
            texts
                .iter()
                .map(|text| {
                    let ok = |c: char| c.is_ascii_alphanumeric() || "-@.".contains(c);
                    if !text.value.is_empty() && text.value.chars().all(ok) && !text.value.starts_with('-') {
                        Ok(text.value.clone())
                    } else {
                        let message = format!("{:?} is no algorithm name", text.value);
                        self.fail(text, &format!("{field}.{name}"), message, "`ssh -Q kex` and the like list them")
                    }
                })
                .collect()
        };
        let Some(raw) = raw else { return Ok(LegacyAlgorithms::default()) };
        Ok(LegacyAlgorithms {
            kex: list(&raw.kex, "kex")?,
            host_keys: list(&raw.host_keys, "host_keys")?,
            ciphers: list(&raw.ciphers, "ciphers")?,
            macs: list(&raw.macs, "macs")?,
        })
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
        let probes = raw
            .probes
            .iter()
            .enumerate()
            .map(|(n, probe)| self.probe(probe, &field(&format!("probes[{n}]"))))
            .collect::<Checked<Vec<_>>>()?;
        let told = ClinicalSystem {
            id,
            kind: raw.kind,
            critical: raw.critical,
            probes: Some(u32::try_from(probes.len()).unwrap_or(u32::MAX)),
            devices: needs.into_iter().collect(),
        };
        Ok((told, SystemConfig { probes }))
    }

    fn probe(&self, whole: &Spanned<RawProbe>, field: &str) -> Checked<ProbeSpec> {
        let raw = &whole.value;
        let given = [
            ("host", raw.host.is_some()),
            ("port", raw.port.is_some()),
            ("called_ae", raw.called_ae.is_some()),
            ("calling_ae", raw.calling_ae.is_some()),
            ("url", raw.url.is_some()),
            ("status", raw.status.is_some()),
            ("contains", raw.contains.is_some()),
            ("argv", raw.argv.is_some()),
        ];
        let kind = &raw.kind;
        let host = || self.needed(raw.host.as_ref(), kind, field, "host").and_then(|h| self.host(h, field));
        let port = || self.needed(raw.port.as_ref(), kind, field, "port").map(|p| p.value);
        let check = match kind.value.as_str() {
            "tcp" => {
                self.unwanted(kind, field, &given, &["host", "port", "timeout"])?;
                Check::Tcp { host: host()?, port: port()? }
            }
            "http" => {
                self.unwanted(kind, field, &given, &["url", "status", "contains", "timeout"])?;
                let url = self.needed(raw.url.as_ref(), kind, field, "url")?;
                let (host, port, target) = self.url(url, &format!("{field}.url"))?;
                let status = raw.status.as_ref().map_or(200, |status| status.value);
                Check::Http { host, port, target, status, contains: raw.contains.as_ref().map(|c| c.value.clone()) }
            }
            "dicom_echo" => {
                self.unwanted(kind, field, &given, &["host", "port", "called_ae", "calling_ae", "timeout"])?;
                let called = self.needed(raw.called_ae.as_ref(), kind, field, "called_ae")?;
                let calling_ae = match &raw.calling_ae {
                    None => "WARDROUND".to_owned(),
                    Some(text) => self.ae_title(text, &format!("{field}.calling_ae"))?,
                };
                let called_ae = self.ae_title(called, &format!("{field}.called_ae"))?;
                Check::DicomEcho { host: host()?, port: port()?, called_ae, calling_ae }
            }
            "command" => {
                self.unwanted(kind, field, &given, &["argv", "timeout"])?;
                let argv = self.needed(raw.argv.as_ref(), kind, field, "argv")?;
                Check::Command { argv: self.argv(argv, &format!("{field}.argv"))? }
            }
            other => {
                let hint = "write tcp, http, dicom_echo or command";
                return self.fail(kind, &format!("{field}.kind"), format!("{other:?} is no probe"), hint);
            }
        };
        Ok(ProbeSpec { check, timeout: self.timeout(raw.timeout.as_ref(), &format!("{field}.timeout"))? })
    }

    fn timeout(&self, text: Option<&Text>, field: &str) -> Checked<Duration> {
        let Some(text) = text else { return Ok(PROBE_TIMEOUT_DEFAULT) };
        let parsed = DurationMs::parse(&text.value).or_else(|why| self.fail(text, field, why, ""))?;
        let timeout = Duration::from_millis(parsed.0);
        if timeout.is_zero() || timeout > PROBE_TIMEOUT_MAX {
            let message = format!("{} is not above zero and up to {}s", text.value, PROBE_TIMEOUT_MAX.as_secs());
            return self.fail(text, field, message, "");
        }
        Ok(timeout)
    }

    fn host(&self, text: &Text, field: &str) -> Checked<String> {
        let ok = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
        if !text.value.is_empty() && text.value.len() <= 253 && text.value.chars().all(ok) {
            return Ok(text.value.clone());
        }
        let message = format!("{:?} is no host name or address", text.value);
        self.fail(text, &format!("{field}.host"), message, "an IPv6 address stands without brackets")
    }

    /// PS3.5 table 6.2-1, AE: at most 16 characters of the default repertoire, no backslash, no control characters.
    fn ae_title(&self, text: &Text, field: &str) -> Checked<String> {
        let title = text.value.trim();
        if !title.is_empty() && title.len() <= 16 && title.chars().all(|c| (' '..='~').contains(&c) && c != '\\') {
            return Ok(title.to_owned());
        }
        self.fail(text, field, format!("{:?} is no AE title", text.value), "1 to 16 ASCII characters, no backslash")
    }

    fn url(&self, text: &Text, field: &str) -> Checked<(String, u16, String)> {
        let split = || {
            let rest = text.value.strip_prefix("http://")?;
            let (authority, target) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
            let (host, port) = match authority.strip_prefix('[') {
                Some(v6) => {
                    let (host, after) = v6.split_once(']')?;
                    (host, after.strip_prefix(':').map_or(Some(80), |port| port.parse().ok())?)
                }
                None => match authority.split_once(':') {
                    Some((host, port)) => (host, port.parse().ok()?),
                    None => (authority, 80),
                },
            };
            let host_ok = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:".contains(c));
            let target_ok = target.len() <= 1024 && target.chars().all(|c| c.is_ascii_graphic() && c != '#');
            (host_ok && target_ok).then(|| (host.to_owned(), port, target.to_owned()))
        };
        match split() {
            Some(parts) => Ok(parts),
            None => self.fail(
                text,
                field,
                format!("{:?} is no plain HTTP address", text.value),
                "write http://host:port/path; a service that speaks only HTTPS needs a command probe",
            ),
        }
    }
}
