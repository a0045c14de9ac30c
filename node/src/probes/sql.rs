//! SQL login: PostgreSQL's start-up, authentication, `SELECT 1` and goodbye (PostgreSQL's manual, chapter "Frontend/Backend
//! Protocol", version 3.0). It reads no table.
//!
//! The password is read for each login and leaves memory after it. In clear it is sent over TLS alone, whatever the server
//! asks for.

use bytes::BytesMut;
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::{
    authentication::{
        md5_hash,
        sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256},
    },
    message::{
        backend::{ErrorFields, Message},
        frontend,
    },
};

use super::{
    Finding,
    wire::{Trace, Wire, shown},
};
use crate::{
    config::Endpoint,
    secret::{Secret, SecretText},
};

/// Most bytes that are read over all: settings of the server, one row.
const BYTES_MAX: u64 = 128 * 1024;
/// Longest message of the server. Its settings and errors have a few hundred bytes.
const MESSAGE_BYTES_MAX: usize = 32 * 1024;
/// Most messages of the server that are looked at: it tells about twenty settings.
const MESSAGES_MAX: usize = 256;
/// Most characters of the server's own words that are shown as evidence.
const WORDS_MAX: usize = 300;

pub(super) async fn probe(
    server: &Endpoint,
    database: &str,
    user: &str,
    password: Option<&Secret>,
    trace: &Trace,
) -> Finding {
    trace.awaits("the reading of the password");
    let password = match password {
        None => None,
        Some(secret) => Some(secret.read().await.map_err(|error| error.to_string())?),
    };
    let wire = connect(server, trace).await?;
    let mut login = Login { wire, bytes: BytesMut::new(), messages: 0, user, password };
    login.begin(database).await?;
    let finding = login.ask().await;
    // The server ends the session with the connection in any case.
    let mut goodbye = BytesMut::new();
    frontend::terminate(&mut goodbye);
    let _ = login.wire.send(&goodbye).await;
    finding
}

/// Over TLS the server is asked first whether it speaks it ("SSLRequest").
async fn connect(server: &Endpoint, trace: &Trace) -> Result<Wire, String> {
    let mut wire = Wire::connect_plain(server, BYTES_MAX, trace).await?;
    if server.tls.is_none() {
        return Ok(wire);
    }
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    wire.send(&request).await?;
    wire.awaits("the request for TLS");
    // Exactly one byte: what stands behind it belongs to TLS, and is never read as if it came over it.
    let mut answer = Vec::new();
    wire.read(&mut answer, 1).await?;
    match answer.first() {
        Some(b'S') => wire.secured(server).await,
        Some(b'N') => Err("the server does not speak TLS here".to_owned()),
        Some(_) => Err(format!("the answer to the request for TLS is not PostgreSQL: {}", shown(&answer))),
        None => Err("the connection was closed instead of an answer to the request for TLS".to_owned()),
    }
}

struct Login<'a> {
    wire: Wire,
    bytes: BytesMut,
    messages: usize,
    user: &'a str,
    password: Option<SecretText>,
}

impl Login<'_> {
    /// The next message that is no setting and no notice; errors are findings.
    async fn receive(&mut self, awaited: &'static str) -> Result<Message, String> {
        self.wire.awaits(awaited);
        loop {
            let head = &self.bytes[..self.bytes.len().min(5)];
            // Asked before the parser, which would make room for any length.
            if let [tag, length @ ..] = head
                && let Ok(length) = <[u8; 4]>::try_from(length)
            {
                let length = u32::from_be_bytes(length) as usize;
                if !tag.is_ascii_alphanumeric() {
                    return Err(format!("the answer to {awaited} is not PostgreSQL: {}", shown(&self.bytes)));
                }
                if length > MESSAGE_BYTES_MAX {
                    return Err(format!("the answer to {awaited} announces {length} bytes: {}", shown(&self.bytes)));
                }
                let parsed = Message::parse(&mut self.bytes)
                    .map_err(|error| format!("the answer to {awaited} is not PostgreSQL: {error}"))?;
                if let Some(message) = parsed {
                    self.messages += 1;
                    if self.messages > MESSAGES_MAX {
                        return Err(format!("the server sent more than {MESSAGES_MAX} messages"));
                    }
                    match message {
                        Message::ParameterStatus(_) | Message::NoticeResponse(_) | Message::BackendKeyData(_) => {
                            continue;
                        }
                        Message::ErrorResponse(error) => return Err(refused(error.fields())),
                        message => return Ok(message),
                    }
                }
            }
            let mut more = Vec::new();
            if self.wire.read(&mut more, usize::MAX).await? == 0 {
                return Err(format!("the connection was closed instead of an answer to {awaited}"));
            }
            self.bytes.extend_from_slice(&more);
        }
    }

    async fn send(&mut self, write: impl FnOnce(&mut BytesMut) -> std::io::Result<()>) -> Result<(), String> {
        let mut bytes = BytesMut::new();
        write(&mut bytes).map_err(|error| format!("the request could not be written: {error}"))?;
        let sent = self.wire.send(&bytes).await;
        // It may have held the password.
        zeroize::Zeroize::zeroize(&mut bytes[..]);
        sent
    }

    /// Start-up and authentication.
    async fn begin(&mut self, database: &str) -> Result<(), String> {
        let settings = [("user", self.user), ("database", database), ("application_name", "wardround")];
        self.send(|bytes| frontend::startup_message(settings, bytes)).await?;
        match self.receive("the start-up").await? {
            Message::AuthenticationOk => Ok(()),
            Message::AuthenticationCleartextPassword => {
                if !self.wire.is_secured() {
                    return Err("the server asks for the password in clear, which is sent over TLS only".to_owned());
                }
                let password = self.needed_password()?;
                self.send(|bytes| frontend::password_message(password.expose().as_bytes(), bytes)).await?;
                self.let_in().await
            }
            Message::AuthenticationMd5Password(body) => {
                let password = self.needed_password()?;
                let hash = md5_hash(self.user.as_bytes(), password.expose().as_bytes(), body.salt());
                self.send(|bytes| frontend::password_message(hash.as_bytes(), bytes)).await?;
                self.let_in().await
            }
            Message::AuthenticationSasl(body) => {
                let names = body.mechanisms().map(|name| Ok(name.to_owned())).collect::<Vec<_>>();
                let names = names.map_err(|error| format!("the server's mechanisms are damaged: {error}"))?;
                if !names.iter().any(|name| name == SCRAM_SHA_256) {
                    return Err(format!(
                        "the server asks for a login that is not known here: {}",
                        clipped(&names.join(", "))
                    ));
                }
                self.scram().await
            }
            Message::AuthenticationGss | Message::AuthenticationSspi | Message::AuthenticationKerberosV5 => {
                Err("the server asks for Kerberos, which is not spoken here".to_owned())
            }
            _ => Err("the answer to the start-up is another message of PostgreSQL".to_owned()),
        }
    }

    /// SCRAM-SHA-256 (RFC 5802, RFC 7677). The server proves that it knows the password too.
    async fn scram(&mut self) -> Result<(), String> {
        let password = self.needed_password()?;
        let mut scram = ScramSha256::new(password.expose().as_bytes(), ChannelBinding::unsupported());
        let first = scram.message().to_vec();
        self.send(|bytes| frontend::sasl_initial_response(SCRAM_SHA_256, &first, bytes)).await?;
        let Message::AuthenticationSaslContinue(challenge) = self.receive("the login").await? else {
            return Err("the server broke off the login without a reason".to_owned());
        };
        scram.update(challenge.data()).map_err(|error| format!("the server's challenge can't be met: {error}"))?;
        let answer = scram.message().to_vec();
        self.send(|bytes| frontend::sasl_response(&answer, bytes)).await?;
        let Message::AuthenticationSaslFinal(proof) = self.receive("the login").await? else {
            return Err("the server lets us in without a proof that it knows the password".to_owned());
        };
        scram
            .finish(proof.data())
            .map_err(|error| format!("the server does not prove that it knows the password: {error}"))?;
        self.let_in().await
    }

    async fn let_in(&mut self) -> Result<(), String> {
        match self.receive("the login").await? {
            Message::AuthenticationOk => Ok(()),
            _ => Err("the answer to the login is another message of PostgreSQL".to_owned()),
        }
    }

    fn needed_password(&self) -> Result<SecretText, String> {
        self.password.clone().ok_or_else(|| "the server asks for a password, and the site file names none".to_owned())
    }

    /// `SELECT 1`.
    async fn ask(&mut self) -> Finding {
        let Message::ReadyForQuery(_) = self.receive("the login").await? else {
            return Err("the server is not ready after the login".to_owned());
        };
        self.send(|bytes| frontend::query("SELECT 1", bytes)).await?;
        let mut row = None;
        loop {
            match self.receive("the query").await? {
                Message::RowDescription(_) | Message::CommandComplete(_) => {}
                Message::DataRow(data) => {
                    let ranges = data.ranges().collect::<Vec<_>>().map_err(|_| "the row is damaged".to_owned())?;
                    row = match ranges.as_slice() {
                        [Some(range)] => data.buffer().get(range.clone()).map(<[u8]>::to_vec),
                        _ => None,
                    };
                }
                Message::ReadyForQuery(_) => break,
                _ => return Err("the answer to the query is another message of PostgreSQL".to_owned()),
            }
        }
        match row.as_deref() {
            Some(b"1") => Ok(format!("logged in as {}; SELECT 1 gives 1", self.user)),
            Some(other) => Err(format!("SELECT 1 gives {}", shown(other))),
            None => Err("SELECT 1 gives no row of one column".to_owned()),
        }
    }
}

/// What an error of the server means (manual, appendix "PostgreSQL Error Codes"), with its own words.
fn refused(mut fields: ErrorFields<'_>) -> String {
    let (mut code, mut words) = (String::new(), String::new());
    while let Ok(Some(field)) = fields.next() {
        match field.type_() {
            b'C' => code = clipped(&String::from_utf8_lossy(field.value_bytes())),
            b'M' => words = clipped(&String::from_utf8_lossy(field.value_bytes())),
            _ => {}
        }
    }
    let meaning = match code.as_str() {
        "28P01" => "the password is wrong",
        "28000" => "the server does not let this role in from here",
        "3D000" => "the database does not exist",
        "57P03" => "the server is starting up, shutting down or recovering",
        "57P01" | "57P02" => "the server is shutting down",
        "53300" => "the server has no connection left",
        "42501" => "the role may not do that",
        _ => "the server refuses",
    };
    format!("{meaning}: {words} ({code})")
}

fn clipped(text: &str) -> String {
    text.chars().take(WORDS_MAX).collect()
}
