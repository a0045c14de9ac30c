//! The one connection to the controller: mutual TLS under the CA that enrolment pinned, keep-alive, deadlines.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tonic::{
    Code, Response, Status, Streaming,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity as TlsIdentity},
};
use wardround_proto::v1::{
    DeviceInventory, FetchChunksRequest, FetchChunksResponse, FetchDocumentRequest, ReportInventoryRequest,
    node_service_client::NodeServiceClient,
};
use wardround_signing::Digest;

use crate::{
    NodeError,
    cache::{Came, Coming, Source},
    identity::Identity,
};

/// How long a connection may take to come about: three round trips over a bad line.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Keep-alive: a dead line is noticed within half a minute, and NAT tables stay warm.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(10));
/// Deadline of a call that answers once.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest silence within a stream of chunks: 256 KiB over 2 Mbit/s take about one second.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest message that is accepted: a directive of at most 12 MiB, with its signatures and room.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Largest message with a chunk: 1 MiB and its digest.
const CHUNK_MESSAGE_BYTES_MAX: usize = 1024 * 1024 + 1024;

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// Try again later.
    #[error("the controller does not answer: {0}")]
    Unreachable(String),
    /// The controller answers, but has not got it.
    #[error("the controller refuses: {0}")]
    Refused(String),
}

impl From<Status> for FetchError {
    fn from(status: Status) -> Self {
        let text = format!("{:?}: {}", status.code(), status.message());
        match status.code() {
            // Out of range: a message over the limit.
            Code::NotFound | Code::InvalidArgument | Code::PermissionDenied | Code::OutOfRange => Self::Refused(text),
            _ => Self::Unreachable(text),
        }
    }
}

/// The controller. Cheap to clone; all clones share one connection, which comes back by itself.
#[derive(Clone)]
pub(crate) struct Controller {
    channel: Arc<RwLock<Channel>>,
}

/// The endpoint without its TLS.
fn endpoint(address: &str) -> Result<Endpoint, NodeError> {
    let bad = || NodeError::Unreachable {
        endpoint: address.to_owned(),
        why: "an address looks like https://host:port".to_owned(),
    };
    if !address.starts_with("https://") {
        return Err(bad());
    }
    Endpoint::from_shared(address.to_owned())
        .map_err(|_| bad())?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1)
        .keep_alive_while_idle(true)
        .user_agent(concat!("wardround-node/", env!("CARGO_PKG_VERSION")))
        .map_err(|_| bad())
}

fn channel(identity: &Identity, certificate_pem: &str) -> Result<Channel, NodeError> {
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&identity.ca_pem))
        .identity(TlsIdentity::from_pem(certificate_pem, &identity.key_pem));
    let endpoint = endpoint(&identity.controller)?
        .tls_config(tls)
        .map_err(|e| NodeError::Unreachable { endpoint: identity.controller.clone(), why: e.to_string() })?;
    Ok(endpoint.connect_lazy())
}

impl Controller {
    /// Makes ready to connect; connects at the first call.
    pub(crate) fn new(identity: &Identity) -> Result<Self, NodeError> {
        let channel = channel(identity, &identity.cert_pem)?;
        Ok(Self { channel: Arc::new(RwLock::new(channel)) })
    }

    /// From the next call on, shows this certificate. Streams that stand go on with the one before.
    pub(super) fn show(&self, identity: &Identity, certificate_pem: &str) -> Result<(), NodeError> {
        let fresh = channel(identity, certificate_pem)?;
        *self.channel.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    pub(super) fn channel(&self) -> Channel {
        self.channel.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn client(&self) -> NodeServiceClient<Channel> {
        NodeServiceClient::new(self.channel()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// A document's bytes by their digest. Verifying them is the caller's.
    pub(crate) async fn document(&self, digest: &Digest) -> Result<Vec<u8>, FetchError> {
        let asked = request(FetchDocumentRequest { digest: digest.as_bytes().to_vec() });
        Ok(in_time(self.client().fetch_document(asked)).await?.document)
    }

    /// Hands an inventory over; true when the controller wants its facts too.
    pub(crate) async fn report_inventory(&self, inventory: DeviceInventory) -> Result<bool, FetchError> {
        let told = request(ReportInventoryRequest { inventory: Some(inventory) });
        Ok(in_time(self.client().report_inventory(told)).await?.facts_wanted)
    }
}

impl Source for Controller {
    type Stream = ChunkStream;

    async fn ask(&self, digests: &[Digest], afresh: bool) -> Result<ChunkStream, FetchError> {
        let digests = digests.iter().map(|d| d.as_bytes().to_vec()).collect();
        let mut client = self.client().max_decoding_message_size(CHUNK_MESSAGE_BYTES_MAX);
        let call = client.fetch_chunks(FetchChunksRequest { digests, takes_packed: true, afresh });
        let stream = tokio::time::timeout(CHUNK_TIMEOUT, call).await.map_err(too_slow)??;
        Ok(ChunkStream(stream.into_inner()))
    }
}

/// Chunks that come from the controller.
pub(crate) struct ChunkStream(Streaming<FetchChunksResponse>);

impl Coming for ChunkStream {
    async fn next(&mut self) -> Result<Option<Came>, FetchError> {
        let message = tokio::time::timeout(CHUNK_TIMEOUT, self.0.message()).await.map_err(too_slow)??;
        Ok(message.map(|FetchChunksResponse { data, packed, .. }| Came { data, packed }))
    }
}

fn too_slow(_: tokio::time::error::Elapsed) -> FetchError {
    FetchError::Unreachable("no chunk came in time".to_owned())
}

/// Waits for an answer no longer than its deadline. The deadline of the request ends with the first byte of the answer;
/// one that begins and never ends would hold the caller for ever.
pub(super) async fn in_time<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(answer) => answer.map(Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded(format!("no whole answer within {} s", CALL_TIMEOUT.as_secs()))),
    }
}

/// Gives a call its deadline.
pub(super) fn request<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}
