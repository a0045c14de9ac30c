//! Drawing by number, by stratum and by combination: what each promises, and what moves when the estate grows.
#![expect(clippy::unwrap_used, reason = "helpers outside of test functions; a panic is the failure")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::*;
use proptest::prelude::*;
use wardround_rollout_plans::{
    estate::Estate,
    language::ParsedPlan,
    model::{ClinicalSystem, Device, DeviceId, GroupId, Member, RolloutId, SiteInventory, Timestamp},
    resolve::{Former, Resolution, amend, check_members, document, resolve},
};
use wardround_signing::Digest;

/// A device as the generator makes it: platform, model, kinds of clinical systems, redundancy group.
type Made = (usize, usize, Vec<usize>, Option<usize>);

const KINDS: [&str; 3] = ["pacs", "viewer", "lab"];
const MODELS: [&str; 3] = ["CT", "MR", ""];

fn built(code: &str, region: usize, made: &[Made]) -> SiteInventory {
    let names: Vec<String> = (0..made.len()).map(|n| format!("d{n}")).collect();
    let devices: Vec<_> = names
        .iter()
        .zip(made)
        .map(|(name, (platform, model, _, _))| (name.as_str(), [XP, W2003][*platform], MODELS[*model], ""))
        .collect();
    let mut site = site(code, ["north", "south"][region], &devices);
    site.site_type = ["acute", "community"][made.len() % 2].to_owned();
    site.systems = Vec::new();
    for (kind, name) in KINDS.iter().enumerate() {
        let needs = site.devices.iter().zip(made).filter(|(_, made)| made.2.contains(&kind));
        let devices: Vec<DeviceId> = needs.map(|(device, _)| device.id.clone()).collect();
        let id = format!("{code}/{name}").parse().unwrap();
        site.systems.push(ClinicalSystem { id, kind: (*name).to_owned(), critical: false, probes: Some(1), devices });
    }
    for (device, made) in site.devices.iter_mut().zip(made) {
        device.group = made.3.map(|n| GroupId::new(&format!("g{n}")).unwrap());
        site.groups.extend(device.group.clone().map(|group| (group, 1)));
    }
    site
}

/// Sites of one to eight devices; with redundancy groups only where the test is about them.
fn estates(sites: std::ops::Range<usize>, groups: bool) -> impl Strategy<Value = Estate> {
    let group = if groups { prop::option::of(0_usize..2).boxed() } else { Just(None).boxed() };
    let device = (0_usize..2, 0_usize..3, prop::collection::vec(0_usize..3, 0..3), group);
    let devices = prop::collection::vec(device, 1..8);
    prop::collection::btree_map("[a-z][a-z0-9]{1,4}", (0_usize..2, devices), sites)
        .prop_map(|sites| estate(sites.iter().map(|(code, (region, made))| built(code, *region, made))))
}

fn joined(estate: &Estate, more: &Estate) -> Estate {
    let mut larger = estate.clone();
    more.sites().filter(|site| estate.site(&site.site).is_none()).for_each(|site| larger.put(site.clone()));
    larger
}

/// One wave for each of these selections, then all that is left.
fn waves(selections: &[&str]) -> ParsedPlan {
    let wave = |(n, select): (usize, &&str)| format!("  - {{ name: w{n}, select: {{ {select} }}, soak: 8h }}\n");
    let waves: String = selections.iter().enumerate().map(wave).collect();
    plan(&format!("waves:\n{waves}  - {{ name: rest, select: {{ remaining: true }}, soak: 8h }}\n"))
}

/// Position of each device's wave. `None` where a wave comes out empty: then resolution refuses, which is tested elsewhere.
fn placed(plan: &ParsedPlan, estate: &Estate) -> Option<BTreeMap<DeviceId, usize>> {
    let resolution = resolve(plan, &patch(), estate).ok()?;
    Some(positions(&resolution))
}

fn positions(resolution: &Resolution) -> BTreeMap<DeviceId, usize> {
    let waves = resolution.waves.iter().enumerate();
    waves.flat_map(|(at, wave)| wave.iter().map(move |member| (member.device.clone(), at))).collect()
}

fn of(resolution: &Resolution, wave: usize) -> BTreeSet<&str> {
    resolution.waves[wave].iter().map(|member| member.device.as_str()).collect()
}

fn kinds<'e>(site: &'e SiteInventory, device: &Device) -> BTreeSet<&'e str> {
    let needing = site.systems.iter().filter(|system| system.devices.contains(&device.id));
    needing.map(|system| system.kind.as_str()).collect()
}

/// Platform, model and kind, as a person would count them; an empty kind where no system needs it.
fn combinations<'e>(site: &'e SiteInventory, device: &'e Device) -> Vec<(&'e str, &'e str, &'e str)> {
    let mut kinds = kinds(site, device);
    if kinds.is_empty() {
        kinds.insert("");
    }
    kinds.into_iter().map(|kind| (device.platform.as_str(), device.model.as_str(), kind)).collect()
}

/// Selections for which no device may move to an earlier wave, in all orders that a plan may have them.
const STEADY: [&[&str]; 7] = [
    &["count: 2"],
    &["count: 1", "count: 3"],
    &["count: 1, by: [platform]"],
    &["count: 1, by: [site]", "count: 2, by: [model, system]"],
    &["representative: true"],
    &["representative: 2", "percent: 30%"],
    &["regions: [north], count: 2", "representative: true", "count: 1, by: [region]"],
];

proptest! {
    /// **The law.** A new site moves no device to an earlier wave; and no wave loses more devices than come into it, or,
    /// where it draws representatives, more than one for each combination that a newcomer shows.
    #[test]
    fn a_new_site_moves_nobody_forward(estate in estates(2..7, false), more in estates(1..3, false), which in 0..STEADY.len()) {
        let plan = waves(STEADY[which]);
        let larger = joined(&estate, &more);
        let (Some(before), Some(after)) = (placed(&plan, &estate), placed(&plan, &larger)) else { return Ok(()) };
        for (device, wave) in &before {
            prop_assert!(after[device] >= *wave, "{device} moved from wave {wave} to {}", after[device]);
        }
        for (wave, select) in STEADY[which].iter().enumerate() {
            let lost = before.iter().filter(|(device, at)| **at == wave && after[*device] != wave).count();
            let came = after.iter().filter(|(device, at)| **at == wave && before.get(*device) != Some(&wave)).count();
            let each = if select.contains("representative") { KINDS.len() + 1 } else { 1 };
            prop_assert!(lost <= came * each, "wave {wave} lost {lost} and gained {came}");
        }
    }

    /// **The law of shares by stratum.** A stratum changes by at most as many old devices as it gets new ones; where it gets
    /// none, nobody moves.
    #[test]
    fn a_share_of_a_stratum_moves_at_most_as_many_as_come(estate in estates(2..7, false), more in estates(1..3, false), percent in 1_u32..60) {
        let plan = waves(&[&format!("percent: {percent}%, by: [region, model]")]);
        let larger = joined(&estate, &more);
        let (Some(before), Some(after)) = (placed(&plan, &estate), placed(&plan, &larger)) else { return Ok(()) };
        let stratum = |id: &DeviceId| {
            let (site, device) = larger.device(id).unwrap();
            (site.region.clone(), device.model.clone())
        };
        let mut moved: BTreeMap<_, usize> = BTreeMap::new();
        let mut new: BTreeMap<_, usize> = BTreeMap::new();
        for device in after.keys() {
            match before.get(device) {
                None => *new.entry(stratum(device)).or_default() += 1,
                Some(wave) if after[device] != *wave => *moved.entry(stratum(device)).or_default() += 1,
                Some(_) => {}
            }
        }
        for (stratum, moved) in moved {
            prop_assert!(moved <= new.get(&stratum).copied().unwrap_or_default(), "{stratum:?}: {moved} moved");
        }
    }

    /// The share holds in each stratum, rounded up, in one wave and in the sum of two.
    #[test]
    fn a_share_holds_in_every_stratum(estate in estates(2..8, true), first in 1_u32..50, step in 1_u32..50) {
        let second = first + step;
        let plan = waves(&[&format!("percent: {first}%, by: [platform, model]"), &format!("percent: {second}%, by: [platform, model]")]);
        let Some(placed) = placed(&plan, &estate) else { return Ok(()) };
        let mut strata: BTreeMap<(&str, &str), [usize; 3]> = BTreeMap::new();
        for (_, device) in estate.devices() {
            strata.entry((device.platform.as_str(), &device.model)).or_default()[placed[&device.id]] += 1;
        }
        for (stratum, counts) in strata {
            let n: usize = counts.iter().sum();
            let share = |percent: u32| (n * percent as usize).div_ceil(100);
            prop_assert_eq!((counts[0], counts[0] + counts[1]), (share(first), share(second)), "{:?}", stratum);
        }
    }

    #[test]
    fn a_number_holds_in_every_stratum(estate in estates(2..8, true), number in 1_usize..4) {
        let plan = waves(&[&format!("count: {number}, by: [system]")]);
        let Some(placed) = placed(&plan, &estate) else { return Ok(()) };
        let mut strata: BTreeMap<BTreeSet<&str>, [usize; 2]> = BTreeMap::new();
        for (site, device) in estate.devices() {
            strata.entry(kinds(site, device)).or_default()[placed[&device.id]] += 1;
        }
        for (stratum, [drawn, rest]) in strata {
            prop_assert_eq!(drawn, number.min(drawn + rest), "{:?}", stratum);
        }
    }

    /// What a representative wave draws stands for everything that follows, is no more than the combinations ask for, and
    /// is never two devices of one redundancy group. What it can't stand for is told, and nothing else is.
    #[test]
    fn representatives_stand_for_what_follows(estate in estates(1..7, true), each in 1_u32..3) {
        let plan = waves(&[&format!("representative: {each}")]);
        let Ok(resolution) = resolve(&plan, &patch(), &estate) else { return Ok(()) };
        let placed = positions(&resolution);
        let all: BTreeSet<_> = estate.devices().flat_map(|(site, device)| combinations(site, device)).collect();
        prop_assert!(resolution.waves[0].len() <= all.len() * each as usize);
        let mut groups = BTreeSet::new();
        let mut seen: BTreeMap<_, u32> = BTreeMap::new();
        for (site, device) in estate.devices().filter(|(_, device)| placed[&device.id] == 0) {
            prop_assert!(device.group.iter().all(|group| groups.insert((&site.site, group))), "two of one group");
            for (platform, model, kind) in combinations(site, device) {
                *seen.entry((platform, model, kind)).or_default() += 1;
                seen.entry((platform, model, "")).or_default();
            }
        }
        let told: BTreeSet<_> =
            resolution.unrepresented.iter().map(|u| (u.platform.as_str(), u.model.as_str(), u.kind.as_str())).collect();
        let later = estate.devices().filter(|(_, device)| placed[&device.id] == 1);
        let met: BTreeSet<_> = later.flat_map(|(site, device)| combinations(site, device)).collect();
        let unseen: BTreeSet<_> = met.into_iter().filter(|combination| !seen.contains_key(combination)).collect();
        prop_assert_eq!(&told, &unseen);
        if estate.devices().all(|(_, device)| device.group.is_none()) {
            prop_assert!(told.is_empty());
        }
        for one in &resolution.unrepresented {
            let (site, device) = estate.device(&one.example).unwrap();
            prop_assert!(combinations(site, device).contains(&(one.platform.as_str(), &one.model, &one.kind)));
            prop_assert_eq!((placed[&one.example], one.wave.as_str()), (1, "rest"));
        }
    }

    #[test]
    fn an_amendment_keeps_the_devices_that_were_drawn(
        estate in estates(2..6, true), more in estates(1..3, true), which in 0..STEADY.len(), touched in any::<u64>(),
    ) {
        let plan = waves(STEADY[which]);
        let larger = joined(&estate, &more);
        let Ok(resolution) = resolve(&plan, &patch(), &estate) else { return Ok(()) };
        let id = RolloutId::new("r1").unwrap();
        let rollout = document(id, &plan.plan, &patch(), Digest::of(b"p"), &resolution, &[], Timestamp(1));
        let members = resolution.members();
        prop_assert_eq!(check_members(&rollout, &members), Ok(()));
        let touched: Vec<bool> = (0..members.len()).map(|n| touched >> (n % 64) & 1 == 1).collect();
        let passed = vec![false; rollout.waves.len()];
        let digest = Digest::of(&serde_json::to_vec(&rollout).unwrap());
        let former = Former { rollout: &rollout, digest, members: &members, touched: &touched, reporters: &[], passed: &passed };
        let Ok(amended) = amend(&former, &patch(), &larger, Timestamp(2)) else { return Ok(()) };
        prop_assert_eq!(check_members(&amended.rollout, &amended.members), Ok(()));
        // Nobody is gone from the estate, so nobody who was drawn may leave: only new devices come in.
        let before: BTreeMap<&DeviceId, &Member> = members.iter().map(|m| (&m.device, m)).collect();
        let after: BTreeMap<&DeviceId, &Member> = amended.members.iter().map(|m| (&m.device, m)).collect();
        for (device, member) in &before {
            let drawn = member.wave.as_str() != "rest";
            prop_assert!(!drawn || after.get(device) == Some(member), "{device} left {}", member.wave);
        }
    }
}

#[test]
fn a_wave_by_number_is_the_beginning_of_one_by_share() {
    let sites = (0..60).map(|n| built(&format!("s{n}"), n % 2, &vec![(0, 0, vec![0], None); 5]));
    let estate = estate(sites);
    let drawn = |select: &str| resolve(&waves(&[select]), &patch(), &estate).unwrap();
    let (few, share, many) = (drawn("count: 10"), drawn("percent: 10%"), drawn("count: 80"));
    assert_eq!((few.waves[0].len(), many.waves[0].len()), (10, 80));
    assert!(of(&few, 0).is_subset(&of(&share, 0)) && of(&share, 0).is_subset(&of(&many, 0)));
}

#[test]
fn criteria_by_site_type_and_clinical_system() {
    let mut north = site("rx1", "north", &[("a", XP, "CT", ""), ("b", XP, "CT", "")]);
    north.site_type = "acute".to_owned();
    let south = site("ry1", "south", &[("c", XP, "CT", ""), ("d", XP, "CT", "")]);
    let estate = estate([north, south]);
    let drawn = |select: &str| resolve(&waves(&[select]), &patch(), &estate);
    let first = |select: &str| of(&drawn(select).unwrap(), 0).into_iter().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(first("site_types: [acute]"), ["rx1/a", "rx1/b"]);
    assert_eq!(first("systems: [pacs]"), ["rx1/a", "ry1/c"]);
    assert_eq!(first("systems: [pacs], site_types: [acute]"), ["rx1/a"]);
    let problems =
        |select: &str| drawn(select).unwrap_err().iter().map(|problem| format!("{problem}\n")).collect::<String>();
    insta::assert_snapshot!(
        [
            problems("systems: [pcas]"),
            problems("site_types: [acute, hospice]"),
            problems("systems: [pacs], devices: [ry1/d]"),
            problems("site_types: [acute], devices: [ry1/d]"),
        ]
        .join("\n")
    );
}

/// Two PACS servers stand for the same thing, and only one of them may be among the first.
#[test]
fn twins_are_not_drawn_together() {
    let twins = built("rx1", 0, &[(0, 0, vec![0], Some(0)), (0, 0, vec![0], Some(0))]);
    let resolution = resolve(&waves(&["representative: 2"]), &patch(), &estate([twins])).unwrap();
    assert_eq!(resolution.waves.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
    // Of another kind: the one that is not first in its group comes in, since nobody else could stand for it.
    let unlike = built("rx1", 0, &[(0, 0, vec![0], Some(0)), (1, 1, vec![1], Some(0)), (0, 0, vec![0], None)]);
    let resolution = resolve(&waves(&["representative: true"]), &patch(), &estate([unlike])).unwrap();
    let platforms: Vec<&str> = resolution.waves[0].iter().map(|member| member.variant.as_str()).collect();
    assert!(platforms.contains(&"w2003"), "{platforms:?}");
}

/// A document of the first version must hold the devices that the fixed order names, as far as ids tell.
#[test]
fn who_signs_sees_when_others_were_drawn() {
    let sites = || (0..6).map(|n| built(&format!("s{n}"), n % 2, &vec![(0, 0, vec![0], None); 3]));
    let estate = estate(sites());
    let written = |plan: &ParsedPlan, waves: Vec<Vec<Member>>| {
        let honest = resolve(plan, &patch(), &estate).unwrap();
        let resolution = Resolution { waves, ..honest };
        let id = RolloutId::new("r1").unwrap();
        let rollout = document(id, &plan.plan, &patch(), Digest::of(b"p"), &resolution, &[], Timestamp(1));
        (rollout, resolution.members())
    };
    // The last of the first wave and one of the rest change places.
    let swapped = |plan: &ParsedPlan| {
        let mut waves = resolve(plan, &patch(), &estate).unwrap().waves;
        let (mut first, mut other) = (waves[0].pop().unwrap(), waves[1].pop().unwrap());
        std::mem::swap(&mut first.wave, &mut other.wave);
        waves[0].push(other);
        waves[1].push(first);
        waves.iter_mut().for_each(|wave| wave.sort());
        written(plan, waves)
    };
    let by_number = waves(&["count: 4"]);
    let (mut rollout, members) = swapped(&by_number);
    assert!(check_members(&rollout, &members).unwrap_err().contains("should have been drawn for wave w0"));
    // An amendment may have kept its devices, so there it is not said.
    rollout.version = 2;
    rollout.ancestors = vec![Digest::of(b"first")];
    assert_eq!(check_members(&rollout, &members), Ok(()));
    // Labels are not in ids.
    let (rollout, members) = swapped(&waves(&["count: 4, labels: { trust: north }"]));
    assert_eq!(check_members(&rollout, &members), Ok(()));
    let too_many = |plan: &ParsedPlan| {
        let mut waves = resolve(plan, &patch(), &estate).unwrap().waves;
        let mut more = waves[1].remove(0);
        more.wave = "w0".parse().unwrap();
        waves[0].push(more);
        waves[0].sort();
        let (rollout, members) = written(plan, waves);
        check_members(&rollout, &members).unwrap_err()
    };
    assert!(too_many(&by_number).contains("wave w0 has 5 devices; its plan chooses 4"));
    assert!(too_many(&waves(&["count: 1, by: [site]"])).contains("has 2 devices of site"));
}
