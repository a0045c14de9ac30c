//! One rollout: its waves, what needs a person, its devices, and the commands that act on it.

use axum::{
    extract::{Path, State},
    http::Uri,
    response::{Html, IntoResponse},
};
use maud::{Markup, html};
use tonic::{Request, Status};
use wardround_proto::v1::{self, rollout_service_server::RolloutService as _};
use wardround_rollout_plans::model::Timestamp;

use super::{Console, layout::Failure, query, rollouts, words};
use crate::clock;

/// Devices on one page.
const PAGE: u32 = 100;
/// Devices of each troubling state that are shown with their evidence.
const TROUBLE: u32 = 20;
const ALARMS: usize = 20;
/// Longest evidence on a page, bytes: the CLI shows the rest.
const EVIDENCE_BYTES_MAX: usize = 4_000;

/// States that a person should look at, worst first.
const TROUBLING: [&str; 6] = ["rollback_failed", "failed", "unknown", "rolling_back", "rolled_back", "deferred"];

/// `/rollouts/{id}`, with `?wave=`, `?state=` and `?page=` for the list of devices.
pub(super) async fn one(
    State(console): State<Console>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<impl IntoResponse, Failure> {
    let asked = Request::new(v1::GetRolloutRequest { id: id.clone() });
    let found = console.service.get_rollout(asked).await?.into_inner().rollout;
    let rollout = found.ok_or_else(|| Status::internal("an empty answer"))?;
    let mut trouble = Vec::new();
    for state in TROUBLING.into_iter().filter(|s| rollouts::sum(&rollout).iter().any(|c| c.state == **s)) {
        let asked = v1::ListDeploymentsRequest {
            id: id.clone(),
            state: state.to_owned(),
            page_size: TROUBLE,
            ..Default::default()
        };
        let answer = console.service.list_deployments(Request::new(asked)).await?.into_inner();
        trouble.extend(answer.deployments);
    }
    let filter = v1::ListDeploymentsRequest {
        id: id.clone(),
        wave: query::value(&uri, "wave"),
        state: query::value(&uri, "state"),
        page_size: PAGE,
        page_token: query::value(&uri, "page"),
    };
    let devices = console.service.list_deployments(Request::new(filter.clone())).await?.into_inner();
    let alarms = console.api.newest_alarms(Some(&id), ALARMS);
    let now = clock::now();
    let body = html! {
        (summary(&rollout, now))
        (commands(&rollout))
        (waves(&rollout, now))
        (troubles(&rollout, &trouble, now))
        (rollouts::alarm_list(&alarms, now))
        (device_list(&filter, &devices, now))
    };
    Ok(console.page(&format!("Rollout {id}"), &body) as Html<String>)
}

fn summary(rollout: &v1::Rollout, now: Timestamp) -> Markup {
    let deployments = rollouts::sum(rollout);
    let halt = rollout.halt_spread.unwrap_or_default();
    let digest: String = rollout.digest.iter().take(6).map(|b| format!("{b:02x}")).collect();
    html! {
        p {
            (words::state(&rollout.state)) " " (words::since(rollout.state_since_ms, now))
            " · patch " (rollout.patch) " · plan " (rollout.plan) " · document " code { (digest) } " version " (rollout.version)
            " · signed by " @if rollout.signed_roles.is_empty() { "nobody" } @else { (rollout.signed_roles.join(", ")) }
        }
        @if !rollout.reason.is_empty() { div class={ "notice " (words::tone(&rollout.state)) } { (rollout.reason) } }
        @if rollout.state == "halted" {
            p {
                (halt.confirmed_sites) " of " (halt.connected_sites) " connected sites have confirmed the halt; "
                (halt.sites.saturating_sub(halt.connected_sites)) " of " (halt.sites) " are not connected and begin nothing new once their directive has expired."
            }
        }
        @if let Some(waiting) = &rollout.amendment {
            div.notice {
                "Version " (waiting.version) " (devices: " (waiting.added) " in, " (waiting.removed) " out) "
                @if !waiting.problem.is_empty() { "can't come into force: " (waiting.problem) }
                @else if waiting.signed { "is signed and waits for approvals of waves that are under way." }
                @else { "waits for the signatures of both roles; version " (rollout.version) " goes on until then." }
            }
        }
        @for waiting in &rollout.pending_orders {
            div.notice {
                "Order " (waiting.counter) " (" (waiting.what) "), signed by " (waiting.signed_by.join(" and "))
                @if !waiting.reason.is_empty() { ": “" (waiting.reason) "”" }
                ", waits for a second person (" (waiting.wanted_roles.join(" or ")) ") until " (words::exact(waiting.until_ms)) "."
            }
        }
        (words::bar(&deployments))
        p.dim { (words::counts(&deployments)) }
    }
}

/// The commands that make sense in this state, the most urgent first.
fn commands(rollout: &v1::Rollout) -> Markup {
    let id = &rollout.id;
    let mut lines: Vec<(String, &str)> = Vec::new();
    let mut add = |command: String, meaning| lines.push((format!("wardround rollout {command}"), meaning));
    for waiting in &rollout.pending_orders {
        add(
            format!("cosign {id} --order {}", waiting.counter),
            "read the order that waits, and sign as the second person",
        );
    }
    if let Some(waiting) = &rollout.amendment {
        if !waiting.problem.is_empty() {
            add(format!("amend {id}"), "resolve the plan against today's estate once more");
        } else if !waiting.signed {
            add(format!("sign {id}"), "read what the next version changes, and sign; both roles are needed");
        }
        for wanted in waiting.approvals.iter().filter(|_| waiting.signed) {
            add(format!("approve {id} {}", wanted.wave), "approve this wave as the next version has it");
        }
    }
    match rollout.state.as_str() {
        "draft" => add(format!("sign {id}"), "read what it will do, and sign; both roles are needed"),
        "signed" => add(format!("start {id}"), "its first wave begins"),
        "running" => {
            add(format!("halt {id} --reason \"…\""), "stop everywhere at once");
            for wave in rollout.waves.iter().filter(|w| w.state == "awaiting_approval") {
                add(format!("approve {id} {}", wave.name), "let this wave begin");
            }
            add(format!("pause {id} --reason \"…\""), "offer the patch to no further device; what runs goes on");
        }
        "paused" | "halted" => {
            if rollout.state == "paused" {
                add(format!("halt {id} --reason \"…\""), "stop everywhere at once");
            }
            add(
                format!("resume {id} --reason \"…\""),
                "go on, with a second person's signature; refused while a wave has failed",
            );
            add(format!("cancel {id} --reason \"…\""), "give up; what is installed stays");
        }
        _ => {}
    }
    if matches!(rollout.state.as_str(), "running" | "paused" | "halted" | "completed") {
        add(
            format!("rollback {id} --site SITE --reason \"…\""),
            "take the patch back, with a second person's signature; --device, --wave or --all reach elsewhere",
        );
    }
    html! {
        @if !lines.is_empty() {
            h2 { "What you can do" }
            @for (command, meaning) in lines { pre { (command) } p.dim { (meaning) } }
        }
    }
}

fn waves(rollout: &v1::Rollout, now: Timestamp) -> Markup {
    html! {
        h2 { "Waves" }
        table {
            thead { tr { th { "Wave" } th { "State" } th.number { "Devices" } th { "Deployments" } th { "Waits for, gate" } } }
            tbody {
                @for wave in &rollout.waves {
                    tr {
                        td { a href={ "/rollouts/" (rollout.id) "?wave=" (wave.name) "#devices" } { (wave.name) } }
                        td { (words::state(&wave.state)) br; (words::since(wave.state_since_ms, now)) }
                        td.number { (wave.device_count) }
                        td { (words::bar(&wave.deployments)) span.dim { (words::counts(&wave.deployments)) } }
                        td { (waiting(wave.waiting.as_ref(), now)) @if !wave.gate.is_empty() { p.dim { "Gate: " (wave.gate) } } }
                    }
                }
            }
        }
    }
}

fn waiting(waiting: Option<&v1::Waiting>, now: Timestamp) -> Markup {
    html! {
        @if let Some(waiting) = waiting {
            (waiting.text) " " (words::since(waiting.since_ms, now))
            @if waiting.until_ms > 0 { span.dim { ", until " (words::exact(waiting.until_ms)) } }
        }
    }
}

fn troubles(rollout: &v1::Rollout, trouble: &[v1::Deployment], now: Timestamp) -> Markup {
    html! {
        @if !trouble.is_empty() {
            h2 { "Look at these first" }
            table {
                thead { tr { th { "Device" } th { "Wave" } th { "State" } th { "Why" } } }
                tbody {
                    @for deployment in trouble {
                        tr {
                            td { (device(deployment)) }
                            td { (deployment.wave) }
                            td {
                                a href={ "/rollouts/" (rollout.id) "?state=" (deployment.state) "#devices" } { (words::state(&deployment.state)) }
                                br; (words::since(deployment.state_since_ms, now))
                            }
                            td {
                                (why_of(deployment, now))
                                details { summary.dim { "evidence" } pre { (evidence(&deployment.evidence_json)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What was said of it, and what it waits for, since when.
fn why_of(deployment: &v1::Deployment, now: Timestamp) -> Markup {
    html! {
        (deployment.reason)
        @if let Some(waiting) = &deployment.waiting {
            @if deployment.reason != waiting.text {
                @if !deployment.reason.is_empty() { br; }
                (waiting.text)
            }
            " " span.dim {
                (words::since(waiting.since_ms, now))
                @if waiting.until_ms > 0 { ", until " (words::exact(waiting.until_ms)) }
            }
        }
    }
}

fn device(deployment: &v1::Deployment) -> Markup {
    let site = deployment.device.split('/').next().unwrap_or_default();
    html! { a href={ "/sites/" (site) } { (deployment.device) } }
}

/// Indented, and cut where it is long.
fn evidence(json: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    let mut text = serde_json::to_string_pretty(&value).unwrap_or_default();
    if let Some(cut) = (EVIDENCE_BYTES_MAX..text.len()).find(|at| text.is_char_boundary(*at)) {
        text.truncate(cut);
        text.push_str("\n… (wardround rollout deployments shows all)");
    }
    text
}

fn device_list(filter: &v1::ListDeploymentsRequest, answer: &v1::ListDeploymentsResponse, now: Timestamp) -> Markup {
    let narrowed: Vec<String> = [("wave", &filter.wave), ("state", &filter.state)]
        .into_iter()
        .filter(|(_, v)| !v.is_empty())
        .map(|(k, v)| format!("{k} {v}"))
        .collect();
    html! {
        h2 #devices { "Devices" @if !narrowed.is_empty() { " · " (narrowed.join(", ")) } }
        @if !narrowed.is_empty() { p { a href={ "/rollouts/" (filter.id) "#devices" } { "Show all" } } }
        table {
            thead { tr { th { "Device" } th { "Wave" } th { "State" } th.number { "Attempt" } th { "Why" } } }
            tbody {
                @for deployment in &answer.deployments {
                    tr {
                        td { (device(deployment)) }
                        td { (deployment.wave) }
                        td { (words::state(&deployment.state)) " " (words::since(deployment.state_since_ms, now)) }
                        td.number { (deployment.attempt) }
                        td { (why_of(deployment, now)) }
                    }
                }
            }
        }
        @if !answer.next_page_token.is_empty() {
            p { a href={ "/rollouts/" (filter.id) "?wave=" (filter.wave) "&state=" (filter.state) "&page=" (answer.next_page_token) "#devices" } { "More devices" } }
        }
    }
}
