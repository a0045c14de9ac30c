//! How a clinical system is looked at: the probes, and the rules for what the site file says of them.

use std::time::Duration;

use serde_saphyr::Spanned;
use wardround_rollout_plans::model::DurationMs;

use super::{
    raw::{RawProbe, Text},
    validate::{Checked, Validator},
};

/// Longest time-out that a probe may ask for.
pub const PROBE_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Time-out of a probe that names none. Longer than a slow PACS association, shorter than a person's patience.
pub const PROBE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

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

impl Validator<'_> {
    pub(super) fn probe(&self, whole: &Spanned<RawProbe>, field: &str) -> Checked<ProbeSpec> {
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
