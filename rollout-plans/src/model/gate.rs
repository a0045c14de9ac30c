//! Gates: what a plan asks before the next wave, and the record of what a gate decided on.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use wardround_signing::Role;

use super::{DeploymentState, Percent, Timestamp};

/// What must hold before the next wave begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Least share of succeeded among the deployments that were tried (skipped ones do not count).
    #[serde(default = "all")]
    pub success: Percent,
    /// Least number of succeeded deployments; with fewer the gate is inconclusive and waits for people.
    #[serde(default = "one")]
    pub evidence_min: u32,
    /// Most deployments that may fail; absent means as many as `success` leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures_max: Option<u32>,
    /// An exact test beside the counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<GateTest>,
    /// Roles that must approve before the next wave begins.
    #[serde(default)]
    pub approvals: Vec<Role>,
}

/// An exact test of a gate (`docs/gates.md`): is the patched group worse than what happens without the patch, and has
/// enough been seen to say that it is not bad?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GateTest {
    /// How often a harmless patch may be stopped by chance.
    pub alpha: Percent,
    /// A patch that makes this share of devices fail must not pass by chance more often than `miss`.
    pub harm: Percent,
    /// How often it may.
    pub miss: Percent,
    /// Share of devices that fail without the patch; stands in where the control group is too small.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub background: Option<Percent>,
    /// Fewer unpatched clinical systems than this are no control group.
    pub control_min: u32,
}

impl GateTest {
    /// Most that `alpha` may be, basis points: one false alarm in five.
    pub const ALPHA_MAX: u32 = 2_000;
    /// Most that `miss` may be, basis points: a coin.
    pub const MISS_MAX: u32 = 5_000;

    const fn defaults() -> Self {
        Self { alpha: Percent::of(5), harm: Percent::of(30), miss: Percent::of(20), background: None, control_min: 5 }
    }
}

impl Default for GateTest {
    fn default() -> Self {
        Self::defaults()
    }
}

fn all() -> Percent {
    Percent::ALL
}
fn one() -> u32 {
    1
}

/// Most successes of a wave that a node asks to see: so many signed reports of every wave fit into a directive.
pub const PROOFS_ASKED_MAX: u64 = 16;

impl Gate {
    /// How many devices of a wave of `members` must be shown to have succeeded before a node takes up the next wave. Of
    /// what the plan asks for, never more: a controller that tells the truth can show what its own gate has counted.
    #[must_use]
    pub fn proofs_min(&self, members: u64) -> u64 {
        u64::from(self.evidence_min).min(PROOFS_ASKED_MAX).min(members)
    }

    /// Is a wave of `members` shown to have passed, by so many devices that succeeded and so many that had nothing to do
    /// (skipped)? **The one rule** of engine and node. A skipped device says nothing of the patch, so it never stands for a
    /// success that the plan asks for; where the plan asks for none it shows that the wave has run at all.
    #[must_use]
    pub fn is_shown(&self, members: u64, succeeded: u64, skipped: u64) -> bool {
        succeeded >= self.proofs_min(members) && succeeded + skipped >= 1
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self { success: all(), evidence_min: one(), failures_max: None, test: None, approvals: Vec::new() }
    }
}

/// What a gate answers. While a wave is under way it has no answer yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateAnswer {
    /// Enough was seen, and it is good enough.
    Success,
    /// It is worse than the plan allows.
    Failure,
    /// Nothing speaks against the patch, but too little speaks for it. Never passes by itself.
    Inconclusive,
}

impl GateAnswer {
    /// The word in API, CLI and files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// The rule that decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateRule {
    /// Every rule of the gate holds.
    All,
    /// `success`: the share can't be reached any more.
    Share,
    /// `failures_max` is exceeded.
    FailuresMax,
    /// `test.alpha`: so many failures are no chance.
    Alarm,
    /// A clinical system got worse after the patch.
    ClinicalSystem,
    /// `evidence_min`: too few succeeded.
    EvidenceMin,
    /// `test`: something failed, and there is nothing to compare with: no control group, no `background`.
    NoComparison,
    /// `test.miss`: a patch that does harm would be let through too often on so few.
    Miss,
    /// Enough succeeded, but too little of it can be shown to the nodes of the next wave.
    Unshown,
}

impl GateRule {
    /// The word in API, CLI and files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Share => "success",
            Self::FailuresMax => "failures_max",
            Self::Alarm => "test_alpha",
            Self::ClinicalSystem => "clinical_system",
            Self::EvidenceMin => "evidence_min",
            Self::NoComparison => "no_comparison",
            Self::Miss => "test_miss",
            Self::Unshown => "unshown",
        }
    }
}

/// Unpatched peers that were watched at the same time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlCounts {
    /// Clinical systems of the wave's sites that need none of the devices of the rollout whose turn had come.
    pub systems: u64,
    /// Of these, those that were healthy and then failed while the wave was under way.
    pub failed: u64,
}

/// With what the test compared the patched group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compared {
    /// With the control group, by Fisher's exact test.
    Control,
    /// With the plan's `background`, by the exact binomial test.
    Background,
}

/// What the exact test found. Probabilities are parts per million, rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestFound {
    /// With what it compared; absent when there was nothing to compare, or no failure to explain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<Compared>,
    /// How probable so many failures, or more, are if the patch did nothing.
    pub p: u32,
    /// A smaller or equal one stops the rollout.
    pub alarm_at: u32,
    /// How probable so few failures, or fewer, are if the patch made `harm` of the devices fail; absent while devices are
    /// open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<u32>,
    /// It passes at this or less.
    pub miss_max: u32,
}

/// Who approved what follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovedBy {
    /// Name, in the form in which people are told apart.
    pub holder: String,
    /// Roles.
    pub roles: Vec<Role>,
}

/// A gate's decision with everything that it went by: kept with the wave, in the audit log, and shown. The sentence that says
/// it in words stands beside it in all three.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateDecision {
    /// When.
    pub at: Timestamp,
    /// The answer.
    pub answer: GateAnswer,
    /// The rule that decided.
    pub rule: GateRule,
    /// Before all had ended: harm was certain already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub early: bool,
    /// People of both roles let an inconclusive gate pass, or nothing depends on it (the last wave).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub let_pass: bool,
    /// Deployments by state, at that moment; only those that are not zero.
    pub deployments: BTreeMap<DeploymentState, u64>,
    /// The control group, where the plan asks for a test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<ControlCounts>,
    /// What the test found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<TestFound>,
    /// Approvals of the next wave so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<ApprovedBy>,
    /// Who holds the gate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_by: Vec<String>,
}

/// Millionths as a percentage for people, rounded up: "4.2%", "0.05%", "under 0.01%".
#[derive(Debug, Clone, Copy)]
pub struct Millionths(pub u32);

impl fmt::Display for Millionths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hundredths = self.0.div_ceil(100);
        match (hundredths / 100, hundredths % 100) {
            (0, 0) => f.write_str("0%"),
            (0, 1) => f.write_str("under 0.01%"),
            (whole, 0) => write!(f, "{whole}%"),
            (whole, rest) if rest % 10 == 0 => write!(f, "{whole}.{}%", rest / 10),
            (whole, rest) => write!(f, "{whole}.{rest:02}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_of_yesterday_reads_and_writes_alike() {
        let old = r#"{"success":9000,"evidence_min":2,"approvals":["clinical"]}"#;
        let gate: Gate = serde_json::from_str(old).unwrap();
        assert_eq!(serde_json::to_string(&gate).unwrap(), old);
        assert_eq!((gate.failures_max, gate.test), (None, None));
    }

    #[test]
    fn shares_for_people_are_never_rounded_down() {
        let shown = |n: u32| Millionths(n).to_string();
        assert_eq!([shown(0), shown(1), shown(101), shown(42_000)], ["0%", "under 0.01%", "0.02%", "4.2%"]);
        assert_eq!([shown(50_001), shown(1_000_000)], ["5.01%", "100%"]);
    }
}
