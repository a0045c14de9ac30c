//! People's roles as they stand, and the next version of one of them: what the controller checks before it stages a
//! version, and the command line before a person signs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, de::DeserializeOwned};
use sigstore_tuf::metadata as theirs;

use super::{
    Metadata, Moment, RoleName, Root, Rules, Signed, Target, Targets, TufError, TufKey, TufKeyId, check_listing,
    check_root, check_targets, images::keys_of, provider, workflow::translate,
};
use crate::TrustAnchor;

/// A key of a role, with its holder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyHolder {
    /// Key.
    pub key: TufKeyId,
    /// Person; empty for an online key.
    pub holder: String,
}

/// What a new version changes, for people to read before they sign.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Documents newly signed for.
    pub added: BTreeMap<String, Target>,
    /// Documents that no longer count.
    pub removed: BTreeMap<String, Target>,
    /// Keys added to a role.
    pub keys_added: Vec<(RoleName, KeyHolder)>,
    /// Keys removed from a role.
    pub keys_removed: Vec<(RoleName, KeyHolder)>,
    /// Thresholds: role, before, after.
    pub thresholds: Vec<(RoleName, u64, u64)>,
}

/// A checked new version of a role of people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// Role.
    pub role: RoleName,
    /// Its new version.
    pub version: u64,
    /// It counts until then.
    pub expires: Moment,
    /// Who signed it validly.
    pub signers: Vec<KeyHolder>,
    /// Who may sign it and has not.
    pub unsigned: Vec<KeyHolder>,
    /// How many more signatures it needs: of a new root the larger of what the present and the new root want.
    pub missing: u64,
    /// What it changes.
    pub changes: Changes,
}

impl Update {
    /// Nothing is missing: it may be published.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }
}

/// Root, targets, release and clinical as they stand, verified.
#[derive(Debug, Clone)]
pub struct Standing {
    root: Signed<Root>,
    listings: BTreeMap<RoleName, Signed<Targets>>,
}

impl Standing {
    /// Begins with a root that the caller trusts; the other roles follow by [`Standing::accept`].
    ///
    /// # Errors
    /// [`TufError`] when it breaks the policy or is not signed by enough of its own keys.
    pub fn begin(root: &[u8]) -> Result<Self, TufError> {
        let signed: Signed<Root> = Signed::parse(RoleName::Root, root)?;
        check_root(signed.metadata(), Rules::Wardround)?;
        let missing = Authority::of_root(signed.metadata(), RoleName::Root).missing::<theirs::Root>(root)?;
        let threshold = signed.metadata().threshold(RoleName::Root);
        if missing > 0 {
            return Err(TufError::Signatures { role: "root".to_owned(), found: threshold - missing, threshold });
        }
        Ok(Self { root: signed, listings: BTreeMap::new() })
    }

    pub(super) fn of_verified(root: Signed<Root>, listings: BTreeMap<RoleName, Signed<Targets>>) -> Self {
        Self { root, listings }
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> &Signed<Root> {
        &self.root
    }

    /// The file of `targets`, `release` or `clinical`, if there is one yet.
    #[must_use]
    pub fn listing(&self, role: RoleName) -> Option<&Signed<Targets>> {
        self.listings.get(&role)
    }

    /// Whose orders count, by the present targets.
    ///
    /// # Errors
    /// [`TufError::Missing`] when there are no targets yet.
    pub fn people(&self) -> Result<TrustAnchor, TufError> {
        let targets = self.listing(RoleName::Targets).ok_or_else(|| TufError::Missing(RoleName::Targets.file()))?;
        keys_of(targets.metadata()).map(|(people, _)| people)
    }

    /// The present version of a role of people; 0 for none.
    #[must_use]
    pub fn version(&self, role: RoleName) -> u64 {
        if role == RoleName::Root { self.root.version() } else { self.listing(role).map_or(0, Signed::version) }
    }

    /// Checks `bytes` as the next version of `role` (one of [`RoleName::PEOPLE`]): form, policy, version, expiry, and
    /// every signature that it carries so far. An update that lacks signatures is no error: see [`Update::missing`].
    ///
    /// # Errors
    /// [`TufError`] for an update that must be neither staged nor signed.
    pub fn check(&self, role: RoleName, bytes: &[u8], now: Moment) -> Result<Update, TufError> {
        if role == RoleName::Root { self.check_root(bytes, now) } else { self.check_listing(role, bytes, now) }
    }

    /// As [`Standing::check`], and takes the new version's place. A new root or targets may leave lower roles without
    /// enough valid signatures: before publishing, verify the whole with [`super::Images::from_files`].
    ///
    /// # Errors
    /// As [`Standing::check`], and [`TufError::Signatures`] when signatures are missing.
    pub fn accept(&mut self, role: RoleName, bytes: &[u8], now: Moment) -> Result<Update, TufError> {
        let update = self.check(role, bytes, now)?;
        if !update.is_complete() {
            let found = update.signers.len() as u64;
            let threshold = found + update.missing;
            return Err(TufError::Signatures { role: role.word().to_owned(), found, threshold });
        }
        if role == RoleName::Root {
            self.root = Signed::parse(role, bytes)?;
        } else {
            self.listings.insert(role, Signed::parse(role, bytes)?);
        }
        Ok(update)
    }

    fn check_root(&self, bytes: &[u8], now: Moment) -> Result<Update, TufError> {
        let role = RoleName::Root;
        let new: Signed<Root> = Signed::parse(role, bytes)?;
        check_root(new.metadata(), Rules::Wardround)?;
        if let Some(targets) = self.listing(RoleName::Targets) {
            check_targets(targets.metadata(), new.metadata())?;
        }
        self.check_head(role, &new, now)?;
        // 5.3.4: signed under the present root and under itself.
        let authorities = [Authority::of_root(self.root.metadata(), role), Authority::of_root(new.metadata(), role)];
        let mut missing = 0;
        for authority in &authorities {
            missing = missing.max(authority.missing::<theirs::Root>(bytes)?);
        }
        let [mut keys, own] = authorities.map(|authority| authority.keys);
        keys.extend(own);
        let mut changes = Changes::default();
        for top in RoleName::TOP {
            let of = |root: &Root| (holders(root.keyids(top), &root.keys), root.threshold(top));
            changes.keys(top, of(self.root.metadata()), of(new.metadata()));
        }
        update(role, &new, &keys, missing, changes)
    }

    fn check_listing(&self, role: RoleName, bytes: &[u8], now: Moment) -> Result<Update, TufError> {
        let new: Signed<Targets> = Signed::parse(role, bytes)?;
        let authority = self.authority(role)?;
        if role == RoleName::Targets {
            check_targets(new.metadata(), self.root.metadata())?;
        } else {
            check_listing(role, new.metadata())?;
        }
        self.check_head(role, &new, now)?;
        let missing = authority.missing::<theirs::Targets>(bytes)?;
        let before = self.listing(role).map(Signed::metadata);
        let changes = listing_changes(role, before, new.metadata())?;
        update(role, &new, &authority.keys, missing, changes)
    }

    /// The next version, not yet expired.
    fn check_head<M: Metadata>(&self, role: RoleName, new: &Signed<M>, now: Moment) -> Result<(), TufError> {
        let (present, found) = (self.version(role), new.version());
        if present > 0 && found != present + 1 {
            return Err(TufError::Version { role: role.word().to_owned(), present, found });
        }
        if new.expires() <= now { Err(TufError::expired(role, new.expires())) } else { Ok(()) }
    }

    fn authority(&self, role: RoleName) -> Result<Authority, TufError> {
        match role {
            RoleName::Targets => Ok(Authority::of_root(self.root.metadata(), role)),
            RoleName::Release | RoleName::Clinical => {
                let targets = self.listing(RoleName::Targets).map(Signed::metadata);
                let all = targets.and_then(|targets| targets.delegations.as_ref());
                let all = all.ok_or_else(|| TufError::Missing(RoleName::Targets.file()))?;
                let delegation = all.role(role).ok_or_else(|| TufError::Missing(role.word().to_owned()))?;
                Ok(Authority::new(role, &delegation.keys.keyids, delegation.keys.threshold, &all.keys))
            }
            _ => Err(TufError::Refused(format!("{role} metadata is not signed by people"))),
        }
    }
}

/// Keys and threshold that a file's signatures are counted against.
struct Authority {
    role: RoleName,
    keyids: Vec<TufKeyId>,
    threshold: u64,
    keys: BTreeMap<TufKeyId, TufKey>,
}

impl Authority {
    fn new(role: RoleName, keyids: &[TufKeyId], threshold: u64, all: &BTreeMap<TufKeyId, TufKey>) -> Self {
        let keys = keyids.iter().filter_map(|id| Some((id.clone(), all.get(id)?.clone()))).collect();
        Self { role, keyids: keyids.to_vec(), threshold, keys }
    }

    fn of_root(root: &Root, role: RoleName) -> Self {
        Self::new(role, root.keyids(role), root.threshold(role), &root.keys)
    }

    /// How many signatures are missing, counted by the TUF client itself: there is one count only.
    fn missing<T: theirs::Role>(&self, bytes: &[u8]) -> Result<u64, TufError> {
        provider::installed()?;
        let keys = convert(&self.keys)?;
        let role_keys = convert(&serde_json::json!({"keyids": self.keyids, "threshold": self.threshold}))?;
        let metadata = theirs::Metadata::<T>::from_slice(bytes).map_err(translate)?;
        match metadata.verify_threshold(&keys, &role_keys, self.role.word()).map_err(translate) {
            Ok(()) => Ok(0),
            Err(TufError::Signatures { found, threshold, .. }) => Ok(threshold.saturating_sub(found).max(1)),
            Err(other) => Err(other),
        }
    }
}

/// The same object in the client's type.
fn convert<T: DeserializeOwned>(ours: &impl Serialize) -> Result<T, TufError> {
    let fail = |e: serde_json::Error| TufError::Refused(e.to_string());
    serde_json::from_value(serde_json::to_value(ours).map_err(fail)?).map_err(fail)
}

fn update<M: Metadata>(
    role: RoleName,
    new: &Signed<M>,
    keys: &BTreeMap<TufKeyId, TufKey>,
    missing: u64,
    changes: Changes,
) -> Result<Update, TufError> {
    let (mut signers, mut unsigned) = (Vec::new(), Vec::new());
    for (id, key) in keys {
        let holder = KeyHolder { key: id.clone(), holder: key.holder.clone().unwrap_or_default() };
        let Some(signature) = new.signatures().iter().find(|s| s.keyid == *id) else {
            unsigned.push(holder);
            continue;
        };
        let bytes = hex::decode(&signature.sig).unwrap_or_default();
        if !key.public_key().is_ok_and(|public| public.verifies(new.canonical(), &bytes)) {
            let name = if holder.holder.is_empty() { role.word() } else { &holder.holder };
            let why = format!("the signature of {name} (key {}) does not match", id.short());
            return Err(TufError::Refused(why));
        }
        signers.push(holder);
    }
    Ok(Update { role, version: new.version(), expires: new.expires(), signers, unsigned, missing, changes })
}

fn holders(keyids: &[TufKeyId], keys: &BTreeMap<TufKeyId, TufKey>) -> BTreeSet<KeyHolder> {
    let holder = |id: &TufKeyId| keys.get(id).and_then(|key| key.holder.clone()).unwrap_or_default();
    keyids.iter().map(|id| KeyHolder { key: id.clone(), holder: holder(id) }).collect()
}

impl Changes {
    fn keys(&mut self, role: RoleName, before: (BTreeSet<KeyHolder>, u64), after: (BTreeSet<KeyHolder>, u64)) {
        self.keys_added.extend(after.0.difference(&before.0).map(|key| (role, key.clone())));
        self.keys_removed.extend(before.0.difference(&after.0).map(|key| (role, key.clone())));
        if before.1 != after.1 {
            self.thresholds.push((role, before.1, after.1));
        }
    }
}

fn listing_changes(role: RoleName, before: Option<&Targets>, after: &Targets) -> Result<Changes, TufError> {
    let mut changes = Changes::default();
    let nothing = BTreeMap::new();
    let old = before.map_or(&nothing, |before| &before.targets);
    for (path, target) in &after.targets {
        match old.get(path) {
            None => drop(changes.added.insert(path.clone(), target.clone())),
            Some(same) if same == target => {}
            Some(_) => return Err(TufError::Changed { role, path: path.clone() }),
        }
    }
    let gone = old.iter().filter(|(path, _)| !after.targets.contains_key(*path));
    changes.removed.extend(gone.map(|(path, target)| (path.clone(), target.clone())));
    for delegated in RoleName::DELEGATED {
        let of = |targets: Option<&Targets>| {
            let all = targets.and_then(|targets| targets.delegations.as_ref());
            let keys = all.map(|all| holders(all.keyids(delegated), &all.keys)).unwrap_or_default();
            (keys, all.and_then(|all| all.role(delegated)).map_or(0, |d| d.keys.threshold))
        };
        changes.keys(delegated, of(before), of(Some(after)));
    }
    Ok(changes)
}
