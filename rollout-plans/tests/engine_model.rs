//! The engine, explored over every order of what may happen to a small rollout: docs/model-checking.md.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod engine_support;
mod model;

use engine_support::WaveSpec;
use model::{
    engine::{Engine, Mistake, Small, Wanted, back},
    explore::{Bounds, Explored, explore},
    mistakes,
};
use wardround_rollout_plans::model::*;
use wardround_signing::Role;

use DeploymentState::{
    Deferred, Failed, Installing, RollbackFailed, RolledBack, RollingBack, Skipped, Soaking, Succeeded,
};

/// What a node may say. Intermediate states may be missing from reports, so installing stands for all up to the soak.
const SAYS: [(DeploymentState, &str); 9] = [
    (Deferred, "in_use"),
    (Installing, ""),
    (Soaking, ""),
    (Succeeded, ""),
    (Skipped, ""),
    (Failed, "install_failed"),
    (RollingBack, "clinical_system"),
    (RolledBack, ""),
    (RollbackFailed, ""),
];

fn says(states: &[DeploymentState]) -> Vec<(DeploymentState, &'static str)> {
    SAYS.into_iter().filter(|(state, _)| states.contains(state)).collect()
}

/// Two waves of one device each, and everything that can happen to them.
fn two_waves() -> Small {
    Small {
        waves: vec![
            WaveSpec::new("canary", &["rx1/ct"]).approvals(&[Role::Clinical]),
            WaveSpec::new("full", &["rx1/mr"]),
        ],
        limits: Limits { per_site: Some(1), ..Limits::default() },
        scope: Scope::Wave,
        sites: vec![("rx1", vec!["ct", "mr"])],
        says: SAYS.to_vec(),
        silence: true,
        blame: true,
        orders: vec![
            Wanted::Halt,
            Wanted::Resume,
            back("rx1/ct"),
            Wanted::Back(RollBackTarget::Rollout),
            Wanted::Cancel,
        ],
    }
}

/// One device, and everything that can happen to it.
fn one_device() -> Small {
    Small { waves: vec![WaveSpec::new("all", &["rx1/ct"])], sites: vec![("rx1", vec!["ct"])], ..two_waves() }
}

/// Two waves; people halt, resume, approve and take everything back.
fn people() -> Small {
    Small {
        says: says(&[Soaking, Succeeded, Failed, RolledBack]),
        silence: false,
        blame: false,
        orders: vec![Wanted::Halt, Wanted::Resume, Wanted::Back(RollBackTarget::Rollout)],
        ..two_waves()
    }
}

/// A wave of two devices of one redundancy group, of which one may be disrupted at a time, though the site may have two in
/// hand; their system is blamed, the line breaks, one of them is taken back.
fn group() -> Small {
    Small {
        waves: vec![WaveSpec::new("all", &["rx1/ct", "rx1/mr"]).success(50)],
        limits: Limits { per_site: Some(2), ..Limits::default() },
        sites: vec![("rx1", vec!["ct@g", "mr@g"])],
        says: says(&[Installing, Soaking, Succeeded, Failed, RollingBack, RolledBack, RollbackFailed]),
        scope: Scope::Device,
        orders: vec![back("rx1/ct"), Wanted::Cancel],
        ..two_waves()
    }
}

/// Three devices at two sites in two waves.
fn two_sites() -> Small {
    Small {
        waves: vec![
            WaveSpec::new("canary", &["rx1/ct"]).approvals(&[Role::Clinical]),
            WaveSpec::new("full", &["rx1/mr", "rx2/ct"]),
        ],
        sites: vec![("rx1", vec!["ct", "mr"]), ("rx2", vec!["ct"])],
        says: says(&[Installing, Succeeded, Failed, RolledBack]),
        silence: false,
        scope: Scope::Rollout,
        orders: vec![Wanted::Halt, Wanted::Resume, Wanted::Cancel],
        ..two_waves()
    }
}

fn explored(name: &str, small: Small, states: usize) -> Explored {
    let began = std::time::Instant::now();
    match explore(&Engine::new(small), Bounds { states, twins: 100 }) {
        Ok(seen) => {
            println!("{name}: {seen}; {:?}", began.elapsed());
            seen
        }
        Err(story) => panic!("{name}: {story}"),
    }
}

#[test]
#[ignore = "minutes, unless it is optimised; its figures stand in docs/model-checking.md"]
fn one_device_whatever_happens() {
    explored("one device", one_device(), 100_000);
}

/// One device; its node says what it likes, and people take it back or cancel. No line breaks, and nobody is blamed.
#[test]
fn one_device_and_people() {
    let small = Small { silence: false, blame: false, orders: vec![back("rx1/ct"), Wanted::Cancel], ..one_device() };
    explored("one device and people", small, 20_000);
}

#[test]
fn two_waves_and_people() {
    explored("two waves and people", people(), 20_000);
}

/// One device; its line breaks, and its node says what it likes.
#[test]
#[ignore = "minutes, unless it is optimised; its figures stand in docs/model-checking.md"]
fn one_device_and_its_line() {
    let small = Small { orders: vec![back("rx1/ct"), Wanted::Cancel], ..one_device() };
    explored("one device and its line", small, 20_000);
}

#[test]
#[ignore = "minutes, unless it is optimised; its figures stand in docs/model-checking.md"]
fn two_devices_of_a_redundancy_group() {
    explored("two devices of a redundancy group", group(), 200_000);
}

#[test]
#[ignore = "minutes, unless it is optimised; its figures stand in docs/model-checking.md"]
fn two_waves_at_two_sites() {
    explored("two waves at two sites", two_sites(), 500_000);
}

/// The first word of the story that an engine with this mistake leads to.
fn found(small: Small, mistake: Mistake) -> String {
    let mut engine = Engine::new(small);
    engine.mistake = Some(mistake);
    explore(&engine, Bounds { states: 20_000, twins: 0 }).expect_err("a mistake is found")
}

/// What it is worth to find nothing: engines that are wrong in one place are found out, with a story.
#[test]
fn mistakes_are_found() {
    let two = || Small { waves: vec![WaveSpec::new("all", &["rx1/ct", "rx1/mr"])], ..people() };
    let blamed = || Small { blame: true, ..one_device() };
    let cases: [(&str, Small, Mistake, &str); 8] = [
        ("a halt is accepted and forgotten", two(), mistakes::forgets_a_halt, "S3"),
        ("one person resumes alone", two(), mistakes::resumes_alone, "S3"),
        ("a wave begins without its approval", people(), mistakes::needs_no_approval, "S2"),
        ("what is unknown counts as success", one_device(), mistakes::takes_silence_for_success, "S2"),
        ("a soak is taken as over when it begins", people(), mistakes::does_not_soak, "S2"),
        ("one device more than the limit is offered", two(), mistakes::counts_one_too_few, "S4"),
        ("a device that failed is offered again", one_device(), mistakes::tries_again, "S9"),
        ("a blamed device stays as it is", blamed(), mistakes::does_not_take_back, "S5"),
    ];
    for (name, small, mistake, line) in cases {
        let story = found(small, mistake);
        println!("{name}: {story}");
        assert!(story.starts_with(line), "{name}: {story}");
    }
}

/// S6 is found by looking back from the ends: a device that was given up is asked for nothing more, so nothing moves.
#[test]
fn a_state_from_which_no_end_can_be_reached_is_found() {
    let small = Small { silence: false, blame: false, ..one_device() };
    let story = found(small, mistakes::stays_given_up);
    assert!(story.contains("nothing moves") || story.starts_with("S6"), "{story}");
}

/// A fold that leaves out what decides is found out by following what it merges: this one does not see time.
#[test]
fn a_fold_that_merges_too_much_is_found() {
    let mut engine = Engine::new(Small {
        says: says(&[Soaking, Succeeded]),
        silence: false,
        blame: false,
        orders: Vec::new(),
        ..one_device()
    });
    engine.blind = &[("Deployment", "since"), ("Note", "soaking_since"), ("Note", "overdue"), ("Past", "soaking")];
    let story = explore(&engine, Bounds { states: 1_000, twins: 1_000 }).expect_err("the fold is blind");
    assert!(story.contains("the fold merges what differs"), "{story}");
}
