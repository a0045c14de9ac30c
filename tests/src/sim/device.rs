//! Devices and clinical systems as they really are, whatever anybody says of them.

use std::collections::{BTreeMap, BTreeSet};

use wardround_node::{
    installers::{ExitClass, Step, meaning},
    pure::{InstallFound, UninstallFound, install_outcome},
};
use wardround_rollout_plans::model::{Detected, DeviceId, Installer, RebootNeed, SystemId};

/// Milliseconds since 1970.
pub type Ms = i64;
/// A second.
pub const SECOND: Ms = 1_000;
/// A minute.
pub const MINUTE: Ms = 60 * SECOND;

/// What a device will do when it is patched: its part of a story.
#[derive(Debug, Clone)]
pub struct Fate {
    /// How the first runs of its installer end; later ones succeed.
    pub installs: Vec<Run>,
    /// So many runs of the uninstaller change nothing.
    pub uninstall_fails: u32,
    /// The installer asks for a reboot, which alone completes its work.
    pub reboot: bool,
    /// How long an installer runs.
    pub install_ms: Ms,
    /// How long a reboot takes.
    pub reboot_ms: Ms,
    /// The patch breaks these clinical systems so long after it came.
    pub breaks: BTreeMap<SystemId, Ms>,
    /// Somebody uses it until then.
    pub in_use_until: Ms,
    /// The patch is on it already.
    pub patched_before: bool,
}

impl Default for Fate {
    fn default() -> Self {
        Self {
            installs: Vec::new(),
            uninstall_fails: 0,
            reboot: false,
            install_ms: 40 * SECOND,
            reboot_ms: 50 * SECOND,
            breaks: BTreeMap::new(),
            in_use_until: 0,
            patched_before: false,
        }
    }
}

/// How one run of an installer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// Well.
    Well,
    /// Another installation is under way.
    Busy,
    /// With an error, and nothing is changed.
    Fails,
    /// With an error code, though the patch is on the device.
    FailsThoughDone,
    /// With success, though the patch is not on the device.
    SucceedsThoughNot,
    /// The device loses its power in the middle: no result, nothing changed.
    Crash,
    /// As [`Run::Crash`], but the patch is on the device.
    CrashDone,
}

#[derive(Debug, Clone)]
struct Record {
    ends: Ms,
    /// Applied to the device already.
    over: bool,
    how: Run,
    exit: Option<u32>,
}

/// What a request to run something met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    /// It begins now and ends then.
    Begins(Ms),
    /// It is under way or over; its end.
    Known(Ms),
    /// It was withdrawn, or its payload is not there.
    Withdrawn,
    /// There is no payload.
    NotStaged,
}

/// What becomes of an operation that is to be withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdrawn {
    /// It will never begin.
    Now,
    /// It is under way.
    AtWork,
    /// It is over.
    Over,
}

/// A device with its launcher, which answers a repeated operation from its record.
#[derive(Debug, Clone)]
pub struct Device {
    /// Which.
    pub id: DeviceId,
    /// Its story.
    pub fate: Fate,
    /// The patch is on it.
    pub patched: bool,
    /// Since when.
    pub patched_at: Ms,
    /// What the next reboot makes of `patched`.
    pub pending: Option<bool>,
    /// Nobody reaches it until then.
    pub away_until: Ms,
    /// It reboots until then.
    pub reboots_until: Ms,
    installs: BTreeMap<String, Record>,
    uninstalls: BTreeMap<String, Record>,
    withdrawn: BTreeSet<String>,
    staged: BTreeSet<String>,
    /// How often an installer began: the story of its runs.
    pub install_runs: usize,
    uninstall_runs: u32,
}

const INSTALLER: fn() -> Installer = || Installer::Hotfix { kb: "KB4500331".to_owned(), switches: Vec::new() };

/// How the patch of every simulated world is installed.
#[must_use]
pub fn installer() -> Installer {
    INSTALLER()
}

impl Device {
    /// As it stands before anybody touches it.
    #[must_use]
    pub fn new(id: DeviceId, fate: Fate) -> Self {
        Self {
            id,
            patched: fate.patched_before,
            fate,
            patched_at: 0,
            pending: None,
            away_until: 0,
            reboots_until: 0,
            installs: BTreeMap::new(),
            uninstalls: BTreeMap::new(),
            withdrawn: BTreeSet::new(),
            staged: BTreeSet::new(),
            install_runs: 0,
            uninstall_runs: 0,
        }
    }

    /// Does it answer?
    #[must_use]
    pub fn answers(&self, now: Ms) -> bool {
        now >= self.away_until && now >= self.reboots_until
    }

    /// Is it being disrupted?
    #[must_use]
    pub fn is_disrupted(&self, now: Ms) -> bool {
        let runs = self.installs.values().chain(self.uninstalls.values()).any(|run| !run.over);
        runs || now < self.reboots_until
    }

    /// What it says when it is asked.
    #[must_use]
    pub fn detect(&self) -> Detected {
        if self.patched {
            Detected::Present { proof: "KB4500331 in the registry".to_owned() }
        } else {
            Detected::Absent
        }
    }

    /// The payload of an operation is put on it.
    pub fn stage(&mut self, op: &str) {
        self.staged.insert(op.to_owned());
    }

    /// Removes what operations left.
    pub fn cleanup(&mut self, op: &str) {
        self.staged.remove(op);
        self.installs.remove(op);
        self.uninstalls.remove(op);
        self.withdrawn.remove(op);
    }

    /// Runs the installer unless this operation is known.
    pub fn install(&mut self, op: &str, now: Ms) -> Met {
        if let Some(run) = self.installs.get(op) {
            return Met::Known(run.ends);
        }
        if self.withdrawn.contains(op) {
            return Met::Withdrawn;
        }
        if !self.staged.contains(op) {
            return Met::NotStaged;
        }
        let how = self.fate.installs.get(self.install_runs).copied().unwrap_or(Run::Well);
        self.install_runs += 1;
        let ends = now + self.fate.install_ms;
        self.installs.insert(op.to_owned(), Record { ends, over: false, how, exit: None });
        Met::Begins(ends)
    }

    /// Has this operation of the installer begun?
    #[must_use]
    pub fn has_begun(&self, op: &str) -> bool {
        self.installs.contains_key(op)
    }

    /// An operation of the installer is not to begin any more.
    pub fn withdraw(&mut self, op: &str) -> Withdrawn {
        match self.installs.get(op) {
            Some(run) if run.over => Withdrawn::Over,
            Some(_) => Withdrawn::AtWork,
            None => {
                self.withdrawn.insert(op.to_owned());
                Withdrawn::Now
            }
        }
    }

    /// Runs the uninstaller unless this operation is known.
    pub fn uninstall(&mut self, op: &str, now: Ms) -> Met {
        if let Some(run) = self.uninstalls.get(op) {
            return Met::Known(run.ends);
        }
        let works = self.uninstall_runs >= self.fate.uninstall_fails;
        self.uninstall_runs += 1;
        let ends = now + self.fate.install_ms / 2;
        let how = if works { Run::Well } else { Run::Fails };
        self.uninstalls.insert(op.to_owned(), Record { ends, over: false, how, exit: None });
        Met::Begins(ends)
    }

    /// What has ended by now takes effect.
    pub fn settle(&mut self, now: Ms) {
        let (reboot, patched) = (self.fate.reboot, &mut self.patched);
        for run in self.installs.values_mut().filter(|run| !run.over && run.ends <= now) {
            run.over = true;
            let (exit, done) = match run.how {
                Run::Well => (Some(if reboot { 3010 } else { 0 }), true),
                Run::Busy => (Some(1618), false),
                Run::Fails => (Some(1603), false),
                Run::FailsThoughDone => (Some(1603), true),
                Run::SucceedsThoughNot => (Some(0), false),
                Run::Crash => (None, false),
                Run::CrashDone => (None, true),
            };
            run.exit = exit;
            if done && reboot && run.how == Run::Well {
                self.pending = Some(true);
            } else if done {
                self.patched_at = if *patched { self.patched_at } else { run.ends };
                *patched = true;
            }
        }
        for run in self.uninstalls.values_mut().filter(|run| !run.over && run.ends <= now) {
            run.over = true;
            let works = run.how == Run::Well;
            run.exit = Some(if works { 0 } else { 1603 });
            if works {
                *patched = false;
                self.pending = None;
            }
        }
    }

    /// It reboots; its pending work is done by then.
    pub fn reboot(&mut self, now: Ms) -> Ms {
        self.reboots_until = now + self.fate.reboot_ms;
        if let Some(patched) = self.pending.take() {
            self.patched_at = if self.patched { self.patched_at } else { self.reboots_until };
            self.patched = patched;
        }
        self.reboots_until
    }

    /// What the installer's run came to; `None` while it is under way.
    #[must_use]
    pub fn installed(&self, op: &str, before: &Detected) -> Option<InstallFound> {
        let run = self.installs.get(op).filter(|run| run.over)?;
        let class = run.exit.map(|code| meaning(&installer(), &BTreeSet::new(), Step::Install, code).class);
        let (after, reboot_pending) = (self.detect(), self.pending.is_some());
        let outcome = install_outcome(class, before, &after, reboot_pending);
        Some(InstallFound { exit_code: run.exit, outcome, after, reboot_pending, output: String::new() })
    }

    /// What the uninstaller's run came to; `None` while it is under way, no exit code when it never ran.
    #[must_use]
    pub fn uninstalled(&self, op: &str) -> Option<UninstallFound> {
        let exit_code = match self.uninstalls.get(op) {
            Some(run) if !run.over => return None,
            run => run.and_then(|run| run.exit),
        };
        let class = exit_code.map(|code| meaning(&installer(), &BTreeSet::new(), Step::Uninstall, code).class);
        let asks = matches!(class, Some(ExitClass::RebootRequired | ExitClass::RebootInitiated));
        // As production asks the device: what waits for a reboot may still put the patch there.
        let reboot_needed = asks || self.pending.is_some();
        Some(UninstallFound { exit_code, reboot_needed, output: String::new() })
    }
}

/// What the plan's patch says of reboots.
pub(super) const REBOOT: RebootNeed = RebootNeed::WhenAsked;

/// A clinical system.
#[derive(Debug, Clone)]
pub struct System {
    /// Which.
    pub id: SystemId,
    /// Devices that it needs.
    pub devices: Vec<DeviceId>,
    /// It fails in these times for reasons of its own.
    pub trouble: Vec<(Ms, Ms)>,
}

impl System {
    /// Does something other than a patch make it fail?
    #[must_use]
    pub fn is_troubled(&self, now: Ms) -> bool {
        self.trouble.iter().any(|(from, to)| (*from..*to).contains(&now))
    }

    /// Since when a patch makes it fail: the latest of its causes.
    #[must_use]
    pub fn broken_since(&self, devices: &BTreeMap<DeviceId, Device>, now: Ms) -> Option<Ms> {
        let of = |id: &DeviceId| {
            let device = devices.get(id).filter(|device| device.patched)?;
            let at = device.patched_at + device.fate.breaks.get(&self.id)?;
            (at <= now).then_some(at)
        };
        self.devices.iter().filter_map(of).max()
    }

    /// Would a probe pass?
    #[must_use]
    pub fn is_well(&self, devices: &BTreeMap<DeviceId, Device>, now: Ms) -> bool {
        !self.is_troubled(now) && self.broken_since(devices, now).is_none()
    }
}
