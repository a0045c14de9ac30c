//! What shows nodes that a wave has passed: signed reports of the nodes that the document pins.
//!
//! A wave passes by itself only when as much can be shown as its nodes will ask for ([`Gate::is_shown`]). What can't be shown
//! (its nodes were enrolled or replaced after the rollout was resolved) needs the people who may let it pass without.
//! Once the next wave has begun, what is kept stays: nodes are never shown less than before.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use wardround_signing::{Envelope, PublicKey};

use super::{
    gate::{Finding, Seen, Verdict, judge},
    link::narrow,
    record::Record,
};
use crate::model::{
    DeploymentState, DeviceId, Evidence, GateAnswer, GateDecision, GateRule, GoalAction, PASSAGE_BYTES_MAX, PROOFS_MAX,
    Passage, Proven, Timestamp,
};

#[cfg(doc)]
use crate::model::Gate;

/// Largest report that is kept, bytes; a usual one has one or two thousand.
const PROOF_BYTES_MAX: usize = 16 * 1024;

/// How a device ended, in its node's words.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Proof {
    device: DeviceId,
    state: DeploymentState,
    report: Envelope,
    /// Where its device and its node were found last: it is looked at with each success of its wave.
    #[serde(skip)]
    found: Option<Found>,
}

/// Where a proof's device stands among the deployments, and its node among those that the wave pins, with the key whose
/// signature the report has. All three are compared before they are believed.
#[derive(Debug, Clone, Copy)]
struct Found {
    deployment: u32,
    node: u32,
    key: PublicKey,
}

/// Why one more report of a success would be the first to be dropped again: as many as are kept stand, all of successes.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    /// [`WaveIndex::losses`] when that was looked at: since then none of them was lost while this is the same.
    losses: u64,
    /// The longest of them, bytes.
    longest: usize,
    /// Whose they are.
    deployments: [u32; PROOFS_MAX],
}

impl Record {
    /// The place of the node that signed this report among those that the wave pins.
    pub(super) fn reporter(&self, w: usize, device: &DeviceId, report: &Envelope) -> Option<usize> {
        let (site, nodes) = (device.site_text(), &self.waves[w].reporters);
        let at = nodes.binary_search_by(|node| node.site.as_str().cmp(site)).ok()?;
        let key = nodes[at].key.id();
        report.signatures.iter().any(|s| s.keyid == key).then_some(at)
    }

    fn state_of(&self, proof: &Proof) -> Option<DeploymentState> {
        let known = proof.found.and_then(|found| self.deployments.get(found.deployment as usize));
        let known = known.filter(|deployment| deployment.device == proof.device);
        let found = || self.find(&proof.device).map(|d| &self.deployments[d as usize]);
        known.or_else(found).map(|deployment| deployment.state)
    }

    /// Is a kept report of a node that the wave pins?
    fn is_pinned(&self, w: usize, proof: &Proof) -> bool {
        let same = |found: Found| {
            let node = self.waves[w].reporters.get(found.node as usize);
            node.is_some_and(|n| n.key == found.key && n.site.as_str() == proof.device.site_text())
        };
        proof.found.is_some_and(same) || self.reporter(w, &proof.device, &proof.report).is_some()
    }

    fn found(&self, w: usize, proof: &Proof) -> Option<Found> {
        let node = self.reporter(w, &proof.device, &proof.report)?;
        let key = self.waves[w].reporters[node].key;
        Some(Found { deployment: self.find(&proof.device)?, node: narrow(node), key })
    }

    /// Would one more report of a success be the first to be dropped again? So it is for nearly all of a large wave.
    fn is_one_too_many(&mut self, d: u32, report: &Envelope) -> bool {
        let w = usize::from(self.deployments[d as usize].wave);
        let index = &self.index.waves[w];
        if index.shown.as_ref().is_none_or(|shown| shown.losses != index.losses) {
            let shown = self.all_shown(w);
            self.index.waves[w].shown = shown;
        }
        let shown = self.index.waves[w].shown.as_ref();
        shown.is_some_and(|shown| shown.longest <= report.payload.len() && !shown.deployments.contains(&d))
    }

    fn all_shown(&self, w: usize) -> Option<Shown> {
        let proofs = &self.waves[w].proofs;
        if proofs.len() < PROOFS_MAX {
            return None;
        }
        let stands = |p: &Proof| {
            let well = p.state == DeploymentState::Succeeded && self.is_pinned(w, p);
            let d = self.find(&p.device).filter(|_| well)?;
            (!self.deployments[d as usize].state.is_lost()).then_some(d)
        };
        let deployments: Vec<u32> = proofs.iter().map(stands).collect::<Option<_>>()?;
        let longest = proofs.iter().map(|p| p.report.payload.len()).max()?;
        let deployments = deployments.try_into().ok()?;
        Some(Shown { losses: self.index.waves[w].losses, longest, deployments })
    }

    /// Keeps a report that says that a device ended well, where it shows something to others.
    pub(super) fn keep_proof(&mut self, d: u32, state: DeploymentState, evidence: &Evidence, report: &Envelope) {
        let w = self.deployments[d as usize].wave;
        let at = usize::from(w);
        let well = matches!(state, DeploymentState::Succeeded | DeploymentState::Skipped);
        let of_this = evidence.document.is_some_and(|named| self.document.counts_for(self.digest, named));
        let before_next = self.current.is_none_or(|current| current <= w);
        let short = report.payload.len() <= PROOF_BYTES_MAX;
        if !(well && of_this && before_next && short) || self.is_one_too_many(d, report) {
            return;
        }
        let device = self.deployments[d as usize].device.clone();
        if self.reporter(at, &device, report).is_none() {
            return;
        }
        self.index.waves[at].shown = None;
        let mut proofs = std::mem::take(&mut self.waves[at].proofs);
        // What was taken back since, or whose node is pinned no more, shows nothing any more.
        let lost = |p: &Proof| self.state_of(p).is_none_or(DeploymentState::is_lost);
        proofs.retain(|p| p.device != device && !lost(p) && self.is_pinned(at, p));
        proofs.push(Proof { device, state, report: report.clone(), found: None });
        for proof in &mut proofs {
            proof.found = self.found(at, proof);
        }
        // One skipped device shows as much as many; of successes the shorter reports are kept.
        let bytes = |list: &[Proof]| list.iter().map(|p| p.report.payload.len()).sum::<usize>();
        while proofs.len() > PROOFS_MAX || bytes(&proofs) > PASSAGE_BYTES_MAX {
            let least_needed = |(_, p): &(usize, &Proof)| (p.state == DeploymentState::Skipped, p.report.payload.len());
            let Some((drop, _)) = proofs.iter().enumerate().max_by_key(least_needed) else { break };
            proofs.remove(drop);
        }
        self.waves[at].proofs = proofs;
    }

    /// True while a kept report says how it is, by a node that is pinned.
    fn holds(&self, w: usize, proof: &Proof) -> bool {
        self.state_of(proof) == Some(proof.state) && self.is_pinned(w, proof)
    }

    /// How many kept reports hold, of successes and of skipped devices.
    fn shown(&self, w: u16) -> (u64, u64) {
        let w = usize::from(w);
        let count = |state| {
            let proofs = self.waves[w].proofs.iter();
            proofs.filter(|p| p.state == state && self.holds(w, p)).count() as u64
        };
        (count(DeploymentState::Succeeded), count(DeploymentState::Skipped))
    }

    /// What the gate of a wave says.
    pub(super) fn verdict(&self, w: u16) -> Verdict {
        let index = &self.index.waves[usize::from(w)];
        let gate = &self.wave_plan(w).gate;
        let control = self.control_counts(w);
        let verdict = judge(&Seen { counts: &index.counts, wanting: index.wanting, control }, gate);
        // Nothing follows the last wave.
        let last = usize::from(w) + 1 == self.waves.len();
        let Verdict::Decided(finding) = verdict else { return verdict };
        let count = self.document.waves[usize::from(w)].count;
        let (have, skipped) = self.shown(w);
        if finding.answer != GateAnswer::Success || last || gate.is_shown(count, have, skipped) {
            return Verdict::Decided(finding);
        }
        let need = gate.proofs_min(count).max(1);
        let text = format!(
            "inconclusive: waits for evidence that nodes can check, {have} of at least {need} by pinned nodes; {}",
            finding.text
        );
        let (answer, rule) = (GateAnswer::Inconclusive, GateRule::Unshown);
        Verdict::Decided(Finding { answer, rule, have, need, text, ..finding })
    }

    /// The record of a gate's answer; `let_pass` when it passes though it is inconclusive.
    pub(super) fn decision(&self, w: u16, finding: &Finding, let_pass: bool, now: Timestamp) -> GateDecision {
        let counts = &self.index.waves[usize::from(w)].counts;
        let of = |state: DeploymentState| (state, counts.of(state));
        GateDecision {
            at: now,
            answer: finding.answer,
            rule: finding.rule,
            early: finding.early,
            let_pass,
            deployments: DeploymentState::ALL.into_iter().map(of).filter(|(_, n)| *n > 0).collect(),
            control: self.wave_plan(w).gate.test.as_ref().map(|_| self.control_counts(w)),
            test: finding.test,
            approvals: self.waves.get(usize::from(w) + 1).map(|next| next.approvals.given()).unwrap_or_default(),
            held_by: self.held_by(w),
        }
    }

    /// The next wave begins: of what shows this one as much stays as nodes ask for, since every directive carries it. From
    /// now on it never changes, whatever is taken back: nodes are never shown less than before.
    pub(super) fn settle_proofs(&mut self, w: u16) {
        let asked = self.wave_plan(w).gate.proofs_min(self.document.waves[usize::from(w)].count).max(1);
        let w = usize::from(w);
        let mut proofs = std::mem::take(&mut self.waves[w].proofs);
        proofs.retain(|p| self.holds(w, p));
        proofs.sort_by(|a, b| {
            let skipped = |p: &Proof| p.state == DeploymentState::Skipped;
            (skipped(a), &a.device).cmp(&(skipped(b), &b.device))
        });
        proofs.truncate(usize::try_from(asked).unwrap_or(PROOFS_MAX));
        self.waves[w].proofs = proofs;
        self.passages = OnceLock::new();
    }

    /// What this site's node needs to see: of all waves before the last in which something is installed there.
    pub(super) fn passages(&self, at: u32) -> Vec<Passage> {
        let active = self.is_active();
        let members = self.index.places[at as usize].members.iter().map(|d| &self.deployments[*d as usize]);
        let installs = members.filter(|d| d.wish(active) == Some(GoalAction::Install));
        let last = installs.map(|d| usize::from(d.wave)).max().unwrap_or(0);
        (0..last).filter_map(|w| self.passage(w)).collect()
    }

    /// That of a wave whose next has begun stays as it is, and every site of that one is shown it.
    fn passage(&self, w: usize) -> Option<Passage> {
        if self.current.is_none_or(|current| usize::from(current) <= w) {
            return self.make_passage(w);
        }
        let kept = self.passages.get_or_init(|| self.waves.iter().map(|_| OnceLock::new()).collect());
        kept.get(w)?.get_or_init(|| self.make_passage(w)).clone()
    }

    fn make_passage(&self, w: usize) -> Option<Passage> {
        let devices: Vec<Proven> = self.waves[w].proofs.iter().filter_map(|p| self.proven(w, p)).collect();
        (!devices.is_empty()).then(|| Passage { wave: self.document.waves[w].name.clone(), devices })
    }

    fn proven(&self, w: usize, proof: &Proof) -> Option<Proven> {
        let at = self.reporter(w, &proof.device, &proof.report)?;
        let d = self.find(&proof.device)?;
        Some(Proven {
            member: self.member(d),
            proof: self.prove(d)?,
            report: proof.report.clone(),
            key: self.waves[w].reporters[at].key,
            node: self.pinned().get(w)?.prove(at as u64)?,
        })
    }
}
