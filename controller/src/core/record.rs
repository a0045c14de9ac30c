//! What stands in the journal. The form is a contract: fields are only added, with a default.

use serde::{Deserialize, Serialize, de};
use wardround_rollout_plans::{
    engine::Event,
    model::{PatchId, RolloutId, SiteId, Timestamp},
};

use crate::registry::RegistryEvent;

/// Version of the record's form.
const VERSION: u32 = 1;

/// One journal record: a batch of changes, all at the same moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Form.
    pub(crate) v: u32,
    /// The `now` of every step of this batch, so that a replay is exact.
    pub(crate) at: Timestamp,
    /// In order.
    pub(crate) events: Vec<Change>,
}

/// Entries that are accepted together or not at all.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Change(pub(crate) Vec<Entry>);

/// One event of one of the two folds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Entry {
    /// Of the engine.
    Engine(Box<Event>),
    /// Of the registry.
    Registry(Box<RegistryEvent>),
}

/// Why bytes are no record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// Not JSON of this form.
    #[error("the journal record can't be read: {0}")]
    Json(#[from] serde_json::Error),
    /// Written by a newer program.
    #[error("the journal record has version {0}; this program reads version {VERSION}: start the newer program again")]
    Version(u32),
}

impl Record {
    /// A record of these changes.
    pub(crate) fn new(at: Timestamp, events: Vec<Change>) -> Self {
        Self { v: VERSION, at, events }
    }

    /// As bytes.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, RecordError> {
        Ok(serde_json::to_vec(self)?)
    }

    /// From bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Head {
            v: u32,
        }
        // Read once: only what can't be read, or says another version, is looked at for its version alone.
        // As a text as a whole: else each string in it would be looked at for that.
        let text = str::from_utf8(bytes).map_err(|e| RecordError::Json(de::Error::custom(e)))?;
        match serde_json::from_str::<Self>(text) {
            Ok(record) if record.v == VERSION => Ok(record),
            Ok(record) => Err(RecordError::Version(record.v)),
            Err(error) => match serde_json::from_str::<Head>(text) {
                Ok(head) if head.v != VERSION => Err(RecordError::Version(head.v)),
                _ => Err(error.into()),
            },
        }
    }
}

impl From<Event> for Change {
    fn from(event: Event) -> Self {
        Self(vec![Entry::Engine(Box::new(event))])
    }
}

impl From<RegistryEvent> for Change {
    fn from(event: RegistryEvent) -> Self {
        Self(vec![Entry::Registry(Box::new(event))])
    }
}

impl Change {
    /// True when one of its entries is.
    pub(crate) fn is_urgent(&self) -> bool {
        self.0.iter().any(Entry::is_urgent)
    }

    /// True when it must not wait behind the reports of the whole estate.
    pub(crate) fn is_order(&self) -> bool {
        self.0.iter().any(|entry| match entry {
            Entry::Engine(event) => matches!(**event, Event::Order { .. }),
            Entry::Registry(event) => event.is_revocation(),
        })
    }

    /// With one more entry.
    pub(crate) fn and(mut self, event: Event) -> Self {
        self.0.push(Entry::Engine(Box::new(event)));
        self
    }
}

/// What an entry is about. Two entries about the same thing in one batch depend on each other, so that the second
/// can't be judged before the first has been stepped.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    /// A site and its node.
    Site(SiteId),
    /// A rollout.
    Rollout(RolloutId),
    /// A patch.
    Patch(PatchId),
    /// A token.
    Token(String),
    /// The image repository.
    Images,
    /// Nothing in particular.
    None,
}

impl Entry {
    /// What it is about.
    pub(crate) fn subject(&self) -> Subject {
        match self {
            Self::Registry(event) => event.subject(),
            Self::Engine(event) => match &**event {
                Event::NodeEnrolled { site, .. }
                | Event::NodeRevoked { site, .. }
                | Event::Report { site, .. }
                | Event::SiteSilent { site }
                | Event::SiteHeard { site } => Subject::Site(site.clone()),
                Event::RolloutCreated { rollout, .. } | Event::RolloutAmended { rollout, .. } => {
                    Subject::Rollout(rollout.id.clone())
                }
                Event::RolloutSigned { rollout } | Event::AmendmentSigned { rollout, .. } => {
                    Subject::Rollout(rollout.clone())
                }
                Event::Order { order, .. } => Subject::Rollout(order.rollout.clone()),
                Event::Tick => Subject::None,
            },
        }
    }

    /// True for what must still get through when the disk is nearly full: what makes things safer, and what
    /// nodes have already done.
    fn is_urgent(&self) -> bool {
        use wardround_rollout_plans::model::Command;
        match self {
            Self::Engine(event) => match &**event {
                Event::Order { order, .. } => {
                    matches!(
                        order.command,
                        Command::Halt
                            | Command::Pause
                            | Command::Hold { .. }
                            | Command::RollBack { .. }
                            | Command::Withdraw { .. }
                    )
                }
                Event::Report { .. } | Event::SiteSilent { .. } | Event::SiteHeard { .. } => true,
                _ => false,
            },
            // The halt of a full disk must reach its nodes as well, and what they are told is logged first.
            Self::Registry(event) => event.is_revocation() || matches!(**event, RegistryEvent::DirectiveIssued { .. }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yesterdays_record_is_still_read() {
        let bytes = br#"{"v":1,"at":1795000000000,"events":[
            [{"engine":{"event":"tick"}}],
            [{"engine":{"event":"site_silent","site":"rx1"}}],
            [{"registry":{"event":"alarm","code":"refused","text":"x","site":"rx1"}}]]}"#;
        let record = Record::decode(bytes).unwrap();
        assert_eq!((record.at, record.events.len()), (Timestamp(1_795_000_000_000), 3));
        assert_eq!(record.events[1].0[0].subject(), Subject::Site(SiteId::new("rx1").unwrap()));
        let again = Record::decode(&record.encode().unwrap()).unwrap();
        assert_eq!(again.encode().unwrap(), record.encode().unwrap());
    }

    #[test]
    fn a_newer_record_stops_the_program_instead_of_being_guessed() {
        let error = Record::decode(br#"{"v":2,"at":1,"events":[],"new":1}"#).unwrap_err();
        assert!(matches!(error, RecordError::Version(2)), "{error}");
    }
}
