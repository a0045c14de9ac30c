//! DICOM verification: one association (PS3.8), one C-ECHO (PS3.7 section 9.1.5), one release; over TLS where the site says
//! so (PS3.15 annex B, port 2762 by custom).
//!
//! A refused connection, a rejected association (a wrong AE title), an abort, an answer that is not DICOM and an echo
//! with a bad status are different findings: each points at something else.

use std::time::Duration;

use dicom_ul::pdu::{
    AbortRQSource, AssociationRJResult, AssociationRQ, PDataValue, PDataValueType, Pdu, PresentationContextProposed,
    PresentationContextResultReason, UserVariableItem, read_pdu, write_pdu,
};

use super::{
    Finding,
    wire::{Trace, Wire, shown},
};
use crate::config::Endpoint;

/// Verification SOP class (PS3.6 annex A).
const VERIFICATION: &str = "1.2.840.10008.1.1";
/// Implicit VR Little Endian, which every implementation must accept (PS3.5 section 10.1).
const IMPLICIT_VR_LE: &str = "1.2.840.10008.1.2";
/// The DICOM application context (PS3.7 annex A.2.1).
const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";
/// Our implementation class: a UID under 2.25 made from a UUID (PS3.5 annex B.2).
const IMPLEMENTATION: &str = "2.25.80302813137786398554742050926734630921";
/// Longest PDU that we announce and accept. An echo needs a few hundred bytes.
const PDU_BYTES_MAX: u32 = 16_384;
/// Our one presentation context; ids are odd (PS3.8 section 9.3.2.2).
const CONTEXT: u8 = 1;
/// How long the release may take, before the connection is dropped.
const GOODBYE_MAX: Duration = Duration::from_secs(5);
/// Most bytes that are read over all.
const BYTES_MAX: u64 = 256 * 1024;
/// PDUs that are looked at while one answer is awaited.
const PDUS_MAX: usize = 8;
/// C-ECHO-RQ and C-ECHO-RSP (PS3.7 table E.1-1).
const ECHO: (u16, u16) = (0x0030, 0x8030);
/// No data set follows (PS3.7 table E.1-1, Command Data Set Type).
const NO_DATA_SET: u16 = 0x0101;

pub(super) async fn probe(server: &Endpoint, called_ae: &str, calling_ae: &str, trace: &Trace) -> Finding {
    let mut peer = Peer { wire: Wire::connect(server, BYTES_MAX, trace).await?, bytes: Vec::new() };
    peer.associate(called_ae, calling_ae).await?;
    let finding = peer.echo().await;
    if finding.is_ok() {
        // Aside: the finding stands however the goodbye goes, and however long it takes.
        tokio::spawn(tokio::time::timeout(GOODBYE_MAX, async move {
            if peer.send(&Pdu::ReleaseRQ).await.is_ok() {
                let _ = peer.receive("the release").await;
            }
        }));
    }
    finding
}

struct Peer {
    wire: Wire,
    bytes: Vec<u8>,
}

impl Peer {
    async fn send(&mut self, pdu: &Pdu) -> Result<(), String> {
        let mut bytes = Vec::new();
        write_pdu(&mut bytes, pdu).map_err(|error| format!("the request could not be written: {error}"))?;
        self.wire.send(&bytes).await
    }

    /// The next PDU. Bytes that can't be one are a finding, and so is the end of the connection.
    async fn receive(&mut self, awaited: &'static str) -> Result<Pdu, String> {
        self.wire.awaits(awaited);
        loop {
            if let Some(&kind) = self.bytes.first()
                && !(1..=7).contains(&kind)
            {
                return Err(format!("the answer to {awaited} is not DICOM: {}", shown(&self.bytes)));
            }
            if self.bytes.len() >= 6 {
                let length = u32::from_be_bytes([self.bytes[2], self.bytes[3], self.bytes[4], self.bytes[5]]);
                if length > PDU_BYTES_MAX {
                    return Err(format!("the answer to {awaited} announces {length} bytes: {}", shown(&self.bytes)));
                }
                let whole = 6 + length as usize;
                if self.bytes.len() >= whole {
                    let pdu = read_pdu(&self.bytes[..whole], PDU_BYTES_MAX, true)
                        .map_err(|error| format!("the answer to {awaited} is damaged: {error}"))?
                        .ok_or_else(|| format!("the answer to {awaited} is damaged: {}", shown(&self.bytes)))?;
                    self.bytes.drain(..whole);
                    return Ok(pdu);
                }
            }
            match self.wire.read(&mut self.bytes, usize::MAX).await {
                Ok(0) => return Err(format!("the connection was closed instead of an answer to {awaited}")),
                Ok(_) => {}
                Err(why) => return Err(format!("no answer to {awaited}: {why}")),
            }
        }
    }

    async fn associate(&mut self, called_ae: &str, calling_ae: &str) -> Result<(), String> {
        let request = AssociationRQ {
            protocol_version: 1,
            calling_ae_title: calling_ae.to_owned(),
            called_ae_title: called_ae.to_owned(),
            application_context_name: APPLICATION_CONTEXT.to_owned(),
            presentation_contexts: vec![PresentationContextProposed {
                id: CONTEXT,
                abstract_syntax: VERIFICATION.to_owned(),
                transfer_syntaxes: vec![IMPLICIT_VR_LE.to_owned()],
            }],
            user_variables: vec![
                UserVariableItem::MaxLength(PDU_BYTES_MAX),
                UserVariableItem::ImplementationClassUID(IMPLEMENTATION.to_owned()),
                UserVariableItem::ImplementationVersionName("WARDROUND".to_owned()),
            ],
        };
        self.send(&Pdu::AssociationRQ(request)).await?;
        match self.receive("the association request").await? {
            Pdu::AssociationAC(accepted) => {
                let ours = accepted.presentation_contexts.iter().find(|context| context.id == CONTEXT);
                match ours.map(|context| &context.reason) {
                    Some(PresentationContextResultReason::Acceptance) => Ok(()),
                    Some(reason) => Err(format!("the association stands, but verification is refused: {reason}")),
                    None => Err("the association stands, but verification was not answered".to_owned()),
                }
            }
            Pdu::AssociationRJ(rejected) => {
                let how = match rejected.result {
                    AssociationRJResult::Permanent => "permanently",
                    AssociationRJResult::Transient => "for now",
                };
                Err(format!(
                    "association rejected {how}: {} (called {called_ae}, calling {calling_ae})",
                    rejected.source
                ))
            }
            other => Err(unexpected("the association request", &other)),
        }
    }

    async fn echo(&mut self) -> Finding {
        let request = PDataValue {
            presentation_context_id: CONTEXT,
            value_type: PDataValueType::Command,
            is_last: true,
            data: echo_request(),
        };
        self.send(&Pdu::PData { data: vec![request] }).await?;
        let mut command = Vec::new();
        for _ in 0..PDUS_MAX {
            match self.receive("the echo").await? {
                Pdu::PData { data } => {
                    for value in data {
                        if !matches!(value.value_type, PDataValueType::Command) {
                            return Err("the answer to the echo carries a data set".to_owned());
                        }
                        command.extend_from_slice(&value.data);
                        if value.is_last {
                            return judge(&command);
                        }
                    }
                }
                other => return Err(unexpected("the echo", &other)),
            }
        }
        Err(format!("the answer to the echo did not end within {PDUS_MAX} PDUs"))
    }
}

fn unexpected(awaited: &str, pdu: &Pdu) -> String {
    match pdu {
        Pdu::AbortRQ { source } => {
            let who = match source {
                AbortRQSource::ServiceUser => "the application".to_owned(),
                AbortRQSource::ServiceProvider(reason) => format!("the protocol machine, {reason}"),
                AbortRQSource::Reserved => "an unknown source".to_owned(),
            };
            format!("{awaited} was aborted by {who}")
        }
        other => format!("unexpected answer to {awaited}: {}", other.short_description()),
    }
}

/// The command set of a C-ECHO-RQ, Implicit VR Little Endian (PS3.7 section 6.3 and table E.1-1).
fn echo_request() -> Vec<u8> {
    let mut elements = Vec::new();
    let mut put = |element: u16, value: &[u8]| {
        elements.extend_from_slice(&[0, 0]);
        elements.extend_from_slice(&element.to_le_bytes());
        elements.extend_from_slice(&(value.len() as u32).to_le_bytes());
        elements.extend_from_slice(value);
    };
    // UIDs are padded to even length with NUL.
    put(0x0002, format!("{VERIFICATION}\0").as_bytes());
    put(0x0100, &ECHO.0.to_le_bytes());
    put(0x0110, &1u16.to_le_bytes());
    put(0x0800, &NO_DATA_SET.to_le_bytes());
    let mut command = vec![0, 0, 0, 0, 4, 0, 0, 0];
    command.extend_from_slice(&(elements.len() as u32).to_le_bytes());
    command.extend_from_slice(&elements);
    command
}

/// One 16-bit element of a command set; `None` when it is missing or the set is damaged.
fn element(mut command: &[u8], wanted: u16) -> Option<u16> {
    while let Some((head, rest)) = command.split_at_checked(8) {
        let tag = (u16::from_le_bytes([head[0], head[1]]), u16::from_le_bytes([head[2], head[3]]));
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let (value, after) = rest.split_at_checked(length)?;
        if tag == (0, wanted) {
            return Some(u16::from_le_bytes(value.try_into().ok()?));
        }
        command = after;
    }
    None
}

fn judge(command: &[u8]) -> Finding {
    match (element(command, 0x0100), element(command, 0x0900)) {
        (Some(field), _) if field != ECHO.1 => Err(format!("the answer to the echo is another message ({field:#06x})")),
        (Some(_), Some(0)) => Ok("echo status 0x0000".to_owned()),
        (Some(_), Some(status)) => Err(format!("echo status {status:#06x}")),
        _ => Err(format!("the answer to the echo is damaged: {}", shown(command))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_the_standard_s_example() {
        let bytes = echo_request();
        assert_eq!(bytes.len(), 12 + 26 + 3 * 10);
        assert_eq!(u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize, bytes.len() - 12);
        assert_eq!(element(&bytes, 0x0100), Some(0x0030));
        assert_eq!(element(&bytes, 0x0800), Some(0x0101));
    }

    fn response(field: u16, status: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (tag, value) in [(0x0100u16, field), (0x0900, status)] {
            bytes.extend_from_slice(&[0, 0]);
            bytes.extend_from_slice(&tag.to_le_bytes());
            bytes.extend_from_slice(&2u32.to_le_bytes());
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    /// A service that answers an association and an echo, and then says nothing more.
    async fn mute_at_the_end(listener: tokio::net::TcpListener) {
        let (stream, _) = listener.accept().await.unwrap();
        let mut peer = Peer { wire: Wire::of(stream), bytes: Vec::new() };
        let Pdu::AssociationRQ(asked) = peer.receive("nothing").await.unwrap() else { panic!("no association") };
        let accepted = dicom_ul::pdu::AssociationAC {
            protocol_version: 1,
            calling_ae_title: asked.calling_ae_title,
            called_ae_title: asked.called_ae_title,
            application_context_name: asked.application_context_name,
            presentation_contexts: vec![dicom_ul::pdu::PresentationContextResult {
                id: CONTEXT,
                reason: PresentationContextResultReason::Acceptance,
                transfer_syntax: IMPLICIT_VR_LE.to_owned(),
            }],
            user_variables: Vec::new(),
        };
        peer.send(&Pdu::AssociationAC(accepted)).await.unwrap();
        peer.receive("nothing").await.unwrap();
        let data = PDataValue {
            presentation_context_id: CONTEXT,
            value_type: PDataValueType::Command,
            is_last: true,
            data: response(ECHO.1, 0),
        };
        peer.send(&Pdu::PData { data: vec![data] }).await.unwrap();
        std::future::pending().await
    }

    #[tokio::test]
    async fn a_service_that_never_says_goodbye_is_healthy_all_the_same() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(mute_at_the_end(listener));
        let server = Endpoint { host: "127.0.0.1".to_owned(), port, tls: None };
        let trace = Trace::default();
        let looked = tokio::time::timeout(Duration::from_secs(60), probe(&server, "PACS", "NODE", &trace)).await;
        assert_eq!(looked.expect("the release is not waited for"), Ok("echo status 0x0000".to_owned()));
    }

    #[test]
    fn a_status_a_foreign_message_and_damage_are_told_apart() {
        assert!(judge(&response(0x8030, 0)).is_ok());
        assert!(judge(&response(0x8030, 0x0122)).unwrap_err().contains("0x0122"));
        assert!(judge(&response(0x8001, 0)).unwrap_err().contains("another message"));
        for cut in 0..response(0x8030, 0).len() {
            assert!(judge(&response(0x8030, 0)[..cut]).is_err(), "cut at {cut}");
        }
        assert!(judge(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 1]).is_err(), "a length beyond the end");
    }
}
