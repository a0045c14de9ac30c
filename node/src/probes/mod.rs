//! Probes: harmless looks at clinical systems. A probe's answer is evidence: what came, in words, and how long it took.
//!
//! **Invariant:** a probe never changes a patient's data and never queues work, but for the one message that a site itself calls
//! harmless; it ends within its time-out, and it reads no more than its limit whatever the other side sends. No secret stands
//! in its answer.

mod command;
mod dicom;
mod fhir;
mod hl7;
mod http;
mod site;
mod sql;
mod tcp;
mod tls;
mod windows;
mod wire;

use std::{collections::BTreeMap, path::Path, time::Instant};

pub(crate) use hl7::fault as hl7_fault;
pub use site::{Looked, probe_site};
use tokio::task::JoinSet;
use wardround_rollout_plans::model::{DeviceId, EVIDENCE_TEXT_MAX, ProbeAnswer, SystemId, Timestamp};
use wire::Trace;

use crate::{
    config::{Check, DeviceConfig, ProbeSpec},
    transports::{Transport, tail},
};

/// What a probe found: healthy or not, and the words for it.
type Finding = Result<String, String>;

/// What probes need beside their own lines in the site file.
#[derive(Debug, Clone, Copy)]
pub struct Means<'a> {
    /// The site's devices: some probes ask them.
    pub devices: &'a BTreeMap<DeviceId, DeviceConfig>,
    /// The node's folder for devices: pinned host keys and control sockets.
    pub work_dir: &'a Path,
}

/// Runs all probes of a system at once, each within its own time-out, and answers in the order of `specs`.
/// A system is healthy when every answer is `ok`. `now_ms` gives Unix milliseconds.
pub async fn probe_system(
    system: &SystemId,
    specs: &[ProbeSpec],
    means: Means<'_>,
    now_ms: &(dyn Fn() -> i64 + Sync),
) -> Vec<ProbeAnswer> {
    let mut running = JoinSet::new();
    let mut answers = Vec::with_capacity(specs.len());
    for (index, spec) in specs.iter().enumerate() {
        let at = now_ms();
        // Stands until the probe has answered; stays only if its task died.
        answers.push(ProbeAnswer {
            system: system.clone(),
            probe: spec.label(),
            at: Timestamp(at),
            took_ms: 0,
            ok: false,
            answer: "the probe itself failed".to_owned(),
        });
        let (spec, device) = (spec.clone(), device_of(spec, means));
        running.spawn(async move {
            let begin = Instant::now();
            let trace = Trace::default();
            let finding = match tokio::time::timeout(spec.timeout, look(&spec, device.as_ref(), at, &trace)).await {
                Ok(finding) => finding,
                Err(_) => Err(trace.time_is_up(spec.timeout)),
            };
            (index, finding, begin.elapsed())
        });
    }
    while let Some(done) = running.join_next().await {
        let Ok((index, finding, took)) = done else { continue };
        let answer = &mut answers[index];
        answer.ok = finding.is_ok();
        answer.took_ms = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
        let (Ok(text) | Err(text)) = finding;
        answer.answer = printable(tail(&text, EVIDENCE_TEXT_MAX));
    }
    answers
}

/// The device that a probe asks.
fn device_of(spec: &ProbeSpec, means: Means<'_>) -> Option<Transport> {
    match &spec.check {
        Check::WindowsService { device, .. } | Check::WindowsProcess { device, .. } => {
            means.devices.get(device).map(|config| Transport::new(device, config, means.work_dir))
        }
        _ => None,
    }
}

async fn look(spec: &ProbeSpec, device: Option<&Transport>, now_ms: i64, trace: &Trace) -> Finding {
    let device = || device.ok_or_else(|| "the site file no longer names the device".to_owned());
    match &spec.check {
        Check::Tcp(server) => tcp::probe(server, trace).await,
        Check::Http { server, target, status, contains } => {
            http::probe(server, target, *status, contains.as_deref(), trace).await
        }
        Check::Fhir { server, target, version } => fhir::probe(server, target, version.as_deref(), trace).await,
        Check::DicomEcho { server, called_ae, calling_ae } => dicom::probe(server, called_ae, calling_ae, trace).await,
        Check::Hl7Mllp { server, message } => hl7::probe(server, message.as_ref(), now_ms, trace).await,
        Check::TlsExpiry { server, at_least } => tls::probe(server, *at_least, now_ms, trace).await,
        Check::SqlLogin { server, database, user, password } => {
            sql::probe(server, database, user, password.as_ref(), trace).await
        }
        Check::WindowsService { service, state, .. } => {
            windows::service(device()?, service, *state, spec.timeout, trace).await
        }
        Check::WindowsProcess { process, .. } => windows::process(device()?, process, spec.timeout, trace).await,
        Check::Command { argv } => command::probe(argv, spec.timeout).await,
    }
}

/// Evidence is shown in terminals and pages: no control characters but line ends, and not longer for it.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '.' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{hl7, windows};

    proptest! {
        /// What a peer may send as a whole, taken apart: nothing panics, and nothing becomes healthy by chance.
        #[test]
        fn any_bytes_are_a_finding(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(hl7::judge(&bytes, "77").is_err());
            let headed = [b"MSH|^~\\&|".as_slice(), &bytes].concat();
            prop_assert!(hl7::judge(&headed, "77").is_err());
            let _ = hl7::fault(&String::from_utf8_lossy(&headed));
            let text = String::from_utf8_lossy(&bytes);
            let _ = windows::state_of(&text, "Spooler");
            let _ = windows::state_of(&format!("[SC] {text}"), "Spooler");
            let _ = windows::state_of(&format!("SERVICE_NAME: Spooler\n{text}"), "Spooler");
        }
    }
}
