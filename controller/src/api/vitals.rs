//! What the console and the metrics show beside the services' answers.

use std::collections::{BTreeMap, BTreeSet};

use wardround_proto::v1;
use wardround_rollout_plans::model::{Health, SiteId};

use super::{Api, convert};

/// Numbers of this controller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Vitals {
    /// Sequence number of the last journal record that is part of the state.
    pub(crate) journal_seq: u64,
    /// Leaves of the audit record.
    pub(crate) audit_records: u64,
    /// Leaves that the newest checkpoint covers.
    pub(crate) log_size: u64,
    /// Sites whose node has cosigned that checkpoint.
    pub(crate) witnesses: u64,
    /// Sites that have a node.
    pub(crate) nodes: usize,
    /// Whether the log was found damaged.
    pub(crate) log_damaged: bool,
    /// Alarms ever raised.
    pub(crate) alarms: u64,
    /// Sites that have enrolled or reported.
    pub(crate) sites: usize,
    /// Sites whose node holds its watch stream.
    pub(crate) connected: usize,
    /// Clinical systems by health: "healthy", "unhealthy", "unknown".
    pub(crate) systems: BTreeMap<&'static str, u64>,
}

impl Api {
    /// The numbers now.
    pub(crate) fn vitals(&self) -> Vitals {
        let hub = self.core.hub();
        let log_size = self.log.newest().size();
        self.core.read(|facts| {
            let estate = facts.engine.estate();
            let enrolled = facts.registry.nodes().map(|(site, _)| site);
            let sites: BTreeSet<&SiteId> = estate.sites().map(|s| &s.site).chain(enrolled).collect();
            let mut systems = BTreeMap::from([("healthy", 0), ("unhealthy", 0), ("unknown", 0)]);
            for system in estate.sites().flat_map(|s| &s.systems) {
                let word = match facts.registry.system(&system.id).map(|found| found.health) {
                    Some(Health::Healthy) => "healthy",
                    Some(Health::Unhealthy) => "unhealthy",
                    Some(Health::Unknown) | None => "unknown",
                };
                *systems.entry(word).or_default() += 1;
            }
            Vitals {
                journal_seq: facts.seq(),
                audit_records: facts.audit_len(),
                log_size,
                witnesses: self.log.witnesses.at(log_size),
                nodes: facts.registry.nodes().count(),
                log_damaged: self.log.damage().is_some(),
                alarms: facts.alarms.next(),
                sites: sites.len(),
                connected: hub.connected(sites.iter().copied()),
                systems,
            }
        })
    }

    /// The newest alarms, of one rollout or of all.
    pub(crate) fn newest_alarms(&self, rollout: Option<&str>, max: usize) -> Vec<v1::Alarm> {
        self.core.read(|facts| {
            let ours = |id: Option<&str>| rollout.is_none_or(|wanted| id == Some(wanted));
            let alarms = facts.alarms.newest().filter(|a| ours(a.rollout.as_ref().map(|id| id.as_str())));
            alarms.take(max).map(convert::alarm).collect()
        })
    }
}
