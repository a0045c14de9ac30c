//! Starting, serving and stopping.

use std::{collections::HashMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use wardround_journal::{Journal, JournalError, Options};

use crate::{
    api::{Api, GuardLayer, routes},
    ca::{Acceptor, DoorLimits, ServerCertificate, keep_fresh},
    clock, console,
    core::{CoreError, Limits, RecoveryError, Writer},
    directive::Directives,
    images::{Repository, keep_timestamp_fresh},
    inventory::Inventories,
    log::{self, AuditLog},
    operators,
    payloads::{Payloads, keep_swept},
    setup::{self, DataFiles, InitError},
    silence::{self, SilenceRule},
};

/// How long running calls may take to end after the stop; streams are told at once.
const DRAIN_MAX: Duration = Duration::from_secs(3);
/// How long the writer may take to put the rest on disk.
const SYNC_MAX: Duration = Duration::from_secs(2);
/// Ping on idle connections: a dead node is noticed within this and [`PING_ANSWER_MAX`].
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_ANSWER_MAX: Duration = Duration::from_secs(10);
/// Calls of one connection at one moment: a node has one stream, one check-in and a few fetches.
const STREAMS_PER_CONNECTION: u32 = 64;

/// How to run a controller; what is absent is as `config.json` of the data directory says.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The data directory that [`crate::init`] made.
    pub data: PathBuf,
    /// Overrides where the API listens.
    pub listen: Option<SocketAddr>,
    /// Overrides where the console listens; `Some(None)` switches it off.
    pub console: Option<Option<SocketAddr>>,
    /// Overrides after how long without word a site with deployments in hand counts as silent.
    pub silence_after: Option<Duration>,
    /// Overrides how often nodes check in when nothing nudges them.
    pub check_in_every: Option<Duration>,
}

/// Where a controller listens, sent once it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// The API.
    pub listen: SocketAddr,
    /// The console, if it is on.
    pub console: Option<SocketAddr>,
}

/// Why a controller could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The data directory is not there or damaged.
    #[error(transparent)]
    Data(#[from] InitError),
    /// The journal can't be opened.
    #[error("can't open the journal: {0}")]
    Journal(#[from] JournalError),
    /// The journal was read, but its content can't be.
    #[error("can't recover the state from the journal: {why}")]
    Recovery {
        /// What and where.
        why: String,
        /// The way out.
        hint: String,
    },
    /// The address can't be used.
    #[error("can't listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The payload store or a certificate could not be prepared.
    #[error("can't start: {0}")]
    Start(String),
    /// The image repository is damaged, or can't begin.
    #[error("can't open the image repository: {why}")]
    Images {
        /// Why.
        why: String,
        /// The way out.
        hint: String,
    },
    /// The server ended by itself.
    #[error("the server stopped: {0}")]
    Serve(String),
    /// What is on disk is no longer known.
    #[error("stopped, since nothing can be written down any more: {0}")]
    Broken(String),
}

impl RunError {
    /// The way out, one sentence; empty when there is none to name.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Data(error) => error.hint().to_owned(),
            Self::Journal(error) => error.hint().unwrap_or_default(),
            Self::Recovery { hint, .. } => hint.clone(),
            Self::Listen { .. } => "choose another address with --listen, or stop what uses this one".to_owned(),
            Self::Start(_) => "check the data directory's owner, permissions and free space".to_owned(),
            Self::Images { hint, .. } => hint.clone(),
            Self::Serve(_) => "start it again; if it stops once more, the log says what failed".to_owned(),
            Self::Broken(_) => "mend the disk, then start again: nothing that was acknowledged is lost".to_owned(),
        }
    }
}

impl From<RecoveryError> for RunError {
    fn from(error: RecoveryError) -> Self {
        match error {
            RecoveryError::Journal(error) => Self::Journal(error),
            // The journal's checksums are right, so this is what was written. An older copy of the directory would lose
            // what people and nodes were told since then.
            RecoveryError::Content { .. } => Self::Recovery {
                why: error.to_string(),
                hint:
                    "start the version of wardround that wrote it; nothing was changed, so don't go back to an older \
                       copy, which would lose what was acknowledged since"
                        .to_owned(),
            },
        }
    }
}

/// Runs a controller until `shutdown`; sends where it listens through `ready`.
///
/// # Errors
/// [`RunError`]; its `hint()` says what to do.
pub async fn run(config: Config, shutdown: CancellationToken, ready: oneshot::Sender<Ready>) -> Result<(), RunError> {
    Box::pin(run_inner(config, shutdown, ready)).await
}

async fn run_inner(config: Config, shutdown: CancellationToken, ready: oneshot::Sender<Ready>) -> Result<(), RunError> {
    let data = config.data.clone();
    let files = setup::load(&data)?;
    let stored = files.config.clone();
    let opened = data.clone();
    let (writer, core) =
        tokio::task::spawn_blocking(move || recover(opened, stored.free_bytes_min, stored.snapshot_every))
            .await
            .map_err(|e| RunError::Recovery { why: e.to_string(), hint: String::new() })??;
    let DataFiles { config: stored, ca, log_key } = files;
    let opened = core.clone();
    let failed = |why: String| RunError::Recovery { why, hint: String::new() };
    let (log, growth) = tokio::task::spawn_blocking(move || AuditLog::open(&opened, log_key))
        .await
        .map_err(|e| failed(e.to_string()))?
        .map_err(failed)?;
    let payloads =
        Payloads::open(&data.join("payloads"), stored.free_bytes_min).map_err(|e| RunError::Start(e.to_string()))?;
    let (opened, of) = (data.clone(), core.clone());
    let images = tokio::task::spawn_blocking(move || Repository::open(&opened, of, stored.metadata_version_base))
        .await
        .map_err(|e| RunError::Start(e.to_string()))?
        .map_err(|e| RunError::Images { why: e.to_string(), hint: e.hint() })?;
    let images = Arc::new(images);
    let check_in_every = config.check_in_every.unwrap_or(Duration::from_millis(stored.check_in_every_ms));
    let silence_after = config.silence_after.or(stored.silence_after_ms.map(Duration::from_millis));
    let ca = Arc::new(ca);
    let api = Arc::new(Api {
        core: core.clone(),
        inventories: Inventories::new(Arc::clone(core.journal())),
        payloads,
        directives: Directives::new(stored.directive_counter_base),
        images: Arc::clone(&images),
        log: Arc::clone(&log),
        ca: Arc::clone(&ca),
        operators: setup::operators(&data),
        check_in_every,
        shutdown: shutdown.child_token(),
        drafting: tokio::sync::Mutex::default(),
        foreseeing: crate::api::foresee::Foreseeing::default(),
        alarmed: std::sync::Mutex::new(HashMap::new()),
        strangers: std::sync::Mutex::new(HashMap::new()),
    });
    let failed = |e: crate::ca::CaError| RunError::Start(e.to_string());
    let certificate = Arc::new(ServerCertificate::issue(&ca, &stored.names, clock::now()).map_err(failed)?);
    let acceptor = Acceptor::new(&ca, Arc::clone(&certificate)).map_err(failed)?;
    let (listener, listen) = bind(config.listen.unwrap_or(stored.listen)).await?;
    let console = match config.console.unwrap_or(stored.console) {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let services = routes(&api).await.map_err(|e| RunError::Start(e.to_string()))?;

    let stop_writer = CancellationToken::new();
    let mut writing: JoinHandle<Result<(), CoreError>> = tokio::spawn(writer.run(stop_writer.clone()));
    images.begin().await.map_err(|e| RunError::Images { why: e.to_string(), hint: e.hint() })?;
    operators::record(&core, &api.operators).await;
    let mut helpers = JoinSet::new();
    helpers.spawn(operators::watch(core.clone(), api.operators.clone(), api.shutdown.clone()));
    helpers.spawn(keep_timestamp_fresh(images, api.shutdown.clone()));
    helpers.spawn(silence::watch(core.clone(), SilenceRule { check_in_every, silence_after }, api.shutdown.clone()));
    helpers.spawn(keep_fresh(ca, certificate, stored.names, api.shutdown.clone()));
    helpers.spawn(keep_swept(core.clone(), api.payloads.clone(), api.shutdown.clone()));
    helpers.spawn(log::follow(growth, core.clone(), log, api.shutdown.clone()));
    let console_address = console.as_ref().map(|(_, address)| *address);
    if let Some((listener, _)) = console {
        helpers.spawn(serve_console(listener, Arc::clone(&api)));
    }
    let incoming = acceptor.incoming(listener, DoorLimits::default(), api.shutdown.clone());
    let mut serving = tokio::spawn(
        Server::builder()
            .http2_keepalive_interval(Some(PING_EVERY))
            .http2_keepalive_timeout(Some(PING_ANSWER_MAX))
            .max_concurrent_streams(STREAMS_PER_CONNECTION)
            .layer(GuardLayer::new(core))
            .add_routes(services)
            .serve_with_incoming_shutdown(incoming, api.shutdown.clone().cancelled_owned()),
    );
    tracing::info!(%listen, console = ?console_address, "serving");
    let _ = ready.send(Ready { listen, console: console_address });

    let mut writer_ended = false;
    let early = tokio::select! {
        // In order: at a stop the listener may have ended already, which is then no failure.
        biased;
        () = shutdown.cancelled() => None,
        done = &mut writing => {
            writer_ended = true;
            Some(match done {
                Ok(Ok(())) => RunError::Serve("the writer ended".to_owned()),
                Ok(Err(error)) => RunError::Broken(error.to_string()),
                Err(panic) => RunError::Broken(panic.to_string()),
            })
        }
        done = &mut serving => Some(RunError::Serve(match done {
            Ok(Ok(())) => "the listener ended".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic.to_string(),
        })),
        // Without one of them sites fall silent unnoticed, or the certificate runs out: better a restart.
        done = helpers.join_next() => Some(RunError::Serve(match done {
            Some(Err(panic)) => format!("a background task failed: {panic}"),
            _ => "a background task ended".to_owned(),
        })),
    };
    api.shutdown.cancel();
    if !serving.is_finished() && tokio::time::timeout(DRAIN_MAX, &mut serving).await.is_err() {
        tracing::warn!("calls were cut off at shutdown");
        serving.abort();
    }
    stop_writer.cancel();
    if !writer_ended {
        match tokio::time::timeout(SYNC_MAX, writing).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => return Err(RunError::Broken(error.to_string())),
            Ok(Err(panic)) => return Err(RunError::Broken(panic.to_string())),
            // What is acknowledged is on disk already; the rest was never answered.
            Err(_) => tracing::warn!("the journal's last sync did not end in time"),
        }
    }
    tracing::info!("stopped");
    early.map_or(Ok(()), Err)
}

fn recover(data: PathBuf, free_bytes_min: u64, snapshot_every: u64) -> Result<(Writer, crate::core::Core), RunError> {
    let options = Options { free_bytes_min, ..Options::default() };
    let journal = Arc::new(Journal::open(&data.join("journal"), &options)?);
    Ok(Writer::recover(journal, Limits { snapshot_every })?)
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), RunError> {
    let failed = |source| RunError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

async fn serve_console(listener: TcpListener, api: Arc<Api>) {
    let shutdown = api.shutdown.clone();
    if let Err(error) = console::serve(listener, api, shutdown).await {
        tracing::error!(%error, "the console stopped");
    }
}
