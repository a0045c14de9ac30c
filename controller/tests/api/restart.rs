//! Kill, restart, full disk: what was acknowledged is there, and nothing else.

use tonic::Code;
use wardround_proto::v1;
use wardround_rollout_plans::model::{Command, DeploymentState, ReportBody};

use crate::world::{ANN, BEN, CYD, Node, Operator, World, eventually, files, hint, inventory};

/// Everything that people can see, except connections, which a restart ends.
async fn picture(operator: &Operator) -> (v1::Rollout, v1::Patch, v1::GetSiteResponse, Vec<v1::AuditRecord>) {
    let mut rollout = operator.get("r1").await;
    rollout.halt_spread = None;
    let patch = v1::GetPatchRequest { id: "KB1".to_owned() };
    let patch = operator.patches().get_patch(patch).await.unwrap().into_inner().patch.unwrap();
    let mut site = operator.site("rx1").await;
    site.site.as_mut().unwrap().last_seen_ms = 0;
    let records = v1::ListRecordsRequest { from_index: 0, page_size: 1000 };
    (rollout, patch, site, operator.audit().list_records(records).await.unwrap().into_inner().records)
}

fn moved(state: DeploymentState) -> ReportBody {
    ReportBody::Deployment {
        rollout: "r1".parse().unwrap(),
        device: "rx1/a".parse().unwrap(),
        attempt: 1,
        state,
        reason: String::new(),
        code: String::new(),
        evidence: Default::default(),
    }
}

async fn continues_after_a_kill(snapshot_every: u64) {
    let world = World::new();
    world.configure("snapshot_every", snapshot_every);
    let (controller, operator, mut node) = world.with_node().await;
    operator.started().await;
    node.report(moved(DeploymentState::Downloading)).await.unwrap();
    let before = picture(&operator).await;
    let counter = node.directive().await.counter;
    let used = operator.token("rx9", 0).await.token;
    if snapshot_every < 10 {
        eventually("a snapshot", || async {
            let names = files(&world.data().join("journal"))
                .into_iter()
                .filter_map(|f| f.file_name()?.to_str().map(str::to_owned));
            names.into_iter().any(|n| n.starts_with("snapshot-")).then_some(())
        })
        .await;
    }
    controller.kill();

    let controller = world.start().await;
    let operator = world.operator(&controller).await;
    node.reconnect(&world, &controller).await;
    let mut after = picture(&operator).await;
    // The token that was made after the first picture.
    assert_eq!(after.3.pop().unwrap().kind, "token_made");
    assert_eq!(after, before);
    let directive = node.directive().await;
    assert!(directive.counter >= counter, "{} < {counter}", directive.counter);
    assert_eq!(node.send(Vec::new()).await.unwrap().acked_seq, node.seq);
    node.report(moved(DeploymentState::Staged)).await.unwrap();
    crate::world::enrol(&world, &controller, &used, 60).await.unwrap();
    controller.kill();

    let controller = world.start().await;
    let again = crate::world::enrol(&world, &controller, &used, 61).await.err().unwrap();
    assert_eq!(again.code(), Code::Unauthenticated, "a used token stays used");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_controller_continues_where_it_was_from_its_journal() {
    continues_after_a_kill(10_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_controller_continues_where_it_was_from_snapshots() {
    continues_after_a_kill(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_new_work_clearly_but_not_a_halt_nor_reports() {
    let world = World::new();
    let (controller, operator, mut node) = world.with_node().await;
    operator.started().await;
    controller.stop().await.unwrap();
    world.configure("free_bytes_min", u64::MAX / 4);

    let controller = world.start().await;
    let operator = world.operator(&controller).await;
    node.reconnect(&world, &controller).await;
    let before = operator.audit().list_records(v1::ListRecordsRequest::default()).await.unwrap().into_inner();
    let refused = operator.create("r2", "KB1", crate::world::PLAN).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("too full"), "{refused:?}");
    assert!(hint(&refused).contains("nothing was changed"), "{refused:?}");
    assert_eq!(operator.get("r1").await.state, "running");
    let tried = operator.rollouts().get_rollout(v1::GetRolloutRequest { id: "r2".to_owned() }).await.unwrap_err();
    assert_eq!(tried.code(), Code::NotFound);
    let after = operator.audit().list_records(v1::ListRecordsRequest::default()).await.unwrap().into_inner();
    assert_eq!(after, before, "nothing was applied");
    let data = vec![v1::UploadChunksRequest { data: b"new".to_vec().into(), packed: false }];
    let upload = operator.patches().upload_chunks(tokio_stream::iter(data)).await.unwrap_err();
    assert_eq!(upload.code(), Code::ResourceExhausted);

    node.report(moved(DeploymentState::Downloading)).await.unwrap();
    let halted = operator.halt(operator.order("r1", Command::Halt, CYD).await).await.unwrap();
    assert_eq!(halted.state, "halted");
    let resume = operator.resume_order("r1", &[ANN, BEN]).await;
    assert_eq!(operator.resume(resume).await.unwrap_err().code(), Code::ResourceExhausted);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_changes_at_once_are_all_kept_and_each_refusal_is_its_own() {
    let world = World::new();
    let (controller, operator, _node) = world.with_node().await;
    operator.upload().await;
    operator.patch("KB1", &[ANN, BEN]).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..60 {
        let operator = operator.clone();
        // Every id is asked for three times: one wins.
        tasks.spawn(async move { operator.create(&format!("r{}", n / 3), "KB1", crate::world::PLAN).await });
    }
    let outcomes = tasks.join_all().await;
    let won = outcomes.iter().filter(|o| o.is_ok()).count();
    let lost = outcomes.iter().filter(|o| o.as_ref().is_err_and(|e| e.code() == Code::AlreadyExists)).count();
    assert_eq!((won, lost), (20, 40));
    let mut nodes = Vec::new();
    for n in 0..5 {
        nodes.push(Node::enrol(&world, &controller, &operator, &format!("ry{n}")).await);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for mut node in nodes {
        tasks.spawn(async move {
            for _ in 0..10 {
                let site = node.site.clone();
                node.report(inventory(&site, &[("a", "canary")])).await.unwrap();
            }
            assert_eq!(node.send(Vec::new()).await.unwrap().acked_seq, 10);
        });
    }
    tasks.join_all().await;
    controller.kill();
    let controller = world.start().await;
    let operator = world.operator(&controller).await;
    let list = v1::ListRolloutsRequest { page_size: 1000, page_token: String::new() };
    let rollouts = operator.rollouts().list_rollouts(list).await.unwrap().into_inner().rollouts;
    assert_eq!(rollouts.len(), 20);
    let sites = operator.estate().list_sites(v1::ListSitesRequest::default()).await.unwrap().into_inner().sites;
    assert_eq!(sites.len(), 6);
}
