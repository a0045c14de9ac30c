//! `wardround rollout create`.

use std::path::{Path, PathBuf};

use clap::Args;
use wardround_proto::v1;
use wardround_rollout_plans::model::{PatchId, RolloutId};

use super::shown;
use crate::{
    client::{Controller, call, incomplete},
    commands::plan::read_plan,
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
        let rollout = create(&controller, &self.patch, &self.plan, self.id.as_ref()).await?;
        output::emit(session.format(), &shown::Shown::new(&rollout), || shown::human(&rollout))?;
        eprintln!("next: people of both roles run `wardround rollout sign {}`", rollout.id);
        Ok(Exit::Ok)
    }
}

/// Lints the plan here, where its lines are, and then has the controller resolve it.
pub(crate) async fn create(
    controller: &Controller,
    patch: &PatchId,
    plan: &Path,
    id: Option<&RolloutId>,
) -> Result<v1::Rollout, Failure> {
    let (plan_yaml, file_name) = read_plan(plan)?;
    let request = v1::CreateRolloutRequest {
        id: id.map(ToString::to_string).unwrap_or_default(),
        patch: patch.to_string(),
        plan_yaml,
        file_name,
    };
    let answer = controller.rollouts().create_rollout(call(request)).await?;
    answer.into_inner().rollout.ok_or_else(|| incomplete("rollout"))
}
