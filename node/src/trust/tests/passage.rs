//! Whether the wave before has passed: a node goes by what other nodes have signed, never by the controller's word.

use super::*;

/// A hospital whose first wave holds `a` and `d`, and whose gate asks for so many successes.
fn hospital(evidence_min: u32) -> Hospital {
    let mut h = Hospital::new();
    h.waves[0].push(member("canary", "d"));
    h.rollout = Hospital::rollout(&h.patch, &h.waves);
    h.rollout.plan.waves[0].gate.evidence_min = evidence_min;
    h
}

/// What a node says of a goal in the second wave when it is shown this of the first.
fn shown(h: &Hospital, devices: Vec<Proven>) -> Result<(), String> {
    judged(h, vec![h.passage(devices)], &[])
}

fn judged(h: &Hospital, passages: Vec<Passage>, approvers: &[&SecretKey]) -> Result<(), String> {
    let approvals = [&h.ben, &h.cem].into_iter().chain(approvers.iter().copied()).map(|key| h.approval(key));
    let orders = [h.order(Command::Start, &h.ann)].into_iter().chain(approvals).collect();
    let mut directive = h.directive(orders, vec![h.goal(1, 0)]);
    directive.rollouts[0].passages = passages;
    let (wishes, refusals) = wishes(&directive, &h.papers(), &h.anchor, &h.inventory, &Hospital::reporter());
    if wishes.rollouts[0].goals.len() == 1 {
        assert!(refusals.is_empty(), "{refusals:?}");
        return Ok(());
    }
    Err(refusals.iter().map(|r| r.why.clone()).collect::<Vec<_>>().join("; "))
}

/// Device `at` of the first wave, with something changed in the report before its node signs.
fn edited(h: &Hospital, at: usize, change: impl FnOnce(&mut Report)) -> Proven {
    let mut proven = h.proven(0, at);
    let mut report = h.report(&proven.member.device);
    change(&mut report);
    proven.report = sealed(&report, &[&Hospital::node()]);
    proven
}

fn ends(report: &mut Report, to: DeploymentState) {
    let ReportBody::Deployment { state, .. } = &mut report.body else { unreachable!("an edited deployment") };
    *state = to;
}

#[test]
fn as_many_distinct_devices_as_the_gate_asks_for_must_have_succeeded() {
    let h = hospital(2);
    let (a, d) = (|| h.proven(0, 0), || h.proven(0, 1));
    assert_eq!(shown(&h, vec![a(), d()]), Ok(()));
    assert!(shown(&h, Vec::new()).unwrap_err().contains("0 of at least 2"));
    assert!(judged(&h, Vec::new(), &[]).unwrap_err().contains("0 of at least 2"));
    for few in [vec![a()], vec![a(), a(), a()]] {
        assert!(shown(&h, few).unwrap_err().contains("1 of at least 2"));
    }
    // Two passages of one wave do not add up, and neither do names that are none.
    let twice = vec![h.passage(vec![a()]), h.passage(vec![d()])];
    assert!(judged(&h, twice, &[]).unwrap_err().contains("1 of at least 2"));
    // What stands beyond the limit is not looked at, so that nobody makes a node check signatures for ever.
    let mut many = vec![a(); wardround_rollout_plans::model::PROOFS_MAX];
    many.push(d());
    assert!(shown(&h, many).unwrap_err().contains("1 of at least 2"));
    // A wave has no more devices than it has, and no node asks for more than fits into a directive.
    assert_eq!(h.rollout.plan.waves[0].gate.proofs_min(1), 1);
    assert_eq!(Gate { evidence_min: 500, ..Gate::default() }.proofs_min(1_000), 16);
}

#[test]
fn every_link_from_the_signed_document_to_the_report_is_checked() {
    let h = hospital(1);
    let refused = |proven: Proven, why: &str| {
        let said = shown(&h, vec![proven]).unwrap_err();
        assert!(said.contains(why) && said.contains("0 of at least 1"), "{why}: {said}");
    };
    assert_eq!(shown(&h, vec![h.proven(0, 0)]), Ok(()));
    // The device: of another wave, with a borrowed proof, of another report.
    refused(h.proven(1, 0), "not proved to be in wave canary");
    refused(Proven { proof: h.proven(0, 1).proof, ..h.proven(0, 0) }, "not proved to be in wave canary");
    let mut small = h.proven(0, 0);
    small.proof.size = 1;
    refused(small, "not proved to be in wave canary");
    refused(Proven { report: h.proven(0, 1).report, ..h.proven(0, 0) }, "of another device");
    // The key: not pinned, not that of the signature, a tree of another size.
    let stranger = SecretKey::from_seed(&[99; 32]);
    let report = sealed(&h.report(&device("a")), &[&stranger]);
    refused(Proven { report: report.clone(), key: stranger.public(), ..h.proven(0, 0) }, "does not pin");
    refused(Proven { report, ..h.proven(0, 0) }, "");
    let mut larger = h.proven(0, 0);
    larger.node.size = 2;
    refused(larger, "does not pin");
    let mut torn = h.proven(0, 0);
    torn.report.signatures[0].sig[5] ^= 1;
    refused(torn, "");
    // The words: of another rollout, of another document of the same id, of no document, of another site, no success.
    refused(edited(&h, 0, |r| r.site = SiteId::new("rx2").unwrap()), "of another site");
    let about = |change: fn(&mut RolloutId, &mut Evidence)| {
        edited(&h, 0, |report| {
            let ReportBody::Deployment { rollout, evidence, .. } = &mut report.body else { return };
            change(rollout, evidence);
        })
    };
    refused(about(|id, _| *id = RolloutId::new("r2").unwrap()), "of another rollout");
    refused(about(|_, evidence| evidence.document = Some(Digest::of(b"else"))), "of another rollout");
    refused(about(|_, evidence| evidence.document = None), "of another rollout");
    for state in DeploymentState::ALL {
        if !matches!(state, DeploymentState::Succeeded | DeploymentState::Skipped) {
            refused(edited(&h, 0, |r| ends(r, state)), &format!("says {state}"));
        }
    }
    let health = ReportBody::HaltKnown { rollout: h.rollout.id.clone(), counter: 1 };
    refused(edited(&h, 0, |r| r.body = health), "about something else");
}

#[test]
fn a_skipped_device_is_no_success_and_shows_that_the_wave_has_run() {
    let skipped = |h: &Hospital, at| edited(h, at, |r| ends(r, DeploymentState::Skipped));
    let h = hospital(1);
    assert!(shown(&h, vec![skipped(&h, 0), skipped(&h, 1)]).unwrap_err().contains("0 of at least 1"));
    // One device is not counted once as this and once as that.
    assert!(shown(&h, vec![skipped(&h, 0), h.proven(0, 0)]).unwrap_err().contains("0 of at least 1"));
    let none_asked = hospital(0);
    assert_eq!(shown(&none_asked, vec![skipped(&none_asked, 0)]), Ok(()));
    assert!(shown(&none_asked, Vec::new()).unwrap_err().contains("0 of at least 1"));
}

#[test]
fn release_and_clinical_stand_in_for_evidence_and_nobody_less() {
    let h = hospital(1);
    let lacking = "release and clinical have not both approved wave full";
    assert!(judged(&h, Vec::new(), &[]).unwrap_err().contains(lacking));
    assert!(judged(&h, Vec::new(), &[&h.twin, &h.online]).unwrap_err().contains(lacking));
    assert_eq!(judged(&h, Vec::new(), &[&h.ann]), Ok(()));
}

#[test]
fn evidence_of_a_version_before_an_amendment_goes_on_counting() {
    let mut h = hospital(1);
    let before = h.proven(0, 0);
    let parent = h.digest();
    h.rollout.version = 2;
    h.rollout.ancestors = vec![parent];
    assert_eq!(shown(&h, vec![before.clone()]), Ok(()));
    h.rollout.ancestors = vec![Digest::of(b"another parent")];
    assert!(shown(&h, vec![before]).unwrap_err().contains("of another rollout"));
}

#[test]
fn a_rollback_needs_no_wave_to_have_passed() {
    let h = hospital(2);
    let back = Goal { action: GoalAction::RollBack, ..h.goal(1, 0) };
    let all = Command::RollBack { target: RollBackTarget::Rollout };
    let ordered = h.ordered(all, &[&h.ann, &h.ben]);
    let orders = vec![h.order(Command::Start, &h.ann), h.approval(&h.ben), h.approval(&h.cem), ordered];
    let mut directive = h.directive(orders, vec![back]);
    directive.rollouts[0].passages.clear();
    let (wishes, refusals) = wishes(&directive, &h.papers(), &h.anchor, &h.inventory, &Hospital::reporter());
    assert_eq!((wishes.rollouts[0].goals.len(), refusals.len()), (1, 0), "{refusals:?}");
}
