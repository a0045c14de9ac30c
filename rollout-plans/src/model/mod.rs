//! The words of DESIGN.md as types: everything that is written down, signed or sent.
//!
//! **Invariant:** a serialised form is a contract; fields are only added, with a default.

mod accept;
mod audit;
mod deployment;
mod directive;
mod estate;
mod gate;
mod id;
mod installer;
mod order;
mod patch;
mod patience;
mod plan;
mod platform;
mod precedence;
mod report;
mod rollout;
mod selector;
mod time;
mod window;
mod windows;

pub use accept::{ACCEPT_REASON_BYTES_MAX, ACCEPTED_MAX, Acceptance, COMBINATIONS_MAX, Combined};
pub use audit::{AuditEntry, DIRECTIVES_OF_ENTRY_MAX, DirectiveMark, FileMark, NodeKey};
pub use deployment::DeploymentState;
pub use directive::{
    Directive, FAILURE_BYTES_MAX, FAILURES_MAX, Failure, Goal, GoalAction, Mode, PASSAGE_BYTES_MAX, PROOFS_MAX,
    Passage, Pin, Proven, SiteRollout,
};
pub use estate::{ClinicalSystem, Device, Labels, SITE_DEVICES_MAX, SiteInventory};
pub use gate::{
    ApprovedBy, Compared, ControlCounts, Gate, GateAnswer, GateDecision, GateRule, GateTest, Millionths,
    PROOFS_ASKED_MAX, TestFound,
};
pub use id::{DeviceId, GroupId, ID_LEN_MAX, InvalidId, PatchId, RolloutId, SiteId, SystemId, VariantId, WaveName};
pub use installer::{Detection, FileVersion, Installer, Interpreter, PackageManager, Sign};
pub use order::{
    Command, HOLDS_MAX, LIFTED_HALTS_MAX, Lacking, Needs, Order, REASON_BYTES_MAX, RollBackTarget,
    SECOND_SIGNATURE_WITHIN, Signatory,
};
pub use patch::{
    CHUNK_BYTES, CHUNK_BYTES_MAX, CHUNKS_MAX, PAYLOAD_BYTES_MAX, Patch, Payload, Prerequisite, RebootNeed, Severity,
    Span, Variant,
};
pub use patience::{Deadline, Late, Offline, Retries, moment, moment_words};
pub use plan::{
    ControlPolicy, HealthPolicy, Limits, Percent, Plan, RollbackPolicy, Scope, Timing, WAVES_MAX, WavePlan,
};
pub use platform::{InvalidPlatform, Platform};
pub use precedence::{PRECEDENCE_VALUES_MAX, PRECEDENCES_MAX, Precedence, PrecedenceBy};
pub use report::{Detected, EVIDENCE_TEXT_MAX, Evidence, Health, ProbeAnswer, Report, ReportBody};
pub use rollout::{ANCESTORS_MAX, Member, Reporter, Reporters, ResolvedWave, Rollout};
pub use selector::{Axis, REPRESENTATIVE_MAX, Selector};
pub use time::{DurationMs, Timestamp};
pub use window::{
    CalendarDate, ClockTime, Day, FREEZE_DAYS_MAX, FREEZE_REASON_BYTES_MAX, FREEZES_MAX, Freeze, SiteHours,
    TimeZoneName, WINDOWS_MAX, Window,
};
pub use windows::{InvalidVersion, NtVersion, Version};
