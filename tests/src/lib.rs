//! What the end-to-end, fault and peer tests share.

pub mod evil;
pub mod rig;
pub mod sim;
pub mod world;
