//! What decides and what makes it last, without the shell around it: a simulation runs these very functions over a simulated
//! disk and simulated links.
//!
//! **Invariant:** nothing here asks a clock, waits, or touches a file or a socket.

use std::time::Duration;

use wardround_journal::Log;
use wardround_rollout_plans::{
    engine::{Effect, Event, Refusal, State},
    model::{
        AuditEntry, DeviceId, DirectiveMark, Member, Patch, Report, Reporter, Rollout, RolloutId, SiteId, Timestamp,
    },
    resolve::{Former, amend},
};
use wardround_signing::{
    Digest, Document, Envelope, EnvelopeError, KeyId, PublicKey, SecretKey, TrustAnchor, document_bytes, read_document,
    tuf::Images,
};

pub use crate::core::Steady;
use crate::{
    api,
    core::{Applied, Change, CoreError, Facts, Judged, Record, judge, write_down},
    directive::{Directives, Wanted},
    images,
    registry::RegistryEvent,
    silence::{SilenceRule, silent_of},
};

/// Something to be made true: entries that are accepted together or not at all.
#[derive(Debug, Clone)]
pub struct Wish(Change);

impl From<Event> for Wish {
    fn from(event: Event) -> Self {
        Self(event.into())
    }
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The disk has no room.
    Full(String),
    /// One for each of its changes.
    Outcomes(Vec<Result<(), Refusal>>),
}

/// What a durable batch led to.
#[derive(Debug, Default)]
pub struct Committed {
    /// One for each command.
    pub answers: Vec<Answer>,
    /// In order.
    pub effects: Vec<Effect>,
    /// In order.
    pub audit: Vec<AuditEntry>,
}

/// Why a batch was not written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotWritten {
    /// There was surely no room: nothing has changed.
    Full(String),
    /// What is on disk is unknown: the process must end.
    Broken(String),
}

/// An alarm as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaisedAlarm {
    /// Machine word.
    pub code: String,
    /// One sentence.
    pub text: String,
    /// Rollout, if any.
    pub rollout: Option<RolloutId>,
    /// Device, if any.
    pub device: Option<DeviceId>,
}

/// The state, which is the fold of the journal.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Facts);

impl Ledger {
    /// The engine, for looking.
    #[must_use]
    pub fn engine(&self) -> &State {
        &self.0.engine
    }

    /// Number of the last record in here.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.0.seq()
    }

    /// Its time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.now()
    }

    /// Is there a batch to write, although nobody asks for anything?
    #[must_use]
    pub fn tick_is_due(&self, now: Timestamp) -> bool {
        self.0.engine.next_wake().is_some_and(|at| at <= now)
    }

    /// A batch of commands: judged, written down, synced, and only then applied. `low` says why the disk has no room for new
    /// work. As in production a tick goes along when one is due and there is room.
    ///
    /// # Errors
    /// [`NotWritten`].
    pub fn commit(
        &mut self,
        log: &dyn Log,
        batch: Vec<Vec<Wish>>,
        now: Timestamp,
        low: Option<&str>,
    ) -> Result<Committed, NotWritten> {
        let now = now.max(self.0.now());
        let mut events = Vec::new();
        let batch = batch.into_iter().map(|command| command.into_iter().map(|wish| wish.0).collect()).collect();
        let judged = judge(&self.0, batch, now, low, &mut events);
        if low.is_none() && self.tick_is_due(now) {
            events.push(Event::Tick.into());
        }
        let mut committed = Committed::default();
        let mut stepped = Vec::new();
        if !events.is_empty() {
            let urgent = low.is_some() || events.iter().any(Change::is_urgent);
            let record = Record::new(now, events);
            let bytes = record.encode().map_err(|e| NotWritten::Broken(e.to_string()))?;
            let seq = write_down(log, &bytes, urgent).map_err(|error| match error {
                CoreError::DiskFull(why) | CoreError::TooLarge(why) => NotWritten::Full(why),
                other => NotWritten::Broken(other.to_string()),
            })?;
            let applied: Applied = self.0.apply(seq, &record);
            (stepped, committed.effects, committed.audit) = (applied.outcomes, applied.effects, applied.audit);
        }
        let mut stepped = stepped.into_iter();
        committed.answers = judged
            .into_iter()
            .map(|judged| match judged {
                Judged::Full(why) => Answer::Full(why),
                Judged::Outcomes(outcomes) => Answer::Outcomes(
                    outcomes.into_iter().map(|o| o.unwrap_or_else(|| stepped.next().unwrap_or(Ok(())))).collect(),
                ),
            })
            .collect();
        Ok(committed)
    }

    /// Takes in a record that is on disk, as at a start.
    ///
    /// # Errors
    /// A sentence for what is no record.
    pub fn replay(&mut self, seq: u64, bytes: &[u8]) -> Result<(), String> {
        let record = Record::decode(bytes).map_err(|e| e.to_string())?;
        self.0.apply(seq, &record);
        Ok(())
    }

    /// A snapshot's bytes.
    ///
    /// # Errors
    /// A sentence when they can't be made.
    pub fn snapshot(&self) -> Result<Vec<u8>, String> {
        self.0.encode().map_err(|e| e.to_string())
    }

    /// From a snapshot's bytes.
    ///
    /// # Errors
    /// A sentence for what is no snapshot.
    pub fn restore(bytes: &[u8]) -> Result<Self, String> {
        Facts::decode(bytes).map(Self).map_err(|e| e.to_string())
    }

    /// What of these verified reports is new, in order, up to the first gap.
    #[must_use]
    pub fn news(&self, site: &SiteId, reports: Vec<(Report, KeyId, Envelope)>) -> Vec<Wish> {
        api::news(&self.0, site, reports).into_iter().map(Wish).collect()
    }

    /// Verifies one of a site's reports against the key of its present node.
    ///
    /// # Errors
    /// A sentence.
    pub fn read_report(&self, site: &SiteId, envelope: Envelope) -> Result<(Report, KeyId, Envelope), String> {
        let node = self.0.registry.node(site).ok_or_else(|| format!("site {site} has no node"))?;
        let report = api::read_report(site, node.report_key, &envelope).map_err(|unverified| unverified.why)?;
        Ok((report, node.report_key.id(), envelope))
    }

    /// The event of an order that came over the wire.
    ///
    /// # Errors
    /// A sentence for one that does not verify.
    pub fn read_order(&self, mut envelope: Envelope, people: &TrustAnchor, id: &RolloutId) -> Result<Wish, String> {
        let waiting = self.0.engine.waiting_order(id, &envelope);
        api::read_order(&mut envelope, waiting, people).map(Wish::from).map_err(|e| e.to_string())
    }

    /// What a publication of the image repository means for the documents that are held.
    #[must_use]
    pub fn recognise(&self, images: &Images) -> Vec<Wish> {
        images::all_changes(&self.0, images).into_iter().map(Wish).collect()
    }

    /// A document that both roles have signed for.
    #[must_use]
    pub fn document(&self, digest: &Digest) -> Option<Vec<u8>> {
        self.0.registry.document(digest).map(|text| text.as_bytes().to_vec())
    }

    /// The sites that count as silent now; `heard` says when each was heard last since `started`.
    #[must_use]
    pub fn silent(
        &self,
        check_in_every: Duration,
        heard: &dyn Fn(&SiteId) -> Option<Timestamp>,
        started: Timestamp,
        now: Timestamp,
    ) -> Vec<SiteId> {
        silent_of(&self.0, SilenceRule { check_in_every, silence_after: None }, heard, started, now)
    }

    /// The next version of a rollout: its plan resolved against today's estate.
    ///
    /// # Errors
    /// A sentence when there is none.
    pub fn amend(&self, id: &RolloutId, now: Timestamp) -> Result<(Rollout, Vec<Member>, Wish), String> {
        let record = self.0.registry.rollout(id).ok_or("there is no such rollout")?;
        let patch = self.0.registry.patch(&record.patch).ok_or("its patch is not registered")?;
        let progress = self.0.engine.progress(id).map_err(|e| e.to_string())?;
        let rollout: Rollout = read_document(record.document.text.as_bytes())?;
        let patch: Patch = read_document(patch.document.text.as_bytes())?;
        let reporters = self.0.registry.reporters();
        let former = Former {
            rollout: &rollout,
            digest: record.document.digest,
            members: &record.members,
            touched: &progress.touched,
            passed: &progress.passed,
            reporters: &reporters,
        };
        let next = amend(&former, &patch, self.0.engine.estate(), now).map_err(|e| e.to_string())?;
        let (text, digest) = text(&next.rollout)?;
        let (id, version) = (id.clone(), next.rollout.version);
        let drafted =
            RegistryEvent::AmendmentDrafted { id, version, document: text.into(), by: "simulation".to_owned() };
        let (rollout, members) = (Box::new(next.rollout.clone()), next.members.clone());
        let event = Event::RolloutAmended { rollout, digest, members, reporters };
        Ok((next.rollout, next.members, Wish(Change::from(drafted).and(event))))
    }

    /// The alarms from this number on, with what they are about; and the number of the next.
    #[must_use]
    pub fn alarms(&self, from: u64) -> (Vec<RaisedAlarm>, u64) {
        let raised = |alarm: &crate::registry::Alarm| RaisedAlarm {
            code: alarm.code.clone(),
            text: alarm.text.clone(),
            rollout: alarm.rollout.clone(),
            device: alarm.device.clone(),
        };
        (self.0.alarms.since(from).map(raised).collect(), self.0.alarms.next())
    }

    /// All present nodes.
    #[must_use]
    pub fn reporters(&self) -> Vec<Reporter> {
        self.0.registry.reporters()
    }
}

fn text<D: Document>(document: &D) -> Result<(String, Digest), String> {
    let bytes = document_bytes(document).map_err(|e| e.to_string())?;
    let digest = Digest::of(&bytes);
    Ok((String::from_utf8(bytes).map_err(|e| e.to_string())?, digest))
}

/// A node enrols with a token of this name, which is made for it: two changes, in this order.
#[must_use]
pub fn enrolled(site: &SiteId, report_key: PublicKey, token: &str, now: Timestamp) -> [Wish; 2] {
    let made = RegistryEvent::TokenMade {
        id: token.to_owned(),
        site: site.clone(),
        secret: Digest::of(token.as_bytes()),
        expires_at: Timestamp(now.0.saturating_add(3_600_000)),
        by: "simulation".to_owned(),
    };
    let (token, tls_key) = (token.to_owned(), Digest::of(&report_key.to_bytes()));
    let enrolled = RegistryEvent::NodeEnrolled { token, site: site.clone(), report_key, tls_key };
    let event = Event::NodeEnrolled { site: site.clone(), node_key: report_key.id() };
    [Wish(made.into()), Wish(Change::from(enrolled).and(event))]
}

/// A patch document is registered.
///
/// # Errors
/// A sentence for a document that can't be written.
pub fn patch_created(patch: &Patch) -> Result<Wish, String> {
    let (document, _) = text(patch)?;
    let (id, title) = (patch.id.clone(), patch.title.clone());
    Ok(Wish(RegistryEvent::PatchCreated { id, title, document: document.into(), by: "simulation".to_owned() }.into()))
}

/// A rollout document is drafted.
///
/// # Errors
/// As [`patch_created`].
pub fn rollout_drafted(rollout: &Rollout, members: Vec<Member>, reporters: Vec<Reporter>) -> Result<Wish, String> {
    let (document, digest) = text(rollout)?;
    let (id, patch) = (rollout.id.clone(), rollout.patch.clone());
    let drafted = RegistryEvent::RolloutDrafted { id, patch, document: document.into(), by: "simulation".to_owned() };
    let event = Event::RolloutCreated { rollout: Box::new(rollout.clone()), digest, members, reporters };
    Ok(Wish(Change::from(drafted).and(event)))
}

/// The record that a site is told something else.
#[must_use]
pub fn directive_issued(mark: DirectiveMark) -> Wish {
    Wish(RegistryEvent::DirectiveIssued { mark }.into())
}

/// What was signed last for each site. Forgotten in a crash.
pub struct Issuer(Directives);

impl Default for Issuer {
    fn default() -> Self {
        Self(Directives::new(0))
    }
}

impl Issuer {
    /// The site's present directive, signed, and what is to be logged before it leaves where it is news.
    ///
    /// # Errors
    /// What sealing says.
    pub fn issue(
        &self,
        ledger: &Ledger,
        key: &SecretKey,
        site: &SiteId,
        now: Timestamp,
    ) -> Result<(Envelope, Option<DirectiveMark>), EnvelopeError> {
        let issued = self.0.issue(Wanted::of(&ledger.0, site), key, site, now)?;
        Ok((issued.envelope, issued.news))
    }
}
