//! Combinations of platform, model and kind of clinical system that no earlier wave has tried (DESIGN, "Canaries that
//! represent").

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use super::{draw::Combination, survey::Survey};
use crate::model::{Device, DeviceId, Plan, Platform, WaveName};

/// What a wave meets for the first time, although other waves came before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unrepresented {
    /// The wave.
    pub wave: WaveName,
    /// Platform.
    pub platform: Platform,
    /// Maker's model; empty means unknown.
    pub model: String,
    /// Kind of clinical system; empty means that none needs these devices.
    pub kind: String,
    /// How many devices of the wave are of this combination.
    pub count: u64,
    /// One of them: the first by id.
    pub example: DeviceId,
}

/// Wave by wave, sorted by platform, model and kind. Of the first wave nothing is said: something must come first.
pub(super) fn unrepresented(plan: &Plan, survey: &Survey<'_>, waves: &[Vec<usize>]) -> Vec<Unrepresented> {
    let mut seen: HashSet<Combination<'_>> = HashSet::new();
    let mut found = Vec::new();
    for (index, wave) in waves.iter().enumerate() {
        let here = || wave.iter().map(|at| &survey.candidates[*at]);
        let mut new: BTreeMap<Combination<'_>, (u64, &Device)> = BTreeMap::new();
        for candidate in here().filter(|_| index > 0) {
            let device = candidate.device;
            for combination in survey.asks(candidate).filter(|combination| !seen.contains(combination)) {
                let (count, example) = new.entry(combination).or_insert((0, device));
                *count += 1;
                if device.id < example.id {
                    *example = device;
                }
            }
        }
        found.extend(new.into_iter().map(|((_, model, kind), (count, example))| Unrepresented {
            wave: plan.waves[index].name.clone(),
            platform: example.platform.clone(),
            model: model.to_owned(),
            kind: kind.to_owned(),
            count,
            example: example.id.clone(),
        }));
        seen.extend(here().flat_map(|candidate| survey.shows(candidate)));
    }
    found
}
