//! The site file as it is now: read at the start, and again whenever it changes.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wardround_rollout_plans::model::SiteId;

use super::{Owner, now};
use crate::{
    NodeError,
    cache::{Cache, Rules},
    config::{SiteFile, SystemConfig, TransportConfig, read_site_file},
    machine::{SiteView, WatchRules},
    transports::keep_from_programs,
};

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A read site file.
#[derive(Debug)]
pub(crate) struct Site {
    /// Its content.
    pub(crate) file: SiteFile,
    /// Rises with each change.
    pub(crate) generation: u64,
}

impl Site {
    /// Reads the file of this very site.
    pub(super) fn read(path: &Path, enrolled: &SiteId, generation: u64) -> Result<Self, NodeError> {
        let file = read_site_file(path)?;
        if file.inventory.site != *enrolled {
            return Err(NodeError::OtherSite {
                found: file.inventory.site.to_string(),
                expected: enrolled.to_string(),
            });
        }
        file.secret_variables().for_each(keep_from_programs);
        if file.inventory.hours.time_zone.is_none() {
            tracing::warn!(
                "the site file names no time_zone: windows and freezes, those of plans too, are read on the clock of UTC; \
                 add a line such as `time_zone: Europe/London`"
            );
        }
        Ok(Self { file, generation })
    }

    /// What the machine needs of it.
    pub(super) fn view(&self) -> SiteView {
        let rules = |config: &SystemConfig| WatchRules {
            interval: config.interval,
            failures: config.failures,
            successes: config.successes,
        };
        let watch = self.file.systems.iter().map(|(id, config)| (id.clone(), rules(config)));
        SiteView {
            inventory: Some(self.file.inventory.clone()),
            concurrency_max: self.file.concurrency_max,
            watch: watch.filter(|(_, rules)| *rules != WatchRules::default()).collect(),
            spares_disrupted: true,
            own: self.file.devices.iter().find(|(_, c)| c.transport == TransportConfig::Node).map(|(id, _)| id.clone()),
        }
    }
}

/// The cache, with what the site file says of it at each moment.
pub(super) fn cache(state_dir: &Path, site: watch::Receiver<Arc<Site>>) -> Result<Cache, NodeError> {
    let rules = move || {
        let site = site.borrow();
        let zone = site.file.inventory.hours.time_zone.as_ref();
        Rules { size_max: site.file.cache_bytes_max, limit: site.file.bandwidth.at(zone, now()) }
    };
    let broken = |source| NodeError::File { path: state_dir.to_owned(), verb: "written", source };
    Cache::open(state_dir, Arc::new(rules)).map_err(broken)
}

/// Follows the file until `stop`. A change with mistakes is logged, and the file as it was goes on being used.
pub(super) async fn follow(
    path: PathBuf,
    enrolled: SiteId,
    sender: watch::Sender<Arc<Site>>,
    owner: Owner,
    stop: CancellationToken,
) {
    let changed = |path: &Path| -> Option<(SystemTime, u64)> {
        std::fs::metadata(path).ok().and_then(|m| Some((m.modified().ok()?, m.len())))
    };
    // The first look reads it again: it may have changed since the start read it, while the journal was folded.
    let mut seen = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let found = changed(&path);
        if found == seen {
            continue;
        }
        seen = found;
        let generation = sender.borrow().generation + 1;
        match Site::read(&path, &enrolled, generation) {
            Ok(site) if site.file == sender.borrow().file => {}
            Ok(site) => {
                tracing::info!(devices = site.file.devices.len(), "the site file has changed");
                let view = site.view();
                sender.send_replace(Arc::new(site));
                owner.site(view).await;
            }
            Err(error) => tracing::error!(%error, hint = error.hint(), "the changed site file is not used"),
        }
    }
}
