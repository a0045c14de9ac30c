//! Tokens and what they turn into.

use tonic::Code;
use wardround_proto::v1::{self, certificate_service_client::CertificateServiceClient};
use wardround_signing::Digest;

use crate::world::{Node, World, enrol, eventually, hint, inventory};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_pins_what_the_node_must_trust_and_works_once() {
    let world = World::new();
    let controller = world.start().await;
    let operator = world.operator(&controller).await;
    let token = operator.token("rx1", 0).await.token;
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 4);
    let root = std::fs::read(world.data().join("images/1.root.json")).unwrap();
    assert_eq!(parts[3], Digest::of(&root).hex());
    let enrolled = enrol(&world, &controller, &format!("{}.{}", parts[0], parts[1]), 60).await.unwrap().answer;
    assert_eq!((enrolled.site.as_str(), &enrolled.root_json), ("rx1", &root));
    let der = rustls_pki_types::CertificateDer::from(pem(&enrolled.ca_pem));
    assert_eq!(parts[2], Digest::of(&der).hex());
    let again = enrol(&world, &controller, &token, 61).await.err().unwrap();
    assert_eq!(again.code(), Code::Unauthenticated);
    assert!(again.message().contains("was used on"), "{again:?}");
    assert!(hint(&again).contains("wardround site token rx1"));
}

fn pem(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    let body: String = text.lines().filter(|l| !l.starts_with("-----")).collect();
    base64::engine::general_purpose::STANDARD.decode(body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_unknown_and_misspelt_tokens_are_told_apart_and_guessing_is_slowed() {
    let world = World::new();
    let controller = world.start().await;
    let operator = world.operator(&controller).await;
    let token = operator.token("rx1", 1).await;
    eventually("the end of the token", || async {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        (i128::try_from(now).unwrap() > i128::from(token.expires_at_ms)).then_some(())
    })
    .await;
    let expired = enrol(&world, &controller, &token.token, 60).await.err().unwrap();
    assert_eq!(expired.code(), Code::Unauthenticated);
    assert!(expired.message().contains("expired on"), "{expired:?}");
    let good = operator.token("rx1", 0).await.token;
    let misspelt = good.replacen('.', ".0", 1);
    let unknown = enrol(&world, &controller, &misspelt, 60).await.err().unwrap();
    assert!(unknown.message().contains("unknown"), "{unknown:?}");
    let slowed = eventually("the limit on tries", || async {
        enrol(&world, &controller, "x.y", 60).await.err().filter(|s| s.code() == Code::ResourceExhausted)
    })
    .await;
    assert!(hint(&slowed).contains("wait"), "{slowed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_request_does_not_cost_the_token() {
    let world = World::new();
    let controller = world.start().await;
    let operator = world.operator(&controller).await;
    let token = operator.token("rx1", 0).await.token;
    let channel = controller.connect(&world.ca_pem(), None).await.unwrap();
    let mut client = v1::enrolment_service_client::EnrolmentServiceClient::new(channel);
    let bad = v1::EnrolRequest { token: token.clone(), csr_der: vec![1, 2, 3], report_public_key: vec![0; 32] };
    assert_eq!(client.enrol(bad).await.unwrap_err().code(), Code::InvalidArgument);
    enrol(&world, &controller, &token, 60).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_replaced_is_shut_out() {
    let world = World::new();
    let (controller, operator, mut old) = world.with_node().await;
    let new = Node::enrol_with(&world, &controller, &operator, "rx1", 51).await;
    let refused = old.report(inventory("rx1", &[])).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("another node has enrolled for site rx1"), "{refused:?}");
    assert_eq!(new.send(Vec::new()).await.unwrap().acked_seq, 0, "the new node's reports begin anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_tokens() {
    let world = World::new();
    let controller = world.start().await;
    let operator = world.operator(&controller).await;
    let mut tokens = v1::token_service_client::TokenServiceClient::new(operator.channel.clone());
    for (site, ttl_seconds) in [("RX 1", 0), ("", 0), ("rx1", 31 * 24 * 3600)] {
        let request = v1::CreateTokenRequest { site: site.to_owned(), ttl_seconds };
        assert_eq!(
            tokens.create_token(request).await.unwrap_err().code(),
            Code::InvalidArgument,
            "{site} {ttl_seconds}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_for_the_same_key_only() {
    let world = World::new();
    let (controller, _operator, mut node) = world.with_node().await;
    let renew = |key: &rcgen::KeyPair| {
        let csr_der = rcgen::CertificateParams::default().serialize_request(key).unwrap().der().to_vec();
        let mut client = CertificateServiceClient::new(node.channel.clone());
        async move { client.renew_certificate(v1::RenewCertificateRequest { csr_der }).await }
    };
    let own = rcgen::KeyPair::from_pem(&node.certificate.1).unwrap();
    let fresh = renew(&own).await.unwrap().into_inner().certificate_pem;
    assert_ne!(fresh, node.certificate.0);
    let other = renew(&rcgen::KeyPair::generate().unwrap()).await.unwrap_err();
    assert_eq!(other.code(), Code::PermissionDenied, "{other:?}");
    node.certificate.0 = fresh;
    node.reconnect(&world, &controller).await;
    node.send(Vec::new()).await.unwrap();
}
