//! Events of the registry. They are journalled: their form is a contract.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use wardround_rollout_plans::model::{DirectiveMark, PatchId, RolloutId, SiteId, Timestamp};
use wardround_signing::{Digest, PublicKey, Role, tuf::RoleName};

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
    /// A patch document was registered; nobody has signed for it yet.
    PatchCreated {
        /// Id.
        id: PatchId,
        /// One line.
        title: String,
        /// The document.
        document: Arc<str>,
        /// Who.
        by: String,
    },
    /// What was published says who has signed for a patch.
    PatchSigned {
        /// Id.
        id: PatchId,
        /// Who.
        signed: Signed,
    },
    /// A plan was resolved into a rollout document; the engine hears of it in the same change.
    RolloutDrafted {
        /// Id.
        id: RolloutId,
        /// Patch.
        patch: PatchId,
        /// The document.
        document: Arc<str>,
        /// Who.
        by: String,
    },
    /// What was published says who has signed for a rollout.
    RolloutSigned {
        /// Id.
        id: RolloutId,
        /// Who.
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

/// Who has signed for a document, as published and verified.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Signed {
    /// People's names, by role.
    pub(crate) by: BTreeMap<Role, Vec<String>>,
    /// Whether both roles have, identically.
    pub(crate) ready: bool,
}

impl Signed {
    /// For the audit record.
    pub(super) fn sentence(&self, what: &str) -> String {
        if self.by.is_empty() {
            return format!("nobody signs for {what} any more");
        }
        let one = |(role, names): (&Role, &Vec<String>)| format!("{} ({role})", names.join(" and "));
        let by = self.by.iter().map(one).collect::<Vec<_>>().join(" and ");
        let now = if self.ready { "; both roles have signed" } else { "" };
        format!("{what} is signed for by {by}{now}")
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
