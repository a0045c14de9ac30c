//! Runs: a seed, a setting, and what came of it. A failing run is made smaller before it is shown.

use wardround_rollout_plans::engine::{DeploymentView, RolloutView};
use wardround_signing::Digest;

use super::{
    device::{MINUTE, Ms},
    faults::{Fault, Setting},
    invariants::Seen,
    random::Random,
    world::{BEGIN, EVENTS_MAX, Violation, World},
};

/// How long faults go on.
const SAFETY_MS: Ms = 55 * MINUTE;
/// How often it is looked whether all has ended.
const LOOK_MS: Ms = 2 * MINUTE;
/// After so long everything must have ended.
const CONVERGED_MS: Ms = 8 * 60 * MINUTE;

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Seed.
    pub seed: u64,
    /// Events.
    pub events: u64,
    /// Digest of all of them.
    pub digest: Digest,
    /// The line that broke, if one did.
    pub violation: Option<Violation>,
}

/// Runs a seed: a safety phase with faults, then everything is mended and must converge.
#[must_use]
pub fn run(seed: u64, setting: &Setting) -> Outcome {
    trace(seed, setting, false)
}

/// As [`run`]; with `aloud` each event goes to standard error.
#[must_use]
pub fn trace(seed: u64, setting: &Setting, aloud: bool) -> Outcome {
    let mut world = World::new(setting.clone(), Random::new(seed));
    world.aloud = aloud;
    world.populate();
    let until = world.setting.until;
    while world.now() < BEGIN + SAFETY_MS && until.is_none_or(|until| world.events < until) {
        if !world.step() || world.events > EVENTS_MAX {
            break;
        }
    }
    if world.violation.is_none() {
        world.heal();
        converge(&mut world);
    }
    Outcome { seed, events: world.events, digest: world.digest, violation: world.violation }
}

/// Goes on until all has ended.
pub fn converge(world: &mut World) {
    let deadline = world.now() + CONVERGED_MS;
    let mut quiet = 0;
    while world.violation.is_none() {
        let next = world.now() + LOOK_MS;
        world.run_until(next);
        let shown = shown(world);
        // Twice in a row, so that what is on its way has come.
        quiet = if shown.as_ref().is_some_and(|shown| has_ended(shown, world)) { quiet + 1 } else { 0 };
        if let Some(rollouts) = shown.filter(|_| quiet == 3) {
            world.say("all has ended");
            return world.see(&Seen::Converged { rollouts: &rollouts });
        }
        if world.now() > deadline || world.events > EVENTS_MAX {
            let why = open(world);
            return world.violate("S6", format!("it does not converge: {why}"));
        }
    }
}

type Shown = Vec<(RolloutView, Vec<DeploymentView>)>;

fn shown(world: &World) -> Option<Shown> {
    let engine = world.ledger()?.engine();
    let of = |id| Some((engine.rollout(&id)?, engine.deployments(&id, None, None, None, usize::MAX)));
    engine.rollouts().into_iter().map(of).collect()
}

fn has_ended(shown: &Shown, world: &World) -> bool {
    use wardround_rollout_plans::model::DeploymentState::Pending;
    let liars = &world.truth.liars;
    // What a liar has said of its devices, or not said, is its own; the others must end all the same.
    let over = |d: &DeploymentView| d.state.is_terminal() || d.state == Pending || liars.contains(&d.device.site());
    let all_over = |(rollout, all): &(RolloutView, Vec<DeploymentView>)| {
        (rollout.state.is_ended() || !liars.is_empty()) && all.iter().all(over)
    };
    let at_work = world.truth.devices.values().any(|device| device.is_disrupted(world.now()));
    !at_work && !shown.is_empty() && shown.iter().all(all_over)
}

fn open(world: &World) -> String {
    let Some(shown) = shown(world) else { return "the controller has no power".to_owned() };
    let mut open = Vec::new();
    for (rollout, deployments) in &shown {
        open.push(format!("{} is {}", rollout.id, rollout.state.word()));
        let waits = rollout.waves.iter().filter_map(|w| {
            let waiting = w.waiting.as_ref()?;
            Some(format!("wave {} is {} and waits: {}", w.name, w.state.word(), waiting.on))
        });
        open.extend(waits);
        let left = deployments.iter().filter(|d| d.state.is_in_hand());
        open.extend(left.map(|d| format!("{} is {} ({})", d.device, d.state, d.reason)));
    }
    if shown.is_empty() { "there is no rollout".to_owned() } else { open.join("; ") }
}

/// Makes the setting of a failing run smaller, as long as the same line of the contract still breaks.
#[must_use]
pub fn shrink(seed: u64, setting: &Setting, violation: &Violation) -> (Setting, Violation) {
    let (mut best, mut found) = (setting.clone(), violation.clone());
    let attempt = |candidate: Setting, best: &mut Setting, found: &mut Violation| -> bool {
        match run(seed, &candidate).violation {
            Some(again) if again.invariant == found.invariant => {
                (*best, *found) = (candidate, again);
                true
            }
            _ => false,
        }
    };
    for fault in Fault::ALL {
        if best.has(fault) {
            let mut candidate = best.clone();
            candidate.without.insert(fault);
            attempt(candidate, &mut best, &mut found);
        }
    }
    for sites in 1..4 {
        if best.sites_max.is_none_or(|most| most > sites)
            && attempt(Setting { sites_max: Some(sites), ..best.clone() }, &mut best, &mut found)
        {
            break;
        }
    }
    for devices in 1..4 {
        if best.devices_max.is_none_or(|most| most > devices)
            && attempt(Setting { devices_max: Some(devices), ..best.clone() }, &mut best, &mut found)
        {
            break;
        }
    }
    // The fewer events with faults the better: halved down as far as it fails.
    let mut until = best.until.unwrap_or(found.event);
    while until > 8 {
        until /= 2;
        if !attempt(Setting { until: Some(until), ..best.clone() }, &mut best, &mut found) {
            break;
        }
    }
    (best, found)
}

/// The line that reproduces a run.
#[must_use]
pub fn reproduction(seed: u64, setting: &Setting) -> String {
    format!("cargo run --release -p wardround-tests --bin simulate -- --from-seed {seed} --seeds 1{}", setting.flags())
}
