//! The writer task: batch, journal, sync, step, act, answer; in this order and by nobody else.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use wardround_journal::{Journal, JournalError, Log};
use wardround_rollout_plans::{
    engine::Event,
    model::{AuditEntry, Timestamp},
};

use super::{
    Change, Command, Core, CoreError, Entry, Facts, Hub, Outcomes, WAITING_MAX,
    audit::put_leaf,
    facts::Applied,
    judge::{Judged, judge},
    record::{Record, RecordError},
    recovery::{RecoveryError, replay},
    steady::Steady,
};
use crate::{clock, registry::RegistryEvent};

/// Most commands of one journal record.
const BATCH_MAX: usize = 100;
/// Most bytes of a batch with more than one command; one alone may have up to [`super::CHANGES_BYTES_MAX`].
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Least time between two ticks: an engine that asked for a tick again and again would fill the journal.
const TICK_PAUSE: Duration = Duration::from_millis(20);
/// Pause before a tick is tried again on a full disk, or after a write that failed.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// Longest sleep without looking at the wall clock: a person must hear within a minute that it was set.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// Numbers of the writer.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Records between two snapshots.
    pub(crate) snapshot_every: u64,
}

/// The task.
pub(crate) struct Writer {
    core: Core,
    changes: mpsc::Receiver<Command>,
    urgent: mpsc::Receiver<Command>,
    limits: Limits,
    snapshot_seq: u64,
    snapshot: Option<tokio::task::JoinHandle<()>>,
    tick_not_before: Instant,
    steady: Steady,
    /// Leaves that are derived but could not be written beside the journal yet; no snapshot before they are.
    audit_waiting: VecDeque<AuditEntry>,
    leaves: watch::Sender<u64>,
    /// A command that did not fit into the last batch.
    held: Option<Command>,
}

/// A command on its way: what was decided before the journal, and which of its changes stand in the record.
struct Pending {
    command: Command,
    outcomes: Vec<Option<Result<(), wardround_rollout_plans::engine::Refusal>>>,
}

impl Writer {
    /// Recovers the state: the latest snapshot and all records after it.
    pub(crate) fn recover(journal: Arc<Journal>, limits: Limits) -> Result<(Self, Core), RecoveryError> {
        let mut facts = Facts::default();
        if let Some((seq, bytes)) = journal.latest_snapshot()? {
            facts = Facts::decode(&bytes).map_err(|why| RecoveryError::Content { what: "snapshot", seq, why })?;
        }
        let snapshot_seq = facts.seq();
        replay(&journal, &mut facts)?;
        tracing::info!(seq = facts.seq(), snapshot = snapshot_seq, "journal replayed");
        // Never before the newest record: what was counted stays counted.
        let steady = Steady::new(clock::now().max(facts.now()), Instant::now());
        let (sender, changes) = mpsc::channel(WAITING_MAX);
        let (urgent_sender, urgent) = mpsc::channel(WAITING_MAX);
        let (leaves, put) = watch::channel(facts.audit_len());
        let core = Core {
            facts: Arc::new(RwLock::new(facts)),
            hub: Arc::new(Hub::default()),
            peers: Arc::default(),
            journal,
            changes: sender,
            urgent: urgent_sender,
            leaves: put,
        };
        let writer = Self {
            core: core.clone(),
            changes,
            urgent,
            limits,
            snapshot_seq,
            snapshot: None,
            tick_not_before: Instant::now(),
            steady,
            audit_waiting: VecDeque::new(),
            leaves,
            held: None,
        };
        Ok((writer, core))
    }

    /// Runs until `stop` and then until every waiting command is answered.
    ///
    /// # Errors
    /// [`CoreError::Broken`] when what is on disk is no longer known: the process must stop.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), CoreError> {
        loop {
            if let Some(command) = self.held.take() {
                self.commit(command).await?;
            }
            let tick = self.tick_after();
            tokio::select! {
                biased;
                Some(command) = self.urgent.recv() => self.commit(command).await?,
                () = stop.cancelled() => break,
                Some(command) = self.changes.recv() => self.commit(command).await?,
                () = tokio::time::sleep_until(tick) => self.tick().await?,
            }
        }
        self.urgent.close();
        self.changes.close();
        loop {
            let Some(command) = (match self.held.take() {
                Some(command) => Some(command),
                None => match self.urgent.recv().await {
                    Some(command) => Some(command),
                    None => self.changes.recv().await,
                },
            }) else {
                break;
            };
            self.commit(command).await?;
        }
        if let Some(running) = self.snapshot.take() {
            let _ = running.await;
        }
        let journal = Arc::clone(&self.core.journal);
        blocking(move || journal.sync().map_err(|e| CoreError::Broken(e.to_string()))).await
    }

    fn now(&mut self) -> Timestamp {
        self.steady.now(clock::now(), Instant::now()).max(self.core.read(Facts::now))
    }

    fn tick_after(&mut self) -> Instant {
        let now = self.now();
        let wait = match self.core.read(|f| f.engine.next_wake()) {
            Some(at) => Duration::from_millis(at.since(now).0).min(SLEEP_MAX),
            None => SLEEP_MAX,
        };
        (Instant::now() + wait).max(self.tick_not_before)
    }

    fn tick_is_due(&self, now: Timestamp) -> bool {
        Instant::now() >= self.tick_not_before && self.core.read(|f| f.engine.next_wake()).is_some_and(|at| at <= now)
    }

    async fn tick(&mut self) -> Result<(), CoreError> {
        self.commit_batch(Vec::new()).await
    }

    /// Takes what else is waiting along. There is no pause for more: while one batch is being synced, the next one
    /// gathers by itself, so a lone order is never held back.
    async fn commit(&mut self, first: Command) -> Result<(), CoreError> {
        let mut bytes = first.bytes;
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX {
            match self.urgent.try_recv().or_else(|_| self.changes.try_recv()) {
                Ok(command) if bytes + command.bytes > BATCH_BYTES_MAX => {
                    self.held = Some(command);
                    break;
                }
                Ok(command) => {
                    bytes += command.bytes;
                    batch.push(command);
                }
                Err(_) => break,
            }
        }
        self.commit_batch(batch).await
    }

    async fn commit_batch(&mut self, batch: Vec<Command>) -> Result<(), CoreError> {
        let now = self.now();
        let low = self.low_disk();
        let mut events: Vec<Change> = Vec::new();
        let mut batch = self.judge(batch, now, low.as_deref(), &mut events);
        // A tick may begin a wave, which a full disk must not.
        if low.is_some() {
            self.tick_not_before = Instant::now() + FULL_PAUSE;
        } else if self.tick_is_due(now) {
            events.push(Change::from(Event::Tick));
            self.tick_not_before = Instant::now() + TICK_PAUSE;
        }
        let warning = self.steady.warning().filter(|_| low.is_none());
        let warned = warning.is_some();
        events.extend(warning.map(|text| {
            tracing::error!(text, "alarm");
            Change::from(RegistryEvent::Alarm { code: "clock_set".to_owned(), text, site: None })
        }));
        if events.is_empty() {
            self.steady.settled();
            batch.drain(..).for_each(|pending| pending.answer(&mut std::iter::empty()));
            return Ok(());
        }
        // The disk may have filled since it was asked: a batch with a halt in it may not fail for that.
        let urgent = low.is_some() || events.iter().any(Change::is_urgent);
        let record = Record::new(now, events);
        let written = match record.encode() {
            Ok(bytes) => self.write(bytes, urgent).await,
            Err(error) => Err(CoreError::Broken(error.to_string())),
        };
        match written {
            Ok(seq) => {
                if warned {
                    self.steady.told();
                }
                let applied = self.apply(seq, &record);
                self.core.hub.perform(&applied.effects);
                self.end_calls(&record);
                self.put_audit(applied.audit);
                let mut outcomes = applied.outcomes.into_iter();
                batch.into_iter().for_each(|pending| pending.answer(&mut outcomes));
                self.snapshot_if_due();
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "a batch was not written");
                self.tick_not_before = Instant::now() + FULL_PAUSE;
                for pending in batch {
                    let _ = pending.command.reply.send(Err(error.clone()));
                }
                if matches!(error, CoreError::DiskFull(_) | CoreError::TooLarge(_)) { Ok(()) } else { Err(error) }
            }
        }
    }

    /// [`judge`]; commands for which there is no room are answered at once.
    fn judge(&self, batch: Vec<Command>, now: Timestamp, low: Option<&str>, events: &mut Vec<Change>) -> Vec<Pending> {
        let take = |mut command: Command| (std::mem::take(&mut command.changes), command);
        let (changes, commands): (Vec<Vec<Change>>, Vec<Command>) = batch.into_iter().map(take).unzip();
        let judged = self.core.read(|facts| judge(facts, changes, now, low, events));
        let mut pending = Vec::new();
        for (command, judged) in commands.into_iter().zip(judged) {
            match judged {
                Judged::Full(why) => {
                    let _ = command.reply.send(Err(CoreError::DiskFull(why)));
                }
                Judged::Outcomes(outcomes) => pending.push(Pending { command, outcomes }),
            }
        }
        pending
    }

    /// Why there is no room for new work. A disk that can't be asked counts as full.
    fn low_disk(&self) -> Option<String> {
        self.core.journal.room().err().map(|error| error.to_string())
    }

    /// Appends and syncs. A record that is refused for want of space is surely not there; any other failure leaves it
    /// unknown what is on disk.
    async fn write(&self, bytes: Vec<u8>, urgent: bool) -> Result<u64, CoreError> {
        let journal = Arc::clone(&self.core.journal);
        blocking(move || write_down(&*journal, &bytes, urgent)).await
    }

    fn apply(&self, seq: u64, record: &Record) -> Applied {
        self.core.facts.write().unwrap_or_else(PoisonError::into_inner).apply(seq, record)
    }

    /// Ends the calls under way of those who may no longer talk.
    fn end_calls(&self, record: &Record) {
        for entry in record.events.iter().flat_map(|change| &change.0) {
            let Entry::Registry(event) = entry else { continue };
            let peers = &self.core.peers;
            match &**event {
                RegistryEvent::NodeEnrolled { site, .. } | RegistryEvent::NodeRevoked { site, .. } => {
                    let present = self.core.read(|facts| facts.registry.node(site).map(|node| node.tls_key));
                    peers.end_at_site(site, |peer| present == Some(peer.tls_key));
                }
                RegistryEvent::OperatorRevoked { .. } => {
                    self.core.read(|facts| peers.end_of_operators(|peer| facts.registry.revoked(peer).is_none()));
                }
                _ => {}
            }
        }
    }

    /// Leaves are derived from records that are on disk, so one that can't be written now is written later.
    fn put_audit(&mut self, leaves: Vec<AuditEntry>) {
        self.audit_waiting.extend(leaves);
        while let Some(leaf) = self.audit_waiting.front() {
            if let Err(error) = put_leaf(&self.core.journal, leaf) {
                tracing::warn!(%error, index = leaf.index, "an audit leaf waits to be written");
                return;
            }
            self.leaves.send_replace(leaf.index + 1);
            self.audit_waiting.pop_front();
        }
    }

    fn snapshot_if_due(&mut self) {
        let seq = self.core.read(Facts::seq);
        let running = self.snapshot.as_ref().is_some_and(|task| !task.is_finished());
        if seq - self.snapshot_seq < self.limits.snapshot_every || running || !self.audit_waiting.is_empty() {
            return;
        }
        self.snapshot_seq = seq;
        // A copy, so that writing it out blocks neither readers nor the next batch.
        let facts = self.core.read(Facts::clone);
        let journal = Arc::clone(&self.core.journal);
        self.snapshot = Some(tokio::task::spawn_blocking(move || {
            let done = facts.encode().map_err(|e| e.to_string()).and_then(|bytes| {
                // The audit leaves up to here must be on disk before the records that they came from may go.
                journal.sync().map_err(|e| e.to_string())?;
                journal.put_snapshot(seq, &bytes).map_err(|e| e.to_string())
            });
            match done {
                Ok(()) => tracing::info!(seq, "snapshot written"),
                Err(error) => tracing::warn!(seq, error, "no snapshot; the next one will be tried later"),
            }
        }));
    }
}

impl Pending {
    /// Answers with what was judged before and, for the rest, the next of `stepped`.
    fn answer(self, stepped: &mut dyn Iterator<Item = Result<(), wardround_rollout_plans::engine::Refusal>>) {
        let outcomes: Outcomes = self
            .outcomes
            .into_iter()
            .map(|judged| judged.unwrap_or_else(|| stepped.next().unwrap_or(Ok(()))))
            .collect();
        let _ = self.command.reply.send(Ok(outcomes));
    }
}

/// A record is written down when it is synced: nothing may be applied, answered or sent before.
pub(crate) fn write_down(log: &dyn Log, bytes: &[u8], urgent: bool) -> Result<u64, CoreError> {
    let appended = if urgent { log.append_urgent(bytes) } else { log.append(bytes) };
    let seq = appended.map_err(|error| match error {
        JournalError::Full { .. } => CoreError::DiskFull(error.to_string()),
        JournalError::TooLarge { .. } => CoreError::TooLarge(error.to_string()),
        _ => CoreError::Broken(error.to_string()),
    })?;
    log.sync().map_err(|error| CoreError::Broken(error.to_string()))?;
    Ok(seq)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CoreError> + Send + 'static,
) -> Result<T, CoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(CoreError::Broken(error.to_string())),
    }
}

impl From<RecordError> for CoreError {
    fn from(error: RecordError) -> Self {
        Self::Broken(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use wardround_journal::Options;
    use wardround_rollout_plans::model::SiteId;

    use super::*;
    use crate::registry::RegistryEvent;

    fn writer(dir: &std::path::Path, free_bytes_min: u64) -> (Writer, Core) {
        let options = Options { free_bytes_min, ballast_bytes: 0, ..Options::default() };
        let journal = Arc::new(Journal::open(dir, &options).unwrap());
        Writer::recover(journal, Limits { snapshot_every: 100 }).unwrap()
    }

    fn alarm() -> Change {
        RegistryEvent::Alarm { code: "test".to_owned(), text: "x".to_owned(), site: None }.into()
    }

    fn silent() -> Change {
        Event::SiteSilent { site: SiteId::new("rx1").unwrap() }.into()
    }

    #[tokio::test]
    async fn on_a_low_disk_a_tick_waits_instead_of_being_tried_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, _core) = writer(dir.path(), u64::MAX);
        let before = Instant::now();
        writer.tick().await.unwrap();
        assert!(writer.tick_not_before >= before + FULL_PAUSE);
        assert!(writer.tick_after() >= before + FULL_PAUSE);
    }

    #[tokio::test]
    async fn on_a_low_disk_an_urgent_change_takes_no_other_along() {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, core) = writer(dir.path(), u64::MAX);
        let (reply, answer) = oneshot::channel();
        writer.commit(Command { changes: vec![silent(), alarm()], bytes: 100, reply }).await.unwrap();
        let error = answer.await.unwrap().unwrap_err();
        assert!(matches!(&error, CoreError::DiskFull(why) if why.contains("halt")), "{error}");
        assert_eq!(core.read(Facts::seq), 0);
        let (reply, answer) = oneshot::channel();
        writer.commit(Command { changes: vec![silent()], bytes: 100, reply }).await.unwrap();
        assert!(answer.await.unwrap().unwrap()[0].is_err(), "judged: there is no such site");
    }

    #[tokio::test]
    async fn a_clock_that_is_set_forward_moves_no_time_and_a_person_hears_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, core) = writer(dir.path(), 0);
        let hour = wardround_rollout_plans::model::DurationMs::from_secs(3_600);
        // As if the wall clock had stood an hour earlier when this process began.
        let began = Timestamp(clock::now().0 - 3_600_000);
        writer.steady = Steady::new(began, Instant::now());
        for _ in 0..3 {
            writer.tick().await.unwrap();
        }
        let alarms: Vec<String> = core.read(|f| f.alarms.newest().map(|a| a.code.clone()).collect());
        assert_eq!(alarms, ["clock_set"], "once");
        assert!(core.read(Facts::now) < began.after(hour), "the engine's time did not jump");
    }

    #[tokio::test]
    async fn what_a_newer_program_wrote_is_told_from_damage() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { free_bytes_min: 0, ballast_bytes: 0, ..Options::default() };
        let journal = Arc::new(Journal::open(dir.path(), &options).unwrap());
        journal.append(br#"{"v":99}"#).unwrap();
        let error = Writer::recover(journal, Limits { snapshot_every: 100 }).err().unwrap();
        assert!(matches!(error, RecoveryError::Content { seq: 1, why: RecordError::Version(99), .. }), "{error}");
    }
}
