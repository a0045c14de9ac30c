//! Work per event must not grow with the estate.
//!
//! `cargo test -p wardround-rollout-plans --test engine_scale -- --ignored --nocapture` prints the figures for the estate
//! that the design is for.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod engine_support;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use engine_support::{WaveSpec, created, device, key, order, rollout, rollout_id, site};
use wardround_rollout_plans::{engine::*, model::*};
use wardround_signing::Role;

/// An estate whose rollout has begun, and what was measured on it.
struct Run {
    state: State,
    document: Rollout,
    /// Its first devices, in order of members: when one's turn comes, the ones before it at its site have ended.
    few: Vec<DeviceId>,
    seqs: HashMap<SiteId, u64>,
    create: Duration,
    start: Duration,
    reports: Vec<Duration>,
}

const NOW: Timestamp = Timestamp(0);

/// The result, and how long it took.
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    let result = work();
    (result, begin.elapsed())
}

impl Run {
    fn new(sites: usize, devices_each: usize) -> Self {
        let mut state = State::default();
        let names: Vec<String> =
            (0..sites).flat_map(|s| (0..devices_each).map(move |d| format!("s{s:05}/d{d:02}"))).collect();
        // One wave with all of it: an event that looked at its whole wave would show as well.
        let few = names.iter().take(1000).map(|name| device(name)).collect();
        let waves = [WaveSpec { devices: names, soak: DurationMs(0), ..WaveSpec::new("all", &[]) }];
        let limits = Limits { per_site: Some(2), ..Limits::default() };
        let (document, members) = rollout("r1", &waves, limits, Scope::Wave);
        for s in 0..sites {
            let site = site(&format!("s{s:05}"));
            state.step(&Event::NodeEnrolled { node_key: key(site.as_str()), site }, NOW).unwrap();
        }
        let event = created(&document, &members);
        let create = timed(|| state.step(&event, NOW).unwrap()).1;
        state.step(&Event::RolloutSigned { rollout: document.id.clone() }, NOW).unwrap();
        let event = order(&document, 1, "Ann", &[Role::Release], Command::Start, "", NOW);
        let start = timed(|| state.step(&event, NOW).unwrap()).1;
        Self { state, document, few, seqs: HashMap::new(), create, start, reports: Vec::new() }
    }

    /// The next device succeeds.
    fn succeed(&mut self) {
        let device = self.few[self.reports.len() / 3].clone();
        for to in [DeploymentState::Installing, DeploymentState::Soaking, DeploymentState::Succeeded] {
            let seq = self.seqs.entry(device.site()).or_default();
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
            let event = Event::Report { site: device.site(), seq: *seq, at: NOW, body, node_key: None, envelope: None };
            self.reports.push(timed(|| self.state.step(&event, NOW).unwrap()).1);
        }
    }

    /// The median of all reports, once it is sure that each of them counted.
    fn report(&self) -> Duration {
        let wave = &self.state.rollout(&self.document.id).unwrap().waves[0];
        assert_eq!(wave.deployments[&DeploymentState::Succeeded], self.reports.len() as u64 / 3);
        let mut reports = self.reports.clone();
        reports.sort();
        reports[reports.len() / 2]
    }
}

/// Were an event to look at the whole estate, thirty times the estate would cost a report thirty times as much. Ten
/// leaves room for larger maps and colder caches. Both estates take turns, so that what else the machine does at some
/// moment slows both alike; the median leaves out where it took the processor away.
#[test]
fn a_report_costs_the_same_in_a_large_estate() {
    let (mut small, mut large) = (Run::new(100, 30), Run::new(3_000, 30));
    for _ in 0..100 {
        small.succeed();
        large.succeed();
    }
    let (small, large) = (small.report(), large.report());
    let factor = large.as_secs_f64() / small.as_secs_f64();
    assert!(factor < 10.0, "{small:?} grew to {large:?}");
}

#[test]
#[ignore = "takes minutes without optimisation; prints figures"]
fn the_estate_of_the_design() {
    let mut run = Run::new(50_000, 30);
    for _ in 0..1000 {
        run.succeed();
    }
    // The first directive of all builds the trees; the ones after it are looked at.
    let some = site("s00000");
    assert!(!run.state.directive(&some).is_empty());
    let directive = timed(|| run.state.directive(&some)).1;
    let (snapshot, save) = timed(|| serde_json::to_vec(&run.state).unwrap());
    let (loaded, load) = timed(|| serde_json::from_slice::<State>(&snapshot).unwrap());
    assert_eq!(loaded.rollouts().len(), 1);
    println!(
        "1.5 million devices at 50,000 sites: create {:?}, start {:?}, report {:?}, directive {directive:?}, snapshot \
         {} MiB, save {save:?}, load {load:?}",
        run.create,
        run.start,
        run.report(),
        snapshot.len() >> 20,
    );
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    println!("{}", status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or("memory unknown"));
}
