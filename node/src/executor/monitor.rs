//! The health monitor: probes every system at the interval that the machine wants.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use wardround_rollout_plans::model::{DurationMs, SystemId};

use super::{Owner, Site, now};
use crate::{
    machine::Monitored,
    probes::{Means, probe_system},
};

/// Between the failure of a watch and its next beginning.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// Follows what is wanted until `stop`: one task per system.
pub(super) async fn run(
    mut wanted: watch::Receiver<Monitored>,
    site: watch::Receiver<Arc<Site>>,
    work_dir: PathBuf,
    owner: Owner,
    stop: CancellationToken,
) {
    let mut running: BTreeMap<SystemId, (watch::Sender<DurationMs>, AbortOnDropHandle<()>)> = BTreeMap::new();
    loop {
        let now_wanted = wanted.borrow_and_update().clone();
        running.retain(|system, _| now_wanted.contains_key(system));
        for (system, interval) in now_wanted {
            match running.get(&system) {
                Some((sender, _)) => {
                    sender.send_if_modified(|known| std::mem::replace(known, interval) != interval);
                }
                None => {
                    let (sender, receiver) = watch::channel(interval);
                    let watch = {
                        let (system, site, owner) = (system.clone(), site.clone(), owner.clone());
                        let dir = work_dir.clone();
                        move || watch_system(system.clone(), receiver.clone(), site.clone(), dir.clone(), owner.clone())
                    };
                    let alarm = {
                        let (system, owner) = (system.clone(), owner.clone());
                        async move |why: String| {
                            let text = format!("the watch over clinical system {system} failed and begins anew: {why}");
                            owner.alarm("monitor", text).await;
                        }
                    };
                    let task = tokio::spawn(kept_up(watch, alarm, RESTART_AFTER));
                    running.insert(system, (sender, AbortOnDropHandle::new(task)));
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => break,
            changed = wanted.changed() => if changed.is_err() { break },
        }
    }
}

/// Runs a watch until it ends by itself. One that panics is begun anew: unwatched, a system that a patch has broken would
/// be taken for healthy. Only the first panic is told; a probe that panics each time must not fill the journal.
async fn kept_up<W: Future<Output = ()> + Send + 'static>(
    mut watch: impl FnMut() -> W,
    alarm: impl AsyncFn(String),
    pause: Duration,
) {
    let mut told = false;
    while let Err(error) = AbortOnDropHandle::new(tokio::spawn(watch())).await {
        tracing::error!(%error, "the watch over a clinical system failed and begins anew");
        if !std::mem::replace(&mut told, true) {
            alarm(error.to_string()).await;
        }
        tokio::time::sleep(pause).await;
    }
}

/// Probes one system: at once, then at its interval, counted from the beginning of each probe.
async fn watch_system(
    system: SystemId,
    mut interval: watch::Receiver<DurationMs>,
    site: watch::Receiver<Arc<Site>>,
    work_dir: PathBuf,
    owner: Owner,
) {
    loop {
        let begun = Instant::now();
        let now_site = Arc::clone(&site.borrow());
        if let Some(config) = now_site.file.systems.get(&system).filter(|config| !config.probes.is_empty()) {
            let means = Means { devices: &now_site.file.devices, work_dir: &work_dir };
            let answers = probe_system(&system, &config.probes, means, &|| now().0).await;
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

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    #[tokio::test]
    async fn a_watch_that_panics_is_told_once_and_begun_anew() {
        let begun = Arc::new(AtomicU32::new(0));
        let told = Mutex::new(Vec::new());
        let watch = || {
            let begun = Arc::clone(&begun);
            async move { assert!(begun.fetch_add(1, Ordering::SeqCst) >= 2, "planted") }
        };
        kept_up(watch, async |why: String| told.lock().unwrap().push(why), Duration::ZERO).await;
        assert_eq!(begun.load(Ordering::SeqCst), 3);
        let told = told.into_inner().unwrap();
        assert!(told.len() == 1 && told[0].contains("planted"), "{told:?}");
    }

    #[tokio::test]
    async fn a_watch_that_is_no_longer_wanted_ends_with_its_keeper() {
        let (alive, mut gone) = tokio::sync::mpsc::channel::<()>(1);
        let watch = move || {
            let alive = alive.clone();
            async move {
                let _alive = alive;
                std::future::pending::<()>().await;
            }
        };
        let keeper = AbortOnDropHandle::new(tokio::spawn(kept_up(watch, async |_| {}, Duration::ZERO)));
        tokio::task::yield_now().await;
        drop(keeper);
        assert_eq!(gone.recv().await, None);
    }
}
