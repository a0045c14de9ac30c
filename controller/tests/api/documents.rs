//! Patches and rollout documents: what is refused, what counts, how pages join.

use base64::Engine as _;
use tonic::Code;
use tonic_types::StatusExt as _;
use wardround_proto::v1;
use wardround_rollout_plans::model::Command;
use wardround_signing::{document_bytes, tuf::RoleName};

use crate::{
    repository::signed,
    world::{ANN, BEN, CYD, PLAN, World, files, hint, inventory, patch},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_needs_its_payload_whole_and_two_people() {
    let world = World::new();
    let controller = world.start().await;
    let operator = world.operator(&controller).await;
    let missing = operator.patch("KB1", &[]).await.unwrap_err();
    assert_eq!(missing.code(), Code::FailedPrecondition);
    assert!(missing.message().contains("has not been uploaded"), "{missing:?}");
    operator.upload().await;
    // Nobody signs in a role that is not theirs.
    for seed in [CYD, 99] {
        assert_eq!(operator.patch("KB1", &[seed]).await.unwrap_err().code(), Code::PermissionDenied, "{seed}");
    }
    let first = operator.patch("KB1", &[ANN]).await.unwrap();
    assert_eq!((first.ready, first.signed_roles), (false, vec!["release".to_owned()]));
    let [release, clinical] = &first.signatures[..] else { panic!("{:?}", first.signatures) };
    assert_eq!((release.counts, &release.signed_by[..]), (true, &["Ann Lee".to_owned()][..]));
    assert_eq!((clinical.counts, clinical.missing, &clinical.may_sign[..]), (false, 1, &["Ben Ode".to_owned()][..]));
    let unsigned = operator.create("r1", "KB1", PLAN).await.unwrap_err();
    assert_eq!(unsigned.code(), Code::FailedPrecondition);
    assert!(unsigned.message().contains("not signed for by clinical"), "{unsigned:?}");
    assert!(hint(&unsigned).contains("(Ben Ode)") && hint(&unsigned).contains("patch sign KB1"), "{unsigned:?}");
    let clinical = operator.sign_for(RoleName::Clinical, "patches/KB1.json", &first.document, ANN).await.unwrap_err();
    assert_eq!(clinical.code(), Code::PermissionDenied, "{clinical:?}");
    let ready = operator.patch("KB1", &[BEN]).await.unwrap();
    assert!(ready.ready && ready.signatures.iter().all(|one| one.counts), "{ready:?}");
    assert!(operator.patch("KB1", &[BEN, ANN]).await.unwrap().ready, "a repeat changes nothing");
    // The same document again is no error; another one with its id is.
    let mut other = patch("KB1");
    other.title = "Something else".to_owned();
    let other = operator.create_patch(document_bytes(&other).unwrap()).await.unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_begins_nothing_more() {
    let world = World::new();
    let (_controller, operator, node) = world.with_node().await;
    operator.upload().await;
    let patch = operator.patch("KB1", &[ANN, BEN]).await.unwrap();
    let draft = operator.create("r1", "KB1", PLAN).await.unwrap();
    operator.sign(&draft, ANN).await.unwrap();
    assert_eq!(operator.sign(&draft, BEN).await.unwrap().state, "signed");
    let mut next = operator.next_listing(RoleName::Clinical).await;
    assert!(next.remove_target("rollouts/r1.1.json"));
    operator.submit("clinical", signed(next, &[BEN])).await.unwrap();
    let refused = operator.start(operator.order("r1", Command::Start, ANN).await).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("rollout r1 is not signed for by clinical"), "{refused:?}");
    let alarms = operator.estate().list_alarms(v1::ListAlarmsRequest::default()).await.unwrap().into_inner().alarms;
    assert!(alarms.iter().any(|a| a.code == "not_signed_for" && a.text.contains("rollout r1")), "{alarms:?}");
    let document = v1::FetchDocumentRequest { digest: draft.digest.clone() };
    assert_eq!(node.client().fetch_document(document).await.unwrap_err().code(), Code::NotFound);
    // Signed for again, it goes on; then the patch is taken back, and that stops it as well.
    operator.sign(&draft, BEN).await.unwrap();
    let mut next = operator.next_listing(RoleName::Release).await;
    assert!(next.remove_target("patches/KB1.json"));
    operator.submit("release", signed(next, &[ANN])).await.unwrap();
    let refused = operator.start(operator.order("r1", Command::Start, ANN).await).await.unwrap_err();
    assert!(refused.message().contains("patch KB1 is not signed for by release"), "{refused:?}");
    operator.sign_for(RoleName::Release, "patches/KB1.json", &patch.document, ANN).await.unwrap();
    operator.start(operator.order("r1", Command::Start, ANN).await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_found_in_a_document_and_a_chunk() {
    let world = World::new();
    let (_controller, operator, node) = world.with_node().await;
    operator.upload().await;
    operator.patch("KB1", &[]).await.unwrap();
    let mut document = document_bytes(&patch("KB2")).unwrap();
    document[0] ^= 1;
    let refused = operator.create_patch(document).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    let refused = operator.create_patch(vec![0xff; 10]).await.unwrap_err();
    assert!(refused.message().contains("UTF-8"), "{refused:?}");

    let path = files(&world.data().join("payloads")).pop().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[10] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let damaged = operator.patch("KB3", &[]).await.unwrap_err();
    assert_eq!(damaged.code(), Code::DataLoss);
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    assert!(damaged.message().contains(&name), "{damaged:?}");
    // Importing anew mends it: the controller says that it lacks the chunk.
    let missing = v1::FindMissingChunksRequest { digests: vec![hex::decode(&name).unwrap()] };
    let missing = operator.patches().find_missing_chunks(missing).await.unwrap().into_inner().digests;
    assert_eq!(missing, [hex::decode(&name).unwrap()]);
    // A node that asks for it hears the same, and nothing of the damaged bytes.
    let digests = vec![hex::decode(&name).unwrap()];
    let mut chunks = node
        .client()
        .fetch_chunks(v1::FetchChunksRequest { digests, ..Default::default() })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(chunks.message().await.unwrap_err().code(), Code::DataLoss);
    operator.upload().await;
    operator.patch("KB3", &[]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_get_named_chunks_and_signed_documents_only() {
    let world = World::new();
    let (_controller, operator, node) = world.with_node().await;
    operator.upload().await;
    let chunk = patch("KB1").variants[0].payload.chunks[1].as_bytes().to_vec();
    let fetch = |digests: Vec<Vec<u8>>| {
        let mut client = node.client();
        async move { client.fetch_chunks(v1::FetchChunksRequest { digests, ..Default::default() }).await }
    };
    assert_eq!(fetch(vec![chunk.clone()]).await.unwrap_err().code(), Code::NotFound, "no patch names it yet");
    let draft = operator.patch("KB1", &[ANN]).await.unwrap();
    let document = v1::FetchDocumentRequest { digest: draft.digest.clone() };
    assert_eq!(node.client().fetch_document(document.clone()).await.unwrap_err().code(), Code::NotFound);
    operator.patch("KB1", &[BEN]).await.unwrap();
    let got = node.client().fetch_document(document).await.unwrap().into_inner().document;
    assert_eq!(got, draft.document);
    let mut stream = fetch(vec![chunk.clone()]).await.unwrap().into_inner();
    let got = stream.message().await.unwrap().unwrap();
    assert_eq!((got.digest, got.data.len()), (chunk, 1000));
    assert!(stream.message().await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_with_problems_are_refused_with_their_places() {
    let world = World::new();
    let (_controller, operator, _node) = world.with_node().await;
    operator.upload().await;
    operator.patch("KB1", &[ANN, BEN]).await.unwrap();
    let plan = PLAN.replace("soak: 1s", "soak: soon").replace("limits:", "limitz:");
    let refused = operator.create("r1", "KB1", &plan).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let details = refused.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    assert!(violations.iter().any(|v| v.field.starts_with("plan.yaml:") && v.field.contains("soak")), "{violations:?}");
    let empty = PLAN.replace("ring: canary", "ring: nowhere");
    let refused = operator.create("r1", "KB1", &empty).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");

    let preview = v1::PreviewPlanRequest {
        plan_yaml: PLAN.to_owned(),
        file_name: "plan.yaml".to_owned(),
        patch: String::new(),
        ..Default::default()
    };
    let preview = operator.rollouts().preview_plan(preview).await.unwrap().into_inner();
    let members: Vec<_> = preview.waves.iter().map(|w| (w.name.as_str(), w.members.len(), w.at_once)).collect();
    assert_eq!(members, [("canary", 1, 1), ("full", 1, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_is_signed_for_like_a_patch() {
    let world = World::new();
    let (_controller, operator, _node) = world.with_node().await;
    operator.upload().await;
    operator.patch("KB1", &[ANN, BEN]).await.unwrap();
    let draft = operator.create("", "KB1", PLAN).await.unwrap();
    assert_eq!((draft.id.as_str(), draft.state.as_str()), ("kb1-1", "draft"));
    assert_eq!(operator.create("", "KB1", PLAN).await.unwrap().id, "kb1-2");
    assert_eq!(operator.create("kb1-1", "KB1", PLAN).await.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(operator.sign(&draft, ANN).await.unwrap().state, "draft");
    let half = operator.get("kb1-1").await;
    assert_eq!(half.signatures.iter().map(|one| one.counts).collect::<Vec<_>>(), [true, false], "{half:?}");
    let signed = operator.sign(&draft, BEN).await.unwrap();
    assert_eq!((signed.state.as_str(), signed.signed_roles.len()), ("signed", 2));
    assert_eq!(operator.sign(&draft, BEN).await.unwrap().state, "signed");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_join_without_gap_or_overlap() {
    let world = World::new();
    let (controller, operator, mut node) = world.with_node().await;
    let names: Vec<String> = (0..25).map(|n| format!("d{n:02}")).collect();
    let devices: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), "canary")).collect();
    node.report(inventory("rx1", &devices)).await.unwrap();
    // A site whose id sorts between "rx1" and "rx1/...": pages must go by site, then by device.
    let mut other = crate::world::Node::enrol(&world, &controller, &operator, "rx1.a").await;
    other.report(inventory("rx1.a", &devices)).await.unwrap();
    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListDevicesRequest { site: String::new(), page_size: 7, page_token };
        let page = operator.estate().list_devices(request).await.unwrap().into_inner();
        assert!(page.devices.len() <= 7);
        seen.extend(page.devices.into_iter().map(|d| d.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let expected: Vec<String> =
        ["rx1", "rx1.a"].iter().flat_map(|site| names.iter().map(move |n| format!("{site}/{n}"))).collect();
    assert_eq!(seen, expected);

    let bad = v1::ListDevicesRequest { page_token: "!".to_owned(), ..Default::default() };
    assert_eq!(operator.estate().list_devices(bad).await.unwrap_err().code(), Code::InvalidArgument);
    // A token of nobody's making that says the last position there can be: no page follows.
    let last = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(u64::MAX.to_string());

    operator.upload().await;
    operator.patch("KB1", &[ANN, BEN]).await.unwrap();
    let plan = "name: one\nwaves:\n  - { name: all, select: { remaining: true }, soak: 1s }\n";
    operator.create("r1", "KB1", plan).await.unwrap();
    let beyond = v1::ListMembersRequest { id: "r1".to_owned(), page_size: 9, page_token: last, version: 0 };
    assert!(operator.rollouts().list_members(beyond).await.unwrap().into_inner().members.is_empty());
    let mut members = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListMembersRequest { id: "r1".to_owned(), page_size: 9, page_token, version: 0 };
        let page = operator.rollouts().list_members(request).await.unwrap().into_inner();
        members.extend(page.members.into_iter().map(|m| m.device));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let mut sorted = expected;
    sorted.sort();
    let mut got = members.clone();
    got.sort();
    assert_eq!((got, members.len()), (sorted, 50));
    let first = v1::ListDeploymentsRequest { id: "r1".to_owned(), page_size: 30, ..Default::default() };
    let first = operator.rollouts().list_deployments(first).await.unwrap().into_inner();
    let next = v1::ListDeploymentsRequest {
        id: "r1".to_owned(),
        page_size: 30,
        page_token: first.next_page_token,
        ..Default::default()
    };
    let next = operator.rollouts().list_deployments(next).await.unwrap().into_inner();
    let both: Vec<String> = first.deployments.into_iter().chain(next.deployments).map(|d| d.device).collect();
    assert_eq!((both, next.next_page_token.as_str()), (members, ""));
}
