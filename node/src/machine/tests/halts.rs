//! S3: after a node knows of a halt no new install begins; what has begun is finished or taken back.

use wardround_rollout_plans::model::{DeploymentState as S, DurationMs, Mode, ReportBody, Scope};

use super::rig::{Rig, fault, order, preflight, ready};
use crate::machine::{FaultKind, Input, Verb};

fn confirmed(rig: &Rig) -> Vec<u64> {
    rig.reports()
        .filter_map(|r| match r.body {
            ReportBody::HaltKnown { counter, .. } => Some(counter),
            _ => None,
        })
        .collect()
}

#[test]
fn a_halt_stops_every_step_before_the_install() {
    for verb in ["fetch", "stage", "preflight"] {
        let mut rig = Rig::wanting(Scope::Wave, &["ct-01"]);
        rig.until("ct-01", verb);
        rig.feed(Input::Halt(order(2, "halt")));
        assert_eq!(confirmed(&rig), [2], "confirmed at once");
        rig.done("ct-01", super::rig::well("ct-01", verb));
        rig.pass(DurationMs::from_secs(600));
        assert_eq!((rig.verb("ct-01"), rig.installs("ct-01")), ("nothing", 0), "{verb}");
        assert!(!rig.shown("ct-01").is_terminal(), "{verb}: it waits where it is");
        rig.wish(|w| w.resumes = vec![3]);
        rig.until("ct-01", "install");
    }
}

#[test]
fn an_install_that_has_begun_is_finished() {
    let mut rig = Rig::wanting(Scope::Wave, &["ct-01"]);
    rig.until("ct-01", "install");
    rig.feed(Input::Halt(order(2, "halt")));
    rig.soak("ct-01");
    rig.pass(super::rig::SOAK);
    rig.until("ct-01", "cleanup");
    assert_eq!(rig.shown("ct-01"), S::Succeeded);
}

#[test]
fn a_halt_sticks_until_a_newer_resume() {
    let mut rig = Rig::wanting(Scope::Wave, &["ct-01"]);
    rig.feed(Input::Halt(order(5, "halt")));
    rig.done("ct-01", crate::machine::Found::Fetched);
    rig.wish(|w| w.mode = Mode::Proceed);
    rig.wish(|w| w.resumes = vec![4]);
    rig.wish(|w| w.resumes = vec![5]);
    assert_eq!(rig.verb("ct-01"), "nothing", "neither the controller's word nor an older resume lifts it");
    rig.wish(|w| w.resumes = vec![6]);
    assert_eq!(rig.verb("ct-01"), "stage");
    rig.feed(Input::Halt(order(5, "halt")));
    assert_eq!((confirmed(&rig).len(), rig.wishes.counter), (1, 5), "the old order again is no news");
    rig.until("ct-01", "preflight");
}

#[test]
fn a_halt_with_a_stale_counter_halts_all_the_same() {
    let mut rig = Rig::wanting(Scope::Wave, &["ct-01"]);
    rig.wish(|w| w.resumes = vec![9]);
    rig.feed(Input::Halt(order(3, "stale")));
    rig.done("ct-01", crate::machine::Found::Fetched);
    rig.wish(|_| ());
    assert_eq!((confirmed(&rig), rig.verb("ct-01")), (vec![3], "nothing"), "the resume of before does not lift it");
    rig.wish(|w| {
        w.resumes = vec![10];
        w.lifted = [order(3, "stale").order].into();
    });
    assert_eq!(rig.verb("ct-01"), "stage");
}

#[test]
fn a_new_node_reads_halt_and_resume_in_their_order() {
    for (halts, resumes, goes_on) in [(vec![3], vec![4], true), (vec![4], vec![3], false), (vec![3, 6], vec![5], false)]
    {
        let mut rig = Rig::wanting(Scope::Wave, &[]);
        rig.wish(|w| {
            w.halts = halts.iter().map(|c| order(*c, &format!("halt {c}"))).collect();
            w.resumes = resumes.clone();
            w.goals = vec![super::rig::goal("ct-01", wardround_rollout_plans::model::GoalAction::Install, 1)];
        });
        assert_eq!(rig.verb("ct-01") == "fetch", goes_on, "{halts:?} {resumes:?}");
    }
}

#[test]
fn the_controllers_own_halt_and_pause_hold_as_well() {
    let mut rig = Rig::wanting(Scope::Wave, &["ct-01"]);
    rig.until("ct-01", "preflight");
    rig.wish(|w| w.mode = Mode::Paused);
    rig.done("ct-01", preflight(ready("ct-01")));
    assert_eq!(rig.installs("ct-01"), 0);
    rig.wish(|w| w.mode = Mode::Proceed);
    assert_eq!(rig.verb("ct-01"), "preflight", "a pause ends with the controller's word");
    rig.wish(|w| w.mode = Mode::Halted);
    rig.wish(|w| w.mode = Mode::Proceed);
    rig.done("ct-01", preflight(ready("ct-01")));
    assert_eq!(rig.installs("ct-01"), 0, "a halt does not");
    rig.wish(|w| w.resumes = vec![1]);
    rig.until("ct-01", "install");
}

#[test]
fn an_install_that_is_tried_again_under_a_halt_begins_nothing() {
    // The process had ended between the intent and the act.
    let mut rig = Rig::wanting(Scope::Wave, &["ct-01"]);
    rig.until("ct-01", "install");
    rig.feed(Input::Halt(order(2, "halt")));
    rig.crash();
    assert!(matches!(rig.action("ct-01").unwrap().verb, Verb::Install { may_begin: false, .. }));
    let withdrawn = rig.action("ct-01").unwrap().op.clone();
    rig.done("ct-01", fault(FaultKind::NotBegun));
    assert_eq!((rig.shown("ct-01"), rig.code("ct-01").as_str()), (S::Deferred, "halted"));
    // A run that was withdrawn on the device never begins there: after the resume it is another one.
    rig.wish(|w| w.resumes = vec![3]);
    rig.pass(DurationMs::from_secs(3_600));
    rig.until("ct-01", "install");
    assert_ne!(rig.action("ct-01").unwrap().op, withdrawn);

    // The device did not answer at the first try.
    let mut rig = Rig::wanting(Scope::Wave, &["ct-01"]);
    rig.until("ct-01", "install");
    rig.done("ct-01", fault(FaultKind::Unreachable));
    rig.feed(Input::Halt(order(2, "halt")));
    rig.pass(DurationMs::from_secs(5));
    assert!(matches!(rig.action("ct-01").unwrap().verb, Verb::Install { may_begin: false, .. }));
}

#[test]
fn a_halt_of_an_unknown_rollout_is_kept_for_when_it_comes() {
    let mut rig = Rig::new(Scope::Wave);
    rig.feed(Input::Halt(order(2, "halt")));
    rig.wish(|w| w.goals = vec![super::rig::goal("ct-01", wardround_rollout_plans::model::GoalAction::Install, 1)]);
    assert_eq!(rig.verb("ct-01"), "nothing");
}

#[test]
fn a_cancelled_rollout_never_installs_again() {
    let mut rig = Rig::wanting(Scope::Wave, &["ct-01"]);
    rig.wish(|w| w.cancelled = true);
    rig.wish(|w| w.cancelled = false);
    rig.done("ct-01", crate::machine::Found::Fetched);
    assert_eq!(rig.verb("ct-01"), "nothing");
}

/// Two people halt at the same moment, with the same counter: whoever signed a resume after the first of them may not have
/// seen the second.
#[test]
fn a_halt_that_came_late_is_lifted_only_by_a_resume_that_names_it() {
    let mut rig = Rig::wanting(Scope::Wave, &["ct-01"]);
    let (first, late) = (order(5, "first"), order(5, "second"));
    rig.feed(Input::Halt(first.clone()));
    rig.feed(Input::Halt(late.clone()));
    rig.done("ct-01", crate::machine::Found::Fetched);
    rig.wish(|w| {
        w.resumes = vec![6];
        w.lifted = [first.order].into();
    });
    assert_eq!(rig.verb("ct-01"), "nothing", "it was not seen");
    rig.wish(|w| {
        w.resumes = vec![7];
        w.lifted = [first.order, late.order].into();
    });
    assert_eq!(rig.verb("ct-01"), "stage");
}

#[test]
fn a_newer_halt_in_its_turn_covers_those_that_came_late() {
    let mut rig = Rig::wanting(Scope::Wave, &["ct-01"]);
    rig.feed(Input::Halt(order(5, "first")));
    rig.done("ct-01", crate::machine::Found::Fetched);
    rig.feed(Input::Halt(order(3, "late")));
    let newest = order(9, "newest");
    rig.feed(Input::Halt(newest.clone()));
    rig.wish(|w| {
        w.resumes = vec![10];
        w.lifted = [newest.order].into();
    });
    assert_eq!(rig.verb("ct-01"), "stage");
}
