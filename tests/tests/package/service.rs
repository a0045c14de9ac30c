//! The package on the machine of a hospital: a bare Debian with a real systemd and a real dpkg. What a site engineer does in a node's
//! life, and what the power does, while a device of the site (a real sshd elsewhere) is in the middle of an install.

use std::{
    fs,
    path::{Path, PathBuf},
};

use wardround_tests::{
    rig::{Machine, SshDevice, SshOptions, deb, require},
    world::{OWN_PLATFORM, World, plan, wait_until},
};

use super::PROGRAM;

const AS_ACCOUNT: &str = "runuser -u wardround -- wardround node";
const WHERE: &str = "--state /var/lib/wardround --site /etc/wardround/site.yaml";

/// A device whose installs wait at a gate, with what they wrote down.
struct Gateway {
    folder: PathBuf,
    server: SshDevice,
}

impl Gateway {
    fn start(folder: PathBuf) -> Option<Self> {
        fs::create_dir(&folder).unwrap();
        let server = SshDevice::posix(&folder, SshOptions::default())?;
        Some(Self { folder, server })
    }

    /// A patch for it, signed by both roles.
    fn patch(&self, world: &World, id: &str) {
        let script = format!(
            "#!/bin/sh\ncd {} || exit 9\ncase $1 in\n\
             install) echo begin >> {id}.log; until [ -e {id}.open ]; do sleep 0.1; done; : > {id}.there;;\n\
             uninstall) rm -f {id}.there;;\ndetect) [ -e {id}.there ] && echo {id}.there;;\nesac\n",
            self.folder.display()
        );
        world.patch_script(id, "cpe:2.3:o:debian:debian_linux:*:*:*:*:*:*:*:*", &script);
    }

    fn begun(&self, id: &str) -> usize {
        fs::read_to_string(self.folder.join(format!("{id}.log"))).unwrap_or_default().lines().count()
    }

    fn open(&self, id: &str) {
        fs::write(self.folder.join(format!("{id}.open")), "").unwrap();
    }
}

fn one_wave() -> String {
    plan::one_wave("1s", "{ per_site: 1 }", "site").replace("reboot_timeout: 4s", "reboot_timeout: 30s")
}

fn connected(world: &World) {
    wait_until(60, "the site to be connected", || {
        world.api.site("rx1").is_ok_and(|site| {
            site.site.is_some_and(|site| site.connected)
                && site.devices.len() == 2
                && site.clinical_systems.iter().all(|system| system.health == "healthy")
        })
    });
}

/// The machine enrols, its site file is written, and the service is switched on, as docs/enrolling-a-site.md says.
fn enrol(world: &World, machine: &Machine, gateway: &Gateway) {
    let (token, port) = (world.token("rx1"), world.port());
    machine.ok(&format!(
        "WARDROUND_TOKEN={token} {AS_ACCOUNT} enrol --controller https://127.0.0.1:{port} --state /var/lib/wardround"
    ));
    let transport = gateway.server.transport();
    let key = transport.split("identity_file: ").nth(1).unwrap().split(',').next().unwrap();
    fs::copy(key, machine.file("/etc/wardround/id")).unwrap();
    machine.ok("chown wardround: /etc/wardround/id && chmod 600 /etc/wardround/id");
    let site = format!(
        "site: rx1\ntime_zone: Etc/UTC\ndevices:\n  - name: gateway\n    \
         platform: \"cpe:2.3:o:debian:debian_linux:12:*:*:*:*:*:x64:*\"\n    transport: {}\n  - name: node\n    \
         platform: \"{OWN_PLATFORM}\"\n    transport: {{ kind: node }}\nsystems:\n  - name: archive\n    kind: archive\n    \
         interval: 1s\n    devices: [gateway, node]\n    probes:\n      - {{ kind: command, argv: [/bin/true] }}\n",
        transport.replace(key, "/etc/wardround/id")
    );
    fs::write(machine.file("/etc/wardround/site.yaml"), site).unwrap();
    machine.ok("systemctl enable --now wardround-node");
    connected(world);
}

/// The process that systemd watches.
fn supervisor(machine: &Machine) -> String {
    machine.ok("systemctl show --value --property=MainPID wardround-node")
}

fn install(machine: &Machine, package: &Path) {
    fs::copy(package, machine.file("/var/tmp/node.deb")).unwrap();
    machine.ok("dpkg --install /var/tmp/node.deb");
}

fn is_active(machine: &Machine) -> String {
    machine.sh("systemctl is-active wardround-node").1
}

#[test]
fn the_package_serves_through_restart_power_cut_self_update_upgrade_and_removal() {
    if require("dpkg-deb").is_none() || require("strip").is_none() {
        return;
    }
    let Some(mut machine) = Machine::bare() else { return };
    let world = World::new(PROGRAM);
    let Some(gateway) = Gateway::start(world.dir().join("gateway")) else { return };
    machine.start();

    // Installed, it waits for a person.
    install(&machine, &deb(&world.packaged(), world.dir()));
    assert_eq!(machine.sh("systemctl is-enabled wardround-node").1, "disabled");
    assert_eq!(is_active(&machine), "inactive");
    assert_eq!(machine.ok("stat --format='%U %a' /var/lib/wardround"), "wardround 700");
    enrol(&world, &machine, &gateway);
    let said = machine.ok(&format!("{AS_ACCOUNT} doctor {WHERE}"));
    assert!(said.contains("the packaged program counts") && said.contains("2 of 2 answer"), "{said}");
    // What docs/enrolling-a-site.md promises: 10 is everything open.
    machine.ok("systemd-analyze security --no-pager --threshold=18 wardround-node");
    // Who looks for what the node did finds it, without having asked for it before.
    wait_until(30, "the journal to tell of the node", || {
        machine.ok("journalctl --no-pager --unit=wardround-node").contains("the node runs")
    });

    // The service is restarted while a device installs.
    gateway.patch(&world, "KB1");
    world.start("r1", "KB1", &one_wave());
    wait_until(60, "the install to begin", || gateway.begun("KB1") == 1);
    let before = supervisor(&machine);
    machine.ok("systemctl restart wardround-node");
    assert_ne!(supervisor(&machine), before);
    connected(&world);
    gateway.open("KB1");
    world.wait_state(60, "r1", "completed");
    assert_eq!(gateway.begun("KB1"), 1);
    let told = machine.ok("journalctl --no-pager --unit=wardround-node");
    assert!(told.contains("a deployment moved") && told.contains("succeeded"), "{told}");

    // The power of the node's machine fails while a device installs. Nobody starts anything by hand.
    gateway.patch(&world, "KB2");
    world.start("r2", "KB2", &one_wave());
    wait_until(60, "the install to begin", || gateway.begun("KB2") == 1);
    machine.cut();
    machine.start();
    gateway.open("KB2");
    world.wait_state(90, "r2", "completed");
    assert_eq!(gateway.begun("KB2"), 1);

    // The node replaces its own program in what the service lets it write.
    let new = world.another_build("node-2");
    let id = world.own_patch(&new);
    world.start("r3", &id, &one_wave());
    world.wait_state(90, "r3", "completed");
    let doctor = || machine.sh(&format!("{AS_ACCOUNT} doctor {WHERE}")).1;
    wait_until(30, "the new program to count", || {
        doctor().lines().any(|line| line.contains("from slot a (") && line.ends_with(") counts"))
    });
    assert_eq!(is_active(&machine), "active");

    // A person installs a package over it: that one runs, at once.
    let before = supervisor(&machine);
    install(&machine, &deb(&new, &world.dir().join("newer")));
    assert_ne!(supervisor(&machine), before);
    wait_until(30, "the package to count", || doctor().contains("the packaged program counts"));
    connected(&world);

    // Removed and purged: what must not be forgotten is there.
    machine.ok("dpkg --remove wardround-node");
    assert_eq!(is_active(&machine), "inactive");
    machine.ok("dpkg --purge wardround-node");
    for path in ["/var/lib/wardround/identity", "/var/lib/wardround/journal", "/etc/wardround/site.yaml"] {
        assert!(machine.file(path).exists(), "{path}");
    }
    assert_eq!(machine.sh("systemctl list-unit-files --no-legend 'wardround*'").1, "");
}
