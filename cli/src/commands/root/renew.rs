//! `wardround root renew`: release or clinical metadata is signed anew as it stands.

use clap::Args;
use serde::Serialize;

use crate::{
    ask,
    failure::{Exit, Failure},
    output,
    repository::Repository,
    session::Session,
};

/// Sign your role's documents anew as they stand: before they expire, or with a key that has just been given the role
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround root renew --key lou.key")]
pub(super) struct Renew {
    /// Sign without being asked
    #[arg(long)]
    yes: bool,
}

#[derive(Serialize)]
struct Done {
    role: String,
    documents: Vec<String>,
}

impl Renew {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let controller = session.connect().await?;
        let repository = Repository::open(&controller, &session.operator_folder()?).await?;
        let person = session.signer().await?;
        let renewal = repository.renewal(&person.key).await?;
        let documents = renewal.documents();
        let list = if documents.is_empty() { "none".to_owned() } else { documents.join("\n  ") };
        eprintln!("{} signs for these documents:\n  {}", renewal.role, output::harmless(&list));
        ask::confirm(&format!("sign all of them anew as {}", person.name()), self.yes).await?;
        let done = Done { role: renewal.role.to_string(), documents };
        repository.submit(renewal.role, renewal.signed, &person.key).await?;
        output::emit(session.format(), &done, || {
            format!("{}: {} signed anew", done.role, output::count(done.documents.len(), "document"))
        })?;
        Ok(Exit::Ok)
    }
}
