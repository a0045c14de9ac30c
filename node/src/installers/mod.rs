//! Installer technologies: how a patch is installed, detected and uninstalled, and what an exit code means.
//!
//! **Invariant:** everything here is a pure function over tables; nothing here touches a device. Each constant names
//! its source. A code alone never decides: see [`outcome`].

mod commands;
mod detection;
mod exit_code;
mod outcome;
mod platform;
pub mod write_filter;

pub use commands::{Place, Refused, Staged, Step, launch_lines, staged_for};
pub use detection::{Answer, Question, canary, detected, interpret, package_line, questions, questions_of};
pub use exit_code::{ExitClass, Meaning, code_words, meaning, parse_exit_code};
pub use outcome::{Outcome, outcome};
pub use platform::{WindowsFacts, hardware_of, language_of, platform_mismatch, service_pack_of};
