//! What the answer of a task leads to.

use std::collections::BTreeMap;

use wardround_rollout_plans::model::{
    DeploymentState, Detected, DeviceId, DurationMs, Evidence, ProbeAnswer, RebootNeed, RolloutId, SystemId, Timestamp,
};

use super::{
    Begun, Cause, CheckFound, Deployment, Fault, FaultKind, Found, InstallFound, InstallOutcome, NodeState, Phase,
    PreflightFound, UninstallFound, clip, deployment::Env,
};

/// How often a payload that is not what was signed is fetched again. A damaged cache is mended by the second try.
const CORRUPT_TRIES_MAX: u32 = 3;
/// Room that an install wants on the device, in payloads: the payload itself, what it unpacks, and the files that it keeps for the
/// way back.
const DISK_FACTOR: u64 = 3;
/// How often the uninstaller is run before a person is called.
const UNINSTALL_RUNS_MAX: u32 = 3;
/// Between two runs of it.
const UNINSTALL_PAUSE: DurationMs = DurationMs::from_secs(1);
/// How often the removal of left-overs is tried; they do no harm.
const CLEANUP_TRIES_MAX: u32 = 3;
/// Failures of a reboot command, other than a device that stays away, before the patch is taken back.
const REBOOT_TRIES_MAX: u32 = 3;

/// What the patch requires and the device says is not there. Such a device is not one that the patch is for: nothing was
/// touched, and no later try would find it otherwise.
fn lacking(found: &PreflightFound) -> Option<Cause> {
    let asked = found.unreachable.is_none() && found.before == Detected::Absent;
    let missing = found.prerequisites.iter().find(|(_, there)| *there == Detected::Absent).filter(|_| asked);
    missing.map(|(patch, _)| Cause::new("prerequisite", format!("{patch} is not there, which the patch requires")))
}

/// What a rollback did for the clinical systems.
enum Cure {
    /// They are as healthy as before.
    Whole,
    /// This one is not.
    Ill(SystemId),
}

/// What the preflight must know of a system.
struct Standing {
    critical: bool,
    /// Work on another device may be the reason why it fails.
    disturbed: bool,
}

impl NodeState {
    pub(super) fn settle(&mut self, rollout: &RolloutId, device: &DeviceId, task: u64, found: &Found, now: Timestamp) {
        let held =
            self.hold_of(rollout, device, now).or_else(|| self.shut(rollout, device, now).map(|shut| shut.cause));
        let standing = self.standing_of(device, now);
        let settled = self.with(rollout, device, now, |d, env| {
            if !d.busy || d.task != task {
                return false;
            }
            d.busy = false;
            d.resumed = false;
            d.settle(env, found, held.as_ref(), &standing);
            true
        });
        if settled != Some(true) {
            return;
        }
        match found {
            Found::Preflight(preflight) => self.look(&preflight.probes, now),
            Found::Checked(check) => self.look(&check.probes, now),
            _ => {}
        }
        if let Found::Fault(fault) = found
            && matches!(fault.kind, FaultKind::Corrupt | FaultKind::Refused)
        {
            let what = if fault.kind == FaultKind::Corrupt { "payload chunk" } else { "patch" };
            self.refuse(what, &fault.text, Some(rollout), now);
        }
        self.reconcile_ended(rollout, device, now);
        self.reconcile_put_off(rollout, device, now);
    }

    fn standing_of(&self, device: &DeviceId, now: Timestamp) -> BTreeMap<SystemId, Standing> {
        let systems = self.site.inventory.iter().flat_map(|i| &i.systems);
        systems
            .filter(|s| s.devices.contains(device))
            .map(|s| (s.id.clone(), Standing { critical: s.critical, disturbed: self.is_disturbed(&s.id, now) }))
            .collect()
    }
}

/// The patch is not there, though it was to be.
fn gone(what: &str, found: &CheckFound) -> Cause {
    let said = if found.said.is_empty() { String::new() } else { format!(": {}", found.said) };
    Cause::new("verify", format!("{what}{said}"))
}

/// Healthy or not, by system: every probe must pass.
pub(super) fn verdicts(probes: &[ProbeAnswer]) -> BTreeMap<SystemId, bool> {
    let mut verdicts = BTreeMap::new();
    for probe in probes {
        *verdicts.entry(probe.system.clone()).or_insert(true) &= probe.ok;
    }
    verdicts
}

impl Deployment {
    /// `held` says why no install may begin now.
    fn settle(
        &mut self,
        env: &mut Env<'_>,
        found: &Found,
        held: Option<&Cause>,
        standing: &BTreeMap<SystemId, Standing>,
    ) {
        match (self.phase, found) {
            (_, Found::Fault(fault)) => self.fault(env, fault, held),
            (Phase::Fetch, Found::Fetched) => self.go(Phase::Stage, env.now),
            (Phase::Stage, Found::Staged) => {
                self.go(Phase::Ready, env.now);
                if self.state != DeploymentState::Deferred {
                    let evidence = Evidence { payload: Some(self.payload), ..Evidence::default() };
                    self.show(env, DeploymentState::Staged, Cause::default(), evidence);
                }
            }
            (Phase::Preflight, Found::Preflight(found)) => self.preflight(env, found, held.is_some(), standing),
            (Phase::Install, Found::Installed(found)) => self.installed(env, found),
            (Phase::Look, Found::Checked(found)) => self.looked(env, found, self.seen(found)),
            (Phase::Reboot, Found::Rebooted) => self.rebooted(env),
            (Phase::RebootBack, Found::Rebooted) => self.go(Phase::VerifyBack, env.now),
            (Phase::Verify, Found::Checked(found)) => self.verified(env, found),
            (Phase::Final, Found::Checked(found)) => self.soaked(env, found),
            (Phase::Uninstall, Found::Uninstalled(found)) => self.uninstalled(env, found),
            (Phase::VerifyBack, Found::Checked(found)) => self.verified_back(env, found),
            (Phase::Done, Found::Cleaned) => self.cleaned = true,
            // An answer that does not belong to the phase: the phase is simply tried again.
            _ => self.again(env.now),
        }
    }

    fn preflight(
        &mut self,
        env: &mut Env<'_>,
        found: &PreflightFound,
        held: bool,
        standing: &BTreeMap<SystemId, Standing>,
    ) {
        let evidence = Evidence {
            before: Some(found.before.clone()),
            reboot_pending: found.reboot_pending,
            probes: found.probes.clone(),
            ..Evidence::default()
        };
        if let Some(why) = &found.mismatch {
            return self.end(env, DeploymentState::Failed, Cause::new("platform", why), evidence);
        }
        let left = self.left && matches!(found.before, Detected::Present { .. });
        if found.begun != Begun::Not && !left {
            return self.take_over(env, found, evidence);
        }
        if let Some(cause) = lacking(found).filter(|_| self.harmed(&found.probes).is_none()) {
            return self.end(env, DeploymentState::Skipped, cause, evidence);
        }
        if let Some(cause) = self.not_now(found, standing) {
            return self.defer(env, Phase::Ready, cause, evidence);
        }
        if found.before == Detected::Absent {
            self.left = false;
        }
        if left {
            // What an earlier attempt left is what this one wants: it is watched like any other.
            self.before = Some(Detected::Absent);
            self.baseline = verdicts(&found.probes);
            self.go(Phase::Verify, env.now);
            return self.show(env, DeploymentState::Verifying, Cause::default(), evidence);
        }
        if let Detected::Present { proof } = &found.before {
            let cause = Cause::new("already_installed", format!("already installed: {proof}"));
            return self.end(env, DeploymentState::Skipped, cause, evidence);
        }
        if let Some(system) = self.harmed(&found.probes) {
            let text = format!("clinical system {system} was healthy before the first try and is not now");
            return self.end(env, DeploymentState::Failed, Cause::new("clinical_system", text), evidence);
        }
        if held {
            // A halt, pause, expiry or the end of a window came meanwhile: it waits where it is and is asked afresh later.
            return self.go(Phase::Ready, env.now);
        }
        self.before = Some(found.before.clone());
        self.baseline = verdicts(&found.probes);
        self.go(Phase::Install, env.now);
        let evidence = Evidence { payload: Some(self.payload), ..evidence };
        self.show(env, DeploymentState::Installing, Cause::default(), evidence);
    }

    /// The patch is there, or coming, by an install of this very deployment, which this node does not remember: it is watched like any other.
    /// How its systems were before nobody knows any more: one that is ill now counts against the patch. What is not finished may
    /// take a restart, and so waits until nobody uses the device.
    fn take_over(&mut self, env: &mut Env<'_>, found: &PreflightFound, evidence: Evidence) {
        let unfinished = found.begun == Begun::Unfinished;
        if let Some(who) = found.in_use.as_ref().filter(|_| unfinished) {
            return self.defer(env, Phase::Ready, Cause::new("in_use", format!("in clinical use: {who}")), evidence);
        }
        self.install_run = self.install_run.max(found.run);
        self.before = Some(Detected::Absent);
        self.baseline = verdicts(&found.probes).into_keys().map(|system| (system, true)).collect();
        let (phase, state) = if unfinished {
            (Phase::Install, DeploymentState::Installing)
        } else {
            (Phase::Verify, DeploymentState::Verifying)
        };
        self.go(phase, env.now);
        let cause = Cause::new("taken_over", "the install was begun by a node that has lost what it knew of it");
        self.show(env, state, cause, evidence);
    }

    /// Why the device may not be touched now.
    fn not_now(&self, found: &PreflightFound, standing: &BTreeMap<SystemId, Standing>) -> Option<Cause> {
        if let Some(why) = &found.unreachable {
            return Some(Cause::new("unreachable", format!("the device does not answer: {why}")));
        }
        if let Detected::Unknown { why } = &found.before {
            return Some(Cause::new("detection", format!("can't tell whether the patch is there: {why}")));
        }
        if matches!(found.before, Detected::Present { .. }) {
            return None;
        }
        let unknown = found.prerequisites.iter().find_map(|(patch, there)| match there {
            Detected::Unknown { why } => Some((patch, why)),
            _ => None,
        });
        if let Some((patch, why)) = unknown {
            let text = format!("can't tell whether {patch} is there, which the patch requires: {why}");
            return Some(Cause::new("detection", text));
        }
        if let Some(who) = &found.in_use {
            return Some(Cause::new("in_use", format!("in clinical use: {who}")));
        }
        if let Some(why) = &found.write_filter {
            return Some(Cause::new("write_filter", why));
        }
        let needed = self.payload_length.saturating_mul(DISK_FACTOR);
        match found.free_bytes {
            Some(free) if free < needed => {
                let text = format!(
                    "the device has {free} bytes free; {needed} are needed for a payload of {} and what it unpacks and keeps",
                    self.payload_length
                );
                return Some(Cause::new("disk", text));
            }
            None => return Some(Cause::new("disk", "the device does not say how much room it has")),
            Some(_) => {}
        }
        match found.reboot_pending {
            Some(false) => {}
            Some(true) => {
                let why = if found.pending.is_empty() { String::new() } else { format!(" ({})", found.pending) };
                let text = format!("the device waits for a reboot from before{why}; reboot it first");
                return Some(Cause::new("reboot_pending", text));
            }
            None => {
                let text = "the device does not say whether it waits for a reboot";
                return Some(Cause::new("reboot_pending", text));
            }
        }
        verdicts(&found.probes).into_iter().filter(|(_, ok)| !ok).find_map(|(system, _)| {
            let standing = standing.get(&system)?;
            (standing.critical || standing.disturbed).then(|| {
                let answer =
                    found.probes.iter().find(|p| p.system == system && !p.ok).map_or("", |p| p.answer.as_str());
                let text = format!("clinical system {system} is unhealthy before the install: {answer}");
                Cause::new("clinical_system", text)
            })
        })
    }

    fn installed(&mut self, env: &mut Env<'_>, found: &InstallFound) {
        let evidence = Evidence {
            payload: Some(self.payload),
            exit_code: found.exit_code,
            before: self.before.clone(),
            after: Some(found.after.clone()),
            reboot_pending: Some(found.reboot_pending),
            output: clip(&found.output),
            ..Evidence::default()
        };
        self.disrupted_at = Some(env.now);
        let as_before = found.after == Detected::Absent;
        if let Some(cause) = self.take_back.clone() {
            let untouched =
                as_before && !matches!(found.outcome, InstallOutcome::Installed | InstallOutcome::NeedsReboot);
            return if untouched {
                self.end(env, DeploymentState::Failed, cause, evidence)
            } else {
                self.roll_back(env, &cause, evidence)
            };
        }
        match &found.outcome {
            InstallOutcome::Installed if self.reboot != RebootNeed::Always => {
                self.go(Phase::Verify, env.now);
                self.show(env, DeploymentState::Verifying, Cause::default(), evidence);
            }
            InstallOutcome::Installed | InstallOutcome::NeedsReboot => {
                self.go(Phase::Reboot, env.now);
                self.show(env, DeploymentState::Rebooting, Cause::default(), evidence);
            }
            InstallOutcome::NothingToDo { reason } if as_before => {
                self.end(env, DeploymentState::Skipped, Cause::new("not_applicable", reason), evidence);
            }
            InstallOutcome::NothingToDo { .. } => {
                self.go(Phase::Verify, env.now);
                self.show(env, DeploymentState::Verifying, Cause::default(), evidence);
            }
            InstallOutcome::Busy => {
                self.install_run += 1;
                let cause = Cause::new("busy", "another installation is under way on the device");
                self.defer(env, Phase::Stage, cause, evidence);
            }
            // Its launcher left no result.
            InstallOutcome::Failed { reason, code }
                if as_before && found.exit_code.is_none() && self.may_retry(env) =>
            {
                self.retry(env, &Cause::new(code, reason), evidence);
            }
            InstallOutcome::Failed { reason, code } if as_before => {
                self.end(env, DeploymentState::Failed, Cause::new(code, reason), evidence);
            }
            InstallOutcome::Failed { reason, code } => self.roll_back(env, &Cause::new(code, reason), evidence),
        }
    }

    fn rebooted(&mut self, env: &mut Env<'_>) {
        self.disrupted_at = Some(env.now);
        if let Some(cause) = self.take_back.clone() {
            return self.roll_back(env, &cause, Evidence::default());
        }
        self.go(Phase::Verify, env.now);
        self.show(env, DeploymentState::Verifying, Cause::default(), Evidence::default());
    }

    fn seen(&self, found: &CheckFound) -> Evidence {
        Evidence {
            before: self.before.clone(),
            after: Some(found.detected.clone()),
            reboot_pending: found.reboot_pending,
            probes: found.probes.clone(),
            ..Evidence::default()
        }
    }

    fn verified(&mut self, env: &mut Env<'_>, found: &CheckFound) {
        let evidence = self.seen(found);
        match &found.detected {
            Detected::Present { .. } => {
                let soak = env.policy.waves.get(&self.wave).map(|w| w.soak).unwrap_or_default();
                self.go(Phase::Soak, env.now);
                self.soak_until = Some(env.now.after(soak));
                self.show(env, DeploymentState::Soaking, Cause::default(), evidence);
            }
            Detected::Absent => {
                let cause = gone("the installer was content, but the patch is not on the device", found);
                self.end(env, DeploymentState::Failed, cause, evidence);
            }
            Detected::Unknown { why } if env.now.since(self.phase_since) >= env.policy.reboot_timeout => {
                let cause = Cause::new("unreachable", format!("can't tell whether the patch is there: {why}"));
                self.roll_back(env, &cause, evidence);
            }
            Detected::Unknown { .. } => self.again(env.now),
        }
    }

    fn soaked(&mut self, env: &mut Env<'_>, found: &CheckFound) {
        let evidence = self.seen(found);
        let now_healthy = verdicts(&found.probes);
        let worse = self.baseline.iter().find(|(id, healthy)| **healthy && now_healthy.get(*id) == Some(&false));
        // A system that left the site file, or lost its probes, answers no more: it would hold the soak for ever.
        let counting = self.failures.keys().any(|id| now_healthy.contains_key(id));
        match &found.detected {
            Detected::Present { .. } if worse.is_none() && !counting => {
                self.end(env, DeploymentState::Succeeded, Cause::default(), evidence);
            }
            Detected::Present { .. } => {
                // Neither healthy nor failed often enough to be blamed: watched on until one of both is so.
                let text = worse.map_or("a clinical system".to_owned(), |(id, _)| format!("clinical system {id}"));
                let cause = Cause::new("clinical_system", format!("{text} does not answer as before; watched on"));
                self.go(Phase::Soak, env.now);
                self.soak_until = Some(env.now.after(env.policy.health.interval));
                if self.cause != cause {
                    self.show(env, DeploymentState::Soaking, cause, evidence);
                }
            }
            Detected::Absent => {
                let cause = gone("the patch is no longer on the device at the end of its soak", found);
                self.end(env, DeploymentState::Failed, cause, evidence);
            }
            Detected::Unknown { why } if env.now.since(self.phase_since) >= env.policy.defer_max => {
                let cause =
                    Cause::new("unreachable", format!("the device does not answer at the end of its soak: {why}"));
                self.give_up(env, DeploymentState::RollbackFailed, cause, evidence);
            }
            Detected::Unknown { .. } => self.again(env.now),
        }
    }

    fn uninstalled(&mut self, env: &mut Env<'_>, found: &UninstallFound) {
        self.disrupted_at = Some(env.now);
        if found.exit_code.is_some() || !found.output.is_empty() {
            let evidence = Evidence {
                exit_code: found.exit_code,
                reboot_pending: Some(found.reboot_needed),
                output: clip(&found.output),
                ..Evidence::default()
            };
            let cause = self.cause.clone();
            self.show(env, DeploymentState::RollingBack, cause, evidence);
        }
        self.go(if found.reboot_needed { Phase::RebootBack } else { Phase::VerifyBack }, env.now);
    }

    /// S8: a rolled-back device is as it was.
    fn verified_back(&mut self, env: &mut Env<'_>, found: &CheckFound) {
        let evidence = self.seen(found);
        let before = self.before.clone().unwrap_or(Detected::Absent);
        if found.detected.same_as(&before) {
            let now_healthy = verdicts(&found.probes);
            let worse = self.baseline.iter().find(|(id, healthy)| **healthy && now_healthy.get(*id) == Some(&false));
            let cured = worse.map_or(Cure::Whole, |(system, _)| Cure::Ill(system.clone()));
            let health = &env.policy.health;
            // As long as a failure would take to be blamed.
            let patience = health.grace.0.saturating_add(health.interval.0.saturating_mul(health.failures.into()));
            if matches!(cured, Cure::Ill(_)) && env.now.since(self.phase_since).0 < patience {
                return self.again(env.now);
            }
            self.left = false;
            let cause = self.take_back.clone().unwrap_or_default();
            self.end(env, DeploymentState::RolledBack, cause, evidence);
            if let Cure::Ill(system) = cured {
                let text = format!(
                    "the patch is off {} in rollout {}, but clinical system {system}, which was healthy before it, is not",
                    env.device, env.rollout
                );
                self.alarm(env, "rollback_no_cure", &text);
            }
            return;
        }
        match &found.detected {
            Detected::Unknown { why } if env.now.since(self.phase_since) >= env.policy.reboot_timeout => {
                let text = format!("the device does not answer after the uninstall: {why}");
                self.give_up(env, DeploymentState::RollbackFailed, Cause::new("unreachable", text), evidence);
            }
            Detected::Unknown { .. } => self.again(env.now),
            _ => self.uninstall_again(env, "the patch is still on the device after the uninstall", evidence),
        }
    }

    fn uninstall_again(&mut self, env: &mut Env<'_>, why: &str, evidence: Evidence) {
        if self.uninstall_run >= UNINSTALL_RUNS_MAX {
            let text = format!("{why}; tried {UNINSTALL_RUNS_MAX} times");
            return self.give_up(env, DeploymentState::RollbackFailed, Cause::new("uninstall_failed", text), evidence);
        }
        self.uninstall_run += 1;
        self.go(Phase::Uninstall, env.now);
        // Another run, which has not begun: it waits for its turn in the redundancy group anew.
        self.retry_at = Some(env.now.after(UNINSTALL_PAUSE));
    }

    fn fault(&mut self, env: &mut Env<'_>, fault: &Fault, held: Option<&Cause>) {
        let waited = env.now.since(self.phase_since);
        match (self.phase, fault.kind) {
            (Phase::Fetch | Phase::Stage, FaultKind::Refused) => {
                self.end(env, DeploymentState::Failed, Cause::new("refused", &fault.text), Evidence::default());
            }
            (Phase::Fetch | Phase::Stage, FaultKind::Corrupt) if self.tries + 1 >= CORRUPT_TRIES_MAX => {
                self.end(env, DeploymentState::Failed, Cause::new("payload", &fault.text), Evidence::default());
            }
            (Phase::Fetch, FaultKind::Unreachable | FaultKind::Corrupt) => self.again(env.now),
            (Phase::Stage, FaultKind::Corrupt) => {
                let tries = self.tries + 1;
                self.go(Phase::Fetch, env.now);
                self.tries = tries;
            }
            (Phase::Fetch | Phase::Stage, kind) => {
                let code = match kind {
                    FaultKind::Disk => "disk",
                    FaultKind::Unreachable => "unreachable",
                    _ => "staging",
                };
                self.defer(env, self.phase, Cause::new(code, &fault.text), Evidence::default());
            }
            (Phase::Ready | Phase::Preflight, _) => {
                self.defer(env, Phase::Ready, Cause::new("unreachable", &fault.text), Evidence::default());
            }
            (Phase::Install, FaultKind::NotBegun) => {
                // That run is withdrawn for good: the next one needs an operation, and a payload, of its own.
                self.install_run += 1;
                let code = held.map_or("not_begun", |cause| &cause.code);
                self.not_begun(env, Phase::Stage, code, fault);
            }
            (Phase::Install, FaultKind::NotStaged) => self.not_begun(env, Phase::Stage, "staging", fault),
            (Phase::Install, FaultKind::Unreachable) if waited < env.policy.install_timeout => self.again(env.now),
            (Phase::Install, kind) => {
                let code = match kind {
                    FaultKind::Timeout => "install_timeout",
                    FaultKind::Unreachable => "unreachable",
                    _ => "install_failed",
                };
                let cause = self.take_back.clone().unwrap_or_else(|| Cause::new(code, &fault.text));
                if self.may_retry(env) {
                    return self.look(env, cause);
                }
                self.roll_back(env, &cause, Evidence::default());
            }
            (Phase::Reboot | Phase::RebootBack, _) => self.reboot_fault(env, fault),
            (Phase::Look | Phase::Verify | Phase::Final | Phase::VerifyBack, _) => {
                // Not being able to look is an unknown finding, and has the same deadlines.
                let found = CheckFound {
                    detected: Detected::Unknown { why: fault.text.clone() },
                    reboot_pending: None,
                    probes: Vec::new(),
                    said: String::new(),
                };
                match self.phase {
                    Phase::Look => self.looked(env, &found, Evidence::default()),
                    Phase::Verify => self.verified(env, &found),
                    Phase::Final => self.soaked(env, &found),
                    _ => self.verified_back(env, &found),
                }
            }
            (Phase::Uninstall, FaultKind::Unreachable) if waited < env.policy.reboot_timeout => self.again(env.now),
            (Phase::Uninstall, FaultKind::AtWork) if waited < env.policy.install_timeout => self.again(env.now),
            (Phase::Uninstall, FaultKind::Unreachable | FaultKind::AtWork) => {
                let text = format!("the patch can't be taken back: {}", fault.text);
                let cause = Cause::new("unreachable", text);
                self.give_up(env, DeploymentState::RollbackFailed, cause, Evidence::default());
            }
            (Phase::Uninstall, FaultKind::Refused) => {
                self.give_up(
                    env,
                    DeploymentState::RollbackFailed,
                    Cause::new("no_way_back", &fault.text),
                    Evidence::default(),
                );
            }
            (Phase::Uninstall, _) => self.uninstall_again(env, &fault.text, Evidence::default()),
            (Phase::Done, _) if self.tries + 1 >= CLEANUP_TRIES_MAX => self.cleaned = true,
            (Phase::Soak | Phase::Done, _) => self.again(env.now),
        }
    }

    /// The process had ended between the intent and the act, and a halt or the end of a window came before it was back; or the payload has
    /// vanished from the device. Whether it may begin is asked afresh: to bring a payload again may take hours.
    fn not_begun(&mut self, env: &mut Env<'_>, back_to: Phase, code: &str, fault: &Fault) {
        match self.take_back.clone() {
            Some(cause) => self.end(env, DeploymentState::Failed, cause, Evidence::default()),
            None => self.defer(env, back_to, Cause::new(code, &fault.text), Evidence::default()),
        }
    }

    fn reboot_fault(&mut self, env: &mut Env<'_>, fault: &Fault) {
        let waited = env.now.since(self.phase_since);
        let gone = fault.kind == FaultKind::RebootTimeout
            || (fault.kind == FaultKind::Unreachable && waited >= env.policy.reboot_timeout);
        if gone {
            let text = format!("the device did not come back from its reboot: {}", fault.text);
            let cause = Cause::new("reboot_timeout", text);
            return self.give_up(env, DeploymentState::RollbackFailed, cause, Evidence::default());
        }
        if fault.kind == FaultKind::Unreachable || self.tries + 1 < REBOOT_TRIES_MAX {
            return self.again(env.now);
        }
        let cause = Cause::new("reboot_failed", format!("the device could not be rebooted: {}", fault.text));
        if self.phase == Phase::Reboot {
            self.roll_back(env, &cause, Evidence::default());
        } else {
            self.give_up(env, DeploymentState::RollbackFailed, cause, Evidence::default());
        }
    }
}
