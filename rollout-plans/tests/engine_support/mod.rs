//! A small estate around the engine: simulated nodes that carry out directives on simulated devices, and people.
//!
//! The node here is *simulated*: it does what a directive says, one step at a time, and reports it. What it does to a
//! device is decided by that device's [`Fate`], so that a story or a seed says everything that happens.

#![expect(dead_code, reason = "each test file uses its own part")]
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

pub(crate) mod invariants;
pub(crate) mod node;
pub(crate) mod random;
pub(crate) mod script;
pub(crate) mod sim;
pub(crate) mod ward;

use std::collections::{BTreeMap, BTreeSet};

use wardround_rollout_plans::{engine::*, model::*};
use wardround_signing::{Digest, Envelope, KeyId, Role, SecretKey, Signer as _, merkle::Tree};

pub(crate) use node::{Fate, Node};

pub(crate) fn site(id: &str) -> SiteId {
    SiteId::new(id).unwrap()
}
pub(crate) fn device(id: &str) -> DeviceId {
    DeviceId::new(id).unwrap()
}
pub(crate) fn wave_name(id: &str) -> WaveName {
    WaveName::new(id).unwrap()
}
pub(crate) fn rollout_id(id: &str) -> RolloutId {
    RolloutId::new(id).unwrap()
}

/// A wave with its devices.
#[derive(Clone)]
pub(crate) struct WaveSpec {
    pub(crate) name: &'static str,
    pub(crate) devices: Vec<String>,
    pub(crate) soak: DurationMs,
    pub(crate) gate: Gate,
    pub(crate) limits: Limits,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) offline: Option<Offline>,
}

impl WaveSpec {
    pub(crate) fn new(name: &'static str, devices: &[&str]) -> Self {
        Self {
            name,
            devices: devices.iter().map(|d| (*d).to_owned()).collect(),
            soak: DurationMs::from_secs(600),
            gate: Gate::default(),
            limits: Limits::default(),
            deadline: None,
            offline: None,
        }
    }
    pub(crate) fn approvals(mut self, roles: &[Role]) -> Self {
        self.gate.approvals = roles.to_vec();
        self
    }
    pub(crate) fn success(mut self, percent: u32) -> Self {
        self.gate.success = Percent::from_basis_points(percent * 100).unwrap();
        self
    }
    pub(crate) fn evidence(mut self, min: u32) -> Self {
        self.gate.evidence_min = min;
        self
    }
}

/// A rollout document with its members.
pub(crate) fn rollout(id: &str, waves: &[WaveSpec], limits: Limits, scope: Scope) -> (Rollout, Vec<Member>) {
    let plan = Plan {
        name: "careful".to_owned(),
        description: String::new(),
        patch: None,
        eligible: Selector::default(),
        windows: Vec::new(),
        freezes: Vec::new(),
        on_call: Vec::new(),
        accept: Vec::new(),
        waves: waves
            .iter()
            .map(|w| WavePlan {
                name: wave_name(w.name),
                select: Selector { devices: w.devices.iter().map(|d| device(d)).collect(), ..Selector::default() },
                order: Vec::new(),
                windows: Vec::new(),
                limits: w.limits,
                soak: w.soak,
                gate: w.gate.clone(),
                deadline: w.deadline,
                offline: w.offline,
            })
            .collect(),
        limits,
        health: HealthPolicy::default(),
        rollback: RollbackPolicy { scope },
        timing: Timing::default(),
        deadline: None,
        offline: None,
    };
    let mut members = Vec::new();
    let mut resolved = Vec::new();
    for wave in waves {
        let mut mine: Vec<Member> = wave
            .devices
            .iter()
            .map(|d| Member {
                wave: wave_name(wave.name),
                device: device(d),
                variant: VariantId::new("xp-x86-enu").unwrap(),
            })
            .collect();
        mine.sort();
        resolved.push(ResolvedWave {
            name: wave_name(wave.name),
            root: Tree::new(mine.iter().map(Member::leaf)).root(),
            count: mine.len() as u64,
            since: 1,
            reporters: Reporters::of(&reporters(&mine), &mine),
        });
        members.extend(mine);
    }
    let document = Rollout {
        id: rollout_id(id),
        version: 1,
        ancestors: Vec::new(),
        patch: PatchId::new("KB4500331").unwrap(),
        patch_digest: Digest::of(b"patch"),
        requires: Vec::new(),
        supersedes: Vec::new(),
        plan,
        waves: resolved,
        created_at: Timestamp(0),
    };
    (document, members)
}

/// The next version of a rollout: the same plan, and these devices in its waves, in order.
pub(crate) fn next_version(former: &Rollout, waves: &[Vec<DeviceId>]) -> (Rollout, Vec<Member>) {
    let mut next = Rollout {
        version: former.version + 1,
        ancestors: former.ancestors.iter().copied().chain([digest_of(former)]).collect(),
        ..former.clone()
    };
    let mut members = Vec::new();
    for (wave, devices) in next.waves.iter_mut().zip(waves) {
        let variant = VariantId::new("xp-x86-enu").unwrap();
        let member =
            |device: &DeviceId| Member { wave: wave.name.clone(), device: device.clone(), variant: variant.clone() };
        let mut mine: Vec<Member> = devices.iter().map(member).collect();
        mine.sort();
        let tree = Tree::new(mine.iter().map(Member::leaf));
        if (tree.root(), tree.size()) != (wave.root, wave.count) {
            (wave.root, wave.count, wave.since) = (tree.root(), tree.size(), next.version);
            wave.reporters = Reporters::of(&reporters(&mine), &mine);
        }
        members.extend(mine);
    }
    (next, members)
}

/// The draft of a next version.
pub(crate) fn amended(document: &Rollout, members: &[Member]) -> Event {
    Event::RolloutAmended {
        rollout: Box::new(document.clone()),
        digest: digest_of(document),
        members: members.to_vec(),
        reporters: reporters(members),
    }
}

/// Both roles have signed it.
pub(crate) fn amendment_signed(document: &Rollout) -> Event {
    Event::AmendmentSigned { rollout: document.id.clone(), digest: digest_of(document), signed: true }
}

/// Windows of the simulation: 55 minutes of each hour. With the default time-outs an install may begin for ten of them.
pub(crate) fn hourly() -> Vec<Window> {
    let clock = |hour: u32, minute: u32| format!("{hour:02}:{minute:02}").parse().unwrap();
    (0..24).map(|hour| Window { days: Vec::new(), from: clock(hour, 0), to: clock(hour, 55) }).collect()
}

/// May an install of a plan with no windows, or with [`hourly`] ones, begin? Reckoned without the code under test.
pub(crate) fn may_begin(plan: &Plan, now: Timestamp) -> bool {
    plan.windows.is_empty() || now.0 % 3_600_000 <= 600_000
}

pub(crate) fn digest_of(rollout: &Rollout) -> Digest {
    Digest::of(&serde_json::to_vec(rollout).unwrap())
}

pub(crate) fn created(document: &Rollout, members: &[Member]) -> Event {
    created_by(document, members, reporters(members))
}

/// With these nodes enrolled.
pub(crate) fn created_by(document: &Rollout, members: &[Member], reporters: Vec<Reporter>) -> Event {
    let digest = digest_of(document);
    Event::RolloutCreated { rollout: Box::new(document.clone()), digest, members: members.to_vec(), reporters }
}

/// Only these nodes had enrolled when it was resolved.
pub(crate) fn pin(document: &mut Rollout, members: &[Member], reporters: &[Reporter]) {
    for wave in &mut document.waves {
        let mine: Vec<Member> = members.iter().filter(|m| m.wave == wave.name).cloned().collect();
        wave.reporters = Reporters::of(reporters, &mine);
    }
}

/// The report key of a site's node.
pub(crate) fn report_key(site: &SiteId) -> SecretKey {
    SecretKey::from_seed(Digest::of(site.as_str().as_bytes()).as_bytes())
}

/// The nodes of these members' sites, all of which have enrolled.
pub(crate) fn reporters(members: &[Member]) -> Vec<Reporter> {
    let sites: BTreeSet<SiteId> = members.iter().map(|m| m.device.site()).collect();
    sites.into_iter().map(|site| Reporter { key: report_key(&site).public(), site }).collect()
}

/// A report as the shell makes it of what a node has signed. The node names the document of the rollout, as it holds it.
pub(crate) fn reported(state: &State, site: &SiteId, seq: u64, at: Timestamp, mut body: ReportBody) -> Event {
    if let ReportBody::Deployment { rollout, evidence, .. } = &mut body {
        evidence.document = state.rollout(rollout).map(|view| view.digest);
    }
    if let ReportBody::Health { blames: Some(rollout), document, .. } = &mut body {
        *document = state.rollout(rollout).map(|view| view.digest);
    }
    let report = Report { site: site.clone(), seq, at, body };
    let envelope = report.body.is_proof().then(|| Envelope::seal(&report, &report_key(site)).unwrap());
    Event::Report { site: site.clone(), seq, at, body: report.body, node_key: None, envelope }
}

/// A person who has signed: each has one key.
pub(crate) fn signatory(who: &str, roles: &[Role]) -> Signatory {
    Signatory { key: key(who), holder: who.to_owned(), roles: roles.iter().copied().collect() }
}

/// A resume of the rollout as it stands.
pub(crate) fn resume(state: &State, id: &RolloutId) -> Command {
    let view = state.rollout(id).unwrap();
    Command::Resume { lifts: view.halts_in_force.iter().map(|h| h.order).collect() }
}

/// An order event as the shell makes it from verified signatures. Where it takes two people, Sam signs as well, who holds
/// every role; what waits for a second person is made with [`order_of`].
pub(crate) fn order(
    document: &Rollout,
    counter: u64,
    who: &str,
    roles: &[Role],
    command: Command,
    reason: &str,
    at: Timestamp,
) -> Event {
    let mut signers = vec![signatory(who, roles)];
    if matches!(command.needs().met_by(&signers), Err(Lacking::Person { .. })) {
        signers.push(signatory("Sam", &Role::PEOPLE));
    }
    order_of(document, counter, signers, command, reason, at)
}

/// An order event of these people.
pub(crate) fn order_of(
    document: &Rollout,
    counter: u64,
    signers: Vec<Signatory>,
    command: Command,
    reason: &str,
    at: Timestamp,
) -> Event {
    let order = Order {
        rollout: document.id.clone(),
        digest: digest_of(document),
        counter,
        issued_at: at,
        command,
        reason: reason.to_owned(),
    };
    let envelope = Envelope::unsigned(&order).unwrap();
    Event::order(order, signers, envelope)
}

/// An inventory: devices "name" or "name@group", systems as (name, devices).
pub(crate) fn inventory(
    id: &str,
    devices: &[String],
    groups: &[(&str, u32)],
    systems: &[(&str, Vec<String>)],
) -> SiteInventory {
    let named = |name: &str| device(&format!("{id}/{name}"));
    SiteInventory {
        site: site(id),
        display_name: String::new(),
        region: String::new(),
        site_type: String::new(),
        labels: Labels::new(),
        groups: groups.iter().map(|(g, n)| (GroupId::new(g).unwrap(), *n)).collect(),
        hours: Default::default(),
        devices: devices
            .iter()
            .map(|d| {
                let (name, group) = d.split_once('@').map_or((d.as_str(), None), |(n, g)| (n, Some(g)));
                Device {
                    id: named(name),
                    platform: "cpe:2.3:o:microsoft:windows_xp:*:sp3:*:*:*:*:x86:*".parse().unwrap(),
                    model: String::new(),
                    labels: Labels::new(),
                    group: group.map(|g| GroupId::new(g).unwrap()),
                    windows: Vec::new(),
                    patches: Vec::new(),
                }
            })
            .collect(),
        systems: systems
            .iter()
            .map(|(name, needs)| ClinicalSystem {
                id: SystemId::new(&format!("{id}/{name}")).unwrap(),
                kind: String::new(),
                critical: false,
                probes: None,
                devices: needs.iter().map(|n| named(n)).collect(),
            })
            .collect(),
    }
}

/// A node key as the shell claims it.
pub(crate) fn key(text: &str) -> KeyId {
    KeyId::claimed(text)
}

/// A told story: events go in, what follows is written down for a reader.
pub(crate) struct Story {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    pub(crate) nodes: BTreeMap<SiteId, Node>,
    pub(crate) document: Rollout,
    cut_off: BTreeSet<SiteId>,
    shown: BTreeMap<DeviceId, DeploymentState>,
    waves_shown: BTreeMap<String, String>,
    text: String,
}

impl Story {
    /// The estate of the stories: three hospitals, each with a PACS that needs its CT and MR consoles.
    pub(crate) fn new(title: &str, waves: &[WaveSpec], scope: Scope) -> Self {
        let limits = Limits { per_site: Some(2), ..Limits::default() };
        let (document, members) = rollout("r1", waves, limits, scope);
        let mut story = Self {
            state: State::default(),
            now: Timestamp(0),
            nodes: BTreeMap::new(),
            document,
            cut_off: BTreeSet::new(),
            shown: BTreeMap::new(),
            waves_shown: BTreeMap::new(),
            text: format!("{title}\n\n"),
        };
        for id in ["rx1", "rx2", "rx3"] {
            let needs = vec!["ct".to_owned(), "mr".to_owned()];
            let devices = ["ct", "mr", "lab"].map(str::to_owned);
            story.quietly(&Event::NodeEnrolled { site: site(id), node_key: key(id) });
            let mut node = Node::new(site(id), inventory(id, &devices, &[], &[("pacs", needs)]));
            node.say_inventory();
            story.nodes.insert(site(id), node);
            story.deliver(&site(id));
        }
        let event = created(&story.document, &members);
        story.happens("the release manager creates rollout r1", &event);
        let signed = Event::RolloutSigned { rollout: story.document.id.clone() };
        story.happens("both roles have signed it", &signed);
        story
    }

    pub(crate) fn fate(&mut self, id: &str, fate: Fate) {
        let id = device(id);
        self.nodes.get_mut(&id.site()).unwrap().fates.insert(id, fate);
    }

    pub(crate) fn counter(&self) -> u64 {
        self.state.rollout(&self.document.id).unwrap().order_counter + 1
    }

    /// A person orders.
    pub(crate) fn order(&mut self, who: &str, roles: &[Role], command: Command, reason: &str) {
        let counter = self.counter();
        self.order_with(counter, who, roles, command, reason);
    }

    pub(crate) fn order_with(&mut self, counter: u64, who: &str, roles: &[Role], command: Command, reason: &str) {
        let what = format!("{who} orders: {} (counter {counter})", command.word());
        let event = order(&self.document, counter, who, roles, command, reason, self.now);
        self.happens(&what, &event);
    }

    pub(crate) fn resume(&mut self, who: &str, roles: &[Role], reason: &str) {
        let command = resume(&self.state, &self.document.id);
        self.order(who, roles, command, reason);
    }

    /// Writes down an event and what follows.
    pub(crate) fn happens(&mut self, what: &str, event: &Event) {
        self.line(&format!("> {what}"));
        match self.state.step(event, self.now) {
            Ok(effects) => self.tell(&effects),
            Err(refusal) => self.line(&format!("    refused: {refusal}")),
        }
    }

    /// Something that is no event of the engine.
    pub(crate) fn remark(&mut self, text: &str) {
        self.line(&format!("> {text}"));
    }

    fn quietly(&mut self, event: &Event) {
        self.state.step(event, self.now).unwrap();
    }

    fn line(&mut self, text: &str) {
        let minutes = self.now.0 / 60_000;
        self.text.push_str(&format!("{:02}:{:02}:{:02} {text}\n", minutes / 60, minutes % 60, self.now.0 / 1000 % 60));
    }

    fn tell(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Halt { order, sites, .. } => {
                    let by = if order.is_some() { "with the signed order" } else { "by the engine itself" };
                    let sites: Vec<_> = sites.iter().map(SiteId::as_str).collect();
                    self.line(&format!("    HALT pushed to {} {by}", sites.join(", ")));
                }
                Effect::Audit { kind, text, .. } => {
                    // The digest would change with every new field of the model; the story does not.
                    let text = text.replace(&digest_of(&self.document).to_string(), "sha256:…");
                    self.line(&format!("    recorded ({kind}): {text}"));
                }
                Effect::Alarm { code, text, .. } => self.line(&format!("    ALARM ({code}): {text}")),
                Effect::SiteChanged { .. } | Effect::RolloutChanged { .. } => {}
            }
        }
        for view in self.state.deployments(&self.document.id, None, None, None, 1000) {
            let old = self.shown.insert(view.device.clone(), view.state);
            if old.is_some_and(|o| o != view.state) {
                let why = if view.reason.is_empty() { String::new() } else { format!(": {}", view.reason) };
                self.line(&format!("    {} is {}{why}", view.device, view.state));
            }
        }
        let view = self.state.rollout(&self.document.id);
        for wave in view.map_or_else(Vec::new, |v| v.waves) {
            let word = wave.state.word().to_owned();
            let old = self.waves_shown.insert(wave.name.to_string(), word.clone());
            if old.is_some_and(|o| o != word) {
                self.line(&format!("    wave {} is {}", wave.name, word.replace('_', " ")));
            }
        }
    }

    fn deliver(&mut self, id: &SiteId) {
        while let Some((seq, body)) = self.nodes[id].outbox.front().cloned() {
            let event = reported(&self.state, id, seq, self.now, body);
            let effects = self.state.step(&event, self.now).unwrap();
            self.tell(&effects);
            let acked = self.state.acked_seq(id);
            self.nodes.get_mut(id).unwrap().acknowledge(acked);
        }
    }

    /// Cuts a site's line, or mends it.
    pub(crate) fn cut(&mut self, id: &str, off: bool) {
        let (word, event) = if off {
            self.cut_off.insert(site(id));
            ("falls silent", Event::SiteSilent { site: site(id) })
        } else {
            self.cut_off.remove(&site(id));
            ("is heard again", Event::SiteHeard { site: site(id) })
        };
        self.happens(&format!("the node of {id} {word}"), &event);
    }

    /// Lets time pass: every 10 seconds each node checks in, works, and checks in again.
    pub(crate) fn pass(&mut self, time: DurationMs) {
        let end = self.now.after(time);
        while self.now < end {
            self.now = self.now.after(DurationMs::from_secs(10));
            for id in self.nodes.keys().cloned().collect::<Vec<_>>() {
                let on_line = !self.cut_off.contains(&id);
                let directive = self.state.directive(&id);
                let node = self.nodes.get_mut(&id).unwrap();
                if on_line {
                    node.read(directive);
                }
                node.work(self.now, &self.document);
                if on_line {
                    self.deliver(&id);
                }
            }
            while self.state.next_wake().is_some_and(|at| at <= self.now) {
                let effects = self.state.step(&Event::Tick, self.now).unwrap();
                self.tell(&effects);
            }
        }
    }

    /// What a person sees now.
    pub(crate) fn look(&mut self) {
        let view = self.state.rollout(&self.document.id).unwrap();
        let reason = if view.reason.is_empty() { String::new() } else { format!(": {}", view.reason) };
        self.line(&format!("= rollout {} is {}{reason}", view.id, view.state.word().replace('_', " ")));
        for wave in view.waves {
            let counts: Vec<_> = wave.deployments.iter().map(|(s, n)| format!("{n} {s}")).collect();
            self.line(&format!(
                "=   {:<8}{:<19} {}",
                wave.name.as_str(),
                wave.state.word().replace('_', " "),
                counts.join(", ")
            ));
            if !wave.gate.is_empty() {
                self.line(&format!("=           gate: {}", wave.gate));
            }
            if let Some(waiting) = wave.waiting {
                let until = waiting.until.map_or(String::new(), |u| format!(", until {}", DurationMs(u.0 as u64)));
                self.line(&format!("=           waits ({}): {}{until}", waiting.on.code(), waiting.on));
            }
        }
        if !view.halt.confirmed.is_empty() {
            self.line(&format!(
                "=   {} of {} sites know of the halt",
                view.halt.confirmed.len(),
                view.halt.sites.len()
            ));
        }
    }

    pub(crate) fn end(mut self) -> String {
        self.look();
        let installed: Vec<_> = self.nodes.values().flat_map(|n| &n.installed).map(ToString::to_string).collect();
        self.line(&format!(
            "= the patch is on: {}",
            if installed.is_empty() { "no device".into() } else { installed.join(", ") }
        ));
        self.text
    }
}
