//! The image repository as a person's tool sees it: read and verified before anything is signed.

use std::{path::Path, sync::Arc};

use tonic::Code;
use wardround_proto::v1;
use wardround_signing::{
    Digest, Role, Signer,
    tuf::{
        Changes, Fetch, Fetched, Files, Floors, Images, Kind, Moment, RoleName, Signed, Target, Targets, TufError,
        TufKey, next_version,
    },
};

use crate::{
    client::{Controller, call},
    failure::Failure,
    output, when,
};

/// File of the profile that remembers the root by its hash: trusted on first use, then held on to.
const PIN_FILE: &str = "root.sha256";
/// Life of a version of `release` or `clinical`: signing anything renews it.
const LISTING_LIFE_S: u32 = 365 * 24 * 60 * 60;

/// The repository, verified.
pub(crate) struct Repository {
    controller: Controller,
    images: Images,
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
    /// Reads and verifies it from the first root on, whose hash the profile remembers. `None` where the controller has no
    /// repository yet.
    pub(crate) async fn open(controller: &Controller, profile: &Path) -> Result<Option<Self>, Failure> {
        let shown = controller.images().get_repository(call(v1::GetRepositoryRequest {})).await?.into_inner();
        if shown.published.is_empty() {
            return Ok(None);
        }
        let request =
            v1::FetchMetadataRequest { name: RoleName::Root.versioned(1), max_bytes: RoleName::Root.bytes_max() };
        let root = controller.images().fetch_metadata(call(request)).await?.into_inner().metadata;
        check_pin(profile, &Digest::of(&root))?;
        let now = Moment::from_ms(when::now_ms());
        let from = Arc::new(Remote(controller.clone()));
        let refreshed = Images::refresh(&root, Files::new(), from, &Floors::default(), now).await;
        let images = match refreshed.result {
            Ok(images) => images,
            // A listing that has expired is renewed by signing it, so it must still be readable.
            Err(TufError::Expired { .. }) => {
                Images::from_files_expired_allowed(&root, &read_all(controller, &shown).await?, &Floors::default())
                    .map_err(|e| refused(&e))?
            }
            Err(error) => return Err(refused(&error)),
        };
        Ok(Some(Self { controller: controller.clone(), images }))
    }

    /// The role in which a key signs documents.
    pub(crate) fn role_of(&self, signer: &dyn Signer) -> Result<RoleName, Failure> {
        let key = signer.public();
        let holder = self.images.people().keys().iter().find(|person| person.key == key);
        let Some(holder) = holder else {
            return Err(Failure::refused("the targets metadata names nobody with this key")
                .hint("`wardround root show` says whose keys count"));
        };
        let roles = [(Role::Release, RoleName::Release), (Role::Clinical, RoleName::Clinical)];
        // The policy lets no key stand in both.
        match roles.into_iter().find(|(role, _)| holder.roles.contains(role)) {
            Some((_, name)) => Ok(name),
            None => Err(Failure::refused(format!("{} may not sign patches and rollouts with this key", holder.holder))
                .hint("release managers and clinical safety officers do")),
        }
    }

    /// Signs for a document: a new version of the signer's role with this one target more. What else the version holds
    /// was signed by people of that role before, and stays as it is. Does nothing when the role has signed already.
    pub(crate) async fn sign_for(&self, path: &str, document: &[u8], signer: &dyn Signer) -> Result<(), Failure> {
        let role = self.role_of(signer)?;
        let kind = Kind::of(path).ok_or_else(|| Failure::new(format!("{path} names no document")))?;
        let wanted = Target::of(document, kind);
        if self.images.targets(role).any(|(name, target)| name == path && *target == wanted) {
            return Ok(());
        }
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
        let role = self.role_of(signer)?;
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
        let request = v1::SubmitMetadataRequest { role: role.word().to_owned(), metadata: signed.to_bytes() };
        let done = self.controller.images().submit_metadata(call(request)).await?.into_inner();
        if done.missing > 0 {
            eprintln!("{role} version {} waits: {} more must sign", done.version, done.missing);
        } else if done.state() == v1::MetadataState::Staged {
            eprintln!("{role} version {} waits: {}", done.version, output::harmless(&done.waiting));
        }
        Ok(())
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

/// The first root must be the one that this profile saw before.
fn check_pin(profile: &Path, root: &Digest) -> Result<(), Failure> {
    let path = profile.join(PIN_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) if text.trim() == root.hex() => Ok(()),
        Ok(_) => Err(Failure::refused("the controller shows another first root than before: sign nothing").hint(
            format!("if it was set up anew on purpose, compare the hash on paper and remove {}", path.display()),
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            std::fs::write(&path, format!("{}\n", root.hex())).map_err(|e| Failure::file("write", &path, &e))?;
            eprintln!(
                "first use: this profile now holds on to the root with SHA-256 {}; compare it with the ceremony's paper",
                root.hex()
            );
            Ok(())
        }
        Err(error) => Err(Failure::file("read", &path, &error)),
    }
}
