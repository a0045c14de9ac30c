//! Plans, resolution and the rollout engine: everything that decides, nothing that acts.
//!
//! **Invariant:** no clock, randomness, I/O or async in this crate; `now` is an argument.

mod circle;
pub mod describe;
pub mod engine;
pub mod estate;
pub mod exact;
pub mod language;
pub mod model;
pub mod patch_file;
pub mod proofs;
pub mod resolve;
pub mod simulate;
pub mod window;
pub mod words;
