//! The states of a deployment: one patch on one device in one rollout.

use serde::{Deserialize, Serialize};

/// Where a deployment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentState {
    /// Its turn has not come.
    Pending,
    /// A directive with it may have left.
    Offered,
    /// The node fetches the payload.
    Downloading,
    /// The payload is whole and verified.
    Staged,
    /// The node asks the device whether it may be touched.
    Preflight,
    /// Not now; the reason says why; tried again.
    Deferred,
    /// The installer may be running.
    Installing,
    /// The device reboots.
    Rebooting,
    /// Detection and first probes.
    Verifying,
    /// Installed; the device and its clinical systems are watched.
    Soaking,
    /// Installed and soaked.
    Succeeded,
    /// Nothing to do: not applicable, already installed, or left out after a system or its site was taken back.
    Skipped,
    /// Failed, and the device is as it was (or was never touched).
    Failed,
    /// The patch is being taken back.
    RollingBack,
    /// The device is as it was before.
    RolledBack,
    /// The patch could not be taken back: a person must look.
    RollbackFailed,
    /// No word from the node. Never counted as success.
    Unknown,
}

impl DeploymentState {
    /// Every state, in the order of the life of a deployment.
    pub const ALL: [Self; 17] = [
        Self::Pending,
        Self::Offered,
        Self::Downloading,
        Self::Staged,
        Self::Preflight,
        Self::Deferred,
        Self::Installing,
        Self::Rebooting,
        Self::Verifying,
        Self::Soaking,
        Self::Succeeded,
        Self::Skipped,
        Self::Failed,
        Self::RollingBack,
        Self::RolledBack,
        Self::RollbackFailed,
        Self::Unknown,
    ];

    /// The word in API, CLI and files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Offered => "offered",
            Self::Downloading => "downloading",
            Self::Staged => "staged",
            Self::Preflight => "preflight",
            Self::Deferred => "deferred",
            Self::Installing => "installing",
            Self::Rebooting => "rebooting",
            Self::Verifying => "verifying",
            Self::Soaking => "soaking",
            Self::Succeeded => "succeeded",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::RollingBack => "rolling_back",
            Self::RolledBack => "rolled_back",
            Self::RollbackFailed => "rollback_failed",
            Self::Unknown => "unknown",
        }
    }

    /// True when nothing more happens by itself (S6).
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Skipped | Self::Failed | Self::RolledBack | Self::RollbackFailed)
    }

    /// True when it has failed or is taken back: it can't succeed any more.
    #[must_use]
    pub fn is_lost(self) -> bool {
        matches!(self, Self::Failed | Self::RollingBack | Self::RolledBack | Self::RollbackFailed)
    }

    /// True while it counts against the limits (S4): the device may be disrupted, or is being watched.
    /// `Unknown` counts, since the node may be at work behind a broken link.
    #[must_use]
    pub fn is_in_hand(self) -> bool {
        !self.is_terminal() && self != Self::Pending
    }

    /// True when the patch may be on the device, so that a rollback has something to do.
    #[must_use]
    pub fn may_be_installed(self) -> bool {
        matches!(
            self,
            Self::Installing
                | Self::Rebooting
                | Self::Verifying
                | Self::Soaking
                | Self::Succeeded
                | Self::RollingBack
                | Self::RollbackFailed
                | Self::Unknown
        )
    }
}

impl std::fmt::Display for DeploymentState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.word())
    }
}
