//! Taking back: whom a person's order, a failed wave or a blamed clinical system reaches.
//!
//! A rollback is an end: nothing here offers anything, and a device that was taken back is never offered again in the
//! same rollout (S9). Doing the same again changes nothing.

use std::collections::BTreeSet;

use super::{RolloutState, State, WaveState, deployment::Back, gate::Finding, out::Out, record::Record};
use crate::model::{DeploymentState, DeviceId, GateAnswer, GateRule, Scope, SiteId, SystemId};

/// Most blamed systems that are remembered of a rollout: more than its sites have in earnest. Any further blame alarms
/// each time.
const BLAMED_MAX: usize = 100_000;

/// What a blamed system reaches.
pub(super) struct Reach {
    /// Deployments that may have harmed it.
    hit: Vec<u32>,
    /// Those through which it could be harmed next, or not any more.
    pub(super) next: Vec<u32>,
    /// The wave that is to blame.
    wave: u16,
}

impl Reach {
    pub(super) fn wave(&self) -> u16 {
        self.wave
    }
}

impl State {
    /// Wants these devices back. Returns for how many that is news. `again` has failed rollbacks tried once more, which
    /// only a person may ask for.
    pub(super) fn want_back(&mut self, out: &mut Out, r: usize, which: &[u32], why: &str, again: bool) -> usize {
        let mut news = 0;
        for d in which {
            let deployment = self.deployment(r, *d);
            if deployment.back != Back::No && deployment.is_withdrawn() {
                // It may have begun behind its reports: now that is taken back too.
                self.change(out, r, *d, |deployment| {
                    deployment.note().withdrawn = false;
                    why.clone_into(&mut deployment.note().back_reason);
                });
                continue;
            }
            let failed = deployment.state == DeploymentState::RollbackFailed;
            if deployment.back != Back::No || !(deployment.is_touched() || (again && failed)) {
                continue;
            }
            news += 1;
            self.change(out, r, *d, |deployment| {
                deployment.back = Back::Waiting;
                // What was given up once, and was begun behind its reports, is taken back like any other.
                deployment.note().withdrawn = false;
                why.clone_into(&mut deployment.note().back_reason);
            });
        }
        news
    }

    /// Gives up deployments whose install has not begun by their last report. They keep their slots until the node
    /// confirms that nothing was left on the device, since it may have begun meanwhile: so they end, and limits hold.
    pub(super) fn withdraw(&mut self, out: &mut Out, r: usize, which: &[u32], why: &str) {
        for d in which {
            let deployment = self.deployment(r, *d);
            if deployment.back == Back::No && !deployment.last_known().may_be_installed() && deployment.is_touched() {
                self.want_back(out, r, &[*d], why, false);
                self.change(out, r, *d, |deployment| deployment.note().withdrawn = true);
            }
        }
    }

    /// Takes a wave back. It has failed, whatever its gate said before.
    pub(super) fn roll_back_wave(&mut self, out: &mut Out, r: usize, w: u16, why: &str, again: bool) {
        let which: Vec<u32> = self.rollouts[r].wave_range(w).collect();
        self.want_back(out, r, &which, why, again);
        let record = &self.rollouts[r];
        let (id, name) = (record.document.id.clone(), &record.document.waves[usize::from(w)].name);
        match record.waves[usize::from(w)].state {
            WaveState::Pending | WaveState::AwaitingApproval | WaveState::RollingBack => {}
            // The gate's own numbers say more than the reason that is made of them.
            WaveState::Failed => {
                out.audit("wave_decision", Some(&id), None, format!("wave {name} is taken back"));
                self.set_wave(out, r, w, WaveState::RollingBack);
            }
            _ => self.note(out, r, w, WaveState::RollingBack, format!("taken back: {why}")),
        }
        out.touched.insert(r);
    }

    /// Takes the whole rollout back.
    pub(super) fn roll_back_all(&mut self, out: &mut Out, r: usize, why: &str, again: bool) {
        for w in 0..self.rollouts[r].waves.len() {
            let w = u16::try_from(w).unwrap_or(u16::MAX);
            if self.rollouts[r].waves[usize::from(w)].state != WaveState::Pending {
                self.roll_back_wave(out, r, w, why, again);
            }
        }
        self.rollouts[r].ended_at = None;
        self.set_rollout(out, r, RolloutState::RollingBack, why);
    }

    /// Waves and rollouts whose devices are all back.
    pub(super) fn finish_rollbacks(&mut self, out: &mut Out, r: usize) {
        for w in 0..self.rollouts[r].waves.len() {
            let record = &self.rollouts[r];
            let index = &record.index.waves[w];
            if record.waves[w].state == WaveState::RollingBack && index.wanting == 0 && index.counts.in_hand() == 0 {
                let w = u16::try_from(w).unwrap_or(u16::MAX);
                let stuck = index.counts.of(DeploymentState::RollbackFailed);
                let (id, name) = (record.document.id.clone(), record.document.waves[usize::from(w)].name.clone());
                self.set_wave(out, r, w, WaveState::RolledBack);
                let text = format!("wave {name} is rolled back{}", needing_a_person(stuck));
                out.audit("wave_decision", Some(&id), None, text);
            }
        }
        let record = &self.rollouts[r];
        if record.state == RolloutState::RollingBack && record.wanting() == 0 && record.in_hand() == 0 {
            let reason = record.reason.clone();
            self.end_rollout(out, r, RolloutState::RolledBack, &reason);
        }
    }

    /// A clinical system that was healthy before an install of this rollout is not after (S5). The node has begun to
    /// take back what the system needs; here the plan's scope is applied. Repeated blame finds everything wanted back
    /// already and changes nothing.
    pub(super) fn blame(&mut self, out: &mut Out, r: usize, site: &SiteId, system: &SystemId, what: &str) {
        let record = &self.rollouts[r];
        let id = record.document.id.clone();
        let scope = record.document.plan.rollback.scope;
        let Reach { hit, next, wave } = self.reach_of(r, site, system);
        let blamed = &mut self.rollouts[r].blamed;
        let first = blamed.len() >= BLAMED_MAX || blamed.insert(system.clone());
        let news = hit.iter().any(|d| self.deployment(r, *d).back == Back::No);
        let why = format!("clinical system {system} got worse after the patch: {what}");
        if first || news {
            out.alarm("clinical_system", Some(&id), Some(site), None, format!("rollout {id}: {why}"));
        }
        out.audit("clinical_system", Some(&id), None, format!("rollout {id}: {why}"));
        self.want_back(out, r, &hit, &why, false);
        let ended = self.rollouts[r].state.is_ended();
        if !ended && scope != Scope::Device {
            let state = self.rollouts[r].waves[usize::from(wave)].state;
            if state.is_under_way() || state == WaveState::Passed {
                let finding = self.rollouts[r].blame_finding(wave, format!("failed: {why}"));
                self.decide(out, r, wave, WaveState::Failed, &finding, None);
            }
            let name = self.rollouts[r].document.waves[usize::from(wave)].name.clone();
            self.halt_self(out, r, &format!("wave {name} failed: {why}"));
        }
        match scope {
            // The rollout may go on, but not to the next device through which it would harm the same system.
            Scope::Device => self.leave_out(out, r, &next, &why),
            Scope::Site => {
                let all = self.members_at(r, site);
                self.want_back(out, r, &all, &why, false);
            }
            Scope::Wave | Scope::Rollout if ended => {
                // The rollout keeps its end; its devices are taken back all the same.
                let range = |w: u16| self.rollouts[r].wave_range(w);
                let all: Vec<u32> = match scope {
                    Scope::Wave => range(wave).collect(),
                    _ => (0..self.rollouts[r].waves.len()).flat_map(|w| range(w as u16)).collect(),
                };
                self.want_back(out, r, &all, &why, false);
            }
            Scope::Wave => {
                if self.rollouts[r].waves[usize::from(wave)].state == WaveState::Failed {
                    self.roll_back_wave(out, r, wave, &why, false);
                }
            }
            Scope::Rollout => {
                if self.rollouts[r].state != RolloutState::RollingBack {
                    self.roll_back_all(out, r, &why, false);
                }
            }
        }
    }

    /// Leaves out those whose turn has not come.
    pub(super) fn leave_out(&mut self, out: &mut Out, r: usize, which: &[u32], why: &str) {
        let now = out.now;
        for d in which {
            if self.deployment(r, *d).state == DeploymentState::Pending {
                self.change(out, r, *d, |deployment| {
                    deployment.move_to(DeploymentState::Skipped, now);
                    deployment.say(why);
                });
            }
        }
    }

    /// What a blamed system reaches. When the engine can't tell which
    /// devices the system needs, or none of them is touched any more, it takes the whole site: blaming too much costs
    /// a patch, blaming too little a patient.
    pub(super) fn reach_of(&self, r: usize, site: &SiteId, system: &SystemId) -> Reach {
        let record = &self.rollouts[r];
        let inventory = self.estate.site(site);
        let needed: BTreeSet<&DeviceId> = inventory
            .into_iter()
            .flat_map(|i| &i.systems)
            .filter(|s| s.id == *system)
            .flat_map(|s| &s.devices)
            .collect();
        let here = self.members_at(r, site);
        let needs = |d: &u32| needed.contains(&self.deployment(r, *d).device);
        let touched = |d: &u32| self.deployment(r, *d).is_touched();
        let offered = |d: &u32| self.deployment(r, *d).attempt > 0;
        let known = here.iter().any(|d| needs(d) && offered(d));
        let (hit, next): (Vec<u32>, Vec<u32>) = here.iter().filter(|d| !known || needs(d)).partition(|d| touched(d));
        let wave_of = |d: &u32| self.deployment(r, *d).wave;
        let latest = |list: &mut dyn Iterator<Item = &u32>| list.map(wave_of).max();
        let wave = latest(&mut hit.iter())
            .or_else(|| latest(&mut here.iter().filter(|d| needs(d) && offered(d))))
            .or_else(|| latest(&mut here.iter().filter(|d| offered(d))))
            .or(record.current)
            .unwrap_or(0);
        Reach { hit, next, wave }
    }

    pub(super) fn members_at(&self, r: usize, site: &SiteId) -> Vec<u32> {
        let record = &self.rollouts[r];
        record.site_at(site.as_str()).map_or_else(Vec::new, |at| record.index.places[at as usize].members.clone())
    }
}

impl Record {
    /// A clinical system got worse: the gate is not asked any more.
    fn blame_finding(&self, w: u16, text: String) -> Finding {
        let counts = &self.index.waves[usize::from(w)].counts;
        Finding {
            answer: GateAnswer::Failure,
            rule: GateRule::ClinicalSystem,
            early: counts.open() > 0,
            test: None,
            have: counts.of(DeploymentState::Succeeded),
            need: 0,
            text,
        }
    }
}

/// What is left over after a rollback.
pub(super) fn needing_a_person(stuck: u64) -> String {
    match stuck {
        0 => String::new(),
        1 => "; 1 device could not be taken back and needs a person".to_owned(),
        n => format!("; {n} devices could not be taken back and need a person"),
    }
}
