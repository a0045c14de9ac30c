//! A plan, as a release manager writes it (YAML) and as the rollout document carries it.
//!
//! Parsing, linting and error positions are in `crate::language`; this is the validated form.

use serde::{Deserialize, Serialize};

use super::{
    Acceptance, Deadline, DurationMs, Freeze, Gate, Offline, PatchId, Precedence, Retries, Selector, WaveName, Window,
};

/// Most waves of a plan: a person must be able to follow them.
pub const WAVES_MAX: usize = 50;

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Name, for people and records.
    pub name: String,
    /// What and why, for those who sign.
    #[serde(default)]
    pub description: String,
    /// Only for this patch; absent means any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<PatchId>,
    /// Which devices may be touched at all; the default is every device that a variant matches.
    #[serde(default)]
    pub eligible: Selector,
    /// In order; each device falls to the first wave that selects it.
    pub waves: Vec<WavePlan>,
    /// When installs may begin, on each site's clock; none means always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    /// When none may begin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freezes: Vec<Freeze>,
    /// When somebody is on call for this rollout, on each site's clock; none means that the plan does not say. It binds
    /// nobody: the lint says what happens outside of these hours, and signers read it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_call: Vec<Window>,
    /// Risks that the lint names and that are taken knowingly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accept: Vec<Acceptance>,
    /// Over the whole rollout.
    #[serde(default)]
    pub limits: Limits,
    /// How clinical systems are watched.
    #[serde(default)]
    pub health: HealthPolicy,
    /// What is taken back when something fails.
    #[serde(default)]
    pub rollback: RollbackPolicy,
    /// Waits and retries.
    #[serde(default)]
    pub timing: Timing,
    /// By when a wave must have begun with all its devices, for waves that do not say so themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Deadline>,
    /// What becomes of devices whose site does not answer, for waves that do not say so themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline: Option<Offline>,
}

impl Plan {
    /// The deadline of a wave: its own, or else the plan's.
    #[must_use]
    pub fn deadline_of(&self, wave: &WavePlan) -> Option<Deadline> {
        wave.deadline.or(self.deadline)
    }

    /// What a wave says of silent sites, or else the plan.
    #[must_use]
    pub fn offline_of(&self, wave: &WavePlan) -> Option<Offline> {
        wave.offline.or(self.offline)
    }

    /// Most devices in hand at one site. A plan that names no limit means one: a site without a limit would lose all its
    /// devices to one bad patch at once. Controller, node and description must agree on this.
    #[must_use]
    pub fn per_site(&self) -> u32 {
        self.limits.per_site.unwrap_or(1)
    }
}

/// One wave of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WavePlan {
    /// Unique within the plan.
    pub name: WaveName,
    /// Which of the eligible devices that no earlier wave took.
    pub select: Selector,
    /// What goes first within it; ids decide where this says nothing more. The list of members has this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<Precedence>,
    /// Narrower than those of the plan; none means as the plan says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    /// For this wave, beside those of the plan.
    #[serde(default)]
    pub limits: Limits,
    /// How long each patched device and its clinical systems are watched.
    pub soak: DurationMs,
    /// What must hold before the next wave.
    #[serde(default)]
    pub gate: Gate,
    /// By when it must have begun with all its devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Deadline>,
    /// What becomes of devices whose site does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline: Option<Offline>,
}

/// A share in basis points (1/100 of a percent), 0 to 10 000, so that no floating point enters a signed document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Percent(u32);

impl Percent {
    /// All.
    pub const ALL: Self = Self(10_000);

    /// So many whole percent, at most 100.
    pub(super) const fn of(whole: u32) -> Self {
        Self(if whole < 100 { whole * 100 } else { 10_000 })
    }

    /// For constants in basis points; more than all is all.
    pub(crate) const fn basis(points: u32) -> Self {
        Self(if points > 10_000 { 10_000 } else { points })
    }

    /// From basis points.
    ///
    /// # Errors
    /// A sentence when it is over 10 000.
    pub fn from_basis_points(points: u32) -> Result<Self, String> {
        if points <= 10_000 { Ok(Self(points)) } else { Err(format!("{}% is over 100%", f64::from(points) / 100.0)) }
    }

    /// Basis points.
    #[must_use]
    pub fn basis_points(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Percent {
    type Error = String;
    fn try_from(points: u32) -> Result<Self, String> {
        Self::from_basis_points(points)
    }
}

impl From<Percent> for u32 {
    fn from(percent: Percent) -> Self {
        percent.0
    }
}

impl std::fmt::Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, rest) => write!(f, "{whole}.{rest:02}%"),
        }
    }
}

/// How many devices may be in hand at once: from being offered the patch until soaked, skipped, failed or rolled back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// At one site; absent means 1 in the plan's limits, no further limit in a wave's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_site: Option<u32>,
    /// At the sites of one region together; absent means no limit. Sites that name no region are one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_region: Option<u32>,
    /// In all; absent means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u32>,
}

/// How clinical systems are watched during a soak.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthPolicy {
    /// Between two probes of a system.
    #[serde(default = "HealthPolicy::default_interval")]
    pub interval: DurationMs,
    /// Consecutive failures that make a healthy system unhealthy.
    #[serde(default = "HealthPolicy::default_failures")]
    pub failures: u32,
    /// How long after an install or its reboot failures are not counted (the planned disruption).
    #[serde(default)]
    pub grace: DurationMs,
    /// Before a patch is blamed, whether unpatched systems of the site fail at the same time; absent means that nobody asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<ControlPolicy>,
}

/// What a node does when unpatched systems of its site fail together with one that is under watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlPolicy {
    /// How long the blame may wait for them to get well; then it falls, whatever they do.
    #[serde(default = "ControlPolicy::default_wait")]
    pub wait_max: DurationMs,
}

impl ControlPolicy {
    /// Longest wait that a plan may ask for: patients wait with it.
    pub const WAIT_MAX: DurationMs = DurationMs::from_secs(60 * 60);

    fn default_wait() -> DurationMs {
        DurationMs::from_secs(10 * 60)
    }
}

impl Default for ControlPolicy {
    fn default() -> Self {
        Self { wait_max: Self::default_wait() }
    }
}

impl HealthPolicy {
    fn default_interval() -> DurationMs {
        DurationMs::from_secs(10)
    }
    fn default_failures() -> u32 {
        3
    }
}

impl Default for HealthPolicy {
    fn default() -> Self {
        let (interval, failures) = (Self::default_interval(), Self::default_failures());
        Self { interval, failures, grace: DurationMs::default(), control: None }
    }
}

/// What is taken back when a clinical system that was healthy fails after a patch, or when a wave fails.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackPolicy {
    /// How far.
    #[serde(default)]
    pub scope: Scope,
}

/// How far a rollback reaches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The devices that the failed system needs.
    Device,
    /// Every device of that site in this rollout.
    Site,
    /// Every device of that wave.
    #[default]
    Wave,
    /// Every device of the rollout.
    Rollout,
}

/// Waits and retries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// How long one install or uninstall may run.
    #[serde(default = "Timing::default_install")]
    pub install_timeout: DurationMs,
    /// How long a device may take to come back from a reboot.
    #[serde(default = "Timing::default_reboot")]
    pub reboot_timeout: DurationMs,
    /// After how long without word from a node its deployments count as unknown.
    #[serde(default = "Timing::default_unknown")]
    pub unknown_after: DurationMs,
    /// How long a deferred device is tried again before it is handed to a person.
    #[serde(default = "Timing::default_defer")]
    pub defer_max: DurationMs,
    /// Between two tries of a deferred device.
    #[serde(default = "Timing::default_retry")]
    pub retry_after: DurationMs,
    /// How often a node tries a failed install again by itself; see [`Timing::again`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: u32,
    /// Before the first of these tries; the wait doubles with each.
    #[serde(default = "Retries::default_first", skip_serializing_if = "Retries::is_default_first")]
    pub retry: DurationMs,
    /// Longest wait before one of them.
    #[serde(default = "Retries::default_longest", skip_serializing_if = "Retries::is_default_longest")]
    pub retry_max: DurationMs,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if hands out a reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl Timing {
    /// How long an install may take, its reboot included: the room that a window must still have when it begins.
    #[must_use]
    pub fn room(&self) -> DurationMs {
        DurationMs(self.install_timeout.0.saturating_add(self.reboot_timeout.0))
    }

    /// Which failed installs a node tries again.
    #[must_use]
    pub fn again(&self) -> Retries {
        Retries { most: self.retries, first: self.retry, longest: self.retry_max }
    }

    fn default_install() -> DurationMs {
        DurationMs::from_secs(30 * 60)
    }
    fn default_reboot() -> DurationMs {
        DurationMs::from_secs(15 * 60)
    }
    fn default_unknown() -> DurationMs {
        DurationMs::from_secs(10 * 60)
    }
    fn default_defer() -> DurationMs {
        DurationMs::from_secs(24 * 60 * 60)
    }
    fn default_retry() -> DurationMs {
        DurationMs::from_secs(5 * 60)
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            install_timeout: Self::default_install(),
            reboot_timeout: Self::default_reboot(),
            unknown_after: Self::default_unknown(),
            defer_max: Self::default_defer(),
            retry_after: Self::default_retry(),
            retries: 0,
            retry: Retries::default_first(),
            retry_max: Retries::default_longest(),
        }
    }
}
