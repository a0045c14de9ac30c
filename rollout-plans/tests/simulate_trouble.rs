//! A whole site in trouble, in the modelled world: whom a node with a control group blames, and whom one without.

mod simulate_support;

use simulate_support::{Ward, plan};
use wardround_rollout_plans::{
    model::Percent,
    simulate::{End, Model, Run, Span},
};

const MINUTE: u64 = 60_000;

fn none() -> Percent {
    Model::standard().untroubled().systems.trouble_per_day
}

/// A canary that soaks for two days beside systems that nobody has patched.
fn soaking(health: &str) -> String {
    plan(&format!("health: {{ interval: 10s, failures: 2{health} }}"), "1m").replacen("soak: 1m", "soak: 2d", 1)
}

/// Each site has a trouble of so many minutes, once a day; nothing else goes wrong.
fn troubled(minutes: u64) -> Model {
    let mut model = Model::standard().untroubled();
    model.systems.site_trouble_per_day = Percent::ALL;
    model.systems.site_trouble_for = Span::just(minutes * MINUTE);
    model.systems.unhealthy_before = none();
    model
}

fn runs(plan: &str, model: &Model) -> Vec<Run> {
    let ward = Ward::with(plan, model.clone(), 12, 8);
    (1..=30).map(|seed| ward.run(seed)).collect()
}

fn past_the_canary(runs: &[Run]) -> usize {
    runs.iter().filter(|run| run.waves[0].passed_ms.is_some()).count()
}

#[test]
fn what_hits_unpatched_peers_too_is_not_blamed_on_the_patch() {
    let short = troubled(3);
    let without = runs(&soaking(""), &short);
    let with = runs(&soaking(", control: { wait_max: 10m }"), &short);
    assert!(past_the_canary(&without) < 10, "{} came past the canary", past_the_canary(&without));
    assert!(without.iter().all(|run| run.stop.as_ref().is_none_or(|stop| stop.false_alarm)));
    assert_eq!(past_the_canary(&with), 30, "{:?}", with.iter().find(|run| run.waves[0].passed_ms.is_none()));
}

/// After the longest wait of the plan it is blamed whatever its peers do, as the production node does (S5).
#[test]
fn what_lasts_longer_than_the_plan_waits_is_blamed_all_the_same() {
    let with = runs(&soaking(", control: { wait_max: 10m }"), &troubled(60));
    assert!(past_the_canary(&with) < 10, "{} came past the canary", past_the_canary(&with));
}

/// A patch that breaks its device in the middle of such a trouble is blamed once the peers are well again.
#[test]
fn a_bad_patch_does_not_hide_behind_its_site() {
    let mut model = troubled(3);
    model.bad_patch = Some("100% after 10m".parse().unwrap());
    for run in runs(&soaking(", control: { wait_max: 10m }"), &model) {
        assert_ne!(run.end, End::Completed, "seed {}", run.seed);
        assert!(run.waves[1..].iter().all(|wave| wave.harmed == 0), "seed {}", run.seed);
    }
}

/// Where no site is in trouble the control group changes nothing.
#[test]
fn a_control_group_alone_changes_nothing() {
    let mut model = Model::standard();
    model.systems.site_trouble_per_day = none();
    model.bad_patch = Some("10% after 5m".parse().unwrap());
    let (without, with) = (runs(&soaking(""), &model), runs(&soaking(", control: {}"), &model));
    let told = |run: &Run| serde_json::to_string(run).unwrap();
    for (one, other) in without.iter().zip(&with) {
        assert_eq!(told(one), told(other));
    }
}

/// A gate whose exact test has seen too little asks people, as one that has too few successes does.
#[test]
fn people_are_asked_where_a_test_has_seen_too_little() {
    let model = Model::standard().untroubled();
    // Four canaries without a failure: 0.7 to the fourth is more than the 20% that the test allows.
    let few = plan("", "5m").replacen("success: 50%, evidence_min: 1", "evidence_min: 2, test: {}", 1);
    for run in runs(&few, &model) {
        assert_eq!(run.end, End::Completed, "seed {}: {}", run.seed, run.reason);
    }
}

/// What fails on the devices of a wave is compared with the systems beside it that nobody has patched.
#[test]
fn a_gate_compares_with_unpatched_systems() {
    let mut model = Model::standard().untroubled();
    model.devices.fails = Percent::try_from(6_000).unwrap();
    let test = |control_min: u32| {
        let gate = format!("success: 0%, evidence_min: 1, test: {{ control_min: {control_min} }}");
        plan("", "5m").replacen("success: 50%, evidence_min: 1", &gate, 1).replacen(
            "labels: { ring: canary }",
            "count: 12, by: [region]",
            1,
        )
    };
    let failed = |runs: &[Run]| runs.iter().filter(|run| run.waves[0].state != "passed" && run.stop.is_some()).count();
    assert!(failed(&runs(&test(5), &model)) > 20, "{}", failed(&runs(&test(5), &model)));
    assert_eq!(failed(&runs(&test(100_000), &model)), 0, "nothing to compare with, so that people decide");
}
