//! All probes of a site file once, for people: did I write it right?

use std::path::Path;

use tokio::task::JoinSet;
use wardround_rollout_plans::model::{Health, ProbeAnswer, SystemId};

use super::{Means, probe_system};
use crate::{config::SiteFile, executor::now};

/// Systems that are looked at side by side: each holds at most 16 sockets or programs.
const SYSTEMS_AT_ONCE: usize = 16;

/// One system, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// Which.
    pub system: SystemId,
    /// What each of its probes answered, in the order of the file.
    pub answers: Vec<ProbeAnswer>,
}

impl Looked {
    /// Healthy when every probe is, unknown without probes. A single look: a running node counts several in a row.
    #[must_use]
    pub fn health(&self) -> Health {
        match self.answers.as_slice() {
            [] => Health::Unknown,
            answers if answers.iter().all(|answer| answer.ok) => Health::Healthy,
            _ => Health::Unhealthy,
        }
    }
}

/// Runs every probe of these systems once, and answers in their order. `work_dir` as in [`Means`].
pub async fn probe_site(site: &SiteFile, systems: &[SystemId], work_dir: &Path) -> Vec<Looked> {
    let mut running = JoinSet::new();
    let mut found: Vec<Looked> =
        systems.iter().map(|system| Looked { system: system.clone(), answers: Vec::new() }).collect();
    for (index, system) in systems.iter().enumerate() {
        if running.len() >= SYSTEMS_AT_ONCE {
            keep(&mut found, running.join_next().await);
        }
        let Some(config) = site.systems.get(system) else { continue };
        let (system, specs) = (system.clone(), config.probes.clone());
        let (devices, work_dir) = (site.devices.clone(), work_dir.to_owned());
        running.spawn(async move {
            let means = Means { devices: &devices, work_dir: &work_dir };
            (index, probe_system(&system, &specs, means, &|| now().0).await)
        });
    }
    while let Some(done) = running.join_next().await {
        keep(&mut found, Some(done));
    }
    found
}

fn keep(found: &mut [Looked], done: Option<Result<(usize, Vec<ProbeAnswer>), tokio::task::JoinError>>) {
    if let Some(Ok((index, answers))) = done {
        found[index].answers = answers;
    }
}
