//! S1: nothing is installed that was not covered by valid signatures of both roles at that moment.

use std::collections::BTreeMap;

use wardround_rollout_plans::model::{RolloutId, SiteId, Timestamp};
use wardround_signing::{
    Digest, document_bytes,
    tuf::{patch_path, rollout_path},
};

use super::{Invariant, Seen, Truth};

/// What a node had in force when an install began.
#[derive(Debug, Default)]
pub(super) struct S1 {
    /// By site: the publication by which its directive was judged, until when it counts, and the documents that it names.
    obeyed: BTreeMap<SiteId, (u64, Timestamp, BTreeMap<RolloutId, Digest>)>,
}

impl Invariant for S1 {
    fn name(&self) -> &'static str {
        "S1"
    }

    fn see(&mut self, seen: &Seen<'_>, truth: &Truth) -> Result<(), String> {
        match seen {
            Seen::Obeyed { site, directive, view } => {
                let named = directive.rollouts.iter().map(|r| (r.rollout.clone(), r.digest)).collect();
                self.obeyed.insert((*site).clone(), (*view, directive.expires_at, named));
                Ok(())
            }
            Seen::InstallBegins { device, rollout, patch, clock } => {
                let site = device.site();
                let Some((view, expires, named)) = self.obeyed.get(&site) else {
                    return Err(format!("an install began on {device}, whose node was never told anything"));
                };
                let publication = truth.publications.iter().find(|p| p.version == *view);
                let publication =
                    publication.ok_or_else(|| format!("{site} goes by metadata that nobody published"))?;
                let Some(digest) = named.get(rollout) else {
                    return Err(format!(
                        "an install began on {device} for rollout {rollout}, which nobody wants of {site}"
                    ));
                };
                let version = truth.versions.get(digest);
                let version = version.ok_or_else(|| format!("{device}: nobody drafted document {}", digest.short()))?;
                let number = u64::from(version.rollout.version);
                let path = rollout_path(rollout.as_str(), number).map_err(|e| e.to_string())?;
                if !publication.agrees(&path, *digest) {
                    return Err(format!(
                        "an install began on {device} though release and clinical do not both sign version {number} of \
                         rollout {rollout} in publication {view}"
                    ));
                }
                let member = version.members.iter().find(|m| m.device == **device);
                if member.is_none() {
                    return Err(format!("an install began on {device}, which is not in version {number} of {rollout}"));
                }
                let signed = truth.patch.as_ref().ok_or("there is no patch")?;
                let path = patch_path(signed.id.as_str()).map_err(|e| e.to_string())?;
                let own = Digest::of(&document_bytes(signed).map_err(|e| e.to_string())?);
                if *patch != own || !publication.agrees(&path, own) {
                    return Err(format!("an install began on {device} of a patch for which nobody signs"));
                }
                if clock > expires {
                    return Err(format!(
                        "an install began on {device} at {} by the site's clock, after its directive had expired at {}",
                        clock.0, expires.0
                    ));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
