//! `wardround rollout deployments`.

use clap::Args;
use serde::Serialize;
use wardround_proto::v1;
use wardround_rollout_plans::model::DeploymentState;

use super::shown::{self, Waiting, words};
use crate::{
    client::{Controller, PAGE, all_pages, call},
    failure::{Exit, Failure},
    output,
    session::Session,
    when,
};

/// List the devices of a rollout: state, reason and evidence of each
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround rollout deployments winter-1 --state failed")]
pub(super) struct Deployments {
    /// Rollout id
    id: String,
    /// Only of this wave
    #[arg(long, value_name = "WAVE")]
    wave: Option<String>,
    /// Only in this state
    #[arg(long, value_name = "STATE", value_parser = clap::builder::PossibleValuesParser::new(DeploymentState::ALL.map(|s| s.word())))]
    state: Option<String>,
}

#[derive(Serialize)]
struct Shown {
    device: String,
    wave: String,
    state: String,
    state_since: Option<String>,
    reason: String,
    waiting: Option<Waiting>,
    attempt: u32,
    evidence: Option<serde_json::Value>,
}

impl Deployments {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let controller = session.connect().await?;
        let wave = self.wave.as_deref().unwrap_or_default();
        let found = all(&controller, &self.id, wave, self.state.as_deref().unwrap_or_default()).await?;
        output::list(session.format(), &found, Shown::new, "no such deployments", |found| {
            let rows = found
                .iter()
                .map(|d| [d.wave.clone(), d.device.clone(), words(&d.state), when::local(d.state_since_ms), why(d)]);
            output::table(["wave", "device", "state", "since", "why"], rows)
        })
    }
}

/// All deployments of a rollout; empty filters mean all.
pub(crate) async fn all(
    controller: &Controller,
    id: &str,
    wave: &str,
    state: &str,
) -> Result<Vec<v1::Deployment>, Failure> {
    all_pages(async |page_token| {
        let request = v1::ListDeploymentsRequest {
            id: id.to_owned(),
            wave: wave.to_owned(),
            state: state.to_owned(),
            page_size: PAGE,
            page_token,
        };
        let page = controller.rollouts().list_deployments(call(request)).await?.into_inner();
        Ok((page.deployments, page.next_page_token))
    })
    .await
}

/// What was said of it, what it waits for, since when, and until when if that is known.
fn why(d: &v1::Deployment) -> String {
    let Some(waiting) = &d.waiting else { return d.reason.clone() };
    let said = if waiting.text.contains(&d.reason) { String::new() } else { format!("{}; ", d.reason) };
    format!("{said}{}", shown::waiting_words(waiting))
}

impl Shown {
    fn new(d: &v1::Deployment) -> Self {
        Self {
            device: d.device.clone(),
            wave: d.wave.clone(),
            state: d.state.clone(),
            state_since: when::rfc3339(d.state_since_ms),
            reason: d.reason.clone(),
            waiting: d.waiting.as_ref().map(Waiting::new),
            attempt: d.attempt,
            evidence: serde_json::from_str(&d.evidence_json).ok(),
        }
    }
}
