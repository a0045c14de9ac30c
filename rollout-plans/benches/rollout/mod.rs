//! One rollout from its draft to its end, and what is measured on the way: how long it takes, or what the state weighs.

mod replay;

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use replay::Replay;
use wardround_rollout_plans::{
    engine::{Event, RolloutState, State},
    model::DeploymentState,
};

use crate::modelled::World;

/// Bytes that are allocated now, where they are counted. Nothing else is told then: counting takes time.
type Usage = Option<fn() -> usize>;

/// Events that are timed at once: enough to hide the clock.
const CHUNK: usize = 5_000;
const DEVICES_EACH: usize = 30;

fn argument(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|a| a != name).skip(1);
    arguments.next().map_or(default, |text| text.parse().unwrap())
}

/// How long this thread has run, as the scheduler counts it: what else the machine does then counts for nothing.
fn on_processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begin = on_processor();
    let result = work();
    (result, on_processor() - begin)
}

/// One line of the result.
fn say(what: &str, figure: std::fmt::Arguments<'_>) {
    println!("{what:<34} {figure}");
    std::io::stdout().flush().unwrap();
}

/// How long each step took by the clock on the wall, by powers of two of nanoseconds. On a busy machine the highest ones
/// are those in which it did something else.
struct Steps {
    count: u64,
    buckets: [u64; 40],
}

impl Default for Steps {
    fn default() -> Self {
        Self { count: 0, buckets: [0; 40] }
    }
}

impl Steps {
    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let result = work();
        let nanos = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1);
        self.count += 1;
        self.buckets[(nanos.ilog2() as usize).min(39)] += 1;
        result
    }

    /// No more than this for so many of ten thousand.
    fn most(&self, of_ten_thousand: u64) -> Duration {
        let mut left = self.count * of_ten_thousand / 10_000;
        for (power, count) in (1_u32..).zip(self.buckets) {
            left = left.saturating_sub(count);
            if left == 0 {
                return Duration::from_nanos(1 << power);
            }
        }
        Duration::MAX
    }

    fn say(&self) {
        let [half, most, nearly_all] = [5_000, 9_900, 9_999].map(|share| self.most(share));
        say(
            "one step",
            format_args!(
                "{} steps: half below {half:.2?}, 99% below {most:.2?}, 99.99% below {nearly_all:.2?}",
                self.count
            ),
        );
    }
}

/// A snapshot is written and read back: its size and times, or what the state weighs that comes of it.
fn weigh(when: &str, state: &State, devices: usize, estate: usize, usage: Usage) -> usize {
    let (snapshot, save) = timed(|| serde_json::to_vec(state).unwrap());
    let Some(usage) = usage else {
        let (_, load) = timed(|| serde_json::from_slice::<State>(&snapshot).unwrap());
        let (_, clone) = timed(|| state.clone());
        let size = snapshot.len() >> 20;
        say(
            &format!("snapshot, {when}"),
            format_args!("{size} MiB, save {save:.2?}, load {load:.2?}, copy {clone:.2?}"),
        );
        return 0;
    };
    let before = usage();
    let loaded = serde_json::from_slice::<State>(&snapshot).unwrap();
    // The first directive of all builds the trees for proofs, which then stay.
    drop(state.estate().sites().next().map(|site| loaded.directive(&site.site)));
    let weight = usage() - before;
    drop(loaded);
    let each = weight.saturating_sub(estate) / devices;
    say(&format!("memory, {when}"), format_args!("{each} bytes a deployment; {} MiB in all", weight >> 20));
    weight
}

/// Says how fast it goes, or with a counter of what is allocated what it weighs.
pub(crate) fn figures(usage: Usage) {
    let sites = argument("--sites", 50_000);
    let devices = sites * DEVICES_EACH;
    say("estate", format_args!("{sites} sites, {devices} devices"));
    let ((mut world, events), took) = timed(|| World::new(sites, DEVICES_EACH));
    let say_time = |what: &str, took: Duration| {
        if usage.is_none() {
            say(what, format_args!("{took:.2?}"));
        }
    };
    say_time("inventories, plan, document", took);
    let mut state = State::default();
    let mut replay = usage.is_none().then(Replay::new);
    let mut estate = 0;
    for event in events {
        let created = matches!(event, Event::RolloutCreated { .. });
        if created {
            estate = weigh("sites and inventories", &state, devices, 0, usage);
        }
        let (effects, took) = timed(|| state.step(&event, world.now).unwrap());
        if created || matches!(event, Event::Order { .. }) {
            say_time(if created { "create" } else { "start" }, took);
        }
        world.hear(&state, &effects);
        if let Some(replay) = &mut replay {
            replay.lead(world.now, &event);
        }
    }
    weigh("started", &state, devices, estate, usage);
    run(&mut world, &mut state, replay.as_mut(), |when, state| {
        weigh(when, state, devices, estate, usage);
    });
    if let Some(replay) = replay {
        replay.run(&state);
    }
}

/// From the start to the end, and how long that took.
fn run(world: &mut World, state: &mut State, mut replay: Option<&mut Replay>, weigh: impl Fn(&str, &State)) {
    let id = world.document.id.clone();
    let (mut steps, mut whole, mut half) = (Steps::default(), Duration::ZERO, false);
    let mut chunk = Vec::with_capacity(CHUNK);
    loop {
        let (more, took) = timed(|| {
            for _ in 0..CHUNK {
                let Some((now, event)) = world.next(state) else { return false };
                let effects = steps.time(|| state.step(&event, now).unwrap());
                world.hear(state, &effects);
                chunk.push((now, event));
            }
            true
        });
        whole += took;
        match &mut replay {
            Some(replay) => replay.write(chunk.drain(..)),
            None => chunk.clear(),
        }
        let waves = state.rollout(&id).unwrap().waves;
        let succeeded: u64 = waves.iter().filter_map(|w| w.deployments.get(&DeploymentState::Succeeded)).sum();
        if !half && succeeded > waves.iter().map(|w| w.count).sum::<u64>() / 2 {
            half = true;
            weigh("half way", state);
        }
        if !more {
            break;
        }
    }
    let view = state.rollout(&id).unwrap();
    assert_eq!(view.state, RolloutState::Completed, "{view:?}");
    say("modelled time", format_args!("{} h", world.now.0 / 3_600_000));
    if replay.is_some() {
        say("rollout to its end", format_args!("{whole:.2?} on one core, nodes and directives included"));
        steps.say();
    }
    for wave in view.waves {
        say(&format!("wave {}", wave.name), format_args!("{} {:?}", wave.gate, wave.deployments));
    }
    weigh("ended", state);
}
