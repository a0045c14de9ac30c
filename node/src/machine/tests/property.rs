//! Random histories with crashes: the fold is deterministic, no install happens twice, halts and limits hold, and after
//! everything is healed every deployment ends.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, prelude::*};
use wardround_rollout_plans::model::{
    DeploymentState, Detected, DurationMs, GoalAction, Mode, Retries, Scope, Timestamp, Window,
};

use super::rig::{
    Rig, answer, checked, fault, goal, installed, order, preflight, present, ready, replay, uninstalled, word,
};
use crate::machine::{Action, FaultKind, Found, Input, InstallOutcome, NodeState, Phase, PreflightFound, Verb};

/// How much of each hour a plan with windows allows.
const OPEN_MINUTES: u32 = 40;
const NAMES: [&str; 3] = ["ct-01", "ct-02", "lab-01"];

/// A device as it really is, behind its launcher.
#[derive(Default)]
struct Truth {
    installed: bool,
    /// Results by operation id: a repeated id is answered from the record, as the launcher does.
    installs: BTreeMap<String, bool>,
    uninstalls: BTreeSet<String>,
}

struct World {
    rig: Rig,
    truth: BTreeMap<&'static str, Truth>,
    /// Counters of halts and resumes given so far; the oracle for "halted".
    top: u64,
    halted: bool,
    seen_given: usize,
    /// The plan has a window in each hour.
    hourly: bool,
}

impl World {
    fn new(scope: Scope, hourly: bool) -> Self {
        let mut rig = Rig::new(scope);
        rig.wishes.rollouts[0].policy.per_site = 2;
        if hourly {
            let clock = |hour: u32, minute: u32| format!("{hour:02}:{minute:02}").parse().unwrap();
            let window = |hour| Window { days: Vec::new(), from: clock(hour, 0), to: clock(hour, OPEN_MINUTES) };
            rig.wishes.rollouts[0].policy.windows = (0..24).map(window).collect();
            // Such plans also have failed installs tried again.
            rig.wishes.rollouts[0].policy.retries = Retries { most: 2, ..Retries::default() };
        }
        rig.wish(|w| w.goals = NAMES.iter().map(|n| goal(n, GoalAction::Install, 1)).collect());
        let truth = NAMES.into_iter().map(|n| (n, Truth::default())).collect();
        let mut world = Self { rig, truth, top: 1, halted: false, seen_given: 0, hourly };
        world.check();
        world
    }

    /// After each step: what was given out, and what must always hold.
    fn check(&mut self) {
        for (action, at) in self.rig.given.iter().zip(&self.rig.given_at).skip(self.seen_given) {
            let truth = &self.truth[action.device.name()];
            if let Verb::Install { may_begin: true, .. } = action.verb {
                // Taking up what has begun is no new install.
                let begun = truth.installs.contains_key(&action.op);
                assert!(begun || !self.halted, "S3: {} may begin under a halt", action.op);
                // The window less the room for an install: ten minutes, and two for its reboot.
                let minute = at.0 % 3_600_000 / 60_000;
                let open = !self.hourly || minute < i64::from(OPEN_MINUTES) - 12 || at.0 % 3_600_000 == 28 * 60_000;
                assert!(begun || open, "{} may begin at minute {minute}, when it might not end in time", action.op);
            }
            if word(&action.verb) == "preflight" {
                let placed = self.rig.state.deployments().filter(|(_, _, d)| d.phase.holds_place()).count();
                let going_back =
                    self.rig.state.deployments().filter(|(_, _, d)| d.state == DeploymentState::RollingBack).count();
                assert!(placed - going_back <= 2, "S4: {placed} in hand where 2 may be");
            }
        }
        self.seen_given = self.rig.given.len();
        for (_, device, deployment) in self.rig.state.deployments().filter(|(_, _, d)| d.busy) {
            let own = self.rig.open.iter().filter(|a| a.device == *device && a.task == deployment.task);
            assert_eq!(own.count(), 1, "{device} is busy: one task will answer");
        }
    }

    /// The device does what the task says, or the line to it is bad.
    fn answer(&mut self, pick: u8, how: u8) {
        if self.rig.open.is_empty() {
            return;
        }
        let action = self.rig.open[usize::from(pick) % self.rig.open.len()].clone();
        let found = self.act(&action, how);
        let name = NAMES.into_iter().find(|n| *n == action.device.name()).unwrap();
        self.rig.done(name, found);
        self.check();
    }

    fn act(&mut self, action: &Action, how: u8) -> Found {
        let name = NAMES.into_iter().find(|n| *n == action.device.name()).unwrap();
        let slow = self.hourly;
        let truth = self.truth.get_mut(name).unwrap();
        let detected = |t: &Truth| if t.installed { present() } else { Detected::Absent };
        if how % 8 == 7 {
            return fault(match how / 8 % 4 {
                0 => FaultKind::Disk,
                1 => FaultKind::Other,
                _ => FaultKind::Unreachable,
            });
        }
        match &action.verb {
            Verb::Fetch => Found::Fetched,
            Verb::Stage { .. } => Found::Staged,
            Verb::Cleanup { .. } => Found::Cleaned,
            Verb::Reboot { .. } if how % 16 == 6 => fault(FaultKind::RebootTimeout),
            Verb::Reboot { .. } => Found::Rebooted,
            Verb::Preflight { .. } => {
                let in_use = (how % 4 == 3).then(|| "in use".to_owned());
                preflight(PreflightFound { before: detected(truth), in_use, ..ready(name) })
            }
            Verb::Install { may_begin, .. } => {
                if !truth.installs.contains_key(&action.op) {
                    if !may_begin {
                        return fault(FaultKind::NotBegun);
                    }
                    let works = how % 8 < 5;
                    assert!(!(works && truth.installed), "{} installs on top of an install", action.op);
                    truth.installs.insert(action.op.clone(), works);
                    truth.installed |= works;
                }
                match (truth.installs[&action.op], how % 8) {
                    // It runs longer than it may, whatever it has done.
                    (_, 3 | 6) if slow => fault(FaultKind::Timeout),
                    (true, 4) => installed(InstallOutcome::NeedsReboot, detected(truth)),
                    (true, _) => installed(InstallOutcome::Installed, detected(truth)),
                    (false, 5) => installed(InstallOutcome::Busy, detected(truth)),
                    (false, _) => {
                        let outcome = InstallOutcome::Failed { reason: "1603".into(), code: "installer_failed".into() };
                        installed(outcome, detected(truth))
                    }
                }
            }
            Verb::Check { .. } if how % 8 == 6 => checked(super::rig::unknown(), Vec::new()),
            Verb::Check { install, .. } => {
                // A run that has not begun never will.
                if let Some(install) = install {
                    truth.installs.entry(install.clone()).or_insert(false);
                }
                checked(detected(truth), ready(name).probes)
            }
            Verb::Uninstall { .. } => {
                if truth.uninstalls.insert(action.op.clone()) && how % 4 != 2 {
                    truth.installed = false;
                }
                uninstalled(how % 8 == 4)
            }
        }
    }

    fn step(&mut self, (what, a, b): (u8, u8, u8)) {
        match what % 16 {
            0..=7 => self.answer(a, b),
            8 => self.rig.pass(DurationMs::from_secs(u64::from(a))),
            9 => {
                let name = if a % 2 == 0 { "pacs" } else { "lab" };
                self.rig
                    .feed(Input::Probed { system: super::rig::system(name), answers: vec![answer(name, b % 3 > 0)] });
            }
            10 => self.rig.crash(),
            11 => {
                self.top += 1;
                self.halted = true;
                self.rig.feed(Input::Halt(order(self.top, &format!("halt {}", self.top))));
            }
            12 => {
                self.top += 1;
                self.halted = false;
                let top = self.top;
                self.rig.wish(|w| w.resumes = vec![top]);
            }
            13 => {
                let mode = if a % 2 == 0 { Mode::Paused } else { Mode::Proceed };
                self.rig.wish(|w| w.mode = mode);
            }
            14 => self.rig.wish(|w| {
                let goal = &mut w.goals[usize::from(a) % NAMES.len()];
                match b % 4 {
                    0 => goal.action = GoalAction::RollBack,
                    2 => goal.action = GoalAction::Withdraw,
                    1 => *goal = super::rig::goal(goal.device.name(), GoalAction::Install, goal.attempt + 1),
                    _ => {}
                }
            }),
            _ => {
                let last = self.rig.state.outbox().last();
                self.rig.feed(Input::Acked { seq: last.saturating_sub(u64::from(b % 3)) });
            }
        }
        self.check();
    }

    /// Everything is well from now on, and time passes: every deployment must end (S6).
    fn heal(&mut self) {
        self.top += 1;
        self.halted = false;
        let (top, last) = (self.top, self.rig.state.outbox().last());
        self.rig.feed(Input::Acked { seq: last });
        self.rig.wish(|w| {
            w.resumes = vec![top];
            w.mode = Mode::Proceed;
        });
        for _ in 0..2_000 {
            while !self.rig.open.is_empty() {
                self.answer(0, 0);
            }
            for name in ["pacs", "lab"] {
                self.rig.probe(name, true);
            }
            if self.rig.state.next_due().is_none() && self.rig.open.is_empty() {
                break;
            }
            self.rig.pass(DurationMs::from_secs(30));
        }
        for (_, device, deployment) in self.rig.state.deployments() {
            assert!(deployment.state.is_terminal(), "S6: {device} stays {} ({:?})", deployment.state, deployment.phase);
            assert_eq!(deployment.phase, Phase::Done, "{device}");
            let installed = self.truth[device.name()].installed;
            match deployment.state {
                DeploymentState::Succeeded => assert!(installed, "{device} succeeded without the patch"),
                DeploymentState::RolledBack | DeploymentState::Failed => {
                    assert!(!installed, "S8: {device} is {} with the patch on it", deployment.state);
                }
                _ => {}
            }
        }
    }
}

fn json(state: &NodeState) -> String {
    serde_json::to_string(state).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_keeps_the_contract(
        steps in vec((any::<u8>(), any::<u8>(), any::<u8>()), 0..150),
        scope in prop_oneof![Just(Scope::Device), Just(Scope::Wave), Just(Scope::Site), Just(Scope::Rollout)],
        hourly in any::<bool>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut world = World::new(scope, hourly);
        for step in steps {
            world.step(step);
        }
        world.heal();

        // The state is the fold of the journal, wherever a snapshot was taken.
        let journal: &[(Input, Timestamp)] = &world.rig.journal;
        let whole = json(&world.rig.state);
        prop_assert_eq!(&json(&replay(journal)), &whole);
        let (before, after) = journal.split_at(cut.index(journal.len()));
        let mut resumed: NodeState = serde_json::from_str(&json(&replay(before))).unwrap();
        for (input, at) in after {
            let _ = resumed.step(input, *at);
        }
        prop_assert_eq!(&json(&resumed), &whole);

        // Reports have no gap.
        let seqs: Vec<u64> = world.rig.reports().map(|r| r.seq).collect();
        prop_assert!(seqs.windows(2).all(|w| w[1] == w[0] + 1));

        // Nothing was installed twice under one operation (the launcher's record), nor more often than it was wanted.
        for (name, truth) in &world.truth {
            let attempts = world.rig.wishes.rollouts[0].goals.iter().find(|g| g.device.name() == *name).unwrap().attempt;
            let works = truth.installs.values().filter(|works| **works).count();
            prop_assert!(works <= attempts as usize, "{} was installed {} times in {} attempts", name, works, attempts);
        }
    }
}
