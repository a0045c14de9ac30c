//! `/metrics` in Prometheus' text form (version 0.0.4).

use std::{collections::BTreeMap, fmt::Write as _};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use tonic::Request;
use wardround_proto::v1::{self, rollout_service_server::RolloutService as _};
use wardround_rollout_plans::model::DeploymentState;

use super::{Console, layout::Failure};
use crate::api::Vitals;

/// Rollouts read at once.
const PAGE: u32 = 1_000;
/// Every state of a rollout: a series that is there from the beginning can be alerted on.
const ROLLOUT_STATES: [&str; 9] =
    ["draft", "signed", "running", "paused", "halted", "rolling_back", "rolled_back", "completed", "cancelled"];

/// `/metrics`
pub(super) async fn metrics(State(console): State<Console>) -> Result<Response, Failure> {
    let mut counts = Counts::new();
    let mut page_token = String::new();
    loop {
        let asked = v1::ListRolloutsRequest { page_size: PAGE, page_token };
        let answer = console.service.list_rollouts(Request::new(asked)).await?.into_inner();
        answer.rollouts.iter().for_each(|rollout| counts.add(rollout));
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let text = render(&counts, &console.api.vitals());
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

#[derive(Debug)]
struct Counts {
    rollouts: BTreeMap<String, u64>,
    deployments: BTreeMap<String, u64>,
    waiting: BTreeMap<String, u64>,
}

impl Counts {
    fn new() -> Self {
        let zero = |words: Vec<&str>| words.into_iter().map(|word| (word.to_owned(), 0)).collect();
        Self {
            rollouts: zero(ROLLOUT_STATES.to_vec()),
            deployments: zero(DeploymentState::ALL.iter().map(|s| s.word()).collect()),
            waiting: BTreeMap::new(),
        }
    }

    fn add(&mut self, rollout: &v1::Rollout) {
        *self.rollouts.entry(rollout.state.clone()).or_default() += 1;
        for wave in &rollout.waves {
            for count in &wave.deployments {
                *self.deployments.entry(count.state.clone()).or_default() += count.count;
            }
            if let Some(waiting) = &wave.waiting {
                *self.waiting.entry(waiting.code.clone()).or_default() += 1;
            }
        }
    }
}

fn render(counts: &Counts, vitals: &Vitals) -> String {
    let systems = vitals.systems.iter().map(|(word, n)| ((*word).to_owned(), *n)).collect();
    let mut text = String::new();
    family(&mut text, "wardround_rollouts", "gauge", "Rollouts by state.", "state", &counts.rollouts);
    family(
        &mut text,
        "wardround_deployments",
        "gauge",
        "Deployments of all rollouts by state.",
        "state",
        &counts.deployments,
    );
    family(
        &mut text,
        "wardround_waves_waiting",
        "gauge",
        "Waves that wait, by what they wait for.",
        "on",
        &counts.waiting,
    );
    family(&mut text, "wardround_clinical_systems", "gauge", "Clinical systems by health.", "health", &systems);
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    for (name, kind, help, value) in [
        ("wardround_sites", "gauge", "Sites that have enrolled or reported.", number(vitals.sites)),
        ("wardround_nodes_connected", "gauge", "Nodes that hold their watch stream.", number(vitals.connected)),
        ("wardround_journal_seq", "counter", "Sequence number of the last journal record.", vitals.journal_seq),
        ("wardround_audit_records_total", "counter", "Records of who decided what.", vitals.audit_records),
        ("wardround_log_size", "counter", "Records that the newest signed checkpoint covers.", vitals.log_size),
        ("wardround_log_witnesses", "gauge", "Sites that have cosigned the newest checkpoint.", vitals.witnesses),
        ("wardround_log_damaged", "gauge", "1 when the audit log was found damaged.", u64::from(vitals.log_damaged)),
        ("wardround_alarms_total", "counter", "Alarms raised.", vitals.alarms),
    ] {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    }
    text
}

/// All label values are words of our own state machines: nothing needs escaping.
fn family(text: &mut String, name: &str, kind: &str, help: &str, label: &str, values: &BTreeMap<String, u64>) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (word, value) in values {
        let _ = writeln!(text, "{name}{{{label}=\"{word}\"}} {value}");
    }
}
