//! The node's own program: in slots beside the packaged one, tried before it counts, and left when it is not well.
//!
//! - `decide` says which program runs, pure;
//! - `files` keeps the record and the slots, so that a power cut at any point leaves the old or the new;
//! - `own` is what a running node does with itself as with a device;
//! - `supervise` starts the program that counts, and goes back from one that is not well.
//!
//! **Invariant:** the supervisor trusts nothing that it reads but by its digest, and needs nothing but its own file to run a node.

mod decide;
mod files;
mod own;
mod supervise;

pub use decide::{
    Answer, End, Event, Image, Left, Next, Record, Run, STARTS_MAX, Seen, Slot, Trial, Turn, decide, unwritten,
};
pub(crate) use files::Programs;
pub(crate) use own::Own;
pub(crate) use supervise::running;
pub use supervise::{SuperviseOptions, supervise};

/// Exit code of a node that its supervisor is to start anew: none that shells, signals or other failures use.
pub const RESTART_CODE: u8 = 86;
/// Set for a node that runs under a supervisor: the supervisor's process id.
pub(crate) const SUPERVISOR_VARIABLE: &str = "WARDROUND_SUPERVISOR";
/// Set when the record could not be written, so that what was to begin did not: why.
pub(crate) const UNWRITTEN_VARIABLE: &str = "WARDROUND_RECORD_UNWRITTEN";
/// The program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The processor that this program is for, as CPE names it.
#[must_use]
pub fn hardware() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    }
}
