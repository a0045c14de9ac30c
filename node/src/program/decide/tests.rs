use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn digest(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn image(slot: Slot, name: &str) -> Image {
    Image { slot, digest: digest(name), version: name.to_owned() }
}

/// A node's machine: the record, and what lies in the slots.
struct Machine {
    record: Record,
    seen: Seen,
}

impl Machine {
    fn new() -> Self {
        Self { record: Record::default(), seen: Seen { packaged: digest("package"), slots: BTreeMap::new() } }
    }

    fn step(&mut self, event: Event) -> Answer {
        let (record, answer) = decide(&self.record, &event);
        // What is written is what is read.
        let bytes = serde_json::to_vec(&record).unwrap();
        assert_eq!(serde_json::from_slice::<Record>(&bytes).unwrap(), record);
        self.record = record;
        answer
    }

    /// As a node brings a program.
    fn bring(&mut self, name: &str) -> bool {
        let Answer::Use(slot) = self.step(Event::Room) else { return false };
        assert!(self.record.confirmed.as_ref().is_none_or(|image| image.slot != slot), "what counts stays");
        self.seen.slots.insert(slot, digest(name));
        self.step(Event::Ready { image: image(slot, name), op: name.to_owned() }) == Answer::RestartNeeded
    }

    fn start(&mut self) -> String {
        let Answer::Run(run) = self.step(Event::Start(self.seen.clone())) else { panic!("a start is answered") };
        let Some(image) = run.image else { return "package".to_owned() };
        assert_eq!(self.seen.slots.get(&image.slot), Some(&image.digest), "only what was verified is started");
        image.version
    }

    fn restart(&mut self) -> String {
        self.step(Event::Restart { limit_ms: 300_000 });
        self.step(Event::Ended(End::Restart));
        self.start()
    }

    fn dies(&mut self) -> String {
        self.step(Event::Ended(End::Died("it ended with 1".into())));
        self.start()
    }

    fn keep(&mut self, name: &str) {
        self.step(Event::Well { digest: digest(name) });
        self.step(Event::Over { ops: vec![name.to_owned()], kept: true });
    }

    fn why(&self) -> &str {
        &self.record.left.as_ref().unwrap().why
    }
}

#[test]
fn a_good_program_is_tried_kept_and_taken_back() {
    let mut node = Machine::new();
    assert_eq!(node.start(), "package");
    assert!(node.bring("v2"));
    assert_eq!(node.start(), "package", "nothing begins before the node asks for it");
    assert_eq!(node.restart(), "v2");
    node.keep("v2");
    assert_eq!(node.start(), "v2");
    assert!(node.bring("v3"));
    assert_eq!(node.restart(), "v3");
    node.keep("v3");
    assert_ne!(node.record.confirmed.as_ref().unwrap().slot, node.record.former.as_ref().unwrap().slot);
    assert_eq!(node.step(Event::TakeBack { digest: digest("v3") }), Answer::RestartNeeded);
    assert_eq!(node.restart(), "v2");
    assert_eq!(node.step(Event::TakeBack { digest: digest("v2") }), Answer::RestartNeeded);
    assert_eq!(node.restart(), "package");
    assert!(matches!(node.step(Event::TakeBack { digest: digest("package") }), Answer::Refused(_)));
}

#[test]
fn a_program_that_ends_is_started_three_times_and_then_left() {
    let mut node = Machine::new();
    node.start();
    node.bring("v2");
    let started = [node.restart(), node.dies(), node.dies(), node.dies()];
    assert_eq!(started, ["v2", "v2", "v2", "package"]);
    assert_eq!(node.why(), "it was started 3 times and did not stay: it ended with 1");
    assert_eq!(node.record.why_left(&digest("v2")), Some(node.why()));
    assert_eq!(node.dies(), "package", "what counts is started for ever");
}

#[test]
fn a_program_that_was_ended_by_somebody_has_lost_no_start() {
    let mut node = Machine::new();
    node.start();
    node.bring("v2");
    node.restart();
    for _ in 0..5 {
        node.step(Event::Ended(End::Stopped));
        assert_eq!(node.start(), "v2");
    }
    assert_eq!(node.record.trial.as_ref().unwrap().starts, 1);
    // A power cut, or a supervisor that was killed, writes nothing down.
    assert_eq!([node.start(), node.start(), node.start()], ["v2", "v2", "package"]);
}

#[test]
fn a_program_that_is_not_well_in_time_is_left_and_one_that_is_well_is_not() {
    let mut node = Machine::new();
    node.start();
    node.bring("v2");
    node.restart();
    node.step(Event::Well { digest: digest("v2") });
    node.step(Event::Overdue);
    assert_eq!(node.start(), "v2");
    let mut node = Machine::new();
    node.start();
    node.bring("v2");
    node.restart();
    node.step(Event::Well { digest: digest("another") });
    node.step(Event::Over { ops: vec!["v2".into()], kept: false });
    node.step(Event::Overdue);
    assert_eq!(node.start(), "package");
    assert!(node.why().contains("not well within 300s"), "{}", node.why());
}

#[test]
fn damaged_slots_are_passed_over_down_to_the_package() {
    let mut node = Machine::new();
    node.start();
    for name in ["v2", "v3"] {
        node.bring(name);
        node.restart();
        node.keep(name);
    }
    node.bring("v4");
    // v4 took the slot of v2: behind v3 there is only the package now.
    assert_eq!(node.record.former, None);
    let slot = node.record.confirmed.as_ref().unwrap().slot;
    node.seen.slots.insert(slot, digest("garbage"));
    assert_eq!(node.restart(), "v4");
    node.seen.slots.clear();
    assert_eq!(node.dies(), "package");
    assert!(node.why().contains("not what was verified"));
}

#[test]
fn another_package_counts_before_the_slots() {
    let mut node = Machine::new();
    node.start();
    node.bring("v2");
    node.restart();
    node.keep("v2");
    node.seen.packaged = digest("next package");
    assert_eq!(node.start(), "package");
    assert!(node.why().contains("another package"));
    assert_eq!(node.record.confirmed, None);
}

#[test]
fn what_was_withdrawn_makes_nothing_ready_and_what_is_over_begins_no_more() {
    let mut node = Machine::new();
    node.start();
    node.step(Event::Withdraw { op: "v2".into() });
    assert!(!node.bring("v2"));
    assert_eq!(node.restart(), "package");
    assert!(node.bring("v3"));
    assert!(matches!(node.step(Event::Withdraw { op: "v3".into() }), Answer::Refused(_)), "it has begun");
    node.step(Event::Over { ops: vec!["v3".into()], kept: false });
    assert_eq!(node.restart(), "package");
    assert!(node.bring("v4"));
    assert_eq!(node.step(Event::TakeBack { digest: digest("v4") }), Answer::Noted);
    assert_eq!(node.restart(), "package");
}

#[test]
fn what_can_not_be_written_down_is_not_tried() {
    let mut node = Machine::new();
    node.start();
    node.bring("v2");
    node.restart();
    node.keep("v2");
    node.bring("v3");
    node.step(Event::Restart { limit_ms: 1 });
    let run = unwritten(&node.record, &node.seen);
    assert_eq!((run.image.unwrap().version, run.limit_ms), ("v2".to_owned(), None));
}

#[test]
fn an_old_record_is_read() {
    let written = r#"{"version":1,"packaged":"sha256:0000000000000000000000000000000000000000000000000000000000000000",
        "confirmed":{"slot":"a","digest":"sha256:1111111111111111111111111111111111111111111111111111111111111111","version":"1.2.0"},
        "trial":{"image":{"slot":"b","digest":"sha256:2222222222222222222222222222222222222222222222222222222222222222","version":"1.3.0"},
        "op":"r1.node.1","starts":1,"well":false,"limit_ms":300000}}"#;
    let record: Record = serde_json::from_str(written).unwrap();
    assert_eq!(record.trial.unwrap().image.slot, Slot::B);
}

fn events() -> impl Strategy<Value = Vec<(u8, u8)>> {
    proptest::collection::vec((0..13_u8, 0..4_u8), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever comes: something is started, nothing that was not verified, and a trial ends.
    #[test]
    fn there_is_always_a_verified_program_and_no_trial_is_endless(events in events()) {
        let mut node = Machine::new();
        // Starts of the present trial that nobody ended.
        let (mut spent, mut brought) = (0, 0);
        let name = |n: u8| format!("v{n}");
        for (what, which) in events {
            match what {
                0 => { brought += 1; let bring = format!("n{brought}"); node.bring(&bring); }
                1 => { node.step(Event::Restart { limit_ms: 1_000 }); }
                2..=4 => {
                    let before = node.record.trial.clone();
                    node.start();
                    let trial = node.record.trial.clone();
                    match (&trial, &before) {
                        (Some(now), Some(then)) if now.op == then.op => spent += 1,
                        (Some(_), _) => spent = 1,
                        (None, _) => spent = 0,
                    }
                    prop_assert!(spent <= STARTS_MAX, "{spent} starts");
                }
                5 => { node.step(Event::Ended(End::Died("x".into()))); }
                6 => {
                    if node.record.trial.as_ref().is_some_and(|trial| trial.starts > 0) { spent -= 1; }
                    node.step(Event::Ended(End::Stopped));
                }
                7 => { node.step(Event::Overdue); }
                8 => { let running = node.record.trial.as_ref().map(|t| t.image.digest); if let Some(digest) = running { node.step(Event::Well { digest }); } }
                9 => { let op = node.record.trial.as_ref().map(|t| t.op.clone()); if let Some(op) = op { node.step(Event::Over { ops: vec![op], kept: which % 2 == 0 }); } }
                10 => { let image = node.record.confirmed.clone(); if let Some(image) = image { node.step(Event::TakeBack { digest: image.digest }); } }
                11 => { node.seen.slots.insert(if which % 2 == 0 { Slot::A } else { Slot::B }, digest("garbage")); }
                _ => { node.seen.packaged = digest(&name(which)); }
            }
            let record = &node.record;
            let images = [record.confirmed.as_ref(), record.former.as_ref(), record.trial.as_ref().map(|t| &t.image)];
            let slots: Vec<Slot> = images.into_iter().flatten().map(|image| image.slot).collect();
            let apart: std::collections::BTreeSet<Slot> = slots.iter().copied().collect();
            prop_assert_eq!(slots.len(), apart.len(), "two programs in one slot: {:?}", record);
        }
        // What counts runs in the end, however the trial was.
        for _ in 0..=STARTS_MAX { node.dies(); }
        prop_assert_eq!(&node.record.trial, &None);
    }
}
