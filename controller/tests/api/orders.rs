//! People's orders, and how a halt travels.

use tonic::Code;
use wardround_proto::v1::{self, node_service_client::NodeServiceClient};
use wardround_rollout_plans::model::{Command, Mode, WaveName};

use crate::world::{ANN, BEN, CYD, PATIENCE, World, eventually, patch, unwire};

#[tokio::test(flavor = "multi_thread")]
async fn orders_count_once_and_only_by_those_who_may() {
    let world = World::new();
    let (_controller, operator, node) = world.with_node().await;
    operator.upload().await;
    operator.patch("KB1", &[ANN, BEN]).await.unwrap();
    let draft = operator.create("r1", "KB1", crate::world::PLAN).await.unwrap();
    let early = operator.start(operator.order("r1", Command::Start, ANN).await).await.unwrap_err();
    assert_eq!(early.code(), Code::FailedPrecondition, "{early:?}");
    operator.sign(&draft, ANN).await.unwrap();
    operator.sign(&draft, BEN).await.unwrap();
    let by_on_call = operator.start(operator.order("r1", Command::Start, CYD).await).await.unwrap_err();
    assert_eq!(by_on_call.code(), Code::PermissionDenied);
    let wrong_method = operator.start(operator.order("r1", Command::Halt, ANN).await).await.unwrap_err();
    assert_eq!(wrong_method.code(), Code::InvalidArgument);
    let mut flipped = operator.order("r1", Command::Start, ANN).await;
    let at = flipped.payload.len() - 3;
    flipped.payload[at] ^= 1;
    assert_eq!(operator.start(flipped).await.unwrap_err().code(), Code::InvalidArgument);

    let start = operator.order("r1", Command::Start, ANN).await;
    assert_eq!(operator.start(start.clone()).await.unwrap().state, "running");
    let replayed = operator.start(start).await.unwrap_err();
    assert!(matches!(replayed.code(), Code::Aborted | Code::FailedPrecondition), "{replayed:?}");
    let pause = operator.order("r1", Command::Pause, CYD).await;
    let request = v1::PauseRolloutRequest { order: Some(pause.clone()) };
    assert_eq!(
        operator.rollouts().pause_rollout(request.clone()).await.unwrap().into_inner().rollout.unwrap().state,
        "paused"
    );
    operator.resume(operator.resume_order("r1", &[ANN, BEN]).await).await.unwrap();
    let replayed = operator.rollouts().pause_rollout(request).await.unwrap_err();
    assert_eq!(replayed.code(), Code::Aborted, "{replayed:?}");

    let unknown = Command::Approve { wave: WaveName::new("nowhere").unwrap() };
    let approve = v1::ApproveWaveRequest { order: Some(operator.order("r1", unknown, BEN).await) };
    assert_eq!(operator.rollouts().approve_wave(approve).await.unwrap_err().code(), Code::NotFound);

    let directive = node.directive().await;
    assert_eq!(directive.rollouts[0].mode, Mode::Proceed);
    assert_eq!(directive.rollouts[0].goals[0].member.device.as_str(), "rx1/a", "the canary comes first");

    let records = v1::ListRecordsRequest { from_index: 0, page_size: 1000 };
    let records = operator.audit().list_records(records).await.unwrap().into_inner();
    assert_eq!(records.next_index, records.records.len() as u64);
    let indexes: Vec<u64> = records.records.iter().map(|r| r.index).collect();
    assert_eq!(indexes, (0..records.next_index).collect::<Vec<_>>());
    let signed = records.records.iter().filter(|r| r.envelope.is_some()).count();
    assert!(signed >= 3, "start, pause and resume stand there with their signatures");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halt_is_pushed_to_every_watching_node() {
    let world = World::new();
    let (_controller, operator, node) = world.with_node().await;
    operator.started().await;
    let mut watch = node.client().watch(v1::WatchRequest {}).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().halt, None, "check in at once");
    let order = operator.order("r1", Command::Halt, CYD).await;
    let halting = operator.halt(order.clone());
    let pushed = async {
        loop {
            if let Some(halt) = watch.message().await.unwrap().unwrap().halt {
                return halt;
            }
        }
    };
    // Nothing in here asks for it again: it comes pushed or not at all.
    let (halted, pushed) = tokio::time::timeout(PATIENCE, async { tokio::join!(halting, pushed) }).await.unwrap();
    assert_eq!(halted.unwrap().state, "halted");
    assert_eq!(unwire(&pushed), unwire(&order));
    assert_eq!(node.directive().await.rollouts[0].mode, Mode::Halted);
    let spread = operator.get("r1").await.halt_spread.unwrap();
    assert_eq!((spread.connected_sites, spread.confirmed_sites, spread.sites), (1, 0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_on_stalled_lines_hold_up_no_halt() {
    let world = World::new();
    let (controller, operator, node) = world.with_node().await;
    operator.started().await;
    let identity = Some((node.certificate.0.as_str(), node.certificate.1.as_str()));
    let line = controller.connect(&world.ca_pem(), identity).await.unwrap();
    let chunk = patch("KB1").variants[0].payload.chunks[0].as_bytes().to_vec();
    // More than the controller has threads for file work; nothing of them is ever read.
    let mut stalled = Vec::new();
    for _ in 0..16 {
        let request = v1::FetchChunksRequest { digests: vec![chunk.clone(); 100], ..Default::default() };
        stalled.push(NodeServiceClient::new(line.clone()).fetch_chunks(request).await.unwrap());
    }
    let order = operator.order("r1", Command::Halt, CYD).await;
    let halted = tokio::time::timeout(PATIENCE, operator.halt(order)).await;
    assert_eq!(halted.expect("the halt is written down").unwrap().state, "halted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_sees_each_change_and_its_alarms() {
    let world = World::new();
    let (_controller, operator, mut node) = world.with_node().await;
    operator.started().await;
    let request = v1::WatchRolloutRequest { id: "r1".to_owned() };
    let mut watch = operator.rollouts().watch_rollout(request).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().rollout.unwrap().state, "running");
    let refused = wardround_rollout_plans::model::ReportBody::Refused {
        what: "payload chunk".to_owned(),
        why: "its SHA-256 is another".to_owned(),
        rollout: Some("r1".parse().unwrap()),
    };
    node.report(refused).await.unwrap();
    operator.halt(operator.order("r1", Command::Halt, CYD).await).await.unwrap();
    let (mut alarmed, mut halted) = (false, false);
    while !(alarmed && halted) {
        let message = watch.message().await.unwrap().unwrap();
        alarmed |= message.alarms.iter().any(|a| a.site == "rx1");
        halted |= message.rollout.unwrap().state == "halted";
    }
    // More alarms at one moment than one message holds: the watcher hears of each.
    let many = |n: u32| wardround_rollout_plans::model::ReportBody::Refused {
        what: "order".to_owned(),
        why: format!("number {n}"),
        rollout: Some("r1".parse().unwrap()),
    };
    let many: Vec<v1::Envelope> = (0..250).map(|n| node.seal(many(n))).collect();
    node.send(many).await.unwrap();
    let mut heard = 0;
    while heard < 250 {
        let message = tokio::time::timeout(PATIENCE, watch.message()).await.expect("more alarms");
        heard += message.unwrap().unwrap().alarms.len();
    }
    assert_eq!(heard, 250, "each once");
    let unknown = v1::WatchRolloutRequest { id: "nothing".to_owned() };
    assert_eq!(operator.rollouts().watch_rollout(unknown).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_tells_every_stream() {
    let world = World::new();
    let (controller, operator, node) = world.with_node().await;
    operator.started().await;
    let mut watch = node.client().watch(v1::WatchRequest {}).await.unwrap().into_inner();
    let request = v1::WatchRolloutRequest { id: "r1".to_owned() };
    let mut people = operator.rollouts().watch_rollout(request).await.unwrap().into_inner();
    eventually("the connection", || async { operator.site("rx1").await.site.unwrap().connected.then_some(()) }).await;
    controller.stop().await.unwrap();
    let ended = async {
        loop {
            match watch.message().await {
                Ok(message) => assert!(message.is_some(), "a stream ends with its reason"),
                Err(status) => break status,
            }
        }
    };
    let told = tokio::time::timeout(PATIENCE, ended).await.unwrap();
    assert_eq!((told.code(), told.message()), (Code::Unavailable, "the controller is shutting down"));
    let told = loop {
        match people.message().await {
            Ok(message) => assert!(message.is_some(), "a stream ends with its reason"),
            Err(status) => break status,
        }
    };
    assert_eq!((told.code(), told.message()), (Code::Unavailable, "the controller is shutting down"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directive_is_signed_anew_only_when_it_says_something_new() {
    let world = World::new();
    let (_controller, operator, node) = world.with_node().await;
    operator.started().await;
    let first = node.send(Vec::new()).await.unwrap().directive;
    // Something else happens: the journal grows, but this site's orders are the same.
    operator.token("rx9", 0).await;
    assert_eq!(node.send(Vec::new()).await.unwrap().directive, first);
    let before = node.directive().await;
    operator.halt(operator.order("r1", Command::Halt, CYD).await).await.unwrap();
    let after = node.directive().await;
    assert!(after.counter > before.counter && after.expires_at > after.issued_at);
    assert_eq!(after.site.as_str(), "rx1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_waits_for_a_second_person_who_signs_the_same_bytes() {
    let world = World::new();
    let (controller, operator, mut node) = world.with_node().await;
    operator.started().await;
    operator.halt(operator.order("r1", Command::Halt, CYD).await).await.unwrap();
    let by_on_call = operator.resume(operator.resume_order("r1", &[CYD]).await).await.unwrap_err();
    assert_eq!(by_on_call.code(), Code::PermissionDenied, "{by_on_call:?}");
    let unseen = Command::Resume { lifts: Vec::new() };
    let unseen = operator.resume(operator.order_of("r1", unseen, &[ANN, BEN]).await).await.unwrap_err();
    assert_eq!(unseen.code(), Code::Aborted, "it does not name the halt: {unseen:?}");

    let first = operator.resume_order("r1", &[ANN]).await;
    let waits = operator.resume(first.clone()).await.unwrap();
    assert_eq!((waits.state.as_str(), waits.pending_orders.len()), ("halted", 1));
    let pending = &waits.pending_orders[0];
    assert_eq!((pending.what.as_str(), pending.counter, pending.envelope.as_ref()), ("resume", 3, Some(&first)));
    assert!(node.directive().await.rollouts[0].orders.iter().all(|o| *o != unwire(&first)), "no node hears of it");
    let again = operator.resume(first.clone()).await.unwrap_err();
    assert_eq!(again.code(), Code::PermissionDenied, "the same person again: {again:?}");

    // It is in the journal.
    controller.stop().await.unwrap();
    let controller = world.start().await;
    let operator = world.operator(&controller).await;
    let mut second = unwire(&first);
    second.signatures.clear();
    second.sign(&crate::world::key(BEN)).unwrap();
    let done = operator.resume(crate::world::wire(&second)).await.unwrap();
    assert_eq!((done.state.as_str(), done.pending_orders.len(), done.halts_in_force.len()), ("running", 0, 0));
    let replayed = operator.resume(crate::world::wire(&second)).await.unwrap_err();
    assert_eq!(replayed.code(), Code::Aborted, "{replayed:?}");
    node.reconnect(&world, &controller).await;
    let orders = node.directive().await.rollouts.remove(0).orders;
    assert!(
        orders.iter().any(|o| o.digest() == second.digest() && o.signatures.len() == 2),
        "nodes see both signatures"
    );
}
