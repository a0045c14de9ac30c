//! `wardround rollout`: everything about one patch on its way through the estate.

mod amend;
pub(crate) mod cosign;
mod create;
mod deployments;
mod gate;
mod halt;
mod hold;
mod list;
pub(crate) mod order;
pub(crate) mod shown;
mod sign;
mod status;
mod watch;

use clap::{Args, Subcommand};

pub(crate) use create::create;
pub(crate) use deployments::all as all_deployments;
pub(crate) use sign::{members, sign};

use crate::{
    failure::{Exit, Failure},
    session::Session,
};

/// Create, sign, start, follow, stop and take back rollouts
#[derive(Debug, Args)]
pub(crate) struct Rollout {
    #[command(subcommand)]
    command: RolloutCommand,
}

#[derive(Debug, Subcommand)]
enum RolloutCommand {
    Create(create::Create),
    Amend(amend::Amend),
    Sign(sign::Sign),
    Start(order::Start),
    #[command(alias = "show")]
    Status(status::Status),
    Watch(watch::Watch),
    List(list::List),
    Deployments(deployments::Deployments),
    Approve(order::Approve),
    Pause(order::Pause),
    Resume(order::Resume),
    Halt(halt::Halt),
    Rollback(order::RollBack),
    Hold(hold::Hold),
    Release(hold::Release),
    Cosign(cosign::Cosign),
    Withdraw(cosign::Withdraw),
    Cancel(order::Cancel),
}

impl Rollout {
    pub(crate) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        match &self.command {
            RolloutCommand::Create(create) => create.run(session).await,
            RolloutCommand::Amend(amend) => amend.run(session).await,
            RolloutCommand::Sign(sign) => sign.run(session).await,
            RolloutCommand::Start(start) => start.run(session).await,
            RolloutCommand::Status(status) => status.run(session).await,
            RolloutCommand::Watch(watch) => watch.run(session).await,
            RolloutCommand::List(list) => list.run(session).await,
            RolloutCommand::Deployments(deployments) => deployments.run(session).await,
            RolloutCommand::Approve(approve) => approve.run(session).await,
            RolloutCommand::Pause(pause) => pause.run(session).await,
            RolloutCommand::Resume(resume) => resume.run(session).await,
            RolloutCommand::Halt(halt) => halt.run(session).await,
            RolloutCommand::Rollback(rollback) => rollback.run(session).await,
            RolloutCommand::Hold(hold) => hold.run(session).await,
            RolloutCommand::Release(release) => release.run(session).await,
            RolloutCommand::Cosign(cosign) => cosign.run(session).await,
            RolloutCommand::Withdraw(withdraw) => withdraw.run(session).await,
            RolloutCommand::Cancel(cancel) => cancel.run(session).await,
        }
    }
}
