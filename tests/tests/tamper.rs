//! A controller in an attacker's hands can delay, but can't install anything else, anywhere else, earlier or out of order;
//! and it hears in signed words that it was refused (DESIGN, "Trust").
#![expect(clippy::unwrap_used, reason = "a test: a failure is a panic that names the line")]

use std::path::PathBuf;

use tempfile::TempDir;
use wardround_rollout_plans::model::{Command, Directive, ReportBody, SiteId, Timestamp};
use wardround_signing::{Digest, Envelope, log::SignedCheckpoint};
use wardround_tests::{
    evil::{Estate, Evil},
    world::{Blueprint, Device, Ran, Service, Site, plan, try_wait, wait_until},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wardround-under-test");
const CANARY: usize = 0;
const FULL: usize = 1;

/// A real node that trusts an evil controller's CA, directive key and anchor.
struct Case {
    name: &'static str,
    site: Site,
    evil: Evil,
    estate: Estate,
    // Dropped last.
    _service: Service,
    _dir: TempDir,
}

impl Case {
    /// Everything is served as an honest controller would; the directive is not there yet.
    fn new(name: &'static str) -> Self {
        let dir = tempfile::Builder::new().prefix("wardround-tamper-").tempdir().unwrap();
        let sites = dir.path().join("sites");
        std::fs::create_dir_all(&sites).unwrap();
        let service = Service::start(&sites);
        // The approval of a clinical safety officer stands before the second wave.
        let yaml = plan::two_waves("300ms", "{ per_site: 2 }", "wave").replacen(
            "    soak: 300ms\n",
            "    soak: 300ms\n    gate: { approvals: [clinical] }\n",
            1,
        );
        let estate = Estate::new("rx1", &yaml);
        let evil = Evil::start(&estate);
        let blueprint = Blueprint::new("rx1").device("a", "canary").device("b", "full");
        let mut site = Site::build(dir.path(), &blueprint, &service, evil.port);
        let (url, state) = (format!("https://127.0.0.1:{}", evil.port), site.state().display().to_string());
        let enrol = ["node", "enrol", "--controller", &url, "--token", &evil.token, "--state", &state];
        // The server listens within moments of being started.
        try_wait(10, || (Ran::run(PROGRAM.as_ref(), dir.path(), &enrol, "").code == Some(0)).then_some(()))
            .unwrap_or_else(|| panic!("{name}: {:?}", Ran::run(PROGRAM.as_ref(), dir.path(), &enrol, "")));
        evil.with(|served| {
            let (ann, ben) = (&estate.people.ann, &estate.people.ben);
            served.chunks = estate.chunks.clone();
            for document in [estate.signed_patch(&[ann, ben]), estate.signed_rollout(&[ann, ben])] {
                served.documents.insert(document.digest(), document);
            }
        });
        site.start_node(&PathBuf::from(PROGRAM));
        Self { name, site, evil, estate, _service: service, _dir: dir }
    }

    /// Serves a document under the digest of the honest one.
    fn document(&self, honest: &Envelope, served_instead: Envelope) {
        self.evil.with(|served| served.documents.insert(honest.digest(), served_instead));
    }

    fn say(&self, directive: Envelope) {
        self.evil.with(|served| served.directive = Some(directive));
    }

    /// An honest directive for the canary.
    fn canary(&self, counter: u64) -> Directive {
        self.estate.directive(counter, vec![self.estate.start()], vec![self.estate.goal(CANARY)])
    }

    /// The node says, signed, that it refused `what`, in words that hold `why`; and no device was touched.
    fn refuses(&mut self, what: &str, why: &str) {
        let name = self.name;
        let found =
            try_wait(20, || self.evil.refusals().into_iter().find(|(w, y)| w.contains(what) && y.contains(why)));
        if found.is_none() {
            let log = self.site.node().log();
            panic!("{name}: no refusal of {what:?} with {why:?} in {:?}\n{log}", self.evil.refusals());
        }
        let before = self.evil.with(|served| served.check_ins);
        wait_until(20, &format!("{name}: two more check-ins"), || {
            self.evil.with(|served| served.check_ins) >= before + 2
        });
        assert!(self.site.devices.iter().all(Device::untouched), "{name}: a device was touched");
        assert!(self.site.node().ended().is_none(), "{name}: the node ended");
    }

    /// Proof that nothing but the tampering stood in the way: honest words now install on this device alone.
    fn honest_words_install(&self, directive: &Directive, device: &str) {
        let (ann, ben) = (&self.estate.people.ann, &self.estate.people.ben);
        let honest = [self.estate.signed_patch(&[ann, ben]), self.estate.signed_rollout(&[ann, ben])];
        self.evil.with(|served| {
            served.chunks = self.estate.chunks.clone();
            served.documents.extend(honest.map(|document| (document.digest(), document)));
        });
        self.say(self.estate.seal(directive));
        let patch = self.estate.patch.id.as_str();
        wait_until(40, &format!("{}: the honest install on {device}", self.name), || {
            self.site.device(device).installed(patch)
        });
        for other in self.site.devices.iter().filter(|d| d.name() != device) {
            assert!(other.untouched(), "{}: {}", self.name, other.id);
        }
    }
}

/// One bit of the text after `marker` turned, so that the JSON stays JSON.
fn flip(mut envelope: Envelope, marker: &str) -> Envelope {
    let at = envelope.payload.windows(marker.len()).position(|w| w == marker.as_bytes()).unwrap() + marker.len();
    envelope.payload[at] ^= 1;
    envelope
}

#[test]
fn a_forked_log_is_refused_and_nothing_new_begins_on_it() {
    let mut case = Case::new("forked log");
    // Both signed with the log's own key, as whoever holds the controller can.
    let log = |case: &Case, word: &[u8]| {
        let signed = SignedCheckpoint::sign(2, Digest::of(word), &case.estate.online).unwrap();
        case.evil.with(|served| served.log = Some((signed.note().to_owned(), Vec::new())));
        let before = case.evil.with(|served| served.check_ins);
        wait_until(20, "two more check-ins", || case.evil.with(|served| served.check_ins) >= before + 2);
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
    let mut case = Case::new("no log");
    case.evil.with(|served| served.log = Some((String::new(), Vec::new())));
    case.say(case.estate.seal(&case.canary(1)));
    case.refuses("log", "no checkpoint");
    case.evil.with(|served| served.log = None);
    case.honest_words_install(&case.canary(2), "a");
}

#[test]
fn an_honest_controller_is_obeyed() {
    let case = Case::new("honest");
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
    let mut case = Case::new("payload chunk");
    case.evil.with(|served| {
        for chunk in served.chunks.values_mut().skip(1).take(1) {
            chunk[1000] ^= 4;
        }
    });
    case.say(case.estate.seal(&case.canary(1)));
    case.refuses("payload chunk", "");
    case.honest_words_install(&case.canary(2), "a");

    let mut case = Case::new("patch");
    let (ann, ben) = (&case.estate.people.ann, &case.estate.people.ben);
    let honest = case.estate.signed_patch(&[ann, ben]);
    case.document(&honest, flip(honest.clone(), "\"title\":\""));
    case.say(case.estate.seal(&case.canary(1)));
    case.refuses("patch", "");
    case.honest_words_install(&case.canary(2), "a");

    let mut case = Case::new("rollout");
    let (ann, ben) = (&case.estate.people.ann, &case.estate.people.ben);
    let honest = case.estate.signed_rollout(&[ann, ben]);
    case.document(&honest, flip(honest.clone(), "\"name\":\""));
    case.say(case.estate.seal(&case.canary(1)));
    case.refuses("rollout", "");
    case.honest_words_install(&case.canary(2), "a");

    let mut case = Case::new("directive");
    case.say(flip(case.estate.seal(&case.canary(1)), "\"counter\":"));
    case.refuses("directive", "does not match");
    case.honest_words_install(&case.canary(2), "a");
}

#[test]
fn directives_count_only_here_now_and_in_order() {
    let mut case = Case::new("another site");
    let mut directive = case.canary(1);
    directive.site = SiteId::new("rx2").unwrap();
    case.say(case.estate.seal(&directive));
    case.refuses("directive", "rx2");
    case.honest_words_install(&case.canary(2), "a");

    let mut case = Case::new("older counter");
    case.say(case.estate.seal(&case.estate.directive(7, vec![case.estate.start()], Vec::new())));
    let before = case.evil.with(|served| served.check_ins);
    wait_until(20, "the newer directive to be taken", || case.evil.with(|s| s.check_ins) >= before + 2);
    case.say(case.estate.seal(&case.canary(6)));
    case.refuses("directive", "7");
    // Also after a restart: the floor is on disk.
    case.site.node().kill9();
    case.site.start_node(&PathBuf::from(PROGRAM));
    let before = case.evil.with(|served| served.check_ins);
    wait_until(20, "the node to be back", || case.evil.with(|s| s.check_ins) >= before + 3);
    assert!(case.site.devices.iter().all(Device::untouched));
    case.honest_words_install(&case.canary(8), "a");

    let mut case = Case::new("expired");
    let mut directive = case.canary(1);
    directive.issued_at = Timestamp(directive.issued_at.0 - 7_200_000);
    directive.expires_at = Timestamp(directive.expires_at.0 - 7_200_000);
    case.say(case.estate.seal(&directive));
    case.refuses("directive", "expired");
    case.honest_words_install(&case.canary(2), "a");
}

#[test]
fn a_device_outside_its_wave_is_not_touched() {
    let mut case = Case::new("wrong wave");
    // b belongs to the second wave; the directive puts it into the first, with the best proof that there is.
    let mut goal = case.estate.goal(FULL);
    goal.member.wave = case.estate.members[CANARY][0].wave.clone();
    case.say(case.estate.seal(&case.estate.directive(1, vec![case.estate.start()], vec![goal])));
    case.refuses("", "rx1/b");
    case.honest_words_install(&case.canary(2), "a");

    let mut case = Case::new("foreign device with a borrowed proof");
    let mut goal = case.estate.goal(CANARY);
    goal.member.device = case.estate.members[FULL][0].device.clone();
    case.say(case.estate.seal(&case.estate.directive(1, vec![case.estate.start()], vec![goal])));
    case.refuses("", "rx1/b");
    case.honest_words_install(&case.canary(2), "a");
}

#[test]
fn missing_signatures_of_people_are_not_made_up_for() {
    type Signers = fn(&Estate) -> Vec<&wardround_signing::SecretKey>;
    let cases: [(&'static str, Signers, &str); 4] = [
        ("no release signature", |e| vec![&e.people.ben], "release"),
        ("no clinical signature", |e| vec![&e.people.ann], "clinical"),
        ("one person for both", |e| vec![&e.people.dora], "Dora Day signed for both"),
        ("a stranger for clinical", |e| vec![&e.people.ann, &e.people.eve], "clinical"),
    ];
    for (name, signers, why) in cases {
        let mut case = Case::new(name);
        let document = case.estate.signed_rollout(&signers(&case.estate));
        case.document(&document, document.clone());
        case.say(case.estate.seal(&case.canary(1)));
        case.refuses("rollout", why);

        // The rollout is good now, and the patch is not.
        let (ann, ben) = (&case.estate.people.ann, &case.estate.people.ben);
        let rollout = case.estate.signed_rollout(&[ann, ben]);
        case.document(&rollout, rollout.clone());
        let patch = case.estate.signed_patch(&signers(&case.estate));
        case.document(&patch, patch.clone());
        case.say(case.estate.seal(&case.canary(2)));
        case.refuses("patch", why);
        case.honest_words_install(&case.canary(3), "a");
    }
}

#[test]
fn a_wave_needs_its_approvals_and_the_rollout_its_start() {
    let mut case = Case::new("no approval");
    let second = |orders: Vec<Envelope>, counter: u64, case: &Case| {
        case.estate.directive(counter, orders, vec![case.estate.goal(FULL)])
    };
    case.say(case.estate.seal(&second(vec![case.estate.start()], 1, &case)));
    case.refuses("", "approv");
    // Ann's approval is not the clinical one that the plan asks for; Eve's is nobody's.
    for (counter, key) in [(2, &case.estate.people.ann), (3, &case.estate.people.eve)] {
        let orders = vec![case.estate.start(), case.estate.approval(key)];
        case.say(case.estate.seal(&second(orders, counter, &case)));
        let before = case.evil.with(|served| served.check_ins);
        wait_until(20, "the node to look at it", || case.evil.with(|s| s.check_ins) >= before + 3);
        assert!(case.site.devices.iter().all(Device::untouched));
    }
    let orders = vec![case.estate.start(), case.estate.approval(&case.estate.people.ben)];
    let honest = second(orders, 4, &case);
    case.honest_words_install(&honest, "b");

    let mut case = Case::new("no start order");
    case.say(case.estate.seal(&case.estate.directive(1, Vec::new(), vec![case.estate.goal(CANARY)])));
    case.refuses("", "start");
    case.honest_words_install(&case.canary(2), "a");

    let mut case = Case::new("a start order of the wrong role");
    let start = case.estate.order(1, Command::Start, &case.estate.people.ben);
    case.say(case.estate.seal(&case.estate.directive(1, vec![start], vec![case.estate.goal(CANARY)])));
    case.refuses("", "start");
    case.honest_words_install(&case.canary(2), "a");
}

#[test]
fn a_halt_is_lifted_by_two_people_once_and_not_by_one() {
    let mut case = Case::new("one person on a resume");
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
    let before = case.evil.with(|served| served.check_ins);
    wait_until(20, "the node to look at it again", || case.evil.with(|s| s.check_ins) >= before + 3);
    assert!(case.site.devices.iter().all(Device::untouched), "a replayed resume lifted a later halt");
    case.honest_words_install(&honest, "a");
}
