//! The rules that every root and every delegation must keep before it is believed, whoever signed it.
//!
//! TUF takes key ids as they are declared, so a client of it counts one key under two ids as two signers, and accepts a
//! threshold of one. Here a threshold must mean people.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize as _;

use super::{
    Delegation, Delegations, RoleName, Root, Targets, TufKey, TufKeyId,
    paths::{InvalidPath, check_path},
};
use crate::{HOLDER_BYTES_MAX, InvalidKey, KEYS_MAX, same_person, valid_holder};

/// How strict the policy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rules {
    /// Everything.
    #[default]
    Wardround,
    /// For repositories that are not ours: good Ed25519 keys only, each once. Nothing that
    /// rests on this is ever installed.
    ForeignRepository,
}

/// Which rule is broken, by which key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Not a good key.
    #[error("{file}: key {key} is not accepted: {why}")]
    Key {
        /// File.
        file: &'static str,
        /// Declared id.
        key: TufKeyId,
        /// Why.
        why: InvalidKey,
    },
    /// The id is not the key's hash.
    #[error("{file}: key {declared} has the id {computed}: a key id must be the hash of the key")]
    KeyId {
        /// File.
        file: &'static str,
        /// Declared id.
        declared: TufKeyId,
        /// Its own.
        computed: TufKeyId,
    },
    /// One key under two ids would count twice.
    #[error("{file}: {first} and {second} are the same key: one key must not count twice")]
    SameKey {
        /// File.
        file: &'static str,
        /// Id.
        first: TufKeyId,
        /// Id.
        second: TufKeyId,
    },
    /// An id twice in one role.
    #[error("role {role} names key {key} twice")]
    Twice {
        /// Role.
        role: RoleName,
        /// Key.
        key: TufKeyId,
    },
    /// An id without a key.
    #[error("role {role} names key {key}, which is not there")]
    NoSuchKey {
        /// Role.
        role: RoleName,
        /// Key.
        key: TufKeyId,
    },
    /// Too low, or out of reach.
    #[error("role {role} has the threshold {threshold} with {keys} key(s): {min} to {keys} is accepted")]
    Threshold {
        /// Role.
        role: RoleName,
        /// What it says.
        threshold: u64,
        /// Smallest.
        min: u64,
        /// Number of its keys.
        keys: usize,
    },
    /// A missing role.
    #[error("{file}: the role {role} is missing")]
    NoRole {
        /// File.
        file: &'static str,
        /// Role.
        role: RoleName,
    },
    /// A role too many.
    #[error("{file}: the role {role:?} is not one of those that this program knows, or stands twice")]
    UnknownRole {
        /// File.
        file: &'static str,
        /// Role.
        role: String,
    },
    /// A person's key without a proper name.
    #[error(
        "role {role}: key {key} needs a holder's name of 1 to {HOLDER_BYTES_MAX} bytes without control or invisible characters"
    )]
    Holder {
        /// Role.
        role: RoleName,
        /// Key.
        key: TufKeyId,
    },
    /// One person counted twice towards a threshold.
    #[error("role {role}: keys {first} and {second} are both held by {holder}: one person must not count twice")]
    OneHolder {
        /// Role.
        role: RoleName,
        /// Key.
        first: TufKeyId,
        /// Key.
        second: TufKeyId,
        /// Who.
        holder: String,
    },
    /// A key in both of the roles that must agree.
    #[error("key {key} stands in both release and clinical: the two roles need different people")]
    BothRolesKey {
        /// Key.
        key: TufKeyId,
    },
    /// A person in both of them.
    #[error("{holder} holds a key in release and one in clinical: the two roles need different people")]
    BothRolesHolder {
        /// Who.
        holder: String,
    },
    /// A key of the controller in a role of people.
    #[error(
        "key {key} of the online role {online} stands in the people's role {role}: the controller must not sign for people"
    )]
    Online {
        /// Key.
        key: TufKeyId,
        /// Role.
        online: RoleName,
        /// Role.
        role: RoleName,
    },
    /// Not one key.
    #[error("the role controller must have exactly one key, not {0}")]
    ControllerKeys(usize),
    /// A delegation for other paths.
    #[error("the role {role} must be delegated for {expected:?}, without an end to the search")]
    Paths {
        /// Role.
        role: RoleName,
        /// Patterns.
        expected: &'static [&'static str],
    },
    /// `consistent_snapshot` is off.
    #[error("root.json: consistent snapshots must be on")]
    NotConsistent,
    /// A targets file with what does not belong there.
    #[error("{role}.json must not hold {what}")]
    Foreign {
        /// Role.
        role: RoleName,
        /// What.
        what: &'static str,
    },
    /// A target that can't be one of ours.
    #[error("{role}.json: {path:?} is not accepted: {why}")]
    Target {
        /// Role.
        role: RoleName,
        /// Path.
        path: String,
        /// Why.
        why: InvalidPath,
    },
    /// Too many keys.
    #[error("{file}: {found} keys; at most {KEYS_MAX} are read")]
    TooManyKeys {
        /// File.
        file: &'static str,
        /// How many.
        found: usize,
    },
}

type Keys = BTreeMap<TufKeyId, TufKey>;

/// Checks a root.
///
/// # Errors
/// [`PolicyError`] names the rule and the key.
pub fn check_root(root: &Root, rules: Rules) -> Result<(), PolicyError> {
    check_keys("root.json", &root.keys, rules)?;
    for role in RoleName::TOP {
        let keys = root.roles.get(role.word()).ok_or(PolicyError::NoRole { file: "root.json", role })?;
        // A foreign root whose threshold can't be met is the client's affair: it will find too few signatures.
        if rules == Rules::Wardround {
            check_role(role, &keys.keyids, keys.threshold, &root.keys)?;
        }
    }
    if rules == Rules::ForeignRepository {
        return Ok(());
    }
    if let Some(role) = root.roles.keys().find(|name| !RoleName::TOP.iter().any(|role| role.word() == *name)) {
        return Err(PolicyError::UnknownRole { file: "root.json", role: role.clone() });
    }
    if !root.consistent_snapshot {
        return Err(PolicyError::NotConsistent);
    }
    for role in [RoleName::Root, RoleName::Targets] {
        let keyids = root.keyids(role);
        check_people(role, keyids, root.threshold(role), &root.keys)?;
        for online in [RoleName::Snapshot, RoleName::Timestamp] {
            if let Some(key) = root.keyids(online).iter().find(|key| keyids.contains(key)) {
                return Err(PolicyError::Online { key: key.clone(), online, role });
            }
        }
    }
    Ok(())
}

/// Checks a top-level `targets.json` under its root.
///
/// # Errors
/// [`PolicyError`] names the rule and the key.
pub fn check_targets(targets: &Targets, root: &Root) -> Result<(), PolicyError> {
    let role = RoleName::Targets;
    if !targets.targets.is_empty() {
        return Err(PolicyError::Foreign { role, what: "targets of its own" });
    }
    let missing = PolicyError::NoRole { file: "targets.json", role: RoleName::Release };
    let delegations = targets.delegations.as_ref().ok_or(missing)?;
    check_keys("targets.json", &delegations.keys, Rules::Wardround)?;
    for name in RoleName::DELEGATED {
        let found: Vec<&Delegation> = delegations.roles.iter().filter(|d| d.name == name.word()).collect();
        let [delegation] = found[..] else {
            let word = name.word().to_owned();
            return Err(if found.is_empty() {
                PolicyError::NoRole { file: "targets.json", role: name }
            } else {
                PolicyError::UnknownRole { file: "targets.json", role: word }
            });
        };
        check_delegation(name, delegation, delegations)?;
    }
    if let Some(other) = delegations.roles.iter().find(|d| !RoleName::DELEGATED.iter().any(|r| r.word() == d.name)) {
        return Err(PolicyError::UnknownRole { file: "targets.json", role: other.name.clone() });
    }
    check_apart(delegations)?;
    check_online(root, delegations)
}

/// Checks a `release.json` or a `clinical.json`.
///
/// # Errors
/// [`PolicyError`] names the rule and the path.
pub fn check_listing(role: RoleName, listing: &Targets) -> Result<(), PolicyError> {
    if listing.delegations.is_some() {
        return Err(PolicyError::Foreign { role, what: "delegations" });
    }
    for (path, target) in &listing.targets {
        check_path(path).and_then(|()| target.sha256().map(|_| ())).map_err(|why| PolicyError::Target {
            role,
            path: path.clone(),
            why,
        })?;
    }
    Ok(())
}

/// Checks the keys of a foreign delegation, if the file delegates at all.
pub(super) fn check_foreign(file: &[u8]) -> Result<(), PolicyError> {
    let value: serde_json::Value = serde_json::from_slice(file).unwrap_or_default();
    // What can't be read as delegations is left to the client, which reads it more strictly.
    let delegations = value.get("signed").and_then(|signed| signed.get("delegations"));
    let Some(delegations) = delegations.and_then(|found| Delegations::deserialize(found).ok()) else {
        return Ok(());
    };
    check_keys("a delegating file", &delegations.keys, Rules::ForeignRepository)
}

/// Good keys, under their own ids, each once.
fn check_keys(file: &'static str, keys: &Keys, rules: Rules) -> Result<(), PolicyError> {
    if keys.len() > KEYS_MAX {
        return Err(PolicyError::TooManyKeys { file, found: keys.len() });
    }
    let mut seen: BTreeMap<[u8; 32], &TufKeyId> = BTreeMap::new();
    for (declared, key) in keys {
        let public = key.public_key().map_err(|why| PolicyError::Key { file, key: declared.clone(), why })?;
        if let Some(first) = seen.insert(public.to_bytes(), declared) {
            return Err(PolicyError::SameKey { file, first: first.clone(), second: declared.clone() });
        }
        let computed = key.id();
        if computed != *declared && rules == Rules::Wardround {
            return Err(PolicyError::KeyId { file, declared: declared.clone(), computed });
        }
    }
    Ok(())
}

fn check_role(role: RoleName, keyids: &[TufKeyId], threshold: u64, keys: &Keys) -> Result<(), PolicyError> {
    let min = role.threshold_min();
    for (index, key) in keyids.iter().enumerate() {
        if keyids[..index].contains(key) {
            return Err(PolicyError::Twice { role, key: key.clone() });
        }
        if !keys.contains_key(key) {
            return Err(PolicyError::NoSuchKey { role, key: key.clone() });
        }
    }
    if threshold < min || threshold > keyids.len() as u64 {
        return Err(PolicyError::Threshold { role, threshold, min, keys: keyids.len() });
    }
    Ok(())
}

/// Every key has a named holder; where more than one must sign, each holder has one key.
fn check_people(role: RoleName, keyids: &[TufKeyId], threshold: u64, keys: &Keys) -> Result<(), PolicyError> {
    let mut seen: BTreeMap<String, &TufKeyId> = BTreeMap::new();
    for id in keyids {
        let holder = keys.get(id).and_then(|key| key.holder.as_deref()).filter(|holder| valid_holder(holder));
        let Some(holder) = holder else {
            return Err(PolicyError::Holder { role, key: id.clone() });
        };
        if let Some(first) = seen.insert(same_person(holder), id)
            && threshold > 1
        {
            return Err(PolicyError::OneHolder {
                role,
                first: first.clone(),
                second: id.clone(),
                holder: holder.into(),
            });
        }
    }
    Ok(())
}

fn check_delegation(role: RoleName, delegation: &Delegation, all: &Delegations) -> Result<(), PolicyError> {
    let keys = &delegation.keys;
    check_role(role, &keys.keyids, keys.threshold, &all.keys)?;
    if delegation.paths.as_deref().is_none_or(|paths| paths != role.paths())
        || delegation.terminating
        || delegation.unknown.contains_key("path_hash_prefixes")
    {
        return Err(PolicyError::Paths { role, expected: role.paths() });
    }
    if role != RoleName::Controller {
        return check_people(role, &keys.keyids, keys.threshold, &all.keys);
    }
    if keys.keyids.len() == 1 { Ok(()) } else { Err(PolicyError::ControllerKeys(keys.keyids.len())) }
}

/// No key and no person in both of the roles that must agree.
fn check_apart(delegations: &Delegations) -> Result<(), PolicyError> {
    let (release, clinical) = (delegations.keyids(RoleName::Release), delegations.keyids(RoleName::Clinical));
    if let Some(key) = release.iter().find(|key| clinical.contains(key)) {
        return Err(PolicyError::BothRolesKey { key: key.clone() });
    }
    let holder = |id: &TufKeyId| delegations.keys.get(id).and_then(|key| key.holder.clone()).unwrap_or_default();
    let people: BTreeSet<String> = clinical.iter().map(|id| same_person(&holder(id))).collect();
    match release.iter().map(holder).find(|name| people.contains(&same_person(name))) {
        Some(holder) => Err(PolicyError::BothRolesHolder { holder }),
        None => Ok(()),
    }
}

/// What the controller holds must not be able to sign for people.
fn check_online(root: &Root, delegations: &Delegations) -> Result<(), PolicyError> {
    let online = [
        (RoleName::Snapshot, root.keyids(RoleName::Snapshot)),
        (RoleName::Timestamp, root.keyids(RoleName::Timestamp)),
        (RoleName::Controller, delegations.keyids(RoleName::Controller)),
    ];
    let people = [
        (RoleName::Root, root.keyids(RoleName::Root)),
        (RoleName::Targets, root.keyids(RoleName::Targets)),
        (RoleName::Release, delegations.keyids(RoleName::Release)),
        (RoleName::Clinical, delegations.keyids(RoleName::Clinical)),
        (RoleName::OnCall, delegations.keyids(RoleName::OnCall)),
    ];
    for (online, keys) in online {
        for (role, keyids) in people {
            // Ids are hashes of keys here, so equal ids are equal keys, whichever file declares them.
            if let Some(key) = keys.iter().find(|key| keyids.contains(key)) {
                return Err(PolicyError::Online { key: key.clone(), online, role });
            }
        }
    }
    Ok(())
}
