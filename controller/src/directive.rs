//! Signing directives: what the engine wants of a site, under the controller's online key.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use wardround_rollout_plans::model::{Directive, DirectiveMark, DurationMs, SiteId, SiteRollout, Timestamp};
use wardround_signing::{Digest, Envelope, EnvelopeError, PublicKey, SecretKey, Signer as _};

use crate::core::{Core, Facts};

/// Life of a directive: a node begins nothing new when the controller has been out of reach for longer.
const LIFE: DurationMs = DurationMs::from_secs(60 * 60);
/// A cached directive is used again while at least this much of its life is left, and no more than [`LIFE`]: one that was
/// signed while the clock ran ahead would let a node begin things for longer than an hour without a word from here.
const LEFT_MIN: DurationMs = DurationMs::from_secs(30 * 60);

struct Cached {
    key: PublicKey,
    content: Digest,
    counter: u64,
    expires_at: Timestamp,
    envelope: Envelope,
}

/// A directive on its way out.
pub(crate) struct Issued {
    /// Signed.
    pub(crate) envelope: Envelope,
    /// To be logged before it leaves; absent when the site was told the same before.
    pub(crate) news: Option<DirectiveMark>,
}

/// What is wanted of a site, out of one state.
pub(crate) struct Wanted {
    rollouts: Vec<SiteRollout>,
    seq: u64,
    /// What the site was told last.
    told: Option<Digest>,
}

impl Wanted {
    pub(crate) fn of(facts: &Facts, site: &SiteId) -> Self {
        Self { rollouts: facts.engine.directive(site), seq: facts.seq(), told: facts.registry.told(site) }
    }
}

/// What was signed last for each site.
pub(crate) struct Directives {
    counter_base: u64,
    cache: Mutex<HashMap<SiteId, Cached>>,
}

impl Directives {
    /// `counter_base` is added to the journal's sequence number: it is raised after a restore from an old copy, so that
    /// counters still rise.
    pub(crate) fn new(counter_base: u64) -> Self {
        Self { counter_base, cache: Mutex::default() }
    }

    /// The counter that a directive made now would carry: the number of the last applied journal record. It rises with
    /// every change of state, is on disk before it is used, and so never goes down over a restart.
    pub(crate) fn counter(&self, core: &Core) -> u64 {
        core.read(|facts| self.counter_base.saturating_add(facts.seq()))
    }

    /// The site's present directive, signed with `key`, which is the one that people's targets name now.
    pub(crate) fn for_site(
        &self,
        core: &Core,
        key: &SecretKey,
        site: &SiteId,
        now: Timestamp,
    ) -> Result<Issued, EnvelopeError> {
        // Content and counter out of one state: a lower counter can then never carry newer content.
        let wanted = core.read(|facts| Wanted::of(facts, site));
        self.issue(wanted, key, site, now)
    }

    /// The directive that says what is wanted, signed; the last one again where that says the same and lives long enough.
    pub(crate) fn issue(
        &self,
        Wanted { rollouts, seq, told }: Wanted,
        key: &SecretKey,
        site: &SiteId,
        now: Timestamp,
    ) -> Result<Issued, EnvelopeError> {
        let content = Digest::of(&serde_json::to_vec(&rollouts)?);
        let is_news = told.map_or(!rollouts.is_empty(), |told| told != content);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let counter = self.counter_base.saturating_add(seq);
        if let Some(cached) = cache.get(site)
            && cached.key == key.public()
            && (cached.counter > counter || cached.content == content)
            && (LEFT_MIN..=LIFE).contains(&cached.expires_at.since(now))
        {
            let mark = DirectiveMark { site: site.clone(), counter: cached.counter, content: cached.content };
            return Ok(Issued {
                envelope: cached.envelope.clone(),
                news: (is_news && cached.content == content).then_some(mark),
            });
        }
        let expires_at = now.after(LIFE);
        let directive = Directive { site: site.clone(), counter, issued_at: now, expires_at, rollouts };
        let envelope = Envelope::seal(&directive, key)?;
        cache.insert(
            site.clone(),
            Cached { key: key.public(), content, counter, expires_at, envelope: envelope.clone() },
        );
        let news = is_news.then(|| DirectiveMark { site: site.clone(), counter, content });
        Ok(Issued { envelope, news })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wardround_journal::{Journal, Options};
    use wardround_signing::{Policy, verify};

    use super::*;
    use crate::core::{Limits, Writer};

    #[test]
    fn a_directive_is_used_again_for_half_its_life_and_never_lives_longer() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { free_bytes_min: 0, ballast_bytes: 0, ..Options::default() };
        let journal = Arc::new(Journal::open(dir.path(), &options).unwrap());
        let (_writer, core) = Writer::recover(journal, Limits { snapshot_every: 100 }).unwrap();
        let (directives, key) = (Directives::new(0), SecretKey::from_seed(&[1; 32]));
        let site = SiteId::new("rx1").unwrap();
        let expiry = |now: Timestamp| {
            let envelope = directives.for_site(&core, &key, &site, now).unwrap().envelope;
            verify::<Directive>(&envelope, &Policy::controller(key.public())).unwrap().document().expires_at
        };
        let start = Timestamp(0);
        assert_eq!(expiry(start), start.after(LIFE));
        assert_eq!(expiry(start.after(LEFT_MIN)), start.after(LIFE), "used again");
        let later = start.after(LEFT_MIN).after(DurationMs(1));
        assert_eq!(expiry(later), later.after(LIFE), "half its life is over");
        let ahead = start.after(DurationMs::from_secs(365 * 24 * 3_600));
        assert_eq!(expiry(ahead), ahead.after(LIFE));
        assert_eq!(expiry(later), later.after(LIFE), "the clock was set back");
    }
}
