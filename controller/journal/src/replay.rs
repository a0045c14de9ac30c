//! Reading records back, in order, with nothing missing between them.

use crate::{JournalError, layout};

/// Records after a given one, in order. Stops after the first error.
#[must_use = "an iterator does nothing until it is asked"]
pub struct Replay {
    records: Records<Stored>,
    until: u64,
}

impl Replay {
    pub(crate) fn new(tree: &sled::Tree, after: u64, until: u64) -> Self {
        Self { records: Records::stored(tree, after + 1, Some(after + 1)), until }
    }
}

impl Iterator for Replay {
    type Item = Result<(u64, Vec<u8>), JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.records.done || self.records.expected.is_some_and(|seq| seq > self.until) {
            return None;
        }
        let found = self.records.next();
        let wanted = self.records.expected.unwrap_or(0);
        if found.is_none() || matches!(found, Some(Err(_))) {
            self.records.done = true;
        }
        Some(match found {
            Some(Ok(record)) => Ok(record),
            Some(Err(Fault::Torn { seq, .. })) => {
                Err(JournalError::Damaged { seq, why: "its last parts are missing".to_owned() })
            }
            Some(Err(Fault::Error(error))) => Err(error),
            None => Err(JournalError::Damaged { seq: wanted, why: "it is missing at the end".to_owned() }),
        })
    }
}

/// What can be wrong while reading.
pub(crate) enum Fault {
    /// The database ends in the middle of this record: it was never acknowledged.
    Torn { seq: u64, parts: u16 },
    /// Anything else.
    Error(JournalError),
}

/// Puts records together from their parts: keys and values in the order of the keys.
pub(crate) struct Records<I> {
    iter: I,
    /// The next number; `None` accepts any as the first.
    expected: Option<u64>,
    done: bool,
}

impl Records<Stored> {
    pub(crate) fn stored(tree: &sled::Tree, from: u64, expected: Option<u64>) -> Self {
        let iter: Stored = tree.range(layout::key(from, 0)..).map(read);
        Records { iter, expected, done: false }
    }
}

impl<B: AsRef<[u8]>, I: Iterator<Item = Entry<B>>> Records<I> {
    pub(crate) fn next(&mut self) -> Option<Result<(u64, Vec<u8>), Fault>> {
        let first = self.iter.next()?;
        Some(self.record(first))
    }

    fn record(&mut self, first: Entry<B>) -> Result<(u64, Vec<u8>), Fault> {
        let (mut entry, mut current, mut bytes) = (first, None, Vec::new());
        for number in 0..u16::MAX {
            let (seq, value) = self.placed(entry, current, number)?;
            let part = layout::parse_part(seq, number, value.as_ref()).map_err(|why| damaged(seq, why))?;
            bytes.extend_from_slice(part.content);
            let (have, want) = (bytes.len(), part.record_bytes);
            if have > want || (part.last && have != want) {
                return Err(damaged(seq, format!("it has {have} bytes instead of {want}")));
            }
            if part.last {
                self.expected = Some(seq + 1);
                return Ok((seq, bytes));
            }
            current = Some(seq);
            entry = self.iter.next().ok_or(Fault::Torn { seq, parts: number + 1 })?;
        }
        Err(damaged(current.unwrap_or(0), "it has no last part".to_owned()))
    }

    /// One entry's sequence number and value, if it is the one that must come here.
    fn placed(&self, entry: Entry<B>, within: Option<u64>, number: u16) -> Result<(u64, B), Fault> {
        let (key, value) = entry.map_err(Fault::Error)?;
        let Some((seq, part)) = layout::parse_key(key.as_ref()) else {
            let bytes = key.as_ref().len();
            return Err(damaged(self.expected.unwrap_or(0), format!("a key has {bytes} bytes instead of 10")));
        };
        match (within, self.expected) {
            (Some(current), _) if seq != current => {
                Err(damaged(current, format!("its parts from number {number} on are missing")))
            }
            (None, Some(expected)) if seq != expected => {
                Err(damaged(expected, format!("it is missing; the next one there is {seq}")))
            }
            _ if part != number => Err(damaged(seq, format!("its part {number} is missing"))),
            _ => Ok((seq, value)),
        }
    }
}

/// A key and a value.
type Entry<B> = Result<(B, B), JournalError>;
/// What the tree gives.
pub(crate) type Stored = std::iter::Map<sled::Iter, fn(sled::Result<(sled::IVec, sled::IVec)>) -> Entry<sled::IVec>>;

fn read(entry: sled::Result<(sled::IVec, sled::IVec)>) -> Entry<sled::IVec> {
    entry.map_err(JournalError::store("read the journal"))
}

/// What [`whole`] found.
#[derive(Debug, Default)]
pub struct Whole {
    /// Numbers and content, in order, without a gap.
    pub records: Vec<(u64, Vec<u8>)>,
    /// The number of a record behind them that was cut off before it was acknowledged, and how many parts of it are there.
    pub torn: Option<(u64, u16)>,
}

/// Reads keys and values in the order of their keys as [`crate::Journal::open`] does, wherever they stand: a simulated
/// disk has the same parts.
///
/// # Errors
/// [`JournalError::Damaged`] for anything but a cut-off end.
pub fn whole<B: AsRef<[u8]>>(entries: impl Iterator<Item = (B, B)>) -> Result<Whole, JournalError> {
    let mut all = Records { iter: entries.map(Ok), expected: None, done: false };
    let mut found = Whole::default();
    while let Some(record) = all.next() {
        match record {
            Ok(record) => found.records.push(record),
            Err(Fault::Torn { seq, parts }) => found.torn = Some((seq, parts)),
            Err(Fault::Error(error)) => return Err(error),
        }
    }
    Ok(found)
}

fn damaged(seq: u64, why: String) -> Fault {
    Fault::Error(JournalError::Damaged { seq, why })
}
