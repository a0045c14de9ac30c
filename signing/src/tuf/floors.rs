//! The versions below which nothing is believed, whatever became of the kept files.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{RoleName, TufError, TufKeyId};

/// The highest version seen of a role, and whose keys stood behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Floor {
    /// Version.
    pub version: u64,
    /// Keys of the role then; none where a person vouched for the version, and then it holds under any keys.
    pub keys: BTreeSet<TufKeyId>,
}

/// A floor for every role that has a file.
///
/// A role's floor falls only when none of its former keys is trusted for it any longer: then no former file verifies, and
/// people who had to replace stolen keys can begin at version 1 again (TUF 1.0.34, section 5.3.11). The root's never falls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Floors(BTreeMap<RoleName, Floor>);

impl Floors {
    /// A role's floor.
    #[must_use]
    pub fn get(&self, role: RoleName) -> Option<&Floor> {
        self.0.get(&role)
    }

    /// The roles that have one.
    pub fn iter(&self) -> impl Iterator<Item = (RoleName, &Floor)> {
        self.0.iter().map(|(role, floor)| (*role, floor))
    }

    /// Raises a role's floor to a version that a person vouches for.
    pub fn vouch(&mut self, role: RoleName, version: u64) {
        if self.0.get(&role).is_none_or(|floor| floor.version < version) {
            self.0.insert(role, Floor { version, keys: BTreeSet::new() });
        }
    }

    /// Refuses `version` of `role` under `keys` where it is below the floor. A missing file is version 0.
    pub(super) fn check(&self, role: RoleName, version: u64, keys: &BTreeSet<TufKeyId>) -> Result<(), TufError> {
        match self.0.get(&role) {
            Some(floor) if version < floor.version && holds(role, floor, keys) => {
                Err(TufError::Rollback { role: role.word().to_owned(), seen: floor.version, found: version })
            }
            _ => Ok(()),
        }
    }

    /// Raises a role's floor to what was verified just now.
    pub(super) fn raise(&mut self, role: RoleName, version: u64, keys: BTreeSet<TufKeyId>) {
        match self.0.get(&role) {
            Some(floor) if version < floor.version && holds(role, floor, &keys) => {}
            _ => {
                self.0.insert(role, Floor { version, keys });
            }
        }
    }
}

fn holds(role: RoleName, floor: &Floor, keys: &BTreeSet<TufKeyId>) -> bool {
    role == RoleName::Root || floor.keys.is_empty() || !floor.keys.is_disjoint(keys)
}
