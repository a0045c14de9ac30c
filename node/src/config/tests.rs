//! What a site file may hold, and how each mistake is told.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::*;

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
    assert_eq!(config.in_use.as_ref().unwrap().command, ["/etc/wr/bin/ct-in-use", "ct-01"]);
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
    assert_eq!((probes[0].timeout, probes[1].timeout), (Duration::from_secs(2), PROBE_TIMEOUT_DEFAULT));
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
        ("region: north", "regoin: north", &["site.yaml:3:", "regoin"][..]),
        ("site: rx1", "site: RX1", &["site.yaml:1:7: site:", "not a valid site id"]),
        ("name: lab-02", "name: ct-01", &["site.yaml:15:11: devices[1].name:", "twice"]),
        ("type: acute", "type: \"a\\e[2J\"", &["site.yaml:4:7: type:", "no plain text"]),
        ("group: pacs", "group: ct", &["devices[0].group", "not declared", "groups:"]),
        ("pacs: 1", "pacs: 0", &["site.yaml:5:17: groups.pacs"]),
        ("devices: [ct-01]", "devices: [ct-09]", &["site.yaml:32:15: systems[0].devices", "\"ct-09\" is not declared"]),
        ("platform: \"cpe:2.3:o:", "platform: \"cpe:2.2:o:", &["site.yaml:9:15: devices[0].platform", "CPE 2.3"]),
        ("kind: local", "kind: smb", &["devices[0].transport.kind", "write local or ssh"]),
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
        ("http://127", "https://127", &["probes[2].url", "command probe"]),
        ("kind: tcp", "kind: icmp", &["probes[1].kind", "tcp, http, dicom_echo or command"]),
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
