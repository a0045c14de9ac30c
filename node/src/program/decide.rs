//! Which program of a node runs: a pure function of a record and what has happened.
//!
//! **Invariant:** a start is given out only for a file whose digest is the record's, or for the packaged program; so there is always
//! something to run.
//!
//! **Invariant:** a program on trial is started at most [`STARTS_MAX`] times before it is kept or left.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wardround_signing::Digest;

/// How often a program on trial is started: the third end of its own accord is the last.
pub const STARTS_MAX: u32 = 3;
/// Form of the record. A supervisor that does not know it runs the packaged program.
pub(super) const RECORD_VERSION: u32 = 1;

/// Where a program lies, beside the packaged one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slot {
    /// `program/a`.
    A,
    /// `program/b`.
    B,
}

impl Slot {
    /// Both.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// Its folder's name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// A program in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Where.
    pub slot: Slot,
    /// SHA-256 of the signed payload.
    pub digest: Digest,
    /// What it says that it is.
    pub version: String,
}

/// A program that has to show that it is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Which.
    pub image: Image,
    /// The operation that brought it.
    pub op: String,
    /// How often it was started, without those starts that somebody ended.
    pub starts: u32,
    /// It has read the node's state, and the controller has answered it.
    pub well: bool,
    /// How long it may take to become so, milliseconds.
    pub limit_ms: u64,
    /// How its last run ended.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last: String,
}

/// What the next start begins, once the node asks for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// What.
    pub turn: Turn,
    /// The node has asked: how long the new program may take to be well, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_ms: Option<u64>,
}

/// A change of the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// To a new one, on trial.
    Try {
        /// Which.
        image: Image,
        /// The operation that brought it.
        op: String,
    },
    /// Back to the one before.
    Back,
}

/// A program that was left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Which; absent where the record itself was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Its version.
    pub version: String,
    /// Why, one sentence.
    pub why: String,
}

/// What is known of a node's programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`RECORD_VERSION`].
    pub version: u32,
    /// The packaged program when this was last looked at. Another one there counts before what the slots hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packaged: Option<Digest>,
    /// The program that counts; absent: the packaged one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<Image>,
    /// The one before it; absent: the packaged one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<Image>,
    /// The one on trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
    /// What the next start begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
    /// The operation that was withdrawn last: it makes nothing ready any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<String>,
    /// The program that was left last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Left>,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            version: RECORD_VERSION,
            packaged: None,
            confirmed: None,
            former: None,
            trial: None,
            next: None,
            withdrawn: None,
            left: None,
        }
    }
}

/// What the supervisor sees before a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// SHA-256 of the packaged program.
    pub packaged: Digest,
    /// SHA-256 of what lies in the slots; a program that could not be started is left out.
    pub slots: BTreeMap<Slot, Digest>,
}

impl Seen {
    fn has(&self, image: &Image) -> bool {
        self.slots.get(&image.slot) == Some(&image.digest)
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Somebody ended it, with its supervisor.
    Stopped,
    /// It asked to be started anew.
    Restart,
    /// Of its own accord: in words.
    Died(String),
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Node: a new program needs a slot.
    Room,
    /// Node: a verified program lies in its slot.
    Ready {
        /// Which.
        image: Image,
        /// By which operation.
        op: String,
    },
    /// Node: this operation is to make nothing ready.
    Withdraw {
        /// Which.
        op: String,
    },
    /// Node: this program is to go.
    TakeBack {
        /// Which.
        digest: Digest,
    },
    /// Node: it ends now, so that what is next begins.
    Restart {
        /// How long the new program may take to be well, milliseconds.
        limit_ms: u64,
    },
    /// Node: the program that runs is well.
    Well {
        /// Which.
        digest: Digest,
    },
    /// Node: these operations are over. `kept`: with success.
    Over {
        /// Which.
        ops: Vec<String>,
        /// The program is to stay.
        kept: bool,
    },
    /// Supervisor: a program is to be started.
    Start(Seen),
    /// Supervisor: its run ended.
    Ended(End),
    /// Supervisor: it was not well in time, and was ended.
    Overdue,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing but the record.
    Noted,
    /// The new program's slot.
    Use(Slot),
    /// Start this one.
    Run(Run),
    /// A restart carries it out.
    RestartNeeded,
    /// It can't be; one sentence.
    Refused(String),
}

/// A program to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Which; absent: the packaged one.
    pub image: Option<Image>,
    /// On trial, and not well yet: how long it may take, milliseconds.
    pub limit_ms: Option<u64>,
}

/// The record after `event`, and what follows from it. Nothing follows before the record is on disk.
#[must_use]
pub fn decide(record: &Record, event: &Event) -> (Record, Answer) {
    let mut record = record.clone();
    let answer = match event {
        Event::Room => record.room(),
        Event::Ready { op, .. } if record.withdrawn.as_ref() == Some(op) => {
            Answer::Refused("the operation was withdrawn".to_owned())
        }
        Event::Ready { image, op } => {
            record.next = Some(Next { turn: Turn::Try { image: image.clone(), op: op.clone() }, limit_ms: None });
            Answer::RestartNeeded
        }
        Event::Withdraw { op } => record.withdraw(op),
        Event::TakeBack { digest } => record.take_back(digest),
        Event::Restart { limit_ms } => match &mut record.next {
            Some(next) => {
                next.limit_ms = Some(*limit_ms);
                Answer::RestartNeeded
            }
            None => Answer::Noted,
        },
        Event::Well { digest } => {
            if let Some(trial) = record.trial.as_mut().filter(|trial| trial.image.digest == *digest) {
                trial.well = true;
            }
            Answer::Noted
        }
        Event::Over { ops, kept } => {
            record.over(ops, *kept);
            Answer::Noted
        }
        Event::Start(seen) => Answer::Run(record.start(seen)),
        Event::Ended(end) => {
            record.ended(end);
            Answer::Noted
        }
        Event::Overdue => {
            if let Some(trial) = record.trial.clone().filter(|trial| !trial.well) {
                let seconds = trial.limit_ms.div_ceil(1_000);
                record.leave(&format!("it was not well within {seconds}s: its controller did not answer it"));
            }
            Answer::Noted
        }
    };
    (record, answer)
}

/// What runs where the record can't be written: nothing is tried that is not written down before.
#[must_use]
pub fn unwritten(record: &Record, seen: &Seen) -> Run {
    Record { trial: None, next: None, ..record.clone() }.start(seen)
}

impl Record {
    /// The slot that holds nothing which is needed; the program before the confirmed one is not needed.
    fn room(&mut self) -> Answer {
        if self.trial.is_some() {
            return Answer::Refused("a program is on trial".to_owned());
        }
        let taken = |image: &Option<Image>, slot: Slot| image.as_ref().is_some_and(|image| image.slot == slot);
        let free = Slot::ALL.into_iter().filter(|slot| !taken(&self.confirmed, *slot));
        let slot = free.min_by_key(|slot| taken(&self.former, *slot)).unwrap_or(Slot::A);
        self.former = self.former.take().filter(|former| former.slot != slot);
        self.next = None;
        Answer::Use(slot)
    }

    fn withdraw(&mut self, op: &str) -> Answer {
        let tried = |turn: &Turn| matches!(turn, Turn::Try { op: by, .. } if by == op);
        let begun = self.next.as_ref().is_some_and(|next| tried(&next.turn))
            || self.trial.as_ref().is_some_and(|trial| trial.op == op);
        if begun {
            return Answer::Refused("it has begun".to_owned());
        }
        self.withdrawn = Some(op.to_owned());
        Answer::Noted
    }

    fn take_back(&mut self, digest: &Digest) -> Answer {
        let is = |image: &Image| image.digest == *digest;
        if matches!(&self.next, Some(Next { turn: Turn::Try { image, .. }, .. }) if is(image)) {
            self.next = None;
            return Answer::Noted;
        }
        let here = self.trial.as_ref().map(|trial| &trial.image).or(self.confirmed.as_ref());
        if !here.is_some_and(is) {
            return Answer::Refused("it is not in a slot".to_owned());
        }
        self.next = Some(Next { turn: Turn::Back, limit_ms: None });
        Answer::RestartNeeded
    }

    fn over(&mut self, ops: &[String], kept: bool) {
        if kept && let Some(trial) = self.trial.take_if(|trial| ops.contains(&trial.op)) {
            self.former = self.confirmed.replace(trial.image);
            self.left = None;
        }
        if !kept {
            self.next = self.next.take().filter(|next| match &next.turn {
                Turn::Try { op, .. } => !ops.contains(op),
                Turn::Back => true,
            });
        }
    }

    fn start(&mut self, seen: &Seen) -> Run {
        if self.packaged.is_some_and(|known| known != seen.packaged) {
            self.repackaged();
        }
        self.packaged = Some(seen.packaged);
        if let Some(Next { turn, limit_ms: Some(limit_ms) }) = self.next.take_if(|next| next.limit_ms.is_some()) {
            match turn {
                Turn::Try { image, op } => {
                    self.trial = Some(Trial { image, op, starts: 0, well: false, limit_ms, last: String::new() });
                }
                Turn::Back if self.trial.is_some() => self.leave("its rollout took it back"),
                Turn::Back => {
                    self.note_left(self.confirmed.clone(), "its rollout took it back");
                    self.confirmed = self.former.take();
                }
            }
        }
        if let Some(trial) = &mut self.trial {
            if !seen.has(&trial.image) {
                self.leave("its file is not what was verified, or can't be started");
            } else if trial.starts >= STARTS_MAX {
                let why = format!("it was started {} times and did not stay: {}", trial.starts, trial.last);
                self.leave(&why);
            } else {
                trial.starts += 1;
                let limit_ms = (!trial.well).then_some(trial.limit_ms);
                return Run { image: Some(trial.image.clone()), limit_ms };
            }
        }
        while let Some(image) = self.confirmed.clone().filter(|image| !seen.has(image)) {
            self.note_left(Some(image), "its file is not what was verified, or can't be started");
            self.confirmed = self.former.take();
        }
        Run { image: self.confirmed.clone(), limit_ms: None }
    }

    /// Somebody has installed another package: whoever may do that has decided which program runs.
    fn repackaged(&mut self) {
        let image = self.trial.take().map(|trial| trial.image).or_else(|| self.confirmed.take());
        if image.is_some() {
            self.note_left(image, "another package of the program was installed on this machine");
        }
        *self = Self { withdrawn: self.withdrawn.take(), left: self.left.take(), ..Self::default() };
    }

    /// Leaves the program on trial.
    fn leave(&mut self, why: &str) {
        if let Some(trial) = self.trial.take() {
            self.note_left(Some(trial.image), why);
        }
    }

    fn note_left(&mut self, image: Option<Image>, why: &str) {
        let (digest, version) = image.map_or((None, String::new()), |image| (Some(image.digest), image.version));
        self.left = Some(Left { digest, version, why: why.to_owned() });
    }

    fn ended(&mut self, end: &End) {
        let asked = self.next.as_ref().is_some_and(|next| next.limit_ms.is_some());
        let Some(trial) = &mut self.trial else { return };
        match end {
            End::Restart if !asked => trial.last = "it asked for a restart that begins nothing".to_owned(),
            End::Stopped | End::Restart => trial.starts = trial.starts.saturating_sub(1),
            End::Died(how) => trial.last.clone_from(how),
        }
    }

    /// Why a program is no longer here.
    #[must_use]
    pub fn why_left(&self, digest: &Digest) -> Option<&str> {
        self.left.as_ref().filter(|left| left.digest == Some(*digest)).map(|left| left.why.as_str())
    }
}

#[cfg(test)]
mod tests;
