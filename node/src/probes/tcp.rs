//! TCP: does somebody accept connections there?

use std::io;

use tokio::net::TcpStream;

use super::{Finding, wire::Trace};
use crate::config::Endpoint;

pub(super) async fn probe(server: &Endpoint, trace: &Trace) -> Finding {
    trace.awaits("the connection attempt");
    connect(&server.host, server.port).await.map(|_| "connected".to_owned())
}

/// A connection, or why there is none. The time limit is the caller's.
pub(super) async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    TcpStream::connect((host, port)).await.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("connection refused by {host}:{port}"),
        _ => format!("no connection to {host}:{port}: {error}"),
    })
}
