//! The simulated node.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use wardround_rollout_plans::model::*;

/// What happens on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// All goes well.
    Well,
    /// The patch does not apply.
    NotApplicable,
    /// The installer itself says that there is nothing to do for it.
    NothingToDo,
    /// Another installation is under way when it is tried for the first time.
    Busy,
    /// The installer fails and leaves the device as it was.
    InstallFails,
    /// It is in use for so long after its first preflight.
    InUse(DurationMs),
    /// This system of its site fails so long after the device begins to soak, unless the patch is gone by then.
    Breaks(String, DurationMs),
    /// As `Breaks`, and the patch can't be taken back.
    Stuck(String, DurationMs),
}

/// One device's work in one rollout.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) state: DeploymentState,
    pub(crate) attempt: u32,
    pub(crate) since: Timestamp,
    pub(crate) first_preflight: Option<Timestamp>,
}

/// A site's node.
pub(crate) struct Node {
    pub(crate) site: SiteId,
    pub(crate) inventory: SiteInventory,
    pub(crate) fates: BTreeMap<DeviceId, Fate>,
    pub(crate) installed: BTreeSet<DeviceId>,
    pub(crate) directive: Vec<SiteRollout>,
    pub(crate) work: BTreeMap<(RolloutId, DeviceId), Work>,
    /// Not acknowledged yet, oldest first.
    pub(crate) outbox: VecDeque<(u64, ReportBody)>,
    pub(crate) seq: u64,
    /// Rollouts whose present halt it has confirmed.
    halted: BTreeSet<RolloutId>,
    blamed: BTreeSet<(RolloutId, DeviceId)>,
    answered: BTreeSet<(RolloutId, DeviceId, u32)>,
}

/// What a node says when its window is closed.
const WINDOW: &str = "window closed until the next hour";

impl Node {
    pub(crate) fn new(site: SiteId, inventory: SiteInventory) -> Self {
        Self {
            site,
            inventory,
            fates: BTreeMap::new(),
            installed: BTreeSet::new(),
            directive: Vec::new(),
            work: BTreeMap::new(),
            outbox: VecDeque::new(),
            seq: 0,
            halted: BTreeSet::new(),
            blamed: BTreeSet::new(),
            answered: BTreeSet::new(),
        }
    }

    pub(crate) fn say(&mut self, body: ReportBody) {
        self.seq += 1;
        self.outbox.push_back((self.seq, body));
    }

    pub(crate) fn say_inventory(&mut self) {
        self.say(ReportBody::Inventory { inventory: self.inventory.clone() });
    }

    pub(crate) fn acknowledge(&mut self, seq: u64) {
        while self.outbox.front().is_some_and(|(s, _)| *s <= seq) {
            self.outbox.pop_front();
        }
    }

    /// Takes in a directive, and confirms halts.
    pub(crate) fn read(&mut self, directive: Vec<SiteRollout>) {
        self.directive = directive;
        let mut confirm = Vec::new();
        for part in &self.directive {
            if part.mode != Mode::Halted {
                self.halted.remove(&part.rollout);
            } else if self.halted.insert(part.rollout.clone()) {
                let orders = part.orders.iter().filter_map(|e| e.peek_unverified::<Order>().ok());
                let counter = orders.filter(|o| o.command == Command::Halt).map(|o| o.counter).next_back();
                confirm.push((part.rollout.clone(), counter.unwrap_or(0)));
            }
        }
        for (rollout, counter) in confirm {
            self.say(ReportBody::HaltKnown { rollout, counter });
        }
    }

    /// One step for each device.
    pub(crate) fn work(&mut self, now: Timestamp, document: &Rollout) {
        self.work_on(now, |_| document.clone());
    }

    /// As [`Node::work`], with several rollouts.
    pub(crate) fn work_on(&mut self, now: Timestamp, document: impl Fn(&RolloutId) -> Rollout) {
        for part in self.directive.clone() {
            let plan = document(&part.rollout).plan;
            for goal in &part.goals {
                self.step(now, &part, goal, &plan);
            }
        }
        self.finish_own_rollbacks(now);
    }

    /// What a node has begun to take back it takes back, whether or not anybody asks it to.
    fn finish_own_rollbacks(&mut self, now: Timestamp) {
        let asked: BTreeSet<(&RolloutId, &DeviceId)> = self
            .directive
            .iter()
            .flat_map(|part| part.goals.iter().map(|goal| (&part.rollout, &goal.member.device)))
            .collect();
        let own: Vec<(RolloutId, DeviceId)> = self
            .work
            .iter()
            .filter(|((r, d), work)| work.state == DeploymentState::RollingBack && !asked.contains(&(r, d)))
            .map(|(at, _)| at.clone())
            .collect();
        for (rollout, device) in own {
            let state = match self.fate(&device) {
                Fate::Stuck(..) => DeploymentState::RollbackFailed,
                _ => {
                    self.installed.remove(&device);
                    DeploymentState::RolledBack
                }
            };
            self.enter(now, &rollout, &device, state, "", "");
        }
    }

    fn fate(&self, device: &DeviceId) -> Fate {
        self.fates.get(device).cloned().unwrap_or(Fate::Well)
    }

    fn step(&mut self, now: Timestamp, part: &SiteRollout, goal: &Goal, plan: &Plan) {
        use DeploymentState::*;
        let device = &goal.member.device;
        let at = (part.rollout.clone(), device.clone());
        let fresh = Work { state: Offered, attempt: goal.attempt, since: now, first_preflight: None };
        let work = self.work.entry(at).or_insert(fresh);
        let (mut reason, mut code) = ("", "");
        if goal.attempt > work.attempt && work.state == RollbackFailed {
            work.attempt = goal.attempt;
            work.state = RollingBack;
        }
        let (state, since) = (work.state, work.since);
        let soak = plan.waves.iter().find(|w| w.name == goal.member.wave).unwrap().soak;
        let fate = self.fate(device);
        let next = match (state, goal.action) {
            (RollingBack, _) => match fate {
                Fate::Stuck(..) if goal.attempt < 2 => RollbackFailed,
                _ => {
                    self.installed.remove(device);
                    RolledBack
                }
            },
            (Skipped | Failed | RolledBack | RollbackFailed, GoalAction::RollBack) => {
                // At an end already: it says so once more, in case nobody heard.
                if self.answered.insert((part.rollout.clone(), device.clone(), goal.attempt)) {
                    self.enter(now, &part.rollout, device, state, "", "");
                }
                return;
            }
            (Skipped | Failed | RolledBack | RollbackFailed, _) => return,
            (Offered | Downloading | Staged | Preflight | Deferred, GoalAction::Withdraw) => {
                reason = "withdrawn before its install began";
                code = "withdrawn";
                Failed
            }
            (Succeeded, GoalAction::Withdraw) => return,
            (Installing | Rebooting | Verifying | Soaking | Succeeded, GoalAction::RollBack) => {
                code = "ordered";
                RollingBack
            }
            (_, GoalAction::RollBack) => {
                reason = "nothing was installed";
                code = "ordered";
                RolledBack
            }
            (Offered, _) if part.mode == Mode::Proceed => Downloading,
            (Downloading, _) if part.mode == Mode::Proceed => Staged,
            (Staged, _) if part.mode == Mode::Proceed => Preflight,
            (Preflight | Deferred, _) if part.mode == Mode::Proceed => {
                let first = *self
                    .work
                    .get_mut(&(part.rollout.clone(), device.clone()))
                    .unwrap()
                    .first_preflight
                    .get_or_insert(now);
                match fate {
                    _ if !super::may_begin(plan, now) => {
                        reason = WINDOW;
                        if state == Deferred {
                            return;
                        }
                        Deferred
                    }
                    Fate::NotApplicable => Skipped,
                    _ if self.installed.contains(device) => Skipped,
                    Fate::InUse(long) if now < first.after(long) => {
                        reason = "a patient is on the table";
                        if state == Deferred {
                            return;
                        }
                        Deferred
                    }
                    _ if state == Deferred => Preflight,
                    _ => Installing,
                }
            }
            (Installing, _) => {
                if fate == Fate::InstallFails {
                    reason = "exit code 1603";
                    Failed
                } else if fate == Fate::NothingToDo {
                    Skipped
                } else if fate == Fate::Busy {
                    self.fates.insert(device.clone(), Fate::Well);
                    reason = "another installation is under way";
                    Deferred
                } else {
                    self.installed.insert(device.clone());
                    Rebooting
                }
            }
            (Rebooting, _) => Verifying,
            (Verifying, _) => Soaking,
            (Soaking, _) => {
                if let Fate::Breaks(system, after) | Fate::Stuck(system, after) = &fate
                    && now >= since.after(*after)
                    && self.blamed.insert((part.rollout.clone(), device.clone()))
                {
                    let system = SystemId::new(&format!("{}/{system}", self.site)).unwrap();
                    self.blame(now, &part.rollout, system);
                    return;
                }
                if now < since.after(soak) {
                    return;
                }
                Succeeded
            }
            _ => return,
        };
        self.enter(now, &part.rollout, device, next, reason, code);
    }

    fn enter(
        &mut self,
        now: Timestamp,
        rollout: &RolloutId,
        device: &DeviceId,
        state: DeploymentState,
        reason: &str,
        code: &str,
    ) {
        let work = self.work.get_mut(&(rollout.clone(), device.clone())).unwrap();
        work.state = state;
        work.since = now;
        let attempt = work.attempt;
        self.say(ReportBody::Deployment {
            rollout: rollout.clone(),
            device: device.clone(),
            attempt,
            state,
            reason: reason.to_owned(),
            code: if reason == WINDOW { "window_closed".to_owned() } else { code.to_owned() },
            evidence: Evidence::default(),
        });
    }

    /// A system fails: it is blamed, and what it needs is taken back at once, without asking anybody.
    fn blame(&mut self, now: Timestamp, rollout: &RolloutId, system: SystemId) {
        let probe = ProbeAnswer {
            system: system.clone(),
            probe: "dicom 10.0.0.5:104".to_owned(),
            at: now,
            took_ms: 5000,
            ok: false,
            answer: "no answer to C-ECHO".to_owned(),
        };
        let needs: Vec<DeviceId> =
            self.inventory.systems.iter().filter(|s| s.id == system).flat_map(|s| s.devices.clone()).collect();
        self.say(ReportBody::Health {
            system,
            health: Health::Unhealthy,
            blames: Some(rollout.clone()),
            document: None,
            probes: vec![probe],
        });
        for device in needs {
            let state = self.work.get(&(rollout.clone(), device.clone())).map(|w| w.state);
            if state == Some(DeploymentState::Soaking) {
                self.enter(now, rollout, &device, DeploymentState::RollingBack, "clinical system failed", "");
            }
        }
    }
}
