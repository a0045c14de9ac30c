//! What a site file may say of probes, and how each mistake is told.

use std::path::Path;

use wardround_rollout_plans::model::SystemId;

use super::*;
use crate::config::{ConfigError, parse};

/// A site with one system, which needs the device `ct-01` and has this one probe.
fn probe(probe: &str) -> Result<ProbeSpec, ConfigError> {
    let yaml = format!(
        "site: rx1\ndevices:\n  - name: ct-01\n    platform: \"cpe:2.3:o:microsoft:windows_7:-:sp1:*:*:*:*:x64:*\"\n    \
         transport: {{ kind: local, root: dev/ct-01, shell: wine }}\n  - name: ct-02\n    \
         platform: \"cpe:2.3:o:microsoft:windows_7:-:sp1:*:*:*:*:x64:*\"\n    \
         transport: {{ kind: local, root: dev/ct-02, shell: wine }}\nsystems:\n  - name: s\n    devices: [ct-01]\n    probes:\n      \
         - {probe}\n"
    );
    let site = parse(&yaml, "site.yaml", Path::new("/etc/wr"))?;
    Ok(site.systems[&SystemId::new("rx1/s").unwrap()].probes[0].clone())
}

#[test]
fn every_kind_is_read_and_named() {
    for (text, label) in [
        ("{ kind: tcp, host: a, port: 1 }", "tcp a:1"),
        ("{ kind: http, url: \"https://a/x\", tls: { ca: ca.pem } }", "https a:443/x"),
        ("{ kind: http, url: \"http://[::1]:8080\" }", "http ::1:8080/"),
        ("{ kind: fhir, url: \"https://a:8443/fhir/\", version: \"4.0\" }", "fhir https://a:8443/fhir/metadata"),
        ("{ kind: fhir, url: \"http://a\" }", "fhir http://a:80/metadata"),
        ("{ kind: dicom_echo, host: a, port: 2762, called_ae: PACS, tls: {} }", "dicom_echo PACS@a:2762"),
        ("{ kind: hl7_mllp, host: a, port: 2575 }", "hl7_mllp a:2575"),
        ("{ kind: hl7_mllp, host: a, port: 2575, message: \"MSH|^~\\\\&|A|B|C|D|||ACK|7|P|2.3\" }", "hl7_mllp a:2575"),
        ("{ kind: tls_expiry, host: a, port: 443, at_least: 30d }", "tls_expiry a:443"),
        (
            "{ kind: sql_login, host: a, port: 5432, database: lis, user: probe, password: { file: pw } }",
            "sql_login probe@a:5432/lis",
        ),
        ("{ kind: windows_service, device: ct-01, service: \"MSSQL$LIS\" }", "windows_service MSSQL$LIS on rx1/ct-01"),
        (
            "{ kind: windows_service, device: ct-01, service: Acme Viewer 2 }",
            "windows_service Acme Viewer 2 on rx1/ct-01",
        ),
        ("{ kind: windows_process, device: ct-01, process: acme.exe }", "windows_process acme.exe on rx1/ct-01"),
        ("{ kind: command, argv: [/bin/true] }", "command /bin/true"),
    ] {
        assert_eq!(probe(text).unwrap().label(), label, "{text}");
    }
}

#[test]
fn what_is_absent_has_its_default_and_paths_begin_at_the_file() {
    let Check::TlsExpiry { server, at_least } = probe("{ kind: tls_expiry, host: a, port: 443 }").unwrap().check else {
        panic!("another kind")
    };
    assert_eq!((at_least.to_string().as_str(), server.server_name()), ("14d", "a"));
    assert_eq!(server.tls, Some(TlsSettings::default()), "always over TLS");
    let text =
        "{ kind: http, url: \"https://a/\", tls: { ca: c/ca.pem, cert: me.pem, key: /k/me.key, server_name: b } }";
    let Check::Http { server, status, .. } = probe(text).unwrap().check else { panic!("another kind") };
    assert_eq!((status, server.server_name()), (200, "b"));
    let tls = server.tls.unwrap();
    assert_eq!(tls.ca, Some(PathBuf::from("/etc/wr/c/ca.pem")));
    assert_eq!(tls.identity, Some((PathBuf::from("/etc/wr/me.pem"), PathBuf::from("/k/me.key"))));
    let secret = |password: &str| {
        let text = format!("{{ kind: sql_login, host: a, port: 1, database: d, user: u, password: {password} }}");
        let Check::SqlLogin { password, .. } = probe(&text).unwrap().check else { panic!("another kind") };
        password.unwrap()
    };
    assert_eq!(secret("{ file: keys/pw }"), Secret::File(PathBuf::from("/etc/wr/keys/pw")));
    assert_eq!(secret("{ env: LIS_PASSWORD }"), Secret::Env("LIS_PASSWORD".to_owned()));
    let argv = ["pass", "show", "lis"].map(str::to_owned).to_vec();
    assert_eq!(secret("{ command: [pass, show, lis] }"), Secret::Command(argv));
}

#[test]
fn every_mistake_names_its_field_and_a_way_out() {
    let sql =
        |password: &str| format!("{{ kind: sql_login, host: a, port: 1, database: d, user: u, password: {password} }}");
    for (text, wanted) in [
        ("{ kind: tcp, host: a, port: 1, tls: {} }".to_owned(), &["probes[0].tls", "no field \"tls\""][..]),
        ("{ kind: http, url: \"http://a/\", tls: {} }".to_owned(), &["probes[0].tls", "write https://"]),
        ("{ kind: http, url: \"https://a/\", tls: { cert: c } }".to_owned(), &["needs cert and key"]),
        ("{ kind: http, url: \"https://a/\", tls: { ca: c, pin: x } }".to_owned(), &["pin"]),
        ("{ kind: http, url: \"https://a/\", tls: { server_name: \"a b\" } }".to_owned(), &["tls.server_name"]),
        ("{ kind: http, url: \"https://a:/\" }".to_owned(), &["no HTTP address"]),
        ("{ kind: fhir, url: \"http://a/x?y=1\" }".to_owned(), &["probes[0].url", "no query"]),
        ("{ kind: fhir, url: \"http://a/\", version: \"R4 \" }".to_owned(), &["probes[0].version", "\"4.0.1\""]),
        ("{ kind: fhir, url: \"http://a/\", version: \"4.\" }".to_owned(), &["no FHIR version"]),
        ("{ kind: hl7_mllp, host: a, port: 1, message: \"PID|1\" }".to_owned(), &["probes[0].message", "MSH"]),
        (
            "{ kind: hl7_mllp, host: a, port: 1, message: \"MSH|^~\\\\&|A|B|C|D|||ACK||P|2.3\" }".to_owned(),
            &["MSH-10", "{control_id}"],
        ),
        (
            "{ kind: hl7_mllp, host: a, port: 1, message: \"MSH|\", message_file: x }".to_owned(),
            &["probes[0].message_file", "one place"],
        ),
        ("{ kind: tls_expiry, host: a, port: 1, at_least: 1m }".to_owned(), &["probes[0].at_least", "from 1h to"]),
        ("{ kind: tls_expiry, host: a, port: 1, at_least: 14 }".to_owned(), &["not a duration"]),
        ("{ kind: tls_expiry, host: \"a:b\", port: 1 }".to_owned(), &["probes[0].host"]),
        ("{ kind: sql_login, host: a, port: 1, database: \"\", user: u }".to_owned(), &["probes[0].database"]),
        ("{ kind: sql_login, host: a, port: 1, database: d }".to_owned(), &["needs user"]),
        (sql("{}"), &["probes[0].password", "exactly one place", "{ file: /path }"]),
        (sql("{ file: a, env: B }"), &["exactly one place"]),
        (sql("{ env: \"A-B\" }"), &["password.env", "environment variable"]),
        (sql("{ command: [] }"), &["password.command", "program is missing"]),
        (
            "{ kind: windows_service, device: ct-02, service: s }".to_owned(),
            &["probes[0].device", "does not need device \"ct-02\"", "devices:"],
        ),
        (
            "{ kind: windows_service, device: ct-01, service: \"a b \" }".to_owned(),
            &["probes[0].service", "SERVICE_NAME"],
        ),
        ("{ kind: windows_service, device: ct-01, service: \"a&b\" }".to_owned(), &["no plain name"]),
        ("{ kind: windows_service, device: ct-01, service: s, state: up }".to_owned(), &["probes[0].state", "running"]),
        ("{ kind: windows_process, device: ct-01, process: \"-x\" }".to_owned(), &["probes[0].process"]),
        ("{ kind: windows_process, device: ct-01 }".to_owned(), &["needs process"]),
    ] {
        let error = probe(&text).expect_err(&text);
        let told = format!("{error} | {}", error.hint);
        for part in wanted {
            assert!(told.contains(part), "{text}: {told}");
        }
    }
}

/// Whoever writes the password itself into the file by mistake must not find it in the log.
#[test]
fn a_password_in_the_wrong_place_is_not_repeated() {
    for password in ["hunter2", "[hunter2]", "{ text: hunter2 }", "{ env: \"hunter2!\" }"] {
        let text = format!("{{ kind: sql_login, host: a, port: 1, database: d, user: u, password: {password} }}");
        let error = probe(&text).unwrap_err();
        let told = format!("{error} | {} | {error:?}", error.hint);
        assert!(!told.contains("hunter2"), "{password}: {told}");
    }
}
