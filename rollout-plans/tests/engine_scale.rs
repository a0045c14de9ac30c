//! Work per event must not grow with the estate.
//!
//! `cargo test -p wardround-rollout-plans --test engine_scale -- --ignored --nocapture` prints the figures for the estate
//! that the design is for.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod engine_support;

use std::time::{Duration, Instant};

use engine_support::{WaveSpec, created, device, key, order, rollout, rollout_id, site};
use wardround_rollout_plans::{engine::*, model::*};
use wardround_signing::Role;

/// What was measured.
struct Figures {
    create: Duration,
    start: Duration,
    /// One report of the canary, the median.
    report: Duration,
    directive: Duration,
    snapshot: Vec<u8>,
    save: Duration,
    load: Duration,
}

fn measure(sites: usize, devices_each: usize) -> Figures {
    let now = Timestamp(0);
    let mut state = State::default();
    let names: Vec<String> =
        (0..sites).flat_map(|s| (0..devices_each).map(move |d| format!("s{s:05}/d{d:02}"))).collect();
    let (few, rest) = names.split_at(names.len() / 100);
    let waves = [few, rest].map(|list| WaveSpec {
        devices: list.to_vec(),
        soak: DurationMs(0),
        ..WaveSpec::new(if list.len() == few.len() { "canary" } else { "full" }, &[])
    });
    let limits = Limits { per_site: Some(2), total: None };
    let (document, members) = rollout("r1", &waves, limits, Scope::Wave);
    for s in 0..sites {
        let site = site(&format!("s{s:05}"));
        state.step(&Event::NodeEnrolled { node_key: key(site.as_str()), site }, now).unwrap();
    }
    let timed = |begin: Instant| begin.elapsed();
    let begin = Instant::now();
    state.step(&created(&document, &members), now).unwrap();
    let create = timed(begin);
    state.step(&Event::RolloutSigned { rollout: document.id.clone() }, now).unwrap();
    let begin = Instant::now();
    state.step(&order(&document, 1, "Ann", &[Role::Release], Command::Start, "", now), now).unwrap();
    let start = timed(begin);
    // The canary's devices succeed one after another.
    let mut seqs = std::collections::HashMap::new();
    let mut reports = Vec::new();
    for name in few.iter().take(1000) {
        // In order of members: when its turn comes, the ones before it at its site have ended.
        let device = device(name);
        for to in [DeploymentState::Installing, DeploymentState::Soaking, DeploymentState::Succeeded] {
            let seq: &mut u64 = seqs.entry(device.site()).or_default();
            *seq += 1;
            let body = ReportBody::Deployment {
                rollout: rollout_id("r1"),
                device: device.clone(),
                attempt: 1,
                state: to,
                reason: String::new(),
                code: String::new(),
                evidence: Evidence::default(),
            };
            let event = Event::Report { site: device.site(), seq: *seq, at: now, body };
            let begin = Instant::now();
            state.step(&event, now).unwrap();
            reports.push(timed(begin));
        }
    }
    assert_eq!(
        state.rollout(&document.id).unwrap().waves[0].deployments[&DeploymentState::Succeeded],
        reports.len() as u64 / 3
    );
    reports.sort();
    let report = reports[reports.len() / 2];
    // The first directive of all builds the trees; the ones after it are looked at.
    let some = site("s00000");
    assert!(!state.directive(&some).is_empty());
    let begin = Instant::now();
    assert!(!state.directive(&some).is_empty());
    let directive = timed(begin);
    let begin = Instant::now();
    let snapshot = serde_json::to_vec(&state).unwrap();
    let save = timed(begin);
    let begin = Instant::now();
    let loaded: State = serde_json::from_slice(&snapshot).unwrap();
    let load = timed(begin);
    assert_eq!(loaded.rollouts().len(), 1);

    Figures { create, start, report, directive, snapshot, save, load }
}

/// Were an event to look at the whole estate, thirty times the estate would cost a report thirty times as much. Ten
/// leaves room for larger maps, colder caches and a busy machine; the median leaves out what the machine did besides.
#[test]
fn a_report_costs_the_same_in_a_large_estate() {
    let (small, large) = (measure(100, 30), measure(3_000, 30));
    let factor = large.report.as_secs_f64() / small.report.as_secs_f64();
    assert!(factor < 10.0, "{:?} grew to {:?}", small.report, large.report);
}

#[test]
#[ignore = "takes minutes without optimisation; prints figures"]
fn the_estate_of_the_design() {
    let f = measure(50_000, 30);
    println!(
        "1.5 million devices at 50,000 sites: create {:?}, start {:?}, report {:?}, directive {:?}, snapshot {} MiB, \
         save {:?}, load {:?}",
        f.create,
        f.start,
        f.report,
        f.directive,
        f.snapshot.len() >> 20,
        f.save,
        f.load
    );
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    println!("{}", status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or("memory unknown"));
}
