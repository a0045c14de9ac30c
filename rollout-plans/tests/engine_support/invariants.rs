//! The safety contract, checked from outside after every step: from the views, the directives and the simulated
//! devices, never from the engine's own counters.

use std::collections::{BTreeMap, BTreeSet};

use wardround_rollout_plans::{
    engine::*,
    model::*,
    proofs::{Failures, Passages},
};
use wardround_signing::{Digest, Role, Signer as _, merkle::leaf_hash};

use super::{Node, digest_of, report_key};

type Key = (RolloutId, DeviceId);
/// An accepted approval.
struct Given {
    who: String,
    roles: BTreeSet<Role>,
    /// The gate before was known to have too little evidence.
    short: bool,
    /// The version for which it was given.
    digest: Digest,
}

/// What was seen before.
#[derive(Default)]
pub(crate) struct Watch {
    deployments: BTreeMap<Key, DeploymentView>,
    directives: BTreeMap<SiteId, Vec<SiteRollout>>,
    rollouts: BTreeMap<RolloutId, RolloutView>,
    soaking_since: BTreeMap<Key, Timestamp>,
    /// Accepted approvals, by rollout and wave.
    approvals: BTreeMap<(RolloutId, WaveName), Vec<Given>>,
    /// Regions of the sites when these were offered.
    regions: BTreeMap<Key, String>,
    groups: BTreeMap<SiteId, BTreeMap<GroupId, u32>>,
    /// A limit that was lowered leaves more in hand than it allows; from then on only new offers are held to it.
    regrouped: bool,
}

/// The test's part of "enough was seen", reckoned in another way than the engine does: in floating point, which is near
/// enough for shares that are never equal.
fn enough(gate: &Gate, tried: usize, failed: usize) -> bool {
    let Some(test) = &gate.test else { return true };
    let harm = f64::from(test.harm.basis_points()) / 10_000.0;
    let ways = |k: usize| (0..k).fold(1.0, |ways, at| ways * (tried - at) as f64 / (at + 1) as f64);
    let of = |k: usize| ways(k) * harm.powi(k as i32) * (1.0 - harm).powi((tried - k) as i32);
    let missed: f64 = (0..=failed).map(of).sum();
    missed <= f64::from(test.miss.basis_points()) / 10_000.0 && (failed == 0 || test.background.is_some())
}

impl Watch {
    pub(crate) fn after(
        &mut self,
        state: &State,
        documents: &BTreeMap<RolloutId, Rollout>,
        nodes: &BTreeMap<SiteId, Node>,
        event: &Event,
        effects: &[Effect],
        now: Timestamp,
    ) {
        self.note(state, event);
        self.forget_what_changed(state, documents);
        let mut present = BTreeMap::new();
        for id in state.rollouts() {
            for view in state.deployments(&id, None, None, None, usize::MAX) {
                present.insert((id.clone(), view.device.clone()), view);
            }
        }
        let offered: Vec<Key> = present
            .iter()
            .filter(|(k, v)| v.attempt == 1 && self.deployments.get(*k).is_some_and(|old| old.attempt == 0))
            .map(|(k, _)| k.clone())
            .collect();
        for key in &offered {
            self.s2_order_of_waves(state, documents, &present, key);
            let plan = &documents[&key.0].plan;
            assert!(super::may_begin(plan, now), "{} was offered outside its windows, at {}", key.1, now.0);
            let wave = plan.waves.iter().find(|w| w.name == present[key].wave).unwrap();
            let late = plan.deadline_of(wave).filter(|d| d.then == Late::LeaveOut).and_then(|d| d.by);
            assert!(late.is_none_or(|by| now < by), "{} was offered after its deadline, at {}", key.1, now.0);
            requirements(state, documents, &present, key);
        }
        for key in &offered {
            self.regions.insert(key.clone(), region_of(state, &key.1));
        }
        s4_limits(state, documents, &present, &offered);
        self.s4_regions(state, documents, &present, &offered);
        if !self.regrouped {
            s4_groups(state, &present, None);
        }
        self.s9_no_way_back(event, &present);
        self.soaks(documents, &present, now);
        self.directives(state, documents, nodes, effects);
        views(state, &present, nodes, now);
        self.gates_pass_on_ends(state);
        self.watchers_are_woken(state, effects);
        self.rollouts = state.rollouts().into_iter().map(|id| (id.clone(), state.rollout(&id).unwrap())).collect();
        self.deployments = present;
    }

    fn note(&mut self, state: &State, event: &Event) {
        match event {
            Event::Order { order, roles, holders, .. } => {
                if let Command::Approve { wave } = &order.command {
                    let names: Vec<WaveName> =
                        state.rollout(&order.rollout).unwrap().waves.iter().map(|w| w.name.clone()).collect();
                    let at = names.iter().position(|n| n == wave).unwrap();
                    // By the view before this order.
                    let before = &self.rollouts[&order.rollout].waves[at - 1];
                    let short = before.decision.as_ref().is_some_and(|d| d.answer == GateAnswer::Inconclusive);
                    let given = self.approvals.entry((order.rollout.clone(), wave.clone())).or_default();
                    let (who, digest) = (holders[0].clone(), order.digest);
                    given.retain(|g| (&g.who, g.digest) != (&who, digest));
                    given.push(Given { who, roles: roles.clone(), short, digest });
                }
            }
            Event::Report { body: ReportBody::Inventory { inventory }, .. } => {
                let before = self.groups.insert(inventory.site.clone(), inventory.groups.clone());
                self.regrouped |= before.is_some_and(|before| before != inventory.groups);
            }
            _ => {}
        }
    }

    /// S4 for regions: what is in hand counts for the region that its site had when it was offered, and for that of now.
    fn s4_regions(
        &self,
        state: &State,
        documents: &BTreeMap<RolloutId, Rollout>,
        present: &BTreeMap<Key, DeploymentView>,
        offered: &[Key],
    ) {
        for (id, device) in offered {
            let plan = &documents[id].plan;
            let (region, wave) = (region_of(state, device), &present[&(id.clone(), device.clone())].wave);
            let of_wave = plan.waves.iter().find(|w| w.name == *wave).unwrap();
            let held = |in_wave: bool| {
                let here = |(k, v): &(&Key, &DeploymentView)| {
                    k.0 == *id
                        && v.state.is_in_hand()
                        && (!in_wave || v.wave == *wave)
                        && (region_of(state, &k.1) == region || self.regions.get(*k) == Some(&region))
                };
                present.iter().filter(here).count()
            };
            for (held, limit) in [(held(false), plan.limits.per_region), (held(true), of_wave.limits.per_region)] {
                assert!(
                    limit.is_none_or(|l| held <= l as usize),
                    "S4: {held} in hand in region {region:?} of {id}, {limit:?} may be"
                );
            }
        }
    }

    /// S2, and S3 as far as offers go: nothing of a wave before the gate in front has passed and approvals are there,
    /// nothing unless the rollout runs.
    fn s2_order_of_waves(
        &self,
        state: &State,
        documents: &BTreeMap<RolloutId, Rollout>,
        present: &BTreeMap<Key, DeploymentView>,
        (id, device): &Key,
    ) {
        let view = state.rollout(id).unwrap();
        let wave = &present[&(id.clone(), device.clone())].wave;
        assert_eq!(view.state, RolloutState::Running, "S3: {device} was offered in a rollout that does not run");
        let begun = self.deployments.iter().any(|((r, _), d)| r == id && d.wave == *wave && d.attempt > 0);
        let place = view.waves.iter().position(|w| w.name == *wave).unwrap();
        for (at, earlier) in view.waves.iter().enumerate().take(place) {
            assert_eq!(earlier.state, WaveState::Passed, "S2: {device} of {wave} before {}", earlier.name);
            // At every moment, as nodes demand it; the approvals that a version before had count as far as the wave is the
            // same.
            let next = &view.waves[at + 1].name;
            let gate = &documents[id].plan.waves[at].gate;
            let given = self.counting(&documents[id], next);
            let all: Vec<&BTreeSet<Role>> = given.iter().map(|g| &g.roles).collect();
            assert!(fills(&gate.approvals, &all), "S2: {device} of {wave} without the approvals of {next}");
            // What people take back later of earlier waves does not end this one; its beginning is what counts.
            if begun || at + 1 != place {
                continue;
            }
            let of_wave: Vec<_> = present.iter().filter(|((r, _), v)| r == id && v.wave == earlier.name).collect();
            assert!(of_wave.iter().all(|(_, v)| v.state.is_terminal()), "S2: {} has not ended", earlier.name);
            let good = of_wave.iter().filter(|(_, v)| v.state == DeploymentState::Succeeded).count();
            let tried = of_wave.iter().filter(|(_, v)| v.state != DeploymentState::Skipped).count();
            assert!(good * 10_000 >= tried * gate.success.basis_points() as usize, "S2: {} has too few", earlier.name);
            assert!(gate.failures_max.is_none_or(|most| tried - good <= most as usize), "S2: {}", earlier.name);
            if good < (gate.evidence_min as usize).max(usize::from(tried == 0)) || !enough(gate, tried, tried - good) {
                let knowing: Vec<_> = given.iter().filter(|g| g.short).map(|g| &g.roles).collect();
                assert!(fills(&[Role::Release, Role::Clinical], &knowing), "S2: {next} without evidence");
            }
        }
    }

    /// The approvals of a wave that count for it as it is now, one for each person.
    fn counting(&self, document: &Rollout, wave: &WaveName) -> Vec<&Given> {
        let own = digest_of(document);
        let given = self.approvals.get(&(document.id.clone(), wave.clone())).into_iter().flatten();
        let mut newest: BTreeMap<&str, &Given> = BTreeMap::new();
        for one in given.filter(|g| document.approval_counts(own, g.digest, wave)) {
            newest.insert(&one.who, one);
        }
        newest.into_values().collect()
    }

    /// What people knew of a gate they knew of the devices that its wave had.
    fn forget_what_changed(&mut self, state: &State, documents: &BTreeMap<RolloutId, Rollout>) {
        for (id, old) in &self.rollouts {
            let (new, document) = (state.rollout(id).unwrap(), &documents[id]);
            assert!(new.version == old.version || new.version == old.version + 1, "{new:?} after {old:?}");
            if new.version == old.version {
                continue;
            }
            for (w, wave) in document.waves.iter().enumerate().filter(|(_, w)| w.since == document.version) {
                let was = old.waves[w].state;
                assert!(was != WaveState::Passed, "wave {} had passed and was changed", wave.name);
                let Some(after) = document.waves.get(w + 1) else { continue };
                if matches!(was, WaveState::Running | WaveState::Soaking)
                    && let Some(given) = self.approvals.get_mut(&(id.clone(), after.name.clone()))
                {
                    given.iter_mut().for_each(|g| g.short = false);
                }
            }
        }
    }

    /// Whoever watches a rollout hears of every change of it. Reasons for waiting may also change with other rollouts.
    fn watchers_are_woken(&self, state: &State, effects: &[Effect]) {
        let bare = |mut view: RolloutView| {
            view.waves.iter_mut().for_each(|w| w.waiting = None);
            view
        };
        for id in state.rollouts() {
            let changed =
                self.rollouts.get(&id).is_none_or(|old| bare(old.clone()) != bare(state.rollout(&id).unwrap()));
            let told = effects.contains(&Effect::RolloutChanged { rollout: id.clone() });
            assert!(told || !changed, "{id} changed and nobody is told: {effects:?}");
        }
    }

    /// A wave passes when all of it has ended; what is unknown never counts as success.
    fn gates_pass_on_ends(&self, state: &State) {
        for (id, old) in &self.rollouts {
            let new = state.rollout(id).unwrap();
            for (old, new) in old.waves.iter().zip(&new.waves) {
                if old.state != WaveState::Passed && new.state == WaveState::Passed {
                    assert!(new.deployments.keys().all(|s| s.is_terminal()), "{new:?} has passed");
                }
            }
        }
    }

    /// S9: ends are ends, and only a person's order starts another attempt, which is one of taking back.
    fn s9_no_way_back(&self, event: &Event, present: &BTreeMap<Key, DeploymentView>) {
        use DeploymentState::{Failed, Offered, Pending, RollbackFailed, RolledBack, Skipped, Unknown};
        for (key, old) in &self.deployments {
            let Some(new) = present.get(key) else {
                assert_eq!(old.state, Pending, "{key:?} was taken out by an amendment");
                continue;
            };
            if old.state != Pending {
                assert_eq!(old.wave, new.wave, "{key:?} changed its wave");
            }
            if matches!(old.state, Failed | RolledBack | Skipped) {
                assert_eq!(old.state, new.state, "S9: {key:?} left its end");
            }
            if new.state == Offered && old.state != Offered {
                assert!(matches!(old.state, Pending | Unknown), "S9: {key:?} is offered again after {}", old.state);
            }
            if new.attempt > old.attempt && old.attempt > 0 {
                assert_eq!(old.state, RollbackFailed, "S9: {key:?} is tried again");
                let by_person = matches!(event, Event::Order { .. });
                assert!(by_person || new.state.is_in_hand(), "S9: {key:?}");
            }
        }
    }

    /// A success was soaked for as long as the plan says by the engine's own clock.
    fn soaks(
        &mut self,
        documents: &BTreeMap<RolloutId, Rollout>,
        present: &BTreeMap<Key, DeploymentView>,
        now: Timestamp,
    ) {
        for (key, new) in present {
            let was = self.deployments.get(key).map(|d| d.state);
            if new.state == DeploymentState::Soaking {
                self.soaking_since.entry(key.clone()).or_insert(now);
            }
            if new.state == DeploymentState::Succeeded && was != Some(DeploymentState::Succeeded) {
                let plan = &documents[&key.0].plan;
                let soak = plan.waves.iter().find(|w| w.name == new.wave).unwrap().soak;
                let seen = now.since(self.soaking_since[key]);
                assert!(seen.0 + 5_000 >= soak.0, "{key:?} succeeded after {seen} of {soak}");
            }
        }
    }

    /// Directives change exactly when it is said, hold only what was offered, and each goal is proved.
    fn directives(
        &mut self,
        state: &State,
        documents: &BTreeMap<RolloutId, Rollout>,
        nodes: &BTreeMap<SiteId, Node>,
        effects: &[Effect],
    ) {
        for site in nodes.keys() {
            let new = state.directive(site);
            let told = effects.contains(&Effect::SiteChanged { site: site.clone() });
            let old = self.directives.insert(site.clone(), new.clone()).unwrap_or_default();
            assert_eq!(told, old != new, "SiteChanged of {site} does not say whether its directive changed");
            for part in &new {
                let view = state.rollout(&part.rollout).unwrap();
                assert!(view.started_at.is_some(), "a rollout that has not started is in a directive");
                let mode = match view.state {
                    RolloutState::Running => Mode::Proceed,
                    RolloutState::Paused => Mode::Paused,
                    _ => Mode::Halted,
                };
                assert_eq!(part.mode, mode, "S3");
                if old != new {
                    self.nodes_are_shown_enough(&documents[&part.rollout], part, site);
                }
                for goal in &part.goals {
                    let wave = documents[&part.rollout].waves.iter().find(|w| w.name == goal.member.wave).unwrap();
                    assert!(goal.proof.proves(&leaf_hash(&goal.member.leaf()), &wave.root), "{goal:?}");
                    let at = view.waves.iter().position(|w| w.name == wave.name).unwrap();
                    assert!(view.waves[at].state != WaveState::Pending, "S2: {goal:?} of a wave that has not begun");
                    assert!(view.state == RolloutState::Running || goal.attempt > 0);
                }
            }
        }
    }

    /// Whatever an honest engine asks, the check that nodes make accepts.
    fn nodes_are_shown_enough(&self, document: &Rollout, part: &SiteRollout, site: &SiteId) {
        let own = Reporter { site: site.clone(), key: report_key(site).public() };
        let failures = Failures::read(part, document, part.digest, &own);
        let orders: Vec<Order> = part.orders.iter().filter_map(|e| e.peek_unverified().ok()).collect();
        for goal in part.goals.iter().filter(|g| g.action == GoalAction::RollBack) {
            let covers = |o: &Order| matches!(&o.command, Command::RollBack { target } if target.covers(&goal.member));
            if !orders.iter().any(covers)
                && let Err(why) = failures.reach(document, &goal.member)
            {
                panic!("a node would refuse {goal:?}: {why}");
            }
        }
        let passages = Passages::read(part, document, part.digest);
        for goal in part.goals.iter().filter(|g| g.action == GoalAction::Install) {
            let at = document.waves.iter().position(|w| w.name == goal.member.wave).unwrap();
            for before in 0..at {
                let Err(why) = passages.passed(document, before) else { continue };
                let next = &document.waves[before + 1].name;
                let given = self.approvals.get(&(part.rollout.clone(), next.clone()));
                let counts = |g: &&Given| document.approval_counts(part.digest, g.digest, next);
                let people: Vec<&BTreeSet<Role>> =
                    given.into_iter().flatten().filter(counts).map(|g| &g.roles).collect();
                assert!(fills(&[Role::Release, Role::Clinical], &people), "a node would refuse {goal:?}: {why}");
            }
        }
    }

    /// The devices themselves: no redundancy group has more devices under the knife than it may.
    pub(crate) fn truth(&self, nodes: &BTreeMap<SiteId, Node>) {
        use DeploymentState::{Installing, Rebooting, RollingBack, Verifying};
        if self.regrouped {
            return;
        }
        for node in nodes.values() {
            let busy: BTreeSet<&DeviceId> = node
                .work
                .iter()
                .filter(|(_, w)| matches!(w.state, Installing | Rebooting | Verifying | RollingBack))
                .map(|((_, d), _)| d)
                .collect();
            let mut groups: BTreeMap<&GroupId, u32> = BTreeMap::new();
            for d in node.inventory.devices.iter().filter(|d| busy.contains(&d.id)) {
                if let Some(group) = &d.group {
                    *groups.entry(group).or_default() += 1;
                }
            }
            for (group, held) in groups {
                let limit = node.inventory.groups.get(group).copied().unwrap_or(1);
                assert!(held <= limit, "S4: {held} devices of {group} at {} are disrupted, {limit} may be", node.site);
            }
        }
    }
}

fn region_of(state: &State, device: &DeviceId) -> String {
    state.estate().site(&device.site()).map_or_else(String::new, |site| site.region.clone())
}

/// Can these people fill these places, each one place? By trying all ways.
fn fills(places: &[Role], people: &[&BTreeSet<Role>]) -> bool {
    let Some((place, rest)) = places.split_first() else { return true };
    (0..people.len()).any(|at| {
        let others: Vec<_> = people.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, p)| *p).collect();
        people[at].contains(place) && fills(rest, &others)
    })
}

/// No device is offered a patch while a rollout under way has yet to bring to it what that requires.
fn requirements(
    state: &State,
    documents: &BTreeMap<RolloutId, Rollout>,
    present: &BTreeMap<Key, DeploymentView>,
    (rollout, device): &Key,
) {
    let required = &documents[rollout].requires;
    for other in documents.values().filter(|other| required.contains(&other.patch)).map(|other| &other.id) {
        let under_way = state.rollout(other).is_some_and(|view| view.started_at.is_some() && view.ended_at.is_none());
        let Some(there) = present.get(&(other.clone(), device.clone())).filter(|_| under_way) else { continue };
        let open = there.state == DeploymentState::Pending || there.state.is_in_hand();
        assert!(!open, "{device} was offered {} while {other} is {} there", documents[rollout].patch, there.state);
    }
}

/// S4 for what a rollout says of itself. Rollbacks are not held to it: they begin with what was in hand or had ended.
fn s4_limits(
    state: &State,
    documents: &BTreeMap<RolloutId, Rollout>,
    present: &BTreeMap<Key, DeploymentView>,
    offered: &[Key],
) {
    let mut holders: BTreeMap<&DeviceId, &RolloutId> = BTreeMap::new();
    for ((id, device), view) in present.iter().filter(|(_, v)| v.state.is_in_hand()) {
        let other = holders.insert(device, id);
        assert!(other.is_none(), "S4: {device} is in hand in {id} and {other:?}: {view:?}");
    }
    for (id, device) in offered {
        let plan = &documents[id].plan;
        let wave = &present[&(id.clone(), device.clone())].wave;
        let of_wave = plan.waves.iter().find(|w| w.name == *wave).unwrap();
        let held = |here: bool, in_wave: bool| {
            let counts = |(k, v): &(&Key, &DeploymentView)| {
                k.0 == *id
                    && v.state.is_in_hand()
                    && (!here || k.1.site() == device.site())
                    && (!in_wave || v.wave == *wave)
            };
            present.iter().filter(counts).count()
        };
        let within = |held: usize, limit: Option<u32>, what: &str| {
            assert!(limit.is_none_or(|l| held <= l as usize), "S4: {held} in hand {what} of {id}, {limit:?} may be");
        };
        within(held(true, false), Some(plan.limits.per_site.unwrap_or(1)), "at a site");
        within(held(true, true), of_wave.limits.per_site, "of the wave at a site");
        within(held(false, false), plan.limits.total, "in all");
        within(held(false, true), of_wave.limits.total, "in the wave");
    }
    s4_groups(state, present, Some(offered));
}

/// S4 for redundancy groups, over all rollouts: of all groups, or of those of these devices.
fn s4_groups(state: &State, present: &BTreeMap<Key, DeploymentView>, of: Option<&[Key]>) {
    let mut held: BTreeMap<(SiteId, GroupId), BTreeSet<&DeviceId>> = BTreeMap::new();
    let group_of = |device: &DeviceId| {
        let (site, device) = state.estate().device(device)?;
        Some((site.site.clone(), device.group.clone()?))
    };
    for ((_, device), _) in present.iter().filter(|(_, v)| v.state.is_in_hand()) {
        if let Some(group) = group_of(device) {
            held.entry(group).or_default().insert(device);
        }
    }
    let asked: Option<Vec<_>> = of.map(|keys| keys.iter().filter_map(|(_, d)| group_of(d)).collect());
    for ((site, group), devices) in held {
        if asked.as_ref().is_none_or(|a| a.contains(&(site.clone(), group.clone()))) {
            let limit = state.estate().site(&site).unwrap().groups.get(&group).copied().unwrap_or(1) as usize;
            assert!(devices.len() <= limit, "S4: {devices:?} of {group} are in hand, {limit} may be");
        }
    }
}

/// Views count right, and what does not move says why, since when, and what would move it.
fn views(state: &State, present: &BTreeMap<Key, DeploymentView>, nodes: &BTreeMap<SiteId, Node>, now: Timestamp) {
    for id in state.rollouts() {
        let view = state.rollout(&id).unwrap();
        let sound = |waiting: &Waiting| {
            waiting.since <= now && waiting.since >= view.created_at && !waiting.on.to_string().is_empty()
        };
        for wave in &view.waves {
            let mut counts: BTreeMap<DeploymentState, u64> = BTreeMap::new();
            for (_, deployment) in present.iter().filter(|((r, _), v)| *r == id && v.wave == wave.name) {
                *counts.entry(deployment.state).or_default() += 1;
            }
            assert_eq!(counts, wave.deployments, "counts of {id} {}", wave.name);
            // Decided, and nothing goes on in it any more.
            let ended = view.state.is_ended() && matches!(wave.state, WaveState::Failed | WaveState::RolledBack);
            let settled = wave.state == WaveState::Passed || ended;
            assert!(settled || wave.waiting.is_some(), "{wave:?} of {:?} gives no reason", view.state);
            assert!(wave.waiting.iter().all(sound), "{:?} of {wave:?} at {now:?}", wave.waiting);
        }
        for ((_, device), deployment) in present.iter().filter(|((r, _), _)| *r == id) {
            use DeploymentState::{
                Downloading, Failed, Installing, Offered, Preflight, Rebooting, RolledBack, RollingBack, Skipped,
                Staged, Succeeded, Verifying,
            };
            let moves = match deployment.state {
                Succeeded | Skipped | Failed | RolledBack => true,
                // Its node is at it.
                Installing | Rebooting | Verifying | RollingBack => true,
                Offered | Downloading | Staged | Preflight => {
                    let wish = state.directive(&device.site());
                    let goals = wish.iter().filter(|part| part.rollout == id && part.mode == Mode::Proceed);
                    let mut goals = goals.flat_map(|part| &part.goals).filter(|goal| goal.member.device == *device);
                    goals.any(|goal| goal.action == GoalAction::Install)
                }
                _ => false,
            };
            assert!(moves || deployment.waiting.is_some(), "{device} gives no reason: {deployment:?} in {view:?}");
            assert!(deployment.waiting.iter().all(sound), "{:?} of {deployment:?} at {now:?}", deployment.waiting);
            let without = deployment.state == Skipped && deployment.reason.starts_with("left out");
            let work = nodes.get(&device.site()).and_then(|node| node.work.get(&(id.clone(), device.clone())));
            let begun = |work: &super::node::Work| work.state.may_be_installed();
            assert!(!without || !work.is_some_and(begun), "{device} was left out, and its node went on: {work:?}");
        }
    }
}
