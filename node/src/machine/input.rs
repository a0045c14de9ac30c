//! What the machine is told. Each input is journalled before it takes effect, so its form is a contract.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wardround_rollout_plans::model::{
    Detected, DeviceId, DurationMs, Freeze, GoalAction, HealthPolicy, Mode, PatchId, ProbeAnswer, RebootNeed, Retries,
    RolloutId, Scope, SiteInventory, SystemId, Timestamp, VariantId, WaveName, Window,
};
use wardround_signing::Digest;

use super::{HoldMark, ReleaseMark, Version};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "input", rename_all = "snake_case")]
pub enum Input {
    /// The process began (again): every step that was under way must be taken up again.
    Restarted,
    /// The site file as it is now.
    Site(Box<SiteView>),
    /// A verified directive.
    Wishes(Box<Wishes>),
    /// A verified halt order.
    Halt(OrderMark),
    /// Something did not verify.
    Refused {
        /// What kind of thing.
        what: String,
        /// Why, one sentence.
        why: String,
        /// The rollout, when known.
        rollout: Option<RolloutId>,
    },
    /// The controller has these reports on disk.
    Acked {
        /// Up to and including.
        seq: u64,
    },
    /// A deadline of the machine has passed.
    Tick,
    /// The health monitor probed a system.
    Probed {
        /// Which.
        system: SystemId,
        /// One answer per probe.
        answers: Vec<ProbeAnswer>,
    },
    /// The node, or one of its devices, is not as it should be; a person must look at it.
    Alarm {
        /// Machine word.
        code: String,
        /// One sentence.
        text: String,
        /// The device that it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device: Option<DeviceId>,
    },
    /// A task of a deployment ended.
    Done {
        /// Rollout.
        rollout: RolloutId,
        /// Device.
        device: DeviceId,
        /// The task's number; another number is a stale answer and changes nothing.
        task: u64,
        /// What came of it.
        found: Found,
    },
}

/// What the machine needs of the site file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteView {
    /// The inventory, which is also reported; `None` before the first site file was read.
    pub inventory: Option<SiteInventory>,
    /// Most devices that the node works on at once; 0 before the first site file was read.
    pub concurrency_max: u32,
    /// How systems are watched where the site says so; the others are watched by the machine's own numbers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub watch: BTreeMap<SystemId, WatchRules>,
    /// Failures that a planned disruption explains are not counted at all. False in journals of programs that counted them:
    /// what they wrote must lead to what they decided.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spares_disrupted: bool,
    /// The device that is the node itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<DeviceId>,
}

/// How a clinical system is watched while no plan says otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchRules {
    /// Between two looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<DurationMs>,
    /// Failures in a row that make it unhealthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<u32>,
    /// Good answers in a row that make an unhealthy one healthy again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successes: Option<u32>,
}

/// What a verified directive wants, reduced to what the machine decides on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wishes {
    /// The directive's counter.
    pub counter: u64,
    /// Nothing new begins after this.
    pub expires_at: Timestamp,
    /// By rollout.
    pub rollouts: Vec<RolloutWish>,
}

/// One rollout's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutWish {
    /// Rollout.
    pub rollout: RolloutId,
    /// Its document.
    pub digest: Digest,
    /// Which version of it.
    #[serde(default, skip_serializing_if = "Version::is_first")]
    pub version: Version,
    /// Patch.
    pub patch: PatchId,
    /// Its document.
    pub patch_digest: Digest,
    /// What the signed plan says, as far as a node needs it.
    pub policy: RolloutPolicy,
    /// Whether new work may begin.
    pub mode: Mode,
    /// A verified cancel order is there: never install again.
    pub cancelled: bool,
    /// Verified halt and resume orders.
    pub halts: Vec<OrderMark>,
    /// Counters of verified resume orders.
    pub resumes: Vec<u64>,
    /// Halts that a verified resume names: by their digests.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub lifted: BTreeSet<Digest>,
    /// Verified holds on gates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<HoldMark>,
    /// Verified releases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub releases: Vec<ReleaseMark>,
    /// Verified goals.
    pub goals: Vec<GoalWish>,
}

/// A verified order, by its identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderMark {
    /// Rollout.
    pub rollout: RolloutId,
    /// The rollout's document.
    pub digest: Digest,
    /// The order's counter.
    pub counter: u64,
    /// SHA-256 of the order's bytes: the same order again is no news.
    pub order: Digest,
}

/// The parts of a signed plan that a node acts by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutPolicy {
    /// How clinical systems are watched.
    pub health: HealthPolicy,
    /// How far a rollback reaches.
    pub scope: Scope,
    /// Most devices in hand at one site.
    pub per_site: u32,
    /// One install or uninstall.
    pub install_timeout: DurationMs,
    /// One reboot.
    pub reboot_timeout: DurationMs,
    /// How long a device may be deferred.
    pub defer_max: DurationMs,
    /// Between two tries of a deferred device.
    pub retry_after: DurationMs,
    /// Which failed installs are tried again.
    #[serde(default, skip_serializing_if = "Retries::are_none")]
    pub retries: Retries,
    /// When installs may begin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    /// When none may begin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freezes: Vec<Freeze>,
    /// By wave: soak, and what narrows the plan.
    pub waves: BTreeMap<WaveName, WavePolicy>,
}

/// The parts of a wave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WavePolicy {
    /// How long each device is watched.
    pub soak: DurationMs,
    /// Most devices of this wave in hand at one site, beside the plan's limit.
    pub per_site: Option<u32>,
    /// When its installs may begin, beside the plan's windows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    /// From this moment on none begins any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin_by: Option<Timestamp>,
}

/// A verified goal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoalWish {
    /// Device.
    pub device: DeviceId,
    /// Wave.
    pub wave: WaveName,
    /// Variant.
    pub variant: VariantId,
    /// The variant's reboot need.
    pub reboot: RebootNeed,
    /// The payload.
    pub payload: Digest,
    /// Its length, bytes.
    pub payload_length: u64,
    /// The package that it replaces: it is put on again when the patch is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Digest>,
    /// What to reach.
    pub action: GoalAction,
    /// Which try.
    pub attempt: u32,
}

/// What came of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "found", rename_all = "snake_case")]
pub enum Found {
    /// The payload is whole in the cache.
    Fetched,
    /// The payload is on the device.
    Staged,
    /// The device before the install.
    Preflight(Box<PreflightFound>),
    /// The installer has run.
    Installed(Box<InstallFound>),
    /// The device is back.
    Rebooted,
    /// The device was looked at.
    Checked(Box<CheckFound>),
    /// The uninstaller has run, or had nothing to do.
    Uninstalled(Box<UninstallFound>),
    /// The device holds nothing of the operation any more.
    Cleaned,
    /// It could not be done.
    Fault(Fault),
}

/// The device before the install.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreflightFound {
    /// Why the device can't be reached; `None` when it can.
    pub unreachable: Option<String>,
    /// Why its platform is not the variant's; `None` when it is.
    pub mismatch: Option<String>,
    /// Who uses it, in words.
    pub in_use: Option<String>,
    /// Whether it waits for a reboot already.
    pub reboot_pending: Option<bool>,
    /// What asks for that reboot.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pending: String,
    /// Why nothing would stay on it; `None` when no write filter stands in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_filter: Option<String>,
    /// Free space, bytes.
    pub free_bytes: Option<u64>,
    /// Whether the patch is there.
    pub before: Detected,
    /// Whether an installer was begun on the device in this very deployment.
    #[serde(default, skip_serializing_if = "Begun::is_not")]
    pub begun: Begun,
    /// Which run of it that is; 0 where none was begun.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub run: u32,
    /// Whether what the patch requires is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prerequisites: Vec<(PatchId, Detected)>,
    /// Its clinical systems.
    pub probes: Vec<ProbeAnswer>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(super) fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What the device shows of an install of this very deployment that this node does not remember: it was begun by a node that has lost
/// what it knew, or by one that this one replaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Begun {
    /// Nothing.
    #[default]
    Not,
    /// The patch is there, the installer is over, and the device waits for nothing.
    Over,
    /// The installer is at work, or the patch is there and a restart or a write filter may still have to be seen to.
    Unfinished,
}

impl Begun {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_not(&self) -> bool {
        *self == Self::Not
    }
}

/// The installer's run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallFound {
    /// Exit code; `None` when the installer left none.
    pub exit_code: Option<u32>,
    /// What it means, given both detections.
    pub outcome: InstallOutcome,
    /// Detection afterwards.
    pub after: Detected,
    /// Whether the device asks for a reboot.
    pub reboot_pending: bool,
    /// Tail of the output.
    pub output: String,
}

/// What an install came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum InstallOutcome {
    /// It is there.
    Installed,
    /// It is there after a reboot.
    NeedsReboot,
    /// The installer had nothing to do.
    NothingToDo {
        /// Why, one sentence.
        reason: String,
    },
    /// Another installation is under way on the device.
    Busy,
    /// It failed.
    Failed {
        /// Why, one sentence.
        reason: String,
        /// Machine word.
        code: String,
    },
}

/// A look at the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckFound {
    /// Whether the patch is there.
    pub detected: Detected,
    /// Whether the device asks for a reboot.
    pub reboot_pending: Option<bool>,
    /// Its clinical systems.
    pub probes: Vec<ProbeAnswer>,
    /// Why the patch is gone, where the device says so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub said: String,
}

/// The uninstaller's run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UninstallFound {
    /// Exit code; `None` when the patch was not there and nothing was run.
    pub exit_code: Option<u32>,
    /// Whether the device asks for a reboot.
    pub reboot_needed: bool,
    /// Tail of the output.
    pub output: String,
}

/// Why a task could not be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What kind.
    pub kind: FaultKind,
    /// One sentence.
    pub text: String,
}

/// Kinds of fault, as far as the machine treats them differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The device, or for a fetch the controller, does not answer.
    Unreachable,
    /// No room on the node or the device.
    Disk,
    /// What was fetched is not what was signed.
    Corrupt,
    /// A document does not verify.
    Refused,
    /// The step ran longer than the plan allows.
    Timeout,
    /// The device did not come back from a reboot.
    RebootTimeout,
    /// The install had not begun on the device, and it must not begin now.
    NotBegun,
    /// The install had not begun, and its payload is no longer on the device.
    NotStaged,
    /// The installer is still at work, so the patch can't be taken back yet.
    AtWork,
    /// Anything else.
    Other,
}
