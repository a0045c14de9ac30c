//! The controller's machine: the production fold, judging, writing down and signing on a simulated disk.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;
use wardround_controller::pure::{Answer, Committed, Issuer, Ledger, NotWritten, Steady, Wish, directive_issued};
use wardround_rollout_plans::model::{Report, RolloutId, SiteId, Timestamp};
use wardround_signing::{Digest, Envelope, EnvelopeError};

use super::{
    device::{Ms, SECOND},
    disk::Disk,
    hospital::{Publication, online_key},
    node::{Clock, PowerCut},
    random::Random,
};

/// Records between two snapshots: fewer than in production, so that each run has some.
const SNAPSHOT_EVERY: u64 = 150;
/// How often nodes check in.
pub const CHECK_IN_EVERY: Ms = 30 * SECOND;

/// What a node's call is answered with.
#[derive(Debug, Clone)]
pub struct Answered {
    /// All reports up to this one are on disk.
    pub acked: u64,
    /// Signed.
    pub directive: Envelope,
    /// Version of the newest metadata.
    pub timestamp: u64,
}

/// What a call led to.
#[derive(Debug, Default)]
pub struct Called {
    /// The answer, or why there is none; absent when the power went.
    pub answer: Option<Result<Answered, String>>,
    /// What was committed on the way.
    pub committed: Vec<Committed>,
    /// The reports that came, verified.
    pub came: Vec<Report>,
}

/// The machine.
pub struct Tower {
    /// Its disk.
    pub disk: Disk,
    /// Absent while it has no power.
    pub ledger: Option<Ledger>,
    /// Its wall clock.
    pub clock: Clock,
    /// What is published; kept as files.
    pub published: Option<Publication>,
    /// Counts its starts.
    pub life: u32,
    /// Number of the newest wake-up that counts.
    pub wake: u64,
    issuer: Issuer,
    steady: Option<Steady>,
    /// The machine's steady clock: only differences count.
    base: Instant,
    started: Timestamp,
    heard: BTreeMap<SiteId, Timestamp>,
}

impl Default for Tower {
    fn default() -> Self {
        Self {
            disk: Disk::default(),
            ledger: None,
            clock: Clock::default(),
            published: None,
            life: 0,
            wake: 0,
            issuer: Issuer::default(),
            steady: None,
            base: Instant::now(),
            started: Timestamp(0),
            heard: BTreeMap::new(),
        }
    }
}

impl Tower {
    fn instant(&self, now: Ms, began: Ms) -> Instant {
        self.base + Duration::from_millis(u64::try_from(now - began).unwrap_or(0))
    }

    /// The engine's time, as the production writer reckons it.
    pub fn now(&mut self, now: Ms, began: Ms) -> Timestamp {
        let (wall, at) = (self.clock.at(now), self.instant(now, began));
        let floor = self.ledger.as_ref().map_or(Timestamp(0), Ledger::now);
        self.steady.as_mut().map_or(wall, |steady| steady.now(wall, at)).max(floor)
    }

    /// Reads the journal as the production start does.
    ///
    /// # Errors
    /// A sentence when the disk holds what can't be read: that is a violation.
    pub fn start(&mut self, now: Ms, began: Ms) -> Result<(), String> {
        let found = self.disk.open().map_err(|e| e.to_string())?;
        let mut ledger = match found.snapshot {
            Some((_, bytes)) => Ledger::restore(&bytes)?,
            None => Ledger::default(),
        };
        for (seq, bytes) in &found.records {
            ledger.replay(*seq, bytes)?;
        }
        let wall = self.clock.at(now);
        // Never before the newest record: what was counted stays counted.
        self.steady = Some(Steady::new(wall.max(ledger.now()), self.instant(now, began)));
        self.started = wall;
        self.ledger = Some(ledger);
        self.life += 1;
        Ok(())
    }

    /// The power goes.
    pub fn power_off(&mut self, random: &mut Random, torn: bool) {
        self.disk.crash(random, torn);
        self.ledger = None;
        self.steady = None;
        self.issuer = Issuer::default();
        self.heard.clear();
        self.life += 1;
        self.wake += 1;
    }

    /// A batch of commands, as the production writer takes it.
    ///
    /// # Errors
    /// [`PowerCut`] when the disk stopped in between, or there is no power.
    pub fn commit(&mut self, batch: Vec<Vec<Wish>>, at: Timestamp) -> Result<Committed, PowerCut> {
        let low = self.disk.is_full().then_some("the disk is nearly full");
        let commands = batch.len();
        let Some(ledger) = &mut self.ledger else { return Err(PowerCut) };
        let committed = match ledger.commit(&self.disk, batch, at, low) {
            Ok(committed) => committed,
            Err(NotWritten::Full(why)) => {
                Committed { answers: vec![Answer::Full(why); commands], ..Committed::default() }
            }
            Err(NotWritten::Broken(_)) => return Err(PowerCut),
        };
        if ledger.seq() >= self.disk.snapshot_at() + SNAPSHOT_EVERY && low.is_none() {
            let bytes = ledger.snapshot().map_err(|_| PowerCut)?;
            self.disk.put_snapshot(ledger.seq(), bytes).map_err(|_| PowerCut)?;
        }
        Ok(committed)
    }

    /// A node's call, as the production service takes it.
    pub fn check_in(&mut self, site: &SiteId, reports: Vec<Envelope>, at: Timestamp, wall: Timestamp) -> Called {
        let mut called = Called::default();
        called.answer = self.take_call(site, reports, at, wall, &mut called).ok();
        called
    }

    fn take_call(
        &mut self,
        site: &SiteId,
        reports: Vec<Envelope>,
        at: Timestamp,
        wall: Timestamp,
        called: &mut Called,
    ) -> Result<Result<Answered, String>, PowerCut> {
        let ledger = self.ledger.as_ref().ok_or(PowerCut)?;
        let read: Result<Vec<_>, String> =
            reports.into_iter().map(|envelope| ledger.read_report(site, envelope)).collect();
        let read = match read {
            Ok(read) => read,
            Err(why) => return Ok(Err(why)),
        };
        called.came = read.iter().map(|(report, ..)| report.clone()).collect();
        let news = ledger.news(site, read);
        if !news.is_empty() {
            let committed = self.commit(vec![news], at)?;
            let full = matches!(&committed.answers[..], [Answer::Full(_)]);
            called.committed.push(committed);
            if full {
                return Ok(Err("the disk is full".to_owned()));
            }
        }
        self.heard.insert(site.clone(), wall);
        let ledger = self.ledger.as_ref().ok_or(PowerCut)?;
        let (directive, mark) = self.issue(ledger, site, wall).map_err(|_| PowerCut)?;
        if let Some(mark) = mark {
            called.committed.push(self.commit(vec![vec![directive_issued(mark)]], at)?);
        }
        let ledger = self.ledger.as_ref().ok_or(PowerCut)?;
        let acked = ledger.engine().acked_seq(site);
        let timestamp = self.published.as_ref().map_or(0, |p| p.version);
        Ok(Ok(Answered { acked, directive, timestamp }))
    }

    fn issue(
        &self,
        ledger: &Ledger,
        site: &SiteId,
        wall: Timestamp,
    ) -> Result<(Envelope, Option<wardround_rollout_plans::model::DirectiveMark>), EnvelopeError> {
        self.issuer.issue(ledger, online_key(), site, wall)
    }

    /// The sites of which too long nothing was heard.
    #[must_use]
    pub fn silent(&self, wall: Timestamp) -> Vec<SiteId> {
        let every = Duration::from_millis(CHECK_IN_EVERY.unsigned_abs());
        let heard = |site: &SiteId| self.heard.get(site).copied();
        self.ledger.as_ref().map_or_else(Vec::new, |ledger| ledger.silent(every, &heard, self.started, wall))
    }

    /// A document that both roles have signed for.
    #[must_use]
    pub fn document(&self, digest: &Digest) -> Option<Vec<u8>> {
        self.ledger.as_ref()?.document(digest)
    }

    /// The wish that an order is, if it verifies.
    ///
    /// # Errors
    /// A sentence.
    pub fn read_order(&self, envelope: &Envelope, id: &RolloutId) -> Result<Wish, String> {
        let (Some(ledger), Some(published)) = (&self.ledger, &self.published) else {
            return Err("the controller does not answer".to_owned());
        };
        ledger.read_order(envelope.clone(), published.images.people(), id)
    }
}
