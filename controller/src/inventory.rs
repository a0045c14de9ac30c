//! What devices say of themselves: the newest of each, beside the journal and never in memory. A copy of what nodes hold:
//! where it is lost they are asked for it again.
//!
//! | tree | key | value |
//! |---|---|---|
//! | `inventory` | device, 0, `m` or `f`, part u16 big-endian | a part of the moment (with its drift) or of the facts |
//! | `drift` | device | 1 while it has a drift, else nothing |
//!
//! Part 0 begins with the length of the whole (u32 big-endian) and its SHA-256: what a crash has mixed up is not there.

use std::sync::Arc;

use prost::Message as _;
use wardround_journal::{Journal, JournalError, layout::SIDE_VALUE_BYTES_MAX};
use wardround_proto::v1::{DeviceInventory, InventoryFacts};
use wardround_rollout_plans::model::DeviceId;
use wardround_signing::Digest;

/// Most bytes of one device's inventory.
pub(crate) const INVENTORY_BYTES_MAX: usize = 256 * 1024;
/// Most differences of one device.
pub(crate) const DRIFT_MAX: usize = 64;
const TREE: &str = "inventory";
const DRIFT_TREE: &str = "drift";
const MOMENT: u8 = b'm';
const FACTS: u8 = b'f';
/// Length and digest of the whole.
const HEAD_BYTES: usize = 36;
/// Entries that are read at once.
const AT_ONCE: usize = 1_000;

/// The newest inventory of each device. Everything here reads or writes files.
#[derive(Clone)]
pub(crate) struct Inventories(Arc<Journal>);

impl Inventories {
    pub(crate) fn new(journal: Arc<Journal>) -> Self {
        Self(journal)
    }

    /// Keeps what a node says of a device, durably. True when its facts are wanted too.
    pub(crate) fn put(&self, device: &DeviceId, mut told: DeviceInventory) -> Result<bool, JournalError> {
        self.0.room()?;
        device.as_str().clone_into(&mut told.device);
        let facts = told.facts.take();
        let held = match &facts {
            Some(facts) => {
                self.put_blob(device, FACTS, &with_digest(&told.facts_digest, facts))?;
                true
            }
            None => self.blob(device, FACTS)?.is_some_and(|kept| kept.starts_with(&told.facts_digest)),
        };
        let drifts = !told.drift.is_empty();
        self.put_blob(device, MOMENT, &told.encode_to_vec())?;
        if drifts || self.is_marked(device)? {
            self.0.put_side(DRIFT_TREE, device.as_str().as_bytes(), if drifts { &[1] } else { &[] })?;
        }
        self.0.sync()?;
        Ok(!held && !told.facts_digest.is_empty())
    }

    /// The newest of a device; none where its node has not told any yet.
    pub(crate) fn get(&self, device: &DeviceId) -> Result<Option<DeviceInventory>, JournalError> {
        let Some(mut told) = self.moment(device)? else { return Ok(None) };
        let facts = self.blob(device, FACTS)?;
        told.facts = facts
            .as_deref()
            .filter(|_| !told.facts_digest.is_empty())
            .and_then(|kept| kept.strip_prefix(told.facts_digest.as_slice()))
            .and_then(|bytes| InventoryFacts::decode(bytes).ok());
        Ok(Some(told))
    }

    /// Devices with a drift behind `after`, by id, for which `counts`; at most `limit`, without their facts.
    pub(crate) fn drifting(
        &self,
        after: &str,
        limit: usize,
        counts: &dyn Fn(&DeviceId) -> bool,
    ) -> Result<Vec<DeviceInventory>, JournalError> {
        let mut found = Vec::new();
        let mut from = after.as_bytes().to_vec();
        loop {
            let entries = self.0.side(DRIFT_TREE, &from, AT_ONCE)?;
            let whole = entries.len() < AT_ONCE;
            for (key, value) in entries {
                from = [key.as_slice(), &[0]].concat();
                let id = std::str::from_utf8(&key).ok().filter(|id| *id > after).and_then(|id| DeviceId::new(id).ok());
                let Some(id) = id.filter(|id| !value.is_empty() && counts(id)) else { continue };
                found.extend(self.moment(&id)?);
                if found.len() >= limit {
                    return Ok(found);
                }
            }
            if whole {
                return Ok(found);
            }
        }
    }

    fn is_marked(&self, device: &DeviceId) -> Result<bool, JournalError> {
        let key = device.as_str().as_bytes();
        Ok(self.0.side(DRIFT_TREE, key, 1)?.first().is_some_and(|(found, value)| found == key && !value.is_empty()))
    }

    fn moment(&self, device: &DeviceId) -> Result<Option<DeviceInventory>, JournalError> {
        Ok(self.blob(device, MOMENT)?.and_then(|bytes| DeviceInventory::decode(bytes.as_slice()).ok()))
    }

    fn put_blob(&self, device: &DeviceId, kind: u8, bytes: &[u8]) -> Result<(), JournalError> {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let whole = [&length.to_be_bytes(), Digest::of(bytes).as_bytes().as_slice(), bytes].concat();
        for (part, content) in (0_u16..).zip(whole.chunks(SIDE_VALUE_BYTES_MAX)) {
            self.0.put_side(TREE, &key(device, kind, part), content)?;
        }
        Ok(())
    }

    fn blob(&self, device: &DeviceId, kind: u8) -> Result<Option<Vec<u8>>, JournalError> {
        let first = key(device, kind, 0);
        let head = self.0.side(TREE, &first, 1)?;
        let Some((_, value)) = head.first().filter(|(found, _)| *found == first) else { return Ok(None) };
        let Some(length) = value.first_chunk::<4>().map(|n| u32::from_be_bytes(*n) as usize) else { return Ok(None) };
        if length > INVENTORY_BYTES_MAX * 2 {
            return Ok(None);
        }
        let parts = (HEAD_BYTES + length).div_ceil(SIDE_VALUE_BYTES_MAX);
        let mut whole = Vec::with_capacity(HEAD_BYTES + length);
        for ((found, value), part) in self.0.side(TREE, &first, parts)?.into_iter().zip(0_u16..) {
            if found != key(device, kind, part) {
                return Ok(None);
            }
            whole.extend_from_slice(&value);
        }
        // A part of an older, longer one may be longer than what is wanted of it.
        whole.truncate(HEAD_BYTES + length);
        if whole.len() < HEAD_BYTES + length {
            return Ok(None);
        }
        let content = whole.split_off(HEAD_BYTES);
        Ok((Digest::of(&content).as_bytes().as_slice() == &whole[4..]).then_some(content))
    }
}

/// Facts behind the digest that their node gives them.
fn with_digest(digest: &[u8], facts: &InventoryFacts) -> Vec<u8> {
    let mut bytes = digest.to_vec();
    bytes.extend(facts.encode_to_vec());
    bytes
}

fn key(device: &DeviceId, kind: u8, part: u16) -> Vec<u8> {
    [device.as_str().as_bytes(), &[0, kind], &part.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use wardround_journal::Options;
    use wardround_proto::v1::{Drift, InstalledUpdate};

    use super::*;

    fn told(updates: usize, drift: usize, with_facts: bool) -> DeviceInventory {
        let update = |n: usize| InstalledUpdate { id: format!("KB{n:07}"), sources: vec!["qfe".to_owned()] };
        let facts = InventoryFacts { updates: (0..updates).map(update).collect(), ..Default::default() };
        let facts_digest = Digest::of(&facts.encode_to_vec()).as_bytes().to_vec();
        let one = Drift { kind: "update_gone".to_owned(), text: "x".repeat(500), ..Default::default() };
        DeviceInventory {
            facts_digest,
            facts: with_facts.then_some(facts),
            drift: vec![one; drift],
            ..Default::default()
        }
    }

    #[test]
    fn the_newest_of_each_device_outlives_the_process_and_facts_are_asked_for_once() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (DeviceId::new("rx1/ct-01").unwrap(), DeviceId::new("rx1/ct-010").unwrap());
        {
            let store = Inventories::new(Arc::new(Journal::open(dir.path(), &Options::default()).unwrap()));
            assert_eq!(store.get(&a).unwrap(), None);
            assert!(store.put(&a, told(900, 40, false)).unwrap(), "its facts are not here");
            assert!(!store.put(&a, told(900, 40, true)).unwrap());
            assert!(!store.put(&b, told(1, 0, true)).unwrap());
            // Longer, then shorter: what is left of the longer one harms nothing.
            assert!(!store.put(&a, told(3_000, 64, true)).unwrap());
            assert!(!store.put(&a, told(900, 1, true)).unwrap());
            assert!(!store.put(&a, told(900, 1, false)).unwrap(), "the same facts are here already");
            assert!(store.put(&a, told(901, 1, false)).unwrap(), "others are not");
            assert_eq!(store.get(&a).unwrap().unwrap().facts, None, "others are no answer for these");
            assert!(!store.put(&a, told(900, 1, true)).unwrap());
        }
        let store = Inventories::new(Arc::new(Journal::open(dir.path(), &Options::default()).unwrap()));
        let found = store.get(&a).unwrap().unwrap();
        assert_eq!(
            (found.device.as_str(), found.facts.unwrap().updates.len(), found.drift.len()),
            ("rx1/ct-01", 900, 1)
        );
        assert_eq!(store.get(&b).unwrap().unwrap().facts.unwrap().updates.len(), 1);
        let drifting = |after: &str| {
            let found = store.drifting(after, 10, &|_| true).unwrap();
            found.into_iter().map(|one| one.device).collect::<Vec<_>>()
        };
        assert_eq!(drifting(""), ["rx1/ct-01"]);
        assert_eq!(drifting("rx1/ct-01"), Vec::<String>::new());
        assert!(store.drifting("", 10, &|_| false).unwrap().is_empty());
        store.put(&b, told(1, 2, false)).unwrap();
        assert_eq!(drifting("rx1/ct-01"), ["rx1/ct-010"]);
        store.put(&a, told(900, 0, false)).unwrap();
        assert_eq!(drifting(""), ["rx1/ct-010"], "its drift has ended");
    }
}
