//! Making metadata: first versions, next versions, keys, targets. Expiries are passed in.

use std::collections::BTreeMap;

use super::{
    Delegation, Delegations, Head, Kind, Metadata, Moment, Pin, RoleName, Root, Snapshot, Target, Targets, Timestamp,
    TufError, TufKey, TufKeyId,
    metadata::{DelegationKeys, RoleKeys, Unknown},
    paths::{InvalidPath, check_path},
};
use crate::{Digest, PublicKey};

/// The next version of `metadata`, still to be changed and signed.
#[must_use]
pub fn next_version<M: Metadata>(metadata: &M, expires: Moment) -> M {
    let mut next = metadata.clone();
    let head = next.head_mut();
    head.version = head.version.saturating_add(1);
    head.expires = expires;
    super::metadata::SPEC_VERSION.clone_into(&mut head.spec_version);
    next
}

impl Root {
    /// Version 1 without keys, with the smallest thresholds that the policy accepts.
    #[must_use]
    pub fn new(expires: Moment) -> Self {
        let empty =
            |role: RoleName| RoleKeys { keyids: Vec::new(), threshold: role.threshold_min(), unknown: Unknown::new() };
        Self {
            head: Head::first("root", expires),
            consistent_snapshot: true,
            keys: BTreeMap::new(),
            roles: RoleName::TOP.into_iter().map(|role| (role.word().to_owned(), empty(role))).collect(),
            unknown: Unknown::new(),
        }
    }

    /// Gives `role` (of [`RoleName::TOP`]) a key. People's keys need a holder's name.
    pub fn add_key(&mut self, role: RoleName, key: PublicKey, holder: Option<&str>) -> TufKeyId {
        let (id, object) = (TufKey::new(key, None).id(), TufKey::new(key, holder));
        let known = self.keys.entry(id.clone()).or_insert_with(|| object.clone());
        known.holder = object.holder.or_else(|| known.holder.clone());
        if let Some(keys) = self.roles.get_mut(role.word())
            && !keys.keyids.contains(&id)
        {
            keys.keyids.push(id.clone());
        }
        id
    }

    /// Takes a key from `role`, and from the file where no other role names it.
    pub fn remove_key(&mut self, role: RoleName, id: &TufKeyId) {
        if let Some(keys) = self.roles.get_mut(role.word()) {
            keys.keyids.retain(|other| other != id);
        }
        if !self.roles.values().any(|keys| keys.keyids.contains(id)) {
            self.keys.remove(id);
        }
    }

    /// Sets a threshold; the policy checks it.
    pub fn set_threshold(&mut self, role: RoleName, threshold: u64) {
        if let Some(keys) = self.roles.get_mut(role.word()) {
            keys.threshold = threshold;
        }
    }

    /// The ids of a role's keys.
    #[must_use]
    pub fn keyids(&self, role: RoleName) -> &[TufKeyId] {
        self.roles.get(role.word()).map_or(&[], |keys| &keys.keyids)
    }

    /// A role's threshold; more than can be met where the role is missing.
    #[must_use]
    pub fn threshold(&self, role: RoleName) -> u64 {
        self.roles.get(role.word()).map_or(u64::MAX, |keys| keys.threshold)
    }
}

impl Delegations {
    /// The delegation of that name.
    #[must_use]
    pub fn role(&self, role: RoleName) -> Option<&Delegation> {
        self.roles.iter().find(|d| d.name == role.word())
    }

    /// The ids of a role's keys.
    #[must_use]
    pub fn keyids(&self, role: RoleName) -> &[TufKeyId] {
        self.role(role).map_or(&[], |d| &d.keys.keyids)
    }
}

impl Targets {
    /// Version 1 of `targets.json`: the four delegations without keys.
    #[must_use]
    pub fn top(expires: Moment) -> Self {
        let delegate = |role: RoleName| Delegation {
            name: role.word().to_owned(),
            keys: DelegationKeys { keyids: Vec::new(), threshold: role.threshold_min() },
            terminating: false,
            paths: Some(role.paths().iter().map(|&path| path.to_owned()).collect()),
            unknown: Unknown::new(),
        };
        let roles = RoleName::DELEGATED.into_iter().map(delegate).collect();
        Self {
            delegations: Some(Delegations { keys: BTreeMap::new(), roles, unknown: Unknown::new() }),
            ..Self::listing(expires)
        }
    }

    /// Version 1 of `release.json` or `clinical.json`: nothing signed for yet.
    #[must_use]
    pub fn listing(expires: Moment) -> Self {
        Self {
            head: Head::first("targets", expires),
            targets: BTreeMap::new(),
            delegations: None,
            unknown: Unknown::new(),
        }
    }

    /// Gives a delegation (of [`RoleName::DELEGATED`]) a key. People's keys need a holder's name.
    pub fn add_key(&mut self, role: RoleName, key: PublicKey, holder: Option<&str>) -> TufKeyId {
        let (id, object) = (TufKey::new(key, None).id(), TufKey::new(key, holder));
        if let Some(all) = &mut self.delegations {
            let known = all.keys.entry(id.clone()).or_insert_with(|| object.clone());
            known.holder = object.holder.or_else(|| known.holder.clone());
            if let Some(delegation) = all.roles.iter_mut().find(|d| d.name == role.word())
                && !delegation.keys.keyids.contains(&id)
            {
                delegation.keys.keyids.push(id.clone());
            }
        }
        id
    }

    /// Takes a key from a delegation, and from the file where no other names it.
    pub fn remove_key(&mut self, role: RoleName, id: &TufKeyId) {
        let Some(all) = &mut self.delegations else { return };
        if let Some(delegation) = all.roles.iter_mut().find(|d| d.name == role.word()) {
            delegation.keys.keyids.retain(|other| other != id);
        }
        if !all.roles.iter().any(|d| d.keys.keyids.contains(id)) {
            all.keys.remove(id);
        }
    }

    /// Sets a delegation's threshold; the policy checks it.
    pub fn set_threshold(&mut self, role: RoleName, threshold: u64) {
        let roles = self.delegations.iter_mut().flat_map(|all| &mut all.roles);
        for delegation in roles.filter(|d| d.name == role.word()) {
            delegation.keys.threshold = threshold;
        }
    }

    /// Names a document, to be signed for.
    ///
    /// # Errors
    /// [`InvalidPath`] when the path is not one for this kind; [`TufError::Changed`] is left to
    /// [`super::Standing::check`], which knows what was signed before.
    pub fn add_target(&mut self, path: &str, bytes: &[u8], kind: Kind) -> Result<(), InvalidPath> {
        check_path(path)?;
        let target = Target::of(bytes, kind);
        target.kind(path)?;
        self.targets.insert(path.to_owned(), target);
        Ok(())
    }

    /// Takes a document away: it no longer counts. True if it was there.
    pub fn remove_target(&mut self, path: &str) -> bool {
        self.targets.remove(path).is_some()
    }
}

impl Pin {
    /// Pins these very bytes.
    #[must_use]
    pub fn of(version: u64, bytes: &[u8]) -> Self {
        Self {
            version,
            length: Some(bytes.len() as u64),
            hashes: Some([("sha256".to_owned(), Digest::of(bytes).hex())].into()),
            unknown: Unknown::new(),
        }
    }
}

impl Snapshot {
    /// Pins the given files of `targets`, `release` and `clinical`, reading each one's version.
    ///
    /// # Errors
    /// [`TufError::Form`] for a file that is not metadata of targets.
    pub fn of(version: u64, expires: Moment, files: &BTreeMap<RoleName, Vec<u8>>) -> Result<Self, TufError> {
        let mut meta = BTreeMap::new();
        for (role, bytes) in files {
            let signed = super::Signed::<Targets>::parse(*role, bytes)?;
            meta.insert(role.file(), Pin::of(signed.version(), bytes));
        }
        let head = Head { version, ..Head::first("snapshot", expires) };
        Ok(Self { head, meta, unknown: Unknown::new() })
    }
}

impl Timestamp {
    /// Pins `snapshot`, the file's bytes.
    ///
    /// # Errors
    /// [`TufError::Form`] when they are no snapshot.
    pub fn of(version: u64, expires: Moment, snapshot: &[u8]) -> Result<Self, TufError> {
        let pinned = super::Signed::<Snapshot>::parse(RoleName::Snapshot, snapshot)?;
        let meta = [(RoleName::Snapshot.file(), Pin::of(pinned.version(), snapshot))].into();
        Ok(Self { head: Head { version, ..Head::first("timestamp", expires) }, meta, unknown: Unknown::new() })
    }
}
