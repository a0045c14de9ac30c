//! What the engine takes in and gives out. Events are journalled: their form is a contract.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use wardround_signing::{Digest, Envelope, KeyId, Role};

use crate::model::{
    DeviceId, GateDecision, Member, Order, ReportBody, Reporter, Rollout, RolloutId, Signatory, SiteId, Timestamp,
};

/// Something that happened. The shell has verified every signature before it makes one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", remote = "Self")]
pub enum Event {
    /// A node enrolled for a site: its report sequence begins anew under this key.
    NodeEnrolled {
        /// Site.
        site: SiteId,
        /// The node's report key.
        node_key: KeyId,
    },
    /// A plan was resolved; nothing is signed yet.
    RolloutCreated {
        /// The document.
        rollout: Box<Rollout>,
        /// SHA-256 of its bytes.
        digest: Digest,
        /// Members of all waves, in leaf order, wave by wave.
        members: Vec<Member>,
        /// The enrolled nodes, in the order of their sites: the document pins those of each wave's sites.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        reporters: Vec<Reporter>,
    },
    /// Both roles have signed.
    RolloutSigned {
        /// Rollout.
        rollout: RolloutId,
    },
    /// The plan of a rollout was resolved anew into its next version; nothing of it counts yet. It takes the place of one
    /// that waits.
    RolloutAmended {
        /// The document.
        rollout: Box<Rollout>,
        /// SHA-256 of its bytes.
        digest: Digest,
        /// Members of all waves, in leaf order, wave by wave.
        members: Vec<Member>,
        /// The enrolled nodes, in the order of their sites: the waves that change pin those of their sites.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        reporters: Vec<Reporter>,
    },
    /// Both roles have signed the next version of a rollout, or do so no longer.
    AmendmentSigned {
        /// Rollout.
        rollout: RolloutId,
        /// SHA-256 of that version's document.
        digest: Digest,
        /// They have.
        signed: bool,
    },
    /// An order of people. The engine asks [`crate::model::Command::needs`] whether their signatures suffice.
    Order {
        /// The order.
        order: Order,
        /// Roles of the valid signers.
        roles: BTreeSet<Role>,
        /// Names of the valid signers.
        holders: Vec<String>,
        /// The valid signers one by one. Absent only in journals of the time when each order counted with one signature:
        /// what was accepted then stays accepted when they are read again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signers: Option<Vec<Signatory>>,
        /// The signed bytes, handed on to nodes.
        envelope: Envelope,
    },
    /// A node's report, verified and for the node's present key.
    Report {
        /// Site.
        site: SiteId,
        /// Sequence number. Accepted only when it is one more than the last; lower ones are refused as duplicates,
        /// higher ones as gaps, without any change.
        seq: u64,
        /// The node's clock; evidence only, never used for deciding.
        at: Timestamp,
        /// Content.
        body: ReportBody,
        /// The key that signed it. A report that was verified just before another node enrolled, or this one was revoked,
        /// counts no more. Absent in journals of before it was written down, where it counts for the node that was there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node_key: Option<KeyId>,
        /// The signed bytes, where [`ReportBody::is_proof`]: what other nodes go by when it is about their devices too.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        envelope: Option<Envelope>,
    },
    /// A person has revoked a site's node: nothing that it says counts any more, and nothing new is asked of the site until
    /// another node enrols.
    NodeRevoked {
        /// Site.
        site: SiteId,
        /// The report key that is revoked; that of another node is refused.
        node_key: KeyId,
        /// Who, and why: for the record.
        text: String,
    },
    /// No word from a site's node for the shell's silence limit.
    SiteSilent {
        /// Site.
        site: SiteId,
    },
    /// The first word after a silence.
    SiteHeard {
        /// Site.
        site: SiteId,
    },
    /// Time has passed; sent when [`crate::engine::State::next_wake`] is due.
    Tick,
}

impl Event {
    /// The order that these people have signed; `envelope` carries their signatures, all of which were verified.
    #[must_use]
    pub fn order(order: Order, signers: Vec<Signatory>, envelope: Envelope) -> Self {
        let roles = signers.iter().flat_map(|s| s.roles.iter().copied()).collect();
        let holders = signers.iter().map(|s| s.holder.clone()).collect();
        Self::Order { order, roles, holders, signers: Some(signers), envelope }
    }
}

/// What the shell must do after the event is on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// The site's directive has changed: nudge its node.
    SiteChanged {
        /// Site.
        site: SiteId,
    },
    /// Push this halt to these sites' nodes before anything else.
    Halt {
        /// Rollout.
        rollout: RolloutId,
        /// The signed order; absent when the engine halted by itself (then the nudge carries the directive).
        order: Option<Envelope>,
        /// Sites of the rollout.
        sites: Vec<SiteId>,
    },
    /// The rollout's view has changed: wake its watchers.
    RolloutChanged {
        /// Rollout.
        rollout: RolloutId,
    },
    /// Goes into the audit record.
    Audit {
        /// Machine word ("order", "wave_decision", "rollout_created" ...).
        kind: String,
        /// One sentence.
        text: String,
        /// Rollout, if any.
        rollout: Option<RolloutId>,
        /// The signed document behind it, if any.
        envelope: Option<Envelope>,
        /// What a gate went by, if it is its decision.
        gate: Option<Box<GateDecision>>,
    },
    /// A person must look.
    Alarm {
        /// Machine word ("refused", "rollback_failed", "clinical_system", "wave_failed", "unknown" ...).
        code: String,
        /// One sentence.
        text: String,
        /// Rollout, if any.
        rollout: Option<RolloutId>,
        /// Site, if any.
        site: Option<SiteId>,
        /// Device, if any.
        device: Option<DeviceId>,
    },
}

/// Why an event was not accepted. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such thing.
    #[error("there is no {what} {id:?}")]
    NotFound {
        /// "rollout", "wave", "site", "device".
        what: &'static str,
        /// Which.
        id: String,
    },
    /// It is there already.
    #[error("{what} {id:?} exists already")]
    AlreadyExists {
        /// What.
        what: &'static str,
        /// Which.
        id: String,
    },
    /// The state does not allow it.
    #[error("{what} can't {verb}: it is {state}; {hint}")]
    InvalidTransition {
        /// For example "rollout r1".
        what: String,
        /// For example "resume".
        verb: &'static str,
        /// Present state.
        state: String,
        /// What to do instead.
        hint: String,
    },
    /// An order's counter or digest is not the present one: it was replayed or overtaken.
    #[error("this order is stale: {why}; make it again")]
    StaleOrder {
        /// Why.
        why: String,
    },
    /// A signer's role does not allow it.
    #[error("{why}")]
    NotPermitted {
        /// Why.
        why: String,
    },
    /// The event is inconsistent in itself.
    #[error("{why}")]
    Invalid {
        /// Why.
        why: String,
    },
    /// The node that it is of is not the site's node any more.
    #[error("{key} is not the key of the present node of site {site}")]
    AnotherNode {
        /// Site.
        site: SiteId,
        /// The key that was meant.
        key: KeyId,
    },
    /// A report was taken in before.
    #[error("report {seq} of site {site} was taken in before")]
    Duplicate {
        /// Site.
        site: SiteId,
        /// Sequence number.
        seq: u64,
    },
    /// A report before this one has not arrived.
    #[error("report {seq} of site {site} came before report {expected}")]
    Gap {
        /// Site.
        site: SiteId,
        /// Sequence number.
        seq: u64,
        /// Expected.
        expected: u64,
    },
}
