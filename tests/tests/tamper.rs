//! A controller in an attacker's hands can delay, but can't install anything else, anywhere else, earlier or out of order;
//! and it hears in signed words that it was refused (DESIGN, "Trust").
#![expect(clippy::unwrap_used, reason = "a test: a failure is a panic that names the line")]

use wardround_rollout_plans::model::{Command, Directive, ReportBody, SiteId, Timestamp};
use wardround_signing::{Digest, Envelope, log::SignedCheckpoint, tuf::RoleName};
use wardround_tests::{
    evil::{CANARY, Case, Estate, FULL, Repository},
    world::{Device, wait_until},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wardround-under-test");

fn tried(name: &'static str) -> Case {
    Case::new(PROGRAM, name)
}

/// One bit of the text after `marker` turned, so that the JSON stays JSON.
fn flip(mut envelope: Envelope, marker: &str) -> Envelope {
    let at = envelope.payload.windows(marker.len()).position(|w| w == marker.as_bytes()).unwrap() + marker.len();
    envelope.payload[at] ^= 1;
    envelope
}

#[test]
fn a_forked_log_is_refused_and_nothing_new_begins_on_it() {
    let mut case = tried("forked log");
    // Both signed with the log's own key, as whoever holds the controller can.
    let log = |case: &Case, word: &[u8]| {
        let signed = SignedCheckpoint::sign(2, Digest::of(word), &case.estate.online).unwrap();
        case.evil.with(|served| served.log = Some((signed.note().to_owned(), Vec::new())));
        case.check_ins(2);
    };
    log(&case, b"what this site is shown first");
    log(&case, b"what this site is shown later");
    case.say(case.estate.seal(&case.canary(1)));
    case.refuses("log", "forked");
    // The first log again does not make it good: a person has to look.
    log(&case, b"what this site is shown first");
    case.say(case.estate.seal(&case.canary(2)));
    case.refuses("log", "forked");
}

#[test]
fn a_controller_without_a_checkpoint_is_not_obeyed_until_it_shows_one() {
    let mut case = tried("no log");
    case.evil.with(|served| served.log = Some((String::new(), Vec::new())));
    case.say(case.estate.seal(&case.canary(1)));
    case.refuses("log", "no checkpoint");
    case.evil.with(|served| served.log = None);
    case.honest_words_install(&case.canary(2), "a");
}

#[test]
fn an_honest_controller_is_obeyed() {
    let case = tried("honest");
    case.honest_words_install(&case.canary(1), "a");
    let orders = vec![case.estate.start(), case.estate.approval(&case.estate.people.ben)];
    let goals = vec![case.estate.goal(CANARY), case.estate.goal(FULL)];
    case.say(case.estate.seal(&case.estate.directive(2, orders, goals)));
    let patch = case.estate.patch.id.as_str();
    wait_until(40, "the install of the second wave", || case.site.device("b").installed(patch));
    assert!(case.evil.refusals().is_empty(), "{:?}", case.evil.refusals());
    assert!(case.site.devices.iter().all(|d| d.installs() == 1));
}

#[test]
fn one_flipped_bit_is_refused() {
    let mut case = tried("payload chunk");
    case.evil.with(|served| {
        for chunk in served.chunks.values_mut().skip(1).take(1) {
            chunk[1000] ^= 4;
        }
    });
    case.say(case.estate.seal(&case.canary(1)));
    case.refuses("payload chunk", "");
    case.honest_words_install(&case.canary(2), "a");

    let mut case = tried("patch");
    let honest = case.estate.patch_document();
    case.document(&honest, flip(honest.clone(), "\"title\":\""));
    case.say(case.estate.seal(&case.canary(1)));
    case.refuses("patch", "");
    case.honest_words_install(&case.canary(2), "a");

    let mut case = tried("rollout");
    let honest = case.estate.rollout_document();
    case.document(&honest, flip(honest.clone(), "\"name\":\""));
    case.say(case.estate.seal(&case.canary(1)));
    case.refuses("rollout", "");
    case.honest_words_install(&case.canary(2), "a");

    let mut case = tried("directive");
    case.say(flip(case.estate.seal(&case.canary(1)), "\"counter\":"));
    case.refuses("directive", "does not match");
    case.honest_words_install(&case.canary(2), "a");
}

#[test]
fn directives_count_only_here_now_and_in_order() {
    let mut case = tried("another site");
    let mut directive = case.canary(1);
    directive.site = SiteId::new("rx2").unwrap();
    case.say(case.estate.seal(&directive));
    case.refuses("directive", "rx2");
    case.honest_words_install(&case.canary(2), "a");

    let mut case = tried("older counter");
    case.say(case.estate.seal(&case.estate.directive(7, vec![case.estate.start()], Vec::new())));
    case.check_ins(2);
    case.say(case.estate.seal(&case.canary(6)));
    case.refuses("directive", "7");
    // Also after a restart: the floor is on disk.
    case.site.node().kill9();
    case.start_node();
    case.check_ins(3);
    assert!(case.site.devices.iter().all(Device::untouched));
    case.honest_words_install(&case.canary(8), "a");

    let mut case = tried("expired");
    let mut directive = case.canary(1);
    directive.issued_at = Timestamp(directive.issued_at.0 - 7_200_000);
    directive.expires_at = Timestamp(directive.expires_at.0 - 7_200_000);
    case.say(case.estate.seal(&directive));
    case.refuses("directive", "expired");
    case.honest_words_install(&case.canary(2), "a");
}

#[test]
fn a_device_outside_its_wave_is_not_touched() {
    let mut case = tried("wrong wave");
    // b belongs to the second wave; the directive puts it into the first, with the best proof that there is.
    let mut goal = case.estate.goal(FULL);
    goal.member.wave = case.estate.members[CANARY][0].wave.clone();
    case.say(case.estate.seal(&case.estate.directive(1, vec![case.estate.start()], vec![goal])));
    case.refuses("", "rx1/b");
    case.honest_words_install(&case.canary(2), "a");

    let mut case = tried("foreign device with a borrowed proof");
    let mut goal = case.estate.goal(CANARY);
    goal.member.device = case.estate.members[FULL][0].device.clone();
    case.say(case.estate.seal(&case.estate.directive(1, vec![case.estate.start()], vec![goal])));
    case.refuses("", "rx1/b");
    case.honest_words_install(&case.canary(2), "a");
}

#[test]
fn missing_signatures_of_people_are_not_made_up_for() {
    for (name, role, why) in [
        ("no release signature", RoleName::Clinical, "not signed for by release"),
        ("no clinical signature", RoleName::Release, "not signed for by clinical"),
    ] {
        let mut case = tried(name);
        let only = |case: &Case, list: fn(&mut Repository, RoleName, &Estate)| {
            case.publish(|repository, estate| {
                repository.release.targets.clear();
                repository.clinical.targets.clear();
                list(repository, role, estate);
            });
        };
        only(&case, |repository, role, estate| {
            repository.list_patch(role, estate);
            repository.list_rollout(role, estate);
        });
        case.say(case.estate.seal(&case.canary(1)));
        case.refuses("rollout", why);

        // The rollout is good now, and the patch is not.
        only(&case, |repository, role, estate| {
            repository.agree(estate);
            let other = if role == RoleName::Release { &mut repository.clinical } else { &mut repository.release };
            other.targets.retain(|path, _| !path.starts_with("patches/"));
        });
        case.say(case.estate.seal(&case.canary(2)));
        case.refuses("patch", why);
        case.honest_words_install(&case.canary(3), "a");
    }
}

#[test]
fn a_wave_needs_its_approvals_and_the_rollout_its_start() {
    let mut case = tried("no approval");
    let second = |orders: Vec<Envelope>, counter: u64, case: &Case| {
        case.estate.directive(counter, orders, vec![case.estate.goal(FULL)])
    };
    case.say(case.estate.seal(&second(vec![case.estate.start()], 1, &case)));
    case.refuses("", "approv");
    // Ann's approval is not the clinical one that the plan asks for; Eve's is nobody's.
    for (counter, key) in [(2, &case.estate.people.ann), (3, &case.estate.people.eve)] {
        let orders = vec![case.estate.start(), case.estate.approval(key)];
        case.say(case.estate.seal(&second(orders, counter, &case)));
        case.check_ins(3);
        assert!(case.site.devices.iter().all(Device::untouched));
    }
    let orders = vec![case.estate.start(), case.estate.approval(&case.estate.people.ben)];
    let honest = second(orders, 4, &case);
    case.honest_words_install(&honest, "b");

    let mut case = tried("no start order");
    case.say(case.estate.seal(&case.estate.directive(1, Vec::new(), vec![case.estate.goal(CANARY)])));
    case.refuses("", "start");
    case.honest_words_install(&case.canary(2), "a");

    let mut case = tried("a start order of the wrong role");
    let start = case.estate.order(1, Command::Start, &case.estate.people.ben);
    case.say(case.estate.seal(&case.estate.directive(1, vec![start], vec![case.estate.goal(CANARY)])));
    case.refuses("", "start");
    case.honest_words_install(&case.canary(2), "a");
}

#[test]
fn a_halt_is_lifted_by_two_people_once_and_not_by_one() {
    let mut case = tried("one person on a resume");
    let people = || &case.estate.people;
    let order = |counter, command| case.estate.order(counter, command, &people().ann);
    let (start, halt) = (order(1, Command::Start), order(2, Command::Halt));
    let lifts = |halt: &Envelope| Command::Resume { lifts: vec![halt.digest()] };
    let says = |counter: u64, orders: &[&Envelope]| {
        let orders = orders.iter().map(|o| (*o).clone()).collect();
        case.estate.directive(counter, orders, vec![case.estate.goal(CANARY)])
    };
    let by = |counter, halt: &Envelope, signers: &[&wardround_signing::SecretKey]| {
        case.estate.order_of(counter, lifts(halt), signers)
    };
    let alone = by(3, &halt, &[&people().ann]);
    let twice = by(4, &halt, &[&people().ann, &people().ann_again]);
    let stranger = by(5, &halt, &[&people().ann, &people().eve]);
    // Ben's signature is good, but of other bytes.
    let mut borrowed = by(6, &halt, &[&people().ann]);
    borrowed.add(by(7, &halt, &[&people().ben]).signatures.remove(0));
    let (good, again) = (by(8, &halt, &[&people().ann, &people().ben]), order(9, Command::Halt));
    let honest = by(10, &again, &[&people().ann, &people().ben]);
    let held: Vec<Directive> = [&alone, &twice, &stranger, &borrowed]
        .into_iter()
        .zip(1..)
        .map(|(resume, counter)| says(counter, &[&start, &halt, resume]))
        .collect();
    let replayed = says(5, &[&start, &again, &good]);
    let honest = says(6, &[&start, &again, &honest]);
    let whys =
        ["a second person must sign", "a second person must sign", "a second person must sign", "does not match"];
    for (directive, why) in held.iter().zip(whys) {
        case.say(case.estate.seal(directive));
        case.refuses("order", why);
    }
    // A resume of two people, replayed after a later halt: it is genuine, and lifts nothing any more.
    case.say(case.estate.seal(&replayed));
    wait_until(20, "the second halt to be known", || {
        case.evil.with(|served| {
            let known = |b: &ReportBody| matches!(b, ReportBody::HaltKnown { counter: 9, .. });
            served.reports.iter().any(|r| known(&r.body))
        })
    });
    case.check_ins(3);
    assert!(case.site.devices.iter().all(Device::untouched), "a replayed resume lifted a later halt");
    case.honest_words_install(&honest, "a");
}
