//! Amendments over the API: who gets which answer, what waits, and that a restart forgets nothing of it.

use tonic::Code;
use wardround_proto::v1;

use crate::world::{ANN, BEN, Operator, World, hint, inventory};

async fn amend(operator: &Operator, id: &str) -> Result<v1::Rollout, tonic::Status> {
    let request = v1::AmendRolloutRequest { id: id.to_owned() };
    Ok(operator.rollouts().amend_rollout(request).await?.into_inner().rollout.unwrap())
}

async fn members(operator: &Operator, version: u32) -> Result<Vec<String>, tonic::Status> {
    let request = v1::ListMembersRequest { id: "r1".to_owned(), version, ..Default::default() };
    let members = operator.rollouts().list_members(request).await?.into_inner().members;
    Ok(members.into_iter().map(|member| member.device).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_version_waits_beside_the_one_in_force() {
    let world = World::new();
    let (controller, operator, mut node) = world.with_node().await;
    node.report(inventory("rx1", &[("a", "full")])).await.unwrap();
    operator.upload().await;
    operator.patch("KB1", &[ANN, BEN]).await.unwrap();
    let plan = "name: one\nwaves:\n  - { name: all, select: { remaining: true }, soak: 1s }\n";
    let draft = operator.create("r1", "KB1", plan).await.unwrap();
    assert_eq!((draft.version, draft.amendment.clone()), (1, None));

    assert_eq!(amend(&operator, "r9").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(amend(&operator, "not an id").await.unwrap_err().code(), Code::InvalidArgument);
    let unsigned = amend(&operator, "r1").await.unwrap_err();
    assert_eq!(unsigned.code(), Code::FailedPrecondition);
    assert!(hint(&unsigned).contains("create it anew"), "{unsigned}");
    for seed in [ANN, BEN] {
        operator.sign(&draft, seed).await.unwrap();
    }
    let same = amend(&operator, "r1").await.unwrap_err();
    assert_eq!(same.code(), Code::FailedPrecondition);
    assert!(same.message().contains("the same devices") && hint(&same).contains("site file"), "{same}");

    node.report(inventory("rx1", &[("a", "full"), ("b", "full")])).await.unwrap();
    let amended = amend(&operator, "r1").await.unwrap();
    let waiting = amended.amendment.clone().unwrap();
    assert_eq!((amended.version, amended.digest.clone()), (1, draft.digest.clone()));
    assert_eq!((waiting.version, waiting.signed, waiting.added, waiting.removed), (2, false, 1, 0));
    let document: serde_json::Value = serde_json::from_slice(&waiting.document).unwrap();
    assert_eq!((document["version"].as_u64(), document["ancestors"].as_array().map(Vec::len)), (Some(2), Some(1)));
    for version in [0, 1] {
        assert_eq!(members(&operator, version).await.unwrap(), ["rx1/a"]);
    }
    assert_eq!(members(&operator, 2).await.unwrap(), ["rx1/a", "rx1/b"]);
    assert_eq!(members(&operator, 3).await.unwrap_err().code(), Code::NotFound);
    let listed = operator.rollouts().list_rollouts(v1::ListRolloutsRequest::default()).await.unwrap().into_inner();
    let listed = listed.rollouts[0].amendment.clone().unwrap();
    assert_eq!((listed.version, listed.document.len()), (2, 0), "lists carry no documents");

    controller.kill();
    let controller = world.start().await;
    let operator = world.operator(&controller).await;
    assert_eq!(operator.get("r1").await.amendment, Some(waiting));
    assert_eq!(members(&operator, 2).await.unwrap(), ["rx1/a", "rx1/b"]);
}
