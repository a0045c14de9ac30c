//! Amendments: the next version of a rollout waits here until it may come into force, which is one step.
//!
//! **Invariant:** an amendment touches nothing that was touched. A device whose turn has come stays in its wave with its
//! variant, a wave whose gate has passed stays as it is, and what is in hand goes on and holds its slots. So limits, gates
//! and soaks hold across the step.
//!
//! **Invariant:** a wave that is under way never goes on with devices that nobody approved. Where the plan asks for
//! approvals of such a wave and the amendment changes it, the amendment waits until they are given *for it*, and the
//! version before goes on meanwhile.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use wardround_signing::{Digest, Role};

use super::{
    Refusal, RolloutState, State, WaveState,
    approvals::{Approvals, EVIDENCE_ROLES, people},
    orders::Signed,
    out::Out,
    pending::Pending,
    record::Record,
};
use crate::{
    describe::Difference,
    model::{
        Command, DeploymentState, DeviceId, Member, Reporter, RollBackTarget, Rollout, RolloutId, Scope, Timestamp,
        WaveName,
    },
    words::count,
};

/// How far a rollout has come, for making its next version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// For each member in leaf order: has its turn come, whatever became of it?
    pub touched: Vec<bool>,
    /// For each wave: has its gate passed?
    pub passed: Vec<bool>,
}

/// The next version, until it comes into force.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Next {
    pub(super) document: Rollout,
    pub(super) digest: Digest,
    members: Vec<Member>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    reporters: Vec<Reporter>,
    pub(super) since: Timestamp,
    /// Both roles have signed it.
    pub(super) signed: bool,
    /// Given for this version before it is in force, by the position of their wave.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    approvals: BTreeMap<u16, Approvals>,
    /// Why it can't come into force any more; empty while it can.
    pub(super) problem: String,
    pub(super) added: u64,
    pub(super) removed: u64,
    pub(super) moved: u64,
}

impl State {
    /// How far a rollout has come.
    ///
    /// # Errors
    /// [`Refusal`] when it can't be amended at all.
    pub fn progress(&self, id: &RolloutId) -> Result<Progress, Refusal> {
        let record = &self.rollouts[self.find(id)?];
        record.amendable()?;
        Ok(Progress {
            touched: record.deployments.iter().map(|d| d.state != DeploymentState::Pending).collect(),
            passed: record.waves.iter().map(|w| w.state == WaveState::Passed).collect(),
        })
    }

    /// Digest of the version that is in force.
    #[must_use]
    pub fn version_in_force(&self, id: &RolloutId) -> Option<Digest> {
        Some(self.rollouts[*self.by_id.get(id)?].digest)
    }

    /// Digest of the version that waits, if one does.
    #[must_use]
    pub fn waiting_version(&self, id: &RolloutId) -> Option<Digest> {
        self.rollouts[*self.by_id.get(id)?].next.as_ref().map(|next| next.digest)
    }

    /// Whether both roles have signed the version that waits, as far as the engine was told.
    #[must_use]
    pub fn amendment_is_signed(&self, id: &RolloutId) -> Option<bool> {
        self.rollouts[*self.by_id.get(id)?].next.as_ref().map(|next| next.signed)
    }

    pub(super) fn check_amend(
        &self,
        next: &Rollout,
        members: &[Member],
        reporters: &[Reporter],
    ) -> Result<(), Refusal> {
        let record = &self.rollouts[self.find(&next.id)?];
        record.amendable()?;
        record.document.check_amendment(record.digest, next).map_err(|why| Refusal::Invalid { why })?;
        Self::check_whole(next, members, reporters)?;
        record.touches_nothing_done(next, members).map_err(|why| Refusal::Invalid { why })?;
        self.check_amended(record.is_active(), &next.id, members)
    }

    /// Devices that come in must not be under way with a patch that this one replaces, or the other way round.
    fn check_amended(&self, active: bool, id: &RolloutId, members: &[Member]) -> Result<(), Refusal> {
        if active { self.check_beside(self.find(id)?, members.iter().map(|m| &m.device)) } else { Ok(()) }
    }

    pub(super) fn amend(
        &mut self,
        out: &mut Out,
        next: &Rollout,
        digest: Digest,
        members: &[Member],
        reporters: &[Reporter],
    ) {
        let Some(r) = self.by_id.get(&next.id).copied() else { return };
        let record = &mut self.rollouts[r];
        let before: Vec<Member> =
            (0..super::link::narrow(record.deployments.len())).map(|d| record.member(d)).collect();
        let difference = Difference::between(&before, next, members);
        let instead = match &record.next {
            Some(other) => format!(" in place of document {}", other.digest),
            None => String::new(),
        };
        let next = Next {
            document: next.clone(),
            digest,
            members: members.to_vec(),
            reporters: reporters.to_vec(),
            since: out.now,
            signed: false,
            approvals: BTreeMap::new(),
            problem: String::new(),
            added: difference.added.len() as u64,
            removed: difference.removed.len() as u64,
            moved: difference.moved.len() as u64,
        };
        let (id, what) = (next.document.id.clone(), next.words());
        let text = format!("{what}, document {digest}, was drafted{instead}; it waits for signatures of both roles");
        record.next = Some(Box::new(next));
        out.rollout(&id);
        out.audit("amendment_drafted", Some(&id), None, text);
    }

    pub(super) fn check_amendment_signed(&self, id: &RolloutId, digest: &Digest) -> Result<(), Refusal> {
        match &self.rollouts[self.find(id)?].next {
            Some(next) if next.digest == *digest => Ok(()),
            _ => Err(Refusal::NotFound { what: "waiting version", id: format!("{id} {digest}") }),
        }
    }

    pub(super) fn amendment_signed(&mut self, out: &mut Out, id: &RolloutId, signed: bool) {
        let Some(r) = self.by_id.get(id).copied() else { return };
        let Some(next) = self.rollouts[r].next.as_mut().filter(|next| next.signed != signed) else { return };
        next.signed = signed;
        let now = if signed { "is signed by both roles" } else { "is no longer signed by both roles" };
        let text = format!("version {} of rollout {id} {now}", next.document.version);
        out.audit("amendment_signed", Some(id), None, text);
        out.rollout(id);
        self.come_into_force(out, r);
    }

    /// May this approval of the version that waits be taken in?
    pub(super) fn allows_early_approval(&self, r: usize, given: &Signed<'_>) -> Result<(), Refusal> {
        let Signed { order, roles, holders, .. } = *given;
        let record = &self.rollouts[r];
        let stale = |why: String| Err(Refusal::StaleOrder { why });
        let Some(next) = record.next.as_ref() else { return stale("no version waits".to_owned()) };
        let version = next.document.version;
        let Command::Approve { wave } = &order.command else {
            return stale(format!("it was made for version {version}, which is not in force yet"));
        };
        if !next.problem.is_empty() {
            return stale(format!("version {version} can't come into force: {}", next.problem));
        }
        if !next.signed {
            return stale(format!("version {version} waits for the signatures of both roles first"));
        }
        // As for every approval, the engine can't tell whose which role is.
        if people(holders) != 1 {
            let why = "an approval carries one person's signature; let each sign one of their own".to_owned();
            return Err(Refusal::Invalid { why });
        }
        let awaited = record.awaited();
        match awaited.iter().find(|(name, _)| name == wave) {
            Some((_, missing)) if missing.iter().any(|r| roles.contains(r)) => Ok(()),
            Some((_, missing)) => {
                let missing = missing.iter().map(|r| r.word()).collect::<Vec<_>>().join(" or ");
                let why = format!("wave {wave} of version {version} waits for the approval of {missing}");
                Err(Refusal::NotPermitted { why })
            }
            None => stale(format!("version {version} does not wait for an approval of wave {wave} to come into force")),
        }
    }

    /// An approval of the version that waits.
    pub(super) fn approve_early(&mut self, out: &mut Out, r: usize, given: &Signed<'_>) {
        let record = &mut self.rollouts[r];
        if let Command::Approve { wave } = &given.order.command
            && let (Some(w), Some(holder)) = (record.wave_position(wave), given.holders.first())
        {
            let knowing = record.short_before(w);
            if let Some(next) = &mut record.next {
                let approvals = next.approvals.entry(w).or_default();
                approvals.give(holder, given.roles, out.now, knowing, given.envelope.clone());
            }
        }
        self.come_into_force(out, r);
    }

    /// The version that waits comes into force if it may; one that never can any more says so, once.
    fn come_into_force(&mut self, out: &mut Out, r: usize) {
        let record = &self.rollouts[r];
        let Some(next) = record.next.as_ref().filter(|next| next.signed && next.problem.is_empty()) else { return };
        let (id, version) = (record.document.id.clone(), next.document.version);
        let fits = match record.amendable() {
            Ok(()) => record.touches_nothing_done(&next.document, &next.members),
            Err(refusal) => Err(refusal.to_string()),
        };
        let beside =
            || self.check_amended(record.is_active(), &id, &next.members).map_err(|refusal| refusal.to_string());
        let fits = fits.and_then(|()| beside());
        let record = &mut self.rollouts[r];
        if let Err(problem) = fits {
            let text = format!(
                "version {version} of rollout {id} is signed, but can't come into force: {problem}; the version before \
                 goes on, and the amendment must be made again"
            );
            if let Some(next) = &mut record.next {
                next.problem = problem;
            }
            out.rollout(&id);
            out.audit("amendment_failed", Some(&id), None, text.clone());
            return out.alarm("amendment", Some(&id), None, None, text);
        }
        if record.awaited().is_empty() {
            self.switch(out, r);
        }
    }

    fn switch(&mut self, out: &mut Out, r: usize) {
        for d in 0..super::link::narrow(self.rollouts[r].deployments.len()) {
            self.unlink(r, d);
        }
        self.forget_patience(r);
        // All sites are looked at again, which notes when their windows turn.
        for at in 0..super::link::narrow(self.rollouts[r].sites.len()) {
            self.set_turn(r, at, None);
        }
        let record = &mut self.rollouts[r];
        let Some(next) = record.next.take() else { return };
        let id = record.document.id.clone();
        let (what, version) = (next.words(), next.document.version);
        let changed = record.replace(*next, out.now);
        let names: Vec<&str> = changed.iter().map(|w| record.document.waves[usize::from(*w)].name.as_str()).collect();
        let text = format!("{what}, document {}, is in force; changed: {}", record.digest, names.join(", "));
        out.audit("rollout_amended", Some(&id), None, text);
        if record.started_at.is_some() {
            out.sites.extend(record.sites.iter().cloned());
        }
        out.dirty.extend(record.sites.iter().cloned());
        out.touched.insert(r);
        out.rollout(&id);
        self.index_rollout(r);
        for w in changed {
            self.after_change(out, r, w);
        }
        self.leave_out_anew(out, r);
        self.refresh_deadline(r);
        let resume = |p: &Pending| matches!(p.order.command, Command::Resume { .. });
        self.drop_pending(out, r, resume, &format!("version {version} came into force in between"));
    }

    /// What was found out about a wave was found out about other devices.
    fn after_change(&mut self, out: &mut Out, r: usize, w: u16) {
        if self.rollouts[r].waves[usize::from(w)].state.is_under_way() {
            self.begin_control(r, w, out.now);
            self.rollouts[r].waves[usize::from(w)].short_since = None;
            if let Some(following) = self.rollouts[r].waves.get_mut(usize::from(w) + 1) {
                following.approvals.unknow();
            }
            if self.rollouts[r].index.waves[usize::from(w)].counts.of(DeploymentState::Pending) > 0 {
                self.set_wave(out, r, w, WaveState::Running);
            }
        }
    }

    /// A device that comes in late is left out for the same reasons as those that were there.
    fn leave_out_anew(&mut self, out: &mut Out, r: usize) {
        let record = &self.rollouts[r];
        let sites: Vec<_> = record.orders.roll_backs.iter().map(|(target, _)| target.clone()).collect();
        let blamed: Vec<_> = record.blamed.iter().cloned().collect();
        let scope = record.document.plan.rollback.scope;
        for target in sites {
            if let RollBackTarget::Site { site } = target {
                let which = self.members_at(r, &site);
                self.leave_out(out, r, &which, "its site was taken back before it came in");
            }
        }
        for system in blamed {
            let next = match scope {
                Scope::Device => self.reach_of(r, &system.site(), &system).next,
                _ => Vec::new(),
            };
            self.leave_out(out, r, &next, &format!("clinical system {system} got worse after the patch"));
        }
    }

    /// A rollout that has ended is amended no more.
    pub(super) fn drop_amendment(&mut self, out: &mut Out, r: usize) {
        let record = &mut self.rollouts[r];
        let id = record.document.id.clone();
        if let Some(next) = record.next.take() {
            let state = record.state.word().replace('_', " ");
            let text = format!(
                "version {} of rollout {id} will never come into force: the rollout is {state}",
                next.document.version
            );
            out.audit("amendment_failed", Some(&id), None, text.clone());
            if next.signed {
                out.alarm("amendment", Some(&id), None, None, text);
            }
        }
    }
}

impl Next {
    /// "version 2 of rollout r1 (2 devices come in, 1 is taken out)"
    fn words(&self) -> String {
        let Rollout { id, version, .. } = &self.document;
        let moved = if self.moved == 0 { String::new() } else { format!(", {} changed", self.moved) };
        format!("version {version} of rollout {id} ({} in, {} out{moved})", count(self.added, "device"), self.removed)
    }
}

impl Record {
    /// May there be a next version at all?
    fn amendable(&self) -> Result<(), Refusal> {
        let id = &self.document.id;
        let refuse = |state: &str, hint: String| {
            let state = state.replace('_', " ");
            Err(Refusal::InvalidTransition { what: format!("rollout {id}"), verb: "be amended", state, hint })
        };
        match self.state {
            RolloutState::Draft => {
                return refuse("draft", "nobody has signed it: cancel it and create it anew".to_owned());
            }
            RolloutState::Signed | RolloutState::Running | RolloutState::Paused | RolloutState::Halted => {}
            state => return refuse(state.word(), "new devices need a new rollout".to_owned()),
        }
        match self.waves.iter().position(|w| w.state.is_lost()) {
            Some(w) => {
                let hint =
                    format!("nothing follows on wave {}; new devices need a new rollout", self.document.waves[w].name);
                refuse(&format!("{} with a wave that is {}", self.state.word(), self.waves[w].state.word()), hint)
            }
            None => Ok(()),
        }
    }

    /// Devices whose turn has come, and waves whose gate has passed, are in `next` as they are here.
    fn touches_nothing_done(&self, next: &Rollout, members: &[Member]) -> Result<(), String> {
        let waves = self.document.waves.iter().zip(&next.waves).zip(&self.waves);
        for ((before, after), wave) in waves {
            if wave.state == WaveState::Passed && before != after {
                return Err(format!("wave {} has passed its gate, and would be changed", before.name));
            }
        }
        let after: HashMap<&DeviceId, &Member> = members.iter().map(|m| (&m.device, m)).collect();
        for (d, deployment) in (0_u32..).zip(&self.deployments) {
            if deployment.state == DeploymentState::Pending {
                continue;
            }
            let before = self.member(d);
            if after.get(&before.device) != Some(&&before) {
                let state = deployment.state.word().replace('_', " ");
                return Err(format!(
                    "{} is {state} in wave {} already, and would not stay so",
                    before.device, before.wave
                ));
            }
        }
        Ok(())
    }

    /// Approvals without which the version that waits does not come into force: of waves under way that it changes.
    pub(super) fn awaited(&self) -> Vec<(WaveName, Vec<Role>)> {
        let Some(next) = &self.next else { return Vec::new() };
        let none = Approvals::default();
        let mut awaited = Vec::new();
        for (w, wave) in (0_u16..).zip(&next.document.waves) {
            let state = self.waves[usize::from(w)].state;
            if wave.since == next.document.version && state.is_under_way() {
                let missing = self.missing_before(w, next.approvals.get(&w).unwrap_or(&none));
                if !missing.is_empty() {
                    awaited.push((wave.name.clone(), missing));
                }
            }
        }
        awaited
    }

    /// What is missing of these approvals for wave `w` to be under way.
    fn missing_before(&self, w: u16, approvals: &Approvals) -> Vec<Role> {
        let Some(before) = w.checked_sub(1) else { return Vec::new() };
        let mut missing = approvals.missing(&self.wave_plan(before).gate.approvals, false);
        if self.short_before(w) {
            let evidence = approvals.missing(&EVIDENCE_ROLES, true);
            missing.extend(evidence.into_iter().filter(|role| !missing.contains(role)).collect::<Vec<_>>());
        }
        missing
    }

    /// True when the gate before wave `w` had too little evidence, so that people had to let it pass.
    fn short_before(&self, w: u16) -> bool {
        let Some(before) = w.checked_sub(1) else { return false };
        let short = self.waves[usize::from(before)].short_since.is_some();
        short && self.verdict(before).is_inconclusive()
    }

    /// Puts the next version in the place of this one. The positions of the waves that changed.
    fn replace(&mut self, mut next: Next, now: Timestamp) -> Vec<u16> {
        let version = next.document.version;
        let waves = (0_u16..).zip(&next.document.waves).filter(|(_, wave)| wave.since == version);
        let changed: Vec<u16> = waves.map(|(w, _)| w).collect();
        self.document = next.document;
        self.digest = next.digest;
        for w in &changed {
            self.waves[usize::from(*w)].approvals = next.approvals.remove(w).unwrap_or_default();
        }
        self.retake_members(&next.members, now);
        for w in &changed {
            self.pin(usize::from(*w), &next.members, &next.reporters);
        }
        changed
    }
}
