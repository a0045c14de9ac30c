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

/// Nothing is safe before its soak is over: the canary breaks the PACS in the last minute.
#[test]
fn the_canary_fails_in_the_last_minute_of_its_soak() {
    let waves = [WaveSpec::new("canary", &["rx1/ct"]), WaveSpec::new("full", &["rx2/ct", "rx3/ct"])];
    let mut story = Story::new("The canary fails in the last minute of its soak.", &waves, Scope::Wave);
    story.fate("rx1/ct", Fate::Breaks("pacs".to_owned(), minutes(9)));
    story.order("Ann", &[Role::Release], Command::Start, "");
    story.pass(minutes(20));
    insta::assert_snapshot!(story.end());
}

/// On-call halts at the very moment at which the pilot begins: its devices have been offered, none is installed.
/// Ann resumes later, and everything goes on where it stood.
#[test]
fn a_halt_races_the_start_of_a_wave() {
    let mut waves = three_waves();
    waves[0].gate.approvals.clear();
    let mut story = Story::new("A halt races the start of a wave.", &waves, Scope::Wave);
    story.order("Ann", &[Role::Release], Command::Start, "");
    let canary = |s: &Story| s.state.rollout(&s.document.id).unwrap().waves[0].state;
    while canary(&story) != wardround_rollout_plans::engine::WaveState::Passed {
        story.pass(DurationMs::from_secs(10));
    }
    // The order was signed before the start of the wave was known: its counter is stale, and it counts all the same.
    let counter = story.counter();
    story.order_with(counter - 1, "Olu", &[Role::OnCall], Command::Halt, "theatre 3 reports a frozen console");
    story.order_with(counter - 1, "Olu", &[Role::OnCall], Command::Halt, "theatre 3 reports a frozen console");
    story.pass(minutes(10));
    story.look();
    story.resume("Ann", &[Role::Release], "the console was not ours");
    story.pass(minutes(40));
    insta::assert_snapshot!(story.end());
}

/// The pilot fails. Ann wants to go on; she can't, and reads what she can do. She cancels: what the canary has stays.
#[test]
fn the_release_manager_resumes_too_early() {
    let mut waves = three_waves();
    waves[0].gate.approvals.clear();
    let mut story = Story::new("The release manager resumes too early.", &waves, Scope::Wave);
    story.fate("rx2/ct", Fate::InstallFails);
    story.order("Ann", &[Role::Release], Command::Start, "");
    story.pass(minutes(13));
    story.look();
    story.resume("Olu", &[Role::OnCall], "");
    story.resume("Ann", &[Role::Release], "it was only one");
    story.pass(minutes(5));
    story.resume("Ann", &[Role::Release], "now it is back");
    story.order("Ann", &[Role::Release], Command::Cancel, "we look into exit code 1603 first");
    story.pass(minutes(5));
    insta::assert_snapshot!(story.end());
}

/// A site is cut off in the pilot. Nobody takes its silence for success; when it is back, its reports decide.
#[test]
fn a_site_falls_silent_in_the_pilot() {
    let mut waves = three_waves();
    waves[0].gate.approvals.clear();
    let mut story = Story::new("A site falls silent in the pilot.", &waves, Scope::Wave);
    story.order("Ann", &[Role::Release], Command::Start, "");
    story.pass(minutes(13));
    story.cut("rx2", true);
    story.pass(minutes(60));
    story.look();
    story.cut("rx2", false);
    story.pass(minutes(5));
    story.look();
    story.pass(minutes(60));
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

/// A device is in use for longer than the plan has patience: it is given up, its node confirms that nothing was begun.
#[test]
fn a_device_is_never_free() {
    let waves = [WaveSpec::new("canary", &["rx1/ct", "rx1/lab"]).success(50), WaveSpec::new("full", &["rx3/ct"])];
    let mut story = Story::new("A device is never free.", &waves, Scope::Wave);
    story.fate("rx1/ct", Fate::InUse(minutes(60 * 48)));
    story.order("Ann", &[Role::Release], Command::Start, "");
    story.pass(minutes(60));
    story.look();
    story.pass(minutes(60 * 24));
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
