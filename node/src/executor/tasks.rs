//! Tasks: what the machine wants done on a device.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wardround_rollout_plans::model::{
    Detected, DurationMs, Installer, Patch, ProbeAnswer, RebootNeed, SystemId, Variant,
};
use wardround_signing::Digest;

use super::{Owner, Site, now, turns::Turns};
use crate::{
    cache::{Cache, CacheError, Claim},
    device::{DeviceError, DeviceHandle, Withdrawal},
    installers::{self, ExitClass},
    machine::{
        Action, CheckFound, Fault, FaultKind, Found, InstallFound, InstallOutcome, PreflightFound, UninstallFound, Verb,
    },
    probes::probe_system,
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
    pub(super) stop: CancellationToken,
    pub(super) turns: Turns,
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
        let work = self.turns.begin(key.clone(), task, async move { tasks.perform(&action).await });
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
            self.bring(variant, &claim).await?;
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
                self.stage(&device, op, variant, &claim).await?;
                Ok(Found::Staged)
            }
            Verb::Preflight { systems } => Ok(self.preflight(&device, op, patch, variant, systems).await),
            Verb::Install { timeout, before, may_begin } => {
                if !may_begin && device.withdraw_install(op).await.map_err(device_fault)? == Withdrawal::Withdrawn {
                    let text = "the install had not begun, and it may not begin now".to_owned();
                    return Err(Fault { kind: FaultKind::NotBegun, text });
                }
                self.install(&device, op, variant, *timeout, before).await
            }
            Verb::Reboot { timeout, again } => reboot(&device, variant, *timeout, *again).await,
            Verb::Check { systems, install } => {
                if let Some(install) = install {
                    over(&device, install).await?;
                }
                Ok(self.check(&device, op, variant, systems).await)
            }
            Verb::Uninstall { timeout, install } => {
                over(&device, install).await?;
                self.uninstall(&device, op, variant, *timeout, &claim).await
            }
            Verb::Cleanup { ops } => {
                for op in ops {
                    device.cleanup(op).await.map_err(device_fault)?;
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
        Ok(DeviceHandle::new(&action.device, config, &self.work_dir))
    }

    async fn bring(&self, variant: &Variant, claim: &Claim) -> Result<PathBuf, Fault> {
        self.cache.bring(&variant.payload, &self.controller, claim).await.map_err(cache_fault)
    }

    async fn stage(&self, device: &DeviceHandle, op: &str, variant: &Variant, claim: &Claim) -> Result<(), Fault> {
        let payload = self.bring(variant, claim).await?;
        device.stage(op, &payload, variant).await.map_err(device_fault)
    }

    async fn probe(&self, systems: &[SystemId]) -> Vec<ProbeAnswer> {
        let site = Arc::clone(&self.site.borrow());
        let mut answers = Vec::new();
        for system in systems {
            if let Some(config) = site.file.systems.get(system) {
                answers.extend(probe_system(system, &config.probes, &|| now().0).await);
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
        let found = device.preflight(variant).await;
        let mut prerequisites = Vec::new();
        for one in &patch.requires {
            let there = match &found.reachable {
                Ok(()) => device.detect_sign(op, &one.sign).await,
                Err(why) => Detected::Unknown { why: why.clone() },
            };
            prerequisites.push((one.patch.clone(), there));
        }
        let before = match &found.reachable {
            Ok(()) => device.detect(op, variant).await,
            Err(why) => Detected::Unknown { why: why.clone() },
        };
        Found::Preflight(Box::new(PreflightFound {
            unreachable: found.reachable.err(),
            mismatch: found.platform,
            in_use: found.in_use,
            reboot_pending: found.reboot_pending,
            free_bytes: found.free_bytes,
            before,
            prerequisites,
            probes: self.probe(systems).await,
        }))
    }

    async fn check(&self, device: &DeviceHandle, op: &str, variant: &Variant, systems: &[SystemId]) -> Found {
        let (detected, probes) = tokio::join!(device.detect(op, variant), self.probe(systems));
        let reboot_pending = device.reboot_pending().await.ok();
        Found::Checked(Box::new(CheckFound { detected, reboot_pending, probes }))
    }

    async fn install(
        &self,
        device: &DeviceHandle,
        op: &str,
        variant: &Variant,
        timeout: DurationMs,
        before: &Detected,
    ) -> Result<Found, Fault> {
        let begun = tokio::time::Instant::now();
        let limit = Duration::from_millis(timeout.0);
        let ran = match device.install(op, variant, limit).await {
            Ok(ran) => Some(ran),
            Err(error @ DeviceError::Interrupted { .. }) if begun.elapsed() >= limit => {
                return Err(Fault { kind: FaultKind::Timeout, text: error.to_string() });
            }
            // It began and left no result: only the device can tell what it did.
            Err(DeviceError::Interrupted { .. }) => None,
            Err(error) => return Err(device_fault(error)),
        };
        let after = device.detect(op, variant).await;
        // Not knowing is taken for yes where the installer says so anyway; else a missing answer asks for nothing.
        let reboot_pending = device.reboot_pending().await.unwrap_or(false);
        let outcome = install_outcome(ran.as_ref().map(|r| r.class), before, &after, reboot_pending);
        Ok(Found::Installed(Box::new(InstallFound {
            exit_code: ran.as_ref().map(|r| r.exit_code),
            outcome,
            after,
            reboot_pending,
            output: ran.map(|r| r.output).unwrap_or_default(),
        })))
    }

    async fn uninstall(
        &self,
        device: &DeviceHandle,
        op: &str,
        variant: &Variant,
        timeout: DurationMs,
        claim: &Claim,
    ) -> Result<Found, Fault> {
        // A script uninstalls, and detects, with its payload.
        if matches!(variant.installer, Installer::Script { .. }) {
            self.stage(device, op, variant, claim).await?;
        }
        let mut found = UninstallFound { exit_code: None, reboot_needed: false, output: String::new() };
        if device.detect(op, variant).await != Detected::Absent {
            match device.uninstall(op, variant, Duration::from_millis(timeout.0)).await {
                Ok(ran) => {
                    found.exit_code = Some(ran.exit_code);
                    found.reboot_needed = matches!(ran.class, ExitClass::RebootRequired | ExitClass::RebootInitiated);
                    found.output = ran.output;
                }
                // It began and left no result: detection decides.
                Err(DeviceError::Interrupted { why, .. }) => found.output = why,
                Err(error) => return Err(device_fault(error)),
            }
        }
        found.reboot_needed |= device.reboot_pending().await.unwrap_or(false);
        Ok(Found::Uninstalled(Box::new(found)))
    }
}

/// Nothing on the device means nothing while an installer may still put it there: this run is over, or never begins.
async fn over(device: &DeviceHandle, install: &str) -> Result<(), Fault> {
    if device.withdraw_install(install).await.map_err(device_fault)? == Withdrawal::AtWork {
        let text = "the installer is still at work on the device".to_owned();
        return Err(Fault { kind: FaultKind::Unreachable, text });
    }
    Ok(())
}

/// What an install came to; `class` is that of the installer's exit code, absent when it left none.
#[must_use]
pub fn install_outcome(
    class: Option<ExitClass>,
    before: &Detected,
    after: &Detected,
    reboot_pending: bool,
) -> InstallOutcome {
    let no_result = class.is_none();
    // An installer that left no result says nothing; the device does.
    let class = class.unwrap_or(ExitClass::Ambiguous);
    match installers::outcome(class, before, after, reboot_pending) {
        installers::Outcome::Failed { code, .. } if no_result && *after == Detected::Absent => {
            let reason = "the installer left no result, and the patch is not detected".to_owned();
            InstallOutcome::Failed { code: code.to_owned(), reason }
        }
        installers::Outcome::Installed => InstallOutcome::Installed,
        installers::Outcome::NeedsReboot => InstallOutcome::NeedsReboot,
        installers::Outcome::NothingToDo => {
            InstallOutcome::NothingToDo { reason: "the installer found nothing to do on this device".to_owned() }
        }
        installers::Outcome::Busy => InstallOutcome::Busy,
        installers::Outcome::Failed { code, reason } => InstallOutcome::Failed { code: code.to_owned(), reason },
    }
}

async fn reboot(device: &DeviceHandle, variant: &Variant, timeout: DurationMs, again: bool) -> Result<Found, Fault> {
    // After a restart of the node the reboot may be behind us: where it was only asked for, the device can tell.
    let asked_only = variant.reboot == RebootNeed::WhenAsked;
    if again && asked_only && device.reboot_pending().await.is_ok_and(|pending| !pending) {
        return Ok(Found::Rebooted);
    }
    match device.reboot(Duration::from_millis(timeout.0)).await {
        Ok(()) => Ok(Found::Rebooted),
        Err(error @ DeviceError::Timeout { .. }) => {
            Err(Fault { kind: FaultKind::RebootTimeout, text: error.to_string() })
        }
        Err(error) => Err(device_fault(error)),
    }
}

fn other(text: String) -> Fault {
    Fault { kind: FaultKind::Other, text }
}

fn device_fault(error: DeviceError) -> Fault {
    let full = matches!(&error, DeviceError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull);
    let kind = match &error {
        _ if full => FaultKind::Disk,
        DeviceError::NotStaged { .. } => FaultKind::NotStaged,
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
