//! HL7 v2 over MLLP (HL7 v2.5.1 appendix C of chapter 2; MLLP release 1): connects, or sends the one message that the site
//! calls harmless and reads its acknowledgement (chapter 2, sections 2.9 and 2.15.8).
//!
//! What a receiver does with a message only its owner knows, so that none is sent unless the site file holds it.

use std::{io::Read as _, path::Path};

use super::{
    Finding,
    wire::{Trace, Wire, shown},
};
use crate::config::{Endpoint, HL7_MESSAGE_BYTES_MAX, Hl7Message};

/// Begins a block.
const START: u8 = 0x0b;
/// Ends a block.
const END: [u8; 2] = [0x1c, 0x0d];
/// Most bytes of an acknowledgement that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Most characters of one field that are shown as evidence.
const FIELD_MAX: usize = 300;
/// Stand in the site's message for a control id and a time of ours.
const PLACES: [&str; 2] = ["{control_id}", "{time}"];

pub(super) async fn probe(server: &Endpoint, message: Option<&Hl7Message>, now_ms: i64, trace: &Trace) -> Finding {
    let Some(message) = message else {
        return Wire::connect(server, 0, trace).await.map(|_| "connected; no message is sent".to_owned());
    };
    let text = match message {
        Hl7Message::Text(text) => text.clone(),
        Hl7Message::File(path) => read(path)?,
    };
    if let Some(why) = fault(&text) {
        return Err(format!("the message can't be sent: {why}"));
    }
    let mut id = [0; 10];
    getrandom::fill(&mut id).map_err(|error| format!("no control id: {error}"))?;
    let message = filled(&text, &hex::encode(id), now_ms);
    let control_id = header(&message).and_then(|fields| fields.get(CONTROL_ID).copied()).unwrap_or_default();
    let mut wire = Wire::connect(server, ANSWER_BYTES_MAX as u64 + 16, trace).await?;
    wire.send(&[&[START], message.as_bytes(), &END].concat()).await?;
    wire.awaits("the message");
    judge(&block(&mut wire).await?, control_id)
}

fn read(path: &Path) -> Result<String, String> {
    let fail = |why: String| format!("the message file {} can't be read: {why}", path.display());
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| fail(error.to_string()))?;
    file.take(HL7_MESSAGE_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(|error| fail(error.to_string()))?;
    Ok(text)
}

/// Fields of a message header, counted so that `[n]` is MSH-(n+1): the separator itself is MSH-1.
fn header(message: &str) -> Option<Vec<&str>> {
    let first = message.split('\r').next()?;
    let separator = first.strip_prefix("MSH")?.chars().next()?;
    Some(first.split(separator).collect())
}

/// MSH-10.
const CONTROL_ID: usize = 9;

/// Why a text can't be sent as a message, if it can't.
pub(crate) fn fault(text: &str) -> Option<String> {
    if text.len() > HL7_MESSAGE_BYTES_MAX {
        return Some(format!("it has more than {HL7_MESSAGE_BYTES_MAX} bytes"));
    }
    if text.contains([char::from(START), char::from(END[0])]) {
        return Some("it holds the bytes that frame a message".to_owned());
    }
    match header(&segments(text)) {
        None => Some("it does not begin with an MSH segment".to_owned()),
        Some(fields) if fields.get(CONTROL_ID).is_none_or(|id| id.is_empty()) => {
            Some("its MSH-10, the control id, is empty: write {control_id} there for a new one each time".to_owned())
        }
        Some(_) => None,
    }
}

/// Segments end with a carriage return alone, however the site's editor ends lines.
fn segments(text: &str) -> String {
    let lines = text.lines().flat_map(|line| line.split('\r')).filter(|line| !line.trim().is_empty());
    lines.map(|line| format!("{}\r", line.trim_start())).collect()
}

fn filled(text: &str, id: &str, now_ms: i64) -> String {
    let now = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
    // HL7's DTM without an offset; UTC.
    let time = now.strftime("%Y%m%d%H%M%S").to_string();
    segments(text).replace(PLACES[0], id).replace(PLACES[1], &time)
}

/// The text of the one block that comes.
async fn block(wire: &mut Wire) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    loop {
        if bytes.first().is_some_and(|first| *first != START) {
            return Err(format!("the answer is not MLLP: {}", shown(&bytes)));
        }
        if let Some(end) = bytes.windows(2).position(|two| two == END) {
            return Ok(bytes[1..end].to_vec());
        }
        if bytes.len() > ANSWER_BYTES_MAX {
            return Err(format!("the answer is longer than {ANSWER_BYTES_MAX} bytes: {}", shown(&bytes)));
        }
        let most = ANSWER_BYTES_MAX + 1 - bytes.len();
        match wire.read(&mut bytes, most).await? {
            0 if bytes.is_empty() => return Err("the connection was closed without an acknowledgement".to_owned()),
            0 => return Err(format!("the acknowledgement was cut off: {}", shown(&bytes))),
            _ => {}
        }
    }
}

pub(super) fn judge(block: &[u8], control_id: &str) -> Finding {
    let text = String::from_utf8_lossy(block).into_owned();
    let Some(header) = header(&text) else {
        return Err(format!("the answer is no HL7 message: {}", shown(block)));
    };
    let separator = text.chars().nth(3).unwrap_or('|');
    let segment = |name: &str| {
        let fields = text.split(['\r', '\n']).map(|line| line.split(separator).collect::<Vec<_>>());
        fields.into_iter().find(|fields| fields.first() == Some(&name))
    };
    let Some(msa) = segment("MSA") else {
        let kind = header.get(8).copied().unwrap_or_default();
        return Err(format!("the answer holds no acknowledgement (MSA), it is a message {}", clipped(kind)));
    };
    let field = |at: usize| msa.get(at).copied().unwrap_or_default();
    let code = field(1);
    if field(2) != control_id {
        return Err(format!(
            "the acknowledgement {} is for message {}, not for ours, {control_id}",
            clipped(code),
            clipped(field(2))
        ));
    }
    // MSA-3, and from v2.5 on the fields of ERR: the code (3), the text for users (8) and for developers (7); before, ERR-1.
    let err = segment("ERR").unwrap_or_default();
    let details = [field(3)].into_iter().chain([3, 8, 7, 1].map(|at| err.get(at).copied().unwrap_or_default()));
    let details: Vec<String> = details.filter(|text| !text.trim().is_empty()).map(clipped).collect();
    let details = if details.is_empty() { "no reason is given".to_owned() } else { details.join("; ") };
    match code {
        "AA" | "CA" => Ok(format!("acknowledged with {code}")),
        "AE" => Err(format!("the receiver reports an error with the message (AE): {details}")),
        "CE" => Err(format!("the receiver can't take the message now (CE): {details}")),
        "AR" | "CR" => Err(format!("the receiver rejected the message ({code}): {details}")),
        other => Err(format!("the acknowledgement has the unknown code {:?}: {details}", clipped(other))),
    }
}

fn clipped(text: &str) -> String {
    text.chars().take(FIELD_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &str = "MSH|^~\\&|WARDROUND|RX1|LAB|RX1|{time}||NMQ^N01|{control_id}|P|2.5\n  QRD|x\r\n";

    #[test]
    fn a_message_is_filled_and_its_lines_become_segments() {
        let message = filled(QUERY, "c0ffee", 1_700_000_000_000);
        assert_eq!(message, "MSH|^~\\&|WARDROUND|RX1|LAB|RX1|20231114221320||NMQ^N01|c0ffee|P|2.5\rQRD|x\r");
        assert_eq!(header(&message).unwrap()[CONTROL_ID], "c0ffee");
        assert_eq!(fault(QUERY), None);
        assert_eq!(fault("MSH|^~\\&|A|B|C|D|||ACK|77|P|2.3\rZZZ|"), None);
        for (text, why) in [
            ("", "begin with an MSH"),
            ("PID|1", "begin with an MSH"),
            ("MSH|^~\\&|A|B|C|D|||ACK||P|2.3", "MSH-10"),
            ("MSH|^~\\&|A", "MSH-10"),
            ("MSH|^~\\&|A|B|C|D|||ACK|1\x1c|P|2.3", "frame"),
            (&"MSH|".repeat(20_000), "65536"),
        ] {
            assert!(fault(text).unwrap().contains(why), "{text:.40}");
        }
    }

    #[test]
    fn acknowledgements_are_told_apart() {
        let answer =
            |rest: &str| judge(format!("MSH|^~\\&|LAB|RX1|WARDROUND|RX1|2026||ACK|9|P|2.5\r{rest}\r").as_bytes(), "77");
        assert_eq!(answer("MSA|AA|77").unwrap(), "acknowledged with AA");
        assert_eq!(answer("MSA|CA|77|fine").unwrap(), "acknowledged with CA");
        for (rest, why) in [
            ("MSA|AA|78", "is for message 78, not for ours, 77"),
            ("MSA|AA", "is for message , not for ours"),
            ("MSA|AE|77|queue full", "error with the message (AE): queue full"),
            (
                "MSA|AR|77\rERR||PID^1|101^Required field missing|E|||dev|No patient",
                "(AR): 101^Required field missing; No patient; dev",
            ),
            ("MSA|CR|77\rERR|PID^1^5", "(CR): PID^1^5"),
            ("MSA|CE|77", "take the message now (CE): no reason"),
            ("MSA|XX|77", "unknown code \"XX\""),
            ("PID|1", "no acknowledgement (MSA), it is a message ACK"),
        ] {
            let found = answer(rest).unwrap_err();
            assert!(found.contains(why), "{why}: {found}");
        }
        assert!(judge(b"hello", "77").unwrap_err().contains("no HL7 message"));
        assert!(judge(b"MSH", "77").unwrap_err().contains("no HL7 message"));
        assert!(judge(&[0xff; 100], "77").unwrap_err().contains("no HL7 message"));
        // Other separators are as good.
        assert!(judge(b"MSH#^~\\&#LAB#RX1#W#R#2026##ACK#9#P#2.5\rMSA#AA#77\r", "77").is_ok());
    }
}
