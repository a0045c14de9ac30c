//! The latest cosignature of each site's node. Side tree `cosignatures`: key = site, value = the note. It is written at most
//! once in a while for each site: a node cosigns again with its next check-in, so a crash costs nothing.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
    time::{Duration, Instant},
};

use wardround_journal::Journal;
use wardround_rollout_plans::model::SiteId;
use wardround_signing::{
    PublicKey,
    log::{Cosignature, LogError, Witness},
};

use super::{AuditLog, locked};

const TREE: &str = "cosignatures";
/// Between two writes for one site: 50,000 sites then write 170 notes of 400 bytes a second.
const WRITE_PAUSE: Duration = Duration::from_secs(300);
/// Entries of the side tree read at once.
const AT_ONCE: usize = 5_000;

#[derive(Debug)]
struct Held {
    cosignature: Cosignature,
    written: Option<Instant>,
}

/// Who has cosigned what.
#[derive(Debug, Default)]
pub(crate) struct Witnesses(Mutex<BTreeMap<SiteId, Held>>);

/// Why a cosignature was not counted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotCounted {
    /// It does not verify.
    #[error(transparent)]
    Unverified(#[from] LogError),
    /// It is of something that this log never signed: another log is shown under this one's key.
    #[error("it is for a log of {size} entries with root {root}, which this controller's log never was")]
    Foreign {
        /// Size that it names.
        size: u64,
        /// Root that it names.
        root: String,
    },
    /// The disk.
    #[error("the log can't be read: {0}")]
    Disk(String),
}

impl Witnesses {
    /// What was written, as far as it verifies under the keys of today's nodes.
    pub(super) fn load(journal: &Journal, nodes: &HashMap<SiteId, PublicKey>) -> Result<Self, String> {
        let mut held = BTreeMap::new();
        let mut from = Vec::new();
        loop {
            let entries = journal.side(TREE, &from, AT_ONCE).map_err(|e| e.to_string())?;
            let last = entries.len() < AT_ONCE;
            for (key, note) in entries {
                let site = std::str::from_utf8(&key).ok().and_then(|site| SiteId::new(site).ok());
                from = key;
                from.push(0);
                let Some(site) = site else { continue };
                let witness = nodes.get(&site).and_then(|key| Witness::of_site(site.as_str(), *key).ok());
                if let Some(Ok(cosignature)) = witness.map(|witness| Cosignature::open(&note, &witness)) {
                    held.insert(site, Held { cosignature, written: None });
                }
            }
            if last {
                return Ok(Self(Mutex::new(held)));
            }
        }
    }

    /// How many have cosigned a log of exactly this size.
    pub(crate) fn at(&self, size: u64) -> u64 {
        locked(&self.0).values().filter(|held| held.cosignature.checkpoint().size == size).count() as u64
    }

    /// Up to `limit` after a site, by site.
    pub(crate) fn after(&self, site: Option<&SiteId>, limit: usize) -> Vec<(SiteId, Cosignature)> {
        use std::ops::Bound;
        let from = site.map_or(Bound::Unbounded, Bound::Excluded);
        let held = locked(&self.0);
        let found = held.range((from, Bound::Unbounded)).take(limit);
        found.map(|(site, held)| (site.clone(), held.cosignature.clone())).collect()
    }
}

impl AuditLog {
    /// Takes in what a node has cosigned. Reads the disk where it is not of the newest checkpoint.
    pub(crate) fn take(&self, site: &SiteId, key: PublicKey, note: &str) -> Result<(), NotCounted> {
        {
            let held = locked(&self.witnesses.0);
            if held.get(site).is_some_and(|held| held.cosignature.note() == note) {
                return Ok(());
            }
        }
        let cosignature = Cosignature::open(note.as_bytes(), &Witness::of_site(site.as_str(), key)?)?;
        let seen = cosignature.checkpoint();
        let own = seen.origin == self.key().origin();
        if !own || self.root_at(seen.size).map_err(NotCounted::Disk)? != Some(seen.root) {
            return Err(NotCounted::Foreign { size: seen.size, root: seen.root.to_string() });
        }
        let mut held = locked(&self.witnesses.0);
        let before = held.get(site).and_then(|held| held.written);
        let due = before.is_none_or(|at| at.elapsed() >= WRITE_PAUSE);
        let written = if due { Some(Instant::now()) } else { before };
        if due && let Err(error) = self.journal.put_side(TREE, site.as_str().as_bytes(), note.as_bytes()) {
            tracing::debug!(%site, %error, "a cosignature was not written");
        }
        held.insert(site.clone(), Held { cosignature, written });
        Ok(())
    }
}
