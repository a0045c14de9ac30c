//! Who has signed for a document, and who is missing: out of what is published and what waits.

use std::{collections::BTreeMap, sync::Arc};

use tonic::Status;
use wardround_proto::v1;
use wardround_rollout_plans::model::{PatchId, RolloutId};
use wardround_signing::{
    Digest, Role, TrustAnchor,
    tuf::{KeyHolder, RoleName, patch_path, rollout_path},
};

use super::{Api, blocking, image, status};
use crate::{
    images::{ImageError, SIGNING, View, Waiting},
    registry::Document,
};

impl Api {
    /// People's keys and roles.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` with the way out before the root ceremony: nobody has said yet whose signatures count.
    pub(super) fn people(&self) -> Result<TrustAnchor, Status> {
        Ok(self.view()?.images.people().clone())
    }

    /// The published repository, or the status that says that there is none.
    pub(super) fn view(&self) -> Result<Arc<View>, Status> {
        self.images.require().map_err(|error: ImageError| image::image(&error))
    }

    /// How far each role has come with a patch. Nothing before the root ceremony.
    pub(super) async fn patch_signatures(
        &self,
        id: &PatchId,
        document: &Document,
    ) -> Result<Vec<v1::DocumentSignature>, Status> {
        match patch_path(id.as_str()) {
            Ok(path) => self.signatures(path, document).await,
            // It can't be signed for at all.
            Err(_) => Ok(Vec::new()),
        }
    }

    /// As of a patch.
    pub(super) async fn rollout_signatures(
        &self,
        id: &RolloutId,
        document: &Document,
    ) -> Result<Vec<v1::DocumentSignature>, Status> {
        let version = self.core.read(|facts| facts.registry.version(id));
        match rollout_path(id.as_str(), u64::from(version)) {
            Ok(path) => self.signatures(path, document).await,
            Err(_) => Ok(Vec::new()),
        }
    }

    async fn signatures(&self, path: String, document: &Document) -> Result<Vec<v1::DocumentSignature>, Status> {
        let Some(view) = self.images.view() else { return Ok(Vec::new()) };
        let images = Arc::clone(&self.images);
        let waiting = blocking(move || images.waiting()).await?.map_err(|e| image::image(&e))?;
        let one = |(name, role)| signature(&view, &waiting, &path, document.digest, (name, role), &document.signed);
        Ok(SIGNING.into_iter().map(one).collect())
    }
}

fn signature(
    view: &View,
    waiting: &[Waiting],
    path: &str,
    digest: Digest,
    (name, role): (RoleName, Role),
    signed: &BTreeMap<Role, Vec<String>>,
) -> v1::DocumentSignature {
    let names = |holders: &[KeyHolder]| holders.iter().map(|holder| holder.holder.clone()).collect();
    let none = v1::DocumentSignature { role: role.word().to_owned(), ..Default::default() };
    if let Some(by) = signed.get(&role) {
        // An amendment came into force without a word of who had signed it: the listing says so.
        let signed_by = if by.is_empty() { names(&view.images.signers(name)) } else { by.clone() };
        return v1::DocumentSignature { counts: true, signed_by, ..none };
    }
    let is_it = |waiting: &&Waiting| {
        let added = waiting.update.changes.added.get(path);
        waiting.update.role == name && added.is_some_and(|target| target.sha256().is_ok_and(|sha256| sha256 == digest))
    };
    if let Some(Waiting { update, waiting }) = waiting.iter().find(is_it) {
        return v1::DocumentSignature {
            signed_by: names(&update.signers),
            may_sign: names(&update.unsigned),
            missing: update.missing,
            waiting: waiting.clone(),
            ..none
        };
    }
    let holders = view.images.people().keys().iter().filter(|person| person.roles.contains(&role));
    let may_sign = holders.map(|person| person.holder.clone()).collect();
    v1::DocumentSignature { may_sign, missing: view.images.threshold(name), ..none }
}

/// Of a document that must count before something is done with it.
pub(super) fn unsigned(what: &str, signatures: &[v1::DocumentSignature], command: &str) -> Status {
    let missing: Vec<String> = signatures.iter().filter(|one| !one.counts).map(|one| one.role.clone()).collect();
    let roles = if missing.is_empty() { "release and clinical".to_owned() } else { missing.join(" and ") };
    let text = format!("{what} is not signed for by {roles}");
    let who: Vec<String> = signatures.iter().filter(|one| !one.counts).flat_map(|one| one.may_sign.clone()).collect();
    let who = if who.is_empty() { String::new() } else { format!(" ({})", who.join(", ")) };
    let hint = format!("have the missing role{who} sign it with `wardround {command}`");
    status::precondition("UNSIGNED", what, &text, &hint)
}
