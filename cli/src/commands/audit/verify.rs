//! `wardround audit verify`: is this log whole, and the one that was signed and witnessed?

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use wardround_signing::{
    PublicKey, TrustAnchor,
    log::{LogKey, SignedCheckpoint},
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
  wardround audit verify audit-2026-11 --since audit-2026-10/checkpoint --trust trust.json
  wardround audit verify --live

An export is verified without the controller. Without --trust and --log-key the people's keys and the log's key are those that
the export itself names; compare the hashes that are printed with what you know from elsewhere.
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
    /// The trust anchor by whose people orders are verified
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
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
        let (anchor, pin) = self.anchor(&folder)?;
        let since = self.since.as_deref().map(|file| earlier(file, &key)).transpose()?;
        let cosignatures = folder.cosignatures()?;
        let rule = Rule { key, anchor, since };
        let verdict = tokio::task::spawn_blocking(move || judge(&folder, &signed, &cosignatures, &rule))
            .await
            .map_err(|e| Failure::new(e.to_string()))?;
        drop(fetched);
        output::emit(session.format(), &verdict, || self.words(&verdict, &pin))?;
        Ok(if verdict.sound { Exit::Ok } else { Exit::Refused })
    }

    fn anchor(&self, folder: &Folder) -> Result<(TrustAnchor, String), Failure> {
        let (bytes, name) = match &self.trust {
            Some(file) => (fs::read(file).map_err(|e| Failure::file("read", file, &e))?, file.display().to_string()),
            None => {
                let bytes = folder.read("trust.json");
                (bytes.map_err(|e| Failure::file("read", Path::new("trust.json"), &e))?, "the export".to_owned())
            }
        };
        let anchor = serde_json::from_slice(&bytes)
            .map_err(|e| Failure::refused(format!("the trust anchor of {name} can't be used: {e}")))?;
        Ok((anchor, format!("{} (from {name})", TrustAnchor::pin(&bytes))))
    }

    fn words(&self, verdict: &Verdict, pin: &str) -> String {
        let mut lines = vec![
            format!("log         {}", verdict.log),
            format!("trust       {pin}"),
            format!(
                "checkpoint  signed by the log: {} with root {}",
                output::count(verdict.size, "record"),
                verdict.root
            ),
            format!("tiles       {} compared with the records", output::count(verdict.tiles, "file")),
            format!("orders      {} with a signature that holds", output::count(verdict.orders, "order")),
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
            found => format!("the log is NOT sound: {}", output::count(found as u64, "finding")),
        });
        lines.join("\n")
    }
}

fn earlier(file: &Path, key: &LogKey) -> Result<SignedCheckpoint, Failure> {
    let bytes = fs::read(file).map_err(|e| Failure::file("read", file, &e))?;
    SignedCheckpoint::open(&bytes, key)
        .map_err(|e| Failure::refused(format!("the earlier checkpoint {} does not count: {e}", file.display())))
}
