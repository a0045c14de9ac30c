//! The safety contract for the engine: on every edge and in every state, from what can be seen from outside.

use std::collections::{BTreeMap, BTreeSet};

use wardround_rollout_plans::{engine::*, model::*};
use wardround_signing::Role;

use super::engine::{Engine, Happening, Moment, UNIT};

use DeploymentState::{
    Deferred, Downloading, Failed, Installing, Offered, Pending, Preflight, Rebooting, RollbackFailed, RolledBack,
    RollingBack, Skipped, Soaking, Staged, Succeeded, Unknown, Verifying,
};

/// What it waits for, in the machine words of its waves and devices.
pub(crate) fn waits(at: &Moment) -> BTreeSet<&'static str> {
    let waves = at.view.waves.iter().filter_map(|w| w.waiting.as_ref());
    let devices = at.devices.iter().filter_map(|d| d.waiting.as_ref());
    waves.chain(devices).map(|w| w.on.code()).collect()
}

fn goal_of(engine: &Engine, at: &Moment, device: &DeviceId) -> (Mode, Option<GoalAction>) {
    let parts = at.engine.directive(&device.site());
    let part = parts.iter().find(|p| p.rollout == engine.document.id);
    let goal = part.and_then(|p| p.goals.iter().find(|g| g.member.device == *device));
    (part.map_or(Mode::Halted, |p| p.mode), goal.map(|g| g.action))
}

/// What nodes that do what they are told may say next.
pub(crate) fn honest(engine: &Engine, at: &Moment) -> BTreeSet<(DeviceId, DeploymentState)> {
    let mut all = BTreeSet::new();
    for device in at.devices.iter().map(|d| &d.device).filter(|d| !at.past.silent.contains(&d.site())) {
        let asked = goal_of(engine, at, device);
        let last = at.past.said.get(device).copied().unwrap_or(Offered);
        let next = DeploymentState::ALL.into_iter().filter(|to| is_honest(asked, last, *to));
        all.extend(next.map(|to| (device.clone(), to)));
    }
    all
}

/// Would a node that does what it is told say this next? By what it has said last, and what the directive asks.
fn is_honest(asked: (Mode, Option<GoalAction>), last: DeploymentState, to: DeploymentState) -> bool {
    let begun = !matches!(last, Offered | Downloading | Staged | Preflight | Deferred);
    match asked {
        _ if last == RollingBack => matches!(to, RolledBack | RollbackFailed),
        (_, Some(GoalAction::RollBack)) if last == RollbackFailed => matches!(to, RollbackFailed | RolledBack),
        // What has ended is said once more.
        (_, Some(GoalAction::RollBack)) if matches!(last, Skipped | Failed | RolledBack) => to == last,
        (_, Some(GoalAction::RollBack)) if begun => matches!(to, RollingBack | RolledBack | RollbackFailed),
        (_, Some(GoalAction::RollBack)) => matches!(to, Failed | RolledBack),
        (_, _) if last.is_terminal() => false,
        (_, Some(GoalAction::Withdraw) | None) if !begun => to == Failed,
        (Mode::Proceed, Some(GoalAction::Install)) if !begun => {
            !matches!(to, RollingBack | RolledBack | RollbackFailed)
        }
        (_, _) if begun => !matches!(to, Deferred | Preflight),
        // It stands where it is.
        _ => false,
    }
}

impl Moment {
    /// Keeps what has happened.
    pub(crate) fn note(
        &mut self,
        engine: &Engine,
        before: &Moment,
        what: &Happening,
        event: &Event,
        effects: &[Effect],
    ) {
        let ignored = effects.iter().any(|e| matches!(e, Effect::Audit { kind, .. } if kind == "report_ignored"));
        match what {
            Happening::Says { device, state, .. } if !ignored => drop(self.past.said.insert(device.clone(), *state)),
            Happening::Blames(_) if !ignored => self.past.lost |= engine.small.scope != Scope::Device,
            Happening::Silent(site) => drop(self.past.silent.insert(site.clone())),
            Happening::Heard(site) => drop(self.past.silent.remove(site)),
            Happening::Orders(Command::Halt) => self.past.halted = true,
            Happening::Orders(Command::RollBack { target: RollBackTarget::Wave { .. } | RollBackTarget::Rollout }) => {
                self.past.lost = true;
            }
            // One alone can't resume: it waits.
            Happening::Countersigns => self.past.halted = false,
            Happening::Orders(Command::Approve { wave }) => {
                let view = &before.view;
                let at = view.waves.iter().position(|w| w.name == *wave).unwrap_or(1);
                let gate = &view.waves[at - 1].gate;
                let knowing = gate.starts_with("not enough evidence") || gate.starts_with("waits for evidence");
                let given = self.past.approved.entry(wave.clone()).or_default();
                given.retain(|(who, _)| who != "Carl");
                given.insert(("Carl".to_owned(), knowing));
            }
            _ => {}
        }
        if let Event::Order { order, .. } = event {
            self.accepted
                .retain(|e| !matches!(e, Event::Order { order: o, .. } if o.command.word() == order.command.word()));
            // A resume with one signature may be signed again, by another.
            if !matches!(what, Happening::Orders(Command::Resume { .. })) {
                self.accepted.push(event.clone());
            }
        }
        for view in &self.devices {
            if view.state == Soaking {
                self.past.soaking.entry(view.device.clone()).or_insert(self.now);
            } else if !matches!(view.state, Unknown) && view.state.is_terminal() {
                self.past.soaking.remove(&view.device);
            }
        }
        self.past.lost |= self.view.waves.iter().any(|w| is_lost(w.state));
    }
}

fn is_lost(state: WaveState) -> bool {
    matches!(state, WaveState::Failed | WaveState::RollingBack | WaveState::RolledBack)
}

/// What must hold whenever something has happened.
pub(crate) fn edge(
    engine: &Engine,
    before: &Moment,
    what: &Happening,
    after: &Moment,
    effects: &[Effect],
) -> Result<(), String> {
    for (was, is) in before.devices.iter().zip(&after.devices) {
        if was.attempt == 0 && is.attempt > 0 {
            s2_s3_offered(engine, after, is)?;
            s4_limits(engine, after, is)?;
        }
        s4_group(what, was, after, is)?;
        s9_no_way_back(what, was, is)?;
        s4_success_is_soaked(before, after, was, is)?;
    }
    let (was, is) = (&before.view, &after.view);
    for (place, (was, now)) in was.waves.iter().zip(&is.waves).enumerate() {
        let begun = |w: &WaveView| !matches!(w.state, WaveState::Pending | WaveState::AwaitingApproval);
        if begun(now) && !begun(was) {
            s2_begins(engine, place, is)?;
        }
        let is = now;
        if was.state != WaveState::Passed
            && is.state == WaveState::Passed
            && is.deployments.keys().any(|s| !s.is_terminal())
        {
            return Err(format!("S2: wave {} has passed and not all of it has ended", is.name));
        }
    }
    if is.state == RolloutState::Halted && was.state != RolloutState::Halted {
        let told = |e: &Effect| matches!(e, Effect::Halt { sites, .. } if sites.len() == engine.small.sites.len());
        if !effects.iter().any(told) {
            return Err("S3: the rollout has halted and not every site is told at once".to_owned());
        }
    }
    if let Happening::Blames(system) = what {
        s5_blame(engine, before, after, system)?;
    }
    Ok(())
}

/// S2 and S3: nothing begins before the gate in front has passed and its approvals are there, under a halt, or after a
/// wave that was lost.
fn s2_s3_offered(engine: &Engine, after: &Moment, offered: &DeploymentView) -> Result<(), String> {
    let (device, view) = (&offered.device, &after.view);
    if after.past.halted {
        return Err(format!("S3: {device} is offered under a halt"));
    }
    if after.past.lost {
        return Err(format!("S2: {device} is offered after a wave was lost"));
    }
    if view.state != RolloutState::Running {
        return Err(format!("S3: {device} is offered in a rollout that is {}", view.state.word()));
    }
    let place = view.waves.iter().position(|w| w.name == offered.wave).unwrap_or_default();
    for at in 0..place {
        let (earlier, next) = (&view.waves[at], &view.waves[at + 1].name);
        if earlier.state != WaveState::Passed {
            return Err(format!("S2: {device} is offered before wave {} has passed", earlier.name));
        }
        let gate = &engine.document.plan.waves[at].gate;
        let given = after.past.approved.get(next);
        if !gate.approvals.is_empty() && given.is_none_or(BTreeSet::is_empty) {
            return Err(format!("S2: {device} is offered without the approval of {next}"));
        }
    }
    Ok(())
}

/// S2: when a wave begins, the one in front has ended, well enough, and with enough to show for it.
fn s2_begins(engine: &Engine, place: usize, view: &RolloutView) -> Result<(), String> {
    let Some(at) = place.checked_sub(1) else { return Ok(()) };
    let (earlier, name) = (&view.waves[at], &view.waves[place].name);
    let gate = &engine.document.plan.waves[at].gate;
    let count = |wanted: &dyn Fn(DeploymentState) -> bool| -> u64 {
        earlier.deployments.iter().filter(|(s, _)| wanted(**s)).map(|(_, n)| n).sum()
    };
    let (good, tried, open) = (count(&|s| s == Succeeded), count(&|s| s != Skipped), count(&|s| !s.is_terminal()));
    let enough = good >= u64::from(gate.evidence_min).max(u64::from(tried == 0));
    if open > 0 || good * 10_000 < tried * u64::from(gate.success.basis_points()) || !enough {
        return Err(format!("S2: wave {name} begins after {good} of {tried} of wave {}, {open} open", earlier.name));
    }
    Ok(())
}

/// S4 for the device that was just offered; redundancy groups hold in every state.
fn s4_limits(engine: &Engine, after: &Moment, offered: &DeploymentView) -> Result<(), String> {
    let all = &after.devices;
    let held = |here: bool, in_wave: bool| {
        let counts = |d: &&DeploymentView| {
            d.state.is_in_hand()
                && (!here || d.device.site() == offered.device.site())
                && (!in_wave || d.wave == offered.wave)
        };
        all.iter().filter(counts).count()
    };
    let plan = &engine.document.plan;
    let wave = plan.waves.iter().find(|w| w.name == offered.wave).map(|w| w.limits).unwrap_or_default();
    let limits = [
        ("at its site", held(true, false), Some(plan.per_site())),
        ("of its wave at its site", held(true, true), wave.per_site),
        ("in all", held(false, false), plan.limits.total),
        ("of its wave", held(false, true), wave.total),
    ];
    for (what, held, limit) in limits {
        if limit.is_some_and(|limit| held > limit as usize) {
            return Err(format!("S4: {} is offered, and {held} are in hand {what}", offered.device));
        }
    }
    Ok(())
}

/// S9: ends are ends, and only people have a failed rollback tried again.
fn s9_no_way_back(what: &Happening, was: &DeploymentView, is: &DeploymentView) -> Result<(), String> {
    let broken = |why: &str| Err(format!("S9: {} {why}: {} -> {}", is.device, was.state, is.state));
    if matches!(was.state, Failed | RolledBack | Skipped) && is.state != was.state {
        return broken("left its end");
    }
    if is.state == Offered && !matches!(was.state, Offered | Pending | Unknown) {
        return broken("is offered again");
    }
    if was.attempt > 0 && is.attempt > was.attempt {
        let ordered = matches!(what, Happening::Orders(Command::RollBack { .. }));
        // Its turn may come later than the order.
        if was.state != RollbackFailed || is.state != RollingBack || !(ordered || was.waiting.is_some()) {
            return broken("is tried again");
        }
    }
    if is.attempt < was.attempt {
        return broken("goes back to an attempt before");
    }
    Ok(())
}

/// A success was watched for as long as the plan says, by the engine's own clock.
fn s4_success_is_soaked(
    before: &Moment,
    after: &Moment,
    was: &DeploymentView,
    is: &DeploymentView,
) -> Result<(), String> {
    if is.state == Succeeded && was.state != Succeeded {
        let seen = before.past.soaking.get(&is.device).map(|since| after.now.since(*since));
        if seen.is_none_or(|seen| seen < UNIT) {
            return Err(format!("S2: {} succeeded after {seen:?} of its soak of {UNIT}", is.device));
        }
    }
    Ok(())
}

/// S5: what a blamed system needs is wanted back, and a scope beyond the device ends the wave.
fn s5_blame(engine: &Engine, before: &Moment, after: &Moment, system: &SystemId) -> Result<(), String> {
    let inventory = after.engine.estate().site(&system.site());
    let systems = inventory.into_iter().flat_map(|i| &i.systems);
    let needed: Vec<&DeviceId> = systems.filter(|s| s.id == *system).flat_map(|s| &s.devices).collect();
    for (was, is) in before.devices.iter().zip(&after.devices) {
        let touched = was.state.is_in_hand() || was.state == Succeeded;
        if !touched || !needed.contains(&&is.device) {
            continue;
        }
        let wanted = matches!(is.state, RollingBack | RolledBack | RollbackFailed | Unknown)
            || matches!(is.waiting.as_ref().map(|w| w.on.code()), Some("rollbacks" | "redundancy_group" | "decision"))
            || matches!(goal_of(engine, after, &is.device).1, Some(GoalAction::RollBack));
        if !wanted {
            return Err(format!("S5: {system} is blamed, and {} stays {}", is.device, is.state));
        }
    }
    if engine.small.scope != Scope::Device && after.view.state == RolloutState::Running {
        return Err(format!("S5: {system} is blamed, and the rollout runs on"));
    }
    Ok(())
}

/// What must hold in every state.
pub(crate) fn state(engine: &Engine, at: &Moment) -> Result<(), String> {
    let (view, devices) = (&at.view, &at.devices);
    s3_s9_directives(engine, at, view, devices)?;
    s9_no_replay(engine, at)?;
    reasons(view, devices)?;
    counts(view, devices)
}

fn s3_s9_directives(
    engine: &Engine,
    at: &Moment,
    view: &RolloutView,
    devices: &[DeploymentView],
) -> Result<(), String> {
    for (site, _) in &engine.small.sites {
        for part in at.engine.directive(&crate::engine_support::site(site)) {
            if part.mode == Mode::Proceed && (view.state != RolloutState::Running || at.past.halted) {
                return Err(format!("S3: the directive of {site} lets installs begin under a halt"));
            }
            for goal in &part.goals {
                let of = devices.iter().find(|d| d.device == goal.member.device);
                let Some(of) = of else { return Err(format!("S1: {} is not in the rollout", goal.member.device)) };
                if of.attempt == 0 || goal.attempt != of.attempt {
                    return Err(format!("S9: {} is asked for attempt {} of {}", of.device, goal.attempt, of.attempt));
                }
                if goal.action == GoalAction::Install && (of.state.is_lost() || of.state == Skipped) {
                    return Err(format!("S9: an install is asked of {}, which is {}", of.device, of.state));
                }
            }
        }
    }
    Ok(())
}

/// S4 for a device that the engine has just taken in hand. What a node takes back by itself it counts by itself: the engine
/// only hears of it.
fn s4_group(what: &Happening, before: &DeploymentView, after: &Moment, is: &DeploymentView) -> Result<(), String> {
    let by_node = matches!(what, Happening::Says { device, .. } if *device == is.device);
    if by_node || before.state.is_in_hand() || !is.state.is_in_hand() {
        return Ok(());
    }
    let estate = after.engine.estate();
    let Some((site, found)) = estate.device(&is.device) else { return Ok(()) };
    let Some(group) = &found.group else { return Ok(()) };
    let of_group =
        |d: &DeploymentView| estate.device(&d.device).is_some_and(|(s, f)| s == site && f.group == found.group);
    let held = after.devices.iter().filter(|d| d.state.is_in_hand() && of_group(d)).count();
    let limit = site.groups.get(group).copied().unwrap_or(1) as usize;
    if held > limit {
        return Err(format!("S4: {} is taken in hand, and {held} of group {group} are, {limit} may be", is.device));
    }
    Ok(())
}

/// S9 and S7: what was accepted is not accepted again, and no report is taken twice or before its turn.
fn s9_no_replay(engine: &Engine, at: &Moment) -> Result<(), String> {
    for event in &at.accepted {
        if at.engine.check(event, at.now).is_ok() {
            return Err(format!("S9: an order is accepted a second time: {event:?}"));
        }
    }
    for (id, _) in &engine.small.sites {
        let site = crate::engine_support::site(id);
        let acked = at.engine.acked_seq(&site);
        for seq in [acked, acked + 2] {
            let body = ReportBody::Alarm { code: "x".to_owned(), text: "x".to_owned(), device: None };
            let event = Event::Report { site: site.clone(), seq, at: at.now, body, node_key: None, envelope: None };
            if at.engine.check(&event, at.now).is_ok() {
                return Err(format!("S7: report {seq} of {site} is taken after {acked}"));
            }
        }
    }
    let view = &at.view;
    if !view.halts_in_force.is_empty() {
        let people = [("Ann", Role::Release), ("Carl", Role::Clinical)];
        let signers = people.map(|(who, role)| crate::engine_support::signatory(who, &[role])).to_vec();
        let command = Command::Resume { lifts: Vec::new() };
        let resume = engine.order(at, signers, command);
        if at.engine.check(&resume, at.now).is_ok() {
            return Err("S3: a resume lifts a halt that it does not name".to_owned());
        }
    }
    Ok(())
}

/// What does not move says why.
/// Whatever has not ended and is not being worked at says why. What its node is at moves, as long as the rollout runs.
fn reasons(view: &RolloutView, devices: &[DeploymentView]) -> Result<(), String> {
    for wave in &view.waves {
        let settled = view.state.is_ended() && matches!(wave.state, WaveState::Failed | WaveState::RolledBack);
        if !settled && wave.state != WaveState::Passed && wave.waiting.is_none() {
            return Err(format!("wave {} is {} and gives no reason", wave.name, wave.state.word()));
        }
    }
    for d in devices {
        let moves = match d.state {
            Succeeded | Skipped | Failed | RolledBack | Installing | Rebooting | Verifying | RollingBack => true,
            Offered | Downloading | Staged | Preflight => view.state == RolloutState::Running,
            Pending | Deferred | Soaking | Unknown | RollbackFailed => false,
        };
        if !moves && d.waiting.is_none() {
            return Err(format!("{} is {} and gives no reason", d.device, d.state));
        }
    }
    Ok(())
}

fn counts(view: &RolloutView, devices: &[DeploymentView]) -> Result<(), String> {
    for wave in &view.waves {
        let mut counted: BTreeMap<DeploymentState, u64> = BTreeMap::new();
        for d in devices.iter().filter(|d| d.wave == wave.name) {
            *counted.entry(d.state).or_default() += 1;
        }
        if counted != wave.deployments {
            return Err(format!("wave {} counts {:?}, and its devices are {counted:?}", wave.name, wave.deployments));
        }
    }
    Ok(())
}
