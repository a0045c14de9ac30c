//! Amendments: what comes in, what stays, and what people must say anew.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod engine_support;

use engine_support::{
    WaveSpec, amended, amendment_signed, device, digest_of, next_version, order, rollout_id, site,
    ward::{Ward, alarms},
};
use wardround_rollout_plans::{engine::*, model::*};
use wardround_signing::Role;

use DeploymentState::{Deferred, Failed, Installing, Offered, Pending, RollingBack, Skipped, Soaking, Succeeded};

const RELEASE: &[Role] = &[Role::Release];
const CLINICAL: &[Role] = &[Role::Clinical];

fn view(ward: &Ward) -> RolloutView {
    ward.state.rollout(&rollout_id("r1")).unwrap()
}

fn devices(ward: &Ward) -> Vec<String> {
    let all = ward.state.deployments(&rollout_id("r1"), None, None, None, 100);
    all.iter().map(|d| format!("{} {} {}", d.wave, d.device.name(), d.state)).collect()
}

fn refused(ward: &Ward, event: &Event) -> String {
    ward.state.check(event, ward.now).unwrap_err().to_string()
}

fn approve(wave: &str) -> Command {
    Command::Approve { wave: engine_support::wave_name(wave) }
}

fn ids(waves: &[&[&str]]) -> Vec<Vec<DeviceId>> {
    waves.iter().map(|w| w.iter().map(|d| device(d)).collect()).collect()
}

/// Canary ct, then full with mr after a clinical approval.
fn two_waves(ward: &mut Ward, per_site: u32) -> Rollout {
    let waves =
        [WaveSpec::new("canary", &["rx1/ct"]).approvals(CLINICAL), WaveSpec::new("full", &["rx1/mr", "rx1/pacs1"])];
    ward.start_waves("r1", &waves, per_site, Scope::Wave)
}

#[test]
fn a_running_rollout_gains_and_loses_devices_in_one_step() {
    let mut ward = Ward::new();
    let first = ward.start("r1", &["rx1/ct", "rx1/mr"], 1, Scope::Wave);
    ward.moves("r1", "ct", Installing);
    let before = ward.see("r1", "ct");
    let (next, effects) = ward.amend(&first, &[&["rx1/ct", "rx1/pacs1", "rx9/ct"]]);
    assert_eq!(devices(&ward), ["all ct installing", "all pacs1 pending", "all ct pending"]);
    let seen = view(&ward);
    assert_eq!((seen.version, seen.digest, seen.amendment), (2, digest_of(&next), None));
    assert_eq!(DeploymentView { index: 0, ..ward.see("r1", "ct") }, DeploymentView { index: 0, ..before });
    assert!(effects.contains(&Effect::SiteChanged { site: site("rx9") }), "the new site is told");
    let directive = &ward.state.directive(&site("rx1"))[0];
    assert_eq!(directive.digest, digest_of(&next));
    assert!(
        directive.goals[0]
            .proof
            .proves(&wardround_signing::merkle::leaf_hash(&directive.goals[0].member.leaf()), &next.waves[0].root)
    );
    // The order that started version 1 still counts, and the limit of one device holds over the step.
    assert_eq!(directive.orders.len(), 1);
    assert_eq!((directive.goals.len(), ward.waits("r1", "pacs1")), (1, "concurrency".to_owned()));
    ward.succeed("r1", "ct");
    assert_eq!(ward.see("r1", "pacs1").state, Offered);
}

#[test]
fn nothing_counts_before_both_roles_have_signed() {
    let mut ward = Ward::new();
    let first = ward.start("r1", &["rx1/ct", "rx1/mr"], 1, Scope::Wave);
    let (next, members) = next_version(&first, &ids(&[&["rx1/ct", "rx1/pacs1"]]));
    let effects = ward.step(&amended(&next, &members));
    assert!(!effects.iter().any(|e| matches!(e, Effect::SiteChanged { .. })), "no directive changes");
    let seen = view(&ward);
    assert_eq!((seen.version, seen.digest), (1, digest_of(&first)));
    let waiting = seen.amendment.unwrap();
    assert_eq!((waiting.version, waiting.signed, waiting.added, waiting.removed), (2, false, 1, 1));
    // A draft may take the place of another; what was signed for is then not what waits.
    let (other, members) = next_version(&first, &ids(&[&["rx1/ct", "rx1/mr", "rx1/pacs1"]]));
    ward.step(&amended(&other, &members));
    assert!(refused(&ward, &amendment_signed(&next)).contains("no waiting version"));
    ward.step(&amendment_signed(&other));
    assert_eq!(view(&ward).digest, digest_of(&other));
}

#[test]
fn a_device_whose_turn_came_stays() {
    let mut ward = Ward::new();
    let first = ward.start("r1", &["rx1/ct", "rx1/mr"], 1, Scope::Wave);
    let (without, members) = next_version(&first, &ids(&[&["rx1/mr"]]));
    assert!(refused(&ward, &amended(&without, &members)).contains("rx1/ct is offered in wave all already"));
    // It was drafted in time, and the device's turn came before people had signed.
    let (without, members) = next_version(&first, &ids(&[&["rx1/ct"]]));
    ward.step(&amended(&without, &members));
    ward.succeed("r1", "ct");
    assert_eq!(ward.see("r1", "mr").state, Offered);
    let effects = ward.step(&amendment_signed(&without));
    assert_eq!(alarms(&effects), ["amendment"]);
    assert_eq!((view(&ward).version, ward.see("r1", "mr").state), (1, Offered), "the version before goes on");
    assert!(view(&ward).amendment.unwrap().problem.contains("rx1/mr is offered"));
}

#[test]
fn a_wave_that_has_passed_never_changes() {
    let mut ward = Ward::new();
    let first = two_waves(&mut ward, 1);
    ward.succeed("r1", "ct");
    let (late, members) = next_version(&first, &ids(&[&["rx1/ct", "rx1/pacs2"], &["rx1/mr", "rx1/pacs1"]]));
    assert!(refused(&ward, &amended(&late, &members)).contains("wave canary has passed its gate"));
}

#[test]
fn an_ended_a_failed_and_an_unsigned_rollout_are_not_amended() {
    let mut ward = Ward::new();
    let first = two_waves(&mut ward, 1);
    let (next, members) = next_version(&first, &ids(&[&["rx1/ct"], &["rx1/mr"]]));
    let event = amended(&next, &members);
    ward.moves("r1", "ct", Failed);
    assert!(refused(&ward, &event).contains("nothing follows on wave canary"));
    ward.order(&first, RELEASE, Command::Cancel);
    assert!(refused(&ward, &event).contains("it is cancelled"));
    let (draft, all) =
        engine_support::rollout("r2", &[WaveSpec::new("all", &["rx1/ct"])], Limits::default(), Scope::Wave);
    ward.step(&engine_support::created(&draft, &all));
    let (next, members) = next_version(&draft, &ids(&[&["rx1/mr"]]));
    assert!(refused(&ward, &amended(&next, &members)).contains("it is draft"));
}

#[test]
fn another_plan_patch_or_parent_is_no_amendment() {
    let mut ward = Ward::new();
    let first = ward.start("r1", &["rx1/ct", "rx1/mr"], 1, Scope::Wave);
    let (next, members) = next_version(&first, &ids(&[&["rx1/ct"]]));
    let says = |edit: &dyn Fn(&mut Rollout)| {
        let mut wrong = next.clone();
        edit(&mut wrong);
        refused(&ward, &amended(&wrong, &members))
    };
    assert!(says(&|r| r.plan.limits.per_site = Some(9)).contains("another plan"));
    assert!(says(&|r| r.patch_digest = digest_of(&next)).contains("another patch"));
    assert!(says(&|r| r.ancestors = vec![digest_of(&next)]).contains("as its parent"));
    assert!(says(&|r| r.waves[0].root = r.patch_digest).contains("do not lead to its root"));
    assert!(says(&|r| r.id = rollout_id("r9")).contains("no rollout"));
}

#[test]
fn orders_for_the_version_before_count() {
    let mut ward = Ward::new();
    let first = ward.start("r1", &["rx1/ct", "rx1/mr"], 1, Scope::Wave);
    ward.amend(&first, &[&["rx1/ct"]]);
    ward.order(&first, &[Role::OnCall], Command::Halt);
    assert_eq!(view(&ward).state, RolloutState::Halted);
    let (stranger, _) = next_version(&first, &ids(&[&["rx1/pacs1"]]));
    let event = order(&stranger, view(&ward).order_counter + 1, "Ann", RELEASE, Command::Cancel, "", ward.now);
    assert!(refused(&ward, &event).contains("it was made for document"));
}

#[test]
fn a_changed_wave_that_has_not_begun_is_approved_anew() {
    let mut ward = Ward::new();
    let first = two_waves(&mut ward, 1);
    ward.order(&first, CLINICAL, approve("full"));
    let (next, _) = ward.amend(&first, &[&["rx1/ct"], &["rx1/mr", "rx1/pacs2"]]);
    ward.succeed("r1", "ct");
    let seen = view(&ward);
    assert_eq!(seen.waves[1].state, WaveState::AwaitingApproval);
    let why = seen.waves[1].waiting.clone().unwrap().on.to_string();
    assert_eq!(why, "clinical must approve the wave as version 2 has it: approvals from before that do not count");
    let old = order(&first, seen.order_counter + 1, "Ann", CLINICAL, approve("full"), "", ward.now);
    assert!(refused(&ward, &old).contains("version 2 changed the wave"));
    ward.order(&next, CLINICAL, approve("full"));
    assert_eq!(view(&ward).waves[1].state, WaveState::Running);
    let directive = &ward.state.directive(&site("rx1"))[0];
    assert_eq!(directive.orders.len(), 2, "the start, and the approval of this version alone");
}

#[test]
fn an_unchanged_wave_keeps_its_approvals() {
    let mut ward = Ward::new();
    let first = two_waves(&mut ward, 1);
    ward.order(&first, CLINICAL, approve("full"));
    ward.amend(&first, &[&["rx1/ct", "rx1/pacs2"], &["rx1/mr", "rx1/pacs1"]]);
    ward.succeed("r1", "ct");
    assert_eq!(view(&ward).waves[0].state, WaveState::Running, "the device that came in is waited for");
    ward.succeed("r1", "pacs2");
    assert_eq!(view(&ward).waves[1].state, WaveState::Running);
}

#[test]
fn a_wave_under_way_goes_on_until_its_change_is_approved() {
    let mut ward = Ward::new();
    let first = two_waves(&mut ward, 1);
    ward.succeed("r1", "ct");
    ward.order(&first, CLINICAL, approve("full"));
    assert_eq!(ward.see("r1", "mr").state, Offered);
    let (next, effects) = ward.amend(&first, &[&["rx1/ct"], &["rx1/mr", "rx1/pacs1", "rx1/pacs2"]]);
    assert!(!effects.iter().any(|e| matches!(e, Effect::SiteChanged { .. })), "{effects:?}");
    let waiting = view(&ward).amendment.unwrap();
    assert_eq!((view(&ward).version, waiting.signed), (1, true));
    assert_eq!(waiting.approvals, [(engine_support::wave_name("full"), vec![Role::Clinical])]);
    ward.succeed("r1", "mr");
    assert_eq!(ward.see("r1", "pacs1").state, Offered, "what was approved goes on");
    let wrong = |roles, command| order(&next, view(&ward).order_counter + 1, "Ann", roles, command, "", ward.now);
    assert!(refused(&ward, &wrong(RELEASE, approve("full"))).contains("waits for the approval of clinical"));
    assert!(refused(&ward, &wrong(CLINICAL, approve("canary"))).contains("does not wait for an approval"));
    assert!(refused(&ward, &wrong(RELEASE, Command::Cancel)).contains("not in force yet"));
    ward.order(&next, CLINICAL, approve("full"));
    let seen = view(&ward);
    assert_eq!((seen.version, seen.waves[1].state, seen.amendment), (2, WaveState::Running, None));
    let directive = &ward.state.directive(&site("rx1"))[0];
    assert_eq!((directive.digest, directive.orders.len()), (digest_of(&next), 2));
    ward.succeed("r1", "pacs1");
    ward.succeed("r1", "pacs2");
    assert_eq!(view(&ward).state, RolloutState::Completed);
}

#[test]
fn a_version_that_waits_for_approvals_waits_in_vain_once_its_signatures_are_taken_back() {
    let mut ward = Ward::new();
    let first = two_waves(&mut ward, 1);
    ward.succeed("r1", "ct");
    ward.order(&first, CLINICAL, approve("full"));
    let (next, _) = ward.amend(&first, &[&["rx1/ct"], &["rx1/mr"]]);
    ward.step(&Event::AmendmentSigned { rollout: rollout_id("r1"), digest: digest_of(&next), signed: false });
    let event = order(&next, view(&ward).order_counter + 1, "Ann", CLINICAL, approve("full"), "", ward.now);
    assert!(refused(&ward, &event).contains("signatures of both roles first"));
    ward.step(&amendment_signed(&next));
    ward.step(&event);
    assert_eq!(view(&ward).version, 2);
}

#[test]
fn a_rollout_that_ends_first_is_not_amended_any_more() {
    let mut ward = Ward::new();
    let first = ward.start("r1", &["rx1/ct"], 1, Scope::Wave);
    let (next, members) = next_version(&first, &ids(&[&["rx1/ct", "rx1/mr"]]));
    ward.step(&amended(&next, &members));
    ward.succeed("r1", "ct");
    assert_eq!((view(&ward).state, view(&ward).amendment), (RolloutState::Completed, None));
    assert!(refused(&ward, &amendment_signed(&next)).contains("no waiting version"));
}

/// A wave whose gate does not fail with its first device.
fn lenient(devices: &[&str]) -> WaveSpec {
    WaveSpec::new("all", devices).success(0)
}

#[test]
fn what_comes_in_late_is_left_out_where_the_others_were() {
    let mut ward = Ward::new();
    let first = ward.start_wave("r1", lenient(&["rx1/pacs1", "rx1/ct"]), 2, Scope::Device);
    ward.moves("r1", "pacs1", Soaking);
    ward.blame("r1", "rx1/archive", Health::Unhealthy);
    assert_eq!(ward.see("r1", "pacs1").state, RollingBack);
    let (_, _) = ward.amend(&first, &[&["rx1/pacs1", "rx1/pacs2", "rx1/mr", "rx1/ct"]]);
    assert_eq!(ward.see("r1", "pacs2").state, Skipped, "it serves the system that was blamed");
    assert_eq!(ward.see("r1", "mr").state, Pending);

    let mut ward = Ward::new();
    let first = ward.start_wave("r1", lenient(&["rx1/ct", "rx1/mr"]), 1, Scope::Device);
    ward.moves("r1", "ct", Deferred);
    let target = RollBackTarget::Site { site: site("rx1") };
    let counter = view(&ward).order_counter + 1;
    ward.step(&order(&first, counter, "Olu", &[Role::OnCall], Command::RollBack { target }, "", ward.now));
    ward.amend(&first, &[&["rx1/ct", "rx1/mr", "rx1/pacs1", "rx2/ct"]]);
    assert_eq!(ward.see("r1", "pacs1").state, Skipped, "its site was taken back");
}

#[test]
fn a_gate_that_lacked_evidence_is_asked_anew_about_its_new_devices() {
    let mut ward = Ward::new();
    let waves = [WaveSpec::new("canary", &["rx1/ct"]), WaveSpec::new("full", &["rx1/mr"])];
    let first = ward.start_waves("r1", &waves, 1, Scope::Wave);
    ward.moves("r1", "ct", Skipped);
    assert!(view(&ward).waves[0].gate.starts_with("inconclusive: not enough evidence"));
    ward.order(&first, RELEASE, approve("full"));
    // Ann has approved knowing that one device said nothing; now there are two.
    ward.amend(&first, &[&["rx1/ct", "rx1/pacs1"], &["rx1/mr"]]);
    assert_eq!(ward.see("r1", "pacs1").state, Offered);
    ward.moves("r1", "pacs1", Skipped);
    let counter = view(&ward).order_counter + 1;
    ward.step(&order(&first, counter, "Carl", CLINICAL, approve("full"), "", ward.now));
    assert_eq!(view(&ward).waves[0].state, WaveState::Running, "one of the two approved something else");
    ward.order(&first, RELEASE, approve("full"));
    assert_eq!(view(&ward).waves[0].state, WaveState::Passed);
}

#[test]
fn a_wave_that_soaks_goes_on_with_what_comes_in_and_ends_without_what_goes() {
    let mut ward = Ward::new();
    let first = ward.start("r1", &["rx1/ct", "rx1/mr"], 1, Scope::Wave);
    ward.succeed("r1", "ct");
    ward.moves("r1", "mr", Soaking);
    assert_eq!(view(&ward).waves[0].state, WaveState::Soaking);
    let (second, _) = ward.amend(&first, &[&["rx1/ct", "rx1/mr", "rx1/pacs1"]]);
    assert_eq!(view(&ward).waves[0].state, WaveState::Running);
    ward.amend(&second, &[&["rx1/ct", "rx1/mr"]]);
    assert_eq!((view(&ward).version, ward.see("r1", "mr").state), (3, Soaking));
    ward.now = ward.now.after(DurationMs::from_secs(600));
    ward.moves("r1", "mr", Succeeded);
    assert_eq!(view(&ward).state, RolloutState::Completed);
}

/// Site rx1 works from ten to four; time begins at midnight, UTC.
fn with_hours() -> Ward {
    let mut ward = Ward::new();
    let mut inventory = engine_support::inventory("rx1", &["ct", "mr"].map(str::to_owned), &[], &[]);
    inventory.hours.windows =
        vec![Window { days: Vec::new(), from: "10:00".parse().unwrap(), to: "16:00".parse().unwrap() }];
    ward.report(ReportBody::Inventory { inventory });
    ward
}

#[test]
fn a_site_that_waits_for_its_window_goes_on_waiting_for_it() {
    let mut ward = with_hours();
    let first = ward.start("r1", &["rx1/ct"], 2, Scope::Wave);
    assert_eq!(ward.waits("r1", "ct"), "window");
    ward.amend(&first, &[&["rx1/ct", "rx1/mr"]]);
    assert_eq!(ward.waits("r1", "mr"), "window");
    ward.now = ward.now.after(DurationMs::from_secs(10 * 60 * 60));
    ward.step(&Event::Tick);
    assert_eq!([ward.see("r1", "ct").state, ward.see("r1", "mr").state], [Offered, Offered]);
}

#[test]
fn nobody_waits_for_the_window_of_a_site_that_has_left() {
    let mut ward = with_hours();
    let first = ward.start("r1", &["rx1/ct"], 2, Scope::Wave);
    let opens = ward.state.next_wake();
    assert_eq!(opens, Some(Timestamp(10 * 60 * 60 * 1000)));
    ward.amend(&first, &[&["rx9/ct"]]);
    assert_ne!(ward.state.next_wake(), opens);
    ward.now = ward.now.after(DurationMs::from_secs(10 * 60 * 60));
    ward.step(&Event::Tick);
}
