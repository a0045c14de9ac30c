//! The console of a real controller, asked over HTTP as a browser would.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use wardround_controller::Config;
use wardround_proto::v1;
use wardround_rollout_plans::model::{Command, DeploymentState, Health, ReportBody};

use crate::world::{CYD, Controller, Node, Operator, World, eventually, inventory};

/// Status line and headers, and the body.
async fn ask(console: SocketAddr, method: &str, path: &str, host: &str) -> (String, String) {
    let mut stream = TcpStream::connect(console).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

async fn get(console: SocketAddr, path: &str) -> (String, String) {
    ask(console, "GET", path, "127.0.0.1").await
}

/// A controller with its console, a node that has told its inventory, and a rollout that runs.
async fn running(world: &World) -> (Controller, Operator, Node, SocketAddr) {
    let address = "127.0.0.1:0".parse().unwrap();
    let config = Config { data: world.data(), console: Some(Some(address)), ..Config::default() };
    let controller = world.start_with(config).await;
    let console = controller.ready.console.unwrap();
    let operator = world.operator(&controller).await;
    let mut node = Node::enrol(world, &controller, &operator, "rx1").await;
    node.report(inventory("rx1", &[("a", "canary"), ("b", "full")])).await.unwrap();
    operator.started().await;
    (controller, operator, node, console)
}

fn moved(state: DeploymentState, reason: &str) -> ReportBody {
    ReportBody::Deployment {
        rollout: "r1".parse().unwrap(),
        device: "rx1/a".parse().unwrap(),
        attempt: 1,
        state,
        reason: reason.to_owned(),
        code: String::new(),
        evidence: Default::default(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_controller_says_what_to_do_first() {
    let world = World::new();
    let address = "127.0.0.1:0".parse().unwrap();
    let config = Config { data: world.data(), console: Some(Some(address)), ..Config::default() };
    let controller = world.start_with(config).await;
    let console = controller.ready.console.unwrap();
    for (path, says) in [("/", "wardround rollout create"), ("/sites", "wardround site token")] {
        let (head, body) = get(console, path).await;
        assert!(head.starts_with("http/1.1 200") && body.contains(says), "{path}: {head}\n{body}");
    }
    let (_, metrics) = get(console, "/metrics").await;
    for line in
        ["wardround_rollouts{state=\"halted\"} 0", "wardround_deployments{state=\"failed\"} 0", "wardround_sites 0"]
    {
        assert!(metrics.lines().any(|l| l == line), "{line} in\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_call_sees_what_fails_and_the_command_that_stops_it() {
    let world = World::new();
    let (_controller, operator, mut node, console) = running(&world).await;
    let (_, list) = get(console, "/").await;
    assert!(list.contains(r#"href="/rollouts/r1""#) && list.contains("running"), "{list}");
    let (_, page) = get(console, "/rollouts/r1").await;
    assert!(page.contains("wardround rollout halt r1 --reason"), "{page}");
    assert!(!page.contains("Look at these first"), "{page}");

    // What a node says is shown as text, whatever it is.
    node.report(moved(DeploymentState::Failed, "<script>alert(1)</script>")).await.unwrap();
    let (_, page) = get(console, "/rollouts/r1").await;
    assert!(page.contains("Look at these first") && page.contains("&lt;script&gt;alert(1)"), "{page}");
    assert!(!page.contains("<script>alert"), "{page}");
    let (_, some) = get(console, "/rollouts/r1?state=failed").await;
    let devices = some.split("id=\"devices\"").nth(1).unwrap();
    assert!(devices.contains("rx1/a") && !devices.contains("rx1/b"), "{devices}");

    operator.halt(operator.order("r1", Command::Halt, CYD).await).await.unwrap();
    let (_, page) = get(console, "/rollouts/r1").await;
    assert!(page.contains("halted") && page.contains("wardround rollout resume r1"), "{page}");
    assert!(!page.contains("rollout halt r1"), "{page}");
    let (_, metrics) = get(console, "/metrics").await;
    for line in [
        "wardround_rollouts{state=\"halted\"} 1",
        "wardround_rollouts{state=\"running\"} 0",
        "wardround_deployments{state=\"failed\"} 1",
        "wardround_sites 1",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} in\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_shows_its_node_devices_and_systems() {
    let world = World::new();
    let (_controller, _operator, mut node, console) = running(&world).await;
    let system = "rx1/pacs".parse().unwrap();
    let health =
        ReportBody::Health { system, health: Health::Unhealthy, blames: None, document: None, probes: Vec::new() };
    node.report(health).await.unwrap();
    let watch = node.client().watch(v1::WatchRequest {}).await.unwrap();
    eventually("the connection", || async {
        get(console, "/metrics").await.1.lines().any(|l| l == "wardround_nodes_connected 1").then_some(())
    })
    .await;
    let (_, page) = get(console, "/sites/rx1").await;
    for part in ["Hospital rx1", "rx1/pacs", "unhealthy", "rx1/b", "ring=full", "connected", "1 of 1 sites connected"] {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert!(!page.contains("Drift"), "{page}");
    let gone = v1::Drift {
        kind: "update_gone".to_owned(),
        subject: "KB1".to_owned(),
        text: "KB1 <is> gone".to_owned(),
        since_ms: 1,
    };
    let told = v1::DeviceInventory { device: "rx1/b".to_owned(), drift: vec![gone], ..Default::default() };
    node.client().report_inventory(v1::ReportInventoryRequest { inventory: Some(told) }).await.unwrap();
    let (_, page) = get(console, "/sites/rx1").await;
    for part in ["Drift", "update gone", "KB1 &lt;is&gt; gone", "wardround device list --drift --site rx1"] {
        assert!(page.contains(part), "{part} in {page}");
    }
    let (_, metrics) = get(console, "/metrics").await;
    assert!(metrics.contains("wardround_clinical_systems{health=\"unhealthy\"} 1"), "{metrics}");
    drop(watch);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_only_shows_and_only_to_this_machine() {
    let world = World::new();
    let (_controller, _operator, _node, console) = running(&world).await;
    let (head, _) = get(console, "/").await;
    let policy = "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'";
    for part in [policy, "x-content-type-options: nosniff", "referrer-policy: no-referrer", "cache-control: no-store"] {
        assert!(head.contains(part), "{part} in {head}");
    }
    for (method, path, host, status) in [
        ("POST", "/rollouts/r1", "localhost", "405"),
        ("DELETE", "/rollouts/r1", "localhost", "405"),
        ("GET", "/", "evil.example", "421"),
        ("GET", "/nothing", "localhost", "404"),
        ("GET", "/rollouts/nothing", "localhost", "404"),
        ("GET", "/rollouts/%2e%2e%2fetc", "localhost", "400"),
        ("GET", "/sites/zz9", "localhost", "404"),
        ("GET", "/rollouts/r1?state=happy", "localhost", "400"),
        ("GET", "/?page=nonsense", "localhost", "400"),
        ("HEAD", "/", "localhost", "200"),
    ] {
        let (head, body) = ask(console, method, path, host).await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{method} {path}: {head}");
        assert!(head.contains("content-security-policy"), "{method} {path}: {head}");
        assert!(!body.contains("<script>") && !body.contains(" style="), "{body}");
    }
    for asset in ["/assets/console.css", "/assets/console.js"] {
        assert!(get(console, asset).await.0.starts_with("http/1.1 200"), "{asset}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_waits_is_shown_beside_the_one_that_runs() {
    let world = World::new();
    let (_controller, operator, mut node, console) = running(&world).await;
    node.report(inventory("rx1", &[("a", "canary"), ("b", "full"), ("c", "full")])).await.unwrap();
    let request = wardround_proto::v1::AmendRolloutRequest { id: "r1".to_owned() };
    operator.rollouts().amend_rollout(request).await.unwrap();
    let (_, body) = get(console, "/rollouts/r1").await;
    for says in
        ["version 1", "Version 2 (devices: 1 in, 0 out)", "waits for the signatures", "wardround rollout sign r1"]
    {
        assert!(body.contains(says), "{says} in\n{body}");
    }
}
