//! `wardround audit`: the record of who decided what.

use clap::{Args, Subcommand};
use serde::Serialize;
use wardround_proto::v1;

use crate::{
    client::{PAGE, call},
    failure::{Exit, Failure},
    output,
    session::Session,
    when,
};

/// Read the record of who decided what
#[derive(Debug, Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    List(List),
}

/// List records, oldest first
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround audit list --rollout winter-1")]
struct List {
    /// Begin at this record
    #[arg(long, default_value_t = 0, value_name = "INDEX")]
    from: u64,
    /// Only of this rollout
    #[arg(long, value_name = "ID")]
    rollout: Option<String>,
    /// At most this many
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    limit: usize,
}

#[derive(Serialize)]
struct Record {
    index: u64,
    at: Option<String>,
    kind: String,
    text: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    rollout: String,
    signed_by: Vec<String>,
}

impl Audit {
    pub(crate) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        match &self.command {
            AuditCommand::List(list) => list.run(session).await,
        }
    }
}

impl List {
    async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let mut service = session.connect().await?.audit();
        let mut found: Vec<v1::AuditRecord> = Vec::new();
        let mut from_index = self.from;
        while found.len() < self.limit {
            let page = service.list_records(call(v1::ListRecordsRequest { from_index, page_size: PAGE })).await?;
            let page = page.into_inner();
            if page.records.is_empty() || page.next_index <= from_index {
                break;
            }
            from_index = page.next_index;
            found.extend(page.records.into_iter().filter(|r| self.rollout.as_ref().is_none_or(|id| r.rollout == *id)));
        }
        found.truncate(self.limit);
        output::list(session.format(), &found, Record::new, "no records", |found| {
            let rows =
                found.iter().map(|r| [r.index.to_string(), when::local(r.at_ms), r.kind.clone(), r.text.clone()]);
            output::table(["index", "at", "kind", "what"], rows)
        })
    }
}

impl Record {
    fn new(record: &v1::AuditRecord) -> Self {
        Self {
            index: record.index,
            at: when::rfc3339(record.at_ms),
            kind: record.kind.clone(),
            text: record.text.clone(),
            rollout: record.rollout.clone(),
            signed_by: record
                .envelope
                .iter()
                .flat_map(|e| &e.signatures)
                .map(|signature| signature.keyid.clone())
                .collect(),
        }
    }
}
