//! People with their keys, the patch, and the image repository that they sign.

use std::{collections::BTreeMap, sync::OnceLock};

use wardround_rollout_plans::model::{Command, Order, Patch, Rollout, Timestamp};
use wardround_signing::{
    Digest, Envelope, SecretKey, Signer as _, document_bytes,
    tuf::{
        Ceremony, Files, Floors, Images, Kind, Member, Metadata, Moment, OnlineKeys, RoleName, Root, Signed, Snapshot,
        Targets, patch_path, rollout_path,
    },
};

/// A person who signs orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Person {
    /// Release manager.
    Ann,
    /// Another one.
    Roy,
    /// Clinical safety officer.
    Ben,
    /// On call.
    Cem,
}

impl Person {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ann, Self::Roy, Self::Ben, Self::Cem];

    /// The key.
    #[must_use]
    pub fn key(self) -> &'static SecretKey {
        key(20 + self as u8)
    }

    /// Their role in the repository.
    #[must_use]
    pub fn role(self) -> RoleName {
        match self {
            Self::Ann | Self::Roy => RoleName::Release,
            Self::Ben => RoleName::Clinical,
            Self::Cem => RoleName::OnCall,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ann => "Ann Lee",
            Self::Roy => "Roy Hay",
            Self::Ben => "Ben Fox",
            Self::Cem => "Cem Oz",
        }
    }
}

/// The key of a number: made once, since worlds are many.
pub(super) fn key(number: u8) -> &'static SecretKey {
    static KEYS: OnceLock<Vec<SecretKey>> = OnceLock::new();
    &KEYS.get_or_init(|| (0..=255).map(|n| SecretKey::from_seed(&[n; 32])).collect())[usize::from(number)]
}

const ROOT: [u8; 2] = [1, 2];
const SNAPSHOT: u8 = 10;
const TIMESTAMP: u8 = 11;
const ONLINE: u8 = 12;
const DAY_S: u32 = 86_400;

/// The controller's key of directives.
#[must_use]
pub fn online_key() -> &'static SecretKey {
    key(ONLINE)
}

/// What one publication says.
#[derive(Debug, Clone)]
pub struct Publication {
    /// Version of its timestamp.
    pub version: u64,
    /// What the release managers list: path and digest.
    pub release: BTreeMap<String, Digest>,
    /// What the clinical safety officers list.
    pub clinical: BTreeMap<String, Digest>,
    /// The view that its files give.
    pub images: Images,
}

impl Publication {
    /// Do both roles list this very document?
    #[must_use]
    pub fn agrees(&self, path: &str, digest: Digest) -> bool {
        [&self.release, &self.clinical].iter().all(|listing| listing.get(path) == Some(&digest))
    }
}

/// The repository.
#[derive(Debug, Clone)]
pub struct Repository {
    root: Vec<u8>,
    targets: Vec<u8>,
    release: Targets,
    clinical: Targets,
    listed: [BTreeMap<String, Digest>; 2],
    version: u64,
    began: Timestamp,
}

fn signed<M: Metadata>(metadata: &M, signers: &[&SecretKey]) -> Vec<u8> {
    let mut signed = Signed::new(metadata.clone()).unwrap();
    signers.iter().for_each(|key| signed.sign(*key).unwrap());
    signed.to_bytes()
}

impl Repository {
    /// After an honest ceremony at this time: nothing is listed yet.
    #[must_use]
    pub fn begin(now: Timestamp) -> Self {
        let later = |days: u32| Moment::from_ms(now.0).plus_seconds(days * DAY_S);
        let member = |key: &SecretKey, holder: &str, roles: &[RoleName]| Member {
            holder: holder.to_owned(),
            key: key.public(),
            roles: roles.iter().copied().collect(),
        };
        let holders = [RoleName::Root, RoleName::Targets];
        let mut members = vec![member(key(ROOT[0]), "Rae Hill", &holders), member(key(ROOT[1]), "Rob Moss", &holders)];
        members.extend(Person::ALL.map(|p| member(p.key(), p.name(), &[p.role()])));
        let ceremony = Ceremony {
            members,
            online: OnlineKeys {
                snapshot: key(SNAPSHOT).public(),
                timestamp: key(TIMESTAMP).public(),
                directives: online_key().public(),
            },
            thresholds: BTreeMap::new(),
            root_expires: later(365),
            targets_expires: later(365),
        };
        let (root, targets): (Root, Targets) = ceremony.first().unwrap();
        let both = ROOT.map(key);
        let listing = Targets::listing(later(300));
        Self {
            root: signed(&root, &both),
            targets: signed(&targets, &both),
            release: listing.clone(),
            clinical: listing,
            listed: Default::default(),
            version: 0,
            began: now,
        }
    }

    fn list(&mut self, role: RoleName, path: &str, bytes: Option<&[u8]>, kind: Kind) {
        let (listing, listed) = match role {
            RoleName::Clinical => (&mut self.clinical, &mut self.listed[1]),
            _ => (&mut self.release, &mut self.listed[0]),
        };
        listing.remove_target(path);
        listed.remove(path);
        if let Some(bytes) = bytes {
            listing.add_target(path, bytes, kind).unwrap();
            listed.insert(path.to_owned(), Digest::of(bytes));
        }
    }

    /// A person of this role signs for a patch.
    pub fn sign_patch(&mut self, role: RoleName, patch: &Patch) {
        let path = patch_path(patch.id.as_str()).unwrap();
        self.list(role, &path, Some(&document_bytes(patch).unwrap()), Kind::Patch);
    }

    /// A person of this role signs for a version of a rollout, or takes the signature back.
    pub fn sign_rollout(&mut self, role: RoleName, rollout: &Rollout, signs: bool) {
        let path = rollout_path(rollout.id.as_str(), u64::from(rollout.version)).unwrap();
        let bytes = document_bytes(rollout).unwrap();
        self.list(role, &path, signs.then_some(&bytes[..]), Kind::Rollout);
    }

    /// The next publication.
    #[must_use]
    pub fn publish(&mut self) -> Publication {
        self.version += 1;
        let number = |metadata: &Targets| {
            let mut metadata = metadata.clone();
            metadata.head.version = self.version;
            metadata
        };
        let release = signed(&number(&self.release), &[Person::Ann.key()]);
        let clinical = signed(&number(&self.clinical), &[Person::Ben.key()]);
        let pinned = BTreeMap::from([
            (RoleName::Targets, self.targets.clone()),
            (RoleName::Release, release.clone()),
            (RoleName::Clinical, clinical.clone()),
        ]);
        let later = Moment::from_ms(self.began.0).plus_seconds(30 * DAY_S);
        let snapshot = signed(&Snapshot::of(self.version, later, &pinned).unwrap(), &[key(SNAPSHOT)]);
        let timestamp = wardround_signing::tuf::Timestamp::of(self.version, later, &snapshot).unwrap();
        let files = Files::from([
            (RoleName::Root.versioned(1), self.root.clone()),
            (RoleName::Targets.versioned(1), self.targets.clone()),
            (RoleName::Release.versioned(self.version), release),
            (RoleName::Clinical.versioned(self.version), clinical),
            (RoleName::Snapshot.versioned(self.version), snapshot),
            (RoleName::Timestamp.file(), signed(&timestamp, &[key(TIMESTAMP)])),
        ]);
        let now = Moment::from_ms(self.began.0);
        let images = Images::from_files(&self.root, &files, &Floors::default(), now).unwrap();
        let [release, clinical] = self.listed.clone();
        Publication { version: self.version, release, clinical, images }
    }
}

/// An order as these people sign it.
#[must_use]
pub fn order(order: &Order, signers: &[Person]) -> Envelope {
    let mut envelope = Envelope::unsigned(order).unwrap();
    signers.iter().for_each(|person| envelope.sign(person.key()).unwrap());
    envelope
}

/// Who signs a command alone or together, so that it counts.
#[must_use]
pub fn signers(command: &Command) -> Vec<Person> {
    match command {
        Command::Start | Command::Cancel | Command::Approve { .. } => vec![Person::Ann],
        Command::Halt | Command::Pause | Command::Withdraw { .. } | Command::Hold { .. } => vec![Person::Cem],
        Command::RollBack { .. } | Command::Release { .. } => vec![Person::Cem, Person::Ben],
        Command::Resume { .. } => vec![Person::Ann, Person::Ben],
    }
}
