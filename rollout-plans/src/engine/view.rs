//! What people see of the engine's state.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wardround_signing::{Digest, Envelope, Role};

use super::Waiting;
use crate::model::{DeploymentState, DeviceId, Evidence, GateDecision, PatchId, RolloutId, Timestamp, WaveName};

/// State of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words of the state diagram in DESIGN.md")]
pub enum RolloutState {
    Draft,
    Signed,
    Running,
    Paused,
    Halted,
    RollingBack,
    RolledBack,
    Completed,
    Cancelled,
}

/// State of a wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words of the state diagram in DESIGN.md")]
pub enum WaveState {
    Pending,
    AwaitingApproval,
    Running,
    Soaking,
    Passed,
    Failed,
    RollingBack,
    RolledBack,
}

/// A rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutView {
    /// Id.
    pub id: RolloutId,
    /// Patch.
    pub patch: PatchId,
    /// Plan name.
    pub plan: String,
    /// SHA-256 of the document that is in force.
    pub digest: Digest,
    /// Its version.
    pub version: u32,
    /// The version that waits to come into force, if any.
    pub amendment: Option<AmendmentView>,
    /// State.
    pub state: RolloutState,
    /// Since when.
    pub state_since: Timestamp,
    /// Why, one sentence; empty when nothing needs saying.
    pub reason: String,
    /// In order.
    pub waves: Vec<WaveView>,
    /// Highest order counter accepted.
    pub order_counter: u64,
    /// When.
    pub created_at: Timestamp,
    /// When.
    pub started_at: Option<Timestamp>,
    /// When.
    pub ended_at: Option<Timestamp>,
    /// How far the latest halt has reached.
    pub halt: HaltSpread,
    /// Halts that no resume has lifted yet, oldest first: a resume names them.
    pub halts_in_force: Vec<HaltView>,
    /// Orders that wait for a second person, oldest first.
    pub pending: Vec<PendingView>,
}

/// A version that waits to come into force.
#[derive(Debug, Clone, PartialEq)]
pub struct AmendmentView {
    /// Version.
    pub version: u32,
    /// SHA-256 of its document.
    pub digest: Digest,
    /// Both roles have signed it.
    pub signed: bool,
    /// Since when it waits.
    pub since: Timestamp,
    /// Why it can't come into force any more; empty while it can.
    pub problem: String,
    /// Approvals *for this version* that it waits for: of waves under way that it changes.
    pub approvals: Vec<(WaveName, Vec<Role>)>,
    /// Number of devices that come in.
    pub added: u64,
    /// Number of devices that are taken out.
    pub removed: u64,
    /// Number of devices that change their wave or variant.
    pub moved: u64,
}

/// A halt in force.
#[derive(Debug, Clone, PartialEq)]
pub struct HaltView {
    /// SHA-256 of the order's payload.
    pub order: Digest,
    /// The order's counter.
    pub counter: u64,
    /// Who halted.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// A hold on a wave's gate.
#[derive(Debug, Clone, PartialEq)]
pub struct HoldView {
    /// SHA-256 of the order's payload.
    pub order: Digest,
    /// The order's counter.
    pub counter: u64,
    /// Who holds.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// An order that waits for a second person.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingView {
    /// The order's counter: its name among people.
    pub counter: u64,
    /// What it would do, in the words of records.
    pub what: String,
    /// Who has signed.
    pub signed_by: Vec<String>,
    /// Roles of which the next signer must hold one.
    pub roles: Vec<Role>,
    /// Why, in the first signer's words.
    pub reason: String,
    /// Since when it waits.
    pub since: Timestamp,
    /// When it ends by itself.
    pub until: Timestamp,
    /// The order with the signatures so far.
    pub envelope: Envelope,
}

/// Which sites know of the latest halt.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HaltSpread {
    /// All sites of the rollout.
    pub sites: Vec<crate::model::SiteId>,
    /// Those that have confirmed the latest halt.
    pub confirmed: Vec<crate::model::SiteId>,
}

/// A wave.
#[derive(Debug, Clone, PartialEq)]
pub struct WaveView {
    /// Name.
    pub name: WaveName,
    /// State.
    pub state: WaveState,
    /// Since when.
    pub state_since: Timestamp,
    /// Number of members.
    pub count: u64,
    /// Deployments by state; only those that are not zero.
    pub deployments: BTreeMap<DeploymentState, u64>,
    /// Why it does not move; absent when it moves or has ended.
    pub waiting: Option<Waiting>,
    /// The gate's last decision, one sentence with its numbers.
    pub gate: String,
    /// The gate's last answer, with what it went by; absent before it has answered.
    pub decision: Option<GateDecision>,
    /// Holds on its gate, oldest first.
    pub holds: Vec<HoldView>,
}

/// A deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentView {
    /// Position in the rollout.
    pub index: u64,
    /// Device.
    pub device: DeviceId,
    /// Wave.
    pub wave: WaveName,
    /// State.
    pub state: DeploymentState,
    /// Since when.
    pub state_since: Timestamp,
    /// Why, one sentence.
    pub reason: String,
    /// Attempt.
    pub attempt: u32,
    /// Last evidence of the node.
    pub evidence: Evidence,
    /// Why it does not move, if it waits.
    pub waiting: Option<Waiting>,
}
