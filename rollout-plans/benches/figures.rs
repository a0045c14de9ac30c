//! The figures of the design's estate: 50,000 sites with 30 devices each, one rollout from its draft to its end.
//!
//! `cargo bench -p wardround-rollout-plans --bench figures` prints them; `-- --sites 1000` takes a smaller estate.
//! It runs on one thread, and seconds are those that the thread ran (Linux).

#![expect(clippy::unwrap_used, reason = "a measurement fails as a test does")]

mod modelled;
mod replay;

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use modelled::World;
use peak_alloc::PeakAlloc;
use replay::Replay;
use wardround_rollout_plans::{
    engine::{Event, RolloutState, State},
    model::DeploymentState,
};

/// Counts what is allocated: the figures of memory are bytes asked for, freed ones taken off.
#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

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

/// A snapshot is written and read back: its size and times, and what the state weighs that comes of it.
fn weigh(when: &str, state: &State, devices: usize, estate: usize) -> usize {
    let (snapshot, save) = timed(|| serde_json::to_vec(state).unwrap());
    let before = ALLOCATED.current_usage();
    let (loaded, load) = timed(|| serde_json::from_slice::<State>(&snapshot).unwrap());
    // The first directive of all builds the trees for proofs, which then stay.
    drop(state.estate().sites().next().map(|site| loaded.directive(&site.site)));
    let weight = ALLOCATED.current_usage() - before;
    drop(loaded);
    let (copy, clone) = timed(|| state.clone());
    drop(copy);
    let each = weight.saturating_sub(estate) / devices;
    let size = snapshot.len() >> 20;
    say(&format!("memory, {when}"), format_args!("{each} bytes a deployment; {} MiB in all", weight >> 20));
    say(&format!("snapshot, {when}"), format_args!("{size} MiB, save {save:.2?}, load {load:.2?}, copy {clone:.2?}"));
    weight
}

fn main() {
    let sites = argument("--sites", 50_000);
    let devices = sites * DEVICES_EACH;
    say("estate", format_args!("{sites} sites, {devices} devices"));
    let ((mut world, events), took) = timed(|| World::new(sites, DEVICES_EACH));
    say("inventories, plan, document", format_args!("{took:.2?}"));
    let mut state = State::default();
    let mut replay = Replay::new();
    let mut estate = 0;
    for event in events {
        let created = matches!(event, Event::RolloutCreated { .. });
        if created {
            estate = weigh("sites and inventories", &state, devices, 0);
        }
        let (effects, took) = timed(|| state.step(&event, world.now).unwrap());
        if created || matches!(event, Event::Order { .. }) {
            say(if created { "create" } else { "start" }, format_args!("{took:.2?}"));
        }
        world.hear(&state, &effects);
        replay.lead(world.now, &event);
    }
    weigh("started", &state, devices, estate);
    run(&mut world, &mut state, &mut replay, estate, devices);
    replay.run(&state);
}

/// From the start to the end, and how long that took.
fn run(world: &mut World, state: &mut State, replay: &mut Replay, estate: usize, devices: usize) {
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
        replay.write(chunk.drain(..));
        let waves = state.rollout(&id).unwrap().waves;
        let done: u64 = waves.iter().filter_map(|w| w.deployments.get(&DeploymentState::Succeeded)).sum();
        if !half && done as usize > devices / 2 {
            half = true;
            weigh("half way", state, devices, estate);
        }
        if !more {
            break;
        }
    }
    let view = state.rollout(&id).unwrap();
    assert_eq!(view.state, RolloutState::Completed, "{view:?}");
    say("rollout to its end", format_args!("{whole:.2?} on one core, nodes and directives included"));
    say("modelled time", format_args!("{} h", world.now.0 / 3_600_000));
    steps.say();
    for wave in view.waves {
        say(&format!("wave {}", wave.name), format_args!("{} {:?}", wave.gate, wave.deployments));
    }
    weigh("ended", state, devices, estate);
}
