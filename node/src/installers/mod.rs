//! Installer technologies: how a patch is installed, detected and uninstalled, and what an exit code means.
//!
//! **Invariant:** everything here is a pure function over tables; nothing here touches a device. Each constant names
//! its source. A code alone never decides: see [`outcome`].

mod commands;
mod detection;
mod exit_code;
mod outcome;
mod platform;

pub use commands::{Refused, Step, launch_lines};
pub use detection::{Query, RegistryValue, interpret, query};
pub use exit_code::{ExitClass, classify, parse_exit_code};
pub use outcome::{Outcome, outcome};
pub use platform::{NtVersion, platform_mismatch};
