//! Between the model's words and the messages.

use std::collections::BTreeMap;

use tonic::Status;
use wardround_proto::v1;
use wardround_rollout_plans::{
    engine::{DeploymentView, HaltView, HoldView, PendingView, RolloutView, Waiting, WaveView},
    model::{ApprovedBy, Compared, GateDecision, Member, PatchId, RolloutId, TestFound, Timestamp},
};
use wardround_signing::{Digest, Envelope, KeyId, Role, SIGNATURES_MAX, Signature};

use super::status;
use crate::{
    core::{Facts, Hub},
    registry::{Alarm, PatchRecord},
};

/// Longest key id that is looked at, bytes; a real one has 64.
const KEYID_BYTES_MAX: usize = 128;

pub(super) fn envelope(envelope: &Envelope) -> v1::Envelope {
    let signature = |s: &Signature| v1::Signature { keyid: s.keyid.as_str().to_owned(), sig: s.sig.clone() };
    v1::Envelope {
        payload_type: envelope.payload_type.clone(),
        payload: envelope.payload.clone(),
        signatures: envelope.signatures.iter().map(signature).collect(),
    }
}

/// A document's bytes: JSON, and so text.
pub(super) fn document(field: &str, bytes: Vec<u8>) -> Result<String, Status> {
    String::from_utf8(bytes).map_err(|e| status::invalid(field, format!("a document is JSON in UTF-8: {e}")))
}

/// An envelope that must be there.
pub(super) fn required(field: &str, given: Option<v1::Envelope>) -> Result<Envelope, Status> {
    let given = given.ok_or_else(|| status::invalid(field, "an envelope is needed"))?;
    Ok(Envelope {
        payload_type: given.payload_type,
        payload: given.payload,
        signatures: signatures(&format!("{field}.signatures"), given.signatures)?,
    })
}

pub(super) fn signatures(field: &str, given: Vec<v1::Signature>) -> Result<Vec<Signature>, Status> {
    if given.len() > SIGNATURES_MAX {
        return Err(status::invalid(field, format!("at most {SIGNATURES_MAX} at once, not {}", given.len())));
    }
    if given.iter().any(|s| s.keyid.len() > KEYID_BYTES_MAX || s.sig.len() != 64) {
        return Err(status::invalid(field, "a signature has a hex key id and 64 bytes"));
    }
    Ok(given.into_iter().map(|s| Signature { keyid: KeyId::claimed(&s.keyid), sig: s.sig }).collect())
}

pub(super) fn digest(field: &str, bytes: &[u8]) -> Result<Digest, Status> {
    Digest::from_slice(bytes).map_err(|_| status::invalid(field, "a digest has 32 raw bytes"))
}

pub(super) fn digests(field: &str, given: &[Vec<u8>], max: usize) -> Result<Vec<Digest>, Status> {
    if given.len() > max {
        return Err(status::invalid(field, format!("at most {max} at once, not {}", given.len())));
    }
    given.iter().map(|bytes| digest(field, bytes)).collect()
}

fn words(signed: &BTreeMap<Role, Vec<String>>) -> Vec<String> {
    signed.keys().map(|role| role.word().to_owned()).collect()
}

fn ms(at: Option<Timestamp>) -> i64 {
    at.map_or(0, |t| t.0)
}

pub(super) fn patch(
    id: &PatchId,
    record: &PatchRecord,
    signatures: Vec<v1::DocumentSignature>,
    whole: bool,
) -> v1::Patch {
    v1::Patch {
        id: id.to_string(),
        title: record.title.clone(),
        document: if whole { record.document.text.as_bytes().to_vec() } else { Vec::new() },
        digest: record.document.digest.as_bytes().to_vec(),
        signed_roles: words(&record.document.signed),
        ready: record.document.ready,
        signatures,
        created_at_ms: record.created_at.0,
    }
}

/// A rollout as the engine, the registry and the connections know it; with who has signed for it, its document and what
/// waits come too.
pub(super) fn rollout(
    facts: &Facts,
    hub: &Hub,
    id: &RolloutId,
    signatures: Option<Vec<v1::DocumentSignature>>,
) -> Option<v1::Rollout> {
    let whole = signatures.is_some();
    let view: RolloutView = facts.engine.rollout(id)?;
    let record = facts.registry.rollout(id)?;
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let halt_spread = v1::HaltSpread {
        connected_sites: count(hub.connected(view.halt.sites.iter())),
        confirmed_sites: count(hub.connected(view.halt.confirmed.iter())),
        sites: count(view.halt.sites.len()),
    };
    Some(v1::Rollout {
        id: view.id.to_string(),
        patch: view.patch.to_string(),
        plan: view.plan,
        state: view.state.word().to_owned(),
        state_since_ms: view.state_since.0,
        reason: view.reason,
        waves: view.waves.iter().map(wave).collect(),
        document: if whole { record.document.text.as_bytes().to_vec() } else { Vec::new() },
        digest: view.digest.as_bytes().to_vec(),
        signed_roles: words(&record.document.signed),
        signatures: signatures.unwrap_or_default(),
        order_counter: view.order_counter,
        created_at_ms: view.created_at.0,
        started_at_ms: ms(view.started_at),
        ended_at_ms: ms(view.ended_at),
        halt_spread: Some(halt_spread),
        pending_orders: view.pending.iter().map(|p| pending(p, whole)).collect(),
        halts_in_force: view.halts_in_force.iter().map(halt).collect(),
        version: view.version,
        amendment: super::amend::amendment(facts, id, view.amendment.as_ref(), whole),
    })
}

fn pending(view: &PendingView, whole: bool) -> v1::PendingOrder {
    v1::PendingOrder {
        counter: view.counter,
        what: view.what.clone(),
        signed_by: view.signed_by.clone(),
        wanted_roles: view.roles.iter().map(|r| r.word().to_owned()).collect(),
        reason: view.reason.clone(),
        since_ms: view.since.0,
        until_ms: view.until.0,
        envelope: whole.then(|| envelope(&view.envelope)),
    }
}

fn halt(view: &HaltView) -> v1::HaltInForce {
    v1::HaltInForce {
        order: view.order.as_bytes().to_vec(),
        counter: view.counter,
        by: view.by.clone(),
        reason: view.reason.clone(),
        at_ms: view.at.0,
    }
}

fn wave(view: &WaveView) -> v1::Wave {
    let counts = view.deployments.iter();
    v1::Wave {
        name: view.name.to_string(),
        state: view.state.word().to_owned(),
        state_since_ms: view.state_since.0,
        device_count: view.count,
        deployments: counts.map(|(s, n)| v1::StateCount { state: s.word().to_owned(), count: *n }).collect(),
        waiting: view.waiting.as_ref().map(waiting),
        gate: view.gate.clone(),
        decision: view.decision.as_ref().map(decision),
        holds: view.holds.iter().map(hold).collect(),
    }
}

fn hold(view: &HoldView) -> v1::Hold {
    v1::Hold {
        order: view.order.as_bytes().to_vec(),
        counter: view.counter,
        by: view.by.clone(),
        reason: view.reason.clone(),
        at_ms: view.at.0,
    }
}

fn decision(found: &GateDecision) -> v1::GateDecision {
    let compared = |by| match by {
        Compared::Control => "control",
        Compared::Background => "background",
    };
    let test = |test: TestFound| v1::GateTestFound {
        compared: test.compared.map(compared).unwrap_or_default().to_owned(),
        p_ppm: test.p,
        alarm_at_ppm: test.alarm_at,
        missed_ppm: test.missed,
        miss_max_ppm: test.miss_max,
    };
    let approval = |by: &ApprovedBy| v1::GateApproval {
        holder: by.holder.clone(),
        roles: by.roles.iter().map(|role| role.word().to_owned()).collect(),
    };
    let counts = found.deployments.iter();
    v1::GateDecision {
        at_ms: found.at.0,
        answer: found.answer.word().to_owned(),
        rule: found.rule.word().to_owned(),
        early: found.early,
        let_pass: found.let_pass,
        deployments: counts.map(|(s, n)| v1::StateCount { state: s.word().to_owned(), count: *n }).collect(),
        control: found.control.map(|c| v1::GateControl { systems: c.systems, failed: c.failed }),
        test: found.test.map(test),
        approvals: found.approvals.iter().map(approval).collect(),
        held_by: found.held_by.clone(),
    }
}

fn waiting(waiting: &Waiting) -> v1::Waiting {
    v1::Waiting {
        code: waiting.on.code().to_owned(),
        text: waiting.on.to_string(),
        since_ms: waiting.since.0,
        until_ms: ms(waiting.until),
    }
}

pub(super) fn deployment(view: &DeploymentView) -> v1::Deployment {
    let reason = match (&view.waiting, view.reason.as_str()) {
        (Some(waiting), "") => waiting.on.to_string(),
        _ => view.reason.clone(),
    };
    v1::Deployment {
        device: view.device.to_string(),
        wave: view.wave.to_string(),
        state: view.state.word().to_owned(),
        state_since_ms: view.state_since.0,
        reason,
        attempt: view.attempt,
        evidence_json: serde_json::to_string(&view.evidence).unwrap_or_default(),
        waiting: view.waiting.as_ref().map(waiting),
    }
}

pub(super) fn member(member: &Member) -> v1::Member {
    v1::Member { wave: member.wave.to_string(), device: member.device.to_string(), variant: member.variant.to_string() }
}

pub(super) fn alarm(alarm: &Alarm) -> v1::Alarm {
    fn text<T: ToString>(value: Option<&T>) -> String {
        value.map(T::to_string).unwrap_or_default()
    }
    v1::Alarm {
        at_ms: alarm.at.0,
        code: alarm.code.clone(),
        text: alarm.text.clone(),
        site: text(alarm.site.as_ref()),
        device: text(alarm.device.as_ref()),
        rollout: text(alarm.rollout.as_ref()),
    }
}
