//! The state: the two folds, the alarms, and the positions that make a restart exact.

use serde::{Deserialize, Serialize};
use wardround_rollout_plans::{
    engine::{Effect, Refusal, State},
    model::{AuditEntry, DIRECTIVES_OF_ENTRY_MAX, DirectiveMark, FileMark, NodeKey, Timestamp},
};
use wardround_signing::tuf::RoleName;

use super::{
    Change, Entry, Outcomes,
    record::{Record, RecordError},
};
use crate::registry::{Alarms, FilePin, Registry, RegistryEvent};

/// Version of the snapshot's form.
const VERSION: u32 = 1;
/// Signed documents above this size are named in the audit record by their digest only, bytes: orders have at most 16 KiB,
/// patch and rollout documents stand in the registry.
const AUDIT_ENVELOPE_MAX: usize = 64 * 1024;

/// Everything that is true.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// The rollouts.
    pub(crate) engine: State,
    /// Tokens, keys, documents.
    pub(crate) registry: Registry,
    /// What a person must look at.
    pub(crate) alarms: Alarms,
    /// Index of the next audit leaf.
    audit_next: u64,
    /// Sequence number of the last journal record in here.
    seq: u64,
    /// Its time; time never goes back.
    now: Timestamp,
}

/// What a record led to.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// One for each change.
    pub(crate) outcomes: Outcomes,
    /// In order.
    pub(crate) effects: Vec<Effect>,
    /// In order.
    pub(crate) audit: Vec<AuditEntry>,
    /// What nodes were told; becomes leaves at the end of the record.
    directives: Vec<DirectiveMark>,
}

#[derive(Serialize)]
struct SnapshotOut<'a> {
    v: u32,
    facts: &'a Facts,
}

#[derive(Deserialize)]
struct SnapshotIn {
    facts: Facts,
}

#[derive(Deserialize)]
struct SnapshotHead {
    v: u32,
}

impl Facts {
    /// Sequence number of the last journal record in here.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// Time of the last record.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// Number of audit leaves.
    pub(crate) fn audit_len(&self) -> u64 {
        self.audit_next
    }

    /// As bytes.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, RecordError> {
        Ok(serde_json::to_vec(&SnapshotOut { v: VERSION, facts: self })?)
    }

    /// From bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let head: SnapshotHead = serde_json::from_slice(bytes)?;
        if head.v != VERSION {
            return Err(RecordError::Version(head.v));
        }
        let SnapshotIn { mut facts } = serde_json::from_slice(bytes)?;
        facts.registry.index();
        Ok(facts)
    }

    /// Would `change` be accepted? Each entry is checked against the present state, which is exact only while no fold has
    /// more than one of them: two in one fold are refused.
    pub(crate) fn check(&self, change: &Change, now: Timestamp) -> Result<(), Refusal> {
        let engine = change.0.iter().filter(|entry| matches!(entry, Entry::Engine(_))).count();
        if engine > 1 || change.0.len() - engine > 1 {
            return Err(Refusal::Invalid { why: "a change holds at most one event of each kind".to_owned() });
        }
        change.0.iter().try_for_each(|entry| match entry {
            Entry::Engine(event) => self.engine.check(event, now),
            Entry::Registry(event) => self.registry.check(event, now),
        })
    }

    /// Takes in a record that is on disk. Refused changes change nothing, here as in every replay.
    pub(crate) fn apply(&mut self, seq: u64, record: &Record) -> Applied {
        let mut applied = Applied::default();
        for change in &record.events {
            let outcome = self.apply_change(change, record.at, &mut applied);
            applied.outcomes.push(outcome);
        }
        // One leaf for all of a record: the log must not grow with every check-in.
        for marks in std::mem::take(&mut applied.directives).chunks(DIRECTIVES_OF_ENTRY_MAX) {
            let text = match marks {
                [one] => format!("site {} was told something else: directive {}", one.site, one.counter),
                more => format!("{} sites were told something else", more.len()),
            };
            let entry = self.entry(record.at, "directives", text);
            applied.audit.push(AuditEntry { directives: marks.to_vec(), ..entry });
        }
        self.seq = seq;
        self.now = self.now.max(record.at);
        applied
    }

    /// The next entry of the audit log.
    fn entry(&mut self, at: Timestamp, kind: &str, text: String) -> AuditEntry {
        let index = self.audit_next;
        self.audit_next += 1;
        let kind = kind.to_owned();
        let (directives, files) = (Vec::new(), Vec::new());
        AuditEntry { index, at, kind, text, rollout: None, envelope: None, node: None, directives, files, gate: None }
    }

    fn apply_change(&mut self, change: &Change, at: Timestamp, applied: &mut Applied) -> Result<(), Refusal> {
        // All or nothing: the entries of a change go to different folds, so checking each against the present state
        // is exact, and what was checked is then accepted. One alone is checked by its fold.
        if change.0.len() > 1 {
            self.check(change, at)?;
        }
        let mut enrolled = None;
        let mut published = Vec::new();
        for entry in &change.0 {
            let effects = match entry {
                Entry::Engine(event) => {
                    let effects = self.engine.step(event, at)?;
                    self.registry.observe(event, &self.engine, at);
                    effects
                }
                Entry::Registry(event) => {
                    match &**event {
                        RegistryEvent::NodeEnrolled { site, report_key, .. } => {
                            enrolled = Some(NodeKey { site: site.clone(), report_key: *report_key });
                        }
                        RegistryEvent::ImagesPublished { files, .. } => {
                            let people = files.iter().filter(|(role, _)| RoleName::PEOPLE.contains(role));
                            let mark = |(role, pin): (&RoleName, &FilePin)| FileMark {
                                role: *role,
                                version: pin.version,
                                sha256: pin.sha256,
                            };
                            published = people.map(mark).collect();
                        }
                        RegistryEvent::DirectiveIssued { mark } => applied.directives.push(mark.clone()),
                        _ => {}
                    }
                    self.registry.step(event, at)?
                }
            };
            for effect in effects {
                self.alarms.observe(&effect, at);
                match effect {
                    Effect::Audit { kind, text, rollout, envelope, gate } => {
                        let envelope = envelope.filter(|e| e.payload.len() <= AUDIT_ENVELOPE_MAX);
                        // The engine's leaf of an enrolment knows the key's id only.
                        let node = enrolled.take_if(|_| kind == "node_enrolled");
                        let entry = self.entry(at, &kind, text);
                        let files = std::mem::take(&mut published);
                        applied.audit.push(AuditEntry { rollout, envelope, node, files, gate, ..entry });
                    }
                    other => applied.effects.push(other),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use wardround_rollout_plans::model::SiteId;

    use super::*;
    use crate::registry::RegistryEvent;

    fn alarm(text: &str) -> Change {
        let site = SiteId::new("rx1").ok();
        RegistryEvent::Alarm { code: "test".to_owned(), text: text.to_owned(), site }.into()
    }

    #[test]
    fn replay_from_any_snapshot_gives_the_same_state_and_audit() {
        let records: Vec<Record> =
            (0..6).map(|n| Record::new(Timestamp(100 - n), vec![alarm(&format!("a{n}")), alarm("b")])).collect();
        let mut straight = Facts::default();
        let mut leaves = Vec::new();
        for (seq, record) in (1..).zip(&records) {
            leaves.extend(straight.apply(seq, record).audit);
        }
        assert_eq!(leaves.iter().map(|l| l.index).collect::<Vec<_>>(), (0..12).collect::<Vec<_>>());
        assert_eq!(straight.now(), Timestamp(100), "time does not go back");
        for cut in 0..records.len() {
            let mut facts = Facts::default();
            let mut audit = Vec::new();
            for (seq, record) in (1..).zip(&records) {
                audit.extend(facts.apply(seq, record).audit);
                if audit.len() == cut * 2 {
                    facts = Facts::decode(&facts.encode().unwrap()).unwrap();
                }
            }
            assert_eq!(facts.encode().unwrap(), straight.encode().unwrap());
            assert_eq!(audit, leaves);
        }
    }

    #[test]
    fn two_entries_of_one_fold_are_no_change() {
        let mut both = alarm("a");
        both.0.extend(alarm("b").0);
        let mut facts = Facts::default();
        let applied = facts.apply(1, &Record::new(Timestamp(1), vec![both, alarm("c")]));
        assert!(matches!(applied.outcomes[..], [Err(Refusal::Invalid { .. }), Ok(())]), "{:?}", applied.outcomes);
        assert_eq!(facts.alarms.next(), 1, "nothing of it was taken in");
    }

    #[test]
    fn a_newer_snapshot_is_refused() {
        assert!(matches!(Facts::decode(br#"{"v":9}"#), Err(RecordError::Version(9))));
    }
}
