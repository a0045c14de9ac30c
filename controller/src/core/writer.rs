//! The writer task: batch, journal, sync, step, act, answer; in this order and by nobody else.

use std::{
    collections::{HashSet, VecDeque},
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;
use wardround_journal::{Journal, JournalError};
use wardround_rollout_plans::{engine::Event, model::Timestamp};

use super::{
    Change, Command, Core, CoreError, Facts, Hub, Outcomes, Subject, WAITING_MAX,
    audit::AuditLeaf,
    facts::Applied,
    record::{Record, RecordError},
};
use crate::clock;

/// Most commands of one journal record.
const BATCH_MAX: usize = 100;
/// Most bytes of a batch with more than one command; one alone may have up to [`super::CHANGES_BYTES_MAX`].
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Least time between two ticks: an engine that asked for a tick again and again would fill the journal.
const TICK_PAUSE: Duration = Duration::from_millis(20);
/// Pause before a tick is tried again on a full disk.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// Longest sleep without looking at the clock: the wall clock may be set.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// Numbers of the writer.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Below this much free space only what makes things safer is taken, bytes; the same number as the journal's floor.
    pub(crate) free_bytes_min: u64,
    /// Records between two snapshots.
    pub(crate) snapshot_every: u64,
}

/// The task.
pub(crate) struct Writer {
    core: Core,
    changes: mpsc::Receiver<Command>,
    urgent: mpsc::Receiver<Command>,
    limits: Limits,
    directory: PathBuf,
    snapshot_seq: u64,
    snapshot: Option<tokio::task::JoinHandle<()>>,
    tick_not_before: Instant,
    /// Leaves that are derived but could not be written beside the journal yet; no snapshot before they are.
    audit_waiting: VecDeque<AuditLeaf>,
    /// A command that did not fit into the last batch.
    held: Option<Command>,
}

/// A command on its way: what was decided before the journal, and which of its changes stand in the record.
struct Pending {
    command: Command,
    outcomes: Vec<Option<Result<(), wardround_rollout_plans::engine::Refusal>>>,
}

impl Writer {
    /// Recovers the state from the journal in `directory`: the latest snapshot and all records after it.
    pub(crate) fn recover(journal: Arc<Journal>, directory: PathBuf, limits: Limits) -> Result<(Self, Core), String> {
        let mut facts = Facts::default();
        if let Some((seq, bytes)) = journal.latest_snapshot().map_err(|e| e.to_string())? {
            facts = Facts::decode(&bytes).map_err(|e| format!("snapshot {seq}: {e}"))?;
        }
        let snapshot_seq = facts.seq();
        for item in journal.replay(facts.seq()) {
            let (seq, bytes) = item.map_err(|e| e.to_string())?;
            let record = Record::decode(&bytes).map_err(|e| format!("record {seq}: {e}"))?;
            let applied = facts.apply(seq, &record);
            applied.audit.iter().try_for_each(|leaf| leaf.put(&journal)).map_err(|e| e.to_string())?;
        }
        tracing::info!(seq = facts.seq(), snapshot = snapshot_seq, "journal replayed");
        let (sender, changes) = mpsc::channel(WAITING_MAX);
        let (urgent_sender, urgent) = mpsc::channel(WAITING_MAX);
        let core = Core {
            facts: Arc::new(RwLock::new(facts)),
            hub: Arc::new(Hub::default()),
            journal,
            changes: sender,
            urgent: urgent_sender,
        };
        let writer = Self {
            core: core.clone(),
            changes,
            urgent,
            limits,
            directory,
            snapshot_seq,
            snapshot: None,
            tick_not_before: Instant::now(),
            audit_waiting: VecDeque::new(),
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

    fn tick_after(&self) -> Instant {
        let wait = match self.core.read(|f| f.engine.next_wake()) {
            Some(at) => Duration::from_millis(at.since(clock::now()).0).min(SLEEP_MAX),
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
        let now = clock::now().max(self.core.read(Facts::now));
        let low = self.is_disk_low();
        let mut events: Vec<Change> = Vec::new();
        let mut batch = self.judge(batch, now, low, &mut events);
        // A tick may offer new work, which a full disk must not begin.
        if low.is_none() && self.tick_is_due(now) {
            events.push(Change::from(Event::Tick));
            self.tick_not_before = Instant::now() + TICK_PAUSE;
        }
        if events.is_empty() {
            batch.drain(..).for_each(|pending| pending.answer(&mut std::iter::empty()));
            return Ok(());
        }
        let record = Record::new(now, events);
        let written = match record.encode() {
            Ok(bytes) => self.write(bytes, low.is_some()).await,
            Err(error) => Err(CoreError::Broken(error.to_string())),
        };
        match written {
            Ok(seq) => {
                let applied = self.apply(seq, &record);
                self.core.hub.perform(&applied.effects);
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

    /// Judges what can be judged before the journal; the rest goes into `events` and is judged by its step.
    fn judge(&self, batch: Vec<Command>, now: Timestamp, low: Option<u64>, events: &mut Vec<Change>) -> Vec<Pending> {
        self.core.read(|facts| {
            let mut touched: HashSet<Subject> = HashSet::new();
            let mut judged = Vec::new();
            for mut command in batch {
                if let Some(free) = low.filter(|_| !command.changes.iter().any(Change::is_urgent)) {
                    let _ = command.reply.send(Err(CoreError::DiskFull(format!(
                        "{free} bytes are free below {}, {} are needed; halt, pause and roll back still work",
                        self.directory.display(),
                        self.limits.free_bytes_min
                    ))));
                    continue;
                }
                let mut outcomes = Vec::new();
                for change in std::mem::take(&mut command.changes) {
                    let subjects: Vec<Subject> = change.0.iter().map(super::Entry::subject).collect();
                    // An entry that depends on another of this batch can't be judged yet.
                    let depends = subjects.iter().any(|s| *s != Subject::None && touched.contains(s));
                    let refusal = if depends { None } else { facts.check(&change, now).err() };
                    match refusal {
                        Some(refusal) => outcomes.push(Some(Err(refusal))),
                        None => {
                            touched.extend(subjects);
                            events.push(change);
                            outcomes.push(None);
                        }
                    }
                }
                judged.push(Pending { command, outcomes });
            }
            judged
        })
    }

    fn is_disk_low(&self) -> Option<u64> {
        let stat = nix::sys::statvfs::statvfs(&self.directory).ok()?;
        let free = stat.blocks_available().saturating_mul(stat.fragment_size());
        (free < self.limits.free_bytes_min).then_some(free)
    }

    /// Appends and syncs. A record that is refused for want of space is surely not there; any other failure leaves it
    /// unknown what is on disk.
    async fn write(&self, bytes: Vec<u8>, urgent: bool) -> Result<u64, CoreError> {
        let journal = Arc::clone(&self.core.journal);
        blocking(move || {
            let appended = if urgent { journal.append_urgent(&bytes) } else { journal.append(&bytes) };
            let seq = appended.map_err(|error| match error {
                JournalError::Full { .. } => CoreError::DiskFull(error.to_string()),
                JournalError::TooLarge { .. } => CoreError::TooLarge(error.to_string()),
                _ => CoreError::Broken(error.to_string()),
            })?;
            journal.sync().map_err(|error| CoreError::Broken(error.to_string()))?;
            Ok(seq)
        })
        .await
    }

    fn apply(&self, seq: u64, record: &Record) -> Applied {
        self.core.facts.write().unwrap_or_else(PoisonError::into_inner).apply(seq, record)
    }

    /// Leaves are derived from records that are on disk, so one that can't be written now is written later.
    fn put_audit(&mut self, leaves: Vec<AuditLeaf>) {
        self.audit_waiting.extend(leaves);
        while let Some(leaf) = self.audit_waiting.front() {
            if let Err(error) = leaf.put(&self.core.journal) {
                tracing::warn!(%error, index = leaf.index, "an audit leaf waits to be written");
                return;
            }
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
