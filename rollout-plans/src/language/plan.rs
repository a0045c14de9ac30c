//! The fields of a plan.

use wardround_signing::Role;

use super::{
    accept::accept,
    order::order,
    patience::{deadline, offline, timing},
    reader::Reader,
    selector::{ELIGIBLE_FIELDS, SELECTOR_FIELDS, selector},
    tree::Node,
    windows::{freezes, windows},
};
use crate::model::{
    ControlPolicy, DurationMs, Gate, GateTest, HealthPolicy, Limits, Plan, RollbackPolicy, Scope, WavePlan,
};

/// Longest name of a plan, bytes.
pub(super) const NAME_BYTES_MAX: usize = 120;
/// Longest description, bytes: those who sign must be able to read it.
pub(crate) const TEXT_BYTES_MAX: usize = 4_000;
/// Highest limit: one and a half million devices are the design's estate.
pub(super) const LIMIT_MAX: u32 = 10_000_000;

pub(super) const SECOND: DurationMs = DurationMs::from_secs(1);
pub(super) const NONE: DurationMs = DurationMs(0);
pub(super) const DAY: DurationMs = DurationMs::from_secs(24 * 60 * 60);
/// Longest wait of any kind: a rollout that takes longer wants a new plan.
pub(super) const QUARTER: DurationMs = DurationMs::from_secs(90 * 24 * 60 * 60);
/// Shortest interval between probes: a clinical system must not be troubled by being watched.
pub(super) const INTERVAL_MIN: DurationMs = DurationMs(100);

pub(super) fn plan(reader: &mut Reader, root: &Node) -> Option<Plan> {
    let known = [
        "name",
        "description",
        "patch",
        "eligible",
        "windows",
        "freezes",
        "on_call",
        "accept",
        "limits",
        "health",
        "rollback",
        "timing",
        "deadline",
        "offline",
        "waves",
    ];
    let fields = reader.fields(root, "", &known)?;
    let name = reader.required(&fields, "name", "standard-three-wave", |r, n, p| r.line(n, p, NAME_BYTES_MAX));
    let description = reader.optional(&fields, "description", |r, n, p| r.text(n, p, TEXT_BYTES_MAX));
    let patch =
        reader.optional(&fields, "patch", |r, n, p| r.parsed(n, p, "the id under which the patch was imported"));
    let eligible =
        reader.optional(&fields, "eligible", |r, n, p| r.unless_problems(|r| selector(r, n, p, &ELIGIBLE_FIELDS)));
    let on_call = reader.optional(&fields, "on_call", windows);
    let windows = reader.optional(&fields, "windows", windows);
    let freezes = reader.optional(&fields, "freezes", freezes);
    let accept = reader.optional(&fields, "accept", accept);
    let limits = reader.optional(&fields, "limits", limits);
    let health = reader.optional(&fields, "health", |r, n, p| r.unless_problems(|r| health(r, n, p)));
    let rollback = reader.optional(&fields, "rollback", rollback);
    let timing = reader.optional(&fields, "timing", |r, n, p| r.unless_problems(|r| timing(r, n, p)));
    let deadline = reader.optional(&fields, "deadline", deadline);
    let offline = reader.optional(&fields, "offline", offline);
    let waves = reader.required(&fields, "waves", "[ … ]", |r, n, p| r.list(n, p, wave));
    Some(Plan {
        name: name?,
        description: description.unwrap_or_default(),
        patch,
        eligible: eligible.unwrap_or_default(),
        waves: waves?,
        windows: windows.unwrap_or_default(),
        freezes: freezes.unwrap_or_default(),
        on_call: on_call.unwrap_or_default(),
        accept: accept.unwrap_or_default(),
        limits: limits.unwrap_or_default(),
        health: health.unwrap_or_default(),
        rollback: rollback.unwrap_or_default(),
        timing: timing.unwrap_or_default(),
        deadline,
        offline,
    })
}

fn wave(reader: &mut Reader, node: &Node, path: &str) -> Option<WavePlan> {
    let known = ["name", "select", "order", "windows", "limits", "soak", "gate", "deadline", "offline"];
    let fields = reader.fields(node, path, &known)?;
    let name = reader.required(&fields, "name", "canary", |r, n, p| {
        r.parsed(n, p, "a short word in small letters, such as canary, pilot or full")
    });
    let select = reader.required(&fields, "select", "{ remaining: true }", |r, n, p| {
        r.unless_problems(|r| selector(r, n, p, &SELECTOR_FIELDS))
    });
    let order = reader.optional(&fields, "order", order);
    let windows = reader.optional(&fields, "windows", windows);
    let limits = reader.optional(&fields, "limits", limits);
    let soak = reader.required(&fields, "soak", "8h", |r, n, p| r.duration(n, p, NONE, QUARTER));
    let gate = reader.optional(&fields, "gate", gate);
    let deadline = reader.optional(&fields, "deadline", deadline);
    let offline = reader.optional(&fields, "offline", offline);
    Some(WavePlan {
        name: name?,
        select: select?,
        order: order.unwrap_or_default(),
        windows: windows.unwrap_or_default(),
        limits: limits.unwrap_or_default(),
        soak: soak?,
        gate: gate.unwrap_or_default(),
        deadline,
        offline,
    })
}

fn limits(reader: &mut Reader, node: &Node, path: &str) -> Option<Limits> {
    let fields = reader.fields(node, path, &["per_site", "per_region", "total"])?;
    let count = |r: &mut Reader, n: &Node, p: &str| r.count(n, p, 1, LIMIT_MAX);
    Some(Limits {
        per_site: reader.optional(&fields, "per_site", count),
        per_region: reader.optional(&fields, "per_region", count),
        total: reader.optional(&fields, "total", count),
    })
}

fn health(reader: &mut Reader, node: &Node, path: &str) -> Option<HealthPolicy> {
    let fields = reader.fields(node, path, &["interval", "failures", "grace", "control"])?;
    let default = HealthPolicy::default();
    let interval = reader.optional(&fields, "interval", |r, n, p| r.duration(n, p, INTERVAL_MIN, DAY));
    let failures = reader.optional(&fields, "failures", |r, n, p| r.count(n, p, 1, 100));
    let grace = reader.optional(&fields, "grace", |r, n, p| r.duration(n, p, NONE, DAY));
    let control = reader.optional(&fields, "control", |r, n, p| r.unless_problems(|r| control(r, n, p)));
    Some(HealthPolicy {
        interval: interval.unwrap_or(default.interval),
        failures: failures.unwrap_or(default.failures),
        grace: grace.unwrap_or(default.grace),
        control,
    })
}

fn control(reader: &mut Reader, node: &Node, path: &str) -> Option<ControlPolicy> {
    let fields = reader.fields(node, path, &["wait_max"])?;
    let wait_max = reader.optional(&fields, "wait_max", |r, n, p| r.duration(n, p, SECOND, ControlPolicy::WAIT_MAX));
    Some(ControlPolicy { wait_max: wait_max.unwrap_or(ControlPolicy::default().wait_max) })
}

fn rollback(reader: &mut Reader, node: &Node, path: &str) -> Option<RollbackPolicy> {
    let words = [("device", Scope::Device), ("site", Scope::Site), ("wave", Scope::Wave), ("rollout", Scope::Rollout)];
    let fields = reader.fields(node, path, &["scope"])?;
    let scope = reader.optional(&fields, "scope", |r, n, p| r.word(n, p, &words));
    Some(RollbackPolicy { scope: scope.unwrap_or_default() })
}

fn gate(reader: &mut Reader, node: &Node, path: &str) -> Option<Gate> {
    let fields = reader.fields(node, path, &["success", "evidence_min", "failures_max", "test", "approvals"])?;
    let default = Gate::default();
    let success = reader.optional(&fields, "success", Reader::percent);
    let failures_max = reader.optional(&fields, "failures_max", |r, n, p| r.count(n, p, 0, LIMIT_MAX));
    let test = reader.optional(&fields, "test", |r, n, p| r.unless_problems(|r| gate_test(r, n, p)));
    let evidence_min = reader.optional(&fields, "evidence_min", |r, n, p| r.count(n, p, 1, LIMIT_MAX));
    let roles = Role::PEOPLE.map(|role| (role.word(), role));
    let approvals = reader.optional(&fields, "approvals", |r, n, p| r.list(n, p, |r, n, p| r.word(n, p, &roles)));
    Some(Gate {
        success: success.unwrap_or(default.success),
        evidence_min: evidence_min.unwrap_or(default.evidence_min),
        failures_max,
        test,
        approvals: approvals.unwrap_or_default(),
    })
}

fn gate_test(reader: &mut Reader, node: &Node, path: &str) -> Option<GateTest> {
    let fields = reader.fields(node, path, &["alpha", "harm", "miss", "background", "control_min"])?;
    let default = GateTest::default();
    let mut share = |name: &str| reader.optional(&fields, name, Reader::percent);
    let (alpha, harm, miss, background) = (share("alpha"), share("harm"), share("miss"), share("background"));
    let control_min = reader.optional(&fields, "control_min", |r, n, p| r.count(n, p, 1, LIMIT_MAX));
    Some(GateTest {
        alpha: alpha.unwrap_or(default.alpha),
        harm: harm.unwrap_or(default.harm),
        miss: miss.unwrap_or(default.miss),
        background,
        control_min: control_min.unwrap_or(default.control_min),
    })
}
