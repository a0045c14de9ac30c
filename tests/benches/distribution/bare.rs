//! The bare stream: tonic, mutual TLS, chunks out of memory, SHA-256 on arrival.

use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_stream::{StreamExt as _, wrappers::TcpListenerStream};
use tonic::{
    Request, Response, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Identity, Server, ServerTlsConfig},
};
use wardround_proto::v1::{
    self,
    node_service_client::NodeServiceClient,
    node_service_server::{NodeService, NodeServiceServer},
};
use wardround_signing::Digest;

const CHUNK: usize = 256 * 1024;

/// Server and client.
pub(crate) struct Bed(Channel);

struct Bare(bytes::Bytes);

fn unused<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("only chunks"))
}

type Chunks = std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<v1::FetchChunksResponse, Status>> + Send>>;

#[tonic::async_trait]
impl NodeService for Bare {
    type WatchStream = tokio_stream::Empty<Result<v1::WatchResponse, Status>>;
    type FetchChunksStream = Chunks;

    async fn check_in(&self, _: Request<v1::CheckInRequest>) -> Result<Response<v1::CheckInResponse>, Status> {
        unused()
    }

    async fn watch(&self, _: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        unused()
    }

    async fn fetch_document(
        &self,
        _: Request<v1::FetchDocumentRequest>,
    ) -> Result<Response<v1::FetchDocumentResponse>, Status> {
        unused()
    }

    async fn report_inventory(
        &self,
        _: Request<v1::ReportInventoryRequest>,
    ) -> Result<Response<v1::ReportInventoryResponse>, Status> {
        unused()
    }

    /// As many chunks as digests are asked for, all the same.
    async fn fetch_chunks(&self, request: Request<v1::FetchChunksRequest>) -> Result<Response<Chunks>, Status> {
        let chunk = self.0.clone();
        let all = request.into_inner().digests.into_iter();
        let answers = all.map(move |digest| Ok(v1::FetchChunksResponse { digest, data: chunk.clone(), packed: false }));
        Ok(Response::new(Box::pin(tokio_stream::iter(answers))))
    }
}

impl Bed {
    pub(crate) async fn new() -> Self {
        let mut ca = CertificateParams::new([]).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let certificate = || {
            let key = KeyPair::generate().unwrap();
            let signed = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
            Identity::from_pem(signed.pem(), key.serialize_pem())
        };
        let root = Certificate::from_pem(ca.pem());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let tls = ServerTlsConfig::new().identity(certificate()).client_ca_root(root.clone());
        let service = NodeServiceServer::new(Bare(vec![7; CHUNK].into()));
        let server = Server::builder().tls_config(tls).unwrap().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let tls = ClientTlsConfig::new().ca_certificate(root).identity(certificate()).domain_name("localhost");
        let endpoint = Channel::from_shared(format!("https://127.0.0.1:{port}")).unwrap().tcp_nodelay(true);
        Self(endpoint.tls_config(tls).unwrap().connect().await.unwrap())
    }

    /// How long so many bytes take.
    pub(crate) async fn run(&self, bytes: u64) -> Duration {
        let chunks = bytes.div_ceil(CHUNK as u64);
        let digests = vec![vec![0; 32]; usize::try_from(chunks).unwrap()];
        let asked = v1::FetchChunksRequest { digests, ..Default::default() };
        let begun = Instant::now();
        let mut client = NodeServiceClient::new(self.0.clone());
        let mut stream = client.fetch_chunks(asked).await.unwrap().into_inner();
        let mut came = 0;
        while let Some(chunk) = stream.next().await {
            let data = chunk.unwrap().data;
            std::hint::black_box(Digest::of(&data));
            came += data.len() as u64;
        }
        assert_eq!(came, chunks * CHUNK as u64);
        begun.elapsed()
    }
}
