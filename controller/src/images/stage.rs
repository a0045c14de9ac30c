//! Taking people's signatures in: a version waits here until it is complete, then it is published.

use std::{collections::BTreeMap, sync::Arc};

use wardround_rollout_plans::model::{DurationMs, Timestamp};
use wardround_signing::{
    Digest,
    tuf::{KeyHolder, Metadata, RoleName, Root, Signed, Standing, Targets, TufError, Update},
};

use super::{
    ImageError, Repository, View,
    documents::Document,
    moment,
    publish::{blocking, check_directives, check_held},
};
use crate::{
    clock,
    core::Core,
    registry::{FilePin, RegistryEvent},
};

/// After this time another content may take a staged version's place: one person must not block a role for ever.
const STAGED_MAX: DurationMs = DurationMs::from_secs(7 * 24 * 60 * 60);
/// Most documents that the record names one by one.
const NAMED_MAX: usize = 5;

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Submitted {
    /// Nodes receive it.
    pub(crate) published: bool,
    /// Version.
    pub(crate) version: u64,
    /// Who signed validly.
    pub(crate) signers: Vec<KeyHolder>,
    /// Signatures that are missing.
    pub(crate) missing: u64,
    /// Why it waits although none is missing; empty otherwise.
    pub(crate) waiting: String,
}

/// A staged version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// What it is, and who signed.
    pub(crate) update: Update,
    /// Why it waits although no signature is missing; empty otherwise.
    pub(crate) waiting: String,
}

/// Version and digest of the signed part.
fn content(role: RoleName, bytes: &[u8]) -> Result<(u64, Digest), TufError> {
    Ok(if role == RoleName::Root {
        let signed = Signed::<Root>::parse(role, bytes)?;
        (signed.version(), signed.digest())
    } else {
        let signed = Signed::<Targets>::parse(role, bytes)?;
        (signed.version(), signed.digest())
    })
}

/// The signatures of both copies.
fn merged(role: RoleName, staged: &[u8], new: &[u8]) -> Result<Vec<u8>, TufError> {
    fn both<M: Metadata>(role: RoleName, staged: &[u8], new: &[u8]) -> Result<Vec<u8>, TufError> {
        let mut all = Signed::<M>::parse(role, new)?;
        all.merge(&Signed::parse(role, staged)?)?;
        Ok(all.to_bytes())
    }
    if role == RoleName::Root { both::<Root>(role, staged, new) } else { both::<Targets>(role, staged, new) }
}

/// "Ann Lee and Ben Ode".
fn names(signers: &[KeyHolder]) -> String {
    signers.iter().map(|signer| signer.holder.as_str()).collect::<Vec<_>>().join(" and ")
}

impl Repository {
    /// Takes in a new version, or more signatures on one that is staged. Goes on to its end when the caller goes away: the
    /// journal and what is served must not part.
    pub(crate) async fn submit(self: &Arc<Self>, role: &str, bytes: Vec<u8>) -> Result<Submitted, ImageError> {
        let known = RoleName::from_word(role).filter(|role| RoleName::PEOPLE.contains(role));
        let role = known.ok_or_else(|| ImageError::Role(role.chars().take(40).collect()))?;
        let repository = Arc::clone(self);
        let task = tokio::spawn(async move {
            let _turn = repository.turn.lock().await;
            repository.take(role, bytes, clock::now()).await
        });
        task.await.map_err(|e| ImageError::Disk(format!("taking {role} metadata in stopped: {e}")))?
    }

    async fn take(self: &Arc<Self>, role: RoleName, bytes: Vec<u8>, now: Timestamp) -> Result<Submitted, ImageError> {
        let view = self.require()?;
        let (version, digest) = content(role, &bytes)?;
        if let Some(done) = self.published_before(&view, role, version, digest)? {
            return Ok(done);
        }
        let mut staged = self.staged();
        let bytes = match staged.remove(&role) {
            Some((_, there)) if content(role, &there)? == (version, digest) => merged(role, &there, &bytes)?,
            Some((at, there)) if content(role, &there)?.0 == version && at.after(STAGED_MAX) > now => {
                let signers = view.images.standing().check(role, &there, moment(now)).map(|update| update.signers);
                let by = signers.map(|signers| format!(", signed by {}", names(&signers))).unwrap_or_default();
                return Err(ImageError::Conflict { role, version, state: "staged", by });
            }
            _ => bytes,
        };
        let others: BTreeMap<RoleName, Vec<u8>> = staged.into_iter().map(|(role, (_, bytes))| (role, bytes)).collect();
        let update = check(&view, &others, role, &bytes, now)?;
        if update.signers.is_empty() {
            return Err(ImageError::Unsigned { role, version });
        }
        self.check_online(role, &bytes)?;
        check_documents(&self.core, &update)?;
        let mut waiting = String::new();
        if update.is_complete() {
            match self.publish(&view, others, &update, &bytes, now).await? {
                None => {
                    return Ok(Submitted { published: true, version, signers: update.signers, missing: 0, waiting });
                }
                Some(why) => waiting = why,
            }
        }
        self.stage(&update, bytes, &waiting).await?;
        Ok(Submitted { published: false, version, signers: update.signers, missing: update.missing, waiting })
    }

    /// A repetition of what is published is answered as the first time; anything else of that version is refused.
    fn published_before(
        &self,
        view: &View,
        role: RoleName,
        version: u64,
        digest: Digest,
    ) -> Result<Option<Submitted>, ImageError> {
        if version > view.images.version(role) {
            return Ok(None);
        }
        let published = self.folder.get(role, version)?;
        let same = published.as_ref().map(|bytes| content(role, bytes)).transpose()?;
        if same == Some((version, digest)) {
            return Ok(Some(Submitted {
                published: true,
                version,
                signers: Vec::new(),
                missing: 0,
                waiting: String::new(),
            }));
        }
        Err(ImageError::Conflict { role, version, state: "published", by: String::new() })
    }

    /// What waits, with its time. A damaged file is as good as none: people sign again.
    fn staged(&self) -> BTreeMap<RoleName, (Timestamp, Vec<u8>)> {
        let staged = self.record().staged.into_iter();
        let read = staged.filter_map(|(role, pin)| match self.folder.staged(role, &pin.file.sha256) {
            Ok(bytes) => Some((role, (pin.at, bytes))),
            Err(error) => {
                tracing::warn!(%error, "a staged version is lost; it has to be signed again");
                None
            }
        });
        read.collect()
    }

    fn check_online(&self, role: RoleName, bytes: &[u8]) -> Result<(), ImageError> {
        let ring = self.keys()?;
        match role {
            RoleName::Root => {
                let root = Signed::<Root>::parse(role, bytes)?;
                check_held(root.metadata(), RoleName::Snapshot, &ring)?;
                check_held(root.metadata(), RoleName::Timestamp, &ring)
            }
            RoleName::Targets => check_directives(Signed::<Targets>::parse(role, bytes)?.metadata(), &ring),
            _ => Ok(()),
        }
    }

    /// Publishes the version by itself or, where that makes no whole, with the others that are complete. `Some` says why
    /// it has to wait for another role.
    async fn publish(
        self: &Arc<Self>,
        view: &View,
        others: BTreeMap<RoleName, Vec<u8>>,
        update: &Update,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<Option<String>, ImageError> {
        let alone = BTreeMap::from([(update.role, bytes.to_vec())]);
        let mut all = others;
        all.insert(update.role, bytes.to_vec());
        let together = complete(view, all, now);
        let text = sentence(update);
        let draft = match self.draft(Some(view), view.roots(), alone, now) {
            Err(ImageError::Refused(alone)) if together.len() < 2 => return Ok(Some(alone.to_string())),
            Err(ImageError::Refused(_)) => match self.draft(Some(view), view.roots(), together, now) {
                Err(ImageError::Refused(why)) => return Ok(Some(why.to_string())),
                other => other?,
            },
            other => other?,
        };
        self.commit(draft, text).await?;
        Ok(None)
    }

    async fn stage(self: &Arc<Self>, update: &Update, bytes: Vec<u8>, waiting: &str) -> Result<(), ImageError> {
        let (role, version, repository) = (update.role, update.version, Arc::clone(self));
        let sha256 = blocking(move || repository.folder.stage(role, &bytes)).await?;
        let still = match update.missing {
            0 => format!("it waits: {waiting}"),
            missing => format!("{missing} more must sign"),
        };
        let text = format!("{role} version {version} is signed by {}; {still}", names(&update.signers));
        let event = RegistryEvent::MetadataStaged { role, file: FilePin { version, sha256 }, text };
        Ok(self.core.submit(event).await?)
    }

    /// A staged version's file.
    pub(crate) fn staged_file(&self, role: &str) -> Result<Option<Vec<u8>>, ImageError> {
        let known = RoleName::from_word(role).filter(|role| RoleName::PEOPLE.contains(role));
        let role = known.ok_or_else(|| ImageError::Role(role.chars().take(40).collect()))?;
        self.require()?;
        Ok(self.staged().remove(&role).map(|(_, bytes)| bytes))
    }

    /// Everything that waits.
    pub(crate) fn waiting(&self) -> Result<Vec<Waiting>, ImageError> {
        let (view, now) = (self.require()?, clock::now());
        let staged: BTreeMap<RoleName, Vec<u8>> =
            self.staged().into_iter().map(|(role, (_, bytes))| (role, bytes)).collect();
        let mut all = Vec::new();
        for (role, bytes) in &staged {
            // One that no longer follows on what is published is written over by the next.
            let Ok(update) = check(&view, &staged, *role, bytes, now) else { continue };
            let waiting = match update.missing {
                0 => {
                    let alone = BTreeMap::from([(*role, bytes.clone())]);
                    self.draft(Some(&view), view.roots(), alone, now).err().map(|e| e.to_string()).unwrap_or_default()
                }
                _ => String::new(),
            };
            all.push(Waiting { update, waiting });
        }
        Ok(all)
    }
}

impl View {
    /// The root chain, to go on from.
    pub(super) fn roots(&self) -> wardround_signing::tuf::Files {
        let roots = self.files.iter().filter(|(name, _)| name.ends_with(".root.json"));
        roots.map(|(name, bytes)| (name.clone(), bytes.clone())).collect()
    }
}

/// Against what is published, or against what will be once the complete versions above it are.
fn check(
    view: &View,
    staged: &BTreeMap<RoleName, Vec<u8>>,
    role: RoleName,
    bytes: &[u8],
    now: Timestamp,
) -> Result<Update, ImageError> {
    let mut standing = view.images.standing();
    let present = standing.check(role, bytes, moment(now));
    if present.as_ref().is_ok_and(Update::is_complete) {
        return Ok(present?);
    }
    accept(&mut standing, staged.iter().filter(|(above, _)| **above < role), now);
    match (present, standing.check(role, bytes, moment(now))) {
        (Ok(present), Ok(later)) => Ok(if later.missing < present.missing { later } else { present }),
        (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(one),
        (Err(error), Err(_)) => Err(error.into()),
    }
}

/// Takes what is complete, from the root down; the roles that were taken.
fn accept<'a>(
    standing: &mut Standing,
    staged: impl Iterator<Item = (&'a RoleName, &'a Vec<u8>)>,
    now: Timestamp,
) -> Vec<RoleName> {
    // In the order of the roles: root, targets, release, clinical.
    staged.filter(|(role, bytes)| standing.accept(**role, bytes, moment(now)).is_ok()).map(|(role, _)| *role).collect()
}

fn complete(view: &View, mut all: BTreeMap<RoleName, Vec<u8>>, now: Timestamp) -> BTreeMap<RoleName, Vec<u8>> {
    let taken = accept(&mut view.images.standing(), all.iter(), now);
    all.retain(|role, _| taken.contains(role));
    all
}

/// Nobody shall sign for what no node can fetch.
fn check_documents(core: &Core, update: &Update) -> Result<(), ImageError> {
    for (path, target) in &update.changes.added {
        let held = core.read(|facts| Document::of(path).and_then(|document| document.held(facts)));
        let what = match held {
            None => "no such document",
            Some((digest, length))
                if target.length == length && target.sha256().is_ok_and(|sha256| sha256 == digest) =>
            {
                continue;
            }
            Some(_) => "another document under that name",
        };
        return Err(ImageError::Document { role: update.role, version: update.version, path: path.clone(), what });
    }
    Ok(())
}

/// For the record: what is new, and who signed it.
fn sentence(update: &Update) -> String {
    let changes = &update.changes;
    let mut news: Vec<String> = changes.added.keys().map(|path| format!("{path} is signed for")).collect();
    news.extend(changes.removed.keys().map(|path| format!("{path} is taken back")));
    news.extend(changes.keys_added.iter().map(|(role, key)| format!("{} gets the role {role}", person(key))));
    news.extend(changes.keys_removed.iter().map(|(role, key)| format!("{} loses the role {role}", person(key))));
    news.extend(changes.thresholds.iter().map(|(role, _, after)| format!("{role} needs {after} signatures")));
    let more = news.len().saturating_sub(NAMED_MAX);
    news.truncate(NAMED_MAX);
    if news.is_empty() {
        news.push("renewed without a change".to_owned());
    }
    let more = if more == 0 { String::new() } else { format!(", and {more} more") };
    let (role, version, who) = (update.role, update.version, names(&update.signers));
    format!("{role} version {version}, signed by {who}, is published: {}{more}", news.join(", "))
}

fn person(key: &KeyHolder) -> String {
    match key.holder.as_str() {
        "" => format!("online key {}", key.key.short()),
        holder => format!("{holder} (key {})", key.key.short()),
    }
}
