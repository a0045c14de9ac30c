//! The server: a real tonic server over TLS, with what the test tells it to say.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use tokio::runtime::Runtime;
use tokio_stream::{iter, wrappers::ReceiverStream};
use tonic::{
    Request, Response, Status,
    transport::{Certificate, Identity, Server, ServerTlsConfig},
};
use wardround_proto::v1::{
    self,
    enrolment_service_server::{EnrolmentService, EnrolmentServiceServer},
    image_service_server::{ImageService, ImageServiceServer},
    node_service_server::{NodeService, NodeServiceServer},
};
use wardround_rollout_plans::model::{Report, ReportBody};
use wardround_signing::{
    Digest, Envelope, KeyId, Policy, PublicKey, SecretKey, Signature, Signer as _,
    log::SignedCheckpoint,
    tuf::{Files, OnlineKeys},
    verify,
};

use super::{Estate, Repository};
use crate::{free_port, world::World};

/// What it serves now. A test changes it at any time.
#[derive(Default)]
pub struct Served {
    /// The present directive.
    pub directive: Option<Envelope>,
    /// Documents by the digest under which they are asked for.
    pub documents: BTreeMap<Digest, Envelope>,
    /// Chunks by the digest under which they are asked for.
    pub chunks: BTreeMap<Digest, Vec<u8>>,
    /// Files of the image repository by name.
    pub metadata: Files,
    /// The version of the timestamp that it speaks of.
    pub timestamp_version: u64,
    /// A file that never comes.
    pub stalled: Option<String>,
    /// The log's newest checkpoint and the proof that comes with it; none: an honest empty log.
    pub log: Option<(String, Vec<Vec<u8>>)>,
    /// Reports that came in, their signatures verified.
    pub reports: Vec<Report>,
    /// How often the node has checked in.
    pub check_ins: u64,
    /// Highest counter of a directive that the node says it has accepted.
    pub directive_counter: u64,
    report_key: Option<PublicKey>,
}

/// What the attacker has in hand.
struct Held {
    port: u16,
    ca_pem: String,
    issuer: Issuer<'static, KeyPair>,
    root: Vec<u8>,
    directive_key: PublicKey,
    /// Signs the log.
    log: SignedCheckpoint,
    site: String,
    served: Served,
}

/// The running server.
pub struct Evil {
    /// Where it listens.
    pub port: u16,
    served: Arc<Mutex<Served>>,
    /// A token that a node accepts: it pins this server's CA and the first root.
    pub token: String,
    // Ends with the struct, and the server with it.
    _runtime: Runtime,
}

struct Service {
    served: Arc<Mutex<Served>>,
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
    root: Vec<u8>,
    online: PublicKey,
    log: SignedCheckpoint,
    site: String,
}

impl Evil {
    /// Starts it for an estate and its image repository.
    #[must_use]
    pub fn start(estate: &Estate, repository: &Repository) -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca = params.self_signed(&ca_key).unwrap();
        Self::serve(Held {
            port: free_port(),
            ca_pem: ca.pem(),
            issuer: Issuer::from_ca_cert_der(ca.der(), ca_key).unwrap(),
            root: repository.roots[0].clone(),
            directive_key: estate.online.public(),
            log: SignedCheckpoint::sign(0, Digest::of(b""), &estate.online).unwrap(),
            site: estate.site.to_string(),
            served: Served::default(),
        })
    }

    /// Takes the place of a real controller that has been stopped, with everything that lay in its data directory: the CA's
    /// key, the online keys, all published metadata, and the newest checkpoint of its log. Gives the key of directives too.
    #[must_use]
    pub fn take_over(world: &World, site: &str, metadata: Files, log: SignedCheckpoint) -> (Self, SecretKey) {
        let data = world.home().join("controller");
        let text = |path: PathBuf| fs::read_to_string(path).unwrap();
        let ca_pem = text(data.join("ca.pem"));
        let online: OnlineKeys = serde_json::from_str(&text(data.join("online.pub.json"))).unwrap();
        let kept = fs::read_dir(data.join("online")).unwrap().map(|entry| entry.unwrap().path());
        let keys = kept.chain([data.join("directive.key")]).map(|path| SecretKey::from_plain_pem(&text(path)).unwrap());
        let directive_key = keys.into_iter().find(|key| key.public() == online.directives).unwrap();
        let report_key = text(world.site(site).state().join("identity/report.key"));
        let served = Served {
            timestamp_version: 1,
            report_key: Some(SecretKey::from_plain_pem(&report_key).unwrap().public()),
            ..Served::default()
        };
        let evil = Self::serve(Held {
            port: world.port(),
            issuer: Issuer::from_ca_cert_pem(&ca_pem, KeyPair::from_pem(&text(data.join("ca.key"))).unwrap()).unwrap(),
            ca_pem,
            root: metadata["1.root.json"].clone(),
            directive_key: directive_key.public(),
            log,
            site: site.to_owned(),
            served: Served { metadata, ..served },
        });
        (evil, directive_key)
    }

    fn serve(held: Held) -> Self {
        let Held { port, ca_pem, issuer, root, directive_key, log, site, served } = held;
        let own_key = KeyPair::generate().unwrap();
        let mut own = CertificateParams::default();
        own.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
        // The CA stands in the chain, as a node that knows only its pin needs it.
        let own_pem = format!("{}{ca_pem}", own.signed_by(&own_key, &issuer).unwrap().pem());
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(own_pem, own_key.serialize_pem()))
            .client_ca_root(Certificate::from_pem(&ca_pem))
            .client_auth_optional(true);

        let served = Arc::new(Mutex::new(served));
        let pin = Digest::of(&root).hex();
        let (_, ca) = x509_parser::pem::parse_x509_pem(ca_pem.as_bytes()).unwrap();
        let ca_pin = Digest::of(&ca.contents);
        let token = format!("0011223344556677.{}.{}.{pin}", "ab".repeat(32), ca_pin.hex());
        let service =
            Arc::new(Service { served: Arc::clone(&served), issuer, ca_pem, root, online: directive_key, log, site });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let router = Server::builder()
            .tls_config(tls)
            .unwrap()
            .add_service(NodeServiceServer::from_arc(Arc::clone(&service)))
            .add_service(ImageServiceServer::from_arc(Arc::clone(&service)))
            .add_service(EnrolmentServiceServer::from_arc(service));
        runtime.spawn(async move { router.serve(address).await.unwrap() });
        Self { port, served, token, _runtime: runtime }
    }

    /// Looks at or changes what is served.
    pub fn with<T>(&self, change: impl FnOnce(&mut Served) -> T) -> T {
        change(&mut self.served.lock().unwrap())
    }

    /// Refusals that the node has reported so far: what, and why.
    #[must_use]
    pub fn refusals(&self) -> Vec<(String, String)> {
        self.with(|served| {
            let bodies = served.reports.iter().map(|r| &r.body);
            bodies
                .filter_map(|body| match body {
                    ReportBody::Refused { what, why, .. } => Some((what.clone(), why.clone())),
                    _ => None,
                })
                .collect()
        })
    }
}

#[tonic::async_trait]
impl EnrolmentService for Service {
    async fn enrol(&self, request: Request<v1::EnrolRequest>) -> Result<Response<v1::EnrolResponse>, Status> {
        let asked = request.into_inner();
        let mut csr = CertificateSigningRequestParams::from_der(&asked.csr_der.as_slice().into())
            .map_err(|e| Status::invalid_argument(e.to_string()))?;
        // An attacker's CA names the node as a good one does; what it is tried with comes later.
        let name = format!("wardround://node/{}", self.site).try_into().map_err(|_| Status::internal("a URI"))?;
        csr.params.subject_alt_names = vec![SanType::URI(name)];
        let certificate = csr.signed_by(&self.issuer).map_err(|e| Status::internal(e.to_string()))?;
        let key =
            PublicKey::from_bytes(&asked.report_public_key).map_err(|e| Status::invalid_argument(e.to_string()))?;
        self.served.lock().unwrap().report_key = Some(key);
        Ok(Response::new(v1::EnrolResponse {
            site: self.site.clone(),
            certificate_pem: certificate.pem(),
            ca_pem: self.ca_pem.clone(),
            root_json: self.root.clone(),
            log_public_key: self.online.to_bytes().to_vec(),
        }))
    }
}

#[tonic::async_trait]
impl NodeService for Service {
    type WatchStream = ReceiverStream<Result<v1::WatchResponse, Status>>;
    type FetchChunksStream = tokio_stream::Iter<std::vec::IntoIter<Result<v1::FetchChunksResponse, Status>>>;

    async fn check_in(&self, request: Request<v1::CheckInRequest>) -> Result<Response<v1::CheckInResponse>, Status> {
        let mut served = self.served.lock().unwrap();
        served.check_ins += 1;
        let key = served.report_key.ok_or_else(|| Status::unauthenticated("nobody has enrolled"))?;
        let request = request.into_inner();
        served.directive_counter = served.directive_counter.max(request.directive_counter);
        for envelope in &request.reports {
            let report = verify::<Report>(&from_wire(envelope), &Policy::node(key))
                .map_err(|e| Status::invalid_argument(e.to_string()))?
                .into_document();
            if served.reports.last().is_none_or(|last| report.seq == last.seq + 1) {
                served.reports.push(report);
            }
        }
        let honest = || (self.log.note().to_owned(), Vec::new());
        let (log_checkpoint, log_consistency) = served.log.clone().unwrap_or_else(honest);
        Ok(Response::new(v1::CheckInResponse {
            log_checkpoint,
            log_consistency,
            acked_seq: served.reports.last().map_or(0, |r| r.seq),
            directive: served.directive.as_ref().map(to_wire),
            now_ms: jiff::Timestamp::now().as_millisecond(),
            check_in_after_ms: 100,
            timestamp_version: served.timestamp_version,
        }))
    }

    async fn watch(&self, _: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        // The stream stays open and silent for as long as the node listens.
        tokio::spawn(async move { sender.closed().await });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn fetch_chunks(
        &self,
        request: Request<v1::FetchChunksRequest>,
    ) -> Result<Response<Self::FetchChunksStream>, Status> {
        let served = self.served.lock().unwrap();
        let answers: Vec<_> = request
            .into_inner()
            .digests
            .into_iter()
            .map(|digest| {
                let known = Digest::from_slice(&digest).ok().and_then(|d| served.chunks.get(&d));
                let data = known.ok_or_else(|| Status::not_found("no such chunk"))?.clone();
                Ok(v1::FetchChunksResponse { digest, data: data.into(), packed: false })
            })
            .collect();
        Ok(Response::new(iter(answers)))
    }

    async fn fetch_document(
        &self,
        request: Request<v1::FetchDocumentRequest>,
    ) -> Result<Response<v1::FetchDocumentResponse>, Status> {
        let digest = Digest::from_slice(&request.into_inner().digest)
            .map_err(|_| Status::invalid_argument("a digest has 32 bytes"))?;
        let served = self.served.lock().unwrap();
        let envelope = served.documents.get(&digest).ok_or_else(|| Status::not_found("no such document"))?;
        Ok(Response::new(v1::FetchDocumentResponse { document: envelope.payload.clone() }))
    }

    async fn report_inventory(
        &self,
        _: Request<v1::ReportInventoryRequest>,
    ) -> Result<Response<v1::ReportInventoryResponse>, Status> {
        Ok(Response::new(v1::ReportInventoryResponse { facts_wanted: false }))
    }
}

#[tonic::async_trait]
impl ImageService for Service {
    async fn fetch_metadata(
        &self,
        request: Request<v1::FetchMetadataRequest>,
    ) -> Result<Response<v1::FetchMetadataResponse>, Status> {
        let name = request.into_inner().name;
        let (found, stalled) = {
            let served = self.served.lock().unwrap();
            (served.metadata.get(&name).cloned(), served.stalled.as_ref() == Some(&name))
        };
        if stalled {
            return std::future::pending().await;
        }
        let metadata = found.ok_or_else(|| Status::not_found("no such file"))?;
        Ok(Response::new(v1::FetchMetadataResponse { metadata }))
    }

    async fn submit_metadata(
        &self,
        _: Request<v1::SubmitMetadataRequest>,
    ) -> Result<Response<v1::SubmitMetadataResponse>, Status> {
        Err(Status::permission_denied("nobody signs here"))
    }

    async fn fetch_staged(
        &self,
        _: Request<v1::FetchStagedRequest>,
    ) -> Result<Response<v1::FetchStagedResponse>, Status> {
        Err(Status::not_found("nothing is staged"))
    }

    async fn get_repository(
        &self,
        _: Request<v1::GetRepositoryRequest>,
    ) -> Result<Response<v1::GetRepositoryResponse>, Status> {
        Err(Status::permission_denied("nobody looks here"))
    }
}

fn to_wire(envelope: &Envelope) -> v1::Envelope {
    let signature = |s: &Signature| v1::Signature { keyid: s.keyid.as_str().to_owned(), sig: s.sig.clone() };
    v1::Envelope {
        payload_type: envelope.payload_type.clone(),
        payload: envelope.payload.clone(),
        signatures: envelope.signatures.iter().map(signature).collect(),
    }
}

fn from_wire(envelope: &v1::Envelope) -> Envelope {
    let signature = |s: &v1::Signature| Signature { keyid: KeyId::claimed(&s.keyid), sig: s.sig.clone() };
    Envelope {
        payload_type: envelope.payload_type.clone(),
        payload: envelope.payload.clone(),
        signatures: envelope.signatures.iter().map(signature).collect(),
    }
}
