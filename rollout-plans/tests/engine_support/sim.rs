//! A seeded simulation: random estates, plans, people, faults of lines and devices; then all is healed.

use std::collections::{BTreeMap, BTreeSet};

use wardround_rollout_plans::{engine::*, model::*};
use wardround_signing::Role;

use super::{
    Fate, Node, WaveSpec, amended, created_by, device, digest_of, hourly, invariants::Watch, inventory, key,
    next_version, order, order_of, pin, random::Random, reported, reporters, resume, rollout, signatory, site,
};

/// What the simulation holds.
pub(crate) struct Sim {
    pub(crate) seed: u64,
    pub(crate) state: State,
    /// Gets the same events, and is now and then replaced by what a snapshot of the first gives back.
    twin: State,
    pub(crate) random: Random,
    pub(crate) now: Timestamp,
    pub(crate) nodes: BTreeMap<SiteId, Node>,
    /// The versions that are in force.
    pub(crate) documents: BTreeMap<RolloutId, Rollout>,
    /// Those before them.
    former: BTreeMap<RolloutId, Vec<Rollout>>,
    /// Those that wait.
    drafts: BTreeMap<RolloutId, Rollout>,
    cut_off: BTreeSet<SiteId>,
    watch: Watch,
    pub(crate) trail: Vec<String>,
    /// What has happened, and how often: a simulation that never gets anywhere proves nothing.
    pub(crate) reached: BTreeMap<String, u64>,
}

const PEOPLE: [(&str, &[Role]); 4] = [
    ("Ann", &[Role::Release]),
    ("Carl", &[Role::Clinical]),
    ("Olu", &[Role::OnCall]),
    ("Dee", &[Role::Release, Role::Clinical]),
];

/// Of the sites; a site may name none.
const REGIONS: [&str; 3] = ["north", "south", ""];

impl Sim {
    pub(crate) fn new(seed: u64) -> Self {
        let mut sim = Self {
            seed,
            state: State::default(),
            twin: State::default(),
            random: Random::new(seed),
            now: Timestamp(1_000_000),
            nodes: BTreeMap::new(),
            documents: BTreeMap::new(),
            former: BTreeMap::new(),
            drafts: BTreeMap::new(),
            cut_off: BTreeSet::new(),
            watch: Watch::default(),
            trail: Vec::new(),
            reached: BTreeMap::new(),
        };
        let devices = sim.estate();
        for id in ["a", "b"] {
            sim.plan(id, &devices);
        }
        sim
    }

    fn estate(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        for s in 0..2 + self.random.below(3) {
            let id = format!("rx{s}");
            let count = 2 + self.random.below(4);
            let names: Vec<String> =
                (0..count)
                    .map(|d| {
                        if self.random.chance(60) { format!("d{d}@g{}", self.random.below(2)) } else { format!("d{d}") }
                    })
                    .collect();
            let needs = (0..count).filter(|_| self.random.chance(50)).map(|d| format!("d{d}")).collect();
            let limit = 1 + u32::try_from(self.random.below(2)).unwrap();
            let mut inventory = inventory(&id, &names, &[("g0", limit)], &[("pacs", needs)]);
            inventory.region = (*self.random.pick(&REGIONS)).to_owned();
            let mut node = Node::new(site(&id), inventory);
            node.say_inventory();
            for name in &names {
                let bare = name.split('@').next().unwrap();
                all.push(format!("{id}/{bare}"));
                let fate = self.fate();
                node.fates.insert(device(&format!("{id}/{bare}")), fate);
            }
            self.nodes.insert(site(&id), node);
            self.apply(&Event::NodeEnrolled { site: site(&id), node_key: key(&id) });
            self.deliver(&site(&id), usize::MAX);
        }
        all
    }

    fn fate(&mut self) -> Fate {
        let time = DurationMs::from_secs(self.random.below(700));
        match self.random.below(20) {
            0 => Fate::NotApplicable,
            1 => Fate::InstallFails,
            2 | 3 => Fate::InUse(DurationMs::from_secs(self.random.below(8000))),
            4 => Fate::Breaks("pacs".to_owned(), time),
            5 => Fate::Stuck("pacs".to_owned(), time),
            6 => Fate::Busy,
            7 => Fate::NothingToDo,
            _ => Fate::Well,
        }
    }

    fn plan(&mut self, id: &str, devices: &[String]) {
        let names = ["canary", "pilot", "full"];
        let count = 1 + self.random.below(3);
        let mut waves: Vec<WaveSpec> = Vec::new();
        for name in &names[..usize::try_from(count).unwrap()] {
            let mut wave = WaveSpec::new(name, &[]);
            wave.soak = DurationMs::from_secs(self.random.below(600));
            wave.gate.success =
                Percent::from_basis_points(*self.random.pick(&[10_000, 10_000, 6_600, 5_000, 0])).unwrap();
            wave.gate.evidence_min = *self.random.pick(&[0, 1, 1, 2]);
            wave.gate.failures_max = *self.random.pick(&[None, None, None, Some(0), Some(1)]);
            let test = |miss, background| GateTest {
                miss: Percent::from_basis_points(miss).unwrap(),
                background: Percent::from_basis_points(background).ok().filter(|share| share.basis_points() > 0),
                control_min: 2,
                ..GateTest::default()
            };
            wave.gate.test = match self.random.below(6) {
                0 => Some(test(3_500, 0)),
                1 => Some(test(5_000, 500)),
                _ => None,
            };
            wave.gate.approvals =
                self.random.pick(&[vec![], vec![], vec![Role::Clinical], vec![Role::Clinical, Role::Release]]).clone();
            wave.limits.per_site = *self.random.pick(&[None, None, Some(1)]);
            wave.limits.total = *self.random.pick(&[None, None, Some(2)]);
            wave.limits.per_region = *self.random.pick(&[None, None, None, Some(1)]);
            waves.push(wave);
        }
        for device in devices {
            if self.random.chance(80) {
                let at = usize::try_from(self.random.below(count)).unwrap();
                waves[at].devices.push(device.clone());
            }
        }
        waves.retain(|w| !w.devices.is_empty());
        if waves.is_empty() {
            return;
        }
        let limits = Limits {
            per_site: *self.random.pick(&[None, Some(1), Some(2), Some(3)]),
            per_region: *self.random.pick(&[None, None, Some(1), Some(3)]),
            total: *self.random.pick(&[None, Some(2), Some(4)]),
        };
        let scope = *self.random.pick(&[Scope::Device, Scope::Site, Scope::Wave, Scope::Rollout]);
        let (mut document, members) = rollout(id, &waves, limits, scope);
        document.plan.timing.defer_max = DurationMs::from_secs(3600);
        // Of every third estate the second patch builds on the first.
        if self.seed % 3 == 2 && id == "b" {
            document.requires.push(document.patch.clone());
            document.patch = PatchId::new("KB4500332").unwrap();
        }
        if self.seed % 8 == 1 && id == "a" {
            document.plan.windows = hourly();
        }
        patience(&mut document.plan, &mut Random::new(self.seed ^ 0x5eed));
        // Some nodes enrol only after it was resolved.
        let mut nodes = reporters(&members);
        nodes.retain(|node| Random::new(self.seed ^ node.key.to_bytes().map(u64::from).iter().sum::<u64>()).chance(70));
        pin(&mut document, &members, &nodes);
        self.documents.insert(document.id.clone(), document.clone());
        self.apply(&created_by(&document, &members, nodes));
        // Most runs get going at once; the others leave it to chance.
        if self.random.chance(85) {
            self.apply(&Event::RolloutSigned { rollout: document.id.clone() });
            self.apply(&order(&document, 1, "Ann", &[Role::Release], Command::Start, "", self.now));
        }
    }

    /// One event through the engine and its twin, with every invariant checked.
    pub(crate) fn apply(&mut self, event: &Event) -> Option<Vec<Effect>> {
        self.trail.push(format!("{} {}", self.now.0, short(event)));
        if let Err(expected) = self.state.check(event, self.now) {
            let before = serde_json::to_vec(&self.state).unwrap();
            let refused = self.state.step(event, self.now).unwrap_err();
            assert_eq!(refused, expected, "check and step must agree");
            assert!(before == serde_json::to_vec(&self.state).unwrap(), "a refused event changes nothing");
            self.twin.step(event, self.now).unwrap_err();
            return None;
        }
        let effects = self.state.step(event, self.now).unwrap();
        let same = self.twin.step(event, self.now).unwrap();
        assert_eq!(effects, same, "a state that was loaded from a snapshot goes on as the one that was saved");
        if self.random.chance(4) {
            self.twin = serde_json::from_slice(&serde_json::to_vec(&self.state).unwrap()).unwrap();
        }
        self.count(&effects);
        self.take_versions();
        self.watch.after(&self.state, &self.documents, &self.nodes, event, &effects, self.now);
        Some(effects)
    }

    /// What has come into force.
    fn take_versions(&mut self) {
        let documents = &mut self.documents;
        let former = &mut self.former;
        self.drafts.retain(|id, draft| {
            let in_force = self.state.rollout(id).unwrap().digest == digest_of(draft);
            if in_force {
                let before = documents.insert(id.clone(), draft.clone()).unwrap();
                former.entry(id.clone()).or_default().push(before);
            }
            !in_force
        });
    }

    fn count(&mut self, effects: &[Effect]) {
        for effect in effects {
            let word = match effect {
                Effect::Alarm { code, .. } => format!("alarm {code}"),
                Effect::Audit { kind, .. } => kind.clone(),
                Effect::Halt { order, .. } => format!("halt by {}", if order.is_some() { "order" } else { "engine" }),
                _ => continue,
            };
            *self.reached.entry(word).or_default() += 1;
        }
        for id in self.state.rollouts() {
            let view = self.state.rollout(&id).unwrap();
            *self.reached.entry(format!("rollout {}", view.state.word())).or_default() += 1;
            for wave in view.waves {
                *self.reached.entry(format!("wave {}", wave.state.word())).or_default() += 1;
                if let Some(waiting) = wave.waiting {
                    *self.reached.entry(format!("waits {}", waiting.on.code())).or_default() += 1;
                }
            }
            for deployment in self.state.deployments(&id, None, None, None, usize::MAX) {
                *self.reached.entry(deployment.state.word().to_owned()).or_default() += 1;
                if let Some(waiting) = deployment.waiting {
                    *self.reached.entry(format!("waits {}", waiting.on.code())).or_default() += 1;
                }
            }
        }
    }

    fn deliver(&mut self, id: &SiteId, most: usize) {
        for _ in 0..most {
            let Some((seq, body)) = self.nodes[id].outbox.front().cloned() else { return };
            let node_at = Timestamp(self.now.0 - 1234);
            self.apply(&reported(&self.state, id, seq, node_at, body));
            self.nodes.get_mut(id).unwrap().acknowledge(self.state.acked_seq(id));
        }
    }

    /// Something happens.
    pub(crate) fn happen(&mut self) {
        let sites: Vec<SiteId> = self.nodes.keys().cloned().collect();
        let id = self.random.pick(&sites).clone();
        match self.random.below(100) {
            0..25 => self.now = self.now.after(DurationMs::from_secs(self.random.below(90))),
            25..60 => self.node_works(&id),
            60..78 => {
                if !self.cut_off.contains(&id) {
                    let most = 1 + usize::try_from(self.random.below(5)).unwrap();
                    self.deliver(&id, most);
                }
            }
            78..82 => self.disorder(&id),
            82..85 => self.line(&id),
            85..90 => self.tick(),
            // Where a limit is lowered, more may be in hand than it allows, so most runs leave limits alone.
            90..91 if self.seed.is_multiple_of(4) => self.regroup(&id),
            90..91 => self.moves_region(&id),
            91..95 => self.amends(),
            _ => self.person(),
        }
    }

    fn node_works(&mut self, id: &SiteId) {
        let directive = self.state.directive(id);
        let node = self.nodes.get_mut(id).unwrap();
        if !self.cut_off.contains(id) && self.random.chance(70) {
            node.read(directive);
        }
        let documents = &self.documents;
        node.work_on(self.now, |r| documents[r].clone());
        self.watch.truth(&self.nodes);
    }

    /// A report twice, or one before its turn.
    fn disorder(&mut self, id: &SiteId) {
        let acked = self.state.acked_seq(id);
        let body = ReportBody::Alarm { code: "x".to_owned(), text: "x".to_owned(), device: None };
        let seq = if self.random.chance(50) { self.random.below(acked + 1) } else { acked + 2 + self.random.below(3) };
        assert!(
            self.apply(&Event::Report { site: id.clone(), seq, at: self.now, body, node_key: None, envelope: None })
                .is_none()
        );
    }

    fn line(&mut self, id: &SiteId) {
        let event = if self.cut_off.remove(id) {
            Event::SiteHeard { site: id.clone() }
        } else {
            self.cut_off.insert(id.clone());
            Event::SiteSilent { site: id.clone() }
        };
        self.apply(&event);
    }

    pub(crate) fn tick(&mut self) {
        if self.state.next_wake().is_none_or(|at| at > self.now) {
            let before = serde_json::to_value(&self.state).unwrap();
            self.apply(&Event::Tick);
            let mut after = serde_json::to_value(&self.state).unwrap();
            after["clock"] = before["clock"].clone();
            assert!(before == after, "a tick before its time changes nothing");
        } else {
            self.apply(&Event::Tick);
        }
        assert!(self.state.next_wake().is_none_or(|at| at > self.now), "a tick does all that is due");
    }

    /// The site engineer changes the limit of a group.
    fn regroup(&mut self, id: &SiteId) {
        let limit = 1 + u32::try_from(self.random.below(2)).unwrap();
        let node = self.nodes.get_mut(id).unwrap();
        node.inventory.groups.insert(GroupId::new("g0").unwrap(), limit);
        node.say_inventory();
    }

    /// The site engineer corrects the site's region.
    fn moves_region(&mut self, id: &SiteId) {
        let region = (*self.random.pick(&REGIONS)).to_owned();
        let node = self.nodes.get_mut(id).unwrap();
        node.inventory.region = region;
        node.say_inventory();
    }

    /// Somebody makes the next version of a rollout, or signs it, or takes a signature back, or approves what it changes.
    fn amends(&mut self) {
        let ids: Vec<RolloutId> = self.documents.keys().cloned().collect();
        if ids.is_empty() {
            return;
        }
        let id = self.random.pick(&ids).clone();
        let Some(draft) = self.drafts.get(&id).cloned().filter(|_| self.random.chance(75)) else {
            return self.drafts_next(&id);
        };
        let waiting = self.state.rollout(&id).unwrap().amendment;
        match waiting.and_then(|w| w.approvals.first().cloned().filter(|_| w.signed)) {
            Some((wave, _)) if self.random.chance(70) => {
                let (who, roles) = *self.random.pick(&PEOPLE);
                let counter = self.state.rollout(&id).unwrap().order_counter + 1;
                self.apply(&order(&draft, counter, who, roles, Command::Approve { wave }, "", self.now));
            }
            _ => {
                let signed = self.random.chance(85);
                self.apply(&Event::AmendmentSigned { rollout: id, digest: digest_of(&draft), signed });
            }
        }
    }

    fn drafts_next(&mut self, id: &RolloutId) {
        let document = self.documents[id].clone();
        let view = self.state.rollout(id).unwrap();
        // Now and then one that must not be.
        let wild = self.random.chance(10);
        let mut waves: Vec<Vec<DeviceId>> = vec![Vec::new(); document.waves.len()];
        let open: Vec<usize> = (0..waves.len()).filter(|w| wild || view.waves[*w].state != WaveState::Passed).collect();
        if open.is_empty() {
            return;
        }
        let mut members = BTreeSet::new();
        for deployment in self.state.deployments(id, None, None, None, 1000) {
            let w = document.waves.iter().position(|w| w.name == deployment.wave).unwrap();
            let goes = (wild || deployment.state == DeploymentState::Pending) && self.random.chance(25);
            members.insert(deployment.device.clone());
            if !goes {
                waves[w].push(deployment.device);
            } else if self.random.chance(50) {
                waves[*self.random.pick(&open)].push(deployment.device);
            }
        }
        let all: Vec<DeviceId> = self.nodes.values().flat_map(|n| &n.inventory.devices).map(|d| d.id.clone()).collect();
        for device in all.into_iter().filter(|d| !members.contains(d)) {
            if self.random.chance(50) {
                waves[*self.random.pick(&open)].push(device);
            }
        }
        let (next, members) = next_version(&document, &waves);
        if self.apply(&amended(&next, &members)).is_some() {
            self.drafts.insert(id.clone(), next);
        }
    }

    /// A wave has just begun, and its list is wrong: people sign the next version, and approve the wave for it.
    fn amends_at_once(&mut self, id: &RolloutId) {
        self.drafts_next(id);
        let Some(draft) = self.drafts.get(id).cloned() else { return };
        self.apply(&Event::AmendmentSigned { rollout: id.clone(), digest: digest_of(&draft), signed: true });
        let waiting = self.state.rollout(id).unwrap().amendment;
        for (wave, _) in waiting.into_iter().flat_map(|w| w.approvals) {
            for (who, roles) in &PEOPLE[..2] {
                let counter = self.state.rollout(id).unwrap().order_counter + 1;
                let command = Command::Approve { wave: wave.clone() };
                if self.apply(&order(&draft, counter, who, roles, command, "", self.now)).is_some() {
                    *self.reached.entry("early approval".to_owned()).or_default() += 1;
                }
            }
        }
    }

    fn person(&mut self) {
        let ids: Vec<RolloutId> = self.documents.keys().cloned().collect();
        if ids.is_empty() {
            return;
        }
        let id = self.random.pick(&ids).clone();
        let document = self.documents[&id].clone();
        let view = self.state.rollout(&id).unwrap();
        if view.state == RolloutState::Draft && self.random.chance(80) {
            self.apply(&Event::RolloutSigned { rollout: id });
            return;
        }
        // Most often the wave that people are asked about, so that runs get beyond their approvals.
        let asked = view.waves.iter().position(|w| w.state == WaveState::AwaitingApproval);
        let wave = match asked.filter(|_| self.random.chance(70)) {
            Some(at) => document.waves[at].name.clone(),
            None => self.random.pick(&document.waves).name.clone(),
        };
        let members: Vec<DeviceId> =
            self.state.deployments(&id, None, None, None, 1000).into_iter().map(|d| d.device).collect();
        let one = self.random.pick(&members).clone();
        // What ends a run early is rare, so that most runs get far.
        let kinds = if self.random.chance(90) { 34 } else { 40 };
        let command = match self.random.below(kinds) {
            0..10 => Command::Start,
            10..20 => Command::Approve { wave },
            20..23 => Command::Pause,
            23..31 => resume(&self.state, &id),
            31..34 => Command::Halt,
            34 => Command::RollBack { target: RollBackTarget::Device { device: one } },
            35 => Command::RollBack { target: RollBackTarget::Site { site: one.site() } },
            36 => Command::RollBack { target: RollBackTarget::Wave { wave } },
            37 => Command::RollBack { target: RollBackTarget::Rollout },
            38 => Command::Cancel,
            _ => Command::Start,
        };
        let (who, roles) = *self.random.pick(&PEOPLE);
        // Some read an older version, and did not hear of the newer.
        let former = self.former.get(&id).cloned().unwrap_or_default();
        let document =
            if former.is_empty() || self.random.chance(80) { document } else { self.random.pick(&former).clone() };
        // Now and then an order was written before another was accepted, or is sent again.
        let counter =
            if self.random.chance(85) { view.order_counter + 1 } else { self.random.below(view.order_counter + 4) };
        // One alone may have to wait for a second, who signs the very same bytes, or never comes.
        if self.random.chance(30) {
            self.apply(&order_of(&document, counter, vec![signatory(who, roles)], command, "", self.now));
            return;
        }
        if let Some(waiting) = view.pending.first().filter(|_| self.random.chance(50)) {
            let known = PEOPLE.iter().find(|(name, _)| *name == waiting.signed_by[0]);
            let first = known.map_or_else(|| signatory("Sam", &Role::PEOPLE), |(name, roles)| signatory(name, roles));
            let order = waiting.envelope.peek_unverified().unwrap();
            let signers = vec![first, signatory(who, roles)];
            self.apply(&Event::order(order, signers, waiting.envelope.clone()));
            return;
        }
        self.apply(&order(&document, counter, who, roles, command, "", self.now));
    }

    /// Everything is mended, and people do what they are asked to: all must end (S6).
    pub(crate) fn heal(&mut self) {
        for id in std::mem::take(&mut self.cut_off) {
            self.apply(&Event::SiteHeard { site: id });
        }
        for round in 0..2000 {
            for id in self.nodes.keys().cloned().collect::<Vec<_>>() {
                self.node_works(&id);
                self.deliver(&id, usize::MAX);
            }
            self.now = self.now.after(DurationMs::from_secs(60));
            self.tick();
            if round % 20 == 19 && self.people_help() {
                return;
            }
        }
        let views: Vec<_> = self.documents.keys().filter_map(|r| self.state.rollout(r)).collect();
        panic!("not everything has ended: {views:#?}");
    }

    /// People answer what the views ask for. True when all has ended.
    fn people_help(&mut self) -> bool {
        let mut ended = true;
        for (id, document) in self.documents.clone() {
            let view = self.state.rollout(&id).unwrap();
            let open = |d: &DeploymentView| !d.state.is_terminal() && d.state != DeploymentState::Pending;
            if view.state.is_ended() {
                ended &= !self.state.deployments(&id, None, None, None, 1000).iter().any(open);
                continue;
            }
            ended = false;
            if view.state == RolloutState::Draft {
                self.apply(&Event::RolloutSigned { rollout: id.clone() });
            }
            let asked: Vec<(WaveName, WaitingOn)> =
                view.waves.iter().filter_map(|w| Some((w.name.clone(), w.waiting.clone()?.on))).collect();
            let next_of = |name: &WaveName| {
                let at = document.waves.iter().position(|w| w.name == *name).unwrap();
                document.waves.get(at + 1).map(|w| w.name.clone())
            };
            for (wave, on) in asked {
                let answer = match on {
                    WaitingOn::Start => Some(Command::Start),
                    WaitingOn::Resume { .. } | WaitingOn::SecondSignature { .. } => Some(resume(&self.state, &id)),
                    WaitingOn::Decision { .. } => Some(Command::Cancel),
                    WaitingOn::Approval { .. }
                        if view.waves.iter().any(|w| w.name == wave && w.state == WaveState::AwaitingApproval) =>
                    {
                        Some(Command::Approve { wave })
                    }
                    WaitingOn::Approval { .. }
                    | WaitingOn::Evidence { .. }
                    | WaitingOn::CheckableEvidence { .. }
                    | WaitingOn::GateTest { .. } => next_of(&wave).map(|wave| Command::Approve { wave }),
                    _ => None,
                };
                if let Some(command) = answer {
                    for (who, roles) in &PEOPLE[..2] {
                        let counter = self.state.rollout(&id).unwrap().order_counter + 1;
                        self.apply(&order(&document, counter, who, roles, command.clone(), "", self.now));
                    }
                    // Not for ever: what is amended again and again does not end.
                    let approved = matches!(command, Command::Approve { .. }) && document.version < 20;
                    if approved && self.random.chance(50) {
                        self.amends_at_once(&id);
                    }
                }
            }
        }
        ended
    }

    /// The end of the run, for comparing runs.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let bytes = serde_json::to_vec(&self.state).unwrap();
        assert!(bytes == serde_json::to_vec(&self.twin).unwrap(), "the twin has gone another way");
        bytes
    }
}

/// Deadlines, and what becomes of silent sites: by dice of their own, so that everything else stays as it is.
fn patience(plan: &mut Plan, random: &mut Random) {
    let within = |random: &mut Random, most: u64| DurationMs::from_secs(1 + random.below(most));
    for wave in &mut plan.waves {
        let then = *random.pick(&[Late::Alarm, Late::LeaveOut]);
        let (after, by) = (within(random, 4_000), Timestamp(1_000_000).after(within(random, 9_000)));
        wave.deadline = match random.below(6) {
            0 => Some(Deadline { by: None, after: Some(after), then }),
            1 => Some(Deadline { by: Some(by), after: None, then }),
            _ => None,
        };
    }
    if random.chance(40) {
        let (alarm, out) = (within(random, 600), within(random, 1_200));
        plan.offline =
            Some(Offline { alarm_after: Some(alarm), leave_out_after: Some(out).filter(|_| random.chance(60)) });
    }
}

fn short(event: &Event) -> String {
    let text = match event {
        Event::RolloutCreated { rollout, .. } => format!("created {}", rollout.id),
        Event::RolloutAmended { rollout, members, .. } => {
            let members: Vec<_> = members.iter().map(|m| format!("{} {}", m.wave, m.device)).collect();
            format!("amended {} version {}: {}", rollout.id, rollout.version, members.join(", "))
        }
        Event::Order { order, holders, .. } => {
            format!("order {holders:?} {} {} {:?}", order.rollout, order.counter, order.command)
        }
        Event::Report { site, seq, body, .. } => match body {
            ReportBody::Deployment { rollout, device, state, attempt, .. } => {
                format!("report {seq}: {rollout} {device} {state} attempt {attempt}")
            }
            other => format!("report {site} {seq}: {other:?}"),
        },
        other => format!("{other:?}"),
    };
    text.chars().take(300).collect()
}
