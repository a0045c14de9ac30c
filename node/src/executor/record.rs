//! What stands in the machine's journal. The form is a contract: fields are only added, with a default.

use serde::{Deserialize, Serialize};
use wardround_journal::{JournalError, Log};
use wardround_rollout_plans::model::{GoalAction, Mode, Timestamp};

use crate::machine::{Input, NodeState};

/// Form of the records and snapshots.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Record {
    v: u32,
    at: Timestamp,
    input: Input,
}

#[derive(Serialize, Deserialize)]
struct Snapshot {
    v: u32,
    state: NodeState,
}

#[derive(Serialize)]
struct SnapshotOut<'a> {
    v: u32,
    state: &'a NodeState,
}

/// Adds an input. It counts after a sync.
///
/// # Errors
/// What the journal says. New work needs a disk with room; what is under way may use the reserve, so that it can be finished.
pub fn append(log: &dyn Log, input: &Input, at: Timestamp) -> Result<(), JournalError> {
    let record = Record { v: VERSION, at, input: input.clone() };
    let bytes = serde_json::to_vec(&record).map_err(|e| JournalError::Misuse(e.to_string()))?;
    if is_urgent(input) { log.append_urgent(&bytes) } else { log.append(&bytes) }.map(drop)
}

/// Takes a record into the state. What followed from it has been done or is given out anew after the restart.
///
/// # Errors
/// A sentence for what is no record of this form.
pub fn replay(state: &mut NodeState, record: &[u8]) -> Result<(), String> {
    let record: Record = serde_json::from_slice(record).map_err(|e| e.to_string())?;
    let input = known(record.v, record.input)?;
    let _ = state.step(&input, record.at);
    Ok(())
}

/// A snapshot's bytes.
///
/// # Errors
/// [`JournalError::Misuse`] when it can't be written as JSON.
pub fn snapshot(state: &NodeState) -> Result<Vec<u8>, JournalError> {
    serde_json::to_vec(&SnapshotOut { v: VERSION, state }).map_err(|e| JournalError::Misuse(e.to_string()))
}

/// The state that a snapshot holds.
///
/// # Errors
/// A sentence for what is no snapshot of this form.
pub fn restore(snapshot: &[u8]) -> Result<NodeState, String> {
    let snapshot: Snapshot = serde_json::from_slice(snapshot).map_err(|e| format!("snapshot: {e}"))?;
    known(snapshot.v, snapshot.state)
}

/// What makes things safer: it may use the disk's reserve. A directive that takes something back or halts is of that kind;
/// what else it wants needs room for its payload first.
pub(super) fn is_urgent(input: &Input) -> bool {
    match input {
        Input::Site(_) => false,
        Input::Wishes(wishes) => wishes.rollouts.iter().any(|r| {
            r.mode != Mode::Proceed || r.cancelled || r.goals.iter().any(|g| g.action == GoalAction::RollBack)
        }),
        _ => true,
    }
}

fn known<T>(version: u32, value: T) -> Result<T, String> {
    if version == VERSION { Ok(value) } else { Err(format!("form {version} is unknown; this program reads {VERSION}")) }
}

#[cfg(test)]
mod tests {
    use wardround_rollout_plans::model::SiteId;

    use super::*;

    fn read(record: &str) -> Result<NodeState, String> {
        let mut state = NodeState::new(SiteId::new("rx1").unwrap());
        replay(&mut state, record.as_bytes()).map(|()| state)
    }

    /// What a program meets that takes over from a newer one, which was left on trial (docs/self-update.md).
    #[test]
    fn what_a_newer_program_wrote_is_refused_by_name_where_it_is_of_another_kind_or_form() {
        assert!(read(r#"{"v":1,"at":5,"input":{"input":"restarted"}}"#).is_ok());
        let kind = read(r#"{"v":1,"at":5,"input":{"input":"dreamt","of":"sheep"}}"#).unwrap_err();
        assert!(kind.contains("dreamt"), "{kind}");
        let form = read(r#"{"v":2,"at":5,"input":{"input":"restarted"}}"#).unwrap_err();
        assert_eq!(form, "form 2 is unknown; this program reads 1");
        let part =
            read(r#"{"v":1,"at":5,"input":{"input":"done","rollout":"r1","device":"rx1/a","task":1,"found":"seen"}}"#);
        assert!(part.is_err(), "an unknown finding");
        let snapshot = restore(br#"{"v":2,"state":{}}"#).unwrap_err();
        assert!(snapshot.starts_with("snapshot: ") || snapshot.contains("form 2"), "{snapshot}");
        // Read over: a field whose loss would change a decision must come with another form.
        assert!(read(r#"{"v":1,"at":5,"input":{"input":"acked","seq":1,"mood":"good"}}"#).is_ok());
    }
}
