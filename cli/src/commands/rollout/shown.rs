//! A rollout for people and for programs.

use std::collections::BTreeMap;

use serde::Serialize;
use wardround_proto::v1;

use super::gate::Decision;
use crate::{
    output::{self, count},
    signed, when,
};

/// A rollout, as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    pub(crate) id: String,
    pub(crate) patch: String,
    pub(crate) plan: String,
    pub(crate) state: String,
    pub(crate) state_since: Option<String>,
    pub(crate) reason: String,
    pub(crate) signed_roles: Vec<String>,
    /// Empty while watching.
    pub(crate) signatures: Vec<signed::Signature>,
    pub(crate) waves: Vec<Wave>,
    pub(crate) order_counter: u64,
    pub(crate) digest: String,
    pub(crate) created_at: Option<String>,
    pub(crate) started_at: Option<String>,
    pub(crate) ended_at: Option<String>,
    pub(crate) halt: Spread,
    pub(crate) pending_orders: Vec<Pending>,
    pub(crate) halts_in_force: Vec<Halt>,
    pub(crate) version: u32,
    pub(crate) amendment: Option<Amendment>,
}

/// The version that waits.
#[derive(Debug, Serialize)]
pub(crate) struct Amendment {
    pub(crate) version: u32,
    pub(crate) digest: String,
    pub(crate) signed: bool,
    pub(crate) signed_roles: Vec<String>,
    pub(crate) since: Option<String>,
    pub(crate) problem: String,
    /// Roles whose approval for this version is missing, by wave.
    pub(crate) approvals: BTreeMap<String, Vec<String>>,
    pub(crate) added: u64,
    pub(crate) removed: u64,
    pub(crate) moved: u64,
}

/// An order that waits for a second person.
#[derive(Debug, Serialize)]
pub(crate) struct Pending {
    pub(crate) order: u64,
    pub(crate) what: String,
    pub(crate) signed_by: Vec<String>,
    pub(crate) wanted_roles: Vec<String>,
    pub(crate) reason: String,
    pub(crate) since: Option<String>,
    pub(crate) until: Option<String>,
}

/// A halt that no resume has lifted, or a hold that stands.
#[derive(Debug, Serialize)]
pub(crate) struct Halt {
    pub(crate) order: u64,
    pub(crate) by: String,
    pub(crate) reason: String,
    pub(crate) at: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Wave {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) state_since: Option<String>,
    pub(crate) devices: u64,
    pub(crate) deployments: BTreeMap<String, u64>,
    pub(crate) waiting: Option<Waiting>,
    pub(crate) gate: String,
    pub(crate) gate_decision: Option<Decision>,
    pub(crate) holds: Vec<Halt>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Waiting {
    pub(crate) code: String,
    pub(crate) text: String,
    pub(crate) since: Option<String>,
    pub(crate) until: Option<String>,
}

impl Waiting {
    pub(super) fn new(w: &v1::Waiting) -> Self {
        Self {
            code: w.code.clone(),
            text: w.text.clone(),
            since: when::rfc3339(w.since_ms),
            until: when::rfc3339(w.until_ms),
        }
    }
}

/// "clinical must approve (for 2h), until …".
pub(super) fn waiting_words(waiting: &v1::Waiting) -> String {
    let mut text = format!("{} (for {})", waiting.text, when::ago(waiting.since_ms));
    if waiting.until_ms != 0 {
        text += &format!(", until {}", when::local(waiting.until_ms));
    }
    text
}

/// How far the latest halt has reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Spread {
    pub(crate) sites: u32,
    pub(crate) connected_sites: u32,
    pub(crate) confirmed_sites: u32,
}

impl Shown {
    pub(crate) fn new(r: &v1::Rollout) -> Self {
        Self {
            id: r.id.clone(),
            patch: r.patch.clone(),
            plan: r.plan.clone(),
            state: r.state.clone(),
            state_since: when::rfc3339(r.state_since_ms),
            reason: r.reason.clone(),
            signed_roles: r.signed_roles.clone(),
            signatures: signed::Signature::all(&r.signatures),
            waves: r.waves.iter().map(Wave::new).collect(),
            order_counter: r.order_counter,
            digest: wardround_signing::Digest::from_slice(&r.digest).map(|d| d.to_string()).unwrap_or_default(),
            created_at: when::rfc3339(r.created_at_ms),
            started_at: when::rfc3339(r.started_at_ms),
            ended_at: when::rfc3339(r.ended_at_ms),
            halt: Spread::new(r),
            pending_orders: r.pending_orders.iter().map(Pending::new).collect(),
            halts_in_force: r.halts_in_force.iter().map(Halt::new).collect(),
            version: r.version,
            amendment: r.amendment.as_ref().map(Amendment::new),
        }
    }
}

impl Amendment {
    fn new(a: &v1::Amendment) -> Self {
        Self {
            version: a.version,
            digest: wardround_signing::Digest::from_slice(&a.digest).map(|d| d.to_string()).unwrap_or_default(),
            signed: a.signed,
            signed_roles: a.signed_roles.clone(),
            since: when::rfc3339(a.since_ms),
            problem: a.problem.clone(),
            approvals: a.approvals.iter().map(|w| (w.wave.clone(), w.roles.clone())).collect(),
            added: a.added,
            removed: a.removed,
            moved: a.moved,
        }
    }
}

/// "version 2 (1 device in, 0 out) waits for the signature of clinical: wardround rollout sign r1"
pub(crate) fn amendment_words(r: &v1::Rollout) -> Option<String> {
    let waiting = r.amendment.as_ref()?;
    let moved = if waiting.moved == 0 { String::new() } else { format!(", {} changed", waiting.moved) };
    let what =
        format!("version {} ({} in, {} out{moved})", waiting.version, count(waiting.added, "device"), waiting.removed);
    let missing: Vec<&str> =
        ["release", "clinical"].into_iter().filter(|role| !waiting.signed_roles.iter().any(|r| r == role)).collect();
    let approvals: Vec<String> =
        waiting.approvals.iter().map(|w| format!("{} for wave {}", w.roles.join(" and "), w.wave)).collect();
    let waits = if !waiting.problem.is_empty() {
        format!("can't come into force: {}; amend again: wardround rollout amend {}", waiting.problem, r.id)
    } else if !waiting.signed {
        let missing = if missing.is_empty() { "both roles, identically".to_owned() } else { missing.join(" and ") };
        format!("waits for the signature of {missing}: wardround rollout sign {}", r.id)
    } else {
        format!("is signed and waits for the approval of {}: wardround rollout approve {}", approvals.join(", "), r.id)
    };
    Some(output::one_line(&format!("{what} {waits}")))
}

impl Pending {
    fn new(p: &v1::PendingOrder) -> Self {
        Self {
            order: p.counter,
            what: p.what.clone(),
            signed_by: p.signed_by.clone(),
            wanted_roles: p.wanted_roles.clone(),
            reason: p.reason.clone(),
            since: when::rfc3339(p.since_ms),
            until: when::rfc3339(p.until_ms),
        }
    }
}

impl Halt {
    /// A hold is shown with the same fields.
    fn of_hold(h: &v1::Hold) -> Self {
        Self { order: h.counter, by: h.by.clone(), reason: h.reason.clone(), at: when::rfc3339(h.at_ms) }
    }

    fn new(h: &v1::HaltInForce) -> Self {
        Self { order: h.counter, by: h.by.clone(), reason: h.reason.clone(), at: when::rfc3339(h.at_ms) }
    }
}

/// "order 5 (roll back site rx1), signed by Cy Poole, waits for clinical or release until …: wardround rollout cosign r1"
pub(crate) fn pending_words(rollout: &str, p: &v1::PendingOrder) -> String {
    output::one_line(&format!(
        "order {} ({}), signed by {}, waits for a second person ({}) until {}: wardround rollout cosign {rollout} \
         --order {}",
        p.counter,
        p.what,
        p.signed_by.join(" and "),
        p.wanted_roles.join(" or "),
        when::local(p.until_ms),
        p.counter
    ))
}

impl Spread {
    pub(crate) fn new(r: &v1::Rollout) -> Self {
        r.halt_spread.as_ref().map_or_else(Self::default, |s| Self {
            sites: s.sites,
            connected_sites: s.connected_sites,
            confirmed_sites: s.confirmed_sites,
        })
    }
}

impl Wave {
    pub(crate) fn new(w: &v1::Wave) -> Self {
        Self {
            name: w.name.clone(),
            state: w.state.clone(),
            state_since: when::rfc3339(w.state_since_ms),
            devices: w.device_count,
            deployments: counts(w),
            waiting: w.waiting.as_ref().map(Waiting::new),
            gate: w.gate.clone(),
            gate_decision: w.decision.as_ref().map(Decision::new),
            holds: w.holds.iter().map(Halt::of_hold).collect(),
        }
    }
}

/// Deployments by state, only those that are not zero.
pub(crate) fn counts(wave: &v1::Wave) -> BTreeMap<String, u64> {
    by_state(&wave.deployments)
}

pub(super) fn by_state(counts: &[v1::StateCount]) -> BTreeMap<String, u64> {
    counts.iter().filter(|s| s.count > 0).map(|s| (s.state.clone(), s.count)).collect()
}

/// How many deployments of a wave are in any of `states`.
pub(crate) fn count_in(wave: &v1::Wave, states: &[&str]) -> u64 {
    wave.deployments.iter().filter(|s| states.contains(&s.state.as_str())).map(|s| s.count).sum()
}

/// "2 soaking, 3 succeeded", in the order of a deployment's life.
pub(crate) fn count_words(wave: &v1::Wave) -> String {
    let counts = counts(wave);
    wardround_rollout_plans::model::DeploymentState::ALL
        .iter()
        .filter_map(|state| counts.get(state.word()).map(|n| format!("{n} {}", words(state.word()))))
        .collect::<Vec<_>>()
        .join(", ")
}

/// "rolling_back" → "rolling back".
pub(crate) fn words(state: &str) -> String {
    state.replace('_', " ")
}

/// The whole for a person: what it is, how it stands, what each wave does, and why what waits waits.
pub(crate) fn human(r: &v1::Rollout) -> String {
    let devices: u64 = r.waves.iter().map(|w| w.device_count).sum();
    let version = if r.version > 1 { format!(" version {}", r.version) } else { String::new() };
    let mut lines = vec![
        format!("rollout {}{version} · patch {} · plan {} · {}", r.id, r.patch, r.plan, count(devices, "device")),
        format!(
            "state   {} for {} (since {})",
            words(&r.state),
            when::ago(r.state_since_ms),
            when::local(r.state_since_ms)
        ),
    ];
    if !r.reason.is_empty() {
        lines.push(format!("why     {}", output::one_line(&r.reason)));
    }
    lines.push(format!("signed  {}", signed::words(&r.signatures, &r.signed_roles)));
    let spread = Spread::new(r);
    if r.state == "halted" && spread.sites > 0 {
        lines.push(format!("halt    {}", spread_words(spread)));
    }
    lines.extend(amendment_words(r).map(|words| format!("next    {words}")));
    lines.extend(r.pending_orders.iter().map(|p| format!("waits   {}", pending_words(&r.id, p))));
    let holds = r.waves.iter().flat_map(|w| w.holds.iter().map(|h| super::hold::words(&w.name, h)));
    lines.extend(holds.map(|words| format!("held    {words}")));
    lines.push(String::new());
    let rows = r.waves.iter().map(|w| {
        let waiting = w.waiting.as_ref().map_or_else(String::new, waiting_words);
        let state = format!("{} since {}", words(&w.state), when::local(w.state_since_ms));
        [w.name.clone(), state, w.device_count.to_string(), count_words(w), waiting]
    });
    lines.push(output::table(["wave", "state", "devices", "deployments", "waiting for"], rows));
    for wave in r.waves.iter().filter(|w| !w.gate.is_empty()) {
        lines.push(format!("gate of {}: {}", wave.name, output::one_line(&wave.gate)));
    }
    lines.join("\n")
}

/// "5 of 5 connected nodes confirmed; 1 site not connected: it learns of it when it comes back".
pub(crate) fn spread_words(spread: Spread) -> String {
    let nodes = if spread.connected_sites == 1 { "connected node" } else { "connected nodes" };
    let mut text = format!(
        "{} of {} {nodes} confirmed",
        spread.confirmed_sites.min(spread.connected_sites),
        spread.connected_sites
    );
    match spread.sites.saturating_sub(spread.connected_sites) {
        0 => {}
        1 => text += "; 1 site not connected: it learns of it when it comes back",
        n => text += &format!("; {n} sites not connected: they learn of it when they come back"),
    }
    text
}

/// States in which the patch is being put on a device or taken from it: they go on after a halt.
const MOVING: [&str; 5] = ["installing", "rebooting", "verifying", "soaking", "rolling_back"];

/// True when nothing more happens by itself. A halted rollout still finishes or takes back what it had begun.
pub(crate) fn has_ended(r: &v1::Rollout) -> bool {
    match r.state.as_str() {
        "completed" | "rolled_back" | "cancelled" => true,
        "halted" => r.waves.iter().all(|w| w.state != "rolling_back" && count_in(w, &MOVING) == 0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(state: &str, wave: &str, deployment: &str) -> v1::Rollout {
        let deployments = vec![v1::StateCount { state: deployment.into(), count: 1 }];
        let wave = v1::Wave { state: wave.into(), deployments, ..Default::default() };
        v1::Rollout { state: state.into(), waves: vec![wave], ..Default::default() }
    }

    #[test]
    fn a_halt_ends_when_what_was_begun_is_settled() {
        assert!(!has_ended(&rollout("halted", "failed", "installing")));
        assert!(!has_ended(&rollout("halted", "rolling_back", "rolled_back")));
        assert!(has_ended(&rollout("halted", "failed", "pending")));
        assert!(has_ended(&rollout("completed", "passed", "succeeded")));
        assert!(!has_ended(&rollout("paused", "running", "pending")));
    }

    #[test]
    fn a_halt_says_whom_it_has_not_reached() {
        let words =
            |sites, connected_sites, confirmed_sites| spread_words(Spread { sites, connected_sites, confirmed_sites });
        assert_eq!(words(6, 6, 6), "6 of 6 connected nodes confirmed");
        assert_eq!(
            words(6, 5, 5),
            "5 of 5 connected nodes confirmed; 1 site not connected: it learns of it when it comes back"
        );
        assert!(words(9, 1, 0).starts_with("0 of 1 connected node confirmed; 8 sites not connected"));
    }
}
