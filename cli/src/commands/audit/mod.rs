//! `wardround audit`: the record of who decided what, and the log that proves it.

mod export;
mod folder;
mod people;
mod show;
mod verdict;
mod verify;

use clap::{Args, Subcommand};

use crate::{
    failure::{Exit, Failure},
    session::Session,
};

/// Read, export and verify the record of who decided what
#[derive(Debug, Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    Show(show::Show),
    List(show::List),
    Export(export::Export),
    Verify(Box<verify::Verify>),
}

impl Audit {
    pub(crate) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        match &self.command {
            AuditCommand::Show(show) => show.run(session).await,
            AuditCommand::List(list) => list.run(session).await,
            AuditCommand::Export(export) => export.run(session).await,
            AuditCommand::Verify(verify) => verify.run(session).await,
        }
    }
}
