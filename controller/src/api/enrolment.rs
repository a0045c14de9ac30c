//! `EnrolmentService`: a token becomes an identity. The only service that strangers may call.

use std::{net::IpAddr, sync::PoisonError};

use tonic::{
    Code, Request, Response, Status,
    transport::server::{TcpConnectInfo, TlsConnectInfo},
};
use wardround_proto::v1::{EnrolRequest, EnrolResponse, enrolment_service_server::EnrolmentService};
use wardround_rollout_plans::{
    engine::Event,
    model::{DurationMs, SiteId, Timestamp},
};
use wardround_signing::{Digest, PublicKey};

use super::{Api, Service, image, status};
use crate::{
    ca::{CSR_BYTES_MAX, day},
    clock,
    core::{Change, CoreError},
    registry::RegistryEvent,
};

/// Failed tries of one address within [`FAILURE_WINDOW`]: a person mistypes a few times; guessing 256 bits is hopeless
/// anyway, so this only bounds the work that a stranger can cause.
const FAILURES_MAX: u32 = 10;
const FAILURE_WINDOW: DurationMs = DurationMs::from_secs(60);
/// Most addresses remembered.
const ADDRESSES_MAX: usize = 10_000;
/// Longest token, bytes: a real one has 211.
const TOKEN_BYTES_MAX: usize = 400;

/// Failed tries of one address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failures {
    since: Timestamp,
    count: u32,
}

#[tonic::async_trait]
impl EnrolmentService for Service {
    async fn enrol(&self, request: Request<EnrolRequest>) -> Result<Response<EnrolResponse>, Status> {
        let address = request
            .extensions()
            .get::<TlsConnectInfo<TcpConnectInfo>>()
            .and_then(|info| info.get_ref().remote_addr())
            .map(|a| a.ip());
        let now = clock::now();
        self.0.admit(address, now)?;
        let answer = self.0.enrol(request.into_inner(), now).await;
        if matches!(&answer, Err(status) if status.code() == Code::Unauthenticated) {
            self.0.failed(address, now);
        }
        answer.map(Response::new)
    }
}

impl Api {
    fn admit(&self, address: Option<IpAddr>, now: Timestamp) -> Result<(), Status> {
        let strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        let over = address
            .and_then(|a| strangers.get(&a))
            .is_some_and(|f| f.count >= FAILURES_MAX && f.since.after(FAILURE_WINDOW) > now);
        if over {
            return Err(status::make(
                Code::ResourceExhausted,
                "TOO_MANY_TRIES",
                "too many failed enrolments from this address",
                "wait a minute, then use the token as it was printed",
            ));
        }
        Ok(())
    }

    fn failed(&self, address: Option<IpAddr>, now: Timestamp) {
        let Some(address) = address else { return };
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        strangers.retain(|_, f| f.since.after(FAILURE_WINDOW) > now);
        if strangers.len() < ADDRESSES_MAX || strangers.contains_key(&address) {
            strangers.entry(address).or_insert(Failures { since: now, count: 0 }).count += 1;
        }
    }

    async fn enrol(&self, asked: EnrolRequest, now: Timestamp) -> Result<EnrolResponse, Status> {
        if asked.csr_der.is_empty() || asked.csr_der.len() > CSR_BYTES_MAX {
            return Err(status::invalid(
                "csr_der",
                format!("expected a PKCS#10 request of 1 to {CSR_BYTES_MAX} bytes"),
            ));
        }
        let report_key =
            PublicKey::from_bytes(&asked.report_public_key).map_err(|e| status::invalid("report_public_key", e))?;
        let (id, site) = self.check_token(&asked.token, now)?;
        let root_json = self.images.first_root().map_err(|e| image::image(&e))?;
        // Before the token is used up: a bad request must not cost it.
        let (certificate_pem, tls_key) =
            self.ca.node(&site, &asked.csr_der, now).map_err(|e| status::invalid("csr_der", e))?;
        let event = RegistryEvent::NodeEnrolled { token: id, site: site.clone(), report_key, tls_key };
        let change = Change::from(event).and(Event::NodeEnrolled { site: site.clone(), node_key: report_key.id() });
        self.core.submit(change).await.map_err(|error| match error {
            // Somebody else used it at the same moment.
            CoreError::Refused(why) => refused("TOKEN_USED", &why.to_string(), &site),
            other => status::core(&other),
        })?;
        tracing::info!(%site, key = report_key.id().short(), "a node enrolled");
        Ok(EnrolResponse {
            site: site.to_string(),
            certificate_pem,
            ca_pem: self.ca.certificate_pem().to_owned(),
            root_json,
            log_public_key: self.log.key().key().to_bytes().to_vec(),
        })
    }

    /// Id and site of a token that may be used now.
    fn check_token(&self, text: &str, now: Timestamp) -> Result<(String, SiteId), Status> {
        let unknown = || {
            status::make(
                Code::Unauthenticated,
                "TOKEN_UNKNOWN",
                "this enrolment token is unknown",
                "copy the whole token as `wardround site token` printed it; tokens of another controller don't count",
            )
        };
        if text.len() > TOKEN_BYTES_MAX {
            return Err(unknown());
        }
        let mut parts = text.split('.');
        let (Some(id), Some(secret)) = (parts.next(), parts.next()) else { return Err(unknown()) };
        let token = self.core.read(|facts| facts.registry.token(id).cloned()).ok_or_else(unknown)?;
        if !same(&Digest::of(secret.as_bytes()), &token.secret) {
            return Err(unknown());
        }
        if let Some(used_at) = token.used_at {
            let text = format!("this enrolment token was used on {}; each works once", day(used_at));
            return Err(refused("TOKEN_USED", &text, &token.site));
        }
        if token.expires_at <= now {
            let text = format!("this enrolment token expired on {}", day(token.expires_at));
            return Err(refused("TOKEN_EXPIRED", &text, &token.site));
        }
        Ok((id.to_owned(), token.site))
    }
}

fn refused(reason: &str, text: &str, site: &SiteId) -> Status {
    status::make(Code::Unauthenticated, reason, text, &format!("make a new one with `wardround site token {site}`"))
}

/// Compares without telling by its time where two digests differ.
fn same(a: &Digest, b: &Digest) -> bool {
    a.as_bytes().iter().zip(b.as_bytes()).fold(0, |differs, (x, y)| differs | (x ^ y)) == 0
}
