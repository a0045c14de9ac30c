//! Sites that say nothing: their deployments become unknown, never successful.

use std::{collections::BTreeMap, time::Duration};

use tokio_util::sync::CancellationToken;
use wardround_rollout_plans::{
    engine::Event,
    model::{DurationMs, SiteId, Timestamp},
};

use crate::{
    clock,
    core::{Core, Facts},
};

/// Check-ins that may be lost before a site counts as silent: links of small sites drop packets.
const CHECK_INS_MISSED: u64 = 3;

/// Silences written down together: a whole region may fall silent at once.
const TOGETHER_MAX: usize = 1_000;

/// When a site counts as silent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SilenceRule {
    /// How often nodes check in.
    pub(crate) check_in_every: Duration,
    /// Overrides what the plans say.
    pub(crate) silence_after: Option<Duration>,
}

impl SilenceRule {
    /// How long `site` may be silent: as configured, else the shortest that a plan with deployments there says, but never
    /// less than some missed check-ins. `None` when nothing there is in hand, nor waited for by a plan that says how long.
    fn limit(&self, facts: &Facts, site: &SiteId) -> Option<DurationMs> {
        let in_hand = facts.engine.directive(site).into_iter().filter(|r| !r.goals.is_empty());
        let concerned = in_hand.map(|r| r.rollout).chain(facts.engine.waits_for(site));
        let planned = concerned.filter_map(|id| facts.registry.rollout(&id)).map(|r| r.unknown_after).min()?;
        if let Some(set) = self.silence_after {
            return Some(millis(set));
        }
        Some(planned.max(self.least()))
    }

    /// Nobody is silent before this.
    fn least(&self) -> DurationMs {
        let missed = || DurationMs(millis(self.check_in_every).0.saturating_mul(CHECK_INS_MISSED));
        self.silence_after.map_or_else(missed, millis)
    }

    /// How often to look.
    fn period(&self) -> Duration {
        let base = self.silence_after.unwrap_or(self.check_in_every);
        (base / 4).clamp(Duration::from_millis(50), Duration::from_secs(15))
    }
}

fn millis(duration: Duration) -> DurationMs {
    DurationMs(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// Looks again and again until `stop`.
pub(crate) async fn watch(core: Core, rule: SilenceRule, stop: CancellationToken) {
    // A restart must not make everybody silent: hearing begins now.
    let started = clock::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(rule.period()) => {}
        }
        for sites in silent(&core, rule, started, clock::now()).chunks(TOGETHER_MAX) {
            let changes = sites.iter().map(|site| Event::SiteSilent { site: site.clone() }.into()).collect();
            match core.submit_all(changes).await {
                Ok(outcomes) => {
                    for (site, outcome) in sites.iter().zip(outcomes) {
                        tracing::warn!(%site, ?outcome, "no word from this site's node");
                    }
                }
                Err(error) => tracing::warn!(sites = sites.len(), %error, "silences were not recorded"),
            }
        }
    }
}

fn silent(core: &Core, rule: SilenceRule, started: Timestamp, now: Timestamp) -> Vec<SiteId> {
    let heard = |site: &SiteId| core.hub().link(site).heard;
    let suspects = core.read(|facts| suspects(facts, rule, &heard, started, now));
    // The directive is looked at only for those few, each under a short lock of its own.
    let over =
        |site: &SiteId, quiet: DurationMs| core.read(|f| rule.limit(f, site).is_some_and(|limit| quiet >= limit));
    suspects.into_iter().filter(|(site, quiet)| over(site, *quiet)).map(|(site, _)| site).collect()
}

fn suspects(
    facts: &Facts,
    rule: SilenceRule,
    heard: &dyn Fn(&SiteId) -> Option<Timestamp>,
    started: Timestamp,
    now: Timestamp,
) -> BTreeMap<SiteId, DurationMs> {
    let least = rule.least();
    let quiet = |heard: Option<Timestamp>| now.since(heard.unwrap_or(started).max(started));
    let nodes = facts.registry.nodes().filter(|(site, _)| !facts.registry.is_silent(site));
    nodes.map(|(site, _)| (site.clone(), quiet(heard(site)))).filter(|(_, quiet)| *quiet >= least).collect()
}

/// The sites that count as silent now, out of one state; `heard` says when each was heard last.
pub(crate) fn silent_of(
    facts: &Facts,
    rule: SilenceRule,
    heard: &dyn Fn(&SiteId) -> Option<Timestamp>,
    started: Timestamp,
    now: Timestamp,
) -> Vec<SiteId> {
    let over = |(site, quiet): (SiteId, DurationMs)| (quiet >= rule.limit(facts, &site)?).then_some(site);
    suspects(facts, rule, heard, started, now).into_iter().filter_map(over).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_period_does_not_overflow() {
        let rule = SilenceRule { check_in_every: Duration::MAX, silence_after: None };
        assert_eq!(rule.least(), DurationMs(u64::MAX));
        assert_eq!(SilenceRule { silence_after: Some(Duration::from_secs(2)), ..rule }.least(), DurationMs(2_000));
        let rule = SilenceRule { check_in_every: Duration::from_secs(30), silence_after: None };
        assert_eq!(rule.least(), DurationMs(90_000));
    }
}
