//! What may go wrong in a run, kind by kind, so that a failing run can be made smaller by leaving kinds out.

use std::{collections::BTreeSet, fmt, str::FromStr};

/// A kind of fault, or of people's interference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Messages are lost.
    Drops,
    /// Messages come twice.
    Duplicates,
    /// Messages are slow, and overtake one another.
    Delays,
    /// A site's line is cut for a while, in one direction or in both.
    Partitions,
    /// Controller and nodes lose their power, at any point between two effects.
    Crashes,
    /// A power cut leaves part of a record.
    Torn,
    /// Clocks are set, and run fast or slow.
    Clocks,
    /// Disks fill up for a while.
    Disks,
    /// Installers fail, are busy, or leave no result; uninstallers fail.
    Installers,
    /// Devices do not answer for a while, or are in use.
    Devices,
    /// The patch breaks clinical systems.
    BadPatch,
    /// Clinical systems fail for reasons of their own.
    Trouble,
    /// Nodes say what is not so.
    Liars,
    /// Old messages and orders are sent again.
    Replays,
    /// People halt and resume.
    Halts,
    /// People take devices back.
    Rollbacks,
    /// People pause, cancel, and sign what they should not.
    Meddling,
    /// People amend the rollout, and take signatures back.
    Amendments,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Drops,
        Self::Duplicates,
        Self::Delays,
        Self::Partitions,
        Self::Crashes,
        Self::Torn,
        Self::Clocks,
        Self::Disks,
        Self::Installers,
        Self::Devices,
        Self::BadPatch,
        Self::Trouble,
        Self::Liars,
        Self::Replays,
        Self::Halts,
        Self::Rollbacks,
        Self::Meddling,
        Self::Amendments,
    ];

    /// The word on the command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Drops => "drops",
            Self::Duplicates => "duplicates",
            Self::Delays => "delays",
            Self::Partitions => "partitions",
            Self::Crashes => "crashes",
            Self::Torn => "torn",
            Self::Clocks => "clocks",
            Self::Disks => "disks",
            Self::Installers => "installers",
            Self::Devices => "devices",
            Self::BadPatch => "bad-patch",
            Self::Trouble => "trouble",
            Self::Liars => "liars",
            Self::Replays => "replays",
            Self::Halts => "halts",
            Self::Rollbacks => "rollbacks",
            Self::Meddling => "meddling",
            Self::Amendments => "amendments",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::word).join(", ");
        Self::ALL.into_iter().find(|f| f.word() == text).ok_or_else(|| format!("{text:?} is none of {}", known()))
    }
}

/// How a run is to be: the seed decides everything that is not said here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Setting {
    /// Kinds that are left out.
    pub without: BTreeSet<Fault>,
    /// At most so many sites.
    pub sites_max: Option<usize>,
    /// At most so many devices at a site.
    pub devices_max: Option<usize>,
    /// Faults end, and healing begins, after so many events.
    pub until: Option<u64>,
}

impl Setting {
    /// Nothing goes wrong.
    #[must_use]
    pub fn calm() -> Self {
        Self { without: Fault::ALL.into(), ..Self::default() }
    }

    /// May this go wrong?
    #[must_use]
    pub fn has(&self, fault: Fault) -> bool {
        !self.without.contains(&fault)
    }

    /// As flags of the command line, with a space in front; nothing for the default.
    #[must_use]
    pub fn flags(&self) -> String {
        let mut flags = String::new();
        if !self.without.is_empty() {
            let words: Vec<&str> = self.without.iter().map(|f| f.word()).collect();
            flags.push_str(&format!(" --without {}", words.join(",")));
        }
        for (name, value) in [("sites", self.sites_max), ("devices", self.devices_max)] {
            flags.extend(value.map(|value| format!(" --{name} {value}")));
        }
        flags.extend(self.until.map(|until| format!(" --until {until}")));
        flags
    }
}
