//! What the machine wants done. The record that led to an action is on disk before the action runs.

use wardround_rollout_plans::model::{Detected, DeviceId, DurationMs, RolloutId, SystemId, VariantId};
use wardround_signing::Digest;

/// One task of one deployment. The answer is an `Input::Done` with the same rollout, device and task number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// Rollout.
    pub rollout: RolloutId,
    /// Device.
    pub device: DeviceId,
    /// Number of the task within its deployment.
    pub task: u64,
    /// Operation id: every step on the device is idempotent by it.
    pub op: String,
    /// The patch document.
    pub patch: Digest,
    /// The variant.
    pub variant: VariantId,
    /// What to do.
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Bring the payload into the cache.
    Fetch,
    /// Put it on the device.
    Stage {
        /// Operation of a run before this one, which is over: its copy of the payload goes first.
        gone: Option<String>,
    },
    /// Ask the device and its clinical systems.
    Preflight {
        /// Systems to probe.
        systems: Vec<SystemId>,
    },
    /// Run the installer, or take up a run that has begun.
    Install {
        /// How long it may take.
        timeout: DurationMs,
        /// Detection before, for the outcome.
        before: Detected,
        /// False when it is tried again under a halt or outside its windows: take up what has begun, begin nothing.
        may_begin: bool,
    },
    /// Reboot and wait until the device is back.
    Reboot {
        /// How long it may take.
        timeout: DurationMs,
        /// True when the reboot may already have happened (a restart): where the device can tell, ask it first.
        again: bool,
    },
    /// Detect and probe.
    Check {
        /// Systems to probe.
        systems: Vec<SystemId>,
        /// Operation of a run of the installer that must be over, or never begin, before its work is looked for.
        install: Option<String>,
    },
    /// Run the uninstaller unless the patch is gone already.
    Uninstall {
        /// How long it may take.
        timeout: DurationMs,
        /// Operation of the newest run of the installer: it must be over, or never begin, before its work is looked for.
        install: String,
    },
    /// Remove what these operations left on the device.
    Cleanup {
        /// Operation ids.
        ops: Vec<String>,
        /// Their patch is to stay.
        kept: bool,
    },
}
