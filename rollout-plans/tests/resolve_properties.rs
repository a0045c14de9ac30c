//! What must hold of every resolution, whatever the estate.
#![expect(clippy::unwrap_used, reason = "helpers outside of test functions; a panic is the failure")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::*;
use proptest::prelude::*;
use wardround_rollout_plans::{
    estate::Estate,
    language::ParsedPlan,
    model::{DeviceId, RolloutId, Timestamp, WaveName},
    resolve::{Resolution, check_members, document, resolve},
};
use wardround_signing::Digest;

/// Sites with one to twelve devices each; the first device of each is a canary, so that no wave is empty.
fn estates(sites: std::ops::Range<usize>) -> impl Strategy<Value = Estate> {
    let device = prop_oneof![Just(XP), Just(W2003), Just(W10)];
    let site_devices = prop::collection::vec(device, 0..12);
    prop::collection::btree_map("[a-z][a-z0-9]{1,4}", site_devices, sites).prop_map(|sites| {
        estate(sites.into_iter().map(|(code, platforms)| {
            let names: Vec<String> = (0..=platforms.len()).map(|n| format!("d{n}")).collect();
            let devices: Vec<_> = names
                .iter()
                .zip([XP].into_iter().chain(platforms))
                .enumerate()
                .map(|(n, (name, platform))| (name.as_str(), platform, "M", if n == 0 { "canary" } else { "" }))
                .collect();
            site(&code, "north", &devices)
        }))
    })
}

fn percent_plan(percent: u32) -> ParsedPlan {
    plan(&format!(
        "waves:\n  - {{ name: canary, select: {{ labels: {{ ring: canary }} }}, soak: 8h }}\n  - {{ name: pilot, select: {{ percent: {}.{:02}% }}, soak: 8h }}\n  - {{ name: full, select: {{ remaining: true }}, soak: 8h }}\n",
        percent / 100,
        percent % 100
    ))
}

fn by_device(resolution: &Resolution) -> BTreeMap<DeviceId, WaveName> {
    resolution.waves.iter().flatten().map(|m| (m.device.clone(), m.wave.clone())).collect()
}

/// `None` when the percentage chose nobody or left nobody: then resolution refuses, which is tested elsewhere.
fn resolved(percent: u32, estate: &Estate) -> Option<Resolution> {
    resolve(&percent_plan(percent), &patch(), estate).ok()
}

proptest! {
    #[test]
    fn every_device_is_in_one_wave_or_left_out_with_a_reason(estate in estates(2..8), percent in 500_u32..9_500) {
        let Some(resolution) = resolved(percent, &estate) else { return Ok(()) };
        let members: Vec<_> = resolution.waves.iter().flatten().map(|m| m.device.clone()).collect();
        let left: Vec<_> = resolution.left_out.iter().map(|(id, _)| id.clone()).collect();
        let all: BTreeSet<_> = members.iter().chain(&left).cloned().collect();
        prop_assert_eq!(members.len() + left.len(), all.len(), "somebody is there twice");
        prop_assert_eq!(all, estate.devices().map(|(_, d)| d.id.clone()).collect::<BTreeSet<_>>());
        prop_assert!(resolution.left_out.iter().all(|(_, why)| !why.is_empty()));
        for wave in &resolution.waves {
            prop_assert!(wave.is_sorted_by(|a, b| a.device < b.device));
        }
    }

    #[test]
    fn it_is_deterministic_and_its_document_commits_to_it(estate in estates(2..8), percent in 500_u32..9_500) {
        let (Some(one), Some(two)) = (resolved(percent, &estate), resolved(percent, &estate)) else { return Ok(()) };
        let parsed = percent_plan(percent);
        let write = |r: &Resolution| {
            document(RolloutId::new("r").unwrap(), &parsed.plan, &patch(), Digest::of(b"p"), r, &[], Timestamp(1))
        };
        prop_assert_eq!(serde_json::to_vec(&write(&one)).unwrap(), serde_json::to_vec(&write(&two)).unwrap());
        prop_assert_eq!(check_members(&write(&one), &two.members()), Ok(()));
    }

    #[test]
    fn a_new_site_moves_nobody(estate in estates(2..8), more in estates(1..3), percent in 500_u32..9_500) {
        let mut larger = estate.clone();
        for site in more.sites().filter(|s| estate.site(&s.site).is_none()) {
            larger.put(site.clone());
        }
        let (Some(before), Some(after)) = (resolved(percent, &estate), resolved(percent, &larger)) else { return Ok(()) };
        let after = by_device(&after);
        for (device, wave) in by_device(&before) {
            prop_assert_eq!(after.get(&device), Some(&wave));
        }
    }

    #[test]
    fn a_larger_percentage_only_adds(estate in estates(4..10), small in 500_u32..9_000, step in 1_u32..500) {
        let (Some(small), Some(large)) = (resolved(small, &estate), resolved(small + step, &estate)) else { return Ok(()) };
        let pilot = |r: &Resolution| r.waves[1].iter().map(|m| m.device.clone()).collect::<BTreeSet<_>>();
        prop_assert!(pilot(&small).is_subset(&pilot(&large)));
    }
}

/// The properties above skip what does not resolve; this says that most does, and that shares come out about right.
#[test]
fn ten_percent_is_about_a_tenth() {
    let sites = (0..100).map(|n| {
        let names: Vec<String> = (0..21).map(|d| format!("d{d}")).collect();
        let devices: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(d, name)| (name.as_str(), XP, "M", if d == 0 { "canary" } else { "" }))
            .collect();
        site(&format!("s{n}"), "north", &devices)
    });
    let resolution = resolved(1_000, &estate(sites)).unwrap();
    let pilot = resolution.waves[1].len();
    // Binomial(2000, 0.1) has a standard deviation of 13.4; the places are fixed, so this never flickers.
    assert!((160..=240).contains(&pilot), "{pilot} of 2000");
    assert_eq!(resolution.waves[0].len(), 100);
}
