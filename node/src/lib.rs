//! The wardround site node: it drives the devices of one site and watches its clinical systems.

pub mod config;
pub mod device;
pub mod installers;
pub mod probes;
pub mod transports;
