//! Probes: harmless looks at clinical systems. A probe's answer is evidence: what came, in words, and how long it took.
//!
//! **Invariant:** a probe never changes a patient's data and never queues work; it ends within its time-out, and it
//! reads no more than its limit whatever the other side sends.

mod command;
mod dicom;
mod http;
mod tcp;

use std::time::Instant;

use tokio::task::JoinSet;
use wardround_rollout_plans::model::{EVIDENCE_TEXT_MAX, ProbeAnswer, SystemId, Timestamp};

use crate::{
    config::{Check, ProbeSpec},
    transports::tail,
};

/// What a probe found: healthy or not, and the words for it.
type Finding = Result<String, String>;

/// Runs all probes of a system at once, each within its own time-out, and answers in the order of `specs`.
/// A system is healthy when every answer is `ok`.
pub async fn probe_system(
    system: &SystemId,
    specs: &[ProbeSpec],
    now_ms: &(dyn Fn() -> i64 + Sync),
) -> Vec<ProbeAnswer> {
    let mut running = JoinSet::new();
    let mut answers = Vec::with_capacity(specs.len());
    for (index, spec) in specs.iter().enumerate() {
        // Stands until the probe has answered; stays only if its task died.
        answers.push(ProbeAnswer {
            system: system.clone(),
            probe: spec.label(),
            at: Timestamp(now_ms()),
            took_ms: 0,
            ok: false,
            answer: "the probe itself failed".to_owned(),
        });
        let spec = spec.clone();
        running.spawn(async move {
            let begin = Instant::now();
            let finding = match tokio::time::timeout(spec.timeout, look(&spec)).await {
                Ok(finding) => finding,
                Err(_) => Err(format!("no answer within {}ms", spec.timeout.as_millis())),
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

async fn look(spec: &ProbeSpec) -> Finding {
    match &spec.check {
        Check::Tcp { host, port } => tcp::probe(host, *port).await,
        Check::Http { host, port, target, status, contains } => {
            http::probe(host, *port, target, *status, contains.as_deref()).await
        }
        Check::DicomEcho { host, port, called_ae, calling_ae } => {
            dicom::probe(host, *port, called_ae, calling_ae).await
        }
        Check::Command { argv } => command::probe(argv, spec.timeout).await,
    }
}

/// Evidence is shown in terminals and pages: no control characters but line ends, and not longer for it.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '.' } else { c }).collect()
}
