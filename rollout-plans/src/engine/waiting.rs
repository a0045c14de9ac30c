//! Why nothing is happening: always answered.

use super::{
    RolloutState, State, Waiting, WaitingOn, WaveState,
    approvals::EVIDENCE_ROLES,
    deployment::Back,
    gate::{self, Finding},
    pending::Pending,
    record::Record,
};
use crate::model::{Command, DeploymentState, GateAnswer, GateRule, SiteId, Timestamp};

/// Most silent sites named; the counts say how many there are.
const SITES_NAMED_MAX: usize = 20;

impl Record {
    /// The version that changed a wave, if one did.
    fn changed_in(&self, w: u16) -> Option<u32> {
        self.document.waves.get(usize::from(w)).map(|wave| wave.since).filter(|since| *since > 1)
    }
}

impl State {
    /// Why a wave does not move.
    pub(super) fn wave_waiting(&self, r: usize, w: u16) -> Option<Waiting> {
        let record = &self.rollouts[r];
        let wave = &record.waves[usize::from(w)];
        let index = &record.index.waves[usize::from(w)];
        let waiting = |on, since| Some(Waiting { on, since, until: None });
        match record.state {
            RolloutState::Draft => return waiting(WaitingOn::Signatures, record.since),
            RolloutState::Signed => return waiting(WaitingOn::Start, record.since),
            _ => {}
        }
        match wave.state {
            WaveState::Pending | WaveState::AwaitingApproval | WaveState::Running | WaveState::Soaking
                if record.state.is_ended() || record.state == RolloutState::RollingBack =>
            {
                waiting(self.left_over(r, w), record.since)
            }
            WaveState::Pending if self.held_back(r, w).is_some() => {
                self.held_back(r, w).map(|(on, since)| Waiting { on, since, until: None })
            }
            WaveState::Pending => waiting(self.before_wave(r, w), record.waves[usize::from(w.saturating_sub(1))].since),
            WaveState::AwaitingApproval => {
                let roles = wave.approvals.missing(&record.wave_plan(w.saturating_sub(1)).gate.approvals, false);
                if roles.is_empty() {
                    if let Some((on, since)) = self.held_back(r, w) {
                        return waiting(on, since);
                    }
                    return waiting(self.standing(r).unwrap_or(WaitingOn::Start), record.since);
                }
                waiting(WaitingOn::Approval { roles, changed_in: record.changed_in(w), next: None }, wave.since)
            }
            WaveState::Running | WaveState::Soaking => self.under_way_waiting(r, w),
            // The last wave has passed, and a rollout that stands does not complete.
            WaveState::Passed if usize::from(w) + 1 == record.waves.len() => match self.standing(r) {
                Some(on) => waiting(on, record.since.max(wave.since)),
                None if record.state.is_ended() => None,
                None => record.hold_waiting(w).map(|(on, since)| Waiting { on, since, until: None }),
            },
            WaveState::Passed => None,
            WaveState::Failed | WaveState::RolledBack if !record.is_active() => None,
            WaveState::Failed | WaveState::RolledBack => {
                waiting(WaitingOn::Decision { reason: record.reason.clone() }, wave.since)
            }
            WaveState::RollingBack if record.asks_people() => {
                waiting(WaitingOn::Decision { reason: record.reason.clone() }, wave.since)
            }
            WaveState::RollingBack => {
                let unknown = index.counts.of(DeploymentState::Unknown);
                if unknown > 0 && unknown == index.counts.in_hand() {
                    return waiting(WaitingOn::SilentSites { sites: self.silent_sites(r, w) }, wave.since);
                }
                waiting(WaitingOn::Rollbacks { open: index.wanting.max(index.counts.in_hand()) }, wave.since)
            }
        }
    }

    /// What goes on in a wave that had not been decided when its rollout ended, or was to be taken back.
    fn left_over(&self, r: usize, w: u16) -> WaitingOn {
        let record = &self.rollouts[r];
        let counts = &record.index.waves[usize::from(w)].counts;
        let (hand, unknown) = (counts.in_hand(), counts.of(DeploymentState::Unknown));
        match hand {
            0 => WaitingOn::Ended { state: record.state },
            _ if unknown == hand => WaitingOn::SilentSites { sites: self.silent_sites(r, w) },
            open => WaitingOn::Deployments { open },
        }
    }

    /// Nothing but people's holds keeps a wave from beginning.
    fn held_back(&self, r: usize, w: u16) -> Option<(WaitingOn, Timestamp)> {
        let (record, before) = (&self.rollouts[r], w.checked_sub(1)?);
        let passed = record.waves[usize::from(before)].state == WaveState::Passed;
        record.hold_waiting(before).filter(|_| passed && self.standing(r).is_none())
    }

    /// What a wave that has not begun waits for.
    fn before_wave(&self, r: usize, w: u16) -> WaitingOn {
        let record = &self.rollouts[r];
        let Some(before) = w.checked_sub(1) else { return WaitingOn::Start };
        let passed = record.waves[usize::from(before)].state == WaveState::Passed;
        let lost = record.waves.iter().any(|w| w.state.is_lost());
        // Passed, and still not begun: only a standing rollout does that. After a lost wave nothing follows.
        match self.standing(r).filter(|_| passed || lost) {
            Some(on) => on,
            None => WaitingOn::EarlierWave { wave: record.document.waves[usize::from(before)].name.clone() },
        }
    }

    /// Whom a standing rollout waits for.
    fn standing(&self, r: usize) -> Option<WaitingOn> {
        let record = &self.rollouts[r];
        let reason = record.reason.clone();
        match record.state {
            RolloutState::Paused | RolloutState::Halted if record.waves.iter().any(|w| w.state.is_lost()) => {
                Some(WaitingOn::Decision { reason })
            }
            RolloutState::Paused | RolloutState::Halted => {
                let resume = |p: &&Pending| matches!(p.order.command, Command::Resume { .. });
                Some(match record.pending.iter().find(resume) {
                    Some(pending) => WaitingOn::SecondSignature {
                        order: pending.order.counter,
                        signed_by: pending.signers.iter().map(|s| s.holder.clone()).collect(),
                        roles: pending.roles.clone(),
                    },
                    None => WaitingOn::Resume { reason },
                })
            }
            _ => None,
        }
    }

    fn under_way_waiting(&self, r: usize, w: u16) -> Option<Waiting> {
        use DeploymentState::{Pending, Soaking, Unknown};
        let record = &self.rollouts[r];
        let wave = &record.waves[usize::from(w)];
        let index = &record.index.waves[usize::from(w)];
        let counts = &index.counts;
        if let Some(on) = self.standing(r) {
            return Some(Waiting { on, since: record.since, until: None });
        }
        if let Some(since) = wave.short_since
            && let gate::Verdict::Decided(Finding { answer: GateAnswer::Inconclusive, rule, have, need, text, .. }) =
                record.verdict(w)
        {
            let next = record.waves.get(usize::from(w) + 1);
            let missing = next.map_or_else(Vec::new, |n| n.approvals.missing(&EVIDENCE_ROLES, true));
            let half = !missing.is_empty() && missing.len() < EVIDENCE_ROLES.len();
            let on = match rule {
                _ if half => {
                    let next = record.document.waves.get(usize::from(w) + 1).map(|wave| wave.name.clone());
                    WaitingOn::Approval { roles: missing, changed_in: record.changed_in(w + 1), next }
                }
                GateRule::Unshown => WaitingOn::CheckableEvidence { have, need },
                GateRule::EvidenceMin => WaitingOn::Evidence { have, need },
                _ => WaitingOn::GateTest { finding: text },
            };
            return Some(Waiting { on, since, until: None });
        }
        let open = counts.open();
        if counts.of(Unknown) > 0 && counts.of(Unknown) + counts.of(Soaking) == counts.in_hand() {
            let sites = self.silent_sites(r, w);
            let at = sites.iter().filter_map(|site| record.site_at(site.as_str()));
            let since = at.filter_map(|at| self.silent_since(r, at, w)).min().unwrap_or(wave.since);
            return Some(Waiting { on: WaitingOn::SilentSites { sites }, since, until: None });
        }
        if counts.of(Soaking) > 0 && counts.of(Soaking) == counts.in_hand() {
            let began = wave.soak_began.unwrap_or(wave.since);
            let on = WaitingOn::Soak { soaking: counts.of(Soaking) };
            return Some(Waiting { on, since: began, until: Some(began.after(record.wave_plan(w).soak)) });
        }
        if counts.in_hand() == 0 && counts.of(Pending) > 0 {
            let first = record.wave_range(w).find(|d| self.deployment(r, *d).state == Pending);
            if let Some(waiting) = first.and_then(|d| self.pending_waiting(r, d, wave.since)) {
                return Some(waiting);
            }
        }
        Some(Waiting { on: WaitingOn::Deployments { open }, since: wave.since, until: None })
    }

    fn silent_sites(&self, r: usize, w: u16) -> Vec<SiteId> {
        let record = &self.rollouts[r];
        let range = record.wave_range(w);
        let silent = |at: &&u32| {
            let hand = &record.index.places[**at as usize].hand;
            hand.range(range.clone()).any(|d| self.deployment(r, *d).state == DeploymentState::Unknown)
        };
        let sites = record.index.waves[usize::from(w)].sites.iter().filter(silent).take(SITES_NAMED_MAX);
        sites.map(|at| record.sites[*at as usize].clone()).collect()
    }

    /// Why a pending deployment of a wave under way has not been offered.
    pub(super) fn pending_waiting(&self, r: usize, d: u32, since: Timestamp) -> Option<Waiting> {
        let at = self.deployment(r, d).site;
        let waiting = |on| Waiting { on, since, until: None };
        let window = || self.window_waiting(r, d, since);
        let site = |on| match on {
            WaitingOn::SilentSites { .. } => {
                let silent = self.silent_since(r, at, self.deployment(r, d).wave);
                Waiting { on, since: silent.unwrap_or(since), until: self.left_out_at(r, at) }
            }
            on => waiting(on),
        };
        (self.site_barred(r, at).map(site).or_else(window))
            .or_else(|| self.prerequisite_barred(r, d).or_else(|| self.device_barred(r, d)).map(waiting))
            .or_else(|| self.region_barred(r, at).or_else(|| self.total_limit(r)).map(waiting))
    }

    /// Why a deployment does not move.
    pub(super) fn deployment_waiting(&self, r: usize, d: u32) -> Option<Waiting> {
        let record = &self.rollouts[r];
        let deployment = self.deployment(r, d);
        let waiting = |on, until| Some(Waiting { on, since: deployment.since, until });
        let silent = || WaitingOn::SilentSites { sites: vec![record.sites[deployment.site as usize].clone()] };
        if deployment.back == Back::Waiting {
            let barred = self.device_barred(r, d).unwrap_or(WaitingOn::Rollbacks { open: 1 });
            return waiting(if deployment.state == DeploymentState::Unknown { silent() } else { barred }, None);
        }
        let not_begun = deployment.state.is_in_hand() && !deployment.state.may_be_installed();
        if deployment.back == Back::Told && not_begun && deployment.state != DeploymentState::Unknown {
            // Its node must confirm that nothing is left on the device.
            let site = record.sites[deployment.site as usize].clone();
            return waiting(WaitingOn::Confirmation { site }, None);
        }
        match deployment.state {
            DeploymentState::Pending => {
                let wave = &record.waves[usize::from(deployment.wave)];
                if record.state.is_ended() || record.state == RolloutState::RollingBack {
                    return waiting(WaitingOn::Ended { state: record.state }, None).map(|w| later(w, record.since));
                }
                if !wave.state.is_under_way() || self.standing(r).is_some() {
                    return self.wave_waiting(r, deployment.wave);
                }
                self.pending_waiting(r, d, deployment.since.max(record.began(deployment.wave)))
            }
            DeploymentState::Deferred => {
                if let Some(on) = self.standing(r) {
                    return waiting(on, None).map(|w| later(w, record.since));
                }
                if let Some(since) = deployment.note.as_ref().and_then(|n| n.shut_since)
                    && let Some(waiting) = self.window_waiting(r, d, since)
                {
                    return Some(waiting);
                }
                let began = deployment.note.as_ref().and_then(|n| n.deferred_since).unwrap_or(deployment.since);
                let until = began.after(record.document.plan.timing.defer_max);
                waiting(WaitingOn::Device { reason: deployment.reason().to_owned() }, Some(until))
            }
            DeploymentState::Soaking => {
                waiting(WaitingOn::Soak { soaking: 1 }, Some(deployment.soak_end(&record.document.plan)))
            }
            DeploymentState::Unknown => waiting(silent(), None),
            DeploymentState::RollbackFailed => {
                waiting(WaitingOn::Decision { reason: deployment.reason().to_owned() }, None)
            }
            // Not begun, and a standing rollout begins nothing.
            DeploymentState::Offered
            | DeploymentState::Downloading
            | DeploymentState::Staged
            | DeploymentState::Preflight
                if deployment.back == Back::No =>
            {
                waiting(self.standing(r)?, None).map(|w| later(w, record.since))
            }
            _ => None,
        }
    }
}

/// Not since before `since`: what it waits for is newer than the state that it is in.
fn later(waiting: Waiting, since: Timestamp) -> Waiting {
    Waiting { since: waiting.since.max(since), ..waiting }
}
