//! Reading records back, in order, with nothing missing between them.

use crate::{JournalError, layout};

/// Records after a given one, in order. Stops after the first error.
#[must_use = "an iterator does nothing until it is asked"]
pub struct Replay {
    records: Records,
    until: u64,
}

impl Replay {
    pub(crate) fn new(tree: &sled::Tree, after: u64, until: u64) -> Self {
        Self { records: Records::new(tree, after + 1, Some(after + 1)), until }
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

/// Puts records together from their parts.
pub(crate) struct Records {
    iter: sled::Iter,
    /// The next number; `None` accepts any as the first.
    expected: Option<u64>,
    done: bool,
}

impl Records {
    pub(crate) fn new(tree: &sled::Tree, from: u64, expected: Option<u64>) -> Self {
        Self { iter: tree.range(layout::key(from, 0)..), expected, done: false }
    }

    pub(crate) fn next(&mut self) -> Option<Result<(u64, Vec<u8>), Fault>> {
        let first = self.iter.next()?;
        Some(self.record(first))
    }

    fn record(&mut self, first: Entry) -> Result<(u64, Vec<u8>), Fault> {
        let (mut entry, mut current, mut bytes) = (first, None, Vec::new());
        for number in 0..u16::MAX {
            let (seq, value) = self.placed(entry, current, number)?;
            let part = layout::parse_part(seq, number, &value).map_err(|why| damaged(seq, why))?;
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
    fn placed(&self, entry: Entry, within: Option<u64>, number: u16) -> Result<(u64, sled::IVec), Fault> {
        let (key, value) = entry.map_err(|e| Fault::Error(JournalError::store("read the journal")(e)))?;
        let Some((seq, part)) = layout::parse_key(&key) else {
            return Err(damaged(self.expected.unwrap_or(0), format!("a key has {} bytes instead of 10", key.len())));
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

/// What sled's iterator gives.
type Entry = sled::Result<(sled::IVec, sled::IVec)>;

fn damaged(seq: u64, why: String) -> Fault {
    Fault::Error(JournalError::Damaged { seq, why })
}
