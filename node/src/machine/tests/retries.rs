//! Installs that failed without saying anything about the patch, and are tried again where the plan wants that.

use wardround_rollout_plans::model::{DeploymentState as S, Detected, DurationMs, GoalAction, Retries, Scope};

use super::rig::{
    Rig, SECOND, answer, checked, fault, goal, installed, order, preflight, present, ready, uninstalled, unknown,
};
use crate::machine::{FaultKind, Found, Input, InstallFound, InstallOutcome, PreflightFound, Verb};

const MINUTE: DurationMs = DurationMs::from_secs(60);

fn with(most: u32) -> Rig {
    let mut rig = Rig::new(Scope::Wave);
    rig.wish(|w| {
        w.policy.retries = Retries { most, first: MINUTE, longest: DurationMs(3 * MINUTE.0) };
        w.goals = vec![goal("ct-01", GoalAction::Install, 1)];
    });
    rig
}

/// The launcher left no result, and the device shows that nothing has changed.
fn no_result() -> Found {
    let outcome = InstallOutcome::Failed { reason: "no result".into(), code: "failed_verification".into() };
    let after = Detected::Absent;
    Found::Installed(Box::new(InstallFound {
        exit_code: None,
        outcome,
        after,
        reboot_pending: false,
        output: String::new(),
    }))
}

fn told(rig: &Rig) -> (S, String) {
    (rig.shown("ct-01"), rig.code("ct-01"))
}

#[test]
fn a_broken_line_is_tried_again_when_the_device_shows_that_nothing_has_changed() {
    for (kind, code) in [(FaultKind::Timeout, "install_timeout"), (FaultKind::Other, "install_failed")] {
        let mut rig = with(2);
        rig.until("ct-01", "install");
        let first = rig.action("ct-01").unwrap().op.clone();
        rig.done("ct-01", fault(kind));
        // Not before the run is over: nothing on the device means nothing while it may still be at work.
        let Verb::Check { install, .. } = &rig.action("ct-01").unwrap().verb else { panic!("looked at first") };
        assert_eq!(install.as_ref(), Some(&first));
        assert_eq!(told(&rig), (S::Installing, code.to_owned()));
        rig.done("ct-01", checked(Detected::Absent, Vec::new()));
        assert_eq!(told(&rig), (S::Deferred, code.to_owned()));
        let (_, _, reason) = rig.told("ct-01").unwrap();
        assert!(reason.contains("nothing has changed on the device: tried again after") && reason.ends_with("1 of 2"));
        assert_eq!(rig.verb("ct-01"), "nothing");
        rig.pass(MINUTE);
        rig.until("ct-01", "preflight");
        rig.until("ct-01", "install");
        assert_ne!(rig.action("ct-01").unwrap().op, first, "else the device would answer with the old result");
        rig.soak("ct-01");
        assert!(!rig.path("ct-01").contains(&S::RollingBack));
    }
}

#[test]
fn without_a_wish_of_the_plan_it_is_taken_back_as_ever() {
    let mut rig = with(0);
    rig.until("ct-01", "install");
    rig.done("ct-01", fault(FaultKind::Timeout));
    assert_eq!((rig.shown("ct-01"), rig.verb("ct-01")), (S::RollingBack, "uninstall"));
    let mut rig = with(0);
    rig.until("ct-01", "install");
    rig.done("ct-01", no_result());
    assert_eq!(rig.shown("ct-01"), S::Failed);
}

#[test]
fn tries_are_counted_and_the_waits_double_to_a_longest_one() {
    let mut rig = with(4);
    let mut waits = Vec::new();
    for _ in 0..4 {
        rig.until("ct-01", "install");
        rig.done("ct-01", no_result());
        assert_eq!(rig.shown("ct-01"), S::Deferred);
        let since = rig.now;
        while rig.verb("ct-01") == "nothing" {
            rig.pass(SECOND);
        }
        waits.push(rig.now.since(since).0 / 1_000);
    }
    let bounds = [(45, 60), (90, 120), (135, 180), (135, 180)];
    assert!(waits.iter().zip(bounds).all(|(wait, (least, most))| (least..=most).contains(wait)), "{waits:?}");
    rig.until("ct-01", "install");
    rig.done("ct-01", no_result());
    assert_eq!(told(&rig), (S::Failed, "failed_verification".to_owned()));
    assert_eq!(rig.installs("ct-01"), 5);
    assert_eq!(rig.path("ct-01").iter().filter(|s| **s == S::Failed).count(), 1, "one failure, however often tried");
}

#[test]
fn what_says_something_about_the_patch_is_not_tried_again() {
    let mut rig = with(3);
    rig.until("ct-01", "install");
    let failed = InstallOutcome::Failed { reason: "1603".into(), code: "installer_failed".into() };
    rig.done("ct-01", installed(failed, Detected::Absent));
    assert_eq!(told(&rig), (S::Failed, "installer_failed".to_owned()), "the installer's own word");
    for after in [present(), unknown()] {
        let mut rig = with(3);
        rig.until("ct-01", "install");
        rig.done("ct-01", fault(FaultKind::Timeout));
        while rig.verb("ct-01") == "check" {
            rig.done("ct-01", checked(after.clone(), Vec::new()));
            rig.pass(MINUTE);
        }
        assert_eq!((rig.shown("ct-01"), rig.verb("ct-01")), (S::RollingBack, "uninstall"), "{after:?}");
        rig.done("ct-01", uninstalled(false));
        rig.done("ct-01", checked(Detected::Absent, Vec::new()));
        assert_eq!(told(&rig), (S::RolledBack, "install_timeout".to_owned()));
    }
}

#[test]
fn an_installer_that_is_still_at_work_is_waited_for_and_then_taken_back() {
    let mut rig = with(3);
    rig.until("ct-01", "install");
    rig.done("ct-01", fault(FaultKind::Timeout));
    while rig.verb("ct-01") == "check" {
        rig.done("ct-01", fault(FaultKind::Unreachable));
        rig.pass(MINUTE);
    }
    assert_eq!((rig.shown("ct-01"), rig.verb("ct-01")), (S::RollingBack, "uninstall"));
}

#[test]
fn a_halt_a_deadline_and_an_order_end_the_trying() {
    let mut rig = with(3);
    rig.until("ct-01", "install");
    rig.done("ct-01", no_result());
    rig.feed(Input::Halt(order(5, "halt")));
    rig.pass(DurationMs(10 * MINUTE.0));
    assert_eq!((rig.verb("ct-01"), rig.installs("ct-01")), ("nothing", 1));

    let mut rig = with(3);
    rig.until("ct-01", "install");
    rig.done("ct-01", fault(FaultKind::Timeout));
    rig.wish(|w| w.goals = vec![goal("ct-01", GoalAction::RollBack, 1)]);
    assert_eq!((rig.shown("ct-01"), rig.verb("ct-01")), (S::RollingBack, "uninstall"));

    let mut rig = with(3);
    rig.until("ct-01", "install");
    rig.done("ct-01", no_result());
    rig.wish(|w| w.goals = vec![goal("ct-01", GoalAction::Withdraw, 1)]);
    assert_eq!(told(&rig), (S::Failed, "withdrawn".to_owned()), "nothing has changed, so nothing is taken back");
}

/// Found by the simulation (seeds 5119 and 5211): people may have taken back the signature that it began under.
#[test]
fn what_ceased_to_be_wanted_while_its_installer_ran_is_not_tried_again() {
    for goals in [vec![goal("ct-01", GoalAction::Withdraw, 1)], Vec::new()] {
        let mut rig = with(3);
        rig.until("ct-01", "install");
        rig.wish(|w| w.goals = goals.clone());
        rig.done("ct-01", no_result());
        rig.pass(DurationMs(10 * MINUTE.0));
        assert_eq!((rig.shown("ct-01"), rig.verb("ct-01")), (S::Failed, "cleanup"), "{goals:?}");
        assert_eq!(rig.installs("ct-01"), 1, "{goals:?}");
    }
}

#[test]
fn a_system_that_the_first_try_has_harmed_is_no_baseline_for_the_second() {
    let mut rig = with(3);
    rig.until("ct-01", "install");
    rig.done("ct-01", no_result());
    rig.pass(MINUTE);
    rig.until("ct-01", "preflight");
    rig.done("ct-01", preflight(PreflightFound { probes: vec![answer("pacs", false)], ..ready("ct-01") }));
    assert_eq!(told(&rig), (S::Failed, "clinical_system".to_owned()));
    assert_eq!(rig.installs("ct-01"), 1);
}

#[test]
fn a_crash_forgets_no_try() {
    let mut rig = with(1);
    rig.until("ct-01", "install");
    rig.done("ct-01", fault(FaultKind::Timeout));
    rig.crash();
    assert_eq!(rig.verb("ct-01"), "check");
    rig.done("ct-01", checked(Detected::Absent, Vec::new()));
    rig.crash();
    rig.pass(MINUTE);
    rig.until("ct-01", "install");
    rig.crash();
    rig.done("ct-01", no_result());
    assert_eq!(told(&rig), (S::Failed, "failed_verification".to_owned()), "its one try is used up");
}

#[test]
fn nothing_begins_after_the_deadline_of_the_signed_plan() {
    let mut rig = Rig::new(Scope::Wave);
    let by = rig.now.after(MINUTE);
    rig.wish(|w| {
        w.policy.waves.values_mut().for_each(|wave| wave.begin_by = Some(by));
        w.goals = vec![goal("ct-01", GoalAction::Install, 1), goal("lab-01", GoalAction::Install, 1)];
    });
    rig.until("ct-01", "install");
    rig.until("lab-01", "preflight");
    rig.pass(MINUTE);
    rig.done("lab-01", preflight(ready("lab-01")));
    rig.pass(DurationMs(60 * MINUTE.0));
    assert_eq!((rig.verb("lab-01"), rig.installs("lab-01")), ("nothing", 0));
    rig.soak("ct-01");
}
