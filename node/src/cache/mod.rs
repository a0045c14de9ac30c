//! Payloads: chunks by their SHA-256, each fetched once and verified alone, written straight to their place. A payload is
//! never held in memory as a whole.
//!
//! | room | holds |
//! |---|---|
//! | `shelf` | payloads that are whole: shared by the devices of the site, and a source of chunks for newer builds |
//! | `part` | one that is on its way |
//! | `fetch` | the calls that bring what is missing |
//! | `slots`, `pace` | who is next on the line, and how fast it may be used |
//!
//! **Invariant:** bytes come into a payload only through `Part::keep`, which compares their SHA-256 with the one that was
//! signed; a payload gets its name only after the SHA-256 of the whole was compared too. Where the bytes came from does not matter.

mod fetch;
mod pace;
mod part;
mod shelf;
mod slots;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::OwnedMutexGuard;
use wardround_rollout_plans::model::{Payload, Timestamp};
use wardround_signing::Digest;

pub(crate) use fetch::{Came, Coming, Source};
use pace::Pace;
use part::Part;
use shelf::{Shelf, held, leaves};
pub(crate) use slots::Claim;
use slots::Slots;

use crate::{config::Limit, sync::FetchError};

/// Room that stays free for the node's journal, bytes.
pub(crate) const RESERVE_BYTES: u64 = 96 * 1024 * 1024;

/// Why a payload is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    /// The controller.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A chunk, or the whole, is not what was signed.
    #[error("{0}")]
    Corrupt(String),
    /// No room.
    #[error("no room on the node: {free} bytes are free, {needed} are needed")]
    Full {
        /// Free.
        free: u64,
        /// Needed.
        needed: u64,
    },
    /// The site's hours.
    #[error("the site file allows no fetch at this hour{}", until_words(*until))]
    Closed {
        /// When that changes.
        until: Option<Timestamp>,
    },
    /// The disk.
    #[error("the payload cache: {0}")]
    Io(#[from] io::Error),
}

impl CacheError {
    /// True when making room would help.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Io(error) => matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded),
            _ => false,
        }
    }
}

/// What the site file says of the cache and the line, at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Bytes that payloads may take up, but for those that are needed.
    pub(crate) size_max: u64,
    /// How fast they may be fetched.
    pub(crate) limit: Limit,
}

/// The cache of a state directory.
#[derive(Clone)]
pub(crate) struct Cache {
    shelf: Shelf,
    parts: PathBuf,
    rules: Arc<dyn Fn() -> Rules + Send + Sync>,
    slots: Slots,
    pace: Pace,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    /// Payloads that some deployment still needs.
    needed: BTreeSet<Digest>,
    /// Payloads that wait for the line or for the hour: the next try need not hash again what is there.
    begun: HashMap<Digest, Arc<Part>>,
    /// Payloads of which a chunk came damaged: the controller is to look at its own first.
    suspect: BTreeSet<Digest>,
    /// Held while a payload is brought: the devices of a site share it, and the next one then finds it.
    turns: HashMap<Digest, Arc<tokio::sync::Mutex<()>>>,
}

impl Known {
    /// What must not be removed.
    fn kept(&self) -> BTreeSet<Digest> {
        let at_work = self.turns.iter().filter(|(_, turn)| Arc::strong_count(turn) > 1).map(|(digest, _)| *digest);
        at_work.chain(self.needed.iter().copied()).collect()
    }
}

/// Goes along with the work on a payload: who stops waiting does not stop the thread that works.
type Turn = Arc<OwnedMutexGuard<()>>;

impl Cache {
    /// Makes the directories, and removes what a process that was killed was writing beside its place. The caller holds the
    /// state folder.
    pub(crate) fn open(state_dir: &Path, rules: Arc<dyn Fn() -> Rules + Send + Sync>) -> io::Result<Self> {
        let (folder, parts) = (state_dir.join("payloads"), state_dir.join("parts"));
        for dir in [&folder, &parts] {
            fs::create_dir_all(dir)?;
        }
        for entry in fs::read_dir(&folder)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with('.') {
                let _ = fs::remove_file(entry.path());
            }
        }
        // Where versions before this one kept single chunks: what of a payload was under way then is fetched again.
        let _ = fs::remove_dir_all(state_dir.join("chunks"));
        let (slots, pace, known) = Default::default();
        Ok(Self { shelf: Shelf { folder }, parts, rules, slots, pace, known })
    }

    /// Where the whole payload is once [`Cache::bring`] has returned.
    pub(crate) fn payload(&self, digest: &Digest) -> PathBuf {
        self.shelf.payload(digest)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, digest: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut known = self.known();
        known.turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(known.turns.entry(*digest).or_default())
    }

    /// Brings the payload here: takes what the site has already, and fetches only the rest, also after a restart.
    pub(crate) async fn bring<S: Source>(
        &self,
        payload: &Payload,
        source: &S,
        claim: &Claim,
    ) -> Result<PathBuf, CacheError> {
        let turn: Turn = Arc::new(self.turn(&payload.digest).lock_owned().await);
        if !self.beside(&turn, payload, |cache, payload| Ok(cache.shelf.sound(payload)?)).await? {
            let brought = self.bring_anew(&turn, payload, source, claim).await;
            let mut known = self.known();
            match &brought {
                Err(CacheError::Corrupt(_)) => known.suspect.insert(payload.digest),
                Err(_) => false,
                Ok(()) => known.suspect.remove(&payload.digest),
            };
            drop(known);
            brought?;
        }
        Ok(self.payload(&payload.digest))
    }

    async fn bring_anew<S: Source>(
        &self,
        turn: &Turn,
        payload: &Payload,
        source: &S,
        claim: &Claim,
    ) -> Result<(), CacheError> {
        let (begun, afresh) = {
            let mut known = self.known();
            (known.begun.remove(&payload.digest), known.suspect.contains(&payload.digest))
        };
        let part = self.beside(turn, payload, |cache, payload| cache.begin(payload, begun)).await?;
        let whole = Arc::clone(&part);
        let fetched = self.fetch(turn, Arc::clone(&part), source, claim, afresh).await;
        if let Err(CacheError::Fetch(FetchError::Unreachable(_)) | CacheError::Closed { .. }) = &fetched {
            self.known().begun.insert(payload.digest, part);
        }
        fetched?;
        let finish = move |cache: &Self, payload: &Payload| {
            whole.finish(payload, &cache.payload(&payload.digest))?;
            if let Err(error) = cache.shelf.list(payload, whole.spans()) {
                tracing::warn!(%error, "newer builds of a payload will be fetched as a whole");
            }
            Ok(())
        };
        self.beside(turn, payload, finish).await
    }

    /// Works on the disk, beside the runtime.
    async fn beside<T: Send + 'static>(
        &self,
        turn: &Turn,
        payload: &Payload,
        work: impl FnOnce(&Self, &Payload) -> Result<T, CacheError> + Send + 'static,
    ) -> Result<T, CacheError> {
        let (cache, payload, turn) = (self.clone(), payload.clone(), Arc::clone(turn));
        let work = move || {
            let done = work(&cache, &payload);
            drop(turn);
            done
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| CacheError::Io(io::Error::other(error)))?
    }

    /// What is there of it, with what the site has already.
    fn begin(&self, payload: &Payload, begun: Option<Arc<Part>>) -> Result<Arc<Part>, CacheError> {
        if let Some(part) = begun.filter(|part| part.is_there()) {
            self.room_for(payload, &part)?;
            return Ok(part);
        }
        let spans = payload.spans().map_err(CacheError::Corrupt)?;
        let part = Part::open(&self.parts.join(payload.digest.hex()), spans)?;
        self.room_for(payload, &part)?;
        let before = part.lacks();
        let (spared, from) = self.shelf.give(&payload.digest, &part)?;
        part.hash_on()?;
        tracing::info!(
            payload = payload.file_name,
            bytes = payload.length,
            went_on_with = payload.length - before,
            spared,
            payloads = from.len(),
            to_fetch = part.lacks(),
            "a payload is brought"
        );
        Ok(Arc::new(part))
    }

    /// Makes room: on the disk, and in what the site gives payloads.
    fn room_for(&self, payload: &Payload, part: &Part) -> Result<(), CacheError> {
        let needed = part.lacks().saturating_add(RESERVE_BYTES);
        let mut held = self.shelf.held()?;
        held.extend(shelf::held(&self.parts)?);
        held.retain(|one| one.digest != payload.digest);
        let total = held.iter().map(|one| one.bytes).sum::<u64>().saturating_add(payload.length);
        let over = total.saturating_sub((self.rules)().size_max).max(needed.saturating_sub(self.free()?));
        if over > 0 {
            let serving = self.shelf.serving(part)?;
            // Held throughout: a payload that somebody begins to bring now waits for this.
            let known = self.known();
            for one in leaves(&held, over, &known.kept(), &serving) {
                self.shelf.remove(one);
            }
        }
        let free = self.free()?;
        if free < needed { Err(CacheError::Full { free, needed }) } else { Ok(()) }
    }

    fn free(&self) -> io::Result<u64> {
        let stat = nix::sys::statvfs::statvfs(&self.parts).map_err(io::Error::from)?;
        Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }

    /// From now on these payloads are needed, and no others but those that are being brought.
    pub(crate) fn need(&self, needed: BTreeSet<Digest>) {
        self.known().needed = needed;
    }

    /// Removes what is on its way and not needed any more, and of the whole payloads those for which there is no room. They can
    /// be fetched again.
    pub(crate) fn tidy(&self) {
        let tidied = || -> io::Result<()> {
            // Held throughout: a payload that somebody begins to bring now waits for this.
            let mut known = self.known();
            let kept = known.kept();
            known.begun.retain(|digest, _| kept.contains(digest));
            for part in held(&self.parts)?.iter().filter(|part| !kept.contains(&part.digest)) {
                self.shelf.remove(part);
            }
            let held = self.shelf.held()?;
            let total: u64 = held.iter().map(|one| one.bytes).sum();
            for one in leaves(&held, total.saturating_sub((self.rules)().size_max), &kept, &BTreeSet::new()) {
                self.shelf.remove(one);
            }
            Ok(())
        };
        if let Err(error) = tidied() {
            tracing::warn!(%error, "the payload cache could not be tidied");
        }
    }
}

/// "; it may again from 2027-01-11T18:00:00Z on", where that is known.
fn until_words(until: Option<Timestamp>) -> String {
    let at = until.and_then(|at| jiff::Timestamp::from_millisecond(at.0).ok());
    at.map(|at| format!("; it may again from {} on", at.strftime("%Y-%m-%dT%H:%M:%SZ"))).unwrap_or_default()
}
