//! Events of the registry. They are journalled: their form is a contract.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};
use wardround_rollout_plans::model::{PatchId, RolloutId, SiteId, Timestamp};
use wardround_signing::{Digest, Envelope, PublicKey, Role, Signature};

use crate::core::Subject;

/// Something that happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum RegistryEvent {
    /// An operator made an enrolment token.
    TokenMade {
        /// Public part.
        id: String,
        /// For this site.
        site: SiteId,
        /// SHA-256 of the secret part.
        secret: Digest,
        /// When it ends.
        expires_at: Timestamp,
        /// Who.
        by: String,
    },
    /// A token was used.
    NodeEnrolled {
        /// Which token.
        token: String,
        /// Its site.
        site: SiteId,
        /// The node's key for reports.
        report_key: PublicKey,
        /// SHA-256 of the node's TLS key.
        tls_key: Digest,
    },
    /// A patch document was registered, unsigned.
    PatchCreated {
        /// Id.
        id: PatchId,
        /// One line.
        title: String,
        /// The document.
        envelope: Arc<Envelope>,
        /// Who.
        by: String,
    },
    /// People signed a patch.
    PatchSigned {
        /// Id.
        id: PatchId,
        /// What was added.
        signed: Signed,
    },
    /// A plan was resolved into a rollout document; the engine hears of it in the same change.
    RolloutDrafted {
        /// Id.
        id: RolloutId,
        /// Patch.
        patch: PatchId,
        /// The document.
        envelope: Arc<Envelope>,
        /// Who.
        by: String,
    },
    /// People signed a rollout.
    RolloutSigned {
        /// Id.
        id: RolloutId,
        /// What was added.
        signed: Signed,
    },
    /// The controller itself noticed something that a person must look at.
    Alarm {
        /// Machine word.
        code: String,
        /// One sentence.
        text: String,
        /// Site, if any.
        #[serde(default)]
        site: Option<SiteId>,
    },
}

/// Signatures that were verified and added, with what they amount to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Signed {
    /// The new ones.
    pub(crate) signatures: Vec<Signature>,
    /// Whose they are.
    pub(crate) holders: Vec<String>,
    /// All roles that have signed now.
    pub(crate) roles: BTreeSet<Role>,
    /// Whether both roles have signed now.
    pub(crate) ready: bool,
}

impl Signed {
    /// Puts the signatures into a document's record.
    pub(super) fn apply(&self, envelope: &mut Arc<Envelope>, roles: &mut BTreeSet<Role>, ready: &mut bool) {
        let envelope = Arc::make_mut(envelope);
        for signature in &self.signatures {
            envelope.add(signature.clone());
        }
        roles.clone_from(&self.roles);
        *ready |= self.ready;
    }

    /// For the audit record.
    pub(super) fn sentence(&self, what: &str) -> String {
        let now = if self.ready { "; both roles have signed" } else { "" };
        format!("{} signed {what}{now}", self.holders.join(" and "))
    }
}

impl RegistryEvent {
    /// What it is about.
    pub(crate) fn subject(&self) -> Subject {
        match self {
            Self::TokenMade { id, .. } => Subject::Token(id.clone()),
            Self::NodeEnrolled { token, .. } => Subject::Token(token.clone()),
            Self::PatchCreated { id, .. } | Self::PatchSigned { id, .. } => Subject::Patch(id.clone()),
            Self::RolloutDrafted { id, .. } | Self::RolloutSigned { id, .. } => Subject::Rollout(id.clone()),
            Self::Alarm { .. } => Subject::None,
        }
    }
}
