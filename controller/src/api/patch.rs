//! `PatchService`: import and reading. People sign through `ImageService`.

use tonic::{Code, Request, Response, Status, Streaming};
use wardround_proto::v1::{
    CreatePatchRequest, CreatePatchResponse, FindMissingChunksRequest, FindMissingChunksResponse, GetPatchRequest,
    GetPatchResponse, ListPatchesRequest, ListPatchesResponse, UploadChunksRequest, UploadChunksResponse,
    patch_service_server::PatchService,
};
use wardround_rollout_plans::{
    model::{Patch, PatchId, Payload, Variant},
    patch_file::lint_patch,
};
use wardround_signing::{Digest, DigestWriter, read_document};

use super::{Api, Service, blocking, convert, id, image, operator, page, signature::unsigned, status};
use crate::{
    payloads::{CHUNK_BYTES_MAX, Kept, PayloadError, Payloads},
    registry::{PatchRecord, RegistryEvent},
};

/// Digests of one question: some 1 GiB of payload, which is read to answer it.
const DIGESTS_MAX: usize = 16_384;
/// Bytes of an upload that are written to disk, and synced, together.
const TOGETHER_BYTES: usize = 4 * 1024 * 1024;
/// How long an upload may stall between two chunks, seconds.
const STALL_MAX_S: u64 = 60;

#[tonic::async_trait]
impl PatchService for Service {
    async fn find_missing_chunks(
        &self,
        request: Request<FindMissingChunksRequest>,
    ) -> Result<Response<FindMissingChunksResponse>, Status> {
        let digests = convert::digests("digests", &request.into_inner().digests, DIGESTS_MAX)?;
        let payloads = self.0.payloads.clone();
        let missing = blocking(move || {
            // From now on the import relies on those that are here.
            payloads.hold(&digests)?;
            // Read, not only looked for: a damaged chunk must be sent again, or importing anew would mend nothing.
            let missing = digests.iter().filter(|d| payloads.get(d).is_err());
            Ok(missing.map(|d| d.as_bytes().to_vec()).collect())
        })
        .await?
        .map_err(|e: PayloadError| status::payload(&e))?;
        Ok(Response::new(FindMissingChunksResponse { digests: missing, takes_packed: true }))
    }

    async fn upload_chunks(
        &self,
        request: Request<Streaming<UploadChunksRequest>>,
    ) -> Result<Response<UploadChunksResponse>, Status> {
        let mut chunks = request.into_inner();
        let (mut stored, mut waiting, mut bytes) = (0, Vec::new(), 0);
        loop {
            let next = next_chunk(&mut chunks).await;
            if let Ok(Some(chunk)) = &next {
                bytes += chunk.data.len();
                waiting.push(Kept { data: chunk.data.to_vec(), packed: chunk.packed });
                if bytes < TOGETHER_BYTES {
                    continue;
                }
            }
            // What came before a fault is kept: the import goes on from there.
            bytes = 0;
            let (payloads, together) = (self.0.payloads.clone(), std::mem::take(&mut waiting));
            stored += blocking(move || payloads.put_all(together)).await?.map_err(|e| status::payload(&e))?;
            if next?.is_none() {
                return Ok(Response::new(UploadChunksResponse { stored }));
            }
        }
    }

    async fn create_patch(
        &self,
        request: Request<CreatePatchRequest>,
    ) -> Result<Response<CreatePatchResponse>, Status> {
        let by = operator(&request)?;
        let document = convert::document("document", request.into_inner().document)?;
        let patch = Box::pin(self.0.create_patch(by, document)).await?;
        Ok(Response::new(CreatePatchResponse { patch: Some(patch) }))
    }

    async fn get_patch(&self, request: Request<GetPatchRequest>) -> Result<Response<GetPatchResponse>, Status> {
        let id: PatchId = id("id", &request.into_inner().id)?;
        Ok(Response::new(GetPatchResponse { patch: Some(self.0.patch(&id).await?) }))
    }

    async fn list_patches(
        &self,
        request: Request<ListPatchesRequest>,
    ) -> Result<Response<ListPatchesResponse>, Status> {
        let asked = request.into_inner();
        let size = page::size(asked.page_size, 100, 1000);
        let after: Option<PatchId> = page::after(&asked.page_token)?.map(|t| id("page_token", &t)).transpose()?;
        let found = self.0.core.read(|facts| {
            let later = facts.registry.patches().iter().filter(|(id, _)| after.as_ref().is_none_or(|a| *id > a));
            later.take(size + 1).map(|(id, p)| convert::patch(id, p, Vec::new(), false)).collect()
        });
        let (patches, next_page_token) = page::cut(found, size, |p: &wardround_proto::v1::Patch| p.id.clone());
        Ok(Response::new(ListPatchesResponse { patches, next_page_token }))
    }
}

impl Api {
    fn patch_record(&self, id: &PatchId) -> Result<PatchRecord, Status> {
        self.core
            .read(|facts| facts.registry.patch(id).cloned())
            .ok_or_else(|| status::not_found("patch", id.as_str(), "see `wardround patch list`"))
    }

    async fn patch(&self, id: &PatchId) -> Result<wardround_proto::v1::Patch, Status> {
        let record = self.patch_record(id)?;
        let signatures = self.patch_signatures(id, &record.document).await?;
        Ok(convert::patch(id, &record, signatures, true))
    }

    /// A patch that both roles have signed for, with its document.
    pub(super) async fn ready_patch(&self, id: &PatchId) -> Result<(PatchRecord, Patch), Status> {
        let record = self.patch_record(id)?;
        if !record.document.ready {
            self.view()?;
            let signatures = self.patch_signatures(id, &record.document).await?;
            return Err(unsigned(&format!("patch {id}"), &signatures, &format!("patch sign {id}")));
        }
        let patch = read_document(record.document.text.as_bytes()).map_err(Status::data_loss)?;
        Ok((record, patch))
    }

    async fn create_patch(&self, by: String, document: String) -> Result<wardround_proto::v1::Patch, Status> {
        let patch: Patch = read_document(document.as_bytes()).map_err(|e| status::invalid("document", e))?;
        let wrong: Vec<(String, String)> = lint_patch(&patch)
            .into_iter()
            .map(|fault| match fault.split_once(": ") {
                Some((field, text)) => (field.to_owned(), text.to_owned()),
                None => ("document".to_owned(), fault),
            })
            .collect();
        if !wrong.is_empty() {
            return Err(status::violations(&format!("the document of patch {} can't be used", patch.id), "", &wrong));
        }
        let id = patch.id.clone();
        let title = patch.title.clone();
        let there = || self.core.read(|facts| facts.registry.patch(&id).map(|p| p.document.digest));
        // Before the turn is taken: to read 2 GiB takes longer than others' signatures may wait.
        if there().is_none() {
            let payloads = self.payloads.clone();
            blocking(move || check_payloads(&payloads, &patch)).await??;
        }
        let _turn = self.drafting.lock().await;
        match there() {
            Some(digest) if digest == Digest::of(document.as_bytes()) => {}
            Some(digest) => {
                let text = format!("patch {id} exists already with another document ({digest})");
                return Err(status::make(
                    Code::AlreadyExists,
                    "ALREADY_EXISTS",
                    &text,
                    "a patch is immutable: choose another id",
                ));
            }
            None => {
                let event = RegistryEvent::PatchCreated { id: id.clone(), title, document: document.into(), by };
                self.core.submit(event).await.map_err(|e| status::core(&e))?;
                self.images.recognise().await.map_err(|e| image::image(&e))?;
            }
        }
        self.patch(&id).await
    }
}

async fn next_chunk(chunks: &mut Streaming<UploadChunksRequest>) -> Result<Option<UploadChunksRequest>, Status> {
    let stall = std::time::Duration::from_secs(STALL_MAX_S);
    let next = tokio::time::timeout(stall, chunks.message())
        .await
        .map_err(|_| Status::deadline_exceeded(format!("no chunk came for {STALL_MAX_S} s")))??;
    match &next {
        Some(chunk) if chunk.data.len() > CHUNK_BYTES_MAX => {
            Err(status::invalid("data", format!("a chunk has at most {CHUNK_BYTES_MAX} bytes")))
        }
        _ => Ok(next),
    }
}

/// Every payload must be here, whole and as the document says, before anybody is asked to sign.
fn check_payloads(payloads: &Payloads, patch: &Patch) -> Result<(), Status> {
    patch.variants.iter().flat_map(Variant::payloads).try_for_each(|payload| check_payload(payloads, payload))
}

fn check_payload(payloads: &Payloads, payload: &Payload) -> Result<(), Status> {
    let subject = format!("payload {}", payload.file_name);
    // Some may have been put there by a call that was never answered.
    let absent = payloads.hold(&payload.chunks).map_err(|e| status::payload(&e))?;
    if let Some(missing) = absent.first() {
        let text = format!("chunk {missing} of payload {} has not been uploaded", payload.file_name);
        return Err(status::precondition("CHUNK_MISSING", &subject, &text, "upload the missing chunks first"));
    }
    let spans = payload.spans().map_err(|e| status::invalid("document", e))?;
    let (mut whole, mut length) = (DigestWriter::new(), 0_u64);
    for span in spans {
        let data = payloads.get(&span.digest).map_err(|e| status::payload(&e))?;
        if data.len() != span.bytes as usize {
            let text = format!("chunk {} of payload {} has {} bytes", span.digest, payload.file_name, data.len());
            return Err(status::invalid("document", format!("{text}, not the {} that the document says", span.bytes)));
        }
        length += data.len() as u64;
        whole.update(&data);
    }
    if length != payload.length || whole.finish() != payload.digest {
        let text = format!("the chunks of payload {} don't make up its SHA-256 and length", payload.file_name);
        return Err(status::invalid("document", text));
    }
    Ok(())
}
