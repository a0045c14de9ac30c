//! Signing for a patch or a rollout: the next version of a role's listing, with that one document more, on top of a repository
//! that this machine has verified itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wardround_signing::{
    Digest, PublicKey, Role, Signer as _,
    tuf::{Changes, Files, Floors, Images, Kind, Moment, RoleName, Signed, Target, Targets, TufError, Update},
};

use super::{MetadataFile, SignedPart, metadata::part, reading::changed};
use crate::{failure::Failure, signer::Person};

/// The image repository, and the versions by which people sign for a document.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listing {
    /// The repository's files, exactly, by name: all roots, and the others as they stand.
    pub(crate) files: BTreeMap<String, String>,
    /// The next versions of release and clinical, each with one document more; with the signatures that they have so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) next: Vec<MetadataFile>,
    /// Why a role has no next version here; for people, nothing rests on it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) without: BTreeMap<RoleName, String>,
}

impl Listing {
    /// Verifies the repository from its first root on; gives that root's SHA-256 as well, which a person or a profile must
    /// know. What has expired is still read: the other machine may have been reached days later, and signing renews it.
    pub(crate) fn images(&self) -> Result<(Images, Digest), Failure> {
        let files: Files = self.files.iter().map(|(name, text)| (name.clone(), text.clone().into_bytes())).collect();
        let first = RoleName::Root.versioned(1);
        let root = files.get(&first).ok_or_else(|| changed("request", &format!("it holds no {first}")))?;
        let images = Images::from_files_expired_allowed(root, &files, &Floors::default());
        let images = images.map_err(|e: TufError| changed("request", &format!("its image repository: {e}")))?;
        Ok((images, Digest::of(root)))
    }
}

/// The role in which a key signs for documents.
pub(crate) fn signing_role(images: &Images, key: PublicKey) -> Result<RoleName, Failure> {
    let holder = images.people().keys().iter().find(|person| person.key == key);
    let holder = holder.ok_or_else(stranger)?;
    let roles = [(Role::Release, RoleName::Release), (Role::Clinical, RoleName::Clinical)];
    // The policy lets no key stand in both.
    match roles.into_iter().find(|(role, _)| holder.roles.contains(role)) {
        Some((_, name)) => Ok(name),
        None => Err(Failure::refused(format!("{} may not sign patches and rollouts with this key", holder.holder))
            .hint("release managers and clinical safety officers do")),
    }
}

/// A key that people's targets do not name.
pub(super) fn stranger() -> Failure {
    Failure::refused("the targets metadata names nobody with this key")
        .hint("`wardround root show` says whose keys count")
}

/// Versions that were checked: each adds this one document and changes nothing else.
pub(crate) struct Versions {
    pub(super) images: Images,
    pub(super) root: Digest,
    pub(super) path: String,
    next: BTreeMap<RoleName, (Signed<Targets>, Update)>,
    without: BTreeMap<RoleName, String>,
}

impl Versions {
    /// Checks them against the repository beside them and the document. `now` is Unix milliseconds.
    pub(crate) fn check(listing: &Listing, path: String, document: &[u8], now: i64) -> Result<Self, Failure> {
        let kind = Kind::of(&path).ok_or_else(|| changed("document", &format!("{path} is no place for one")))?;
        let (images, root) = listing.images()?;
        let standing = images.standing();
        let wanted = Changes { added: [(path.clone(), Target::of(document, kind))].into(), ..Changes::default() };
        let mut next = BTreeMap::new();
        for file in &listing.next {
            let role = file.role;
            let wrong = |why: String| changed(&format!("version of {role}"), &why);
            if !matches!(role, RoleName::Release | RoleName::Clinical) {
                return Err(wrong("people sign for documents as release or clinical".to_owned()));
            }
            let bytes = serde_json::to_vec(&file.file).map_err(|e| wrong(e.to_string()))?;
            let update = standing.check(role, &bytes, Moment::from_ms(now)).map_err(|e| wrong(e.to_string()))?;
            if update.changes != wanted {
                return Err(wrong(format!("it changes something else than to add {path}, the document beside it")));
            }
            let signed = Signed::parse(role, &bytes).map_err(|e| wrong(e.to_string()))?;
            if next.insert(role, (signed, update)).is_some() {
                return Err(wrong("it is there twice".to_owned()));
            }
        }
        Ok(Self { images, root, path, next, without: listing.without.clone() })
    }

    /// How the document comes to count, role by role.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![String::new(), "HOW IT COUNTS".to_owned()];
        lines.push("  Nodes take it only when release and clinical have both signed for it, identically.".to_owned());
        lines.extend(
            [RoleName::Release, RoleName::Clinical].map(|role| format!("  {role}: {}", self.standing_of(role))),
        );
        lines
    }

    fn standing_of(&self, role: RoleName) -> String {
        if let Some((signed, update)) = self.next.get(&role) {
            let before = signed.metadata().targets.len().saturating_sub(1);
            let so_far = match update.signers.as_slice() {
                [] => "nobody has signed it yet".to_owned(),
                some => {
                    let names: Vec<&str> = some.iter().map(|signer| signer.holder.as_str()).collect();
                    format!("signed so far by {}", names.join(" and "))
                }
            };
            let documents = crate::output::count(before, "document");
            return format!("version {} adds it to {documents} signed for before; {so_far}", update.version);
        }
        match self.without.get(&role) {
            Some(why) => why.clone(),
            None if self.images.targets(role).any(|(path, _)| path == self.path) => "has signed for it".to_owned(),
            None => "no version to sign is here".to_owned(),
        }
    }

    /// Name and SHA-256 of each version's canonical form.
    pub(super) fn digests(&self) -> Vec<(String, Digest)> {
        let one = |(role, (signed, update)): (&RoleName, &(Signed<Targets>, Update))| {
            (format!("{role} {}", update.version), signed.digest())
        };
        self.next.iter().map(one).collect()
    }

    /// Signs the version of the person's role; gives the signature, and the file that it is of.
    pub(super) fn sign(&self, person: &Person) -> Result<(SignedPart, MetadataFile), Failure> {
        let role = signing_role(&self.images, person.key.public())?;
        let Some((signed, _)) = self.next.get(&role) else {
            return Err(Failure::refused(format!("there is nothing to sign for {role}: {}", self.standing_of(role))));
        };
        Ok((part(role.word(), signed, person)?, MetadataFile::new(role, &signed.to_bytes())?))
    }
}
