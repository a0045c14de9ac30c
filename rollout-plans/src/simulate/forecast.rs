//! When a resolved plan would happen: at the earliest, and at the pace that the standard model expects.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{CutShort, HORIZON_MS, model::Model, prepared::Prepared, run as run_once, run::Run};
use crate::{
    estate::Estate,
    model::{Device, DurationMs, Member, Patch, Plan, SiteHours, SiteInventory, Timestamp, WavePlan},
    resolve::Resolution,
    window::{AHEAD, Calendar},
};

/// Runs of which the middle one is shown: chance must not decide a date that people read.
const SEEDS: u64 = 5;
/// With more devices than this one run has to do; chance evens out.
const SMALL: usize = 20_000;
/// Most stretches of closed hours.
const CLOSED_MAX: usize = 500;

/// What a plan would do, and when. Times are milliseconds since the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// When the first order is given, Unix milliseconds.
    pub start_ms: i64,
    /// By whose clock most of the devices' sites go.
    pub zone: String,
    /// Who, wave by wave.
    pub waves: Vec<Who>,
    /// Nothing goes wrong and nobody waits: what the plan alone asks for.
    pub earliest: Run,
    /// The standard model's lines, deferrals and people, and no failure.
    pub expected: Run,
    /// When no install may begin at the sites whose hours are the most common.
    pub closed: Vec<ClosedHours>,
}

/// The devices of a wave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// Wave.
    pub name: String,
    /// Devices.
    pub devices: u64,
    /// Sites.
    pub sites: u64,
    /// Devices by region; empty is that of the sites that name none.
    pub regions: BTreeMap<String, u64>,
    /// Devices by product.
    pub platforms: BTreeMap<String, u64>,
}

/// A stretch of time in which no install may begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedHours {
    /// From.
    pub from_ms: u64,
    /// To; the end of what is shown where none opens any more.
    pub to_ms: u64,
    /// A change freeze; otherwise windows.
    pub freeze: bool,
    /// What stands in the way.
    pub why: String,
}

/// Why there is no forecast.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoForecast {
    /// It took too long.
    #[error("it takes too long to reckon for so many devices")]
    CutShort,
    /// The engine refuses it.
    #[error("{0}")]
    Refused(String),
}

impl From<CutShort> for NoForecast {
    fn from(_: CutShort) -> Self {
        Self::CutShort
    }
}

/// Foresees a resolved plan that is started at `start`. `go_on` is asked now and then.
///
/// # Errors
/// [`NoForecast`].
pub fn foresee(
    plan: &Plan,
    patch: &Patch,
    resolution: &Resolution,
    estate: &Estate,
    start: Timestamp,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Forecast, NoForecast> {
    let mut go_on = |_: u64| go_on();
    let ideal = Model::ideal();
    let prepared = Prepared::new(plan, patch, resolution, estate, &ideal, start).map_err(NoForecast::Refused)?;
    let earliest = run_once(&prepared, &ideal, 1, HORIZON_MS, &mut go_on)?;
    let usual = Model::standard().untroubled();
    let seeds = if prepared.devices() > SMALL { 1 } else { SEEDS };
    let mut runs = Vec::new();
    for seed in 1..=seeds {
        runs.push(run_once(&prepared, &usual, seed, HORIZON_MS, &mut go_on)?);
    }
    runs.sort_by_key(|run| (run.ended_ms, run.seed));
    let expected = runs.swap_remove(runs.len() / 2);
    let until = earliest.ended_ms.max(expected.ended_ms);
    let hours = common_hours(resolution, estate);
    Ok(Forecast {
        start_ms: start.0,
        zone: hours.time_zone.as_ref().map_or_else(|| "UTC".to_owned(), |zone| zone.as_str().to_owned()),
        waves: who(plan, resolution, estate),
        closed: closed(plan, &hours, start, until),
        earliest,
        expected,
    })
}

fn who(plan: &Plan, resolution: &Resolution, estate: &Estate) -> Vec<Who> {
    let devices: BTreeMap<_, (&SiteInventory, &Device)> = estate.devices().map(|(s, d)| (&d.id, (s, d))).collect();
    let of = |(wave, members): (&WavePlan, &Vec<Member>)| {
        let mut found = Who {
            name: wave.name.to_string(),
            devices: members.len() as u64,
            sites: 0,
            regions: BTreeMap::new(),
            platforms: BTreeMap::new(),
        };
        let mut sites = BTreeSet::new();
        for (site, device) in members.iter().filter_map(|m| devices.get(&m.device)) {
            sites.insert(&site.site);
            *found.regions.entry(site.region.clone()).or_default() += 1;
            *found.platforms.entry(device.platform.product().to_owned()).or_default() += 1;
        }
        found.sites = sites.len() as u64;
        found
    };
    plan.waves.iter().zip(&resolution.waves).map(of).collect()
}

/// The hours that most of the devices' sites have.
fn common_hours(resolution: &Resolution, estate: &Estate) -> SiteHours {
    let mut found: Vec<(&SiteHours, usize)> = Vec::new();
    for site in resolution.waves.iter().flatten().map(|m| m.device.site()) {
        let Some(inventory) = estate.site(&site) else { continue };
        match found.iter().position(|(hours, _)| **hours == inventory.hours) {
            Some(at) => found[at].1 += 1,
            None if found.len() < CLOSED_MAX => found.push((&inventory.hours, 1)),
            None => {}
        }
    }
    found.into_iter().rev().max_by_key(|(_, devices)| *devices).map(|(hours, _)| hours.clone()).unwrap_or_default()
}

/// When windows, and when freezes, of the plan and the sites allow no install to begin, whatever the wave.
fn closed(plan: &Plan, hours: &SiteHours, start: Timestamp, until_ms: u64) -> Vec<ClosedHours> {
    let windows = SiteHours { freezes: Vec::new(), ..hours.clone() };
    let freezes = SiteHours { windows: Vec::new(), ..hours.clone() };
    let shut = Calendar::always().and("the plan's", &plan.windows, &[]).at_site(&windows, &[]);
    let frozen = Calendar::always().and("the plan's", &[], &plan.freezes).at_site(&freezes, &[]);
    let mut found = stretches(&shut, plan.timing.room(), false, start, until_ms);
    found.extend(stretches(&frozen, DurationMs(0), true, start, until_ms));
    found
}

fn stretches(
    calendar: &Calendar<'_>,
    room: DurationMs,
    freeze: bool,
    start: Timestamp,
    until_ms: u64,
) -> Vec<ClosedHours> {
    let mut found: Vec<ClosedHours> = Vec::new();
    let end = start.after(DurationMs(until_ms));
    let mut at = start;
    while at < end && found.len() < CLOSED_MAX {
        let opening = calendar.at(at, room);
        // What is open beyond sight is looked at again there.
        let unknown = if opening.clone().closed().is_some() { end } else { at.after(AHEAD) };
        let next = opening.until().unwrap_or(unknown).min(end).max(Timestamp(at.0 + 1));
        if let Some(closed) = opening.closed() {
            found.push(ClosedHours { from_ms: at.since(start).0, to_ms: next.since(start).0, freeze, why: closed.why });
        }
        at = next;
    }
    found
}
