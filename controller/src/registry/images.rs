//! What the journal says of the image repository: which files are published, which wait for signatures.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wardround_rollout_plans::model::Timestamp;
use wardround_signing::{Digest, tuf::RoleName};

/// One file of the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FilePin {
    /// Version.
    pub(crate) version: u64,
    /// SHA-256 of the whole file.
    pub(crate) sha256: Digest,
}

/// A version that waits for signatures, or for another role's new version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StagedPin {
    /// The file.
    pub(crate) file: FilePin,
    /// Since when.
    pub(crate) at: Timestamp,
}

/// The repository as journalled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    /// Present file of every role that has one; empty before the ceremony.
    pub(crate) published: BTreeMap<RoleName, FilePin>,
    /// What waits.
    pub(crate) staged: BTreeMap<RoleName, StagedPin>,
}

impl ImageRecord {
    pub(super) fn stage(&mut self, role: RoleName, file: FilePin, now: Timestamp) {
        let at = self.staged.get(&role).filter(|old| old.file.version == file.version).map_or(now, |old| old.at);
        self.staged.insert(role, StagedPin { file, at });
    }

    pub(super) fn publish(&mut self, files: &BTreeMap<RoleName, FilePin>) {
        self.published.extend(files);
        let published = &self.published;
        let waits = |role: &RoleName, staged: &StagedPin| {
            published.get(role).is_none_or(|present| staged.file.version > present.version)
        };
        self.staged.retain(|role, staged| waits(role, staged));
    }
}
