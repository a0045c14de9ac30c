//! Revocations: at once, for calls under way too, and after a restart.

use tonic::{Code, Status, Streaming};
use wardround_controller::OperatorRole;
use wardround_proto::v1::{self, certificate_service_client::CertificateServiceClient};
use wardround_rollout_plans::model::{DeploymentState, ReportBody};

use crate::world::{Node, PATIENCE, World, enrol, eventually, hint, inventory};

/// The reason with which a stream ends.
async fn end<T>(stream: &mut Streaming<T>) -> Status {
    let ended = async {
        loop {
            match stream.message().await {
                Ok(message) => assert!(message.is_some(), "a stream ends with its reason"),
                Err(status) => return status,
            }
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("the end of the stream")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_node_is_shut_out_at_once_and_after_a_restart_until_another_enrols() {
    let world = World::new();
    let (controller, operator, mut node) = world.with_node().await;
    operator.started().await;
    let moved = ReportBody::Deployment {
        rollout: "r1".parse().unwrap(),
        device: "rx1/a".parse().unwrap(),
        attempt: 1,
        state: DeploymentState::Downloading,
        reason: String::new(),
        code: String::new(),
        evidence: Default::default(),
    };
    node.report(moved).await.unwrap();
    let mut stream = node.client().watch(v1::WatchRequest {}).await.unwrap().into_inner();
    let key = rcgen::KeyPair::from_pem(&node.certificate.1).unwrap();
    let csr_der = rcgen::CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
    let renew = v1::RenewCertificateRequest { csr_der };
    let mut certificates = CertificateServiceClient::new(node.channel.clone());
    let renewed = certificates.renew_certificate(renew.clone()).await.unwrap().into_inner().certificate_pem;

    operator.revoke_node("rx1", "stolen from the plant room").await.unwrap();
    let ended = end(&mut stream).await;
    assert_eq!(ended.code(), Code::PermissionDenied, "{ended:?}");
    assert!(ended.message().contains("by ann: stolen from the plant room"), "{ended:?}");
    assert!(hint(&ended).contains("wardround site token rx1"), "{ended:?}");
    let refused = node.report(inventory("rx1", &[])).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(certificates.renew_certificate(renew).await.unwrap_err().code(), Code::PermissionDenied);
    let site = operator.site("rx1").await;
    assert_eq!(site.site.as_ref().unwrap().node, "revoked");
    assert!(site.site.unwrap().node_revoked_why.contains("stolen"));
    assert!(site.alarms.iter().any(|a| a.code == "unknown"), "{:?}", site.alarms);
    let records = operator.records().await;
    let leaf = records.iter().find(|r| r.kind == "node_revoked").unwrap();
    assert!(leaf.text.contains("ann: stolen"), "{leaf:?}");
    let again = operator.revoke_node("rx1", "again").await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound, "{again:?}");
    controller.kill();

    let controller = world.start().await;
    let operator = world.operator(&controller).await;
    // Its certificate from before the revocation, and the one that it had renewed.
    for certificate in [node.certificate.0.clone(), renewed] {
        node.certificate.0 = certificate;
        node.reconnect(&world, &controller).await;
        let refused = node.send(Vec::new()).await.unwrap_err();
        assert!(refused.message().contains("was revoked on"), "{refused:?}");
    }
    let new = Node::enrol_with(&world, &controller, &operator, "rx1", 51).await;
    assert_eq!(new.send(Vec::new()).await.unwrap().acked_seq, 0);
    assert_eq!(operator.site("rx1").await.site.unwrap().node, "enrolled");
    let refused = node.send(Vec::new()).await.unwrap_err();
    assert!(refused.message().contains("another node has enrolled"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_nodes_streams_end_with_its_standing() {
    let world = World::new();
    let (controller, operator, node) = world.with_node().await;
    let mut stream = node.client().watch(v1::WatchRequest {}).await.unwrap().into_inner();
    Node::enrol_with(&world, &controller, &operator, "rx1", 51).await;
    let ended = end(&mut stream).await;
    assert_eq!(ended.code(), Code::PermissionDenied, "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_operator_is_shut_out_at_once_and_after_a_restart() {
    let world = World::new();
    let (controller, operator, _node) = world.with_node().await;
    operator.started().await;
    let (ben, serial) = world.issue(&controller, "ben", &[OperatorRole::Clinical]).await;
    let (cy, _) = world.issue(&controller, "cy", &[OperatorRole::OnCall]).await;
    let mut streams = Vec::new();
    for person in [&ben, &cy] {
        let request = v1::WatchRolloutRequest { id: "r1".to_owned() };
        streams.push(person.rollouts().watch_rollout(request).await.unwrap().into_inner());
    }
    let unknown = operator.revoke_operator("bne", "", "left").await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound, "a name that is mistyped must not pass for done: {unknown:?}");
    for (name, serial) in [("", ""), ("ben", serial.as_str()), ("b n", ""), ("", "xyz")] {
        let refused = operator.revoke_operator(name, serial, "left").await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{name} {serial}");
    }
    assert_eq!(operator.revoke_operator("ben", "", " ").await.unwrap_err().code(), Code::InvalidArgument);

    let concerned = operator.revoke_operator("", &serial, "laptop lost").await.unwrap().certificates;
    assert_eq!((concerned.len(), concerned[0].name.as_str()), (1, "ben"));
    let ended = end(&mut streams[0]).await;
    assert_eq!(ended.code(), Code::PermissionDenied, "{ended:?}");
    assert!(ended.message().contains("by ann: laptop lost"), "{ended:?}");
    let list = || v1::ListSitesRequest::default();
    assert_eq!(ben.estate().list_sites(list()).await.unwrap_err().code(), Code::PermissionDenied);
    operator.revoke_operator("cy", "", "left").await.unwrap();
    assert_eq!(end(&mut streams[1]).await.code(), Code::PermissionDenied);
    // A certificate of a later second counts again: people come back, and laptops are replaced.
    let mut n = 0;
    let back = eventually("a certificate that was issued after the revocation", || {
        n += 1;
        let folder = format!("cy-{n}");
        let roles = [OperatorRole::OnCall].into();
        wardround_controller::issue_operator(&world.data(), &world.dir.path().join(&folder), "cy", &roles).unwrap();
        let (world, controller) = (&world, &controller);
        async move {
            let cy = world.operator_of(controller, &folder).await;
            cy.estate().list_sites(v1::ListSitesRequest::default()).await.ok().map(|_| cy)
        }
    })
    .await;
    let listed = back.access().list_operators(v1::ListOperatorsRequest {}).await.unwrap().into_inner().certificates;
    let of = |name: &str| listed.iter().filter(|c| c.name == name).collect::<Vec<_>>();
    assert!(of("ann").iter().all(|c| c.revoked_at_ms == 0 && c.roles.len() == 5));
    assert!(of("ben")[0].revoked_at_ms > 0 && of("ben")[0].revoked_why == "ann: laptop lost");
    assert_eq!(of("cy").iter().filter(|c| c.revoked_at_ms == 0).count(), 1, "{listed:?}");
    let records = operator.records().await;
    assert_eq!(records.iter().filter(|r| r.kind == "operator_revoked").count(), 2);
    controller.kill();

    let controller = world.start().await;
    for name in ["ben", "cy"] {
        let refused = world.operator_of(&controller, name).await.estate().list_sites(list()).await.unwrap_err();
        assert!(refused.message().contains("was revoked on"), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_gets_through_when_the_disk_is_full() {
    let world = World::new();
    let (controller, _operator, mut node) = world.with_node().await;
    controller.stop().await.unwrap();
    world.configure("free_bytes_min", u64::MAX / 4);
    let controller = world.start().await;
    let operator = world.operator(&controller).await;
    node.reconnect(&world, &controller).await;
    operator.revoke_node("rx1", "stolen").await.unwrap();
    assert_eq!(node.send(Vec::new()).await.unwrap_err().code(), Code::PermissionDenied);
    let (_, serial) = world.issue(&controller, "ben", &[OperatorRole::Clinical]).await;
    operator.revoke_operator("", &serial, "lost").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_nodes_that_race_with_one_token_one_wins_also_after_a_restart() {
    let world = World::new();
    let controller = world.start().await;
    let operator = world.operator(&controller).await;
    let token = operator.token("rx1", 0).await.token;
    let tries = (0..8_u8).map(|n| enrol(&world, &controller, &token, 60 + n));
    let outcomes = futures_of(tries).await;
    let won = outcomes.iter().filter(|o| o.is_ok()).count();
    assert_eq!(won, 1);
    for lost in outcomes.iter().filter_map(|o| o.as_ref().err()) {
        assert_eq!(lost.code(), Code::Unauthenticated, "{lost:?}");
        assert!(lost.message().contains("used"), "{lost:?}");
    }
    let short = operator.token("rx2", 1).await;
    controller.kill();

    let controller = world.start().await;
    let again = enrol(&world, &controller, &token, 70).await.err().unwrap();
    assert!(again.message().contains("was used on"), "{again:?}");
    eventually("the end of the token", || async {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        (i128::try_from(now).unwrap() > i128::from(short.expires_at_ms)).then_some(())
    })
    .await;
    let expired = enrol(&world, &controller, &short.token, 71).await.err().unwrap();
    assert!(expired.message().contains("expired on"), "{expired:?}");
}

/// All of them, side by side.
async fn futures_of<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = all.map(Box::pin).collect();
    let mut done = Vec::new();
    std::future::poll_fn(|context| {
        waiting.retain_mut(|one| match one.as_mut().poll(context) {
            std::task::Poll::Ready(value) => {
                done.push(value);
                false
            }
            std::task::Poll::Pending => true,
        });
        if waiting.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done
}
