//! The estate as a resolution looks at it: every device once, with its site and the clinical systems that need it.

use std::collections::{HashMap, HashSet};

use wardround_signing::Digest;

use super::{lineage::Lineage, select::Chooser};
use crate::{
    estate::Estate,
    model::{Device, DeviceId, Patch, Plan, SiteInventory, VariantId},
};

/// Separates this use of SHA-256 from every other. Changing it would move devices between waves.
const PERCENT_DOMAIN: &[u8] = b"wardround/percent/v1\n";

/// A device's fixed place in the order in which devices are drawn: its place on the scale of 10 000 basis points, and the
/// hash that this comes from. It depends on the device id alone, so that whoever draws more only adds devices, whether by
/// share or by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    place: u32,
    hash: u64,
}

impl Rank {
    pub(super) fn of(id: &DeviceId) -> Self {
        let digest = Digest::of(&[PERCENT_DOMAIN, id.as_str().as_bytes()].concat());
        let first = digest.as_bytes().first_chunk::<8>().copied().unwrap_or_default();
        let hash = u64::from_be_bytes(first);
        // Below 10 000 by the remainder; the bias of 2^64 mod 10 000 is beyond notice.
        Self { place: u32::try_from(hash % 10_000).unwrap_or_default(), hash }
    }

    /// As two numbers of the same order.
    pub(super) fn pair(self) -> (u64, u64) {
        (u64::from(self.place), self.hash)
    }

    /// Basis points.
    pub(super) fn place(self) -> u32 {
        self.place
    }
}

/// A device that is eligible and has a variant of the patch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'e> {
    pub(super) site: &'e SiteInventory,
    pub(super) device: &'e Device,
    pub(super) variant: &'e VariantId,
    /// Which of [`Survey::kinds`].
    pub(super) kinds: usize,
}

/// All candidates, by site and as reported, and why the others are none.
#[derive(Debug)]
pub(super) struct Survey<'e> {
    pub(super) candidates: Vec<Candidate<'e>>,
    /// Sets of kinds of clinical systems, each sorted, without repeats and once; the first is empty.
    kinds: Vec<Vec<&'e str>>,
    pub(super) left_out: Vec<(DeviceId, String)>,
    /// Those of them that lack what the patch requires, as far as is known.
    pub(super) lacking: Vec<DeviceId>,
    /// A device that two variants fit, and their names.
    pub(super) ambiguous: Option<(&'e DeviceId, [&'e VariantId; 2])>,
}

impl<'e> Survey<'e> {
    pub(super) fn new(plan: &Plan, patch: &'e Patch, estate: &'e Estate) -> Self {
        let mut survey = Self {
            candidates: Vec::new(),
            kinds: vec![Vec::new()],
            left_out: Vec::new(),
            lacking: Vec::new(),
            ambiguous: None,
        };
        let mut known: HashMap<Vec<&str>, usize> = HashMap::from([(Vec::new(), 0)]);
        let eligible = Chooser::new(&plan.eligible);
        let lineage = Lineage::new(estate);
        // An inventory that names a device twice, alike or not, must not make two members of it: the first entry counts.
        let mut seen = HashSet::new();
        for site in estate.sites() {
            let mut of_device: HashMap<&DeviceId, Vec<&str>> = HashMap::new();
            for system in &site.systems {
                system.devices.iter().for_each(|id| of_device.entry(id).or_default().push(&system.kind));
            }
            for device in site.devices.iter().filter(|device| seen.insert(&device.id)) {
                let mut kinds = of_device.remove(&device.id).unwrap_or_default();
                kinds.sort_unstable();
                kinds.dedup();
                let all = &mut survey.kinds;
                let kinds = *known.entry(kinds).or_insert_with_key(|kinds| {
                    all.push(kinds.clone());
                    all.len() - 1
                });
                if let Err(why) = eligible.check(site, device, &survey.kinds[kinds]) {
                    survey.left_out.push((device.id.clone(), format!("not eligible: {why}")));
                } else if let Some(variant) = patch.variant_for(&device.platform) {
                    if let Some(other) = patch.also_fits(&device.platform) {
                        survey.ambiguous.get_or_insert((&device.id, [&variant.id, &other.id]));
                    }
                    if let Some(why) = lineage.left_out(device, patch) {
                        survey.left_out.push((device.id.clone(), why.words));
                        survey.lacking.extend(why.lacks.then(|| device.id.clone()));
                        continue;
                    }
                    survey.candidates.push(Candidate { site, device, variant: &variant.id, kinds });
                } else {
                    let why = format!("{} has no variant for {}", patch.id, device.platform);
                    survey.left_out.push((device.id.clone(), why));
                }
            }
        }
        survey
    }

    /// Kinds of the clinical systems that need it.
    pub(super) fn kinds_of(&self, candidate: &Candidate<'e>) -> &[&'e str] {
        &self.kinds[candidate.kinds]
    }

    /// Whether the criteria of a selector hold for it; who is then drawn is another question.
    pub(super) fn meets(&self, chooser: &Chooser<'_>, candidate: &Candidate<'e>) -> bool {
        chooser.check(candidate.site, candidate.device, self.kinds_of(candidate)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Yesterday's places: a signed rollout must resolve alike in every version.
    #[test]
    fn places_never_change() {
        let places = ["rx1/ct-01", "rx1/ct-02", "ry2/lab-01"].map(|id| Rank::of(&DeviceId::new(id).unwrap()).place());
        assert_eq!(places, [883, 8240, 8481]);
    }
}
