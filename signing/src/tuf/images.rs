//! The verified view of the repository: what people agree on, and whose keys count.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::Value;

use super::{
    Delegations, Fetch, Files, Floors, KeyHolder, Kind, Metadata, Moment, RoleName, Root, Rules, Signed, Snapshot,
    Standing, Target, Targets, Timestamp, TufError, TufKeyId, check_listing, check_targets,
    workflow::{InMemory, Workflow, at_once},
};
use crate::{Digest, PublicKey, Role, TrustAnchor, TrustedKey};

/// A document that both roles of people signed for, identically.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    /// What it is.
    pub kind: Kind,
    /// Bytes.
    pub length: u64,
    /// Of its bytes.
    pub sha256: Digest,
    /// The custom part.
    pub custom: Value,
}

/// Why a document does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAgreed {
    /// Nobody signed.
    #[error("{path} is signed for by neither release nor clinical")]
    Neither {
        /// Path.
        path: String,
    },
    /// One role did not.
    #[error("{path} is not signed for by {role}")]
    Missing {
        /// Path.
        path: String,
        /// Which.
        role: RoleName,
    },
    /// They signed for different documents.
    #[error("{path}: release and clinical signed for different documents: their {what} differs")]
    Differs {
        /// Path.
        path: String,
        /// What is not the same.
        what: &'static str,
    },
    /// Both signed for something that is none of ours.
    #[error("{path} is not accepted: {why}")]
    Form {
        /// Path.
        path: String,
        /// Why.
        why: super::InvalidPath,
    },
}

/// What came of a refresh. `files` must be kept durably even after a failure: what was verified before it is in them.
#[must_use = "the files must be kept: the next refresh measures against them"]
#[derive(Debug)]
pub struct Refreshed {
    /// To be kept.
    pub files: Files,
    /// The view, or why there is none.
    pub result: Result<Images, TufError>,
}

/// A verified view of the whole repository. It can be made only by verification.
#[derive(Debug, Clone)]
pub struct Images {
    root: Signed<Root>,
    timestamp: Signed<Timestamp>,
    snapshot: Signed<Snapshot>,
    targets: Signed<Targets>,
    release: Option<Signed<Targets>>,
    clinical: Option<Signed<Targets>>,
    people: TrustAnchor,
    controller: PublicKey,
}

impl Images {
    /// Brings the view up to date (TUF 1.0.34, section 5) from the pinned root and the kept files, and checks the policy
    /// and the floors before anything is believed. `now` must never go back.
    pub async fn refresh(root: &[u8], files: Files, from: Arc<dyn Fetch>, floors: &Floors, now: Moment) -> Refreshed {
        let before = files.clone();
        let mut workflow = match Workflow::open(root, files, from, Rules::Wardround) {
            Ok(workflow) => workflow,
            Err(error) => return Refreshed { files: before, result: Err(error) },
        };
        let result = Self::run(&mut workflow, floors, now).await;
        // What breaks a floor or a rule is not kept: it would stand in the way of what is right.
        let keep = match &result {
            Ok(_) => true,
            Err(TufError::Policy(_) | TufError::Anchor(_)) => false,
            Err(_) => floors_hold(&workflow, floors).is_ok(),
        };
        Refreshed { files: if keep { workflow.files() } else { before }, result }
    }

    /// The view from files alone, without fetching: for the controller before it publishes, for the command line, for a
    /// node without a connection. Versioned names and kept names are both read.
    ///
    /// # Errors
    /// As a refresh.
    pub fn from_files(root: &[u8], files: &Files, floors: &Floors, now: Moment) -> Result<Self, TufError> {
        let from = Arc::new(InMemory(files.clone()));
        let refreshed = at_once(Self::refresh(root, Files::new(), from, floors, now));
        refreshed.ok_or_else(|| TufError::Refused("reading memory had to wait".to_owned()))?.result
    }

    /// As [`Images::from_files`], but **expired metadata is accepted**: enough to finish, to roll back and to heed a halt
    /// while alone. Before anything new is begun, [`Images::is_fresh`] must be asked.
    ///
    /// # Errors
    /// As a refresh.
    pub fn from_files_expired_allowed(root: &[u8], files: &Files, floors: &Floors) -> Result<Self, TufError> {
        Self::from_files(root, files, floors, Moment::EARLIEST)
    }

    async fn run(workflow: &mut Workflow, floors: &Floors, now: Moment) -> Result<Self, TufError> {
        workflow.refresh(now).await?;
        let files = workflow.files();
        let root: Signed<Root> = Signed::parse(RoleName::Root, workflow.trusted().root_bytes())?;
        let timestamp: Signed<Timestamp> = kept(&files, RoleName::Timestamp)?;
        let snapshot: Signed<Snapshot> = kept(&files, RoleName::Snapshot)?;
        let targets: Signed<Targets> = kept(&files, RoleName::Targets)?;
        check_targets(targets.metadata(), root.metadata())?;
        // A search visits every role that is delegated this path. The path holds the snapshot's hash, which depends on
        // both roles' files, so neither can list it and end the search.
        let nowhere = format!("patches/{}.json", snapshot.digest().hex());
        workflow.search(&nowhere, now).await?;
        let files = workflow.files();
        let listing = |role: RoleName| -> Result<Option<Signed<Targets>>, TufError> {
            if !snapshot.metadata().meta.contains_key(&role.file()) {
                return Ok(None);
            }
            let loaded = workflow.trusted().targets_role(role.word());
            let loaded = loaded.ok_or_else(|| TufError::Missing(role.file()))?;
            let listing: Signed<Targets> = kept(&files, role)?;
            if listing.version() != loaded.version {
                return Err(TufError::Pin(role.file()));
            }
            check_listing(role, listing.metadata())?;
            Ok(Some(listing))
        };
        let (release, clinical) = (listing(RoleName::Release)?, listing(RoleName::Clinical)?);
        let (people, controller) = keys_of(targets.metadata())?;
        let images = Self { root, timestamp, snapshot, targets, release, clinical, people, controller };
        for role in RoleName::FILES {
            floors.check(role, images.version(role), &images.keys(role))?;
        }
        Ok(images)
    }

    /// The document at `path`, if the identical target stands in both `release` and `clinical`.
    ///
    /// # Errors
    /// [`NotAgreed`] says which role is missing or what differs.
    pub fn agreed(&self, path: &str) -> Result<Agreed, NotAgreed> {
        let find = |role| self.listing(role).and_then(|listing| listing.targets.get(path));
        let missing = |role| NotAgreed::Missing { path: path.to_owned(), role };
        let (release, clinical) = match (find(RoleName::Release), find(RoleName::Clinical)) {
            (Some(release), Some(clinical)) => (release, clinical),
            (Some(_), None) => return Err(missing(RoleName::Clinical)),
            (None, Some(_)) => return Err(missing(RoleName::Release)),
            (None, None) => return Err(NotAgreed::Neither { path: path.to_owned() }),
        };
        let differs = |what| Err(NotAgreed::Differs { path: path.to_owned(), what });
        if release.length != clinical.length {
            return differs("length");
        }
        if release.hashes != clinical.hashes {
            return differs("hash");
        }
        if release != clinical {
            return differs("custom part");
        }
        let form = |why| NotAgreed::Form { path: path.to_owned(), why };
        Ok(Agreed {
            kind: release.kind(path).map_err(form)?,
            length: release.length,
            sha256: release.sha256().map_err(form)?,
            custom: release.custom.clone().unwrap_or_default(),
        })
    }

    /// Every document that counts, by path.
    #[must_use]
    pub fn all_agreed(&self) -> BTreeMap<String, Agreed> {
        self.targets(RoleName::Release)
            .filter_map(|(path, _)| Some((path.to_owned(), self.agreed(path).ok()?)))
            .collect()
    }

    /// The documents that `role` (release or clinical) signed for, by path.
    pub fn targets(&self, role: RoleName) -> impl Iterator<Item = (&str, &Target)> {
        self.listing(role)
            .into_iter()
            .flat_map(|listing| &listing.targets)
            .map(|(path, target)| (path.as_str(), target))
    }

    /// Who signed the present version of `release` or `clinical`.
    #[must_use]
    pub fn signers(&self, role: RoleName) -> Vec<KeyHolder> {
        let file = match role {
            RoleName::Release => self.release.as_ref(),
            RoleName::Clinical => self.clinical.as_ref(),
            _ => None,
        };
        let (Some(file), Some(all)) = (file, self.targets.metadata().delegations.as_ref()) else { return Vec::new() };
        let signed = |id: &&TufKeyId| {
            let signature = file.signatures().iter().find(|signature| signature.keyid == **id);
            let bytes = signature.and_then(|signature| hex::decode(&signature.sig).ok()).unwrap_or_default();
            all.keys
                .get(*id)
                .and_then(|key| key.public_key().ok())
                .is_some_and(|key| key.verifies(file.canonical(), &bytes))
        };
        let holder = |id: &TufKeyId| all.keys.get(id).and_then(|key| key.holder.clone()).unwrap_or_default();
        let ids = all.keyids(role).iter().filter(signed);
        ids.map(|id| KeyHolder { key: id.clone(), holder: holder(id) }).collect()
    }

    /// How many people of `release` or `clinical` must sign a version.
    #[must_use]
    pub fn threshold(&self, role: RoleName) -> u64 {
        let all = self.targets.metadata().delegations.as_ref();
        all.and_then(|all| all.role(role)).map_or(0, |delegation| delegation.keys.threshold)
    }

    /// People's keys with their roles and holders: whose orders count.
    #[must_use]
    pub fn people(&self) -> &TrustAnchor {
        &self.people
    }

    /// The key that signs directives.
    #[must_use]
    pub fn controller_key(&self) -> PublicKey {
        self.controller
    }

    /// The verified version of a role that has a file; 0 where none is published.
    #[must_use]
    pub fn version(&self, role: RoleName) -> u64 {
        match role {
            RoleName::Root => self.root.version(),
            RoleName::Timestamp => self.timestamp.version(),
            RoleName::Snapshot => self.snapshot.version(),
            RoleName::Targets => self.targets.version(),
            RoleName::Release => self.release.as_ref().map_or(0, Signed::version),
            RoleName::Clinical => self.clinical.as_ref().map_or(0, Signed::version),
            RoleName::OnCall | RoleName::Controller => 0,
        }
    }

    /// When a role's file expires, if it has one.
    #[must_use]
    pub fn expires(&self, role: RoleName) -> Option<Moment> {
        match role {
            RoleName::Root => Some(self.root.expires()),
            RoleName::Timestamp => Some(self.timestamp.expires()),
            RoleName::Snapshot => Some(self.snapshot.expires()),
            RoleName::Targets => Some(self.targets.expires()),
            RoleName::Release => self.release.as_ref().map(Signed::expires),
            RoleName::Clinical => self.clinical.as_ref().map(Signed::expires),
            RoleName::OnCall | RoleName::Controller => None,
        }
    }

    /// The role whose file expires first, and when: from then on nothing new may be begun.
    #[must_use]
    pub fn earliest_expiry(&self) -> (RoleName, Moment) {
        let all = RoleName::FILES.into_iter().filter_map(|role| Some((role, self.expires(role)?)));
        all.min_by_key(|(_, at)| *at).unwrap_or((RoleName::Timestamp, Moment::EARLIEST))
    }

    /// Refuses a view of which any part has expired.
    ///
    /// # Errors
    /// [`TufError::Expired`] names the role.
    pub fn is_fresh(&self, now: Moment) -> Result<(), TufError> {
        let (role, at) = self.earliest_expiry();
        if at > now { Ok(()) } else { Err(TufError::expired(role, at)) }
    }

    /// The floors raised to this view.
    #[must_use]
    pub fn raise(&self, floors: &Floors) -> Floors {
        let mut raised = floors.clone();
        for role in RoleName::FILES {
            raised.raise(role, self.version(role), self.keys(role));
        }
        raised
    }

    /// What people's next versions are measured against.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let listings = [
            (RoleName::Targets, Some(&self.targets)),
            (RoleName::Release, self.release.as_ref()),
            (RoleName::Clinical, self.clinical.as_ref()),
        ];
        let listings = listings.into_iter().filter_map(|(role, listing)| Some((role, listing?.clone()))).collect();
        Standing::of_verified(self.root.clone(), listings)
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> &Signed<Root> {
        &self.root
    }

    fn listing(&self, role: RoleName) -> Option<&Targets> {
        match role {
            RoleName::Release => self.release.as_ref().map(Signed::metadata),
            RoleName::Clinical => self.clinical.as_ref().map(Signed::metadata),
            _ => None,
        }
    }

    fn keys(&self, role: RoleName) -> BTreeSet<TufKeyId> {
        let delegated = self.targets.metadata().delegations.as_ref();
        let ids = if RoleName::TOP.contains(&role) {
            self.root.metadata().keyids(role)
        } else {
            delegated.map_or(&[][..], |all: &Delegations| all.keyids(role))
        };
        ids.iter().cloned().collect()
    }
}

/// A role's file among the kept ones.
fn kept<M: Metadata>(files: &Files, role: RoleName) -> Result<Signed<M>, TufError> {
    Signed::parse(role, files.get(&role.file()).ok_or_else(|| TufError::Missing(role.file()))?)
}

/// Of a refresh that failed half way: is what it did verify at or above the floors?
fn floors_hold(workflow: &Workflow, floors: &Floors) -> Result<(), TufError> {
    let trusted = workflow.trusted();
    let root: Signed<Root> = Signed::parse(RoleName::Root, trusted.root_bytes())?;
    let keys = |role| root.metadata().keyids(role).iter().cloned().collect();
    floors.check(RoleName::Root, root.version(), &keys(RoleName::Root))?;
    let versions = [
        (RoleName::Timestamp, trusted.timestamp().map(|t| t.version)),
        (RoleName::Snapshot, trusted.snapshot().map(|s| s.version)),
        (RoleName::Targets, trusted.targets_role("targets").map(|t| t.version)),
    ];
    for (role, version) in versions {
        if let Some(version) = version {
            floors.check(role, version, &keys(role))?;
        }
    }
    let delegated = [RoleName::Release, RoleName::Clinical];
    let pins = trusted.snapshot().map(|snapshot| &snapshot.meta);
    for role in delegated {
        if let (Some(floor), Some(pins)) = (floors.get(role), pins) {
            let version = pins.get(&role.file()).map_or(0, |pin| pin.version);
            floors.check(role, version, &floor.keys)?;
        }
    }
    Ok(())
}

/// The keys of people and of the controller out of a checked `targets.json`.
pub(super) fn keys_of(targets: &Targets) -> Result<(TrustAnchor, PublicKey), TufError> {
    let empty = || TufError::Missing(RoleName::Controller.word().to_owned());
    let all = targets.delegations.as_ref().ok_or_else(empty)?;
    let mut people: BTreeMap<&TufKeyId, TrustedKey> = BTreeMap::new();
    let mut controller = None;
    let words = [
        (RoleName::Release, Some(Role::Release)),
        (RoleName::Clinical, Some(Role::Clinical)),
        (RoleName::OnCall, Some(Role::OnCall)),
        (RoleName::Controller, None),
    ];
    for (name, role) in words {
        for id in all.keyids(name) {
            let object = all.keys.get(id).ok_or_else(empty)?;
            let key = object
                .public_key()
                .map_err(|why| TufError::Form { what: RoleName::Targets.file(), why: why.to_string() })?;
            let Some(role) = role else {
                controller = Some(key);
                continue;
            };
            let holder = object.holder.clone().unwrap_or_default();
            let person = people.entry(id).or_insert_with(|| TrustedKey { key, holder, roles: BTreeSet::new() });
            person.roles.insert(role);
        }
    }
    Ok((TrustAnchor::new(people.into_values().collect())?, controller.ok_or_else(empty)?))
}
