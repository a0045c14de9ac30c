//! Gates as people meet them: what a decision went by, the control group, and holds.
#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod engine_support;

use engine_support::{WaveSpec, digest_of, order_of, rollout_id, signatory, site, ward::Ward, wave_name};
use wardround_rollout_plans::{engine::*, model::*};
use wardround_signing::{Envelope, Role};

const RELEASE: &[Role] = &[Role::Release];
const CLINICAL: &[Role] = &[Role::Clinical];
const ON_CALL: &[Role] = &[Role::OnCall];

fn waves() -> [WaveSpec; 2] {
    [WaveSpec::new("canary", &["rx1/ct"]), WaveSpec::new("full", &["rx1/mr"])]
}

fn view(ward: &Ward) -> RolloutView {
    ward.state.rollout(&rollout_id("r1")).unwrap()
}

fn give(ward: &mut Ward, document: &Rollout, who: &[(&str, &[Role])], command: Command) -> Result<Event, Refusal> {
    let signers = who.iter().map(|(who, roles)| signatory(who, roles)).collect();
    let counter = view(ward).order_counter + 1;
    let event = order_of(document, counter, signers, command, "until Monday's clinic has used it", ward.now);
    ward.state.step(&event, ward.now).map(|_| event)
}

fn hold(wave: &str) -> Command {
    Command::Hold { wave: wave_name(wave) }
}

fn release(ward: &Ward, wave: &str) -> Command {
    let w = view(ward).waves.into_iter().find(|w| w.name.as_str() == wave).unwrap();
    Command::Release { wave: wave_name(wave), lifts: w.holds.iter().map(|h| h.order).collect() }
}

fn second(ward: &Ward) -> (WaveState, String) {
    let wave = view(ward).waves[1].clone();
    (wave.state, wave.waiting.map(|w| w.on.to_string()).unwrap_or_default())
}

#[test]
fn nothing_follows_a_wave_that_a_person_holds_until_they_lift_it() {
    let mut ward = Ward::new();
    let document = ward.start_waves("r1", &waves(), 2, Scope::Wave);
    give(&mut ward, &document, &[("Olu", ON_CALL)], hold("canary")).unwrap();
    ward.succeed("r1", "ct");
    let (state, waits) = second(&ward);
    assert_eq!(state, WaveState::Pending);
    assert_eq!(
        waits,
        "Olu holds the gate of wave canary (until Monday's clinic has used it): whoever put a hold, or two people, must lift it"
    );
    let canary = view(&ward).waves[0].clone();
    assert_eq!((canary.state, canary.holds.len()), (WaveState::Passed, 1));
    assert_eq!(canary.decision.unwrap().held_by, ["Olu: until Monday's clinic has used it"]);
    // The node is shown the hold, and afterwards the release beside it.
    let shown = |ward: &Ward| ward.state.directive(&site("rx1"))[0].orders.len();
    assert_eq!(shown(&ward), 2);
    let mine = release(&ward, "canary");
    give(&mut ward, &document, &[("Olu", ON_CALL)], mine).unwrap();
    assert_eq!((second(&ward).0, shown(&ward)), (WaveState::Running, 3));
    assert_eq!(ward.see("r1", "mr").state, DeploymentState::Offered);
}

#[test]
fn another_person_alone_lifts_no_hold_and_two_do() {
    let mut ward = Ward::new();
    let document = ward.start_waves("r1", &waves(), 2, Scope::Wave);
    give(&mut ward, &document, &[("Olu", ON_CALL)], hold("canary")).unwrap();
    ward.succeed("r1", "ct");
    let theirs = release(&ward, "canary");
    let event = give(&mut ward, &document, &[("Ann", RELEASE)], theirs).unwrap();
    assert_eq!((second(&ward).0, view(&ward).pending.len()), (WaveState::Pending, 1), "it waits for a second person");
    let Event::Order { order, envelope, .. } = event else { unreachable!() };
    let both = vec![signatory("Ann", RELEASE), signatory("Ben", CLINICAL)];
    ward.step(&Event::order(order, both, envelope));
    assert_eq!((second(&ward).0, view(&ward).pending.len()), (WaveState::Running, 0));
}

#[test]
fn one_of_two_holds_still_holds_and_each_is_lifted_by_who_put_it() {
    let mut ward = Ward::new();
    let document = ward.start_waves("r1", &waves(), 2, Scope::Wave);
    give(&mut ward, &document, &[("Olu", ON_CALL)], hold("canary")).unwrap();
    give(&mut ward, &document, &[("Ben", CLINICAL)], hold("canary")).unwrap();
    ward.succeed("r1", "ct");
    let both = release(&ward, "canary");
    let Command::Release { wave, lifts } = both.clone() else { unreachable!() };
    give(&mut ward, &document, &[("Olu", ON_CALL)], Command::Release { wave, lifts: vec![lifts[0]] }).unwrap();
    let (state, waits) = second(&ward);
    assert_eq!(state, WaveState::Pending);
    assert!(waits.starts_with("Ben holds"), "{waits}");
    // What names a hold that is gone lifts those that stand.
    give(&mut ward, &document, &[("Ben", CLINICAL)], both.clone()).unwrap();
    assert_eq!(second(&ward).0, WaveState::Running);
    assert!(matches!(give(&mut ward, &document, &[("Ben", CLINICAL)], both), Err(Refusal::NotFound { .. })));
    let late = give(&mut ward, &document, &[("Ben", CLINICAL)], hold("canary"));
    assert!(matches!(late, Err(Refusal::InvalidTransition { .. })), "{late:?}");
    give(&mut ward, &document, &[("Ben", CLINICAL)], hold("full")).unwrap();
    ward.succeed("r1", "mr");
    let v = view(&ward);
    assert_eq!((v.state, v.waves[1].state), (RolloutState::Running, WaveState::Passed), "the last gate is held too");
    let last = release(&ward, "full");
    give(&mut ward, &document, &[("Ben", CLINICAL)], last).unwrap();
    assert_eq!(view(&ward).state, RolloutState::Completed);
}

#[test]
fn a_hold_survives_a_snapshot_and_is_bounded() {
    let mut ward = Ward::new();
    let document = ward.start_waves("r1", &waves(), 2, Scope::Wave);
    for _ in 0..HOLDS_MAX {
        give(&mut ward, &document, &[("Olu", ON_CALL)], hold("canary")).unwrap();
    }
    let more = give(&mut ward, &document, &[("Olu", ON_CALL)], hold("canary"));
    assert!(matches!(more, Err(Refusal::InvalidTransition { .. })), "{more:?}");
    ward.state = serde_json::from_slice(&serde_json::to_vec(&ward.state).unwrap()).unwrap();
    ward.succeed("r1", "ct");
    assert_eq!(second(&ward).0, WaveState::Pending);
    let all = release(&ward, "canary");
    give(&mut ward, &document, &[("Olu", ON_CALL)], all).unwrap();
    assert_eq!(second(&ward).0, WaveState::Running);
}

fn health(ward: &mut Ward, system: &str, health: Health) {
    let system = SystemId::new(system).unwrap();
    ward.report(ReportBody::Health { system, health, blames: None, document: None, probes: Vec::new() });
}

/// The archive needs both PACS servers, which are in no wave: it is watched beside the canary.
#[test]
fn the_control_group_is_counted_and_kept_with_the_decision() {
    let run = |before: Health, during: &[Health]| {
        let mut ward = Ward::new();
        health(&mut ward, "rx1/archive", before);
        let mut waves = waves();
        waves[0].gate.test = Some(GateTest { harm: Percent::ALL, control_min: 1, ..GateTest::default() });
        ward.start_waves("r1", &waves, 2, Scope::Wave);
        during.iter().for_each(|now| health(&mut ward, "rx1/archive", *now));
        let bytes = serde_json::to_vec(&ward.state).unwrap();
        ward.state = serde_json::from_slice(&bytes).unwrap();
        ward.succeed("r1", "ct");
        view(&ward).waves[0].decision.clone().unwrap()
    };
    let counts = |systems, failed| Some(ControlCounts { systems, failed });
    let well = run(Health::Healthy, &[]);
    assert_eq!((well.answer, well.rule, well.control), (GateAnswer::Success, GateRule::All, counts(1, 0)));
    assert_eq!(well.deployments, [(DeploymentState::Succeeded, 1)].into());
    assert_eq!(well.test.unwrap().missed, Some(0), "a patch that breaks all would have broken it");
    let (bad, good) = (Health::Unhealthy, Health::Healthy);
    assert_eq!(run(good, &[bad]).control, counts(1, 1));
    assert_eq!(run(good, &[bad, good, bad, good]).control, counts(1, 1), "each counts once");
    assert_eq!(run(bad, &[good, bad]).control, counts(0, 0), "it was not well when the wave began");
}

#[test]
fn a_system_that_a_device_of_the_wave_serves_is_no_control() {
    let mut ward = Ward::new();
    health(&mut ward, "rx1/archive", Health::Healthy);
    let mut waves = [WaveSpec::new("canary", &["rx1/pacs1"]), WaveSpec::new("full", &["rx1/mr"])];
    waves[0].gate.test = Some(GateTest { harm: Percent::ALL, ..GateTest::default() });
    ward.start_waves("r1", &waves, 2, Scope::Wave);
    ward.succeed("r1", "pacs1");
    assert_eq!(view(&ward).waves[0].decision.clone().unwrap().control, Some(ControlCounts::default()));
}

/// The record is in the audit leaf, and who approved comes to it when the next wave begins.
#[test]
fn each_decision_is_recorded_with_what_it_went_by() {
    let mut ward = Ward::new();
    let waves = [waves()[0].clone().approvals(CLINICAL), waves()[1].clone()];
    let document = ward.start_waves("r1", &waves, 2, Scope::Wave);
    let gates = |effects: &[Effect]| -> Vec<GateDecision> {
        let gate =
            |e: &Effect| if let Effect::Audit { gate: Some(gate), .. } = e { Some((**gate).clone()) } else { None };
        effects.iter().filter_map(gate).collect()
    };
    ward.moves("r1", "ct", DeploymentState::Soaking);
    ward.now = ward.now.after(DurationMs::from_secs(600));
    let passed = gates(&ward.moves("r1", "ct", DeploymentState::Succeeded));
    assert_eq!((passed.len(), passed[0].answer, passed[0].approvals.len()), (1, GateAnswer::Success, 0));
    let begun = gates(&ward.order(&document, CLINICAL, Command::Approve { wave: wave_name("full") }));
    assert_eq!(begun[0].approvals, [ApprovedBy { holder: "ann".to_owned(), roles: CLINICAL.to_vec() }]);
    assert_eq!(view(&ward).waves[0].decision.as_ref(), Some(&begun[0]));
    let failed = gates(&ward.moves("r1", "mr", DeploymentState::Failed));
    assert_eq!((failed[0].answer, failed[0].rule, failed[0].early), (GateAnswer::Failure, GateRule::Share, false));
}

#[test]
fn an_order_names_the_very_rollout() {
    let mut ward = Ward::new();
    let document = ward.start_waves("r1", &waves(), 2, Scope::Wave);
    let order = Order {
        rollout: document.id.clone(),
        digest: digest_of(&document),
        counter: 2,
        issued_at: ward.now,
        command: hold("pilot"),
        reason: String::new(),
    };
    let envelope = Envelope::unsigned(&order).unwrap();
    let refused = ward.state.step(&Event::order(order, vec![signatory("Olu", ON_CALL)], envelope), ward.now);
    assert!(matches!(refused, Err(Refusal::NotFound { .. })), "{refused:?}");
}
