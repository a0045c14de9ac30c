//! Which devices a patch is not for any more, or not yet: one that replaces it is there, or one that it requires is not.

use std::collections::{BTreeSet, HashMap};

use crate::{
    estate::{Estate, KnownPatches},
    model::{Device, DeviceId, Patch, PatchId},
};

/// Who is left out, as far as is known. What nobody knows to be there counts as absent.
pub(super) struct Lineage<'e>(&'e KnownPatches);

/// Why a device is left out.
pub(super) struct Why {
    pub(super) words: String,
    /// Something is missing there.
    pub(super) lacks: bool,
}

impl<'e> Lineage<'e> {
    pub(super) fn new(estate: &'e Estate) -> Self {
        Self(estate.known())
    }

    pub(super) fn left_out(&self, device: &Device, patch: &Patch) -> Option<Why> {
        let has = |all: &HashMap<DeviceId, BTreeSet<PatchId>>, wanted: &PatchId| {
            all.get(&device.id).is_some_and(|there| there.contains(wanted))
        };
        let there = |wanted: &PatchId| device.patches.contains(wanted) || has(&self.0.brought, wanted);
        if let Some(newer) = self.0.superseding.iter().find(|newer| there(newer)) {
            return Some(Why { words: format!("{newer} is there, which replaces {}", patch.id), lacks: false });
        }
        let mut required = patch.requires.iter().map(|one| &one.patch);
        let lacks = required.find(|wanted| !there(wanted) && !has(&self.0.coming, wanted))?;
        let words = format!("{} requires {lacks}, and nothing says that it is there or on its way", patch.id);
        Some(Why { words, lacks: true })
    }
}
