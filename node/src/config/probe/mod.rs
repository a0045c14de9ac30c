//! How a clinical system is looked at: the probes, and the rules for what the site file says of them.

mod rules;
#[cfg(test)]
mod tests;
mod words;

use std::{path::PathBuf, time::Duration};

pub(super) use rules::Around;
use wardround_rollout_plans::model::{DeviceId, DurationMs};

use super::TlsSettings;
use crate::secret::Secret;

/// Longest time-out that a probe may ask for.
pub const PROBE_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Time-out of a probe that names none. Longer than a slow PACS association, shorter than a person's patience.
pub const PROBE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// What must be left of a certificate when the site file does not say: time to order and install the next one.
pub const CERTIFICATE_LEFT_DEFAULT: DurationMs = DurationMs::from_secs(14 * 86_400);
/// Longest HL7 message that is sent, bytes: a query or a heartbeat has a few hundred.
pub const HL7_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeSpec {
    /// What to do.
    pub check: Check,
    /// When to stop waiting.
    pub timeout: Duration,
}

/// A server that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Present when it is spoken to over TLS.
    pub tls: Option<TlsSettings>,
}

/// What a probe does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// Connects, and hangs up.
    Tcp(Endpoint),
    /// `GET` of one address.
    Http {
        /// Where; over TLS for `https://`.
        server: Endpoint,
        /// Path and query, beginning with `/`.
        target: String,
        /// The status that is healthy.
        status: u16,
        /// A text that the body must hold.
        contains: Option<String>,
    },
    /// FHIR `GET [base]/metadata`: the server's CapabilityStatement.
    Fhir {
        /// Where; over TLS for `https://`.
        server: Endpoint,
        /// Path of the statement ("/fhir/metadata").
        target: String,
        /// The FHIR version that is healthy, or the beginning of it: "4.0" stands for 4.0.0 and 4.0.1. Any, when absent.
        version: Option<String>,
    },
    /// DICOM C-ECHO (PS3.7 9.1.5) over an association of its own.
    DicomEcho {
        /// Where.
        server: Endpoint,
        /// The AE title that is called.
        called_ae: String,
        /// The node's own AE title.
        calling_ae: String,
    },
    /// HL7 v2 over MLLP: connects, or sends the message that the site calls harmless.
    Hl7Mllp {
        /// Where.
        server: Endpoint,
        /// What is sent; nothing when absent.
        message: Option<Hl7Message>,
    },
    /// How long the certificate of a TLS server is good for.
    TlsExpiry {
        /// Where; always over TLS.
        server: Endpoint,
        /// What must be left.
        at_least: DurationMs,
    },
    /// Logs in to a PostgreSQL server and asks `SELECT 1`.
    SqlLogin {
        /// Where.
        server: Endpoint,
        /// Database.
        database: String,
        /// Role.
        user: String,
        /// Where the role's password is kept; absent when the server asks for none.
        password: Option<Secret>,
    },
    /// The state of a service of a Windows device, asked over the device's transport.
    WindowsService {
        /// The device; the system needs it.
        device: DeviceId,
        /// The service's short name ("Spooler").
        service: String,
        /// The state that is healthy.
        state: ServiceState,
    },
    /// Whether a program runs on a Windows device, asked over the device's transport.
    WindowsProcess {
        /// The device; the system needs it.
        device: DeviceId,
        /// The program's file name ("acme.exe").
        process: String,
    },
    /// A program on the node: exit 0 is healthy, its output is evidence.
    Command {
        /// Program and arguments; never passed to a shell.
        argv: Vec<String>,
    },
}

/// Where an HL7 message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hl7Message {
    /// In the site file.
    Text(String),
    /// In a file of its own, which is read for each probe.
    File(PathBuf),
}

/// States of a Windows service (`SERVICE_STATUS.dwCurrentState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceState {
    /// 1.
    Stopped,
    /// 2.
    StartPending,
    /// 3.
    StopPending,
    /// 4.
    Running,
    /// 5.
    ContinuePending,
    /// 6.
    PausePending,
    /// 7.
    Paused,
}
