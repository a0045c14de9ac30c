//! Drawing by number, by stratum and by combination.
//!
//! All of it goes by the fixed order of [`Rank`], so that the same estate gives the same devices, and as few as possible
//! move when the estate grows. The laws (docs/plans.md, "What moves when the estate grows"; tests/resolve_draw.rs):
//!
//! * *count*, *count by* and *representative*: of the devices that were there before, none is drawn that was not drawn
//!   before, so a new device only ever takes an old one's place. For redundancy groups see [`representatives`].
//! * *percent by*: in a stratum that gets n new devices at most n of the old ones change; in the others none.
//!
//! An amendment draws again with the devices that the wave has already: they stay, and count.

use std::collections::{HashMap, HashSet};

use super::survey::{Candidate, Rank, Survey};
use crate::model::{Axis, Percent, Selector};

/// What a device means to the wave that draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// In this wave by the version before.
    Kept,
    /// May be drawn.
    Free,
    /// In an earlier wave, or kept in another one.
    Gone,
}

/// A device that meets the criteria of the wave: its position among the candidates, and its standing.
pub(super) type Lot = (usize, Standing);

/// Which of the `lots` are in the wave, those that are kept included; positions among the candidates. `wanted` tells
/// whether a later wave could take a candidate.
pub(super) fn draw(
    select: &Selector,
    lots: &[Lot],
    survey: &Survey<'_>,
    wanted: impl Fn(&Candidate<'_>) -> bool,
) -> Vec<usize> {
    if let Some(each) = select.representative {
        return representatives(each, &ordered(lots, survey), survey, wanted);
    }
    let strata = Strata::of(&select.by, lots, survey);
    strata.into_iter().flat_map(|lots| by_number(select, &ordered(&lots, survey))).collect()
}

/// Kept ones first, then by rank. Ids decide between equal hashes.
fn ordered(lots: &[Lot], survey: &Survey<'_>) -> Vec<Lot> {
    let key = |(at, standing): &Lot| {
        let id = &survey.candidates[*at].device.id;
        (*standing != Standing::Kept, Rank::of(id), id.clone())
    };
    let mut lots = lots.to_vec();
    lots.sort_by_cached_key(key);
    lots
}

/// The first so many of one stratum.
fn by_number(select: &Selector, ordered: &[Lot]) -> Vec<usize> {
    let kept = ordered.iter().take_while(|(_, standing)| *standing == Standing::Kept).count();
    let drawn: Vec<&Lot> = match (select.count, select.percent) {
        // A number is of those that no earlier wave took.
        (Some(count), _) => {
            let here = ordered.iter().filter(|(_, standing)| *standing != Standing::Gone);
            here.take(kept.max(usize::try_from(count).unwrap_or(usize::MAX))).collect()
        }
        // A share counts from the same start in every wave: earlier ones have taken some of it.
        (None, Some(share)) => {
            let first = ordered.iter().take(kept.max(part(share, ordered.len())));
            first.filter(|(_, standing)| *standing != Standing::Gone).collect()
        }
        (None, None) => Vec::new(),
    };
    drawn.into_iter().map(|(at, _)| *at).collect()
}

/// A share of `n`, rounded up: at least one of each stratum.
fn part(share: Percent, n: usize) -> usize {
    let points = n as u128 * u128::from(share.basis_points());
    usize::try_from(points.div_ceil(10_000)).unwrap_or(usize::MAX)
}

/// Devices that are alike in what a plan names.
struct Strata;

impl Strata {
    fn of(by: &[Axis], lots: &[Lot], survey: &Survey<'_>) -> Vec<Vec<Lot>> {
        // Small numbers for texts: a key of a million devices must not hold a million texts.
        let mut numbers: HashMap<(Axis, &str), usize> = HashMap::new();
        let mut strata: HashMap<Vec<usize>, usize> = HashMap::new();
        let mut groups: Vec<Vec<Lot>> = Vec::new();
        for lot in lots {
            let candidate = &survey.candidates[lot.0];
            let number = |axis: &Axis| match axis.text(candidate.site, candidate.device) {
                Some(text) => {
                    let next = numbers.len();
                    *numbers.entry((*axis, text)).or_insert(next)
                }
                None => candidate.kinds,
            };
            let key: Vec<usize> = by.iter().map(number).collect();
            let group = *strata.entry(key).or_insert_with(|| {
                groups.push(Vec::new());
                groups.len() - 1
            });
            groups[group].push(*lot);
        }
        groups
    }
}

/// Platform, model and kind of clinical system. An empty kind asks for any device of that platform and model.
pub(super) type Combination<'e> = (&'e str, &'e str, &'e str);

impl<'e> Survey<'e> {
    /// What must have been seen before this device is touched.
    pub(super) fn asks<'s>(&'s self, candidate: &Candidate<'e>) -> impl Iterator<Item = Combination<'e>> + use<'s, 'e> {
        let (platform, model) = (candidate.device.platform.as_str(), candidate.device.model.as_str());
        let kinds = self.kinds_of(candidate);
        let none = kinds.is_empty().then_some("");
        kinds.iter().copied().chain(none).map(move |kind| (platform, model, kind))
    }

    /// What has been seen once this device was patched.
    pub(super) fn shows<'s>(
        &'s self,
        candidate: &Candidate<'e>,
    ) -> impl Iterator<Item = Combination<'e>> + use<'s, 'e> {
        let any = (candidate.device.platform.as_str(), candidate.device.model.as_str(), "");
        self.asks(candidate).filter(|combination| !combination.2.is_empty()).chain([any])
    }
}

/// The first `each` of every combination that later waves could ask for.
///
/// Of a redundancy group only its first device (by rank) stands for anything, so that no two of one group are drawn and
/// the choice within one combination depends on nothing else. A combination that is left with nobody by this rule is then
/// given the first device whose group has nobody yet: there, and only there, a new site may also bring an old device in.
fn representatives(
    each: u32,
    ordered: &[Lot],
    survey: &Survey<'_>,
    wanted: impl Fn(&Candidate<'_>) -> bool,
) -> Vec<usize> {
    let candidate = |lot: &Lot| &survey.candidates[lot.0];
    let here: Vec<&Lot> = ordered.iter().filter(|(_, standing)| *standing != Standing::Gone).collect();
    let later = here.iter().map(|lot| candidate(lot)).filter(|candidate| wanted(candidate));
    let asked: HashSet<Combination<'_>> = later.flat_map(|candidate| survey.asks(candidate)).collect();
    let mut seen: HashMap<Combination<'_>, u32> = HashMap::new();
    let mut drawn = Vec::new();
    let mut groups = HashSet::new();
    let mut others = Vec::new();
    let mut first_of_group = HashSet::new();
    for lot in here {
        let candidate = candidate(lot);
        let group = candidate.device.group.as_ref().map(|group| (&candidate.site.site, group));
        let kept = lot.1 == Standing::Kept;
        // A kept device is its group's, whatever its rank.
        if !kept && group.is_some_and(|group| !first_of_group.insert(group)) {
            others.push((lot.0, candidate, group));
            continue;
        }
        first_of_group.extend(group);
        let lacks = |combination| asked.contains(&combination) && seen.get(&combination).is_none_or(|n| *n < each);
        if kept || survey.shows(candidate).any(lacks) {
            drawn.push(lot.0);
            groups.extend(group);
            survey.shows(candidate).for_each(|combination| *seen.entry(combination).or_default() += 1);
        }
    }
    for (at, candidate, group) in others {
        let lacks = |combination| asked.contains(&combination) && !seen.contains_key(&combination);
        if survey.shows(candidate).any(lacks) && group.is_none_or(|group| groups.insert(group)) {
            drawn.push(at);
            survey.shows(candidate).for_each(|combination| *seen.entry(combination).or_default() += 1);
        }
    }
    drawn
}
