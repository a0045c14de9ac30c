//! Tasks: what the machine wants done on a device.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wardround_rollout_plans::model::{Detected, Patch, Payload, ProbeAnswer, SystemId, Variant};
use wardround_signing::Digest;

use super::{Guests, Owner, Site, confirm, now, steps, turns::Turns, ways_back::WaysBack};
use crate::{
    cache::{Cache, CacheError, Claim},
    device::{DeviceError, DeviceHandle, Trace, Withdrawal},
    installers::Refused,
    machine::{Action, Begun, CheckFound, Fault, FaultKind, Found, PreflightFound, Verb, is_first_run, run_of_install},
    probes::{Means, probe_system},
    program::Own,
    sync::{Controller, FetchError},
    trust::{Documents, Genuine},
};

/// What tasks work with.
#[derive(Clone)]
pub(super) struct Tasks {
    pub(super) owner: Owner,
    pub(super) controller: Controller,
    pub(super) documents: Arc<Documents>,
    pub(super) cache: Cache,
    pub(super) site: watch::Receiver<Arc<Site>>,
    pub(super) work_dir: PathBuf,
    pub(super) state_dir: PathBuf,
    pub(super) ways_back: WaysBack,
    /// This node, as its own device.
    pub(super) own: Own,
    pub(super) stop: CancellationToken,
    pub(super) turns: Turns,
    pub(super) guests: Guests,
}

impl Tasks {
    /// Begins an action. The machine gives out one per deployment at a time; one that it no longer waits for (a look or
    /// an upload when the patch is to be taken back) is ended first, since calls on a device must not overlap.
    pub(super) fn begin(&self, action: Action) {
        let tasks = self.clone();
        let (rollout, device, task) = (action.rollout.clone(), action.device.clone(), action.task);
        tracing::debug!(%rollout, %device, op = action.op, verb = ?action.verb, "begins");
        // A task of its own, so that a panic becomes an answer and the deployment does not wait for ever.
        let key = (rollout.clone(), device.clone());
        let work = self.turns.begin(key.clone(), task, async move {
            // Whoever only looks at the device leaves it first. A fetch does not touch it.
            let _present = match action.verb {
                Verb::Fetch => None,
                _ => Some(tasks.guests.work(&action.device).await),
            };
            tasks.perform(&action).await
        });
        let abort = work.abort_handle();
        let tasks = self.clone();
        tokio::spawn(async move {
            let found = tokio::select! {
                // What runs on the device goes on there, and is taken up at the next start.
                () = tasks.stop.cancelled() => return abort.abort(),
                ended = work => match ended {
                    Ok(Ok(found)) => found,
                    Ok(Err(fault)) => Found::Fault(fault),
                    Err(error) if error.is_cancelled() => return,
                    Err(error) => Found::Fault(other(format!("the task ended without an answer: {error}"))),
                },
            };
            tasks.turns.ended(&key, task);
            if let Found::Fault(fault) = &found {
                tracing::warn!(%rollout, %device, why = fault.text, kind = ?fault.kind, "a step could not be done");
            }
            tasks.owner.done(rollout, device, task, found).await;
        });
    }

    async fn perform(&self, action: &Action) -> Result<Found, Fault> {
        let patch = self.patch(&action.patch).await?;
        let patch = patch.document();
        let claim = Claim { rollout: action.rollout.clone(), severity: patch.severity };
        let variant = patch.variant(&action.variant).ok_or_else(|| Fault {
            kind: FaultKind::Refused,
            text: format!("the patch has no variant {}", action.variant),
        })?;
        if matches!(action.verb, Verb::Fetch) {
            // What takes the patch back comes along: nobody may be there to ask when it is needed.
            for payload in variant.payloads() {
                self.bring(payload, &claim).await?;
            }
            return Ok(Found::Fetched);
        }
        let device = self.device(action)?;
        let op = action.op.as_str();
        match &action.verb {
            Verb::Fetch => Ok(Found::Fetched),
            Verb::Stage { gone } => {
                if let Some(gone) = gone {
                    device.cleanup(gone).await.map_err(device_fault)?;
                }
                self.stage(&device, op, &variant.payload, &claim).await?;
                Ok(Found::Staged)
            }
            Verb::Preflight { systems } => Ok(self.preflight(&device, op, patch, variant, systems).await),
            Verb::Install { timeout, before, may_begin } => {
                if !may_begin && device.withdraw_install(op).await.map_err(device_fault)? == Withdrawal::Withdrawn {
                    device.lock(Duration::from_millis(timeout.0)).await.map_err(device_fault)?;
                    let text = "the install had not begun, and it may not begin now".to_owned();
                    return Err(Fault { kind: FaultKind::NotBegun, text });
                }
                self.install(&device, op, variant, *timeout, before, &claim).await
            }
            Verb::Reboot { timeout, again } => steps::reboot(&device, variant, *timeout, *again).await,
            Verb::Check { systems, install } => {
                if let Some(install) = install {
                    over(&device, install).await?;
                }
                Ok(self.check(&device, op, variant, systems).await)
            }
            Verb::Uninstall { timeout, install } => {
                over(&device, install).await?;
                self.uninstall(&device, op, install, variant, *timeout, &claim).await
            }
            Verb::Cleanup { ops, kept } => {
                device.over(ops, *kept).await.map_err(device_fault)?;
                for op in ops {
                    self.clean(&device, op).await?;
                }
                // Runs of a node that this one does not remember stand behind the first.
                if let Some(first) = ops.first() {
                    for (_, later) in later_runs(&device, first).await.map_err(device_fault)? {
                        if device.withdraw_install(&later).await.map_err(device_fault)? != Withdrawal::AtWork {
                            self.clean(&device, &later).await?;
                        }
                    }
                }
                Ok(Found::Cleaned)
            }
        }
    }

    /// The signed patch document; fetched again when the node's copy is gone or damaged.
    async fn patch(&self, digest: &Digest) -> Result<Genuine<Patch>, Fault> {
        if let Some(known) = self.documents.get(digest) {
            return Ok(known);
        }
        let refused = |why: String| Fault { kind: FaultKind::Refused, text: format!("the patch document: {why}") };
        let bytes = self.controller.document(digest).await.map_err(|error| match error {
            FetchError::Unreachable(why) => Fault { kind: FaultKind::Unreachable, text: why },
            FetchError::Refused(why) => refused(why),
        })?;
        // The state holds the digest of a document that people agreed on when its goal was accepted.
        let patch = Genuine::read(&bytes, digest).map_err(refused)?;
        self.documents.keep(&bytes).map_err(|e| other(e.to_string()))?;
        Ok(patch)
    }

    fn device(&self, action: &Action) -> Result<DeviceHandle, Fault> {
        let site = self.site.borrow();
        let config = site
            .file
            .devices
            .get(&action.device)
            .ok_or_else(|| other(format!("the site file no longer names {}", action.device)))?;
        Ok(DeviceHandle::new(&action.device, config, &self.work_dir).with_own(&self.own))
    }

    async fn bring(&self, payload: &Payload, claim: &Claim) -> Result<PathBuf, Fault> {
        self.cache.bring(payload, &self.controller, claim).await.map_err(cache_fault)
    }

    pub(super) async fn stage(
        &self,
        device: &DeviceHandle,
        op: &str,
        payload: &Payload,
        claim: &Claim,
    ) -> Result<(), Fault> {
        let file = self.bring(payload, claim).await?;
        device.stage(op, &file, payload).await.map_err(device_fault)
    }

    async fn probe(&self, systems: &[SystemId]) -> Vec<ProbeAnswer> {
        let site = Arc::clone(&self.site.borrow());
        let means = Means { devices: &site.file.devices, work_dir: &self.work_dir };
        let mut answers = Vec::new();
        for system in systems {
            if let Some(config) = site.file.systems.get(system) {
                answers.extend(probe_system(system, &config.probes, means, &|| now().0).await);
            }
        }
        answers
    }

    async fn preflight(
        &self,
        device: &DeviceHandle,
        op: &str,
        patch: &Patch,
        variant: &Variant,
        systems: &[SystemId],
    ) -> Found {
        let confirmed = confirm::is_confirmed(&self.state_dir, device.id(), now());
        let found = device.preflight(variant, confirmed).await;
        let mut prerequisites = Vec::new();
        for one in &patch.requires {
            let there = match &found.reachable {
                Ok(()) => device.detect_sign(op, &one.sign).await,
                Err(why) => Detected::Unknown { why: why.clone() },
            };
            prerequisites.push((one.patch.clone(), there));
        }
        let mut before = match &found.reachable {
            Ok(()) => device.detect(op, variant).await,
            Err(why) => Detected::Unknown { why: why.clone() },
        };
        let waits_for_nothing = found.reboot_pending == Some(false) && !device.has_write_filter();
        let (begun, run) = match before {
            Detected::Unknown { .. } => (Begun::Not, 0),
            _ => begun(device, op, &before, waits_for_nothing).await.unwrap_or_else(|error| {
                before = Detected::Unknown { why: error.to_string() };
                (Begun::Not, 0)
            }),
        };
        Found::Preflight(Box::new(PreflightFound {
            unreachable: found.reachable.err(),
            mismatch: found.platform,
            in_use: found.in_use,
            reboot_pending: found.reboot_pending,
            pending: found.pending,
            free_bytes: found.free_bytes,
            write_filter: found.write_filter,
            before,
            begun,
            run,
            prerequisites,
            probes: self.probe(systems).await,
        }))
    }

    async fn check(&self, device: &DeviceHandle, op: &str, variant: &Variant, systems: &[SystemId]) -> Found {
        let (detected, probes) = tokio::join!(device.detect(op, variant), self.probe(systems));
        let reboot_pending = device.reboot_pending().await.ok();
        let said = device.why_left(variant).filter(|_| detected == Detected::Absent).unwrap_or_default();
        Found::Checked(Box::new(CheckFound { detected, reboot_pending, probes, said }))
    }
}

/// Most runs of one installer of which traces are looked for.
const RUNS_MAX: u32 = 200;

/// Runs of the installer after `op`, the first one, that have left something on the device, in order. A node that does not know of them
/// asks: it has lost its memory, or stands in another's place.
async fn later_runs(device: &DeviceHandle, op: &str) -> Result<Vec<(u32, String)>, DeviceError> {
    if !is_first_run(op) {
        return Ok(Vec::new());
    }
    let runs: BTreeMap<String, u32> = (2..=RUNS_MAX).map(|run| (run_of_install(op, run), run)).collect();
    let there = device.there(runs.keys().cloned().collect()).await?;
    let mut found: Vec<(u32, String)> = there.into_iter().filter_map(|op| Some((*runs.get(&op)?, op))).collect();
    found.sort_unstable();
    Ok(found)
}

/// What the device shows of an installer that was begun in this deployment, and which run of it.
async fn begun(
    device: &DeviceHandle,
    op: &str,
    before: &Detected,
    waits_for_nothing: bool,
) -> Result<(Begun, u32), DeviceError> {
    let present = matches!(before, Detected::Present { .. });
    let later = later_runs(device, op).await?.pop();
    // Nothing of the first run alone: the install under its own id finds it.
    if !present && later.is_none() {
        return Ok((Begun::Not, 0));
    }
    let (run, newest) = later.unwrap_or_else(|| (1, op.to_owned()));
    Ok(match device.install_trace(&newest).await? {
        Trace::AtWork => (Begun::Unfinished, run),
        Trace::Over if present && waits_for_nothing => (Begun::Over, run),
        Trace::Over if present => (Begun::Unfinished, run),
        Trace::Over | Trace::None => (Begun::Not, 0),
    })
}

/// Nothing on the device means nothing while an installer may still put it there: each of its runs is over, or never begins.
async fn over(device: &DeviceHandle, install: &str) -> Result<(), Fault> {
    let later = later_runs(device, install).await.map_err(device_fault)?.into_iter().map(|(_, op)| op);
    for op in std::iter::once(install.to_owned()).chain(later) {
        if device.withdraw_install(&op).await.map_err(device_fault)? == Withdrawal::AtWork {
            let text = "the installer is still at work on the device".to_owned();
            return Err(Fault { kind: FaultKind::AtWork, text });
        }
    }
    Ok(())
}

pub(super) fn other(text: String) -> Fault {
    Fault { kind: FaultKind::Other, text }
}

pub(super) fn device_fault(error: DeviceError) -> Fault {
    let full = matches!(&error, DeviceError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull);
    let kind = match &error {
        _ if full => FaultKind::Disk,
        DeviceError::NotStaged { .. } => FaultKind::NotStaged,
        DeviceError::Installer(Refused::Irreversible(_)) => FaultKind::Refused,
        DeviceError::Timeout { .. } => FaultKind::Unreachable,
        error if error.is_transient() => FaultKind::Unreachable,
        _ => FaultKind::Other,
    };
    let source = std::error::Error::source(&error).map(|s| format!(": {s}")).unwrap_or_default();
    Fault { kind, text: format!("{error}{source}; {}", error.hint()) }
}

fn cache_fault(error: CacheError) -> Fault {
    let kind = match &error {
        error if error.is_full() => FaultKind::Disk,
        // Waited for, as long as it takes: the site's hours open again.
        CacheError::Fetch(FetchError::Unreachable(_)) | CacheError::Closed { .. } => FaultKind::Unreachable,
        CacheError::Fetch(FetchError::Refused(_)) | CacheError::Corrupt(_) => FaultKind::Corrupt,
        CacheError::Full { .. } | CacheError::Io(_) => FaultKind::Other,
    };
    Fault { kind, text: error.to_string() }
}
