//! One site of three sandbox devices with a real node, and a patch for them.

use std::process::Command;

use serde_json::Value;

use super::{
    process::{Running, until},
    support::{Bench, PASSPHRASE},
};

const CPE: &str = "cpe:2.3:o:microsoft:windows_xp:-:sp3:*:*:professional:*:x86:*";

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

const SCRIPT: &str = "\
case $1 in
  detect) test -f \"$WARDROUND_DEVICE_ROOT/patched\" || exit 1 ;;
  install) test ! -e \"$WARDROUND_DEVICE_ROOT/refuses\" || exit 1; echo yes > \"$WARDROUND_DEVICE_ROOT/patched\" ;;
  uninstall) rm -f \"$WARDROUND_DEVICE_ROOT/patched\" ;;
esac
";

/// Two waves; the second wants a clinical approval.
pub(crate) fn plan(soak: &str) -> String {
    format!(
        "name: two-waves\n\
         timing: {{ install_timeout: 30s, retry_after: 1s }}\n\
         waves:\n  \
         - {{ name: canary, select: {{ labels: {{ ring: canary }} }}, soak: {soak}, gate: {{ approvals: [clinical] }} }}\n  \
         - {{ name: full, select: {{ remaining: true }}, soak: {soak} }}\n"
    )
}

/// What a command writes as JSON.
pub(crate) fn json(bench: &Bench, line: &[&str]) -> Value {
    let mut command: Command = bench.command(line);
    command.args(["--output", "json"]).env("WARDROUND_PASSPHRASE", PASSPHRASE);
    let done = command.output().unwrap();
    assert!(done.status.success(), "{line:?}: {}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

/// Runs a command that must succeed.
pub(crate) fn ok(bench: &Bench, line: &[&str]) -> String {
    let text = bench.run(line);
    assert!(text.contains("\nexit 0\n"), "{text}");
    text
}

/// Lays the site out, enrols its node at the controller that listens on `listen`, and imports the patch, unsigned.
pub(crate) fn enrol(bench: &Bench, listen: &str) {
    let mut site = "site: rx1\ndevices:\n".to_owned();
    for (name, ring) in [("ct-1", "canary"), ("ct-2", "rest"), ("ct-3", "rest")] {
        bench.write(&format!("devices/{name}/platform"), &format!("{CPE}\n"));
        site += &format!(
            "  - name: {name}\n    platform: \"{CPE}\"\n    labels: {{ ring: {ring} }}\n    \
             transport: {{ kind: local, root: devices/{name}, shell: sh }}\n"
        );
    }
    bench.write("site.yaml", &site);
    let token = json(bench, &["site", "token", "rx1"])["token"].as_str().unwrap().to_owned();
    let url = format!("https://{listen}");
    ok(bench, &["node", "enrol", "--controller", &url, "--token", &token, "--state", "node"]);
    let again = ["node", "enrol", "--controller", &url, "--token", &token, "--state", "other"];
    let used = bench.run(&again);
    assert!(!used.contains("\nexit 0\n") && used.contains("token"), "a token counts once: {used}");
    bench.write("patch.yaml", PATCH);
    bench.write("install.sh", SCRIPT);
    ok(bench, &["patch", "import", "patch.yaml"]);
}

/// Starts the node and waits until the controller knows all of the site.
pub(crate) fn start_node(bench: &Bench, check_in_every: &str) -> Running {
    let mut line = vec!["node", "run", "--state", "node", "--site", "site.yaml", "--stop-with-stdin"];
    line.extend(["--check-in-every", check_in_every]);
    let node = Running::start(bench, "node.log", &line);
    until("the site is connected", || {
        let sites = json(bench, &["site", "list"]);
        sites[0]["connected"] == true && sites[0]["devices"] == 3
    });
    node
}
