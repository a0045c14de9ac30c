//! What goes first within a wave: the order of its members, which people sign and in which the engine offers.
//!
//! It is settled when the plan is resolved, so that no event has to look for it: a site offers its lowest member that may be
//! offered, and of the sites the one with the lowest member is next.

use std::collections::{BTreeSet, HashMap};

use super::{
    advice::{Advice, Waves, names},
    survey::{Candidate, Rank, Survey},
};
use crate::{
    language::{Rule, did_you_mean},
    model::{DeviceId, GroupId, Precedence, PrecedenceBy, SiteId, SiteInventory, WavePlan},
};

/// What each rule says of a device; less is earlier.
type Key = Vec<(u64, u64)>;

/// Candidates (by position in the survey) in the order in which a wave takes them: that of its plan, and by id where the plan
/// says nothing more.
pub(super) fn arrange(wave: &WavePlan, survey: &Survey<'_>, mut placed: Vec<usize>) -> Vec<usize> {
    let id = |at: &usize| &survey.candidates[*at].device.id;
    placed.sort_unstable_by(|a, b| id(a).cmp(id(b)));
    if wave.order.is_empty() {
        return placed;
    }
    let facts = Facts::of(&wave.order, survey, &placed);
    let ranks: Vec<Ranks<'_>> = wave.order.iter().map(Ranks::of).collect();
    let mut keyed: Vec<(Key, usize)> = placed
        .into_iter()
        .map(|at| {
            let candidate = &survey.candidates[at];
            (ranks.iter().map(|rule| rule.rank(candidate, survey.kinds_of(candidate), &facts)).collect(), at)
        })
        .collect();
    // Stable sorts: equal devices stay in the order of their ids.
    keyed.sort_by(|a, b| a.0.cmp(&b.0));
    for (turn, _) in wave.order.iter().enumerate().filter(|(_, rule)| rule.by == Some(PrecedenceBy::SiteTurns)) {
        let mut turns: HashMap<(Key, &SiteId), u64> = HashMap::new();
        for (key, at) in &mut keyed {
            let next = turns.entry((key[..turn].to_vec(), &survey.candidates[*at].site.site)).or_default();
            key[turn] = (*next, 0);
            *next += 1;
        }
        keyed.sort_by(|a, b| a.0.cmp(&b.0));
    }
    keyed.into_iter().map(|(_, at)| at).collect()
}

/// Whether the ids of members contradict the first rule of their wave, as far as ids tell: a sentence that names them.
pub(super) fn contradicted<'m>(wave: &WavePlan, devices: impl Iterator<Item = &'m DeviceId>) -> Option<String> {
    let first = wave.order.first()?;
    let ranks = Ranks::of(first);
    let rank = |id: &DeviceId| match first.by {
        Some(PrecedenceBy::Site) => Some((ranks.value(id.site().as_str()), 0)),
        Some(PrecedenceBy::Hash) => Some(Rank::of(id).pair()),
        _ => None,
    };
    let mut before: Option<(&DeviceId, (u64, u64))> = None;
    for id in devices {
        let here = rank(id)?;
        if let Some((earlier, _)) = before.filter(|(_, rank)| *rank > here) {
            return Some(format!("{id} should come before {earlier} in wave {}", wave.name));
        }
        before = Some((id, here));
    }
    None
}

/// One rule, its values looked up and not searched.
struct Ranks<'o> {
    rule: &'o Precedence,
    values: HashMap<&'o str, u64>,
}

impl<'o> Ranks<'o> {
    fn of(rule: &'o Precedence) -> Self {
        Self { rule, values: rule.values.iter().map(String::as_str).zip(0..).collect() }
    }

    fn value(&self, value: &str) -> u64 {
        self.values.get(value).copied().unwrap_or(u64::MAX)
    }

    /// Less is earlier.
    fn rank(&self, candidate: &Candidate<'_>, kinds: &[&str], facts: &Facts<'_>) -> (u64, u64) {
        let device = candidate.device;
        let first = match self.rule.by {
            None | Some(PrecedenceBy::Model | PrecedenceBy::Site | PrecedenceBy::Region | PrecedenceBy::SiteType) => {
                own(self.rule, candidate).map_or(u64::MAX, |value| self.value(value))
            }
            // Nobody's system waits for it, so it goes before the first kind: ranks of kinds begin at 1.
            Some(PrecedenceBy::System) => {
                kinds.iter().map(|kind| self.value(kind).saturating_add(1)).max().unwrap_or(0)
            }
            Some(PrecedenceBy::CriticalLast) if kinds.is_empty() => 0,
            Some(PrecedenceBy::CriticalLast) => 1 + u64::from(facts.critical.contains(&device.id)),
            Some(PrecedenceBy::SpareFirst) => u64::from(!facts.has_spare(candidate)),
            Some(PrecedenceBy::Hash) => return Rank::of(&device.id).pair(),
            // Counted when everything else is known.
            Some(PrecedenceBy::SiteTurns) => 0,
        };
        (first, 0)
    }
}

/// The one value that the device has of what a rule goes by; `None` where it lacks the label, or no single value is meant.
fn own<'e>(rule: &Precedence, candidate: &Candidate<'e>) -> Option<&'e str> {
    let (site, device) = (candidate.site, candidate.device);
    match rule.by {
        None => {
            let key = rule.label.as_ref()?;
            device.labels.get(key).or_else(|| site.labels.get(key)).map(String::as_str)
        }
        Some(PrecedenceBy::Model) => Some(&device.model),
        Some(PrecedenceBy::Site) => Some(site.site.as_str()),
        Some(PrecedenceBy::Region) => Some(&site.region),
        Some(PrecedenceBy::SiteType) => Some(&site.site_type),
        Some(_) => None,
    }
}

/// What no single device shows.
#[derive(Default)]
struct Facts<'e> {
    /// Devices that a critical clinical system needs.
    critical: BTreeSet<&'e DeviceId>,
    /// Members of redundancy groups, of all devices that their sites have.
    groups: HashMap<(&'e SiteId, &'e GroupId), u64>,
}

impl<'e> Facts<'e> {
    fn of(order: &[Precedence], survey: &Survey<'e>, placed: &[usize]) -> Self {
        let mut facts = Self::default();
        let asks = |by| order.iter().any(|rule| rule.by == Some(by));
        let (critical, spare) = (asks(PrecedenceBy::CriticalLast), asks(PrecedenceBy::SpareFirst));
        if !critical && !spare {
            return facts;
        }
        let sites: HashMap<&SiteId, &SiteInventory> =
            placed.iter().map(|at| survey.candidates[*at].site).map(|site| (&site.site, site)).collect();
        for (id, site) in sites {
            if critical {
                let systems = site.systems.iter().filter(|system| system.critical);
                facts.critical.extend(systems.flat_map(|system| &system.devices));
            }
            for group in site.devices.iter().filter_map(|device| device.group.as_ref()) {
                *facts.groups.entry((id, group)).or_default() += 1;
            }
        }
        facts
    }

    fn has_spare(&self, candidate: &Candidate<'e>) -> bool {
        let Some(group) = &candidate.device.group else { return false };
        // A group that is not declared is meant all the same: the strictest reading.
        let at_once = candidate.site.groups.get(group).copied().unwrap_or(1).max(1);
        self.groups.get(&(&candidate.site.site, group)).is_some_and(|members| *members > u64::from(at_once))
    }
}

/// Says which values of an order no device of its wave has, and which devices have none of the values.
pub(super) fn advise(advice: &mut Advice<'_>, waves: Waves<'_, '_>, survey: &Survey<'_>) {
    for (index, wave) in waves.iter().enumerate() {
        let (name, order) = (advice.plan().waves[index].name.clone(), advice.plan().waves[index].order.clone());
        for (at, rule) in order.iter().enumerate().filter(|(_, rule)| !rule.values.is_empty()) {
            let has = |candidate: &Candidate<'_>| -> Vec<String> {
                if rule.by == Some(PrecedenceBy::System) {
                    return survey.kinds_of(candidate).iter().map(|kind| (*kind).to_owned()).collect();
                }
                own(rule, candidate).map(str::to_owned).into_iter().collect()
            };
            let what = rule
                .label
                .as_ref()
                .map_or_else(|| rule.by.map_or("", PrecedenceBy::word).replace('_', " "), |key| format!("label {key}"));
            let found: BTreeSet<String> = wave.iter().flat_map(|candidate| has(candidate)).collect();
            for value in rule.values.iter().filter(|value| !found.contains(*value)) {
                let message = format!("no device of wave {name} has {what} {value}");
                let hint = match did_you_mean(value, found.iter().map(String::as_str)) {
                    Some(meant) => format!("did you mean `{meant}`? What has none of the values comes last"),
                    None => "what has none of the values comes last: look for a misspelled one".to_owned(),
                };
                advice.add(Rule::OrderUnmatched, Some(index), &format!("order[{at}]"), message, &hint);
            }
            // What no system needs goes first, knowingly.
            let behind = |candidate: &&&Candidate<'_>| {
                let has = has(candidate);
                let unnamed = has.iter().any(|value| !rule.values.contains(value));
                unnamed || (has.is_empty() && rule.by.is_none())
            };
            let mut last: Vec<&DeviceId> = wave.iter().filter(behind).map(|candidate| &candidate.device.id).collect();
            if !last.is_empty() {
                last.sort_unstable();
                let message = format!(
                    "{} of the devices of wave {name} have none of the values of {what}, and come last: {}",
                    last.len(),
                    names(&last)
                );
                let hint = "name their values too, or give them one in the site files";
                advice.add(Rule::OrderUnmatched, Some(index), &format!("order[{at}]"), message, hint);
            }
        }
    }
}
