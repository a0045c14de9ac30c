//! What gates answer, and the laws that no answer breaks.

use proptest::prelude::*;

use super::*;
use DeploymentState::{Failed, Installing, RolledBack, RollingBack, Skipped, Soaking, Succeeded, Unknown};

fn counts(list: &[(DeploymentState, u64)]) -> Counts {
    let mut counts = Counts::default();
    for (state, n) in list {
        (0..*n).for_each(|_| counts.add(*state));
    }
    counts
}

fn answer(counts: &Counts, control: ControlCounts, gate: &Gate) -> &'static str {
    match judge(&Seen { counts, wanting: 0, control }, gate).answer() {
        None => "open",
        Some(answer) => answer.word(),
    }
}

fn word(list: &[(DeploymentState, u64)], percent: u32, evidence_min: u32) -> &'static str {
    let success = Percent::from_basis_points(percent * 100).unwrap();
    answer(&counts(list), ControlCounts::default(), &Gate { success, evidence_min, ..Gate::default() })
}

#[test]
fn the_share_is_counted_among_tried_and_to_the_basis_point() {
    assert_eq!(word(&[(Succeeded, 9), (Failed, 1)], 90, 1), "success");
    assert_eq!(word(&[(Succeeded, 9), (Failed, 1)], 91, 1), "failure");
    assert_eq!(word(&[(Succeeded, 9), (Failed, 1), (Skipped, 90)], 90, 1), "success", "skipped ones don't count");
    assert_eq!(word(&[(Succeeded, 2), (Failed, 1)], 67, 1), "failure", "66.66% is less than 67%");
    assert_eq!(word(&[(Failed, 3)], 0, 0), "success", "a plan may ask for nothing");
}

#[test]
fn it_fails_early_and_never_passes_early() {
    assert_eq!(word(&[(Failed, 1), (Installing, 9)], 100, 1), "failure");
    assert_eq!(word(&[(Failed, 1), (Installing, 9)], 90, 1), "open");
    assert_eq!(word(&[(RollingBack, 1), (Installing, 9)], 100, 1), "failure", "what goes back can't succeed");
    assert_eq!(word(&[(Succeeded, 99), (Soaking, 1)], 50, 1), "open");
    assert_eq!(word(&[(Succeeded, 99), (Unknown, 1)], 50, 1), "open", "unknown is never success");
    assert_eq!(word(&[(Succeeded, 1), (RolledBack, 1)], 50, 1), "success");
}

#[test]
fn without_evidence_it_does_not_pass() {
    assert_eq!(word(&[(Skipped, 5)], 100, 1), "inconclusive");
    assert_eq!(word(&[(Skipped, 5)], 100, 0), "inconclusive", "nobody tried");
    assert_eq!(word(&[(Succeeded, 2)], 100, 3), "inconclusive");
}

#[test]
fn a_wanted_rollback_keeps_it_open() {
    let gate = Gate::default();
    let (counts, control) = (counts(&[(Succeeded, 2)]), ControlCounts::default());
    assert_eq!(judge(&Seen { counts: &counts, wanting: 1, control }, &gate), Verdict::Open);
}

fn with_test(test: GateTest, success: u32) -> Gate {
    let success = Percent::from_basis_points(success * 100).unwrap();
    Gate { success, test: Some(test), ..Gate::default() }
}

fn rule(list: &[(DeploymentState, u64)], (systems, failed): (u64, u64), gate: &Gate) -> (Option<GateRule>, String) {
    let counts = counts(list);
    match judge(&Seen { counts: &counts, wanting: 0, control: ControlCounts { systems, failed } }, gate) {
        Verdict::Open => (None, String::new()),
        Verdict::Decided(finding) => (Some(finding.rule), finding.text),
    }
}

#[test]
fn more_failures_than_the_plan_allows_fail_at_once() {
    let success = Percent::from_basis_points(5_000).unwrap();
    let gate = Gate { success, failures_max: Some(1), ..Gate::default() };
    assert_eq!(rule(&[(Failed, 1), (Soaking, 19)], (0, 0), &gate).0, None);
    let (rule, text) = rule(&[(Failed, 1), (RolledBack, 1), (Soaking, 18)], (0, 0), &gate);
    assert_eq!(rule, Some(GateRule::FailuresMax));
    assert!(text.starts_with("failed: 2 failed, and at most 1 may; "), "{text}");
}

/// The examples of docs/gates.md.
#[test]
fn worked_examples() {
    let gate = with_test(GateTest::default(), 50);
    let says = |list: &[(DeploymentState, u64)], control| rule(list, control, &gate);
    // Five canaries without a failure are just enough for harm 30% and miss 20%: 0.7^5 = 16.8%. Four are not: 24.0%.
    let (five, text) = says(&[(Succeeded, 5)], (12, 0));
    assert_eq!(five, Some(GateRule::All));
    assert!(text.ends_with("a patch that makes 30% of devices fail would look as good in 16.81% of cases"), "{text}");
    let (four, text) = says(&[(Succeeded, 4)], (12, 0));
    assert_eq!(four, Some(GateRule::Miss));
    assert!(text.contains("24.01% of cases, and at most 20% is allowed"), "{text}");
    // Three of eight against none of twelve: C(8,3) / C(20,3) = 56 / 1140 = 4.92%, more than nine tenths of 5%.
    assert_eq!(says(&[(Succeeded, 5), (Failed, 3)], (12, 0)).0, Some(GateRule::Miss));
    // Against none of sixteen: 56 / 2024 = 2.77%.
    let (stopped, text) = says(&[(Succeeded, 5), (Failed, 3)], (16, 0));
    assert_eq!(stopped, Some(GateRule::Alarm));
    assert_eq!(
        text,
        "failed: of 8 devices 3 failed, while of 16 unpatched clinical systems beside them 0 did; a harmless patch would \
         look as bad in 2.77% of cases, and the plan stops at 4.5%; 5 of 8 tried succeeded, 3 did not, 0 skipped; at \
         least 50% wanted"
    );
    // The same when six of the sixteen failed too: that is a bad day of the site.
    assert_eq!(says(&[(Succeeded, 5), (Failed, 3)], (16, 6)).0, Some(GateRule::Miss));
    // Too few to compare with.
    assert_eq!(says(&[(Succeeded, 15), (Failed, 1)], (4, 0)).0, Some(GateRule::NoComparison));
    // With a declared background of 1%: two of 16 are 1.1% by chance, one of 16 is 14.9%.
    let background = Some(Percent::from_basis_points(100).unwrap());
    let gate = with_test(GateTest { background, ..GateTest::default() }, 50);
    let says = |list: &[(DeploymentState, u64)], control| rule(list, control, &gate);
    assert_eq!(says(&[(Succeeded, 14), (Failed, 2)], (4, 0)).0, Some(GateRule::Alarm));
    assert_eq!(says(&[(Succeeded, 15), (Failed, 1)], (4, 0)).0, Some(GateRule::All));
    // It is asked of the same number from the beginning, so it is certain as early as it is so.
    assert_eq!(says(&[(Soaking, 14), (Failed, 2)], (4, 0)).0, Some(GateRule::Alarm));
}

/// Before the end the control group may still come to fail, so much more is asked.
#[test]
fn an_early_look_at_the_control_group_asks_for_more() {
    let gate = with_test(GateTest::default(), 10);
    let early = |failed, open, control| rule(&[(Failed, failed), (Soaking, open)], control, &gate).0;
    assert_eq!(early(3, 5, (16, 0)), None, "2.77%, and the level is 5% / 10 / 12 = 0.04%");
    assert_eq!(early(7, 1, (60, 0)), Some(GateRule::Alarm));
}

const OPEN: [DeploymentState; 3] = [Soaking, Installing, Unknown];

prop_compose! {
    fn gates()(
        success in 0..=10_000_u32,
        evidence_min in 0..8_u32,
        failures_max in proptest::option::of(0..6_u32),
        test in proptest::option::of((1..=2_000_u32, 1..=10_000_u32, 1..=5_000_u32, proptest::option::of(0..3_000_u32), 1..10_u32)),
    ) -> Gate {
        let share = |points| Percent::from_basis_points(points).unwrap();
        let test = test.map(|(alpha, harm, miss, background, control_min)| GateTest {
            alpha: share(alpha),
            harm: share(harm),
            miss: share(miss),
            background: background.map(share),
            control_min,
        });
        Gate { success: share(success), evidence_min, failures_max, test, approvals: Vec::new() }
    }
}

prop_compose! {
    fn waves()(
        good in 0..30_u64, bad in 0..12_u64, skipped in 0..4_u64, open in prop_oneof![Just(0), 0..6_u64],
        state in proptest::sample::select(&OPEN[..]),
    ) -> Vec<(DeploymentState, u64)> {
        vec![(Succeeded, good), (Failed, bad), (Skipped, skipped), (state, open)]
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// One failure more never makes a gate pass; one success more never makes it fail.
    #[test]
    fn worse_is_never_better(gate in gates(), wave in waves(), systems in 0..30_u64, failed in 0..10_u64) {
        let control = ControlCounts { systems, failed: failed.min(systems) };
        let now = answer(&counts(&wave), control, &gate);
        let more = |state| {
            let mut counts = counts(&wave);
            counts.add(state);
            answer(&counts, control, &gate)
        };
        prop_assert!(now == "success" || more(RolledBack) != "success", "one more failure: {now} became success");
        prop_assert!(now == "failure" || more(Succeeded) != "failure", "one more success: {now} became failure");
        if now == "success" {
            prop_assert_eq!(more(Succeeded), "success");
        }
    }

    /// Before all has ended no gate passes, whatever it has seen, and none says that it can't tell.
    #[test]
    fn nothing_passes_early(gate in gates(), wave in waves(), systems in 0..30_u64, open in 1..3_u64) {
        let mut wave = wave;
        wave.push((Soaking, open));
        let control = ControlCounts { systems, failed: 0 };
        let answer = answer(&counts(&wave), control, &gate);
        prop_assert!(answer == "open" || answer == "failure", "{}", answer);
    }

    /// What fails early without looking at the control group fails at the end too, even if all that is open holds.
    #[test]
    fn an_early_failure_is_certain(gate in gates(), wave in waves()) {
        let early = answer(&counts(&wave), ControlCounts::default(), &gate);
        let ended: Vec<_> = wave.iter().map(|(s, n)| (if OPEN.contains(s) { Succeeded } else { *s }, *n)).collect();
        if early == "failure" {
            prop_assert_eq!(answer(&counts(&ended), ControlCounts::default(), &gate), "failure");
        }
    }
}
