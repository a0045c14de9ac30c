//! What the end-to-end, fault and peer tests share.

pub mod evil;
mod ports;
pub mod rig;
pub mod sim;
pub mod world;

pub use ports::{free_port, listener};
