//! A modelled estate around the production engine: real events go in, and what comes out of it decides what happens next.
//!
//! The nodes are models. They read their directive when they are nudged, begin what it asks, and report what a node reports,
//! with the evidence that it carries. What happens to a device follows from a fixed hash of its number, so every run is
//! the same. Nothing is signed: the engine is told of verified signatures, and checks none itself.

mod estate;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
};

use wardround_rollout_plans::{
    engine::{Effect, Event, State, WaveState},
    estate::Estate,
    language::parse_plan,
    model::*,
    resolve,
};
use wardround_signing::{Digest, Envelope, PublicKey, Role, SecretKey, Signature, Signer as _};

use estate::{PROBES, patch};

/// A careful plan for a country: a canary of one in a thousand, a pilot of one in twenty, then all.
const PLAN: &str = "
name: national
limits: { per_site: 2, total: 200000 }
waves:
  - { name: canary, select: { percent: 0.1% }, soak: 24h, gate: { success: 95%, evidence_min: 5 } }
  - { name: pilot, select: { percent: 5% }, soak: 24h, gate: { success: 95%, evidence_min: 16, approvals: [clinical] } }
  - { name: full, select: { remaining: true }, soak: 8h, gate: { success: 95% } }
";

const MINUTE_MS: u64 = 60_000;
/// Entries of the queue that are about a site and not about one of its devices.
const CHECK_IN: u32 = u32::MAX;
const SILENT: u32 = u32::MAX - 1;
const HEARD: u32 = u32::MAX - 2;

/// The estate, its nodes, and what they will do when.
pub(crate) struct World {
    pub(crate) document: Rollout,
    digest: Digest,
    payload: Digest,
    nodes: Vec<Node>,
    at: HashMap<SiteId, u32>,
    due: BinaryHeap<Reverse<(Timestamp, u32, u32)>>,
    orders: VecDeque<Event>,
    counter: u64,
    pub(crate) now: Timestamp,
}

struct Node {
    site: SiteId,
    key: PublicKey,
    seq: u64,
    nudged: bool,
    /// While it is cut off nothing leaves it.
    cut_off_until: Timestamp,
    /// In order of their ids.
    devices: Vec<Course>,
}

struct Course {
    device: DeviceId,
    attempt: u32,
    step: Step,
    soak: DurationMs,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Idle,
    Report(DeploymentState),
    Done,
}

/// A number that is the same in every run.
fn hash(seed: u64, what: u64) -> u64 {
    let mut z = (seed ^ what.rotate_left(32)).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl World {
    /// An estate of so many sites with so many devices each, and the events that make a signed rollout of it run.
    pub(crate) fn new(sites: usize, devices_each: usize) -> (Self, Vec<Event>) {
        let mut all = Estate::default();
        let mut events = Vec::new();
        let mut nodes = Vec::new();
        for n in 0..sites {
            let inventory = estate::inventory(n, devices_each);
            let key = SecretKey::from_seed(Digest::of(inventory.site.as_str().as_bytes()).as_bytes()).public();
            events.push(Event::NodeEnrolled { site: inventory.site.clone(), node_key: key.id() });
            let mut devices: Vec<Course> = inventory.devices.iter().map(|d| Course::new(&d.id)).collect();
            devices.sort_by(|a, b| a.device.cmp(&b.device));
            let site = inventory.site.clone();
            events.push(Event::Report {
                site: site.clone(),
                seq: 1,
                at: Timestamp(0),
                body: ReportBody::Inventory { inventory: inventory.clone() },
                node_key: Some(key.id()),
                envelope: None,
            });
            nodes.push(Node { site, key, seq: 1, nudged: false, cut_off_until: Timestamp(0), devices });
            all.put(inventory);
        }
        let plan = parse_plan(PLAN, "national.yaml").unwrap();
        let patch = patch();
        let resolution = resolve::resolve(&plan, &patch, &all).unwrap();
        let reporters: Vec<Reporter> =
            nodes.iter().map(|node| Reporter { site: node.site.clone(), key: node.key }).collect();
        let id = RolloutId::new("national-1").unwrap();
        let patch_digest = Digest::of(b"patch");
        let document = resolve::document(id, &plan.plan, &patch, patch_digest, &resolution, &reporters, Timestamp(0));
        let digest = Digest::of(&serde_json::to_vec(&document).unwrap());
        events.push(Event::RolloutCreated {
            rollout: Box::new(document.clone()),
            digest,
            members: resolution.members(),
            reporters,
        });
        events.push(Event::RolloutSigned { rollout: document.id.clone() });
        let mut world = Self {
            document,
            digest,
            payload: Digest::of(b"payload"),
            at: nodes.iter().map(|node| node.site.clone()).zip(0..).collect(),
            nodes,
            due: BinaryHeap::new(),
            orders: VecDeque::new(),
            counter: 0,
            now: Timestamp(0),
        };
        events.push(world.order(Command::Start, Role::Release));
        world.cut_off_some();
        (world, events)
    }

    /// One site in a hundred is not heard for two days.
    fn cut_off_some(&mut self) {
        for n in (0..self.nodes.len() as u32).filter(|n| hash(1, u64::from(*n)).is_multiple_of(100)) {
            let from = Timestamp(0).after(DurationMs(hash(2, u64::from(n)) % (5 * 24 * 60 * MINUTE_MS)));
            self.due.push(Reverse((from.after(DurationMs(10 * MINUTE_MS)), n, SILENT)));
            self.due.push(Reverse((from.after(DurationMs(48 * 60 * MINUTE_MS)), n, HEARD)));
        }
    }

    fn order(&mut self, command: Command, role: Role) -> Event {
        self.counter += 1;
        let order = Order {
            rollout: self.document.id.clone(),
            digest: self.digest,
            counter: self.counter,
            issued_at: self.now,
            command,
            reason: String::new(),
        };
        let envelope = Envelope::unsigned(&order).unwrap();
        let key = SecretKey::from_seed(&[7; 32]).public().id();
        Event::order(order, vec![Signatory { key, holder: "Ann Lee".to_owned(), roles: [role].into() }], envelope)
    }

    /// What happens next, and when; `None` once nothing more will.
    pub(crate) fn next(&mut self, state: &State) -> Option<(Timestamp, Event)> {
        loop {
            if let Some(order) = self.orders.pop_front() {
                return Some((self.now, order));
            }
            let first = self.due.peek().map(|Reverse((when, ..))| *when);
            if let Some(wake) = state.next_wake().filter(|wake| first.is_none_or(|first| *wake <= first)) {
                self.now = self.now.max(wake);
                return Some((self.now, Event::Tick));
            }
            let Reverse((when, n, what)) = self.due.pop()?;
            self.now = when;
            let node = &mut self.nodes[n as usize];
            let site = node.site.clone();
            match what {
                SILENT => {
                    node.cut_off_until = when.after(DurationMs(48 * 60 * MINUTE_MS));
                    return Some((when, Event::SiteSilent { site }));
                }
                HEARD => {
                    node.cut_off_until = when;
                    return Some((when, Event::SiteHeard { site }));
                }
                _ if when < node.cut_off_until => self.due.push(Reverse((node.cut_off_until, n, what))),
                CHECK_IN => self.check_in(state, n),
                device => return Some((when, self.report(n, device))),
            }
        }
    }

    /// What the engine wants of the outside.
    pub(crate) fn hear(&mut self, state: &State, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::SiteChanged { site } => {
                    let n = self.at[site];
                    if !std::mem::replace(&mut self.nodes[n as usize].nudged, true) {
                        let after = DurationMs(500 + hash(3, u64::from(n) ^ self.now.0.unsigned_abs()) % 30_000);
                        self.due.push(Reverse((self.now.after(after), n, CHECK_IN)));
                    }
                }
                Effect::Audit { kind, .. } if kind == "wave_decision" => {
                    let view = state.rollout(&self.document.id).unwrap();
                    if let Some(wave) = view.waves.iter().find(|w| w.state == WaveState::AwaitingApproval) {
                        let order = self.order(Command::Approve { wave: wave.name.clone() }, Role::Clinical);
                        self.orders.push_back(order);
                    }
                }
                _ => {}
            }
        }
    }

    /// A node asks for its directive and begins what is new in it.
    fn check_in(&mut self, state: &State, n: u32) {
        let node = &mut self.nodes[n as usize];
        node.nudged = false;
        for part in state.directive(&node.site) {
            for goal in part.goals {
                let at = node.devices.binary_search_by(|c| c.device.cmp(&goal.member.device)).unwrap();
                let course = &mut node.devices[at];
                let begin = match goal.action {
                    GoalAction::Install if part.mode == Mode::Proceed && course.step == Step::Idle => {
                        DeploymentState::Downloading
                    }
                    GoalAction::RollBack if course.step != Step::Done => DeploymentState::RolledBack,
                    GoalAction::Withdraw if course.step == Step::Idle => DeploymentState::Failed,
                    _ => continue,
                };
                course.attempt = goal.attempt;
                let wave = self.document.plan.waves.iter().find(|w| w.name == goal.member.wave);
                course.soak = wave.map(|w| w.soak).unwrap_or_default();
                course.step = Step::Report(begin);
                let after = DurationMs(5_000 + hash(4, u64::from(n) << 16 | at as u64) % MINUTE_MS);
                self.due.push(Reverse((self.now.after(after), n, at as u32)));
            }
        }
    }

    /// The next report of a device, and what it will report then.
    fn report(&mut self, n: u32, at: u32) -> Event {
        use DeploymentState::{
            Downloading, Failed, Installing, Rebooting, Skipped, Soaking, Staged, Succeeded, Verifying,
        };
        let node = &mut self.nodes[n as usize];
        let course = &mut node.devices[at as usize];
        let fate = hash(5, u64::from(n) << 16 | u64::from(at));
        let state = match course.step {
            Step::Report(state) => state,
            _ => Failed,
        };
        let minutes = |least: u64, spread: u64| DurationMs((least + fate % spread) * MINUTE_MS + fate % MINUTE_MS);
        let next = match state {
            Downloading => Some((Staged, minutes(1, 20))),
            Staged if fate.is_multiple_of(97) => Some((Skipped, minutes(1, 5))),
            Staged => Some((Installing, minutes(1, 5))),
            Installing => Some((Rebooting, minutes(2, 10))),
            Rebooting => Some((Verifying, minutes(2, 5))),
            Verifying if fate.is_multiple_of(251) => Some((Failed, minutes(0, 2))),
            Verifying => Some((Soaking, minutes(0, 2))),
            Soaking => Some((Succeeded, course.soak)),
            _ => None,
        };
        course.step = next.map_or(Step::Done, |(state, _)| Step::Report(state));
        node.seq += 1;
        let body = ReportBody::Deployment {
            rollout: self.document.id.clone(),
            device: course.device.clone(),
            attempt: course.attempt,
            state,
            reason: if state == Failed { "the installer was content, but the patch is not there" } else { "" }
                .to_owned(),
            code: if state == Failed { "verify" } else { "" }.to_owned(),
            evidence: evidence(state, &node.site, self.digest, self.payload, self.now),
        };
        let report = Report { site: node.site.clone(), seq: node.seq, at: self.now, body };
        let envelope = report.body.is_proof().then(|| {
            let mut envelope = Envelope::unsigned(&report).unwrap();
            envelope.signatures.push(Signature { keyid: node.key.id(), sig: vec![0; 64] });
            envelope
        });
        if let Some((_, after)) = next {
            self.due.push(Reverse((self.now.after(after), n, at)));
        }
        let Report { site, seq, at, body } = report;
        Event::Report { site, seq, at, body, node_key: Some(node.key.id()), envelope }
    }
}

impl Course {
    fn new(device: &DeviceId) -> Self {
        Self { device: device.clone(), attempt: 0, step: Step::Idle, soak: DurationMs::default() }
    }
}

/// What a node's report of this state carries (`node/src/machine/settle.rs`).
fn evidence(state: DeploymentState, site: &SiteId, document: Digest, payload: Digest, now: Timestamp) -> Evidence {
    use DeploymentState::{Failed, Installing, Rebooting, Soaking, Staged, Succeeded};
    let document = Some(document);
    let before = Some(Detected::Absent);
    let present = || Detected::Present {
        proof: r"HKLM\SOFTWARE\Microsoft\Updates\Windows XP\SP4\KB4500331: Installed = 1".to_owned(),
    };
    let probes = || {
        let probe = |(system, probe, answer): &(&str, &str, &str)| ProbeAnswer {
            system: SystemId::new(&format!("{site}/{system}")).unwrap(),
            probe: (*probe).to_owned(),
            at: now,
            took_ms: 12,
            ok: true,
            answer: (*answer).to_owned(),
        };
        PROBES.iter().map(probe).collect()
    };
    match state {
        Staged => Evidence { document, payload: Some(payload), ..Evidence::default() },
        Installing => Evidence {
            document,
            payload: Some(payload),
            before,
            reboot_pending: Some(false),
            probes: probes(),
            ..Evidence::default()
        },
        Rebooting => Evidence {
            document,
            payload: Some(payload),
            exit_code: Some(3010),
            before,
            after: Some(present()),
            reboot_pending: Some(true),
            output: "0.218: KB4500331 Setup encountered no error; a restart is needed".to_owned(),
            ..Evidence::default()
        },
        Soaking | Succeeded => Evidence {
            document,
            before,
            after: Some(present()),
            reboot_pending: Some(false),
            probes: probes(),
            ..Evidence::default()
        },
        Failed => Evidence {
            document,
            before,
            after: Some(Detected::Absent),
            reboot_pending: Some(false),
            probes: probes(),
            ..Evidence::default()
        },
        _ => Evidence { document, ..Evidence::default() },
    }
}
