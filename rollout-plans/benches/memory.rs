//! What the engine's state weighs in the rollout of `figures`: a bench of its own, since counting takes time.
//!
//! `cargo bench -p wardround-rollout-plans --bench memory` prints it; `-- --sites 1000` takes a smaller estate.

#![expect(clippy::unwrap_used, reason = "a measurement fails as a test does")]

mod modelled;
mod rollout;

use peak_alloc::PeakAlloc;

/// Counts what is allocated: the figures of memory are bytes asked for, freed ones taken off.
#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

fn main() {
    rollout::figures(Some(|| ALLOCATED.current_usage()));
}
