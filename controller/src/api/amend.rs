//! Amendments: the plan of a rollout resolved anew, and the version that waits as people see it.

use std::sync::Arc;

use tonic::{Code, Status};
use wardround_proto::v1;
use wardround_rollout_plans::{
    engine::{AmendmentView, Event, Refusal},
    model::{DeviceId, Member, Patch, Rollout, RolloutId},
    resolve::{Amended, Former, amend},
};
use wardround_signing::{
    Digest, document_bytes, read_document,
    tuf::{RoleName, rollout_path},
};

use super::{Api, blocking, id, status};
use crate::{
    clock,
    core::{Change, CoreError, Facts},
    registry::RegistryEvent,
};

/// How often an amendment is made again because devices moved on meanwhile.
const TRIES_MAX: u32 = 5;
/// Left-out devices that one answer names.
const LEFT_OUT_MAX: usize = 20_000;

impl Api {
    /// Resolves the plan of a rollout against today's estate and keeps the result as the version that waits.
    pub(super) async fn amend_rollout(
        &self,
        by: &str,
        asked: &v1::AmendRolloutRequest,
    ) -> Result<(RolloutId, Vec<v1::LeftOut>), Status> {
        let rollout: RolloutId = id("id", &asked.id)?;
        let _turn = self.drafting.lock().await;
        for tries in 1.. {
            let (change, left_out) = self.draft_amendment(by, &rollout).await?;
            match self.core.submit(change).await {
                Ok(()) => return Ok((rollout, left_out)),
                // The turn of a device came in between.
                Err(CoreError::Refused(Refusal::Invalid { .. })) if tries < TRIES_MAX => {}
                Err(CoreError::Refused(Refusal::Invalid { why })) => {
                    let hint = "pause the rollout, amend it, and resume it when the amendment is signed";
                    return Err(status::make(Code::Aborted, "ROLLOUT_MOVED_ON", &why, hint));
                }
                Err(error) => return Err(status::core(&error)),
            }
        }
        Err(Status::internal("an amendment was neither made nor refused"))
    }

    async fn draft_amendment(&self, by: &str, id: &RolloutId) -> Result<(Change, Vec<v1::LeftOut>), Status> {
        let found = self.core.read(|facts| {
            let record = facts.registry.rollout(id).cloned()?;
            let patch = facts.registry.patch(&record.patch).map(|p| Arc::clone(&p.document.text))?;
            let reporters = facts.registry.reporters();
            Some((record, patch, facts.engine.progress(id), facts.engine.estate().clone(), reporters))
        });
        let (record, patch, progress, estate, reporters) =
            found.ok_or_else(|| status::not_found("rollout", id.as_str(), "see `wardround rollout list`"))?;
        let progress = progress.map_err(|refusal| status::refusal(&refusal))?;
        let former: Rollout = read_document(record.document.text.as_bytes()).map_err(Status::data_loss)?;
        let patch: Patch = read_document(patch.as_bytes()).map_err(Status::data_loss)?;
        let kin = self.core.read(|facts| facts.registry.kin(&facts.engine, &patch));
        let (digest, members) = (record.document.digest, Arc::clone(&record.members));
        let pinned = reporters.clone();
        let amended = blocking(move || {
            let former = Former {
                rollout: &former,
                digest,
                members: &members,
                touched: &progress.touched,
                passed: &progress.passed,
                reporters: &pinned,
            };
            amend(&former, &patch, &estate.knowing(kin.known()), clock::now())
        })
        .await?;
        let subject = format!("rollout {id}");
        let Amended { rollout, members, left_out } =
            amended.map_err(|e| status::precondition("CANNOT_AMEND", &subject, &e.why, &e.hint))?;
        let bytes = document_bytes(&rollout).map_err(|e| {
            status::make(Code::FailedPrecondition, "DOCUMENT", &e.to_string(), "make a new rollout for the new devices")
        })?;
        let digest = Digest::of(&bytes);
        let document = String::from_utf8(bytes).map_err(|e| Status::internal(e.to_string()))?;
        let (id, version) = (id.clone(), rollout.version);
        let drafted = RegistryEvent::AmendmentDrafted { id, version, document: document.into(), by: by.to_owned() };
        let event = Event::RolloutAmended { rollout: Box::new(rollout), digest, members, reporters };
        Ok((Change::from(drafted).and(event), left_out.into_iter().take(LEFT_OUT_MAX).map(left_out_of).collect()))
    }

    /// The members of the version that waits.
    pub(super) fn waiting_members(&self, id: &RolloutId, version: u32) -> Result<Arc<Vec<Member>>, Status> {
        let found = self.core.read(|facts| {
            let waiting = facts.registry.amendment(id).filter(|waiting| waiting.version == version);
            waiting.map(|waiting| Arc::clone(&waiting.members))
        });
        let hint = format!("see `wardround rollout status {id}`");
        found.ok_or_else(|| status::not_found("version of the rollout", &version.to_string(), &hint))
    }

    /// Adds what only the image repository knows: who has signed the version that waits.
    pub(super) fn sign_state(&self, rollout: &mut v1::Rollout) {
        let (Some(waiting), Some(view)) = (&mut rollout.amendment, self.images.view()) else { return };
        let Ok(path) = rollout_path(&rollout.id, u64::from(waiting.version)) else { return };
        let signed = |role: &RoleName| {
            let mut targets = view.images.targets(*role);
            targets.any(|(at, target)| {
                at == path && target.sha256().is_ok_and(|sha256| sha256.as_bytes()[..] == waiting.digest[..])
            })
        };
        let roles = [RoleName::Release, RoleName::Clinical].into_iter().filter(signed);
        waiting.signed_roles = roles.map(|role| role.word().to_owned()).collect();
    }
}

fn left_out_of((device, reason): (DeviceId, String)) -> v1::LeftOut {
    v1::LeftOut { device: device.to_string(), reason }
}

/// The version that waits, with its document where the whole is asked for.
pub(super) fn amendment(
    facts: &Facts,
    id: &RolloutId,
    view: Option<&AmendmentView>,
    whole: bool,
) -> Option<v1::Amendment> {
    let view = view?;
    let document = facts.registry.amendment(id).filter(|_| whole);
    let digest = |digest: &Digest| digest.as_bytes().to_vec();
    let wanted = view.approvals.iter().map(|(wave, roles)| v1::WantedApproval {
        wave: wave.to_string(),
        roles: roles.iter().map(|role| role.word().to_owned()).collect(),
    });
    Some(v1::Amendment {
        version: view.version,
        digest: digest(&view.digest),
        document: document.map(|waiting| waiting.document.as_bytes().to_vec()).unwrap_or_default(),
        signed: view.signed,
        signed_roles: Vec::new(),
        since_ms: view.since.0,
        problem: view.problem.clone(),
        approvals: wanted.collect(),
        added: view.added,
        removed: view.removed,
        moved: view.moved,
    })
}
