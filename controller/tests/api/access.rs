//! Certificates that count, and those that do not: expired, foreign, ending during a connection.

use std::{sync::Arc, time::Duration};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::{io::AsyncReadExt as _, net::TcpStream};
use tonic::Code;
use wardround_proto::v1::{WatchRolloutRequest, rollout_service_client::RolloutServiceClient};

use crate::world::{PATIENCE, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn health_answers_anyone_for_each_service() {
    let world = World::new();
    let controller = world.start().await;
    let stranger = controller.connect(&world.ca_pem(), None).await.unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(stranger);
    for service in ["", "wardround.v1.NodeService", "wardround.v1.RolloutService"] {
        let request = tonic_health::pb::HealthCheckRequest { service: service.to_owned() };
        assert_eq!(health.check(request).await.unwrap().into_inner().status, 1, "{service}");
    }
}

pub(crate) fn certificate(ca_pem: &str, ca_key: &str, name: &str, life: Duration, begun: Duration) -> (String, String) {
    let issuer = rcgen::Issuer::from_ca_cert_pem(ca_pem, rcgen::KeyPair::from_pem(ca_key).unwrap()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    let uri = format!("wardround://operator/{name}");
    let uris = [uri.as_str(), "wardround://role/release"];
    params.subject_alt_names = uris.map(|uri| rcgen::SanType::URI(uri.try_into().unwrap())).into();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let now =
        rcgen::date_time_ymd(1970, 1, 1) + std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    params.not_before = now - begun;
    params.not_after = now - begun + life;
    (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
}

/// A bare TLS client: what it hears after the handshake.
async fn attempt(world: &World, controller: &crate::world::Controller, identity: (&str, &str)) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(world.ca_pem().as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(identity.0.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(identity.1.as_bytes()).unwrap(),
        )
        .unwrap();
    let stream = TcpStream::connect(controller.ready.listen).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.map_err(|e| e.to_string())?;
    // With TLS 1.3 a refusal comes with the first bytes; an accepted client gets HTTP/2 settings.
    match stream.read(&mut [0; 16]).await {
        Ok(0) => Err("closed".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_and_foreign_certificates_are_refused() {
    let world = World::new();
    let controller = world.start().await;
    let ca_key = std::fs::read_to_string(world.data().join("ca.key")).unwrap();
    let hour = Duration::from_secs(3600);
    let good = certificate(&world.ca_pem(), &ca_key, "ann", hour, hour / 2);
    attempt(&world, &controller, (&good.0, &good.1)).await.unwrap();
    let expired = certificate(&world.ca_pem(), &ca_key, "ann", hour, hour * 2);
    let error = attempt(&world, &controller, (&expired.0, &expired.1)).await.unwrap_err();
    assert!(error.contains("CertificateExpired"), "{error}");
    let other = World::new();
    let other_key = std::fs::read_to_string(other.data().join("ca.key")).unwrap();
    let foreign = certificate(&other.ca_pem(), &other_key, "ann", hour, hour / 2);
    let error = attempt(&world, &controller, (&foreign.0, &foreign.1)).await.unwrap_err();
    assert!(error.contains("alert"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_ends_during_a_connection_ends_its_calls_with_the_date_and_its_streams() {
    let world = World::new();
    let (controller, operator, _node) = world.with_node().await;
    operator.started().await;
    let ca_key = std::fs::read_to_string(world.data().join("ca.key")).unwrap();
    // Short, but a slow machine must get through a handshake and two calls before it ends.
    let mut opened = None;
    for left in [4, 12, 36] {
        let begun = Duration::from_secs(60);
        let life = begun + Duration::from_secs(left);
        let (certificate, key) = certificate(&world.ca_pem(), &ca_key, "ann", life, begun);
        let Ok(channel) = controller.connect(&world.ca_pem(), Some((&certificate, &key))).await else { continue };
        let mut client = RolloutServiceClient::new(channel.clone());
        let request = WatchRolloutRequest { id: "r1".to_owned() };
        if let Ok(stream) = client.watch_rollout(request).await {
            opened = Some((channel, stream.into_inner(), Duration::from_secs(left)));
            break;
        }
    }
    let (channel, mut stream, left) = opened.expect("a certificate that is valid for a while");
    let ended = async {
        loop {
            match stream.message().await {
                Ok(message) => assert!(message.is_some(), "a stream ends with its reason"),
                Err(status) => break status,
            }
        }
    };
    let ended = tokio::time::timeout(left + PATIENCE, ended).await.expect("the end of the stream");
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended:?}");
    let client = wardround_proto::v1::estate_service_client::EstateServiceClient::new(channel);
    let list = || {
        let mut client = client.clone();
        async move { client.list_sites(wardround_proto::v1::ListSitesRequest::default()).await }
    };
    let status = eventually("the end of the certificate", || async { list().await.err() }).await;
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("operator ann expired on 20"), "{status:?}");
}
