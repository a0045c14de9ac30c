//! What a directive changes: goals come, change and go.

use wardround_rollout_plans::model::{
    DeploymentState, Detected, DeviceId, Evidence, GoalAction, Mode, RolloutId, Timestamp,
};
use wardround_signing::Digest;

use super::{
    Cause, Deployment, GoalWish, NodeState, PAST_ROLLOUTS_MAX, Phase, RolloutState, RolloutWish, Wishes,
    versions::Taken,
};

/// Identity of wishes: the same again is no news.
pub(super) fn identity(wishes: &Wishes) -> Option<Digest> {
    serde_json::to_vec(wishes).ok().map(|bytes| Digest::of(&bytes))
}

impl NodeState {
    pub(super) fn obey(&mut self, wishes: &Wishes, now: Timestamp) {
        if wishes.counter < self.counter {
            return;
        }
        self.counter = wishes.counter;
        self.expires_at = wishes.expires_at;
        self.wishes = identity(wishes);
        for state in self.rollouts.values_mut() {
            state.active = false;
            state.goals.clear();
        }
        for wish in &wishes.rollouts {
            self.learn_rollout(wish, now);
        }
        let rollouts: Vec<RolloutId> = self.rollouts.keys().cloned().collect();
        for rollout in &rollouts {
            self.withdraw(rollout, now);
            self.reconcile(rollout, now);
        }
        self.forget();
    }

    fn learn_rollout(&mut self, wish: &RolloutWish, now: Timestamp) {
        match self.take_version(wish, now) {
            Taken::Whole => {}
            Taken::Older => return self.learn_older(wish, now),
            Taken::No => return,
        }
        self.learn_orders(&wish.halts, &wish.resumes, wish.mode, wish, now);
        self.learn_holds(wish);
        let (acked, counter) = (self.outbox.acked(), self.counter);
        let state = self.rollouts.entry(wish.rollout.clone()).or_insert_with(|| RolloutState {
            digest: wish.digest,
            version: wish.version.number,
            patch_digest: wish.patch_digest,
            policy: wish.policy.clone(),
            mode: wish.mode,
            cancelled: false,
            active: true,
            block: None,
            trouble: Default::default(),
            goals: Default::default(),
            deployments: Default::default(),
        });
        state.active = true;
        state.mode = wish.mode;
        state.cancelled |= wish.cancelled;
        state.goals = wish.goals.iter().map(|g| (g.device.clone(), g.clone())).collect();
        // The controller has the blame on disk and a directive made after it still says "proceed".
        if wish.mode == Mode::Proceed && state.block.is_some_and(|b| acked >= b.report && counter > b.counter) {
            state.block = None;
        }
    }

    /// What is no longer wanted and has not touched its device comes to an end.
    fn withdraw(&mut self, rollout: &RolloutId, now: Timestamp) {
        let Some(state) = self.rollouts.get(rollout) else { return };
        let unwanted: Vec<DeviceId> = state
            .deployments
            .iter()
            .filter(|(device, d)| d.phase.is_untouched() && !state.goals.contains_key(*device))
            .map(|(device, _)| device.clone())
            .collect();
        for device in unwanted {
            self.give_up_untouched(rollout, &device, now);
        }
    }

    fn give_up_untouched(&mut self, rollout: &RolloutId, device: &DeviceId, now: Timestamp) {
        let cause = Cause::new("withdrawn", "withdrawn by the controller before the install began");
        self.with(rollout, device, now, |d, env| {
            d.end(env, DeploymentState::Failed, cause, Evidence::default());
        });
    }

    /// No install: what this node has not begun ends, also where it had never heard of it. What has begun goes on.
    fn want_none(&mut self, rollout: &RolloutId, goal: &GoalWish, now: Timestamp) {
        let Some(state) = self.rollouts.get_mut(rollout) else { return };
        let known = state.deployments.entry(goal.device.clone()).or_insert_with(|| Deployment::offered(goal, now));
        if known.phase.is_untouched() {
            self.give_up_untouched(rollout, &goal.device, now);
        }
    }

    fn reconcile(&mut self, rollout: &RolloutId, now: Timestamp) {
        let Some(state) = self.rollouts.get(rollout) else { return };
        let goals: Vec<GoalWish> = state.goals.values().cloned().collect();
        for goal in goals {
            match goal.action {
                GoalAction::Install => self.want_install(rollout, &goal, now),
                GoalAction::RollBack => self.want_rollback(rollout, &goal, now),
                GoalAction::Withdraw => self.want_none(rollout, &goal, now),
            }
        }
    }

    fn want_install(&mut self, rollout: &RolloutId, goal: &GoalWish, now: Timestamp) {
        let Some(state) = self.rollouts.get_mut(rollout) else { return };
        match state.deployments.get_mut(&goal.device) {
            None => {
                state.deployments.insert(goal.device.clone(), Deployment::offered(goal, now));
            }
            // Each attempt is done once; a new one waits until the one before has ended.
            Some(known) if goal.attempt <= known.attempt || known.phase != Phase::Done => {}
            Some(known) if known.state == DeploymentState::Succeeded => {
                known.attempt = goal.attempt;
                self.with(rollout, &goal.device, now, |d, env| d.report(env, Evidence::default()));
            }
            Some(known) => {
                // Task numbers go on, so that a late answer of the attempt before is never taken for one of this.
                let (task, left) = (known.task, known.state == DeploymentState::RollbackFailed);
                *known = Deployment { task, left, ..Deployment::offered(goal, now) };
            }
        }
    }

    fn want_rollback(&mut self, rollout: &RolloutId, goal: &GoalWish, now: Timestamp) {
        let cause = Cause::new("ordered", "the controller wants the patch taken back");
        let Some(state) = self.rollouts.get_mut(rollout) else { return };
        // The node may have lost its memory (a new node at an old site): the device is asked, not the memory.
        let fresh = !state.deployments.contains_key(&goal.device);
        let deployment = state
            .deployments
            .entry(goal.device.clone())
            .or_insert_with(|| Deployment { before: Some(Detected::Absent), ..Deployment::offered(goal, now) });
        let newer = goal.attempt > deployment.attempt;
        deployment.attempt = deployment.attempt.max(goal.attempt);
        let attempt = deployment.attempt;
        self.with(rollout, &goal.device, now, |d, env| match (d.phase, d.state) {
            _ if fresh => d.roll_back(env, &cause, Evidence::default()),
            (Phase::Done, DeploymentState::RollbackFailed) if newer => {
                d.op_attempt = attempt;
                d.rollback_answered = attempt;
                d.roll_back(env, &cause, Evidence::default());
            }
            (Phase::Done, DeploymentState::Succeeded) => d.want_back(env, &cause),
            // At an end already: say so once more, in case the controller missed it.
            (Phase::Done, _) if d.rollback_answered < attempt => {
                d.rollback_answered = attempt;
                d.report(env, Evidence::default());
            }
            (Phase::Done, _) => {}
            _ => {
                d.rollback_answered = attempt;
                d.want_back(env, &cause);
            }
        });
    }

    /// Wishes for a new attempt that had to wait for the end of the one before.
    pub(super) fn reconcile_ended(&mut self, rollout: &RolloutId, device: &DeviceId, now: Timestamp) {
        let Some(state) = self.rollouts.get(rollout) else { return };
        let ended = state.deployments.get(device).is_some_and(|d| d.phase == Phase::Done);
        if let Some(goal) = state.goals.get(device).filter(|g| ended && g.action == GoalAction::Install).cloned() {
            self.want_install(rollout, &goal, now);
        }
    }

    /// An install that was under way when it ceased to be wanted, and has come to nothing: it is not tried again (S1).
    pub(super) fn reconcile_put_off(&mut self, rollout: &RolloutId, device: &DeviceId, now: Timestamp) {
        let Some(state) = self.rollouts.get(rollout) else { return };
        let wanted = state.goals.get(device).is_some_and(|goal| goal.action != GoalAction::Withdraw);
        if !wanted && state.deployments.get(device).is_some_and(|d| d.phase.is_untouched()) {
            self.give_up_untouched(rollout, device, now);
        }
    }

    /// Forgets the oldest rollouts that are over.
    fn forget(&mut self) {
        let mut past: Vec<(Timestamp, RolloutId)> = self
            .rollouts
            .iter()
            .filter(|(_, r)| !r.active && r.deployments.values().all(|d| d.phase == Phase::Done && d.cleaned))
            .map(|(id, r)| (r.deployments.values().map(|d| d.since).max().unwrap_or_default(), id.clone()))
            .collect();
        past.sort();
        let surplus = past.len().saturating_sub(PAST_ROLLOUTS_MAX);
        for (_, id) in past.into_iter().take(surplus) {
            self.rollouts.remove(&id);
            self.halts.remove(&id);
            self.holds.remove(&id);
        }
    }
}
