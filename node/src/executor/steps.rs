//! The steps that change a device: install, restart, and the way back. Each may be called again after a crash.

use std::{fmt::Write as _, time::Duration};

use tokio::time::Instant;
use wardround_rollout_plans::{
    model::{Detected, DurationMs, RebootNeed, Variant},
    patch_file::uninstalls,
};

use super::{
    now,
    tasks::{Tasks, device_fault, other},
    ways_back::{self, Made},
};
use crate::{
    cache::Claim,
    device::{DeviceError, DeviceHandle, Ran, Trace, Withdrawal},
    installers::{self, ExitClass, Refused},
    machine::{Fault, FaultKind, Found, InstallFound, InstallOutcome, UninstallFound},
};

/// Between two looks whether a device is back after its snapshot was put back.
const BACK_POLL: Duration = Duration::from_secs(1);

impl Tasks {
    pub(super) async fn install(
        &self,
        device: &DeviceHandle,
        op: &str,
        variant: &Variant,
        timeout: DurationMs,
        before: &Detected,
        claim: &Claim,
    ) -> Result<Found, Fault> {
        let limit = Duration::from_millis(timeout.0);
        let mut took_time = self.prepare(device, op, variant).await?;
        match device.unlock(limit).await {
            Ok(false) => {}
            Ok(true) => {
                // What was staged lay in the overlay.
                self.stage(device, op, &variant.payload, claim).await?;
                took_time = true;
            }
            Err(error @ (DeviceError::WriteFilter { .. } | DeviceError::Garbled { .. })) => {
                return Err(not_unlocked(device, op, limit, error).await);
            }
            Err(error) => return Err(device_fault(error)),
        }
        if took_time {
            self.ask_again(device, op, claim, limit).await?;
        }
        let begun = Instant::now();
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
        let mut outcome = install_outcome(ran.as_ref().map(|r| r.class), before, &after, reboot_pending);
        if let (InstallOutcome::Failed { reason, .. }, Some(ran)) = (&mut outcome, &ran) {
            let _ = write!(reason, "; {}", ended(ran));
        }
        if device.has_write_filter() {
            match outcome {
                // The restart after it turns the filter on again.
                InstallOutcome::Installed | InstallOutcome::NeedsReboot => outcome = InstallOutcome::NeedsReboot,
                // What is there will be taken off first.
                InstallOutcome::Failed { .. } if after != Detected::Absent => {}
                _ => {
                    device.lock(limit).await.map_err(device_fault)?;
                }
            }
        }
        Ok(Found::Installed(Box::new(InstallFound {
            exit_code: ran.as_ref().map(|r| r.exit_code),
            outcome,
            after,
            reboot_pending,
            output: ran.map(|r| r.output).unwrap_or_default(),
        })))
    }

    /// S3: what was allowed when the preparation began may have been halted since.
    async fn ask_again(&self, device: &DeviceHandle, op: &str, claim: &Claim, limit: Duration) -> Result<(), Fault> {
        let Some(why) = self.owner.barred(&claim.rollout, device.id()).await else { return Ok(()) };
        if device.withdraw_install(op).await.map_err(device_fault)? == Withdrawal::Withdrawn {
            device.lock(limit).await.map_err(device_fault)?;
            return Err(not_begun(&format!("the install had not begun, and it may not begin now: {why}")));
        }
        Ok(())
    }

    /// Makes sure of the way back before the first step. Without it nothing begins. True when something had to be made, which takes
    /// minutes.
    async fn prepare(&self, device: &DeviceHandle, op: &str, variant: &Variant) -> Result<bool, Fault> {
        let wanted = device.rollback_means();
        let mut took_time = false;
        let mut made = self.ways_back.of(op);
        let lacks = wanted.snapshot.is_some() && made.snapshot.is_none()
            || wanted.restore_point && made.restore_point.is_none();
        // What is made after the installer was begun would bring the patch back with it.
        if lacks && device.install_trace(op).await.map_err(device_fault)? != Trace::None {
            return Ok(false);
        }
        if let Some(snapshot) = wanted.snapshot.as_ref().filter(|_| made.snapshot.is_none()) {
            ways_back::run(&snapshot.take, device.id(), op)
                .await
                .map_err(|why| not_begun(&format!("no snapshot could be taken: {why}")))?;
            took_time = true;
            made.snapshot = Some(now());
            self.ways_back.keep(op, &made).map_err(|e| other(e.to_string()))?;
        }
        if wanted.restore_point && made.restore_point.is_none() {
            match device.make_restore_point(op).await {
                Ok(point) => {
                    took_time = true;
                    made.restore_point = Some(point);
                    self.ways_back.keep(op, &made).map_err(|e| other(e.to_string()))?;
                }
                // It is a second way back where there is another one.
                Err(error) if made.snapshot.is_some() || uninstalls(variant).is_ok() => {
                    tracing::warn!(device = %device.id(), %error, "no restore point could be made");
                }
                Err(error) => return Err(not_begun(&format!("no restore point could be made: {error}"))),
            }
        }
        Ok(took_time)
    }

    /// Takes the patch back by the first means that does: a fresh snapshot, the uninstaller, a restore point. `run` is the
    /// operation of the install.
    pub(super) async fn uninstall(
        &self,
        device: &DeviceHandle,
        op: &str,
        run: &str,
        variant: &Variant,
        timeout: DurationMs,
        claim: &Claim,
    ) -> Result<Found, Fault> {
        let limit = Duration::from_millis(timeout.0);
        let made = self.ways_back.of(run);
        let mut found = UninstallFound { exit_code: None, reboot_needed: false, output: String::new() };
        if self.put_back(device, run, &made, limit, &mut found).await? {
            return Ok(Found::Uninstalled(Box::new(found)));
        }
        if device.unlock(limit).await.map_err(device_fault)? {
            found.reboot_needed = true;
        }
        // The filter is turned on again with a restart, whatever the uninstaller says.
        found.reboot_needed |= device.has_write_filter();
        if let Some(payload) = DeviceHandle::needed_to_uninstall(variant) {
            self.stage(device, op, payload, claim).await?;
        }
        if device.detect(op, variant).await != Detected::Absent {
            match device.uninstall(op, variant, limit).await {
                Ok(ran) => {
                    found.exit_code = Some(ran.exit_code);
                    found.reboot_needed |= matches!(ran.class, ExitClass::RebootRequired | ExitClass::RebootInitiated);
                    found.output = format!("{}\n{}", ran.output, ended(&ran)).trim().to_owned();
                    let failed = matches!(ran.class, ExitClass::Failure | ExitClass::NotUninstallable);
                    if failed && let Some(point) = made.restore_point {
                        self.restore(device, op, point, &mut found).await?;
                    }
                }
                // It began and left no result: detection decides.
                Err(DeviceError::Interrupted { why, .. }) => found.output = why,
                Err(error @ DeviceError::Installer(Refused::Irreversible(_))) => match made.restore_point {
                    Some(point) => self.restore(device, op, point, &mut found).await?,
                    None => return Err(device_fault(error)),
                },
                Err(error) => return Err(device_fault(error)),
            }
        }
        found.reboot_needed |= device.reboot_pending().await.unwrap_or(false);
        Ok(Found::Uninstalled(Box::new(found)))
    }

    async fn restore(
        &self,
        device: &DeviceHandle,
        op: &str,
        point: u32,
        found: &mut UninstallFound,
    ) -> Result<(), Fault> {
        device.restore(op, point).await.map_err(device_fault)?;
        found.reboot_needed = true;
        let _ = write!(found.output, "\nrestore point {point} is put back");
        Ok(())
    }

    /// Puts a fresh snapshot back; false where there is none, or it could not be.
    async fn put_back(
        &self,
        device: &DeviceHandle,
        run: &str,
        made: &Made,
        limit: Duration,
        found: &mut UninstallFound,
    ) -> Result<bool, Fault> {
        let means = device.rollback_means();
        let (Some(snapshot), Some(taken)) = (&means.snapshot, made.snapshot) else { return Ok(false) };
        if !ways_back::is_fresh(snapshot, taken, now()) {
            tracing::info!(device = %device.id(), "its snapshot is too old to be put back without a person");
            return Ok(false);
        }
        if let Err(why) = ways_back::run(&snapshot.restore, device.id(), run).await {
            tracing::warn!(device = %device.id(), why, "its snapshot could not be put back");
            return Ok(false);
        }
        let begun = Instant::now();
        while let Err(error) = device.ping().await {
            if begun.elapsed() >= limit {
                return Err(device_fault(error));
            }
            tokio::time::sleep(BACK_POLL).await;
        }
        found.output = "the snapshot from before the install is put back".to_owned();
        Ok(true)
    }

    /// Removes what an operation left, on the device and beside it.
    pub(super) async fn clean(&self, device: &DeviceHandle, op: &str) -> Result<(), Fault> {
        device.cleanup(op).await.map_err(device_fault)?;
        let means = device.rollback_means();
        if let (Some(_), Some(remove)) =
            (self.ways_back.of(op).snapshot, means.snapshot.as_ref().and_then(|s| s.remove.as_ref()))
        {
            ways_back::run(remove, device.id(), op).await.map_err(other)?;
        }
        self.ways_back.forget(op);
        Ok(())
    }
}

/// A filter that does not obey. Where the install has not begun it never does under this operation, and the device is left as it was:
/// there is nothing to take back, and somebody may mend the filter meanwhile.
async fn not_unlocked(device: &DeviceHandle, op: &str, limit: Duration, error: DeviceError) -> Fault {
    if !matches!(device.withdraw_install(op).await, Ok(Withdrawal::Withdrawn)) {
        return device_fault(error);
    }
    let as_it_was = match device.lock(limit).await {
        Ok(_) => String::new(),
        Err(again) => format!("; and it could not be turned on again: {again}"),
    };
    not_begun(&format!("its write filter could not be turned off: {error}; {}{as_it_was}", error.hint()))
}

fn not_begun(text: &str) -> Fault {
    Fault { kind: FaultKind::NotBegun, text: text.to_owned() }
}

/// "it ended with 1603: a fatal error during the installation".
fn ended(ran: &Ran) -> String {
    format!("it ended with {}: {}", installers::code_words(ran.exit_code), ran.words)
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

/// Restarts the device; where a write filter protects it, turns that on again behind it.
pub(super) async fn reboot(
    device: &DeviceHandle,
    variant: &Variant,
    timeout: DurationMs,
    again: bool,
) -> Result<Found, Fault> {
    let limit = Duration::from_millis(timeout.0);
    let restart = async || match device.reboot(limit).await {
        Err(error @ DeviceError::Timeout { .. }) => {
            Err(Fault { kind: FaultKind::RebootTimeout, text: error.to_string() })
        }
        restarted => restarted.map_err(device_fault),
    };
    if device.has_write_filter() {
        // What waits for a restart must be carried out on the disk, not in the overlay.
        if device.reboot_pending().await.map_err(device_fault)? {
            restart().await?;
        }
        let locked = device.lock(limit).await.map_err(device_fault)?;
        if !locked && !again && variant.reboot == RebootNeed::Always {
            restart().await?;
        }
        return Ok(Found::Rebooted);
    }
    // After a restart of the node the reboot may be behind us: where it was only asked for, the device can tell.
    let asked_only = variant.reboot == RebootNeed::WhenAsked;
    if !(again && asked_only && device.reboot_pending().await.is_ok_and(|pending| !pending)) {
        restart().await?;
    }
    Ok(Found::Rebooted)
}
