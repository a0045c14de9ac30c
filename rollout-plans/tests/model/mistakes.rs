//! Mistakes that an engine could make, as edits of its state after the true one has stepped: each takes one decision back.

use serde_json::{Value, json};
use wardround_rollout_plans::model::Command;

use super::engine::{Happening, Moment};

fn record(state: &mut Value) -> &mut Value {
    &mut state["rollouts"][0]
}

fn deployments(state: &mut Value) -> impl Iterator<Item = &mut Value> {
    record(state)["deployments"].as_array_mut().into_iter().flatten()
}

pub(crate) fn forgets_a_halt(_: &Moment, what: &Happening, state: &mut Value) {
    if *what == Happening::Orders(Command::Halt) {
        record(state)["state"] = json!("running");
    }
}

pub(crate) fn resumes_alone(_: &Moment, what: &Happening, state: &mut Value) {
    if matches!(what, Happening::Orders(Command::Resume { .. })) {
        let record = record(state);
        record["state"] = json!("running");
        record["halts_in_force"] = json!([]);
        record["pending"] = json!([]);
    }
}

pub(crate) fn needs_no_approval(_: &Moment, what: &Happening, state: &mut Value) {
    let record = record(state);
    if *what == Happening::Time && record["waves"][1]["state"] == "awaiting_approval" {
        record["waves"][1]["state"] = json!("running");
        record["current"] = json!(1);
        record["deployments"][1]["state"] = json!("offered");
        record["deployments"][1]["attempt"] = json!(1);
    }
}

pub(crate) fn takes_silence_for_success(_: &Moment, _: &Happening, state: &mut Value) {
    for deployment in deployments(state).filter(|d| d["state"] == "unknown") {
        deployment["state"] = json!("succeeded");
    }
}

pub(crate) fn does_not_soak(_: &Moment, _: &Happening, state: &mut Value) {
    for deployment in deployments(state).filter(|d| d["state"] == "soaking") {
        deployment["state"] = json!("succeeded");
    }
}

pub(crate) fn counts_one_too_few(_: &Moment, _: &Happening, state: &mut Value) {
    let running = record(state)["state"] == "running";
    let mut pending = deployments(state).filter(|d| running && d["state"] == "pending");
    if let Some(next) = pending.next() {
        next["state"] = json!("offered");
        next["attempt"] = json!(1);
    }
}

pub(crate) fn tries_again(_: &Moment, _: &Happening, state: &mut Value) {
    for deployment in deployments(state).filter(|d| d["state"] == "failed") {
        deployment["state"] = json!("offered");
    }
}

pub(crate) fn does_not_take_back(_: &Moment, what: &Happening, state: &mut Value) {
    if matches!(what, Happening::Blames(_)) {
        for deployment in deployments(state).filter(|d| d["state"] == "rolling_back") {
            deployment["state"] = json!("soaking");
            deployment["back"] = json!("no");
        }
    }
}

pub(crate) fn stays_given_up(_: &Moment, what: &Happening, state: &mut Value) {
    if matches!(what, Happening::Orders(Command::RollBack { .. })) {
        for deployment in deployments(state).filter(|d| d["state"] == "rolling_back") {
            deployment["note"]["withdrawn"] = json!(true);
        }
    }
}
