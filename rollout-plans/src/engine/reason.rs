//! Why nothing is happening, as data: the same words in API, CLI and console.

use serde::{Deserialize, Serialize};
use wardround_signing::Role;

use crate::model::{GroupId, SiteId, Timestamp, WaveName};

/// A reason with its times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// On what.
    pub on: WaitingOn,
    /// Since when.
    pub since: Timestamp,
    /// When it is expected to end, when that is known.
    pub until: Option<Timestamp>,
}

/// What something waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "on", rename_all = "snake_case")]
pub enum WaitingOn {
    /// Signatures of these roles on the rollout document.
    Signatures,
    /// A start order.
    Start,
    /// Earlier waves.
    EarlierWave {
        /// The one in front.
        wave: WaveName,
    },
    /// Approvals of these roles.
    Approval {
        /// Missing roles.
        roles: Vec<Role>,
    },
    /// Deployments that are still on their way.
    Deployments {
        /// How many.
        open: u64,
    },
    /// Soaks.
    Soak {
        /// How many deployments still soak.
        soaking: u64,
    },
    /// Rollbacks.
    Rollbacks {
        /// How many are not back yet.
        open: u64,
    },
    /// Nodes that do not answer.
    SilentSites {
        /// Sites.
        sites: Vec<SiteId>,
    },
    /// A gate that has not seen enough to decide.
    Evidence {
        /// Succeeded so far.
        have: u64,
        /// Needed.
        need: u64,
    },
    /// A person who resumes.
    Resume {
        /// Why it was paused or halted.
        reason: String,
    },
    /// A person who decides what to do with a failed wave.
    Decision {
        /// What failed.
        reason: String,
    },
    /// A limit.
    Concurrency {
        /// "site", "wave" or "total".
        scope: String,
        /// The limit.
        limit: u32,
    },
    /// A redundancy group of which another device is in hand.
    RedundancyGroup {
        /// Group.
        group: GroupId,
    },
    /// The node said "not now".
    Device {
        /// The node's words.
        reason: String,
    },
}
