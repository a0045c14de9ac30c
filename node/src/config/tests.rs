//! What a site file may hold, and how each mistake is told.

use std::path::{Path, PathBuf};

use super::*;
use crate::secret::Secret;

const GOOD: &str = r#"site: rx1
display_name: Royal Example Hospital
region: north
type: acute
groups: { pacs: 1 }
concurrency_max: 8
devices:
  - name: ct-01
    platform: "cpe:2.3:o:microsoft:windows_xp:-:sp2:*:*:professional:*:x64:*"
    model: Acme CT 5
    labels: { ring: canary }
    group: pacs
    transport: { kind: local, root: dev/ct-01, shell: wine }
    in_use: { command: [bin/ct-in-use, ct-01] }
  - name: lab-02
    platform: "cpe:2.3:o:microsoft:windows_7:-:sp1:*:*:*:*:x64:*"
    transport:
      kind: ssh
      host: 127.0.0.1
      port: 24221
      user: patch
      identity_file: keys/id
      host_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f lab"
      shell: cmd
      upload_dir: "/C:/wardround"
      device_dir: "C:\\wardround"
      legacy: { kex: [diffie-hellman-group1-sha1], host_keys: [ssh-rsa], ciphers: [3des-cbc], macs: [hmac-sha1] }
systems:
  - name: pacs
    kind: pacs
    critical: true
    devices: [ct-01]
    probes:
      - { kind: dicom_echo, host: 127.0.0.1, port: 11112, called_ae: PACS, timeout: 2s }
      - { kind: tcp, host: "::1", port: 104 }
      - { kind: http, url: "http://127.0.0.1:8080/health?x=1", contains: "ok" }
      - { kind: command, argv: [/bin/true] }
time_zone: Europe/London
windows: [{ days: [sat, sun], from: "22:00", to: "05:00" }]
freezes: [{ from: 2026-12-20, to: 2027-01-04, reason: year end }]
"#;

#[test]
fn a_device_names_the_patches_that_are_there() {
    let with = |patches: &str| {
        let file = GOOD.replacen("    group: pacs\n", &format!("    group: pacs\n    patches: {patches}\n"), 1);
        parse(&file, "site.yaml", Path::new("/etc/wr"))
    };
    let devices = with("[KB936929, sp3]").unwrap().inventory.devices;
    assert_eq!(devices[0].patches, ["KB936929".parse().unwrap(), "sp3".parse().unwrap()]);
    assert_eq!(devices[1].patches, []);
    let error = with("[KB936929, \"sp 3\"]").unwrap_err().to_string();
    assert!(error.contains("devices[0].patches[1]"), "{error}");
}

#[test]
fn a_site_file_becomes_an_inventory_and_ways_to_reach_it() {
    let site = parse(GOOD, "site.yaml", Path::new("/etc/wr")).unwrap();
    assert_eq!(site.concurrency_max, 8);
    let ct = DeviceId::new("rx1/ct-01").unwrap();
    assert_eq!(site.inventory.devices[0].id, ct);
    assert_eq!(site.inventory.systems[0].devices, std::slice::from_ref(&ct));
    let config = &site.devices[&ct];
    assert_eq!(
        config.transport,
        TransportConfig::Local { root: PathBuf::from("/etc/wr/dev/ct-01"), shell: LocalShell::Wine }
    );
    let in_use = config.in_use.as_ref().unwrap();
    assert_eq!(in_use.command.as_deref().unwrap(), ["/etc/wr/bin/ct-in-use", "ct-01"]);
    let TransportConfig::Ssh(ssh) = &site.devices[&DeviceId::new("rx1/lab-02").unwrap()].transport else {
        panic!("ssh was declared")
    };
    assert_eq!(ssh.identity_file, PathBuf::from("/etc/wr/keys/id"));
    assert!(!ssh.host_key.ends_with("lab"), "the comment goes");
    assert_eq!(ssh.legacy.ciphers, ["3des-cbc"]);
    let probes = &site.systems[&SystemId::new("rx1/pacs").unwrap()].probes;
    let labels: Vec<String> = probes.iter().map(ProbeSpec::label).collect();
    assert_eq!(
        labels,
        ["dicom_echo PACS@127.0.0.1:11112", "tcp ::1:104", "http 127.0.0.1:8080/health?x=1", "command /bin/true"]
    );
    let hours = &site.inventory.hours;
    assert_eq!(hours.time_zone.as_ref().map(|z| z.as_str()), Some("Europe/London"));
    assert_eq!((hours.windows.len(), hours.windows[0].days.len(), hours.freezes.len()), (1, 2, 1));
    assert!(site.inventory.devices.iter().all(|d| d.windows.is_empty()));
    assert_eq!((probes[0].timeout, probes[1].timeout), (std::time::Duration::from_secs(2), PROBE_TIMEOUT_DEFAULT));
}

const ADAPTER: &str = r#"{ kind: adapter, program: [adapters/x, --fast], shell: cmd, device_dir: 'C:\wardround', options: { address: 10.1.2.3, port: "445" }, credentials: { password: { file: keys/pw }, hash: { env: CT_HASH }, token: { command: [pass, show, ct] } } }"#;

#[test]
fn an_adapter_is_told_its_options_and_where_secrets_are_kept() {
    let with = |adapter: &str| {
        let file = GOOD.replacen("{ kind: local, root: dev/ct-01, shell: wine }", adapter, 1);
        parse(&file, "site.yaml", Path::new("/etc/wr"))
    };
    let site = with(ADAPTER).unwrap();
    let TransportConfig::Adapter(found) = &site.devices[&DeviceId::new("rx1/ct-01").unwrap()].transport else {
        panic!("an adapter was declared")
    };
    assert_eq!(found.program, ["/etc/wr/adapters/x", "--fast"]);
    assert_eq!((found.shell, found.device_dir.as_str()), (RemoteShell::Cmd, r"C:\wardround"));
    assert_eq!((found.options["address"].as_str(), found.options["port"].as_str()), ("10.1.2.3", "445"));
    assert_eq!(found.credentials["password"], Secret::File(PathBuf::from("/etc/wr/keys/pw")));
    assert_eq!(found.credentials["hash"], Secret::Env("CT_HASH".into()));
    assert_eq!(found.credentials["token"], Secret::Command(["pass", "show", "ct"].map(str::to_owned).to_vec()));
    for (from, to, wanted) in [
        (
            "{ file: keys/pw }",
            "hunter2",
            &["credentials.password", "not written into the site file", "{ file: /path }"][..],
        ),
        ("{ file: keys/pw }", "{ text: hunter2 }", &["credentials.password", "no place of a secret"]),
        ("{ file: keys/pw }", "{ file: a, env: B }", &["credentials.password", "exactly one place"]),
        ("[pass, show, ct]", "pass show ct", &["credentials.token", "no place of a secret"]),
        ("{ env: CT_HASH }", "{ env: \"A=hunter2\" }", &["credentials.hash.env", "environment variable"]),
        ("program: [adapters/x, --fast], ", "", &["transport.program", "needs program"]),
        ("shell: cmd", "shell: wine", &["transport.shell", "sh or cmd"]),
        ("C:\\wardround", "/opt/wardround", &["transport.device_dir", "shell is cmd"]),
        ("kind: adapter,", "kind: adapter, host: x,", &["transport.host", "has no field \"host\""]),
        ("port:", "\"a b\":", &["options.a b", "plain name"]),
    ] {
        let error = with(&ADAPTER.replacen(from, to, 1)).expect_err(to);
        let text = format!("{error} | {}", error.hint);
        for part in wanted {
            assert!(text.contains(part), "{from:?} -> {to:?}: {text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
    }
}

/// Replaces `from` in the good file, and gives the complaint with its hint.
fn complaint(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    let error = parse_site_file(&GOOD.replacen(from, to, 1), "site.yaml").expect_err(to);
    format!("{error} | {}", error.hint)
}

#[test]
fn every_mistake_names_its_place_and_a_way_out() {
    for (from, to, wanted) in [
        (
            "region: north",
            "region: north\ninventory: { interval: 1s }",
            &["inventory.interval", "not from 5s to 30d"][..],
        ),
        ("region: north", "regoin: north", &["site.yaml:3:", "regoin"]),
        ("site: rx1", "site: RX1", &["site.yaml:1:7: site:", "not a valid site id"]),
        ("name: lab-02", "name: ct-01", &["site.yaml:15:11: devices[1].name:", "twice"]),
        ("type: acute", "type: \"a\\e[2J\"", &["site.yaml:4:7: type:", "no plain text"]),
        ("group: pacs", "group: ct", &["devices[0].group", "not declared", "groups:"]),
        ("pacs: 1", "pacs: 0", &["site.yaml:5:17: groups.pacs"]),
        ("devices: [ct-01]", "devices: [ct-09]", &["site.yaml:32:15: systems[0].devices", "\"ct-09\" is not declared"]),
        ("platform: \"cpe:2.3:o:", "platform: \"cpe:2.2:o:", &["site.yaml:9:15: devices[0].platform", "CPE 2.3"]),
        (
            "kind: local",
            "kind: smb",
            &["devices[0].transport.kind", "write local or ssh, node for the node's own program, or adapter"],
        ),
        ("shell: wine", "shell: bash", &["devices[0].transport.shell", "sh or wine"]),
        (", shell: wine", "", &["devices[0].transport.shell", "needs shell"]),
        ("root: dev/ct-01,", "root: dev/ct-01, host: x,", &["transport.host", "has no field \"host\"", "root, shell"]),
        ("AAAAC3NzaC1lZDI1NTE5", "BBBB", &["devices[1].transport.host_key", "no SSH host key"]),
        ("user: patch", "user: \"-oProxyCommand=x\"", &["devices[1].transport.user"]),
        ("C:\\\\wardround\"", "C:\\\\war round\"", &["devices[1].transport.device_dir"]),
        ("device_dir: \"C:\\\\", "device_dir: \"", &["devices[1].transport.device_dir", "no absolute directory"]),
        ("device_dir: \"C:\\\\", "device_dir: \"/", &["devices[1].transport.device_dir", "shell is cmd"]),
        ("kex: [diffie", "kex: [\"+, diffie", &["site.yaml:"]),
        ("timeout: 2s", "timeout: 2", &["systems[0].probes[0].timeout", "not a duration"]),
        ("timeout: 2s", "timeout: 2h", &["up to 60s"]),
        ("called_ae: PACS", "called_ae: MUCH_TOO_LONG_A_TITLE", &["probes[0].called_ae", "1 to 16"]),
        ("called_ae: PACS, ", "", &["probes[0].called_ae", "needs called_ae"]),
        ("http://127", "ftp://127", &["probes[2].url", "no HTTP address", "https://host/path"]),
        ("kind: tcp", "kind: icmp", &["probes[1].kind", "tcp, http, fhir,", "or command"]),
        ("argv: [/bin/true]", "argv: []", &["probes[3].argv", "a program is missing"]),
        (
            "Europe/London",
            "Europe/Londn",
            &["site.yaml:38:12: time_zone:", "no time zone of the IANA", "those of Windows"],
        ),
        ("[sat, sun]", "[sat, sunday]", &["site.yaml:39:25: windows[0].days:", "\"sunday\" is no day", "mon, tue"]),
        ("[sat, sun]", "[sat, sat]", &["site.yaml:39:19: windows[0].days:", "twice"]),
        ("[sat, sun]", "[]", &["site.yaml:39:19: windows[0].days:", "no day is named"]),
        ("\"22:00\"", "\"25:00\"", &["site.yaml:39:37: windows[0].from:", "no time of day"]),
        ("\"05:00\"", "\"22:00\"", &["site.yaml:39:50: windows[0].to:", "never be open"]),
        (", to: \"05:00\"", "", &["site.yaml:39:", "to"]),
        (
            "windows: [{ days: [sat, sun], from: \"22:00\", to: \"05:00\" }]",
            "windows: []",
            &["site.yaml:39:10: windows:"],
        ),
        ("2026-12-20", "20.12.2026", &["site.yaml:40:19: freezes[0].from:", "no date"]),
        ("2027-01-04", "2026-01-04", &["site.yaml:40:35: freezes[0].to:", "before it begins"]),
        ("year end", "\"\"", &["freezes[0].reason:", "one plain line"]),
        (
            "    in_use: {",
            "    windows: [{ from: \"22:00\", to: \"22:00\" }]\n    in_use: {",
            &["site.yaml:14:36: devices[0].windows[0].to:"],
        ),
        ("port: 104", "port: 70000", &["site.yaml:35:"]),
        ("critical: true", "interval: 500ms", &["systems[0].interval", "from 1s to 15m"]),
        ("critical: true", "interval: 1h", &["systems[0].interval", "from 1s to 15m"]),
        ("critical: true", "failures: 0", &["systems[0].failures", "from 1 to 20"]),
        ("critical: true", "successes: 21", &["systems[0].successes", "from 1 to 20"]),
        ("concurrency_max: 8", "concurrency_max: 0", &["concurrency_max", "1 to 64"]),
        ("site: rx1\n", "site: rx1\nsite: rx1\n", &["site.yaml:2:"]),
        ("labels: { ring: canary }", "labels: &l { ring: canary }", &["site.yaml:"]),
    ] {
        let text = complaint(from, to);
        for part in wanted {
            assert!(text.contains(part), "{from:?} -> {to:?}: {text}");
        }
    }
}

#[test]
fn a_file_that_is_missing_or_too_large_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let missing = read_site_file(&dir.path().join("none.yaml")).unwrap_err();
    assert!(missing.to_string().contains("cannot be opened") && !missing.hint.is_empty(), "{missing}");
    let large = dir.path().join("large.yaml");
    std::fs::File::create(&large).unwrap().set_len(SITE_FILE_BYTES_MAX + 1).unwrap();
    assert!(read_site_file(&large).unwrap_err().to_string().contains("larger than"));
    let path = dir.path().join("site.yaml");
    std::fs::write(&path, GOOD).unwrap();
    let site = read_site_file(&path).unwrap();
    let ct = &site.devices[&DeviceId::new("rx1/ct-01").unwrap()];
    let TransportConfig::Local { root, .. } = &ct.transport else { panic!() };
    assert_eq!(*root, dir.path().join("dev/ct-01"), "relative to the file");
}

#[test]
fn what_a_device_asks_of_whoever_patches_it_is_read_or_refused() {
    let with = |line: &str| {
        let yaml = format!(
            "site: rx1\ndevices:\n  - name: a\n    platform: 'cpe:2.3:o:microsoft:windows_xp:*:*:*:*:*:*:x86:*'\n    \
             transport: {{ kind: local, root: /a, shell: wine }}\n    {line}\n"
        );
        parse(&yaml, "site.yaml", Path::new("/etc/wr")).map(|site| site.devices.into_values().next().unwrap())
    };
    let device =
        with("in_use: { logged_on: true, processes: [ctviewer.exe], connections: [104], confirm: true }").unwrap();
    let in_use = device.in_use.unwrap();
    assert!(in_use.asks_device() && in_use.confirm && in_use.command.is_none());
    let device = with("write_filter: { kind: fbwf, volume: 'd:' }").unwrap();
    assert_eq!(device.write_filter, Some(WriteFilter { kind: FilterKind::Fbwf, volume: 'D' }));
    let device = with("rollback: { restore_point: true, snapshot: { take: [bin/vm, take], restore: [vm] } }").unwrap();
    let snapshot = device.rollback.snapshot.unwrap();
    assert_eq!((snapshot.take[0].as_str(), snapshot.fresh_for), ("/etc/wr/bin/vm", SNAPSHOT_FRESH_DEFAULT));
    assert!(device.rollback.restore_point);
    for (line, field, words) in [
        ("in_use: { processes: ['a & b'] }", "devices[0].in_use.processes[0]", "no plain name"),
        ("in_use: { connections: [0] }", "devices[0].in_use.connections[0]", "no port"),
        ("write_filter: { kind: uwf }", "devices[0].write_filter.kind", "no write filter"),
        ("write_filter: { kind: ewf, volume: 'C:\\x' }", "devices[0].write_filter.volume", "no drive"),
        (
            "rollback: { snapshot: { take: [a], restore: [b], fresh_for: 48h } }",
            "devices[0].rollback.snapshot.fresh_for",
            "longer than 24h",
        ),
        (
            "rollback: { snapshot: { take: [], restore: [b] } }",
            "devices[0].rollback.snapshot.take",
            "a program is missing",
        ),
    ] {
        let error = with(line).unwrap_err();
        assert_eq!((error.field.as_str(), error.message.contains(words)), (field, true), "{error:?}");
    }
}

#[test]
fn a_site_has_one_node_and_says_so_in_one_way() {
    let own = "  - { name: node, platform: 'cpe:2.3:a:wardround:node:*:*:*:*:*:*:x64:*', transport: { kind: node } }\n";
    let with = |entries: &str| {
        let file = GOOD.replacen("systems:\n", &format!("{entries}systems:\n"), 1);
        parse(&file, "site.yaml", Path::new("/etc/wr"))
    };
    let site = with(own).unwrap();
    assert_eq!(site.devices[&DeviceId::new("rx1/node").unwrap()].transport, TransportConfig::Node);
    for (entries, why) in [
        (format!("{own}{}", own.replace("name: node", "name: second")), "one node"),
        (own.replace("wardround:node", "acme:ct"), "go together"),
        (own.replace("kind: node", "kind: local, root: x, shell: sh"), "go together"),
        (own.replace("kind: node", "kind: node, host: x"), "has no field"),
        (own.replace("transport:", "write_filter: { kind: ewf }, transport:"), "no write filter"),
        (own.replace("transport:", "rollback: { restore_point: true }, transport:"), "no write filter"),
    ] {
        let error = with(&entries).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn devices_are_looked_at_once_a_day_unless_the_site_says_otherwise() {
    let interval = |text: &str| parse_site_file(text, "site.yaml").unwrap().inventory_interval;
    assert_eq!(interval(GOOD), super::INVENTORY_INTERVAL_DEFAULT);
    let often = GOOD.replacen("region: north", "region: north\ninventory: { interval: 12h }", 1);
    assert_eq!(interval(&often).0, 12 * 3600 * 1000);
}
