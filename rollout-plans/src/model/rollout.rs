//! The rollout document: a plan resolved against the estate for one patch. Signed; immutable.

use serde::{Deserialize, Serialize};
use wardround_signing::{Digest, Document};

use super::{DeviceId, PatchId, Plan, RolloutId, Timestamp, VariantId, WaveName};

/// What people of both roles sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// Id.
    pub id: RolloutId,
    /// The patch.
    pub patch: PatchId,
    /// SHA-256 of the patch document's bytes.
    pub patch_digest: Digest,
    /// The plan, whole.
    pub plan: Plan,
    /// In order; the same names as in the plan.
    pub waves: Vec<ResolvedWave>,
    /// When it was resolved.
    pub created_at: Timestamp,
}

impl Document for Rollout {
    const PAYLOAD_TYPE: &'static str = "application/vnd.wardround.rollout.v1+json";
    /// Members are under Merkle roots, so the document stays small whatever the estate.
    const BYTES_MAX: usize = 4 * 1024 * 1024;
}

/// A wave with its members under a Merkle root (RFC 9162, section 2.1) over [`Member::leaf`] in list order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolvedWave {
    /// Name.
    pub name: WaveName,
    /// Root over the members.
    pub root: Digest,
    /// Number of members.
    pub count: u64,
}

/// A device in a wave.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Wave.
    pub wave: WaveName,
    /// Device.
    pub device: DeviceId,
    /// Which variant of the patch it gets.
    pub variant: VariantId,
}

impl Member {
    /// The bytes of this member's Merkle leaf: the three ids, each ended by a line feed, which no id contains.
    #[must_use]
    pub fn leaf(&self) -> Vec<u8> {
        format!("{}\n{}\n{}\n", self.wave, self.device, self.variant).into_bytes()
    }
}
