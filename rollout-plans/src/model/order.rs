//! Orders: people's signed commands about a rollout.

use serde::{Deserialize, Serialize};
use wardround_signing::{Digest, Document, Role};

use super::{DeviceId, RolloutId, SiteId, Timestamp, WaveName};

/// Longest reason, bytes.
pub const REASON_BYTES_MAX: usize = 1_000;

/// A person's command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Rollout.
    pub rollout: RolloutId,
    /// SHA-256 of the rollout document's bytes, so that an order can't be used for another rollout of the same id.
    pub digest: Digest,
    /// One more than the rollout's order counter when it was written: an order is accepted once and never replayed.
    /// A halt is also accepted with a stale counter, since refusing it would be the greater danger.
    pub counter: u64,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// What is wanted.
    pub command: Command,
    /// Why, for the record.
    #[serde(default)]
    pub reason: String,
}

impl Document for Order {
    const PAYLOAD_TYPE: &'static str = "application/vnd.wardround.order.v1+json";
    const BYTES_MAX: usize = 16 * 1024;
}

/// What an order wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Begin the first wave.
    Start,
    /// Let this wave begin, in the name of one of the signer's roles.
    Approve {
        /// The wave that may begin.
        wave: WaveName,
    },
    /// Offer nothing new.
    Pause,
    /// Go on after a pause or a halt.
    Resume,
    /// Stop at once.
    Halt,
    /// Take the patch back.
    RollBack {
        /// Where.
        target: RollBackTarget,
    },
    /// Never install any more; what is installed stays.
    Cancel,
}

/// Where to take the patch back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "target", rename_all = "snake_case", deny_unknown_fields)]
pub enum RollBackTarget {
    /// One device.
    Device {
        /// Which.
        device: DeviceId,
    },
    /// One site.
    Site {
        /// Which.
        site: SiteId,
    },
    /// One wave.
    Wave {
        /// Which.
        wave: WaveName,
    },
    /// Everywhere.
    Rollout,
}

impl Command {
    /// The word that the command is called in API, CLI and records.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Approve { .. } => "approve",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Halt => "halt",
            Self::RollBack { .. } => "roll_back",
            Self::Cancel => "cancel",
        }
    }

    /// Roles of which one valid signature makes the command count. The one table of who may order what:
    ///
    /// | command | release | clinical | on-call |
    /// |---|---|---|---|
    /// | halt, pause | yes | yes | yes |
    /// | roll back | yes | yes | yes |
    /// | start, resume, cancel | yes | | |
    /// | approve | yes | yes | yes | (and the plan's gate says which of them it waits for)
    #[must_use]
    pub fn permitted_roles(&self) -> &'static [Role] {
        match self {
            Self::Halt | Self::Pause | Self::RollBack { .. } | Self::Approve { .. } => {
                &[Role::Release, Role::Clinical, Role::OnCall]
            }
            Self::Start | Self::Resume | Self::Cancel => &[Role::Release],
        }
    }
}
