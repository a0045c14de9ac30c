//! Commands against a real controller without nodes: import, signatures, refusals, questions that nobody can answer.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

#[path = "support/process.rs"]
mod process;
#[path = "support/repository.rs"]
mod repository;
mod support;

use insta::assert_snapshot;
use process::{Running, until};
use support::{Bench, free_address};
use wardround_signing::{
    Digest, TrustedKey,
    tuf::{RoleName, Signed, Targets, TufKey, next_version},
};

const PATCH: &str = "\
id: TEST-1
title: A patch of the tests
severity: low
variants:
  - id: xp
    platforms: [\"cpe:2.3:o:microsoft:windows_xp:*:*:*:*:*:*:*:*\"]
    payload: { file: install.sh }
    installer: { technology: script, interpreter: sh }
";

/// 300 KiB: one whole chunk and a part of one.
fn payload() -> String {
    let mut text = "case $1 in detect) exit 1;; esac\n".to_owned();
    while text.len() < 300 * 1024 {
        text += &format!("# line {}\n", text.len());
    }
    text
}

fn set_up() -> (Bench, Running) {
    set_up_with(|bench| repository::begin(bench, &["ann.pub.json", "ben.pub.json"]))
}

/// `prepare` is called when the controller's data are there and it does not run yet.
fn set_up_with(prepare: impl FnOnce(&Bench)) -> (Bench, Running) {
    let mut bench = Bench::new();
    bench.key("ann.key", "Ann Lee", "release");
    bench.key("ben.key", "Ben Fox", "clinical");
    bench.key("eve.key", "Eve Roe", "clinical");
    let address = free_address();
    let listen = address.to_string();
    bench.mask(listen.clone(), "ADDRESS");
    let made = bench.run(&["init", "--listen", &listen]);
    assert!(made.contains("\nexit 0\n"), "{made}");
    prepare(&bench);
    let controller = Running::controller(&bench, address);
    (bench, controller)
}

#[test]
fn a_person_signs_in_the_repository_that_their_profile_holds_on_to() {
    let (bench, controller) = set_up_with(|bench| {
        repository::begin(bench, &["ann.pub.json", "ben.pub.json"]);
        bench.write("half/1.root.json", &bench.read("repository/1.root.json"));
        let half = bench.run(&["root", "import", "half"]);
        assert!(half.contains("\nexit 3\n") && half.contains("1.targets.json is missing"), "{half}");
    });
    bench.write("patch.yaml", PATCH);
    bench.write("install.sh", &payload());
    bench.run(&["patch", "import", "patch.yaml"]);
    let first = bench.run(&["patch", "sign", "TEST-1", "--key", "ann.key", "--yes"]);
    assert!(first.contains("\nexit 0\n") && first.contains("first use: "), "{first}");
    let stranger = bench.run(&["patch", "sign", "TEST-1", "--key", "eve.key", "--yes"]);
    assert!(stranger.contains("\nexit 3\n") && stranger.contains("names nobody with this key"), "{stranger}");
    assert!(!stranger.contains("first use: "), "{stranger}");
    // A controller that shows another root than before gets no signature.
    let pin = bench.read("home/operator/root.sha256");
    bench.write("home/operator/root.sha256", &"0".repeat(64));
    let other = bench.run(&["patch", "sign", "TEST-1", "--key", "ben.key", "--yes"]);
    assert!(other.contains("\nexit 3\n") && other.contains("another first root"), "{other}");
    bench.write("home/operator/root.sha256", &pin);
    let second = bench.run(&["patch", "sign", "TEST-1", "--key", "ben.key", "--yes"]);
    assert!(second.contains("\nexit 0\n"), "{second}");
    let shown = bench.run(&["patch", "show", "TEST-1", "--output", "json"]);
    assert!(shown.contains("\"ready\":true"), "{shown}");
    let audit = bench.run(&["audit", "list", "--output", "json"]);
    assert!(audit.contains("release version 1, signed by Ann Lee, is published"), "{audit}");
    assert!(audit.contains("clinical version 1, signed by Ben Fox, is published"), "{audit}");
    // Eve replaces Ben: the targets wait until she has signed what he had.
    let bytes = bench.read("repository/1.targets.json");
    let present = Signed::<Targets>::parse(RoleName::Targets, bytes.as_bytes()).unwrap();
    let mut next = next_version(present.metadata(), present.expires());
    let ben: TrustedKey = serde_json::from_str(&bench.read("ben.pub.json")).unwrap();
    let eve: TrustedKey = serde_json::from_str(&bench.read("eve.pub.json")).unwrap();
    next.remove_key(RoleName::Clinical, &TufKey::new(ben.key, None).id());
    next.add_key(RoleName::Clinical, eve.key, Some(&eve.holder));
    bench.write("repository/2.targets.json", &repository::signed(next));
    let waits = bench.run(&["root", "publish", "repository"]);
    assert!(waits.contains("2.targets.json: waits: clinical"), "{waits}");
    let renewed = bench.run(&["root", "renew", "--key", "eve.key", "--yes"]);
    assert!(
        renewed.contains("clinical: 1 document signed anew") && renewed.contains("patches/TEST-1.json"),
        "{renewed}"
    );
    let nothing = bench.run(&["root", "publish", "repository"]);
    assert!(nothing.contains("\nexit 4\n"), "{nothing}");
    let late = bench.run(&["root", "renew", "--key", "ben.key", "--yes"]);
    assert!(late.contains("\nexit 3\n") && late.contains("holds neither"), "{late}");
    assert_eq!(controller.stop(), Some(0), "{}", bench.read("controller.log"));
}

#[test]
fn a_patch_is_imported_once_and_signed_by_two() {
    let (mut bench, controller) = set_up();
    bench.mask(Digest::of(bench.read("repository/1.root.json").as_bytes()).hex(), "ROOT");
    bench.write("patch.yaml", PATCH);
    assert_snapshot!("import_without_payload", bench.run(&["patch", "import", "patch.yaml"]));
    bench.write("install.sh", &payload());
    assert_snapshot!("import", bench.run(&["patch", "import", "patch.yaml"]));
    assert_snapshot!("import_again_sends_nothing", bench.run(&["patch", "import", "patch.yaml"]));
    bench.write("install.sh", &(payload() + "# more\n"));
    assert_snapshot!("import_other_under_the_same_id", bench.run(&["patch", "import", "patch.yaml"]));

    assert_snapshot!("sign_nobody_to_ask", bench.run(&["patch", "sign", "TEST-1", "--key", "ann.key"]));
    assert_snapshot!("sign_first", bench.run(&["patch", "sign", "TEST-1", "--key", "ann.key", "--yes"]));
    assert_snapshot!("sign_by_a_stranger", bench.run(&["patch", "sign", "TEST-1", "--key", "eve.key", "--yes"]));
    let second = ["patch", "sign", "TEST-1", "--key", "ben.key", "--yes", "--output", "json"];
    assert_snapshot!("sign_second_json", bench.run(&second));
    assert_snapshot!("patch_list", bench.run(&["patch", "list"]));
    assert_eq!(controller.stop(), Some(0), "{}", bench.read("controller.log"));
}

/// Before the root ceremony nobody's signature counts, and everything that it matters for says so.
#[test]
fn a_controller_without_a_root_names_the_way_out() {
    let (bench, _controller) = set_up_with(|_| {});
    bench.write("patch.yaml", PATCH);
    bench.write("install.sh", &payload());
    assert!(bench.run(&["patch", "import", "patch.yaml"]).contains("\nexit 0\n"));
    for line in [
        &["patch", "sign", "TEST-1", "--key", "ann.key", "--yes"][..],
        &["sign", "export", "patch", "TEST-1"],
        &["site", "token", "rx1"],
    ] {
        let refused = bench.run(line);
        assert!(refused.contains("\nexit 3\n") && refused.contains("no image repository"), "{refused}");
        assert!(refused.contains("wardround root init") && refused.contains("wardround root import"), "{refused}");
    }
}

#[test]
fn what_is_not_there_is_4() {
    let (bench, _controller) = set_up();
    assert_snapshot!("no_such_patch", bench.run(&["patch", "show", "NONE"]));
    assert_snapshot!("no_such_rollout", bench.run(&["rollout", "status", "none"]));
    assert_snapshot!(
        "no_such_rollout_to_halt",
        bench.run(&["rollout", "halt", "none", "--reason", "x", "--key", "ann.key"])
    );
    assert_snapshot!("no_such_site", bench.run(&["site", "show", "none"]));
    assert_snapshot!("no_rollouts", bench.run(&["rollout", "list"]));
    assert_snapshot!("no_sites", bench.run(&["site", "list", "--output", "json"]));
    let token = bench.run(&["site", "token", "rx1", "--output", "json"]);
    assert!(token.contains("\nexit 0\n") && token.contains("\"site\":\"rx1\""), "{token}");
    assert_snapshot!("bad_site_id", bench.run(&["site", "token", "No Site"]));
}

#[test]
fn operators_are_issued_offline_listed_and_revoked() {
    let (bench, _controller) = set_up();
    let no_role = bench.run(&["operator", "issue", "eve"]);
    assert!(no_role.contains("\nexit 2\n"), "{no_role}");
    let king = bench.run(&["operator", "issue", "eve", "--role", "king"]);
    assert!(king.contains("\nexit 2\n") && king.contains("expected release, clinical"), "{king}");
    // The controller is running, and need not be asked.
    let issued = bench.run(&["operator", "issue", "eve", "--role", "auditor"]);
    assert!(issued.contains("\nexit 0\n") && issued.contains("roles:      auditor"), "{issued}");
    let again = bench.run(&["operator", "issue", "eve", "--role", "auditor"]);
    assert!(again.contains("\nexit 3\n") && again.contains("exists already"), "{again}");
    // It comes into the record all the same; the first one stood there before anybody could call.
    let first = bench.run(&["audit", "list", "--limit", "3"]);
    assert!(first.contains("for operator operator was issued"), "{first}");
    until("the certificate is on record", || {
        let records = bench.run(&["audit", "list"]);
        records.contains("for operator eve was issued") && records.contains("with the roles auditor, until")
    });
    let as_eve = |words: &[&str]| bench.run(&[&["--home", "eve"], words].concat());
    assert!(as_eve(&["site", "list"]).contains("\nexit 0\n"));
    let refused = as_eve(&["site", "token", "rx1"]);
    assert!(refused.contains("\nexit 3\n"), "{refused}");
    for words in ["operator eve (roles: auditor)", "TokenService/CreateToken", "with the roles site-engineer"] {
        assert!(refused.contains(words), "{refused}");
    }
    assert!(refused.contains("hint: ask somebody") && refused.contains("operator issue eve --role"), "{refused}");

    let unasked = bench.run(&["operator", "revoke", "eve", "--reason", "left"]);
    assert!(unasked.contains("\nexit 7\n"), "{unasked}");
    let unknown = bench.run(&["operator", "revoke", "evf", "--reason", "left", "--yes"]);
    assert!(unknown.contains("\nexit 4\n") && unknown.contains("--even-if-unknown"), "{unknown}");
    let revoked = bench.run(&["operator", "revoke", "eve", "--reason", "left", "--yes"]);
    assert!(revoked.contains("\nexit 0\n"), "{revoked}");
    let refused = as_eve(&["site", "list"]);
    assert!(refused.contains("\nexit 3\n") && refused.contains("by operator: left"), "{refused}");
    let listed = bench.run(&["operator", "list"]);
    assert!(listed.contains("eve") && listed.contains("by operator: left"), "{listed}");
}

#[test]
fn a_profile_can_name_the_key() {
    let (bench, _controller) = set_up();
    assert_snapshot!("key_use", bench.run(&["key", "use", "ann.key"]));
    assert_snapshot!("key_use_missing", bench.run(&["key", "use", "none.key"]));
    // The key is found without --key: what is refused now is the rollout.
    let halt = bench.run(&["rollout", "halt", "none", "--reason", "x"]);
    assert!(halt.contains("\nexit 4\n"), "{halt}");
}
