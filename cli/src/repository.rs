//! The image repository as a person's tool sees it: read and verified before anything is signed.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use tonic::Code;
use wardround_proto::v1;
use wardround_signing::{
    Digest, Signer,
    tuf::{
        Changes, Fetch, Fetched, Files, Floors, Images, Kind, Moment, RoleName, Signed, Target, Targets, TufError,
        TufKey, next_version,
    },
};

use crate::{
    client::{Controller, call},
    failure::{Exit, Failure},
    output, pin,
    request::{Listing, MetadataFile, signing_role},
    when,
};

/// Life of a version of `release` or `clinical`: signing anything renews it.
const LISTING_LIFE_S: u32 = 365 * 24 * 60 * 60;

/// The repository, verified.
pub(crate) struct Repository {
    controller: Controller,
    images: Images,
    /// Every file that the view was made of, by its name.
    files: BTreeMap<String, String>,
}

struct Remote(Controller);

impl Fetch for Remote {
    fn metadata<'a>(&'a self, name: &'a str, max_bytes: u64) -> Fetched<'a> {
        Box::pin(async move {
            let request = v1::FetchMetadataRequest { name: name.to_owned(), max_bytes };
            match self.0.images().fetch_metadata(call(request)).await {
                Ok(answer) => Ok(Some(answer.into_inner().metadata)),
                Err(status) if status.code() == Code::NotFound => Ok(None),
                Err(status) => Err(status.message().to_owned()),
            }
        })
    }
}

fn refused(error: &TufError) -> Failure {
    Failure::refused(format!("the controller's image repository can't be believed: {error}")).hint(error.hint())
}

impl Repository {
    /// Reads and verifies it from the first root on, whose hash the profile remembers.
    pub(crate) async fn open(controller: &Controller, profile: &Path) -> Result<Self, Failure> {
        let shown = controller.images().get_repository(call(v1::GetRepositoryRequest {})).await?.into_inner();
        if shown.published.is_empty() {
            return Err(Failure::refused("this controller has no image repository yet: nobody has said whose signatures count")
                .hint("hold the root ceremony (`wardround root init`), then `wardround root import DIR` on the controller's machine"));
        }
        let request =
            v1::FetchMetadataRequest { name: RoleName::Root.versioned(1), max_bytes: RoleName::Root.bytes_max() };
        let root = controller.images().fetch_metadata(call(request)).await?.into_inner().metadata;
        pin::hold(profile, &Digest::of(&root))?;
        let now = Moment::from_ms(when::now_ms());
        let from = Arc::new(Remote(controller.clone()));
        let refreshed = Images::refresh(&root, Files::new(), from, &Floors::default(), now).await;
        let (images, mut files) = match refreshed.result {
            Ok(images) => (images, refreshed.files),
            // A listing that has expired is renewed by signing it, so it must still be readable.
            Err(TufError::Expired { .. }) => {
                let files = read_all(controller, &shown).await?;
                let images = Images::from_files_expired_allowed(&root, &files, &Floors::default());
                (images.map_err(|e| refused(&e))?, files)
            }
            Err(error) => return Err(refused(&error)),
        };
        files.insert(RoleName::Root.versioned(1), root);
        let text = |(name, bytes): (String, Vec<u8>)| match String::from_utf8(bytes) {
            Ok(text) => Ok((name, text)),
            Err(_) => Err(Failure::refused(format!("the controller's {name} is no text: it can't be believed"))),
        };
        let files = files.into_iter().map(text).collect::<Result<_, _>>()?;
        Ok(Self { controller: controller.clone(), images, files })
    }

    /// True when a role has signed for this very document, and it is published.
    pub(crate) fn has_signed(&self, role: RoleName, path: &str, document: &[u8]) -> bool {
        let wanted = Kind::of(path).map(|kind| Target::of(document, kind));
        self.images.targets(role).any(|(name, target)| name == path && Some(target) == wanted.as_ref())
    }

    /// What is published, verified.
    pub(crate) fn images(&self) -> &Images {
        &self.images
    }

    /// The repository as another machine verifies it anew.
    pub(crate) fn listing(&self) -> Listing {
        Listing { files: self.files.clone(), ..Listing::default() }
    }

    /// The repository, and what people sign for a document: for each role that has not signed yet its next version, with this
    /// one document more. What else a version holds was signed by people of that role before, and stays as it is.
    pub(crate) async fn listing_for(&self, path: &str, document: &[u8]) -> Result<Listing, Failure> {
        let kind = Kind::of(path).ok_or_else(|| Failure::new(format!("{path} names no document")))?;
        let mut listing = self.listing();
        for role in [RoleName::Release, RoleName::Clinical] {
            if self.has_signed(role, path, document) {
                continue;
            }
            match self.next(role, path, document, kind).await {
                Ok(next) => listing.next.push(MetadataFile::new(role, &next.to_bytes())?),
                // The other role is not held up by it.
                Err(failure) if failure.exit == Exit::Refused => {
                    let hint = if failure.hint.is_empty() { String::new() } else { format!("; {}", failure.hint) };
                    listing.without.insert(role, format!("{}{hint}", failure.message));
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(listing)
    }

    /// Signs for a document that was read and checked. Does nothing when the role has signed for it already.
    pub(crate) async fn sign_for(&self, path: &str, document: &[u8], signer: &dyn Signer) -> Result<(), Failure> {
        let role = signing_role(&self.images, signer.public())?;
        if self.has_signed(role, path, document) {
            return Ok(());
        }
        let kind = Kind::of(path).ok_or_else(|| Failure::new(format!("{path} names no document")))?;
        let signed = self.next(role, path, document, kind).await?;
        self.submit(role, signed, signer).await
    }

    /// Refuses a document that the published repository does not agree on.
    pub(crate) fn check_agreed(&self, path: &str, digest: &Digest) -> Result<(), Failure> {
        let wrong = |why: String| {
            Failure::refused(format!("what this builds on is not what people signed: {path}: {why}"))
                .hint("sign nothing, and tell the controller's operators")
        };
        let agreed = self.images.agreed(path).map_err(|e| wrong(e.to_string()))?;
        if agreed.sha256 == *digest {
            Ok(())
        } else {
            Err(wrong("release and clinical signed another document".into()))
        }
    }

    /// The newest version of a rollout that the published repository agrees on; 0 for none.
    pub(crate) fn newest_version(&self, rollout: &str) -> u32 {
        let version = |path: &str| -> Option<u32> {
            let name = path.strip_prefix("rollouts/")?.strip_suffix(".json")?;
            let (id, version) = name.rsplit_once('.')?;
            (id == rollout && self.images.agreed(path).is_ok()).then(|| version.parse().ok())?
        };
        self.images.targets(RoleName::Release).filter_map(|(path, _)| version(path)).max().unwrap_or(0)
    }

    /// Takes the signer's role back from another document at a path, so that this one can be signed for. `false` when
    /// there is none.
    pub(crate) async fn take_back(&self, path: &str, document: &[u8], signer: &dyn Signer) -> Result<bool, Failure> {
        let role = signing_role(&self.images, signer.public())?;
        let kind = Kind::of(path).ok_or_else(|| Failure::new(format!("{path} names no document")))?;
        let wanted = Target::of(document, kind);
        if !self.images.targets(role).any(|(name, target)| name == path && *target != wanted) {
            return Ok(false);
        }
        let expires = Moment::from_ms(when::now_ms()).plus_seconds(LISTING_LIFE_S);
        let standing = self.images.standing();
        let present = standing.listing(role).ok_or_else(|| Failure::new(format!("there is no {role} metadata")))?;
        let mut next = next_version(present.metadata(), expires);
        next.targets.remove(path);
        eprintln!("{role} takes its signature on an earlier draft at {path} back");
        self.submit(role, Signed::new(next).map_err(|e| refused(&e))?, signer).await?;
        Ok(true)
    }

    /// Signs a version and hands it to the controller; says when it has to wait.
    pub(crate) async fn submit(
        &self,
        role: RoleName,
        mut signed: Signed<Targets>,
        signer: &dyn Signer,
    ) -> Result<(), Failure> {
        signed.sign(signer).map_err(|e| Failure::new(e.to_string()))?;
        submit(&self.controller, role, signed.to_bytes()).await
    }

    /// The signer's role as it stands, to be signed anew. New people count as soon as the targets that name them wait for
    /// this very signature.
    pub(crate) async fn renewal(&self, signer: &dyn Signer) -> Result<Renewal, Failure> {
        let now = Moment::from_ms(when::now_ms());
        let mut standing = self.images.standing();
        for role in [RoleName::Root, RoleName::Targets] {
            if let Some(bytes) = self.staged(role).await? {
                // One that is not complete is not what stands next.
                let _ = standing.accept(role, &bytes, now);
            }
        }
        let targets = standing.listing(RoleName::Targets).and_then(|targets| targets.metadata().delegations.as_ref());
        let key = TufKey::new(signer.public(), None).id();
        let mut roles = [RoleName::Release, RoleName::Clinical].into_iter();
        let role = roles.find(|role| targets.is_some_and(|all| all.keyids(*role).contains(&key)));
        let role = role.ok_or_else(|| {
            Failure::refused("this key holds neither the role release nor clinical").hint(
                "new keys count once root and targets that name them are at the controller: `wardround root publish`",
            )
        })?;
        if let Some(bytes) = self.staged(role).await?
            && standing.check(role, &bytes, now).is_ok_and(|update| update.changes == Changes::default())
        {
            return Ok(Renewal { role, signed: Signed::parse(role, &bytes).map_err(|e| refused(&e))? });
        }
        let expires = now.plus_seconds(LISTING_LIFE_S);
        let next = match standing.listing(role) {
            Some(present) => next_version(present.metadata(), expires),
            None => Targets::listing(expires),
        };
        Ok(Renewal { role, signed: Signed::new(next).map_err(|e| refused(&e))? })
    }

    async fn staged(&self, role: RoleName) -> Result<Option<Vec<u8>>, Failure> {
        let request = v1::FetchStagedRequest { role: role.word().to_owned() };
        match self.controller.images().fetch_staged(call(request)).await {
            Ok(staged) => Ok(Some(staged.into_inner().metadata)),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status.into()),
        }
    }

    /// The version to sign: the staged one where it adds exactly this document, else a new one.
    async fn next(&self, role: RoleName, path: &str, document: &[u8], kind: Kind) -> Result<Signed<Targets>, Failure> {
        let wanted = &Target::of(document, kind);
        let standing = self.images.standing();
        let now = Moment::from_ms(when::now_ms());
        if let Some(bytes) = self.staged(role).await? {
            let update = standing.check(role, &bytes, now).map_err(|e| refused(&e))?;
            let changes = &update.changes;
            let alone = changes.removed.is_empty() && changes.added.len() == 1;
            if alone && changes.added.get(path) == Some(wanted) {
                return Signed::parse(role, &bytes).map_err(|e| refused(&e));
            }
            let others: Vec<&str> = changes.added.keys().map(String::as_str).collect();
            let text = format!("another version of {role} waits for signatures: it adds {}", others.join(", "));
            return Err(Failure::refused(text).hint("have that one signed first"));
        }
        let expires = now.plus_seconds(LISTING_LIFE_S);
        let mut next = match standing.listing(role) {
            Some(present) => next_version(present.metadata(), expires),
            None => Targets::listing(expires),
        };
        if next.targets.get(path).is_some_and(|there| there != wanted) {
            return Err(Failure::refused(format!("{role} has signed for another document at {path} before"))
                .hint("a signed document never changes: give the new one another id"));
        }
        next.add_target(path, document, kind).map_err(|e| Failure::refused(format!("{path}: {e}")))?;
        Signed::new(next).map_err(|e| refused(&e))
    }
}

/// Hands a signed version to the controller; says when it has to wait.
pub(crate) async fn submit(controller: &Controller, role: RoleName, metadata: Vec<u8>) -> Result<(), Failure> {
    let request = v1::SubmitMetadataRequest { role: role.word().to_owned(), metadata };
    let done = controller.images().submit_metadata(call(request)).await?.into_inner();
    if done.missing > 0 {
        eprintln!("{role} version {} waits: {} more must sign", done.version, done.missing);
    } else if done.state() == v1::MetadataState::Staged {
        eprintln!("{role} version {} waits: {}", done.version, output::harmless(&done.waiting));
    }
    Ok(())
}

/// A role's next version without a change.
pub(crate) struct Renewal {
    pub(crate) role: RoleName,
    pub(crate) signed: Signed<Targets>,
}

impl Renewal {
    /// The paths of its documents.
    pub(crate) fn documents(&self) -> Vec<String> {
        self.signed.metadata().targets.keys().cloned().collect()
    }
}

/// Every published file, for a reading that accepts what has expired.
async fn read_all(controller: &Controller, shown: &v1::GetRepositoryResponse) -> Result<Files, Failure> {
    let mut names = Vec::new();
    for one in &shown.published {
        let Some(role) = RoleName::from_word(&one.role) else { continue };
        match role {
            RoleName::Root => names.extend((1..=one.version.min(1_000)).map(|version| role.versioned(version))),
            _ => names.push(role.versioned(one.version)),
        }
    }
    let mut files = Files::new();
    for name in names {
        let request = v1::FetchMetadataRequest { name: name.clone(), max_bytes: 0 };
        files.insert(name, controller.images().fetch_metadata(call(request)).await?.into_inner().metadata);
    }
    Ok(files)
}
