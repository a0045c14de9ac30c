//! What goes first within a wave.

use serde::{Deserialize, Serialize};

/// Most rules of one wave's order: a person must be able to foresee what they do together.
pub const PRECEDENCES_MAX: usize = 8;
/// Most values of one rule.
pub const PRECEDENCE_VALUES_MAX: usize = 256;

/// One rule of the order within a wave. The first rule decides; where two devices are alike in it, the next one does, and
/// at the end their ids. Exactly one of `label` and `by` is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Precedence {
    /// By the value of this label, on the device or (where it lacks the label) on its site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// By something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<PrecedenceBy>,
    /// What goes first, second, and so on; whatever has none of these comes last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// What a rule goes by, when it is no label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrecedenceBy {
    /// Maker's model.
    Model,
    /// Site.
    Site,
    /// Region of the site.
    Region,
    /// Type of the site.
    SiteType,
    /// Kind of the clinical systems that need it; of several the one that comes last. What none needs goes first.
    System,
    /// What no clinical system needs, then what needs no critical one, then the rest.
    CriticalLast,
    /// Devices whose redundancy group has more members than may be disrupted at once: another one carries on.
    SpareFirst,
    /// One device of each site, then a second one of each, and so on.
    SiteTurns,
    /// The fixed order of the hash by which devices are drawn.
    Hash,
}

impl PrecedenceBy {
    /// All, with the words of plans.
    pub const ALL: [(&'static str, Self); 9] = [
        ("model", Self::Model),
        ("site", Self::Site),
        ("region", Self::Region),
        ("site_type", Self::SiteType),
        ("system", Self::System),
        ("critical_last", Self::CriticalLast),
        ("spare_first", Self::SpareFirst),
        ("site_turns", Self::SiteTurns),
        ("hash", Self::Hash),
    ];

    /// The word in plans.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL[self as usize].0
    }

    /// Whether the rule says nothing without values. The others take none.
    #[must_use]
    pub fn asks_for_values(self) -> bool {
        matches!(self, Self::Model | Self::Site | Self::Region | Self::SiteType | Self::System)
    }
}
