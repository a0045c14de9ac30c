//! A hold that a node has seen bars what is behind it until its release is seen, whatever the directives say since.

use std::collections::BTreeSet;

use wardround_rollout_plans::model::{GoalAction, Scope};
use wardround_signing::Digest;

use super::rig::{Rig, goal, wave};
use crate::machine::{HoldMark, ReleaseMark};

fn hold() -> HoldMark {
    let people = BTreeSet::from(["olu".to_owned()]);
    HoldMark { order: Digest::of(b"hold"), people, bars: BTreeSet::from([wave("full")]) }
}

fn release(people: &[&str], by_two: bool) -> ReleaseMark {
    let people = people.iter().map(|p| (*p).to_owned()).collect();
    ReleaseMark { lifts: vec![hold().order], people, by_two }
}

/// The hold on the canary's gate was seen; then the controller wants lab-01 of wave full, and shows it no more.
fn held() -> Rig {
    let mut rig = Rig::new(Scope::Device);
    rig.wish(|w| {
        w.holds = vec![hold()];
        w.goals = vec![goal("ct-01", GoalAction::Install, 1)];
    });
    rig.wish(|w| {
        w.holds = Vec::new();
        w.goals = ["ct-01", "lab-01"].iter().map(|n| goal(n, GoalAction::Install, 1)).collect();
    });
    rig
}

#[test]
fn the_held_wave_goes_on_and_the_next_does_not_begin() {
    let mut rig = held();
    assert_eq!((rig.verb("ct-01"), rig.verb("lab-01")), ("fetch", "nothing"));
    rig.crash();
    assert_eq!(rig.verb("lab-01"), "nothing", "it is remembered");
    rig.wish(|w| w.releases = vec![release(&["olu"], false)]);
    assert_eq!(rig.verb("lab-01"), "fetch");
    // The hold comes once more with an old directive's orders: it was lifted.
    rig.wish(|w| w.holds = vec![hold()]);
    rig.until("lab-01", "install");
}

#[test]
fn another_person_alone_does_not_lift_it_and_two_do() {
    let mut rig = held();
    rig.wish(|w| w.releases = vec![release(&["ann"], false)]);
    assert_eq!(rig.verb("lab-01"), "nothing");
    rig.wish(|w| w.releases = vec![release(&["ann", "ben"], true)]);
    assert_eq!(rig.verb("lab-01"), "fetch");
}

#[test]
fn a_release_lifts_what_it_names_only() {
    let mut rig = held();
    rig.wish(|w| {
        w.releases = vec![ReleaseMark { lifts: vec![Digest::of(b"other")], ..release(&["ann", "ben"], true) }]
    });
    assert_eq!(rig.verb("lab-01"), "nothing");
}
