//! Events and snapshots are contracts: what an earlier version wrote into a journal must still be read.
//!
//! `fixtures/events-v1.jsonl` holds one event of each kind as the first version wrote it. It is never rewritten: a change
//! of form adds another file beside it.

use serde_json::Value;
use wardround_rollout_plans::{
    engine::{Event, RolloutState, State},
    model::{RolloutId, SiteId, Timestamp},
};

const EVENTS: &str = include_str!("fixtures/events-v1.jsonl");
const SNAPSHOT: &str = include_str!("fixtures/snapshot-v1.json");

fn events() -> Vec<Event> {
    EVENTS.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}"))).collect()
}

/// Everything in `old` is in `new`; fields may have been added, none has gone or changed.
fn holds(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            old.iter().all(|(key, value)| new.get(key).is_some_and(|n| holds(n, value)))
        }
        (Value::Array(new), Value::Array(old)) => {
            new.len() == old.len() && new.iter().zip(old).all(|(n, o)| holds(n, o))
        }
        _ => new == old,
    }
}

#[test]
fn yesterdays_events_are_read_and_written_alike() {
    for (line, event) in EVENTS.lines().zip(events()) {
        let old: Value = serde_json::from_str(line).unwrap();
        let new = serde_json::to_value(&event).unwrap();
        assert!(holds(&new, &old), "{old}\nbecame\n{new}");
    }
}

#[test]
fn yesterdays_journal_leads_to_the_same_state() {
    let mut state = State::default();
    for (at, event) in events().iter().enumerate() {
        state.step(event, Timestamp(at as i64 * 1000)).unwrap_or_else(|e| panic!("event {at}: {e}"));
    }
    let view = state.rollout(&RolloutId::new("r1").unwrap()).unwrap();
    assert_eq!((view.state, view.order_counter), (RolloutState::RolledBack, 6));
    assert_eq!(state.acked_seq(&SiteId::new("rx1").unwrap()), 8);
    let old: Value = serde_json::from_str(SNAPSHOT).unwrap();
    assert!(holds(&serde_json::to_value(&state).unwrap(), &old), "the state is another than yesterday");
}

#[test]
fn yesterdays_snapshot_is_read() {
    let state: State = serde_json::from_str(SNAPSHOT).unwrap();
    assert_eq!(state.rollout(&RolloutId::new("r1").unwrap()).unwrap().state, RolloutState::RolledBack);
    let unknown = SNAPSHOT.replacen("\"form\":1", "\"form\":2", 1);
    let error = serde_json::from_str::<State>(&unknown).unwrap_err().to_string();
    assert!(error.contains("form 2") && error.contains("form 1"), "{error}");
}
