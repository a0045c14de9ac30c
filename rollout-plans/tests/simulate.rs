//! Laws of the simulation: what must hold for every seed.

mod simulate_support;

use simulate_support::{Ward, plan, urgent};
use wardround_rollout_plans::simulate::{End, Model};

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let ward = Ward::new(&urgent(), "5% after 10m", 12, 8);
    let bytes = |seed| serde_json::to_vec(&ward.run(seed)).unwrap();
    assert_eq!(bytes(1), bytes(1));
    assert_ne!(bytes(1), bytes(2));
}

#[test]
fn a_harmless_patch_reaches_every_device_and_harms_none() {
    let ward = Ward::with(&urgent(), Model::standard().untroubled(), 12, 8);
    for seed in 1..=10 {
        let run = ward.run(seed);
        assert_eq!(run.end, End::Completed, "seed {seed}: {}", run.reason);
        let devices = run.devices;
        assert_eq!((devices.succeeded, devices.reached, devices.harmed), (devices.all, devices.all, 0), "seed {seed}");
        assert!(run.stop.is_none());
        assert!(run.waves.iter().all(|wave| wave.state == "passed" && wave.passed_ms >= wave.installed_ms));
    }
}

#[test]
fn what_breaks_every_device_at_once_never_leaves_the_canary() {
    let ward = Ward::new(&urgent(), "100% after install", 30, 10);
    for seed in 1..=20 {
        let run = ward.run(seed);
        assert_ne!(run.end, End::Completed, "seed {seed}");
        let canary = &run.waves[0];
        // What breaks was in hand when the first of it was seen.
        assert!(run.devices.harmed >= 1 && run.devices.harmed <= canary.at_risk, "seed {seed}: {:?}", run.devices);
        assert!(run.waves[1..].iter().all(|wave| wave.began_ms.is_none() && wave.harmed == 0), "seed {seed}");
        assert_eq!(run.devices.still_harmed, run.devices.stuck.min(run.devices.still_harmed), "seed {seed}");
        let stop = run.stop.unwrap();
        assert!(!stop.false_alarm && stop.harmed >= 1, "seed {seed}");
    }
}

#[test]
fn limits_hold_in_the_modelled_world() {
    let ward = Ward::new(&plan("limits: { per_site: 2, total: 5 }", "15m"), "10% after 5m", 12, 8);
    for seed in 1..=20 {
        let run = ward.run(seed);
        assert!(run.at_risk.all <= 5 && run.at_risk.site <= 2, "seed {seed}: {:?}", run.at_risk);
        assert!(run.curve.most.iter().all(|n| *n <= 5));
        assert_eq!(run.curve.most.iter().max(), Some(&run.at_risk.all), "the curve and the peak are of one count");
    }
}

#[test]
fn every_device_is_counted_once() {
    let ward = Ward::new(&urgent(), "3% after 20m", 20, 8);
    for seed in 1..=20 {
        let d = ward.run(seed).devices;
        let states = [d.succeeded, d.failed, d.skipped, d.rolled_back, d.stuck, d.in_hand, d.untouched];
        assert_eq!(states.iter().sum::<u64>(), d.all, "seed {seed}: {d:?}");
        assert!(d.taken_back <= d.rolled_back, "seed {seed}: {d:?}");
        assert!(d.still_harmed <= d.harmed && d.harmed <= d.reached && d.reached <= d.all, "seed {seed}: {d:?}");
    }
}

/// The same devices break whatever the plan: plans can be compared seed by seed.
#[test]
fn the_same_devices_have_the_same_luck_in_every_plan() {
    let unseen = "20% after install seen 0%";
    let mut harmed = Vec::new();
    for soak in ["5m", "45m"] {
        let mut ward = Ward::new(&plan("limits: { per_site: 4 }", soak), unseen, 10, 10);
        ward.model.people.notice = None;
        let devices = ward.run(7).devices;
        assert_eq!(
            devices.reached + devices.failed + devices.skipped,
            devices.all,
            "nobody sees it, so nobody stops it"
        );
        harmed.push(devices.harmed);
    }
    assert_eq!(harmed[0], harmed[1]);
    assert!(harmed[0] > 5, "{harmed:?}");
}

#[test]
fn nobody_who_approves_leaves_it_waiting() {
    let mut model = Model::standard().untroubled();
    model.people.approve = None;
    let run = Ward::with(&urgent(), model, 6, 6).run(1);
    assert_eq!(run.end, End::Waits);
    assert_eq!(run.waves[0].state, "passed");
    let longest = run.waits.iter().max_by_key(|wait| wait.ms).unwrap();
    assert_eq!((longest.wave.as_str(), longest.code.as_str()), ("exposed", "approval"));
}

#[test]
fn installs_begin_in_windows_only() {
    let windows = "windows: [{ from: \"22:00\", to: \"02:00\" }]\nlimits: { per_site: 4 }";
    let ward = Ward::with(&plan(windows, "10m"), Model::standard().untroubled(), 6, 6);
    let run = ward.run(3);
    assert_eq!(run.end, End::Completed, "{}", run.reason);
    assert!(run.waits.iter().any(|wait| wait.code == "window"), "{:?}", run.waits);
    // It starts on a Tuesday at 09:00 and nothing is in hand before 22:00.
    let first = run.curve.most.iter().position(|n| *n > 0).unwrap() as u64 * run.curve.step_ms;
    assert!(first + run.curve.step_ms > 13 * 3_600_000, "{first}");
}

#[test]
fn without_probes_people_stop_it_later() {
    let seen = Ward::new(&urgent(), "30% after 5m", 20, 8).run(5);
    let noticed = Ward::new(&urgent(), "30% after 5m seen 0%", 20, 8).run(5);
    assert!(noticed.devices.harmed >= seen.devices.harmed);
    let stop = noticed.stop.unwrap();
    assert!(stop.at_ms > seen.stop.unwrap().at_ms && stop.why.contains("staff report"), "{}", stop.why);
    assert_eq!(noticed.end, End::RolledBack, "two people have taken it back");
}
