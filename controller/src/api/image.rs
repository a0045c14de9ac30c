//! `ImageService`: the image repository's metadata.

use std::sync::Arc;

use tonic::{Code, Request, Response, Status};
use wardround_proto::v1::{self, image_service_server::ImageService};
use wardround_signing::tuf::{KeyHolder, RoleName, TufError};

use super::{Service, blocking, operator, status};
use crate::{core::CoreError, images::ImageError};

#[tonic::async_trait]
impl ImageService for Service {
    async fn fetch_metadata(
        &self,
        request: Request<v1::FetchMetadataRequest>,
    ) -> Result<Response<v1::FetchMetadataResponse>, Status> {
        let asked = request.into_inner();
        let (images, name) = (Arc::clone(&self.0.images), asked.name.clone());
        let found = blocking(move || images.fetch(&name)).await?.map_err(|e| image(&e))?;
        let metadata = found.ok_or_else(|| status::not_found("metadata file", &asked.name, ""))?;
        if asked.max_bytes != 0 && metadata.len() as u64 > asked.max_bytes {
            let text = format!("{} has {} bytes; {} were asked for", asked.name, metadata.len(), asked.max_bytes);
            return Err(status::precondition("TOO_LONG", &asked.name, &text, ""));
        }
        Ok(Response::new(v1::FetchMetadataResponse { metadata }))
    }

    async fn submit_metadata(
        &self,
        request: Request<v1::SubmitMetadataRequest>,
    ) -> Result<Response<v1::SubmitMetadataResponse>, Status> {
        let by = operator(&request)?;
        let asked = request.into_inner();
        let _turn = self.0.drafting.lock().await;
        let done = self.0.images.submit(&asked.role, asked.metadata).await.map_err(|e| image(&e))?;
        tracing::info!(by, role = asked.role, version = done.version, published = done.published, "metadata taken in");
        let state = if done.published { v1::MetadataState::Published } else { v1::MetadataState::Staged };
        Ok(Response::new(v1::SubmitMetadataResponse {
            state: state.into(),
            version: done.version,
            signers: done.signers.iter().map(signer).collect(),
            missing: done.missing,
            waiting: done.waiting,
        }))
    }

    async fn fetch_staged(
        &self,
        request: Request<v1::FetchStagedRequest>,
    ) -> Result<Response<v1::FetchStagedResponse>, Status> {
        let role = request.into_inner().role;
        let (images, asked) = (Arc::clone(&self.0.images), role.clone());
        let found = blocking(move || images.staged_file(&asked)).await?.map_err(|e| image(&e))?;
        let metadata =
            found.ok_or_else(|| status::not_found("staged version of", &role, "see `wardround root show`"))?;
        Ok(Response::new(v1::FetchStagedResponse { metadata }))
    }

    async fn get_repository(
        &self,
        _: Request<v1::GetRepositoryRequest>,
    ) -> Result<Response<v1::GetRepositoryResponse>, Status> {
        let Some(view) = self.0.images.view() else { return Ok(Response::new(v1::GetRepositoryResponse::default())) };
        let published = RoleName::FILES.into_iter().filter_map(|role| {
            let expires_at_ms = view.images.expires(role)?.ms();
            Some(v1::PublishedMetadata { role: role.to_string(), version: view.images.version(role), expires_at_ms })
        });
        let published = published.collect();
        let images = Arc::clone(&self.0.images);
        let waiting = blocking(move || images.waiting()).await?.map_err(|e| image(&e))?;
        let staged = waiting.into_iter().map(|one| v1::StagedMetadata {
            role: one.update.role.to_string(),
            version: one.update.version,
            expires_at_ms: one.update.expires.ms(),
            signers: one.update.signers.iter().map(signer).collect(),
            unsigned: one.update.unsigned.iter().map(signer).collect(),
            missing: one.update.missing,
            waiting: one.waiting,
        });
        Ok(Response::new(v1::GetRepositoryResponse { published, staged: staged.collect() }))
    }
}

fn signer(holder: &KeyHolder) -> v1::MetadataSigner {
    v1::MetadataSigner { keyid: holder.key.to_string(), holder: holder.holder.clone() }
}

/// Metadata was not taken, or is not there.
pub(super) fn image(error: &ImageError) -> Status {
    let (message, hint) = (error.to_string(), error.hint());
    match error {
        ImageError::NoRoot => status::precondition("NO_ROOT", "image repository", &message, &hint),
        ImageError::Role(_) => status::invalid("role", &message),
        ImageError::Refused(TufError::Version { .. }) => {
            status::make(Code::Aborted, "METADATA_CONFLICT", &message, "fetch the present version and sign again")
        }
        ImageError::Refused(_) => status::make(Code::InvalidArgument, "METADATA", &message, &hint),
        ImageError::Unsigned { .. } => status::make(Code::PermissionDenied, "SIGNATURE_MISSING", &message, &hint),
        ImageError::Conflict { .. } => status::make(Code::Aborted, "METADATA_CONFLICT", &message, &hint),
        ImageError::NoOnlineKey { role, .. } => status::precondition("NO_ONLINE_KEY", role.word(), &message, &hint),
        ImageError::Document { path, .. } => status::precondition("NO_DOCUMENT", path, &message, &hint),
        ImageError::Damaged(..) => status::make(Code::DataLoss, "METADATA_DAMAGED", &message, &hint),
        ImageError::Disk(_) => status::make(Code::Unavailable, "DISK", &message, &hint),
        ImageError::Core(CoreError::Refused(why)) => status::refusal(why),
        ImageError::Core(error) => status::core(error),
    }
}
