//! How large the waves are, beside each other and beside what is asked of them.

use std::collections::BTreeSet;

use super::advice::{Advice, Waves};
use crate::{language::Rule, model::SiteId};

/// A wave of more than so many times the one before learns too little from it.
const STEP_MAX: usize = 10;
/// A first wave of more devices than this, and than a tenth of all, is no canary; the description for signers says so too.
const CANARIES_MAX: usize = 5;
/// From so many devices on one success is thin evidence.
const MANY: usize = 10;

pub(super) fn advise(advice: &mut Advice<'_>, waves: Waves<'_, '_>) {
    let sizes: Vec<usize> = waves.iter().map(Vec::len).collect();
    let total: usize = sizes.iter().sum();
    if sizes.len() < 2 {
        return;
    }
    if sizes[0] > CANARIES_MAX && sizes[0] * 10 > total {
        let message = format!("the first wave has {} of all {total} devices", sizes[0]);
        advice.add(Rule::LargeCanary, Some(0), "select", message, "a tenth of them at most");
    }
    canary_at_one_site(advice, waves);
    for (index, pair) in sizes.windows(2).enumerate() {
        if pair[1] > pair[0].saturating_mul(STEP_MAX) {
            let message =
                format!("wave {} has {} devices, and the one before {}", name(advice, index + 1), pair[1], pair[0]);
            let hint = "put a wave between them, of up to ten times the smaller";
            advice.add(Rule::LargeStep, Some(index + 1), "select", message, hint);
        }
        let gate = &advice.plan().waves[index].gate;
        if pair[0] >= MANY && gate.evidence_min == 1 && gate.test.is_none() {
            let message =
                format!("one success of the {} devices of wave {} is enough evidence", pair[0], name(advice, index));
            advice.add(
                Rule::ThinEvidence,
                Some(index),
                "gate.evidence_min",
                message,
                "ask for as many as you would trust",
            );
        }
    }
    // The first of equals: whoever approves it has seen the least.
    let largest = (1..sizes.len()).max_by_key(|index| (sizes[*index], sizes.len() - index));
    if let Some(largest) = largest.filter(|index| advice.plan().waves[index - 1].gate.approvals.is_empty()) {
        let message = format!(
            "wave {}, the largest ({}), begins without anybody's approval",
            name(advice, largest),
            sizes[largest]
        );
        let hint = "add `approvals: [clinical]` to this gate";
        advice.add(Rule::UnapprovedLargest, Some(largest - 1), "gate", message, hint);
    }
}

fn name(advice: &Advice<'_>, wave: usize) -> String {
    advice.plan().waves[wave].name.to_string()
}

fn canary_at_one_site(advice: &mut Advice<'_>, waves: Waves<'_, '_>) {
    let sites = |wave: &Vec<_>| -> BTreeSet<&SiteId> {
        wave.iter().map(|c: &&super::survey::Candidate<'_>| &c.site.site).collect()
    };
    let first = sites(&waves[0]);
    let elsewhere = waves[1..].iter().flatten().any(|candidate| !first.contains(&candidate.site.site));
    if let (Some(site), 1, true) = (first.first(), first.len(), elsewhere) {
        let message =
            format!("the whole first wave ({}) is at {site}: what is special there stands for all", waves[0].len());
        advice.add(Rule::CanaryAtOneSite, Some(0), "select", message, "choose them at two sites or more");
    }
}
