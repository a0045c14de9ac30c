//! Rollbacks that no people ordered: told where a signed report shows that they are due, else left to people.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod engine_support;

use engine_support::{
    WaveSpec, device, inventory, key, report_key, reported, rollout_id, site,
    ward::{Ward, alarms},
};
use wardround_rollout_plans::{engine::*, model::*, proofs::Failures};
use wardround_signing::{Digest, Envelope, Role, SecretKey, Signer as _};

use DeploymentState::{Failed, Soaking};

const ONCALL: &[Role] = &[Role::OnCall];
const RELEASE: &[Role] = &[Role::Release];

/// Site rx1 with `ct` and `mr`, and rx2 with `x`, all soaking in one wave.
fn soaking(scope: Scope) -> (Ward, Rollout) {
    let mut ward = Ward::new();
    ward.step(&Event::NodeEnrolled { site: site("rx2"), node_key: key("k2") });
    let body = ReportBody::Inventory { inventory: inventory("rx2", &["x".to_owned()], &[], &[]) };
    elsewhere(&mut ward, 1, body);
    let wave = WaveSpec::new("all", &["rx1/ct", "rx1/mr", "rx2/x"]);
    let r1 = ward.start_wave("r1", wave, 9, scope);
    ward.moves("r1", "ct", Soaking);
    ward.moves("r1", "mr", Soaking);
    let body = ends("rx2/x", Soaking, "");
    elsewhere(&mut ward, 2, body);
    (ward, r1)
}

fn elsewhere(ward: &mut Ward, seq: u64, body: ReportBody) -> Vec<Effect> {
    let event = reported(&ward.state, &site("rx2"), seq, ward.now, body);
    ward.step(&event)
}

fn ends(name: &str, state: DeploymentState, code: &str) -> ReportBody {
    ReportBody::Deployment {
        rollout: rollout_id("r1"),
        device: device(name),
        attempt: 1,
        state,
        reason: String::new(),
        code: code.to_owned(),
        evidence: Evidence::default(),
    }
}

/// What the node of a site is asked, after its own check: nothing is asked that it would refuse.
fn asked(ward: &Ward, document: &Rollout, at: &str) -> Vec<(String, GoalAction)> {
    let parts = ward.state.directive(&site(at));
    let part = &parts[0];
    let own = Reporter { site: site(at), key: report_key(&site(at)).public() };
    let failures = Failures::read(part, document, part.digest, &own);
    let orders: Vec<Order> = part.orders.iter().map(|e| e.peek_unverified().unwrap()).collect();
    for goal in part.goals.iter().filter(|g| g.action == GoalAction::RollBack) {
        let covers = |o: &Order| matches!(&o.command, Command::RollBack { target } if target.covers(&goal.member));
        assert!(orders.iter().any(covers) || failures.reach(document, &goal.member).is_ok(), "{goal:?}");
    }
    part.goals.iter().map(|g| (g.member.device.name().to_owned(), g.action)).collect()
}

fn backs(ward: &Ward, document: &Rollout, at: &str) -> Vec<String> {
    let goals = asked(ward, document, at).into_iter();
    goals.filter(|(_, action)| *action == GoalAction::RollBack).map(|(name, _)| name).collect()
}

fn reason(ward: &Ward) -> String {
    ward.state.rollout(&rollout_id("r1")).unwrap().reason
}

#[test]
fn a_failed_device_takes_its_wave_back_everywhere_and_its_report_goes_with_it() {
    let (mut ward, r1) = soaking(Scope::Wave);
    assert!(ward.state.directive(&site("rx2"))[0].failures.is_empty());
    ward.report(ends("rx1/ct", Failed, "install_failed"));
    assert_eq!(backs(&ward, &r1, "rx1"), ["mr"]);
    assert_eq!(backs(&ward, &r1, "rx2"), ["x"]);
    assert_eq!(ward.state.directive(&site("rx2"))[0].failures.len(), 1);
    // It outlasts a restart.
    let bytes = serde_json::to_vec(&ward.state).unwrap();
    let again: State = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(again.directive(&site("rx2")), ward.state.directive(&site("rx2")));
}

/// A controller can bring it about alone that a device ends so: nodes take nothing else back for it.
#[test]
fn what_shows_no_failure_asks_two_people_and_goes_on_when_they_have_ordered() {
    let (mut ward, r1) = soaking(Scope::Wave);
    let said = ward.report(ends("rx1/ct", Failed, "payload"));
    assert!(alarms(&said).contains(&"rollback_needs_people"), "{said:?}");
    assert!(reason(&ward).contains("two people must order it"), "{}", reason(&ward));
    assert!(backs(&ward, &r1, "rx1").is_empty() && backs(&ward, &r1, "rx2").is_empty());
    let view = ward.state.rollout(&rollout_id("r1")).unwrap();
    let waiting = view.waves[0].waiting.as_ref().unwrap();
    assert!(matches!(waiting.on, WaitingOn::Decision { .. }), "{waiting:?}");
    let wave = r1.waves[0].name.clone();
    ward.order(&r1, ONCALL, Command::RollBack { target: RollBackTarget::Wave { wave } });
    assert_eq!(backs(&ward, &r1, "rx1"), ["mr"]);
    assert_eq!(backs(&ward, &r1, "rx2"), ["x"]);
}

#[test]
fn people_may_leave_what_is_not_shown_as_it_is() {
    let (mut ward, r1) = soaking(Scope::Wave);
    ward.report(ends("rx1/ct", Failed, "payload"));
    ward.order(&r1, RELEASE, Command::Cancel);
    assert_eq!(ward.state.rollout(&rollout_id("r1")).unwrap().state, RolloutState::Cancelled);
    assert_eq!(asked(&ward, &r1, "rx1"), [("mr".to_owned(), GoalAction::Install)], "its soak goes on");
}

/// A node that was replaced after the rollout was resolved speaks for its own site alone.
#[test]
fn a_node_that_is_not_pinned_takes_its_own_site_back_and_asks_people_for_the_others() {
    let (mut ward, r1) = soaking(Scope::Wave);
    let newer = SecretKey::from_seed(&[42; 32]);
    let mut body = ends("rx1/ct", Failed, "install_failed");
    if let ReportBody::Deployment { evidence, .. } = &mut body {
        evidence.document = Some(Envelope::unsigned(&r1).unwrap().digest());
    }
    ward.seq += 1;
    let report = Report { site: site("rx1"), seq: ward.seq, at: ward.now, body };
    let envelope = Some(Envelope::seal(&report, &newer).unwrap());
    let Report { site: at, seq, body, .. } = report;
    let document = ward.state.rollout(&rollout_id("r1")).unwrap().digest;
    let named = matches!(&body, ReportBody::Deployment { evidence, .. } if evidence.document == Some(document));
    assert!(named, "the report is of this rollout");
    let said = ward.step(&Event::Report { site: at, seq, at: ward.now, body, node_key: None, envelope });
    assert!(alarms(&said).contains(&"rollback_needs_people"), "{said:?}");
    assert!(backs(&ward, &r1, "rx2").is_empty());
    let part = &ward.state.directive(&site("rx1"))[0];
    let own = Reporter { site: site("rx1"), key: newer.public() };
    let failures = Failures::read(part, &r1, part.digest, &own);
    let back: Vec<_> = part.goals.iter().filter(|g| g.action == GoalAction::RollBack).collect();
    assert!(back.len() == 1 && failures.reach(&r1, &back[0].member).is_ok(), "{back:?}");
    // Its successor did not say it.
    ward.step(&Event::NodeEnrolled { site: site("rx1"), node_key: key("another") });
    assert!(ward.state.directive(&site("rx1"))[0].failures.is_empty());
    assert!(backs(&ward, &r1, "rx1").is_empty());
}

#[test]
fn a_blame_takes_its_site_back_and_by_the_scope_others_too() {
    for (scope, others) in [(Scope::Site, false), (Scope::Wave, true), (Scope::Rollout, true)] {
        let (mut ward, r1) = soaking(scope);
        ward.blame("r1", "rx1/archive", Health::Unhealthy);
        assert_eq!(backs(&ward, &r1, "rx1"), ["ct", "mr"], "{scope:?}");
        assert_eq!(!backs(&ward, &r1, "rx2").is_empty(), others, "{scope:?}");
    }
}

#[test]
fn a_report_of_another_document_or_none_shows_nothing() {
    for document in [None, Some(Digest::of(b"another"))] {
        let (mut ward, r1) = soaking(Scope::Wave);
        let mut body = ends("rx1/ct", Failed, "install_failed");
        if let ReportBody::Deployment { evidence, .. } = &mut body {
            evidence.document = document;
        }
        ward.seq += 1;
        let report = Report { site: site("rx1"), seq: ward.seq, at: ward.now, body };
        let envelope = Some(Envelope::seal(&report, &report_key(&site("rx1"))).unwrap());
        let Report { site: at, seq, body, .. } = report;
        ward.step(&Event::Report { site: at, seq, at: ward.now, body, node_key: None, envelope });
        assert!(backs(&ward, &r1, "rx1").is_empty() && backs(&ward, &r1, "rx2").is_empty());
        assert!(reason(&ward).contains("two people must order it"));
    }
}

/// S6: what is left as it is still ends, also where its install had not begun.
#[test]
fn what_is_not_shown_and_has_not_begun_is_withdrawn_when_the_rollout_ends() {
    let mut ward = Ward::new();
    let r1 = ward.start("r1", &["rx1/ct", "rx1/mr"], 2, Scope::Wave);
    ward.report(ends("rx1/ct", Failed, "payload"));
    assert_eq!(ward.see("r1", "mr").state, DeploymentState::Offered);
    ward.order(&r1, RELEASE, Command::Cancel);
    assert_eq!(ward.goal(), GoalAction::Withdraw, "its node must say that nothing is left");
    ward.moves("r1", "mr", Failed);
    assert_eq!(ward.see("r1", "mr").state, Failed);
}

/// A cancel gives up a device whose install has begun behind its reports, and the node could not take it back: people who
/// then order its rollback want more than that nothing begins.
#[test]
fn a_failed_rollback_of_a_device_that_was_given_up_is_tried_again() {
    let mut ward = Ward::new();
    let r1 = ward.start("r1", &["rx1/ct"], 1, Scope::Wave);
    ward.order(&r1, RELEASE, Command::Cancel);
    assert_eq!(ward.goal(), GoalAction::Withdraw);
    ward.moves("r1", "ct", DeploymentState::RollbackFailed);
    let target = RollBackTarget::Device { device: device("rx1/ct") };
    ward.order(&r1, ONCALL, Command::RollBack { target });
    assert_eq!(ward.goal(), GoalAction::RollBack);
    ward.attempt("r1", "ct", 2, DeploymentState::RolledBack);
    assert_eq!(ward.see("r1", "ct").state, DeploymentState::RolledBack);
}

/// A device was given up, then a site that no document pins blames the rollout: nothing shows its node that a rollback is
/// due. When the node says that it had begun, it is not taken for one that goes back: nobody has asked it to.
#[test]
fn what_was_given_up_and_had_begun_is_not_thought_to_go_back_when_nothing_shows_it() {
    let mut ward = Ward::new();
    ward.step(&Event::NodeEnrolled { site: site("rx2"), node_key: key("k2") });
    let body = ReportBody::Inventory { inventory: inventory("rx2", &["x".to_owned()], &[], &[]) };
    elsewhere(&mut ward, 1, body);
    let waves = [WaveSpec::new("canary", &["rx1/ct"]), WaveSpec::new("full", &["rx2/x"])];
    let r1 = ward.start_waves("r1", &waves, 1, Scope::Rollout);
    ward.order(&r1, RELEASE, Command::Cancel);
    let blame = ReportBody::Health {
        system: SystemId::new("rx2/pacs").unwrap(),
        health: Health::Unhealthy,
        blames: Some(rollout_id("r1")),
        document: None,
        probes: Vec::new(),
    };
    elsewhere(&mut ward, 2, blame);
    assert_eq!(ward.goal(), GoalAction::Withdraw);
    ward.moves("r1", "ct", Soaking);
    assert_eq!(ward.see("r1", "ct").state, Soaking);
    ward.now = ward.now.after(DurationMs::from_secs(600));
    ward.moves("r1", "ct", DeploymentState::Succeeded);
    assert_eq!(ward.see("r1", "ct").state, DeploymentState::Succeeded);
}
