//! The gRPC services: each method parses, calls a room, converts, and maps errors to a status; nothing else.

mod access;
mod amend;
mod audit;
mod caller;
mod calls;
mod certificate;
mod chunks;
mod convert;
mod enrolment;
mod estate;
pub(crate) mod foresee;
mod guard;
mod image;
mod inventory;
mod log;
mod node;
mod order;
mod page;
mod patch;
mod plan;
mod revocation;
mod rollout;
mod signature;
mod status;
mod token;
mod vitals;

pub(crate) use guard::GuardLayer;
pub(crate) use node::{news, read_report};
pub(crate) use order::read_order;
pub(crate) use vitals::Vitals;

use std::{
    collections::HashMap,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, service::Routes};
use wardround_proto::v1::{
    access_service_server::AccessServiceServer, audit_service_server::AuditServiceServer,
    certificate_service_server::CertificateServiceServer, enrolment_service_server::EnrolmentServiceServer,
    estate_service_server::EstateServiceServer, image_service_server::ImageServiceServer,
    node_service_server::NodeServiceServer, patch_service_server::PatchServiceServer,
    rollout_service_server::RolloutServiceServer, token_service_server::TokenServiceServer,
};
use wardround_rollout_plans::model::{DurationMs, SiteId, Timestamp};

use crate::{
    ca::{Authority, Identity, Peer},
    clock,
    core::Core,
    directive::Directives,
    images::Repository,
    inventory::Inventories,
    log::AuditLog,
    payloads::Payloads,
    registry::RegistryEvent,
};

/// Largest message of a node: some reports, among them an inventory of at most 3 MiB.
const NODE_MESSAGE_MAX: usize = 8 * 1024 * 1024;
/// Largest message of an operator: a patch document, or metadata, of 8 MiB.
const OPERATOR_MESSAGE_MAX: usize = 12 * 1024 * 1024;
/// Largest message of anyone else.
const STRANGER_MESSAGE_MAX: usize = 64 * 1024;
/// Largest answer: a directive of 12 MiB or a document of 8 MiB.
const ANSWER_MAX: usize = 16 * 1024 * 1024;
/// The same alarm about the same site is raised once in this time: a broken node must not fill the record.
const ALARM_PAUSE: DurationMs = DurationMs::from_secs(10 * 60);
/// Longest text of an alarm, bytes: a person reads it, and a thousand are kept.
const ALARM_BYTES_MAX: usize = 1_000;

/// What the services share.
pub(crate) struct Api {
    /// The state.
    pub(crate) core: Core,
    /// Chunks.
    pub(crate) payloads: Payloads,
    /// Directives' signer.
    pub(crate) directives: Directives,
    /// What devices say of themselves.
    pub(crate) inventories: Inventories,
    /// The image repository.
    pub(crate) images: Arc<Repository>,
    /// The audit log.
    pub(crate) log: Arc<AuditLog>,
    /// Certificates.
    pub(crate) ca: Arc<Authority>,
    /// Folder of the certificates that were issued to operators.
    pub(crate) operators: PathBuf,
    /// How often nodes check in.
    pub(crate) check_in_every: Duration,
    /// Set when streams must end.
    pub(crate) shutdown: CancellationToken,
    /// One document or version of metadata at a time: nobody shall sign for what another call is just replacing.
    pub(crate) drafting: tokio::sync::Mutex<()>,
    /// Who has a plan foreseen at this moment.
    pub(crate) foreseeing: foresee::Foreseeing,
    /// When which alarm was raised last.
    pub(crate) alarmed: Mutex<HashMap<(SiteId, &'static str), Timestamp>>,
    /// Failed enrolments by address.
    pub(crate) strangers: Mutex<HashMap<IpAddr, enrolment::Failures>>,
}

impl Api {
    /// Raises an alarm that this process itself noticed.
    async fn alarm(&self, code: &'static str, site: &SiteId, text: &str) {
        let now = clock::now();
        // What a node sent may stand in it.
        let text = status::shorten(text, ALARM_BYTES_MAX);
        {
            let mut alarmed = self.alarmed.lock().unwrap_or_else(PoisonError::into_inner);
            alarmed.retain(|_, at| at.after(ALARM_PAUSE) > now);
            if alarmed.insert((site.clone(), code), now).is_some() {
                return;
            }
        }
        tracing::warn!(%site, code, text, "alarm");
        let event = RegistryEvent::Alarm { code: code.to_owned(), text, site: Some(site.clone()) };
        if let Err(error) = self.core.submit(event).await {
            tracing::error!(%error, "an alarm could not be recorded");
            // Nobody has heard of it: the next occasion must not be taken for a repetition.
            self.alarmed.lock().unwrap_or_else(PoisonError::into_inner).remove(&(site.clone(), code));
        }
    }
}

/// A service: what all share, under a name of its own.
#[derive(Clone)]
pub(crate) struct Service(pub(crate) Arc<Api>);

/// All services.
pub(crate) async fn routes(api: &Arc<Api>) -> Result<Routes, tonic_reflection::server::Error> {
    let service = || Service(Arc::clone(api));
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<EnrolmentServiceServer<Service>>().await;
    health.set_serving::<CertificateServiceServer<Service>>().await;
    health.set_serving::<TokenServiceServer<Service>>().await;
    health.set_serving::<ImageServiceServer<Service>>().await;
    health.set_serving::<AccessServiceServer<Service>>().await;
    health.set_serving::<NodeServiceServer<Service>>().await;
    health.set_serving::<PatchServiceServer<Service>>().await;
    health.set_serving::<RolloutServiceServer<Service>>().await;
    health.set_serving::<EstateServiceServer<Service>>().await;
    health.set_serving::<AuditServiceServer<Service>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(wardround_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let mut routes = Routes::builder();
    routes
        .add_service(EnrolmentServiceServer::new(service()).max_decoding_message_size(STRANGER_MESSAGE_MAX))
        .add_service(CertificateServiceServer::new(service()).max_decoding_message_size(STRANGER_MESSAGE_MAX))
        .add_service(TokenServiceServer::new(service()).max_decoding_message_size(STRANGER_MESSAGE_MAX))
        .add_service(
            AccessServiceServer::new(service())
                .max_decoding_message_size(STRANGER_MESSAGE_MAX)
                .max_encoding_message_size(ANSWER_MAX),
        )
        .add_service(
            NodeServiceServer::new(service())
                .max_decoding_message_size(NODE_MESSAGE_MAX)
                .max_encoding_message_size(ANSWER_MAX),
        )
        .add_service(
            ImageServiceServer::new(service())
                .max_decoding_message_size(OPERATOR_MESSAGE_MAX)
                .max_encoding_message_size(ANSWER_MAX),
        )
        .add_service(
            PatchServiceServer::new(service())
                .max_decoding_message_size(OPERATOR_MESSAGE_MAX)
                .max_encoding_message_size(ANSWER_MAX),
        )
        .add_service(
            RolloutServiceServer::new(service())
                .max_decoding_message_size(OPERATOR_MESSAGE_MAX)
                .max_encoding_message_size(ANSWER_MAX),
        )
        .add_service(
            EstateServiceServer::new(service())
                .max_decoding_message_size(STRANGER_MESSAGE_MAX)
                .max_encoding_message_size(ANSWER_MAX),
        )
        .add_service(
            AuditServiceServer::new(service())
                .max_decoding_message_size(STRANGER_MESSAGE_MAX)
                .max_encoding_message_size(ANSWER_MAX),
        )
        .add_service(health_service)
        .add_service(reflection);
    Ok(routes.routes())
}

/// The node that calls. The guard has let nobody else through.
fn node<T>(request: &Request<T>) -> Result<SiteId, Status> {
    match request.extensions().get::<Peer>() {
        Some(Peer { identity: Identity::Node(site), .. }) => Ok(site.clone()),
        _ => Err(Status::permission_denied("only a site's node may call this")),
    }
}

/// The operator who calls, for the record.
fn operator<T>(request: &Request<T>) -> Result<String, Status> {
    match request.extensions().get::<Peer>() {
        Some(Peer { identity: Identity::Operator(name), .. }) => Ok(name.clone()),
        _ => Err(Status::permission_denied("only an operator may call this")),
    }
}

/// When the caller's certificate ends: a stream must not outlive it.
fn certificate_end<T>(request: &Request<T>) -> Result<Instant, Status> {
    let peer = request.extensions().get::<Peer>();
    let peer = peer.ok_or_else(|| Status::unauthenticated("this method needs a client certificate"))?;
    Ok(Instant::now() + Duration::from_millis(peer.not_after.since(clock::now()).0))
}

/// Runs file work off the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Status::internal(e.to_string()))
}

/// Reads an id out of a request.
fn id<T: std::str::FromStr<Err: std::fmt::Display>>(field: &str, text: &str) -> Result<T, Status> {
    text.parse().map_err(|e: T::Err| status::invalid(field, e))
}
