//! What the published repository says of the versions of rollouts that wait.

use wardround_rollout_plans::engine::Event;
use wardround_signing::tuf::{Images, rollout_path};

use crate::{
    core::{Change, Facts},
    registry::Amendment,
};

/// Tells the engine which waiting versions both roles have signed, or do so no longer.
pub(super) fn changes(facts: &Facts, images: &Images) -> Vec<Change> {
    let all = facts.registry.amendments().filter_map(|(id, amendment): (_, &Amendment)| {
        let path = rollout_path(id.as_str(), u64::from(amendment.version)).ok()?;
        let signed = images.agreed(&path).is_ok_and(|agreed| agreed.sha256 == amendment.digest);
        let (rollout, digest) = (id.clone(), amendment.digest);
        (facts.engine.amendment_is_signed(id)? != signed)
            .then(|| Event::AmendmentSigned { rollout, digest, signed }.into())
    });
    all.collect()
}
