//! All rollouts, and what a person must look at.

use axum::{
    extract::State,
    http::Uri,
    response::{Html, IntoResponse},
};
use maud::{Markup, html};
use tonic::Request;
use wardround_proto::v1::{self, rollout_service_server::RolloutService as _};
use wardround_rollout_plans::model::Timestamp;

use super::{Console, layout::Failure, query, words};
use crate::{api::Vitals, clock};

/// Rollouts on one page.
const PAGE: u32 = 50;
/// Alarms on one page.
const ALARMS: usize = 20;

/// `/`
pub(super) async fn list(State(console): State<Console>, uri: Uri) -> Result<impl IntoResponse, Failure> {
    let asked = v1::ListRolloutsRequest { page_size: PAGE, page_token: query::value(&uri, "page") };
    let answer = console.service.list_rollouts(Request::new(asked)).await?.into_inner();
    let alarms = console.api.newest_alarms(None, ALARMS);
    let body = html! { (body(&answer, &alarms, clock::now())) (log(&console.api.vitals())) };
    Ok(console.page("Rollouts", &body) as Html<String>)
}

fn body(answer: &v1::ListRolloutsResponse, alarms: &[v1::Alarm], now: Timestamp) -> Markup {
    html! {
        @if answer.rollouts.is_empty() {
            p { "No rollout yet. Make one with " code { "wardround rollout create" } "." }
        } @else {
            table {
                thead { tr { th { "Rollout" } th { "Patch" } th { "Plan" } th { "State" } th { "Devices" } th { "Why it stands" } } }
                tbody { @for rollout in &answer.rollouts { (row(rollout, now)) } }
            }
            @if !answer.next_page_token.is_empty() {
                p { a href={ "/?page=" (answer.next_page_token) } { "Older rollouts" } }
            }
        }
        (alarm_list(alarms, now))
    }
}

/// The audit log and who witnesses it.
fn log(vitals: &Vitals) -> Markup {
    html! {
        h2 { "Audit log" }
        @if vitals.log_damaged { p { span.bad { "damaged" } " no newer checkpoint is signed: see docs/operations.md" } }
        p {
            (vitals.log_size) " records are signed; " (vitals.witnesses) " of " (vitals.nodes)
            " sites witness that very checkpoint. " code { "wardround audit export DIR" }
        }
    }
}

fn row(rollout: &v1::Rollout, now: Timestamp) -> Markup {
    let deployments = sum(rollout);
    html! {
        tr {
            td { a href={ "/rollouts/" (rollout.id) } { (rollout.id) } }
            td { (rollout.patch) }
            td { (rollout.plan) }
            td { (words::state(&rollout.state)) br; (words::since(rollout.state_since_ms, now)) }
            td { (words::bar(&deployments)) span.dim { (words::counts(&deployments)) } }
            td { (why(rollout)) }
        }
    }
}

/// The reason of the rollout, or that of its first wave that waits.
pub(super) fn why(rollout: &v1::Rollout) -> Markup {
    let waiting = rollout.waves.iter().find_map(|w| w.waiting.as_ref().map(|waiting| (&w.name, waiting)));
    html! {
        @if !rollout.reason.is_empty() { (rollout.reason) } @else if let Some((wave, waiting)) = waiting {
            "wave " (wave) ": " (waiting.text)
        }
    }
}

/// Deployments by state over all waves, in the order of their first appearance.
pub(super) fn sum(rollout: &v1::Rollout) -> Vec<v1::StateCount> {
    let mut sum: Vec<v1::StateCount> = Vec::new();
    for count in rollout.waves.iter().flat_map(|w| &w.deployments) {
        match sum.iter_mut().find(|s| s.state == count.state) {
            Some(found) => found.count += count.count,
            None => sum.push(count.clone()),
        }
    }
    sum
}

/// Newest first.
pub(super) fn alarm_list(alarms: &[v1::Alarm], now: Timestamp) -> Markup {
    html! {
        h2 { "Alarms" }
        @if alarms.is_empty() { p.dim { "None." } } @else {
            table {
                thead { tr { th { "When" } th { "What" } th { "Where" } th { "Rollout" } } }
                tbody {
                    @for alarm in alarms {
                        tr {
                            td { (words::ago(alarm.at_ms, now)) }
                            td { span.bad { (alarm.code.replace('_', " ")) } " " (alarm.text) }
                            td {
                                @if !alarm.device.is_empty() { (alarm.device) }
                                @else if !alarm.site.is_empty() { a href={ "/sites/" (alarm.site) } { (alarm.site) } }
                            }
                            td { @if !alarm.rollout.is_empty() { a href={ "/rollouts/" (alarm.rollout) } { (alarm.rollout) } } }
                        }
                    }
                }
            }
        }
    }
}
