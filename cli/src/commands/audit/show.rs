//! `wardround audit show` and `list`: the records, from the controller or out of an export.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use wardround_proto::v1;
use wardround_rollout_plans::model::AuditEntry;
use wardround_signing::log::{LogKey, SignedCheckpoint};

use super::folder::Folder;
use crate::{
    client::{Controller, PAGE, call},
    failure::{Exit, Failure},
    output,
    session::Session,
    when,
};

/// Which records.
#[derive(Debug, Args)]
struct Wanted {
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

/// Show the log's newest checkpoint, who witnesses it, and its records; of the controller or of an export
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wardround audit show --rollout winter-1
  wardround audit show export-2026-11 --rollout winter-1

Showing proves nothing: `wardround audit verify` does.")]
pub(super) struct Show {
    /// An export; without it the controller is asked
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    wanted: Wanted,
}

/// List records, oldest first
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround audit list --rollout winter-1")]
pub(super) struct List {
    #[command(flatten)]
    wanted: Wanted,
}

#[derive(Serialize)]
struct Record {
    index: u64,
    #[serde(skip)]
    at_ms: i64,
    at: Option<String>,
    kind: String,
    text: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    rollout: String,
    signed_by: Vec<String>,
}

#[derive(Serialize)]
struct Head {
    log: String,
    size: u64,
    root: String,
    /// Sites whose node has cosigned this checkpoint; in an export those whose cosignature is in it, not verified.
    witnesses: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<u64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    damage: String,
}

#[derive(Serialize)]
struct Shown {
    checkpoint: Head,
    records: Vec<Record>,
}

impl List {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let records = self.wanted.live(&session.connect().await?).await?;
        output::list(session.format(), &records, Record::again, "no records", table)
    }
}

impl Show {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let (checkpoint, records) = match &self.folder {
            Some(folder) => {
                let folder = Folder::open(folder)?;
                (exported(&folder)?, self.wanted.exported(&folder)?)
            }
            None => {
                let controller = session.connect().await?;
                (live(&controller).await?, self.wanted.live(&controller).await?)
            }
        };
        let shown = Shown { checkpoint, records };
        output::emit(session.format(), &shown, || {
            let Head { log, size, root, witnesses, nodes, damage } = &shown.checkpoint;
            let of = nodes.map_or_else(|| "in the export".to_owned(), |nodes| format!("of {nodes}"));
            let mut lines = vec![
                format!("log         {log}"),
                format!("checkpoint  {} with root {root}", output::count(*size, "record")),
                format!("witnesses   {witnesses} {of}"),
            ];
            if !damage.is_empty() {
                lines.push(format!("DAMAGED     no newer checkpoint is signed: {damage}"));
            }
            lines.push(String::new());
            lines.push(if shown.records.is_empty() { "no records".to_owned() } else { table(&shown.records) });
            lines.join("\n")
        })?;
        Ok(Exit::Ok)
    }
}

fn table(records: &[Record]) -> String {
    let rows = records.iter().map(|r| [r.index.to_string(), when::local(r.at_ms), r.kind.clone(), r.text.clone()]);
    output::table(["index", "at", "kind", "what"], rows)
}

/// Opened with the key that it names: shown, not proved.
fn head(note: &[u8]) -> Result<SignedCheckpoint, Failure> {
    let origin = SignedCheckpoint::claimed_origin(note);
    let opened = origin.and_then(|origin| SignedCheckpoint::open(note, &LogKey::claimed_by(&origin)?));
    opened.map_err(|e| Failure::refused(format!("the log's checkpoint can't be used: {e}")))
}

async fn live(controller: &Controller) -> Result<Head, Failure> {
    let answer = controller.audit().get_checkpoint(call(v1::GetCheckpointRequest {})).await?.into_inner();
    let signed = head(answer.checkpoint.as_bytes())?;
    Ok(Head {
        log: signed.checkpoint().origin.clone(),
        size: signed.size(),
        root: signed.root().to_string(),
        witnesses: answer.witnesses,
        nodes: Some(answer.nodes),
        damage: answer.damage,
    })
}

fn exported(folder: &Folder) -> Result<Head, Failure> {
    let signed = head(&folder.checkpoint()?)?;
    let text = signed.checkpoint().text();
    let same = folder.cosignatures()?.iter().filter(|(_, note)| note.starts_with(text.as_bytes())).count();
    Ok(Head {
        log: signed.checkpoint().origin.clone(),
        size: signed.size(),
        root: signed.root().to_string(),
        witnesses: same as u64,
        nodes: None,
        damage: String::new(),
    })
}

impl Wanted {
    async fn live(&self, controller: &Controller) -> Result<Vec<Record>, Failure> {
        let mut service = controller.audit();
        let mut found: Vec<Record> = Vec::new();
        let mut from_index = self.from;
        while found.len() < self.limit {
            let page = service.list_records(call(v1::ListRecordsRequest { from_index, page_size: PAGE })).await?;
            let page = page.into_inner();
            if page.records.is_empty() || page.next_index <= from_index {
                break;
            }
            from_index = page.next_index;
            let ours = page.records.iter().filter(|r| self.rollout.as_ref().is_none_or(|id| r.rollout == *id));
            found.extend(ours.map(Record::of_answer));
        }
        found.truncate(self.limit);
        Ok(found)
    }

    fn exported(&self, folder: &Folder) -> Result<Vec<Record>, Failure> {
        let size = head(&folder.checkpoint()?)?.size();
        let mut found = Vec::new();
        folder
            .entries(size, |index, bytes| {
                if index >= self.from && found.len() < self.limit {
                    let entry = AuditEntry::decode(bytes).map_err(|e| format!("entry {index} can't be read: {e}"))?;
                    let rollout = entry.rollout.as_ref().map(ToString::to_string).unwrap_or_default();
                    if self.rollout.as_ref().is_none_or(|id| rollout == *id) {
                        found.push(Record::of_entry(&entry, rollout));
                    }
                }
                Ok(())
            })
            .map_err(Failure::new)?;
        Ok(found)
    }
}

impl Record {
    fn of_answer(record: &v1::AuditRecord) -> Self {
        let signatures = record.envelope.iter().flat_map(|e| &e.signatures);
        Self {
            index: record.index,
            at_ms: record.at_ms,
            at: when::rfc3339(record.at_ms),
            kind: record.kind.clone(),
            text: record.text.clone(),
            rollout: record.rollout.clone(),
            signed_by: signatures.map(|signature| signature.keyid.clone()).collect(),
        }
    }

    fn of_entry(entry: &AuditEntry, rollout: String) -> Self {
        let signatures = entry.envelope.iter().flat_map(|e| &e.signatures);
        Self {
            index: entry.index,
            at_ms: entry.at.0,
            at: when::rfc3339(entry.at.0),
            kind: entry.kind.clone(),
            text: entry.text.clone(),
            rollout,
            signed_by: signatures.map(|signature| signature.keyid.to_string()).collect(),
        }
    }

    fn again(&self) -> Self {
        Self {
            at: self.at.clone(),
            kind: self.kind.clone(),
            text: self.text.clone(),
            rollout: self.rollout.clone(),
            signed_by: self.signed_by.clone(),
            ..*self
        }
    }
}
