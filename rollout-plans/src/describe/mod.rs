//! Plain words for those who sign: what will happen to which devices, what a patch is, what an order does.
//!
//! Written for a clinical safety officer who need not be technical: what is unusual first, numbers before details, details
//! last. Everything here comes from the documents alone, so the same bytes always read the same, on any machine.

mod amendment;
mod order;
mod patch;
mod patience;
mod rollout;
mod unusual;
mod windows;
mod words;

pub use amendment::Difference;
pub use order::describe_order;
pub use patch::describe_patch;
pub use rollout::{at_once, describe_rollout, gate_words, order_words};
pub use windows::{window_lines, window_words};
