//! A site whose network fails takes its unpatched systems down too: that is not the patch, and yet S5 holds.

use wardround_rollout_plans::model::{
    ClinicalSystem, ControlPolicy, DeploymentState as S, DurationMs, GoalAction, Health, ReportBody, Scope,
};

use super::rig::{FAILURES, Rig, SECOND, goal, inventory, system};

const WAIT: DurationMs = DurationMs::from_secs(120);

/// ct-01 soaks and serves the PACS; nobody touches the laboratory, the archive and the gateway. All are well.
fn site() -> Rig {
    let mut rig = Rig::new(Scope::Device);
    let mut inventory = inventory();
    for name in ["archive", "gateway"] {
        let devices = Vec::new();
        inventory.systems.push(ClinicalSystem {
            id: system(name),
            kind: name.into(),
            critical: false,
            devices,
            probes: None,
        });
    }
    rig.declare(inventory);
    for name in ["pacs", "lab", "archive", "gateway"] {
        rig.probe(name, true);
    }
    rig.wish(|w| {
        w.policy.health.control = Some(ControlPolicy { wait_max: WAIT });
        w.goals = vec![goal("ct-01", GoalAction::Install, 1)];
    });
    rig.soak("ct-01");
    rig
}

/// One second in which these fail and the others don't.
fn second(rig: &mut Rig, failing: &[&str]) {
    for name in ["lab", "archive", "gateway", "pacs"] {
        rig.probe(name, !failing.contains(&name));
    }
    rig.pass(SECOND);
}

fn seconds(rig: &mut Rig, n: u32, failing: &[&str]) {
    (0..n).for_each(|_| second(rig, failing));
}

fn troubled(rig: &Rig) -> usize {
    rig.alarms().iter().filter(|code| *code == "site_trouble").count()
}

const ALL: [&str; 4] = ["pacs", "lab", "archive", "gateway"];

#[test]
fn all_failing_together_is_the_site_and_getting_well_ends_it() {
    let mut rig = site();
    seconds(&mut rig, 20, &ALL);
    assert_eq!((rig.shown("ct-01"), rig.blamed().len()), (S::Soaking, 0));
    assert_eq!((rig.code("ct-01").as_str(), troubled(&rig)), ("site_trouble", 1), "said once");
    seconds(&mut rig, 3, &[]);
    assert_eq!((rig.shown("ct-01"), rig.code("ct-01").as_str()), (S::Soaking, ""));
    let control = |r: &&wardround_rollout_plans::model::Report| matches!(&r.body, ReportBody::Health { system: s, health: Health::Unhealthy, blames: None, .. } if *s == system("gateway"));
    assert!(rig.reports().any(|r| control(&r)), "the controller hears of the control group");
}

#[test]
fn who_fails_on_when_the_peers_are_well_is_blamed() {
    let mut rig = site();
    seconds(&mut rig, 10, &ALL);
    seconds(&mut rig, FAILURES, &["pacs"]);
    assert_eq!(rig.blamed().len(), 0, "one of these may have been sent while the site was in trouble");
    seconds(&mut rig, 1, &["pacs"]);
    assert_eq!((rig.blamed(), rig.shown("ct-01")), (vec![system("pacs")], S::RollingBack));
}

#[test]
fn the_blame_waits_no_longer_than_the_plan_says() {
    let mut rig = site();
    seconds(&mut rig, 119, &ALL);
    assert_eq!(rig.blamed().len(), 0);
    seconds(&mut rig, FAILURES + 1, &ALL);
    assert_eq!((rig.blamed(), rig.shown("ct-01")), (vec![system("pacs")], S::RollingBack));
}

#[test]
fn peers_that_come_and_go_do_not_lengthen_the_wait() {
    let mut rig = site();
    seconds(&mut rig, FAILURES, &ALL);
    for _ in 0..30 {
        seconds(&mut rig, 2, &["pacs"]);
        seconds(&mut rig, 2, &ALL);
    }
    assert_eq!((rig.blamed(), rig.shown("ct-01")), (vec![system("pacs")], S::RollingBack));
}

#[test]
fn without_peers_that_fail_together_the_blame_falls_at_once() {
    for failing in [&["pacs"][..], &["pacs", "lab"][..]] {
        let mut rig = site();
        seconds(&mut rig, FAILURES, failing);
        assert_eq!(rig.blamed(), [system("pacs")], "{failing:?}: fewer than half of the peers");
    }
    let mut rig = site();
    seconds(&mut rig, 200, &["lab", "archive", "gateway"]);
    seconds(&mut rig, FAILURES, &ALL);
    assert_eq!(rig.blamed(), [system("pacs")], "they had failed long before");
}

#[test]
fn nothing_new_begins_meanwhile() {
    let mut rig = site();
    seconds(&mut rig, 5, &ALL);
    rig.wish(|w| {
        w.policy.health.control = Some(ControlPolicy { wait_max: WAIT });
        w.goals = ["ct-01", "lab-01"].iter().map(|n| goal(n, GoalAction::Install, 1)).collect();
    });
    assert_eq!(rig.verb("lab-01"), "nothing");
    seconds(&mut rig, 1, &[]);
    assert_eq!(rig.verb("lab-01"), "fetch");
}

#[test]
fn peers_are_watched_as_closely_as_the_patched_system() {
    let rig = site();
    assert_eq!(rig.state.monitored()[&system("gateway")], SECOND);
}

#[test]
fn a_crash_in_between_changes_nothing() {
    let mut rig = site();
    seconds(&mut rig, 60, &ALL);
    rig.crash();
    seconds(&mut rig, 58, &ALL);
    assert_eq!(rig.blamed().len(), 0);
    seconds(&mut rig, FAILURES + 2, &ALL);
    assert_eq!(rig.blamed(), [system("pacs")]);
}
