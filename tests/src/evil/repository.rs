//! An image repository as the attacker holds it: every file that was ever published, and the controller's online keys. What
//! people sign is signed with their keys only where a test says so.

use std::collections::BTreeMap;

use wardround_signing::{
    Envelope, SecretKey, Signer as _,
    tuf::{
        Ceremony, Files, Kind, Member, Metadata, Moment, OnlineKeys, RoleName, Root, Signed, Snapshot, Targets,
        Timestamp, patch_path, rollout_path,
    },
};

use super::{Estate, People};

/// Life of everything, unless a test shortens it: a day, seconds.
const DAY_S: u32 = 86_400;
/// The controller's online keys.
const SNAPSHOT: u8 = 91;
const TIMESTAMP: u8 = 92;

/// The state of a repository, of which each [`Repository::files`] is one publication.
#[derive(Clone)]
pub struct Repository {
    /// The roots, oldest first, each signed.
    pub roots: Vec<Vec<u8>>,
    /// Delegations.
    pub targets: Targets,
    /// What the release managers list.
    pub release: Targets,
    /// What the clinical safety officers list.
    pub clinical: Targets,
    /// Who signs release, clinical and targets: numbers of [`People`].
    pub signers: BTreeMap<RoleName, Vec<u8>>,
    /// Version of all files but the roots and targets.
    pub version: u64,
    /// Another version for snapshot and timestamp.
    pub publication: Option<u64>,
    /// Life of the timestamp, seconds.
    pub timestamp_life_s: u32,
}

fn after(seconds: u32) -> Moment {
    Moment::from_ms(jiff::Timestamp::now().as_millisecond()).plus_seconds(seconds)
}

/// Metadata with the signatures of these numbers, in the file's form.
#[must_use]
pub fn signed<M: Metadata>(metadata: &M, signers: &[u8]) -> Vec<u8> {
    let mut signed = Signed::new(metadata.clone()).unwrap();
    signers.iter().for_each(|number| signed.sign(&People::key(*number)).unwrap());
    signed.to_bytes()
}

impl Repository {
    /// The first publication after an honest ceremony: nothing is listed yet.
    #[must_use]
    pub fn begin(people: &People, online: &SecretKey) -> Self {
        let member = |key: &SecretKey, holder: &str, roles: &[RoleName]| Member {
            holder: holder.to_owned(),
            key: key.public(),
            roles: roles.iter().copied().collect(),
        };
        let ceremony = Ceremony {
            members: vec![
                member(&people.rae, "Rae Hill", &[RoleName::Root, RoleName::Targets]),
                member(&people.rob, "Rob Moss", &[RoleName::Root, RoleName::Targets]),
                member(&people.ann, "Ann Lee", &[RoleName::Release]),
                member(&people.ben, "Ben Fox", &[RoleName::Clinical]),
                member(&people.ann_again, "ann  lee", &[RoleName::OnCall]),
            ],
            online: OnlineKeys {
                snapshot: People::key(SNAPSHOT).public(),
                timestamp: People::key(TIMESTAMP).public(),
                directives: online.public(),
            },
            thresholds: BTreeMap::new(),
            root_expires: after(DAY_S),
            targets_expires: after(DAY_S),
        };
        let (root, targets) = ceremony.first().unwrap();
        let holders = vec![People::RAE, People::ROB];
        let listing = Targets::listing(after(DAY_S));
        Self {
            roots: vec![signed(&root, &holders)],
            targets,
            release: listing.clone(),
            clinical: listing,
            signers: BTreeMap::from([
                (RoleName::Targets, holders),
                (RoleName::Release, vec![People::ANN]),
                (RoleName::Clinical, vec![People::BEN]),
            ]),
            version: 1,
            publication: None,
            timestamp_life_s: DAY_S,
        }
    }

    /// The root as it is written, to be changed.
    #[must_use]
    pub fn root(&self) -> Root {
        let newest = self.roots.last().unwrap();
        Signed::<Root>::parse(RoleName::Root, newest).unwrap().metadata().clone()
    }

    /// Lists the estate's patch in one role's file.
    pub fn list_patch(&mut self, role: RoleName, estate: &Estate) {
        let path = patch_path(estate.patch.id.as_str()).unwrap();
        let bytes = Envelope::unsigned(&estate.patch).unwrap().payload;
        self.listing(role).add_target(&path, &bytes, Kind::Patch).unwrap();
    }

    /// Lists the estate's rollout in one role's file.
    pub fn list_rollout(&mut self, role: RoleName, estate: &Estate) {
        let path = rollout_path(estate.rollout.id.as_str(), u64::from(estate.rollout.version)).unwrap();
        let bytes = Envelope::unsigned(&estate.rollout).unwrap().payload;
        self.listing(role).add_target(&path, &bytes, Kind::Rollout).unwrap();
    }

    fn listing(&mut self, role: RoleName) -> &mut Targets {
        if role == RoleName::Clinical { &mut self.clinical } else { &mut self.release }
    }

    /// Both roles list what is genuine.
    pub fn agree(&mut self, estate: &Estate) {
        for role in [RoleName::Release, RoleName::Clinical] {
            self.list_patch(role, estate);
            self.list_rollout(role, estate);
        }
    }

    /// All files under the names of a repository with consistent snapshots.
    #[must_use]
    pub fn files(&self) -> Files {
        let number = |metadata: &Targets| {
            let mut metadata = metadata.clone();
            metadata.head.version = self.version;
            metadata
        };
        let targets = signed(&self.targets, &self.signers[&RoleName::Targets]);
        let release = signed(&number(&self.release), &self.signers[&RoleName::Release]);
        let clinical = signed(&number(&self.clinical), &self.signers[&RoleName::Clinical]);
        let pinned = BTreeMap::from([
            (RoleName::Targets, targets.clone()),
            (RoleName::Release, release.clone()),
            (RoleName::Clinical, clinical.clone()),
        ]);
        let publication = self.publication.unwrap_or(self.version);
        let snapshot = Snapshot::of(publication, after(DAY_S), &pinned).unwrap();
        let snapshot = signed(&snapshot, &[SNAPSHOT]);
        let timestamp = Timestamp::of(publication, after(self.timestamp_life_s), &snapshot).unwrap();
        let timestamp = signed(&timestamp, &[TIMESTAMP]);
        let mut files = Files::from([
            (RoleName::Targets.versioned(self.targets.head.version), targets),
            (RoleName::Release.versioned(self.version), release),
            (RoleName::Clinical.versioned(self.version), clinical),
            (RoleName::Snapshot.versioned(publication), snapshot),
            (RoleName::Timestamp.file(), timestamp),
        ]);
        files.extend(self.roots.iter().zip(1..).map(|(root, n)| (RoleName::Root.versioned(n), root.clone())));
        files
    }
}
