//! What nodes have said in their own signed words, judged by somebody who does not take the controller's word: a node of
//! another site, or whoever reads a directive again.
//!
//! The rollout document is the root of it all: people signed it, it commits to the devices of every wave and to the keys
//! of the nodes that had enrolled when it was resolved. Every check begins there.

use std::collections::{BTreeMap, BTreeSet};

use wardround_signing::{Digest, Policy, merkle::leaf_hash, verify};

use crate::model::{
    DeploymentState, DeviceId, PROOFS_MAX, Passage, Proven, Report, ReportBody, Reporter, ResolvedWave, Rollout,
    SiteRollout, WaveName,
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
    let member = &proven.member;
    let in_wave = proven.proof.size == wave.count && proven.proof.proves(&leaf_hash(&member.leaf()), &wave.root);
    if member.wave != wave.name || !in_wave {
        return Err(format!("it is not proved to be in wave {}", wave.name));
    }
    let node = Reporter { site: member.device.site(), key: proven.key };
    let pinned = &wave.reporters;
    if proven.node.size != pinned.count || !proven.node.proves(&leaf_hash(&node.leaf()), &pinned.root) {
        return Err("its report is by a key that the rollout does not pin".to_owned());
    }
    let verified = verify::<Report>(&proven.report, &Policy::node(proven.key)).map_err(|e| e.to_string())?;
    let report = verified.into_document();
    if report.site != node.site {
        return Err("its report is of another site".to_owned());
    }
    Ok(report)
}
