//! S1: nothing is installed that was not covered by valid signatures of both roles at that moment.

use std::collections::BTreeMap;

use wardround_rollout_plans::model::{DeviceId, RolloutId, SiteId, Timestamp};
use wardround_signing::{
    Digest, document_bytes,
    tuf::{patch_path, rollout_path},
};

use super::{Invariant, Seen, Truth};

/// The publication by which a directive was judged, until when it counts, and the documents that it names.
type Standing = (u64, Timestamp, BTreeMap<RolloutId, Digest>);

/// What a node had in force when an install began.
#[derive(Debug, Default)]
pub(super) struct S1 {
    /// By site; more than one where the power went while one was written down.
    obeyed: BTreeMap<SiteId, Vec<Standing>>,
}

impl Invariant for S1 {
    fn name(&self) -> &'static str {
        "S1"
    }

    fn see(&mut self, seen: &Seen<'_>, truth: &Truth) -> Result<(), String> {
        match seen {
            Seen::Obeyed { site, directive, view } | Seen::MaybeObeyed { site, directive, view } => {
                let named = directive.rollouts.iter().map(|r| (r.rollout.clone(), r.digest)).collect();
                let known = self.obeyed.entry((*site).clone()).or_default();
                if matches!(seen, Seen::Obeyed { .. }) {
                    known.clear();
                }
                known.push((*view, directive.expires_at, named));
                Ok(())
            }
            Seen::InstallBegins { device, rollout, patch, clock } => {
                let mut why = format!("an install began on {device}, whose node was never told anything");
                for standing in self.obeyed.get(&device.site()).into_iter().flatten() {
                    match covered(truth, standing, device, rollout, *patch, *clock) {
                        Ok(()) => return Ok(()),
                        Err(lacking) => why = lacking,
                    }
                }
                Err(why)
            }
            _ => Ok(()),
        }
    }
}

/// Is an install covered by what its node had in force?
fn covered(
    truth: &Truth,
    (view, expires, named): &Standing,
    device: &DeviceId,
    rollout: &RolloutId,
    patch: Digest,
    clock: Timestamp,
) -> Result<(), String> {
    let site = device.site();
    let publication = truth.publications.iter().find(|p| p.version == *view);
    let publication = publication.ok_or_else(|| format!("{site} goes by metadata that nobody published"))?;
    let digest = named.get(rollout);
    let digest = digest
        .ok_or_else(|| format!("an install began on {device} for rollout {rollout}, which nobody wants there"))?;
    let version = truth.versions.get(digest);
    let version = version.ok_or_else(|| format!("{device}: nobody drafted document {}", digest.short()))?;
    let number = u64::from(version.rollout.version);
    let path = rollout_path(rollout.as_str(), number).map_err(|e| e.to_string())?;
    if !publication.agrees(&path, *digest) {
        return Err(format!(
            "an install began on {device} though release and clinical do not both sign version {number} of rollout \
             {rollout} in publication {view}"
        ));
    }
    let Some(wave) = version.wave_of(device) else {
        return Err(format!("an install began on {device}, which is not in version {number} of {rollout}"));
    };
    // What people signed ends at a moment of their own where the plan says so.
    let plan = &version.rollout.plan;
    let begin_by = plan.deadline_of(&plan.waves[wave]).and_then(|deadline| deadline.begin_by());
    if let Some(by) = begin_by.filter(|by| clock >= *by) {
        return Err(format!(
            "an install began on {device} at {} by the site's clock, after the deadline of its wave at {}",
            clock.0, by.0
        ));
    }
    let signed = truth.patch.as_ref().ok_or("there is no patch")?;
    let path = patch_path(signed.id.as_str()).map_err(|e| e.to_string())?;
    let own = Digest::of(&document_bytes(signed).map_err(|e| e.to_string())?);
    if patch != own || !publication.agrees(&path, own) {
        return Err(format!("an install began on {device} of a patch for which nobody signs"));
    }
    if clock > *expires {
        return Err(format!(
            "an install began on {device} at {} by the site's clock, after its directive had expired at {}",
            clock.0, expires.0
        ));
    }
    Ok(())
}
