//! S2: no device of wave n+1 is touched before the gate of wave n has passed and its approvals are there.

use std::collections::{BTreeMap, BTreeSet};

use wardround_rollout_plans::model::{
    Command, DeploymentState, DeviceId, GoalAction, Late, Mode, ReportBody, RolloutId, WaveName,
};
use wardround_signing::{Digest, tuf::RoleName};

use super::{Invariant, Seen, Told, Truth, Version};
use crate::sim::device::Ms;

/// How much of a soak the engine may count early: its own tolerance, and that of clocks.
const TOLERANCE_MS: Ms = 6_000;

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct S2 {
    told: Told,
    /// Successes that nodes have signed, by rollout and device.
    signed: BTreeSet<(RolloutId, DeviceId)>,
    /// Since when a device is on its present patch, by what is true.
    soaking: BTreeMap<DeviceId, Ms>,
    /// Waves of which something has been wanted.
    begun: BTreeSet<(RolloutId, WaveName)>,
    /// Devices that were withdrawn before anything began.
    withdrawn: BTreeSet<(RolloutId, DeviceId)>,
}

impl Invariant for S2 {
    fn name(&self) -> &'static str {
        "S2"
    }

    fn see(&mut self, seen: &Seen<'_>, truth: &Truth) -> Result<(), String> {
        match seen {
            Seen::ReportTaken { report } => {
                self.told.take(report, truth);
                if let ReportBody::Deployment { rollout, device, state: DeploymentState::Failed, code, .. } =
                    &report.body
                    && code == "withdrawn"
                {
                    self.withdrawn.insert((rollout.clone(), device.clone()));
                }
            }
            Seen::ReportLeaves { report } => {
                if let ReportBody::Deployment { rollout, device, state, .. } = &report.body
                    && matches!(state, DeploymentState::Succeeded | DeploymentState::Skipped)
                {
                    self.signed.insert((rollout.clone(), device.clone()));
                }
            }
            Seen::Moment => {
                for (id, device) in &truth.devices {
                    if device.patched {
                        self.soaking.entry(id.clone()).or_insert(truth.now);
                    } else {
                        self.soaking.remove(id);
                    }
                }
            }
            Seen::DirectiveLeaves { directive, .. } => {
                // Under a halt nothing begins: a wave that had begun in time may be told late, when the one before goes back.
                for part in directive.rollouts.iter().filter(|part| part.mode == Mode::Proceed) {
                    let Some(version) = truth.versions.get(&part.digest) else { continue };
                    let installs = part.goals.iter().filter(|g| g.action == GoalAction::Install);
                    for goal in installs {
                        let key = (part.rollout.clone(), goal.member.wave.clone());
                        if self.begun.insert(key) {
                            self.may_begin(truth, version, part.digest, &goal.member.device)?;
                        }
                    }
                }
            }
            Seen::InstallBegins { device, rollout, .. } => {
                // The newest version that has the device: a node may go by an older one.
                let mut versions: Vec<_> = truth.versions.iter().filter(|(_, v)| v.rollout.id == **rollout).collect();
                versions.sort_by_key(|(_, v)| std::cmp::Reverse(v.rollout.version));
                let Some((digest, version)) = versions.into_iter().find(|(_, v)| v.wave_of(device).is_some()) else {
                    return Err(format!("an install began on {device}, which no version of {rollout} names"));
                };
                let wave = version.wave_of(device).unwrap_or_default();
                for before in 0..wave {
                    approved(truth, version, *digest, before + 1, false)?;
                    self.shown(truth, version, *digest, before)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl S2 {
    /// The first goal of a wave leaves the controller: is the gate before it through?
    fn may_begin(&self, truth: &Truth, version: &Version, digest: Digest, device: &DeviceId) -> Result<(), String> {
        let Some(wave) = version.wave_of(device).filter(|w| *w > 0) else { return Ok(()) };
        let (rollout, before) = (&version.rollout, wave - 1);
        let gate = &rollout.plan.waves[before].gate;
        let names = (&rollout.waves[wave].name, &rollout.waves[before].name);
        approved(truth, version, digest, wave, true)?;
        let (mut good, mut tried) = (0_u64, 0_u64);
        for member in version.of_wave(before) {
            // A device that was never asked for was left out, by people or by the plan, which counts as nothing tried.
            let Some(mut state) = self.told.of(&rollout.id, member) else { continue };
            // So does one that the plan left out after it had been asked for, and before anything began.
            if leaves_out(version, before) && self.withdrawn.contains(&(rollout.id.clone(), member.clone())) {
                continue;
            }
            // What people take back after the wave has begun does not end it: its beginning is what counts.
            if ordered_back(truth, version, member) {
                if !self.signed.contains(&(rollout.id.clone(), member.clone())) {
                    continue;
                }
                state = DeploymentState::Succeeded;
            }
            if !state.is_terminal() {
                return Err(format!(
                    "{device} of wave {} is wanted while {member} of wave {} is still {state} by all that was reported",
                    names.0, names.1
                ));
            }
            tried += u64::from(state != DeploymentState::Skipped);
            good += u64::from(state == DeploymentState::Succeeded);
            if state == DeploymentState::Succeeded && !truth.liars.contains(&member.site()) {
                self.has_soaked(truth, version, before, member)?;
            }
        }
        if good * 10_000 < tried * u64::from(gate.success.basis_points()) {
            return Err(format!("wave {} begins, and of wave {} only {good} of {tried} succeeded", names.0, names.1));
        }
        let need = u64::from(gate.evidence_min).max(u64::from(tried == 0));
        if good < need && approved_by_both(truth, version, digest, wave, true).is_err() {
            return Err(format!(
                "wave {} begins with {good} successes of wave {} where {need} are needed, and people did not let it pass",
                names.0, names.1
            ));
        }
        Ok(())
    }

    fn has_soaked(&self, truth: &Truth, version: &Version, wave: usize, device: &DeviceId) -> Result<(), String> {
        let soak = i64::try_from(version.rollout.plan.waves[wave].soak.0).unwrap_or(i64::MAX);
        let Some(since) = self.soaking.get(device) else { return Ok(()) };
        let slack = TOLERANCE_MS + soak * truth.drift_ppm / 1_000_000;
        if truth.now - since + slack < soak {
            return Err(format!(
                "the next wave begins though {device} has had the patch for {} s only, of a soak of {} s",
                (truth.now - since) / 1_000,
                soak / 1_000
            ));
        }
        Ok(())
    }

    /// A node begins an install of a later wave: have nodes really signed what shows that this one has passed?
    fn shown(&self, truth: &Truth, version: &Version, digest: Digest, wave: usize) -> Result<(), String> {
        let rollout = &version.rollout;
        let count = rollout.waves[wave].count;
        let need = rollout.plan.waves[wave].gate.proofs_min(count).max(1);
        let have = version.of_wave(wave).filter(|d| self.signed.contains(&(rollout.id.clone(), (*d).clone()))).count();
        if (have as u64) < need && approved_by_both(truth, version, digest, wave + 1, false).is_err() {
            return Err(format!(
                "an install of a wave after {} began with {have} signed successes of it where {need} are needed",
                rollout.waves[wave].name
            ));
        }
        Ok(())
    }
}

/// Does the plan leave devices out of a wave that have not begun in time?
fn leaves_out(version: &Version, wave: usize) -> bool {
    let plan = &version.rollout.plan;
    let wave = &plan.waves[wave];
    let late = plan.deadline_of(wave).is_some_and(|deadline| deadline.then == Late::LeaveOut);
    late || plan.offline_of(wave).is_some_and(|offline| offline.leave_out_after.is_some())
}

/// Have people ordered to take this device back?
fn ordered_back(truth: &Truth, version: &Version, device: &DeviceId) -> bool {
    let member = version.members.iter().find(|m| m.device == *device);
    truth.orders.iter().any(|o| {
        matches!(&o.order.command, Command::RollBack { target } if member.is_some_and(|m| target.covers(m)))
            && o.order.rollout == version.rollout.id
            && (o.accepted.is_some() || o.uncertain)
    })
}

/// Who has signed an approval of a wave that counts for this version; all of them, or those whom the controller has heard.
fn approvals<'a>(
    truth: &'a Truth,
    version: &'a Version,
    digest: Digest,
    wave: usize,
    heard: bool,
) -> impl Iterator<Item = RoleName> + 'a {
    let name = &version.rollout.waves[wave].name;
    let mut people = BTreeSet::new();
    let orders = truth.orders.iter().filter(move |o| {
        matches!(&o.order.command, Command::Approve { wave } if wave == name)
            && version.rollout.approval_counts(digest, o.order.digest, name)
            && (!heard || o.accepted.is_some() || o.uncertain)
    });
    orders.flat_map(|o| o.by.iter()).filter(move |p| people.insert(**p)).map(|p| p.role())
}

fn approved(truth: &Truth, version: &Version, digest: Digest, wave: usize, heard: bool) -> Result<(), String> {
    let mut given: Vec<RoleName> = approvals(truth, version, digest, wave, heard).collect();
    let needed: BTreeSet<_> = version.rollout.plan.waves[wave - 1].gate.approvals.iter().collect();
    for role in needed {
        let at = given.iter().position(|given| given.word() == role.word());
        let at = at.ok_or_else(|| {
            format!("wave {} is begun without the approval of {}", version.rollout.waves[wave].name, role.word())
        })?;
        given.remove(at);
    }
    Ok(())
}

fn approved_by_both(truth: &Truth, version: &Version, digest: Digest, wave: usize, heard: bool) -> Result<(), String> {
    let given: BTreeSet<RoleName> = approvals(truth, version, digest, wave, heard).collect();
    let both = [RoleName::Release, RoleName::Clinical].iter().all(|role| given.contains(role));
    if both { Ok(()) } else { Err("release and clinical did not both approve".to_owned()) }
}
