//! Commands that need no controller, and what they say when something is wrong: both streams and the code in one golden.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use std::process::Command;

use insta::assert_snapshot;
use support::{Bench, PASSPHRASE, free_address};

#[test]
fn help_names_every_command_with_an_example() {
    let bench = Bench::new();
    assert_snapshot!("help", bench.run(&["--help"]));
    for command in [
        &["init"][..],
        &["root", "import"],
        &["root", "online"],
        &["root", "publish"],
        &["root", "renew"],
        &["controller", "run"],
        &["node", "enrol"],
        &["node", "run"],
        &["node", "probe"],
        &["node", "reanchor"],
        &["node", "supervise"],
        &["node", "inventory"],
        &["node", "confirm"],
        &["node", "doctor"],
        &["node", "adapter", "test"],
        &["device", "list"],
        &["device", "show"],
        &["key", "create"],
        &["key", "show"],
        &["key", "check"],
        &["key", "use"],
        &["patch", "import"],
        &["patch", "sign"],
        &["patch", "list"],
        &["patch", "show"],
        &["plan", "lint"],
        &["plan", "preview"],
        &["plan", "simulate"],
        &["rollout", "create"],
        &["rollout", "sign"],
        &["rollout", "start"],
        &["rollout", "status"],
        &["rollout", "watch"],
        &["rollout", "list"],
        &["rollout", "deployments"],
        &["rollout", "amend"],
        &["rollout", "approve"],
        &["rollout", "pause"],
        &["rollout", "resume"],
        &["rollout", "halt"],
        &["rollout", "rollback"],
        &["rollout", "hold"],
        &["rollout", "release"],
        &["rollout", "cosign"],
        &["rollout", "withdraw"],
        &["rollout", "cancel"],
        &["sign"],
        &["sign", "export"],
        &["sign", "show"],
        &["sign", "import"],
        &["root", "init"],
        &["root", "rotate"],
        &["root", "assemble"],
        &["root", "show"],
        &["root", "verify"],
        &["site", "list"],
        &["site", "show"],
        &["site", "token"],
        &["site", "revoke"],
        &["operator", "issue"],
        &["operator", "list"],
        &["operator", "revoke"],
        &["audit", "list"],
        &["alarms"],
        &["quickstart"],
        &["completions"],
    ] {
        let mut line = command.to_vec();
        line.push("--help");
        let help = bench.run(&line);
        assert!(help.contains("\nexit 0\n"), "{help}");
        let example = format!("wardround {}", command.join(" "));
        assert!(help.split_once("Example:").is_some_and(|(_, after)| after.contains(&example)), "{help}");
    }
}

/// What packages bring to the machine of a site: the same words, as far as they are a node's.
#[test]
fn the_program_of_a_site_knows_the_node_alone() {
    let site = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_wardround-node")).args(args).output().unwrap();
    let whole = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_wardround")).args(args).output().unwrap();
    for args in [&["--version"][..], &["node", "run", "--help"], &["node", "doctor", "--help"], &["exit-codes"]] {
        assert_eq!(site(args), whole(args), "{args:?}");
    }
    let refused = site(&["rollout", "list"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("unrecognized subcommand 'rollout'"), "{refused:?}");
}

#[test]
fn exit_codes_are_documented() {
    let bench = Bench::new();
    assert_snapshot!("exit_codes", bench.run(&["exit-codes"]));
    let help = bench.run(&["help", "exit-codes"]);
    assert!(help.contains("the rollout that was watched was halted"), "{help}");
}

#[test]
fn the_halt_is_explained_where_it_is_looked_for() {
    assert_snapshot!("help_halt", Bench::new().run(&["rollout", "halt", "-h"]));
}

#[test]
fn a_wrong_command_line_is_2() {
    let bench = Bench::new();
    assert_snapshot!("usage_halt_without_reason", bench.run(&["rollout", "halt", "winter-1"]));
    assert_snapshot!("usage_rollback_without_target", bench.run(&["rollout", "rollback", "winter-1", "--reason", "x"]));
    assert_snapshot!(
        "usage_unknown_role",
        bench.run(&["key", "create", "--holder", "Ann Lee", "--role", "boss", "--out", "ann.key"])
    );
    for line in
        [&["rollout", "halted", "winter-1"][..], &["rollout", "halt", "x", "--reson", "y"], &["site", "list", "x"]]
    {
        let said = bench.run(line);
        assert!(said.contains("\nexit 2\n") && said.contains("\nhint: ") && !said.contains("For more"), "{said}");
    }
    let typo = bench.run(&["rollout", "hlat", "winter-1", "--reason", "x"]);
    assert!(typo.contains("\nhint: a similar subcommand exists: 'halt'"), "{typo}");
}

#[test]
fn keys() {
    let mut bench = Bench::new();
    bench.key("ann.key", "Ann Lee", "release");
    assert_snapshot!("key_show", bench.run(&["key", "show", "ann.key"]));
    assert_snapshot!("key_show_json", bench.run(&["key", "show", "ann.pub.json", "--output", "json"]));
    assert_snapshot!("key_check", bench.run(&["key", "check", "ann.key"]));
    let again = ["key", "create", "--holder", "Ann Lee", "--role", "release", "--out", "ann.key"];
    assert_snapshot!("key_is_never_overwritten", bench.run(&again));
    let check = ["key", "check", "ann.key"];
    let wrong = bench.show(bench.command(&check).env("WARDROUND_PASSPHRASE", "not what it was before"), &check);
    assert_snapshot!("key_wrong_passphrase", wrong);
    assert_snapshot!("key_nobody_to_ask", bench.show(&mut bench.command(&check), &check));
    let short = ["key", "create", "--holder", "Ben Fox", "--role", "clinical", "--out", "ben.key"];
    let refused = bench.show(bench.command(&short).env("WARDROUND_PASSPHRASE", "short"), &short);
    assert_snapshot!("key_short_passphrase", refused);
    assert!(!bench.path().join("ben.key").exists() && !bench.path().join("ben.pub.json").exists());
    bench.write("not.key", "hello\n");
    assert_snapshot!("key_not_a_key", bench.run(&["key", "check", "not.key"]));
    assert_snapshot!("key_missing", bench.run(&["key", "show", "none.key"]));
}

#[test]
fn a_key_is_for_its_holder_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut bench = Bench::new();
    bench.key("ann.key", "Ann Lee", "release");
    let mode = std::fs::metadata(bench.path().join("ann.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let pem = bench.read("ann.key");
    assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"), "{pem}");
    bench.write("pass", &format!("{PASSPHRASE}\n"));
    let line = ["key", "check", "ann.key", "--passphrase-file", "pass"];
    assert!(bench.show(&mut bench.command(&line), &line).contains("\nexit 0\n"));
}

const PLAN: &str = "\
name: three-waves
waves:
  - name: canary
    select: { labels: { ring: canary } }
    soak: 8h
    gate: { success: 100%, approvals: [clinical] }
  - name: full
    select: { remaining: true }
    soak: 8h
";

#[test]
fn plans_are_linted_with_place_and_way_out() {
    let bench = Bench::new();
    bench.write("good.yaml", PLAN);
    assert_snapshot!("lint_good", bench.run(&["plan", "lint", "good.yaml"]));
    bench.write("bad.yaml", &PLAN.replace("soak: 8h\n    gate", "soka: 8h\n    gate").replace("100%", "120%"));
    assert_snapshot!("lint_bad", bench.run(&["plan", "lint", "bad.yaml"]));
    assert_snapshot!("lint_bad_json", bench.run(&["plan", "lint", "bad.yaml", "--output", "json"]));
    assert_snapshot!("lint_missing", bench.run(&["plan", "lint", "none.yaml"]));
    bench.write("huge.yaml", &"#".repeat(1024 * 1024 + 1));
    assert_snapshot!("lint_huge", bench.run(&["plan", "lint", "huge.yaml"]));
}

#[test]
fn init_never_overwrites() {
    let bench = Bench::new();
    assert_snapshot!("init", bench.run(&["init"]));
    assert_snapshot!("init_twice", bench.run(&["init"]));
    bench.write("in-the-way", "");
    let said = bench.run(&["init", "--home", "in-the-way"]);
    assert!(said.contains("\nexit 1\n") && !said.contains("overwrites") && said.contains("\nhint: "), "{said}");
    let said = bench.run(&["init", "--home", "new", "--operator-name", "no name"]);
    assert!(said.contains("\nexit 2\n") && said.contains("\nhint: "), "{said}");
}

#[test]
fn a_controller_that_is_not_there_is_5() {
    let mut bench = Bench::new();
    assert_snapshot!("no_profile", bench.run(&["site", "list"]));
    let address = free_address();
    bench.mask(address.to_string(), "ADDRESS");
    let listen = address.to_string();
    bench.run(&["init", "--listen", &listen]);
    assert_snapshot!("unreachable", bench.run(&["site", "list"]));
    assert_snapshot!("no_key_named", bench.run(&["rollout", "halt", "x", "--reason", "y"]));
}

#[test]
fn completions_know_the_commands() {
    let bench = Bench::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = bench.run(&["completions", shell]);
        assert!(script.contains("\nexit 0\n") && script.contains("rollout") && script.contains("halt"), "{shell}");
        assert!(!script.contains("--stop-with-stdin") || shell != "bash" || script.contains("quickstart"), "{shell}");
    }
}

#[test]
fn the_quickstart_keeps_out_of_folders_that_are_in_use() {
    let bench = Bench::new();
    bench.write("home/something", "");
    assert_snapshot!("quickstart_not_empty", bench.run(&["quickstart", "--exit"]));
}

/// The way out that a node with damaged files names.
#[test]
fn a_damaged_node_is_reanchored_by_a_person() {
    let bench = Bench::new();
    let state = bench.path().join("state");
    std::fs::create_dir_all(state.join("floor")).unwrap();
    for name in ["floor-made", "floor-a.json", "floor-b.json"] {
        std::fs::write(state.join("floor").join(name), "{").unwrap();
    }
    let reanchor = ["node", "reanchor", "--state", state.to_str().unwrap()];
    let unvouched = bench.run(&reanchor);
    assert!(unvouched.contains("exit 1") && unvouched.contains("hint: give the counter"), "{unvouched}");
    let wrong = bench.run(&[&reanchor[..], &["--version", "people=3"]].concat());
    assert!(wrong.contains("exit 2") && wrong.contains("is not one of root, timestamp"), "{wrong}");
    let vouched = ["--counter", "812", "--version", "root=3", "--version", "timestamp=20411"];
    let done = bench.run(&[&reanchor[..], &vouched].concat());
    assert!(done.contains("exit 0") && done.contains("only what you vouched for holds"), "{done}");
    assert!(state.join("trust-damaged-1/floor/floor-a.json").is_file());
    let again = bench.run(&reanchor);
    assert!(again.contains("what it has seen still holds"), "{again}");
}

#[test]
fn the_probes_of_a_site_file_are_run_once_and_shown() {
    let bench = Bench::new();
    let good = "site: rx1\nsystems:\n  - name: lab\n    probes: [{ kind: command, argv: [echo, queue empty] }]\n";
    bench.write(
        "site.yaml",
        &format!("{good}  - name: pacs\n    probes: [{{ kind: tcp, host: 127.0.0.1, port: 1 }}]\n"),
    );
    let all = bench.run(&["node", "probe", "--site", "site.yaml"]);
    for part in ["rx1/lab", "queue empty", "rx1/pacs", "connection refused by 127.0.0.1:1", "\nexit 1\n"] {
        assert!(all.contains(part), "{part}: {all}");
    }
    for name in ["lab", "rx1/lab"] {
        let one = bench.run(&["node", "probe", "--site", "site.yaml", name]);
        assert!(one.contains("queue empty") && !one.contains("pacs") && one.contains("\nexit 0\n"), "{one}");
    }
    let json = bench.run(&["node", "probe", "--site", "site.yaml", "--output", "json"]);
    assert!(json.contains(r#""healthy":false"#) && json.contains(r#""health":"healthy""#), "{json}");
    let none = bench.run(&["node", "probe", "--site", "site.yaml", "ris"]);
    assert!(none.contains("hint: it has rx1/lab, rx1/pacs") && none.contains("\nexit 4\n"), "{none}");
    bench.write("site.yaml", &good.replace("argv", "argw"));
    let wrong = bench.run(&["node", "probe", "--site", "site.yaml"]);
    assert!(wrong.contains("site.yaml:4:") && wrong.contains("\nexit 1\n"), "{wrong}");
}
