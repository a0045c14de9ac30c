//! What comes out of one run.

use serde::{Deserialize, Serialize};

/// One run of a rollout in the modelled world. Times are milliseconds since its start, unless they say otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// What chance went by.
    pub seed: u64,
    /// How it ended.
    pub end: End,
    /// The rollout's own reason; empty when it completed.
    pub reason: String,
    /// When nothing moved any more.
    pub ended_ms: u64,
    /// What became of the devices.
    pub devices: Tally,
    /// What stopped it before its end, if anything did.
    pub stop: Option<Stop>,
    /// Most devices at risk at one moment: in hand, from being offered the patch until soaked, and not being taken back.
    pub at_risk: AtRisk,
    /// In order.
    pub waves: Vec<WaveRun>,
    /// What it waited for, wave by wave, longest first.
    pub waits: Vec<Wait>,
    /// Devices at risk over time: the most in each stretch of equal length.
    pub curve: Curve,
    /// Events that the engine took in.
    pub events: u64,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Every wave passed.
    Completed,
    /// It stands, and waits for people who are not modelled: to cancel it, or to begin again with another plan.
    Stopped,
    /// It was taken back everywhere.
    RolledBack,
    /// It waits for people who never come.
    Waits,
    /// The time that is simulated was over first.
    OutOfTime,
}

impl End {
    /// In words.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Stopped => "stopped",
            Self::RolledBack => "rolled back",
            Self::Waits => "waits for people",
            Self::OutOfTime => "not over",
        }
    }
}

/// What became of the devices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// In the rollout.
    pub all: u64,
    /// That had the patch on them at some time.
    pub reached: u64,
    /// That the patch broke.
    pub harmed: u64,
    /// That are broken at the end.
    pub still_harmed: u64,
    /// That succeeded, at the end.
    pub succeeded: u64,
    /// That failed and were never patched.
    pub failed: u64,
    /// For which there was nothing to do, or that were left out.
    pub skipped: u64,
    /// From which the patch was taken back, by the model's own count.
    pub taken_back: u64,
    /// From which the patch was taken back, or that were given up before they had it.
    pub rolled_back: u64,
    /// That are still in hand at the end, and wait for people.
    pub in_hand: u64,
    /// From which it could not be taken back.
    pub stuck: u64,
    /// Whose turn never came.
    pub untouched: u64,
}

/// What stopped a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// When.
    pub at_ms: u64,
    /// In the engine's words.
    pub why: String,
    /// Devices that the patch had broken by then.
    pub harmed: u64,
    /// Devices that had the patch on them by then.
    pub reached: u64,
    /// The patch had broken nothing: what stopped it was something else.
    pub false_alarm: bool,
}

/// Most devices at risk at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtRisk {
    /// In all.
    pub all: u64,
    /// When that was first so.
    pub at_ms: u64,
    /// At one site.
    pub site: u64,
    /// The first site at which it was so many.
    pub site_name: String,
    /// In one region.
    pub region: u64,
    /// The first region in which it was so many; empty is that of the sites that name none.
    pub region_name: String,
    /// Most devices that were being taken back at one moment. Limits do not hold up a rollback; redundancy groups do.
    pub back: u64,
}

/// One wave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaveRun {
    /// Name.
    pub name: String,
    /// Devices.
    pub count: u64,
    /// State at the end.
    pub state: String,
    /// When it began; absent when it never did.
    pub began_ms: Option<u64>,
    /// When the first of its installs began.
    pub first_install_ms: Option<u64>,
    /// When the last of its installs was done, as far as it got.
    pub installed_ms: Option<u64>,
    /// When its gate passed.
    pub passed_ms: Option<u64>,
    /// Devices that the patch broke.
    pub harmed: u64,
    /// Most of its devices at risk at one moment.
    pub at_risk: u64,
}

/// What a wave waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// Wave.
    pub wave: String,
    /// The machine word of the reason.
    pub code: String,
    /// In words, as it was at its first time.
    pub text: String,
    /// For how long.
    pub ms: u64,
}

/// Devices at risk over time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Curve {
    /// Length of each stretch, milliseconds.
    pub step_ms: u64,
    /// The most in each.
    pub most: Vec<u64>,
}
