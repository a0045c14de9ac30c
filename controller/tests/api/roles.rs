//! Who may call what: every method of every service, tried by everyone, against the table that `roles.golden` holds.
//!
//! The golden file is written by hand and not made from the controller's own table, so that a change there is seen here.

use std::time::Duration;

use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::{Code, Request, client::Grpc, transport::Channel};
use wardround_controller::OperatorRole;
use wardround_proto::v1;

use crate::{
    access::certificate,
    world::{Controller, Node, PATIENCE, World, eventually, hint, inventory},
};

const GOLDEN: &str = include_str!("roles.golden");

async fn call(channel: &Channel, path: &str) -> Code {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = tonic::codegen::http::uri::PathAndQuery::try_from(path.to_owned()).unwrap();
    // The answer's content is not looked at: decoding it as an empty message succeeds or not, both after the guard.
    match tokio::time::timeout(PATIENCE, client.server_streaming(Request::new(()), path, codec)).await {
        Ok(Ok(_)) => Code::Ok,
        Ok(Err(status)) => status.code(),
        Err(_) => panic!("no answer"),
    }
}

/// Every method that this controller serves.
fn methods() -> Vec<String> {
    let mut methods = Vec::new();
    for bytes in [wardround_proto::FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET] {
        for file in FileDescriptorSet::decode(bytes).unwrap().file {
            for service in &file.service {
                let of = format!("{}.{}", file.package(), service.name());
                methods.extend(service.method.iter().map(|m| format!("{of}/{}", m.name())));
            }
        }
    }
    methods.push("grpc.reflection.v1.ServerReflection/ServerReflectionInfo".to_owned());
    methods.sort();
    methods
}

/// A connection whose certificate, with the role of a release manager, has ended meanwhile.
async fn expired(world: &World, controller: &Controller) -> Channel {
    let ca_key = std::fs::read_to_string(world.data().join("ca.key")).unwrap();
    // Short, but a slow machine must get through a handshake before it ends.
    for left in [2, 8, 32] {
        let begun = Duration::from_secs(60);
        let life = begun + Duration::from_secs(left);
        let (certificate, key) = certificate(&world.ca_pem(), &ca_key, "zoe", life, begun);
        let Ok(channel) = controller.connect(&world.ca_pem(), Some((&certificate, &key))).await else { continue };
        eventually("the end of the certificate", || async {
            let code = call(&channel, "/wardround.v1.EstateService/ListSites").await;
            (code == Code::Unauthenticated).then_some(())
        })
        .await;
        return channel;
    }
    panic!("no connection came about in 32 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_admits_whom_the_table_says_and_nobody_else() {
    let world = World::new();
    let controller = world.start().await;
    let operator = world.operator(&controller).await;
    let node = Node::enrol(&world, &controller, &operator, "rx1").await;
    let shut_out = Node::enrol_with(&world, &controller, &operator, "rx2", 51).await;
    let (gone, _) = world.issue(&controller, "gone", &OperatorRole::ALL).await;
    operator.revoke_node("rx2", "test").await.unwrap();
    operator.revoke_operator("gone", "", "test").await.unwrap();

    let mut callers = vec![("stranger", controller.connect(&world.ca_pem(), None).await.unwrap())];
    for role in OperatorRole::ALL {
        callers.push((role.word(), world.issue(&controller, role.word(), &[role]).await.0.channel));
    }
    callers.extend([
        ("node", node.channel.clone()),
        ("revoked-node", shut_out.channel.clone()),
        ("revoked-operator", gone.channel.clone()),
        ("expired", expired(&world, &controller).await),
    ]);
    let names: Vec<&str> = callers.iter().map(|(name, _)| *name).collect();
    let mut table = format!("method {}\n", names.join(" "));
    for method in methods() {
        table += &method;
        for (name, channel) in &callers {
            let code = call(channel, &format!("/{method}")).await;
            let denied = matches!(code, Code::Unauthenticated | Code::PermissionDenied);
            if denied {
                let unknown = matches!(*name, "stranger" | "expired");
                assert_eq!(code == Code::Unauthenticated, unknown, "{method} by {name}: {code:?}");
            }
            // A stranger's empty token is refused by the method itself; whoever shows a certificate hears the same.
            let enrol = method == "wardround.v1.EnrolmentService/Enrol" && code == Code::InvalidArgument;
            table += if denied && !enrol { " -" } else { " yes" };
        }
        table += "\n";
    }
    let wanted: String = GOLDEN
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .fold(String::new(), |text, line| text + &line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n");
    let differ: Vec<_> = table.lines().filter(|line| !wanted.lines().any(|w| w == *line)).collect();
    let lost: Vec<_> = wanted.lines().filter(|line| !table.lines().any(|t| t == *line)).collect();
    assert!(differ.is_empty() && lost.is_empty(), "the controller says\n{differ:#?}\nroles.golden says\n{lost:#?}");
    let nonsense = "/wardround.v1.RolloutService/Nonsense";
    assert_eq!(call(&operator.channel, nonsense).await, Code::Unimplemented);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_the_method_the_roles_and_the_way_out_and_roles_add_up() {
    let world = World::new();
    let controller = world.start().await;
    let (eve, _) = world.issue(&controller, "eve", &[OperatorRole::Auditor]).await;
    let refused = eve.create("r1", "KB1", "").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    for words in ["operator eve (roles: auditor)", "RolloutService/CreateRollout", "the roles release"] {
        assert!(refused.message().contains(words), "{refused:?}");
    }
    assert!(hint(&refused).contains("wardround operator issue eve --role release"), "{refused:?}");
    eve.estate().list_sites(v1::ListSitesRequest::default()).await.unwrap();

    let (both, _) = world.issue(&controller, "both", &[OperatorRole::Auditor, OperatorRole::SiteEngineer]).await;
    both.token("rx1", 0).await;
    // A role opens the door and no more: the halt itself still needs a person's signature.
    let halt = v1::HaltRolloutRequest { order: None };
    assert_eq!(both.rollouts().halt_rollout(halt.clone()).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(eve.rollouts().halt_rollout(halt).await.unwrap_err().code(), Code::PermissionDenied);
    let mut node = Node::enrol(&world, &controller, &both, "rx1").await;
    node.report(inventory("rx1", &[])).await.unwrap();
    let estate = wardround_proto::v1::estate_service_client::EstateServiceClient::new(node.channel.clone());
    let refused = estate.clone().list_sites(v1::ListSitesRequest::default()).await.unwrap_err();
    assert!(refused.message().contains("the node of site rx1 may not call"), "{refused:?}");
}
