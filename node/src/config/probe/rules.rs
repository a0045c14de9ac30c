//! What the site file may say of a probe.

use std::{collections::BTreeSet, time::Duration};

use serde_saphyr::Spanned;
use wardround_rollout_plans::model::{DeviceId, DurationMs, SiteId};

use super::{
    CERTIFICATE_LEFT_DEFAULT, Check, Endpoint, Hl7Message, PROBE_TIMEOUT_DEFAULT, PROBE_TIMEOUT_MAX, ProbeSpec,
    ServiceState,
};
use crate::config::{
    TlsSettings,
    raw::{RawProbe, Text},
    validate::{Checked, Validator},
};

/// What must be left of a certificate: bounds.
const CERTIFICATE_LEFT: (DurationMs, DurationMs) =
    (DurationMs::from_secs(3_600), DurationMs::from_secs(3_650 * 86_400));
/// Longest name of a service or program that is passed to a device.
const DEVICE_NAME_MAX: usize = 120;

/// What a probe's system knows of its surroundings.
pub(in crate::config) struct Around<'a> {
    pub(in crate::config) site: &'a SiteId,
    /// Devices that the system needs.
    pub(in crate::config) needs: &'a BTreeSet<DeviceId>,
}

impl Validator<'_> {
    pub(in crate::config) fn probe(
        &self,
        whole: &Spanned<RawProbe>,
        field: &str,
        around: &Around<'_>,
    ) -> Checked<ProbeSpec> {
        let raw = &whole.value;
        let one = Probe { rules: self, raw, field, around };
        let check = match raw.kind.value.as_str() {
            "tcp" => one.tcp()?,
            "http" => one.http()?,
            "fhir" => one.fhir()?,
            "dicom_echo" => one.dicom_echo()?,
            "hl7_mllp" => one.hl7_mllp()?,
            "tls_expiry" => one.tls_expiry()?,
            "sql_login" => one.sql_login()?,
            "windows_service" => one.windows_service()?,
            "windows_process" => one.windows_process()?,
            "command" => {
                one.takes(&["argv"])?;
                let argv = one.needed(raw.argv.as_ref(), "argv")?;
                Check::Command { argv: self.argv(argv, &one.at("argv"))? }
            }
            other => {
                let hint = "write tcp, http, fhir, dicom_echo, hl7_mllp, tls_expiry, sql_login, windows_service, \
                            windows_process or command";
                return self.fail(&raw.kind, &one.at("kind"), format!("{other:?} is no probe"), hint);
            }
        };
        Ok(ProbeSpec { check, timeout: self.timeout(raw.timeout.as_ref(), &one.at("timeout"))? })
    }

    fn timeout(&self, text: Option<&Text>, field: &str) -> Checked<Duration> {
        let Some(text) = text else { return Ok(PROBE_TIMEOUT_DEFAULT) };
        let parsed = self.duration(text, field)?;
        let timeout = Duration::from_millis(parsed.0);
        if timeout.is_zero() || timeout > PROBE_TIMEOUT_MAX {
            let message = format!("{} is not above zero and up to {}s", text.value, PROBE_TIMEOUT_MAX.as_secs());
            return self.fail(text, field, message, "");
        }
        Ok(timeout)
    }

    pub(in crate::config) fn duration(&self, text: &Text, field: &str) -> Checked<DurationMs> {
        DurationMs::parse(&text.value).or_else(|why| self.fail(text, field, why, ""))
    }

    fn host(&self, text: &Text, field: &str) -> Checked<String> {
        if !text.value.is_empty() && text.value.len() <= 253 && text.value.chars().all(host_char) {
            return Ok(text.value.clone());
        }
        let message = format!("{:?} is no host name or address", text.value);
        self.fail(text, field, message, "an IPv6 address stands without brackets")
    }

    /// PS3.5 table 6.2-1, AE: at most 16 characters of the default repertoire, no backslash, no control characters.
    fn ae_title(&self, text: &Text, field: &str) -> Checked<String> {
        let title = text.value.trim();
        if !title.is_empty() && title.len() <= 16 && title.chars().all(|c| (' '..='~').contains(&c) && c != '\\') {
            return Ok(title.to_owned());
        }
        self.fail(text, field, format!("{:?} is no AE title", text.value), "1 to 16 ASCII characters, no backslash")
    }

    /// A name that a device's shell takes, quoted where it has a space.
    fn device_program(&self, text: &Text, field: &str, also: &str) -> Checked<String> {
        let ok = |c: char| c.is_ascii_alphanumeric() || " ._-".contains(c) || also.contains(c);
        let word = &text.value;
        if word.len() <= DEVICE_NAME_MAX
            && word.starts_with(|c: char| c.is_ascii_alphanumeric())
            && !word.ends_with(' ')
            && word.chars().all(ok)
        {
            return Ok(word.clone());
        }
        let hint = "the name as `sc query` (SERVICE_NAME) or `tasklist` prints it: letters, digits, spaces and ._-$";
        self.fail(text, field, format!("{word:?} is no plain name"), hint)
    }
}

fn host_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || ".-_:".contains(c)
}

/// One probe on its way.
struct Probe<'v, 'f> {
    rules: &'v Validator<'f>,
    raw: &'v RawProbe,
    field: &'v str,
    around: &'v Around<'v>,
}

impl Probe<'_, '_> {
    fn at(&self, name: &str) -> String {
        format!("{}.{name}", self.field)
    }

    /// Refuses every field that this kind does not have.
    fn takes(&self, wanted: &[&str]) -> Checked<()> {
        let raw = self.raw;
        let given = [
            ("host", raw.host.is_some()),
            ("port", raw.port.is_some()),
            ("called_ae", raw.called_ae.is_some()),
            ("calling_ae", raw.calling_ae.is_some()),
            ("url", raw.url.is_some()),
            ("status", raw.status.is_some()),
            ("contains", raw.contains.is_some()),
            ("argv", raw.argv.is_some()),
            ("tls", raw.tls.is_some()),
            ("message", raw.message.is_some()),
            ("message_file", raw.message_file.is_some()),
            ("version", raw.version.is_some()),
            ("at_least", raw.at_least.is_some()),
            ("database", raw.database.is_some()),
            ("user", raw.user.is_some()),
            ("password", raw.password.is_some()),
            ("device", raw.device.is_some()),
            ("service", raw.service.is_some()),
            ("state", raw.state.is_some()),
            ("process", raw.process.is_some()),
        ];
        let wanted: Vec<&str> = wanted.iter().copied().chain(["timeout"]).collect();
        self.rules.unwanted(&raw.kind, self.field, &given, &wanted)
    }

    fn needed<'t, V>(&self, value: Option<&'t Spanned<V>>, name: &str) -> Checked<&'t Spanned<V>> {
        self.rules.needed(value, &self.raw.kind, self.field, name)
    }

    /// `host`, `port`, `tls`.
    fn server(&self) -> Checked<Endpoint> {
        let raw = self.raw;
        let host = self.needed(raw.host.as_ref(), "host")?;
        let port = self.needed(raw.port.as_ref(), "port")?.value;
        let tls = self.rules.tls(raw.tls.as_ref(), self.field)?;
        if tls.as_ref().is_some_and(|tls| tls.server_name.is_none()) {
            self.rules.server_name(host, &self.at("host"))?;
        }
        Ok(Endpoint { host: self.rules.host(host, &self.at("host"))?, port, tls })
    }

    fn tcp(&self) -> Checked<Check> {
        self.takes(&["host", "port"])?;
        self.server().map(Check::Tcp)
    }

    fn http(&self) -> Checked<Check> {
        self.takes(&["url", "status", "contains", "tls"])?;
        let (server, target) = self.url()?;
        let status = self.raw.status.as_ref().map_or(200, |status| status.value);
        let contains = self.raw.contains.as_ref().map(|text| text.value.clone());
        Ok(Check::Http { server, target, status, contains })
    }

    fn fhir(&self) -> Checked<Check> {
        self.takes(&["url", "version", "tls"])?;
        let (server, base) = self.url()?;
        if base.contains('?') {
            let url = self.needed(self.raw.url.as_ref(), "url")?;
            return self.rules.fail(
                url,
                &self.at("url"),
                "the base of a FHIR server has no query",
                "end it before the ?",
            );
        }
        let version = match &self.raw.version {
            None => None,
            Some(text) => {
                let ok = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
                if text.value.len() > 32 || !text.value.split('.').all(ok) {
                    let message = format!("{:?} is no FHIR version", text.value);
                    return self.rules.fail(
                        text,
                        &self.at("version"),
                        message,
                        "write it in quotes: \"4.0\", \"4.0.1\"",
                    );
                }
                Some(text.value.clone())
            }
        };
        Ok(Check::Fhir { server, target: format!("{}/metadata", base.trim_end_matches('/')), version })
    }

    fn dicom_echo(&self) -> Checked<Check> {
        self.takes(&["host", "port", "called_ae", "calling_ae", "tls"])?;
        let called = self.needed(self.raw.called_ae.as_ref(), "called_ae")?;
        let calling_ae = match &self.raw.calling_ae {
            None => "WARDROUND".to_owned(),
            Some(text) => self.rules.ae_title(text, &self.at("calling_ae"))?,
        };
        let called_ae = self.rules.ae_title(called, &self.at("called_ae"))?;
        Ok(Check::DicomEcho { server: self.server()?, called_ae, calling_ae })
    }

    fn hl7_mllp(&self) -> Checked<Check> {
        self.takes(&["host", "port", "message", "message_file", "tls"])?;
        let message = match (&self.raw.message, &self.raw.message_file) {
            (None, None) => None,
            (None, Some(path)) => Some(Hl7Message::File(self.rules.path(&path.value))),
            (Some(text), None) => match crate::probes::hl7_fault(&text.value) {
                None => Some(Hl7Message::Text(text.value.clone())),
                Some(why) => {
                    let hint = "one segment a line, the first beginning with MSH|^~\\&|";
                    return self.rules.fail(text, &self.at("message"), why, hint);
                }
            },
            (Some(_), Some(path)) => {
                let message = "the message is in one place only";
                return self.rules.fail(path, &self.at("message_file"), message, "name message or message_file");
            }
        };
        Ok(Check::Hl7Mllp { server: self.server()?, message })
    }

    fn tls_expiry(&self) -> Checked<Check> {
        self.takes(&["host", "port", "at_least", "tls"])?;
        let mut server = self.server()?;
        if server.tls.is_none() {
            let host = self.needed(self.raw.host.as_ref(), "host")?;
            self.rules.server_name(host, &self.at("host"))?;
            server.tls = Some(TlsSettings::default());
        }
        let at_least = match &self.raw.at_least {
            None => CERTIFICATE_LEFT_DEFAULT,
            Some(text) => {
                let left = self.rules.duration(text, &self.at("at_least"))?;
                let (least, most) = CERTIFICATE_LEFT;
                if left < least || left > most {
                    let message = format!("{} is not from {least} to {most}", text.value);
                    return self.rules.fail(text, &self.at("at_least"), message, "");
                }
                left
            }
        };
        Ok(Check::TlsExpiry { server, at_least })
    }

    fn sql_login(&self) -> Checked<Check> {
        self.takes(&["host", "port", "database", "user", "password", "tls"])?;
        // What goes into the start-up packet ends with NUL (PostgreSQL's names have at most 63 bytes).
        let name = |text: &Text, name: &str| {
            if text.value.is_empty() || text.value.len() > 63 || text.value.chars().any(char::is_control) {
                let message = format!("{:?} is no name of a {name}", text.value);
                return self.rules.fail(text, &self.at(name), message, "1 to 63 bytes");
            }
            Ok(text.value.clone())
        };
        let password = match &self.raw.password {
            None => None,
            Some(secret) => Some(self.rules.secret(secret, &self.at("password"))?),
        };
        Ok(Check::SqlLogin {
            server: self.server()?,
            database: name(self.needed(self.raw.database.as_ref(), "database")?, "database")?,
            user: name(self.needed(self.raw.user.as_ref(), "user")?, "user")?,
            password,
        })
    }

    fn windows_service(&self) -> Checked<Check> {
        self.takes(&["device", "service", "state"])?;
        let service = self.needed(self.raw.service.as_ref(), "service")?;
        let state = match &self.raw.state {
            None => ServiceState::Running,
            Some(text) => match ServiceState::ALL.into_iter().find(|state| state.word() == text.value) {
                Some(state) => state,
                None => {
                    let words = ServiceState::ALL.map(ServiceState::word).join(", ");
                    let message = format!("{:?} is no state of a service", text.value);
                    return self.rules.fail(text, &self.at("state"), message, &format!("write one of {words}"));
                }
            },
        };
        let service = self.rules.device_program(service, &self.at("service"), "$")?;
        Ok(Check::WindowsService { device: self.device()?, service, state })
    }

    fn windows_process(&self) -> Checked<Check> {
        self.takes(&["device", "process"])?;
        let process = self.needed(self.raw.process.as_ref(), "process")?;
        let process = self.rules.device_program(process, &self.at("process"), "")?;
        Ok(Check::WindowsProcess { device: self.device()?, process })
    }

    /// A device that the system needs: then its planned disruption explains what the probe finds.
    fn device(&self) -> Checked<DeviceId> {
        let name = self.needed(self.raw.device.as_ref(), "device")?;
        let field = self.at("device");
        let device: DeviceId = self.rules.parsed(name, &format!("{}/{}", self.around.site, name.value), &field)?;
        if !self.around.needs.contains(&device) {
            let message = format!("the system does not need device {:?}", name.value);
            return self.rules.fail(name, &field, message, "add it to the system's devices:, or correct the name");
        }
        Ok(device)
    }

    /// `url` and `tls`: the server, and what to ask it for.
    fn url(&self) -> Checked<(Endpoint, String)> {
        let url = self.needed(self.raw.url.as_ref(), "url")?;
        let Some((secure, host, port, target)) = split_url(&url.value) else {
            let message = format!("{:?} is no HTTP address", url.value);
            return self.rules.fail(url, &self.at("url"), message, "write http://host:port/path or https://host/path");
        };
        let tls = match (secure, &self.raw.tls) {
            (true, raw) => Some(self.rules.tls(raw.as_ref(), self.field)?.unwrap_or_default()),
            (false, None) => None,
            (false, Some(tls)) => {
                let message = "an http:// address is not spoken to over TLS";
                return self.rules.fail(tls, &self.at("tls"), message, "write https://, or drop tls");
            }
        };
        if tls.as_ref().is_some_and(|tls| tls.server_name.is_none()) {
            let host = Spanned { value: host.clone(), referenced: url.referenced, defined: url.defined };
            self.rules.server_name(&host, &self.at("url"))?;
        }
        Ok((Endpoint { host, port, tls }, target))
    }
}

fn split_url(text: &str) -> Option<(bool, String, u16, String)> {
    let (secure, rest) = match text.strip_prefix("https://") {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix("http://")?),
    };
    let default = if secure { 443 } else { 80 };
    let (authority, target) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => {
            let (host, after) = v6.split_once(']')?;
            let port = if after.is_empty() { default } else { after.strip_prefix(':')?.parse().ok()? };
            (host, port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (authority, default),
        },
    };
    let host_ok = !host.is_empty() && host.chars().all(host_char);
    let target_ok = target.len() <= 1024 && target.chars().all(|c| c.is_ascii_graphic() && c != '#');
    (host_ok && target_ok).then(|| (secure, host.to_owned(), port, target.to_owned()))
}
