//! Risks that a plan takes knowingly.

use serde::{Deserialize, Serialize};

use super::{Platform, WaveName};

/// Most accepted risks of a plan: whoever accepts more has another plan in mind.
pub const ACCEPTED_MAX: usize = 64;
/// Most combinations of one of them.
pub const COMBINATIONS_MAX: usize = 256;
/// Longest reason, bytes: it stands in one line before those who sign.
pub const ACCEPT_REASON_BYTES_MAX: usize = 300;

/// A rule of the lint that people have read and go against, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    /// Word of a `crate::language::Rule`. A text, so that a program that does not know a later rule still reads the plan:
    /// rules bind nobody but those who write and sign.
    pub rule: String,
    /// Why, in one line.
    pub reason: String,
    /// Only for this wave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<WaveName>,
    /// Only for these combinations; for the rule `unrepresented` alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub combinations: Vec<Combined>,
}

/// Combinations of platform, model and kind of clinical system; what is absent fits all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Combined {
    /// CPE 2.3 pattern.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Maker's model; empty means devices without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Kind of clinical system; empty means devices that none needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
}

impl Combined {
    /// Whether it is about this combination.
    #[must_use]
    pub fn fits(&self, platform: &Platform, model: &str, system: &str) -> bool {
        self.platform.as_ref().is_none_or(|pattern| pattern.matches(platform))
            && self.model.as_deref().is_none_or(|wanted| wanted == model)
            && self.system.as_deref().is_none_or(|wanted| wanted == system)
    }
}
