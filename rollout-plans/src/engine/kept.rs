//! The evidence of a deployment as the engine keeps it: one string of bytes, since there may be 1.5 million of them. It is
//! opened when people ask for it, and stands in snapshots as what it says.
//!
//! ```text
//! kept   = (nothing, when there is no evidence) | flags flags2 [document] [payload] [exit code] [before] [after] output probes
//! probes = count, then for each: system (without its site when that is the one before's) text, probe text, time (as the
//!          difference from the one before), took × 2 + ok, answer text
//! ```
//! Numbers have seven bits a byte, the lowest first; texts have their length before them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wardround_signing::Digest;

use super::deployment::shortened;
use crate::model::{Detected, Evidence, ProbeAnswer, SystemId, Timestamp};

/// Most probe answers kept of a report; all of them stand in the journal.
const PROBES_KEPT_MAX: usize = 16;

/// Bits of the flags.
const PAYLOAD: u8 = 1;
const EXIT_CODE: u8 = 1 << 1;
const BEFORE: u32 = 2;
const AFTER: u32 = 4;
const REBOOT: u8 = 1 << 6;
const REBOOT_PENDING: u8 = 1 << 7;
/// Of the second ones.
const DOCUMENT: u8 = 1;

/// What a detection found, in two bits.
const ABSENT: u8 = 1;
const PRESENT: u8 = 2;
const UNKNOWN: u8 = 3;

/// Kept evidence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Kept(Box<[u8]>);

impl Kept {
    /// Of a report: which document it is of is known, and says nothing about the device.
    pub(super) fn of_device(evidence: &Evidence) -> Self {
        Self::pack(evidence, None)
    }

    /// Within the limits of what is kept.
    fn of(evidence: &Evidence) -> Self {
        Self::pack(evidence, evidence.document.as_ref())
    }

    fn pack(evidence: &Evidence, document: Option<&Digest>) -> Self {
        if says_nothing(evidence) && document.is_none() {
            return Self::default();
        }
        let mut bytes = Vec::with_capacity(256);
        let mut flags = found_bits(evidence.before.as_ref()) << BEFORE | found_bits(evidence.after.as_ref()) << AFTER;
        let mut set = |bit: u8, when: bool| flags |= if when { bit } else { 0 };
        set(PAYLOAD, evidence.payload.is_some());
        set(EXIT_CODE, evidence.exit_code.is_some());
        set(REBOOT, evidence.reboot_pending.is_some());
        set(REBOOT_PENDING, evidence.reboot_pending == Some(true));
        bytes.push(flags);
        bytes.push(if document.is_some() { DOCUMENT } else { 0 });
        for digest in document.into_iter().chain(&evidence.payload) {
            bytes.extend_from_slice(digest.as_bytes());
        }
        if let Some(code) = evidence.exit_code {
            put_number(&mut bytes, u64::from(code));
        }
        for found in evidence.before.iter().chain(&evidence.after) {
            if let Detected::Present { proof: text } | Detected::Unknown { why: text } = found {
                put_text(&mut bytes, text);
            }
        }
        put_text(&mut bytes, &evidence.output);
        put_probes(&mut bytes, &evidence.probes[..evidence.probes.len().min(PROBES_KEPT_MAX)]);
        Self(bytes.into())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What it says.
    pub(super) fn open(&self) -> Evidence {
        if self.is_empty() {
            return Evidence::default();
        }
        // It was packed by `of`, so it can be read.
        Reader(&self.0).evidence().unwrap_or_default()
    }
}

impl Serialize for Kept {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.open().serialize(to)
    }
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Evidence::deserialize(from).map(|evidence| Self::of(&evidence))
    }
}

/// True when nothing stands in it but the document.
fn says_nothing(evidence: &Evidence) -> bool {
    let Evidence { document: _, payload, exit_code, before, after, reboot_pending, probes, output } = evidence;
    payload.is_none()
        && exit_code.is_none()
        && before.is_none()
        && after.is_none()
        && reboot_pending.is_none()
        && probes.is_empty()
        && output.is_empty()
}

fn found_bits(found: Option<&Detected>) -> u8 {
    match found {
        None => 0,
        Some(Detected::Absent) => ABSENT,
        Some(Detected::Present { .. }) => PRESENT,
        Some(Detected::Unknown { .. }) => UNKNOWN,
    }
}

fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    let text = shortened(text);
    put_number(bytes, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

fn put_probes(bytes: &mut Vec<u8>, probes: &[ProbeAnswer]) {
    put_number(bytes, probes.len() as u64);
    let (mut site, mut at) = ("", 0_i64);
    for probe in probes {
        let system = probe.system.as_str();
        let split = system.find('/').unwrap_or(0);
        let again = !site.is_empty() && system[..split] == *site;
        put_text(bytes, if again { &system[split..] } else { system });
        site = &system[..split];
        put_text(bytes, &probe.probe);
        let later = probe.at.0.wrapping_sub(at);
        put_number(bytes, ((later << 1) ^ (later >> 63)).cast_unsigned());
        at = probe.at.0;
        put_number(bytes, u64::from(probe.took_ms) << 1 | u64::from(probe.ok));
        put_text(bytes, &probe.answer);
    }
}

/// Reads what [`Kept::of`] has put together; `None` where it is something else.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn evidence(&mut self) -> Option<Evidence> {
        let (flags, more) = (self.byte()?, self.byte()?);
        let document = if more & DOCUMENT == 0 { None } else { Some(self.digest()?) };
        let payload = if flags & PAYLOAD == 0 { None } else { Some(self.digest()?) };
        let exit_code = if flags & EXIT_CODE == 0 { None } else { Some(u32::try_from(self.number()?).ok()?) };
        let before = self.found(flags >> BEFORE & 3)?;
        let after = self.found(flags >> AFTER & 3)?;
        let reboot_pending = (flags & REBOOT != 0).then_some(flags & REBOOT_PENDING != 0);
        let output = self.text()?.to_owned();
        let probes = self.probes()?;
        Some(Evidence { document, payload, exit_code, before, after, reboot_pending, probes, output })
    }

    fn found(&mut self, bits: u8) -> Option<Option<Detected>> {
        Some(match bits {
            ABSENT => Some(Detected::Absent),
            PRESENT => Some(Detected::Present { proof: self.text()?.to_owned() }),
            UNKNOWN => Some(Detected::Unknown { why: self.text()?.to_owned() }),
            _ => None,
        })
    }

    fn probes(&mut self) -> Option<Vec<ProbeAnswer>> {
        let count = self.number()?;
        let (mut probes, mut site, mut at) = (Vec::new(), "", 0_i64);
        for _ in 0..count {
            let named = self.text()?;
            let system = if named.starts_with('/') { format!("{site}{named}") } else { named.to_owned() };
            site = if named.starts_with('/') { site } else { named.split_once('/')?.0 };
            let probe = self.text()?.to_owned();
            let later = self.number()?;
            at = at.wrapping_add((later >> 1).cast_signed() ^ -((later & 1).cast_signed()));
            let took = self.number()?;
            probes.push(ProbeAnswer {
                system: SystemId::new(&system).ok()?,
                probe,
                at: Timestamp(at),
                took_ms: u32::try_from(took >> 1).ok()?,
                ok: took & 1 == 1,
                answer: self.text()?.to_owned(),
            });
        }
        Some(probes)
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.number()?).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn digest(&mut self) -> Option<Digest> {
        Digest::from_slice(self.take(32)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::EVIDENCE_TEXT_MAX;

    fn found() -> impl Strategy<Value = Option<Detected>> {
        prop_oneof![
            Just(None),
            Just(Some(Detected::Absent)),
            ".{0,60}".prop_map(|proof| Some(Detected::Present { proof })),
            ".{0,60}".prop_map(|why| Some(Detected::Unknown { why })),
        ]
    }

    fn probe() -> impl Strategy<Value = ProbeAnswer> {
        ("rx[1-3]/[a-z]{1,8}", ".{0,30}", any::<i64>(), any::<u32>(), any::<bool>(), ".{0,30}").prop_map(
            |(system, probe, at, took_ms, ok, answer)| ProbeAnswer {
                system: SystemId::new(&system).unwrap(),
                probe,
                at: Timestamp(at),
                took_ms,
                ok,
                answer,
            },
        )
    }

    fn digest() -> impl Strategy<Value = Option<Digest>> {
        proptest::option::of(any::<[u8; 32]>().prop_map(Digest::from_bytes))
    }

    proptest! {
        #[test]
        fn what_is_kept_is_what_was_said(
            (document, payload, exit_code) in (digest(), digest(), any::<Option<u32>>()),
            (before, after, reboot_pending) in (found(), found(), any::<Option<bool>>()),
            probes in proptest::collection::vec(probe(), 0..=PROBES_KEPT_MAX),
            output in ".{0,200}",
        ) {
            let said = Evidence { document, payload, exit_code, before, after, reboot_pending, probes, output };
            let kept = Kept::of(&said);
            prop_assert_eq!(kept.open(), said.clone());
            let text = serde_json::to_string(&kept).unwrap();
            prop_assert_eq!(&text, &serde_json::to_string(&said).unwrap());
            prop_assert_eq!(serde_json::from_str::<Kept>(&text).unwrap(), kept);
        }
    }

    #[test]
    fn nothing_takes_no_room() {
        assert!(Kept::of(&Evidence::default()).is_empty());
        assert_eq!(Kept::default().open(), Evidence::default());
    }

    #[test]
    fn long_reports_are_kept_within_limits() {
        let answer = ProbeAnswer {
            system: SystemId::new("rx1/pacs").unwrap(),
            probe: "tcp 10.0.0.5:104".to_owned(),
            at: Timestamp(1),
            took_ms: 1,
            ok: true,
            answer: "ä".repeat(EVIDENCE_TEXT_MAX),
        };
        let said = Evidence {
            probes: vec![answer; 50],
            output: "x".repeat(10 * EVIDENCE_TEXT_MAX),
            before: Some(Detected::Unknown { why: "y".repeat(10 * EVIDENCE_TEXT_MAX) }),
            ..Evidence::default()
        };
        let kept = Kept::of(&said).open();
        assert_eq!((kept.probes.len(), kept.output.len()), (PROBES_KEPT_MAX, EVIDENCE_TEXT_MAX));
        assert!(
            kept.probes
                .iter()
                .all(|p| p.answer.len() <= EVIDENCE_TEXT_MAX && said.probes[0].answer.starts_with(&p.answer))
        );
        assert!(matches!(kept.before, Some(Detected::Unknown { why }) if why.len() == EVIDENCE_TEXT_MAX));
    }

    #[test]
    fn torn_bytes_say_nothing() {
        let whole = Kept::of(&Evidence { exit_code: Some(3010), output: "done".to_owned(), ..Evidence::default() });
        for end in 0..whole.0.len() {
            assert_eq!(Kept(whole.0[..end].into()).open(), Evidence::default());
        }
    }
}
