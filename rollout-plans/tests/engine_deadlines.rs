//! Deadlines of waves and silent sites: what has not begun is told or left out, never forced, and never a success.
#![expect(clippy::unwrap_used, reason = "helpers outside of test functions; a panic is the failure")]

mod engine_support;

use engine_support::{
    WaveSpec, created, device, inventory, key, next_version, order, reported, reporters, resume, rollout, rollout_id,
    site,
    ward::{Ward, alarms},
};
use wardround_rollout_plans::{engine::*, model::*};
use wardround_signing::Role;

const HOUR: DurationMs = DurationMs::from_secs(3_600);

/// Rollout r1 with these waves under way at rx1, and this patience.
fn patient(ward: &mut Ward, waves: &[WaveSpec], per_site: u32, change: impl FnOnce(&mut Plan)) -> Rollout {
    let limits = Limits { per_site: Some(per_site), ..Limits::default() };
    let (mut document, members) = rollout("r1", waves, limits, Scope::Wave);
    change(&mut document.plan);
    ward.step(&created(&document, &members));
    ward.step(&Event::RolloutSigned { rollout: document.id.clone() });
    ward.order(&document, &[Role::Release], Command::Start);
    document
}

fn after(wait: DurationMs, then: Late) -> Option<Deadline> {
    Some(Deadline { by: None, after: Some(wait), then })
}

/// Time passes, and what is due is done.
fn pass(ward: &mut Ward, wait: DurationMs) -> Vec<Effect> {
    ward.now = ward.now.after(wait);
    let mut effects = Vec::new();
    while ward.state.next_wake().is_some_and(|at| at <= ward.now) {
        effects.extend(ward.step(&Event::Tick));
    }
    // What is loaded from a snapshot wakes at the same moment.
    let loaded: State = serde_json::from_slice(&serde_json::to_vec(&ward.state).unwrap()).unwrap();
    assert_eq!(loaded.next_wake(), ward.state.next_wake());
    effects
}

fn wave(ward: &Ward, at: usize) -> WaveView {
    ward.state.rollout(&rollout_id("r1")).unwrap().waves[at].clone()
}

fn withdrawn(ward: &mut Ward, name: &str) -> Vec<Effect> {
    ward.report(ReportBody::Deployment {
        rollout: rollout_id("r1"),
        device: device(&format!("rx1/{name}")),
        attempt: 1,
        state: DeploymentState::Failed,
        reason: "withdrawn by the controller before the install began".to_owned(),
        code: "withdrawn".to_owned(),
        evidence: Evidence::default(),
    })
}

const ALL: [&str; 4] = ["rx1/ct", "rx1/mr", "rx1/pacs1", "rx1/pacs2"];

#[test]
fn a_deadline_that_alarms_says_once_who_is_missing_and_the_wave_goes_on() {
    let mut ward = Ward::new();
    patient(&mut ward, &[WaveSpec::new("all", &ALL)], 1, |plan| plan.deadline = after(HOUR, Late::Alarm));
    ward.succeed("r1", "ct");
    assert_eq!(ward.state.next_wake(), Some(Timestamp(0).after(HOUR)));
    let effects = pass(&mut ward, HOUR);
    let said: Vec<_> = effects
        .iter()
        .filter_map(
            |e| if let Effect::Alarm { code, text, .. } = e { Some((code.as_str(), text.as_str())) } else { None },
        )
        .collect();
    let text = "wave all of rollout r1: its deadline, 1970-01-01 01:00 UTC, is over, and 3 devices of it did not begin in \
                time; the wave goes on";
    assert_eq!(said, [("deadline", text)]);
    assert!(pass(&mut ward, HOUR).is_empty(), "said once");
    assert_eq!(ward.see("r1", "mr").state, DeploymentState::Offered);
    for name in ["mr", "pacs1", "pacs2"] {
        ward.succeed("r1", name);
    }
    assert_eq!(ward.state.rollout(&rollout_id("r1")).unwrap().state, RolloutState::Completed);
}

#[test]
fn a_deadline_leaves_out_what_has_not_begun_and_the_gate_decides_over_the_rest() {
    let mut ward = Ward::new();
    let waves = [WaveSpec::new("all", &["rx1/ct", "rx1/mr", "rx1/pacs1"]), WaveSpec::new("rest", &["rx1/pacs2"])];
    patient(&mut ward, &waves, 2, |plan| plan.waves[0].deadline = after(HOUR, Late::LeaveOut));
    ward.succeed("r1", "ct");
    ward.moves("r1", "mr", DeploymentState::Staged);
    assert_eq!(ward.see("r1", "pacs1").state, DeploymentState::Offered);
    let effects = pass(&mut ward, HOUR);
    assert_eq!(alarms(&effects), [""; 0]);
    let audits = effects.iter().filter(|e| matches!(e, Effect::Audit { kind, .. } if kind == "left_out"));
    assert_eq!(audits.count(), 1);
    // Both were offered: their nodes must say first that nothing has begun.
    assert_eq!((ward.waits("r1", "mr"), ward.waits("r1", "pacs1")), ("confirmation".into(), "confirmation".into()));
    let goals: Vec<_> = ward.state.directive(&site("rx1"))[0].goals.iter().map(|g| g.action).collect();
    assert_eq!(goals, [GoalAction::Install, GoalAction::Withdraw, GoalAction::Withdraw]);
    assert_eq!(alarms(&withdrawn(&mut ward, "mr")), [""; 0]);
    withdrawn(&mut ward, "pacs1");
    let left = ward.see("r1", "mr");
    assert_eq!(left.state, DeploymentState::Skipped);
    assert_eq!(left.reason, "left out: the deadline of its wave, 1970-01-01 01:00 UTC, is over");
    let first = wave(&ward, 0);
    assert_eq!(first.state, WaveState::Passed);
    assert_eq!(first.gate, "passed: 1 of 1 tried succeeded, 0 did not, 2 skipped; at least 100% wanted");
}

#[test]
fn those_whose_turn_has_not_come_are_left_out_at_once() {
    let mut ward = Ward::new();
    patient(&mut ward, &[WaveSpec::new("all", &ALL)], 1, |plan| plan.deadline = after(HOUR, Late::LeaveOut));
    ward.moves("r1", "ct", DeploymentState::Installing);
    pass(&mut ward, HOUR);
    for name in ["mr", "pacs1", "pacs2"] {
        let left = ward.see("r1", name);
        assert_eq!((left.state, left.attempt), (DeploymentState::Skipped, 0), "{name}");
    }
    // What has begun is finished.
    assert_eq!(ward.goal(), GoalAction::Install);
    ward.succeed("r1", "ct");
    assert_eq!(ward.state.rollout(&rollout_id("r1")).unwrap().state, RolloutState::Completed);
}

#[test]
fn what_has_begun_behind_its_reports_goes_on_and_is_counted() {
    for (end, gate) in [(DeploymentState::Succeeded, "passed: 1 of 1"), (DeploymentState::Failed, "failed: 0 of 1")] {
        let mut ward = Ward::new();
        let waves = [WaveSpec::new("all", &["rx1/ct"]), WaveSpec::new("rest", &["rx1/mr"])];
        patient(&mut ward, &waves, 1, |plan| plan.deadline = after(HOUR, Late::LeaveOut));
        ward.moves("r1", "ct", DeploymentState::Preflight);
        pass(&mut ward, HOUR);
        assert_eq!(ward.goal(), GoalAction::Withdraw);
        ward.moves("r1", "ct", DeploymentState::Installing);
        assert_eq!(ward.goal(), GoalAction::Install, "it had begun before the word came");
        if end == DeploymentState::Succeeded {
            ward.succeed("r1", "ct");
        } else {
            ward.moves("r1", "ct", end);
        }
        assert!(wave(&ward, 0).gate.starts_with(gate), "{:?}", wave(&ward, 0).gate);
    }
}

#[test]
fn a_failure_of_its_own_stays_one() {
    let mut ward = Ward::new();
    let waves = [WaveSpec::new("all", &["rx1/ct"]), WaveSpec::new("rest", &["rx1/mr"])];
    patient(&mut ward, &waves, 1, |plan| plan.deadline = after(HOUR, Late::LeaveOut));
    ward.moves("r1", "ct", DeploymentState::Preflight);
    pass(&mut ward, HOUR);
    // Its platform is another: that has nothing to do with the deadline.
    ward.moves("r1", "ct", DeploymentState::Failed);
    assert_eq!(ward.see("r1", "ct").state, DeploymentState::Failed);
}

#[test]
fn a_wave_of_which_all_is_left_out_has_shown_nothing() {
    let mut ward = Ward::new();
    let waves = [WaveSpec::new("all", &["rx1/ct"]).evidence(0), WaveSpec::new("rest", &["rx1/mr"])];
    patient(&mut ward, &waves, 1, |plan| plan.deadline = after(HOUR, Late::LeaveOut));
    pass(&mut ward, HOUR);
    let effects = withdrawn(&mut ward, "ct");
    assert_eq!(alarms(&effects), ["evidence"]);
    assert_eq!(wave(&ward, 0).waiting.unwrap().on, WaitingOn::Evidence { have: 0, need: 1 });
    assert_eq!(ward.see("r1", "mr").state, DeploymentState::Pending);
}

#[test]
fn a_wave_that_begins_after_its_day_offers_nothing() {
    let mut ward = Ward::new();
    let by = Some(Deadline { by: Some(Timestamp(0).after(HOUR)), after: None, then: Late::LeaveOut });
    let waves = [WaveSpec::new("all", &["rx1/ct"]), WaveSpec::new("rest", &["rx1/mr", "rx1/pacs1"])];
    patient(&mut ward, &waves, 1, |plan| plan.waves[1].deadline = by);
    ward.moves("r1", "ct", DeploymentState::Soaking);
    ward.now = ward.now.after(HOUR);
    ward.moves("r1", "ct", DeploymentState::Succeeded);
    assert_eq!(wave(&ward, 1).state, WaveState::Running);
    assert_eq!(ward.waits("r1", "mr"), "deadline");
    pass(&mut ward, DurationMs(1));
    assert_eq!(ward.see("r1", "mr").attempt, 0);
    let view = ward.state.rollout(&rollout_id("r1")).unwrap();
    assert_eq!(view.state, RolloutState::Completed);
    assert_eq!(
        view.reason,
        "last wave: inconclusive: not enough evidence, 0 of at least 1: 0 of 0 tried succeeded, 0 did not, 2 skipped; at least 100% wanted; it is the last wave, so nothing depends on it"
    );
}

#[test]
fn a_standing_rollout_loses_nobody_and_a_resume_begins_nothing_late() {
    let mut ward = Ward::new();
    let document =
        patient(&mut ward, &[WaveSpec::new("all", &ALL)], 1, |plan| plan.deadline = after(HOUR, Late::LeaveOut));
    ward.succeed("r1", "ct");
    ward.moves("r1", "mr", DeploymentState::Installing);
    ward.order(&document, &[Role::OnCall], Command::Halt);
    pass(&mut ward, HOUR);
    assert_eq!(ward.see("r1", "pacs1").state, DeploymentState::Pending);
    assert_eq!(ward.waits("r1", "pacs1"), "resume");
    let command = resume(&ward.state, &document.id);
    let counter = ward.state.rollout(&document.id).unwrap().order_counter + 1;
    ward.step(&order(&document, counter, "Ann", &[Role::Release], command, "", ward.now));
    ward.succeed("r1", "mr");
    assert_eq!(ward.see("r1", "pacs1").attempt, 0, "its time is over");
    pass(&mut ward, DurationMs(1));
    assert_eq!(ward.see("r1", "pacs1").state, DeploymentState::Skipped);
}

#[test]
fn who_is_brought_in_after_the_deadline_is_left_out_too() {
    let mut ward = Ward::new();
    let document = patient(&mut ward, &[WaveSpec::new("all", &["rx1/ct", "rx1/mr"])], 1, |plan| {
        plan.deadline = after(HOUR, Late::LeaveOut);
    });
    ward.moves("r1", "ct", DeploymentState::Soaking);
    pass(&mut ward, HOUR);
    assert_eq!(ward.see("r1", "mr").state, DeploymentState::Skipped);
    let devices = ["rx1/ct", "rx1/mr", "rx1/pacs1"].map(device).to_vec();
    let (next, members) = next_version(&document, &[devices]);
    ward.step(&engine_support::amended(&next, &members));
    ward.step(&engine_support::amendment_signed(&next));
    assert_eq!(ward.see("r1", "pacs1").attempt, 0);
    pass(&mut ward, DurationMs(1));
    assert_eq!(ward.see("r1", "pacs1").state, DeploymentState::Skipped);
}

/// Two sites in one wave, of which rx2 is silent from the beginning.
fn two_sites(offline: Offline, devices: &[&str]) -> Ward {
    let mut ward = Ward::new();
    ward.step(&Event::NodeEnrolled { site: site("rx2"), node_key: key("k2") });
    let body = ReportBody::Inventory { inventory: inventory("rx2", &["ct", "mr"].map(str::to_owned), &[], &[]) };
    ward.step(&reported(&ward.state, &site("rx2"), 1, ward.now, body));
    let waves = [WaveSpec::new("all", devices), WaveSpec::new("rest", &["rx1/mr"])];
    let limits = Limits { per_site: Some(1), ..Limits::default() };
    let (mut document, members) = rollout("r1", &waves, limits, Scope::Wave);
    document.plan.offline = Some(offline);
    engine_support::pin(&mut document, &members, &reporters(&members));
    ward.step(&created(&document, &members));
    ward.step(&Event::RolloutSigned { rollout: document.id.clone() });
    ward.order(&document, &[Role::Release], Command::Start);
    ward
}

fn of(ward: &Ward, id: &str) -> DeploymentView {
    let all = ward.state.deployments(&rollout_id("r1"), None, None, None, 100);
    all.into_iter().find(|d| d.device == device(id)).unwrap()
}

#[test]
fn a_silent_site_is_told_then_left_out_and_what_may_have_begun_stays_unknown() {
    let offline = Offline { alarm_after: Some(HOUR), leave_out_after: Some(DurationMs(3 * HOUR.0)) };
    let mut ward = two_sites(offline, &["rx1/ct", "rx2/ct", "rx2/mr"]);
    assert_eq!(of(&ward, "rx2/ct").state, DeploymentState::Offered);
    let begun = |state| ReportBody::Deployment {
        rollout: rollout_id("r1"),
        device: device("rx2/ct"),
        attempt: 1,
        state,
        reason: String::new(),
        code: String::new(),
        evidence: Evidence::default(),
    };
    ward.step(&reported(&ward.state, &site("rx2"), 2, ward.now, begun(DeploymentState::Installing)));
    ward.step(&Event::SiteSilent { site: site("rx2") });
    ward.succeed("r1", "ct");
    let waiting = of(&ward, "rx2/mr").waiting.unwrap();
    assert_eq!(waiting.on, WaitingOn::SilentSites { sites: vec![site("rx2")] });
    assert_eq!((waiting.since, waiting.until), (Timestamp(0), Some(Timestamp(0).after(DurationMs(3 * HOUR.0)))));
    let effects = pass(&mut ward, HOUR);
    assert_eq!(alarms(&effects), ["site_offline"]);
    assert!(alarms(&pass(&mut ward, HOUR)).is_empty(), "said once");
    pass(&mut ward, HOUR);
    assert_eq!(of(&ward, "rx2/mr").state, DeploymentState::Skipped);
    assert_eq!(of(&ward, "rx2/mr").reason, "left out: its site did not answer for 3h");
    assert_eq!(of(&ward, "rx2/ct").state, DeploymentState::Unknown, "it may be on the device");
    pass(&mut ward, DurationMs(1_000 * HOUR.0));
    assert_eq!(wave(&ward, 0).state, WaveState::Running, "what is unknown is no success, and no end");
    assert_eq!(wave(&ward, 0).waiting.unwrap().on, WaitingOn::SilentSites { sites: vec![site("rx2")] });
    // The site is back: what had begun is watched to its end.
    ward.step(&Event::SiteHeard { site: site("rx2") });
    ward.step(&reported(&ward.state, &site("rx2"), 3, ward.now, begun(DeploymentState::Soaking)));
    ward.now = ward.now.after(HOUR);
    ward.step(&reported(&ward.state, &site("rx2"), 4, ward.now, begun(DeploymentState::Succeeded)));
    assert_eq!(wave(&ward, 0).state, WaveState::Passed);
}

#[test]
fn a_wave_ends_without_a_site_that_never_answers() {
    let offline = Offline { alarm_after: None, leave_out_after: Some(HOUR) };
    let mut ward = two_sites(offline, &["rx1/ct", "rx3/ct"]);
    ward.succeed("r1", "ct");
    assert_eq!(wave(&ward, 0).state, WaveState::Running);
    pass(&mut ward, HOUR);
    assert_eq!(of(&ward, "rx3/ct").state, DeploymentState::Skipped);
    let first = wave(&ward, 0);
    assert_eq!((first.state, first.deployments[&DeploymentState::Succeeded]), (WaveState::Passed, 1));
}

/// Its silence must be known before anything is offered there.
#[test]
fn a_site_is_watched_before_its_turn_where_the_plan_says_how_long_it_is_waited_for() {
    let offline = Offline { alarm_after: None, leave_out_after: Some(HOUR) };
    let mut ward = two_sites(offline, &["rx2/ct", "rx2/mr"]);
    assert_eq!(ward.state.waits_for(&site("rx2")), [rollout_id("r1")]);
    assert_eq!(ward.state.waits_for(&site("rx1")), [rollout_id("r1")], "its wave has not begun, and it is watched");
    assert_eq!(ward.state.waits_for(&site("rx9")), []);
    ward.step(&Event::SiteSilent { site: site("rx1") });
    pass(&mut ward, HOUR);
    assert_eq!(of(&ward, "rx1/mr").state, DeploymentState::Pending, "patience is counted from the wave's beginning");

    let mut ward = Ward::new();
    patient(&mut ward, &[WaveSpec::new("all", &ALL)], 1, |_| ());
    assert_eq!(ward.state.waits_for(&site("rx1")), [], "the plan says nothing");
}

#[test]
fn a_site_that_answers_in_time_is_waited_for_anew() {
    let offline = Offline { alarm_after: Some(HOUR), leave_out_after: Some(DurationMs(2 * HOUR.0)) };
    let mut ward = two_sites(offline, &["rx1/ct", "rx2/ct", "rx2/mr"]);
    for _ in 0..3 {
        ward.step(&Event::SiteSilent { site: site("rx2") });
        assert_eq!(alarms(&pass(&mut ward, HOUR)), ["site_offline"]);
        ward.step(&Event::SiteHeard { site: site("rx2") });
        assert!(pass(&mut ward, HOUR).is_empty());
    }
    assert_eq!(of(&ward, "rx2/mr").state, DeploymentState::Pending);
    // Offered, not begun, and its site falls silent: only its node can say that nothing has begun.
    ward.step(&Event::SiteSilent { site: site("rx2") });
    pass(&mut ward, DurationMs(2 * HOUR.0));
    assert_eq!(
        (of(&ward, "rx2/ct").state, of(&ward, "rx2/mr").state),
        (DeploymentState::Unknown, DeploymentState::Skipped)
    );
    ward.step(&Event::SiteHeard { site: site("rx2") });
    assert_eq!(of(&ward, "rx2/ct").waiting.unwrap().on, WaitingOn::Confirmation { site: site("rx2") });
}
