//! `wardround patch import`: hashes the payloads as a stream, sends the chunks that the controller lacks, registers.

use std::{
    collections::HashSet,
    fs::File,
    io::{IsTerminal as _, Read, Seek as _, SeekFrom, stderr},
    path::{Path, PathBuf},
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use wardround_chunks::{Packer, cut};
use wardround_proto::v1;
use wardround_rollout_plans::{
    model::{CHUNK_BYTES, CHUNKS_MAX, PAYLOAD_BYTES_MAX, Patch, Payload},
    patch_file::{PatchFile, parse_patch_file},
};
use wardround_signing::{Digest, DigestWriter, document_bytes};

use super::{Shown, package, standing};
use crate::{
    client::{Controller, call, incomplete},
    commands::plan,
    failure::{Exit, Failure},
    output::{self, count},
    profile::read_text_max,
    session::Session,
};

/// Largest patch manifest, bytes.
const MANIFEST_BYTES_MAX: u64 = 1024 * 1024;
/// Digests of one question (the API's limit).
const DIGESTS_MAX: usize = 16_384;
/// Chunks read ahead of the network: 2 MiB.
const READ_AHEAD: usize = 8;

/// Bring a patch in: its manifest, and the payload files that it names
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround patch import patches/KB4500331/patch.yaml

An import that was interrupted goes on where it was: run the same command again.")]
pub(super) struct Import {
    /// The patch's manifest
    file: PathBuf,
}

impl Import {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let controller = session.connect().await?;
        let imported = import(&controller, &self.file).await?;
        let patch = &imported.patch;
        output::emit(session.format(), &Shown::new(patch), || {
            format!(
                "patch {}: {}\nsent {} of {}; {}",
                patch.id,
                patch.title,
                imported.sent,
                count(imported.chunks, "chunk"),
                standing(patch)
            )
        })?;
        eprintln!("next: people of both roles run `wardround patch sign {}`", patch.id);
        Ok(Exit::Ok)
    }
}

/// What became of an import.
pub(crate) struct Imported {
    pub(crate) patch: v1::Patch,
    /// Chunks in all.
    pub(crate) chunks: usize,
    /// Chunks that the controller did not have.
    pub(crate) sent: usize,
}

/// A chunk of a payload file.
struct Chunk {
    path: PathBuf,
    offset: u64,
    length: usize,
    digest: Digest,
}

/// Hashes, sends what is missing, and registers the patch.
pub(crate) async fn import(controller: &Controller, manifest: &Path) -> Result<Imported, Failure> {
    let name = manifest.display().to_string();
    let yaml = read_text_max(manifest, MANIFEST_BYTES_MAX)?;
    let file = parse_patch_file(&yaml, &name).map_err(|problems| plan::failure(&name, &problems))?;
    let folder = manifest.parent().unwrap_or(Path::new("")).to_owned();
    let hashed = tokio::task::spawn_blocking(move || hash_all(file, &folder)).await;
    let (patch, chunks) = hashed.map_err(|e| Failure::new(format!("hashing stopped: {e}")))??;
    let (mut wanted, takes_packed) = missing(controller, &chunks).await?;
    let total = chunks.len();
    // A chunk that stands twice is sent once.
    let to_send: Vec<Chunk> = chunks.into_iter().filter(|chunk| wanted.remove(&chunk.digest)).collect();
    let sent = to_send.len();
    if !to_send.is_empty() {
        send(controller, to_send, takes_packed).await?;
    }
    let document = document_bytes(&patch).map_err(|e| Failure::new(e.to_string()))?;
    let request = v1::CreatePatchRequest { document };
    let answer = controller.patches().create_patch(call(request)).await?;
    let patch = answer.into_inner().patch.ok_or_else(|| incomplete("patch"))?;
    Ok(Imported { patch, chunks: total, sent })
}

fn hash_all(file: PatchFile, folder: &Path) -> Result<(Patch, Vec<Chunk>), Failure> {
    let paths: Vec<PathBuf> = file.files().into_iter().map(|named| folder.join(&named.file)).collect();
    contradictions(&file, folder)?;
    let mut total = 0;
    for path in &paths {
        let length = std::fs::metadata(path).map_err(|e| Failure::file("read", path, &e))?.len();
        if length == 0 || length > PAYLOAD_BYTES_MAX {
            return Err(Failure::new(format!("{} has {length} bytes", path.display()))
                .hint(format!("a payload has 1 to {PAYLOAD_BYTES_MAX} bytes")));
        }
        total += length;
    }
    let bar = bar("hashing", total);
    let mut payloads = Vec::new();
    let mut chunks = Vec::new();
    for path in &paths {
        payloads.push(hash(path, &bar, &mut chunks).map_err(|e| Failure::file("read", path, &e))?);
    }
    bar.finish_and_clear();
    let name = file.id.to_string();
    let patch = file.into_patch(payloads).map_err(|faults| {
        Failure::new(format!("patch {name} has {}", count(faults.len(), "problem")))
            .details(faults)
            .hint("mend the manifest or the payload files")
    })?;
    Ok((patch, chunks))
}

/// A package that is not what the manifest says would fail on every device, or stay there for ever.
fn contradictions(file: &PatchFile, folder: &Path) -> Result<(), Failure> {
    let mut faults = Vec::new();
    for (index, variant) in file.variants.iter().enumerate() {
        let path = folder.join(&variant.payload.file);
        faults.extend(package::faults(index, variant, &path).map_err(|e| Failure::file("read", &path, &e))?);
    }
    if faults.is_empty() {
        return Ok(());
    }
    let title = format!("patch {}: {} between manifest and payload", file.id, count(faults.len(), "contradiction"));
    Err(Failure::new(title).details(faults).hint("mend the manifest, or take the right file"))
}

/// Cut where its content says, so that sites which have an older build fetch only what has changed. What would have too
/// many chunks that way (no file that was met) is cut into equal ones.
fn hash(path: &Path, bar: &ProgressBar, chunks: &mut Vec<Chunk>) -> std::io::Result<Payload> {
    let known = chunks.len();
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let payload = hash_cut(path, bar, chunks, cut(file, length))?;
    if payload.chunks.len() <= CHUNKS_MAX {
        return Ok(payload);
    }
    chunks.truncate(known);
    let mut file = File::open(path)?;
    let equal = std::iter::from_fn(move || {
        let mut block = Vec::new();
        match Read::by_ref(&mut file).take(CHUNK_BYTES).read_to_end(&mut block) {
            Ok(0) => None,
            Ok(_) => Some(Ok(block)),
            Err(error) => Some(Err(error)),
        }
    });
    let payload = hash_cut(path, &ProgressBar::hidden(), chunks, equal)?;
    Ok(Payload { sizes: Vec::new(), ..payload })
}

/// One chunk is in memory at a time.
fn hash_cut(
    path: &Path,
    bar: &ProgressBar,
    chunks: &mut Vec<Chunk>,
    blocks: impl Iterator<Item = std::io::Result<Vec<u8>>>,
) -> std::io::Result<Payload> {
    let (mut whole, mut digests, mut sizes, mut offset) = (DigestWriter::new(), Vec::new(), Vec::new(), 0_u64);
    for block in blocks {
        let block = block?;
        whole.update(&block);
        let digest = Digest::of(&block);
        chunks.push(Chunk { path: path.to_owned(), offset, length: block.len(), digest });
        digests.push(digest);
        sizes.push(u32::try_from(block.len()).map_err(std::io::Error::other)?);
        offset += block.len() as u64;
        bar.inc(block.len() as u64);
    }
    // into_patch gives it the name that the manifest says.
    Ok(Payload { file_name: String::new(), digest: whole.finish(), length: offset, chunks: digests, sizes })
}

/// The chunks that the controller lacks, and whether it takes them packed.
async fn missing(controller: &Controller, chunks: &[Chunk]) -> Result<(HashSet<Digest>, bool), Failure> {
    let (mut missing, mut takes_packed) = (HashSet::new(), true);
    for part in chunks.chunks(DIGESTS_MAX) {
        let digests = part.iter().map(|chunk| chunk.digest.as_bytes().to_vec()).collect();
        let answer = controller.patches().find_missing_chunks(call(v1::FindMissingChunksRequest { digests })).await?;
        let answer = answer.into_inner();
        takes_packed &= answer.takes_packed;
        for digest in answer.digests {
            let digest = Digest::from_slice(&digest)
                .map_err(|e| Failure::new(format!("the controller's answer is malformed: {e}")))?;
            missing.insert(digest);
        }
    }
    Ok((missing, takes_packed))
}

/// Streams chunks out of their files. The first fault of a file ends the stream and is what is reported.
async fn send(controller: &Controller, chunks: Vec<Chunk>, takes_packed: bool) -> Result<(), Failure> {
    let bar = bar("sending", chunks.iter().map(|c| c.length as u64).sum());
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    let progress = bar.clone();
    let reading = tokio::task::spawn_blocking(move || -> Result<(), Failure> {
        let mut packer = takes_packed.then(Packer::new).transpose().map_err(|e| Failure::new(e.to_string()))?;
        for chunk in &chunks {
            let data = read_chunk(chunk)?;
            progress.inc(data.len() as u64);
            let packed = packer.as_mut().and_then(|packer| packer.pack(&data));
            let request = match packed {
                Some(packed) => v1::UploadChunksRequest { data: packed.into(), packed: true },
                None => v1::UploadChunksRequest { data: data.into(), packed: false },
            };
            if sender.blocking_send(request).is_err() {
                // The other side has ended the stream; its status says why.
                return Ok(());
            }
        }
        Ok(())
    });
    let answer = controller.patches().upload_chunks(ReceiverStream::new(receiver)).await;
    let read = reading.await.map_err(|e| Failure::new(format!("reading stopped: {e}")))?;
    bar.finish_and_clear();
    read?;
    answer.map(drop).map_err(|status| {
        let failure = Failure::from(status);
        let hint = match failure.hint.as_str() {
            "" => "run the same command again: it goes on where it was".to_owned(),
            hint => format!("{hint}; run the same command again: it goes on where it was"),
        };
        failure.hint(hint)
    })
}

fn read_chunk(chunk: &Chunk) -> Result<Vec<u8>, Failure> {
    let read = || {
        let mut file = File::open(&chunk.path)?;
        file.seek(SeekFrom::Start(chunk.offset))?;
        let mut data = vec![0; chunk.length];
        file.read_exact(&mut data)?;
        Ok(data)
    };
    let data = read().map_err(|e| Failure::file("read", &chunk.path, &e))?;
    if Digest::of(&data) == chunk.digest {
        return Ok(data);
    }
    Err(Failure::new(format!("{} changed while it was being imported", chunk.path.display()))
        .hint("import it again when nobody writes to it"))
}

/// Shown only where a person waits.
fn bar(what: &'static str, total: u64) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{prefix} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style).with_prefix(what)
}
