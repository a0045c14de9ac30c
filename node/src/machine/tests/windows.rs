//! Windows and freezes: what waits for them, what never does, and what a changed clock or site file does to the wait.

use wardround_rollout_plans::model::{
    DeploymentState as S, Detected, DurationMs, Freeze, GoalAction, Scope, SiteHours, Timestamp, Window,
};

use super::rig::{Rig, checked, fault, goal, installed, inventory, preflight, present, ready, uninstalled, wave};
use crate::machine::{FaultKind, Input, InstallOutcome, PreflightFound, RolloutWish, Verb};

const HOUR: DurationMs = DurationMs::from_secs(3_600);
/// Install and reboot time-outs of the rig's policy.
const ROOM: DurationMs = DurationMs::from_secs(720);

fn window(from: &str, to: &str) -> Window {
    Window { days: Vec::new(), from: from.parse().unwrap(), to: to.parse().unwrap() }
}

fn freeze(from: &str, to: &str) -> Freeze {
    Freeze { from: from.parse().unwrap(), to: to.parse().unwrap(), reason: "go-live".into() }
}

/// `clock` on 2026-11-24, UTC.
fn today(clock: &str) -> Timestamp {
    Timestamp(format!("2026-11-24T{clock}:00Z").parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

/// A rig at this time of day, with a plan for ct-01 that `change` may change.
fn planned(clock: &str, change: impl FnOnce(&mut RolloutWish)) -> Rig {
    let mut rig = Rig::new(Scope::Wave);
    rig.now = today(clock);
    rig.wish(|w| {
        w.goals = vec![goal("ct-01", GoalAction::Install, 1)];
        change(w);
    });
    rig
}

/// The plan opens from 22:00 to 05:00.
fn nightly(clock: &str) -> Rig {
    planned(clock, |w| w.policy.windows = vec![window("22:00", "05:00")])
}

/// Answers what is open until nothing is.
fn exhaust(rig: &mut Rig) {
    for verb in ["fetch", "stage"] {
        if rig.verb("ct-01") == verb {
            rig.until("ct-01", if verb == "fetch" { "stage" } else { "nothing" });
        }
    }
}

fn waits(rig: &Rig) -> String {
    let (state, code, reason) = rig.told("ct-01").unwrap();
    assert_eq!((rig.verb("ct-01"), state, code.as_str()), ("nothing", S::Deferred, "window_closed"), "{reason}");
    reason
}

#[test]
fn a_closed_window_lets_the_payload_through_and_nothing_else() {
    let mut rig = nightly("12:00");
    exhaust(&mut rig);
    let reason = waits(&rig);
    assert_eq!(reason, "window closed until Tue 2026-11-24 22:00 UTC: it is outside the plan's windows");
    assert_eq!(rig.state.next_due(), Some(today("22:00")), "it wakes by itself");
    let told = rig.reports().count();
    rig.feed(Input::Tick);
    rig.wish(|_| ());
    assert_eq!(rig.reports().count(), told, "the same reason is told once");
    rig.pass(DurationMs(10 * HOUR.0));
    assert_eq!(rig.verb("ct-01"), "preflight");
    rig.soak("ct-01");
}

#[test]
fn a_window_that_closes_between_the_question_and_the_install() {
    let mut rig = nightly("22:00");
    rig.now = today("23:00");
    rig.until("ct-01", "preflight");
    // 05:00 less the time-outs is the last moment.
    rig.now = Timestamp(today("23:00").0 + 6 * HOUR.0 as i64 - ROOM.0 as i64 + 1);
    rig.done("ct-01", preflight(ready("ct-01")));
    assert_eq!(rig.installs("ct-01"), 0);
    assert!(waits(&rig).contains("too little is left of the window: an install may take 12m"));
    rig.pass(DurationMs(18 * HOUR.0));
    assert_eq!(rig.verb("ct-01"), "preflight", "asked afresh the next night");
    rig.until("ct-01", "install");

    let mut rig = nightly("22:00");
    rig.until("ct-01", "preflight");
    rig.now = Timestamp(today("22:00").0 + 7 * HOUR.0 as i64 - ROOM.0 as i64);
    rig.done("ct-01", preflight(ready("ct-01")));
    assert_eq!(rig.installs("ct-01"), 1, "just enough");
}

#[test]
fn what_has_begun_goes_on_after_the_window() {
    let mut rig = nightly("22:00");
    rig.until("ct-01", "install");
    rig.now = today("12:00").after(DurationMs(24 * HOUR.0));
    rig.done("ct-01", installed(InstallOutcome::NeedsReboot, Detected::Absent));
    assert_eq!(rig.verb("ct-01"), "reboot");
    rig.done("ct-01", crate::machine::Found::Rebooted);
    rig.done("ct-01", checked(present(), ready("ct-01").probes));
    rig.pass(super::rig::SOAK);
    rig.done("ct-01", checked(present(), ready("ct-01").probes));
    assert_eq!(rig.shown("ct-01"), S::Succeeded);
    // Nor does a freeze hold a rollback.
    rig.wish(|w| w.goals = vec![goal("ct-01", GoalAction::RollBack, 1)]);
    assert_eq!(rig.verb("ct-01"), "uninstall");
    rig.done("ct-01", uninstalled(false));
    rig.done("ct-01", checked(Detected::Absent, Vec::new()));
    assert_eq!(rig.shown("ct-01"), S::RolledBack);
}

/// Lets so many minutes pass in which the device is in use whenever it is asked.
fn in_use_for(rig: &mut Rig, minutes: u32) {
    for _ in 0..minutes {
        if rig.verb("ct-01") == "preflight" {
            rig.done("ct-01", preflight(PreflightFound { in_use: Some("a scan".into()), ..ready("ct-01") }));
        }
        rig.pass(DurationMs::from_secs(60));
    }
}

#[test]
fn waiting_for_a_window_uses_up_no_patience() {
    // An install may begin for 28 minutes of each night; the plan's patience is an hour.
    let mut rig = planned("12:00", |w| w.policy.windows = vec![window("22:00", "22:40")]);
    exhaust(&mut rig);
    rig.pass(DurationMs(10 * HOUR.0));
    for night in 1..=2 {
        in_use_for(&mut rig, 30);
        assert!(waits(&rig).contains("22:00 UTC"), "night {night}");
        rig.pass(DurationMs(24 * HOUR.0 - 30 * 60_000));
        assert_eq!((rig.verb("ct-01"), rig.shown("ct-01")), ("preflight", S::Deferred), "after night {night}");
    }
    in_use_for(&mut rig, 2);
    assert_eq!(rig.shown("ct-01"), S::Deferred, "58 minutes in three days");
    in_use_for(&mut rig, 6);
    assert_eq!((rig.shown("ct-01"), rig.code("ct-01").as_str()), (S::Failed, "in_use"), "then a person is called");
}

#[test]
fn a_freeze_holds_and_ends() {
    let mut rig = planned("23:00", |w| w.policy.freezes = vec![freeze("2026-11-20", "2026-11-30")]);
    exhaust(&mut rig);
    assert!(waits(&rig).contains("until Tue 2026-12-01 00:00 UTC: the plan's change freeze"), "{}", waits(&rig));
    rig.pass(DurationMs(6 * 24 * HOUR.0));
    waits(&rig);
    rig.pass(DurationMs(2 * HOUR.0));
    rig.until("ct-01", "install");
}

#[test]
fn the_clock_of_the_site_counts_and_its_own_windows_too() {
    let mut rig = nightly("21:30");
    let hours = |zone: &str, windows: Vec<Window>| SiteHours {
        time_zone: Some(zone.parse().unwrap()),
        windows,
        freezes: Vec::new(),
    };
    exhaust(&mut rig);
    waits(&rig);
    // 21:30 UTC is 22:30 in Paris: the corrected site file counts at once.
    let mut known = inventory();
    known.hours = hours("Europe/Paris", Vec::new());
    rig.declare(known.clone());
    assert_eq!(rig.verb("ct-01"), "preflight");
    // And so does one that closes before the answer comes.
    known.hours = hours("Europe/Paris", vec![window("23:00", "24:00")]);
    rig.declare(known.clone());
    rig.done("ct-01", preflight(ready("ct-01")));
    assert!(
        waits(&rig).contains("22:00") || waits(&rig).contains("23:00 Europe/Paris: it is outside the site's windows")
    );
    known.hours = hours("Europe/Paris", Vec::new());
    known.devices[0].windows = vec![window("03:00", "04:00")];
    rig.declare(known.clone());
    assert!(waits(&rig).contains("Wed 2026-11-25 03:00 Europe/Paris: it is outside the device's windows"));
    known.devices[0].windows.clear();
    rig.declare(known);
    rig.until("ct-01", "install");
}

#[test]
fn a_clock_that_is_set_opens_and_closes_windows() {
    let mut rig = nightly("12:00");
    exhaust(&mut rig);
    waits(&rig);
    rig.now = today("22:30");
    rig.feed(Input::Tick);
    assert_eq!(rig.verb("ct-01"), "preflight", "set forward, or slept through");
    rig.now = today("12:00");
    rig.feed(Input::Tick);
    rig.done("ct-01", preflight(ready("ct-01")));
    assert_eq!(rig.installs("ct-01"), 0, "it was wrong, and is put right");
    assert!(waits(&rig).contains("2026-11-24 22:00"));
    rig.now = today("01:00");
    rig.feed(Input::Tick);
    assert_eq!(rig.verb("ct-01"), "preflight", "it does not wait by a clock that no longer shows this");
}

#[test]
fn an_install_that_did_not_begin_before_the_window_closed_begins_in_the_next() {
    // The process had ended between the intent and the act, and was away until noon.
    let mut rig = nightly("22:00");
    rig.until("ct-01", "install");
    let first = rig.action("ct-01").unwrap().op.clone();
    rig.now = today("12:00").after(DurationMs(24 * HOUR.0));
    rig.crash();
    assert!(matches!(rig.action("ct-01").unwrap().verb, Verb::Install { may_begin: false, .. }));
    rig.done("ct-01", fault(FaultKind::NotBegun));
    assert_eq!((rig.shown("ct-01"), rig.code("ct-01").as_str()), (S::Deferred, "window_closed"));
    rig.pass(HOUR);
    exhaust(&mut rig);
    waits(&rig);
    rig.pass(DurationMs(9 * HOUR.0));
    rig.until("ct-01", "install");
    assert_ne!(rig.action("ct-01").unwrap().op, first);
    // Had it begun, it would have been taken up.
    let mut rig = nightly("22:00");
    rig.until("ct-01", "install");
    rig.now = today("12:00").after(DurationMs(24 * HOUR.0));
    rig.crash();
    rig.soak("ct-01");
}

#[test]
fn a_wave_narrows_the_plan() {
    let mut rig = planned("22:00", |w| {
        w.policy.windows = vec![window("22:00", "05:00")];
        w.policy.waves.get_mut(&wave("canary")).unwrap().windows = vec![window("01:00", "03:00")];
        w.goals.push(goal("lab-01", GoalAction::Install, 1));
    });
    rig.until("lab-01", "install");
    exhaust(&mut rig);
    assert!(waits(&rig).contains("Wed 2026-11-25 01:00 UTC: it is outside the wave's windows"));
}
