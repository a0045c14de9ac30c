//! A person's word that nobody needs a device now (`in_use.confirm` of the site file): a file of the node's state, good for some
//! hours. Who may write there runs the node anyway.

use std::{fs, path::Path, path::PathBuf};

use serde::{Deserialize, Serialize};
use wardround_rollout_plans::model::{DeviceId, DurationMs, Timestamp};

use super::now;
use crate::{
    NodeError,
    files::{self, PUBLIC},
};

/// Longest time for which a confirmation counts.
const CONFIRMED_MAX: DurationMs = DurationMs::from_secs(24 * 3600);
/// Longest file of this kind, bytes.
const FILE_BYTES_MAX: u64 = 1024;

/// A person's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// From when.
    pub at: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

fn path(state_dir: &Path, device: &DeviceId) -> PathBuf {
    state_dir.join("confirmed").join(format!("{}.json", device.name()))
}

/// Writes down that `device` is free for so long, at most a day.
///
/// # Errors
/// [`NodeError`] when the state can't be written.
pub fn confirm(state_dir: &Path, device: &DeviceId, free_for: DurationMs) -> Result<Confirmed, NodeError> {
    let at = now();
    let confirmed = Confirmed { at, until: at.after(free_for.min(CONFIRMED_MAX)) };
    let path = path(state_dir, device);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|source| NodeError::File {
            path: folder.into(),
            verb: "written",
            source,
        })?;
    }
    files::replace(&path, &serde_json::to_vec(&confirmed).unwrap_or_default(), PUBLIC)?;
    Ok(confirmed)
}

/// Whether a person's word counts now. One from the future does not: the clock was set back.
pub(super) fn is_confirmed(state_dir: &Path, device: &DeviceId, now: Timestamp) -> bool {
    let bytes = files::read(&path(state_dir, device), FILE_BYTES_MAX).ok();
    let confirmed: Option<Confirmed> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    confirmed.is_some_and(|c| c.at <= now && now < c.until && c.until.since(c.at) <= CONFIRMED_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_counts_for_its_time_only() {
        let dir = tempfile::tempdir().unwrap();
        let device: DeviceId = "rx1/ct-01".parse().unwrap();
        assert!(!is_confirmed(dir.path(), &device, now()));
        let word = confirm(dir.path(), &device, DurationMs::from_secs(3600)).unwrap();
        assert!(is_confirmed(dir.path(), &device, word.at));
        assert!(!is_confirmed(dir.path(), &device, word.until));
        assert!(!is_confirmed(dir.path(), &device, Timestamp(word.at.0 - 1)), "the clock was set back");
        let long = confirm(dir.path(), &device, DurationMs::from_secs(1 << 40)).unwrap();
        assert_eq!(long.until, long.at.after(CONFIRMED_MAX));
        let other: DeviceId = "rx1/ct-02".parse().unwrap();
        assert!(!is_confirmed(dir.path(), &other, word.at));
    }
}
