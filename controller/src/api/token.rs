//! `TokenService`: single-use enrolment tokens.

use tonic::{Request, Response, Status};
use wardround_proto::v1::{CreateTokenRequest, CreateTokenResponse, token_service_server::TokenService};
use wardround_rollout_plans::model::{DurationMs, SiteId};
use wardround_signing::Digest;

use super::{Service, id, image, operator, status};
use crate::{clock, registry::RegistryEvent};

/// Life of a token unless asked otherwise.
const TTL_DEFAULT_S: u32 = 24 * 60 * 60;
/// Longest life of a token.
const TTL_MAX_S: u32 = 30 * 24 * 60 * 60;

#[tonic::async_trait]
impl TokenService for Service {
    async fn create_token(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenResponse>, Status> {
        let by = operator(&request)?;
        let asked = request.into_inner();
        let site: SiteId = id("site", &asked.site)?;
        let ttl = match asked.ttl_seconds {
            0 => TTL_DEFAULT_S,
            ttl if ttl <= TTL_MAX_S => ttl,
            ttl => return Err(status::invalid("ttl_seconds", format!("{ttl} is over {TTL_MAX_S} (30 days)"))),
        };
        // What a node must trust is in the token: without a root there is nothing to enrol with.
        let root = self.0.images.first_root().map_err(|e| image::image(&e))?;
        let (id, secret) = (random::<8>()?, random::<32>()?);
        let expires_at = clock::now().after(DurationMs::from_secs(u64::from(ttl)));
        let event =
            RegistryEvent::TokenMade { id: id.clone(), site, secret: Digest::of(secret.as_bytes()), expires_at, by };
        self.0.core.submit(event).await.map_err(|e| status::core(&e))?;
        let token = format!("{id}.{secret}.{}.{}", self.0.ca.pin().hex(), Digest::of(&root).hex());
        Ok(Response::new(CreateTokenResponse { token, expires_at_ms: expires_at.0 }))
    }
}

fn random<const N: usize>() -> Result<String, Status> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| Status::unavailable(format!("no randomness: {e}")))?;
    Ok(hex::encode(bytes))
}
