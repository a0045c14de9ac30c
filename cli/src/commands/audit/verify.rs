//! `wardround audit verify`: is this log whole, and the one that was signed and witnessed?

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use wardround_signing::{
    Digest, PublicKey,
    log::{LogKey, SignedCheckpoint},
    tuf::RoleName,
};

use super::{
    export::export,
    folder::Folder,
    verdict::{Rule, Verdict, judge},
};
use crate::{
    failure::{Exit, Failure},
    output,
    session::Session,
};

/// Verify a log: every entry, tile and signature, that it continues an earlier export, and who witnessed it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wardround audit verify audit-2026-11 --since audit-2026-10/checkpoint --root SHA-256 --log-key ed25519:…
  wardround audit verify --live

An export is verified without the controller. --root is the SHA-256 of the first root, as on the ceremony's paper: from it follows
whose orders counted, at each place of the log. Without --root and --log-key both are those that the export itself names; compare
what is printed with what you know from elsewhere.
Exit code 0: nothing is wrong. 3: something is; each finding is a line.")]
#[command(group = clap::ArgGroup::new("what").required(true).args(["folder", "live"]))]
pub(super) struct Verify {
    /// An export
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Fetch the controller's log and verify that
    #[arg(long)]
    live: bool,
    /// The checkpoint of an earlier export, which this log must continue
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
    /// SHA-256 of 1.root.json, from the ceremony's paper
    #[arg(long, value_name = "SHA-256", value_parser = crate::pin::parse)]
    root: Option<Digest>,
    /// The log's public key ("ed25519:…")
    #[arg(long, value_name = "KEY")]
    log_key: Option<PublicKey>,
}

impl Verify {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        // Kept until it is verified.
        let mut fetched = None;
        let path = match &self.folder {
            Some(folder) => folder.clone(),
            None => {
                let temporary = tempfile::tempdir().map_err(|e| Failure::new(format!("cannot make a folder: {e}")))?;
                let path = temporary.path().join("log");
                export(&session.connect().await?, &path).await?;
                fetched = Some(temporary);
                path
            }
        };
        let folder = Folder::open(&path)?;
        let note = folder.checkpoint()?;
        let bad = |e| Failure::refused(format!("the log's checkpoint does not count: {e}"));
        let key = match self.log_key {
            Some(key) => LogKey::new(key).map_err(bad)?,
            None => SignedCheckpoint::claimed_origin(&note).and_then(|o| LogKey::claimed_by(&o)).map_err(bad)?,
        };
        let signed = SignedCheckpoint::open(&note, &key).map_err(bad)?;
        let root = self.root(&folder);
        let since = self.since.as_deref().map(|file| earlier(file, &key)).transpose()?;
        let cosignatures = folder.cosignatures()?;
        let rule = Rule { key, root: self.root, since };
        let verdict = tokio::task::spawn_blocking(move || judge(&folder, &signed, &cosignatures, &rule))
            .await
            .map_err(|e| Failure::new(e.to_string()))?;
        drop(fetched);
        output::emit(session.format(), &verdict, || self.words(&verdict, &root))?;
        Ok(if verdict.sound { Exit::Ok } else { Exit::Refused })
    }

    /// The first root's SHA-256: as given, else as the export has it.
    fn root(&self, folder: &Folder) -> String {
        match &self.root {
            Some(pin) => format!("{} (given)", pin.hex()),
            None => match folder.metadata(RoleName::Root, 1) {
                Ok(bytes) => format!("{} (from the export itself)", Digest::of(&bytes).hex()),
                Err(why) => why,
            },
        }
    }

    fn words(&self, verdict: &Verdict, root: &str) -> String {
        let mut lines = vec![
            format!("log         {}", verdict.log),
            format!("root        {root}"),
            format!(
                "checkpoint  signed by the log: {} with root {}",
                output::count(verdict.size, "record"),
                verdict.root
            ),
            format!("tiles       {} compared with the records", output::count(verdict.tiles, "file")),
            format!("orders      {} signed by people whose keys counted then", output::count(verdict.orders, "order")),
            format!(
                "documents   {} signed for by release and clinical, as they stood at the end",
                output::count(verdict.documents, "patch and rollout document")
            ),
            format!(
                "witnesses   {} of {} cosigned this very checkpoint, {} this log",
                verdict.witnesses,
                output::count(verdict.nodes, "site"),
                verdict.cosigned
            ),
        ];
        if let Some(since) = verdict.since {
            lines
                .push(format!("since       it continues the earlier checkpoint of {}", output::count(since, "record")));
        }
        if self.log_key.is_none() {
            lines.push("note        the log's key is the one that the checkpoint itself names".to_owned());
        }
        lines.extend(verdict.findings.iter().map(|finding| format!("WRONG: {finding}")));
        lines.push(match verdict.findings.len() {
            0 => "the log is sound".to_owned(),
            found => format!("the log is NOT sound: {}", output::count(found, "finding")),
        });
        lines.join("\n")
    }
}

fn earlier(file: &Path, key: &LogKey) -> Result<SignedCheckpoint, Failure> {
    let bytes = fs::read(file).map_err(|e| Failure::file("read", file, &e))?;
    SignedCheckpoint::open(&bytes, key)
        .map_err(|e| Failure::refused(format!("the earlier checkpoint {} does not count: {e}", file.display())))
}
