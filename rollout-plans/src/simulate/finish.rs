//! The end of a run: what is left is counted.

use super::{
    run::{End, Run, Tally, WaveRun},
    world::{Phase, World},
};
use crate::{
    engine::{RolloutState, WaveState},
    model::DeploymentState,
};

impl World<'_> {
    pub(super) fn finish(self) -> Run {
        let view = self.state.rollout(&self.p.id);
        let (mut tally, mut states) = (Tally::default(), Vec::new());
        for wave in view.iter().flat_map(|view| &view.waves) {
            let of = |state| wave.deployments.get(&state).copied().unwrap_or(0);
            tally.succeeded += of(DeploymentState::Succeeded);
            tally.failed += of(DeploymentState::Failed);
            tally.skipped += of(DeploymentState::Skipped);
            tally.stuck += of(DeploymentState::RollbackFailed);
            tally.untouched += of(DeploymentState::Pending);
            tally.rolled_back += of(DeploymentState::RolledBack);
            tally.in_hand += DeploymentState::ALL.into_iter().filter(|s| s.is_in_hand()).map(of).sum::<u64>();
            states.push((wave.name.to_string(), wave.count, wave.state));
        }
        tally.all = self.p.members.len() as u64;
        (tally.reached, tally.harmed, tally.taken_back) = (self.reached, self.harmed, self.taken_back);
        tally.still_harmed = self.devices.iter().filter(|dev| dev.broken && dev.phase != Phase::Idle).count() as u64;
        let state = view.as_ref().map(|view| view.state);
        let out_of_time = self.now >= self.end_of_time();
        let end = match state {
            Some(RolloutState::Completed) => End::Completed,
            Some(RolloutState::RolledBack) => End::RolledBack,
            Some(RolloutState::Halted | RolloutState::Paused) => End::Stopped,
            _ if states.iter().any(|(_, _, state)| is_lost(*state)) => End::Stopped,
            _ if out_of_time && self.waits_for_people() => End::Waits,
            _ if out_of_time => End::OutOfTime,
            _ => End::Waits,
        };
        let since = |at: Option<i64>| at.map(|at| u64::try_from(at - self.p.start.0).unwrap_or(0));
        let last = if self.stop.is_some() || end == End::Completed { self.moved } else { self.now };
        let ended_ms = u64::try_from(last - self.p.start.0).unwrap_or(0);
        let (at_risk, curve, most) = self.risk.finish(last, self.p);
        let waves = states
            .into_iter()
            .enumerate()
            .map(|(w, (name, count, state))| WaveRun {
                name,
                count,
                state: state.word().to_owned(),
                began_ms: since(self.began[w]),
                first_install_ms: since(self.first_install[w]),
                installed_ms: since(self.installed[w]),
                passed_ms: since(self.passed[w]),
                harmed: self.harmed_in[w],
                at_risk: most[w],
            })
            .collect();
        Run {
            seed: self.seed,
            end,
            reason: view.map_or_else(String::new, |view| view.reason),
            ended_ms,
            devices: tally,
            stop: self.stop,
            at_risk,
            waves,
            waits: self.waits.finish(self.p),
            curve,
            events: self.events,
        }
    }
}

fn is_lost(state: WaveState) -> bool {
    matches!(state, WaveState::Failed | WaveState::RollingBack | WaveState::RolledBack)
}
