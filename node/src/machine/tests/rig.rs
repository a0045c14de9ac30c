//! A site of three devices and two clinical systems, and short words for what happens to them.

use std::collections::BTreeMap;

use wardround_rollout_plans::model::{
    ClinicalSystem, DeploymentState, Detected, Device, DeviceId, DurationMs, GoalAction, GroupId, Health, HealthPolicy,
    Mode, PatchId, Platform, ProbeAnswer, RebootNeed, Report, ReportBody, RolloutId, Scope, SiteId, SiteInventory,
    SystemId, Timestamp, VariantId, WaveName,
};
use wardround_signing::Digest;

use crate::machine::{
    Action, CheckFound, Fault, FaultKind, Found, GoalWish, Input, InstallFound, InstallOutcome, NodeState, OrderMark,
    PreflightFound, RolloutPolicy, RolloutWish, SiteView, UninstallFound, Verb, WavePolicy, Wishes,
};

pub(super) const SECOND: DurationMs = DurationMs::from_secs(1);
pub(super) const SOAK: DurationMs = DurationMs::from_secs(60);
pub(super) const FAILURES: u32 = 3;

pub(super) fn device(name: &str) -> DeviceId {
    DeviceId::new(&format!("rx1/{name}")).unwrap()
}

pub(super) fn system(name: &str) -> SystemId {
    SystemId::new(&format!("rx1/{name}")).unwrap()
}

pub(super) fn rollout() -> RolloutId {
    RolloutId::new("r1").unwrap()
}

pub(super) fn wave(name: &str) -> WaveName {
    WaveName::new(name).unwrap()
}

pub(super) fn present() -> Detected {
    Detected::Present { proof: "KB1 in the registry".into() }
}

pub(super) fn unknown() -> Detected {
    Detected::Unknown { why: "no link".into() }
}

/// ct-01 and ct-02 serve the PACS (not critical); lab-01 serves the laboratory (critical); the CTs are one group.
pub(super) fn inventory() -> SiteInventory {
    let site = SiteId::new("rx1").unwrap();
    let group = GroupId::new("ct").unwrap();
    let platform = Platform::new("cpe:2.3:o:microsoft:windows_xp:-:sp3:*:*:*:*:x86:*").unwrap();
    let machine = |name: &str, group: Option<&GroupId>| Device {
        id: device(name),
        platform: platform.clone(),
        model: String::new(),
        labels: BTreeMap::new(),
        group: group.cloned(),
        windows: Vec::new(),
        patches: Vec::new(),
    };
    let service = |name: &str, critical, devices: &[&str]| ClinicalSystem {
        id: system(name),
        kind: name.to_owned(),
        critical,
        probes: None,
        devices: devices.iter().map(|d| device(d)).collect(),
    };
    SiteInventory {
        site,
        display_name: String::new(),
        region: String::new(),
        site_type: String::new(),
        labels: BTreeMap::new(),
        groups: BTreeMap::from([(group.clone(), 2)]),
        hours: Default::default(),
        devices: vec![machine("ct-01", Some(&group)), machine("ct-02", Some(&group)), machine("lab-01", None)],
        systems: vec![service("pacs", false, &["ct-01", "ct-02"]), service("lab", true, &["lab-01"])],
    }
}

pub(super) fn policy(scope: Scope) -> RolloutPolicy {
    let of = |_: ()| WavePolicy { soak: SOAK, per_site: None, windows: Vec::new(), begin_by: None };
    RolloutPolicy {
        health: HealthPolicy { interval: SECOND, failures: FAILURES, grace: DurationMs(0), control: None },
        scope,
        per_site: 3,
        install_timeout: DurationMs::from_secs(600),
        reboot_timeout: DurationMs::from_secs(120),
        defer_max: DurationMs::from_secs(3_600),
        retry_after: DurationMs::from_secs(30),
        retries: Default::default(),
        windows: Vec::new(),
        freezes: Vec::new(),
        waves: BTreeMap::from([(wave("canary"), of(())), (wave("full"), of(()))]),
    }
}

pub(super) fn goal(name: &str, action: GoalAction, attempt: u32) -> GoalWish {
    GoalWish {
        device: device(name),
        wave: wave(if name == "ct-01" { "canary" } else { "full" }),
        variant: VariantId::new("xp").unwrap(),
        reboot: RebootNeed::WhenAsked,
        payload: Digest::of(b"payload"),
        payload_length: 1_000,
        previous: None,
        action,
        attempt,
    }
}

pub(super) fn order(counter: u64, text: &str) -> OrderMark {
    OrderMark { rollout: rollout(), digest: Digest::of(b"rollout"), counter, order: Digest::of(text.as_bytes()) }
}

pub(super) fn answer(name: &str, ok: bool) -> ProbeAnswer {
    let text = if ok { "status 0" } else { "association refused" };
    ProbeAnswer {
        system: system(name),
        probe: format!("dicom_echo {name}"),
        at: Timestamp(0),
        took_ms: 3,
        ok,
        answer: text.into(),
    }
}

pub(super) fn ready(name: &str) -> PreflightFound {
    PreflightFound {
        unreachable: None,
        mismatch: None,
        in_use: None,
        reboot_pending: Some(false),
        pending: String::new(),
        free_bytes: Some(1 << 30),
        write_filter: None,
        before: Detected::Absent,
        begun: crate::machine::Begun::Not,
        run: 0,
        prerequisites: Vec::new(),
        probes: vec![answer(if name.starts_with("ct") { "pacs" } else { "lab" }, true)],
    }
}

pub(super) fn preflight(found: PreflightFound) -> Found {
    Found::Preflight(Box::new(found))
}

pub(super) fn installed(outcome: InstallOutcome, after: Detected) -> Found {
    let reboot_pending = outcome == InstallOutcome::NeedsReboot;
    let found = InstallFound { exit_code: Some(0), outcome, after, reboot_pending, output: "done".into() };
    Found::Installed(Box::new(found))
}

pub(super) fn checked(detected: Detected, probes: Vec<ProbeAnswer>) -> Found {
    Found::Checked(Box::new(CheckFound { detected, reboot_pending: Some(false), probes, said: String::new() }))
}

pub(super) fn uninstalled(reboot_needed: bool) -> Found {
    Found::Uninstalled(Box::new(UninstallFound { exit_code: Some(0), reboot_needed, output: String::new() }))
}

pub(super) fn fault(kind: FaultKind) -> Found {
    Found::Fault(Fault { kind, text: "it went wrong".into() })
}

/// A machine, its journal, its clock, and the tasks that nobody has answered yet.
pub(super) struct Rig {
    pub(super) state: NodeState,
    pub(super) journal: Vec<(Input, Timestamp)>,
    pub(super) now: Timestamp,
    pub(super) open: Vec<Action>,
    /// Every action ever given out.
    pub(super) given: Vec<Action>,
    /// When each of them was given out.
    pub(super) given_at: Vec<Timestamp>,
    pub(super) wishes: Wishes,
}

impl Rig {
    /// Knows its site, has no wishes.
    pub(super) fn new(scope: Scope) -> Self {
        let wish = RolloutWish {
            rollout: rollout(),
            digest: Digest::of(b"rollout"),
            version: Default::default(),
            patch: PatchId::new("KB1").unwrap(),
            patch_digest: Digest::of(b"patch"),
            policy: policy(scope),
            mode: Mode::Proceed,
            cancelled: false,
            halts: Vec::new(),
            resumes: Vec::new(),
            lifted: Default::default(),
            holds: Vec::new(),
            releases: Vec::new(),
            goals: Vec::new(),
        };
        let wishes = Wishes { counter: 0, expires_at: Timestamp(i64::MAX), rollouts: vec![wish] };
        let mut rig = Self {
            state: NodeState::new(SiteId::new("rx1").unwrap()),
            journal: Vec::new(),
            now: Timestamp(1_000_000),
            open: Vec::new(),
            given: Vec::new(),
            given_at: Vec::new(),
            wishes,
        };
        rig.declare(inventory());
        rig
    }

    /// The site file says this now.
    pub(super) fn declare(&mut self, inventory: SiteInventory) {
        let view = SiteView { inventory: Some(inventory), concurrency_max: 4, ..SiteView::default() };
        self.feed(Input::Site(Box::new(view)));
    }

    /// With these devices to be installed.
    pub(super) fn wanting(scope: Scope, names: &[&str]) -> Self {
        let mut rig = Self::new(scope);
        rig.wish(|w| w.goals = names.iter().map(|n| goal(n, GoalAction::Install, 1)).collect());
        rig
    }

    /// What the owner's loop does: news are journalled, then stepped.
    pub(super) fn feed(&mut self, input: Input) {
        if !self.state.is_news(&input, self.now) {
            return;
        }
        let actions = self.state.step(&input, self.now);
        self.journal.push((input, self.now));
        self.given.extend(actions.iter().cloned());
        self.given_at.resize(self.given.len(), self.now);
        // As the executor does: a task that is overtaken is dropped.
        self.open.retain(|open| actions.iter().all(|new| new.device != open.device));
        self.open.extend(actions);
    }

    /// A new directive, changed from the one before.
    pub(super) fn wish(&mut self, change: impl FnOnce(&mut RolloutWish)) {
        self.wishes.counter += 1;
        change(&mut self.wishes.rollouts[0]);
        self.feed(Input::Wishes(Box::new(self.wishes.clone())));
    }

    /// Time passes; deadlines are noticed.
    pub(super) fn pass(&mut self, duration: DurationMs) {
        let end = self.now.after(duration);
        while let Some(due) = self.state.next_due().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.feed(Input::Tick);
        }
        self.now = end;
    }

    pub(super) fn action(&self, name: &str) -> Option<&Action> {
        self.open.iter().find(|a| a.device == device(name))
    }

    /// The verb of the open task of a device, as a word.
    pub(super) fn verb(&self, name: &str) -> &'static str {
        self.action(name).map_or("nothing", |a| word(&a.verb))
    }

    /// Answers the open task of a device.
    pub(super) fn done(&mut self, name: &str, found: Found) {
        let at = self.open.iter().position(|a| a.device == device(name)).expect("an open task");
        let Action { rollout, device, task, .. } = self.open.remove(at);
        self.feed(Input::Done { rollout, device, task, found });
    }

    /// Answers well until the task named is open.
    pub(super) fn until(&mut self, name: &str, verb: &str) {
        for _ in 0..20 {
            let open = self.verb(name);
            if open == verb {
                return;
            }
            let found = well(name, open);
            self.done(name, found);
        }
        panic!("{name} never came to {verb}");
    }

    /// Answers well until the device soaks.
    pub(super) fn soak(&mut self, name: &str) {
        self.until(name, "check");
        self.done(name, checked(present(), ready(name).probes));
        assert_eq!(self.shown(name), DeploymentState::Soaking);
    }

    pub(super) fn probe(&mut self, name: &str, ok: bool) {
        self.feed(Input::Probed { system: system(name), answers: vec![answer(name, ok)] });
    }

    /// A kill -9 and a start: what was under way is forgotten by the process, and the journal is read again.
    pub(super) fn crash(&mut self) {
        self.state = replay(&self.journal);
        self.open.clear();
        self.feed(Input::Restarted);
    }

    pub(super) fn reports(&self) -> impl Iterator<Item = &Report> {
        self.state.outbox().waiting()
    }

    /// The last reported state of a device.
    pub(super) fn shown(&self, name: &str) -> DeploymentState {
        self.told(name).map_or(DeploymentState::Pending, |(state, ..)| state)
    }

    /// The code of the last reported state.
    pub(super) fn code(&self, name: &str) -> String {
        self.told(name).map_or_else(String::new, |(_, code, _)| code)
    }

    /// State, code and reason as last reported.
    pub(super) fn told(&self, name: &str) -> Option<(DeploymentState, String, String)> {
        let told = self.reports().filter_map(|r| match &r.body {
            ReportBody::Deployment { device: d, state, code, reason, .. } if *d == device(name) => {
                Some((*state, code.clone(), reason.clone()))
            }
            _ => None,
        });
        told.last()
    }

    /// Every state that was reported of a device, in order, each once in a row.
    pub(super) fn path(&self, name: &str) -> Vec<DeploymentState> {
        let mut path: Vec<DeploymentState> = self
            .reports()
            .filter_map(|r| match &r.body {
                ReportBody::Deployment { device: d, state, .. } if *d == device(name) => Some(*state),
                _ => None,
            })
            .collect();
        path.dedup();
        path
    }

    pub(super) fn alarms(&self) -> Vec<String> {
        self.reports()
            .filter_map(|r| match &r.body {
                ReportBody::Alarm { code, .. } => Some(code.clone()),
                _ => None,
            })
            .collect()
    }

    /// Systems that were reported unhealthy with the rollout to blame.
    pub(super) fn blamed(&self) -> Vec<SystemId> {
        self.reports()
            .filter_map(|r| match &r.body {
                ReportBody::Health { system, health: Health::Unhealthy, blames: Some(_), .. } => Some(system.clone()),
                _ => None,
            })
            .collect()
    }

    pub(super) fn installs(&self, name: &str) -> usize {
        self.given.iter().filter(|a| a.device == device(name) && word(&a.verb) == "install").count()
    }
}

/// The state that a journal leads to.
pub(super) fn replay(journal: &[(Input, Timestamp)]) -> NodeState {
    let mut state = NodeState::new(SiteId::new("rx1").unwrap());
    for (input, at) in journal {
        let bytes = serde_json::to_vec(input).unwrap();
        let _ = state.step(&serde_json::from_slice(&bytes).unwrap(), *at);
    }
    state
}

pub(super) fn word(verb: &Verb) -> &'static str {
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

/// What a healthy device answers on its way to the patch.
pub(super) fn well(name: &str, verb: &str) -> Found {
    match verb {
        "fetch" => Found::Fetched,
        "stage" => Found::Staged,
        "preflight" => preflight(ready(name)),
        "install" => installed(InstallOutcome::Installed, present()),
        "reboot" => Found::Rebooted,
        "check" => checked(present(), ready(name).probes),
        "uninstall" => uninstalled(false),
        "cleanup" => Found::Cleaned,
        other => panic!("{name} waits for {other}"),
    }
}
