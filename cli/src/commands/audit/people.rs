//! Whose orders count, at each place of the log: the metadata that the log names, verified from the pinned root on.

use std::collections::{BTreeMap, BTreeSet};

use wardround_rollout_plans::model::{AuditEntry, FileMark, Lacking, Order, Signatory, Timestamp};
use wardround_signing::{
    Digest, Envelope, Policy, Role, TrustAnchor,
    tuf::{Moment, RoleName, Standing, TufError},
    verify,
};

use super::folder::Folder;

/// An order and a publication may cross: the order was judged by the keys before, and stands behind the new ones. Keys that
/// were replaced count for this long, milliseconds.
const CROSSING_MS: u64 = 60_000;

/// The repository as it stood, going along the log.
pub(super) struct People<'a> {
    folder: &'a Folder,
    /// SHA-256 of the first root.
    pin: Option<Digest>,
    standing: Option<Standing>,
    now: Option<TrustAnchor>,
    /// Whose keys counted before, and when they were replaced.
    before: Option<(TrustAnchor, Timestamp)>,
    /// What release and clinical have published last.
    listings: BTreeMap<RoleName, FileMark>,
}

impl<'a> People<'a> {
    pub(super) fn new(folder: &'a Folder, pin: Option<Digest>) -> Self {
        Self { folder, pin, standing: None, now: None, before: None, listings: BTreeMap::new() }
    }

    /// Takes in what an entry says was published.
    pub(super) fn published(&mut self, entry: &AuditEntry) -> Result<(), String> {
        let mut marks = entry.files.clone();
        // In the order of the roles: a targets file counts under the root that was published with it.
        marks.sort_by_key(|mark| mark.role);
        for mark in marks {
            match mark.role {
                RoleName::Root => self.root(&mark)?,
                RoleName::Targets => {
                    self.accept(&mark)?;
                    let standing = self.standing.as_ref().ok_or("no root was published before")?;
                    let people = standing.people().map_err(|e| e.to_string())?;
                    self.before = self.now.replace(people).map(|before| (before, entry.at));
                }
                RoleName::Release | RoleName::Clinical => drop(self.listings.insert(mark.role, mark)),
                _ => {}
            }
        }
        Ok(())
    }

    fn root(&mut self, mark: &FileMark) -> Result<(), String> {
        if self.standing.is_none() {
            let bytes = self.folder.metadata(RoleName::Root, 1)?;
            let found = Digest::of(&bytes);
            if self.pin.is_some_and(|pin| pin != found) {
                return Err(format!("the first root has SHA-256 {}, which is not the pinned one", found.hex()));
            }
            self.standing = Some(Standing::begin(&bytes).map_err(|e| format!("1.root.json: {e}"))?);
        }
        let from = self.standing.as_ref().map_or(0, |standing| standing.version(RoleName::Root)) + 1;
        for version in from..mark.version {
            let bytes = self.folder.metadata(RoleName::Root, version)?;
            self.take(RoleName::Root, version, &bytes)?;
        }
        if mark.version >= from { self.accept(mark) } else { pinned(self.folder, mark).map(drop) }
    }

    fn accept(&mut self, mark: &FileMark) -> Result<(), String> {
        let bytes = pinned(self.folder, mark)?;
        self.take(mark.role, mark.version, &bytes)
    }

    fn take(&mut self, role: RoleName, version: u64, bytes: &[u8]) -> Result<(), String> {
        let standing = self.standing.as_mut().ok_or("no root was published before")?;
        // Whether it had expired was asked when it was published; the record is read years later.
        let taken = standing.accept(role, bytes, Moment::EARLIEST);
        taken.map(drop).map_err(|e: TufError| format!("{}: {e}", role.versioned(version)))
    }

    /// An order's own signatures, as a node would have judged them. One that waits for its second person is recorded as well,
    /// and again when that person has signed.
    pub(super) fn order(&self, envelope: &Envelope, at: Timestamp) -> Result<(), String> {
        let present = self.now.as_ref().ok_or("nobody had said yet whose orders count")?;
        let crossed = self.before.as_ref().filter(|(_, replaced)| at.since(*replaced).0 <= CROSSING_MS);
        let by = |anchor: &TrustAnchor| {
            let verified =
                verify::<Order>(envelope, &Policy::any_of(anchor, &Role::PEOPLE)).map_err(|e| e.to_string())?;
            let signers: Vec<Signatory> = verified.signers().iter().map(Signatory::from).collect();
            match verified.document().command.needs().met_by(&signers) {
                Ok(()) | Err(Lacking::Person { .. }) => Ok(()),
                Err(lacking) => Err(lacking.to_string()),
            }
        };
        match (by(present), crossed) {
            (Err(_), Some((before, _))) => by(before),
            (judged, _) => judged,
        }
    }

    /// How many documents release and clinical have signed for identically, as they stood at the end.
    pub(super) fn documents(mut self) -> Result<u64, String> {
        for mark in std::mem::take(&mut self.listings).into_values() {
            self.accept(&mark)?;
        }
        let Some(standing) = self.standing else { return Ok(0) };
        let listing = |role| standing.listing(role).map(|listing| &listing.metadata().targets);
        let (Some(release), Some(clinical)) = (listing(RoleName::Release), listing(RoleName::Clinical)) else {
            return Ok(0);
        };
        Ok(release.iter().filter(|(path, target)| clinical.get(*path) == Some(*target)).count() as u64)
    }
}

/// A file of the export that the log names by its digest.
fn pinned(folder: &Folder, mark: &FileMark) -> Result<Vec<u8>, String> {
    let bytes = folder.metadata(mark.role, mark.version)?;
    let name = mark.role.versioned(mark.version);
    if Digest::of(&bytes) == mark.sha256 {
        Ok(bytes)
    } else {
        Err(format!("{name} is not what the log says was published"))
    }
}

/// The files that an export must hold besides the log: every root and targets, and the last of release and clinical.
#[derive(Default)]
pub(super) struct Wanted {
    roots: u64,
    targets: BTreeSet<u64>,
    listings: BTreeMap<RoleName, u64>,
}

impl Wanted {
    pub(super) fn note(&mut self, entry: &AuditEntry) {
        for mark in &entry.files {
            match mark.role {
                RoleName::Root => self.roots = self.roots.max(mark.version),
                RoleName::Targets => drop(self.targets.insert(mark.version)),
                RoleName::Release | RoleName::Clinical => drop(self.listings.insert(mark.role, mark.version)),
                _ => {}
            }
        }
    }

    /// Role and version of each.
    pub(super) fn files(&self) -> Vec<(RoleName, u64)> {
        let roots = (1..=self.roots).map(|version| (RoleName::Root, version));
        let targets = self.targets.iter().map(|version| (RoleName::Targets, *version));
        roots.chain(targets).chain(self.listings.iter().map(|(role, version)| (*role, *version))).collect()
    }
}

#[cfg(test)]
mod tests {
    use wardround_rollout_plans::model::{Command, RolloutId};
    use wardround_signing::{
        SecretKey, Signer as _,
        tuf::{Ceremony, Member, Metadata, OnlineKeys, Signed, TufKey, next_version},
    };

    use super::*;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn signed<M: Metadata>(metadata: M) -> Vec<u8> {
        let mut signed = Signed::new(metadata).unwrap();
        [1, 2].iter().for_each(|seed| signed.sign(&key(*seed)).unwrap());
        signed.to_bytes()
    }

    fn entry(at: i64, files: &[(RoleName, u64, &[u8])]) -> AuditEntry {
        let mark = |(role, version, bytes): &(RoleName, u64, &[u8])| FileMark {
            role: *role,
            version: *version,
            sha256: Digest::of(bytes),
        };
        AuditEntry {
            index: 0,
            at: Timestamp(at),
            kind: "images_published".into(),
            text: String::new(),
            rollout: None,
            envelope: None,
            node: None,
            directives: Vec::new(),
            files: files.iter().map(mark).collect(),
            gate: None,
        }
    }

    fn start(seed: u8) -> Envelope {
        let order = Order {
            rollout: RolloutId::new("r1").unwrap(),
            digest: Digest::of(b"r1"),
            counter: 1,
            issued_at: Timestamp(0),
            command: Command::Start,
            reason: String::new(),
        };
        Envelope::seal(&order, &key(seed)).unwrap()
    }

    /// Ann (3) releases; then Lou (6) does in her place.
    #[test]
    fn an_order_is_judged_by_the_keys_that_counted_where_it_stands() {
        let member = |seed: u8, holder: &str, roles: &[RoleName]| Member {
            holder: holder.into(),
            key: key(seed).public(),
            roles: roles.iter().copied().collect(),
        };
        let expires = Moment::from_ms(1_000_000);
        let ceremony = Ceremony {
            members: vec![
                member(1, "Rae", &[RoleName::Root, RoleName::Targets]),
                member(2, "Rob", &[RoleName::Root, RoleName::Targets]),
                member(3, "Ann", &[RoleName::Release]),
                member(4, "Ben", &[RoleName::Clinical]),
                member(5, "Cy", &[RoleName::OnCall]),
            ],
            online: OnlineKeys {
                snapshot: key(11).public(),
                timestamp: key(12).public(),
                directives: key(13).public(),
            },
            thresholds: BTreeMap::new(),
            root_expires: expires,
            targets_expires: expires,
        };
        let (root, targets) = ceremony.first().unwrap();
        let mut next = next_version(&targets, expires);
        next.remove_key(RoleName::Release, &TufKey::new(key(3).public(), None).id());
        next.add_key(RoleName::Release, key(6).public(), Some("Lou"));
        let (root, first, second) = (signed(root), signed(targets), signed(next));
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::to_fill(dir.path()).unwrap();
        folder.put_metadata(RoleName::Root, 1, &root).unwrap();
        folder.put_metadata(RoleName::Targets, 1, &first).unwrap();

        let mut people = People::new(&folder, Some(Digest::of(&root)));
        assert!(people.order(&start(3), Timestamp(0)).is_err(), "nobody had said yet whose orders count");
        let begun = entry(0, &[(RoleName::Targets, 1, &first), (RoleName::Root, 1, &root)]);
        people.published(&begun).unwrap();
        people.order(&start(3), Timestamp(1)).unwrap();
        assert!(people.order(&start(6), Timestamp(1)).is_err());
        assert!(people.order(&start(5), Timestamp(1)).unwrap_err().contains("release"), "on-call does not start");
        let changed = entry(5_000, &[(RoleName::Targets, 2, &second)]);
        assert!(people.published(&changed).unwrap_err().contains("2.targets.json is missing"));
        folder.put_metadata(RoleName::Targets, 2, &first).unwrap();
        assert!(people.published(&changed).unwrap_err().contains("2.targets.json is not what the log says"));
        folder.put_metadata(RoleName::Targets, 2, &second).unwrap();
        people.published(&changed).unwrap();
        people.order(&start(6), Timestamp(5_000)).unwrap();
        people.order(&start(3), Timestamp(65_000)).unwrap();
        assert!(people.order(&start(3), Timestamp(65_001)).is_err(), "Ann's key counts no more");

        let mut other = People::new(&folder, Some(Digest::of(b"another root")));
        assert!(other.published(&begun).unwrap_err().contains("not the pinned one"));
    }
}
