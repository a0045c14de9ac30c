//! `wardround rollout create`.

use std::path::PathBuf;

use clap::Args;
use wardround_proto::v1;
use wardround_rollout_plans::model::{PatchId, RolloutId};

use super::shown;
use crate::{
    client::{Controller, call, incomplete},
    commands::plan::{PlanFile, read_plan},
    failure::{Exit, Failure},
    output,
    session::Session,
};

/// Resolve a plan for a patch against the present estate, and keep the result as a draft to be signed
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround rollout create --patch KB4500331 --plan plan.yaml --id winter-1")]
pub(super) struct Create {
    /// Patch id
    #[arg(long, value_name = "ID")]
    patch: PatchId,
    /// The plan
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
    /// Id for the rollout; the controller chooses one if not given
    #[arg(long, value_name = "ID")]
    id: Option<RolloutId>,
}

impl Create {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let controller = session.connect().await?;
        let plan = read_plan(&self.plan)?;
        plan.warn();
        let rollout = create(&controller, &self.patch, plan, self.id.as_ref()).await?;
        output::emit(session.format(), &shown::Shown::new(&rollout), || shown::human(&rollout))?;
        eprintln!("next: people of both roles run `wardround rollout sign {}`", rollout.id);
        Ok(Exit::Ok)
    }
}

/// Has the controller resolve a plan and keep the draft.
pub(crate) async fn create(
    controller: &Controller,
    patch: &PatchId,
    plan: PlanFile,
    id: Option<&RolloutId>,
) -> Result<v1::Rollout, Failure> {
    let request = v1::CreateRolloutRequest {
        id: id.map(ToString::to_string).unwrap_or_default(),
        patch: patch.to_string(),
        plan_yaml: plan.yaml,
        file_name: plan.name,
    };
    let answer = controller.rollouts().create_rollout(call(request)).await?;
    answer.into_inner().rollout.ok_or_else(|| incomplete("rollout"))
}
