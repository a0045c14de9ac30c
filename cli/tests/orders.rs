//! Orders on a real rollout: a real controller, a real node with sandbox devices, and everything said at the terminal.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

#[path = "support/estate.rs"]
mod estate;
#[path = "support/process.rs"]
mod process;
#[path = "support/repository.rs"]
mod repository;
mod support;

use estate::{json, ok, plan, start_node};
use insta::assert_snapshot;
use process::{Running, until};
use serde_json::Value;
use support::{Bench, free_address};

fn wave_state(bench: &Bench, rollout: &str, wave: usize) -> String {
    json(bench, &["rollout", "status", rollout])["waves"][wave]["state"].as_str().unwrap().to_owned()
}

/// A controller, a node, a signed patch.
fn set_up() -> (Bench, Running, Running) {
    set_up_with_check_ins("300ms")
}

/// With a node that checks in this often, and else only when it is nudged.
fn set_up_with_check_ins(every: &str) -> (Bench, Running, Running) {
    let mut bench = Bench::new();
    for (file, holder, role) in
        [("ann.key", "Ann Lee", "release"), ("ben.key", "Ben Fox", "clinical"), ("cy.key", "Cy Poole", "on-call")]
    {
        bench.key(file, holder, role);
    }
    let address = free_address();
    let listen = address.to_string();
    bench.mask(listen.clone(), "ADDRESS");
    ok(&bench, &["init", "--listen", &listen]);
    repository::begin(&bench, &["ann.pub.json", "ben.pub.json", "cy.pub.json"]);
    let controller = Running::controller(&bench, address);
    estate::enrol(&bench, &listen);
    let node = start_node(&bench, every);
    bench.write("slow.yaml", &plan("1h"));
    bench.write("fast.yaml", &plan("300ms"));
    ok(&bench, &["patch", "sign", "TEST-1", "--yes", "--key", "ann.key"]);
    ok(&bench, &["patch", "sign", "TEST-1", "--yes", "--key", "ben.key"]);
    ok(&bench, &["key", "use", "cy.key"]);
    (bench, controller, node)
}

fn signed_and_started(bench: &Bench, plan: &str, id: &str) {
    ok(bench, &["rollout", "create", "--patch", "TEST-1", "--plan", plan, "--id", id]);
    ok(bench, &["rollout", "sign", id, "--yes", "--key", "ann.key"]);
    ok(bench, &["rollout", "sign", id, "--yes", "--key", "ben.key"]);
    ok(bench, &["rollout", "start", id, "--key", "ann.key"]);
}

#[test]
fn a_round_goes_wave_by_wave_and_a_device_is_taken_back() {
    let (bench, controller, node) = set_up();
    let preview = ["plan", "preview", "fast.yaml", "--patch", "TEST-1", "--start", "2027-06-01T09:00:00Z"];
    assert_snapshot!("preview", bench.run(&[&preview[..], &["--devices"]].concat()));
    ok(&bench, &[&preview[..], &["--svg", "fast.svg"]].concat());
    let picture = std::fs::read_to_string(bench.path().join("fast.svg")).unwrap();
    assert!(picture.starts_with("<?xml") && picture.contains("patch TEST-1"), "{picture}");
    ok(&bench, &["rollout", "create", "--patch", "TEST-1", "--plan", "fast.yaml", "--id", "round"]);
    assert_snapshot!("start_unsigned", bench.run(&["rollout", "start", "round", "--key", "ann.key"]));
    ok(&bench, &["rollout", "sign", "round", "--yes", "--key", "ann.key"]);
    ok(&bench, &["rollout", "sign", "round", "--yes", "--key", "ben.key"]);
    assert_snapshot!("start_by_the_wrong_role", bench.run(&["rollout", "start", "round", "--key", "cy.key"]));
    assert_snapshot!("start", bench.run(&["rollout", "start", "round", "--key", "ann.key"]));
    until("the second wave wants an approval", || wave_state(&bench, "round", 1) == "awaiting_approval");
    assert_snapshot!("approve_no_such_wave", bench.run(&["rollout", "approve", "round", "wave9", "--key", "ben.key"]));
    assert_snapshot!("approve", bench.run(&["rollout", "approve", "round", "full", "--key", "ben.key"]));

    let watched = bench.command(&["rollout", "watch", "round", "--output", "json"]).output().unwrap();
    assert_eq!(watched.status.code(), Some(0), "{}", String::from_utf8_lossy(&watched.stderr));
    let lines = String::from_utf8(watched.stdout).unwrap();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["rollout"]["state"], "completed");
    assert!(bench.path().join("devices/ct-2/patched").exists());
    assert_snapshot!("deployments", bench.run(&["rollout", "deployments", "round", "--wave", "full"]));

    let back = ["rollout", "rollback", "round", "--device", "rx1/ct-2", "--reason", "black images"];
    assert_snapshot!("rollback_nobody_to_ask", bench.run(&back));
    let mut back = back.to_vec();
    back.push("--yes");
    assert_snapshot!("rollback_waits", bench.run(&back));
    let status = bench.run(&["rollout", "status", "round"]);
    let waits = "waits   order 3 (roll back device rx1/ct-2), signed by Cy Poole, waits for a second person";
    assert!(status.contains(waits) && status.contains("wardround rollout cosign round --order 3"), "{status}");
    assert_snapshot!("cosign_nobody_to_ask", bench.run(&["rollout", "cosign", "round", "--key", "ben.key"]));
    assert_snapshot!("cosign_by_the_same_person", bench.run(&["rollout", "cosign", "round", "--yes"]));
    assert!(bench.path().join("devices/ct-2/patched").exists(), "nothing is done by one person");
    assert_snapshot!("withdraw", bench.run(&["rollout", "withdraw", "round", "--reason", "wrong device"]));
    assert_snapshot!(
        "cosign_what_was_withdrawn",
        bench.run(&["rollout", "cosign", "round", "--yes", "--key", "ben.key"])
    );
    ok(&bench, &back);
    assert_snapshot!("cosign", bench.run(&["rollout", "cosign", "round", "--yes", "--key", "ben.key"]));
    until("the device is as it was", || !bench.path().join("devices/ct-2/patched").exists());
    until("the record says so", || {
        let found = json(&bench, &["rollout", "deployments", "round", "--state", "rolled_back"]);
        found.as_array().is_some_and(|list| list.len() == 1 && list[0]["device"] == "rx1/ct-2")
    });
    assert!(bench.path().join("devices/ct-3/patched").exists(), "only that device");
    assert_eq!(node.stop(), Some(0), "{}", bench.read("node.log"));
    assert_eq!(controller.stop(), Some(0), "{}", bench.read("controller.log"));
}

#[test]
fn a_halt_needs_nothing_but_an_id_and_a_reason_and_waits_for_no_check_in() {
    let (bench, _controller, node) = set_up_with_check_ins("10m");
    signed_and_started(&bench, "slow.yaml", "slow");
    until("the canary soaks", || wave_state(&bench, "slow", 0) == "soaking");

    let halted = json(&bench, &["rollout", "halt", "slow", "--reason", "images missing"]);
    assert_eq!(halted["halt"], serde_json::json!({"sites": 1, "connected_sites": 1, "confirmed_sites": 1}));
    // Minutes before the node would have asked by itself; how much of a second it takes depends on the machine.
    assert_eq!(halted["all_connected_confirmed"], true, "{halted}");
    // A person who is not sure halts again.
    assert_snapshot!("halt", bench.run(&["rollout", "halt", "slow", "--reason", "images missing"]));
    assert_snapshot!("resume_nobody_to_ask", bench.run(&["rollout", "resume", "slow"]));
    assert_snapshot!("resume_by_the_wrong_role", bench.run(&["rollout", "resume", "slow", "--yes"]));
    assert_snapshot!("resume", bench.run(&["rollout", "resume", "slow", "--yes", "--key", "ann.key"]));
    // A halt that comes between: nothing of the resume is left.
    ok(&bench, &["rollout", "halt", "slow", "--reason", "still missing"]);
    assert_snapshot!("cosign_after_a_halt", bench.run(&["rollout", "cosign", "slow", "--yes", "--key", "ben.key"]));
    let both = ["rollout", "resume", "slow", "--yes", "--key", "ann.key", "--key", "ben.key"];
    assert_snapshot!("resume_by_two_people_at_once", bench.run(&both));
    assert_snapshot!("pause", bench.run(&["rollout", "pause", "slow", "--reason", "change freeze"]));

    assert_eq!(node.stop(), Some(0), "{}", bench.read("node.log"));
    until("the controller has noticed", || json(&bench, &["site", "list"])[0]["connected"] == false);
    assert_snapshot!("halt_with_a_site_away", bench.run(&["rollout", "halt", "slow", "--reason", "images missing"]));
    let node = start_node(&bench, "300ms");
    until("the site that was away knows", || {
        json(&bench, &["rollout", "status", "slow"])["halt"]["confirmed_sites"] == 1
    });

    assert_snapshot!(
        "rollback",
        bench.run(&[
            "rollout",
            "rollback",
            "slow",
            "--all",
            "--reason",
            "not needed",
            "--yes",
            "--key",
            "cy.key",
            "--key",
            "ben.key"
        ])
    );
    let watch = bench.command(&["rollout", "watch", "slow"]).output().unwrap();
    assert_eq!(watch.status.code(), Some(6), "{}", String::from_utf8_lossy(&watch.stderr));
    assert!(String::from_utf8_lossy(&watch.stdout).contains("rollout slow: rolled back"));
    assert!(!bench.path().join("devices/ct-1/patched").exists());
    assert_snapshot!(
        "cancel_what_has_ended",
        bench.run(&["rollout", "cancel", "slow", "--reason", "x", "--yes", "--key", "ann.key"])
    );
    drop(node);
}

#[test]
fn a_cancelled_rollout_touches_nothing_more() {
    let (bench, _controller, _node) = set_up();
    signed_and_started(&bench, "slow.yaml", "slow");
    until("the canary soaks", || wave_state(&bench, "slow", 0) == "soaking");
    let cancel = ["rollout", "cancel", "slow", "--reason", "superseded", "--key", "ann.key"];
    assert_snapshot!("cancel_nobody_to_ask", bench.run(&cancel));
    let mut cancel = cancel.to_vec();
    cancel.push("--yes");
    assert_snapshot!("cancel", bench.run(&cancel));
    assert_eq!(bench.command(&["rollout", "watch", "slow"]).output().unwrap().status.code(), Some(6));
    let record = json(&bench, &["audit", "list", "--rollout", "slow"]);
    assert!(
        record
            .as_array()
            .unwrap()
            .iter()
            .any(|r| r["kind"] == "order" && !r["signed_by"].as_array().unwrap().is_empty())
    );
    assert!(!bench.path().join("devices/ct-2/patched").exists());
}

#[test]
fn a_failed_wave_stands_among_the_alarms_although_it_is_of_no_one_site() {
    let (bench, _controller, _node) = set_up();
    bench.write("devices/ct-1/refuses", "");
    signed_and_started(&bench, "slow.yaml", "slow");
    let codes = |line: &[&str]| -> Vec<String> {
        let list = json(&bench, line);
        list.as_array().unwrap().iter().map(|a| a["code"].as_str().unwrap().to_owned()).collect()
    };
    until("the wave has failed", || codes(&["alarms"]).contains(&"wave_failed".to_owned()));
    let all = codes(&["alarms"]);
    let at = |code: &str| all.iter().position(|c| c == code).unwrap_or_else(|| panic!("no {code} in {all:?}"));
    assert!(
        at("wave_failed") < at("deployment_failed"),
        "newest first, and the device failed before the wave: {all:?}"
    );
    let of_the_site = codes(&["alarms", "--site", "rx1"]);
    assert!(of_the_site.contains(&"deployment_failed".to_owned()), "{of_the_site:?}");
    assert!(!of_the_site.contains(&"wave_failed".to_owned()), "{of_the_site:?}");
    assert_eq!(codes(&["alarms", "--site", "rx9"]), Vec::<String>::new());
}
