//! What every test needs: people, a data directory, a controller that can be killed, operators' and nodes' clients.

use std::{
    fs,
    future::Future,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::oneshot};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use wardround_controller::{Config, InitOptions, OperatorRole, Ready, RunError, init, issue_operator, run};
use wardround_proto::v1::{
    self, access_service_client::AccessServiceClient, audit_service_client::AuditServiceClient,
    enrolment_service_client::EnrolmentServiceClient, estate_service_client::EstateServiceClient,
    node_service_client::NodeServiceClient, patch_service_client::PatchServiceClient,
    rollout_service_client::RolloutServiceClient, token_service_client::TokenServiceClient,
};
use wardround_rollout_plans::model::{
    CHUNK_BYTES, ClinicalSystem, Command, Device, DeviceId, Directive, Installer, Interpreter, Labels, Order, Patch,
    PatchId, Payload, Platform, Report, ReportBody, RolloutId, Severity, SiteId, SiteInventory, SystemId, Timestamp,
    Variant, VariantId,
};
use wardround_signing::{
    Digest, Envelope, KeyId, Policy, PublicKey, SecretKey, Signature, Signer as _, document_bytes,
    tuf::{RoleName, patch_path, rollout_path},
    verify,
};

use crate::repository::begin;

/// How long a condition may take to come true.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Windows XP, service pack 3.
pub(crate) const XP: &str = "cpe:2.3:o:microsoft:windows_xp:-:sp3:*:*:professional:*:x86:*";
/// Canary by label, then the rest.
pub(crate) const PLAN: &str = "
name: two-waves
limits: { per_site: 1 }
waves:
  - name: canary
    select: { labels: { ring: canary } }
    soak: 1s
  - name: full
    select: { remaining: true }
    soak: 1s
";

/// Waits until `done` gives something.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut done: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = done().await {
            return value;
        }
        assert!(Instant::now() < deadline, "{what} did not happen within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A person's key by seed.
pub(crate) fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

/// Release.
pub(crate) const ANN: u8 = 1;
/// Clinical.
pub(crate) const BEN: u8 = 2;
/// On-call.
pub(crate) const CYD: u8 = 3;
/// A data directory with an operator.
pub(crate) struct World {
    pub(crate) dir: TempDir,
}

impl World {
    /// With the ceremony behind it: everybody's keys count.
    pub(crate) fn new() -> Self {
        let world = Self::without_root();
        begin(&world.data());
        world
    }

    /// Before the root ceremony.
    pub(crate) fn without_root() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = InitOptions {
            data: dir.path().join("data"),
            operator: dir.path().join("ann"),
            listen: "127.0.0.1:0".parse().unwrap(),
            console: None,
            names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            operator_name: "ann".to_owned(),
            operator_roles: OperatorRole::ALL.into(),
        };
        init(&options).unwrap();
        let world = Self { dir };
        // The machine that runs the tests may have a small disk.
        world.configure("free_bytes_min", 1024 * 1024_u64);
        world
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Sets one value of `config.json`.
    pub(crate) fn configure(&self, name: &str, value: u64) {
        let path = self.data().join("config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config[name] = value.into();
        fs::write(&path, config.to_string()).unwrap();
    }

    pub(crate) async fn start(&self) -> Controller {
        self.start_with(Config { data: self.data(), ..Config::default() }).await
    }

    /// Starts, also while a controller that was just killed still holds the journal.
    pub(crate) async fn start_with(&self, config: Config) -> Controller {
        eventually("the start of the controller", || async {
            match Controller::start(config.clone()).await {
                Ok(controller) => Some(controller),
                Err(RunError::Journal(error)) if error.to_string().contains("another process") => None,
                Err(error) => panic!("{error}: {}", error.hint()),
            }
        })
        .await
    }

    pub(crate) async fn operator(&self, controller: &Controller) -> Operator {
        self.operator_of(controller, "ann").await
    }

    /// Another operator, with these roles; gives the serial number of the certificate.
    pub(crate) async fn issue(
        &self,
        controller: &Controller,
        name: &str,
        roles: &[OperatorRole],
    ) -> (Operator, String) {
        let issued = issue_operator(&self.data(), &self.dir.path().join(name), name, &roles.iter().copied().collect());
        (self.operator_of(controller, name).await, issued.unwrap().serial)
    }

    /// The operator whose profile is in this folder.
    pub(crate) async fn operator_of(&self, controller: &Controller, folder: &str) -> Operator {
        let folder = self.dir.path().join(folder);
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        let channel = controller.connect(&read("ca.pem"), Some((&read("cert.pem"), &read("key.pem")))).await.unwrap();
        Operator { channel }
    }

    pub(crate) fn ca_pem(&self) -> String {
        fs::read_to_string(self.data().join("ca.pem")).unwrap()
    }

    /// A started controller, its operator, and a node of site rx1 with two devices that has told its inventory.
    pub(crate) async fn with_node(&self) -> (Controller, Operator, Node) {
        let controller = self.start().await;
        let operator = self.operator(&controller).await;
        let mut node = Node::enrol(self, &controller, &operator, "rx1").await;
        node.report(inventory("rx1", &[("a", "canary"), ("b", "full")])).await.unwrap();
        (controller, operator, node)
    }
}

/// A controller in a runtime of its own, so that it can be cut off like a process.
pub(crate) struct Controller {
    pub(crate) ready: Ready,
    shutdown: CancellationToken,
    runtime: Option<Runtime>,
    ended: oneshot::Receiver<Result<(), RunError>>,
}

impl Controller {
    async fn start(config: Config) -> Result<Self, RunError> {
        // Few threads for file work, so that a call which keeps one to itself shows.
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).max_blocking_threads(8).enable_all().build().unwrap();
        let shutdown = CancellationToken::new();
        let (ready_sender, ready) = oneshot::channel();
        let (ended_sender, mut ended) = oneshot::channel();
        let stop = shutdown.clone();
        runtime.spawn(async move {
            let _ = ended_sender.send(run(config, stop, ready_sender).await);
        });
        match ready.await {
            Ok(ready) => Ok(Self { ready, shutdown, runtime: Some(runtime), ended }),
            Err(_) => {
                let error = (&mut ended).await.unwrap().unwrap_err();
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// Cut off in the middle of whatever it does: no drain, no last sync.
    pub(crate) fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    /// Asks it to stop and waits until it has.
    pub(crate) async fn stop(mut self) -> Result<(), RunError> {
        self.shutdown.cancel();
        (&mut self.ended).await.unwrap()
    }

    /// A client's connection, with a certificate or without.
    pub(crate) async fn connect(
        &self,
        ca_pem: &str,
        identity: Option<(&str, &str)>,
    ) -> Result<Channel, tonic::transport::Error> {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca_pem)).domain_name("localhost");
        if let Some((certificate, key)) = identity {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        Endpoint::from_shared(format!("https://{}", self.ready.listen))?.tls_config(tls)?.connect().await
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Clients with an operator's certificate.
#[derive(Clone)]
pub(crate) struct Operator {
    pub(crate) channel: Channel,
}

pub(crate) fn wire(envelope: &Envelope) -> v1::Envelope {
    v1::Envelope {
        payload_type: envelope.payload_type.clone(),
        payload: envelope.payload.clone(),
        signatures: envelope.signatures.iter().map(wire_signature).collect(),
    }
}

pub(crate) fn wire_signature(signature: &Signature) -> v1::Signature {
    v1::Signature { keyid: signature.keyid.as_str().to_owned(), sig: signature.sig.clone() }
}

pub(crate) fn unwire(envelope: &v1::Envelope) -> Envelope {
    let signature = |s: &v1::Signature| Signature { keyid: KeyId::claimed(&s.keyid), sig: s.sig.clone() };
    Envelope {
        payload_type: envelope.payload_type.clone(),
        payload: envelope.payload.clone(),
        signatures: envelope.signatures.iter().map(signature).collect(),
    }
}

pub(crate) fn payload() -> Vec<u8> {
    let bytes = usize::try_from(CHUNK_BYTES).unwrap() + 1000;
    (0..bytes).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

/// A patch for Windows XP whose payload is [`payload`].
pub(crate) fn patch(id: &str) -> Patch {
    let bytes = payload();
    let chunks = bytes.chunks(usize::try_from(CHUNK_BYTES).unwrap()).map(Digest::of).collect();
    Patch {
        id: PatchId::new(id).unwrap(),
        title: "Remote code execution".to_owned(),
        cves: vec!["CVE-2019-0708".to_owned()],
        severity: Severity::Critical,
        guidance: String::new(),
        supersedes: Vec::new(),
        requires: Vec::new(),
        variants: vec![Variant::new(
            VariantId::new("xp").unwrap(),
            vec![Platform::new("cpe:2.3:o:microsoft:windows_xp:*:*:*:*:*:*:*:*").unwrap()],
            Payload {
                file_name: "update.sh".to_owned(),
                digest: Digest::of(&bytes),
                length: bytes.len() as u64,
                chunks,
                sizes: Vec::new(),
            },
            Installer::Script { interpreter: Interpreter::Sh },
        )],
    }
}

impl Operator {
    pub(crate) fn patches(&self) -> PatchServiceClient<Channel> {
        PatchServiceClient::new(self.channel.clone())
    }
    pub(crate) fn rollouts(&self) -> RolloutServiceClient<Channel> {
        RolloutServiceClient::new(self.channel.clone())
    }
    pub(crate) fn estate(&self) -> EstateServiceClient<Channel> {
        EstateServiceClient::new(self.channel.clone())
    }
    pub(crate) fn audit(&self) -> AuditServiceClient<Channel> {
        AuditServiceClient::new(self.channel.clone())
    }

    pub(crate) async fn token(&self, site: &str, ttl_seconds: u32) -> v1::CreateTokenResponse {
        let request = v1::CreateTokenRequest { site: site.to_owned(), ttl_seconds };
        TokenServiceClient::new(self.channel.clone()).create_token(request).await.unwrap().into_inner()
    }

    /// The audit record.
    pub(crate) async fn records(&self) -> Vec<v1::AuditRecord> {
        let request = v1::ListRecordsRequest { from_index: 0, page_size: 1000 };
        self.audit().list_records(request).await.unwrap().into_inner().records
    }

    pub(crate) fn access(&self) -> AccessServiceClient<Channel> {
        AccessServiceClient::new(self.channel.clone())
    }

    pub(crate) async fn revoke_node(&self, site: &str, reason: &str) -> Result<(), tonic::Status> {
        let request = v1::RevokeNodeRequest { site: site.to_owned(), reason: reason.to_owned() };
        self.access().revoke_node(request).await.map(drop)
    }

    /// By name or by serial number.
    pub(crate) async fn revoke_operator(
        &self,
        name: &str,
        serial: &str,
        reason: &str,
    ) -> Result<v1::RevokeOperatorResponse, tonic::Status> {
        let (name, serial, reason) = (name.to_owned(), serial.to_owned(), reason.to_owned());
        let request = v1::RevokeOperatorRequest { name, serial, reason, even_if_unknown: false };
        Ok(self.access().revoke_operator(request).await?.into_inner())
    }

    pub(crate) async fn upload(&self) {
        let chunks: Vec<v1::UploadChunksRequest> = payload()
            .chunks(usize::try_from(CHUNK_BYTES).unwrap())
            .map(|c| v1::UploadChunksRequest { data: c.to_vec().into(), packed: false })
            .collect();
        self.patches().upload_chunks(tokio_stream::iter(chunks)).await.unwrap();
    }

    /// A patch for which these people sign.
    pub(crate) async fn patch(&self, id: &str, signers: &[u8]) -> Result<v1::Patch, tonic::Status> {
        let made = self.create_patch(document_bytes(&patch(id)).unwrap()).await?;
        for seed in signers {
            self.sign_in_role(&patch_path(id).unwrap(), &made.document, *seed).await?;
        }
        let request = v1::GetPatchRequest { id: id.to_owned() };
        Ok(self.patches().get_patch(request).await?.into_inner().patch.unwrap())
    }

    pub(crate) async fn create_patch(&self, document: Vec<u8>) -> Result<v1::Patch, tonic::Status> {
        let request = v1::CreatePatchRequest { document };
        Ok(self.patches().create_patch(request).await?.into_inner().patch.unwrap())
    }

    /// Ben signs as the clinical safety officer, everybody else as a release manager.
    async fn sign_in_role(&self, path: &str, document: &[u8], seed: u8) -> Result<(), tonic::Status> {
        let role = if seed == BEN { RoleName::Clinical } else { RoleName::Release };
        self.sign_for(role, path, document, seed).await.map(drop)
    }

    pub(crate) async fn create(&self, id: &str, patch: &str, plan: &str) -> Result<v1::Rollout, tonic::Status> {
        let request = v1::CreateRolloutRequest {
            id: id.to_owned(),
            patch: patch.to_owned(),
            plan_yaml: plan.to_owned(),
            file_name: "plan.yaml".to_owned(),
        };
        Ok(self.rollouts().create_rollout(request).await?.into_inner().rollout.unwrap())
    }

    pub(crate) async fn sign(&self, rollout: &v1::Rollout, seed: u8) -> Result<v1::Rollout, tonic::Status> {
        self.sign_in_role(&rollout_path(&rollout.id, 1).unwrap(), &rollout.document, seed).await?;
        Ok(self.get(&rollout.id).await)
    }

    pub(crate) async fn get(&self, id: &str) -> v1::Rollout {
        let request = v1::GetRolloutRequest { id: id.to_owned() };
        self.rollouts().get_rollout(request).await.unwrap().into_inner().rollout.unwrap()
    }

    /// An order about a rollout as it is now.
    pub(crate) async fn order(&self, rollout: &str, command: Command, seed: u8) -> v1::Envelope {
        self.order_of(rollout, command, &[seed]).await
    }

    /// An order that these people have signed.
    pub(crate) async fn order_of(&self, rollout: &str, command: Command, seeds: &[u8]) -> v1::Envelope {
        let now = self.get(rollout).await;
        let order = Order {
            rollout: RolloutId::new(rollout).unwrap(),
            digest: Digest::from_slice(&now.digest).unwrap(),
            counter: now.order_counter + 1,
            issued_at: Timestamp(now.created_at_ms),
            command,
            reason: "test".to_owned(),
        };
        let mut envelope = Envelope::unsigned(&order).unwrap();
        seeds.iter().for_each(|seed| envelope.sign(&key(*seed)).unwrap());
        wire(&envelope)
    }

    /// A resume that lifts what is in force.
    pub(crate) async fn resume_order(&self, rollout: &str, seeds: &[u8]) -> v1::Envelope {
        let halts = self.get(rollout).await.halts_in_force;
        let lifts = halts.iter().map(|h| Digest::from_slice(&h.order).unwrap()).collect();
        self.order_of(rollout, Command::Resume { lifts }, seeds).await
    }

    pub(crate) async fn resume(&self, order: v1::Envelope) -> Result<v1::Rollout, tonic::Status> {
        let request = v1::ResumeRolloutRequest { order: Some(order) };
        Ok(self.rollouts().resume_rollout(request).await?.into_inner().rollout.unwrap())
    }

    pub(crate) async fn start(&self, order: v1::Envelope) -> Result<v1::Rollout, tonic::Status> {
        let request = v1::StartRolloutRequest { order: Some(order) };
        Ok(self.rollouts().start_rollout(request).await?.into_inner().rollout.unwrap())
    }

    pub(crate) async fn halt(&self, order: v1::Envelope) -> Result<v1::Rollout, tonic::Status> {
        let request = v1::HaltRolloutRequest { order: Some(order) };
        Ok(self.rollouts().halt_rollout(request).await?.into_inner().rollout.unwrap())
    }

    /// A rollout "r1" of KB1 that both roles have signed and a release manager has started.
    pub(crate) async fn started(&self) -> v1::Rollout {
        self.upload().await;
        self.patch("KB1", &[ANN, BEN]).await.unwrap();
        let draft = self.create("r1", "KB1", PLAN).await.unwrap();
        self.sign(&draft, ANN).await.unwrap();
        self.sign(&draft, BEN).await.unwrap();
        self.start(self.order("r1", Command::Start, ANN).await).await.unwrap()
    }

    pub(crate) async fn site(&self, id: &str) -> v1::GetSiteResponse {
        self.estate().get_site(v1::GetSiteRequest { id: id.to_owned() }).await.unwrap().into_inner()
    }
}

/// An inventory with these (device, ring) pairs and one clinical system on the first.
pub(crate) fn inventory(site: &str, devices: &[(&str, &str)]) -> ReportBody {
    let device = |(name, ring): &(&str, &str)| Device {
        id: DeviceId::new(&format!("{site}/{name}")).unwrap(),
        platform: Platform::new(XP).unwrap(),
        model: "CT".to_owned(),
        labels: Labels::from([("ring".to_owned(), (*ring).to_owned())]),
        group: None,
        windows: Vec::new(),
        patches: Vec::new(),
    };
    let devices: Vec<Device> = devices.iter().map(device).collect();
    let systems = vec![ClinicalSystem {
        id: SystemId::new(&format!("{site}/pacs")).unwrap(),
        kind: "pacs".to_owned(),
        critical: true,
        probes: Some(1),
        devices: devices.iter().take(1).map(|d| d.id.clone()).collect(),
    }];
    ReportBody::Inventory {
        inventory: SiteInventory {
            site: SiteId::new(site).unwrap(),
            display_name: format!("Hospital {site}"),
            region: "north".to_owned(),
            site_type: "acute".to_owned(),
            labels: Labels::new(),
            groups: Default::default(),
            hours: Default::default(),
            devices,
            systems,
        },
    }
}

/// What an enrolment gave.
pub(crate) struct Enrolled {
    pub(crate) answer: v1::EnrolResponse,
    pub(crate) key_pem: String,
}

/// Enrols with a token.
pub(crate) async fn enrol(
    world: &World,
    controller: &Controller,
    token: &str,
    seed: u8,
) -> Result<Enrolled, tonic::Status> {
    let tls_key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&tls_key).unwrap();
    let request = v1::EnrolRequest {
        token: token.to_owned(),
        csr_der: csr.der().to_vec(),
        report_public_key: key(seed).public().to_bytes().to_vec(),
    };
    let channel = controller.connect(&world.ca_pem(), None).await.unwrap();
    let answer = EnrolmentServiceClient::new(channel).enrol(request).await?.into_inner();
    Ok(Enrolled { answer, key_pem: tls_key.serialize_pem() })
}

/// A node as the controller sees one.
pub(crate) struct Node {
    pub(crate) site: String,
    pub(crate) channel: Channel,
    pub(crate) certificate: (String, String),
    pub(crate) directive_key: PublicKey,
    pub(crate) seed: u8,
    pub(crate) seq: u64,
}

impl Node {
    pub(crate) async fn enrol(world: &World, controller: &Controller, operator: &Operator, site: &str) -> Self {
        Self::enrol_with(world, controller, operator, site, 50).await
    }

    pub(crate) async fn enrol_with(
        world: &World,
        controller: &Controller,
        operator: &Operator,
        site: &str,
        seed: u8,
    ) -> Self {
        let token = operator.token(site, 0).await.token;
        let enrolled = enrol(world, controller, &token, seed).await.unwrap();
        let certificate = (enrolled.answer.certificate_pem.clone(), enrolled.key_pem);
        let channel =
            controller.connect(&enrolled.answer.ca_pem, Some((&certificate.0, &certificate.1))).await.unwrap();
        let directive_key = operator.read().await.controller_key();
        Self { site: site.to_owned(), channel, certificate, directive_key, seed, seq: 0 }
    }

    pub(crate) fn client(&self) -> NodeServiceClient<Channel> {
        NodeServiceClient::new(self.channel.clone()).max_decoding_message_size(16 * 1024 * 1024)
    }

    /// The next report.
    pub(crate) fn seal(&mut self, body: ReportBody) -> v1::Envelope {
        self.seq += 1;
        self.seal_as(self.seq, body, self.seed)
    }

    pub(crate) fn seal_as(&self, seq: u64, body: ReportBody, seed: u8) -> v1::Envelope {
        let report = Report { site: SiteId::new(&self.site).unwrap(), seq, at: Timestamp(1), body };
        wire(&Envelope::seal(&report, &key(seed)).unwrap())
    }

    pub(crate) async fn send(&self, reports: Vec<v1::Envelope>) -> Result<v1::CheckInResponse, tonic::Status> {
        let request = v1::CheckInRequest { reports, ..Default::default() };
        Ok(self.client().check_in(request).await?.into_inner())
    }

    pub(crate) async fn report(&mut self, body: ReportBody) -> Result<v1::CheckInResponse, tonic::Status> {
        let report = self.seal(body);
        self.send(vec![report]).await
    }

    /// Checks in and reads the directive, verified.
    pub(crate) async fn directive(&self) -> Directive {
        let answer = self.send(Vec::new()).await.unwrap();
        let envelope = unwire(answer.directive.as_ref().unwrap());
        verify::<Directive>(&envelope, &Policy::controller(self.directive_key)).unwrap().into_document()
    }

    /// Reconnects to a controller that was started anew.
    pub(crate) async fn reconnect(&mut self, world: &World, controller: &Controller) {
        let identity = Some((self.certificate.0.as_str(), self.certificate.1.as_str()));
        self.channel = controller.connect(&world.ca_pem(), identity).await.unwrap();
    }
}

/// Hint of a status.
pub(crate) fn hint(status: &tonic::Status) -> String {
    use tonic_types::StatusExt as _;
    let details = status.get_error_details();
    details.error_info().and_then(|i| i.metadata.get("hint").cloned()).unwrap_or_default()
}

/// Every file below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
