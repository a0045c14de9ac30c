//! The production engine with a small rollout, and everything that may happen to it.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use serde::Serialize;
use wardround_rollout_plans::{engine::*, model::*};
use wardround_signing::{Digest, Envelope, Role};

use super::{
    engine_rules,
    explore::{Cause, Machine},
    fold::{Rule, Rules},
};
use crate::engine_support::{
    WaveSpec, created, device, digest_of, inventory, key, order_of, report_key, reported, resume, rollout, signatory,
    site,
};

/// All that the engine counts lasts one unit: a soak, a device's being put off, the wait for a second signature.
pub(crate) const UNIT: DurationMs = SECOND_SIGNATURE_WITHIN;

/// In hand, and heard of: how long it has been so matters.
const IN_HAND: &[&str] = &[
    "offered",
    "downloading",
    "staged",
    "preflight",
    "deferred",
    "installing",
    "rebooting",
    "verifying",
    "soaking",
    "rolling_back",
];
/// An install may still begin, or begin again, or succeed.
const ON_THE_WAY: &[&str] = &[
    "offered",
    "downloading",
    "staged",
    "preflight",
    "deferred",
    "installing",
    "rebooting",
    "verifying",
    "soaking",
    "unknown",
];

/// What counts of the engine's state. What is left out is a sentence, a digest, a counter of which only the next value
/// counts (the alphabet always uses that one; others are tried in each state and must be refused), or what people are
/// shown and no decision asks for.
const FOLD: Rules = Rules {
    nothing: &["Envelope", "Evidence"],
    fields: &[
        ("State", "form", Rule::Drop),
        ("State", "clock", Rule::Drop),
        ("State", "estate", Rule::Drop),
        ("Site", "acked", Rule::Drop),
        ("Record", "document", Rule::Drop),
        ("Record", "digest", Rule::Drop),
        ("Record", "since", Rule::Drop),
        ("Record", "reason", Rule::Drop),
        ("Record", "created_at", Rule::Drop),
        ("Record", "started_at", Rule::Presence),
        ("Record", "ended_at", Rule::Presence),
        ("Record", "order_counter", Rule::Drop),
        ("Record", "halts_seen", Rule::Drop),
        ("Record", "halts_in_force", Rule::Presence),
        ("Record", "sites", Rule::Drop),
        ("Record", "variants", Rule::Drop),
        ("Halt", "counter", Rule::Presence),
        ("Wave", "since", Rule::Drop),
        ("Wave", "gate", Rule::Drop),
        ("Wave", "short_since", Rule::Presence),
        ("Wave", "soak_began", Rule::Drop),
        // Decides only for deadlines and silent sites, of which these plans say nothing.
        ("Wave", "began", Rule::Drop),
        ("Site", "silent_since", Rule::Drop),
        ("GateDecision", "at", Rule::Drop),
        ("Wave", "reporters", Rule::Drop),
        ("Approval", "at", Rule::Drop),
        ("Pending", "since", Rule::Drop),
        ("Pending", "until", Rule::Ahead),
        ("Order", "rollout", Rule::Drop),
        ("Order", "digest", Rule::Drop),
        ("Order", "counter", Rule::Drop),
        ("Order", "issued_at", Rule::Drop),
        ("Order", "reason", Rule::Drop),
        ("Command", "lifts", Rule::Drop),
        ("Deployment", "since", Rule::AgeIn(PARTS, IN_HAND)),
        ("Deployment", "attempt", Rule::AtMost(1)),
        ("Note", "reason", Rule::Drop),
        ("Note", "back_reason", Rule::Drop),
        ("Note", "soaking_since", Rule::AgeIn(PARTS, ON_THE_WAY)),
        ("Note", "deferred_since", Rule::AgeIn(PARTS, ON_THE_WAY)),
        ("Note", "shut_since", Rule::Presence),
        ("Past", "soaking", Rule::Age(PARTS)),
    ],
    unit: (UNIT.0 / PARTS as u64) as i64,
    blind: &[],
};

/// Time passes in steps of this part of a unit.
const PARTS: i64 = 1;

/// What a broken engine would make of its state after something has happened.
pub(crate) type Mistake = fn(&Moment, &Happening, &mut serde_json::Value);

/// A rollout to explore.
#[derive(Clone)]
pub(crate) struct Small {
    pub(crate) waves: Vec<WaveSpec>,
    pub(crate) limits: Limits,
    pub(crate) scope: Scope,
    /// Devices of each site, "name" or "name@group"; each site has the system `pacs`, which needs its first device.
    pub(crate) sites: Vec<(&'static str, Vec<&'static str>)>,
    /// What nodes may say, with a machine word.
    pub(crate) says: Vec<(DeploymentState, &'static str)>,
    /// Lines break.
    pub(crate) silence: bool,
    /// Nodes blame the rollout for what has become of their `pacs`.
    pub(crate) blame: bool,
    /// What people may order beside approvals: each with those who sign at once.
    pub(crate) orders: Vec<Wanted>,
}

/// An order that somebody may give at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    Halt,
    /// By one; another may sign later.
    Resume,
    /// By two.
    Back(RollBackTarget),
    Cancel,
}

/// What has happened, as far as the contract speaks of it: kept beside the engine, from what was accepted.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Past {
    /// A person's halt that no two people have lifted.
    pub(crate) halted: bool,
    /// A wave has failed or was taken back, or a system was blamed under a scope that ends a wave.
    pub(crate) lost: bool,
    /// Accepted approvals by wave: who, and that it was known that the gate before has too little evidence.
    pub(crate) approved: BTreeMap<WaveName, BTreeSet<(String, bool)>>,
    /// What each node has said last of a device, as far as it counted.
    pub(crate) said: BTreeMap<DeviceId, DeploymentState>,
    /// Since when the engine has seen a device soak.
    pub(crate) soaking: BTreeMap<DeviceId, Timestamp>,
    pub(crate) silent: BTreeSet<SiteId>,
}

/// A state with its past.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    pub(crate) engine: State,
    pub(crate) now: Timestamp,
    pub(crate) past: Past,
    /// Orders that were accepted, the newest of each kind: none may ever be accepted again.
    pub(crate) accepted: Vec<Event>,
    /// What people see of it.
    pub(crate) view: RolloutView,
    pub(crate) devices: Vec<DeploymentView>,
}

/// Something that may happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Happening {
    /// A node's report, of the attempt that is asked for or of another.
    Says {
        device: DeviceId,
        state: DeploymentState,
        code: &'static str,
        stale: bool,
    },
    Blames(SystemId),
    Silent(SiteId),
    Heard(SiteId),
    /// A step of time, and what is due then.
    Time,
    Orders(Command),
    Countersigns,
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Says { device, state, code, stale } => {
                let stale = if *stale { " of another attempt" } else { "" };
                let code = if code.is_empty() { String::new() } else { format!(" ({code})") };
                write!(f, "the node says of {device}: {state}{code}{stale}")
            }
            Self::Blames(system) => write!(f, "the node blames the rollout for {system}"),
            Self::Silent(site) => write!(f, "{site} falls silent"),
            Self::Heard(site) => write!(f, "{site} is heard again"),
            Self::Time => f.write_str("time passes"),
            Self::Orders(command) => write!(f, "ordered: {}", command.sentence()),
            Self::Countersigns => f.write_str("a second person signs the resume that waits"),
        }
    }
}

/// The engine with its small rollout.
pub(crate) struct Engine {
    pub(crate) small: Small,
    pub(crate) document: Rollout,
    members: Vec<Member>,
    inventories: Vec<SiteInventory>,
    /// Signing takes longer than a step.
    sealed: RefCell<HashMap<About, (ReportBody, Option<Envelope>)>>,
    digest: Digest,
    /// To see that the exploration finds what is wrong.
    pub(crate) mistake: Option<Mistake>,
    /// Leaves something out of the fold that decides.
    pub(crate) blind: &'static [(&'static str, &'static str)],
}

/// Device or system, state, machine word, attempt.
type About = (String, Option<DeploymentState>, &'static str, u32);

impl Engine {
    pub(crate) fn new(small: Small) -> Self {
        let (mut document, members) = rollout("r1", &small.waves, small.limits, small.scope);
        for wave in &mut document.plan.waves {
            wave.soak = UNIT;
        }
        // Whatever the engine waits for lasts one unit.
        document.plan.timing = Timing {
            install_timeout: DurationMs(UNIT.0 / 4),
            reboot_timeout: DurationMs(UNIT.0 / 4),
            unknown_after: DurationMs(0),
            defer_max: UNIT,
            ..Timing::default()
        };
        let inventories = small.sites.iter().map(|(id, devices)| {
            let names: Vec<String> = devices.iter().map(|d| (*d).to_owned()).collect();
            let first = names[0].split('@').next().unwrap().to_owned();
            inventory(id, &names, &[("g", 1)], &[("pacs", vec![first])])
        });
        let digest = digest_of(&document);
        Self {
            inventories: inventories.collect(),
            small,
            document,
            members,
            sealed: RefCell::default(),
            digest,
            mistake: None,
            blind: &[],
        }
    }

    /// A report as the shell hands it on. What it says is signed once.
    fn report(&self, at: &Moment, site: &SiteId, about: About, body: impl FnOnce() -> ReportBody) -> Event {
        let mut sealed = self.sealed.borrow_mut();
        let made = sealed.entry(about).or_insert_with(|| {
            let report = Report { site: site.clone(), seq: 1, at: Timestamp(0), body: body() };
            let envelope = report.body.is_proof().then(|| Envelope::seal(&report, &report_key(site)).unwrap());
            (report.body, envelope)
        });
        let (body, envelope) = made.clone();
        let seq = at.engine.acked_seq(site) + 1;
        Event::Report { site: site.clone(), seq, at: Timestamp(0), body, node_key: None, envelope }
    }

    /// An order with the next counter.
    pub(crate) fn order(&self, at: &Moment, signers: Vec<Signatory>, command: Command) -> Event {
        let order = Order {
            rollout: self.document.id.clone(),
            digest: self.digest,
            counter: at.view.order_counter + 1,
            issued_at: Timestamp(0),
            command,
            reason: String::new(),
        };
        let envelope = Envelope::unsigned(&order).unwrap();
        Event::order(order, signers, envelope)
    }

    /// The event as the shell would make it.
    fn event(&self, at: &Moment, what: &Happening) -> Option<Event> {
        let digest = Some(self.digest);
        Some(match what {
            Happening::Says { device, state, code, stale } => {
                let view = at.devices.iter().find(|d| d.device == *device)?;
                let attempt = view.attempt.max(1) + u32::from(*stale);
                self.report(at, &device.site(), (device.to_string(), Some(*state), code, attempt), || {
                    let evidence = Evidence { document: digest, ..Evidence::default() };
                    let (rollout, reason, code) = (self.document.id.clone(), String::new(), (*code).to_owned());
                    ReportBody::Deployment {
                        rollout,
                        device: device.clone(),
                        attempt,
                        state: *state,
                        reason,
                        code,
                        evidence,
                    }
                })
            }
            Happening::Blames(system) => {
                self.report(at, &system.site(), (system.to_string(), None, "", 0), || ReportBody::Health {
                    system: system.clone(),
                    health: Health::Unhealthy,
                    blames: Some(self.document.id.clone()),
                    document: digest,
                    probes: Vec::new(),
                })
            }
            Happening::Silent(site) => Event::SiteSilent { site: site.clone() },
            Happening::Heard(site) => Event::SiteHeard { site: site.clone() },
            Happening::Time => Event::Tick,
            Happening::Orders(command) => {
                let signers = match command {
                    Command::Halt => vec![signatory("Olu", &[Role::OnCall])],
                    Command::Approve { .. } => vec![signatory("Carl", &[Role::Clinical])],
                    Command::RollBack { .. } => {
                        vec![signatory("Olu", &[Role::OnCall]), signatory("Carl", &[Role::Clinical])]
                    }
                    _ => vec![signatory("Ann", &[Role::Release])],
                };
                let command = match command {
                    Command::Resume { .. } => resume(&at.engine, &self.document.id),
                    other => other.clone(),
                };
                self.order(at, signers, command)
            }
            Happening::Countersigns => {
                let pending = at.view.pending.first()?;
                let order: Order = pending.envelope.peek_unverified().unwrap();
                let signers = vec![signatory("Ann", &[Role::Release]), signatory("Carl", &[Role::Clinical])];
                Event::order(order, signers, pending.envelope.clone())
            }
        })
    }

    /// The approvals that could be given.
    fn approvals(&self) -> impl Iterator<Item = Command> {
        let waves = self.document.plan.waves.windows(2);
        let awaited = waves.filter(|pair| !pair[0].gate.approvals.is_empty());
        awaited.map(|pair| Command::Approve { wave: pair[1].name.clone() })
    }
}

impl Moment {
    fn new(engine: State, now: Timestamp, id: &RolloutId) -> Self {
        let (view, devices) = (engine.rollout(id).unwrap(), engine.deployments(id, None, None, None, usize::MAX));
        Self { engine, now, past: Past::default(), accepted: Vec::new(), view, devices }
    }
}

impl Machine for Engine {
    type State = Moment;
    type Event = Happening;

    /// Started: its first wave runs.
    fn first(&self) -> Moment {
        let mut engine = State::default();
        let now = Timestamp(0);
        for inventory in &self.inventories {
            let site = inventory.site.clone();
            engine.step(&Event::NodeEnrolled { site: site.clone(), node_key: key(site.as_str()) }, now).unwrap();
            let body = ReportBody::Inventory { inventory: inventory.clone() };
            let event = reported(&engine, &site, 1, now, body);
            engine.step(&event, now).unwrap();
        }
        engine.step(&created(&self.document, &self.members), now).unwrap();
        engine.step(&Event::RolloutSigned { rollout: self.document.id.clone() }, now).unwrap();
        let start = order_of(&self.document, 1, vec![signatory("Ann", &[Role::Release])], Command::Start, "", now);
        engine.step(&start, now).unwrap();
        Moment { accepted: vec![start], ..Moment::new(engine, now, &self.document.id) }
    }

    fn events(&self, at: &Moment) -> Vec<Happening> {
        let mut all = Vec::new();
        for view in &at.devices {
            let says = |state: DeploymentState, code: &'static str, stale: bool| Happening::Says {
                device: view.device.clone(),
                state,
                code,
                stale,
            };
            if view.attempt == 0 {
                // A device that nobody has offered.
                all.push(says(DeploymentState::Installing, "", false));
                continue;
            }
            all.extend(self.small.says.iter().map(|(state, code)| says(*state, code, false)));
            all.push(says(DeploymentState::Succeeded, "", true));
        }
        for (id, _) in &self.small.sites {
            if self.small.blame {
                all.push(Happening::Blames(SystemId::new(&format!("{id}/pacs")).unwrap()));
            }
            if self.small.silence {
                let id = site(id);
                let silent = at.past.silent.contains(&id);
                all.push(if silent { Happening::Heard(id) } else { Happening::Silent(id) });
            }
        }
        all.push(Happening::Time);
        all.extend(self.approvals().map(Happening::Orders));
        all.extend(self.small.orders.iter().map(|wanted| {
            Happening::Orders(match wanted {
                Wanted::Halt => Command::Halt,
                Wanted::Resume => Command::Resume { lifts: Vec::new() },
                Wanted::Back(target) => Command::RollBack { target: target.clone() },
                Wanted::Cancel => Command::Cancel,
            })
        }));
        if !at.view.pending.is_empty() {
            all.push(Happening::Countersigns);
        }
        all
    }

    fn step(&self, before: &Moment, what: &Happening) -> Result<Option<Moment>, String> {
        let Some(event) = self.event(before, what) else { return Ok(None) };
        let step = if *what == Happening::Time { DurationMs(UNIT.0 / PARTS as u64) } else { DurationMs(0) };
        let now = before.now.after(step);
        if before.engine.check(&event, now).is_err() {
            return Ok(None);
        }
        let mut engine = before.engine.clone();
        let Ok(effects) = engine.step(&event, now) else { return Err("what was checked is refused".to_owned()) };
        if let Some(mistake) = self.mistake {
            let mut snapshot = serde_json::to_value(&engine).unwrap();
            mistake(before, what, &mut snapshot);
            engine = serde_json::from_value(snapshot).unwrap();
        }
        let mut after = Moment::new(engine, now, &self.document.id);
        (after.past, after.accepted) = (before.past.clone(), before.accepted.clone());
        after.note(self, before, what, &event, &effects);
        engine_rules::edge(self, before, what, &after, &effects)?;
        Ok(Some(after))
    }

    fn fold(&self, at: &Moment) -> Vec<u8> {
        let rules = Rules { blind: self.blind, ..FOLD };
        let mut fold = rules.fold(&at.engine, at.now.0);
        fold.extend(rules.fold(&at.past, at.now.0));
        fold
    }

    fn holds(&self, at: &Moment) -> Result<(), String> {
        engine_rules::state(self, at)
    }

    fn is_end(&self, at: &Moment) -> bool {
        let settled = |d: &DeploymentView| {
            let wanted_back = matches!(d.waiting.as_ref().map(|w| &w.on), Some(WaitingOn::Rollbacks { .. }));
            !d.state.is_in_hand() && !wanted_back
        };
        at.view.state.is_ended() && at.devices.iter().all(settled)
    }

    fn causes(&self, at: &Moment, events: &[Happening]) -> Vec<Cause> {
        let asked = |yes: bool| if yes { Cause::Asked } else { Cause::Other };
        let waits = engine_rules::waits(at);
        let honest = engine_rules::honest(self, at);
        let cause = |what: &Happening| match what {
            Happening::Time | Happening::Heard(_) => Cause::Free,
            Happening::Says { device, state, stale: false, .. } if honest.contains(&(device.clone(), *state)) => {
                Cause::Free
            }
            Happening::Orders(Command::Approve { .. }) => {
                asked(["approval", "evidence", "checkable_evidence"].iter().any(|code| waits.contains(code)))
            }
            Happening::Orders(Command::Resume { .. }) => asked(waits.contains("resume")),
            Happening::Countersigns => asked(waits.contains("second_signature")),
            Happening::Orders(Command::RollBack { .. } | Command::Cancel) => asked(waits.contains("decision")),
            _ => Cause::Other,
        };
        events.iter().map(cause).collect()
    }

    fn asks_people(&self, at: &Moment) -> bool {
        let people = [
            "approval",
            "evidence",
            "checkable_evidence",
            "resume",
            "second_signature",
            "decision",
            "signatures",
            "start",
        ];
        let waits = engine_rules::waits(at);
        people.iter().any(|code| waits.contains(code))
    }

    /// The controller dies and comes back: the state as its snapshot gives it.
    fn twin(&self, at: &Moment) -> Moment {
        let bytes = serde_json::to_vec(&at.engine).unwrap();
        let engine = serde_json::from_slice(&bytes).unwrap();
        let fresh = Moment::new(engine, at.now, &self.document.id);
        Moment { past: at.past.clone(), accepted: at.accepted.clone(), ..fresh }
    }

    fn show(&self, at: &Moment) -> String {
        let mut text = format!("rollout {}", at.view.state.word());
        for wave in &at.view.waves {
            let waits = wave.waiting.as_ref().map_or(String::new(), |w| format!(" [{}]", w.on.code()));
            text.push_str(&format!("; {} {}{waits}", wave.name, wave.state.word()));
        }
        for d in &at.devices {
            let waits = d.waiting.as_ref().map_or(String::new(), |w| format!(" [{}]", w.on.code()));
            text.push_str(&format!("; {} {}{waits}", d.device, d.state));
        }
        text
    }
}

/// A device of the only site.
pub(crate) fn back(name: &str) -> Wanted {
    Wanted::Back(RollBackTarget::Device { device: device(name) })
}
