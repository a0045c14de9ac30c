//! Versions of rollouts: the one that waits beside the one in force, and the one before it.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use wardround_rollout_plans::{
    engine::{Event, State},
    model::{Member, RolloutId},
};
use wardround_signing::{Digest, Role};

use super::{Document, DocumentId, Registry};

/// The version that waits until it is signed by both roles and may come into force.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Amendment {
    /// Its number.
    pub(crate) version: u32,
    /// The document's text.
    pub(crate) document: Arc<str>,
    /// SHA-256 of the document.
    pub(crate) digest: Digest,
    /// In leaf order, wave by wave.
    pub(crate) members: Arc<Vec<Member>>,
}

/// What the registry knows beyond the versions in force.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Amendments {
    waiting: BTreeMap<RolloutId, Amendment>,
    /// Of rollouts that were amended.
    in_force: BTreeMap<RolloutId, u32>,
    /// The version before the one in force: a node that was told of it a moment ago still asks for it.
    former: BTreeMap<RolloutId, (Digest, Arc<str>)>,
}

impl Registry {
    /// The version of a rollout that is in force.
    pub(crate) fn version(&self, id: &RolloutId) -> u32 {
        self.amendments.in_force.get(id).copied().unwrap_or(1)
    }

    /// The version that waits.
    pub(crate) fn amendment(&self, id: &RolloutId) -> Option<&Amendment> {
        self.amendments.waiting.get(id)
    }

    /// All versions that wait.
    pub(crate) fn amendments(&self) -> impl Iterator<Item = (&RolloutId, &Amendment)> {
        self.amendments.waiting.iter()
    }

    /// A document that was in force until the last amendment.
    pub(super) fn former_document(&self, digest: &Digest) -> Option<Arc<str>> {
        let former = self.amendments.former.values().find(|(known, _)| known == digest);
        former.map(|(_, document)| Arc::clone(document))
    }

    pub(super) fn draft_amendment(&mut self, id: &RolloutId, version: u32, document: &Arc<str>) -> Digest {
        let digest = Digest::of(document.as_bytes());
        let amendment = Amendment { version, document: Arc::clone(document), digest, members: Arc::default() };
        self.amendments.waiting.insert(id.clone(), amendment);
        digest
    }

    /// Follows the engine, which decides when a version comes into force and when it never will.
    pub(super) fn follow_versions(&mut self, event: &Event, engine: &State) {
        if let Event::RolloutAmended { rollout, members, .. } = event
            && let Some(amendment) = self.amendments.waiting.get_mut(&rollout.id)
        {
            amendment.members = Arc::new(members.clone());
        }
        let moved: Vec<RolloutId> = self
            .amendments
            .waiting
            .iter()
            .filter(|(id, amendment)| engine.waiting_version(id) != Some(amendment.digest))
            .map(|(id, _)| id.clone())
            .collect();
        for id in moved {
            if let Some(amendment) = self.amendments.waiting.remove(&id)
                && engine.version_in_force(&id) == Some(amendment.digest)
            {
                self.come_into_force(id, amendment);
            }
        }
    }

    fn come_into_force(&mut self, id: RolloutId, amendment: Amendment) {
        let Some(record) = self.rollouts.get_mut(&id) else { return };
        let mut document = Document::new(&amendment.document);
        // Both roles have; their names are those of the listings.
        document.signed = [Role::Release, Role::Clinical].map(|role| (role, Vec::new())).into();
        document.ready = true;
        let Document { text: former, digest: before, .. } = std::mem::replace(&mut record.document, document);
        self.documents.remove(&before);
        record.members = amendment.members;
        self.documents.insert(amendment.digest, DocumentId::Rollout(id.clone()));
        self.amendments.former.insert(id.clone(), (before, former));
        self.amendments.in_force.insert(id, amendment.version);
    }
}
