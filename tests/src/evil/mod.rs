//! A controller in an attacker's hands: it has its own valid CA and directive key, and serves whatever a test tells it.
//!
//! It is made of the same contracts as the real one, so that a node can only tell them apart by what it verifies.
#![expect(clippy::unwrap_used, reason = "a test harness: a failure is a panic that names the line")]

mod estate;
mod server;

pub use estate::{Estate, People};
pub use server::{Evil, Served};
