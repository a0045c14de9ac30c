//! Taking a patch back: bounded, verified, and never a loop (S6, S8, S9).

use wardround_rollout_plans::model::{DeploymentState as S, Detected, DurationMs, GoalAction, Scope};

use super::rig::{Rig, answer, checked, device, fault, goal, present, uninstalled, unknown, word};
use crate::machine::{Begun, FaultKind, Found};

fn ordered(rig: &mut Rig, attempt: u32) {
    rig.wish(|w| w.goals = vec![goal("ct-01", GoalAction::RollBack, attempt)]);
}

fn soaking() -> Rig {
    let mut rig = Rig::wanting(Scope::Device, &["ct-01"]);
    rig.soak("ct-01");
    rig
}

#[test]
fn a_rolled_back_device_is_as_it_was() {
    let mut rig = soaking();
    ordered(&mut rig, 1);
    assert_eq!(rig.verb("ct-01"), "uninstall");
    rig.done("ct-01", uninstalled(true));
    assert_eq!(rig.verb("ct-01"), "reboot");
    rig.done("ct-01", Found::Rebooted);
    rig.done("ct-01", checked(Detected::Absent, Vec::new()));
    assert_eq!((rig.shown("ct-01"), rig.alarms().len()), (S::RolledBack, 0));
    rig.done("ct-01", Found::Cleaned);
    rig.wish(|w| w.goals = vec![goal("ct-01", GoalAction::Install, 1)]);
    assert_eq!((rig.verb("ct-01"), rig.installs("ct-01")), ("nothing", 1), "never installed again in this attempt");
}

#[test]
fn a_rollback_is_over_when_the_clinical_systems_are_as_healthy_as_before() {
    let taken_off = || {
        let mut rig = soaking();
        ordered(&mut rig, 1);
        rig.done("ct-01", uninstalled(false));
        rig
    };
    let ill = || checked(Detected::Absent, vec![answer("pacs", false)]);
    let mut rig = taken_off();
    rig.done("ct-01", ill());
    assert_eq!(rig.shown("ct-01"), S::RollingBack, "it is waited for");
    rig.pass(DurationMs::from_secs(60));
    rig.done("ct-01", checked(Detected::Absent, vec![answer("pacs", true)]));
    assert_eq!((rig.shown("ct-01"), rig.alarms().len()), (S::RolledBack, 0));

    let mut rig = taken_off();
    while rig.shown("ct-01") == S::RollingBack {
        rig.done("ct-01", ill());
        rig.pass(DurationMs::from_secs(60));
    }
    assert_eq!(rig.shown("ct-01"), S::RolledBack, "the device is as it was");
    assert_eq!(rig.alarms(), ["rollback_no_cure"], "the system is not: a person must look");
}

#[test]
fn what_nothing_takes_off_goes_to_a_person_at_once() {
    let mut rig = soaking();
    ordered(&mut rig, 1);
    rig.done("ct-01", fault(FaultKind::Refused));
    assert_eq!((rig.shown("ct-01"), rig.code("ct-01").as_str()), (S::RollbackFailed, "no_way_back"));
    assert!(rig.alarms().contains(&"rollback_failed".to_owned()), "{:?}", rig.alarms());
    rig.pass(DurationMs::from_secs(86_400));
    assert_eq!(rig.given.iter().filter(|a| word(&a.verb) == "uninstall").count(), 1);
}

#[test]
fn an_uninstall_that_leaves_the_patch_is_tried_three_times() {
    let mut rig = soaking();
    ordered(&mut rig, 1);
    let mut ops = Vec::new();
    for _ in 0..3 {
        rig.pass(DurationMs::from_secs(60));
        ops.push(rig.action("ct-01").unwrap().op.clone());
        rig.done("ct-01", uninstalled(false));
        rig.done("ct-01", checked(present(), Vec::new()));
    }
    assert_eq!(ops, ["r1.ct-01.1", "r1.ct-01.1.u2", "r1.ct-01.1.u3"], "a device answers a repeated id from its record");
    assert_eq!((rig.shown("ct-01"), rig.code("ct-01").as_str()), (S::RollbackFailed, "uninstall_failed"));
    assert_eq!(rig.alarms(), ["rollback_failed"]);
    rig.pass(DurationMs::from_secs(86_400));
    assert_eq!(rig.given.iter().filter(|a| word(&a.verb) == "uninstall").count(), 3);
}

#[test]
fn a_person_may_ask_for_one_more_round() {
    let mut rig = soaking();
    ordered(&mut rig, 1);
    rig.done("ct-01", fault(FaultKind::Unreachable));
    while rig.shown("ct-01") != S::RollbackFailed {
        rig.pass(DurationMs::from_secs(60));
        rig.done("ct-01", fault(FaultKind::Unreachable));
    }
    rig.until("ct-01", "cleanup");
    rig.done("ct-01", Found::Cleaned);
    ordered(&mut rig, 1);
    assert_eq!(rig.verb("ct-01"), "nothing", "the same wish again is no new round");
    ordered(&mut rig, 2);
    assert_eq!(rig.action("ct-01").unwrap().op, "r1.ct-01.2");
    rig.done("ct-01", uninstalled(false));
    rig.done("ct-01", checked(Detected::Absent, Vec::new()));
    assert_eq!(rig.shown("ct-01"), S::RolledBack);
}

#[test]
fn a_device_that_stays_away_goes_to_a_person() {
    let mut rig = Rig::wanting(Scope::Device, &["ct-01"]);
    rig.until("ct-01", "install");
    rig.done("ct-01", super::rig::installed(crate::machine::InstallOutcome::NeedsReboot, Detected::Absent));
    rig.done("ct-01", fault(FaultKind::RebootTimeout));
    assert_eq!((rig.shown("ct-01"), rig.code("ct-01").as_str()), (S::RollbackFailed, "reboot_timeout"));
    assert_eq!(rig.alarms(), ["rollback_failed"]);
}

#[test]
fn a_device_lost_during_the_install_is_taken_up_again_and_then_taken_back() {
    let mut rig = Rig::wanting(Scope::Device, &["ct-01"]);
    rig.until("ct-01", "install");
    let op = rig.action("ct-01").unwrap().op.clone();
    while rig.verb("ct-01") == "install" {
        assert_eq!(rig.action("ct-01").unwrap().op, op, "the same run, picked up");
        rig.done("ct-01", fault(FaultKind::Unreachable));
        rig.pass(DurationMs::from_secs(60));
    }
    assert_eq!((rig.shown("ct-01"), rig.verb("ct-01")), (S::RollingBack, "uninstall"));
}

#[test]
fn what_can_not_be_seen_after_the_install_is_taken_back() {
    let mut rig = Rig::wanting(Scope::Device, &["ct-01"]);
    rig.until("ct-01", "check");
    while rig.verb("ct-01") == "check" {
        rig.done("ct-01", checked(unknown(), Vec::new()));
        rig.pass(DurationMs::from_secs(60));
    }
    assert_eq!(rig.shown("ct-01"), S::RollingBack);
}

#[test]
fn a_rollback_before_the_install_only_ends_it() {
    let mut rig = Rig::wanting(Scope::Device, &["ct-01"]);
    rig.until("ct-01", "preflight");
    ordered(&mut rig, 1);
    assert_eq!((rig.shown("ct-01"), rig.code("ct-01").as_str()), (S::Failed, "ordered"));
    assert_eq!((rig.installs("ct-01"), rig.verb("ct-01")), (0, "cleanup"));
}

#[test]
fn a_rollback_of_what_has_ended_is_answered_once() {
    let mut rig = Rig::wanting(Scope::Device, &["ct-01"]);
    rig.until("ct-01", "check");
    rig.done("ct-01", checked(Detected::Absent, Vec::new()));
    let told = rig.reports().count();
    for _ in 0..3 {
        ordered(&mut rig, 1);
        assert_eq!((rig.reports().count(), rig.shown("ct-01")), (told + 1, S::Failed), "in case it was missed");
    }
    assert_eq!(rig.verb("ct-01"), "cleanup", "and nothing is done");
}

#[test]
fn a_node_without_memory_asks_the_device() {
    let mut rig = Rig::new(Scope::Device);
    ordered(&mut rig, 4);
    assert_eq!(rig.verb("ct-01"), "uninstall");
    rig.done("ct-01", uninstalled(false));
    rig.done("ct-01", checked(Detected::Absent, Vec::new()));
    assert_eq!(rig.shown("ct-01"), S::RolledBack);
    assert!(rig.state.deployments().all(|(_, d, _)| *d == device("ct-01")));
}

#[test]
fn a_rollback_goes_on_under_a_halt_and_after_a_crash() {
    let mut rig = soaking();
    rig.feed(crate::machine::Input::Halt(super::rig::order(2, "halt")));
    ordered(&mut rig, 1);
    rig.crash();
    assert_eq!(rig.verb("ct-01"), "uninstall");
    rig.done("ct-01", uninstalled(false));
    rig.crash();
    rig.done("ct-01", checked(Detected::Absent, Vec::new()));
    assert_eq!(rig.shown("ct-01"), S::RolledBack);
}

/// The first attempt ended with a device that stayed away after its reboot; a person wants a second one.
fn second_attempt() -> Rig {
    let mut rig = Rig::wanting(Scope::Device, &["ct-01"]);
    rig.until("ct-01", "install");
    rig.done("ct-01", super::rig::installed(crate::machine::InstallOutcome::NeedsReboot, present()));
    rig.done("ct-01", fault(FaultKind::RebootTimeout));
    rig.wish(|w| w.goals = vec![goal("ct-01", GoalAction::Install, 2)]);
    rig
}

#[test]
fn what_an_earlier_attempt_left_is_not_forgotten() {
    let mut rig = second_attempt();
    ordered(&mut rig, 2);
    assert_eq!((rig.shown("ct-01"), rig.verb("ct-01")), (S::RollingBack, "uninstall"), "not: never touched");

    let mut rig = second_attempt();
    rig.wish(|w| w.goals.clear());
    assert_eq!((rig.shown("ct-01"), rig.code("ct-01").as_str()), (S::RollbackFailed, "withdrawn"));

    let mut rig = second_attempt();
    rig.until("ct-01", "preflight");
    let found = crate::machine::PreflightFound { before: present(), ..super::rig::ready("ct-01") };
    rig.done("ct-01", super::rig::preflight(found));
    rig.soak("ct-01");
    assert_eq!(rig.installs("ct-01"), 1, "it is there already, and is watched like any other");

    let mut rig = second_attempt();
    rig.until("ct-01", "install");
    ordered(&mut rig, 2);
    let failed = crate::machine::InstallOutcome::Failed { reason: "1603".into(), code: "installer_failed".into() };
    rig.done("ct-01", super::rig::installed(failed, Detected::Absent));
    assert_eq!(rig.shown("ct-01"), S::Failed, "the preflight has seen that nothing was left");
}

/// A node that has lost its memory, or stands in another's place, is told to take back what an installer still brings.
#[test]
fn an_installer_at_work_is_waited_for_as_long_as_an_install_may_take() {
    let mut rig = Rig::new(Scope::Site);
    rig.wish(|w| w.goals = vec![goal("ct-01", GoalAction::RollBack, 1)]);
    let (begun, limit) = (rig.now, super::rig::policy(Scope::Site).install_timeout);
    while rig.shown("ct-01") != S::RollbackFailed {
        assert!(rig.now.since(begun) <= DurationMs(limit.0 * 2), "then people look");
        assert_eq!(rig.verb("ct-01"), "uninstall");
        rig.done("ct-01", fault(FaultKind::AtWork));
        rig.pass(DurationMs::from_secs(64));
    }
    assert!(rig.now.since(begun) >= limit);
}

/// The disk of a node is lost, and another node enrols for its site.
#[test]
fn an_install_that_a_lost_node_began_is_taken_over_and_watched() {
    let begun = |begun: Begun, well: bool| crate::machine::PreflightFound {
        before: present(),
        begun,
        in_use: Some("scan running".into()),
        probes: vec![super::rig::answer("pacs", well)],
        ..super::rig::ready("ct-01")
    };
    let fresh = || {
        let mut rig = Rig::new(Scope::Site);
        rig.wish(|w| w.goals = vec![goal("ct-01", GoalAction::Install, 1)]);
        rig.until("ct-01", "preflight");
        rig
    };
    // It is over: watched at once, also where somebody uses the device; nothing is done there.
    let mut rig = fresh();
    rig.done("ct-01", super::rig::preflight(begun(Begun::Over, true)));
    assert_eq!((rig.verb("ct-01"), rig.code("ct-01").as_str()), ("check", "taken_over"));
    rig.done("ct-01", checked(present(), super::rig::ready("ct-01").probes));
    assert_eq!(rig.shown("ct-01"), S::Soaking);
    ordered(&mut rig, 2);
    assert_eq!(rig.verb("ct-01"), "uninstall", "the way back is the same");

    // A restart may be left to do: not while a patient lies there.
    let mut rig = fresh();
    rig.done("ct-01", super::rig::preflight(begun(Begun::Unfinished, true)));
    assert_eq!((rig.shown("ct-01"), rig.code("ct-01").as_str()), (S::Deferred, "in_use"));
    let mut rig = fresh();
    let free = crate::machine::PreflightFound { in_use: None, ..begun(Begun::Unfinished, true) };
    rig.done("ct-01", super::rig::preflight(free));
    assert_eq!(rig.verb("ct-01"), "install", "its result is picked up");
    rig.done("ct-01", super::rig::installed(crate::machine::InstallOutcome::NeedsReboot, present()));
    assert_eq!(rig.verb("ct-01"), "reboot");

    // Its third run is at work, and nothing is to be seen of it yet: no other is begun beside it.
    let mut rig = fresh();
    let at_work = crate::machine::PreflightFound {
        before: Detected::Absent,
        run: 3,
        free_bytes: Some(1),
        in_use: None,
        ..begun(Begun::Unfinished, true)
    };
    rig.done("ct-01", super::rig::preflight(at_work));
    assert_eq!((rig.verb("ct-01"), rig.action("ct-01").unwrap().op.as_str()), ("install", "r1.ct-01.1.i3"));

    // How the archive was before nobody knows: what is ill now counts against the patch.
    let mut rig = fresh();
    rig.done("ct-01", super::rig::preflight(begun(Begun::Over, false)));
    rig.done("ct-01", checked(present(), begun(Begun::Over, false).probes));
    for _ in 0..super::rig::FAILURES {
        rig.probe("pacs", false);
    }
    assert_eq!(rig.verb("ct-01"), "uninstall", "{:?}", rig.path("ct-01"));
}

#[test]
fn a_redundancy_group_is_not_taken_back_all_at_once() {
    let mut rig = Rig::new(Scope::Site);
    let mut inventory = super::rig::inventory();
    inventory.groups.values_mut().for_each(|most| *most = 1);
    rig.declare(inventory);
    rig.wish(|w| w.goals = ["ct-01", "ct-02"].iter().map(|n| goal(n, GoalAction::Install, 1)).collect());
    rig.soak("ct-01");
    rig.pass(super::rig::SOAK);
    rig.done("ct-01", checked(present(), super::rig::ready("ct-01").probes));
    rig.soak("ct-02");
    for _ in 0..super::rig::FAILURES {
        rig.probe("pacs", false);
    }
    assert_eq!((rig.verb("ct-01"), rig.verb("ct-02")), ("uninstall", "nothing"));
    assert_eq!((rig.shown("ct-02"), rig.code("ct-02").as_str()), (S::RollingBack, "redundancy_group"));
    rig.done("ct-01", uninstalled(true));
    rig.crash();
    assert_eq!((rig.verb("ct-01"), rig.verb("ct-02")), ("reboot", "nothing"), "not while the other is away");
    rig.done("ct-01", Found::Rebooted);
    assert_eq!((rig.verb("ct-01"), rig.verb("ct-02")), ("check", "uninstall"));
    assert_eq!(rig.code("ct-02"), "clinical_system");
    rig.done("ct-02", fault(FaultKind::Unreachable));
    rig.pass(DurationMs::from_secs(1));
    assert_eq!(rig.verb("ct-02"), "uninstall", "what has begun goes on");
}

#[test]
fn a_rollback_waits_for_work_on_its_group_from_step_to_step() {
    let mut rig = Rig::new(Scope::Device);
    let mut inventory = super::rig::inventory();
    inventory.groups.values_mut().for_each(|most| *most = 1);
    rig.declare(inventory);
    rig.wish(|w| w.goals = ["ct-01", "ct-02"].iter().map(|n| goal(n, GoalAction::Install, 1)).collect());
    rig.soak("ct-01");
    rig.pass(super::rig::SOAK);
    rig.done("ct-01", checked(present(), super::rig::ready("ct-01").probes));
    rig.until("ct-02", "install");
    rig.wish(|w| w.goals[0].action = GoalAction::RollBack);
    assert_eq!(rig.code("ct-01"), "redundancy_group");
    rig.done("ct-02", super::rig::installed(crate::machine::InstallOutcome::NeedsReboot, Detected::Absent));
    assert_eq!(rig.verb("ct-02"), "reboot");
    assert_ne!(rig.verb("ct-01"), "uninstall", "ct-02 is between its install and its reboot");
    rig.done("ct-02", Found::Rebooted);
    assert_eq!(rig.verb("ct-01"), "uninstall");
}

#[test]
fn another_run_of_the_uninstaller_waits_for_its_turn_in_the_group_anew() {
    let mut rig = Rig::new(Scope::Site);
    let mut inventory = super::rig::inventory();
    inventory.groups.values_mut().for_each(|most| *most = 1);
    rig.declare(inventory);
    rig.wish(|w| w.goals = ["ct-01", "ct-02"].iter().map(|n| goal(n, GoalAction::Install, 1)).collect());
    rig.soak("ct-01");
    rig.pass(super::rig::SOAK);
    rig.done("ct-01", checked(present(), super::rig::ready("ct-01").probes));
    rig.soak("ct-02");
    for _ in 0..super::rig::FAILURES {
        rig.probe("pacs", false);
    }
    rig.done("ct-01", uninstalled(false));
    assert_eq!((rig.verb("ct-01"), rig.verb("ct-02")), ("check", "uninstall"));
    // The patch is still there: its second run may not begin while the other device is at work.
    rig.done("ct-01", checked(present(), Vec::new()));
    rig.pass(DurationMs::from_secs(5));
    assert_eq!((rig.verb("ct-01"), rig.verb("ct-02")), ("nothing", "uninstall"));
    assert_eq!(rig.code("ct-01"), "redundancy_group");
    rig.done("ct-02", uninstalled(false));
    rig.pass(DurationMs::from_secs(5));
    assert_eq!(rig.verb("ct-01"), "uninstall");
}
