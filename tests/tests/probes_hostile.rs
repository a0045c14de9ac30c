//! Hostile answers: every network probe ends within its time-out, reads no more than its limit, and says what happened.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use wardround_tests::rig::{Authority, POSTGRES_PASSWORD, probe, told};

/// What a server does with each connection, after it has read something (or at once, where the client would not begin).
#[derive(Debug, Clone, Copy)]
enum Does {
    /// Sends this, and hangs up.
    Close(&'static [u8]),
    /// Sends this, and holds the connection in silence.
    Hold(&'static [u8]),
    /// Sends this, then a byte twenty times a second for ever.
    Drip(&'static [u8], u8),
    /// Sends the first once, and the second for ever as fast as it can.
    Flood(&'static [u8], &'static [u8]),
}

/// A server, and how many bytes the kernel took from it.
async fn server(does: Does) -> (u16, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, does, Arc::clone(&counter)));
        }
    });
    (port, sent)
}

async fn serve(mut stream: TcpStream, does: Does, sent: Arc<AtomicU64>) {
    let mut request = [0; 4096];
    let _ = stream.read(&mut request).await;
    match does {
        Does::Close(bytes) => {
            let _ = stream.write_all(bytes).await;
        }
        Does::Hold(bytes) => {
            let _ = stream.write_all(bytes).await;
            std::future::pending().await
        }
        Does::Drip(bytes, byte) => {
            let _ = stream.write_all(bytes).await;
            let mut tick = tokio::time::interval(Duration::from_millis(50));
            while stream.write_all(&[byte]).await.is_ok() {
                tick.tick().await;
            }
        }
        Does::Flood(bytes, more) => {
            let _ = stream.write_all(bytes).await;
            let more = more.repeat(4096_usize.div_ceil(more.len()));
            while stream.write_all(&more).await.is_ok() {
                sent.fetch_add(more.len() as u64, Ordering::Relaxed);
            }
        }
    }
}

/// Most that the kernel takes from a server whose client stopped reading: the buffers of both sockets
/// (net.ipv4.tcp_wmem and tcp_rmem, 4 and 6 MiB at most by default), and the longest answer that any probe reads.
const TAKEN_MAX: u64 = 24 * 1024 * 1024;
/// The limit of probes that must end by themselves, however busy the machine is.
const LONG_MS: u32 = 60_000;
/// The limit of probes that nothing else ends.
const SHORT_MS: u32 = 700;

const HTTP: &str = "{ kind: http, url: \"http://127.0.0.1:PORT/\", contains: ok, ";
const HTTPS: &str = "{ kind: http, url: \"https://127.0.0.1:PORT/\", ";
const FHIR: &str = "{ kind: fhir, url: \"http://127.0.0.1:PORT/\", ";
const DICOM: &str = "{ kind: dicom_echo, host: 127.0.0.1, port: PORT, called_ae: PACS, ";
const DICOM_TLS: &str = "{ kind: dicom_echo, host: 127.0.0.1, port: PORT, called_ae: PACS, tls: {}, ";
const HL7: &str = "{ kind: hl7_mllp, host: 127.0.0.1, port: PORT, message: \"MSH|^~\\\\&|A|B|C|D|||ACK|7|P|2.3\", ";
const HL7_TLS: &str = "{ kind: hl7_mllp, host: 127.0.0.1, port: PORT, tls: {}, ";
const EXPIRY: &str = "{ kind: tls_expiry, host: 127.0.0.1, port: PORT, ";
const SQL: &str = "{ kind: sql_login, host: 127.0.0.1, port: PORT, database: d, user: u, ";
const SQL_TLS: &str = "{ kind: sql_login, host: 127.0.0.1, port: PORT, database: d, user: u, tls: {}, ";

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Probe, what the server does, its time-out, and words of the evidence.
const TABLE: &[(&str, Does, u32, &str)] = &[
    // Closes at once.
    (HTTP, Does::Close(b""), LONG_MS, "closed without an answer"),
    (FHIR, Does::Close(b""), LONG_MS, "closed without an answer"),
    (DICOM, Does::Close(b""), LONG_MS, "closed instead of an answer to the association request"),
    (HL7, Does::Close(b""), LONG_MS, "closed without an acknowledgement"),
    (SQL, Does::Close(b""), LONG_MS, "closed instead of an answer to the start-up"),
    (HTTPS, Does::Close(b""), LONG_MS, "during the TLS handshake"),
    (DICOM_TLS, Does::Close(b""), LONG_MS, "during the TLS handshake"),
    (HL7_TLS, Does::Close(b""), LONG_MS, "during the TLS handshake"),
    (EXPIRY, Does::Close(b""), LONG_MS, "during the TLS handshake"),
    (SQL_TLS, Does::Close(b""), LONG_MS, "closed instead of an answer to the request for TLS"),
    // Closes in the middle.
    (HTTP, Does::Close(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"), LONG_MS, "cut off: 2 of 9 bytes"),
    (DICOM, Does::Close(b"\x02\0\0\0\x01\0abc"), LONG_MS, "closed instead of an answer"),
    (HL7, Does::Close(b"\x0bMSH|^~\\&|C"), LONG_MS, "acknowledgement was cut off"),
    (SQL, Does::Close(b"R\0\0\0\x17\0\0\0\x0aSCRAM"), LONG_MS, "closed instead of an answer to the start-up"),
    // Accepts, and says nothing.
    (HTTP, Does::Hold(b""), SHORT_MS, "no answer within 700ms to the request"),
    (FHIR, Does::Hold(b""), SHORT_MS, "no answer within 700ms to the request"),
    (DICOM, Does::Hold(b""), SHORT_MS, "no answer within 700ms to the association request"),
    (HL7, Does::Hold(b""), SHORT_MS, "no answer within 700ms to the message"),
    (SQL, Does::Hold(b""), SHORT_MS, "no answer within 700ms to the start-up"),
    (HTTPS, Does::Hold(b""), SHORT_MS, "no answer within 700ms to the TLS handshake"),
    (DICOM_TLS, Does::Hold(b""), SHORT_MS, "no answer within 700ms to the TLS handshake"),
    (HL7_TLS, Does::Hold(b""), SHORT_MS, "no answer within 700ms to the TLS handshake"),
    (EXPIRY, Does::Hold(b""), SHORT_MS, "no answer within 700ms to the TLS handshake"),
    (SQL_TLS, Does::Hold(b""), SHORT_MS, "no answer within 700ms to the request for TLS"),
    (SQL_TLS, Does::Hold(b"S"), SHORT_MS, "no answer within 700ms to the TLS handshake"),
    // A slow drip of what might still become an answer.
    (HTTP, Does::Drip(HEAD, b'o'), SHORT_MS, "bytes came: \"HTTP/1.1 200 OK"),
    (HTTP, Does::Drip(b"HTTP/1.1 200 OK\r\nA: ", b'a'), SHORT_MS, "no answer within 700ms to the request; "),
    (HTTP, Does::Drip(CHUNKED, b'0'), SHORT_MS, "no answer within 700ms to the request; "),
    (FHIR, Does::Drip(HEAD, b' '), SHORT_MS, "no answer within 700ms to the request; "),
    (DICOM, Does::Drip(b"\x02\0\0\0\x20\0", 0), SHORT_MS, "no answer within 700ms to the association request; "),
    (HL7, Does::Drip(b"\x0b", b'M'), SHORT_MS, "no answer within 700ms to the message; "),
    (SQL, Does::Drip(b"R\0\0\x10\0", 0), SHORT_MS, "no answer within 700ms to the start-up; "),
    (EXPIRY, Does::Drip(b"\x16\x03\x03\x10\0", 0), SHORT_MS, "no answer within 700ms to the TLS handshake"),
    // Garbage, that is held or goes on for ever.
    (HTTP, Does::Hold(b"\x00\x01garbage"), LONG_MS, "not HTTP"),
    (HTTP, Does::Flood(b"", b"x"), LONG_MS, "not HTTP"),
    (FHIR, Does::Flood(b"", b"x"), LONG_MS, "not HTTP"),
    (FHIR, Does::Close(b"HTTP/1.1 200 OK\r\n\r\n\xff\xfe{}"), LONG_MS, "no FHIR resource in JSON"),
    (DICOM, Does::Hold(b"220 mail\r\n"), LONG_MS, "not DICOM"),
    (DICOM, Does::Flood(b"", b"x"), LONG_MS, "not DICOM"),
    (DICOM, Does::Hold(b"\x02\0\0\0\0\x04abcd"), LONG_MS, "damaged"),
    (HL7, Does::Hold(b"HTTP/1.1 400 Bad\r\n"), LONG_MS, "not MLLP"),
    (HL7, Does::Flood(b"", b"x"), LONG_MS, "not MLLP"),
    (HL7, Does::Hold(b"\x0bhello\x1c\r"), LONG_MS, "no HL7 message"),
    (SQL, Does::Hold(b"HTTP/1.1 400 Bad\r\n"), LONG_MS, "announces 1414811695 bytes"),
    (SQL, Does::Flood(b"", b"\0"), LONG_MS, "not PostgreSQL"),
    (SQL, Does::Hold(b"R\0\0\0\x08\0\0\0\x63"), LONG_MS, "not PostgreSQL: unknown authentication tag"),
    (SQL_TLS, Does::Hold(b"x"), LONG_MS, "request for TLS is not PostgreSQL"),
    (SQL_TLS, Does::Hold(b"N"), LONG_MS, "does not speak TLS here"),
    (SQL_TLS, Does::Flood(b"S", b"x"), LONG_MS, "the answer is not TLS"),
    (HTTPS, Does::Hold(b"HTTP/1.1 400 Bad\r\n"), LONG_MS, "the answer is not TLS"),
    (DICOM_TLS, Does::Flood(b"", b"x"), LONG_MS, "the answer is not TLS"),
    (HL7_TLS, Does::Hold(b"\x0bhello\x1c\r"), LONG_MS, "the answer is not TLS"),
    (EXPIRY, Does::Flood(b"", b"\0"), LONG_MS, "the answer is not TLS"),
    // Huge lengths, announced.
    (HTTP, Does::Hold(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n"), LONG_MS, "announced with 9999999999"),
    (
        HTTP,
        Does::Hold(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n"),
        LONG_MS,
        "longer than 65536",
    ),
    (FHIR, Does::Hold(b"HTTP/1.1 200 OK\r\nContent-Length: 4194305\r\n\r\n"), LONG_MS, "announced with 4194305"),
    (DICOM, Does::Flood(b"\x02\0\xff\xff\xff\xff", b"x"), LONG_MS, "announces 4294967295 bytes"),
    (SQL, Does::Flood(b"R\xff\xff\xff\xff", b"x"), LONG_MS, "announces 4294967295 bytes"),
    (SQL, Does::Hold(b"R\0\0\0\0"), LONG_MS, "not PostgreSQL"),
    (EXPIRY, Does::Flood(b"\x16\x03\x03\xff\xff", b"x"), LONG_MS, "the answer is not TLS"),
    // Endless data in the protocol's own form.
    (HTTP, Does::Flood(HEAD, b"x"), LONG_MS, "longer than 65536 bytes"),
    (HTTP, Does::Flood(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"), LONG_MS, "the header is longer than 65536 bytes"),
    (HTTP, Does::Flood(CHUNKED, b"1\r\nx\r\n"), LONG_MS, "than"),
    (HTTP, Does::Flood(CHUNKED, b";"), LONG_MS, "a chunk of the body is damaged"),
    (FHIR, Does::Flood(HEAD, b" "), LONG_MS, "longer than 4194304 bytes"),
    (HL7, Does::Flood(b"\x0bMSH|^~\\&|", b"x"), LONG_MS, "longer than 65536 bytes"),
    (SQL, Does::Flood(b"", b"S\0\0\0\x08a\0b\0"), LONG_MS, "more than 256 messages"),
    (EXPIRY, Does::Flood(b"", b"\x16\x03\x03\0\x04\x0e\0\0\0"), LONG_MS, "TLS"),
    // A wrong word at the right place.
    (DICOM, Does::Hold(b"\x03\0\0\0\0\x04\0\x01\x01\x07"), LONG_MS, "called AE title not recognized"),
    (DICOM, Does::Hold(b"\x07\0\0\0\0\x04\0\0\x02\0"), LONG_MS, "aborted by"),
    (HTTP, Does::Close(b"HTTP/1.1 503 Busy\r\n\r\nno"), LONG_MS, "status 503 instead of 200: no"),
    (
        SQL,
        Does::Hold(b"E\0\0\0\x1eC57P03\0Mstarting up soon\0\0"),
        LONG_MS,
        "starting up, shutting down or recovering: ",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_hostile_answer_ends_in_evidence() {
    let mut running = tokio::task::JoinSet::new();
    for (start, does, timeout_ms, words) in TABLE {
        running.spawn(async move {
            let (port, sent) = server(*does).await;
            let text = format!("{}timeout: {timeout_ms}ms }}", start.replace("PORT", &port.to_string()));
            let answer = probe(&text).await;
            let case = format!("{text} {does:?}");
            assert!(!answer.ok && answer.answer.contains(words), "{case}: {words:?}: {answer:?}");
            // The rest is for a busy machine; what must end by itself has ended long before its time-out.
            assert!(*timeout_ms == LONG_MS || answer.took_ms < SHORT_MS + 20_000, "{case}: {answer:?}");
            let taken = sent.load(Ordering::Relaxed);
            assert!(taken < TAKEN_MAX, "{case}: {taken} bytes were taken");
            assert!(answer.answer.len() <= 2_000, "{case}: {}", answer.answer.len());
        });
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_nothing_is_not_disturbed() {
    let (held, _) = server(Does::Hold(b"")).await;
    for kind in ["tcp", "hl7_mllp"] {
        let answer = probe(&format!("{{ kind: {kind}, host: 127.0.0.1, port: {held}, timeout: 60s }}")).await;
        told(&answer, true, "connected");
        told(&probe(&format!("{{ kind: {kind}, host: 127.0.0.1, port: 1, timeout: 60s }}")).await, false, "refused");
    }
    let (open, _) = server(Does::Hold(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")).await;
    let answer =
        probe(&format!("{{ kind: http, url: \"http://127.0.0.1:{open}/\", contains: ok, timeout: 60s }}")).await;
    told(&answer, true, "status 200: ok");
}

/// A server that stretches the key for years, and one that lets everybody in without knowing the password.
#[tokio::test(flavor = "multi_thread")]
async fn a_false_postgresql_gains_nothing() {
    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag];
        bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let all = Arc::clone(&seen);
    tokio::spawn(async move {
        for iterations in ["4000000000", "4096"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(&message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0")).await.unwrap();
            let n = stream.read(&mut request).await.unwrap();
            all.lock().unwrap().extend_from_slice(&request[..n]);
            let text = String::from_utf8_lossy(&request[..n]).into_owned();
            let nonce = text.split_once("r=").unwrap().1;
            let challenge = format!("\0\0\0\x0br={nonce}x,s=c2FsdA==,i={iterations}");
            stream.write_all(&message(b'R', challenge.as_bytes())).await.unwrap();
            let n = stream.read(&mut request).await.unwrap_or(0);
            all.lock().unwrap().extend_from_slice(&request[..n]);
            let _ = stream.write_all(&message(b'R', b"\0\0\0\0")).await;
        }
    });
    let files = Authority::new();
    let file = files.dir().join("password");
    std::fs::write(&file, POSTGRES_PASSWORD).unwrap();
    let text = format!(
        "{{ kind: sql_login, host: 127.0.0.1, port: {port}, database: d, user: u, timeout: 60s, password: {{ file: \"{}\" }} }}",
        file.display()
    );
    told(&probe(&text).await, false, "the server's challenge can't be met: SCRAM iteration count");
    told(&probe(&text).await, false, "lets us in without a proof that it knows the password");
    let seen = String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
    assert!(seen.contains("n,,n=,r=") && !seen.contains(POSTGRES_PASSWORD));
}
