//! Stories of rollouts, told by the engine over simulated nodes. The golden texts under `snapshots/` are meant to be
//! read by a clinical safety officer: what happened, who was told, what stands at the end.

mod engine_support;

use engine_support::{Fate, Story, WaveSpec, site, wave_name};
use wardround_rollout_plans::model::{Command, DurationMs, RollBackTarget, Scope};
use wardround_signing::Role;

const MINUTE: DurationMs = DurationMs::from_secs(60);

fn minutes(n: u64) -> DurationMs {
    DurationMs(MINUTE.0 * n)
}

/// One canary, then a pilot at two hospitals, then the rest.
fn three_waves() -> Vec<WaveSpec> {
    vec![
        WaveSpec::new("canary", &["rx1/lab"]).approvals(&[Role::Clinical]),
        WaveSpec::new("pilot", &["rx1/ct", "rx2/ct", "rx2/lab"]),
        WaveSpec::new("full", &["rx1/mr", "rx2/mr", "rx3/ct", "rx3/lab", "rx3/mr"]),
    ]
}

fn approve(wave: &str) -> Command {
    Command::Approve { wave: wave_name(wave) }
}

/// The canary soaks, the clinical safety officer lets the pilot begin, and the rest follows by itself.
#[test]
fn all_goes_well() {
    let mut story = Story::new("All goes well.", &three_waves(), Scope::Wave);
    story.look();
    story.order("Ann", &[Role::Release], Command::Start, "");
    story.pass(minutes(5));
    story.look();
    story.pass(minutes(10));
    story.look();
    story.order("Carl", &[Role::Clinical], approve("pilot"), "the canary's analyser runs well");
    story.pass(minutes(40));
    insta::assert_snapshot!(story.end());
}

/// The PACS of rx2 stops answering in the pilot: the whole pilot is taken back, the canary stays as it is.
#[test]
fn a_clinical_system_is_blamed_in_the_pilot() {
    let mut waves = three_waves();
    waves[0].gate.approvals.clear();
    let mut story = Story::new("A clinical system is blamed in the pilot.", &waves, Scope::Wave);
    story.fate("rx2/ct", Fate::Breaks("pacs".to_owned(), minutes(3)));
    story.order("Ann", &[Role::Release], Command::Start, "");
    story.pass(minutes(30));
    insta::assert_snapshot!(story.end());
}

/// As before, but the patch can't be taken back from the CT console: a person is needed, and has it tried again.
#[test]
fn a_rollback_fails_and_a_person_tries_again() {
    let waves = [WaveSpec::new("canary", &["rx1/ct", "rx2/lab"]), WaveSpec::new("full", &["rx3/ct"])];
    let mut story = Story::new("A rollback fails and a person tries again.", &waves, Scope::Rollout);
    story.fate("rx1/ct", Fate::Stuck("pacs".to_owned(), minutes(3)));
    story.order("Ann", &[Role::Release], Command::Start, "");
    story.pass(minutes(10));
    story.look();
    let again = Command::RollBack { target: RollBackTarget::Device { device: engine_support::device("rx1/ct") } };
    story.order("Olu", &[Role::OnCall], again, "after a restart by hand");
    story.pass(minutes(2));
    insta::assert_snapshot!(story.end());
}

/// The patch applies to no device of the canary. That is no success: two people of both roles may let the next wave
/// begin all the same, knowing that nothing was shown; one alone may not.
#[test]
fn not_enough_evidence() {
    let waves = [WaveSpec::new("canary", &["rx1/ct", "rx2/ct"]), WaveSpec::new("full", &["rx3/ct"])];
    let mut story = Story::new("Not enough evidence.", &waves, Scope::Wave);
    story.fate("rx1/ct", Fate::NotApplicable);
    story.fate("rx2/ct", Fate::NotApplicable);
    story.order("Ann", &[Role::Release], Command::Start, "");
    story.pass(minutes(5));
    story.look();
    story.order("Ann", &[Role::Release, Role::Clinical], approve("full"), "they are of another build");
    story.pass(minutes(5));
    story.look();
    story.order("Carl", &[Role::Clinical], approve("full"), "rx3 has a spare console");
    story.pass(minutes(20));
    insta::assert_snapshot!(story.end());
}

/// On-call takes one hospital back while the wave runs elsewhere; its next devices are left alone.
#[test]
fn one_hospital_is_taken_back() {
    let waves = [
        WaveSpec::new("canary", &["rx1/ct", "rx2/ct", "rx3/ct"]).success(60),
        WaveSpec::new("full", &["rx1/mr", "rx2/mr", "rx3/mr"]),
    ];
    let mut story = Story::new("One hospital is taken back.", &waves, Scope::Wave);
    story.order("Ann", &[Role::Release], Command::Start, "");
    story.pass(minutes(5));
    let target = RollBackTarget::Site { site: site("rx2") };
    story.order("Olu", &[Role::OnCall], Command::RollBack { target }, "rx2 moves its radiology today");
    story.pass(minutes(40));
    insta::assert_snapshot!(story.end());
}

/// The canary has passed and the pilot waits for Carl. Before he answers, on-call takes the canary back: its gate's word
/// is no longer true, so his approval lets nothing begin.
#[test]
fn the_canary_is_taken_back_while_the_pilot_waits() {
    let mut story = Story::new("The canary is taken back while the pilot waits.", &three_waves(), Scope::Wave);
    story.order("Ann", &[Role::Release], Command::Start, "");
    story.pass(minutes(15));
    let target = RollBackTarget::Device { device: engine_support::device("rx1/lab") };
    story.order("Olu", &[Role::OnCall], Command::RollBack { target }, "the analyser prints blank labels");
    story.order("Carl", &[Role::Clinical], approve("pilot"), "");
    story.pass(minutes(10));
    insta::assert_snapshot!(story.end());
}

/// The scripts: each tells its story as the text beside it says.
#[test]
fn scripts_tell_their_stories() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut scripts: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.retain(|path| path.extension().is_some_and(|e| e == "txt"));
    scripts.sort();
    assert!(scripts.len() >= 6, "{scripts:?}");
    for path in scripts {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let script = std::fs::read_to_string(&path).unwrap();
        let story = engine_support::script::tell(&name, &script).unwrap_or_else(|why| panic!("{why}"));
        insta::assert_snapshot!(name.trim_end_matches(".txt"), story);
    }
}

/// A script that can't be read, or does not come true, says where and what would be right.
#[test]
fn a_wrong_script_names_its_line() {
    let begin = "wave canary: rx1/ct\n";
    for (script, says) in [
        ("Ann strats", "x.txt:2: a person: starts"),
        ("wait 5x", "x.txt:2: \"5x\" is not a duration"),
        ("dance", "x.txt:2: a line begins with one of"),
        ("fate rx1/ct explodes", "x.txt:2: a fate is one of"),
        ("expect rollout is running", "x.txt:2: this is not so"),
        ("# only a comment", "x.txt: nothing happens"),
    ] {
        let why = engine_support::script::tell("x.txt", &format!("{begin}{script}")).unwrap_err();
        assert!(why.starts_with(says), "{why}");
    }
}
