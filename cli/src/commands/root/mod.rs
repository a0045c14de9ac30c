//! `wardround root`: whose keys count.

mod import;
mod online;
mod publish;
mod renew;

pub(crate) use import::import;

use clap::{Args, Subcommand};

use crate::{
    failure::{Exit, Failure},
    session::Session,
};

/// Say whose keys count
#[derive(Debug, Args)]
pub(crate) struct Root {
    #[command(subcommand)]
    command: RootCommand,
}

#[derive(Debug, Subcommand)]
enum RootCommand {
    Import(import::Import),
    Online(online::Online),
    Publish(publish::Publish),
    Renew(renew::Renew),
}

impl Root {
    pub(crate) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        match &self.command {
            RootCommand::Import(import) => import.run(session).await,
            RootCommand::Online(online) => online.run(session).await,
            RootCommand::Publish(publish) => publish.run(session).await,
            RootCommand::Renew(renew) => renew.run(session).await,
        }
    }
}
