//! Limits per region: over the sites of one region, whatever its sites say later of where they are.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod engine_support;

use std::collections::BTreeMap;

use engine_support::{WaveSpec, created, device, inventory, key, order, reported, rollout, rollout_id, site};
use wardround_rollout_plans::{engine::*, model::*};
use wardround_signing::Role;

use DeploymentState::{Failed, Installing, Offered, Pending, Soaking, Succeeded, Unknown};

/// Sites of one device each, whose nodes say what the test has them say.
struct Country {
    state: State,
    now: Timestamp,
    seqs: BTreeMap<String, u64>,
}

impl Country {
    fn new(sites: &[(&str, &str)]) -> Self {
        let mut country = Self { state: State::default(), now: Timestamp(0), seqs: BTreeMap::new() };
        for (id, region) in sites {
            country.step(&Event::NodeEnrolled { site: site(id), node_key: key(id) });
            country.place(id, region);
        }
        country
    }

    fn step(&mut self, event: &Event) -> Vec<Effect> {
        self.state.step(event, self.now).unwrap()
    }

    fn report(&mut self, id: &str, body: ReportBody) {
        let seq = self.seqs.entry(id.to_owned()).or_default();
        *seq += 1;
        let event = reported(&self.state, &site(id), *seq, self.now, body);
        self.step(&event);
    }

    /// The site's inventory names this region.
    fn place(&mut self, id: &str, region: &str) {
        let mut inventory = inventory(id, &["ct".to_owned()], &[], &[]);
        inventory.region = region.to_owned();
        self.report(id, ReportBody::Inventory { inventory });
    }

    fn start(&mut self, waves: &[WaveSpec], limits: Limits) {
        let (document, members) = rollout("r1", waves, limits, Scope::Device);
        self.step(&created(&document, &members));
        self.step(&Event::RolloutSigned { rollout: document.id.clone() });
        self.step(&order(&document, 1, "Ann", &[Role::Release], Command::Start, "", self.now));
    }

    fn moves(&mut self, id: &str, state: DeploymentState) {
        let body = ReportBody::Deployment {
            rollout: rollout_id("r1"),
            device: device(&format!("{id}/ct")),
            attempt: 1,
            state,
            reason: String::new(),
            code: String::new(),
            evidence: Evidence::default(),
        };
        self.report(id, body);
    }

    fn states(&self) -> Vec<DeploymentState> {
        self.state.deployments(&rollout_id("r1"), None, None, None, 100).iter().map(|d| d.state).collect()
    }

    fn why(&self, id: &str) -> String {
        let all = self.state.deployments(&rollout_id("r1"), None, None, None, 100);
        let seen = all.into_iter().find(|d| d.device == device(&format!("{id}/ct"))).unwrap();
        seen.waiting.map(|w| format!("{}: {}", w.on.code(), w.on)).unwrap_or_default()
    }
}

fn per_region(limit: u32) -> Limits {
    Limits { per_region: Some(limit), ..Limits::default() }
}

const FOUR: [(&str, &str); 4] = [("rx1", "north"), ("rx2", "north"), ("rx3", "south"), ("rx4", "south")];

#[test]
fn each_region_has_its_own_limit_and_who_waits_says_which() {
    let mut country = Country::new(&FOUR);
    country.start(&[WaveSpec::new("all", &["rx1/ct", "rx2/ct", "rx3/ct", "rx4/ct"])], per_region(1));
    assert_eq!(country.states(), [Offered, Pending, Offered, Pending]);
    assert_eq!(
        country.why("rx4"),
        "region: another device of region south must end first: at most 1 may be in hand at once"
    );
    country.moves("rx3", Soaking);
    country.moves("rx3", Soaking);
    assert_eq!(country.states()[3], Pending, "a soaking device is in hand, and a report said twice counts once");
    country.moves("rx3", Failed);
    assert_eq!(country.states(), [Offered, Pending, Failed, Pending], "the gate has failed, so nothing goes on");
}

#[test]
fn a_wave_may_be_narrower_than_the_plan() {
    let mut country = Country::new(&FOUR);
    let canary = WaveSpec { limits: per_region(1), ..WaveSpec::new("canary", &["rx1/ct", "rx2/ct"]) };
    country.start(&[canary, WaveSpec::new("full", &["rx3/ct", "rx4/ct"])], per_region(2));
    assert_eq!(country.states(), [Offered, Pending, Pending, Pending]);
    for id in ["rx1", "rx2"] {
        country.moves(id, Soaking);
        country.now = country.now.after(DurationMs::from_secs(600));
        country.moves(id, Succeeded);
    }
    assert_eq!(country.states(), [Succeeded, Succeeded, Offered, Offered], "the next wave has the plan's limit only");
}

#[test]
fn sites_without_a_region_are_one_region() {
    let mut country = Country::new(&[("rx1", ""), ("rx2", ""), ("rx3", "south")]);
    country.start(&[WaveSpec::new("all", &["rx1/ct", "rx2/ct", "rx3/ct"])], per_region(1));
    assert_eq!(country.states(), [Offered, Pending, Offered]);
    assert!(country.why("rx2").contains("the sites without a region"), "{}", country.why("rx2"));
}

/// S4: what was offered holds its place in the region that its site had then, and in that which it has now.
#[test]
fn a_site_that_changes_its_region_counts_for_both() {
    let mut country = Country::new(&FOUR);
    country.start(&[WaveSpec::new("all", &["rx1/ct", "rx2/ct", "rx3/ct", "rx4/ct"])], per_region(1));
    country.moves("rx1", Installing);
    country.moves("rx3", Installing);
    country.place("rx1", "south");
    assert_eq!(country.states(), [Installing, Pending, Installing, Pending], "north is not free: it was offered there");
    // A snapshot in between knows it too.
    country.state = serde_json::from_slice(&serde_json::to_vec(&country.state).unwrap()).unwrap();
    country.moves("rx3", Soaking);
    country.now = country.now.after(DurationMs::from_secs(600));
    country.moves("rx3", Succeeded);
    assert_eq!(country.states()[3], Pending, "rx1 is in south now");
    country.moves("rx1", Soaking);
    country.now = country.now.after(DurationMs::from_secs(600));
    country.moves("rx1", Succeeded);
    assert_eq!(country.states(), [Succeeded, Offered, Succeeded, Offered]);
}

/// S4: a silent site's device may be under the knife all the same.
#[test]
fn what_is_unknown_holds_its_place() {
    let mut country = Country::new(&FOUR);
    country.start(&[WaveSpec::new("all", &["rx1/ct", "rx2/ct"])], per_region(1));
    country.step(&Event::SiteSilent { site: site("rx1") });
    assert_eq!(country.states(), [Unknown, Pending]);
    assert!(country.why("rx2").starts_with("region: "), "{}", country.why("rx2"));
}

/// A site that waits for its region gives its turn to one of a region that has room.
#[test]
fn a_full_region_holds_up_no_other() {
    let mut country = Country::new(&[("rx1", "north"), ("rx2", "north"), ("rx3", "north"), ("rx4", "south")]);
    let limits = Limits { total: Some(2), ..per_region(1) };
    country.start(&[WaveSpec::new("all", &["rx1/ct", "rx2/ct", "rx3/ct", "rx4/ct"])], limits);
    assert_eq!(country.states(), [Offered, Pending, Pending, Offered]);
}
