//! Looks again and again how many deployments are in hand at once (S4).

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use wardround_rollout_plans::model::DeploymentState;

use super::Api;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(30);

/// The most that were seen in hand at one moment.
#[derive(Debug, Clone, Default)]
pub struct Most {
    /// In all.
    pub total: usize,
    /// By site.
    pub per_site: BTreeMap<String, usize>,
    /// How often was looked with success.
    pub looks: usize,
}

/// The watcher.
pub struct Sampler {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Most>>,
}

impl Sampler {
    pub(super) fn start(api: Api, rollout: &str) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (stop, rollout) = (Arc::clone(&over), rollout.to_owned());
        let thread = thread::spawn(move || {
            let mut most = Most::default();
            while !stop.load(Ordering::Relaxed) {
                look(&api, &rollout, &mut most);
                thread::sleep(LOOK_EVERY);
            }
            most
        });
        Self { over, thread: Some(thread) }
    }

    /// Ends the watch.
    #[must_use]
    pub fn stop(mut self) -> Most {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().map(|t| t.join().unwrap()).unwrap_or_default()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn look(api: &Api, rollout: &str, most: &mut Most) {
    let Ok(deployments) = api.deployments(rollout) else { return };
    most.looks += 1;
    let in_hand = |word: &str| DeploymentState::ALL.iter().any(|s| s.word() == word && s.is_in_hand());
    let mut per_site: BTreeMap<String, usize> = BTreeMap::new();
    for deployment in deployments.iter().filter(|d| in_hand(&d.state)) {
        let site = deployment.device.split('/').next().unwrap_or_default();
        *per_site.entry(site.to_owned()).or_default() += 1;
    }
    most.total = most.total.max(per_site.values().sum());
    for (site, count) in per_site {
        let known = most.per_site.entry(site).or_default();
        *known = (*known).max(count);
    }
}
