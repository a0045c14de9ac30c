//! What a node's machine is told, and what it does to devices.

use wardround_node::pure::{
    Action, Begun, CheckFound, Fault as TaskFault, FaultKind, Found, Input, PreflightFound, Verb,
};
use wardround_rollout_plans::model::{Detected, DeviceId, ProbeAnswer, ReportBody, SiteId, SystemId, Timestamp};

use super::{
    device::{MINUTE, Met, Ms, SECOND, Withdrawn},
    faults::Fault,
    invariants::Seen,
    world::{Began, What, World},
};

impl World {
    /// Tells a node's machine; `None` when it has no power, or loses it. What follows is begun.
    pub(super) fn tell_node(&mut self, site: &SiteId, inputs: Vec<Input>) -> Option<Vec<bool>> {
        let now = self.now();
        let host = self.hosts.get_mut(site)?;
        let before = host.state.as_ref()?.outbox().last();
        let Ok(taken) = host.take(inputs, now) else {
            if let Some((_, directive, view)) = self.pending_obeyed.take() {
                self.see(&Seen::MaybeObeyed { site, directive: &directive, view });
            }
            self.node_falls(site);
            return None;
        };
        let made: Vec<_> = {
            let state = host.state.as_ref()?;
            state.outbox().waiting().filter(|report| report.seq > before).cloned().collect()
        };
        if let Some((_, directive, view)) = self.pending_obeyed.take_if(|_| taken.settled.iter().all(|taken| *taken)) {
            self.see(&Seen::Obeyed { site, directive: &directive, view });
        }
        for report in &made {
            if !matches!(report.body, ReportBody::Inventory { .. }) {
                self.say(&format!("{site} notes {}: {}", report.seq, Self::line_of(&report.body)));
            }
            self.see(&Seen::ReportMade { report });
        }
        if self.setting.has(Fault::Crashes) && !self.healing && self.random.chance(2) {
            // Between what is on disk and what is done.
            self.node_falls(site);
            return None;
        }
        for action in taken.actions {
            self.begin(site, action);
        }
        if !made.is_empty() {
            let delay = self.random.between(20, 400);
            self.call_in(site, delay);
        }
        self.node_sleeps(site);
        Some(taken.settled)
    }

    /// A node loses its power, and gets it back.
    pub fn node_falls(&mut self, site: &SiteId) {
        let torn = self.setting.has(Fault::Torn);
        let Some(host) = self.hosts.get_mut(site).filter(|host| host.state.is_some()) else { return };
        host.power_off(&mut self.random, torn);
        self.truth.up_since.remove(site);
        self.say(&format!("the node of {site} loses its power"));
        let pause = if self.healing { SECOND } else { self.random.between(SECOND, 4 * MINUTE) };
        self.after(pause, What::NodePower(site.clone()));
    }

    fn begin(&mut self, site: &SiteId, action: Action) {
        let now = self.now();
        let Some(host) = self.hosts.get(site) else { return };
        let (life, clock) = (host.life, host.clock.at(now));
        let (device, rollout) = (action.device.clone(), action.rollout.clone());
        let Some(target) = self.truth.devices.get_mut(&device) else { return };
        let mut wait = 2 * SECOND;
        let mut began = if target.answers(now) { Began::Well } else { Began::Unreachable };
        let (mut installs, mut uninstalls) = (false, false);
        match &action.verb {
            Verb::Fetch => (began, wait) = (Began::Well, 4 * SECOND),
            _ if began == Began::Unreachable => wait = 3 * SECOND,
            Verb::Check { install: Some(install), .. } if target.withdraw(install) == Withdrawn::AtWork => {
                began = Began::Unreachable;
            }
            Verb::Preflight { .. } | Verb::Check { .. } | Verb::Cleanup { .. } => {}
            Verb::Stage { gone } => {
                if let Some(gone) = gone {
                    target.cleanup(gone);
                }
                wait = 3 * SECOND;
            }
            Verb::Install { timeout, may_begin, .. } => {
                if !may_begin && !target.has_begun(&action.op) {
                    target.withdraw(&action.op);
                    began = Began::NotBegun;
                } else {
                    (began, wait, installs) = met(target.install(&action.op, now), now, ms(timeout.0));
                }
            }
            Verb::Uninstall { timeout, install } => match target.withdraw(install) {
                Withdrawn::AtWork => began = Began::Unreachable,
                Withdrawn::Now | Withdrawn::Over if target.detect() == Detected::Absent => began = Began::Nothing,
                Withdrawn::Now | Withdrawn::Over => {
                    (began, wait, uninstalls) = met(target.uninstall(&action.op, now), now, ms(timeout.0));
                }
            },
            Verb::Reboot { timeout, again } => {
                // As production does after a restart of the node: where the device can tell, it is asked first.
                if *again && target.pending.is_none() {
                    began = Began::Nothing;
                } else {
                    wait = target.reboot(now) - now;
                    if wait > ms(timeout.0) {
                        (began, wait) = (Began::TooLong, ms(timeout.0));
                    }
                }
            }
        }
        self.say(&format!("{device}: {} begins ({}, task {})", word(&action.verb), action.op, action.task));
        if installs {
            let patch = action.patch;
            self.see(&Seen::InstallBegins { device: &device, rollout: &rollout, patch, clock });
            self.install_has_begun(&device);
        }
        if matches!(action.verb, Verb::Preflight { .. }) {
            self.people_see_work(40);
        }
        if uninstalls {
            self.see(&Seen::UninstallBegins { device: &device, rollout: &rollout });
        }
        if installs || uninstalls {
            self.after(wait, What::DeviceSettles(device));
        }
        let action = Box::new(action);
        self.after(wait + 1, What::TaskEnds { site: site.clone(), life, action, began });
    }

    pub(super) fn task_ends(&mut self, site: &SiteId, life: u32, action: &Action, began: Began) {
        if self.hosts.get(site).is_none_or(|host| host.state.is_none() || host.life != life) {
            return;
        }
        let found = self.found(site, action, began);
        let (rollout, device, task) = (action.rollout.clone(), action.device.clone(), action.task);
        self.tell_node(site, vec![Input::Done { rollout, device, task, found }]);
    }

    fn found(&mut self, site: &SiteId, action: &Action, began: Began) -> Found {
        let now = self.now();
        let fault = |kind: FaultKind, text: &str| Found::Fault(TaskFault { kind, text: text.to_owned() });
        match began {
            Began::Unreachable => return unreachable(),
            Began::NotBegun => {
                return fault(FaultKind::NotBegun, "the install had not begun, and it may not begin now");
            }
            Began::NotStaged => return fault(FaultKind::NotStaged, "the payload is not on the device"),
            Began::TooLong if matches!(action.verb, Verb::Reboot { .. }) => {
                return fault(FaultKind::RebootTimeout, "the device did not come back");
            }
            Began::TooLong => return fault(FaultKind::Timeout, "it runs longer than the plan allows"),
            Began::Well | Began::Nothing => {}
        }
        if matches!(action.verb, Verb::Fetch) {
            let whole = self.lines.get(site).is_none_or(|line| line.is_whole(now)) && self.tower.ledger.is_some();
            let Some(host) = self.hosts.get_mut(site) else { return unreachable() };
            // What was fetched for one device is in the node's cache for all of them.
            host.has_payload |= whole;
            return if host.has_payload {
                Found::Fetched
            } else {
                fault(FaultKind::Unreachable, "the controller does not answer")
            };
        }
        let (device, op) = (&action.device, &action.op);
        let Some(target) = self.truth.devices.get_mut(device) else { return unreachable() };
        target.settle(now);
        if !target.answers(now) {
            return match action.verb {
                Verb::Preflight { .. } => self.preflight(site, device, Some("no answer"), &[]),
                Verb::Check { .. } => Found::Checked(Box::new(CheckFound {
                    detected: Detected::Unknown { why: "no answer".to_owned() },
                    reboot_pending: None,
                    probes: Vec::new(),
                    said: String::new(),
                })),
                _ => unreachable(),
            };
        }
        match &action.verb {
            Verb::Fetch => Found::Fetched,
            Verb::Stage { .. } => {
                target.stage(op);
                Found::Staged
            }
            Verb::Preflight { systems } => {
                let systems = systems.clone();
                self.see(&Seen::Preflight { device });
                self.preflight(site, device, None, &systems)
            }
            Verb::Install { before, .. } => {
                target.installed(op, before).map_or_else(unreachable, |found| Found::Installed(Box::new(found)))
            }
            Verb::Uninstall { .. } => {
                target.uninstalled(op).map_or_else(unreachable, |found| Found::Uninstalled(Box::new(found)))
            }
            Verb::Reboot { .. } => Found::Rebooted,
            Verb::Check { systems, .. } => {
                let (detected, pending, systems) = (target.detect(), target.pending.is_some(), systems.clone());
                let probes = self.answers(site, &systems);
                Found::Checked(Box::new(CheckFound {
                    detected,
                    reboot_pending: Some(pending),
                    probes,
                    said: String::new(),
                }))
            }
            Verb::Cleanup { ops, .. } => {
                ops.iter().for_each(|op| target.cleanup(op));
                Found::Cleaned
            }
        }
    }

    fn preflight(&self, site: &SiteId, device: &DeviceId, why: Option<&str>, systems: &[SystemId]) -> Found {
        let now = self.now();
        let Some(target) = self.truth.devices.get(device) else { return unreachable() };
        let before = match why {
            Some(why) => Detected::Unknown { why: why.to_owned() },
            None => target.detect(),
        };
        Found::Preflight(Box::new(PreflightFound {
            unreachable: why.map(str::to_owned),
            mismatch: None,
            in_use: (now < target.fate.in_use_until).then(|| "a patient is on the table".to_owned()),
            reboot_pending: Some(target.pending.is_some()),
            pending: String::new(),
            free_bytes: Some(1 << 30),
            write_filter: None,
            before,
            // Nodes of this world lose their power, never their disk.
            begun: Begun::Not,
            run: 0,
            prerequisites: Vec::new(),
            probes: self.answers(site, systems),
        }))
    }

    /// What the probes of these systems answer.
    fn answers(&self, site: &SiteId, systems: &[SystemId]) -> Vec<ProbeAnswer> {
        let at = self.hosts.get(site).map_or(Timestamp(0), |host| host.clock.at(self.now()));
        let one = |id: &SystemId| {
            let system = self.truth.systems.get(id)?;
            let ok = system.is_well(&self.truth.devices, self.now());
            let answer = if ok { "status 0" } else { "association refused" }.to_owned();
            Some(ProbeAnswer { system: id.clone(), probe: "tcp".to_owned(), at, took_ms: 3, ok, answer })
        };
        systems.iter().filter_map(one).collect()
    }

    pub(super) fn probe(&mut self, site: &SiteId, system: &SystemId, life: u32) {
        let now = self.now();
        let Some(host) = self.hosts.get_mut(site).filter(|host| host.life == life) else { return };
        let Some(state) = &host.state else { return };
        let Some(at) = host.probes.get(system).copied().filter(|at| *at <= now) else { return };
        let Some(interval) = state.monitored().get(system).copied() else { return };
        let next = at + ms(interval.0);
        host.probes.insert(system.clone(), next);
        let answers = self.answers(site, std::slice::from_ref(system));
        self.after(next - now, What::Probe(site.clone(), system.clone(), life));
        let input = Input::Probed { system: system.clone(), answers };
        // What is no news is not taken up, and changes no deadline.
        let news = self.hosts.get(site).and_then(|host| {
            let at = host.clock.at(now);
            host.state.as_ref().map(|state| state.is_news(&input, at))
        });
        if news == Some(true) {
            self.tell_node(site, vec![input]);
        }
    }
}

/// What comes of asking a device to run something: the beginning, how long to wait, and whether it begins now.
fn met(met: Met, now: Ms, timeout: Ms) -> (Began, Ms, bool) {
    let (ends, begins) = match met {
        Met::Begins(ends) => (ends, true),
        Met::Known(ends) => (ends.max(now + SECOND), false),
        Met::Withdrawn => return (Began::NotBegun, 2 * SECOND, false),
        Met::NotStaged => return (Began::NotStaged, 2 * SECOND, false),
    };
    if ends - now > timeout { (Began::TooLong, timeout, begins) } else { (Began::Well, ends - now, begins) }
}

fn unreachable() -> Found {
    Found::Fault(TaskFault { kind: FaultKind::Unreachable, text: "the device does not answer".to_owned() })
}

fn ms(value: u64) -> Ms {
    Ms::try_from(value).unwrap_or(Ms::MAX)
}

fn word(verb: &Verb) -> &'static str {
    match verb {
        Verb::Fetch => "fetch",
        Verb::Stage { .. } => "stage",
        Verb::Preflight { .. } => "preflight",
        Verb::Install { .. } => "install",
        Verb::Reboot { .. } => "reboot",
        Verb::Check { .. } => "check",
        Verb::Uninstall { .. } => "uninstall",
        Verb::Cleanup { .. } => "cleanup",
    }
}
