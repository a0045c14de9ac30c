//! Lines of the safety contract one by one, where the simulation alone would find a fault only by chance.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod engine_support;

use engine_support::{
    WaveSpec, device, resume, rollout_id, site,
    ward::{Ward, alarms, ignored},
};
use wardround_rollout_plans::{engine::*, model::*};
use wardround_signing::Role;

use DeploymentState::{
    Deferred, Failed, Installing, Offered, Pending, RollbackFailed, RolledBack, RollingBack, Soaking, Succeeded,
};

const ONCALL: &[Role] = &[Role::OnCall];
const RELEASE: &[Role] = &[Role::Release];

fn back(name: &str) -> Command {
    Command::RollBack { target: RollBackTarget::Device { device: device(&format!("rx1/{name}")) } }
}

fn waves(ward: &Ward) -> Vec<WaveState> {
    ward.state.rollout(&rollout_id("r1")).unwrap().waves.iter().map(|w| w.state).collect()
}

fn state(ward: &Ward) -> RolloutState {
    ward.state.rollout(&rollout_id("r1")).unwrap().state
}

/// S4: a rollback that waits for its redundancy group goes before any install at its site, whoever's that is; and its
/// rollout is not done before it.
#[test]
fn a_waiting_rollback_goes_before_installs_and_is_waited_for() {
    let mut ward = Ward::new();
    let r1 = ward.start("r1", &["rx1/pacs2"], 1, Scope::Wave);
    ward.succeed("r1", "pacs2");
    ward.start("r2", &["rx1/pacs1"], 1, Scope::Wave);
    ward.moves("r2", "pacs1", Installing);
    ward.order(&r1, ONCALL, Command::RollBack { target: RollBackTarget::Rollout });
    assert_eq!((ward.see("r1", "pacs2").state, ward.waits("r1", "pacs2")), (Succeeded, "redundancy_group".to_owned()));
    assert_eq!((state(&ward), waves(&ward)), (RolloutState::RollingBack, vec![WaveState::RollingBack]));
    ward.start("r3", &["rx1/ct"], 1, Scope::Wave);
    assert_eq!((ward.see("r3", "ct").state, ward.waits("r3", "ct")), (Pending, "rollbacks".to_owned()));
    ward.moves("r2", "pacs1", Failed);
    assert_eq!((ward.see("r1", "pacs2").state, ward.see("r3", "ct").state), (RollingBack, Offered));
    ward.moves("r1", "pacs2", RolledBack);
    assert_eq!((state(&ward), waves(&ward)), (RolloutState::RolledBack, vec![WaveState::RolledBack]));
}

/// S4: a wave's own limits hold beside those of the plan.
#[test]
fn the_limits_of_a_wave_hold() {
    for (per_site, total) in [(Some(1), None), (None, Some(1))] {
        let mut ward = Ward::new();
        let wave = WaveSpec {
            limits: Limits { per_site, total, ..Limits::default() },
            ..WaveSpec::new("all", &["rx1/ct", "rx1/mr"])
        };
        ward.start_wave("r1", wave, 2, Scope::Wave);
        assert_eq!((ward.see("r1", "ct").state, ward.see("r1", "mr").state), (Offered, Pending));
        assert_eq!(ward.waits("r1", "mr"), "concurrency");
        ward.succeed("r1", "ct");
        assert_eq!(ward.see("r1", "mr").state, Offered);
    }
}

/// S9: what could not be taken back is a person's; neither blame nor a failed gate tries it again.
#[test]
fn the_engine_never_tries_a_failed_rollback_again() {
    let mut ward = Ward::new();
    let r1 = ward.start("r1", &["rx1/ct", "rx1/pacs1"], 2, Scope::Rollout);
    ward.moves("r1", "ct", Installing);
    ward.moves("r1", "pacs1", Soaking);
    assert!(alarms(&ward.moves("r1", "pacs1", RollbackFailed)).contains(&"rollback_failed"), "a person hears of it");
    assert_eq!(state(&ward), RolloutState::RollingBack, "its gate has failed");
    ward.blame("r1", "rx1/archive", Health::Unhealthy);
    let seen = ward.see("r1", "pacs1");
    assert_eq!((seen.state, seen.attempt), (RollbackFailed, 1));
    ward.order(&r1, ONCALL, back("pacs1"));
    let seen = ward.see("r1", "pacs1");
    assert_eq!((seen.state, seen.attempt), (RollingBack, 2));
}

/// S3, S5: whatever the node says before it has read that the device is wanted back, the wish stays.
#[test]
fn a_node_that_is_faster_than_the_wish_to_take_back_changes_nothing_in_it() {
    // Before its install: it had begun all the same.
    let mut ward = Ward::new();
    let r1 = ward.start("r1", &["rx1/ct"], 1, Scope::Device);
    ward.order(&r1, ONCALL, back("ct"));
    assert_eq!((ward.see("r1", "ct").state, ward.goal()), (Offered, GoalAction::RollBack));
    ward.moves("r1", "ct", Installing);
    assert_eq!((ward.see("r1", "ct").state, ward.goal()), (RollingBack, GoalAction::RollBack));
    ward.moves("r1", "ct", RolledBack);
    assert_eq!(ward.see("r1", "ct").state, RolledBack);
    // During its soak, at a site that does not answer: it has succeeded meanwhile, or it answers again.
    for succeeds in [true, false] {
        let mut ward = Ward::new();
        let r1 = ward.start("r1", &["rx1/ct"], 1, Scope::Device);
        ward.moves("r1", "ct", Soaking);
        ward.step(&Event::SiteSilent { site: site("rx1") });
        ward.order(&r1, ONCALL, back("ct"));
        ward.now = Timestamp(700_000);
        if succeeds {
            ward.moves("r1", "ct", Succeeded);
        } else {
            ward.step(&Event::SiteHeard { site: site("rx1") });
        }
        assert_eq!((ward.see("r1", "ct").state, ward.goal()), (RollingBack, GoalAction::RollBack));
    }
}

/// What the engine has given up ends as failed when nothing was begun, and as rolled back when something was.
#[test]
fn what_was_given_up_ends_by_what_the_node_had_begun() {
    for (begun, end) in [(false, Failed), (true, RolledBack)] {
        let mut ward = Ward::new();
        ward.start("r1", &["rx1/ct"], 1, Scope::Device);
        ward.moves("r1", "ct", Deferred);
        ward.now = ward.state.next_wake().unwrap();
        ward.step(&Event::Tick);
        assert_eq!(ward.goal(), GoalAction::Withdraw);
        if begun {
            ward.moves("r1", "ct", Installing);
            assert_eq!(ward.goal(), GoalAction::Install, "what has begun goes on");
        }
        let said = ward.moves("r1", "ct", RolledBack);
        assert_eq!(ward.see("r1", "ct").state, end);
        assert_eq!(alarms(&said).contains(&"deployment_failed"), !begun, "{said:?}");
        assert_eq!(ward.see("r1", "ct").reason.contains("longest that the plan allows"), !begun);
    }
}

/// S6: a cancelled rollout finishes what has begun, takes back the offer of what has not, and then is done.
#[test]
fn a_cancelled_rollout_ends_what_it_has_in_hand() {
    let mut ward = Ward::new();
    let r1 = ward.start("r1", &["rx1/ct", "rx1/mr"], 2, Scope::Wave);
    ward.moves("r1", "mr", Installing);
    ward.order(&r1, RELEASE, Command::Cancel);
    let part = &ward.state.directive(&site("rx1"))[0];
    let goals: Vec<_> = part.goals.iter().map(|g| (g.member.device.name(), g.action)).collect();
    assert_eq!(goals, [("ct", GoalAction::Withdraw), ("mr", GoalAction::Install)]);
    assert_eq!(part.mode, Mode::Halted);
    ward.moves("r1", "ct", RolledBack);
    assert_eq!(ward.see("r1", "ct").state, Failed);
    assert!(ward.see("r1", "ct").reason.starts_with("the rollout was cancelled"));
    ward.succeed("r1", "mr");
    assert!(ward.state.directive(&site("rx1")).is_empty());
    assert_eq!(state(&ward), RolloutState::Cancelled);
}

/// S2: a paused rollout begins no wave and comes to no end, however well its wave went.
#[test]
fn while_paused_no_wave_begins() {
    let mut ward = Ward::new();
    let each = [WaveSpec::new("canary", &["rx1/ct"]), WaveSpec::new("full", &["rx1/mr"])];
    let r1 = ward.start_waves("r1", &each, 1, Scope::Wave);
    for (name, after) in [("ct", RolloutState::Running), ("mr", RolloutState::Completed)] {
        ward.moves("r1", name, Installing);
        ward.order(&r1, ONCALL, Command::Pause);
        ward.succeed("r1", name);
        assert_eq!(state(&ward), RolloutState::Paused);
        assert_eq!(ward.see("r1", "mr").state == Pending, name == "ct");
        let resume = resume(&ward.state, &r1.id);
        ward.order(&r1, RELEASE, resume);
        assert_eq!(state(&ward), after);
    }
}

/// S5: the latest wave that touched what the system needs is to blame, also when it had passed.
#[test]
fn blame_finds_its_wave() {
    for (second, blamed) in [("rx1/pacs2", 1), ("rx1/mr", 0)] {
        let mut ward = Ward::new();
        let each = [
            WaveSpec::new("canary", &["rx1/pacs1"]),
            WaveSpec::new("pilot", &[second]),
            WaveSpec::new("full", &["rx1/ct"]),
        ];
        ward.start_waves("r1", &each, 1, Scope::Wave);
        ward.succeed("r1", "pacs1");
        ward.moves("r1", &second[4..], Soaking);
        ward.blame("r1", "rx1/archive", Health::Unhealthy);
        assert_eq!(waves(&ward)[blamed], WaveState::RollingBack, "{second}");
        assert_eq!(state(&ward), RolloutState::Halted);
        let went_back = |name: &str| ward.see("r1", name).state == RollingBack || !ward.waits("r1", name).is_empty();
        assert!(went_back("pacs1"), "the system needs it, whichever wave is to blame");
        assert_eq!(ward.see("r1", "ct").state, Pending);
    }
}

/// S5: a fault that shows after the end reaches as far as the plan says; the rollout keeps its end.
#[test]
fn blame_reaches_devices_of_a_completed_rollout() {
    for scope in [Scope::Wave, Scope::Rollout] {
        let mut ward = Ward::new();
        ward.start("r1", &["rx1/ct", "rx1/pacs1"], 2, scope);
        ward.succeed("r1", "ct");
        ward.succeed("r1", "pacs1");
        assert_eq!(state(&ward), RolloutState::Completed);
        ward.blame("r1", "rx1/archive", Health::Unhealthy);
        assert_eq!(
            (ward.see("r1", "ct").state, ward.see("r1", "pacs1").state),
            (RollingBack, RollingBack),
            "{scope:?}"
        );
        ward.moves("r1", "ct", RolledBack);
        ward.moves("r1", "pacs1", RolledBack);
        assert_eq!(state(&ward), RolloutState::Completed);
        assert!(ward.state.directive(&site("rx1")).is_empty());
    }
}

/// Word of a system that is well, or about a rollout that can't be to blame, takes nothing back and halts nothing.
#[test]
fn only_harm_is_blamed_and_only_on_what_was_there() {
    let mut ward = Ward::new();
    let r1 = ward.start("r1", &["rx1/pacs1"], 1, Scope::Wave);
    ward.moves("r1", "pacs1", Soaking);
    assert!(alarms(&ward.blame("r1", "rx1/archive", Health::Healthy)).is_empty());
    assert_eq!((ward.see("r1", "pacs1").state, state(&ward)), (Soaking, RolloutState::Running));
    ward.start("elsewhere", &["rx2/ct"], 1, Scope::Wave);
    let said = ward.blame("elsewhere", "rx1/archive", Health::Unhealthy);
    assert!(ignored(&said).unwrap().contains("which has no device at rx1"));
    let (draft, members) =
        engine_support::rollout("draft", &[WaveSpec::new("all", &["rx1/pacs1"])], Limits::default(), Scope::Wave);
    ward.step(&engine_support::created(&draft, &members));
    let said = ward.blame("draft", "rx1/archive", Health::Unhealthy);
    assert!(ignored(&said).unwrap().contains("which has not started"));
    assert_eq!(ward.state.rollout(&r1.id).unwrap().state, RolloutState::Running);
}

/// A rollout that had ended is open again while it is taken back, and ends once.
#[test]
fn a_rollback_after_the_end_has_an_end_of_its_own() {
    let mut ward = Ward::new();
    let r1 = ward.start("r1", &["rx1/ct"], 1, Scope::Wave);
    ward.succeed("r1", "ct");
    let ended = |ward: &Ward| ward.state.rollout(&rollout_id("r1")).unwrap().ended_at;
    assert_eq!(ended(&ward), Some(Timestamp(600_000)));
    let all = Command::RollBack { target: RollBackTarget::Rollout };
    ward.order(&r1, ONCALL, all.clone());
    assert_eq!((state(&ward), ended(&ward)), (RolloutState::RollingBack, None));
    ward.now = Timestamp(900_000);
    ward.moves("r1", "ct", RolledBack);
    assert_eq!((state(&ward), ended(&ward)), (RolloutState::RolledBack, Some(Timestamp(900_000))));
    let counter = ward.state.rollout(&r1.id).unwrap().order_counter + 1;
    let again = engine_support::order(&r1, counter, "Ann", ONCALL, all, "", ward.now);
    assert!(ward.state.step(&again, ward.now).unwrap_err().to_string().contains("nothing is left to take back"));
}

/// S6: each step has an alarm of its own, and a wish to take back counts from when the node was told.
#[test]
fn each_step_may_be_overdue() {
    let hours = |h: i64| Timestamp(h * 3_600_000);
    let mut ward = Ward::new();
    let r1 = ward.start("r1", &["rx1/ct"], 1, Scope::Device);
    let overdue = |ward: &mut Ward| {
        ward.now = ward.state.next_wake().unwrap();
        assert_eq!(alarms(&ward.step(&Event::Tick)), ["overdue"]);
        assert_eq!(ward.state.next_wake(), None);
    };
    overdue(&mut ward);
    ward.now = hours(30);
    ward.order(&r1, ONCALL, back("ct"));
    // Twice 30 min of install and 15 min of reboot, and 10 min of silence.
    assert_eq!(ward.state.next_wake(), Some(hours(30).after(DurationMs::from_secs(100 * 60))));
    overdue(&mut ward);
    ward.moves("r1", "ct", RollingBack);
    overdue(&mut ward);
}

/// Who watches a rollout that waits for a silent site hears of the silence, though nothing of it is in hand there.
#[test]
fn a_silence_wakes_those_who_wait_for_the_site() {
    let mut ward = Ward::new();
    ward.start("r1", &["rx1/ct"], 1, Scope::Wave);
    ward.start("r2", &["rx1/ct"], 1, Scope::Wave);
    assert_eq!(ward.waits("r2", "ct"), "concurrency");
    for (event, waits) in [
        (Event::SiteSilent { site: site("rx1") }, "silent_sites"),
        (Event::SiteHeard { site: site("rx1") }, "concurrency"),
    ] {
        let effects = ward.step(&event);
        assert!(effects.contains(&Effect::RolloutChanged { rollout: rollout_id("r2") }), "{effects:?}");
        assert_eq!(ward.waits("r2", "ct"), waits);
    }
    ward.start("r3", &["rx2/ct"], 1, Scope::Wave);
    let nobody = Event::SiteSilent { site: site("rx2") };
    assert!(matches!(ward.state.step(&nobody, ward.now), Err(Refusal::NotFound { what: "site", .. })), "no node yet");
}

#[test]
fn deployments_are_listed_page_by_page() {
    let mut ward = Ward::new();
    let each = [WaveSpec::new("canary", &["rx1/ct", "rx1/mr"]), WaveSpec::new("full", &["rx1/pacs1", "rx1/pacs2"])];
    ward.start_waves("r1", &each, 1, Scope::Wave);
    ward.moves("r1", "ct", Installing);
    let walk = |wave: Option<&str>, wanted: Option<DeploymentState>, limit| {
        let wave = wave.map(engine_support::wave_name);
        let (mut names, mut after) = (Vec::new(), None);
        loop {
            let page = ward.state.deployments(&rollout_id("r1"), wave.as_ref(), wanted, after, limit);
            let Some(last) = page.last() else { return names };
            assert!(page.len() <= limit);
            after = Some(last.index);
            names.extend(page.into_iter().map(|d| d.device.name().to_owned()));
        }
    };
    for limit in [1, 2, 3, 9] {
        assert_eq!(walk(None, None, limit), ["ct", "mr", "pacs1", "pacs2"]);
        assert_eq!(walk(Some("full"), None, limit), ["pacs1", "pacs2"]);
        assert_eq!(walk(None, Some(Pending), limit), ["mr", "pacs1", "pacs2"]);
    }
    assert!(ward.state.deployments(&rollout_id("r1"), None, None, Some(u64::MAX), 9).is_empty());
}

/// What nodes confirmed of an earlier halt says nothing of the engine's own.
#[test]
fn a_halt_of_the_engine_itself_is_confirmed_by_nobody_yet() {
    let mut ward = Ward::new();
    let r1 = ward.start("r1", &["rx1/pacs1"], 1, Scope::Wave);
    ward.order(&r1, ONCALL, Command::Halt);
    ward.report(ReportBody::HaltKnown { rollout: rollout_id("r1"), counter: 2 });
    let confirmed = |ward: &Ward| ward.state.rollout(&rollout_id("r1")).unwrap().halt.confirmed.len();
    assert_eq!(confirmed(&ward), 1);
    let resume = resume(&ward.state, &r1.id);
    ward.order(&r1, RELEASE, resume);
    ward.moves("r1", "pacs1", Soaking);
    ward.blame("r1", "rx1/archive", Health::Unhealthy);
    assert_eq!((state(&ward), confirmed(&ward)), (RolloutState::Halted, 0));
}

/// S2: what shows a wave to other nodes does not depend on how the engine came to know it. Of a large wave it keeps what it
/// needs and looks at no further report, until one that it keeps is lost.
#[test]
fn a_lost_proof_of_a_large_wave_is_replaced_by_the_next_success() {
    let run = |reloaded: bool| {
        let names: Vec<String> = (10..50).map(|n| format!("d{n}")).collect();
        let devices: Vec<String> = names.iter().map(|n| format!("rx1/{n}")).collect();
        let devices: Vec<&str> = devices.iter().map(String::as_str).collect();
        let mut ward = Ward::new();
        let waves = [WaveSpec::new("canary", &devices).success(90).evidence(32), WaveSpec::new("rest", &["rx1/ct"])];
        ward.start_waves("r1", &waves, 40, Scope::Device);
        names.iter().for_each(|name| drop(ward.moves("r1", name, Soaking)));
        ward.now = ward.now.after(DurationMs::from_secs(600));
        let mut say = |name: &str, state: DeploymentState| {
            if reloaded {
                ward.state = serde_json::from_slice(&serde_json::to_vec(&ward.state).unwrap()).unwrap();
            }
            ward.moves("r1", name, state);
        };
        names[..35].iter().for_each(|name| say(name, Succeeded));
        say("d10", RollingBack);
        say("d10", RolledBack);
        // The last one still soaks: once the next wave has begun, what is kept never changes.
        names[35..39].iter().for_each(|name| say(name, Succeeded));
        serde_json::to_value(&ward.state).unwrap()
    };
    let live = run(false);
    assert_eq!(live, run(true));
    let proofs = live["rollouts"][0]["waves"][0]["proofs"].as_array().unwrap();
    let kept: Vec<&str> = proofs.iter().map(|p| p["device"].as_str().unwrap()).collect();
    assert!(kept.len() == 32 && !kept.contains(&"rx1/d10"), "{kept:?}");
    assert!(kept.contains(&"rx1/d45"), "the first success after the loss: {kept:?}");
}
