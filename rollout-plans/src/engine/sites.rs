//! All sites that the engine knows, found by id in a few steps however many they are.
//!
//! A site has one position for good, so that rollouts name it by a number. Snapshots have them by id, in order.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{link::narrow, site::Site};
use crate::model::SiteId;

/// The sites. None ever leaves.
#[derive(Debug, Clone, Default)]
pub(super) struct Sites {
    list: Vec<(SiteId, Site)>,
    by_id: HashMap<SiteId, u32>,
}

impl Sites {
    /// Its position, for good.
    pub(super) fn position(&self, id: &SiteId) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    pub(super) fn get(&self, id: &SiteId) -> Option<&Site> {
        Some(self.at(self.position(id)?))
    }

    pub(super) fn get_mut(&mut self, id: &SiteId) -> Option<&mut Site> {
        let at = self.position(id)?;
        Some(self.at_mut(at))
    }

    /// The site at a position that was given out here.
    pub(super) fn at(&self, at: u32) -> &Site {
        &self.list[at as usize].1
    }

    pub(super) fn at_mut(&mut self, at: u32) -> &mut Site {
        &mut self.list[at as usize].1
    }

    /// The position of a site, which comes in if it was not known.
    pub(super) fn enter(&mut self, id: &SiteId) -> u32 {
        if let Some(known) = self.position(id) {
            return known;
        }
        let new = narrow(self.list.len());
        self.by_id.insert(id.clone(), new);
        self.list.push((id.clone(), Site::default()));
        new
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&SiteId, &mut Site)> {
        self.list.iter_mut().map(|(id, site)| (&*id, site))
    }
}

impl Serialize for Sites {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut sorted: Vec<&(SiteId, Site)> = self.list.iter().collect();
        sorted.sort_unstable_by_key(|(id, _)| id);
        to.collect_map(sorted.into_iter().map(|(id, site)| (id, site)))
    }
}

impl<'de> Deserialize<'de> for Sites {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let list: Vec<(SiteId, Site)> = BTreeMap::deserialize(from)?.into_iter().collect();
        let by_id = list.iter().map(|(id, _)| id.clone()).zip(0..).collect();
        Ok(Self { list, by_id })
    }
}
