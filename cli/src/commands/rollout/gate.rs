//! What a gate decided, for programs.

use std::collections::BTreeMap;

use serde::Serialize;
use wardround_proto::v1;

use super::shown::by_state;
use crate::when;

/// A gate's answer with what it went by.
#[derive(Debug, Serialize)]
pub(crate) struct Decision {
    pub(crate) at: Option<String>,
    /// "success", "failure", "inconclusive".
    pub(crate) answer: String,
    pub(crate) rule: String,
    pub(crate) early: bool,
    pub(crate) let_pass: bool,
    pub(crate) deployments: BTreeMap<String, u64>,
    pub(crate) control: Option<Control>,
    pub(crate) test: Option<Test>,
    pub(crate) approvals: Vec<Approval>,
    pub(crate) held_by: Vec<String>,
}

/// Unpatched peers.
#[derive(Debug, Serialize)]
pub(crate) struct Control {
    pub(crate) systems: u64,
    pub(crate) failed: u64,
}

/// An exact test; parts per million, rounded up.
#[derive(Debug, Serialize)]
pub(crate) struct Test {
    pub(crate) compared: String,
    pub(crate) p_ppm: u32,
    pub(crate) alarm_at_ppm: u32,
    pub(crate) missed_ppm: Option<u32>,
    pub(crate) miss_max_ppm: u32,
}

/// A person who approved the next wave.
#[derive(Debug, Serialize)]
pub(crate) struct Approval {
    pub(crate) holder: String,
    pub(crate) roles: Vec<String>,
}

impl Decision {
    pub(crate) fn new(d: &v1::GateDecision) -> Self {
        let approval = |a: &v1::GateApproval| Approval { holder: a.holder.clone(), roles: a.roles.clone() };
        Self {
            at: when::rfc3339(d.at_ms),
            answer: d.answer.clone(),
            rule: d.rule.clone(),
            early: d.early,
            let_pass: d.let_pass,
            deployments: by_state(&d.deployments),
            control: d.control.as_ref().map(|c| Control { systems: c.systems, failed: c.failed }),
            test: d.test.as_ref().map(|t| Test {
                compared: t.compared.clone(),
                p_ppm: t.p_ppm,
                alarm_at_ppm: t.alarm_at_ppm,
                missed_ppm: t.missed_ppm,
                miss_max_ppm: t.miss_max_ppm,
            }),
            approvals: d.approvals.iter().map(approval).collect(),
            held_by: d.held_by.clone(),
        }
    }
}
