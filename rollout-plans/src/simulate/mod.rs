//! What a plan would do: the production engine, driven through a rollout in a **modelled** world.
//!
//! The engine is the real one ([`crate::engine::State::step`]), so windows, freezes, limits, gates, soaks and rollbacks are those
//! of a real rollout. Sites, lines, devices, clinical systems and people are modelled ([`Model`]): they take their time,
//! fail, are in use, go offline, approve in office hours. A [`BadPatch`] breaks a share of them; how many it reaches before
//! the plan stops it is what a simulation is asked for.
//!
//! | file | what it holds |
//! |---|---|
//! | `model`, `model_file` | the numbers of the model, and the file that changes them |
//! | `modelled_estate`, `modelled_patch` | an estate and a patch that a plan could have been written for |
//! | `prepared` | a rollout made ready for many runs |
//! | `world`, `queue` | one run: what happens when, and the engine's part in it |
//! | `node`, `lines`, `people` | how the modelled world behaves |
//! | `measure`, `run`, `finish` | what comes out |
//! | `forecast` | a resolved plan at the earliest and at the expected pace |
//! | `picture`, `svg` | the same as a timeline that can be printed |
//! | `many` | many runs, and how their results are spread |
//!
//! **Invariant:** the same plan, estate, model, start and seed give the same [`Run`], byte for byte, on every machine.

mod finish;
mod forecast;
mod lines;
mod many;
mod measure;
mod model;
mod model_file;
mod modelled_estate;
mod modelled_patch;
mod node;
mod people;
mod picture;
mod prepared;
mod queue;
mod random;
mod run;
mod svg;
mod trouble;
mod world;

pub use forecast::{ClosedHours, Forecast, NoForecast, Who, foresee};
pub use many::{Many, Spread, Spreads, spread_of};
pub use model::{BadPatch, Devices, Model, Network, Onset, People, Span, Systems};
pub use model_file::parse_model;
pub use modelled_estate::{Shape, modelled_estate};
pub use modelled_patch::{patch_of_manifest, some_patch};
pub use picture::picture;
pub use prepared::Prepared;
pub use random::Random;
pub use run::{AtRisk, Curve, End, Run, Stop, Tally, Wait, WaveRun};
pub use world::CutShort;

use world::World;

/// How long a run is followed at most, milliseconds: longer than a year, since a freeze may take most of one.
pub const HORIZON_MS: u64 = 400 * 24 * 3_600_000;

/// One run. `go_on` is asked now and then, with the number of events so far.
///
/// # Errors
/// [`CutShort`] when `go_on` said no.
pub fn run(
    prepared: &Prepared,
    model: &Model,
    seed: u64,
    horizon_ms: u64,
    go_on: &mut dyn FnMut(u64) -> bool,
) -> Result<Run, CutShort> {
    World::new(prepared, model, seed, horizon_ms).run(go_on)
}
