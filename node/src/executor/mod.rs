//! The one loop that owns the state, and the tasks that act.
//!
//! **Invariant:** only [`owner`] changes the state. An input is in the journal before it takes effect outside this
//! process: actions, acknowledgements and reports leave only after the sync.

mod confirm;
mod essential;
mod group;
mod guests;
mod monitor;
mod owner;
pub mod record;
mod site;
mod steps;
mod store;
mod tasks;
mod told;
mod turns;
mod ways_back;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use wardround_rollout_plans::model::{DeviceId, SiteId, Timestamp};

pub use confirm::{Confirmed, confirm};
pub use group::{Absorbed, Batch, absorb};
pub(crate) use guests::Guests;
pub(crate) use owner::Owner;
pub(crate) use site::Site;
pub use steps::install_outcome;

use crate::{
    NodeError,
    identity::Identity,
    inventory::{Keeper, Standings},
    program::Own,
    sync::{CheckIns, Controller, View, Wakers, run_check_ins, run_renewal, run_watch},
    trust::{Documents, Floor, TrustStore, WitnessFile, WitnessView},
};

/// Inputs that may wait for the loop: some for each device at work and each system under watch.
const QUEUE_MAX: usize = 1_024;
/// How long a shutdown waits for the tasks that talk to the controller.
const SHUTDOWN_MAX: Duration = Duration::from_secs(5);

/// How to run a node.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The state directory that enrolment filled.
    pub state_dir: PathBuf,
    /// The site file.
    pub site_file: PathBuf,
    /// Check in this often, whatever the controller asks for.
    pub check_in_every: Option<Duration>,
}

/// Why a node ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Stopped,
    /// Its supervisor is to start another program: the process ends with [`crate::program::RESTART_CODE`].
    Restart,
}

/// The clock of the shell: Unix milliseconds.
pub(crate) fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

/// The state of a node that does not run; while it is held none can start.
pub(crate) struct Idle {
    standings: Standings,
    _store: store::Store,
}

impl Idle {
    /// No rollout is at work on the device.
    pub(crate) fn may_look(&self, device: &DeviceId) -> bool {
        self.standings.get(device).is_none_or(|standing| !standing.at_work)
    }
}

/// Opens the state of a node that does not run.
///
/// # Errors
/// [`NodeError`]: one that runs, or a journal that can't be read.
pub(crate) fn idle(state_dir: &std::path::Path, site: &SiteId) -> Result<Idle, NodeError> {
    let (state, store) = store::Store::open(state_dir, site)?;
    Ok(Idle { standings: owner::standings(&state), _store: store })
}

/// A person has looked: the log that the node of `state_dir` refused is the one that counts from now on, and what it had
/// accepted before is kept as evidence. Where what it knew is damaged, the next log that it is shown counts.
///
/// # Errors
/// [`NodeError`]: no node, a node that is running on this state, or files that can't be written.
pub fn accept_log(state_dir: &std::path::Path) -> Result<WitnessView, NodeError> {
    let identity = Identity::read(state_dir)?;
    // Held while the files are written: a running node would write over them.
    let (_, _store) = store::Store::open(state_dir, &identity.site)?;
    crate::trust::accept_log(state_dir)
}

/// The view of what was kept, so that halts and rollbacks count before the controller has answered. A refresh that was cut
/// off may have left files that make no view yet: the next one goes on from them.
fn kept_view(trust: &TrustStore, identity: &Identity) -> View {
    if trust.files().is_empty() {
        return None;
    }
    match trust.view_expired_allowed(&identity.root) {
        Ok(images) => Some(Arc::new(images)),
        Err(error) => {
            tracing::warn!(%error, "the kept metadata makes no view yet");
            None
        }
    }
}

/// Runs the node of a site until `shutdown`. Installs that are under way then go on on their devices and are taken up
/// again at the next start.
///
/// # Errors
/// [`NodeError`]: no or a damaged identity, an expired certificate, a site file with mistakes, a second node on the same
/// state, damaged floors, a journal that no longer takes records, or a task that ended though the node needs it.
pub async fn run(options: RunOptions, shutdown: CancellationToken) -> Result<Ended, NodeError> {
    let identity = Arc::new(Identity::read(&options.state_dir)?);
    identity.require_valid(now())?;
    let site = Site::read(&options.site_file, &identity.site, 1)?;
    let (state, store) = store::Store::open(&options.state_dir, &identity.site)?;
    let mut trust = TrustStore::open(&options.state_dir)?;
    // The journal knows it too: whichever is higher counts.
    trust.raise(Floor { counter: state.directive_counter(), ..trust.floor() })?;
    let witness = WitnessFile::open(&options.state_dir, &identity)?;
    let controller = Controller::new(&identity)?;
    let documents = Arc::new(Documents::open(&options.state_dir.join("documents"))?);
    tracing::info!(site = %identity.site, controller = identity.controller, devices = site.file.devices.len(), "the node runs");

    let own = Own::new(&options.state_dir, &options.site_file);
    let stop = shutdown.child_token();
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    let (site_sender, site_receiver) = watch::channel(Arc::new(site));
    let cache = site::cache(&options.state_dir, site_receiver.clone())?;
    let (monitored_sender, monitored_receiver) = watch::channel(Default::default());
    let (standings_sender, standings) = watch::channel(None);
    let guests = Guests::default();
    let wakers = Arc::new(Wakers::default());
    let owner = Owner::new(sender);
    let mut essential = essential::Essential::new(stop.clone());

    let tasks = tasks::Tasks {
        owner: owner.clone(),
        controller: controller.clone(),
        documents: Arc::clone(&documents),
        cache: cache.clone(),
        site: site_receiver.clone(),
        work_dir: options.state_dir.join("devices"),
        state_dir: options.state_dir.clone(),
        ways_back: ways_back::WaysBack::new(&options.state_dir),
        own: own.clone(),
        stop: stop.clone(),
        turns: turns::Turns::default(),
        guests: guests.clone(),
    };
    let (images, view) = watch::channel(kept_view(&trust, &identity));
    let watch = run_watch(controller.clone(), view, owner.clone(), Arc::clone(&wakers), stop.clone());
    essential.spawn("the watch stream", watch);
    let renewal = run_renewal(controller.clone(), Arc::clone(&identity), options.state_dir.clone(), stop.clone());
    essential.spawn("the renewal of the certificate", renewal);
    let keeper = Keeper {
        site: site_receiver.clone(),
        standings,
        guests,
        documents: Arc::clone(&documents),
        controller: controller.clone(),
        owner: owner.clone(),
        state_dir: options.state_dir.clone(),
    };
    essential.spawn("the inventory", keeper.run(stop.clone()));
    let check_ins = CheckIns {
        controller,
        identity: Arc::clone(&identity),
        documents: Arc::clone(&documents),
        trust,
        witness,
        owner: owner.clone(),
        site: site_receiver.clone(),
        every: options.check_in_every,
        images,
        refresh: Default::default(),
        done: None,
    };
    essential.spawn("the check-ins", run_check_ins(check_ins, Arc::clone(&wakers), stop.clone()));
    essential.spawn("the look whether it is well", say_well(own.clone(), Arc::clone(&wakers), stop.clone()));
    let work_dir = options.state_dir.join("devices");
    let monitor = monitor::run(monitored_receiver, site_receiver.clone(), work_dir, owner.clone(), stop.clone());
    essential.spawn("the health monitor", monitor);
    let follow = site::follow(options.site_file.clone(), identity.site.clone(), site_sender, owner, stop.clone());
    essential.spawn("the look at the site file", follow);

    let work = owner::Work {
        state,
        store,
        tasks,
        identity,
        documents,
        cache,
        wakers,
        monitored: monitored_sender,
        standings: standings_sender,
        postponed: Vec::new(),
        full: false,
        expired: false,
    };
    let mut work = std::pin::pin!(work.run(receiver, site_receiver, stop.clone()));
    let ended = tokio::select! {
        ended = &mut work => ended,
        // The answer of its own restart never comes: the next process takes the deployment up.
        () = own.restart_wanted().cancelled() => {
            stop.cancel();
            work.await
        }
        dead = essential.dead() => {
            tracing::error!(error = %dead, "the node ends");
            stop.cancel();
            work.await.and(Err(dead))
        }
    };
    stop.cancel();
    if tokio::time::timeout(SHUTDOWN_MAX, essential.ended()).await.is_err() {
        tracing::warn!("a task did not end in time and is dropped");
    }
    ended.map(|()| if own.restart_wanted().is_cancelled() { Ended::Restart } else { Ended::Stopped })
}

/// A program on trial is well when its controller has answered it.
async fn say_well(own: Own, wakers: Arc<Wakers>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = wakers.answered.notified() => {}
        }
        match own.well().await {
            Ok(()) => return stop.cancelled().await,
            Err(error) => tracing::error!(%error, "that this program is well can't be written down"),
        }
    }
}
