//! The names of the roles and of their files.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A role of the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoleName {
    /// Names all other roles' keys; offline, at least two people.
    Root,
    /// Delegates to the four below; offline, at least two people.
    Targets,
    /// Pins the versions of the targets files; the controller's online key.
    Snapshot,
    /// Pins the snapshot; the controller's online key.
    Timestamp,
    /// Release managers: patches and rollouts.
    Release,
    /// Clinical safety officers: the same patches and rollouts.
    Clinical,
    /// Whose orders count. It has no file.
    OnCall,
    /// The controller's key that signs directives. It has no file.
    Controller,
}

impl RoleName {
    /// The four that a root names.
    pub const TOP: [Self; 4] = [Self::Root, Self::Timestamp, Self::Snapshot, Self::Targets];
    /// The four that `targets` delegates to.
    pub const DELEGATED: [Self; 4] = [Self::Release, Self::Clinical, Self::OnCall, Self::Controller];
    /// Those whose files people sign.
    pub const PEOPLE: [Self; 4] = [Self::Root, Self::Targets, Self::Release, Self::Clinical];
    /// Those that have a file.
    pub const FILES: [Self; 6] =
        [Self::Root, Self::Timestamp, Self::Snapshot, Self::Targets, Self::Release, Self::Clinical];

    /// The word in metadata.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Targets => "targets",
            Self::Snapshot => "snapshot",
            Self::Timestamp => "timestamp",
            Self::Release => "release",
            Self::Clinical => "clinical",
            Self::OnCall => "on-call",
            Self::Controller => "controller",
        }
    }

    /// The role of that word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::TOP.into_iter().chain(Self::DELEGATED).find(|role| role.word() == word)
    }

    /// Its file's name without a version, as a snapshot and a client's store name it.
    #[must_use]
    pub fn file(self) -> String {
        format!("{}.json", self.word())
    }

    /// Its file's name in a repository with consistent snapshots (TUF 1.0.34, section 6.2).
    #[must_use]
    pub fn versioned(self, version: u64) -> String {
        if self == Self::Timestamp { self.file() } else { format!("{version}.{}.json", self.word()) }
    }

    /// Signed by the controller's online keys, which an attacker in the controller holds.
    #[must_use]
    pub const fn is_online(self) -> bool {
        matches!(self, Self::Snapshot | Self::Timestamp | Self::Controller)
    }

    /// Largest file that is read, bytes. A signed target costs about 300, so 5 MB hold 16,000.
    #[must_use]
    pub const fn bytes_max(self) -> u64 {
        match self {
            Self::Root => 512_000,
            Self::Timestamp | Self::Snapshot => 16_384,
            Self::Targets | Self::Release | Self::Clinical | Self::OnCall | Self::Controller => 5_000_000,
        }
    }

    /// The smallest threshold that the policy accepts; see `docs/decisions/2026-11-trust.md`.
    #[must_use]
    pub const fn threshold_min(self) -> u64 {
        match self {
            Self::Root | Self::Targets => 2,
            _ => 1,
        }
    }

    /// The path patterns of a delegation; none for a role of the root.
    #[must_use]
    pub const fn paths(self) -> &'static [&'static str] {
        match self {
            Self::Release | Self::Clinical => &["patches/*", "rollouts/*"],
            Self::OnCall => &["orders/*"],
            Self::Controller => &["directives/*"],
            _ => &[],
        }
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
