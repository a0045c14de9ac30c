//! How fast the engine is at the design's estate: 50,000 sites with 30 devices each, one rollout from its draft to its end.
//!
//! `cargo bench -p wardround-rollout-plans --bench figures` prints it; `-- --sites 1000` takes a smaller estate.
//! The rollout runs on one thread, with the allocator of the program, and seconds are those that the thread ran (Linux).

#![expect(clippy::unwrap_used, reason = "a measurement fails as a test does")]

mod modelled;
mod rollout;

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() {
    rollout::figures(None);
}
