//! Adapters: those that are shipped keep the protocol, those that break it are found out, and what was begun over one
//! outlives it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "adapters/whole_steps.rs"]
mod whole_steps;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;
use wardround_node::{
    config::RemoteShell,
    device::{DeviceError, DeviceHandle, Trace, Withdrawal},
    installers::ExitClass,
    secret::Secret,
    transports::adapter::{Conformance, ConformanceOptions, Verdict, check_conformance},
};
use wardround_rollout_plans::model::{Detected, Installer, Interpreter};
use wardround_tests::rig::{
    Asks as _, Dialects, Hotfix, SmbDevice, WineDevice, WineVersion, handle, require, variant, wait_until,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wardround-under-test");
const LONG: Duration = Duration::from_secs(240);
const KB: &str = "KB4500331";
/// What the sandbox device is.
const CONSOLE: &str = "cpe:2.3:o:acme:console:4:*:*:*:*:*:*:*";

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../adapters").join(name).canonicalize().unwrap()
}

/// A sandbox device in a directory of its own.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(bench.root()).unwrap();
        bench
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("device")
    }

    fn options(&self, program: &Path) -> ConformanceOptions {
        let root = self.root().display().to_string();
        ConformanceOptions {
            program: vec![program.display().to_string()],
            shell: Some(RemoteShell::Sh),
            device_dir: Some(format!("{root}/wardround")),
            options: BTreeMap::from([("root".to_owned(), root)]),
            credentials: BTreeMap::new(),
            reboot: true,
            only: Vec::new(),
        }
    }

    /// A wrapper round the example that does one thing otherwise. `$verb` is the verb; `real` calls the example with the
    /// request on its standard input.
    fn broken(&self, how: &str) -> PathBuf {
        let real = shipped("examples/sandbox.py");
        self.script("broken", &format!("for verb; do :; done\nreal() {{ {} \"$verb\"; }}\n{how}\n", real.display()))
    }

    /// A program in the bench's directory.
    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// The device behind this adapter.
    fn behind(&self, program: &Path) -> DeviceHandle {
        let transport = format!(
            "{{ kind: adapter, program: ['{}'], shell: sh, device_dir: '{1}/wardround', options: {{ root: '{1}' }} }}",
            program.display(),
            self.root().display()
        );
        handle(self.dir.path(), CONSOLE, &transport)
    }
}

fn verdict(found: &Conformance, check: &str) -> Verdict {
    let one = found.checks.iter().find(|one| one.check == check);
    one.unwrap_or_else(|| panic!("{check} was not made: {found:#?}")).verdict
}

fn all_hold(found: &Conformance) {
    assert!(found.holds(), "{found:#?}");
    assert!(found.count(Verdict::Passed) >= 16 && verdict(found, "reboot") == Verdict::Passed, "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_keep_the_protocol() {
    if require("python3").is_none() || require("jq").is_none() {
        return;
    }
    let test = async |example: &str| {
        let bench = Bench::new();
        let found = check_conformance(&bench.options(&shipped(example))).await;
        all_hold(&found);
        assert!(fs::read_dir(bench.root().join("wardround")).map_or(true, |mut left| left.next().is_none()));
        verdict(&found, "whole steps")
    };
    let (_, _, whole) =
        tokio::join!(test("examples/sandbox.py"), test("examples/sandbox.sh"), test("examples/vendor.py"));
    assert_eq!(whole, Verdict::Passed);
    // Without `start` the node starts scripts by `run`.
    let bench = Bench::new();
    let bare = bench.broken("case $verb in describe) real | jq -c '.result.verbs -= [\"start\"]' ;; *) real ;; esac");
    let mut options = bench.options(&bare);
    options.only = vec!["launcher".to_owned()];
    let found = check_conformance(&options).await;
    assert_eq!(verdict(&found, "launcher"), Verdict::Passed, "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wine_adapter_keeps_the_protocol() {
    let Some(device) = WineDevice::create(WineVersion::XpX64) else { return };
    if require("python3").is_none() {
        return;
    }
    let found = check_conformance(&ConformanceOptions {
        program: vec![shipped("wine").display().to_string()],
        shell: None,
        device_dir: None,
        options: BTreeMap::from([("prefix".to_owned(), device.root().display().to_string())]),
        credentials: BTreeMap::new(),
        reboot: true,
        only: Vec::new(),
    })
    .await;
    all_hold(&found);
    let codes = found.checks.iter().find(|one| one.check == "exit codes").unwrap();
    assert_eq!(codes.detail, "3010, 2149842967, 1605");
}

/// Everything but WMI itself: the rig's device starts commands in its place.
#[tokio::test(flavor = "multi_thread")]
async fn the_smb_adapter_keeps_the_protocol_over_old_and_new_smb() {
    for (dialects, smb) in [(Dialects::One, "1"), (Dialects::TwoAndThree, "any")] {
        let Some(device) = WineDevice::create(WineVersion::XpX64) else { return };
        let Some(server) = SmbDevice::start(&device, dialects) else { return };
        let options = |smb: &str, password: PathBuf, only: &[&str]| ConformanceOptions {
            program: vec!["wardround-impacket-python".to_owned(), shipped("impacket-wmi").display().to_string()],
            shell: None,
            device_dir: None,
            options: [
                ("address", server.address().to_string()),
                ("user", "root".into()),
                ("smb", smb.into()),
                ("exec", "agent".into()),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
            credentials: BTreeMap::from([("password".to_owned(), Secret::File(password))]),
            reboot: false,
            only: only.iter().map(|check| (*check).to_owned()).collect(),
        };
        // All of it where it is hardest; of the newer dialects what differs.
        let (only, least) = match dialects {
            Dialects::One => (&[][..], 17),
            Dialects::TwoAndThree => (&["put and get", "get at most", "exit codes", "launcher", "remove"][..], 7),
        };
        let found = check_conformance(&options(smb, server.password_file(), only)).await;
        assert!(found.holds() && found.count(Verdict::Passed) >= least, "{smb}: {found:#?}");
        let codes = found.checks.iter().find(|one| one.check == "exit codes").unwrap();
        assert_eq!(codes.detail, "3010, 2149842967, 1605");

        // A server that has only the other dialects, and another password: said in words, with nothing of the secret.
        let other = if smb == "1" { "2.1" } else { "1" };
        let found = check_conformance(&options(other, server.password_file(), &["ping"])).await;
        assert_eq!(verdict(&found, "ping"), Verdict::Failed, "{found:#?}");
        let wrong = device.file("wrong");
        fs::write(&wrong, "not-the-password").unwrap();
        let found = check_conformance(&options(smb, wrong, &["ping"])).await;
        let ping = found.checks.iter().find(|one| one.check == "ping").unwrap();
        assert!(ping.detail.contains("refuses the credentials"), "{found:#?}");
        assert_eq!(verdict(&found, "secrets"), Verdict::Passed, "{found:#?}");
    }
}

/// Each break, and the check that finds it. Whatever else fails with it does not matter.
#[tokio::test(flavor = "multi_thread")]
async fn every_break_is_found() {
    if require("python3").is_none() || require("jq").is_none() {
        return;
    }
    let result = |verb: &str, fields: &str| {
        format!(
            "request=$(cat); op=$(printf '%s' \"$request\" | jq -r .op_id); case $verb in {verb}) printf '%s\\n' \
             '{{\"result\":{{\"outcome\":\"ok\"{fields},\"op_id\":\"'\"$op\"'\"}}}}' ;; \
             *) printf '%s' \"$request\" | real ;; esac"
        )
    };
    let change = |verb: &str, filter: &str| format!("case $verb in {verb}) real | jq -c '{filter}' ;; *) real ;; esac");
    let breaks = [
        ("describe", change("describe", "del(.result.verbs)")),
        ("describe", change("describe", r#".result.verbs -= ["get"]"#)),
        ("describe", change("describe", ".result.protocols = [2]")),
        ("describe", "exit 1".to_owned()),
        ("describe", "echo hello; real".to_owned()),
        ("ping", r#"case $verb in ping) r=$(real); echo "$r"; echo "$r" ;; *) real ;; esac"#.to_owned()),
        ("ping", change("ping", r#".result.op_id = "other""#)),
        ("ping", "case $verb in ping) real; exit 3 ;; *) real ;; esac".to_owned()),
        ("ping", "case $verb in ping) yes '{\"progress\":1}' ;; *) real ;; esac".to_owned()),
        ("inventory", change("inventory", ".result.boot = {}")),
        ("unknown verb", "case $verb in no-such-verb) exit 1 ;; *) real ;; esac".to_owned()),
        ("bad input", result("run", ",\"exit_code\":0,\"stdout\":\"wardround\"")),
        ("names stay inside", "request=$(cat); printf '%s' \"$request\" | sed 's/\"name\":\"[^\"]*\"/\"name\":\"x\"/g' | real".to_owned()),
        ("put and get", change("get", ".result.content_base64 |= (if . then \"AAAA\" else . end)")),
        ("put and get", change("put", ".result.bytes = 1")),
        ("put again", "if [ \"$verb\" = put ] && [ -e \"$(dirname \"$0\")/device/wardround/wr-test-$PPID/wr-test.again\" ]; then \
                       real > /dev/null; f=$(echo \"$(dirname \"$0\")\"/device/wardround/*/wr-test.again); echo a longer > \"$f\"; \
                       jq -cn --arg o \"$(basename \"$(dirname \"$f\")\")\" '{result:{op_id:$o,outcome:\"ok\",bytes:6}}'; else real; fi".to_owned()),
        ("get at most", "if [ \"$verb\" = get ]; then jq -c '.args.bytes_max = 400000' | real; else real; fi".to_owned()),
        ("operations apart", "if [ \"$verb\" = get ]; then r=$(cat); o=$(printf '%s' \"$r\" | jq -r .op_id); \
                              printf '%s' \"$r\" | jq -c '.op_id |= (if . == \"wr-test-other\" then \"wr-test-'$PPID'\" else . end)' | real | \
                              jq -c --arg o \"$o\" '.result.op_id = $o'; else real; fi".to_owned()),
        ("run", change("run", ".result.stdout = \"\"")),
        ("exit codes", change("run", ".result.exit_code = 0")),
        ("exit codes", change("run", ".result.exit_code = 4294967296")),
        ("run at most", "if [ \"$verb\" = run ]; then jq -c '.args.output_bytes_max = 400000' | real; else real; fi".to_owned()),
        ("deadline", result("run", ",\"exit_code\":0,\"stdout\":\"wardround\"")),
        // It starts nothing, or its answer is lost.
        ("launcher", result("start", "")),
        ("launcher", change("start", "empty")),
        ("remove", result("remove", "")),
        ("reboot", "if [ \"$verb\" = reboot ]; then jq -c 'del(.args.boot)' | real; else real; fi".to_owned()),
        ("whole steps", change("describe", r#".result.verbs += ["install"]"#)),
        // It forgets what was withdrawn.
        (
            "whole steps",
            "say() { jq -c --arg state $1 '{result: {op_id: .op_id, outcome: \"ok\", state: $state}}'; }; case $verb in describe) real | \
             jq -c '.result.verbs += [\"install\", \"uninstall\", \"detect\", \"withdraw\"]' ;; withdraw) say withdrawn ;; \
             install | uninstall) say none ;; *) real ;; esac"
                .to_owned(),
        ),
        ("secrets", "tee -a /dev/stderr | real".to_owned()),
    ];
    let tasks = breaks.map(|(check, how)| {
        tokio::spawn(async move {
            let bench = Bench::new();
            let secret = bench.dir.path().join("pw");
            fs::write(&secret, "hunter2+x").unwrap();
            let mut options = bench.options(&bench.broken(&how));
            options.credentials.insert("password".to_owned(), Secret::File(secret));
            options.only = vec![check.to_owned()];
            let found = check_conformance(&options).await;
            assert_eq!(verdict(&found, check), Verdict::Failed, "{how}: {found:#?}");
            assert!(!found.holds() && !format!("{found:?}").contains("hunter2"), "{how}: {found:#?}");
        })
    });
    for task in tasks {
        task.await.unwrap();
    }
}

#[test]
fn the_command_says_what_holds_and_ends_with_a_code() {
    if require("python3").is_none() {
        return;
    }
    let bench = Bench::new();
    let run = |program: &Path| {
        let root = bench.root().display().to_string();
        let mut command = Command::new(PROGRAM);
        command.args(["node", "adapter", "test"]).arg(program).args([
            "--option",
            &format!("root={root}"),
            "--output",
            "json",
        ]);
        command.args(["--device-dir", &format!("{root}/wardround"), "--reboot"]);
        let output = command.output().unwrap();
        let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), found)
    };
    let (code, found) = run(&shipped("examples/sandbox.py"));
    assert_eq!((code, found["adapter"].as_str()), (Some(0), Some("sandbox-py")), "{found:#}");
    let (code, found) = run(&bench.broken("case $verb in get) exit 1 ;; *) real ;; esac"));
    assert_eq!(code, Some(1), "{found:#}");
    let failed = found["checks"].as_array().unwrap().iter().filter(|one| one["verdict"] == "failed").count();
    assert!(failed >= 2, "{found:#}");
}

/// The adapter is killed, and the node with it, while the installer works; the next node picks the install up.
#[tokio::test(flavor = "multi_thread")]
async fn windows_behind_an_adapter_is_patched_over_kills_and_rebooted() {
    let Some(device) = WineDevice::create(WineVersion::XpX64) else { return };
    let Some(hotfix) = Hotfix::build(KB) else { return };
    if require("python3").is_none() {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    // The rig's device writes down who calls, so that calls can be killed.
    let calls = work.path().join("calls");
    let program = work.path().join("adapter");
    let text = format!("#!/bin/sh\necho $$ >> {}\nexec {} \"$@\"\n", calls.display(), shipped("wine").display());
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let platform = WineVersion::XpX64.platform();
    let transport = format!(
        "{{ kind: adapter, program: ['{}'], shell: cmd, device_dir: 'C:\\wardround', options: {{ prefix: '{}' }} }}",
        program.display(),
        device.root().display()
    );
    let variant = hotfix.variant(platform, &["/hold"]);
    let first = handle(work.path(), platform, &transport);
    let before = first.preflight(&variant, false).await;
    assert_eq!((before.reachable, before.reboot_pending, before.platform), (Ok(()), Some(false), None));
    first.stage("op", &hotfix.path, &variant.payload).await.unwrap();
    assert_eq!(first.detected("op", &variant).await, Detected::Absent);

    let log = device.file(&format!("windows/{KB}.log"));
    let lines = || fs::read_to_string(&log).unwrap_or_default();
    let task = tokio::spawn({
        let variant = variant.clone();
        async move { first.install("op", &variant, LONG).await }
    });
    tokio::task::block_in_place(|| wait_until("the install begins", LONG, || lines().contains("begun")));
    // kill -9 of whatever call is under way, and the end of the node that had asked.
    for pid in fs::read_to_string(&calls).unwrap().lines() {
        // Most have ended by themselves.
        let pid = nix::unistd::Pid::from_raw(pid.parse().unwrap());
        let _ = nix::sys::signal::killpg(pid, nix::sys::signal::Signal::SIGKILL);
    }
    task.abort();
    let _ = task.await;
    assert!(!lines().contains("installed"), "it is still at work");

    let second = handle(work.path(), platform, &transport);
    assert_eq!(second.withdraw_install("op").await.unwrap(), Withdrawal::AtWork);
    fs::write(device.file("windows/go"), "").unwrap();
    let ran = second.install("op", &variant, LONG).await.unwrap();
    assert_eq!((ran.exit_code, ran.class), (3010, ExitClass::RebootRequired), "{}", ran.output);
    assert_eq!(lines().matches("begun").count(), 1, "installed once: {}", lines());
    assert!(second.reboot_pending().await.unwrap());
    second.reboot(LONG).await.unwrap();
    assert!(!second.reboot_pending().await.unwrap());
    let found = second.detected("op", &variant).await;
    assert!(matches!(found, Detected::Present { .. }), "{found:?}");
    assert!(device.file(&format!("windows/system32/{KB}.sys")).exists(), "the restart put it in place");

    let ran = second.uninstall("down", &variant, LONG).await.unwrap();
    assert_eq!(ran.exit_code, 3010, "{}", ran.output);
    second.reboot(LONG).await.unwrap();
    assert_eq!(second.detected("down", &variant).await, Detected::Absent);
}

/// Somebody restarts the device in the middle of an install: that is told from one that works, and detection decides.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_middle_is_seen_through_an_adapter() {
    let Some(device) = WineDevice::create(WineVersion::Server2003) else { return };
    let Some(hotfix) = Hotfix::build(KB) else { return };
    if require("python3").is_none() {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let platform = WineVersion::Server2003.platform();
    let transport = format!(
        "{{ kind: adapter, program: ['{}'], shell: cmd, device_dir: 'C:\\wardround', options: {{ prefix: '{}' }} }}",
        shipped("wine").display(),
        device.root().display()
    );
    let variant = hotfix.variant(platform, &["/hold"]);
    let node = handle(work.path(), platform, &transport);
    node.stage("op", &hotfix.path, &variant.payload).await.unwrap();
    let log = device.file(&format!("windows/{KB}.log"));
    let restart = tokio::task::spawn_blocking(move || {
        wait_until("the install begins", LONG, || fs::read_to_string(&log).is_ok_and(|text| text.contains("begun")));
        device.run(&["wineboot", "-k", "-f"]);
        device
    });
    let (ran, device) = tokio::join!(node.install("op", &variant, LONG), restart);
    assert!(matches!(ran, Err(DeviceError::Interrupted { .. })), "{ran:?}");
    assert_eq!(node.detected("op", &variant).await, Detected::Absent);
    drop(device);
}

/// An adapter that dies, hangs, or talks nonsense in the middle of an install: it goes on, and its result is found.
#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_that_fails_for_a_while_decides_nothing() {
    if require("python3").is_none() || require("jq").is_none() {
        return;
    }
    let bench = Bench::new();
    let root = bench.root();
    let payload = bench.dir.path().join("fix.sh");
    fs::write(
        &payload,
        format!(
            "test $1 != install || {{ echo begun >> {0}/log; while ! test -e {0}/go; do sleep 0.05; done; exit 0; }}\n",
            root.display()
        ),
    )
    .unwrap();
    let variant = variant(&payload, Installer::Script { interpreter: Interpreter::Sh }, CONSOLE);
    let ill = root.with_extension("ill");
    // The start itself is among what fails: its answer is lost, and nobody knows whether the launcher runs.
    let how = format!(
        "if [ -e {0} ]; then case $(($(date +%N | sed s/^0*//) % 3)) in 0) real > /dev/null; exit 1 ;; \
         1) echo nonsense ;; 2) real; real ;; esac; else case $verb in start) touch {0}; real > /dev/null; exit 1 ;; *) real ;; esac; fi",
        ill.display()
    );
    let device = bench.behind(&bench.broken(&how));
    device.stage("op", &payload, &variant.payload).await.unwrap();
    let log = || fs::read_to_string(root.join("log")).unwrap_or_default();
    // As the node does: what says nothing about the device is tried again under the same operation.
    let install = async {
        loop {
            match device.install("op", &variant, LONG).await {
                Err(error) if error.is_transient() => {}
                other => return other,
            }
        }
    };
    let heal = tokio::task::spawn_blocking({
        let (root, ill) = (root.clone(), ill.clone());
        move || {
            wait_until("the install begins", LONG, || root.join("log").exists());
            fs::remove_file(ill).unwrap();
            fs::write(root.join("go"), "").unwrap();
        }
    });
    let (ran, healed) = tokio::join!(install, heal);
    healed.unwrap();
    assert_eq!(ran.unwrap().exit_code, 0);
    assert_eq!(log(), "begun\n", "it was begun once");
}

/// A tool of the device's own installs: once, over kills of the adapter and the end of the node; what was withdrawn never begins; and
/// an adapter that announces half of it is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_tool_of_the_device_s_own_does_whole_steps() {
    if require("python3").is_none() || require("jq").is_none() {
        return;
    }
    let bench = Bench::new();
    let root = bench.root();
    let payload = bench.dir.path().join("fix.sh");
    let log = || fs::read_to_string(root.join("log")).unwrap_or_default();
    let text = format!(
        "echo $1 >> {0}/log; while ! test -e {0}/go; do sleep 0.05; done; echo did $1; exit 0\n",
        root.display()
    );
    fs::write(&payload, text).unwrap();
    let variant = variant(&payload, Installer::Script { interpreter: Interpreter::Sh }, CONSOLE);
    let vendor = shipped("examples/vendor.py");
    // The answer to the step that begins is lost: the adapter is killed when the tool has it.
    let lost = root.with_extension("lost");
    let kills = format!(
        "for verb; do :; done\nrequest=$(cat)\nanswer() {{ printf '%s' \"$request\" | {1} \"$verb\"; }}\n\
         case $request in *'\"begin\":true'*) answer > /dev/null; touch {0}; kill -9 $$ ;; *) answer ;; esac\n",
        lost.display(),
        vendor.display()
    );
    let first = bench.behind(&bench.script("killed", &kills));
    first.stage("op", &payload, &variant.payload).await.unwrap();
    assert_eq!(first.detect("op", &variant).await, Detected::Absent);
    assert_eq!(first.install_trace("op").await.unwrap(), Trace::None);
    let task = tokio::spawn({
        let variant = variant.clone();
        async move { first.install("op", &variant, LONG).await }
    });
    let ran = task.await.unwrap();
    assert!(lost.exists() && ran.as_ref().is_err_and(DeviceError::is_transient), "{ran:?}");

    // Another node picks it up.
    let second = bench.behind(&vendor);
    assert_eq!(second.install_trace("op").await.unwrap(), Trace::AtWork);
    assert_eq!(second.withdraw_install("op").await.unwrap(), Withdrawal::AtWork);
    fs::write(root.join("go"), "").unwrap();
    let ran = second.install("op", &variant, LONG).await.unwrap();
    assert_eq!((ran.exit_code, ran.output.as_str()), (0, "did install"));
    assert_eq!((log().as_str(), second.install_trace("op").await.unwrap()), ("install\n", Trace::Over));
    let found = second.detect("op", &variant).await;
    assert_eq!(found, Detected::Present { proof: "the tool lists fix.sh".into() });

    second.stage("down", &payload, &variant.payload).await.unwrap();
    let ran = second.uninstall("down", &variant, LONG).await.unwrap();
    assert_eq!((ran.exit_code, ran.output.as_str()), (0, "did uninstall"));
    assert_eq!(second.detect("down", &variant).await, Detected::Absent);

    // Withdrawn before it began.
    second.stage("late", &payload, &variant.payload).await.unwrap();
    assert_eq!(second.withdraw_install("late").await.unwrap(), Withdrawal::Withdrawn);
    let ran = second.install("late", &variant, LONG).await;
    assert!(matches!(ran, Err(DeviceError::Interrupted { .. })), "{ran:?}");
    assert_eq!(log(), "install\nuninstall\n");

    // Half of it is none of it.
    let half = format!(
        "for verb; do :; done\nif [ $verb = describe ]; then {0} $verb | jq -c '.result.verbs -= [\"withdraw\"]'; \
         else exec {0} $verb; fi\n",
        vendor.display()
    );
    let third = bench.behind(&bench.script("half", &half));
    let ran = third.install("half", &variant, LONG).await;
    assert!(matches!(&ran, Err(error @ DeviceError::AdapterRefused { .. }) if !error.is_transient()), "{ran:?}");
    assert!(
        matches!(third.detect("half", &variant).await, Detected::Unknown { why } if why.contains("all four or none"))
    );
}
