//! What the controller knows beside the rollouts: tokens, nodes' keys, and documents with who has signed for them.
//!
//! A pure fold like the engine: [`Registry::check`] says whether an event is acceptable, [`Registry::step`] takes it in.
//! Both folds share one journal. People sign in the image repository; what a publication means for a document is an event of
//! its own, made after everything was verified, never again in a replay.

mod access;
mod alarms;
mod amendments;
mod event;
mod facts;
mod images;
mod lineage;

use access::Revocations;
pub(crate) use access::{Revocation, Revoked};
pub(crate) use alarms::{Alarm, Alarms};
pub(crate) use amendments::Amendment;
use amendments::Amendments;
pub(crate) use event::{RegistryEvent, Signed};
pub(crate) use facts::SystemFinding;
pub(crate) use images::{FilePin, ImageRecord};

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use wardround_rollout_plans::{
    engine::{Effect, Refusal},
    model::{DeviceId, DurationMs, Member, Patch, PatchId, Reporter, RolloutId, SiteId, SystemId, Timestamp, Variant},
};
use wardround_signing::{Digest, PublicKey, Role, read_document};

use crate::ca::{Identity, Peer};

/// Most tokens that are neither used nor expired.
const TOKENS_OPEN_MAX: usize = 10_000;
/// How long a used or expired token is remembered, so that its holder hears *why* it does not work.
const TOKEN_MEMORY: DurationMs = DurationMs::from_secs(7 * 24 * 60 * 60);

/// A single-use enrolment token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Token {
    /// The site that it is for.
    pub(crate) site: SiteId,
    /// SHA-256 of the secret; the secret itself is kept nowhere.
    pub(crate) secret: Digest,
    /// When it ends.
    pub(crate) expires_at: Timestamp,
    /// When it was used.
    pub(crate) used_at: Option<Timestamp>,
}

/// A site's present node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Node {
    /// With which it signs reports.
    pub(crate) report_key: PublicKey,
    /// SHA-256 of its TLS key: an older node's certificate no longer counts.
    pub(crate) tls_key: Digest,
    /// When it enrolled.
    pub(crate) enrolled_at: Timestamp,
}

/// A document for which people sign in the image repository.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Document {
    /// Its very bytes.
    pub(crate) text: Arc<str>,
    /// SHA-256 of them.
    pub(crate) digest: Digest,
    /// Who has signed for it, by role, as published.
    pub(crate) signed: BTreeMap<Role, Vec<String>>,
    /// Both roles have, identically: it counts.
    pub(crate) ready: bool,
}

impl Document {
    fn new(text: &Arc<str>) -> Self {
        let (text, digest) = (Arc::clone(text), Digest::of(text.as_bytes()));
        Self { text, digest, signed: BTreeMap::new(), ready: false }
    }

    fn sign(&mut self, signed: &Signed) {
        self.signed.clone_from(&signed.by);
        self.ready = signed.ready;
    }
}

/// A patch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PatchRecord {
    /// Its document.
    pub(crate) document: Document,
    /// When it was registered.
    pub(crate) created_at: Timestamp,
    /// One line for people.
    pub(crate) title: String,
}

/// A rollout.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RolloutRecord {
    /// Its document.
    pub(crate) document: Document,
    /// Patch.
    pub(crate) patch: PatchId,
    /// After how long without word its deployments count as unknown.
    pub(crate) unknown_after: DurationMs,
    /// In leaf order, wave by wave.
    pub(crate) members: Arc<Vec<Member>>,
}

/// The fold.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Registry {
    tokens: BTreeMap<String, Token>,
    nodes: BTreeMap<SiteId, Node>,
    patches: BTreeMap<PatchId, PatchRecord>,
    rollouts: BTreeMap<RolloutId, RolloutRecord>,
    silent: BTreeSet<SiteId>,
    systems: BTreeMap<SystemId, SystemFinding>,
    installed: BTreeMap<DeviceId, BTreeSet<PatchId>>,
    #[serde(default)]
    images: ImageRecord,
    /// Sites whose node was revoked and that have no other yet.
    #[serde(default)]
    revoked_nodes: BTreeMap<SiteId, Revoked>,
    /// Operators' certificates that count no more.
    #[serde(default)]
    revocations: Revocations,
    /// Serial numbers of operators' certificates that are on record.
    #[serde(default)]
    certificates: BTreeSet<String>,
    /// Versions of rollouts beside those in force.
    #[serde(default)]
    amendments: Amendments,
    /// What each site was told last, as the audit log has it.
    #[serde(default)]
    told: BTreeMap<SiteId, Digest>,
    /// Chunks that some patch names; derived.
    #[serde(skip)]
    chunks: HashSet<Digest>,
    /// Some patch's document can't be read: what it names is not known; derived.
    #[serde(skip)]
    unread: bool,
    /// What each patch replaces; derived.
    #[serde(skip)]
    replaced: BTreeMap<PatchId, Vec<PatchId>>,
    /// What each patch requires; derived.
    #[serde(skip)]
    required: BTreeMap<PatchId, Vec<PatchId>>,
    /// Devices to which rollouts have brought each patch: what `installed` says, the other way round; derived.
    #[serde(skip)]
    holders: lineage::Holders,
    /// Documents by digest; derived.
    #[serde(skip)]
    documents: HashMap<Digest, DocumentId>,
}

#[derive(Debug, Clone)]
enum DocumentId {
    Patch(PatchId),
    Rollout(RolloutId),
}

impl Registry {
    /// Builds what is derived, after a snapshot was read.
    pub(crate) fn index(&mut self) {
        let patches: Vec<(PatchId, Document)> =
            self.patches.iter().map(|(id, p)| (id.clone(), p.document.clone())).collect();
        for (id, document) in patches {
            self.index_patch(id, &document);
        }
        self.holders = lineage::Holders::of(&self.installed);
        self.documents.extend(self.rollouts.iter().map(|(id, r)| (r.document.digest, DocumentId::Rollout(id.clone()))));
    }

    fn index_patch(&mut self, id: PatchId, document: &Document) {
        if let Ok(patch) = read_document::<Patch>(document.text.as_bytes()) {
            self.chunks.extend(
                patch.variants.iter().flat_map(Variant::payloads).flat_map(|payload| payload.chunks.iter().copied()),
            );
            self.required.insert(id.clone(), patch.required());
            self.replaced.insert(id.clone(), patch.supersedes);
        } else {
            self.unread = true;
        }
        self.documents.insert(document.digest, DocumentId::Patch(id));
    }

    /// A token.
    pub(crate) fn token(&self, id: &str) -> Option<&Token> {
        self.tokens.get(id)
    }

    /// A site's present node.
    pub(crate) fn node(&self, site: &SiteId) -> Option<&Node> {
        self.nodes.get(site)
    }

    /// The revocation of a site's node, as long as no other has enrolled.
    pub(crate) fn revoked_node(&self, site: &SiteId) -> Option<&Revoked> {
        self.revoked_nodes.get(site)
    }

    /// The revocation of an operator's certificate.
    pub(crate) fn revoked(&self, peer: &Peer) -> Option<&Revoked> {
        match &peer.identity {
            Identity::Operator(name) => self.revocations.of(name, &peer.serial, peer.issued_at),
            Identity::Node(_) => None,
        }
    }

    /// True for an operator's certificate that is on record.
    pub(crate) fn knows_certificate(&self, serial: &str) -> bool {
        self.certificates.contains(serial)
    }

    /// Sites whose node was revoked and that have no other yet.
    pub(crate) fn revoked_nodes(&self) -> impl Iterator<Item = &SiteId> {
        self.revoked_nodes.keys()
    }

    /// All sites that have a node, by id.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&SiteId, &Node)> {
        self.nodes.iter()
    }

    /// Digest of what a site was told last; none before the first directive that wants something.
    pub(crate) fn told(&self, site: &SiteId) -> Option<Digest> {
        self.told.get(site).copied()
    }

    /// All present nodes with their report keys, in the order of their sites: a rollout document pins them.
    pub(crate) fn reporters(&self) -> Vec<Reporter> {
        self.nodes.iter().map(|(site, node)| Reporter { site: site.clone(), key: node.report_key }).collect()
    }

    /// A patch.
    pub(crate) fn patch(&self, id: &PatchId) -> Option<&PatchRecord> {
        self.patches.get(id)
    }

    /// All patches, by id.
    pub(crate) fn patches(&self) -> &BTreeMap<PatchId, PatchRecord> {
        &self.patches
    }

    /// A rollout.
    pub(crate) fn rollout(&self, id: &RolloutId) -> Option<&RolloutRecord> {
        self.rollouts.get(id)
    }

    /// All rollouts, by id.
    pub(crate) fn rollouts(&self) -> &BTreeMap<RolloutId, RolloutRecord> {
        &self.rollouts
    }

    /// True when some patch names this chunk: nothing else is served to nodes.
    pub(crate) fn names_chunk(&self, digest: &Digest) -> bool {
        self.chunks.contains(digest)
    }

    /// False when no patch names this chunk, for certain.
    pub(crate) fn may_name_chunk(&self, digest: &Digest) -> bool {
        self.unread || self.names_chunk(digest)
    }

    /// A document that both roles have signed for, by the SHA-256 of its bytes.
    pub(crate) fn document(&self, digest: &Digest) -> Option<Arc<str>> {
        let Some(known) = self.documents.get(digest) else { return self.former_document(digest) };
        let document = match known {
            DocumentId::Patch(id) => self.patches.get(id).map(|p| &p.document),
            DocumentId::Rollout(id) => self.rollouts.get(id).map(|r| &r.document),
        }?;
        document.ready.then(|| Arc::clone(&document.text))
    }

    /// The image repository.
    pub(crate) fn images(&self) -> &ImageRecord {
        &self.images
    }

    /// True while a site counts as silent.
    pub(crate) fn is_silent(&self, site: &SiteId) -> bool {
        self.silent.contains(site)
    }

    /// What was last heard of a clinical system.
    pub(crate) fn system(&self, id: &SystemId) -> Option<&SystemFinding> {
        self.systems.get(id)
    }

    /// Patches that a rollout has brought to a device and that still stand.
    pub(crate) fn installed(&self, device: &DeviceId) -> impl Iterator<Item = &PatchId> {
        self.installed.get(device).into_iter().flatten()
    }

    /// Would `event` be accepted?
    pub(crate) fn check(&self, event: &RegistryEvent, now: Timestamp) -> Result<(), Refusal> {
        match event {
            RegistryEvent::TokenMade { id, .. } => {
                let open = self.tokens.values().filter(|t| t.used_at.is_none() && t.expires_at > now).count();
                if open >= TOKENS_OPEN_MAX {
                    return Err(Refusal::Invalid {
                        why: format!("{open} enrolment tokens are open already; use them or let them expire"),
                    });
                }
                absent("token", id, self.tokens.contains_key(id))
            }
            RegistryEvent::NodeEnrolled { token, site, .. } => {
                let found = self.tokens.get(token).ok_or_else(|| not_found("token", token))?;
                let state = match found.used_at {
                    Some(_) => "used",
                    None if found.expires_at <= now => "expired",
                    None if found.site != *site => "for another site",
                    None => return Ok(()),
                };
                Err(Refusal::InvalidTransition {
                    what: format!("token {token}"),
                    verb: "be used",
                    state: state.to_owned(),
                    hint: format!("make a new one with `wardround site token {site}`"),
                })
            }
            RegistryEvent::NodeRevoked { site, tls_key, .. } => match self.nodes.get(site) {
                Some(node) if node.tls_key == *tls_key => Ok(()),
                Some(_) => Err(Refusal::Invalid {
                    why: format!("another node has enrolled for site {site} meanwhile: look, and revoke again"),
                }),
                None => Err(not_found("node of site", site.as_str())),
            },
            RegistryEvent::OperatorIssued { serial, .. } => {
                absent("certificate", serial, self.certificates.contains(serial))
            }
            RegistryEvent::OperatorRevoked { .. } => self.revocations.check(now),
            RegistryEvent::PatchCreated { id, .. } => absent("patch", id.as_str(), self.patches.contains_key(id)),
            RegistryEvent::PatchSigned { id, .. } => {
                self.patches.get(id).map(|_| ()).ok_or_else(|| not_found("patch", id.as_str()))
            }
            RegistryEvent::RolloutDrafted { id, .. } => absent("rollout", id.as_str(), self.rollouts.contains_key(id)),
            RegistryEvent::RolloutSigned { id, .. } | RegistryEvent::AmendmentDrafted { id, .. } => {
                self.rollouts.get(id).map(|_| ()).ok_or_else(|| not_found("rollout", id.as_str()))
            }
            RegistryEvent::MetadataStaged { .. }
            | RegistryEvent::ImagesPublished { .. }
            | RegistryEvent::DirectiveIssued { .. }
            | RegistryEvent::Alarm { .. } => Ok(()),
        }
    }

    /// Takes in one event; a refused one changes nothing.
    pub(crate) fn step(&mut self, event: &RegistryEvent, now: Timestamp) -> Result<Vec<Effect>, Refusal> {
        self.check(event, now)?;
        match event {
            RegistryEvent::TokenMade { id, site, secret, expires_at, by } => {
                self.tokens.retain(|_, t| t.used_at.unwrap_or(t.expires_at).after(TOKEN_MEMORY) > now);
                let token = Token { site: site.clone(), secret: *secret, expires_at: *expires_at, used_at: None };
                self.tokens.insert(id.clone(), token);
                Ok(vec![audit("token_made", format!("{by} made enrolment token {id} for site {site}"), None)])
            }
            RegistryEvent::NodeEnrolled { token, site, report_key, tls_key } => {
                if let Some(used) = self.tokens.get_mut(token) {
                    used.used_at = Some(now);
                }
                let node = Node { report_key: *report_key, tls_key: *tls_key, enrolled_at: now };
                self.nodes.insert(site.clone(), node);
                self.revoked_nodes.remove(site);
                // The engine, which hears of it in the same change, writes the audit leaf.
                Ok(vec![Effect::SiteChanged { site: site.clone() }])
            }
            RegistryEvent::NodeRevoked { site, text, .. } => {
                self.nodes.remove(site);
                self.revoked_nodes.insert(site.clone(), Revoked { at: now, text: text.clone() });
                // As above: the engine writes the audit leaf.
                Ok(vec![Effect::SiteChanged { site: site.clone() }])
            }
            RegistryEvent::OperatorIssued { name, serial, roles, expires_at } => {
                self.certificates.insert(serial.clone());
                let until = crate::ca::day(*expires_at);
                let text = format!(
                    "certificate {serial} for operator {name} was issued on the controller's machine, with the roles {roles}, \
                     until {until}"
                );
                Ok(vec![audit("operator_issued", text, None)])
            }
            RegistryEvent::OperatorRevoked { what, text } => {
                self.revocations.revoke(what, Revoked { at: now, text: text.clone() });
                Ok(vec![audit("operator_revoked", format!("{what} revoked: {text}"), None)])
            }
            RegistryEvent::PatchCreated { id, title, document, by } => {
                let document = Document::new(document);
                let digest = document.digest;
                self.index_patch(id.clone(), &document);
                self.patches.insert(id.clone(), PatchRecord { document, created_at: now, title: title.clone() });
                Ok(vec![audit("patch_created", format!("{by} registered patch {id} ({digest})"), None)])
            }
            RegistryEvent::PatchSigned { id, signed } => {
                let Some(patch) = self.patches.get_mut(id) else { return Err(not_found("patch", id.as_str())) };
                patch.document.sign(signed);
                Ok(vec![audit("patch_signed", signed.sentence(&format!("patch {id}")), None)])
            }
            RegistryEvent::RolloutDrafted { id, patch, document, by } => {
                let document = Document::new(document);
                let digest = document.digest;
                let record = RolloutRecord {
                    document,
                    patch: patch.clone(),
                    unknown_after: DurationMs::default(),
                    members: Arc::default(),
                };
                self.rollouts.insert(id.clone(), record);
                self.documents.insert(digest, DocumentId::Rollout(id.clone()));
                let text = format!("{by} drafted rollout {id} of patch {patch} ({digest})");
                Ok(vec![audit("rollout_drafted", text, Some(id))])
            }
            RegistryEvent::RolloutSigned { id, signed } => {
                let Some(rollout) = self.rollouts.get_mut(id) else { return Err(not_found("rollout", id.as_str())) };
                rollout.document.sign(signed);
                Ok(vec![
                    audit("rollout_signed", signed.sentence(&format!("rollout {id}")), Some(id)),
                    Effect::RolloutChanged { rollout: id.clone() },
                ])
            }
            RegistryEvent::AmendmentDrafted { id, version, document, by } => {
                let digest = self.draft_amendment(id, *version, document);
                let text = format!("{by} drafted version {version} of rollout {id} ({digest})");
                Ok(vec![audit("rollout_drafted", text, Some(id))])
            }
            RegistryEvent::MetadataStaged { role, file, text } => {
                self.images.stage(*role, *file, now);
                Ok(vec![audit("metadata_staged", text.clone(), None)])
            }
            RegistryEvent::ImagesPublished { files, text } => {
                self.images.publish(files);
                Ok(vec![audit("images_published", text.clone(), None)])
            }
            RegistryEvent::DirectiveIssued { mark } => {
                self.told.insert(mark.site.clone(), mark.content);
                Ok(Vec::new())
            }
            RegistryEvent::Alarm { code, text, site } => Ok(vec![
                audit("alarm", text.clone(), None),
                Effect::Alarm {
                    code: code.clone(),
                    text: text.clone(),
                    rollout: None,
                    site: site.clone(),
                    device: None,
                },
            ]),
        }
    }
}

fn audit(kind: &str, text: String, rollout: Option<&RolloutId>) -> Effect {
    Effect::Audit { kind: kind.to_owned(), text, rollout: rollout.cloned(), envelope: None, gate: None }
}

fn absent(what: &'static str, id: &str, there: bool) -> Result<(), Refusal> {
    if there { Err(Refusal::AlreadyExists { what, id: id.to_owned() }) } else { Ok(()) }
}

fn not_found(what: &'static str, id: &str) -> Refusal {
    Refusal::NotFound { what, id: id.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardround_signing::{SecretKey, Signer as _};

    fn made(id: &str, expires_at: i64) -> RegistryEvent {
        RegistryEvent::TokenMade {
            id: id.to_owned(),
            site: SiteId::new("rx1").unwrap(),
            secret: Digest::of(b"secret"),
            expires_at: Timestamp(expires_at),
            by: "ann".to_owned(),
        }
    }

    fn enrolled(token: &str, site: &str) -> RegistryEvent {
        RegistryEvent::NodeEnrolled {
            token: token.to_owned(),
            site: SiteId::new(site).unwrap(),
            report_key: SecretKey::from_seed(&[7; 32]).public(),
            tls_key: Digest::of(b"tls"),
        }
    }

    #[test]
    fn a_token_works_once_for_its_site_and_in_its_time() {
        let mut registry = Registry::default();
        registry.step(&made("t1", 1000), Timestamp(0)).unwrap();
        registry.step(&made("t2", 1000), Timestamp(0)).unwrap();
        let refused = |registry: &Registry, event, at| registry.check(&event, Timestamp(at)).unwrap_err().to_string();
        assert!(refused(&registry, enrolled("t1", "rx2"), 10).contains("for another site"));
        assert!(refused(&registry, enrolled("t2", "rx1"), 1000).contains("expired"));
        registry.step(&enrolled("t1", "rx1"), Timestamp(10)).unwrap();
        assert!(refused(&registry, enrolled("t1", "rx1"), 20).contains("used"));
        assert!(refused(&registry, made("t1", 5), 20).contains("exists already"));
    }

    #[test]
    fn a_snapshot_gives_the_same_registry() {
        let mut registry = Registry::default();
        registry.step(&made("t1", 1000), Timestamp(0)).unwrap();
        registry.step(&enrolled("t1", "rx1"), Timestamp(10)).unwrap();
        let bytes = serde_json::to_vec(&registry).unwrap();
        let mut again: Registry = serde_json::from_slice(&bytes).unwrap();
        again.index();
        assert_eq!(serde_json::to_vec(&again).unwrap(), bytes);
        assert!(again.node(&SiteId::new("rx1").unwrap()).is_some());
    }
}
