//! Probes with real peers: dcmtk, Orthanc, pynetdicom, an HL7 receiver, PostgreSQL, openssl; and programs on the node.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use wardround_tests::rig::{
    Authority, Orthanc, POSTGRES_PASSWORD, PROBE_TIME_MS, Postgres, QueryRetrieve, Scripted, SecureServer, SshDevice,
    SshOptions, Storescp, WineDevice, WineVersion, probe, probe_at, probe_device, told,
};

fn path(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

fn echo(port: u16, title: &str, tls: &str) -> String {
    format!("{{ kind: dicom_echo, host: 127.0.0.1, port: {port}, called_ae: {title}, timeout: 60s{tls} }}")
}

#[tokio::test(flavor = "multi_thread")]
async fn dicom_says_healthy_wrong_title_and_gone_apart() {
    let Some(mut pacs) = Storescp::start() else { return };
    let Some(archive) = QueryRetrieve::start() else { return };
    told(&probe(&echo(pacs.port(), "PACS", "")).await, true, "echo status 0x0000");
    told(&probe(&echo(archive.port(), "ARCHIVE", "")).await, true, "echo status 0x0000");
    told(&probe(&echo(archive.port(), "WRONG", "")).await, false, "called AE title not recognized");
    pacs.kill();
    told(&probe(&echo(pacs.port(), "PACS", "")).await, false, "connection refused");
    pacs.restart();
    told(&probe(&echo(pacs.port(), "PACS", "")).await, true, "0x0000");
}

#[tokio::test(flavor = "multi_thread")]
async fn pynetdicom_rejects_aborts_and_fails_in_words_of_their_own() {
    for (mode, title, ok, words) in [
        ("ok", "ANY", true, "echo status 0x0000"),
        ("title", "PACS", true, "echo status 0x0000"),
        ("title", "WRONG", false, "association rejected permanently: "),
        ("abort", "PACS", false, "was aborted by"),
        ("status", "PACS", false, "echo status 0x0122"),
    ] {
        let Some(pacs) = Scripted::dicom(mode) else { return };
        told(&probe(&echo(pacs.port(), title, "")).await, ok, words);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dicom_over_tls_wants_the_right_certificates_on_both_sides() {
    let authority = Authority::new();
    let ca = authority.ca();
    let server = authority.keys("server", &["pacs.rx1.example", "127.0.0.1"]);
    let client = authority.keys("client", &["node"]);
    let with = |more: &str| format!(", tls: {{ ca: {}{more} }}", path(&ca));
    let identity = format!(", cert: {}, key: {}", path(&client.cert), path(&client.key));
    let Some(pacs) = Storescp::start_secured(&server, &ca) else { return };
    let Some(orthanc) = Orthanc::start(Some((&server, &ca))) else { return };
    for (port, title) in [(pacs.port(), "PACS"), (orthanc.port(), "ORTHANC")] {
        told(&probe(&echo(port, title, &with(&identity))).await, true, "echo status 0x0000");
        let named = format!("{identity}, server_name: pacs.rx1.example");
        told(&probe(&echo(port, title, &with(&named))).await, true, "echo status 0x0000");
        let other = format!("{identity}, server_name: ris.rx1.example");
        told(&probe(&echo(port, title, &with(&other))).await, false, "bears another name");
        let stranger = probe(&echo(port, title, &with(""))).await;
        assert!(!stranger.ok, "without a certificate of our own: {stranger:?}");
        told(&probe(&echo(port, title, ", tls: {}")).await, false, "nobody trusted vouches");
        // Without TLS the same service makes no sense of us; within a second it says nothing, or hangs up.
        let plain = echo(port, title, "").replace("60s", "1s");
        assert!(!probe(&plain).await.ok);
    }
    told(&probe(&echo(orthanc.port(), "WRONG", &with(&identity))).await, false, "called AE title not recognized");
}

#[tokio::test(flavor = "multi_thread")]
async fn orthanc_without_tls_says_a_wrong_title_apart() {
    let Some(orthanc) = Orthanc::start(None) else { return };
    told(&probe(&echo(orthanc.port(), "ORTHANC", "")).await, true, "echo status 0x0000");
    told(&probe(&echo(orthanc.port(), "WRONG", "")).await, false, "called AE title not recognized");
    let secured = echo(orthanc.port(), "ORTHANC", ", tls: {}").replace("60s", "2s");
    let answer = probe(&secured).await;
    assert!(!answer.ok && answer.answer.contains("TLS"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hl7_acknowledgements_are_told_apart() {
    const MESSAGE: &str = "MSH|^~\\\\&|WARDROUND|RX1|LAB|RX1|{time}||NMQ^N01|{control_id}|P|2.5\\nQRD|x";
    let probe_of =
        |port: u16, more: &str| format!("{{ kind: hl7_mllp, host: 127.0.0.1, port: {port}, timeout: 60s{more} }}");
    let message = format!(", message: \"{MESSAGE}\"");
    for (code, ok, words) in [
        ("AA", true, "acknowledged with AA"),
        ("CA", true, "acknowledged with CA"),
        ("AE", false, "error with the message (AE): queue is full"),
        ("AR", false, "rejected the message (AR): queue is full"),
        ("CR", false, "rejected the message (CR): queue is full"),
        ("CE", false, "take the message now (CE): queue is full"),
        ("other", false, "is for message another, not for ours"),
    ] {
        let Some(lab) = Scripted::hl7(code, &[]) else { return };
        told(&probe(&probe_of(lab.port(), &message)).await, ok, words);
        told(&probe(&probe_of(lab.port(), "")).await, true, "connected; no message is sent");
    }

    let authority = Authority::new();
    let keys = authority.keys("lab", &["127.0.0.1"]);
    let Some(lab) = Scripted::hl7("AA", &[&keys.cert, &keys.key]) else { return };
    let file = authority.dir().join("query.hl7");
    std::fs::write(&file, "MSH|^~\\&|WARDROUND|RX1|LAB|RX1|{time}||NMQ^N01|{control_id}|P|2.5\r\nQRD|x\r\n").unwrap();
    let tls = format!(", tls: {{ ca: {} }}", path(&authority.ca()));
    let from_file = format!(", message_file: {}{tls}", path(&file));
    told(&probe(&probe_of(lab.port(), &from_file)).await, true, "acknowledged with AA");
    told(&probe(&probe_of(lab.port(), &tls)).await, true, "connected");
    std::fs::write(&file, "PID|1").unwrap();
    told(&probe(&probe_of(lab.port(), &from_file)).await, false, "does not begin with an MSH");
    std::fs::remove_file(&file).unwrap();
    told(&probe(&probe_of(lab.port(), &from_file)).await, false, "can't be read");
}

#[tokio::test(flavor = "multi_thread")]
async fn https_and_the_end_of_certificates() {
    let authority = Authority::new();
    let ca = authority.ca();
    let good = authority.keys("good", &["127.0.0.1", "localhost"]);
    let Some(server) = SecureServer::start(&good, &[]) else { return };
    let https = |port: u16, tls: &str| {
        format!(
            "{{ kind: http, url: \"https://127.0.0.1:{port}/\", contains: s_server, timeout: 60s, tls: {{ {tls} }} }}"
        )
    };
    let expiry = |port: u16, tls: &str| {
        format!("{{ kind: tls_expiry, host: 127.0.0.1, port: {port}, at_least: 14d, timeout: 60s, tls: {{ {tls} }} }}")
    };
    let by_ca = format!("ca: {}", path(&ca));
    told(&probe(&https(server.port(), &by_ca)).await, true, "status 200");
    told(&probe(&https(server.port(), "")).await, false, "nobody trusted vouches");
    told(&probe(&https(server.port(), &format!("{by_ca}, server_name: pacs"))).await, false, "bears another name");
    told(&probe(&https(server.port(), "ca: /nowhere/ca.pem")).await, false, "/nowhere/ca.pem can't be read");
    let told_end = probe(&expiry(server.port(), &by_ca)).await;
    told(
        &told_end,
        true,
        "the certificate is good until 2090-01-01T00:00:00Z, for 24154 more days; issued by CN=test authority",
    );
    // Thirteen days before its end by the node's clock.
    let late_ms = PROBE_TIME_MS + (24_154 - 13) * 86_400_000;
    told(&probe_at(&expiry(server.port(), &by_ca), late_ms).await, false, "less than 14d left");

    let expired = authority.keys_until("expired", &["127.0.0.1"], (2020, 1, 1));
    let Some(server) = SecureServer::start(&expired, &[]) else { return };
    told(&probe(&expiry(server.port(), &by_ca)).await, false, "has expired: it was good until 2020-01-01T00:00:00Z");

    // An old device: its certificate signs itself, and bears its name in the subject alone.
    let own = authority.self_signed("own", "ct-01");
    let Some(server) = SecureServer::start(&own, &[]) else { return };
    let pinned = format!("ca: {}", path(&own.cert));
    told(&probe(&expiry(server.port(), &format!("{pinned}, server_name: ct-01"))).await, true, "good until 2090");
    told(&probe(&expiry(server.port(), &pinned)).await, false, "only valid for CN=ct-01");
    told(&probe(&expiry(server.port(), &by_ca)).await, false, "an authority's own: pin it");

    // The server wants to know us, and an old server speaks what is no longer spoken.
    let client = authority.keys("client", &["node"]);
    let ca_text = ca.display().to_string();
    let Some(server) = SecureServer::start(&good, &["-Verify", "1", "-CAfile", &ca_text, "-verify_return_error"])
    else {
        return;
    };
    let known = format!("{by_ca}, cert: {}, key: {}", path(&client.cert), path(&client.key));
    told(&probe(&https(server.port(), &known)).await, true, "status 200");
    told(&probe(&https(server.port(), &by_ca)).await, false, "the server refused the TLS connection");
    let Some(server) = SecureServer::start(&good, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]) else { return };
    let old = probe(&expiry(server.port(), &by_ca)).await;
    assert!(!old.ok && old.answer.contains("TLS"), "{old:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_at_postgresql_says_what_is_wrong() {
    let authority = Authority::new();
    let keys = authority.keys("db", &["127.0.0.1"]);
    let Some(server) = Postgres::start(&keys) else { return };
    let (right, wrong) = (authority.dir().join("right"), authority.dir().join("wrong"));
    std::fs::write(&right, format!("{POSTGRES_PASSWORD}\n")).unwrap();
    std::fs::write(&wrong, "s3cret\n").unwrap();
    let login = |user: &str, database: &str, more: &str| {
        format!(
            "{{ kind: sql_login, host: 127.0.0.1, port: {}, database: {database}, user: {user}, timeout: 60s{more} }}",
            server.port()
        )
    };
    let right = format!(", password: {{ file: {} }}", path(&right));
    let wrong = format!(", password: {{ file: {} }}", path(&wrong));
    let tls = format!(", tls: {{ ca: {} }}", path(&authority.ca()));
    let printed = format!(", password: {{ command: [echo, \"{POSTGRES_PASSWORD}\"] }}");
    for secured in ["", &tls] {
        let with = |password: &str| format!("{password}{secured}");
        let healthy = "logged in as probe_scram; SELECT 1 gives 1";
        told(&probe(&login("probe_scram", "lis", &with(&right))).await, true, healthy);
        told(&probe(&login("probe_scram", "lis", &with(&printed))).await, true, healthy);
        told(&probe(&login("probe_md5", "lis", &with(&right))).await, true, "logged in as probe_md5");
        told(&probe(&login("probe_trust", "lis", &with(""))).await, true, "logged in as probe_trust");
        for role in ["probe_scram", "probe_md5"] {
            let answer = probe(&login(role, "lis", &with(&wrong))).await;
            told(&answer, false, "the password is wrong: ");
            assert!(answer.answer.contains("(28P01)") && !answer.answer.contains("s3cret"), "{answer:?}");
        }
        told(&probe(&login("probe_scram", "none", &with(&right))).await, false, "the database does not exist: ");
        told(&probe(&login("nobody", "lis", &with(&right))).await, false, "does not let this role in from here: ");
        told(
            &probe(&login("probe_scram", "lis", &with(""))).await,
            false,
            "asks for a password, and the site file names none",
        );
    }
    // In clear it is sent over TLS alone.
    told(&probe(&login("probe_clear", "lis", &format!("{right}{tls}"))).await, true, "logged in as probe_clear");
    told(&probe(&login("probe_clear", "lis", &right)).await, false, "in clear, which is sent over TLS only");
    told(&probe(&login("probe_scram", "lis", &format!("{right}, tls: {{}}"))).await, false, "nobody trusted vouches");
    let absent = ", password: { file: /nowhere/pw }";
    told(&probe(&login("probe_scram", "lis", absent)).await, false, "secret's file /nowhere/pw could not be read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_hangs_or_floods_is_ended() {
    let within =
        |limit: &str, script: &str| format!("{{ kind: command, argv: [sh, -c, \"{script}\"], timeout: {limit} }}");
    let command = |script: &str| within("60s", script);
    told(&probe(&command("echo queue empty")).await, true, "queue empty");
    told(&probe(&command("echo queue full; exit 3")).await, false, "exit 3: queue full");
    let begin = Instant::now();
    told(&probe(&within("4s", "echo begun; sleep 600 & sleep 600")).await, false, "killed after 3600ms: begun");
    assert!(begin.elapsed() < Duration::from_secs(120));
    let flood = probe(&within("1s", "yes flood")).await;
    assert!(!flood.ok && flood.answer.len() <= 2_000, "{}", flood.answer.len());
    told(&probe("{ kind: command, argv: [/nowhere/probe] }").await, false, "could not be run");
}

/// `sc` and `wmic` as Wine has them; it has no `tasklist` that lists anything.
#[tokio::test(flavor = "multi_thread")]
async fn services_and_programs_of_a_wine_device_are_asked_for() {
    let Some(device) = WineDevice::create(WineVersion::Seven) else { return };
    let work = tempfile::tempdir().unwrap();
    let transport = format!("{{ kind: local, root: '{}', shell: wine }}", device.root().display());
    let program = "C:\\windows\\system32\\services.exe";
    assert!(device.run(&["sc", "create", "Acme Viewer 2", "binpath=", program]).status.success());
    for (probe, ok, words) in [
        ("windows_service, service: PlugPlay", true, "state 4 (running)"),
        ("windows_service, service: Acme Viewer 2, state: stopped", true, "state 1 (stopped)"),
        ("windows_service, service: MSIServer, state: stopped", true, "state 1 (stopped)"),
        ("windows_service, service: MSIServer", false, "state 1 (stopped) instead of running"),
        ("windows_service, service: NoSuch", false, "the answer of sc was not understood: nothing was printed"),
        ("windows_process, process: Services.exe", true, "Services.exe runs, 1 of it"),
        ("windows_process, process: acme.exe", false, "acme.exe does not run"),
    ] {
        let text = format!("{{ kind: {probe}, device: dev, timeout: 60s }}");
        told(&probe_device(&text, &transport, work.path()).await, ok, words);
    }
    if let Some(server) = SshDevice::windows(&device, SshOptions::default()) {
        let spaced = "{ kind: windows_service, service: Acme Viewer 2, state: stopped, device: dev, timeout: 60s }";
        told(&probe_device(spaced, &server.transport(), work.path()).await, true, "state 1 (stopped)");
    }
    std::fs::rename(device.root(), work.path().join("gone")).unwrap();
    let gone = "{ kind: windows_service, service: PlugPlay, device: dev, timeout: 60s }";
    told(&probe_device(gone, &transport, work.path()).await, false, "does not answer");
    std::fs::rename(work.path().join("gone"), device.root()).unwrap();
}

/// What Windows prints and Wine does not, played by scripts behind a real sshd: other languages, errors, tasklist, silence.
#[tokio::test(flavor = "multi_thread")]
async fn services_behind_ssh_are_read_by_number_in_any_language() {
    let dir = tempfile::tempdir().unwrap();
    let programs = dir.path().join("programs");
    std::fs::create_dir(&programs).unwrap();
    let script = |name: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = programs.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    script(
        "sc",
        "case $2 in\n\
         'MSSQL$LIS') printf 'SERVICE_NAME: MSSQL$LIS\\r\\n        TYP                : 10  WIN32_OWN_PROCESS\\r\\n\
         \x20       STATUS             : 4  RUNNING\\r\\n' ;;\n\
         'Acme Viewer 2') printf 'SERVICE_NAME: Acme Viewer 2\\r\\n        TYPE               : 10  WIN32_OWN_PROCESS\\r\\n\
         \x20       STATE              : 4  RUNNING\\r\\n' ;;\n\
         Secret) printf '[SC] OpenService FEHLER 5:\\r\\n\\r\\nZugriff verweigert\\r\\n' ;;\n\
         Slow) exec sleep 5 ;;\n\
         Flood) yes 'SERVICE_NAME: x' ;;\n\
         *) printf '[SC] EnumQueryServicesStatus:OpenService FEHLER 1060:\\r\\n\\r\\nNicht da\\r\\n' ;;\nesac",
    );
    script("tasklist", "printf '\"Acme.exe\",\"44\",\"Console\",\"0\",\"3.012 K\"\\r\\n'");
    let Some(device) = SshDevice::posix(dir.path(), SshOptions { programs: Some(programs), ..SshOptions::default() })
    else {
        return;
    };
    for (probe, timeout, ok, words) in [
        ("windows_service, service: \"MSSQL$LIS\"", "60s", true, "state 4 (running)"),
        ("windows_service, service: Acme Viewer 2", "60s", true, "state 4 (running)"),
        ("windows_service, service: Gone", "60s", false, "the device has no service Gone (error 1060)"),
        ("windows_service, service: Secret", "60s", false, "may not ask for the service (error 5)"),
        ("windows_service, service: Slow", "1s", false, "1000ms"),
        ("windows_service, service: Flood", "2s", false, ""),
        ("windows_process, process: acme.exe", "60s", true, "acme.exe runs, 1 of it"),
        ("windows_process, process: other.exe", "60s", false, "other.exe does not run; 1 other"),
    ] {
        let text = format!("{{ kind: {probe}, device: dev, timeout: {timeout} }}");
        told(&probe_device(&text, &device.transport(), dir.path()).await, ok, words);
    }
}

/// A small server of the test itself, over real HTTP: no FHIR server is cheap enough to start here.
#[tokio::test(flavor = "multi_thread")]
async fn a_fhir_server_shows_its_capability_statement() {
    use axum::{Router, http::HeaderMap, routing::get};
    let statement = |version: &str| {
        // As long as a real one's.
        let rest = vec![serde_json::json!({ "type": "Observation", "interaction": [{ "code": "read" }] }); 10_000];
        serde_json::json!({
            "resourceType": "CapabilityStatement", "rest": rest, "status": "active", "fhirVersion": version,
            "software": { "name": "a server of the test", "version": "1" },
        })
        .to_string()
    };
    let asked_well =
        |headers: &HeaderMap| headers.get("accept").is_some_and(|accept| accept == "application/fhir+json");
    let (r4, r5) = (statement("4.0.1"), statement("5.0.0"));
    let app = Router::new()
        .route(
            "/r4/metadata",
            get(async move |headers: HeaderMap| if asked_well(&headers) { r4 } else { String::new() }),
        )
        .route("/r5/metadata", get(async move || r5))
        .route("/outcome/metadata", get(async || r#"{"resourceType":"OperationOutcome"}"#));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let fhir = |base: &str| {
        format!("{{ kind: fhir, url: \"http://127.0.0.1:{port}/{base}\", version: \"4.0\", timeout: 60s }}")
    };
    told(&probe(&fhir("r4")).await, true, "CapabilityStatement, active, FHIR 4.0.1, a server of the test 1");
    told(&probe(&fhir("r4/")).await, true, "FHIR 4.0.1");
    told(&probe(&fhir("r5")).await, false, "speaks FHIR 5.0.0 instead of 4.0");
    told(&probe(&fhir("outcome")).await, false, "its resourceType is OperationOutcome");
    told(&probe(&fhir("none")).await, false, "status 404 instead of 200");
}
