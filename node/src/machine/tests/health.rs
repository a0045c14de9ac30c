//! S5: a clinical system that was healthy before and is not after is blamed, and its devices are taken back.

use wardround_rollout_plans::model::{
    DeploymentState as S, Detected, DurationMs, GoalAction, Health, Mode, Report, ReportBody, Scope,
};

use super::rig::{FAILURES, Rig, answer, checked, device, goal, installed, preflight, present, ready, system};
use crate::machine::{InstallOutcome, PreflightFound};

fn fail(rig: &mut Rig, name: &str, times: u32) {
    for _ in 0..times {
        rig.probe(name, false);
        rig.pass(DurationMs::from_secs(1));
    }
}

#[test]
fn enough_failures_in_a_row_take_the_patch_back_without_a_controller() {
    let mut rig = Rig::wanting(Scope::Device, &["ct-01"]);
    rig.soak("ct-01");
    fail(&mut rig, "pacs", FAILURES - 1);
    rig.probe("pacs", true);
    fail(&mut rig, "pacs", FAILURES - 1);
    assert_eq!((rig.shown("ct-01"), rig.blamed().len()), (S::Soaking, 0), "not in a row");
    rig.probe("pacs", false);
    assert_eq!(rig.blamed(), [system("pacs")]);
    assert_eq!((rig.shown("ct-01"), rig.verb("ct-01")), (S::RollingBack, "uninstall"));
    assert_eq!(rig.code("ct-01"), "clinical_system");
    fail(&mut rig, "pacs", 20);
    assert_eq!(rig.blamed().len(), 1, "blamed once");
}

#[test]
fn one_failure_of_a_critical_system_is_enough() {
    let mut rig = Rig::wanting(Scope::Device, &["lab-01"]);
    rig.soak("lab-01");
    rig.probe("lab", false);
    assert_eq!(rig.shown("lab-01"), S::RollingBack);
}

#[test]
fn what_was_unhealthy_before_is_never_blamed() {
    let mut rig = Rig::wanting(Scope::Wave, &["ct-01"]);
    rig.until("ct-01", "preflight");
    rig.done("ct-01", preflight(PreflightFound { probes: vec![answer("pacs", false)], ..ready("ct-01") }));
    rig.until("ct-01", "check");
    rig.done("ct-01", checked(present(), vec![answer("pacs", false)]));
    fail(&mut rig, "pacs", 20);
    assert_eq!((rig.shown("ct-01"), rig.blamed().len()), (S::Soaking, 0));
    rig.pass(super::rig::SOAK);
    rig.done("ct-01", checked(present(), vec![answer("pacs", false)]));
    assert_eq!(rig.shown("ct-01"), S::Succeeded);
}

#[test]
fn the_grace_and_work_on_a_neighbour_explain_a_failure() {
    let mut rig = Rig::new(Scope::Device);
    rig.wish(|w| {
        w.policy.health.grace = DurationMs::from_secs(30);
        w.goals = ["ct-01", "ct-02"].iter().map(|n| goal(n, GoalAction::Install, 1)).collect();
    });
    rig.until("ct-02", "install");
    rig.soak("ct-01");
    rig.pass(DurationMs::from_secs(31));
    fail(&mut rig, "pacs", 10);
    assert_eq!(rig.shown("ct-01"), S::Soaking, "ct-02 is being installed");
    rig.soak("ct-02");
    fail(&mut rig, "pacs", 10);
    assert_eq!(rig.shown("ct-01"), S::Soaking, "the grace of ct-02");
    rig.pass(DurationMs::from_secs(30));
    fail(&mut rig, "pacs", FAILURES);
    assert_eq!((rig.shown("ct-01"), rig.shown("ct-02")), (S::RollingBack, S::RollingBack));
}

/// ct-01 (canary) and lab-01 (full) soak, ct-02 (full) is being installed, and the PACS fails.
fn scoped(scope: Scope) -> Rig {
    let mut rig = Rig::wanting(scope, &["ct-01", "lab-01"]);
    rig.soak("ct-01");
    rig.soak("lab-01");
    fail(&mut rig, "pacs", FAILURES);
    rig
}

#[test]
fn the_scope_says_how_far_the_rollback_reaches() {
    for (scope, lab) in [
        (Scope::Device, S::Soaking),
        (Scope::Wave, S::Soaking),
        (Scope::Site, S::RollingBack),
        (Scope::Rollout, S::RollingBack),
    ] {
        let rig = scoped(scope);
        assert_eq!((rig.shown("ct-01"), rig.shown("lab-01")), (S::RollingBack, lab), "{scope:?}");
    }
}

#[test]
fn what_has_soaked_is_taken_back_too_and_what_has_not_begun_never_begins() {
    let mut rig = Rig::wanting(Scope::Site, &["ct-01", "ct-02"]);
    rig.soak("ct-01");
    rig.until("ct-02", "preflight");
    rig.pass(super::rig::SOAK);
    rig.done("ct-01", checked(present(), ready("ct-01").probes));
    assert_eq!(rig.shown("ct-01"), S::Succeeded);
    assert_eq!(rig.state.monitored()[&system("pacs")], DurationMs::from_secs(1), "watched while the rollout goes on");
    fail(&mut rig, "pacs", FAILURES);
    assert_eq!((rig.shown("ct-01"), rig.shown("ct-02")), (S::RollingBack, S::Failed));
    assert_eq!(rig.installs("ct-02"), 0);
}

#[test]
fn an_install_under_way_is_taken_back_when_it_ends() {
    let mut rig = Rig::wanting(Scope::Site, &["lab-01", "ct-01"]);
    rig.soak("lab-01");
    rig.until("ct-01", "install");
    rig.probe("lab", false);
    assert_eq!((rig.shown("lab-01"), rig.verb("ct-01")), (S::RollingBack, "install"), "never left half way");
    rig.done("ct-01", super::rig::well("ct-01", "install"));
    assert_eq!((rig.shown("ct-01"), rig.verb("ct-01")), (S::RollingBack, "uninstall"));
}

#[test]
fn nothing_new_begins_until_the_controller_has_heard_of_the_blame() {
    let mut rig = scoped(Scope::Wave);
    rig.wish(|w| w.goals.push(goal("ct-02", GoalAction::Install, 1)));
    assert_eq!(rig.verb("ct-02"), "nothing", "the directive may have been made before the blame was known");
    let last = rig.state.outbox().last();
    rig.feed(crate::machine::Input::Acked { seq: last });
    rig.wish(|w| w.mode = Mode::Paused);
    assert_eq!(rig.verb("ct-02"), "nothing");
    rig.wish(|w| w.mode = Mode::Proceed);
    assert_eq!(rig.verb("ct-02"), "fetch");
}

#[test]
fn a_failing_last_look_is_watched_on_until_it_is_clear() {
    let mut rig = Rig::wanting(Scope::Device, &["ct-01"]);
    rig.soak("ct-01");
    rig.pass(super::rig::SOAK);
    rig.done("ct-01", checked(present(), vec![answer("pacs", false)]));
    assert_eq!((rig.shown("ct-01"), rig.code("ct-01").as_str()), (S::Soaking, "clinical_system"));
    rig.pass(DurationMs::from_secs(1));
    rig.done("ct-01", checked(present(), vec![answer("pacs", true)]));
    assert_eq!(rig.shown("ct-01"), S::Soaking, "the count of before is cleared by this look");
    rig.pass(DurationMs::from_secs(1));
    rig.done("ct-01", checked(present(), vec![answer("pacs", true)]));
    assert_eq!(rig.shown("ct-01"), S::Succeeded);
}

#[test]
fn steady_health_is_no_news() {
    let mut rig = Rig::wanting(Scope::Device, &["ct-01"]);
    rig.soak("ct-01");
    let records = rig.journal.len();
    for _ in 0..1_000 {
        rig.probe("pacs", true);
    }
    assert_eq!(rig.journal.len(), records);
    assert!(rig.state.deployments().any(|(_, d, _)| *d == device("ct-01")));
}

#[test]
fn a_system_that_nobody_can_ask_any_more_does_not_hold_the_soak_for_ever() {
    let mut rig = Rig::wanting(Scope::Device, &["ct-01"]);
    rig.soak("ct-01");
    rig.probe("pacs", false);
    let mut inventory = super::rig::inventory();
    inventory.systems.retain(|s| s.id != system("pacs"));
    rig.declare(inventory);
    rig.pass(super::rig::SOAK);
    rig.done("ct-01", checked(present(), Vec::new()));
    assert_eq!(rig.shown("ct-01"), S::Succeeded);
}

#[test]
fn a_clock_that_is_set_back_delays_nothing_and_excuses_nothing() {
    let year = DurationMs::from_secs(365 * 86_400);
    let set_back = || {
        let mut rig = Rig::new(Scope::Device);
        let right = rig.now;
        rig.now = rig.now.after(year);
        rig.wish(|w| {
            w.policy.health.grace = DurationMs::from_secs(30);
            w.goals = ["ct-01", "lab-01"].iter().map(|n| goal(n, GoalAction::Install, 1)).collect();
        });
        rig.until("lab-01", "preflight");
        rig.done("lab-01", preflight(PreflightFound { in_use: Some("a run".into()), ..ready("lab-01") }));
        rig.soak("ct-01");
        rig.now = right;
        rig.feed(crate::machine::Input::Tick);
        rig
    };
    let mut rig = set_back();
    rig.pass(DurationMs::from_secs(31));
    assert_eq!(rig.verb("lab-01"), "preflight", "tried again in its time");
    fail(&mut rig, "pacs", FAILURES);
    assert_eq!(rig.shown("ct-01"), S::RollingBack, "the grace is over");

    let mut rig = set_back();
    rig.pass(DurationMs::from_secs(29));
    fail(&mut rig, "pacs", 1);
    assert_eq!((rig.shown("ct-01"), rig.verb("ct-01")), (S::Soaking, "nothing"), "and no earlier");
    rig.pass(super::rig::SOAK);
    assert_eq!(rig.verb("ct-01"), "check", "the soak ends");
}

/// The rig with numbers of the site's own for the PACS.
fn with_rules(rig: &mut Rig, rules: crate::machine::WatchRules) {
    let view = crate::machine::SiteView {
        inventory: Some(super::rig::inventory()),
        concurrency_max: 4,
        watch: [(system("pacs"), rules)].into(),
        spares_disrupted: true,
        own: None,
    };
    rig.feed(crate::machine::Input::Site(Box::new(view)));
}

/// What was told of the PACS, in order.
fn told(rig: &Rig) -> Vec<Health> {
    let health = |report: &Report| match &report.body {
        ReportBody::Health { system: of, health, .. } if *of == system("pacs") => Some(*health),
        _ => None,
    };
    rig.reports().filter_map(health).collect()
}

#[test]
fn the_site_s_own_numbers_count_while_no_patch_is_under_watch() {
    let mut rig = Rig::new(Scope::Device);
    let rules = crate::machine::WatchRules {
        interval: Some(DurationMs::from_secs(300)),
        failures: Some(2),
        successes: Some(3),
    };
    with_rules(&mut rig, rules);
    assert_eq!(rig.state.monitored()[&system("pacs")], DurationMs::from_secs(300));
    assert_eq!(rig.state.monitored()[&system("lab")], DurationMs::from_secs(60), "another has the node's own");
    rig.probe("pacs", true);
    fail(&mut rig, "pacs", 1);
    assert_eq!(told(&rig), [Health::Healthy], "the first look of all counts at once");
    fail(&mut rig, "pacs", 1);
    assert_eq!(told(&rig), [Health::Healthy, Health::Unhealthy]);
    rig.probe("pacs", true);
    rig.probe("pacs", true);
    fail(&mut rig, "pacs", 1);
    rig.probe("pacs", true);
    rig.crash();
    rig.probe("pacs", true);
    assert_eq!(told(&rig).len(), 2, "not three in a row");
    rig.probe("pacs", true);
    assert_eq!(told(&rig), [Health::Healthy, Health::Unhealthy, Health::Healthy]);
}

#[test]
fn the_plan_s_numbers_count_while_a_patch_is_under_watch() {
    let mut rig = Rig::wanting(Scope::Device, &["ct-01"]);
    let rules = crate::machine::WatchRules {
        interval: Some(DurationMs::from_secs(300)),
        failures: Some(20),
        successes: Some(20),
    };
    with_rules(&mut rig, rules);
    rig.soak("ct-01");
    assert_eq!(rig.state.monitored()[&system("pacs")], DurationMs::from_secs(1));
    fail(&mut rig, "pacs", FAILURES);
    assert_eq!((rig.shown("ct-01"), rig.blamed().len()), (S::RollingBack, 1));
}

/// A device that reboots as planned takes its systems along: these failures are no beginning of a count.
#[test]
fn failures_of_the_planned_disruption_do_not_count_when_it_is_over() {
    let mut rig = Rig::wanting(Scope::Device, &["ct-01"]);
    with_rules(&mut rig, crate::machine::WatchRules::default());
    rig.until("ct-01", "install");
    fail(&mut rig, "pacs", 10);
    let outcome = InstallOutcome::Failed { code: "exit".into(), reason: "it did not".into() };
    rig.done("ct-01", installed(outcome, Detected::Absent));
    rig.pass(DurationMs::from_secs(3_600));
    let before = told(&rig);
    fail(&mut rig, "pacs", 2);
    assert_eq!(told(&rig), before, "two in a row are not three");
    fail(&mut rig, "pacs", 1);
    assert_eq!(told(&rig).last(), Some(&Health::Unhealthy));
}
