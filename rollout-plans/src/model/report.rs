//! Reports: what a node tells the controller, signed by the node.

use serde::{Deserialize, Serialize};
use wardround_signing::{Digest, Document};

use super::{DeploymentState, DeviceId, RolloutId, SITE_DEVICES_MAX, SiteId, SiteInventory, SystemId, Timestamp};

/// Longest raw answer or message kept in evidence, bytes.
pub const EVIDENCE_TEXT_MAX: usize = 2_000;

/// Codes with which a node ends what it was told to end, and what it could not verify.
const INDUCED: [&str; 4] = ["ordered", "withdrawn", "refused", "payload"];

/// One report. Sequence numbers of a node's key begin at 1 and have no gaps; a node keeps a report until it is
/// acknowledged, and the controller takes each exactly once, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Site.
    pub site: SiteId,
    /// Position.
    pub seq: u64,
    /// The node's clock when it happened.
    pub at: Timestamp,
    /// What happened.
    pub body: ReportBody,
}

impl Document for Report {
    const PAYLOAD_TYPE: &'static str = "application/vnd.wardround.report.v1+json";
    /// An inventory of 5000 devices is the largest.
    const BYTES_MAX: usize = 3 * 1024 * 1024;
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ReportBody {
    /// The site as it is; sent at the start and after each change.
    Inventory {
        /// Replaces the one before.
        inventory: SiteInventory,
    },
    /// A deployment moved.
    Deployment {
        /// Rollout.
        rollout: RolloutId,
        /// Device.
        device: DeviceId,
        /// The goal's attempt that this answers.
        attempt: u32,
        /// New state.
        state: DeploymentState,
        /// Why, one sentence; empty when nothing needs saying.
        #[serde(default)]
        reason: String,
        /// Machine word of the reason ("in_use", "reboot_timeout", "clinical_system"); empty when none.
        #[serde(default)]
        code: String,
        /// What was seen.
        #[serde(default)]
        evidence: Evidence,
    },
    /// A clinical system changed its health.
    Health {
        /// System.
        system: SystemId,
        /// New health.
        health: Health,
        /// The rollout that is blamed: set when the system was healthy before an install of that rollout and is not
        /// after. The node has by then begun to roll back by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        blames: Option<RolloutId>,
        /// SHA-256 of that rollout's document, so that it blames no other of the same id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        document: Option<Digest>,
        /// The answers that decided it.
        probes: Vec<ProbeAnswer>,
    },
    /// The node refused something that does not verify.
    Refused {
        /// What ("directive", "patch", "rollout", "payload chunk", "order").
        what: String,
        /// Why, one sentence.
        why: String,
        /// The rollout, when known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rollout: Option<RolloutId>,
    },
    /// The node knows of a halt: it begins no new install of this rollout.
    HaltKnown {
        /// Rollout.
        rollout: RolloutId,
        /// Counter of the halt order.
        counter: u64,
    },
    /// A person must look.
    Alarm {
        /// Machine word.
        code: String,
        /// One sentence.
        text: String,
        /// The device, when it is about one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device: Option<DeviceId>,
    },
}

impl ReportBody {
    /// May other nodes have to see it in the node's own signed words: how a deployment ended or failed, or a blame?
    #[must_use]
    pub fn is_proof(&self) -> bool {
        match self {
            Self::Deployment { state, .. } => state.is_terminal() || *state == DeploymentState::RollingBack,
            Self::Health { health, blames, .. } => *health != Health::Healthy && blames.is_some(),
            _ => false,
        }
    }

    /// Does it say that something went wrong after the patch, which may take other devices back?
    ///
    /// What a controller brings about all alone counts for nothing: a device that it has taken back or withdrawn, or to
    /// which it sent what does not verify, has not failed.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Deployment { state, code, .. } => state.is_lost() && !INDUCED.contains(&code.as_str()),
            Self::Health { health, blames, .. } => *health == Health::Unhealthy && blames.is_some(),
            _ => false,
        }
    }

    /// What it says of things that are not `site`'s: nothing of it counts then.
    #[must_use]
    pub fn foreign_to(&self, site: &SiteId) -> Option<String> {
        let foreign =
            |what: &str, id: &dyn std::fmt::Display| Some(format!("{what} {id} does not belong to site {site}"));
        match self {
            Self::Inventory { inventory } => {
                let (devices, systems) = (&inventory.devices, &inventory.systems);
                if inventory.site != *site {
                    return foreign("the inventory of", &inventory.site);
                }
                if devices.len() > SITE_DEVICES_MAX {
                    let many = devices.len();
                    return Some(format!("its inventory lists {many} devices; at most {SITE_DEVICES_MAX} are taken"));
                }
                if let Some(device) = devices.iter().find(|d| d.id.site() != *site) {
                    return foreign("device", &device.id);
                }
                systems.iter().find(|s| s.id.site() != *site).and_then(|s| foreign("clinical system", &s.id))
            }
            Self::Deployment { device, .. } | Self::Alarm { device: Some(device), .. }
                if device.site_text() != site.as_str() =>
            {
                foreign("device", device)
            }
            Self::Health { system, .. } if system.site() != *site => foreign("clinical system", system),
            Self::Deployment { .. }
            | Self::Alarm { .. }
            | Self::Health { .. }
            | Self::Refused { .. }
            | Self::HaltKnown { .. } => None,
        }
    }
}

/// Health of a clinical system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// All probes pass.
    Healthy,
    /// Enough consecutive failures.
    Unhealthy,
    /// Not probed yet, or no probe is declared.
    Unknown,
}

/// What a node saw. Every field is optional: it holds what the step could learn.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evidence {
    /// SHA-256 of the rollout document that the deployment belongs to, so that a report proves nothing about another of
    /// the same id. Without it the report proves nothing to anybody else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<Digest>,
    /// SHA-256 of the payload that was staged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Digest>,
    /// Exit code of the installer, 32 bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u32>,
    /// Detection before the install.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Detected>,
    /// Detection now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Detected>,
    /// Whether the device asks for a reboot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reboot_pending: Option<bool>,
    /// Probe answers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<ProbeAnswer>,
    /// Tail of the tool's output.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub output: String,
}

/// Whether a patch is on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "detected", rename_all = "snake_case", deny_unknown_fields)]
pub enum Detected {
    /// It is; `proof` says by what.
    Present {
        /// For example a registry value.
        proof: String,
    },
    /// It is not.
    Absent,
    /// The device could not be asked.
    Unknown {
        /// Why.
        why: String,
    },
}

impl Detected {
    /// Same finding, whatever the wording of the proof (S8 compares with this).
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Present { .. }, Self::Present { .. }) | (Self::Absent, Self::Absent))
    }
}

/// One answer of one probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeAnswer {
    /// Clinical system.
    pub system: SystemId,
    /// Which probe ("tcp 10.0.0.5:104").
    pub probe: String,
    /// When it was sent.
    pub at: Timestamp,
    /// How long the answer took, milliseconds.
    pub took_ms: u32,
    /// Healthy?
    pub ok: bool,
    /// What came back, raw or in words; at most [`EVIDENCE_TEXT_MAX`] bytes.
    pub answer: String,
}
