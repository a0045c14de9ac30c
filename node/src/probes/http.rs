//! Plain HTTP/1.1 `GET` (RFC 9112): status, and a text that the body must hold.
//!
//! One request on one connection; redirects are not followed, since they are an answer of their own.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Finding, tcp};

/// Most bytes of an answer that are read. A health page is far smaller.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of a body that are quoted in evidence.
const QUOTE_BYTES_MAX: usize = 300;

pub(super) async fn probe(host: &str, port: u16, target: &str, status: u16, contains: Option<&str>) -> Finding {
    let mut stream = tcp::connect(host, port).await?;
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: wardround\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(|error| format!("the connection broke: {error}"))?;
    let mut answer = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => break,
            Ok(n) => {
                answer.extend_from_slice(&buffer[..n]);
                if complete(&answer) {
                    break;
                }
                if answer.len() > ANSWER_BYTES_MAX {
                    return Err(format!("the answer is longer than {ANSWER_BYTES_MAX} bytes: {}", quoted(&answer)));
                }
            }
            Err(error) if answer.is_empty() => return Err(format!("the connection broke: {error}")),
            Err(_) => break,
        }
    }
    judge(&answer, status, contains)
}

/// Where the header ends, if it does.
fn header_end(answer: &[u8]) -> Option<usize> {
    answer.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// True when a `Content-Length` says that nothing more will come: some servers keep the connection open all the same.
fn complete(answer: &[u8]) -> bool {
    let Some(end) = header_end(answer) else { return false };
    let header = String::from_utf8_lossy(&answer[..end]);
    let length = header.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    length.is_some_and(|length| answer.len() - end >= length)
}

fn judge(answer: &[u8], status: u16, contains: Option<&str>) -> Finding {
    if answer.is_empty() {
        return Err("the connection was closed without an answer".to_owned());
    }
    let Some(found) = status_of(answer) else {
        return Err(format!("the answer is not HTTP: {}", quoted(answer)));
    };
    let Some(end) = header_end(answer) else {
        return Err(format!("the header was cut off: {}", quoted(answer)));
    };
    let body = &answer[end..];
    if found != status {
        return Err(format!("status {found} instead of {status}: {}", quoted(body)));
    }
    match contains {
        // Chunk sizes may stand in the middle of a chunked body; a text that a chunk border cuts is not found.
        Some(text) if !String::from_utf8_lossy(body).contains(text) => {
            Err(format!("status {found}, but {text:?} is not in the body: {}", quoted(body)))
        }
        _ => Ok(format!("status {found}: {}", quoted(body))),
    }
}

/// "HTTP/1.1 200 OK" (RFC 9112 section 4).
fn status_of(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|b| *b == b'\r' || *b == b'\n').next()?;
    let rest = std::str::from_utf8(line).ok()?.strip_prefix("HTTP/1.")?;
    let code = rest.get(2..5)?;
    (code.len() == 3 && rest.as_bytes().get(1) == Some(&b' ')).then(|| code.parse().ok())?
}

fn quoted(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(QUOTE_BYTES_MAX)]).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged() {
        let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        assert!(judge(ok, 200, Some("ok")).is_ok() && judge(ok, 204, None).is_err());
        for (answer, why) in [
            (&b""[..], "without an answer"),
            (b"220 mail ready\r\n", "not HTTP"),
            (b"HTTP/1.1 xyz\r\n\r\n", "not HTTP"),
            (b"HTTP/1.1 200 OK\r\nA: b\r\n", "cut off"),
            (b"HTTP/1.1 500 No\r\n\r\nboom", "status 500 instead of 200: boom"),
            (b"HTTP/1.1 200 OK\r\n\r\nfine", "is not in the body"),
        ] {
            let found = judge(answer, 200, Some("ok")).unwrap_err();
            assert!(found.contains(why), "{found}");
        }
    }

    #[test]
    fn a_length_ends_the_reading() {
        assert!(complete(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
        assert!(!complete(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok"));
        assert!(!complete(b"HTTP/1.1 200 OK\r\n\r\nok"));
    }
}
