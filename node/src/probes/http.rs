//! HTTP/1.1 `GET` (RFC 9112): status, and a text that the body must hold.
//!
//! One request on one connection; redirects are not followed, since they are an answer of their own.

use super::{
    Finding,
    wire::{Trace, Wire, shown},
};
use crate::config::Endpoint;

/// Most bytes of a body that are read. A health page is far smaller.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of a header that are read; servers' own limits are mostly 8 KiB.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of a body that are quoted in evidence.
const QUOTE_BYTES_MAX: usize = 300;

pub(super) async fn probe(
    server: &Endpoint,
    target: &str,
    status: u16,
    contains: Option<&str>,
    trace: &Trace,
) -> Finding {
    let answer = get(server, target, "*/*", BODY_BYTES_MAX, trace).await?;
    judge(&answer, status, contains)
}

/// What a server answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// Status code.
    pub(super) status: u16,
    /// What came of the body, up to the limit.
    pub(super) body: Vec<u8>,
    /// Why that is not all of it.
    fault: Option<String>,
}

impl Answer {
    /// The body, if the answer has this status and the body is whole.
    pub(super) fn expect(&self, status: u16) -> Result<&[u8], String> {
        if self.status != status {
            return Err(format!("status {} instead of {status}: {}", self.status, quoted(&self.body)));
        }
        match &self.fault {
            None => Ok(&self.body),
            Some(why) => Err(format!("status {status}, but {why}: {}", quoted(&self.body))),
        }
    }
}

/// Asks once, and reads at most `body_max` bytes of a body.
pub(super) async fn get(
    server: &Endpoint,
    target: &str,
    accept: &str,
    body_max: usize,
    trace: &Trace,
) -> Result<Answer, String> {
    // Twice: chunks of few bytes carry their sizes along.
    let mut wire = Wire::connect(server, (HEADER_BYTES_MAX + 2 * body_max) as u64, trace).await?;
    let host = &server.host;
    let authority = if host.contains(':') { format!("[{host}]:{}", server.port) } else { server.address() };
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: wardround\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    );
    wire.send(request.as_bytes()).await?;
    wire.awaits("the request");
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = header_end(&bytes) {
            break end;
        }
        if bytes.len() > HEADER_BYTES_MAX {
            return Err(format!("the header is longer than {HEADER_BYTES_MAX} bytes: {}", quoted(&bytes)));
        }
        let ended = wire.read(&mut bytes, usize::MAX).await? == 0;
        if !may_be_http(&bytes) {
            return Err(format!("the answer is not HTTP: {}", shown(&bytes)));
        }
        match ended {
            true if bytes.is_empty() => return Err("the connection was closed without an answer".to_owned()),
            true => return Err(format!("the header was cut off: {}", quoted(&bytes))),
            false => {}
        }
    };
    let rest = bytes.split_off(end);
    let status = status_of(&bytes).ok_or_else(|| format!("the answer is not HTTP: {}", shown(&bytes)))?;
    // These two have no body, whatever length their header names (RFC 9112 section 6.3).
    if matches!(status, 204 | 304) {
        return Ok(Answer { status, body: Vec::new(), fault: None });
    }
    let mut body = Body { framing: Framing::Close, raw: rest, done: Vec::new(), max: body_max };
    let fault = match framing(&bytes) {
        Err(why) => Some(why),
        Ok(framing) => {
            body.framing = framing;
            read_body(&mut wire, &mut body).await.err()
        }
    };
    if body.done.is_empty() {
        body.done = body.raw;
    }
    body.done.truncate(body_max);
    Ok(Answer { status, body: body.done, fault })
}

/// Reads until the answer itself says that nothing more will come: some servers keep the connection open all the same.
async fn read_body(wire: &mut Wire, body: &mut Body) -> Result<(), String> {
    while !body.is_whole()? {
        if wire.read(&mut body.raw, usize::MAX).await? == 0 {
            return body.ended();
        }
    }
    Ok(())
}

/// How the end of a body is known (RFC 9112 section 6.3).
#[derive(Debug, PartialEq, Eq)]
enum Framing {
    Chunked,
    Length(usize),
    /// The server closes the connection.
    Close,
}

/// A body on its way.
struct Body {
    framing: Framing,
    /// What came and is not understood yet.
    raw: Vec<u8>,
    /// What is known to be the body.
    done: Vec<u8>,
    max: usize,
}

impl Body {
    fn too_long(&self) -> String {
        format!("the body is longer than {} bytes", self.max)
    }

    fn is_whole(&mut self) -> Result<bool, String> {
        match self.framing {
            Framing::Length(length) if length > self.max => {
                Err(format!("the body is announced with {length} bytes, more than {}", self.max))
            }
            Framing::Length(length) => {
                self.done.append(&mut self.raw);
                Ok(self.done.len() >= length && {
                    self.done.truncate(length);
                    true
                })
            }
            Framing::Close => {
                self.done.append(&mut self.raw);
                if self.done.len() > self.max { Err(self.too_long()) } else { Ok(false) }
            }
            Framing::Chunked => self.dechunk(),
        }
    }

    /// Takes every chunk that is there as a whole (RFC 9112 section 7.1); true with the last one.
    fn dechunk(&mut self) -> Result<bool, String> {
        let damaged = |raw: &[u8]| format!("a chunk of the body is damaged: {}", shown(raw));
        let mut at = 0;
        let whole = loop {
            let rest = &self.raw[at..];
            let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else {
                // A size has at most 16 digits; extensions are rare and short.
                if rest.len() > 1_024 {
                    return Err(damaged(rest));
                }
                break false;
            };
            let line = std::str::from_utf8(&rest[..end]).map_err(|_| damaged(rest))?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| damaged(rest))?;
            if size == 0 {
                break true;
            }
            if size > self.max - self.done.len() {
                return Err(self.too_long());
            }
            let Some(chunk) = rest.get(end + 2..end + 2 + size + 2) else { break false };
            let (chunk, after) = chunk.split_at(size);
            if after != b"\r\n" {
                return Err(damaged(rest));
            }
            self.done.extend_from_slice(chunk);
            at += end + 2 + size + 2;
        };
        self.raw.drain(..at);
        Ok(whole)
    }

    /// The connection has ended.
    fn ended(&self) -> Result<(), String> {
        match self.framing {
            Framing::Close => Ok(()),
            Framing::Length(length) => Err(format!("the body was cut off: {} of {length} bytes", self.done.len())),
            Framing::Chunked => Err("the chunked body was cut off".to_owned()),
        }
    }
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

/// Where the header ends, if it does.
fn header_end(answer: &[u8]) -> Option<usize> {
    answer.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// False as soon as the bytes can't be the beginning of an answer.
fn may_be_http(bytes: &[u8]) -> bool {
    bytes.iter().zip(b"HTTP/1.").all(|(came, wanted)| came == wanted)
}

/// "HTTP/1.1 200 OK" (RFC 9112 section 4).
fn status_of(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|b| *b == b'\r' || *b == b'\n').next()?;
    let rest = std::str::from_utf8(line).ok()?.strip_prefix("HTTP/1.")?;
    let code = rest.get(2..5)?;
    (code.len() == 3 && rest.as_bytes().get(1) == Some(&b' ')).then(|| code.parse().ok())?
}

fn judge(answer: &Answer, status: u16, contains: Option<&str>) -> Finding {
    let body = answer.expect(status)?;
    match contains {
        Some(text) if !String::from_utf8_lossy(body).contains(text) => {
            Err(format!("status {status}, but {text:?} is not in the body: {}", quoted(body)))
        }
        _ => Ok(format!("status {status}: {}", quoted(body))),
    }
}

/// The beginning of a body, for evidence.
pub(super) fn quoted(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(QUOTE_BYTES_MAX)]).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// What the probe makes of an answer that comes in these pieces, and then the end.
    async fn found(pieces: &[&[u8]], status: u16) -> Finding {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            stream.set_nodelay(true).unwrap();
            for piece in pieces {
                let _ = stream.write_all(&piece).await;
                let _ = stream.flush().await;
                tokio::task::yield_now().await;
            }
        });
        let server = Endpoint { host: "127.0.0.1".to_owned(), port, tls: None };
        probe(&server, "/", status, Some("ok"), &Trace::default()).await
    }

    #[tokio::test]
    async fn answers_are_judged() {
        let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(found(&[ok], 200).await, Ok("status 200: ok".to_owned()));
        for (answer, why) in [
            (&b""[..], "without an answer"),
            (b"220 mail ready\r\n", "not HTTP"),
            (b"HTTP/1.1 xyz\r\n\r\n", "not HTTP"),
            (b"HTTP/1.1 200 OK\r\nA: b\r\n", "cut off"),
            (b"HTTP/1.1 500 No\r\n\r\nboom", "status 500 instead of 200: boom"),
            (b"HTTP/1.1 200 OK\r\n\r\nfine", "is not in the body"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok so far", "cut off: 9 of 20 bytes: ok so far"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nok", "announced with 99999999999 bytes"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nok", "is no number"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "contradict"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", "chunked body was cut off"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nok\r\n", "is damaged"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n", "is damaged"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\nok", "longer than 65536"),
        ] {
            let found = found(&[answer], 200).await.unwrap_err();
            assert!(found.contains(why), "{why}: {found}");
        }
        assert!(
            found(&[b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"], 204).await.unwrap_err().contains("ok")
        );
    }

    #[tokio::test]
    async fn a_chunked_body_is_read_across_its_chunks_and_pieces() {
        let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\no\r\n1\r\nk\r\n0\r\n\r\n";
        assert_eq!(found(&[answer], 200).await, Ok("status 200: ok".to_owned()));
        let bytes: Vec<&[u8]> = answer.chunks(1).collect();
        assert_eq!(found(&bytes, 200).await, Ok("status 200: ok".to_owned()));
    }
}
