//! Directives: what the controller tells one site's node to do now. Signed by the controller's online key.
//!
//! A directive is the *whole* of what the controller wants of the site (level, not edge): losing, repeating or
//! reordering directives costs only time. The counter decides which of two is newer.

use serde::{Deserialize, Serialize};
use wardround_signing::{Digest, Document, Envelope, merkle::InclusionProof};

use super::{Member, RolloutId, SiteId, Timestamp};

/// The controller's present wishes for one site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directive {
    /// The site that it is for; a node refuses another's.
    pub site: SiteId,
    /// Never goes down for a site. A node refuses one lower than the highest it accepted.
    pub counter: u64,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// A node begins nothing new on a directive older than this.
    pub expires_at: Timestamp,
    /// Rollouts that still want something of this site, by id.
    pub rollouts: Vec<SiteRollout>,
}

impl Document for Directive {
    const PAYLOAD_TYPE: &'static str = "application/vnd.wardround.directive.v1+json";
    /// 5000 devices with a 17-hash proof each, in hex.
    const BYTES_MAX: usize = 8 * 1024 * 1024;
}

/// One rollout's part of a directive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteRollout {
    /// Rollout.
    pub rollout: RolloutId,
    /// SHA-256 of the rollout document's bytes: the node fetches and verifies it.
    pub digest: Digest,
    /// Whether new work may begin.
    pub mode: Mode,
    /// People's signed orders that matter here: start, approvals, the latest halt and resume, rollbacks.
    pub orders: Vec<Envelope>,
    /// What is wanted of each device that has been offered so far, by device id.
    pub goals: Vec<Goal>,
}

/// Whether new work may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Begin what is wanted.
    Proceed,
    /// Begin nothing new; finish what has begun.
    Paused,
    /// Begin no install; what has begun is finished or taken back; rollbacks go on.
    Halted,
}

/// What is wanted of one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Goal {
    /// Device, wave and variant, as signed.
    pub member: Member,
    /// Proof that the member is in its wave.
    pub proof: InclusionProof,
    /// What to reach.
    pub action: GoalAction,
    /// Rises with each new try of a person or the engine; a node does each attempt once.
    pub attempt: u32,
}

/// What to reach on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GoalAction {
    /// The patch installed, verified and soaked.
    Install,
    /// The device as it was before.
    RollBack,
}
