//! The root ceremony as people and scripts run it: in one room, on several machines, after a lost key, and every way in
//! which it must not succeed.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

#[expect(dead_code, reason = "no controller is needed here")]
mod support;

use insta::assert_snapshot;
use serde_json::Value;
use support::Bench;
use wardround_signing::{
    Digest,
    tuf::{Moment, RoleName, Standing},
};

/// Three people for root and targets, one for each other role, and the controller's key.
fn room() -> Bench {
    let mut bench = Bench::new();
    for (file, holder, role) in [
        ("ann.key", "Ann Lee", ""),
        ("ben.key", "Ben Ode", ""),
        ("eve.key", "Eve Roy", ""),
        ("rel.key", "Ann Lee", "release"),
        ("cli.key", "Ben Ode", "clinical"),
        ("cy.key", "Cy Fox", "on-call"),
        ("machine.key", "controller", ""),
    ] {
        bench.key(file, holder, role);
    }
    bench
}

const PEOPLE: [&str; 17] = [
    "root",
    "init",
    "--root",
    "ann.pub.json",
    "ben.pub.json",
    "eve.pub.json",
    "--targets",
    "ann.pub.json",
    "ben.pub.json",
    "eve.pub.json",
    "--release",
    "rel.pub.json",
    "--clinical",
    "cli.pub.json",
    "--on-call",
    "cy.pub.json",
    "--controller=machine.pub.json",
];

fn ok(bench: &Bench, line: &[&str]) -> String {
    says(bench, line, 0, &[])
}

/// Runs it; its code and these words must be there.
fn says(bench: &Bench, line: &[&str], exit: u8, words: &[&str]) -> String {
    let text = bench.run(line);
    assert!(text.contains(&format!("\nexit {exit}\n")), "{text}");
    for word in words {
        assert!(text.contains(word), "lacks {word:?}: {text}");
    }
    text
}

fn bytes(bench: &Bench, name: &str) -> Vec<u8> {
    std::fs::read(bench.path().join(name)).unwrap()
}

/// A rotation that Ben and Eve sign on the spot.
fn rotate<'a>(change: &[&'a str]) -> Vec<&'a str> {
    let both = ["--sign-with", "ben.key", "--sign-with", "eve.key", "--yes"];
    [&["root", "rotate", "repository"], change, &both].concat()
}

/// What a controller's folder holds.
fn online(bench: &Bench) -> String {
    let public: Value = serde_json::from_str(&bench.read("machine2.pub.json")).unwrap();
    let key = &public["key"];
    serde_json::json!({"snapshot": key, "timestamp": key, "directives": key}).to_string()
}

/// Digests differ with the keys.
fn without_digests(text: &str) -> String {
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let mask = |word: &str| {
        let core = word.trim_end_matches([':', ',', '.']);
        if core.len() == 64 && core.chars().all(hex) { word.replace(core, "SHA-256-HEX") } else { word.to_owned() }
    };
    text.split('\n').map(|l| l.split(' ').map(mask).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("\n")
}

/// All in one room, by a script.
fn made() -> Bench {
    let bench = room();
    ok(&bench, &[&PEOPLE[..], &["--sign-with", "ann.key", "--sign-with", "ben.key", "--yes"]].concat());
    bench
}

#[test]
fn a_first_ceremony_in_one_room() {
    let bench = room();
    let here = [&PEOPLE[..], &["--sign-with", "ann.key", "--sign-with", "eve.key", "--yes"]].concat();
    assert_snapshot!("init", without_digests(&ok(&bench, &here)));
    let mut standing = Standing::begin(&bytes(&bench, "repository/1.root.json")).unwrap();
    let now = Moment::from_ms(jiff::Timestamp::now().as_millisecond());
    let update = standing.accept(RoleName::Targets, &bytes(&bench, "repository/1.targets.json"), now).unwrap();
    assert_eq!(update.signers.len(), 2);
    assert_snapshot!("show", without_digests(&ok(&bench, &["root", "show", "repository"])));
    let pin = Digest::of(&bytes(&bench, "repository/1.root.json")).hex();
    says(
        &bench,
        &["root", "verify", "repository", "--pin", &pin],
        0,
        &["1.root.json is the one on your paper", "good:"],
    );
    let other = Digest::of(b"another").hex();
    says(&bench, &["root", "verify", "repository", "--pin", &other], 3, &["1.root.json is another one"]);
    // A second root over the first would be two truths. (The very same one, made in the same second, is no second.)
    let second = [&here[..], &["--expires", "300d"]].concat();
    says(&bench, &second, 3, &["1.root.json exists and is not overwritten"]);
    // Nobody at the terminal says yes.
    let unasked = [&PEOPLE[..], &["--sign-with", "ann.key", "--out", "other"]].concat();
    says(&bench, &unasked, 7, &["nobody is at a terminal"]);
    assert!(!bench.path().join("other").exists());
}

#[test]
fn a_first_ceremony_on_several_machines() {
    let bench = room();
    assert_snapshot!("init_request", without_digests(&ok(&bench, &PEOPLE)));
    let sign =
        |key| ok(&bench, &["sign", "root.request.json", "--yes", "--key", key, "--out", &format!("{key}.answer.json")]);
    sign("ann.key");
    // One is too few: who is missing is named, and nothing is written.
    let early = ["root", "assemble", "root.request.json", "ann.key.answer.json"];
    assert_snapshot!("assemble_early", says(&bench, &early, 3, &[]));
    assert!(!bench.path().join("repository").exists());
    // A person who has no key in root and targets can't sign for them.
    let stranger = ["sign", "root.request.json", "--yes", "--key", "cy.key", "--out", "cy.answer.json"];
    says(
        &bench,
        &stranger,
        3,
        &["Cy Fox (on-call)", "is not among those who may sign root 1 and targets 1", "Ann Lee", "Eve Roy"],
    );
    sign("eve.key");
    let both = ["root", "assemble", "root.request.json", "ann.key.answer.json", "eve.key.answer.json"];
    says(&bench, &both, 0, &["complete: root 1 and targets 1", "Ann Lee", "Eve Roy", "on paper"]);
    ok(&bench, &["root", "verify", "repository"]);
    // A ceremony's answer is no order.
    says(&bench, &["sign", "import", "ann.key.answer.json"], 2, &["root assemble"]);
}

#[test]
fn a_request_that_differs_between_two_machines_is_noticed() {
    let bench = room();
    ok(&bench, &PEOPLE);
    ok(&bench, &["sign", "root.request.json", "--yes", "--key", "ann.key", "--out", "ann.answer.json"]);
    // On the way to Eve's machine somebody lowers what root needs.
    let mut request: Value = serde_json::from_str(&bench.read("root.request.json")).unwrap();
    let expires = &mut request["content"]["files"][0]["file"]["signed"]["expires"];
    *expires = "2031-01-01T00:00:00Z".into();
    bench.write("changed.request.json", &request.to_string());
    // It keeps the rules, so she is told what is unusual; and her signature does not count beside Ann's.
    let eve = ["sign", "changed.request.json", "--yes", "--key", "eve.key", "--out", "eve.answer.json"];
    says(&bench, &eve, 0, &["! root is valid for more than two years"]);
    let both = ["root", "assemble", "root.request.json", "ann.answer.json", "eve.answer.json"];
    says(&bench, &both, 3, &["Eve Roy", "signed another root than the one in this request"]);
    // What breaks the rules is refused before anything is shown.
    let root = &mut request["content"]["files"][0]["file"]["signed"];
    root["roles"]["root"]["threshold"] = 1.into();
    bench.write("weak.request.json", &request.to_string());
    let weak = ["sign", "weak.request.json", "--yes", "--key", "eve.key"];
    says(&bench, &weak, 3, &["this ceremony must not be signed", "role root has the threshold 1"]);
    let mut foreign: Value = serde_json::from_str(&bench.read("root.request.json")).unwrap();
    foreign["version"] = 2.into();
    bench.write("later.request.json", &foreign.to_string());
    says(&bench, &["sign", "show", "later.request.json"], 1, &["its version is 2", "same version of wardround"]);
    foreign["version"] = 1.into();
    foreign["content"]["kind"] = "certificate".into();
    bench.write("kind.request.json", &foreign.to_string());
    says(&bench, &["sign", "show", "kind.request.json"], 1, &["unknown variant `certificate`"]);
    says(&bench, &["sign", "show", "ann.answer.json"], 1, &["its format is not \"wardround-request\""]);
}

#[test]
fn keys_that_break_a_rule_are_refused_by_name() {
    let mut bench = room();
    bench.key("twin.key", "ann  lee", "clinical");
    let with = |change: &[(&str, &str)]| -> Vec<String> {
        let swap = |word: &&str| change.iter().find(|(old, _)| old == word).map_or(*word, |(_, new)| *new).to_owned();
        PEOPLE.iter().map(swap).collect()
    };
    let run = |line: Vec<String>, exit: u8, words: &[&str]| {
        says(&bench, &line.iter().map(String::as_str).collect::<Vec<_>>(), exit, words);
    };
    run(with(&[("cli.pub.json", "twin.pub.json")]), 3, &["Ann Lee holds a key in release and one in clinical"]);
    run(with(&[("cli.pub.json", "rel.pub.json")]), 3, &["rel.pub.json is Ann Lee's key for release, not for clinical"]);
    run(with(&[("cli.pub.json", "ann.pub.json"), ("rel.pub.json", "ann.pub.json")]), 3, &["(Ann Lee) stands in both"]);
    run(
        with(&[("eve.pub.json", "ann.pub.json")]),
        2,
        &["ann.pub.json and ann.pub.json hold the same key", "role root"],
    );
    run(with(&[("eve.pub.json", "rel.pub.json")]), 3, &["(Ann Lee)", "one person must not count twice"]);
    run(
        with(&[("--controller=machine.pub.json", "--controller=ann.pub.json")]),
        3,
        &["the controller must not sign for people"],
    );
    let one = [&PEOPLE[..], &["--threshold", "root=1"]].concat();
    says(&bench, &one, 3, &["role root has the threshold 1 with 3 key(s): 2 to 3 is accepted"]);
    let four = [&PEOPLE[..], &["--threshold", "targets=4"]].concat();
    says(&bench, &four, 3, &["role targets has the threshold 4"]);
    says(&bench, &[&PEOPLE[..], &["--threshold", "snapshot=2"]].concat(), 2, &["not a role of people"]);
    says(&bench, &PEOPLE[..16], 2, &["the controller's directive key is not named"]);
    says(&bench, &PEOPLE[..14], 2, &["nobody is named for the role on-call", "--on-call"]);
    assert!(!bench.path().join("root.request.json").exists());
}

#[test]
fn a_lost_key_is_replaced_by_those_who_are_left() {
    let mut bench = made();
    bench.key("ann2.key", "Ann Lee", "");
    let rotate = ["root", "rotate", "repository", "--replace", "Ann Lee=ann2.pub.json", "--request", "r.request.json"];
    // Ann's release key is hers too: a person has one key in each role, and the loss of a bag takes both.
    let said = ok(&bench, &rotate);
    for words in [
        "root 2 and targets 2",
        "root: takes away Ann Lee",
        "root: adds Ann Lee",
        "release: takes away Ann Lee",
        "compare it with your paper",
    ] {
        assert!(said.contains(words), "lacks {words}: {said}");
    }
    let sign = |key: &str| {
        let out = format!("{key}.answer.json");
        ok(&bench, &["sign", "r.request.json", "--yes", "--key", key, "--out", &out]);
    };
    sign("ben.key");
    sign("ann2.key");
    // Of the old root only Ben has signed: Ann's new key proves nothing to sites that know the old one.
    let early = ["root", "assemble", "r.request.json", "ben.key.answer.json", "ann2.key.answer.json"];
    says(&bench, &early, 3, &["root 2: 1 more must sign", "can still sign: ", "Eve Roy"]);
    assert!(!bench.path().join("repository/2.root.json").exists());
    sign("eve.key");
    let all = ["root", "assemble", "r.request.json", "ben.key.answer.json", "eve.key.answer.json"];
    ok(&bench, &all);
    let verified = says(
        &bench,
        &["root", "verify", "repository"],
        0,
        &["2.root.json: signed by enough of the people before and after"],
    );
    assert!(verified.contains("2.targets.json"), "{verified}");
    // The chain is checked from the first on: a link that was changed breaks it.
    let changed = bench.read("repository/2.root.json").replace("Eve Roy", "Eva Roy");
    bench.write("repository/2.root.json", &changed);
    says(&bench, &["root", "verify", "repository"], 3, &["2.root.json"]);
}

#[test]
fn people_thresholds_online_keys_and_expiry_change() {
    let mut bench = made();
    bench.key("dee.key", "Dee Kay", "clinical");
    bench.key("machine2.key", "controller", "");
    // Delegations alone: root stays as it is.
    let swap = ["--add", "clinical=dee.pub.json", "--remove", "clinical=Ben Ode"];
    says(
        &bench,
        &rotate(&swap),
        0,
        &["clinical: takes away Ben Ode", "clinical: adds Dee Kay", "complete: targets 2,"],
    );
    assert!(!bench.path().join("repository/2.root.json").exists());
    bench.write("online.pub.json", &online(&bench));
    says(
        &bench,
        &rotate(&["--controller", "online.pub.json"]),
        0,
        &["complete: root 2 and targets 3", "snapshot: adds the controller"],
    );
    says(
        &bench,
        &rotate(&["--threshold", "root=3", "--sign-with", "ann.key"]),
        0,
        &["root: 3 must sign instead of 2", "! root: all 3 keys are needed"],
    );
    // From here on two are too few.
    says(&bench, &rotate(&["--expires", "90d"]), 3, &["root 4: 1 more must sign", "Ann Lee"]);
    says(
        &bench,
        &rotate(&["--expires", "90d", "--sign-with", "ann.key"]),
        0,
        &["only the expiry is renewed", "root 4 and targets 4"],
    );
    says(&bench, &["root", "verify", "repository"], 0, &["4.root.json"]);
    says(&bench, &rotate(&["--remove", "release=Zoe"]), 4, &["\"Zoe\" holds no key in role release", "Ann Lee"]);
    says(&bench, &rotate(&["--remove", "clinical=Dee Kay"]), 3, &["role clinical has the threshold 1 with 0 key(s)"]);
    says(&bench, &rotate(&["--expires", "0s"]), 2, &["must lie in the future"]);
    // What will have expired is still shown, and renewed.
    ok(&bench, &rotate(&["--expires", "1s", "--sign-with", "ann.key"]));
    let begun = std::time::Instant::now();
    while !bench.run(&["root", "verify", "repository"]).contains("expired at") {
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "it does not expire");
    }
    says(&bench, &["root", "show", "repository"], 0, &["! root has EXPIRED"]);
    ok(&bench, &rotate(&["--sign-with", "ann.key"]));
    says(&bench, &["root", "verify", "repository"], 0, &["6.root.json"]);
}
