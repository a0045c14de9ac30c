//! Who may no longer talk: nodes and operators whose certificates are revoked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wardround_rollout_plans::{
    engine::Refusal,
    model::{DurationMs, Timestamp},
};

/// How long a revocation is remembered: longer than an operator's certificate lives (a year), so that none comes back to life.
const MEMORY: DurationMs = DurationMs::from_secs(400 * 24 * 60 * 60);
/// Most revocations of operators that are remembered.
const REVOCATIONS_MAX: usize = 10_000;

/// A revocation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Revoked {
    /// When.
    pub(crate) at: Timestamp,
    /// Who did it, and why.
    pub(crate) text: String,
}

/// Which certificates of operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Revocation {
    /// All that were issued to this name until the moment of the revocation.
    Name(String),
    /// The one with this serial number, lower-case hex.
    Serial(String),
}

impl std::fmt::Display for Revocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => write!(f, "all certificates of operator {name} until now"),
            Self::Serial(serial) => write!(f, "the operator's certificate {serial}"),
        }
    }
}

/// Operators' certificates that count no more.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Revocations {
    names: BTreeMap<String, Revoked>,
    serials: BTreeMap<String, Revoked>,
}

impl Revocations {
    /// The revocation that covers this certificate.
    pub(crate) fn of(&self, name: &str, serial: &str, issued_at: Timestamp) -> Option<&Revoked> {
        let by_name = self.names.get(name).filter(|revoked| issued_at <= revoked.at);
        by_name.or_else(|| self.serials.get(serial))
    }

    pub(super) fn check(&self, now: Timestamp) -> Result<(), Refusal> {
        let fresh = |revoked: &&Revoked| revoked.at.after(MEMORY) > now;
        let many = self.names.values().chain(self.serials.values()).filter(fresh).count();
        if many < REVOCATIONS_MAX {
            return Ok(());
        }
        Err(Refusal::Invalid {
            why: format!("{many} revocations are remembered already; a new `wardround init` makes a new CA"),
        })
    }

    pub(super) fn revoke(&mut self, what: &Revocation, revoked: Revoked) {
        let now = revoked.at;
        for kept in [&mut self.names, &mut self.serials] {
            kept.retain(|_, revoked| revoked.at.after(MEMORY) > now);
        }
        match what {
            Revocation::Name(name) => self.names.insert(name.clone(), revoked),
            Revocation::Serial(serial) => self.serials.insert(serial.clone(), revoked),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revoked(at: i64) -> Revoked {
        Revoked { at: Timestamp(at), text: "ben: lost".to_owned() }
    }

    #[test]
    fn a_name_is_revoked_up_to_a_moment_and_a_serial_for_good() {
        let mut revocations = Revocations::default();
        revocations.revoke(&Revocation::Name("ann".to_owned()), revoked(1000));
        revocations.revoke(&Revocation::Serial("0a".to_owned()), revoked(2000));
        let covers = |name, serial, issued| revocations.of(name, serial, Timestamp(issued)).is_some();
        assert!(covers("ann", "01", 999) && covers("ann", "01", 1000));
        assert!(!covers("ann", "01", 1001), "a later certificate of the same name counts");
        assert!(!covers("ann.lee", "01", 1) && covers("ann.lee", "0a", 9_000));
        let again: Revocations = serde_json::from_slice(&serde_json::to_vec(&revocations).unwrap()).unwrap();
        assert!(again.of("ann", "", Timestamp(5)).is_some());
    }

    #[test]
    fn a_revocation_outlives_the_certificate_and_is_then_forgotten() {
        let year: i64 = 365 * 24 * 60 * 60 * 1000;
        let mut revocations = Revocations::default();
        revocations.revoke(&Revocation::Serial("0a".to_owned()), revoked(0));
        revocations.revoke(&Revocation::Serial("0b".to_owned()), revoked(year));
        assert!(revocations.of("x", "0a", Timestamp(0)).is_some());
        revocations.revoke(&Revocation::Serial("0c".to_owned()), revoked(2 * year));
        assert!(revocations.of("x", "0a", Timestamp(0)).is_none());
        assert!(revocations.of("x", "0b", Timestamp(0)).is_some());
    }
}
