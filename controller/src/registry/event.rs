//! Events of the registry. They are journalled: their form is a contract.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use wardround_rollout_plans::model::{DirectiveMark, PatchId, RolloutId, SiteId, Timestamp};
use wardround_signing::{Digest, Envelope, PublicKey, Role, Signature, tuf::RoleName};

use super::{FilePin, Revocation};
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
    /// A site's node was revoked; the engine hears of it in the same change.
    NodeRevoked {
        /// Its site.
        site: SiteId,
        /// SHA-256 of the TLS key that is revoked.
        tls_key: Digest,
        /// Who did it, and why.
        text: String,
    },
    /// A certificate was issued to an operator, on the controller's machine.
    OperatorIssued {
        /// Name.
        name: String,
        /// Serial number, lower-case hex.
        serial: String,
        /// Its roles, in words.
        roles: String,
        /// When it ends.
        expires_at: Timestamp,
    },
    /// Certificates of an operator were revoked.
    OperatorRevoked {
        /// Which.
        what: Revocation,
        /// Who did it, and why.
        text: String,
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
    /// The plan of a rollout was resolved anew into its next version; the engine hears of it in the same change.
    AmendmentDrafted {
        /// Rollout.
        id: RolloutId,
        /// Version.
        version: u32,
        /// The document's text.
        document: Arc<str>,
        /// Who.
        by: String,
    },
    /// A new version of metadata waits for more signatures, or for another role's new version.
    MetadataStaged {
        /// Role.
        role: RoleName,
        /// The file with the signatures so far.
        file: FilePin,
        /// One sentence: who signed, what is missing.
        text: String,
    },
    /// The image repository got new files, which were verified as a whole before.
    ImagesPublished {
        /// The new files.
        files: BTreeMap<RoleName, FilePin>,
        /// One sentence: what is new and who signed it.
        text: String,
    },
    /// A site is told something else than before.
    DirectiveIssued {
        /// What.
        mark: DirectiveMark,
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
        *ready = self.ready;
    }

    /// For the audit record.
    pub(super) fn sentence(&self, what: &str) -> String {
        if self.roles.is_empty() {
            return format!("{} took the signatures on {what} back", self.holders.join(" and "));
        }
        let now = if self.ready { "; both roles have signed" } else { "" };
        format!("{} signed {what}{now}", self.holders.join(" and "))
    }
}

impl RegistryEvent {
    /// True for what shuts somebody out: it waits for nobody's reports and for no room on the disk.
    pub(crate) fn is_revocation(&self) -> bool {
        matches!(self, Self::NodeRevoked { .. } | Self::OperatorRevoked { .. })
    }

    /// What it is about.
    pub(crate) fn subject(&self) -> Subject {
        match self {
            Self::TokenMade { id, .. } => Subject::Token(id.clone()),
            Self::NodeEnrolled { token, .. } => Subject::Token(token.clone()),
            Self::PatchCreated { id, .. } | Self::PatchSigned { id, .. } => Subject::Patch(id.clone()),
            Self::RolloutDrafted { id, .. } | Self::RolloutSigned { id, .. } | Self::AmendmentDrafted { id, .. } => {
                Subject::Rollout(id.clone())
            }
            Self::MetadataStaged { .. } | Self::ImagesPublished { .. } => Subject::Images,
            Self::NodeRevoked { site, .. } => Subject::Site(site.clone()),
            Self::OperatorIssued { serial, .. } => Subject::Token(serial.clone()),
            Self::OperatorRevoked { .. } | Self::Alarm { .. } => Subject::None,
            Self::DirectiveIssued { mark } => Subject::Site(mark.site.clone()),
        }
    }
}
