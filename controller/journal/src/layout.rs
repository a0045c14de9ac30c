//! The whole key space and every serialised form, in one place.
//!
//! | where | key | value | lifetime |
//! |---|---|---|---|
//! | tree `meta` | `format` | format number, u32 big-endian | for ever |
//! | tree `records` | sequence number u64 big-endian, part u16 big-endian | one part of a record, see below | until two newer snapshots cover it |
//! | tree `side:NAME` | chosen by the caller | chosen by the caller | for ever; derived data only |
//! | file `snapshot-SEQ` (20 digits) | | see below | until two newer intact ones exist |
//! | file `ballast` | | nothing | until a person removes it on a full disk; made again once there is room |
//! | file `lock` | | nothing | for ever; held while the journal is open |
//! | files `db`, `conf`, `blobs/`, `snap.*` | | sled's own | |
//!
//! A part, all numbers big-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 0 | version of this form: 1 |
//! | 1 | 1 for the last part of its record, else 0 |
//! | 2..4 | number of the part, from 0 |
//! | 4..12 | sequence number |
//! | 12..16 | length of the whole record |
//! | 16..20 | CRC-32 (IEEE) of bytes 0..16 and of the content |
//! | 20.. | content: exactly [`PART_BYTES`] in all parts but the last |
//!
//! A snapshot file: `WRSNAP1\n`, sequence number u64, length u64, CRC-32 of those two and of the content, content.

use crate::JournalError;

/// Number of this layout; another one is refused.
pub const FORMAT: u32 = 1;
/// Content of one part, bytes. sled 0.34 moves a tree node into an unsynced file once it reaches a quarter of a segment
/// (128 KiB); a leaf holds at most 16 entries before it splits and 10 more before it is rewritten: 26 × 4 KiB stays below.
pub const PART_BYTES: usize = 4 * 1024;
/// Largest record, bytes: a batch of events is some hundred kilobytes; part numbers would allow 256 MiB.
pub const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest snapshot, bytes: the state of 1.5 million devices is some hundred megabytes.
pub const SNAPSHOT_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Longest key of side data, bytes.
pub const SIDE_KEY_BYTES_MAX: usize = 256;
/// Largest value of side data, bytes; the reason is that of [`PART_BYTES`].
pub const SIDE_VALUE_BYTES_MAX: usize = PART_BYTES;
/// Longest name of a side tree, bytes.
pub const SIDE_NAME_BYTES_MAX: usize = 32;

/// Tree of the format number.
pub(crate) const META: &str = "meta";
/// Key of the format number.
pub(crate) const META_FORMAT: &str = "format";
/// Tree of the records.
pub(crate) const RECORDS: &str = "records";
/// File kept to be removed when the disk is full.
pub(crate) const BALLAST: &str = "ballast";
/// File that the one process holds locked.
pub(crate) const LOCK: &str = "lock";

const PART_VERSION: u8 = 1;
const PART_HEADER_BYTES: usize = 20;
const SNAPSHOT_MAGIC: &[u8; 8] = b"WRSNAP1\n";
/// Length of a snapshot's header.
pub(crate) const SNAPSHOT_HEADER_BYTES: usize = 28;
const SNAPSHOT_PREFIX: &str = "snapshot-";

/// Key of a part.
#[must_use]
pub fn key(seq: u64, part: u16) -> [u8; 10] {
    let mut key = [0; 10];
    key[..8].copy_from_slice(&seq.to_be_bytes());
    key[8..].copy_from_slice(&part.to_be_bytes());
    key
}

/// Sequence number and part of a key; `None` for what is none.
#[must_use]
pub fn parse_key(key: &[u8]) -> Option<(u64, u16)> {
    let (seq, part) = key.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*seq), u16::from_be_bytes(part.try_into().ok()?)))
}

/// The parts of a record, in order, with their numbers.
pub fn parts(seq: u64, record: &[u8]) -> impl Iterator<Item = (u16, Vec<u8>)> {
    let count = record.len().div_ceil(PART_BYTES).max(1);
    (0..count).map(move |index| {
        let content = &record[index * PART_BYTES..record.len().min((index + 1) * PART_BYTES)];
        // RECORD_BYTES_MAX keeps both numbers in range.
        let part = u16::try_from(index).unwrap_or(u16::MAX);
        let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
        let mut value = Vec::with_capacity(PART_HEADER_BYTES + content.len());
        value.extend_from_slice(&[PART_VERSION, u8::from(index + 1 == count)]);
        value.extend_from_slice(&part.to_be_bytes());
        value.extend_from_slice(&seq.to_be_bytes());
        value.extend_from_slice(&length.to_be_bytes());
        let checksum = checksum(&value, content);
        value.extend_from_slice(&checksum.to_be_bytes());
        value.extend_from_slice(content);
        (part, value)
    })
}

/// A part that was read back and is intact.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    /// Does it end its record?
    pub(crate) last: bool,
    /// Length of the whole record.
    pub(crate) record_bytes: usize,
    pub(crate) content: &'a [u8],
}

/// Reads a part and checks it against the key under which it stood.
pub(crate) fn parse_part(seq: u64, part: u16, value: &[u8]) -> Result<Part<'_>, String> {
    let Some((header, content)) = value.split_first_chunk::<PART_HEADER_BYTES>() else {
        return Err(format!("part {part} has {} bytes, less than its header", value.len()));
    };
    let field = |at: usize, len: usize| header[at..at + len].iter().fold(0_u64, |n, b| n << 8 | u64::from(*b));
    if u64::from(checksum(&header[..16], content)) != field(16, 4) {
        return Err(format!("the checksum of part {part} does not match"));
    }
    if header[0] != PART_VERSION {
        return Err(format!("part {part} has version {}; this program reads version {PART_VERSION}", header[0]));
    }
    if field(4, 8) != seq || field(2, 2) != u64::from(part) {
        return Err(format!("part {part} holds part {} of record {}", field(2, 2), field(4, 8)));
    }
    let record_bytes = usize::try_from(field(12, 4)).unwrap_or(usize::MAX);
    if record_bytes > RECORD_BYTES_MAX {
        return Err(format!("it claims {record_bytes} bytes; at most {RECORD_BYTES_MAX} are written"));
    }
    Ok(Part { last: header[1] == 1, record_bytes, content })
}

fn checksum(header: &[u8], content: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(header);
    crc.update(content);
    crc.finalize()
}

/// Name of the file of a snapshot.
pub(crate) fn snapshot_name(seq: u64) -> String {
    format!("{SNAPSHOT_PREFIX}{seq:020}")
}

/// Sequence number of a snapshot's file name.
pub(crate) fn parse_snapshot_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(SNAPSHOT_PREFIX)?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// Header of a snapshot.
pub(crate) fn snapshot_header(seq: u64, content: &[u8]) -> [u8; SNAPSHOT_HEADER_BYTES] {
    let mut header = [0; SNAPSHOT_HEADER_BYTES];
    header[..8].copy_from_slice(SNAPSHOT_MAGIC);
    header[8..16].copy_from_slice(&seq.to_be_bytes());
    header[16..24].copy_from_slice(&(content.len() as u64).to_be_bytes());
    let crc = checksum(&header[8..24], content);
    header[24..].copy_from_slice(&crc.to_be_bytes());
    header
}

/// The content of a snapshot file, when it is intact and really that of `seq`.
pub(crate) fn parse_snapshot(seq: u64, mut file: Vec<u8>) -> Result<Vec<u8>, &'static str> {
    if file.len() < SNAPSHOT_HEADER_BYTES {
        return Err("it is shorter than its header");
    }
    let content = file.split_off(SNAPSHOT_HEADER_BYTES);
    if file[..8] != *SNAPSHOT_MAGIC {
        return Err("it does not begin as a snapshot does");
    }
    if file[..] != snapshot_header(seq, &content) {
        return Err("its checksum, length or number does not match");
    }
    Ok(content)
}

/// Name of the tree of side data called `name`.
///
/// # Errors
/// [`JournalError::Misuse`] for a name outside lower-case letters, digits and hyphens.
pub(crate) fn side_tree(name: &str) -> Result<String, JournalError> {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || name.len() > SIDE_NAME_BYTES_MAX || !name.bytes().all(fine) {
        return Err(JournalError::Misuse(format!(
            "side data can't be called {name:?}: 1 to {SIDE_NAME_BYTES_MAX} lower-case letters, digits and hyphens"
        )));
    }
    Ok(format!("side:{name}"))
}
