//! A simulated disk under a journal: the parts that the real journal writes, of which a power cut keeps what was synced, and
//! of the rest a beginning that may end in the middle of a record.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    path::PathBuf,
};

use wardround_journal::{JournalError, Log, layout, whole};

use super::random::Random;

type Part = (Vec<u8>, Vec<u8>);

/// The disk of one machine.
#[derive(Debug, Default)]
pub struct Disk {
    /// Parts that a power cut leaves.
    synced: RefCell<BTreeMap<Vec<u8>, Vec<u8>>>,
    /// Parts that it may lose, in the order in which they were written.
    written: RefCell<Vec<Part>>,
    last: Cell<u64>,
    /// Two at most, as in production.
    snapshots: RefCell<Vec<(u64, Vec<u8>)>>,
    full: Cell<bool>,
    /// The machine loses its power at the so-manieth call from now.
    cut_in: Cell<Option<u32>>,
    /// The machine loses its power in the middle of the next record that has several parts.
    cut_in_parts: Cell<bool>,
}

/// What a start finds.
#[derive(Debug)]
pub struct Found {
    /// The newest snapshot.
    pub snapshot: Option<(u64, Vec<u8>)>,
    /// The records after it.
    pub records: Vec<(u64, Vec<u8>)>,
    /// A record that was cut off.
    pub torn: bool,
}

impl Disk {
    /// Is there too little room for new work?
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full.get()
    }

    /// Fills it up or frees it.
    pub fn fill(&self, full: bool) {
        self.full.set(full);
    }

    /// The power goes at one of the next calls: an append leaves part of what it writes, a sync none of it for sure.
    pub fn cut_after(&self, calls: u32) {
        self.cut_in.set(Some(calls));
    }

    /// The power goes in the middle of the next record that has several parts.
    pub fn cut_in_parts(&self) {
        self.cut_in_parts.set(true);
    }

    /// Number of the newest record.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last.get()
    }

    /// Number of the newest snapshot.
    #[must_use]
    pub fn snapshot_at(&self) -> u64 {
        self.snapshots.borrow().last().map_or(0, |(seq, _)| *seq)
    }

    /// Power cut: of what was not synced a beginning stays.
    pub fn crash(&self, random: &mut Random, torn: bool) {
        let mut written = self.written.borrow_mut();
        // A disk that is fast keeps all that it was given, which ends in the middle of a record.
        let all = torn && self.cut_in_parts.take() && random.chance(700);
        let some = usize::try_from(random.below(written.len() as u64 + 1)).unwrap();
        let mut kept = if all { written.len() } else { some };
        if !torn {
            // Whole records only.
            let first = |part: &Part| layout::parse_key(&part.0).is_some_and(|(_, part)| part == 0);
            while kept < written.len() && kept > 0 && !first(&written[kept]) {
                kept -= 1;
            }
        }
        self.synced.borrow_mut().extend(written.drain(..).take(kept));
        self.cut_in.set(None);
    }

    /// A start after a crash, as the real journal opens.
    ///
    /// # Errors
    /// What the journal says of a damaged end.
    pub fn open(&self) -> Result<Found, JournalError> {
        let mut synced = self.synced.borrow_mut();
        synced.extend(self.written.borrow_mut().drain(..));
        let found = whole(synced.iter().map(|(key, value)| (key.clone(), value.clone())))?;
        if let Some((seq, parts)) = found.torn {
            (0..=parts).for_each(|part| drop(synced.remove(&layout::key(seq, part)[..])));
        }
        let snapshot = self.snapshots.borrow().last().cloned();
        let after = snapshot.as_ref().map_or(0, |(seq, _)| *seq);
        self.last.set(found.records.last().map_or(after, |(seq, _)| *seq));
        let records = found.records.into_iter().filter(|(seq, _)| *seq > after).collect();
        Ok(Found { snapshot, records, torn: found.torn.is_some() })
    }

    /// Keeps a snapshot, which syncs first, and forgets what the one before it covers.
    ///
    /// # Errors
    /// As a sync.
    pub fn put_snapshot(&self, seq: u64, bytes: Vec<u8>) -> Result<(), JournalError> {
        self.sync()?;
        let mut snapshots = self.snapshots.borrow_mut();
        snapshots.push((seq, bytes));
        if snapshots.len() > 2 {
            snapshots.remove(0);
        }
        if let [(previous, _), _] = &snapshots[..] {
            let from = layout::key(previous + 1, 0).to_vec();
            let rest = self.synced.borrow_mut().split_off(&from);
            *self.synced.borrow_mut() = rest;
        }
        Ok(())
    }

    fn add(&self, record: &[u8]) -> Result<u64, JournalError> {
        let seq = self.last.get() + 1;
        let mut parts: Vec<Part> =
            layout::parts(seq, record).map(|(part, value)| (layout::key(seq, part).to_vec(), value)).collect();
        if self.is_cut() || (self.cut_in_parts.get() && parts.len() > 1) {
            parts.truncate(parts.len() / 2);
            self.written.borrow_mut().extend(parts);
            return Err(cut());
        }
        self.written.borrow_mut().extend(parts);
        self.last.set(seq);
        Ok(seq)
    }

    fn is_cut(&self) -> bool {
        match self.cut_in.get() {
            Some(0) => true,
            Some(calls) => {
                self.cut_in.set(Some(calls - 1));
                false
            }
            None => false,
        }
    }
}

fn cut() -> JournalError {
    JournalError::Stopped { why: "the power is gone".to_owned() }
}

impl Log for Disk {
    fn append(&self, record: &[u8]) -> Result<u64, JournalError> {
        if self.full.get() {
            return Err(JournalError::Full { dir: PathBuf::from("journal"), free: 0, floor: 1 });
        }
        self.add(record)
    }

    fn append_urgent(&self, record: &[u8]) -> Result<u64, JournalError> {
        self.add(record)
    }

    fn sync(&self) -> Result<(), JournalError> {
        if self.is_cut() {
            return Err(cut());
        }
        self.synced.borrow_mut().extend(self.written.borrow_mut().drain(..));
        Ok(())
    }
}
