//! A device whose vendor's tool installs by itself, in a real rollout: an adapter with whole steps (`adapters/examples/vendor.py`; its
//! tool is simulated), a real controller and a real node.

use std::{fs, path::PathBuf};

use wardround_tests::{
    rig::require,
    world::{World, plan, wait_until},
};

use super::PROGRAM;

const PLATFORM: &str = "cpe:2.3:o:acme:console:4:*:*:*:*:*:*:*";

/// The device, and what its packages wrote down.
struct Console {
    root: PathBuf,
}

impl Console {
    fn site(&self) -> String {
        let vendor = concat!(env!("CARGO_MANIFEST_DIR"), "/../adapters/examples/vendor.py");
        format!(
            "site: rx1\ntime_zone: Etc/UTC\ndevices:\n  - name: console\n    platform: \"{PLATFORM}\"\n    transport:\n      \
             kind: adapter\n      program: ['{vendor}']\n      shell: sh\n      device_dir: '{root}/wardround'\n      \
             options: {{ root: '{root}' }}\nsystems:\n  - name: images\n    kind: viewer\n    critical: true\n    \
             devices: [console]\n    probes:\n      - {{ kind: command, argv: [test, '!', -e, '{root}/broken'] }}\n",
            root = self.root.display()
        )
    }

    /// A package that waits until it may go on, and then does `more`.
    fn patch(&self, world: &World, id: &str, more: &str) {
        let root = self.root.display();
        let script = format!(
            "cd {root} || exit 9\necho $1 {id} >> log\n[ $1 = uninstall ] && rm -f broken\n\
             if [ $1 = install ]; then until [ -e go-{id} ]; do sleep 0.05; done; {more}; fi\nexit 0\n"
        );
        world.patch_script(id, PLATFORM, &script);
    }

    fn go(&self, id: &str) {
        fs::write(self.root.join(format!("go-{id}")), "").unwrap();
    }

    fn log(&self) -> Vec<String> {
        fs::read_to_string(self.root.join("log")).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// What the tool says is installed.
    fn listed(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.join("vendor")).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

#[test]
fn a_vendors_tool_installs_once_over_a_killed_node_and_takes_back_what_hurts() {
    if require("python3").is_none() {
        return;
    }
    let mut world = World::new(PROGRAM);
    let console = Console { root: world.dir().join("console") };
    fs::create_dir(&console.root).unwrap();
    fs::write(console.root.join("platform"), PLATFORM).unwrap();
    world.add_declared_site("rx1", &console.site(), 1);
    let plan = plan::one_wave("1s", "{ per_site: 1 }", "device");

    console.patch(&world, "KB1", ":");
    world.start("r1", "KB1", &plan);
    wait_until(60, "the tool to begin", || console.log() == ["install KB1"]);
    world.site_mut("rx1").node().kill9();
    world.start_node("rx1");
    console.go("KB1");
    world.wait_state(60, "r1", "completed");
    assert_eq!((console.log(), console.listed()), (vec!["install KB1".to_owned()], vec!["KB1.sh".to_owned()]));
    let done = world.deployment("r1", "rx1/console").unwrap();
    assert!(done.evidence_json.contains("the tool lists KB1.sh"), "{}", world.describe("r1"));

    // The second one hurts: the node takes it back by itself, and leaves the first.
    console.patch(&world, "KB2", ": > broken");
    world.start("r2", "KB2", &plan);
    console.go("KB2");
    let back = world.wait_deployment(60, "r2", "rx1/console", &["rolled_back", "rollback_failed", "succeeded"]);
    assert!(back.state == "rolled_back" && back.reason.contains("images"), "{}", world.describe("r2"));
    assert_eq!(console.listed(), ["KB1.sh"]);

    // People take back the first.
    world.run_by(&["ann", "ben"], &["rollout", "rollback", "r1", "--all", "--reason", "withdrawn", "--yes"]).ok();
    world.wait_state(60, "r1", "rolled_back");
    assert!(console.listed().is_empty());
    assert_eq!(console.log(), ["install KB1", "install KB2", "uninstall KB2", "uninstall KB1"]);
}
