//! What nodes say: taken in once, in order, and only when it is theirs.

use std::time::Duration;

use tonic::Code;
use wardround_controller::Config;
use wardround_proto::v1;
use wardround_rollout_plans::model::{DeploymentState, Health, ProbeAnswer, ReportBody, SystemId, Timestamp};

use crate::world::{Node, World, eventually, inventory};

fn alarm(text: &str) -> ReportBody {
    ReportBody::Alarm { code: "needs_person".to_owned(), text: text.to_owned(), device: None }
}

fn moved(device: &str, state: DeploymentState) -> ReportBody {
    ReportBody::Deployment {
        rollout: "r1".parse().unwrap(),
        device: device.parse().unwrap(),
        attempt: 1,
        state,
        reason: String::new(),
        code: String::new(),
        evidence: Default::default(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_taken_in_once_and_in_order() {
    let world = World::new();
    let (_controller, operator, node) = world.with_node().await;
    let report = |seq| node.seal_as(seq, alarm(&format!("alarm {seq}")), node.seed);
    assert_eq!(node.send(vec![report(4), report(5)]).await.unwrap().acked_seq, 1, "2 and 3 are missing");
    assert_eq!(node.send(vec![report(2), report(3), report(4)]).await.unwrap().acked_seq, 4);
    assert_eq!(node.send(vec![report(1), report(3), report(4), report(5)]).await.unwrap().acked_seq, 5);
    let alarms: Vec<String> = operator.site("rx1").await.alarms.into_iter().map(|a| a.text).collect();
    assert_eq!(alarms.len(), 4, "{alarms:?}");
    assert!(alarms[0].contains("alarm 5") && alarms[3].contains("alarm 2"), "{alarms:?}");
    let many = vec![report(6); 257];
    assert_eq!(node.send(many).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_verify_is_refused_what_is_not_theirs_is_ignored_and_a_person_hears() {
    let world = World::new();
    let (_controller, operator, node) = world.with_node().await;
    let forged = node.seal_as(2, alarm("x"), 77);
    let refused = node.send(vec![forged]).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    let mut flipped = node.seal_as(2, alarm("x"), node.seed);
    flipped.payload[12] ^= 1;
    assert_eq!(node.send(vec![flipped]).await.unwrap_err().code(), Code::PermissionDenied);
    let foreign = [
        inventory("rx2", &[("a", "canary")]),
        moved("rx2/a", DeploymentState::Succeeded),
        ReportBody::Health {
            system: SystemId::new("rx2/pacs").unwrap(),
            health: Health::Healthy,
            blames: None,
            document: None,
            probes: Vec::new(),
        },
    ];
    // What is theirs by signature is taken in, or it would hold up everything behind it; but nothing of it counts.
    let mut acked = 1;
    for body in foreign {
        acked += 1;
        let answer = node.send(vec![node.seal_as(acked, body, node.seed)]).await.unwrap();
        assert_eq!(answer.acked_seq, acked);
    }
    let own = moved("rx1/a", DeploymentState::Succeeded);
    assert_eq!(node.send(vec![node.seal_as(acked + 1, own, node.seed)]).await.unwrap().acked_seq, acked + 1);
    let elsewhere = v1::GetSiteRequest { id: "rx2".to_owned() };
    assert_eq!(operator.estate().get_site(elsewhere).await.unwrap_err().code(), Code::NotFound);
    let foreign = operator.site("rx1").await.alarms.into_iter().filter(|a| a.code == "report_foreign");
    assert!(foreign.clone().all(|a| a.text.contains("does not belong to site rx1")));
    assert_eq!(foreign.count(), 3);
    let alarms = operator.site("rx1").await.alarms;
    assert_eq!(alarms.iter().filter(|a| a.code == "report_unverified").count(), 1, "once, not at every try");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_sites_clinical_system_does_not_change_by_a_nodes_word() {
    let world = World::new();
    let (controller, operator, node) = world.with_node().await;
    let mut other = Node::enrol_with(&world, &controller, &operator, "rx2", 51).await;
    other.report(inventory("rx2", &[("a", "canary")])).await.unwrap();
    let system = SystemId::new("rx2/pacs").unwrap();
    let body = ReportBody::Health { system, health: Health::Healthy, blames: None, document: None, probes: Vec::new() };
    assert_eq!(node.send(vec![node.seal_as(2, body, node.seed)]).await.unwrap().acked_seq, 2);
    assert_eq!(operator.site("rx2").await.clinical_systems[0].health, "unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_what_the_nodes_said() {
    let world = World::new();
    let (_controller, operator, mut node) = world.with_node().await;
    operator.started().await;
    let system = SystemId::new("rx1/pacs").unwrap();
    let probe = ProbeAnswer {
        system: system.clone(),
        probe: "dicom 10.0.0.5:104".to_owned(),
        at: Timestamp(5),
        took_ms: 3,
        ok: true,
        answer: "C-ECHO 0000".to_owned(),
    };
    node.report(ReportBody::Health {
        system,
        health: Health::Healthy,
        blames: None,
        document: None,
        probes: vec![probe],
    })
    .await
    .unwrap();
    for state in [
        DeploymentState::Downloading,
        DeploymentState::Staged,
        DeploymentState::Preflight,
        DeploymentState::Installing,
        DeploymentState::Verifying,
        DeploymentState::Soaking,
    ] {
        node.report(moved("rx1/a", state)).await.unwrap();
    }
    // Nobody offered it to the other device, so it does not count as there.
    node.report(moved("rx1/b", DeploymentState::Succeeded)).await.unwrap();
    let site = operator.site("rx1").await;
    assert_eq!(site.site.unwrap().display_name, "Hospital rx1");
    assert_eq!(site.devices[0].installed_patches, ["KB1"]);
    assert!(site.devices[1].installed_patches.is_empty(), "{:?}", site.devices[1]);
    let pacs = &site.clinical_systems[0];
    assert_eq!((pacs.health.as_str(), pacs.finding.as_str()), ("healthy", "dicom 10.0.0.5:104: C-ECHO 0000"));
    let request = v1::ListDeploymentsRequest { id: "r1".to_owned(), state: "soaking".to_owned(), ..Default::default() };
    let soaking = operator.rollouts().list_deployments(request).await.unwrap().into_inner().deployments;
    assert_eq!((soaking.len(), soaking[0].device.as_str()), (1, "rx1/a"));
    let bad = v1::ListDeploymentsRequest { id: "r1".to_owned(), state: "happy".to_owned(), ..Default::default() };
    assert_eq!(operator.rollouts().list_deployments(bad).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_site_is_unknown_until_it_is_heard_again() {
    let world = World::new();
    let config = Config {
        data: world.data(),
        // Long enough that a slow machine sees the site's word before it counts as silent again.
        silence_after: Some(Duration::from_secs(2)),
        check_in_every: Some(Duration::from_secs(1)),
        ..Config::default()
    };
    let controller = world.start_with(config).await;
    let operator = world.operator(&controller).await;
    let mut node = Node::enrol(&world, &controller, &operator, "rx1").await;
    node.report(inventory("rx1", &[("a", "canary"), ("b", "full")])).await.unwrap();
    operator.started().await;
    let count = |state: &'static str| {
        let operator = operator.clone();
        async move {
            let waves = operator.get("r1").await.waves;
            let n: u64 = waves.iter().flat_map(|w| &w.deployments).filter(|c| c.state == state).map(|c| c.count).sum();
            (n == 1).then_some(())
        }
    };
    eventually("the site's silence", || count("unknown")).await;
    eventually("the site's first word", || async {
        node.send(Vec::new()).await.unwrap();
        count("offered").await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newer_of_two_streams_wins_and_a_shared_identity_is_noticed() {
    let world = World::new();
    let (_controller, operator, node) = world.with_node().await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(node.client().watch(v1::WatchRequest {}).await.unwrap().into_inner());
    }
    let mut first = streams.remove(0);
    let ended = loop {
        match first.message().await {
            Ok(message) => assert!(message.is_some(), "an old stream ends with its reason"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::Aborted);
    eventually("the alarm", || async {
        let alarms = operator.site("rx1").await.alarms;
        alarms.iter().any(|a| a.code == "identity_shared").then_some(())
    })
    .await;
    drop(streams);
    eventually("the end of the connection", || async {
        (!operator.site("rx1").await.site.unwrap().connected).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_seen_a_newer_directive_raises_an_alarm() {
    let world = World::new();
    let (_controller, operator, node) = world.with_node().await;
    let request = v1::CheckInRequest { reports: Vec::new(), directive_counter: 1_000_000, ..Default::default() };
    node.client().check_in(request).await.unwrap();
    let alarms = operator.site("rx1").await.alarms;
    assert!(alarms.iter().any(|a| a.code == "directive_counter_ahead"), "{alarms:?}");
}
