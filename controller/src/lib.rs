//! The wardround controller: it takes in people's orders and nodes' reports, writes them down, and only then acts.
//!
//! - [`init`] makes a data directory and the first operator's profile; [`issue_operator`] adds another;
//! - [`run()`] serves until it is told to stop.
//!
//! Rooms: `ca` (who is calling), `core` (the one owner of the state: journal first, then act), `registry` (tokens, node
//! keys, documents), `images` (the TUF repository), `log` (the audit log's tree and checkpoints, and who witnesses them),
//! `payloads` (chunks on disk), `inventory` (what devices say of themselves), `api` (gRPC: parse, call, convert), `console`; `pure` is the door to what decides, for a
//! simulation.
//!
//! **Invariant:** nothing is answered, shown or sent that is not on disk.
//! **Invariant:** this crate decides nothing about a rollout; `wardround-rollout-plans` does.

mod api;
mod ca;
mod clock;
mod console;
mod core;
mod directive;
mod images;
mod inventory;
mod log;
mod operators;
mod payloads;
pub mod pure;
mod registry;
mod run;
mod setup;
mod silence;

pub use ca::{OperatorRole, OperatorRoles, UnknownRole};
pub use images::{import_root, make_online_keys};
pub use run::{Config, Ready, RunError, run};
pub use setup::{InitError, InitOptions, IssuedOperator, init, issue_operator};
