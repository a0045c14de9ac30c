//! The way back to the state after a start: records of the journal, folded in order.
//!
//! One thread reads and decodes, another folds: each is about half of the work.

use std::{sync::mpsc::sync_channel, thread};

use wardround_journal::{Journal, JournalError};

use super::{
    Facts,
    audit::put_leaf,
    record::{Record, RecordError},
};

/// Decoded records that wait to be folded. One can be as large as a rollout's document.
const RECORDS_WAITING_MAX: usize = 16;

/// Why the state could not be recovered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoveryError {
    /// The journal itself.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// It is there as it was written, but can't be understood.
    #[error("{what} {seq}: {why}")]
    Content {
        /// "record" or "snapshot".
        what: &'static str,
        /// Which.
        seq: u64,
        /// Why.
        why: RecordError,
    },
}

/// Folds all records after those that `facts` has.
pub(super) fn replay(journal: &Journal, facts: &mut Facts) -> Result<(), RecoveryError> {
    let (sender, records) = sync_channel(RECORDS_WAITING_MAX);
    let after = facts.seq();
    thread::scope(|scope| {
        scope.spawn(move || {
            for item in journal.replay(after) {
                let decoded = item.map_err(RecoveryError::from).and_then(|(seq, bytes)| {
                    let content = |why| RecoveryError::Content { what: "record", seq, why };
                    Ok((seq, Record::decode(&bytes).map_err(content)?))
                });
                let failed = decoded.is_err();
                // Nobody listens any more when folding has failed.
                if sender.send(decoded).is_err() || failed {
                    return;
                }
            }
        });
        for decoded in records {
            let (seq, record) = decoded?;
            let applied = facts.apply(seq, &record);
            applied.audit.iter().try_for_each(|leaf| put_leaf(journal, leaf))?;
        }
        Ok(())
    })
}
