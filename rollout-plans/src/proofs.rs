//! What nodes have said in their own signed words, judged by somebody who does not take the controller's word: a node of
//! another site, or whoever reads a directive again.
//!
//! The rollout document is the root of it all: people signed it, it commits to the devices of every wave and to the keys
//! of the nodes that had enrolled when it was resolved. Every check begins there.

use std::collections::{BTreeMap, BTreeSet};

use wardround_signing::{
    Digest, Envelope, Policy,
    merkle::{InclusionProof, leaf_hash},
    verify,
};

use crate::model::{
    DeploymentState, DeviceId, FAILURES_MAX, Failure, Member, PROOFS_MAX, Passage, Pin, Proven, Report, ReportBody,
    Reporter, ResolvedWave, Rollout, RolloutId, Scope, SiteId, SiteRollout, WaveName,
};

/// The devices of each wave that a directive shows to have ended well.
#[derive(Debug, Default)]
pub struct Passages(BTreeMap<WaveName, Shown>);

/// What is shown of one wave.
#[derive(Debug, Default)]
struct Shown {
    succeeded: BTreeSet<DeviceId>,
    skipped: BTreeSet<DeviceId>,
    /// What is wrong with the first report that does not count.
    wrong: Option<String>,
}

impl Passages {
    /// Checks what a directive shows of a rollout, whose verified document has this digest. Only the first passage of each
    /// wave is looked at, and of it the first [`PROOFS_MAX`] reports.
    #[must_use]
    pub fn read(part: &SiteRollout, rollout: &Rollout, digest: Digest) -> Self {
        let mut waves = BTreeMap::new();
        for passage in &part.passages {
            let wave = rollout.waves.iter().find(|w| w.name == passage.wave);
            if let Some(wave) = wave.filter(|_| !waves.contains_key(&passage.wave)) {
                waves.insert(passage.wave.clone(), Shown::count(passage, wave, rollout, digest));
            }
        }
        Self(waves)
    }

    /// Is the wave at position `at` shown to have passed? [`crate::model::Gate::is_shown`] is the rule.
    ///
    /// # Errors
    /// A clause that says what is missing.
    pub fn passed(&self, rollout: &Rollout, at: usize) -> Result<(), String> {
        let (Some(wave), Some(plan)) = (rollout.waves.get(at), rollout.plan.waves.get(at)) else {
            return Err("the signed plan and its waves do not fit together".to_owned());
        };
        let nothing = Shown::default();
        let shown = self.0.get(&wave.name).unwrap_or(&nothing);
        let (succeeded, skipped) = (shown.succeeded.len() as u64, shown.skipped.len() as u64);
        if plan.gate.is_shown(wave.count, succeeded, skipped) {
            return Ok(());
        }
        let need = plan.gate.proofs_min(wave.count).max(1);
        let wrong = shown.wrong.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        Err(format!(
            "wave {} is not shown to have passed: {succeeded} of at least {need} devices are{wrong}",
            wave.name
        ))
    }
}

impl Shown {
    fn count(passage: &Passage, wave: &ResolvedWave, rollout: &Rollout, digest: Digest) -> Self {
        let mut shown = Self::default();
        for proven in passage.devices.iter().take(PROOFS_MAX) {
            let device = &proven.member.device;
            match ended(proven, wave, rollout, digest) {
                // Each device counts once, whichever of its reports comes first.
                Ok(DeploymentState::Succeeded) if !shown.skipped.contains(device) => {
                    shown.succeeded.insert(device.clone());
                }
                Ok(DeploymentState::Skipped) if !shown.succeeded.contains(device) => {
                    shown.skipped.insert(device.clone());
                }
                Ok(_) => {}
                Err(why) => shown.wrong = shown.wrong.or_else(|| Some(format!("device {device}: {why}"))),
            }
        }
        shown
    }
}

/// How a device of this wave has ended well, from the signed document down to the words of its node.
fn ended(proven: &Proven, wave: &ResolvedWave, rollout: &Rollout, digest: Digest) -> Result<DeploymentState, String> {
    let report = spoken(proven, wave)?;
    let ReportBody::Deployment { rollout: id, device, state, evidence, .. } = &report.body else {
        return Err("its report is about something else".to_owned());
    };
    if *device != proven.member.device {
        return Err("its report is of another device".to_owned());
    }
    let counts = evidence.document.is_some_and(|named| rollout.counts_for(digest, named));
    if *id != rollout.id || !counts {
        return Err("its report is of another rollout".to_owned());
    }
    match state {
        DeploymentState::Succeeded | DeploymentState::Skipped => Ok(*state),
        other => Err(format!("its report says {other}")),
    }
}

/// The report, when it is by a node that the document pins for this wave, and the member named beside it is in the wave.
fn spoken(proven: &Proven, wave: &ResolvedWave) -> Result<Report, String> {
    in_wave(&proven.member, &proven.proof, wave)?;
    let node = Reporter { site: proven.member.device.site(), key: proven.key };
    pinned(&node, &proven.node, wave)?;
    said_by(&proven.report, &node)
}

fn in_wave(member: &Member, proof: &InclusionProof, wave: &ResolvedWave) -> Result<(), String> {
    if member.wave == wave.name && proof.size == wave.count && proof.proves(&leaf_hash(&member.leaf()), &wave.root) {
        return Ok(());
    }
    Err(format!("it is not proved to be in wave {}", wave.name))
}

fn pinned(node: &Reporter, proof: &InclusionProof, wave: &ResolvedWave) -> Result<(), String> {
    let nodes = &wave.reporters;
    if proof.size == nodes.count && proof.proves(&leaf_hash(&node.leaf()), &nodes.root) {
        return Ok(());
    }
    Err("its report is by a key that the rollout does not pin".to_owned())
}

fn said_by(report: &Envelope, node: &Reporter) -> Result<Report, String> {
    let report = verify::<Report>(report, &Policy::node(node.key)).map_err(|e| e.to_string())?.into_document();
    if report.site != node.site {
        return Err("its report is of another site".to_owned());
    }
    Ok(report)
}

/// The failures that a directive shows, each checked.
#[derive(Debug, Default)]
pub struct Failures {
    shown: Vec<Lost>,
    wrong: Option<String>,
}

/// Where something went wrong.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) site: SiteId,
    pub(crate) wave: WaveName,
    /// The device that failed; absent where a clinical system is blamed on the rollout.
    pub(crate) device: Option<DeviceId>,
}

impl Lost {
    /// Does it take this member back, by the scope of the plan? The one rule of engine and node.
    ///
    /// A blame reaches every device of its own site, whatever the scope: which of them the system needs, only that site
    /// knows.
    pub(crate) fn reaches(&self, scope: Scope, member: &Member) -> bool {
        let here = self.site == member.device.site();
        match &self.device {
            Some(device) if *device == member.device => return true,
            None if here => return true,
            _ => {}
        }
        match scope {
            Scope::Device => false,
            Scope::Site => here,
            Scope::Wave => self.wave == member.wave,
            Scope::Rollout => true,
        }
    }
}

impl Failures {
    /// Checks what a directive shows of a rollout, whose verified document has this digest, to the node `own`.
    #[must_use]
    pub fn read(part: &SiteRollout, rollout: &Rollout, digest: Digest, own: &Reporter) -> Self {
        let mut failures = Self::default();
        for failure in part.failures.iter().take(FAILURES_MAX) {
            match failed(failure, rollout, digest, own) {
                Ok(lost) => failures.shown.push(lost),
                Err(why) => failures.wrong = failures.wrong.or(Some(why)),
            }
        }
        failures
    }

    /// Does one of them take this member back?
    ///
    /// # Errors
    /// A clause that says what is missing.
    pub fn reach(&self, rollout: &Rollout, member: &Member) -> Result<(), String> {
        if self.shown.iter().any(|lost| lost.reaches(rollout.plan.rollback.scope, member)) {
            return Ok(());
        }
        let wrong = match (&self.wrong, self.shown.is_empty()) {
            (Some(why), _) => format!(" ({why})"),
            (None, true) => String::new(),
            (None, false) => " (what is shown does not reach it by the plan)".to_owned(),
        };
        Err(format!("no order of two people and no report shows that it must be taken back{wrong}"))
    }
}

fn failed(failure: &Failure, rollout: &Rollout, digest: Digest, own: &Reporter) -> Result<Lost, String> {
    let member = &failure.member;
    let wave = rollout.waves.iter().find(|w| w.name == member.wave);
    let wave = wave.ok_or_else(|| format!("the signed rollout has no wave {}", member.wave))?;
    in_wave(member, &failure.proof, wave)?;
    let node = match &failure.pin {
        Some(Pin { key, proof }) => {
            let node = Reporter { site: member.device.site(), key: *key };
            pinned(&node, proof, wave)?;
            node
        }
        None => own.clone(),
    };
    if member.device.site() != node.site {
        return Err("its report is of another site".to_owned());
    }
    let report = said_by(&failure.report, &node)?;
    let of_this = |id: &RolloutId, named: Option<Digest>| {
        *id == rollout.id && named.is_some_and(|named| rollout.counts_for(digest, named))
    };
    let (of_this, device) = match &report.body {
        ReportBody::Deployment { rollout: id, device, evidence, .. } => (of_this(id, evidence.document), Some(device)),
        ReportBody::Health { blames: Some(id), document, .. } => (of_this(id, *document), None),
        _ => return Err("its report is about something else".to_owned()),
    };
    if !of_this {
        return Err("its report is of another rollout".to_owned());
    }
    if device.is_some_and(|device| *device != member.device) {
        return Err("its report is of another device".to_owned());
    }
    if report.body.foreign_to(&node.site).is_some() || !report.body.is_failure() {
        return Err(match &report.body {
            ReportBody::Deployment { state, code, .. } if code.is_empty() => format!("its report says {state}"),
            ReportBody::Deployment { state, code, .. } => {
                format!("its report says {state} ({code}), which is no failure")
            }
            _ => "its report blames nothing".to_owned(),
        });
    }
    Ok(Lost { site: node.site, wave: wave.name.clone(), device: device.cloned() })
}
