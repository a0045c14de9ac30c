//! How a device is reached: the means, and the rules for what the site file says of them.

use std::{collections::BTreeMap, path::PathBuf};

use base64::Engine as _;
use serde_saphyr::Spanned;

use super::{
    raw::{RawLegacy, RawTransport, Text},
    validate::{Checked, Validator},
};
use crate::secret::Secret;

/// Most options, and most credentials, of one device.
const OPTIONS_MAX: usize = 64;
/// Longest value of an option, bytes.
const OPTION_BYTES_MAX: usize = 4096;

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
    /// A program that speaks the adapter protocol.
    Adapter(Box<AdapterConfig>),
    /// The node's own program.
    Node,
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

/// A device behind an adapter program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterConfig {
    /// Program and arguments; the verb follows them. Never passed to a shell.
    pub program: Vec<String>,
    /// What the adapter hands lines to on the device.
    pub shell: RemoteShell,
    /// wardround's directory as the device's shell names it.
    pub device_dir: String,
    /// What the adapter needs to know of the device: its address and the like. Its `describe` names them.
    pub options: BTreeMap<String, String>,
    /// Where the secrets are kept that the adapter is given on its standard input.
    pub credentials: BTreeMap<String, Secret>,
}

/// Shell of a device that is not on this machine.
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

impl Validator<'_> {
    pub(super) fn transport(&self, whole: &Spanned<RawTransport>, field: &str) -> Checked<TransportConfig> {
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
            ("program", raw.program.is_some()),
            ("options", raw.options.is_some()),
            ("credentials", raw.credentials.is_some()),
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
                self.unwanted(kind, field, &given, &given.map(|(name, _)| name)[1..10])?;
                self.ssh(raw, field).map(|ssh| TransportConfig::Ssh(Box::new(ssh)))
            }
            "adapter" => {
                self.unwanted(kind, field, &given, &["program", "shell", "device_dir", "options", "credentials"])?;
                self.adapter(raw, field).map(|adapter| TransportConfig::Adapter(Box::new(adapter)))
            }
            "node" => {
                self.unwanted(kind, field, &given, &[])?;
                Ok(TransportConfig::Node)
            }
            other => {
                let message = format!("{other:?} is no transport");
                let hint = "write local or ssh, node for the node's own program, or adapter for everything else";
                self.fail(kind, &format!("{field}.kind"), message, hint)
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
        let (remote, device_dir) = self.shell_and_dir(raw, field)?;
        let identity = self.needed(raw.identity_file.as_ref(), kind, field, "identity_file")?;
        let host_key = self.needed(raw.host_key.as_ref(), kind, field, "host_key")?;
        Ok(SshConfig {
            host: word(self.needed(raw.host.as_ref(), kind, field, "host")?, "host")?,
            port: raw.port.as_ref().map_or(22, |port| port.value),
            user: word(self.needed(raw.user.as_ref(), kind, field, "user")?, "user")?,
            identity_file: self.path(&identity.value),
            host_key: self.host_key(host_key, &format!("{field}.host_key"))?,
            shell: remote,
            upload_dir: self.directory(
                self.needed(raw.upload_dir.as_ref(), kind, field, "upload_dir")?,
                &format!("{field}.upload_dir"),
            )?,
            device_dir,
            legacy: self.legacy(raw.legacy.as_ref(), &format!("{field}.legacy"))?,
        })
    }

    /// What lines are written for, and wardround's directory there.
    fn shell_and_dir(&self, raw: &RawTransport, field: &str) -> Checked<(RemoteShell, String)> {
        let shell = self.needed(raw.shell.as_ref(), &raw.kind, field, "shell")?;
        let remote = match shell.value.as_str() {
            "sh" => RemoteShell::Sh,
            "cmd" => RemoteShell::Cmd,
            other => {
                let message = format!("{other:?} is no remote shell");
                return self.fail(shell, &format!("{field}.shell"), message, "write sh or cmd");
            }
        };
        let whole = self.needed(raw.device_dir.as_ref(), &raw.kind, field, "device_dir")?;
        let device_dir = self.directory(whole, &format!("{field}.device_dir"))?;
        // What runs there begins in another directory than the session that started it.
        let absolute = match remote {
            RemoteShell::Sh => device_dir.starts_with('/'),
            RemoteShell::Cmd => {
                matches!(device_dir.as_bytes(), [drive, b':', b'\\', ..] if drive.is_ascii_alphabetic())
            }
        };
        if !absolute {
            let message = format!("{device_dir:?} is no absolute directory of a device whose shell is {}", shell.value);
            let hint = r"write C:\wardround, or /opt/wardround for sh";
            return self.fail(whole, &format!("{field}.device_dir"), message, hint);
        }
        Ok((remote, device_dir))
    }

    fn directory(&self, text: &Text, field: &str) -> Checked<String> {
        let ok = |c: char| c.is_ascii_alphanumeric() || "/\\:._-".contains(c);
        if text.value.len() > 2 && text.value.len() <= 200 && text.value.chars().all(ok) {
            return Ok(text.value.trim_end_matches(['/', '\\']).to_owned());
        }
        let message = format!("{:?} is no plain directory", text.value);
        self.fail(text, field, message, "use letters, digits and / \\ : . _ - only, at most 200")
    }

    fn adapter(&self, raw: &RawTransport, field: &str) -> Checked<AdapterConfig> {
        let program = self.needed(raw.program.as_ref(), &raw.kind, field, "program")?;
        let program = self.argv(program, &format!("{field}.program"))?;
        let (shell, device_dir) = self.shell_and_dir(raw, field)?;
        let plain = |name: &str| {
            !name.is_empty() && name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
        };
        let mut options = BTreeMap::new();
        for (name, text) in raw.options.iter().flatten() {
            let field = format!("{field}.options.{name}");
            if !plain(name) || text.value.len() > OPTION_BYTES_MAX || text.value.contains('\0') {
                let message = format!("a plain name, and at most {OPTION_BYTES_MAX} bytes without NUL");
                return self.fail(text, &field, message, "put it into a file, and give its path");
            }
            options.insert(name.clone(), text.value.clone());
        }
        let mut credentials = BTreeMap::new();
        for (name, whole) in raw.credentials.iter().flatten() {
            let field = format!("{field}.credentials.{name}");
            if !plain(name) {
                return self.fail(
                    whole,
                    &field,
                    format!("{name:?} is no plain name"),
                    "letters, digits and _ - . only",
                );
            }
            credentials.insert(name.clone(), self.secret(whole, &field)?);
        }
        if options.len() > OPTIONS_MAX || credentials.len() > OPTIONS_MAX {
            let message = format!("at most {OPTIONS_MAX} options and as many credentials");
            return self.fail(&raw.kind, field, message, "give the adapter a file");
        }
        Ok(AdapterConfig { program, shell, device_dir, options, credentials })
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
}
