//! What operators are there for. Their certificates carry it; what an order may do is decided by its signature besides.

use std::{collections::BTreeSet, fmt, str::FromStr};

/// A role of an operator's certificate. One person may hold several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperatorRole {
    /// Imports patches, makes, starts and resumes rollouts.
    Release,
    /// Countersigns patches and rollouts, approves waves.
    Clinical,
    /// Halts, takes back, approves, shuts out what was stolen.
    OnCall,
    /// Enrols and revokes sites' nodes.
    SiteEngineer,
    /// Reads.
    Auditor,
}

/// The roles of one certificate.
pub type OperatorRoles = BTreeSet<OperatorRole>;

impl OperatorRole {
    /// All of them, in the order of the role table.
    pub const ALL: [Self; 5] = [Self::Release, Self::Clinical, Self::OnCall, Self::SiteEngineer, Self::Auditor];

    /// As certificates, the command line and the API spell it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Clinical => "clinical",
            Self::OnCall => "on-call",
            Self::SiteEngineer => "site-engineer",
            Self::Auditor => "auditor",
        }
    }

    /// Roles in one line: "release, on-call", or "none".
    #[must_use]
    pub fn list<'a>(roles: impl IntoIterator<Item = &'a Self>) -> String {
        let words: Vec<&str> = roles.into_iter().map(|role| role.word()).collect();
        if words.is_empty() { "none".to_owned() } else { words.join(", ") }
    }
}

impl fmt::Display for OperatorRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Not a role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no operator role: expected release, clinical, on-call, site-engineer or auditor")]
pub struct UnknownRole(String);

impl FromStr for OperatorRole {
    type Err = UnknownRole;
    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.word() == text).ok_or_else(|| UnknownRole(text.to_owned()))
    }
}
