//! What shows nodes that a rollback is due which no people ordered: a signed report of what failed.
//!
//! **Invariant:** no node is asked to take anything back that it would have to refuse. What can't be shown waits until two
//! people have ordered it, and the engine says so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wardround_signing::Envelope;

use super::{RolloutState, State, deployment::Back, out::Out, record::Record, site::Site};
use crate::{
    model::{
        DeviceId, FAILURE_BYTES_MAX, FAILURES_MAX, Failure, GoalAction, Member, Pin, ReportBody, Scope, SiteId,
        SystemId,
    },
    proofs::Lost,
};

/// Most waves of which one is kept for every site; with the site's own report they are no more than nodes look at.
const SHARED_MAX: usize = FAILURES_MAX - 1;

/// What a rollout that waits for people says.
const ASKS_PEOPLE: &str =
    "no report that nodes can check shows them that the rollback is due: two people must order it (rollout rollback)";

/// Reports that take others back. At most one for each wave and one for each site.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Failed {
    /// By pinned nodes, by wave: for every site.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    shared: BTreeMap<u16, Kept>,
    /// By the present node of a site (by position): for this site alone.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    own: BTreeMap<u32, Kept>,
    /// People have been asked about a rollback that can't be shown.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    asked: bool,
}

impl Failed {
    pub(super) fn is_empty(&self) -> bool {
        self.shared.is_empty() && self.own.is_empty() && !self.asked
    }
}

/// A report that says what failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    /// The device that failed, or one of the blaming site's in the blamed wave.
    device: DeviceId,
    wave: u16,
    /// A clinical system is blamed on the rollout.
    blame: bool,
    report: Envelope,
}

impl Record {
    fn lost(&self, kept: &Kept) -> Lost {
        Lost {
            site: kept.device.site(),
            wave: self.document.waves[usize::from(kept.wave)].name.clone(),
            device: (!kept.blame).then(|| kept.device.clone()),
        }
    }

    fn is_ordered_back(&self, member: &Member) -> bool {
        self.orders.roll_backs.iter().any(|(target, _)| target.covers(member))
    }

    /// The report that shows that this member must be taken back. `None` where people ordered it, or nothing shows it.
    fn cause(&self, member: &Member) -> Option<&Kept> {
        let scope = self.document.plan.rollback.scope;
        let at = self.site_at(member.device.site_text())?;
        let holds = |kept: &&Kept| self.reporter(usize::from(kept.wave), &kept.device, &kept.report).is_some();
        let shared = self.failed.shared.values().filter(holds);
        self.failed.own.get(&at).into_iter().chain(shared).find(|kept| self.lost(kept).reaches(scope, member))
    }

    /// Would its node take this device back?
    pub(super) fn is_shown(&self, d: u32) -> bool {
        let member = self.member(d);
        self.is_ordered_back(&member) || self.cause(&member).is_some()
    }

    /// Two people must decide about a rollback that nothing shows.
    pub(super) fn asks_people(&self) -> bool {
        let mut waiting = self.index.places.iter().flat_map(|p| &p.back_waiting);
        self.failed.asked && waiting.any(|d| !self.deployments[*d as usize].is_withdrawn() && !self.is_shown(*d))
    }

    /// People have ordered a rollback: what is not shown from now on is asked about anew.
    pub(super) fn ordered_back(&mut self) {
        self.failed.asked = self.asks_people();
    }

    /// What the directive asks of a device. A rollback that its node began by itself needs no goal.
    pub(super) fn goal(&self, d: u32, active: bool) -> Option<GoalAction> {
        let deployment = &self.deployments[d as usize];
        match deployment.wish(active)? {
            GoalAction::RollBack if self.is_shown(d) => Some(GoalAction::RollBack),
            GoalAction::RollBack if deployment.last_known().may_be_installed() => None,
            GoalAction::RollBack => Some(GoalAction::Withdraw),
            other => Some(other),
        }
    }

    /// Members of this site that are taken back by a report, with the report.
    fn caused(&self, at: u32) -> Vec<(u32, &Kept)> {
        let active = self.is_active();
        let members = self.index.places[at as usize].members.iter();
        let back = members.filter(|d| self.goal(**d, active) == Some(GoalAction::RollBack));
        let unordered = back.map(|d| (*d, self.member(*d))).filter(|(_, member)| !self.is_ordered_back(member));
        unordered.filter_map(|(d, member)| Some((d, self.cause(&member)?))).collect()
    }

    /// What this site's node needs to see of what failed.
    pub(super) fn failures(&self, at: u32) -> Vec<Failure> {
        let own = self.failed.own.get(&at);
        let mut seen: BTreeMap<(bool, u16), Failure> = BTreeMap::new();
        for (_, kept) in self.caused(at) {
            let shared = own.is_none_or(|own| !std::ptr::eq(own, kept));
            if let std::collections::btree_map::Entry::Vacant(place) = seen.entry((shared, kept.wave))
                && let Some(failure) = self.failure(kept, shared)
            {
                place.insert(failure);
            }
        }
        seen.into_values().collect()
    }

    fn failure(&self, kept: &Kept, shared: bool) -> Option<Failure> {
        let w = usize::from(kept.wave);
        let d = self.find(&kept.device)?;
        let pin = if shared {
            let at = self.reporter(w, &kept.device, &kept.report)?;
            Some(Pin { key: self.waves[w].reporters[at].key, proof: self.pinned().get(w)?.prove(at as u64)? })
        } else {
            None
        };
        Some(Failure { member: self.member(d), proof: self.prove(d)?, report: kept.report.clone(), pin })
    }
}

impl State {
    /// Keeps a node's report of a failure, where it may take others back. `d` is the device that failed, or one of the
    /// blaming site's in the blamed wave.
    pub(super) fn keep_failure(&mut self, out: &mut Out, r: usize, d: u32, body: &ReportBody, report: &Envelope) {
        let record = &self.rollouts[r];
        let (named, blame) = match body {
            ReportBody::Deployment { evidence, .. } => (evidence.document, false),
            ReportBody::Health { document, .. } => (*document, true),
            _ => return,
        };
        let of_this = named.is_some_and(|named| record.document.counts_for(record.digest, named));
        if !of_this || !body.is_failure() || report.payload.len() > FAILURE_BYTES_MAX {
            return;
        }
        let deployment = self.deployment(r, d);
        let (at, wave) = (deployment.site, deployment.wave);
        let kept = Kept { device: deployment.device.clone(), wave, blame, report: report.clone() };
        let wide = matches!(record.document.plan.rollback.scope, Scope::Wave | Scope::Rollout);
        let pinned = |kept: &Kept| record.reporter(usize::from(kept.wave), &kept.device, &kept.report).is_some();
        if wide && pinned(&kept) && record.failed.shared.get(&wave).is_none_or(|known| !pinned(known)) {
            let sites: Vec<u32> = (0..super::link::narrow(record.sites.len())).collect();
            // Room is made by a wave that stands all the same.
            let stands = |w: &&u16| !record.waves[usize::from(**w)].state.is_lost();
            let known = &record.failed.shared;
            let full = known.len() >= SHARED_MAX && !known.contains_key(&wave);
            let drop_first = known.keys().find(stands).copied().filter(|_| full);
            if !full || drop_first.is_some() {
                self.show_failure(out, r, &sites, |failed| {
                    if let Some(first) = drop_first {
                        failed.shared.remove(&first);
                    }
                    failed.shared.insert(wave, kept.clone());
                });
            }
        }
        // A device that failed takes no other of its site back, but by its wave.
        let more = self.rollouts[r].failed.own.get(&at).is_none_or(|known| blame && !known.blame);
        if more && (blame || wide) {
            self.show_failure(out, r, &[at], |failed| drop(failed.own.insert(at, kept)));
        }
    }

    /// The words of a node that was replaced or revoked are not those of the site's present node.
    pub(super) fn forget_failures(&mut self, out: &mut Out, site: &SiteId) {
        let places: Vec<(usize, u32)> = self.sites.get(site).into_iter().flat_map(Site::places).collect();
        for (r, at) in places {
            if self.rollouts[r].failed.own.contains_key(&at)
                && self.show_failure(out, r, &[at], |failed| drop(failed.own.remove(&at)))
            {
                self.ask_people(out, r);
            }
        }
    }

    /// Changes what is kept, and tells those sites whose directive says something else for it. Did one change?
    fn show_failure(&mut self, out: &mut Out, r: usize, sites: &[u32], edit: impl FnOnce(&mut Failed)) -> bool {
        let concerned = |record: &Record, at: &u32| {
            let members = &record.index.places[*at as usize].members;
            members.iter().any(|d| record.deployments[*d as usize].back != Back::No)
        };
        let says = |record: &Record, at: u32| -> Vec<(u32, Envelope)> {
            record.caused(at).into_iter().map(|(d, kept)| (d, kept.report.clone())).collect()
        };
        let record = &mut self.rollouts[r];
        let sites: Vec<u32> = sites.iter().copied().filter(|at| concerned(record, at)).collect();
        let before: Vec<_> = sites.iter().map(|at| says(record, *at)).collect();
        edit(&mut record.failed);
        let mut changed = false;
        for (at, before) in sites.into_iter().zip(before) {
            let site = &record.sites[at as usize];
            out.dirty.insert(site.clone());
            if says(record, at) != before {
                out.sites.insert(site.clone());
                changed = true;
            }
        }
        changed
    }

    /// Rollbacks are wanted that nodes would have to refuse: the rollout stands until two people have decided.
    pub(super) fn ask_people(&mut self, out: &mut Out, r: usize) {
        if self.rollouts[r].state.is_ended() {
            // It keeps its end. People may order the rollback at any time.
            self.keep_unshown(out, r);
        }
        let record = &mut self.rollouts[r];
        if std::mem::replace(&mut record.failed.asked, true) {
            return;
        }
        let id = record.document.id.clone();
        out.alarm("rollback_needs_people", Some(&id), None, None, format!("rollout {id}: {ASKS_PEOPLE}"));
        out.audit("rollback_needs_people", Some(&id), None, format!("rollout {id}: {ASKS_PEOPLE}"));
        match record.state {
            RolloutState::Running | RolloutState::Paused => self.halt_self(out, r, ASKS_PEOPLE),
            state if !state.is_ended() => {
                record.reason = format!("{}; {ASKS_PEOPLE}", record.reason);
                out.rollout(&id);
            }
            _ => {}
        }
    }

    /// The device of the blaming site by which a blame names its wave: one that was touched, if there is one.
    pub(super) fn blamed_member(&self, r: usize, site: &SiteId, system: &SystemId) -> Option<u32> {
        let wave = self.reach_of(r, site, system).wave();
        let here = self.members_at(r, site);
        here.into_iter().find(|d| self.deployment(r, *d).wave == wave)
    }

    /// Who was asked has decided otherwise: what is not shown is not wanted back any more. The rollout has ended, so what has
    /// not begun is withdrawn, which needs no evidence.
    pub(super) fn keep_unshown(&mut self, out: &mut Out, r: usize) {
        let waiting: Vec<u32> = self.rollouts[r].index.places.iter().flat_map(|p| &p.back_waiting).copied().collect();
        for d in waiting {
            if !self.deployment(r, d).is_withdrawn() && !self.rollouts[r].is_shown(d) {
                let why = self.deployment(r, d).note.as_ref().map_or_else(String::new, |n| n.back_reason.clone());
                self.change(out, r, d, |deployment| deployment.back = Back::No);
                self.withdraw(out, r, &[d], &why);
            }
        }
    }
}
