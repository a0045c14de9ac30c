//! The views that people see, made from the state.

use std::collections::BTreeMap;

use super::{
    AmendmentView, DeploymentView, HaltSpread, HaltView, PendingView, RolloutState, RolloutView, State, WaveView,
    pending::Pending, record::InForce, record::Record, rollback::needing_a_person,
};
use crate::model::{DeploymentState, RolloutId, WaveName};

impl State {
    pub(super) fn rollout_view(&self, id: &RolloutId) -> Option<RolloutView> {
        let r = *self.by_id.get(id)?;
        let record = &self.rollouts[r];
        let confirmed = record.halt.iter().flat_map(|h| &h.confirmed);
        Some(RolloutView {
            id: id.clone(),
            patch: record.document.patch.clone(),
            plan: record.document.plan.name.clone(),
            digest: record.digest,
            version: record.document.version,
            amendment: record.amendment_view(),
            state: record.state,
            state_since: record.since,
            // Counted now: a person may have had a failed rollback tried again since.
            reason: match record.state {
                RolloutState::RolledBack => format!("{}{}", record.reason, needing_a_person(record.stuck())),
                _ => record.reason.clone(),
            },
            waves: (0..record.waves.len()).map(|w| self.wave_view(r, w)).collect(),
            order_counter: record.order_counter,
            created_at: record.created_at,
            started_at: record.started_at,
            ended_at: record.ended_at,
            halt: HaltSpread {
                sites: record.sites.clone(),
                confirmed: confirmed.map(|at| record.sites[*at as usize].clone()).collect(),
            },
            halts_in_force: record.halts_in_force.iter().map(halt_view).collect(),
            pending: record.pending.iter().map(pending_view).collect(),
        })
    }

    fn wave_view(&self, r: usize, w: usize) -> WaveView {
        let record = &self.rollouts[r];
        let (wave, index) = (&record.waves[w], &record.index.waves[w]);
        let count = |s: DeploymentState| (s, index.counts.of(s));
        let deployments: BTreeMap<_, _> = DeploymentState::ALL.into_iter().map(count).filter(|(_, n)| *n > 0).collect();
        WaveView {
            name: record.document.waves[w].name.clone(),
            state: wave.state,
            state_since: wave.since,
            count: record.document.waves[w].count,
            deployments,
            waiting: u16::try_from(w).ok().and_then(|w| self.wave_waiting(r, w)),
            gate: wave.gate.clone(),
            decision: wave.decision.as_deref().cloned(),
            holds: record.hold_views(&record.document.waves[w].name),
        }
    }

    pub(super) fn deployment_views(
        &self,
        id: &RolloutId,
        wave: Option<&WaveName>,
        state: Option<DeploymentState>,
        after: Option<u64>,
        limit: usize,
    ) -> Vec<DeploymentView> {
        let mut views = Vec::new();
        let Some(r) = self.by_id.get(id).copied() else { return views };
        let record = &self.rollouts[r];
        let first = after.map_or(0, |a| u32::try_from(a.saturating_add(1)).unwrap_or(u32::MAX));
        for (w, index) in record.index.waves.iter().enumerate() {
            let wanted = wave.is_none_or(|name| record.document.waves[w].name == *name);
            // A wave that has none in the wanted state is not searched.
            if !wanted || state.is_some_and(|s| index.counts.of(s) == 0) {
                continue;
            }
            for d in index.range.start.max(first)..index.range.end {
                if views.len() >= limit {
                    return views;
                }
                if state.is_none_or(|s| self.deployment(r, d).state == s) {
                    views.push(self.deployment_view(r, d));
                }
            }
        }
        views
    }

    fn deployment_view(&self, r: usize, d: u32) -> DeploymentView {
        let record = &self.rollouts[r];
        let deployment = self.deployment(r, d);
        DeploymentView {
            index: u64::from(d),
            device: deployment.device.clone(),
            wave: record.document.waves[usize::from(deployment.wave)].name.clone(),
            state: deployment.state,
            state_since: deployment.since,
            reason: deployment.reason().to_owned(),
            attempt: deployment.attempt,
            evidence: deployment.note.as_ref().map(|n| n.evidence.open()).unwrap_or_default(),
            waiting: self.deployment_waiting(r, d),
        }
    }
}

impl Record {
    fn amendment_view(&self) -> Option<AmendmentView> {
        let next = self.next.as_ref()?;
        Some(AmendmentView {
            version: next.document.version,
            digest: next.digest,
            signed: next.signed,
            since: next.since,
            problem: next.problem.clone(),
            approvals: self.awaited(),
            added: next.added,
            removed: next.removed,
            moved: next.moved,
        })
    }
}

fn halt_view(halt: &InForce) -> HaltView {
    HaltView { order: halt.order, counter: halt.counter, by: halt.by.clone(), reason: halt.reason.clone(), at: halt.at }
}

fn pending_view(pending: &Pending) -> PendingView {
    PendingView {
        counter: pending.order.counter,
        what: pending.order.command.sentence(),
        signed_by: pending.signers.iter().map(|s| s.holder.clone()).collect(),
        roles: pending.roles.clone(),
        reason: pending.order.reason.clone(),
        since: pending.since,
        until: pending.until,
        envelope: pending.envelope.clone(),
    }
}
