//! The first root and targets out of people and the controller's online keys. Nothing is signed here.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Moment, PolicyError, RoleName, Root, Rules, Targets, check_root, check_targets};
use crate::PublicKey;

/// The controller's public online keys: `online.pub.json`, which people take to the ceremony.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnlineKeys {
    /// Signs snapshots.
    pub snapshot: PublicKey,
    /// Signs timestamps.
    pub timestamp: PublicKey,
    /// Signs directives.
    pub directives: PublicKey,
}

/// A person's key and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Name.
    pub holder: String,
    /// Key.
    pub key: PublicKey,
    /// Root, targets, release, clinical or on-call.
    pub roles: BTreeSet<RoleName>,
}

/// Who begins a repository.
#[derive(Debug, Clone)]
pub struct Ceremony {
    /// Everybody.
    pub members: Vec<Member>,
    /// The controller's keys.
    pub online: OnlineKeys,
    /// Thresholds other than the smallest that the policy accepts.
    pub thresholds: BTreeMap<RoleName, u64>,
    /// Until when the root counts.
    pub root_expires: Moment,
    /// Until when the delegations count.
    pub targets_expires: Moment,
}

impl Ceremony {
    /// Version 1 of `root.json` and of `targets.json`, unsigned.
    ///
    /// # Errors
    /// [`PolicyError`] names the rule and the key.
    pub fn first(&self) -> Result<(Root, Targets), PolicyError> {
        let (root, targets) = self.proposed();
        check_root(&root, Rules::Wardround)?;
        check_targets(&targets, &root)?;
        Ok((root, targets))
    }

    /// The same, not yet judged by the policy: for whoever has to say which person's key breaks which rule.
    #[must_use]
    pub fn proposed(&self) -> (Root, Targets) {
        let (mut root, mut targets) = (Root::new(self.root_expires), Targets::top(self.targets_expires));
        for member in &self.members {
            let holder = Some(member.holder.as_str());
            for role in &member.roles {
                if RoleName::TOP.contains(role) {
                    root.add_key(*role, member.key, holder);
                } else {
                    targets.add_key(*role, member.key, holder);
                }
            }
        }
        root.add_key(RoleName::Snapshot, self.online.snapshot, None);
        root.add_key(RoleName::Timestamp, self.online.timestamp, None);
        targets.add_key(RoleName::Controller, self.online.directives, None);
        for (role, threshold) in &self.thresholds {
            root.set_threshold(*role, *threshold);
            targets.set_threshold(*role, *threshold);
        }
        (root, targets)
    }
}
