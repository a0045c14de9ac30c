//! What probes and their parts are called.

use super::{Check, Endpoint, ProbeSpec, ServiceState};

impl ProbeSpec {
    /// What the probe is called in evidence ("tcp 10.0.0.5:104").
    #[must_use]
    pub fn label(&self) -> String {
        match &self.check {
            Check::Tcp(server) => format!("tcp {}", server.address()),
            Check::Http { server, target, .. } => format!("{} {}{target}", server.scheme(), server.address()),
            Check::Fhir { server, target, .. } => format!("fhir {}://{}{target}", server.scheme(), server.address()),
            Check::DicomEcho { server, called_ae, .. } => format!("dicom_echo {called_ae}@{}", server.address()),
            Check::Hl7Mllp { server, .. } => format!("hl7_mllp {}", server.address()),
            Check::TlsExpiry { server, .. } => format!("tls_expiry {}", server.address()),
            Check::SqlLogin { server, database, user, .. } => {
                format!("sql_login {user}@{}/{database}", server.address())
            }
            Check::WindowsService { device, service, .. } => format!("windows_service {service} on {device}"),
            Check::WindowsProcess { device, process } => format!("windows_process {process} on {device}"),
            Check::Command { argv } => format!("command {}", argv.join(" ")),
        }
    }
}

impl Endpoint {
    /// "host:port".
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The name that the server's certificate must bear.
    #[must_use]
    pub fn server_name(&self) -> &str {
        self.tls.as_ref().and_then(|tls| tls.server_name.as_deref()).unwrap_or(&self.host)
    }

    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

impl ServiceState {
    /// All, by their number.
    pub const ALL: [Self; 7] = [
        Self::Stopped,
        Self::StartPending,
        Self::StopPending,
        Self::Running,
        Self::ContinuePending,
        Self::PausePending,
        Self::Paused,
    ];

    /// The state of this number.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as u32 + 1 == code)
    }

    /// Its number.
    #[must_use]
    pub fn code(self) -> u32 {
        self as u32 + 1
    }

    /// The word of the site file.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::StartPending => "start_pending",
            Self::StopPending => "stop_pending",
            Self::Running => "running",
            Self::ContinuePending => "continue_pending",
            Self::PausePending => "pause_pending",
            Self::Paused => "paused",
        }
    }
}
