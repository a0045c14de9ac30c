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
            // An answer that is known to be whole has ended the reading above.
            Err(error) => return Err(format!("the connection broke: {error}: {}", quoted(&answer))),
        }
    }
    judge(&answer, status, contains)
}

/// Where the header ends, if it does.
fn header_end(answer: &[u8]) -> Option<usize> {
    answer.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// How the end of a body is known (RFC 9112 section 6.3).
#[derive(Debug, PartialEq, Eq)]
enum Framing {
    Chunked,
    Length(usize),
    /// The server closes the connection.
    Close,
}

fn framing(header: &[u8]) -> Result<Framing, String> {
    let header = String::from_utf8_lossy(header);
    let values = |wanted: &str| {
        let fields = header.lines().filter_map(|line| line.split_once(':'));
        let values = fields.filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim());
        values.map(str::to_owned).collect::<Vec<_>>()
    };
    if values("transfer-encoding").iter().any(|value| value.to_ascii_lowercase().ends_with("chunked")) {
        return Ok(Framing::Chunked);
    }
    match values("content-length").as_slice() {
        [] => Ok(Framing::Close),
        [first, rest @ ..] if rest.iter().all(|other| other == first) => {
            first.parse().map(Framing::Length).map_err(|_| format!("its Content-Length {first:?} is no number"))
        }
        several => Err(format!("its Content-Lengths contradict each other: {}", several.join(", "))),
    }
}

/// The body behind a header; says how much is there when it was cut off.
fn body(header: &[u8], rest: &[u8]) -> Result<Vec<u8>, String> {
    match framing(header)? {
        Framing::Close => Ok(rest.to_vec()),
        Framing::Length(length) => match rest.get(..length) {
            Some(body) => Ok(body.to_vec()),
            None => Err(format!("the body was cut off: {} of {length} bytes: {}", rest.len(), quoted(rest))),
        },
        Framing::Chunked => {
            dechunked(rest).ok_or_else(|| format!("the chunked body was cut off or is damaged: {}", quoted(rest)))
        }
    }
}

/// A whole chunked body (RFC 9112 section 7.1); `None` until its last chunk is there.
fn dechunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let line = std::str::from_utf8(&rest[..end]).ok()?;
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

/// True when the answer itself says that nothing more will come: some servers keep the connection open all the same.
fn complete(answer: &[u8]) -> bool {
    let Some(end) = header_end(answer) else { return false };
    let (header, rest) = answer.split_at(end);
    !matches!(framing(header), Ok(Framing::Close)) && body(header, rest).is_ok()
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
    let (header, rest) = answer.split_at(end);
    if found != status {
        return Err(format!("status {found} instead of {status}: {}", quoted(rest)));
    }
    // These two have no body, whatever length their header names (RFC 9112 section 6.3).
    let body = if matches!(found, 204 | 304) { Ok(Vec::new()) } else { body(header, rest) };
    let body = body.map_err(|why| format!("status {found}, but {why}"))?;
    match contains {
        Some(text) if !String::from_utf8_lossy(&body).contains(text) => {
            Err(format!("status {found}, but {text:?} is not in the body: {}", quoted(&body)))
        }
        _ => Ok(format!("status {found}: {}", quoted(&body))),
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
            (b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok so far", "cut off: 9 of 20 bytes"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nok", "is no number"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "contradict"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", "cut off or is damaged"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nok", "cut off or is damaged"),
        ] {
            let found = judge(answer, 200, Some("ok")).unwrap_err();
            assert!(found.contains(why), "{found}");
        }
    }

    #[test]
    fn a_chunked_body_is_read_across_its_chunks() {
        let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\no\r\n1\r\nk\r\n0\r\n\r\n";
        assert_eq!(judge(answer, 200, Some("ok")), Ok("status 200: ok".to_owned()));
        assert!(complete(answer) && !complete(&answer[..answer.len() - 6]));
        assert!(judge(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204, None).is_ok());
    }

    #[test]
    fn a_length_ends_the_reading() {
        assert!(complete(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
        assert!(!complete(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok"));
        assert!(!complete(b"HTTP/1.1 200 OK\r\n\r\nok"));
    }
}
