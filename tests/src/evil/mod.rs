//! A controller in an attacker's hands: it has its own valid CA, all online keys and the whole store, and serves whatever a test tells it.
//!
//! It is made of the same contracts as the real one, so that a node can only tell them apart by what it verifies.
#![expect(clippy::unwrap_used, reason = "a test harness: a failure is a panic that names the line")]

mod case;
mod estate;
mod repository;
mod server;

pub use case::{CANARY, Case, FULL};
pub use estate::{Estate, People};
pub use repository::{Repository, signed};
pub use server::{Evil, Served};
