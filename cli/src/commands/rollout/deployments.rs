//! `wardround rollout deployments`.

use clap::Args;
use serde::Serialize;
use wardround_proto::v1;
use wardround_rollout_plans::model::DeploymentState;

use super::shown::words;
use crate::{
    client::{Controller, call},
    failure::{Exit, Failure},
    output::{self, Format},
    session::Session,
    when,
};

/// Most items of one page (the API's limit).
const PAGE: u32 = 1000;

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
    attempt: u32,
    evidence: Option<serde_json::Value>,
}

impl Deployments {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let controller = session.connect().await?;
        let wave = self.wave.as_deref().unwrap_or_default();
        let found = all(&controller, &self.id, wave, self.state.as_deref().unwrap_or_default()).await?;
        if session.format() == Format::Json {
            output::json(&found.iter().map(Shown::new).collect::<Vec<_>>())?;
        } else if found.is_empty() {
            output::text("no such deployments")?;
        } else {
            let rows = found.iter().map(|d| {
                [d.wave.clone(), d.device.clone(), words(&d.state), when::local(d.state_since_ms), d.reason.clone()]
            });
            output::text(&output::table(["wave", "device", "state", "since", "why"], rows))?;
        }
        Ok(Exit::Ok)
    }
}

/// All deployments of a rollout; empty filters mean all.
pub(crate) async fn all(
    controller: &Controller,
    id: &str,
    wave: &str,
    state: &str,
) -> Result<Vec<v1::Deployment>, Failure> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListDeploymentsRequest {
            id: id.to_owned(),
            wave: wave.to_owned(),
            state: state.to_owned(),
            page_size: PAGE,
            page_token,
        };
        let page = controller.rollouts().list_deployments(call(request)).await?.into_inner();
        found.extend(page.deployments);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(found);
        }
    }
}

impl Shown {
    fn new(d: &v1::Deployment) -> Self {
        Self {
            device: d.device.clone(),
            wave: d.wave.clone(),
            state: d.state.clone(),
            state_since: when::rfc3339(d.state_since_ms),
            reason: d.reason.clone(),
            attempt: d.attempt,
            evidence: serde_json::from_str(&d.evidence_json).ok(),
        }
    }
}
