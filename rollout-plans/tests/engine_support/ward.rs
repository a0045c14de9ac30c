//! A single site under the test's own hand: what its node reports is said report by report.

use wardround_rollout_plans::{engine::*, model::*};
use wardround_signing::Role;

use super::{
    WaveSpec, amended, amendment_signed, created, device, inventory, key, next_version, order, reported, rollout,
    rollout_id, site,
};

/// One site and its node's reports, as they come.
pub(crate) struct Ward {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    pub(crate) seq: u64,
}

impl Ward {
    /// Site rx1 with a redundancy group of two PACS servers, and two devices beside it.
    pub(crate) fn new() -> Self {
        let mut ward = Self { state: State::default(), now: Timestamp(0), seq: 0 };
        ward.step(&Event::NodeEnrolled { site: site("rx1"), node_key: key("k") });
        let devices = ["pacs1@pacs", "pacs2@pacs", "ct", "mr"].map(str::to_owned);
        let needs = vec!["pacs1".to_owned(), "pacs2".to_owned()];
        let inventory = inventory("rx1", &devices, &[], &[("archive", needs)]);
        ward.report(ReportBody::Inventory { inventory });
        ward
    }

    pub(crate) fn step(&mut self, event: &Event) -> Vec<Effect> {
        self.state.step(event, self.now).unwrap()
    }

    pub(crate) fn report(&mut self, body: ReportBody) -> Vec<Effect> {
        self.seq += 1;
        self.step(&reported(&self.state, &site("rx1"), self.seq, self.now, body))
    }

    pub(crate) fn start(&mut self, id: &str, devices: &[&str], per_site: u32, scope: Scope) -> Rollout {
        self.start_wave(id, WaveSpec::new("all", devices), per_site, scope)
    }

    pub(crate) fn start_wave(&mut self, id: &str, wave: WaveSpec, per_site: u32, scope: Scope) -> Rollout {
        self.start_waves(id, &[wave], per_site, scope)
    }

    pub(crate) fn start_waves(&mut self, id: &str, waves: &[WaveSpec], per_site: u32, scope: Scope) -> Rollout {
        let limits = Limits { per_site: Some(per_site), ..Limits::default() };
        let (document, members) = rollout(id, waves, limits, scope);
        self.step(&created(&document, &members));
        self.step(&Event::RolloutSigned { rollout: document.id.clone() });
        self.order(&document, &[Role::Release], Command::Start);
        document
    }

    /// A next version with these devices in its waves, signed by both roles.
    pub(crate) fn amend(&mut self, former: &Rollout, waves: &[&[&str]]) -> (Rollout, Vec<Effect>) {
        let waves: Vec<Vec<DeviceId>> = waves.iter().map(|w| w.iter().map(|d| device(d)).collect()).collect();
        let (next, members) = next_version(former, &waves);
        self.step(&amended(&next, &members));
        let effects = self.step(&amendment_signed(&next));
        (next, effects)
    }

    /// Somebody of these roles orders, with the next counter.
    pub(crate) fn order(&mut self, document: &Rollout, roles: &[Role], command: Command) -> Vec<Effect> {
        let counter = self.state.rollout(&document.id).unwrap().order_counter + 1;
        self.step(&order(document, counter, "Ann", roles, command, "", self.now))
    }

    /// From what it is to installed, soaked and counted.
    pub(crate) fn succeed(&mut self, id: &str, name: &str) {
        self.moves(id, name, DeploymentState::Soaking);
        self.now = self.now.after(DurationMs::from_secs(600));
        self.moves(id, name, DeploymentState::Succeeded);
        assert_eq!(self.see(id, name).state, DeploymentState::Succeeded);
    }

    /// The node blames the rollout for what has become of a system.
    pub(crate) fn blame(&mut self, id: &str, system: &str, health: Health) -> Vec<Effect> {
        self.report(ReportBody::Health {
            system: SystemId::new(system).unwrap(),
            health,
            blames: Some(rollout_id(id)),
            document: None,
            probes: Vec::new(),
        })
    }

    pub(crate) fn moves(&mut self, id: &str, name: &str, state: DeploymentState) -> Vec<Effect> {
        self.attempt(id, name, 1, state)
    }

    pub(crate) fn attempt(&mut self, id: &str, name: &str, attempt: u32, state: DeploymentState) -> Vec<Effect> {
        self.report(ReportBody::Deployment {
            rollout: rollout_id(id),
            device: device(&format!("rx1/{name}")),
            attempt,
            state,
            reason: String::new(),
            code: String::new(),
            evidence: Evidence::default(),
        })
    }

    pub(crate) fn see(&self, id: &str, name: &str) -> DeploymentView {
        let all = self.state.deployments(&rollout_id(id), None, None, None, 100);
        all.into_iter().find(|d| d.device.name() == name).unwrap()
    }

    /// What is asked of the only device that anything is asked of.
    pub(crate) fn goal(&self) -> GoalAction {
        let goals: Vec<_> = self.state.directive(&site("rx1"))[0].goals.iter().map(|g| g.action).collect();
        assert_eq!(goals.len(), 1);
        goals[0]
    }

    pub(crate) fn waits(&self, id: &str, name: &str) -> String {
        self.see(id, name).waiting.map_or_else(String::new, |w| w.on.code().to_owned())
    }
}

/// Why a report was ignored, if it was.
pub(crate) fn ignored(effects: &[Effect]) -> Option<String> {
    effects.iter().find_map(|e| match e {
        Effect::Audit { kind, text, .. } if kind == "report_ignored" => Some(text.clone()),
        _ => None,
    })
}

/// The alarms raised, by their codes.
pub(crate) fn alarms(effects: &[Effect]) -> Vec<&str> {
    effects.iter().filter_map(|e| if let Effect::Alarm { code, .. } = e { Some(code.as_str()) } else { None }).collect()
}
