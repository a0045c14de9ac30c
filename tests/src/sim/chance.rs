//! Chance: estates, plans and fates out of a seed, and what goes wrong when.

use std::collections::BTreeMap;

use serde_json::json;
use wardround_node::pure::Input;
use wardround_rollout_plans::model::{
    DeploymentState, DeviceId, Patch, Report, ReportBody, RolloutId, SiteId, SiteInventory, SystemId,
};
use wardround_signing::{Digest, Envelope};

use super::{
    device::{Device, Fate, MINUTE, Ms, Run, SECOND, System},
    faults::Fault,
    node::{Clock, Host},
    people::Act,
    random::Random,
    wire::Line,
    world::{BEGIN, What, World},
};

/// Something goes wrong, or is mended.
#[derive(Debug, Clone)]
pub enum Strike {
    /// A node's power goes at one of its next writes, or at once.
    Node(SiteId),
    /// So does the controller's.
    Controller,
    /// The controller's power goes in the middle of its next large record.
    ControllerWrites,
    /// So does a node's.
    NodeWrites(SiteId),
    /// A site's line is cut.
    Cut(SiteId),
    /// A node's disk fills up; freed so much later.
    Fill(SiteId),
    /// The controller's.
    FillController,
    /// A node's disk is free again.
    Free(SiteId),
    /// The controller's.
    FreeController,
    /// A clock is set.
    Clock(SiteId),
    /// The controller's.
    ControllerClock,
    /// A device does not answer for a while.
    Away(DeviceId),
    /// Somebody in the line sends an old message again.
    Replay,
}

/// The patch of all simulated worlds.
#[must_use]
pub fn patch() -> Patch {
    let payload = b"KB4500331";
    let patch = json!({
        "id": "KB4500331", "title": "a patch", "severity": "critical",
        "variants": [{
            "id": "xp", "platforms": ["cpe:2.3:o:microsoft:windows_xp:*:sp3:*:*:*:*:x86:*"],
            "payload": {
                "file_name": "kb.exe", "digest": Digest::of(payload), "length": payload.len(),
                "chunks": [Digest::of(payload)],
            },
            "installer": super::device::installer(),
            "reboot": super::device::REBOOT,
        }],
    });
    serde_json::from_value(patch).unwrap()
}

/// A site with devices and clinical systems: `(device, group)` and `(system, critical, devices)`, all without the site's name.
#[must_use]
pub fn site(
    name: &str,
    devices: &[(&str, Option<&str>)],
    groups: &[(&str, u32)],
    systems: &[(&str, bool, &[&str])],
) -> SiteInventory {
    let groups: BTreeMap<&str, u32> = groups.iter().copied().collect();
    let devices: Vec<_> = devices
        .iter()
        .map(|(device, group)| {
            let mut one = json!({
                "id": format!("{name}/{device}"),
                "platform": "cpe:2.3:o:microsoft:windows_xp:-:sp3:*:*:*:*:x86:*",
            });
            if let Some(group) = group {
                one["group"] = json!(group);
            }
            one
        })
        .collect();
    let systems: Vec<_> = systems
        .iter()
        .map(|(system, critical, devices)| {
            let devices: Vec<String> = devices.iter().map(|d| format!("{name}/{d}")).collect();
            json!({ "id": format!("{name}/{system}"), "kind": "pacs", "critical": critical, "devices": devices })
        })
        .collect();
    let inventory = json!({ "site": name, "groups": groups, "devices": devices, "systems": systems });
    serde_json::from_value(inventory).unwrap()
}

impl World {
    /// Adds a site with its machine, its line, and the true state of all that it declares.
    pub fn add_site(&mut self, inventory: SiteInventory, mut fate: impl FnMut(&DeviceId) -> Fate) {
        let site = inventory.site.clone();
        for device in &inventory.devices {
            let known = Device::new(device.id.clone(), fate(&device.id));
            self.truth.devices.insert(device.id.clone(), known);
        }
        for system in &inventory.systems {
            let known = System { id: system.id.clone(), devices: system.devices.clone(), trouble: Vec::new() };
            self.truth.systems.insert(system.id.clone(), known);
        }
        self.lines.insert(site.clone(), Line { delay: 20, jitter: 30, ..Line::default() });
        self.truth.sites.insert(site.clone(), inventory.clone());
        self.hosts.insert(site, Host::new(inventory));
    }

    /// Powers everything up: the controller, the repository with the patch, the enrolment of all sites, and their machines.
    pub fn power_up(&mut self) {
        self.happen_now(What::ControllerPower);
        let patch = patch();
        self.truth.patch = Some(patch.clone());
        self.publish();
        let created = wardround_controller::pure::patch_created(&patch).unwrap();
        self.wish(created);
        let sites: Vec<SiteId> = self.hosts.keys().cloned().collect();
        for (number, site) in sites.iter().enumerate() {
            let at = self.tower.now(self.now(), BEGIN);
            let key = self.hosts[site].reporter().key;
            for wish in wardround_controller::pure::enrolled(site, key, &format!("token-{number}"), at) {
                self.wish(wish);
            }
            let delay = self.random.between(100, 5_000);
            self.after(delay, What::NodePower(site.clone()));
        }
        self.after(15 * SECOND, What::SilenceLook);
    }

    fn happen_now(&mut self, what: What) {
        self.after(0, what);
        self.step();
    }

    /// A world out of the seed: estate, plan, fates, lines, and what goes wrong when.
    pub fn populate(&mut self) {
        let mut random = self.random.split();
        // Each run leaves some kinds of fault out: where less goes wrong, runs come further, to what goes wrong only there.
        for fault in Fault::ALL {
            if random.chance(300) {
                self.setting.without.insert(fault);
            }
        }
        // Where many have the patch already, gates have just as much evidence as they need, or a little less.
        let needless = *random.pick(&[60, 60, 60, 350]);
        let sites = usize::try_from(random.between(1, 4)).unwrap().min(self.setting.sites_max.unwrap_or(9));
        for number in 1..=sites {
            let most = self.setting.devices_max.unwrap_or(9);
            let devices = usize::try_from(random.between(2, 4)).unwrap().min(most.max(1));
            let inventory = random_site(&format!("rx{number}"), devices, &mut random);
            let systems: Vec<SystemId> = inventory.systems.iter().map(|s| s.id.clone()).collect();
            let bad = self.setting.has(Fault::BadPatch) && random.chance(350);
            let breaks = bad.then(|| systems.first().cloned()).flatten();
            let setting = self.setting.clone();
            let needed: Vec<DeviceId> = inventory
                .systems
                .iter()
                .filter(|s| Some(&s.id) == breaks.as_ref())
                .flat_map(|s| s.devices.clone())
                .collect();
            self.add_site(inventory, |device| {
                let mut fate =
                    random_fate(&mut random, setting.has(Fault::Installers), setting.has(Fault::Devices), needless);
                if let Some(system) = breaks.clone().filter(|_| needed.contains(device)) {
                    fate.breaks.insert(system, random.between(0, 4 * MINUTE));
                }
                fate
            });
            if self.setting.has(Fault::Trouble) && random.chance(100) {
                // The site's network: everything of it fails at once.
                let from = BEGIN + random.between(0, 40 * MINUTE);
                let to = from + random.between(20 * SECOND, 15 * MINUTE);
                for system in &systems {
                    self.truth.systems.get_mut(system).unwrap().trouble.push((from, to));
                }
            }
            if self.setting.has(Fault::Trouble) && random.chance(300) {
                for system in systems {
                    let from = BEGIN + random.between(0, 40 * MINUTE);
                    let to = from + random.between(20 * SECOND, 25 * MINUTE);
                    self.truth.systems.get_mut(&system).unwrap().trouble.push((from, to));
                }
            }
        }
        self.random_lines(&mut random);
        self.power_up();
        let plan = random_plan(&mut random, &self.truth.devices.keys().cloned().collect::<Vec<_>>());
        let id = RolloutId::new("r1").unwrap();
        self.after(20 * SECOND, What::Person(Act::Draft { id: id.clone(), plan }));
        self.after(4 * MINUTE, What::Person(Act::Whim { id }));
        self.random_strikes(&mut random);
    }

    fn random_lines(&mut self, random: &mut Random) {
        let setting = self.setting.clone();
        for line in self.lines.values_mut() {
            if setting.has(Fault::Drops) && random.chance(500) {
                line.drops = random.below(150);
            }
            if setting.has(Fault::Duplicates) && random.chance(500) {
                line.duplicates = random.below(150);
            }
            if setting.has(Fault::Delays) && random.chance(500) {
                line.jitter = random.between(50, 12_000);
            }
        }
        let drifts = self.setting.has(Fault::Clocks) && random.chance(400);
        if drifts {
            self.truth.drift_ppm = 4_000;
            for host in self.hosts.values_mut() {
                host.clock = Clock {
                    offset: random.between(-MINUTE, MINUTE),
                    drift_ppm: random.between(-1_000, 1_000),
                    from: BEGIN,
                };
            }
        }
        if self.setting.has(Fault::Liars) && random.chance(120) {
            let sites: Vec<SiteId> = self.hosts.keys().cloned().collect();
            let liar = random.pick(&sites).clone();
            self.truth.liars.insert(liar);
        }
    }

    fn random_strikes(&mut self, random: &mut Random) {
        let sites: Vec<SiteId> = self.hosts.keys().cloned().collect();
        let devices: Vec<DeviceId> = self.truth.devices.keys().cloned().collect();
        let mut strikes: Vec<(Fault, u64, Strike)> = Vec::new();
        if random.chance(250) {
            // The largest records are those of documents.
            let at = if random.chance(500) { 20 } else { random.below(50 * 60) };
            strikes.push((Fault::Torn, at, Strike::ControllerWrites));
        }
        for _ in 0..random.below(14) {
            let site = random.pick(&sites).clone();
            let (fault, strike) = match random.below(13) {
                0..2 => (Fault::Crashes, Strike::Node(site)),
                2..4 => (Fault::Crashes, Strike::Controller),
                4..6 => (Fault::Partitions, Strike::Cut(site)),
                6 => (Fault::Disks, Strike::Fill(site)),
                7 => (Fault::Disks, Strike::FillController),
                8 => (Fault::Clocks, Strike::Clock(site)),
                9 => (Fault::Clocks, Strike::ControllerClock),
                10 => (Fault::Devices, Strike::Away(random.pick(&devices).clone())),
                11 => (Fault::Torn, Strike::NodeWrites(site)),
                _ => (Fault::Replays, Strike::Replay),
            };
            strikes.push((fault, random.below(50 * 60), strike));
        }
        for (fault, second, strike) in strikes {
            if self.setting.has(fault) {
                self.after(Ms::try_from(second).unwrap() * SECOND - 5, What::Fault(strike));
            }
        }
    }

    pub(super) fn strike(&mut self, strike: Strike) {
        if self.healing && !matches!(strike, Strike::Free(_) | Strike::FreeController) {
            return;
        }
        match strike {
            Strike::Node(site) => {
                let at_once = self.random.chance(500);
                let calls = u32::try_from(self.random.below(4)).unwrap();
                if at_once {
                    self.node_falls(&site);
                } else if let Some(host) = self.hosts.get(&site).filter(|host| host.state.is_some()) {
                    host.disk.cut_after(calls);
                }
            }
            Strike::Controller => {
                if self.random.chance(500) {
                    self.controller_falls();
                } else if self.tower.ledger.is_some() {
                    self.tower.disk.cut_after(u32::try_from(self.random.below(4)).unwrap());
                }
            }
            Strike::ControllerWrites => {
                if self.tower.ledger.is_some() && self.setting.has(Fault::Crashes) {
                    self.tower.disk.cut_in_parts();
                }
            }
            Strike::NodeWrites(site) => {
                let may = self.setting.has(Fault::Crashes);
                if let Some(host) = self.hosts.get(&site).filter(|host| may && host.state.is_some()) {
                    host.disk.cut_in_parts();
                }
            }
            Strike::Cut(site) => {
                let until = self.now() + self.random.between(20 * SECOND, 15 * MINUTE);
                let kind = self.random.below(3);
                if let Some(line) = self.lines.get_mut(&site) {
                    line.up_cut_until = if kind == 1 { line.up_cut_until } else { until };
                    line.down_cut_until = if kind == 2 { line.down_cut_until } else { until };
                }
                self.say(&format!("the line of {site} is cut ({kind})"));
            }
            Strike::Fill(site) => {
                self.fill(&site, true);
                let late = self.random.between(20 * SECOND, 8 * MINUTE);
                self.after(late, What::Fault(Strike::Free(site)));
            }
            Strike::Free(site) => self.fill(&site, false),
            Strike::FillController => {
                self.tower.disk.fill(true);
                self.say("the controller's disk is full");
                let late = self.random.between(20 * SECOND, 8 * MINUTE);
                self.after(late, What::Fault(Strike::FreeController));
            }
            Strike::FreeController => {
                self.tower.disk.fill(false);
                self.say("the controller's disk has room");
                self.controller_sleeps();
            }
            Strike::Clock(site) => {
                let by = self.clock_step();
                if let Some(host) = self.hosts.get_mut(&site) {
                    host.clock.offset += by;
                }
                self.say(&format!("the clock of {site} is set by {by} ms"));
                self.node_sleeps(&site);
            }
            Strike::ControllerClock => {
                let by = self.clock_step();
                self.tower.clock.offset += by;
                self.say(&format!("the controller's clock is set by {by} ms"));
            }
            Strike::Away(device) => {
                let until = self.now() + self.random.between(10 * SECOND, 10 * MINUTE);
                if let Some(device) = self.truth.devices.get_mut(&device) {
                    device.away_until = until;
                }
                self.say(&format!("{device} does not answer for a while"));
            }
            Strike::Replay => {
                let count = self.old_messages.len() as u64;
                let at = usize::try_from(self.random.below(count)).unwrap();
                if let Some(old) = self.old_messages.get(at).cloned() {
                    self.say("somebody in the line sends an old message again");
                    self.after(10, old);
                }
                let late = self.random.between(MINUTE, 10 * MINUTE);
                self.after(late, What::Fault(Strike::Replay));
            }
        }
    }

    fn clock_step(&mut self) -> Ms {
        let most = *self.random.pick(&[2 * SECOND, MINUTE, 30 * MINUTE, 120 * MINUTE]);
        self.random.between(-most, most)
    }

    fn fill(&mut self, site: &SiteId, full: bool) {
        if let Some(host) = self.hosts.get(site) {
            host.disk.fill(full);
        }
        self.say(&format!("the disk of {site} {}", if full { "is full" } else { "has room" }));
        if !full {
            self.tell_node(site, vec![Input::Tick]);
        }
    }

    /// Everything is mended: from now on nothing goes wrong, and people help.
    pub fn heal(&mut self) {
        self.healing = true;
        self.say("everything is mended");
        let sites: Vec<SiteId> = self.hosts.keys().cloned().collect();
        for line in self.lines.values_mut() {
            *line = Line { delay: 20, jitter: 30, ..Line::default() };
        }
        self.tower.disk.fill(false);
        self.tower.clock = Clock::default();
        for device in self.truth.devices.values_mut() {
            device.away_until = 0;
            device.fate.in_use_until = 0;
        }
        let now = self.now();
        for system in self.truth.systems.values_mut() {
            system.trouble.iter_mut().for_each(|(_, to)| *to = (*to).min(now));
        }
        self.truth.drift_ppm = self.truth.drift_ppm.max(1);
        for site in sites {
            if let Some(host) = self.hosts.get_mut(&site) {
                host.clock = Clock::default();
            }
            self.fill(&site, false);
            self.after(SECOND, What::NodePower(site.clone()));
            self.call_in(&site, 2 * SECOND);
        }
        self.after(SECOND, What::ControllerPower);
        self.controller_sleeps();
        self.after(5 * SECOND, What::Person(Act::Help));
    }

    /// What a lying node makes of its reports: each is signed by its own key.
    pub(super) fn lie(&mut self, site: &SiteId, reports: Vec<Envelope>) -> Vec<Envelope> {
        let Some(host) = self.hosts.get(site) else { return reports };
        let key = host.key();
        let others: Vec<DeviceId> = self.truth.devices.keys().cloned().collect();
        let mut told = Vec::new();
        for envelope in reports {
            let Ok(mut report) = envelope.peek_unverified::<Report>() else { continue };
            let lies = self.random.chance(300);
            if let ReportBody::Deployment { device, state, evidence, .. } = &mut report.body
                && lies
            {
                match self.random.below(3) {
                    0 => *state = DeploymentState::Succeeded,
                    1 => *device = self.random.pick(&others).clone(),
                    _ => evidence.document = None,
                }
            }
            told.push(Envelope::seal(&report, key).unwrap_or(envelope));
        }
        if self.random.chance(200)
            && let Some(first) = told.first().cloned()
        {
            told.push(first);
        }
        told
    }
}

fn random_site(name: &str, devices: usize, random: &mut Random) -> SiteInventory {
    let names: Vec<String> = (1..=devices).map(|n| format!("ct-{n}")).collect();
    let grouped = random.chance(600);
    let listed: Vec<(&str, Option<&str>)> =
        names.iter().enumerate().map(|(n, name)| (name.as_str(), (grouped && n < 3).then_some("g"))).collect();
    let groups: &[(&str, u32)] = if grouped { &[("g", 1)] } else { &[] };
    let half = devices.div_ceil(2);
    let first: Vec<&str> = names[..half].iter().map(String::as_str).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let critical = random.chance(400);
    let last: &[&str] = &all[devices - 1..];
    let pacs = ("pacs", critical, &first[..]);
    // A system of a device whose turn comes later speaks for the site while that is not touched.
    let systems: &[(&str, bool, &[&str])] = match random.below(4) {
        0 => &[pacs],
        1 => &[pacs, ("lab", false, &all)],
        2 => &[pacs, ("lab", false, last)],
        _ => &[pacs, ("lab", false, last), ("ris", false, &[])],
    };
    site(name, &listed, groups, systems)
}

fn random_fate(random: &mut Random, installers: bool, devices: bool, needless: u64) -> Fate {
    let mut fate = Fate {
        reboot: random.chance(500),
        install_ms: random.between(5, 120) * SECOND,
        reboot_ms: random.between(10, 90) * SECOND,
        ..Fate::default()
    };
    if installers && random.chance(200) {
        let kinds = [Run::Busy, Run::Fails, Run::FailsThoughDone, Run::SucceedsThoughNot, Run::Crash, Run::CrashDone];
        let again = [Run::Crash, Run::Crash, Run::Crash, Run::Busy];
        let from: &[Run] = if random.chance(300) { &again } else { &kinds };
        fate.installs = (0..=random.below(4)).map(|_| *random.pick(from)).collect();
    }
    if installers && random.chance(80) {
        fate.uninstall_fails = u32::try_from(random.between(1, 4)).unwrap();
    }
    if devices && random.chance(120) {
        fate.in_use_until = BEGIN + random.between(0, 30 * MINUTE);
    }
    fate.patched_before = devices && random.chance(needless);
    fate
}

fn random_plan(random: &mut Random, devices: &[DeviceId]) -> String {
    let count = usize::try_from(random.between(2, 3)).unwrap().min(devices.len().max(1));
    let mut waves: Vec<Vec<String>> = vec![Vec::new(); count];
    for (n, device) in devices.iter().enumerate() {
        let at = if n < count { n } else { usize::try_from(random.below(count as u64)).unwrap() };
        waves[at].push(device.to_string());
    }
    let scope = *random.pick(&["device", "site", "wave", "rollout"]);
    let per_site = random.between(1, 2);
    let total = random.between(1, 4);
    let (interval, failures) = (*random.pick(&["20s", "30s"]), random.between(1, 3));
    let grace = *random.pick(&["0s", "60s"]);
    let control = *random.pick(&[
        "",
        ", control: { wait_max: 1m }",
        ", control: { wait_max: 1m }",
        ", control: { wait_max: 5m }",
    ]);
    let retries = *random.pick(&["", "", ", retries: 1, retry: 30s", ", retries: 3, retry: 20s, retry_max: 1m"]);
    let offline = *random.pick(&[
        "",
        "",
        "offline: { alarm_after: 2m }\n",
        "offline: { leave_out_after: 3m }\n",
        "offline: { alarm_after: 1m, leave_out_after: 8m }\n",
    ]);
    let deadline = random_deadline(random);
    let mut yaml = format!(
        "name: simulated\nlimits: {{ per_site: {per_site}, total: {total} }}\nhealth: {{ interval: {interval}, failures: \
         {failures}, grace: {grace}{control} }}\nrollback: {{ scope: {scope} }}\ntiming: {{ install_timeout: 5m, reboot_timeout: 5m, \
         unknown_after: 4m, defer_max: 40m, retry_after: 1m{retries} }}\n{offline}{deadline}waves:\n"
    );
    let last = waves.len() - 1;
    for (n, members) in waves.iter().enumerate() {
        let select =
            if n == last { "remaining: true".to_owned() } else { format!("devices: [{}]", members.join(", ")) };
        let soak = random.between(2, 5);
        let success = *random.pick(&["100%", "100%", "60%", "50%", "30%"]);
        let most = Ms::try_from(members.len()).unwrap().max(1);
        let evidence = if random.chance(300) { most } else { random.between(1, most) };
        // Where nobody is asked, nobody lets a gate pass that is short of evidence.
        let approvals = *random.pick(&["", "", ", approvals: [clinical]", ", approvals: [release, clinical]"]);
        let approvals = if n == last { "" } else { approvals };
        let limits = if random.chance(300) { "\n    limits: { total: 1 }" } else { "" };
        yaml.push_str(&format!(
            "  - name: w{n}\n    select: {{ {select} }}\n    soak: {soak}m{limits}\n    gate: {{ success: {success}, \
             evidence_min: {evidence}{approvals} }}\n"
        ));
    }
    yaml
}

/// A deadline of the plan, in some of them: a moment, or so long after each wave's beginning.
fn random_deadline(random: &mut Random) -> String {
    let then = *random.pick(&["alarm", "leave_out", "leave_out"]);
    match random.below(8) {
        0 => format!("deadline: {{ by: \"{}\", then: {then} }}\n", World::moment(random.between(8, 50))),
        1 => format!("deadline: {{ after: {}m, then: {then} }}\n", random.between(4, 25)),
        _ => String::new(),
    }
}
