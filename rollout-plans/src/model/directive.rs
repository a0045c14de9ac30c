//! Directives: what the controller tells one site's node to do now. Signed by the controller's online key.
//!
//! A directive is the *whole* of what the controller wants of the site (level, not edge): losing, repeating or
//! reordering directives costs only time. The counter decides which of two is newer.

use serde::{Deserialize, Serialize};
use wardround_signing::{Digest, Document, Envelope, PublicKey, merkle::InclusionProof};

use super::{Member, RolloutId, SiteId, Timestamp, WaveName};

/// The controller's present wishes for one site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directive {
    /// The site that it is for; a node refuses another's.
    pub site: SiteId,
    /// Never goes down for a site. A node refuses one lower than the highest it accepted.
    pub counter: u64,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// A node begins nothing new on a directive older than this.
    pub expires_at: Timestamp,
    /// Rollouts that still want something of this site, by id.
    pub rollouts: Vec<SiteRollout>,
}

impl Document for Directive {
    const PAYLOAD_TYPE: &'static str = "application/vnd.wardround.directive.v1+json";
    /// One rollout of the largest site ([`super::SITE_DEVICES_MAX`] devices) with the longest ids and proofs, and orders and
    /// reports beside them, come to 16 MB; a test below computes it. It goes over the wire in messages of at most 16 MiB.
    const BYTES_MAX: usize = 31 * 512 * 1024;
}

/// One rollout's part of a directive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteRollout {
    /// Rollout.
    pub rollout: RolloutId,
    /// SHA-256 of the rollout document's bytes: the node fetches and verifies it.
    pub digest: Digest,
    /// Whether new work may begin.
    pub mode: Mode,
    /// People's signed orders that matter here: start, approvals, the latest halt and resume, rollbacks.
    pub orders: Vec<Envelope>,
    /// What is wanted of each device that has been offered so far, by device id.
    pub goals: Vec<Goal>,
    /// What shows that the waves before those of the goals have passed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passages: Vec<Passage>,
    /// What shows that rollbacks are due which no people ordered; at most [`FAILURES_MAX`] are looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
}

/// Most failures that are looked at. Nothing follows a wave that failed, so a rollout seldom has more than one to show.
pub const FAILURES_MAX: usize = 6;

/// Largest report of a failure that is shown, bytes. Of a longer one people decide.
pub const FAILURE_BYTES_MAX: usize = 8 * 1024;

/// A node's signed word that a deployment failed, or that a clinical system got worse after the patch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The device that failed, or one of the blaming site's in the wave that is blamed.
    pub member: Member,
    /// Proof that it is in its wave.
    pub proof: InclusionProof,
    /// The node's report, as it was sent.
    pub report: Envelope,
    /// By which pinned key; absent: by the very node that reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Pin>,
}

/// A report key, and the proof that it is pinned with its site for a wave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Key.
    pub key: PublicKey,
    /// Proof.
    pub proof: InclusionProof,
}

/// Most reports of a passage that are looked at: every signature costs the reader time.
pub const PROOFS_MAX: usize = 32;

/// Most bytes of reports in a passage: every directive of a later wave carries it, and there may be [`super::WAVES_MAX`] waves.
pub const PASSAGE_BYTES_MAX: usize = 32 * 1024;

/// What shows that a wave has passed, so that a node need not take the controller's word for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passage {
    /// The wave.
    pub wave: WaveName,
    /// Devices of it that succeeded, or had nothing to do; at most [`PROOFS_MAX`] are looked at.
    pub devices: Vec<Proven>,
}

/// What a pinned node has reported of a device, in its own signed words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proven {
    /// The device, as signed.
    pub member: Member,
    /// Proof that it is in its wave.
    pub proof: InclusionProof,
    /// The node's report, as it was sent.
    pub report: Envelope,
    /// The node's report key.
    pub key: PublicKey,
    /// Proof that site and key are pinned for the wave.
    pub node: InclusionProof,
}

/// Whether new work may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Begin what is wanted.
    Proceed,
    /// Begin nothing new; finish what has begun.
    Paused,
    /// Begin no install; what has begun is finished or taken back; rollbacks go on.
    Halted,
}

/// What is wanted of one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Goal {
    /// Device, wave and variant, as signed.
    pub member: Member,
    /// Proof that the member is in its wave.
    pub proof: InclusionProof,
    /// What to reach.
    pub action: GoalAction,
    /// Rises with each new try of a person or the engine; a node does each attempt once.
    pub attempt: u32,
}

/// What to reach on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GoalAction {
    /// The patch installed, verified and soaked.
    Install,
    /// The device as it was before: taken back, whatever has become of it. Only people or a failure that is shown may ask it.
    RollBack,
    /// No install: what has not begun ends. What has begun goes on.
    Withdraw,
}

#[cfg(test)]
mod tests {
    use wardround_signing::{SecretKey, Signature, Signer as _};

    use super::*;
    use crate::model::{
        DeviceId, HOLDS_MAX, ID_LEN_MAX, Order, PROOFS_ASKED_MAX, REASON_BYTES_MAX, Report, SITE_DEVICES_MAX,
        VariantId, WAVES_MAX, WaveName,
    };

    /// As many devices as the largest rollout has: a proof in it has 18 hashes.
    const ROLLOUT_DEVICES: u64 = 1_500_000;

    #[test]
    fn the_largest_site_fits_into_a_directive() {
        let long = |n: usize| format!("{n:a<ID_LEN_MAX$}");
        let depth = ROLLOUT_DEVICES.ilog2() as usize + 1;
        let goal = |n: usize| Goal {
            member: Member {
                wave: WaveName::new(&long(0)).unwrap(),
                device: DeviceId::new(&format!("{}/{}", long(0), long(n))).unwrap(),
                variant: VariantId::new(&long(0)).unwrap(),
            },
            proof: InclusionProof {
                index: ROLLOUT_DEVICES - 1,
                size: ROLLOUT_DEVICES,
                hashes: vec![Digest::of(b"x"); depth],
            },
            action: GoalAction::RollBack,
            attempt: u32::MAX,
        };
        // As large as one order may be: its envelope stands in the directive in base64.
        let signature = Signature { keyid: SecretKey::generate().unwrap().public().id(), sig: vec![0; 64] };
        let order = Envelope {
            payload_type: Order::PAYLOAD_TYPE.to_owned(),
            payload: vec![b'x'; REASON_BYTES_MAX + 4_096],
            signatures: vec![signature; 2],
        };
        let proof = |goal: Goal| (goal.member, goal.proof);
        let proven = |n: usize| {
            let (member, proof) = proof(goal(n));
            let signature = SecretKey::generate().unwrap();
            Proven {
                member,
                report: Envelope {
                    payload_type: Report::PAYLOAD_TYPE.to_owned(),
                    payload: vec![b'x'; PASSAGE_BYTES_MAX / PROOFS_ASKED_MAX as usize],
                    signatures: vec![Signature { keyid: signature.public().id(), sig: vec![0; 64] }],
                },
                key: signature.public(),
                node: proof.clone(),
                proof,
            }
        };
        let devices: Vec<Proven> = (0..PROOFS_ASKED_MAX as usize).map(proven).collect();
        let failure = |n: usize| {
            let Proven { member, proof, report, key, node } = proven(n);
            let report = Envelope { payload: vec![b'x'; FAILURE_BYTES_MAX], ..report };
            Failure { member, proof, report, pin: Some(Pin { key, proof: node }) }
        };
        let passage = Passage { wave: WaveName::new(&long(0)).unwrap(), devices };
        let directive = Directive {
            site: SiteId::new(&long(0)).unwrap(),
            counter: u64::MAX,
            issued_at: Timestamp(i64::MAX),
            expires_at: Timestamp(i64::MAX),
            rollouts: vec![SiteRollout {
                rollout: RolloutId::new(&long(0)).unwrap(),
                digest: Digest::of(b"x"),
                mode: Mode::Proceed,
                orders: vec![order; 2 * WAVES_MAX + 2 * HOLDS_MAX],
                goals: (0..SITE_DEVICES_MAX).map(goal).collect(),
                passages: vec![passage; WAVES_MAX - 1],
                failures: (0..FAILURES_MAX).map(failure).collect(),
            }],
        };
        let sealed = Envelope::seal(&directive, &SecretKey::generate().unwrap()).unwrap();
        assert!(
            sealed.payload.len() > 12 * 1024 * 1024,
            "{} bytes: the test is no longer the worst case",
            sealed.payload.len()
        );
    }
}
