//! `wardround audit export`: the whole log into a folder that can be verified anywhere.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use wardround_proto::v1;
use wardround_rollout_plans::model::{AuditEntry, SiteId};
use wardround_signing::{
    Digest,
    log::{LogKey, SignedCheckpoint, tile_paths},
    merkle::ConsistencyProof,
};

use super::{folder::Folder, people::Wanted};
use crate::{
    client::{Controller, PAGE, all_pages, call},
    failure::{Exit, Failure},
    output,
    session::Session,
};

/// Export the log: checkpoint, tiles, entries and cosignatures, in the layout of c2sp.org/tlog-tiles, and whose keys counted
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround audit export audit-2026-11
  wardround audit verify audit-2026-11

Into the folder of an earlier export only what is new is fetched.")]
pub(super) struct Export {
    /// Where to
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

#[derive(Serialize)]
struct Exported {
    folder: String,
    size: u64,
    root: String,
    cosignatures: usize,
}

impl Export {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let (signed, cosignatures) = export(&session.connect().await?, &self.folder).await?;
        let done = Exported {
            folder: self.folder.display().to_string(),
            size: signed.size(),
            root: signed.root().to_string(),
            cosignatures,
        };
        output::emit(session.format(), &done, || {
            format!(
                "exported {} and {} to {}",
                output::count(done.size, "record"),
                output::count(done.cosignatures, "cosignature"),
                done.folder
            )
        })?;
        eprintln!("next: `wardround audit verify {}`", done.folder);
        Ok(Exit::Ok)
    }
}

/// Exports to `path`; gives the checkpoint and the number of cosignatures.
pub(super) async fn export(controller: &Controller, path: &Path) -> Result<(SignedCheckpoint, usize), Failure> {
    let folder = Folder::to_fill(path)?;
    let mut service = controller.audit();
    let answer = service.get_checkpoint(call(v1::GetCheckpointRequest {})).await?.into_inner();
    let bad = |e| Failure::refused(format!("the controller's checkpoint can't be used: {e}"));
    let origin = SignedCheckpoint::claimed_origin(answer.checkpoint.as_bytes()).map_err(bad)?;
    let key = LogKey::claimed_by(&origin).map_err(bad)?;
    let signed = SignedCheckpoint::open(answer.checkpoint.as_bytes(), &key).map_err(bad)?;
    continues(controller, &folder, &key, &signed).await?;
    for piece in tile_paths(signed.size()) {
        if folder.has(piece) {
            continue;
        }
        let asked = v1::GetTileRequest { path: piece.to_string() };
        folder.put(piece, &service.get_tile(call(asked)).await?.into_inner().data)?;
    }
    let cosignatures = all_pages(async |page_token: String| {
        let asked = v1::ListCosignaturesRequest { page_size: PAGE, page_token };
        let page = controller.audit().list_cosignatures(call(asked)).await?.into_inner();
        Ok((page.cosignatures, page.next_page_token))
    })
    .await?;
    for cosignature in &cosignatures {
        // It becomes the name of a file.
        let site = SiteId::new(&cosignature.site)
            .map_err(|e| Failure::refused(format!("the controller names a site {:?}: {e}", cosignature.site)))?;
        folder.write(&format!("cosignatures/{site}"), cosignature.note.as_bytes())?;
    }
    metadata(controller, &folder, signed.size()).await?;
    // Last: a folder with a checkpoint holds all that it covers.
    folder.write("checkpoint", signed.note().as_bytes())?;
    Ok((signed, cosignatures.len()))
}

/// Fetches the metadata that the log says was published. What it is worth is seen when the export is verified.
async fn metadata(controller: &Controller, folder: &Folder, size: u64) -> Result<(), Failure> {
    let mut wanted = Wanted::default();
    let noted = folder.entries(size, |index, bytes| {
        wanted.note(&AuditEntry::decode(bytes).map_err(|e| format!("entry {index} can't be read: {e}"))?);
        Ok(())
    });
    noted.map_err(|why| Failure::refused(format!("the controller's log can't be used: {why}")))?;
    for (role, version) in wanted.files() {
        if folder.has_metadata(role, version) {
            continue;
        }
        let asked = v1::FetchMetadataRequest { name: role.versioned(version), max_bytes: role.bytes_max() };
        let file = controller.images().fetch_metadata(call(asked)).await?.into_inner().metadata;
        folder.put_metadata(role, version, &file)?;
    }
    Ok(())
}

/// An earlier export in the same folder must be the beginning of this one: evidence of a fork is never written over.
async fn continues(
    controller: &Controller,
    folder: &Folder,
    key: &LogKey,
    signed: &SignedCheckpoint,
) -> Result<(), Failure> {
    let Ok(before) = folder.read("checkpoint") else { return Ok(()) };
    let forked = |why: String| {
        Failure::refused(format!("the log does not continue what was exported before: {why}"))
            .hint("keep that folder as evidence, export into a new one, and tell whoever runs the controller")
    };
    let before = SignedCheckpoint::open(&before, key).map_err(|e| forked(e.to_string()))?;
    if before.size() > signed.size() {
        return Err(forked(format!("it had {} records and now has {}", before.size(), signed.size())));
    }
    let asked = v1::GetConsistencyProofRequest { old_size: before.size(), new_size: signed.size() };
    let answer = controller.audit().get_consistency_proof(call(asked)).await?.into_inner();
    let hashes: Result<Vec<Digest>, _> = answer.hashes.iter().map(|hash| Digest::from_slice(hash)).collect();
    let hashes = hashes.map_err(|e| forked(e.to_string()))?;
    let proof = ConsistencyProof { old: before.size(), new: signed.size(), hashes };
    if proof.proves(&before.root(), &signed.root()) {
        return Ok(());
    }
    Err(forked(format!("its first {} records are others now", before.size())))
}
