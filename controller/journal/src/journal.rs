//! Opening, appending, syncing.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    JournalError, Replay, disk,
    layout::{self, META, META_FORMAT, RECORDS},
    replay::{Fault, Records},
    snapshot::Snapshots,
};

/// Opening sled on a full disk can brick it, so it is not tried below this, bytes. Its largest single write is a segment
/// (512 KiB); the index file that it writes while opening is some 20 bytes a page.
const OPEN_FREE_BYTES_MIN: u64 = 8 * 1024 * 1024;
/// How long the threads of a database that was just closed may take to let go of it: they do within milliseconds.
const SLED_LOCK_PATIENCE: Duration = Duration::from_secs(3);
const SLED_LOCK_PAUSE: Duration = Duration::from_millis(5);
/// Most entries that one call of [`Journal::side`] returns.
const SIDE_ENTRIES_MAX: usize = 10_000;

/// Key and value of side data.
pub type SideEntry = (Vec<u8>, Vec<u8>);

/// How to open a journal.
#[derive(Debug, Clone)]
pub struct Options {
    /// [`Journal::append`] refuses below this much free disk, bytes. What was begun can still be finished:
    /// [`Journal::append_urgent`] and [`Journal::put_side`] go on into this reserve.
    pub free_bytes_min: u64,
    /// Memory for sled's page cache, bytes.
    pub cache_bytes: u64,
    /// Size of the file `ballast`, which a person can remove when the disk is full, bytes; 0 for none.
    pub ballast_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self { free_bytes_min: 256 * MIB, cache_bytes: 128 * MIB, ballast_bytes: 64 * MIB }
    }
}

/// An open journal. All methods may be called from several threads; records get their numbers in the order of the calls.
pub struct Journal {
    dir: PathBuf,
    options: Options,
    db: sled::Db,
    records: sled::Tree,
    snapshots: Mutex<Snapshots>,
    /// Our own handle of sled's file: the only way to sync it.
    db_file: File,
    /// Held by whoever appends.
    appending: Mutex<()>,
    last: AtomicU64,
    /// Counts writes of any kind; what [`Journal::sync`] has covered is in `synced`.
    written: AtomicU64,
    synced: Mutex<u64>,
    stopped: OnceLock<String>,
    /// Held until the journal is dropped; declared last, so that it is dropped after the database.
    _lock: File,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("dir", &self.dir).field("last_seq", &self.last_seq()).finish_non_exhaustive()
    }
}

/// Where records are added: what a caller needs for "first written down, then acted on", on a real disk or on a
/// simulated one.
pub trait Log {
    /// As [`Journal::append`].
    ///
    /// # Errors
    /// As there.
    fn append(&self, record: &[u8]) -> Result<u64, JournalError>;
    /// As [`Journal::append_urgent`].
    ///
    /// # Errors
    /// As there.
    fn append_urgent(&self, record: &[u8]) -> Result<u64, JournalError>;
    /// As [`Journal::sync`].
    ///
    /// # Errors
    /// As there.
    fn sync(&self) -> Result<(), JournalError>;
}

impl Log for Journal {
    fn append(&self, record: &[u8]) -> Result<u64, JournalError> {
        Self::append(self, record)
    }

    fn append_urgent(&self, record: &[u8]) -> Result<u64, JournalError> {
        Self::append_urgent(self, record)
    }

    fn sync(&self) -> Result<(), JournalError> {
        Self::sync(self)
    }
}

impl Journal {
    /// Opens or makes the journal in `dir` and checks it: format, every checksum, no gap between records, nothing missing
    /// after the newest snapshot. A record whose last parts are missing at the very end was never acknowledged: it is removed.
    ///
    /// # Errors
    /// [`JournalError::Locked`] when another process has it open, [`JournalError::Full`] when there is too little room
    /// even to open it, [`JournalError::Format`], [`JournalError::Damaged`], or what the system or sled says.
    pub fn open(dir: &Path, options: &Options) -> Result<Self, JournalError> {
        let lock = prepare(dir)?;
        let free = disk::free_bytes(dir).map_err(JournalError::io("ask for the free disk space"))?;
        if free < OPEN_FREE_BYTES_MIN {
            return Err(JournalError::Full { dir: dir.to_owned(), free, floor: OPEN_FREE_BYTES_MIN });
        }
        remove_unfinished_snaps(dir).map_err(JournalError::io("remove unfinished index files"))?;
        let snapshots = Snapshots::open(dir).map_err(JournalError::io("open the snapshots"))?;
        let db = open_sled(dir, options)?;
        let records = db.open_tree(RECORDS).map_err(JournalError::store("open the journal"))?;
        let db_file = File::open(dir.join("db")).map_err(JournalError::io("open the journal's file"))?;
        let journal = Self {
            dir: dir.to_owned(),
            options: options.clone(),
            db,
            records,
            snapshots: Mutex::new(snapshots),
            db_file,
            appending: Mutex::new(()),
            last: AtomicU64::new(0),
            written: AtomicU64::new(1),
            synced: Mutex::new(0),
            stopped: OnceLock::new(),
            _lock: lock,
        };
        journal.check_format()?;
        journal.finish_forgetting()?;
        let last = journal.check_records()?;
        journal.last.store(last, Ordering::Release);
        journal.sync()?;
        // sled does not sync its settings, and new files stand in the directory only once that is synced.
        File::open(dir.join("conf"))
            .and_then(|f| f.sync_all())
            .and_then(|()| disk::sync_dir(dir))
            .map_err(JournalError::io("sync the journal's directory"))?;
        journal.keep_ballast(free);
        Ok(journal)
    }

    /// Adds a record and gives its number. **It does not count until [`Journal::sync`] has returned.**
    ///
    /// # Errors
    /// [`JournalError::Full`] below the floor of free disk, [`JournalError::TooLarge`], [`JournalError::Stopped`] after an
    /// earlier failure, or what sled says; then nothing was added.
    pub fn append(&self, record: &[u8]) -> Result<u64, JournalError> {
        self.room()?;
        self.append_urgent(record)
    }

    /// Adds a record even below the floor of free disk: for what makes things safer, such as a halt or the report of what
    /// was already done. Otherwise as [`Journal::append`].
    ///
    /// # Errors
    /// As [`Journal::append`], without the floor.
    pub fn append_urgent(&self, record: &[u8]) -> Result<u64, JournalError> {
        self.usable()?;
        if record.len() > layout::RECORD_BYTES_MAX {
            return Err(too_large("a record", record.len(), layout::RECORD_BYTES_MAX));
        }
        let _turn = locked(&self.appending);
        let seq = self.last_seq() + 1;
        for (part, value) in layout::parts(seq, record) {
            if let Err(error) = self.records.insert(layout::key(seq, part), value) {
                self.take_back(seq, part);
                return Err(self.full_or(JournalError::store("append to the journal")(error)));
            }
        }
        self.last.store(seq, Ordering::Release);
        self.written.fetch_add(1, Ordering::AcqRel);
        Ok(seq)
    }

    /// Makes all that was written before this call survive a power cut. Calls that run at the same time share the work.
    ///
    /// # Errors
    /// What sled or the system says. The journal then takes no more records until it is opened again.
    pub fn sync(&self) -> Result<(), JournalError> {
        self.usable()?;
        let target = self.written.load(Ordering::Acquire);
        let mut synced = locked(&self.synced);
        if *synced >= target {
            return Ok(());
        }
        let covered = self.written.load(Ordering::Acquire);
        let done = self
            .db
            .flush()
            .map_err(JournalError::store("flush the journal"))
            .and_then(|_| self.db_file.sync_data().map_err(JournalError::io("sync the journal's file")));
        if let Err(error) = done {
            self.stop(&error);
            return Err(self.full_or(error));
        }
        *synced = covered;
        Ok(())
    }

    /// sled's `flush()` without the sync behind it, so that the power-cut test can show that it would catch its absence.
    ///
    /// # Errors
    /// What sled says.
    #[doc(hidden)]
    pub fn flush_without_sync_for_tests(&self) -> Result<(), JournalError> {
        self.db.flush().map(drop).map_err(JournalError::store("flush the journal"))
    }

    /// Is there room for new work?
    ///
    /// # Errors
    /// [`JournalError::Full`] below the floor of free disk, or that the system can't say.
    pub fn room(&self) -> Result<(), JournalError> {
        let free = disk::free_bytes(&self.dir).map_err(JournalError::io("ask for the free disk space"))?;
        let floor = self.options.free_bytes_min;
        if free < floor { Err(JournalError::Full { dir: self.dir.clone(), free, floor }) } else { Ok(()) }
    }

    /// The number of the newest record; 0 when there never was one.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    /// The records after number `after` that are there now, in order. One that should be there and is not is an error.
    pub fn replay(&self, after: u64) -> Replay {
        Replay::new(&self.records, after, self.last_seq())
    }

    /// Stores the state after record `seq`, durably, and forgets the records that the snapshot before covers: two snapshots
    /// are kept, and all records after the older one. Takes as long as the disk needs for `bytes`; appending goes on meanwhile.
    ///
    /// # Errors
    /// [`JournalError::Misuse`] for a record that is not there yet, [`JournalError::TooLarge`], [`JournalError::Full`], or
    /// what the system says; then the older snapshots and records are still there.
    pub fn put_snapshot(&self, seq: u64, bytes: &[u8]) -> Result<(), JournalError> {
        if bytes.len() as u64 > layout::SNAPSHOT_BYTES_MAX {
            return Err(JournalError::TooLarge {
                what: "a snapshot",
                bytes: bytes.len() as u64,
                max: layout::SNAPSHOT_BYTES_MAX,
            });
        }
        if seq > self.last_seq() {
            return Err(JournalError::Misuse(format!(
                "a snapshot can't cover record {seq}: the newest is {}",
                self.last_seq()
            )));
        }
        let free = disk::free_bytes(&self.dir).map_err(JournalError::io("ask for the free disk space"))?;
        let floor = self.options.free_bytes_min.saturating_add(bytes.len() as u64);
        if free < floor {
            return Err(JournalError::Full { dir: self.dir.clone(), free, floor });
        }
        // A snapshot must never know more than the journal does after a power cut.
        self.sync()?;
        let snapshots = locked(&self.snapshots);
        snapshots.write(seq, bytes).map_err(JournalError::io("write a snapshot"))?;
        if let Some((previous, _)) = snapshots.newest_intact(Some(seq))? {
            snapshots.remove_before(previous).map_err(JournalError::io("remove old snapshots"))?;
            self.forget_through(previous)?;
        }
        Ok(())
    }

    /// The newest intact snapshot and the number of the last record that it covers. A damaged one falls back to the one before.
    ///
    /// # Errors
    /// What the system says. A snapshot that is damaged is logged, not returned.
    pub fn latest_snapshot(&self) -> Result<Option<(u64, Vec<u8>)>, JournalError> {
        locked(&self.snapshots).newest_intact(None)
    }

    /// Writes derived data, such as an index, beside the records. Durable at the next [`Journal::sync`].
    ///
    /// # Errors
    /// [`JournalError::Misuse`] for the tree's name, [`JournalError::TooLarge`], [`JournalError::Stopped`], or what sled says.
    pub fn put_side(&self, tree: &str, key: &[u8], value: &[u8]) -> Result<(), JournalError> {
        self.usable()?;
        if key.len() > layout::SIDE_KEY_BYTES_MAX {
            return Err(too_large("a side key", key.len(), layout::SIDE_KEY_BYTES_MAX));
        }
        if value.len() > layout::SIDE_VALUE_BYTES_MAX {
            return Err(too_large("a side value", value.len(), layout::SIDE_VALUE_BYTES_MAX));
        }
        self.side_tree(tree)?
            .insert(key, value)
            .map_err(|e| self.full_or(JournalError::store("write side data")(e)))?;
        self.written.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Up to `limit` (at most 10,000) entries of side data whose keys are `from` or greater, in the order of their keys.
    ///
    /// # Errors
    /// [`JournalError::Misuse`] for the tree's name, or what sled says.
    pub fn side(&self, tree: &str, from: &[u8], limit: usize) -> Result<Vec<SideEntry>, JournalError> {
        self.side_tree(tree)?
            .range(from..)
            .take(limit.min(SIDE_ENTRIES_MAX))
            .map(|entry| entry.map(|(k, v)| (k.to_vec(), v.to_vec())).map_err(JournalError::store("read side data")))
            .collect()
    }

    fn side_tree(&self, name: &str) -> Result<sled::Tree, JournalError> {
        self.db.open_tree(layout::side_tree(name)?).map_err(JournalError::store("open side data"))
    }

    fn check_format(&self) -> Result<(), JournalError> {
        let meta = self.db.open_tree(META).map_err(JournalError::store("open the journal"))?;
        let found = meta.get(META_FORMAT).map_err(JournalError::store("read the journal's format"))?;
        match found.as_deref().map(<[u8; 4]>::try_from) {
            Some(Ok(bytes)) if u32::from_be_bytes(bytes) == layout::FORMAT => Ok(()),
            Some(Ok(bytes)) => {
                Err(JournalError::Format { found: u32::from_be_bytes(bytes), supported: layout::FORMAT })
            }
            None if self.records.is_empty() => meta
                .insert(META_FORMAT, &layout::FORMAT.to_be_bytes())
                .map(drop)
                .map_err(JournalError::store("write the journal's format")),
            _ => Err(JournalError::Damaged { seq: 0, why: "its format number is missing or unreadable".to_owned() }),
        }
    }

    /// Reads everything once and gives the number of the last record.
    fn check_records(&self) -> Result<u64, JournalError> {
        let mut all = Records::stored(&self.records, 0, None);
        let (mut first, mut last) = (None, None);
        while let Some(found) = all.next() {
            match found {
                Ok((seq, _)) => {
                    first.get_or_insert(seq);
                    last = Some(seq);
                }
                Err(Fault::Torn { seq, parts }) => {
                    tracing::warn!(
                        record = seq,
                        parts,
                        "the last record was cut off before it was acknowledged; removed"
                    );
                    self.take_back(seq, parts);
                    self.usable()?;
                }
                Err(Fault::Error(error)) => return Err(error),
            }
        }
        let snapshots = locked(&self.snapshots);
        let newest = snapshots.list().map_err(JournalError::io("list the snapshots"))?.first().copied().unwrap_or(0);
        let intact = snapshots.newest_intact(None)?.map_or(0, |(seq, _)| seq);
        let (first, last) = (first.unwrap_or(1), last.unwrap_or(0));
        if last < newest {
            let why = format!("it is missing, although a snapshot covers everything up to {newest}");
            return Err(JournalError::Damaged { seq: last + 1, why });
        }
        if first > intact + 1 {
            let why = format!("it is missing, and no intact snapshot covers it; the first one there is {first}");
            return Err(JournalError::Damaged { seq: intact + 1, why });
        }
        Ok(last)
    }

    /// A crash while old records were forgotten leaves the last parts of one of them. They go too, if a snapshot covers them
    /// and they are old enough to have been forgotten: anything else is left for the check to find.
    fn finish_forgetting(&self) -> Result<(), JournalError> {
        let first = self.records.first().map_err(JournalError::store("read the journal"))?;
        let Some((seq, part)) = first.and_then(|(key, _)| layout::parse_key(&key)) else { return Ok(()) };
        if part == 0 {
            return Ok(());
        }
        let snapshots = locked(&self.snapshots);
        let oldest = snapshots.list().map_err(JournalError::io("list the snapshots"))?.last().copied();
        let intact = snapshots.newest_intact(None)?.map(|(intact, _)| intact);
        drop(snapshots);
        if oldest.is_some_and(|oldest| seq <= oldest) && intact.is_some_and(|intact| seq <= intact) {
            tracing::info!(record = seq, "removing the rest of an old record; a crash had interrupted that");
            self.forget_through(seq)?;
        }
        Ok(())
    }

    /// Removes records from the oldest up to `seq`, so that a crash on the way leaves no gap.
    fn forget_through(&self, seq: u64) -> Result<(), JournalError> {
        for key in self.records.range(..=layout::key(seq, u16::MAX)).keys() {
            let key = key.map_err(JournalError::store("read old records"))?;
            self.records.remove(key).map_err(JournalError::store("remove old records"))?;
        }
        self.written.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Removes the parts 0 to `through` of a record that was not finished. What can't be removed must not be written over.
    /// The last part goes first: a crash on the way then leaves what a torn record leaves.
    fn take_back(&self, seq: u64, through: u16) {
        for part in (0..=through).rev() {
            if let Err(error) = self.records.remove(layout::key(seq, part)) {
                self.stop(&JournalError::store("remove an unfinished record")(error));
                return;
            }
        }
    }

    /// Keeps the ballast if the disk has room for it above the floor. Not having it is no reason to stop.
    fn keep_ballast(&self, free: u64) {
        let (path, bytes) = (self.dir.join(layout::BALLAST), self.options.ballast_bytes);
        let there = fs::metadata(&path).is_ok_and(|m| m.len() >= bytes);
        if bytes == 0 || there || free < self.options.free_bytes_min.saturating_add(bytes) {
            return;
        }
        if let Err(error) = disk::allocate(&path, bytes).and_then(|()| disk::sync_dir(&self.dir)) {
            tracing::warn!(path = %path.display(), %error, "can't make the ballast file");
            let _ = fs::remove_file(&path);
        }
    }

    fn usable(&self) -> Result<(), JournalError> {
        self.stopped.get().map_or(Ok(()), |why| Err(JournalError::Stopped { why: why.clone() }))
    }

    fn stop(&self, error: &JournalError) {
        let mut why = error.to_string();
        if let Some(source) = std::error::Error::source(error) {
            why = format!("{why}: {source}");
        }
        tracing::error!(%why, "the journal takes no more records until it is opened again");
        // Only the first failure is kept: the rest follow from it.
        let _ = self.stopped.set(why);
    }

    /// A full disk by its own name, whichever way it was met.
    fn full_or(&self, error: JournalError) -> JournalError {
        let kind = match &error {
            JournalError::Store { source: sled::Error::Io(e), .. } | JournalError::Io { source: e, .. } => e.kind(),
            _ => return error,
        };
        if kind != io::ErrorKind::StorageFull && kind != io::ErrorKind::QuotaExceeded {
            return error;
        }
        let free = disk::free_bytes(&self.dir).unwrap_or(0);
        JournalError::Full { dir: self.dir.clone(), free, floor: self.options.free_bytes_min }
    }
}

/// Makes the directory, durably, and takes its lock.
fn prepare(dir: &Path) -> Result<File, JournalError> {
    let what = |verb: &str| format!("{verb} {}", dir.display());
    let missing: Vec<&Path> = dir.ancestors().take_while(|d| !d.as_os_str().is_empty() && !d.is_dir()).collect();
    fs::create_dir_all(dir).map_err(JournalError::io(what("make")))?;
    for made in missing {
        // A new entry stands in its parent. "" is what a relative path of one component has for a parent.
        let parent = made.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        disk::sync_dir(parent).map_err(JournalError::io(what("sync the directory above")))?;
    }
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join(layout::LOCK))
        .map_err(JournalError::io(what("open the lock in")))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(JournalError::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(JournalError::Io { what: what("lock"), source }),
    }
}

/// sled reads the newest `snap.*` it finds, also one that was never finished, and then calls the database corrupted. They only
/// shorten its start: without them it reads the log.
fn remove_unfinished_snaps(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && (name.ends_with(".generating") || entry.metadata()?.len() == 0) {
            tracing::warn!(file = %name, "removing an unfinished index file of the database");
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Opens the database. We hold our own lock by now, so whoever holds sled's is a thread of a journal that was just dropped,
/// which lets go by itself, or a program that is not this one.
fn open_sled(dir: &Path, options: &Options) -> Result<sled::Db, JournalError> {
    let deadline = Instant::now() + SLED_LOCK_PATIENCE;
    loop {
        match try_open_sled(dir, options) {
            Err(JournalError::Store { source: sled::Error::Io(error), .. }) if is_locked(&error) => {
                if Instant::now() >= deadline {
                    return Err(JournalError::Locked { dir: dir.to_owned() });
                }
                std::thread::sleep(SLED_LOCK_PAUSE);
            }
            opened => return opened,
        }
    }
}

/// sled wraps the system's answer in a text.
fn is_locked(error: &io::Error) -> bool {
    error.to_string().starts_with("could not acquire lock")
}

/// sled 0.34 meets some damage with a panic; here it is an error like any other.
fn try_open_sled(dir: &Path, options: &Options) -> Result<sled::Db, JournalError> {
    let config = sled::Config::new().path(dir).cache_capacity(options.cache_bytes).flush_every_ms(None);
    match panic::catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(opened) => opened.map_err(JournalError::store("open the journal")),
        Err(cause) => {
            let why = cause
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| cause.downcast_ref::<&str>().copied())
                .unwrap_or("no reason given");
            Err(JournalError::Damaged { seq: 0, why: format!("the database can't be read: {why}") })
        }
    }
}

fn too_large(what: &'static str, bytes: usize, max: usize) -> JournalError {
    JournalError::TooLarge { what, bytes: bytes as u64, max: max as u64 }
}

/// A panic elsewhere while holding one of these locks leaves nothing half done that matters.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
