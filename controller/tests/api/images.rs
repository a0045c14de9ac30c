//! The image repository: what is staged, what is published, what survives, and keys that change.

use std::fs;

use tonic::Code;
use wardround_controller::{Config, import_root, make_online_keys};
use wardround_proto::v1::{self, MetadataState, token_service_client::TokenServiceClient};
use wardround_rollout_plans::model::Command;
use wardround_signing::{
    Digest, Signer as _,
    tuf::{Kind, RoleName, TufKey},
};

use crate::{
    repository::{RAE, ROB, Reader, TIA, TOM, begin, ceremony, signed},
    world::{ANN, BEN, CYD, PLAN, World, hint, key},
};

async fn records(operator: &crate::world::Operator, kind: &str) -> Vec<String> {
    let request = v1::ListRecordsRequest { from_index: 0, page_size: 1000 };
    let records = operator.audit().list_records(request).await.unwrap().into_inner().records;
    records.into_iter().filter(|r| r.kind == kind).map(|r| r.text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_is_signed_when_both_roles_have_published_the_identical_document() {
    let world = World::new();
    let (_controller, operator, node) = world.with_node().await;
    assert_eq!(node.send(Vec::new()).await.unwrap().timestamp_version, 1);
    operator.upload().await;
    let patch = operator.patch("KB1", &[]).await.unwrap();
    let document = patch.document;
    let path = "patches/KB1.json";

    let stranger = operator.sign_for(RoleName::Release, path, &document, BEN).await.unwrap_err();
    assert_eq!(stranger.code(), Code::PermissionDenied, "{stranger:?}");
    let other = operator.sign_for(RoleName::Release, path, b"{}", ANN).await.unwrap_err();
    assert!(other.message().contains("another document under that name"), "{other:?}");
    let nothing = operator.sign_for(RoleName::Release, "patches/KB9.json", &document, ANN).await.unwrap_err();
    assert_eq!(nothing.code(), Code::FailedPrecondition, "{nothing:?}");

    let done = operator.sign_for(RoleName::Release, path, &document, ANN).await.unwrap();
    assert_eq!((done.state(), done.version, done.missing), (MetadataState::Published, 1, 0));
    assert_eq!(done.signers[0].holder, "Ann Lee");
    let half = operator.patch("KB1", &[]).await.unwrap();
    assert_eq!((half.ready, half.signed_roles), (false, vec!["release".to_owned()]));
    operator.sign_for(RoleName::Clinical, path, &document, BEN).await.unwrap();
    assert!(operator.patch("KB1", &[]).await.unwrap().ready);
    let images = operator.read().await;
    assert_eq!(images.agreed(path).unwrap().sha256, Digest::of(&document));

    let draft = operator.create("r1", "KB1", PLAN).await.unwrap();
    let document = draft.document;
    operator.sign_for(RoleName::Clinical, "rollouts/r1.1.json", &document, BEN).await.unwrap();
    assert_eq!(operator.get("r1").await.state, "draft");
    operator.sign_for(RoleName::Release, "rollouts/r1.1.json", &document, ANN).await.unwrap();
    assert_eq!(operator.get("r1").await.state, "signed");
    operator.start(operator.order("r1", Command::Start, ANN).await).await.unwrap();
    assert_eq!(operator.get("r1").await.state, "running");
    operator.halt(operator.order("r1", Command::Halt, CYD).await).await.unwrap();

    let published = records(&operator, "images_published").await;
    assert_eq!(published.len(), 5, "{published:?}");
    assert!(published[1].contains("release version 1, signed by Ann Lee"), "{published:?}");
    assert_eq!(node.send(Vec::new()).await.unwrap().timestamp_version, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_waits_for_its_signatures_and_nobody_takes_its_place() {
    let world = World::new();
    let controller = world.start().await;
    let operator = world.operator(&controller).await;
    let standing = operator.read().await.standing();
    let present = standing.listing(RoleName::Targets).unwrap().metadata().clone();
    let next = wardround_signing::tuf::next_version(&present, crate::repository::later());
    let one = operator.submit("targets", signed(next.clone(), &[TIA])).await.unwrap();
    assert_eq!((one.state(), one.missing, one.version), (MetadataState::Staged, 1, 2));
    assert_eq!(operator.read().await.version(RoleName::Targets), 1);

    let mut other = next.clone();
    other.add_key(RoleName::OnCall, key(77).public(), Some("Someone Else"));
    let conflict = operator.submit("targets", signed(other, &[TOM])).await.unwrap_err();
    assert_eq!(conflict.code(), Code::Aborted);
    assert!(conflict.message().contains("signed by Tia Wood"), "{conflict:?}");
    assert!(hint(&conflict).contains("sign again"), "{conflict:?}");

    let shown = operator.images().get_repository(v1::GetRepositoryRequest {}).await.unwrap().into_inner();
    let staged = &shown.staged[0];
    assert_eq!((staged.role.as_str(), staged.version, staged.missing), ("targets", 2, 1));
    assert_eq!((staged.signers[0].holder.as_str(), staged.unsigned[0].holder.as_str()), ("Tia Wood", "Tom Lake"));
    // It survives a crash, and the second person signs what the first one left.
    controller.kill();
    let controller = world.start().await;
    let operator = world.operator(&controller).await;
    let request = v1::FetchStagedRequest { role: "targets".to_owned() };
    let waiting = operator.images().fetch_staged(request).await.unwrap().into_inner().metadata;
    let mut waiting =
        wardround_signing::tuf::Signed::<wardround_signing::tuf::Targets>::parse(RoleName::Targets, &waiting);
    let waiting = waiting.as_mut().unwrap();
    waiting.sign(&key(TOM)).unwrap();
    let both = operator.submit("targets", waiting.to_bytes()).await.unwrap();
    assert_eq!((both.state(), both.signers.len()), (MetadataState::Published, 2));
    assert_eq!(operator.read().await.version(RoleName::Targets), 2);
    // The same again is no error; the same version with another content is.
    assert_eq!(operator.submit("targets", waiting.to_bytes()).await.unwrap().state(), MetadataState::Published);
    assert_eq!(
        operator.submit("targets", signed(next.clone(), &[TOM])).await.unwrap().state(),
        MetadataState::Published
    );
    let mut late = next;
    late.head.expires = late.head.expires.plus_seconds(1);
    assert_eq!(operator.submit("targets", signed(late, &[TIA, TOM])).await.unwrap_err().code(), Code::Aborted);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_survives_a_kill_and_what_is_damaged_is_named() {
    let world = World::new();
    let controller = world.start().await;
    let operator = world.operator(&controller).await;
    operator.upload().await;
    let document = operator.patch("KB1", &[]).await.unwrap().document;
    operator.sign_for(RoleName::Release, "patches/KB1.json", &document, ANN).await.unwrap();
    let root = operator.metadata("1.root.json").await.unwrap();
    let mut reader = Reader::new(&root);
    let before = reader.refresh(&operator.channel).await;
    controller.kill();
    // What a crash before the journal leaves behind was never published, and is neither served nor in the way.
    let folder = world.data().join("images");
    fs::write(folder.join("2.release.json"), b"left over").unwrap();
    fs::write(folder.join("timestamp.json"), b"torn").unwrap();
    let controller = world.start().await;
    let operator = world.operator(&controller).await;
    assert_eq!(operator.metadata("2.release.json").await.unwrap_err().code(), Code::NotFound);
    let after = reader.refresh(&operator.channel).await;
    assert_eq!(after.version(RoleName::Timestamp), before.version(RoleName::Timestamp));
    let copy = fs::read(folder.join("timestamp.json")).unwrap();
    assert_eq!(copy, operator.metadata("timestamp.json").await.unwrap());
    let mut next = operator.next_listing(RoleName::Release).await;
    assert!(next.remove_target("patches/KB1.json"));
    operator.submit("release", signed(next, &[ANN])).await.unwrap();
    assert_eq!(reader.refresh(&operator.channel).await.version(RoleName::Release), 2);
    let patch = operator.patch("KB1", &[]).await.unwrap();
    assert!(patch.signed_roles.is_empty(), "{patch:?}");
    for name in ["0.root.json", "../config.json", "9.root.json", "2.timestamp.json", "ca.key"] {
        assert_eq!(operator.metadata(name).await.unwrap_err().code(), Code::NotFound, "{name}");
    }
    controller.stop().await.unwrap();

    let path = folder.join("2.release.json");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] = b' ';
    fs::write(&path, bytes).unwrap();
    let error = wardround_controller::run(
        Config { data: world.data(), ..Config::default() },
        Default::default(),
        tokio::sync::oneshot::channel().0,
    )
    .await
    .unwrap_err();
    assert!(error.to_string().contains("2.release.json was changed"), "{error}");
    assert!(error.hint().contains("restore"), "{}", error.hint());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_snapshot_and_timestamp_go_on_above_what_nodes_have_seen() {
    let world = World::new();
    world.start().await.stop().await.unwrap();
    world.configure("metadata_version_base", 500);
    let controller = world.start().await;
    let operator = world.operator(&controller).await;
    let images = operator.read().await;
    assert_eq!((images.version(RoleName::Timestamp), images.version(RoleName::Snapshot)), (501, 501));
    controller.stop().await.unwrap();
    let controller = world.start().await;
    let operator = world.operator(&controller).await;
    assert_eq!(operator.read().await.version(RoleName::Timestamp), 501, "it is raised once");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_gets_new_keys_while_a_reader_is_away() {
    let world = World::new();
    let (_controller, operator, node) = world.with_node().await;
    operator.upload().await;
    let document = operator.patch("KB1", &[]).await.unwrap().document;
    let path = "patches/KB1.json";
    operator.sign_for(RoleName::Release, path, &document, ANN).await.unwrap();
    operator.sign_for(RoleName::Clinical, path, &document, BEN).await.unwrap();
    let root = operator.metadata("1.root.json").await.unwrap();
    let mut away = Reader::new(&root);
    let old_key = away.refresh(&operator.channel).await.controller_key();
    let id = |seed: u8| TufKey::new(key(seed).public(), None).id();

    // The root: Rae loses her key, Ira comes. Both chains of signatures are needed.
    let mut next = operator.next_root().await;
    next.remove_key(RoleName::Root, &id(RAE));
    next.add_key(RoleName::Root, key(31).public(), Some("Ira Dale"));
    let half = operator.submit("root", signed(next.clone(), &[ROB, 31])).await.unwrap();
    assert_eq!((half.state(), half.missing), (MetadataState::Staged, 1));
    assert_eq!(operator.submit("root", signed(next, &[RAE])).await.unwrap().state(), MetadataState::Published);

    // Online keys that the controller does not have are refused before anybody signs in vain.
    let mut foreign = operator.next_root().await;
    foreign.add_key(RoleName::Snapshot, key(99).public(), None);
    foreign.set_threshold(RoleName::Snapshot, 2);
    let refused = operator.submit("root", signed(foreign, &[ROB, 31])).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(hint(&refused).contains("wardround root online"), "{refused:?}");

    // All online keys at once: a new root, and targets for the one that signs directives.
    let fresh = make_online_keys(&world.data()).unwrap();
    let mut next = operator.next_root().await;
    for (role, key) in [(RoleName::Snapshot, fresh.snapshot), (RoleName::Timestamp, fresh.timestamp)] {
        for old in next.keyids(role).to_vec() {
            next.remove_key(role, &old);
        }
        next.add_key(role, key, None);
    }
    assert_eq!(operator.submit("root", signed(next, &[ROB, 31])).await.unwrap().state(), MetadataState::Published);
    let mut next = operator.next_listing(RoleName::Targets).await;
    let old = next.delegations.as_ref().unwrap().keyids(RoleName::Controller).to_vec();
    old.iter().for_each(|old| next.remove_key(RoleName::Controller, old));
    next.add_key(RoleName::Controller, fresh.directives, None);
    assert_eq!(operator.submit("targets", signed(next, &[TIA, TOM])).await.unwrap().state(), MetadataState::Published);

    // New people of targets: root and targets are each no whole without the other.
    let mut next = operator.next_root().await;
    for (old, new, holder) in [(TIA, 41, "Uma Reed"), (TOM, 42, "Una Park")] {
        next.remove_key(RoleName::Targets, &id(old));
        next.add_key(RoleName::Targets, key(new).public(), Some(holder));
    }
    let waits = operator.submit("root", signed(next, &[ROB, 31])).await.unwrap();
    assert_eq!((waits.state(), waits.missing), (MetadataState::Staged, 0));
    assert!(waits.waiting.contains("targets"), "{}", waits.waiting);
    let next = operator.next_listing(RoleName::Targets).await;
    assert_eq!(operator.submit("targets", signed(next, &[41, 42])).await.unwrap().state(), MetadataState::Published);

    // A new release manager: targets wait until the new one has signed what the old one had.
    let mut next = operator.next_listing(RoleName::Targets).await;
    next.remove_key(RoleName::Release, &id(ANN));
    next.add_key(RoleName::Release, key(51).public(), Some("Lou Beck"));
    assert_eq!(operator.submit("targets", signed(next, &[41, 42])).await.unwrap().state(), MetadataState::Staged);
    let next = operator.next_listing(RoleName::Release).await;
    assert_eq!(operator.submit("release", signed(next, &[51])).await.unwrap().state(), MetadataState::Published);
    // A new safety officer the same way.
    let mut next = operator.next_listing(RoleName::Targets).await;
    next.remove_key(RoleName::Clinical, &id(BEN));
    next.add_key(RoleName::Clinical, key(52).public(), Some("Max Hurst"));
    assert_eq!(operator.submit("targets", signed(next, &[41, 42])).await.unwrap().state(), MetadataState::Staged);
    let next = operator.next_listing(RoleName::Clinical).await;
    assert_eq!(operator.submit("clinical", signed(next, &[52])).await.unwrap().state(), MetadataState::Published);

    let images = away.refresh(&operator.channel).await;
    assert_eq!(images.version(RoleName::Root), 4);
    assert!(images.agreed(path).is_ok());
    assert!(images.people().keys().iter().any(|person| person.holder == "Lou Beck"));
    assert_ne!(images.controller_key(), old_key);
    assert_eq!(images.controller_key(), fresh.directives);
    // Directives carry the new key from then on; the old release manager's orders no longer count.
    let mut node = node;
    node.directive_key = fresh.directives;
    node.directive().await;
    operator.create("r1", "KB1", PLAN).await.unwrap();
    let halt = async |seed| operator.halt(operator.order("r1", Command::Halt, seed).await).await.unwrap_err().code();
    assert_eq!(halt(ANN).await, Code::PermissionDenied);
    let unsigned = operator.sign_for(RoleName::Release, "rollouts/r1.1.json", b"x", ANN).await.unwrap_err();
    assert_ne!(unsigned.code(), Code::Ok);
    assert_eq!(halt(CYD).await, Code::FailedPrecondition, "it counts; there is only nothing to halt yet");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_is_imported_once_and_only_with_keys_that_are_here() {
    let world = World::without_root();
    let controller = world.start().await;
    let operator = world.operator(&controller).await;
    let none = operator.metadata("timestamp.json").await.unwrap_err();
    assert_eq!(none.code(), Code::FailedPrecondition);
    assert!(hint(&none).contains("wardround root import"), "{none:?}");
    // Nothing that needs to know whose word counts works before.
    let request = v1::CreateTokenRequest { site: "rx1".to_owned(), ttl_seconds: 0 };
    let token = TokenServiceClient::new(operator.channel.clone()).create_token(request).await.unwrap_err();
    assert_eq!(token.code(), Code::FailedPrecondition);
    assert!(hint(&token).contains("wardround root init"), "{token:?}");
    operator.upload().await;
    let patch = operator.patch("KB1", &[]).await.unwrap();
    assert!(!patch.ready && patch.signatures.is_empty(), "{patch:?}");
    let unsigned = operator.create("r1", "KB1", PLAN).await.unwrap_err();
    assert!(hint(&unsigned).contains("wardround root import"), "{unsigned:?}");
    controller.stop().await.unwrap();

    let elsewhere = World::without_root();
    let (root, targets) = ceremony(make_online_keys(&elsewhere.data()).unwrap()).first().unwrap();
    let from = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: Vec<u8>| fs::write(from.path().join(name), bytes).unwrap();
    write("1.root.json", signed(root.clone(), &[RAE]));
    write("1.targets.json", signed(targets.clone(), &[TIA, TOM]));
    let half = import_root(&world.data(), from.path()).unwrap_err();
    assert!(half.to_string().contains("1 of the 2"), "{half}");
    write("1.root.json", signed(root, &[RAE, ROB]));
    let foreign = import_root(&world.data(), from.path()).unwrap_err();
    assert!(foreign.to_string().contains("does not hold"), "{foreign}");
    assert!(foreign.hint().contains("wardround root online"), "{}", foreign.hint());
    let mut with_target = targets;
    with_target.add_target("patches/KB1.json", b"x", Kind::Patch).unwrap();
    write("1.targets.json", signed(with_target, &[TIA, TOM]));
    assert!(import_root(&elsewhere.data(), from.path()).is_err());

    begin(&world.data());
    assert!(import_root(&world.data(), from.path()).is_err());
    let controller = world.start().await;
    let operator = world.operator(&controller).await;
    assert_eq!(operator.read().await.version(RoleName::Root), 1);
    let token = operator.token("rx1", 0).await.token;
    let root = operator.metadata("1.root.json").await.unwrap();
    assert_eq!(token.split('.').nth(3).unwrap(), Digest::of(&root).hex());
}
