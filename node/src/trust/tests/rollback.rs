//! Whether a patch is to be taken back: a node goes by two people's order, or by what a node has signed of a failure.

use wardround_rollout_plans::model::{FAILURES_MAX, Failure, Health, Pin, Scope, SystemId};

use super::*;

/// The node of a site elsewhere.
fn elsewhere() -> SecretKey {
    SecretKey::from_seed(&[8; 32])
}

/// A hospital whose first wave holds `a`, and `x` of a site elsewhere; `b` stands in the second.
fn hospital(scope: Scope) -> Hospital {
    let mut h = Hospital::new();
    let x = Member { device: DeviceId::new("rx2/x").unwrap(), ..member("canary", "x") };
    h.waves[0].push(x);
    h.rollout = Hospital::rollout(&h.patch, &h.waves);
    h.rollout.plan.rollback.scope = scope;
    for (wave, members) in h.rollout.waves.iter_mut().zip(&h.waves) {
        wave.reporters = Reporters::of(&nodes(), members);
    }
    h
}

fn nodes() -> [Reporter; 2] {
    let site = SiteId::new("rx2").unwrap();
    [Hospital::reporter(), Reporter { site, key: elsewhere().public() }]
}

/// What the node says of goals to take back the devices `a` and `b`, which it is shown this for: the names of those that
/// it takes back, or why it refuses them all.
fn judged(h: &Hospital, failures: Vec<Failure>, roll_back: Option<Envelope>) -> Result<Vec<String>, String> {
    let back = |wave| Goal { action: GoalAction::RollBack, ..h.goal(wave, 0) };
    let orders = [h.order(Command::Start, &h.ann), h.approval(&h.ben), h.approval(&h.cem)];
    let orders = orders.into_iter().chain(roll_back).collect();
    let mut directive = h.directive(orders, vec![back(0), back(1)]);
    directive.rollouts[0].failures = failures;
    let (wishes, refusals) = wishes(&directive, &h.papers(), &h.anchor, &h.inventory, &Hospital::reporter());
    let taken: Vec<String> = wishes.rollouts[0].goals.iter().map(|g| g.device.name().to_owned()).collect();
    assert_eq!(taken.len() + refusals.len(), 2, "{refusals:?}");
    if taken.is_empty() { Err(refusals[0].why.clone()) } else { Ok(taken) }
}

/// The word of the node elsewhere that its device `x` has failed, with something changed before `key` signs it.
fn failure_by(h: &Hospital, key: &SecretKey, change: impl FnOnce(&mut Report)) -> Failure {
    let Goal { member, proof, .. } = h.goal(0, 1);
    let mut report = h.report(&member.device);
    report.site = member.device.site();
    ends(&mut report, DeploymentState::Failed, "install_failed");
    change(&mut report);
    let pin = Pin { key: key.public(), proof: Reporters::tree(&nodes()).prove(1).unwrap() };
    Failure { member, proof, report: sealed(&report, &[key]), pin: Some(pin) }
}

fn failure(h: &Hospital) -> Failure {
    failure_by(h, &elsewhere(), |_| ())
}

fn ends(report: &mut Report, to: DeploymentState, why: &str) {
    let ReportBody::Deployment { state, code, .. } = &mut report.body else { unreachable!("a deployment") };
    *state = to;
    why.clone_into(code);
}

/// Blame of a clinical system of the node's own site, in its own words.
fn own_blame(h: &Hospital, key: &SecretKey) -> Failure {
    let Goal { member, proof, .. } = h.goal(0, 0);
    let mut report = h.report(&member.device);
    report.body = ReportBody::Health {
        system: SystemId::new("rx1/pacs").unwrap(),
        health: Health::Unhealthy,
        blames: Some(h.rollout.id.clone()),
        document: Some(h.digest()),
        probes: Vec::new(),
    };
    Failure { member, proof, report: sealed(&report, &[key]), pin: None }
}

#[test]
fn nothing_is_taken_back_on_the_controllers_word_alone() {
    let h = hospital(Scope::Rollout);
    let said = judged(&h, Vec::new(), None).unwrap_err();
    assert!(said.contains("no order of two people and no report shows"), "{said}");
}

#[test]
fn two_people_take_back_what_their_order_covers() {
    let h = hospital(Scope::Device);
    let ordered = |target: RollBackTarget, signers: &[&SecretKey]| {
        judged(&h, Vec::new(), Some(h.ordered(Command::RollBack { target }, signers)))
    };
    let (a, site) = (device("a"), SiteId::new("rx1").unwrap());
    let both: [&SecretKey; 2] = [&h.ann, &h.cem];
    let wave = h.waves[1][0].wave.clone();
    assert_eq!(ordered(RollBackTarget::Device { device: a }, &both).unwrap(), ["a"]);
    assert_eq!(ordered(RollBackTarget::Wave { wave }, &both).unwrap(), ["b"]);
    assert_eq!(ordered(RollBackTarget::Site { site }, &both).unwrap(), ["a", "b"]);
    assert_eq!(ordered(RollBackTarget::Rollout, &both).unwrap(), ["a", "b"]);
    let other = RollBackTarget::Site { site: SiteId::new("rx2").unwrap() };
    assert!(ordered(other, &both).unwrap_err().contains("no order of two people"));
}

#[test]
fn a_failure_reaches_as_far_as_the_signed_plan_says() {
    let refused = |scope| {
        let h = hospital(scope);
        let said = judged(&h, vec![failure(&h)], None).unwrap_err();
        assert!(said.contains("what is shown does not reach it by the plan"), "{said}");
    };
    refused(Scope::Device);
    refused(Scope::Site);
    let reached = |scope| {
        let h = hospital(scope);
        judged(&h, vec![failure(&h)], None).unwrap()
    };
    assert_eq!(reached(Scope::Wave), ["a"], "the other wave has not failed");
    assert_eq!(reached(Scope::Rollout), ["a", "b"]);
}

#[test]
fn every_link_from_the_signed_document_to_the_failure_is_checked() {
    let h = hospital(Scope::Rollout);
    let refused = |failure: Failure, why: &str| {
        let said = judged(&h, vec![failure], None).unwrap_err();
        assert!(said.contains(why), "{why}: {said}");
    };
    let changed = |change: &dyn Fn(&mut Report)| failure_by(&h, &elsewhere(), change);
    refused(failure_by(&h, &SecretKey::from_seed(&[99; 32]), |_| ()), "does not pin");
    refused(failure_by(&h, &Hospital::node(), |_| ()), "does not pin");
    refused(Failure { pin: None, ..failure(&h) }, "of another site");
    refused(Failure { proof: h.goal(0, 0).proof, ..failure(&h) }, "not proved to be in wave canary");
    refused(Failure { member: h.goal(1, 0).member, ..failure(&h) }, "not proved to be in wave full");
    let mut torn = failure(&h);
    torn.report.signatures[0].sig[5] ^= 1;
    refused(torn, "no order of two people");
    refused(changed(&|r| r.site = SiteId::new("rx1").unwrap()), "of another site");
    let about = |change: fn(&mut RolloutId, &mut Evidence)| {
        failure_by(&h, &elsewhere(), |report| {
            let ReportBody::Deployment { rollout, evidence, .. } = &mut report.body else { return };
            change(rollout, evidence);
        })
    };
    refused(about(|id, _| *id = RolloutId::new("r2").unwrap()), "of another rollout");
    refused(about(|_, evidence| evidence.document = Some(Digest::of(b"else"))), "of another rollout");
    refused(about(|_, evidence| evidence.document = None), "of another rollout");
    let another = |r: &mut Report| {
        let ReportBody::Deployment { device, .. } = &mut r.body else { return };
        *device = DeviceId::new("rx2/y").unwrap();
    };
    refused(changed(&another), "of another device");
    let halt = ReportBody::HaltKnown { rollout: h.rollout.id.clone(), counter: 1 };
    refused(changed(&|r| r.body = halt.clone()), "about something else");
    // What stands beyond the limit is not looked at.
    let mut many = vec![own_blame(&h, &elsewhere()); FAILURES_MAX];
    many.push(failure(&h));
    assert!(judged(&h, many, None).is_err());
}

#[test]
fn only_what_went_wrong_at_the_site_itself_is_a_failure() {
    let h = hospital(Scope::Rollout);
    let says = |state, code| judged(&h, vec![failure_by(&h, &elsewhere(), |r| ends(r, state, code))], None);
    for state in DeploymentState::ALL {
        assert_eq!(says(state, "").is_ok(), state.is_lost(), "{state}");
    }
    // A controller takes one device back, withdraws it or sends it rubbish, and shows what its node says of that.
    for code in ["ordered", "withdrawn", "refused", "payload"] {
        for state in [DeploymentState::Failed, DeploymentState::RolledBack] {
            assert!(says(state, code).unwrap_err().contains("which is no failure"), "{code}");
        }
    }
}

#[test]
fn a_sites_own_words_need_no_pin_and_reach_that_site() {
    let h = hospital(Scope::Device);
    let own = Hospital::node();
    assert_eq!(judged(&h, vec![own_blame(&h, &own)], None).unwrap(), ["a", "b"]);
    assert!(judged(&h, vec![own_blame(&h, &elsewhere())], None).is_err(), "another node's words are not its own");
    let mut healthy = h.report(&device("a"));
    healthy.body = ReportBody::Health {
        system: SystemId::new("rx1/pacs").unwrap(),
        health: Health::Unhealthy,
        blames: None,
        document: Some(h.digest()),
        probes: Vec::new(),
    };
    let unblamed = Failure { report: sealed(&healthy, &[&own]), ..own_blame(&h, &own) };
    assert!(judged(&h, vec![unblamed], None).is_err(), "ill, and not for the patch");
}
