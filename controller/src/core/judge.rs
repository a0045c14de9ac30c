//! What can be judged before the journal.

use std::collections::HashSet;

use wardround_rollout_plans::{engine::Refusal, model::Timestamp};

use super::{Change, Entry, Facts, Subject};

/// What becomes of one command of a batch.
#[derive(Debug)]
pub(crate) enum Judged {
    /// The disk has no room for it: the sentence says so.
    Full(String),
    /// One for each of its changes; `None` is judged by its step.
    Outcomes(Vec<Option<Result<(), Refusal>>>),
}

/// Judges what can be judged before the journal; the rest goes into `events` and is judged by its step.
/// On a low disk only commands that are urgent as a whole are taken: their answer can't be told apart by change.
pub(crate) fn judge(
    facts: &Facts,
    batch: Vec<Vec<Change>>,
    now: Timestamp,
    low: Option<&str>,
    events: &mut Vec<Change>,
) -> Vec<Judged> {
    let mut touched: HashSet<Subject> = HashSet::new();
    let mut judged = Vec::new();
    for command in batch {
        if let Some(why) = low.filter(|_| !command.iter().all(Change::is_urgent)) {
            judged.push(Judged::Full(format!("{why}; halt, pause and roll back still work")));
            continue;
        }
        let mut outcomes = Vec::new();
        for change in command {
            let subjects: Vec<Subject> = change.0.iter().map(Entry::subject).collect();
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
        judged.push(Judged::Outcomes(outcomes));
    }
    judged
}
