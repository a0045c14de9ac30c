//! Signing on a machine without a network: a request is exported, read and signed elsewhere, and imported, with a real
//! controller and a node; and requests that somebody changed on the way.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

#[path = "support/estate.rs"]
mod estate;
#[path = "support/process.rs"]
mod process;
#[path = "support/repository.rs"]
mod repository;
mod support;

use std::process::Command;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use estate::ok;
use insta::assert_snapshot;
use process::Running;
use serde_json::Value;
use support::{Bench, PASSPHRASE, free_address};

fn says(bench: &Bench, line: &[&str], exit: u8, words: &[&str]) -> String {
    checked(bench.run(line), exit, words)
}

fn checked(text: String, exit: u8, words: &[&str]) -> String {
    assert!(text.contains(&format!("\nexit {exit}\n")), "{text}");
    for word in words {
        assert!(text.contains(word), "lacks {word:?}: {text}");
    }
    text
}

/// A command on the machine without a network: no profile, and nothing of this one's home.
fn away(bench: &Bench, line: &[&str]) -> String {
    let mut command: Command = bench.command(line);
    command.env("WARDROUND_HOME", bench.path().join("nothing")).env("WARDROUND_PASSPHRASE", PASSPHRASE);
    bench.show(&mut command, line)
}

/// A controller with one site of three devices and an unsigned patch.
fn set_up() -> (Bench, Running, Running) {
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
    let node = estate::start_node(&bench, "300ms");
    bench.write("plan.yaml", &estate::plan("1h"));
    (bench, controller, node)
}

fn edit(bench: &Bench, from: &str, to: &str, change: impl FnOnce(&mut Value)) {
    let mut request: Value = serde_json::from_str(&bench.read(from)).unwrap();
    change(&mut request["content"]);
    bench.write(to, &request.to_string());
}

/// Changes a document.
fn edit_text(text: &mut Value, change: impl FnOnce(&mut Value)) {
    let mut document: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
    change(&mut document);
    *text = document.to_string().into();
}

/// Changes an order inside its envelope.
fn edit_payload(envelope: &mut Value, change: impl FnOnce(&mut Value)) {
    let payload = BASE64.decode(envelope["payload"].as_str().unwrap()).unwrap();
    let mut document: Value = serde_json::from_slice(&payload).unwrap();
    change(&mut document);
    envelope["payload"] = BASE64.encode(document.to_string()).into();
}

#[test]
fn what_is_signed_away_counts_here() {
    let (bench, controller, _node) = set_up();
    // A patch, by both.
    ok(&bench, &["sign", "export", "patch", "TEST-1"]);
    for key in ["ann", "ben"] {
        let out = format!("{key}-patch.answer.json");
        let line = ["sign", "TEST-1.request.json", "--yes", "--key", &format!("{key}.key"), "--out", &out];
        checked(away(&bench, &line), 0, &["signed: patch TEST-1 by "]);
        says(&bench, &["sign", "import", &out], 0, &["patch TEST-1 is signed for"]);
    }
    // A rollout, and what both read before they sign.
    ok(&bench, &["rollout", "create", "--patch", "TEST-1", "--plan", "plan.yaml", "--id", "r1"]);
    ok(&bench, &["sign", "export", "rollout", "r1"]);
    let shown =
        checked(away(&bench, &["sign", "show", "r1.request.json", "--devices"]), 0, &["  full rx1/ct-3 (variant xp)"]);
    let hex = |c: char| c.is_ascii_hexdigit();
    let masked: String =
        shown
            .split(' ')
            .map(|w| {
                if w.trim().len() == 64 && w.trim().chars().all(hex) {
                    w.replace(w.trim(), "HEX")
                } else {
                    w.to_owned()
                }
            })
            .collect::<Vec<_>>()
            .join(" ");
    assert_snapshot!(
        "rollout_request",
        masked.lines().filter(|l| !l.contains("SHA-256") && !l.contains("rollout r1: ")).collect::<Vec<_>>().join("\n")
    );
    for key in ["ann", "ben"] {
        let out = format!("{key}.answer.json");
        checked(
            away(&bench, &["sign", "r1.request.json", "--yes", "--key", &format!("{key}.key"), "--out", &out]),
            0,
            &[],
        );
        says(&bench, &["sign", "import", &out], 0, &["rollout r1 is"]);
    }
    // Orders: one that comes too late is not given.
    ok(&bench, &["sign", "export", "order", "r1", "start", "--out", "start.request.json"]);
    ok(
        &bench,
        &[
            "sign",
            "export",
            "order",
            "r1",
            "approve",
            "--wave",
            "full",
            "--reason",
            "well",
            "--out",
            "approve.request.json",
        ],
    );
    checked(
        away(&bench, &["sign", "start.request.json", "--yes", "--key", "ann.key"]),
        0,
        &["ORDER: START rollout r1.", "It is about 1 device"],
    );
    says(&bench, &["sign", "import", "start.answer.json"], 0, &["rollout r1 is running"]);
    says(&bench, &["sign", "import", "start.answer.json"], 3, &[]);
    checked(
        away(&bench, &["sign", "approve.request.json", "--yes", "--key", "ben.key"]),
        0,
        &["2 devices", "\"well\""],
    );
    says(&bench, &["sign", "import", "approve.answer.json"], 3, &["export the order again"]);
    ok(&bench, &["sign", "export", "order", "r1", "halt", "--reason", "artefacts", "--out", "halt.request.json"]);
    checked(away(&bench, &["sign", "halt.request.json", "--yes", "--key", "cy.key"]), 0, &["ORDER: HALT"]);
    says(&bench, &["sign", "import", "halt.answer.json"], 0, &["rollout r1 is halted"]);
    // The second person of a resume is away too; the first one's signature is no second.
    let wants = ["sign", "export", "order", "r1", "resume", "--reason", "cleaned", "--out", "resume.request.json"];
    ok(&bench, &wants);
    checked(
        away(&bench, &["sign", "resume.request.json", "--yes", "--key", "cy.key", "--out", "no.answer.json"]),
        3,
        &["ORDER: RESUME", "two people", "Cy Poole (on-call) may not order to resume"],
    );
    checked(away(&bench, &["sign", "resume.request.json", "--yes", "--key", "ann.key"]), 0, &[]);
    says(&bench, &["sign", "import", "resume.answer.json"], 0, &["waits for a second person"]);
    ok(&bench, &["sign", "export", "cosign", "r1", "--out", "second.request.json"]);
    let twice = ["sign", "second.request.json", "--yes", "--key", "ann.key"];
    checked(away(&bench, &twice), 3, &["does not complete it"]);
    let second = ["sign", "second.request.json", "--yes", "--key", "ben.key"];
    checked(away(&bench, &second), 0, &["waits for a second person; signed by Ann Lee (release)"]);
    says(&bench, &["sign", "import", "second.answer.json"], 0, &["rollout r1 is running"]);
    // This machine has held on to the root since it first signed, and takes no other.
    let pin = bench.read("nothing/operator/root.sha256");
    bench.write("nothing/operator/root.sha256", &"0".repeat(64));
    checked(away(&bench, &["sign", "show", "second.request.json"]), 3, &["another first root than before"]);
    bench.write("nothing/operator/root.sha256", &pin);
    checked(away(&bench, &["sign", "show", "second.request.json", "--root", pin.trim()]), 0, &[]);
    // A signature that was changed on the way back.
    let mut answer: Value = serde_json::from_str(&bench.read("ann.answer.json")).unwrap();
    answer["content"]["signed"][0]["signature"] = BASE64.encode([7; 64]).into();
    bench.write("broken.answer.json", &answer.to_string());
    says(
        &bench,
        &["sign", "import", "broken.answer.json"],
        3,
        &["can't be used", "not its signature over this metadata"],
    );
    assert_eq!(controller.stop(), Some(0), "{}", bench.read("controller.log"));
}

#[test]
fn a_changed_request_is_refused_by_name() {
    let (bench, _controller, _node) = set_up();
    for key in ["ann.key", "ben.key"] {
        ok(&bench, &["patch", "sign", "TEST-1", "--yes", "--key", key]);
    }
    ok(&bench, &["rollout", "create", "--patch", "TEST-1", "--plan", "plan.yaml", "--id", "r1"]);
    ok(&bench, &["sign", "export", "rollout", "r1"]);
    ok(
        &bench,
        &["sign", "export", "order", "r1", "roll-back", "--site", "rx1", "--reason", "x", "--out", "o.request.json"],
    );
    let refused = |what: &str, from: &str, words: &[&str], change: &dyn Fn(&mut Value)| {
        let file = format!("{what}.request.json");
        edit(&bench, from, &file, change);
        for line in [&["sign", "show", &file][..], &["sign", &file, "--yes", "--key", "ann.key"]] {
            checked(away(&bench, line), 3, words);
        }
        assert!(!bench.path().join(format!("{what}.answer.json")).exists(), "{what} was signed");
    };
    let r1 = "r1.request.json";
    refused("other-device", r1, &["rollout r1", "wave canary"], &|c| c["members"][0]["device"] = "rx1/ct-9".into());
    refused("fewer", r1, &["wave full has 1 members; the document says 2"], &|c| {
        c["members"].as_array_mut().unwrap().pop();
    });
    refused("moved", r1, &["rollout r1"], &|c| c["members"][1]["wave"] = "canary".into());
    refused("other-patch", r1, &["another document of patch TEST-1"], &|c| {
        edit_text(&mut c["patch"], |patch| patch["title"] = "Harmless".into());
    });
    refused("other-plan", r1, &["rollout r1", "waves"], &|c| {
        edit_text(&mut c["document"], |rollout| rollout["plan"]["waves"][0]["name"] = "first".into());
    });
    refused("no-pause", r1, &["rollout r1", "health.interval"], &|c| {
        edit_text(&mut c["document"], |rollout| rollout["plan"]["health"]["interval"] = 0.into());
    });
    refused("hidden-field", r1, &["unknown field `also`"], &|c| {
        edit_text(&mut c["document"], |rollout| rollout["also"] = "this".into());
    });
    // What is signed is a version of the signer's role: with this one document more, and nothing else.
    let other = ["version of release", "something else than to add rollouts/r1.1.json"];
    refused("other-document", r1, &other, &|c| {
        edit_text(&mut c["document"], |rollout| rollout["created_at"] = 0.into());
    });
    fn targets(c: &mut Value) -> &mut Value {
        &mut c["listing"]["next"][0]["file"]["signed"]["targets"]
    }
    refused("one-more", r1, &other, &|c| {
        let more = targets(c)["rollouts/r1.1.json"].clone();
        targets(c)["rollouts/r2.1.json"] = more;
    });
    refused("one-less", r1, &other, &|c| drop(targets(c).as_object_mut().unwrap().remove("patches/TEST-1.json")));
    refused("later", r1, &["version of release"], &|c| {
        c["listing"]["next"][0]["file"]["signed"]["version"] = 7.into();
    });
    refused("other-role", r1, &["this version of targets must not be signed"], &|c| {
        c["listing"]["next"][0]["role"] = "targets".into();
    });
    // It stands on a repository that verifies from its first root on.
    refused("other-people", r1, &["its image repository"], &|c| {
        let text = c["listing"]["files"]["targets.json"].as_str().unwrap().replace("Ann Lee", "Eve Lee");
        c["listing"]["files"]["targets.json"] = text.into();
    });
    refused("no-root", r1, &["it holds no 1.root.json"], &|c| {
        drop(c["listing"]["files"].as_object_mut().unwrap().remove("1.root.json"));
    });
    let other_root = ["sign", "show", r1, "--root", &"0".repeat(64)];
    checked(away(&bench, &other_root), 3, &["rests on the root with SHA-256", "compare with the ceremony's paper"]);
    refused("other-type", "o.request.json", &["the payload type is"], &|c| {
        c["document"]["payloadType"] = "text/plain".into();
    });
    refused("other-rollout", "o.request.json", &["another document of rollout r1"], &|c| {
        edit_text(&mut c["rollout"], |rollout| rollout["created_at"] = 0.into());
    });
    // An order's own words are what is signed: changed words are shown, not hidden.
    edit(&bench, "o.request.json", "all.request.json", |c| {
        edit_payload(&mut c["document"], |order| {
            order["command"] = serde_json::json!({"command": "roll_back", "target": {"target": "rollout"}})
        });
    });
    checked(away(&bench, &["sign", "show", "all.request.json"]), 0, &["taken back from every device", "3 devices"]);
    // The machine has no profile, so the key must be named; and nobody is there to say yes.
    checked(away(&bench, &["sign", r1]), 2, &["needs your signing key"]);
    checked(away(&bench, &["sign", r1, "--key", "ann.key"]), 7, &["nobody is at a terminal"]);
    bench.write("huge.request.json", &" ".repeat(64 * 1024 * 1024 + 1));
    checked(away(&bench, &["sign", "show", "huge.request.json"]), 1, &["larger than 67108864 bytes"]);
}
