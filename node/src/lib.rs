//! The wardround site node: it drives the devices of one site and watches its clinical systems.
//!
//! | room | holds |
//! |---|---|
//! | `machine` | every decision, pure: the fold of journalled inputs, and the actions that follow |
//! | `trust` | the floor, and what a directive must prove before the machine hears of it |
//! | `identity`, `enrol` | who the node is, and how a token made it so |
//! | `sync` | everything that talks to the controller |
//! | `cache` | payloads: shared, bounded, made of what is here already and of chunks that are fetched |
//! | `program` | the node's own program: its slots, and the supervisor that starts it |
//! | `prefetch` | a payload without a rollout |
//! | `pure` | what decides, without the shell around it, for whoever runs it in another world |
//! | `executor` | the one loop that owns the state, and the tasks that act |
//! | `config`, `device`, `installers`, `transports`, `probes` | the site and the means to reach it |
//! | `inventory` | what devices say of themselves, and how they differ from what is known of them |
//! | `secret` | where the site keeps its passwords |
//!
//! **Invariant:** the node knows nothing of the controller's code; both know the `.proto` files and the signed documents.

mod cache;
pub mod config;
pub mod device;
mod doctor;
mod enrol;
mod error;
mod executor;
mod files;
mod identity;
pub mod installers;
mod inventory;
mod machine;
mod prefetch;
pub mod probes;
pub mod program;
pub mod pure;
pub mod secret;
mod sync;
pub mod transports;
mod trust;

pub use doctor::{Finding, SelfTest, Standing, examine, selftest};
pub use enrol::{EnrolOptions, Enrolled, enrol};
pub use error::NodeError;
pub use executor::{Confirmed, Ended, RunOptions, accept_log, confirm, run};
pub use inventory::{InventoryAsk, inventory};
pub use prefetch::prefetch;
pub use trust::{Reanchored, RefreshError, TrustStore, Vouched, WitnessView, reanchor, witness_view};
