//! The connection of a probe: everything that comes is counted, a limit ends it, and what was awaited is known when time is up.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::{tcp, tls};
use crate::config::Endpoint;

/// First bytes of an answer that are shown as evidence.
const SHOWN_BYTES_MAX: usize = 48;
/// What a handshake may need beside the answer itself, bytes: chains of several certificates and session tickets.
const TLS_BYTES_MAX: u64 = 128 * 1024;
/// What TLS adds to an answer at most, as a part of it: records of few bytes carry 22 more (RFC 8446 section 5.2).
const TLS_OVERHEAD: u64 = 4;

/// What a probe awaits, and what has come so far: the evidence when its time is up.
#[derive(Debug, Clone, Default)]
pub(super) struct Trace(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    awaited: &'static str,
    bytes: u64,
    first: Vec<u8>,
}

impl Trace {
    /// "the connection attempt", "the TLS handshake": what an answer is awaited to.
    pub(super) fn awaits(&self, what: &'static str) {
        if let Ok(mut seen) = self.0.lock() {
            *seen = Seen { awaited: what, ..Seen::default() };
        }
    }

    fn came(&self, bytes: &[u8]) {
        if let Ok(mut seen) = self.0.lock() {
            seen.bytes += bytes.len() as u64;
            let room = SHOWN_BYTES_MAX - seen.first.len();
            seen.first.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// The finding of a probe whose time is up.
    pub(super) fn time_is_up(&self, timeout: Duration) -> String {
        let mut text = format!("no answer within {}ms", timeout.as_millis());
        if let Ok(seen) = self.0.lock()
            && !seen.awaited.is_empty()
        {
            text.push_str(&format!(" to {}", seen.awaited));
            if seen.bytes > 0 {
                text.push_str(&format!("; {} bytes came: {}", seen.bytes, shown(&seen.first)));
            }
        }
        text
    }
}

/// The first bytes, for evidence.
pub(super) fn shown(bytes: &[u8]) -> String {
    let first = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
    format!("{:?} ({})", String::from_utf8_lossy(first), hex::encode(first))
}

/// A TCP connection that gives no more than so many bytes.
#[derive(Debug)]
pub(super) struct Metered {
    stream: TcpStream,
    left: u64,
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.remaining());
        if room == 0 && buf.remaining() > 0 {
            return Poll::Ready(Err(io::Error::other("more came than the probe reads")));
        }
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(room));
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut part);
        let read = part.filled().len();
        buf.advance(read);
        self.left -= read as u64;
        polled
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[derive(Debug)]
enum Stream {
    Plain(Metered),
    Tls(Box<TlsStream<Metered>>),
}

/// A connection to a system, plain or over TLS.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Stream,
    trace: Trace,
}

impl Wire {
    /// Connects, over TLS where the site says so, and reads `bytes_max` bytes at most. The time limit is the caller's.
    pub(super) async fn connect(server: &Endpoint, bytes_max: u64, trace: &Trace) -> Result<Self, String> {
        let wire = Self::connect_plain(server, bytes_max, trace).await?;
        if server.tls.is_some() { wire.secured(server).await } else { Ok(wire) }
    }

    /// Connects, and leaves the beginning of TLS to the caller.
    pub(super) async fn connect_plain(server: &Endpoint, bytes_max: u64, trace: &Trace) -> Result<Self, String> {
        trace.awaits("the connection attempt");
        let stream = tcp::connect(&server.host, server.port).await?;
        let left = if server.tls.is_some() { bytes_max * TLS_OVERHEAD + TLS_BYTES_MAX } else { bytes_max };
        Ok(Self { stream: Stream::Plain(Metered { stream, left }), trace: trace.clone() })
    }

    /// A connection that somebody else made.
    #[cfg(test)]
    pub(super) fn of(stream: TcpStream) -> Self {
        Self { stream: Stream::Plain(Metered { stream, left: u64::MAX }), trace: Trace::default() }
    }

    /// Goes on over TLS.
    pub(super) async fn secured(self, server: &Endpoint) -> Result<Self, String> {
        let Stream::Plain(stream) = self.stream else { return Ok(self) };
        self.trace.awaits("the TLS handshake");
        let stream = tls::handshake(server, stream).await?;
        Ok(Self { stream: Stream::Tls(Box::new(stream)), trace: self.trace })
    }

    /// Whether nobody between can read along.
    pub(super) fn is_secured(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// The server's own certificate, DER.
    pub(super) fn certificate(&self) -> Option<Vec<u8>> {
        let Stream::Tls(stream) = &self.stream else { return None };
        stream.get_ref().1.peer_certificates()?.first().map(|leaf| leaf.to_vec())
    }

    /// Says what is awaited from here on.
    pub(super) fn awaits(&self, what: &'static str) {
        self.trace.awaits(what);
    }

    /// Sends all of it.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let sent = match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes).await,
            Stream::Tls(stream) => match stream.write_all(bytes).await {
                Ok(()) => stream.flush().await,
                Err(error) => Err(error),
            },
        };
        sent.map_err(|error| broke(&error))
    }

    /// Appends what comes next, at most `most` bytes; 0 at the end of the connection.
    pub(super) async fn read(&mut self, into: &mut Vec<u8>, most: usize) -> Result<usize, String> {
        let mut buffer = [0; 8192];
        let most = most.min(buffer.len());
        let buffer = &mut buffer[..most];
        let read = match &mut self.stream {
            Stream::Plain(stream) => stream.read(buffer).await,
            Stream::Tls(stream) => match stream.read(buffer).await {
                // Many servers hang up without the goodbye of TLS; what must be whole says how long it is.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                read => read,
            },
        };
        let n = read.map_err(|error| broke(&error))?;
        self.trace.came(&buffer[..n]);
        into.extend_from_slice(&buffer[..n]);
        Ok(n)
    }
}

fn broke(error: &io::Error) -> String {
    match tls::words(error) {
        Some(words) => words,
        None => format!("the connection broke: {error}"),
    }
}
