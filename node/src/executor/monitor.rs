//! The health monitor: probes every system at the interval that the machine wants.

use std::{collections::BTreeMap, sync::Arc};

use tokio::{sync::watch, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;
use wardround_rollout_plans::model::{DurationMs, SystemId};

use super::{Owner, Site, now};
use crate::{machine::Monitored, probes::probe_system};

/// Follows what is wanted until `stop`: one task per system.
pub(super) async fn run(
    mut wanted: watch::Receiver<Monitored>,
    site: watch::Receiver<Arc<Site>>,
    owner: Owner,
    stop: CancellationToken,
) {
    let mut running: BTreeMap<SystemId, (watch::Sender<DurationMs>, JoinHandle<()>)> = BTreeMap::new();
    loop {
        let now_wanted = wanted.borrow_and_update().clone();
        running.retain(|system, (_, task)| {
            let keep = now_wanted.contains_key(system);
            if !keep {
                task.abort();
            }
            keep
        });
        for (system, interval) in now_wanted {
            match running.get(&system) {
                Some((sender, _)) => {
                    sender.send_if_modified(|known| std::mem::replace(known, interval) != interval);
                }
                None => {
                    let (sender, receiver) = watch::channel(interval);
                    let task = tokio::spawn(watch_system(system.clone(), receiver, site.clone(), owner.clone()));
                    running.insert(system, (sender, task));
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => break,
            changed = wanted.changed() => if changed.is_err() { break },
        }
    }
    for (_, task) in running.into_values() {
        task.abort();
    }
}

/// Probes one system: at once, then at its interval, counted from the beginning of each probe.
async fn watch_system(
    system: SystemId,
    mut interval: watch::Receiver<DurationMs>,
    site: watch::Receiver<Arc<Site>>,
    owner: Owner,
) {
    loop {
        let begun = Instant::now();
        let specs = site.borrow().file.systems.get(&system).map(|s| s.probes.clone()).unwrap_or_default();
        if !specs.is_empty() {
            let answers = probe_system(&system, &specs, &|| now().0).await;
            owner.probed(system.clone(), answers).await;
        }
        loop {
            let pause = std::time::Duration::from_millis(interval.borrow_and_update().0);
            tokio::select! {
                () = tokio::time::sleep_until(begun + pause) => break,
                // A shorter interval counts at once.
                changed = interval.changed() => if changed.is_err() { return },
            }
        }
    }
}
