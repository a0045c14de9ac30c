//! What a device asks of whoever patches it: when it must be left alone, what protects its disk, and what takes it back.

use std::time::Duration;

use serde_saphyr::Spanned;
use wardround_rollout_plans::model::DurationMs;

use super::{
    raw::{RawInUse, RawRollback, RawWriteFilter, Text},
    validate::{Checked, Validator},
};

/// How long a snapshot may be put back by the node alone, when the file does not say: what was done on the device since then is
/// lost with it.
pub const SNAPSHOT_FRESH_DEFAULT: Duration = Duration::from_secs(2 * 3600);
/// Longest such time.
pub const SNAPSHOT_FRESH_MAX: Duration = Duration::from_secs(24 * 3600);
/// Most processes, and most ports, that say that a device is in use.
const SIGNS_MAX: usize = 32;

/// What says that a device is in use. Whatever can't be answered counts as in use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InUse {
    /// A program on the node, never passed to a shell. Exit 0 means free, 1 means in use (its output says why); anything else,
    /// and silence, counts as in use.
    pub command: Option<Vec<String>>,
    /// Somebody is logged on.
    pub logged_on: bool,
    /// One of these programs runs on the device.
    pub processes: Vec<String>,
    /// A connection is open at one of these ports of the device: a DICOM association, an HL7 session.
    pub connections: Vec<u16>,
    /// A person must have said that it is free (`wardround node confirm`).
    pub confirm: bool,
}

impl InUse {
    /// True where the device itself is asked.
    #[must_use]
    pub fn asks_device(&self) -> bool {
        self.logged_on || !self.processes.is_empty() || !self.connections.is_empty()
    }
}

/// A write filter of an embedded Windows: what is written is gone with the next restart unless the filter is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteFilter {
    /// Which.
    pub kind: FilterKind,
    /// The protected drive's letter.
    pub volume: char,
}

/// Kinds of write filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterKind {
    /// Enhanced Write Filter.
    Ewf,
    /// File-Based Write Filter.
    Fbwf,
}

impl FilterKind {
    /// As people write it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ewf => "ewf",
            Self::Fbwf => "fbwf",
        }
    }
}

/// What takes a device back, beside the package's own uninstaller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RollbackMeans {
    /// The site's own snapshots.
    pub snapshot: Option<Snapshot>,
    /// Windows' System Restore.
    pub restore_point: bool,
}

/// Programs on the node that keep and bring back the whole device. Each gets the device's name and the operation's id as its last
/// two arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Takes one before the install; exit 0 means that it is there.
    pub take: Vec<String>,
    /// Puts it back.
    pub restore: Vec<String>,
    /// Removes one that is no longer needed.
    pub remove: Option<Vec<String>>,
    /// For how long after the install it is put back by the node alone.
    pub fresh_for: Duration,
}

impl Validator<'_> {
    pub(super) fn in_use(&self, raw: &RawInUse, field: &str) -> Checked<InUse> {
        let name = |name: &str| format!("{field}.{name}");
        let command = match &raw.command {
            Some(command) => Some(self.argv(command, &name("command"))?),
            None => None,
        };
        let few = |count: usize, at: Option<&Text>, of: &str| match at {
            Some(text) if count > SIGNS_MAX => {
                self.fail(text, &name(of), format!("at most {SIGNS_MAX} of them"), "leave some out")
            }
            _ => Ok(()),
        };
        few(raw.processes.len(), raw.processes.first(), "processes")?;
        let mut processes = Vec::new();
        for (index, text) in raw.processes.iter().enumerate() {
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-+ ".contains(c);
            if text.value.is_empty() || text.value.len() > 64 || !text.value.chars().all(plain) {
                let message = format!("{:?} is no plain name of a program", text.value);
                return self.fail(text, &format!("{field}.processes[{index}]"), message, "for example ctviewer.exe");
            }
            processes.push(text.value.clone());
        }
        let mut connections = Vec::new();
        for (index, port) in raw.connections.iter().enumerate() {
            if port.value == 0 || index >= SIGNS_MAX {
                let field = format!("{field}.connections[{index}]");
                return self.fail(port, &field, "no port, or one too many", "for example 104, or 2575 for HL7");
            }
            connections.push(port.value);
        }
        let found = InUse { command, logged_on: raw.logged_on, processes, connections, confirm: raw.confirm };
        Ok(found)
    }

    pub(super) fn write_filter(&self, raw: &RawWriteFilter, field: &str) -> Checked<WriteFilter> {
        let kind = match raw.kind.value.as_str() {
            "ewf" => FilterKind::Ewf,
            "fbwf" => FilterKind::Fbwf,
            other => {
                let message = format!("{other:?} is no write filter");
                return self.fail(&raw.kind, &format!("{field}.kind"), message, "write ewf or fbwf");
            }
        };
        let volume = match &raw.volume {
            None => 'C',
            Some(text) => match text.value.as_bytes() {
                [letter, b':'] if letter.is_ascii_alphabetic() => char::from(letter.to_ascii_uppercase()),
                _ => {
                    let message = format!("{:?} is no drive", text.value);
                    return self.fail(text, &format!("{field}.volume"), message, "for example C:");
                }
            },
        };
        Ok(WriteFilter { kind, volume })
    }

    pub(super) fn rollback(&self, raw: &Spanned<RawRollback>, field: &str) -> Checked<RollbackMeans> {
        let raw = &raw.value;
        let snapshot = match &raw.snapshot {
            None => None,
            Some(given) => {
                let name = |name: &str| format!("{field}.snapshot.{name}");
                let fresh_for = match &given.fresh_for {
                    None => SNAPSHOT_FRESH_DEFAULT,
                    Some(text) => {
                        let parsed = DurationMs::parse(&text.value)
                            .or_else(|why| self.fail(text, &name("fresh_for"), why, "for example 2h"))?;
                        let fresh = Duration::from_millis(parsed.0);
                        if fresh > SNAPSHOT_FRESH_MAX {
                            let hint = "what was done on the device since then is lost with it";
                            return self.fail(text, &name("fresh_for"), "longer than 24h", hint);
                        }
                        fresh
                    }
                };
                let remove = match &given.remove {
                    Some(argv) => Some(self.argv(argv, &name("remove"))?),
                    None => None,
                };
                let (take, restore) =
                    (self.argv(&given.take, &name("take"))?, self.argv(&given.restore, &name("restore"))?);
                Some(Snapshot { take, restore, remove, fresh_for })
            }
        };
        Ok(RollbackMeans { snapshot, restore_point: raw.restore_point })
    }
}
