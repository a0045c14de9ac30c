//! The way to the patch: each transition, and each reason not to take it.

use wardround_rollout_plans::model::{DeploymentState as S, Detected, DurationMs, GoalAction, RebootNeed, Scope};

use super::rig::{Rig, checked, device, fault, goal, installed, order, preflight, present, ready, unknown};
use crate::machine::{FaultKind, Found, Input, InstallOutcome, PreflightFound, Verb};

fn one() -> Rig {
    Rig::wanting(Scope::Wave, &["ct-01"])
}

#[test]
fn the_whole_way() {
    let mut rig = one();
    rig.soak("ct-01");
    assert_eq!(rig.verb("ct-01"), "nothing", "a soaking device is left alone");
    rig.pass(super::rig::SOAK);
    rig.done("ct-01", checked(present(), ready("ct-01").probes));
    let way = [S::Downloading, S::Staged, S::Preflight, S::Installing, S::Verifying, S::Soaking, S::Succeeded];
    assert_eq!(rig.path("ct-01"), way);
    rig.done("ct-01", Found::Cleaned);
    rig.pass(DurationMs::from_secs(86_400));
    assert_eq!((rig.verb("ct-01"), rig.state.next_due()), ("nothing", None), "nothing more happens by itself");
}

#[test]
fn a_reboot_when_asked_or_always() {
    let mut rig = one();
    rig.until("ct-01", "install");
    rig.done("ct-01", installed(InstallOutcome::NeedsReboot, Detected::Absent));
    assert_eq!((rig.verb("ct-01"), rig.shown("ct-01")), ("reboot", S::Rebooting));
    rig.done("ct-01", Found::Rebooted);
    assert_eq!((rig.verb("ct-01"), rig.shown("ct-01")), ("check", S::Verifying));

    let mut rig = Rig::new(Scope::Wave);
    rig.wish(|w| {
        w.goals = vec![crate::machine::GoalWish { reboot: RebootNeed::Always, ..goal("ct-01", GoalAction::Install, 1) }]
    });
    rig.until("ct-01", "install");
    rig.done("ct-01", installed(InstallOutcome::Installed, present()));
    assert_eq!(rig.verb("ct-01"), "reboot");
}

/// The device itself says that something is missing: nothing is tried there, now or later.
#[test]
fn a_device_without_what_the_patch_requires_is_skipped() {
    let found = |there: &[Detected]| {
        let named = there.iter().map(|there| ("KB1111111".parse().unwrap(), there.clone()));
        PreflightFound { prerequisites: named.collect(), in_use: Some("scan running".into()), ..ready("ct-01") }
    };
    for there in [&[Detected::Absent][..], &[present(), Detected::Absent], &[unknown(), Detected::Absent]] {
        let mut rig = one();
        rig.until("ct-01", "preflight");
        rig.done("ct-01", preflight(found(there)));
        assert_eq!((rig.shown("ct-01"), rig.code("ct-01").as_str()), (S::Skipped, "prerequisite"), "{there:?}");
        assert!(!rig.path("ct-01").contains(&S::Installing));
    }
    // It is there, or the patch itself is: what was required for it is no question any more.
    let mut rig = one();
    rig.until("ct-01", "preflight");
    rig.done("ct-01", preflight(PreflightFound { in_use: None, ..found(&[present()]) }));
    assert_eq!(rig.verb("ct-01"), "install");
    let mut rig = one();
    rig.until("ct-01", "preflight");
    rig.done("ct-01", preflight(PreflightFound { before: present(), ..found(&[Detected::Absent]) }));
    assert_eq!((rig.shown("ct-01"), rig.code("ct-01").as_str()), (S::Skipped, "already_installed"));
}

#[test]
fn a_device_that_may_not_be_touched_is_deferred_with_the_reason() {
    let base = || ready("ct-01");
    let requires = |there| vec![("KB1111111".parse().unwrap(), there)];
    let cases: [(&str, PreflightFound); 11] = [
        ("detection", PreflightFound { prerequisites: requires(unknown()), ..base() }),
        ("unreachable", PreflightFound { unreachable: Some("off".into()), before: unknown(), ..base() }),
        ("detection", PreflightFound { before: unknown(), ..base() }),
        ("in_use", PreflightFound { in_use: Some("scan running".into()), ..base() }),
        ("disk", PreflightFound { free_bytes: Some(10), ..base() }),
        ("disk", PreflightFound { free_bytes: Some(2_999), ..base() }),
        ("disk", PreflightFound { free_bytes: None, ..base() }),
        ("reboot_pending", PreflightFound { reboot_pending: Some(true), ..base() }),
        ("reboot_pending", PreflightFound { reboot_pending: None, ..base() }),
        ("write_filter", PreflightFound { write_filter: Some("EWF is on".into()), ..base() }),
        ("clinical_system", PreflightFound { probes: vec![super::rig::answer("lab", false)], ..ready("lab-01") }),
    ];
    for (code, found) in cases {
        let name = if code == "clinical_system" { "lab-01" } else { "ct-01" };
        let mut rig = Rig::wanting(Scope::Wave, &[name]);
        rig.until(name, "preflight");
        rig.done(name, preflight(found));
        assert_eq!((rig.shown(name), rig.code(name).as_str()), (S::Deferred, code));
        assert_eq!(rig.verb(name), "nothing", "{code}: not at once");
        rig.pass(DurationMs::from_secs(30));
        assert_eq!(rig.verb(name), "preflight", "{code}: asked afresh");
        rig.until(name, "install");
        assert_eq!(rig.installs(name), 1);
    }
}

#[test]
fn put_off_for_too_long_goes_to_a_person() {
    let mut rig = one();
    rig.until("ct-01", "preflight");
    for _ in 0..200 {
        if rig.verb("ct-01") != "preflight" {
            break;
        }
        rig.done("ct-01", preflight(PreflightFound { in_use: Some("scan running".into()), ..ready("ct-01") }));
        rig.pass(DurationMs::from_secs(30));
    }
    assert_eq!((rig.shown("ct-01"), rig.code("ct-01").as_str()), (S::Failed, "in_use"));
    assert_eq!(rig.alarms(), ["needs_person"]);
    assert_eq!((rig.installs("ct-01"), rig.path("ct-01").len()), (0, 5), "one report for one reason");
}

#[test]
fn time_under_a_halt_does_not_count_as_being_put_off() {
    let mut rig = one();
    rig.until("ct-01", "preflight");
    let busy = || preflight(PreflightFound { in_use: Some("scan running".into()), ..ready("ct-01") });
    rig.done("ct-01", busy());
    rig.feed(Input::Halt(order(5, "halt")));
    rig.pass(DurationMs::from_secs(7 * 24 * 3_600));
    rig.wish(|w| w.resumes = vec![6]);
    rig.pass(DurationMs::from_secs(60));
    assert_eq!(rig.verb("ct-01"), "preflight");
    rig.done("ct-01", busy());
    assert_eq!((rig.shown("ct-01"), rig.code("ct-01").as_str()), (S::Deferred, "in_use"), "it is not given up");
    assert_eq!(rig.alarms(), [""; 0]);
}

#[test]
fn time_without_a_place_does_not_count_as_being_put_off() {
    let mut rig = Rig::new(Scope::Device);
    rig.wish(|w| {
        w.policy.per_site = 1;
        w.goals = vec![goal("ct-01", GoalAction::Install, 1), goal("ct-02", GoalAction::Install, 1)];
    });
    rig.until("ct-01", "preflight");
    let busy = |name: &str| preflight(PreflightFound { in_use: Some("scan running".into()), ..ready(name) });
    rig.done("ct-01", busy("ct-01"));
    // The other one has the place for longer than a device may be put off.
    rig.until("ct-02", "install");
    rig.pass(DurationMs::from_secs(7 * 24 * 3_600));
    assert_eq!(rig.code("ct-01"), "concurrency");
    rig.done("ct-02", fault(FaultKind::NotStaged));
    rig.until("ct-01", "preflight");
    rig.done("ct-01", busy("ct-01"));
    assert_eq!((rig.shown("ct-01"), rig.code("ct-01").as_str()), (S::Deferred, "in_use"), "it is not given up");
}

#[test]
fn nothing_to_do_is_skipped_and_a_wrong_platform_fails() {
    let mut rig = one();
    rig.until("ct-01", "preflight");
    rig.done("ct-01", preflight(PreflightFound { before: present(), in_use: Some("x".into()), ..ready("ct-01") }));
    assert_eq!((rig.shown("ct-01"), rig.code("ct-01").as_str()), (S::Skipped, "already_installed"));

    let mut rig = one();
    rig.until("ct-01", "install");
    let outcome = InstallOutcome::NothingToDo { reason: "not for this device".into() };
    rig.done("ct-01", installed(outcome, Detected::Absent));
    assert_eq!((rig.shown("ct-01"), rig.code("ct-01").as_str()), (S::Skipped, "not_applicable"));

    let mut rig = one();
    rig.until("ct-01", "preflight");
    rig.done("ct-01", preflight(PreflightFound { mismatch: Some("it is Windows 7".into()), ..ready("ct-01") }));
    assert_eq!((rig.shown("ct-01"), rig.code("ct-01").as_str()), (S::Failed, "platform"));
    assert_eq!(rig.installs("ct-01"), 0);
}

#[test]
fn a_failed_install_is_looked_at_before_it_is_called_harmless() {
    let failed = || InstallOutcome::Failed { reason: "1603".into(), code: "installer_failed".into() };
    let mut rig = one();
    rig.until("ct-01", "install");
    rig.done("ct-01", installed(failed(), Detected::Absent));
    assert_eq!((rig.shown("ct-01"), rig.code("ct-01").as_str()), (S::Failed, "installer_failed"));

    for after in [present(), unknown()] {
        let mut rig = one();
        rig.until("ct-01", "install");
        rig.done("ct-01", installed(failed(), after));
        assert_eq!((rig.shown("ct-01"), rig.verb("ct-01")), (S::RollingBack, "uninstall"));
        rig.done("ct-01", super::rig::uninstalled(false));
        rig.done("ct-01", checked(Detected::Absent, Vec::new()));
        assert_eq!((rig.shown("ct-01"), rig.code("ct-01").as_str()), (S::RolledBack, "installer_failed"));
    }
}

#[test]
fn a_content_installer_without_the_patch_is_a_failure() {
    let mut rig = one();
    rig.until("ct-01", "check");
    rig.done("ct-01", checked(Detected::Absent, Vec::new()));
    assert_eq!((rig.shown("ct-01"), rig.code("ct-01").as_str()), (S::Failed, "verify"));
}

#[test]
fn a_busy_device_is_tried_again_under_an_operation_of_its_own() {
    let mut rig = one();
    rig.until("ct-01", "install");
    assert_eq!(rig.action("ct-01").unwrap().op, "r1.ct-01.1");
    rig.done("ct-01", installed(InstallOutcome::Busy, Detected::Absent));
    assert_eq!((rig.shown("ct-01"), rig.code("ct-01").as_str()), (S::Deferred, "busy"));
    rig.pass(DurationMs::from_secs(30));
    rig.until("ct-01", "install");
    assert_eq!(rig.action("ct-01").unwrap().op, "r1.ct-01.1.i2", "else the device would answer with the old result");
}

#[test]
fn a_full_disk_waits_and_a_payload_that_stays_wrong_fails() {
    let mut rig = one();
    rig.done("ct-01", fault(FaultKind::Disk));
    assert_eq!((rig.shown("ct-01"), rig.code("ct-01").as_str()), (S::Deferred, "disk"));
    rig.pass(DurationMs::from_secs(30));
    rig.until("ct-01", "install");

    let mut rig = one();
    for _ in 0..3 {
        rig.pass(DurationMs::from_secs(60));
        rig.done("ct-01", fault(FaultKind::Corrupt));
    }
    assert_eq!((rig.shown("ct-01"), rig.code("ct-01").as_str()), (S::Failed, "payload"));
    let refused =
        rig.reports().filter(|r| matches!(r.body, wardround_rollout_plans::model::ReportBody::Refused { .. }));
    assert_eq!(refused.count(), 1, "the same refusal is told once");
}

#[test]
fn a_controller_out_of_reach_costs_only_time() {
    let mut rig = one();
    for _ in 0..50 {
        rig.done("ct-01", fault(FaultKind::Unreachable));
        rig.pass(DurationMs::from_secs(60));
    }
    assert_eq!(rig.shown("ct-01"), S::Downloading);
    rig.until("ct-01", "install");
}

#[test]
fn what_is_withdrawn_before_the_install_ends_and_what_has_begun_goes_on() {
    let mut rig = Rig::wanting(Scope::Wave, &["ct-01", "lab-01"]);
    rig.until("ct-01", "install");
    rig.until("lab-01", "preflight");
    rig.wish(|w| w.goals.clear());
    assert_eq!((rig.shown("lab-01"), rig.code("lab-01").as_str()), (S::Failed, "withdrawn"));
    rig.done("lab-01", preflight(ready("lab-01")));
    assert_eq!(rig.installs("lab-01"), 0, "a late answer changes nothing");
    rig.soak("ct-01");
}

#[test]
fn a_goal_to_withdraw_ends_what_has_not_begun_also_where_it_was_never_heard_of() {
    let mut rig = Rig::wanting(Scope::Wave, &["ct-01", "lab-01"]);
    rig.until("ct-01", "install");
    rig.until("lab-01", "preflight");
    rig.wish(|w| w.goals = ["ct-01", "ct-02", "lab-01"].iter().map(|n| goal(n, GoalAction::Withdraw, 1)).collect());
    for name in ["lab-01", "ct-02"] {
        assert_eq!((rig.shown(name), rig.code(name).as_str()), (S::Failed, "withdrawn"), "{name}");
        assert_eq!(rig.installs(name), 0, "{name}");
    }
    rig.soak("ct-01");
}

#[test]
fn each_attempt_is_done_once() {
    let mut rig = one();
    rig.until("ct-01", "install");
    let failed = InstallOutcome::Failed { reason: "1603".into(), code: "installer_failed".into() };
    rig.done("ct-01", installed(failed, Detected::Absent));
    rig.until("ct-01", "cleanup");
    rig.done("ct-01", Found::Cleaned);
    rig.wish(|_| ());
    assert_eq!(rig.verb("ct-01"), "nothing");
    rig.wish(|w| w.goals[0].attempt = 2);
    rig.until("ct-01", "install");
    assert_eq!(rig.action("ct-01").unwrap().op, "r1.ct-01.2");
}

#[test]
fn limits_hold_devices_back_until_there_is_room() {
    let mut rig = Rig::new(Scope::Wave);
    rig.wish(|w| {
        w.policy.per_site = 1;
        w.goals = ["ct-01", "ct-02"].iter().map(|n| goal(n, GoalAction::Install, 1)).collect();
    });
    rig.until("ct-01", "install");
    for _ in 0..2 {
        let verb = rig.verb("ct-02");
        rig.done("ct-02", super::rig::well("ct-02", verb));
    }
    assert_eq!((rig.shown("ct-02"), rig.code("ct-02").as_str()), (S::Deferred, "concurrency"));
    rig.soak("ct-01");
    assert_eq!(rig.verb("ct-02"), "nothing", "a soaking device still counts");
    rig.pass(super::rig::SOAK);
    rig.done("ct-01", checked(present(), ready("ct-01").probes));
    assert_eq!(rig.verb("ct-02"), "preflight");
}

#[test]
fn a_redundancy_group_is_never_disrupted_as_a_whole() {
    let mut rig = Rig::new(Scope::Wave);
    let mut inventory = super::rig::inventory();
    inventory.groups.values_mut().for_each(|most| *most = 1);
    rig.declare(inventory);
    rig.wish(|w| w.goals = ["ct-01", "ct-02", "lab-01"].iter().map(|n| goal(n, GoalAction::Install, 1)).collect());
    rig.until("ct-01", "install");
    for _ in 0..2 {
        let verb = rig.verb("ct-02");
        rig.done("ct-02", super::rig::well("ct-02", verb));
    }
    assert_eq!((rig.shown("ct-02"), rig.code("ct-02").as_str()), (S::Deferred, "redundancy_group"));
    rig.until("lab-01", "install");
}

#[test]
fn an_expired_directive_begins_nothing_and_finishes_what_runs() {
    let mut rig = Rig::new(Scope::Wave);
    rig.wishes.expires_at = rig.now.after(DurationMs::from_secs(10));
    rig.wish(|w| w.goals = ["ct-01", "ct-02"].iter().map(|n| goal(n, GoalAction::Install, 1)).collect());
    rig.until("ct-01", "install");
    rig.until("ct-02", "preflight");
    rig.pass(DurationMs::from_secs(11));
    rig.done("ct-02", preflight(ready("ct-02")));
    assert_eq!((rig.verb("ct-02"), rig.installs("ct-02")), ("nothing", 0));
    rig.soak("ct-01");
    rig.wishes.expires_at = rig.now.after(DurationMs::from_secs(3_600));
    rig.wish(|_| ());
    rig.until("ct-02", "install");
}

#[test]
fn a_crash_takes_up_each_step_under_the_same_operation() {
    for verb in ["fetch", "stage", "preflight", "install", "check"] {
        let mut rig = one();
        rig.until("ct-01", verb);
        let before = rig.action("ct-01").unwrap().clone();
        rig.crash();
        let after = rig.action("ct-01").unwrap();
        assert_eq!((after.op.as_str(), super::rig::word(&after.verb)), (before.op.as_str(), verb));
        assert!(after.task > before.task, "{verb}: a late answer of the dead process is not taken");
        rig.soak("ct-01");
    }
    let mut rig = one();
    rig.until("ct-01", "install");
    rig.done("ct-01", installed(InstallOutcome::NeedsReboot, Detected::Absent));
    rig.crash();
    assert!(
        matches!(rig.action("ct-01").unwrap().verb, Verb::Reboot { again: true, .. }),
        "ask before rebooting twice"
    );
}

#[test]
fn a_rollout_that_changed_its_content_is_refused() {
    let mut rig = one();
    rig.wish(|w| {
        w.digest = wardround_signing::Digest::of(b"another");
        w.goals.push(goal("lab-01", GoalAction::Install, 1));
    });
    assert!(rig.reports().any(|r| matches!(r.body, wardround_rollout_plans::model::ReportBody::Refused { .. })));
    assert!(rig.action("lab-01").is_none());
    assert!(rig.state.deployments().all(|(_, d, _)| *d == device("ct-01")));
}

#[test]
fn a_payload_that_vanished_is_brought_again_and_everything_is_asked_again() {
    let mut rig = one();
    rig.until("ct-01", "install");
    rig.done("ct-01", fault(FaultKind::NotStaged));
    assert_eq!((rig.shown("ct-01"), rig.code("ct-01").as_str()), (S::Deferred, "staging"));
    rig.pass(DurationMs::from_secs(30));
    assert_eq!(rig.verb("ct-01"), "stage");
    rig.feed(crate::machine::Input::Halt(super::rig::order(2, "halt")));
    rig.done("ct-01", Found::Staged);
    assert_eq!((rig.verb("ct-01"), rig.installs("ct-01")), ("nothing", 1), "an upload may take hours");
    rig.wish(|w| w.resumes = vec![3]);
    assert_eq!(rig.verb("ct-01"), "preflight");
    rig.soak("ct-01");
}

#[test]
fn every_run_of_the_installer_is_removed_from_the_device() {
    let mut rig = one();
    for run in ["r1.ct-01.1", "r1.ct-01.1.i2"] {
        rig.until("ct-01", "install");
        rig.done("ct-01", installed(InstallOutcome::Busy, Detected::Absent));
        rig.pass(DurationMs::from_secs(30));
        let Verb::Stage { gone } = &rig.action("ct-01").unwrap().verb else { panic!("staged anew") };
        assert_eq!(gone.as_deref(), Some(run), "else a small disk fills with copies of the payload");
    }
    rig.soak("ct-01");
    rig.wish(|w| w.goals = vec![goal("ct-01", GoalAction::RollBack, 1)]);
    for _ in 0..2 {
        rig.pass(DurationMs::from_secs(60));
        rig.done("ct-01", super::rig::uninstalled(false));
        let detected = if rig.action("ct-01").unwrap().op.ends_with("u2") { Detected::Absent } else { present() };
        rig.done("ct-01", checked(detected, Vec::new()));
    }
    let Verb::Cleanup { ops, .. } = &rig.action("ct-01").unwrap().verb else { panic!("cleaned up") };
    assert_eq!(ops, &["r1.ct-01.1", "r1.ct-01.1.i2", "r1.ct-01.1.i3", "r1.ct-01.1.u2"]);
}

#[test]
fn the_limits_of_a_wave_and_of_the_node_hold_as_well() {
    let ready_to_begin = |change: &dyn Fn(&mut Rig)| {
        let mut rig = Rig::new(Scope::Wave);
        change(&mut rig);
        rig.wish(|w| w.goals = ["ct-02", "lab-01"].iter().map(|n| goal(n, GoalAction::Install, 1)).collect());
        rig.until("ct-02", "install");
        for _ in 0..2 {
            let verb = rig.verb("lab-01");
            rig.done("lab-01", super::rig::well("lab-01", verb));
        }
        rig
    };
    let free = ready_to_begin(&|_| ());
    assert_eq!(free.verb("lab-01"), "preflight");
    let wave = ready_to_begin(&|rig| {
        let waves = &mut rig.wishes.rollouts[0].policy.waves;
        waves.values_mut().for_each(|wave| wave.per_site = Some(1));
    });
    let node = ready_to_begin(&|rig| {
        let view = crate::machine::SiteView {
            inventory: Some(super::rig::inventory()),
            concurrency_max: 1,
            ..crate::machine::SiteView::default()
        };
        rig.feed(crate::machine::Input::Site(Box::new(view)));
    });
    for rig in [wave, node] {
        assert_eq!((rig.verb("lab-01"), rig.code("lab-01").as_str()), ("nothing", "concurrency"));
    }
}

#[test]
fn an_acknowledgement_of_what_was_never_said_is_cut() {
    let mut rig = one();
    rig.feed(crate::machine::Input::Acked { seq: u64::MAX });
    assert_eq!(rig.reports().count(), 0);
    rig.done("ct-01", Found::Fetched);
    rig.done("ct-01", Found::Staged);
    assert_ne!(rig.reports().count(), 0, "what is said later still has to be heard");
    let last = rig.state.outbox().last();
    rig.feed(crate::machine::Input::Acked { seq: last });
    assert_eq!(rig.reports().count(), 0, "and to be acknowledged");
}
