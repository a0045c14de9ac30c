//! Maintenance windows in the engine: who is offered when, and what a closed window costs the others.
#![expect(clippy::unwrap_used, reason = "helpers outside of test functions; a panic is the failure")]

mod engine_support;

use engine_support::{WaveSpec, created, device, inventory, key, order, rollout, rollout_id, site};
use wardround_rollout_plans::{engine::*, model::*};
use wardround_signing::Role;

/// `clock` on 2026-11-24, UTC; a Tuesday.
fn today(clock: &str) -> Timestamp {
    Timestamp(format!("2026-11-24T{clock}:00Z").parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

fn window(from: &str, to: &str) -> Window {
    Window { days: Vec::new(), from: from.parse().unwrap(), to: to.parse().unwrap() }
}

/// Sites whose nodes say what the test says.
struct Estate {
    state: State,
    now: Timestamp,
    seqs: std::collections::BTreeMap<String, u64>,
    woken: usize,
}

impl Estate {
    /// Sites of two devices, "a" and "b", each with its hours.
    fn new(sites: &[(&str, SiteHours)]) -> Self {
        let mut estate = Self { state: State::default(), now: today("12:00"), seqs: Default::default(), woken: 0 };
        for (id, hours) in sites {
            estate.step(&Event::NodeEnrolled { site: site(id), node_key: key(id) });
            estate.declare(id, hours.clone(), &[]);
        }
        estate
    }

    fn declare(&mut self, id: &str, hours: SiteHours, own: &[Window]) {
        let mut inventory = inventory(id, &["a", "b"].map(str::to_owned), &[], &[]);
        inventory.hours = hours;
        inventory.devices[0].windows = own.to_vec();
        self.report(id, ReportBody::Inventory { inventory });
    }

    fn step(&mut self, event: &Event) -> Vec<Effect> {
        self.state.step(event, self.now).unwrap()
    }

    fn report(&mut self, id: &str, body: ReportBody) -> Vec<Effect> {
        let seq = self.seqs.entry(id.to_owned()).or_default();
        *seq += 1;
        let event = Event::Report { site: site(id), seq: *seq, at: self.now, body, node_key: None, envelope: None };
        self.step(&event)
    }

    /// A node says where one of its devices is.
    fn says(&mut self, name: &str, state: DeploymentState, code: &str) -> Vec<Effect> {
        let device = device(name);
        let attempt = self.see(name).attempt;
        let body = ReportBody::Deployment {
            rollout: rollout_id("r1"),
            device: device.clone(),
            attempt,
            state,
            reason: String::new(),
            code: code.to_owned(),
            evidence: Evidence::default(),
        };
        self.report(device.site().as_str(), body)
    }

    fn start(&mut self, limits: Limits, change: impl FnOnce(&mut Plan)) -> Rollout {
        let names: Vec<String> = self.seqs.keys().flat_map(|s| ["a", "b"].map(|d| format!("{s}/{d}"))).collect();
        let wave = WaveSpec { devices: names, ..WaveSpec::new("all", &[]) };
        let (mut document, members) = rollout("r1", &[wave], limits, Scope::Wave);
        change(&mut document.plan);
        self.step(&created(&document, &members));
        self.step(&Event::RolloutSigned { rollout: document.id.clone() });
        let event = order(&document, 1, "Ann", &[Role::Release], Command::Start, "", self.now);
        self.step(&event);
        document
    }

    /// Time passes; the engine is woken when it asked to be, as the controller does it.
    fn pass(&mut self, until: Timestamp) {
        while let Some(wake) = self.state.next_wake().filter(|wake| *wake <= until) {
            self.now = self.now.max(wake);
            self.woken += 1;
            self.step(&Event::Tick);
            assert!(self.state.next_wake().is_none_or(|next| next > self.now), "it wakes for ever");
        }
        self.now = until;
    }

    fn see(&self, name: &str) -> DeploymentView {
        let all = self.state.deployments(&rollout_id("r1"), None, None, None, 100);
        all.into_iter().find(|d| d.device == device(name)).unwrap()
    }

    /// Devices that are in hand.
    fn hand(&self) -> Vec<String> {
        let all = self.state.deployments(&rollout_id("r1"), None, None, None, 100);
        all.into_iter().filter(|d| d.state.is_in_hand()).map(|d| d.device.to_string()).collect()
    }

    fn wave_waits(&self) -> Waiting {
        self.state.rollout(&rollout_id("r1")).unwrap().waves[0].waiting.clone().unwrap()
    }
}

fn utc() -> SiteHours {
    SiteHours::default()
}

fn own(from: &str, to: &str) -> SiteHours {
    SiteHours {
        time_zone: Some("Europe/London".parse().unwrap()),
        windows: vec![window(from, to)],
        freezes: Vec::new(),
    }
}

fn total(n: u32) -> Limits {
    Limits { total: Some(n), ..Limits::default() }
}

#[test]
fn a_site_whose_window_is_closed_leaves_the_slots_to_others() {
    // rx1 comes first in order of members, and there are two slots for all.
    let mut estate = Estate::new(&[("rx1", own("22:00", "05:00")), ("rx2", utc()), ("rx3", utc())]);
    estate.start(total(2), |_| ());
    assert_eq!(estate.hand(), ["rx2/a", "rx3/a"]);
    let waiting = estate.see("rx1/a").waiting.unwrap();
    assert_eq!((waiting.on.code(), waiting.until), ("window", Some(today("22:00"))));
    assert_eq!(
        waiting.on.to_string(),
        "site rx1: window opens at Tue 2026-11-24 22:00 Europe/London: it is outside the site's windows"
    );
    for name in ["rx2/a", "rx3/a", "rx2/b", "rx3/b"] {
        assert!(estate.hand().contains(&name.to_owned()), "{name}");
        estate.says(name, DeploymentState::Skipped, "");
    }
    // Only rx1 is left: the wave itself says what it waits for.
    let waiting = estate.wave_waits();
    assert_eq!((waiting.on.code(), waiting.until), ("window", Some(today("22:00"))), "{waiting:?}");
    estate.pass(Timestamp(today("22:00").0 - 1));
    assert_eq!(estate.hand(), [""; 0]);
    estate.pass(today("22:00"));
    assert_eq!(estate.hand(), ["rx1/a"], "the engine wakes by itself when it opens");
    assert_eq!(estate.woken, 1);
}

#[test]
fn the_plans_window_is_read_on_the_clock_of_each_site() {
    let zone = |name: &str| SiteHours { time_zone: Some(name.parse().unwrap()), ..utc() };
    let mut estate =
        Estate::new(&[("rx1", zone("Europe/London")), ("rx2", zone("Asia/Kolkata")), ("rx3", zone("Asia/Tokyo"))]);
    estate.start(total(9), |plan| plan.windows = vec![window("22:00", "05:00")]);
    assert_eq!(estate.hand(), [""; 0], "12:00 in London, 17:30 in Kolkata, 21:00 in Tokyo");
    estate.pass(today("13:00"));
    assert_eq!(estate.hand(), ["rx3/a"]);
    estate.pass(today("16:30"));
    assert_eq!(estate.hand(), ["rx2/a", "rx3/a"]);
    estate.pass(today("22:00"));
    assert_eq!(estate.hand(), ["rx1/a", "rx2/a", "rx3/a"]);
}

#[test]
fn nothing_is_offered_without_room_for_it_to_end() {
    let mut estate = Estate::new(&[("rx1", utc()), ("rx2", utc())]);
    // Half an hour, and a quarter for the reboot.
    estate.start(total(1), |plan| plan.windows = vec![window("11:00", "13:00")]);
    assert_eq!(estate.hand(), ["rx1/a"]);
    estate.pass(today("12:15"));
    estate.says("rx1/a", DeploymentState::Skipped, "");
    assert_eq!(estate.hand(), ["rx1/b"], "at the last moment");
    estate.pass(Timestamp(today("12:15").0 + 1));
    estate.says("rx1/b", DeploymentState::Skipped, "");
    assert_eq!(estate.hand(), [""; 0], "and not after it");
    let waiting = estate.wave_waits();
    assert!(
        waiting.on.to_string().contains("Wed 2026-11-25 11:00 UTC: too little is left of the window"),
        "{}",
        waiting.on
    );
    estate.pass(Timestamp(today("11:00").0 + 86_400_000));
    assert_eq!(estate.hand(), ["rx2/a"]);
}

#[test]
fn a_device_has_hours_of_its_own() {
    let mut estate = Estate::new(&[("rx1", utc())]);
    estate.declare("rx1", utc(), &[window("20:00", "22:00")]);
    estate.start(total(9), |_| ());
    assert_eq!(estate.hand(), ["rx1/b"], "the other goes first");
    estate.says("rx1/b", DeploymentState::Skipped, "");
    assert!(estate.wave_waits().on.to_string().contains("the device's windows"));
    estate.pass(today("20:00"));
    assert_eq!(estate.hand(), ["rx1/a"]);
}

#[test]
fn a_changed_site_file_and_a_freeze_count_at_once() {
    let mut estate = Estate::new(&[("rx1", own("22:00", "05:00"))]);
    estate.start(total(9), |_| ());
    assert_eq!(estate.hand(), [""; 0]);
    let freeze =
        Freeze { from: "2026-11-24".parse().unwrap(), to: "2026-11-25".parse().unwrap(), reason: "go-live".to_owned() };
    estate.declare("rx1", SiteHours { freezes: vec![freeze], ..utc() }, &[]);
    let waiting = estate.wave_waits();
    assert!(
        waiting.on.to_string().contains("the site's change freeze, 2026-11-24 to 2026-11-25 (go-live)"),
        "{}",
        waiting.on
    );
    estate.declare("rx1", utc(), &[]);
    assert_eq!(estate.hand(), ["rx1/a"]);
    // A window that never opens is no silence, and costs no wakings.
    let mut estate = Estate::new(&[("rx1", own("12:30", "12:45"))]);
    estate.start(total(9), |plan| plan.windows = vec![window("22:00", "05:00")]);
    estate.pass(Timestamp(today("12:00").0 + 30 * 86_400_000));
    assert!(estate.woken <= 1, "{}", estate.woken);
    assert!(estate.wave_waits().on.to_string().contains("no window opens that is long enough"));
}

/// Patience is for devices that are in use. One that missed its window waits for the next, and keeps its slot: its node
/// begins by itself when that opens.
#[test]
fn a_device_that_missed_its_window_is_not_given_up() {
    use DeploymentState::{Deferred, Failed, Installing, Offered};
    let mut estate = Estate::new(&[("rx1", own("11:00", "13:00")), ("rx2", own("11:00", "13:00"))]);
    estate.start(total(1), |plan| plan.timing.defer_max = DurationMs::from_secs(3 * 3_600));
    estate.says("rx1/a", Deferred, "in_use");
    estate.pass(today("13:00"));
    estate.says("rx1/a", Deferred, "window_closed");
    let waiting = estate.see("rx1/a").waiting.unwrap();
    assert_eq!((waiting.on.code(), waiting.since), ("window", today("13:00")), "{waiting:?}");
    estate.pass(Timestamp(today("11:00").0 + 86_400_000));
    assert_eq!(
        (estate.see("rx1/a").state, estate.hand()),
        (Deferred, vec!["rx1/a".to_owned()]),
        "22 hours are no patience"
    );
    // An hour of it was used up yesterday; two are left.
    estate.says("rx1/a", Deferred, "in_use");
    estate.pass(Timestamp(today("12:59").0 + 86_400_000));
    assert_eq!(estate.see("rx1/a").state, Deferred);
    let goal = |estate: &Estate| estate.state.directive(&site("rx1"))[0].goals[0].action;
    assert_eq!(goal(&estate), GoalAction::Install);
    estate.pass(Timestamp(today("13:00").0 + 86_400_000));
    assert_eq!(goal(&estate), GoalAction::Withdraw, "then it is given up, as ever");
    estate.says("rx1/a", Failed, "ordered");
    assert_eq!(estate.see("rx1/a").state, Failed);

    // One that no window lets begin for more than a week is shown to a person, once.
    let mut estate = Estate::new(&[("rx1", own("11:00", "13:00"))]);
    estate.start(total(1), |_| ());
    assert_eq!(estate.see("rx1/a").state, Offered);
    estate.says("rx1/a", Deferred, "window_closed");
    estate.now = Timestamp(today("12:00").0 + 8 * 86_400_000);
    let effects = estate.step(&Event::Tick);
    let alarms = effects.iter().filter(|e| matches!(e, Effect::Alarm { code, .. } if code == "overdue")).count();
    assert_eq!(alarms, 1, "{effects:?}");
    estate.pass(Timestamp(today("12:00").0 + 20 * 86_400_000));
    estate.says("rx1/a", Installing, "");
    assert_eq!(estate.see("rx1/a").state, Installing);
}

#[test]
fn what_is_loaded_again_wakes_for_the_same_windows() {
    let mut estate = Estate::new(&[("rx1", own("22:00", "05:00")), ("rx2", utc())]);
    estate.start(total(9), |_| ());
    let wake = estate.state.next_wake();
    let mut loaded: State = serde_json::from_str(&serde_json::to_string(&estate.state).unwrap()).unwrap();
    assert_eq!(loaded.next_wake(), wake);
    loaded.step(&Event::Tick, today("22:00")).unwrap();
    assert_eq!(loaded.deployment_state(&rollout_id("r1"), &device("rx1/a")), Some(DeploymentState::Offered));
}

/// A halt, a rollback and their ends never wait for a window.
#[test]
fn a_rollback_waits_for_no_window() {
    let mut estate = Estate::new(&[("rx1", own("11:00", "13:00"))]);
    let document = estate.start(total(9), |_| ());
    estate.says("rx1/a", DeploymentState::Soaking, "");
    estate.pass(today("15:00"));
    let event = order(
        &document,
        2,
        "Olu",
        &[Role::OnCall],
        Command::RollBack { target: RollBackTarget::Rollout },
        "",
        estate.now,
    );
    estate.step(&event);
    let goals = &estate.state.directive(&site("rx1"))[0].goals;
    assert_eq!(goals.iter().map(|g| g.action).collect::<Vec<_>>(), [GoalAction::RollBack]);
}
