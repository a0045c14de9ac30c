//! What one step costs, in a small and in a large estate: the two must not differ by more than colder caches explain.
//!
//! `cargo bench -p wardround-rollout-plans --bench engine`

#![expect(clippy::unwrap_used, reason = "a measurement fails as a test does")]

mod modelled;

use std::cell::RefCell;

use divan::{AllocProfiler, Bencher};
use modelled::World;
use wardround_rollout_plans::engine::{Event, State};

/// Shows beside each time how much is allocated.
#[global_allocator]
static ALLOCATED: AllocProfiler = AllocProfiler::system();

const DEVICES_EACH: usize = 30;
/// Steps before the first that is measured: enough to have left the first reports of all behind.
const WARM: usize = 20_000;

fn main() {
    divan::main();
}

/// An estate in the middle of its rollout.
struct Middle {
    world: World,
    state: State,
}

impl Middle {
    fn new(sites: usize) -> Self {
        let (mut world, events) = World::new(sites, DEVICES_EACH);
        let mut state = State::default();
        for event in events {
            let effects = state.step(&event, world.now).unwrap();
            world.hear(&state, &effects);
        }
        let mut middle = Self { world, state };
        (0..WARM).for_each(|_| middle.step());
        middle
    }

    fn step(&mut self) {
        let (now, event) = self.world.next(&self.state).unwrap();
        let effects = self.state.step(&event, now).unwrap();
        self.world.hear(&self.state, &effects);
    }
}

/// A node's report, in the order in which the nodes of all sites send them.
#[divan::bench(args = [1_000, 50_000], sample_count = 2_000, sample_size = 1)]
fn report(bencher: Bencher<'_, '_>, sites: usize) {
    let middle = RefCell::new(Middle::new(sites));
    bencher
        .with_inputs(|| {
            let mut middle = middle.borrow_mut();
            loop {
                let Middle { world, state } = &mut *middle;
                let (now, event) = world.next(state).unwrap();
                if matches!(event, Event::Report { .. }) {
                    return (now, event);
                }
                let effects = state.step(&event, now).unwrap();
                world.hear(state, &effects);
            }
        })
        .bench_local_values(|(now, event)| {
            let Middle { world, state } = &mut *middle.borrow_mut();
            let effects = state.step(&event, now).unwrap();
            world.hear(state, &effects);
        });
}
