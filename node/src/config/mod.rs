//! The site file: what a site engineer writes about one site, its devices and its clinical systems.
//!
//! `docs/site-file.md` documents every field. Names in the file carry no site prefix; ids here do.

mod error;
mod hours;
mod raw;
mod read;
#[cfg(test)]
mod tests;
mod validate;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use wardround_rollout_plans::model::{DeviceId, Platform, SiteInventory, SystemId};

pub use error::ConfigError;
#[cfg(test)]
use read::parse;
pub use read::{SITE_FILE_BYTES_MAX, parse_site_file, read_site_file};

/// Devices that a node works on at once, when the file does not say.
pub const CONCURRENCY_DEFAULT: u32 = 4;
/// Most devices that a node may work on at once: each may hold an SSH connection and a payload copy.
pub const CONCURRENCY_MAX: u32 = 64;
/// Most clinical systems of one site.
pub const SYSTEMS_MAX: usize = 1_000;
/// Most probes of one clinical system: they run in parallel, each with a socket or process of its own.
pub const SYSTEM_PROBES_MAX: usize = 16;
/// Time-out of a probe that names none. Longer than a slow PACS association, shorter than a person's patience.
pub const PROBE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// Longest time-out that a probe may ask for.
pub const PROBE_TIMEOUT_MAX: Duration = Duration::from_secs(60);

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
}

/// The means by which a device is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransportConfig {
    /// A directory or Wine prefix on the node itself.
    Local {
        /// The device's root directory.
        root: PathBuf,
        /// What runs its commands.
        shell: LocalShell,
    },
    /// A server reached with the OpenSSH client.
    Ssh(Box<SshConfig>),
}

/// What runs the commands of a local device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalShell {
    /// A sandbox: a directory, with POSIX `sh`.
    Sh,
    /// A Wine prefix, with its `cmd`.
    Wine,
}

/// A device behind SSH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshConfig {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Account on the device.
    pub user: String,
    /// Private key file of the node.
    pub identity_file: PathBuf,
    /// The device's only acceptable host key: type and base64, as in `known_hosts`.
    pub host_key: String,
    /// What the server hands commands to.
    pub shell: RemoteShell,
    /// wardround's directory as SFTP names it.
    pub upload_dir: String,
    /// The same directory as the device's shell names it.
    pub device_dir: String,
    /// Algorithms that today's clients refuse and this device can't do without.
    pub legacy: LegacyAlgorithms,
}

/// Login shell of an SSH device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteShell {
    /// POSIX `sh`.
    Sh,
    /// Windows `cmd.exe`.
    Cmd,
}

/// SSH algorithms that are added for one device only. All empty means today's defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LegacyAlgorithms {
    /// Key exchange ("diffie-hellman-group1-sha1").
    pub kex: Vec<String>,
    /// Host key and public key signatures ("ssh-rsa").
    pub host_keys: Vec<String>,
    /// Ciphers ("3des-cbc").
    pub ciphers: Vec<String>,
    /// Message authentication codes ("hmac-sha1").
    pub macs: Vec<String>,
}

/// Asks whether a device is in use: a program on the node. Exit 0 means free, 1 means in use (its output says why);
/// anything else, and silence, counts as in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InUse {
    /// Program and arguments; never passed to a shell.
    pub command: Vec<String>,
}

/// How a node looks at one clinical system. It is healthy when every probe is; without probes its health is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemConfig {
    /// At most [`SYSTEM_PROBES_MAX`].
    pub probes: Vec<ProbeSpec>,
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeSpec {
    /// What to do.
    pub check: Check,
    /// When to stop waiting.
    pub timeout: Duration,
}

/// What a probe does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// Connects, and hangs up.
    Tcp {
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// `GET` of one plain-HTTP address.
    Http {
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
        /// Path and query, beginning with `/`.
        target: String,
        /// The status that is healthy.
        status: u16,
        /// A text that the body must hold.
        contains: Option<String>,
    },
    /// DICOM C-ECHO (PS3.7 9.1.5) over an association of its own.
    DicomEcho {
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
        /// The AE title that is called.
        called_ae: String,
        /// The node's own AE title.
        calling_ae: String,
    },
    /// A program on the node: exit 0 is healthy, its output is evidence.
    Command {
        /// Program and arguments; never passed to a shell.
        argv: Vec<String>,
    },
}

impl ProbeSpec {
    /// What the probe is called in evidence ("tcp 10.0.0.5:104").
    #[must_use]
    pub fn label(&self) -> String {
        match &self.check {
            Check::Tcp { host, port } => format!("tcp {host}:{port}"),
            Check::Http { host, port, target, .. } => format!("http {host}:{port}{target}"),
            Check::DicomEcho { host, port, called_ae, .. } => format!("dicom_echo {called_ae}@{host}:{port}"),
            Check::Command { argv } => format!("command {}", argv.join(" ")),
        }
    }
}
