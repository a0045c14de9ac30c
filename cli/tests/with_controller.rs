//! Commands against a real controller without nodes: import, signatures, refusals, questions that nobody can answer.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use std::{
    net::{SocketAddr, TcpStream},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use insta::assert_snapshot;
use support::{Bench, free_address};

/// A controller that runs until it is dropped.
struct Running(Child);

impl Running {
    /// Starts it and waits until it listens.
    fn controller(bench: &Bench, address: SocketAddr) -> Self {
        let mut command = bench.command(&["controller", "run", "--no-console", "--stop-with-stdin"]);
        let log = std::fs::File::create(bench.path().join("controller.log")).unwrap();
        let mut child = command.stdin(Stdio::piped()).stderr(log).stdout(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "{}", bench.read("controller.log"));
            assert!(begun.elapsed() < Duration::from_secs(30), "no controller on {address}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Self(child)
    }

    /// Asks it to stop by ending its standard input; gives its exit code.
    fn stop(mut self) -> Option<i32> {
        drop(self.0.stdin.take());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

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
    let mut bench = Bench::new();
    bench.key("ann.key", "Ann Lee", "release");
    bench.key("ben.key", "Ben Fox", "clinical");
    bench.key("eve.key", "Eve Roe", "clinical");
    let address = free_address();
    let listen = address.to_string();
    bench.mask(listen.clone(), "ADDRESS");
    let made = bench.run(&["init", "--trust", "ann.pub.json", "ben.pub.json", "--listen", &listen]);
    assert!(made.contains("\nexit 0\n"), "{made}");
    let controller = Running::controller(&bench, address);
    (bench, controller)
}

#[test]
fn a_patch_is_imported_once_and_signed_by_two() {
    let (bench, controller) = set_up();
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
