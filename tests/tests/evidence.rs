//! A controller in an attacker's hands says that waves have passed and that rollbacks are due; the node goes by what other
//! nodes have signed.

use wardround_rollout_plans::model::{
    Command, DeploymentState, Directive, Failure, Goal, GoalAction, Report, ReportBody, RollBackTarget,
};
use wardround_signing::{Digest, Envelope, SecretKey};
use wardround_tests::{
    evil::{CANARY, Case, FULL},
    world::{try_wait, wait_until},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wardround-under-test");

/// The controller says that the canaries have passed. Everything else about the second wave is in order.
#[test]
fn a_wave_is_not_begun_on_the_controllers_word_that_the_one_before_has_passed() {
    let mut case = Case::new(PROGRAM, "no evidence of the wave before");
    let estate = &case.estate;
    let (ours, stranger) = (&estate.people.eve, SecretKey::from_seed(&[77; 32]));
    let one = || estate.proven(1);
    let changed = |change: fn(&mut Report)| estate.proven_by(2, &SecretKey::from_seed(&[8; 32]), change);
    let of_another_rollout = changed(|report| {
        if let ReportBody::Deployment { evidence, .. } = &mut report.body {
            evidence.document = Some(Digest::of(b"a rollout that went well, of the same id"));
        }
    });
    let not_a_success = changed(|report| {
        if let ReportBody::Deployment { state, .. } = &mut report.body {
            *state = DeploymentState::Failed;
        }
    });
    // The honest report of a device of this wave, shown as that of another.
    let mut of_another_device = estate.proven(2);
    of_another_device.report = estate.proven(1).report;
    let mut of_another_wave = estate.proven(2);
    of_another_wave.member = estate.goal(FULL).member;
    let attacks = [
        (Vec::new(), "0 of at least 2"),
        (vec![one(), one(), one()], "1 of at least 2"),
        (vec![one(), of_another_rollout], "of another rollout"),
        (vec![one(), not_a_success], "says failed"),
        (vec![one(), estate.proven_by(2, &stranger, |_| ())], "does not pin"),
        (vec![one(), estate.proven_by(0, ours, |_| ())], "does not pin"),
        (vec![one(), of_another_device], "of another device"),
        (vec![one(), of_another_wave], "not proved to be in wave canary"),
    ];
    let second = |counter: u64, orders: Vec<Envelope>| estate.directive(counter, orders, vec![estate.goal(FULL)]);
    let orders = || vec![estate.start(), estate.approval(&estate.people.ben)];
    let mut said: Vec<(Directive, &str)> = Vec::new();
    for ((devices, why), counter) in attacks.into_iter().zip(1..) {
        let mut directive = second(counter, orders());
        directive.rollouts[0].passages = vec![estate.passage(devices)];
        said.push((directive, why));
    }
    let honest = second(20, orders());
    let sealed: Vec<Envelope> = said.iter().map(|(directive, _)| estate.seal(directive)).collect();
    for (envelope, (_, why)) in sealed.into_iter().zip(&said) {
        case.say(envelope);
        case.refuses("directive", why);
    }
    case.honest_words_install(&honest, "b");
}

/// Where nothing can be shown, release and clinical together stand in for it, and nobody less.
#[test]
fn release_and_clinical_together_stand_in_for_evidence() {
    let mut case = Case::new(PROGRAM, "approvals in place of evidence");
    let second = |case: &Case, counter: u64, approvals: &[&SecretKey]| {
        let approvals = approvals.iter().map(|key| case.estate.approval(key));
        let orders = [case.estate.start()].into_iter().chain(approvals).collect();
        let mut directive = case.estate.directive(counter, orders, vec![case.estate.goal(FULL)]);
        directive.rollouts[0].passages.clear();
        directive
    };
    let people = || &case.estate.people;
    let one_person = second(&case, 1, &[&people().ben, &people().ann_again]);
    let honest = second(&case, 2, &[&people().ben, &people().ann]);
    case.say(case.estate.seal(&one_person));
    case.refuses("directive", "release and clinical have not both approved");
    case.honest_words_install(&honest, "b");
}

/// The controller says that a patch is to be taken back. Two people have ordered nothing, and nothing shows that it must.
#[test]
fn a_patch_is_not_taken_back_on_the_controllers_word() {
    let case = Case::new(PROGRAM, "forged rollbacks");
    let estate = &case.estate;
    let patch = estate.patch.id.as_str();
    case.honest_words_install(&case.canary(1), "a");
    let stranger = SecretKey::from_seed(&[77; 32]);
    let changed = |change: fn(&mut Report)| estate.failure_by(&SecretKey::from_seed(&[8; 32]), change);
    let of_another_rollout = changed(|report| {
        if let ReportBody::Deployment { evidence, .. } = &mut report.body {
            evidence.document = Some(Digest::of(b"a rollout that went badly, of the same id"));
        }
    });
    let no_failure = changed(|report| {
        if let ReportBody::Deployment { state, .. } = &mut report.body {
            *state = DeploymentState::Succeeded;
        }
    });
    let ordered_there = changed(|report| {
        if let ReportBody::Deployment { code, .. } = &mut report.body {
            "ordered".clone_into(code);
        }
    });
    let says = |counter: u64, wave: usize, failures: Vec<Failure>, order: Option<Envelope>| {
        let goal = Goal { action: GoalAction::RollBack, ..estate.goal(wave) };
        let orders = [estate.start(), estate.approval(&estate.people.ben)].into_iter().chain(order).collect();
        let mut directive = estate.directive(counter, orders, vec![goal]);
        directive.rollouts[0].failures = failures;
        case.say(estate.seal(&directive));
    };
    let one_person = estate.order(3, Command::RollBack { target: RollBackTarget::Rollout }, &estate.people.ann);
    let attacks = [
        (CANARY, Vec::new(), None, "no order of two people and no report shows"),
        (CANARY, Vec::new(), Some(one_person), "a second person must sign too"),
        (CANARY, vec![of_another_rollout], None, "of another rollout"),
        (CANARY, vec![estate.failure_by(&stranger, |_| ())], None, "does not pin"),
        (CANARY, vec![no_failure], None, "its report says succeeded"),
        (CANARY, vec![ordered_there], None, "its report says rolled_back (ordered)"),
        (CANARY, vec![Failure { pin: None, ..estate.failure() }], None, "of another site"),
        (FULL, vec![estate.failure()], None, "what is shown does not reach it by the plan"),
    ];
    for ((wave, failures, order, why), counter) in attacks.into_iter().zip(2..) {
        let before = case.evil.refusals().len();
        says(counter, wave, failures, order);
        let told = || case.evil.refusals().into_iter().skip(before).any(|(_, y)| y.contains(why)).then_some(());
        try_wait(30, told).unwrap_or_else(|| panic!("no refusal with {why:?} in {:?}", case.evil.refusals()));
        case.check_ins(2);
        assert!(case.site.device("a").installed(patch), "{why}: the patch was taken back");
        assert!(case.site.device("b").untouched(), "{why}: b was touched");
    }
    // Proof that nothing but that stood in the way.
    says(40, CANARY, vec![estate.failure()], None);
    wait_until(40, "the honest rollback", || !case.site.device("a").installed(patch));
    assert!(case.site.device("b").untouched());
}
