//! What goes first within a wave: the order of the members that people sign, which the engine takes as it is.
#![expect(clippy::unwrap_used, reason = "helpers outside of test functions; a panic is the failure")]

mod common;
mod engine_support;

use std::collections::BTreeMap;

use common::{XP, estate, patch, plan};
use proptest::prelude::*;
use wardround_rollout_plans::{
    describe::order_words,
    engine::{Event, State},
    estate::Estate,
    language::{lint_plan, parse_plan},
    model::*,
    resolve::{Former, Resolution, amend, check_members, document, resolve},
};
use wardround_signing::{Digest, Role, merkle::Tree};

/// Devices as "name criticality group": a site of region `region` with a PACS that needs those called `ct…`, and whose
/// monitor, which is critical, needs those called `icu…`.
fn ward(code: &str, region: &str, devices: &[&str]) -> SiteInventory {
    let mut words = devices.iter().map(|device| device.split(' ').collect::<Vec<_>>()).collect::<Vec<_>>();
    words.iter_mut().for_each(|words| words.resize(3, ""));
    let names: Vec<(&str, &str, &str, &str)> = words.iter().map(|w| (w[0], XP, "M", "")).collect();
    let mut site = common::site(code, region, &names);
    for (device, words) in site.devices.iter_mut().zip(&words) {
        if !words[1].is_empty() {
            device.labels.insert("criticality".to_owned(), words[1].to_owned());
        }
        device.group = Some(words[2]).filter(|group| !group.is_empty()).map(|group| GroupId::new(group).unwrap());
    }
    let called = |start: &str| -> Vec<DeviceId> {
        site.devices.iter().map(|d| d.id.clone()).filter(|id| id.name().starts_with(start)).collect()
    };
    let system = |id: &str, critical: bool, devices: Vec<DeviceId>| ClinicalSystem {
        id: SystemId::new(&format!("{code}/{id}")).unwrap(),
        kind: id.to_owned(),
        critical,
        probes: Some(1),
        devices,
    };
    site.systems = vec![system("pacs", false, called("ct")), system("monitor", true, called("icu"))];
    site
}

fn two_sites() -> Estate {
    estate([
        ward("rx1", "north", &["ct1 high pair", "ct2 low pair", "desk medium", "icu1"]),
        ward("rx2", "south", &["ct1 low", "desk medium", "icu1 high twin", "icu2 low twin"]),
    ])
}

/// The members of a single wave with this order, as "site/device".
fn resolved(order: &str, estate: &Estate) -> Resolution {
    let order = if order.is_empty() { String::new() } else { format!("order: {order}, ") };
    resolve(&plan(&wave(&order)), &patch(), estate).unwrap()
}

fn wave(order: &str) -> String {
    format!("waves:\n  - {{ name: all, select: {{ remaining: true }}, {order}soak: 8h }}\n")
}

fn first(order: &str) -> Vec<String> {
    resolved(order, &two_sites()).members().iter().map(|member| member.device.to_string()).collect()
}

#[test]
fn members_stand_in_the_order_of_their_wave() {
    let by_id = ["rx1/ct1", "rx1/ct2", "rx1/desk", "rx1/icu1", "rx2/ct1", "rx2/desk", "rx2/icu1", "rx2/icu2"];
    assert_eq!(first(""), by_id);
    assert_eq!(
        first("[{ label: criticality, values: [low, medium, high] }]"),
        ["rx1/ct2", "rx2/ct1", "rx2/icu2", "rx1/desk", "rx2/desk", "rx1/ct1", "rx2/icu1", "rx1/icu1"],
        "what lacks the label comes last"
    );
    assert_eq!(
        first("[{ by: critical_last }]"),
        ["rx1/desk", "rx2/desk", "rx1/ct1", "rx1/ct2", "rx2/ct1", "rx1/icu1", "rx2/icu1", "rx2/icu2"]
    );
    assert_eq!(
        first("[{ by: system, values: [monitor, pacs] }]"),
        ["rx1/desk", "rx2/desk", "rx1/icu1", "rx2/icu1", "rx2/icu2", "rx1/ct1", "rx1/ct2", "rx2/ct1"]
    );
    assert_eq!(first("[{ by: spare_first }]")[..4], ["rx1/ct1", "rx1/ct2", "rx2/icu1", "rx2/icu2"]);
    assert_eq!(first("[{ by: region, values: [south] }]")[..4], by_id[4..]);
    assert_eq!(first("[{ by: site, values: [rx2, rx1] }]")[..4], by_id[4..]);
    assert_eq!(
        first("[{ by: site_turns }]"),
        ["rx1/ct1", "rx2/ct1", "rx1/ct2", "rx2/desk", "rx1/desk", "rx2/icu1", "rx1/icu1", "rx2/icu2"]
    );
    assert_eq!(
        first("[{ by: critical_last }, { by: site_turns }, { by: region, values: [south, north] }]"),
        ["rx2/desk", "rx1/desk", "rx2/ct1", "rx1/ct1", "rx1/ct2", "rx2/icu1", "rx1/icu1", "rx2/icu2"],
        "turns are taken among what is alike so far, and the later rules decide within a turn"
    );
}

/// A group that may lose two at once has a spare one only from the third on.
#[test]
fn a_spare_is_what_is_left_beside_those_that_may_be_disrupted() {
    let mut pair = ward("rx1", "north", &["a", "b x trio", "c x trio"]);
    pair.groups.insert(GroupId::new("trio").unwrap(), 2);
    let order = "[{ by: spare_first }]";
    assert_eq!(resolved(order, &estate([pair.clone()])).members()[0].device.name(), "a");
    let mut trio = ward("rx1", "north", &["a", "b x trio", "c x trio", "d x trio"]);
    trio.groups = pair.groups;
    assert_eq!(resolved(order, &estate([trio])).members()[0].device.name(), "b");
}

#[test]
fn what_makes_no_order_is_refused() {
    let problem = |order: &str| {
        let problems =
            parse_plan(&format!("name: t\n{}", wave(&format!("order: {order}, "))), "plan.yaml").unwrap_err();
        assert!(problems.iter().all(|p| p.line == 3 && p.column > 0), "{problems:?}");
        problems[0].message.clone()
    };
    assert!(problem("[]").contains("empty"));
    assert!(problem("[{ values: [a] }]").contains("neither `label` nor `by`"));
    assert!(problem("[{ label: x, by: site, values: [a] }]").contains("both there"));
    assert!(problem("[{ label: x }]").contains("`values` is missing"));
    assert!(problem("[{ by: region }]").contains("`values` is missing"));
    assert!(problem("[{ by: critical_last, values: [a] }]").contains("takes no values"));
    assert!(problem("[{ by: critcal_last }]").contains("expected one of"));
    assert!(problem("[{ by: site, values: [a, a] }]").contains("twice"));
    assert!(problem("[{ by: spare_first }, { by: spare_first }]").contains("goes by the same"));
    assert!(problem("[{ by: hash }, { by: spare_first }]").contains("ever asked"));
    // The same in a document that no plan file stands behind.
    let mut odd = plan(&wave("")).plan;
    odd.waves[0].order =
        vec![Precedence { label: Some("a\u{1b}[2J".to_owned()), by: None, values: vec!["x".to_owned()] }];
    assert!(lint_plan(&odd)[0].contains("plain characters"), "{:?}", lint_plan(&odd));
}

#[test]
fn signers_read_it_and_it_is_part_of_what_they_sign() {
    let order = "order: [{ label: criticality, values: [low, high] }, { by: site_turns }], ";
    let parsed = plan(&wave(order));
    insta::assert_snapshot!(order_words(&parsed.plan.waves[0]).unwrap(), @"First by label criticality: low, then high, then all others; where that is the same, one device of each site before a second one of any");
    let text = serde_json::to_string(&parsed.plan).unwrap();
    assert!(
        text.contains(r#""order":[{"label":"criticality","values":["low","high"]},{"by":"site_turns"}]"#),
        "{text}"
    );
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), parsed.plan);
    assert!(!serde_json::to_string(&plan(&wave("")).plan).unwrap().contains("order"), "no trace of none");
}

/// What ids tell of an order, a signer's own program checks: a controller can't put a site in front of others.
#[test]
fn a_list_in_another_order_is_not_signed() {
    let swapped = |order: &str, a: usize, b: usize| {
        let parsed = plan(&wave(order));
        let mut resolution = resolve(&parsed, &patch(), &two_sites()).unwrap();
        let written = |r: &Resolution| {
            document(RolloutId::new("r").unwrap(), &parsed.plan, &patch(), Digest::of(b"p"), r, &[], Timestamp(1))
        };
        check_members(&written(&resolution), &resolution.members()).unwrap();
        resolution.waves[0].swap(a, b);
        check_members(&written(&resolution), &resolution.members())
    };
    assert!(swapped("", 0, 1).unwrap_err().contains("not in order"));
    assert!(swapped("order: [{ by: site, values: [rx2, rx1] }], ", 3, 4).unwrap_err().contains("should come before"));
    assert!(swapped("order: [{ by: hash }], ", 0, 1).unwrap_err().contains("should come before"));
    // Labels rest on what nodes have said.
    swapped("order: [{ label: criticality, values: [low] }], ", 0, 1).unwrap();
}

#[test]
fn the_lint_names_values_that_nobody_has_and_who_comes_last() {
    let found = |order: &str| {
        let warnings = resolved(order, &two_sites()).warnings;
        let here = warnings.into_iter().filter(|finding| finding.rule.word() == "order_unmatched");
        here.map(|finding| format!("{}\n", finding.problem)).collect::<String>()
    };
    assert_eq!(found("[{ by: spare_first }, { by: region, values: [north, south] }]"), "");
    insta::assert_snapshot!(found("[{ label: criticality, values: [lwo, medium, high] }]"), @r"
    plan.yaml:3:55: waves[0].order[0]: no device of wave all has label criticality lwo
      hint: did you mean `low`? What has none of the values comes last
    plan.yaml:3:55: waves[0].order[0]: 4 of the devices of wave all have none of the values of label criticality, and come last: rx1/ct2, rx1/icu1, rx2/ct1, rx2/icu2
      hint: name their values too, or give them one in the site files
    ");
}

fn amended(order: &str, today: &Estate, touched: &[&str]) -> Result<Vec<String>, String> {
    let parsed = plan(&wave(order));
    let before = resolve(&parsed, &patch(), &two_sites()).unwrap();
    let id = RolloutId::new("r").unwrap();
    let rollout = document(id, &parsed.plan, &patch(), Digest::of(b"p"), &before, &[], Timestamp(1));
    let members = before.members();
    let touched: Vec<bool> = members.iter().map(|m| touched.contains(&m.device.as_str())).collect();
    let digest = Digest::of(b"r");
    let former =
        Former { rollout: &rollout, digest, members: &members, touched: &touched, reporters: &[], passed: &[false] };
    let next = amend(&former, &patch(), today, Timestamp(2)).map_err(|cannot| cannot.why)?;
    check_members(&next.rollout, &next.members).unwrap();
    rollout.check_amendment(digest, &next.rollout).unwrap();
    Ok(next.members.iter().map(|member| member.device.to_string()).collect())
}

#[test]
fn an_amendment_orders_who_is_left_and_moves_nobody_without_need() {
    let order = "order: [{ label: criticality, values: [low, medium, high] }], ";
    let mut relabelled = two_sites();
    relabelled.put(ward("rx1", "north", &["ct1 low pair", "ct2 high pair", "desk medium", "icu1"]));
    assert!(
        amended(order, &relabelled, &[]).unwrap_err().contains("the same devices"),
        "a label alone changes nothing"
    );
    let mut grown = relabelled;
    grown.put(ward("rx3", "north", &["a low", "b high"]));
    assert_eq!(
        amended(order, &grown, &["rx1/ct2"]).unwrap(),
        ["rx1/ct2", "rx1/ct1", "rx2/ct1", "rx2/icu2", "rx3/a", "rx1/desk", "rx2/desk", "rx2/icu1", "rx3/b", "rx1/icu1"],
        "whose turn has come stands in front, the others by today's labels"
    );
}

/// Nodes whose every device has nothing to do, so that each offer is answered at once.
struct Offers {
    state: State,
    now: Timestamp,
    seqs: BTreeMap<SiteId, u64>,
    offered: Vec<String>,
}

impl Offers {
    fn step(&mut self, event: &Event) {
        self.state.step(event, self.now).unwrap();
        self.now = Timestamp(self.now.0 + 1_000);
    }

    fn report(&mut self, site: &SiteId, body: ReportBody) {
        let seq = self.seqs.entry(site.clone()).or_default();
        *seq += 1;
        let event = engine_support::reported(&self.state, site, *seq, self.now, body);
        self.step(&event);
    }

    /// In which order the devices of a rollout over the whole estate are offered, three at once at most and one of a site.
    fn run(order: &str, known: &Estate) -> Vec<String> {
        let limits = "limits: { per_site: 1, total: 3 }\n";
        let parsed = plan(&format!("{limits}{}", wave(&format!("order: {order}, "))));
        let resolution = resolve(&parsed, &patch(), known).unwrap();
        let members = resolution.members();
        let reporters = engine_support::reporters(&members);
        let id = RolloutId::new("r1").unwrap();
        let rollout = document(id, &parsed.plan, &patch(), Digest::of(b"p"), &resolution, &reporters, Timestamp(0));
        assert_eq!(rollout.waves[0].root, Tree::new(members.iter().map(Member::leaf)).root());
        let mut offers =
            Self { state: State::default(), now: Timestamp(0), seqs: BTreeMap::new(), offered: Vec::new() };
        for inventory in known.sites() {
            let node_key = engine_support::key(inventory.site.as_str());
            offers.step(&Event::NodeEnrolled { site: inventory.site.clone(), node_key });
            offers.report(&inventory.site, ReportBody::Inventory { inventory: inventory.clone() });
        }
        offers.step(&engine_support::created_by(&rollout, &members, reporters));
        offers.step(&Event::RolloutSigned { rollout: rollout.id.clone() });
        let start = engine_support::order(&rollout, 1, "Ann", &[Role::Release], Command::Start, "", offers.now);
        offers.step(&start);
        loop {
            let all = offers.state.deployments(&rollout.id, None, None, None, 1_000);
            let mut open: Vec<_> = all.into_iter().filter(|d| d.state == DeploymentState::Offered).collect();
            assert!(open.len() <= 3, "the total limit holds");
            open.sort_by_key(|deployment| deployment.state_since);
            let new = open.iter().map(|d| d.device.to_string()).filter(|id| !offers.offered.contains(id));
            let new: Vec<String> = new.collect();
            offers.offered.extend(new);
            let Some(next) = open.first() else { return offers.offered };
            let body = ReportBody::Deployment {
                rollout: rollout.id.clone(),
                device: next.device.clone(),
                attempt: 1,
                state: DeploymentState::Skipped,
                reason: "already installed".to_owned(),
                code: "already_installed".to_owned(),
                evidence: Evidence::default(),
            };
            offers.report(&next.device.site(), body);
        }
    }
}

fn four_sites() -> Estate {
    let devices = ["a high", "b low", "c medium"];
    estate(["s1", "s2", "s3", "s4"].map(|code| ward(code, "north", &devices)))
}

#[test]
fn the_engine_offers_in_the_order_that_was_signed() {
    // Three of one label at once, and no site twice: the fourth site's turn comes before any second device.
    let turns = Offers::run("[{ label: criticality, values: [low, medium, high] }]", &four_sites());
    let names: Vec<&str> = turns.iter().map(|id| id.split('/').nth(1).unwrap()).collect();
    assert_eq!(names, ["b", "b", "b", "b", "c", "c", "c", "c", "a", "a", "a", "a"], "{turns:?}");
    let sites = Offers::run("[{ by: site, values: [s4, s3, s2, s1] }]", &four_sites());
    assert_eq!(sites[..3], ["s4/a", "s3/a", "s2/a"], "one at a site at once, whatever the order says");
    assert_eq!(sites[3..6], ["s4/b", "s3/b", "s2/b"]);
    assert_eq!(sites.last().unwrap(), "s1/c");
    let by_turns = Offers::run("[{ by: site_turns }]", &four_sites());
    assert_eq!(by_turns[..5], ["s1/a", "s2/a", "s3/a", "s4/a", "s1/b"]);
}

const RULES: [&str; 9] = [
    "{ label: criticality, values: [low, medium] }",
    "{ by: critical_last }",
    "{ by: spare_first }",
    "{ by: site_turns }",
    "{ by: region, values: [south, north] }",
    "{ by: site, values: [b, a] }",
    "{ by: system, values: [pacs, monitor] }",
    "{ by: model, values: [M] }",
    "{ by: hash }",
];

fn estates() -> impl Strategy<Value = Estate> {
    let device = (0..3_usize, 0..4_usize, 0..3_usize).prop_map(|(name, label, group)| {
        let (name, label) = (["ct", "icu", "desk"][name], ["low", "medium", "high", ""][label]);
        (name, label, ["", "g", "h"][group])
    });
    let devices = prop::collection::vec(device, 1..6);
    prop::collection::btree_map("[a-f]", (devices, prop::bool::ANY), 1..5).prop_map(|sites| {
        estate(sites.into_iter().map(|(code, (devices, north))| {
            let named: Vec<String> = devices
                .iter()
                .enumerate()
                .map(|(n, (name, label, group))| format!("{name}{n} {label} {group}"))
                .collect();
            let named: Vec<&str> = named.iter().map(String::as_str).collect();
            ward(&code, if north { "north" } else { "south" }, &named)
        }))
    })
}

fn orders() -> impl Strategy<Value = String> {
    // `hash` decides everything, so it may only stand at the end.
    prop::sample::subsequence((0..8_usize).collect::<Vec<_>>(), 0..5).prop_shuffle().prop_flat_map(|rules| {
        prop::bool::ANY.prop_map(move |hash| {
            let rules = rules.iter().copied().chain(hash.then_some(8));
            format!("[{}]", rules.map(|at| RULES[at]).collect::<Vec<_>>().join(", "))
        })
    })
}

proptest! {
    /// An order changes who goes first, never who is there; the same input gives the same list.
    #[test]
    fn an_order_only_orders(estate in estates(), order in orders()) {
        prop_assume!(order != "[]");
        let ordered = resolved(&order, &estate).members();
        prop_assert_eq!(&ordered, &resolved(&order, &estate).members());
        let mut sorted = ordered;
        sorted.sort_unstable();
        prop_assert_eq!(sorted, resolved("", &estate).members());
    }

    /// A new site comes in between others, and lets them stand as they stood to each other.
    #[test]
    fn a_new_site_leaves_the_others_in_their_order(estate in estates(), order in orders(), more in estates()) {
        prop_assume!(order != "[]");
        let mut larger = estate.clone();
        for site in more.sites().filter(|site| estate.site(&site.site).is_none()) {
            larger.put(site.clone());
        }
        let before = resolved(&order, &estate).members();
        let mut after = resolved(&order, &larger).members();
        after.retain(|member| estate.device(&member.device).is_some());
        prop_assert_eq!(before, after);
    }

    /// With turns first, no site is two devices ahead of another that has some left.
    #[test]
    fn sites_take_turns(estate in estates(), order in orders()) {
        prop_assume!(!order.contains("site_turns"));
        let order = if order == "[]" { "[{ by: site_turns }]".to_owned() } else { order.replacen('[', "[{ by: site_turns }, ", 1) };
        let mut done: BTreeMap<SiteId, usize> = BTreeMap::new();
        let mut round = 0;
        for member in resolved(&order, &estate).members() {
            let here = done.entry(member.device.site()).or_default();
            prop_assert!(*here >= round, "{} takes turn {} in round {}", member.device, here, round);
            round = *here;
            *here += 1;
        }
    }
}
