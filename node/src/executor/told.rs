//! What a person at the site reads in the node's log: every report as it is made, also while nobody else hears of it.

use wardround_rollout_plans::model::{DeploymentState, Health, Report, ReportBody, Timestamp};

use crate::machine::NodeState;

/// Logs what was reported after sequence number `last`.
pub(super) fn reports(state: &NodeState, last: u64) {
    state.outbox().waiting().filter(|report| report.seq > last).for_each(tell);
}

fn tell(report: &Report) {
    match &report.body {
        ReportBody::Deployment { rollout, device, state, reason, .. } => {
            use DeploymentState as S;
            if matches!(state, S::Failed | S::RollingBack | S::RolledBack | S::RollbackFailed) {
                tracing::warn!(%rollout, %device, state = state.word(), reason, "a deployment moved");
            } else {
                tracing::info!(%rollout, %device, state = state.word(), reason, "a deployment moved");
            }
        }
        ReportBody::Health { system, health: Health::Unhealthy, .. } => {
            tracing::warn!(%system, "a clinical system fails");
        }
        ReportBody::Health { system, health, .. } => tracing::info!(%system, ?health, "a clinical system"),
        ReportBody::Refused { what, why, .. } => tracing::warn!(what, why, "refused"),
        ReportBody::Alarm { code, text, .. } => tracing::warn!(code, text, "alarm"),
        ReportBody::HaltKnown { rollout, counter } => tracing::warn!(%rollout, counter, "the rollout is halted"),
        ReportBody::Inventory { .. } => {}
    }
}

/// Logs once when what the controller said last has run out, and once when there is news again.
pub(super) fn expiry(state: &NodeState, was: &mut bool, now: Timestamp) {
    let is = state.has_expired(now);
    if is && !*was {
        let text = "the controller's last directive has expired: nothing new begins until it answers; what has begun is ended, \
                    watched, and taken back where it hurts";
        tracing::warn!("{text}");
    } else if *was && !is {
        tracing::info!("the controller's directives are fresh again");
    }
    *was = is;
}
