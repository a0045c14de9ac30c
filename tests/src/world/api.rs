//! The controller's API, as an operator's program uses it: straight over gRPC, to look and not to act.

use std::{fs, path::Path, time::Duration};

use tokio::runtime::Runtime;
use tonic::{
    Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use wardround_proto::v1::{
    self, audit_service_client::AuditServiceClient, estate_service_client::EstateServiceClient,
    image_service_client::ImageServiceClient, patch_service_client::PatchServiceClient,
    rollout_service_client::RolloutServiceClient,
};

/// A call that takes longer has failed: the controller may be frozen or dead.
const CALL_MAX: Duration = Duration::from_secs(3);

/// A client with the operator's certificate. It connects again by itself when the controller was restarted.
pub struct Api {
    runtime: Runtime,
    channel: Channel,
}

impl Api {
    /// With the profile that `wardround init` wrote to `operator`.
    ///
    /// # Panics
    /// When the profile can't be read.
    #[must_use]
    pub fn new(operator: &Path, host: &str, port: u16) -> Self {
        let read = |name: &str| fs::read(operator.join(name)).unwrap();
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read("ca.pem")))
            .identity(Identity::from_pem(read("cert.pem"), read("key.pem")));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let endpoint = Endpoint::from_shared(format!("https://{host}:{port}")).unwrap();
        let endpoint = endpoint.tls_config(tls).unwrap().timeout(CALL_MAX).connect_timeout(CALL_MAX);
        let channel = {
            let _inside = runtime.enter();
            endpoint.connect_lazy()
        };
        Self { runtime, channel }
    }

    /// A rollout.
    ///
    /// # Errors
    /// The controller's, also when it can't be reached.
    pub fn rollout(&self, id: &str) -> Result<v1::Rollout, Status> {
        let mut client = RolloutServiceClient::new(self.channel.clone());
        let request = v1::GetRolloutRequest { id: id.to_owned() };
        let answer = self.runtime.block_on(client.get_rollout(request))?.into_inner();
        answer.rollout.ok_or_else(|| Status::internal("no rollout in the answer"))
    }

    /// The bytes of a rollout's document.
    ///
    /// # Errors
    /// The controller's, also when it can't be reached.
    pub fn document(&self, rollout: &str) -> Result<Vec<u8>, Status> {
        Ok(self.rollout(rollout)?.document)
    }

    /// The bytes of a patch's document.
    ///
    /// # Errors
    /// The controller's, also when it can't be reached.
    pub fn patch_document(&self, id: &str) -> Result<Vec<u8>, Status> {
        let mut client = PatchServiceClient::new(self.channel.clone());
        let answer = self.runtime.block_on(client.get_patch(v1::GetPatchRequest { id: id.to_owned() }))?.into_inner();
        answer.patch.map(|patch| patch.document).ok_or_else(|| Status::internal("no patch in the answer"))
    }

    /// All deployments of a rollout.
    ///
    /// # Errors
    /// The controller's, also when it can't be reached.
    pub fn deployments(&self, id: &str) -> Result<Vec<v1::Deployment>, Status> {
        let mut client = RolloutServiceClient::new(self.channel.clone());
        let request = v1::ListDeploymentsRequest { id: id.to_owned(), page_size: 1000, ..Default::default() };
        Ok(self.runtime.block_on(client.list_deployments(request))?.into_inner().deployments)
    }

    /// A site with its devices, systems and alarms.
    ///
    /// # Errors
    /// The controller's, also when it can't be reached.
    pub fn site(&self, id: &str) -> Result<v1::GetSiteResponse, Status> {
        let mut client = EstateServiceClient::new(self.channel.clone());
        let request = v1::GetSiteRequest { id: id.to_owned() };
        Ok(self.runtime.block_on(client.get_site(request))?.into_inner())
    }

    /// A file of the image repository, such as "1.root.json".
    ///
    /// # Errors
    /// The controller's, also when it can't be reached.
    pub fn metadata(&self, name: &str) -> Result<Vec<u8>, Status> {
        let mut client = ImageServiceClient::new(self.channel.clone());
        let request = v1::FetchMetadataRequest { name: name.to_owned(), max_bytes: 0 };
        Ok(self.runtime.block_on(client.fetch_metadata(request))?.into_inner().metadata)
    }

    /// Hands in a new version of a role's metadata, and says what became of it.
    ///
    /// # Errors
    /// The controller's, also when it can't be reached.
    pub fn submit(&self, role: &str, metadata: Vec<u8>) -> Result<v1::SubmitMetadataResponse, Status> {
        let mut client = ImageServiceClient::new(self.channel.clone());
        let request = v1::SubmitMetadataRequest { role: role.to_owned(), metadata };
        Ok(self.runtime.block_on(client.submit_metadata(request))?.into_inner())
    }

    /// The whole audit record.
    ///
    /// # Errors
    /// The controller's, also when it can't be reached.
    pub fn records(&self) -> Result<Vec<v1::AuditRecord>, Status> {
        let mut client = AuditServiceClient::new(self.channel.clone());
        let mut records = Vec::new();
        loop {
            let request = v1::ListRecordsRequest { from_index: records.len() as u64, page_size: 1000 };
            let page = self.runtime.block_on(client.list_records(request))?.into_inner().records;
            if page.is_empty() {
                return Ok(records);
            }
            records.extend(page);
        }
    }
}
