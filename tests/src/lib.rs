//! What the end-to-end, fault and peer tests share.

pub mod rig;
