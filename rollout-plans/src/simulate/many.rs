//! Many runs, and how their results are spread.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::run::{End, Run};

/// A number over many runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// Half of the runs have no more.
    pub median: u64,
    /// Nine of ten have no more.
    pub p90: u64,
    /// Ninety-nine of a hundred have no more.
    pub p99: u64,
    /// The most of all.
    pub worst: u64,
    /// The first seed that has the most.
    pub worst_seed: u64,
}

/// The spreads of what a release manager asks about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spreads {
    /// Devices that the patch broke.
    pub harmed: Spread,
    /// Devices that had the patch on them when the rollout stopped; at the end, where it did not.
    pub reached: Spread,
    /// Devices from which it was taken back.
    pub taken_back: Spread,
    /// Devices that are broken at the end.
    pub still_harmed: Spread,
    /// Devices that succeeded.
    pub succeeded: Spread,
    /// Most devices at risk at one moment.
    pub at_risk: Spread,
    /// From the start until it was stopped, milliseconds, of the runs that were.
    pub stopped_ms: Option<Spread>,
    /// From the start until every wave had passed, milliseconds, of the runs that completed.
    pub completed_ms: Option<Spread>,
}

/// Many runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Many {
    /// How many.
    pub runs: u64,
    /// How they ended.
    pub ends: BTreeMap<End, u64>,
    /// Runs that something stopped though the patch had broken nothing by then.
    pub false_alarms: u64,
    /// What stopped them first, in the engine's words without numbers and names, most often first; at most five.
    pub stopped_by: Vec<(String, u64)>,
    /// How results are spread.
    pub spreads: Spreads,
}

/// What stopped a run is told in at most so many kinds.
const KINDS_MAX: usize = 5;

impl Many {
    /// Of these runs, in the order of their seeds.
    #[must_use]
    pub fn of(runs: &[Run]) -> Self {
        let mut ends = BTreeMap::new();
        let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
        for run in runs {
            *ends.entry(run.end).or_default() += 1;
            if let Some(stop) = &run.stop {
                *kinds.entry(kind(&stop.why)).or_default() += 1;
            }
        }
        let mut stopped_by: Vec<(String, u64)> = kinds.into_iter().collect();
        stopped_by.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        stopped_by.truncate(KINDS_MAX);
        let by =
            |number: fn(&Run) -> u64| spread_of(runs.iter().map(|run| (run.seed, number(run)))).unwrap_or_default();
        let stopped = runs.iter().filter_map(|run| Some((run.seed, run.stop.as_ref()?.at_ms)));
        let completed = runs.iter().filter(|run| run.end == End::Completed).map(|run| (run.seed, run.ended_ms));
        Self {
            runs: runs.len() as u64,
            ends,
            false_alarms: runs.iter().filter(|run| run.stop.as_ref().is_some_and(|stop| stop.false_alarm)).count()
                as u64,
            stopped_by,
            spreads: Spreads {
                harmed: by(|run| run.devices.harmed),
                reached: by(|run| run.stop.as_ref().map_or(run.devices.reached, |stop| stop.reached)),
                taken_back: by(|run| run.devices.taken_back),
                still_harmed: by(|run| run.devices.still_harmed),
                succeeded: by(|run| run.devices.succeeded),
                at_risk: by(|run| run.at_risk.all),
                stopped_ms: spread_of(stopped),
                completed_ms: spread_of(completed),
            },
        }
    }
}

/// The engine's sentence without what differs from run to run: a kind to be counted.
fn kind(why: &str) -> String {
    let words = why.split(' ').map(|word| {
        let told_apart = word.contains('/') || word.starts_with(|c: char| c.is_ascii_digit());
        if told_apart { "…" } else { word }
    });
    let text = words.collect::<Vec<_>>().join(" ");
    match text.split_once(": ") {
        Some((head, _)) if head.contains(' ') => head.to_owned(),
        _ => text,
    }
}

/// The spread of these numbers, each with its seed; `None` when there are none. A percentile is the least number that so many
/// do not exceed ("nearest rank"): it is one of the numbers, never between two.
#[must_use]
pub fn spread_of(numbers: impl Iterator<Item = (u64, u64)>) -> Option<Spread> {
    let mut sorted: Vec<(u64, u64)> = numbers.map(|(seed, number)| (number, seed)).collect();
    sorted.sort_unstable();
    let last = sorted.last()?.0;
    let rank = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100).saturating_sub(1)].0;
    let worst_seed = sorted.iter().find(|(number, _)| *number == last).map_or(0, |(_, seed)| *seed);
    Some(Spread { median: rank(50), p90: rank(90), p99: rank(99), worst: last, worst_seed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_numbers_that_came_out() {
        let spread = spread_of((1..=100).map(|n| (n, n * 10))).unwrap();
        assert_eq!(spread, Spread { median: 500, p90: 900, p99: 990, worst: 1000, worst_seed: 100 });
        let one = spread_of([(7, 3)].into_iter()).unwrap();
        assert_eq!(one, Spread { median: 3, p90: 3, p99: 3, worst: 3, worst_seed: 7 });
        assert_eq!(spread_of([(9, 4), (2, 4), (5, 1)].into_iter()).unwrap().worst_seed, 2, "the first of the worst");
        assert_eq!(spread_of(std::iter::empty()), None);
    }

    #[test]
    fn what_stopped_runs_is_counted_by_kind() {
        let wave = "wave canary failed: 3 of 5 tried succeeded, 2 did not, 0 skipped; at least 100% wanted";
        assert_eq!(kind(wave), "wave canary failed");
        let system = "clinical system m01/s2 got worse after the patch: modelled answered \"no answer\"";
        assert_eq!(kind(system), "clinical system … got worse after the patch");
    }
}
