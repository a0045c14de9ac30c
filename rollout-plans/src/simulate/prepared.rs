//! A rollout made ready for many runs: the engine's state as it stands signed, and the tables by which the modelled world
//! goes. Made once; every seed begins with a copy of the state.

use std::collections::{BTreeMap, HashMap};

use wardround_signing::{Digest, SecretKey, Signer as _};

use super::model::Model;
use crate::{
    engine::{Event, State},
    estate::Estate,
    model::{
        Device, DeviceId, Labels, Member, Patch, Plan, RebootNeed, ReportBody, Reporter, Rollout, RolloutId, SiteHours,
        SiteId, SiteInventory, SystemId, Timestamp, Window,
    },
    resolve::{Resolution, document},
};

/// The modelled nodes sign with one key, which is no secret: nothing outside a simulation knows it.
const NODE_SEED: &[u8] = b"wardround/simulate/node/v1";

/// A rollout made ready.
pub struct Prepared {
    pub(super) base: State,
    pub(super) id: RolloutId,
    pub(super) plan: Plan,
    pub(super) digest: Digest,
    /// When the first order is given.
    pub(super) start: Timestamp,
    pub(super) key: SecretKey,
    pub(super) members: Vec<Target>,
    pub(super) sites: Vec<Place>,
    pub(super) site_at: HashMap<SiteId, u32>,
    pub(super) regions: Vec<String>,
    pub(super) systems: Vec<System>,
    /// The systems that need each member, one after the other.
    pub(super) needed_by: Lists,
    /// The members that each system needs.
    pub(super) needs: Lists,
    /// The members of each site.
    pub(super) at_site: Lists,
    /// The systems of each site that need a member.
    pub(super) systems_at: Lists,
    pub(super) variants: Vec<Payload>,
    /// Sites by what they say of their hours; windows are reckoned once for all that say the same.
    pub(super) hours: Vec<SiteHours>,
    /// Of devices that have their own.
    pub(super) windows: BTreeMap<u32, Vec<Window>>,
}

/// A member of the rollout.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) device: DeviceId,
    /// What chance goes by: the same device has the same luck in every plan.
    pub(super) luck: u64,
    pub(super) site: u32,
    pub(super) wave: u16,
    pub(super) variant: u16,
    /// The bad patch may break it.
    pub(super) aimed_at: bool,
}

/// A site.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) id: SiteId,
    pub(super) luck: u64,
    pub(super) region: u32,
    pub(super) hours: u32,
    /// Its systems that need no member, and what chance goes by for each.
    pub(super) bystanders: Vec<(SystemId, u64)>,
}

/// A clinical system.
#[derive(Debug)]
pub(super) struct System {
    pub(super) id: SystemId,
    pub(super) luck: u64,
    pub(super) critical: bool,
    pub(super) site: u32,
}

/// A variant's payload.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) bytes: u64,
    pub(super) reboots: bool,
}

/// Lists of positions, one after the other.
#[derive(Debug, Default)]
pub(super) struct Lists {
    ends: Vec<u32>,
    items: Vec<u32>,
}

impl Lists {
    fn of(pairs: &mut [(u32, u32)], count: usize) -> Self {
        pairs.sort_unstable();
        let mut lists = Self { ends: Vec::with_capacity(count), items: pairs.iter().map(|(_, item)| *item).collect() };
        let mut at = 0;
        for owner in 0..count {
            while pairs.get(at).is_some_and(|(of, _)| *of as usize == owner) {
                at += 1;
            }
            lists.ends.push(narrow(at));
        }
        lists
    }

    pub(super) fn of_one(&self, owner: u32) -> &[u32] {
        let begin = owner.checked_sub(1).map_or(0, |before| self.ends[before as usize]);
        &self.items[begin as usize..self.ends[owner as usize] as usize]
    }
}

pub(super) fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// FNV-1a (Fowler, Noll, Vo), 64 bits: short, and the same everywhere.
fn luck(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

impl Prepared {
    /// Makes a resolved plan ready to begin at `start`.
    ///
    /// # Errors
    /// A sentence when the engine refuses the rollout.
    pub fn new(
        plan: &Plan,
        patch: &Patch,
        resolution: &Resolution,
        estate: &Estate,
        model: &Model,
        start: Timestamp,
    ) -> Result<Self, String> {
        let id = RolloutId::new("simulated").map_err(|e| e.to_string())?;
        let key = SecretKey::from_seed(Digest::of(NODE_SEED).as_bytes());
        let members = resolution.members();
        let mut sites: Vec<SiteId> = members.iter().map(|m| m.device.site()).collect();
        sites.sort();
        sites.dedup();
        let nodes: Vec<Reporter> =
            sites.iter().map(|site| Reporter { site: site.clone(), key: key.public() }).collect();
        let rollout = document(id.clone(), plan, patch, Digest::of(b"modelled patch"), resolution, &nodes, start);
        let digest = Digest::of(&serde_json::to_vec(&rollout).map_err(|e| e.to_string())?);
        let base = signed(&rollout, digest, &members, nodes, estate, start)?;
        let site_at: HashMap<SiteId, u32> = sites.into_iter().zip(0..).collect();
        let mut prepared = Self {
            base,
            id,
            plan: plan.clone(),
            digest,
            start,
            key,
            members: Vec::with_capacity(members.len()),
            sites: Vec::new(),
            site_at,
            regions: Vec::new(),
            systems: Vec::new(),
            needed_by: Lists::default(),
            needs: Lists::default(),
            at_site: Lists::default(),
            systems_at: Lists::default(),
            variants: variants(patch, model),
            hours: Vec::new(),
            windows: BTreeMap::new(),
        };
        let at = prepared.take_members(patch, &members);
        prepared.take_sites(estate, &at, model)?;
        Ok(prepared)
    }

    /// Number of devices.
    #[must_use]
    pub fn devices(&self) -> usize {
        self.members.len()
    }

    /// Number of sites with devices in the rollout.
    #[must_use]
    pub fn sites(&self) -> usize {
        self.sites.len()
    }

    /// Gives back where each device stands.
    fn take_members(&mut self, patch: &Patch, members: &[Member]) -> HashMap<DeviceId, u32> {
        let waves: HashMap<_, u16> = self.plan.waves.iter().map(|w| &w.name).zip(0..).collect();
        let variants: HashMap<_, u16> = patch.variants.iter().map(|v| &v.id).zip(0..).collect();
        let mut at_site = Vec::with_capacity(members.len());
        for (d, member) in (0..).zip(members) {
            let site = self.site_at.get(&member.device.site()).copied().unwrap_or_default();
            at_site.push((site, d));
            self.members.push(Target {
                device: member.device.clone(),
                luck: luck(member.device.as_str()),
                site,
                wave: waves.get(&member.wave).copied().unwrap_or_default(),
                variant: variants.get(&member.variant).copied().unwrap_or_default(),
                aimed_at: false,
            });
        }
        self.at_site = Lists::of(&mut at_site, self.site_at.len());
        members.iter().map(|m| m.device.clone()).zip(0..).collect()
    }

    fn take_sites(&mut self, estate: &Estate, at: &HashMap<DeviceId, u32>, model: &Model) -> Result<(), String> {
        let mut sites: Vec<(SiteId, u32)> = self.site_at.iter().map(|(id, at)| (id.clone(), *at)).collect();
        sites.sort_unstable_by_key(|(_, at)| *at);
        let (mut regions, mut pairs, mut systems_at) = (HashMap::new(), Vec::new(), Vec::new());
        for (id, _) in sites {
            let site = estate.site(&id).ok_or_else(|| format!("the estate has no site {id}"))?;
            let region = *regions.entry(site.region.clone()).or_insert_with(|| {
                self.regions.push(site.region.clone());
                narrow(self.regions.len() - 1)
            });
            let hours = self.hours.iter().position(|h| *h == site.hours).unwrap_or_else(|| {
                self.hours.push(site.hours.clone());
                self.hours.len() - 1
            });
            let luck_here = luck(id.as_str());
            let mut bystanders = Vec::new();
            for device in site.devices.iter().filter(|d| !d.windows.is_empty()) {
                if let Some(d) = at.get(&device.id) {
                    self.windows.insert(*d, device.windows.clone());
                }
            }
            // What no probe watches tells nothing.
            for system in site.systems.iter().filter(|s| s.probes != Some(0)) {
                let here: Vec<u32> = system.devices.iter().filter_map(|d| at.get(d).copied()).collect();
                if here.is_empty() {
                    bystanders.push((system.id.clone(), luck(system.id.as_str())));
                    continue;
                }
                systems_at.push((narrow(self.sites.len()), narrow(self.systems.len())));
                pairs.extend(here.iter().map(|d| (narrow(self.systems.len()), *d)));
                let (id, luck) = (system.id.clone(), luck(system.id.as_str()));
                self.systems.push(System { id, luck, critical: system.critical, site: narrow(self.sites.len()) });
            }
            aim(&mut self.members, site, at, model);
            self.sites.push(Place { id, luck: luck_here, region, hours: narrow(hours), bystanders });
        }
        self.systems_at = Lists::of(&mut systems_at, self.sites.len());
        let mut turned: Vec<(u32, u32)> = pairs.iter().map(|(system, d)| (*d, *system)).collect();
        self.needs = Lists::of(&mut pairs, self.systems.len());
        self.needed_by = Lists::of(&mut turned, self.members.len());
        Ok(())
    }
}

/// Which devices of a site the bad patch may break.
fn aim(members: &mut [Target], site: &SiteInventory, at: &HashMap<DeviceId, u32>, model: &Model) {
    let Some(bad) = &model.bad_patch else { return };
    for device in &site.devices {
        let needed = || site.systems.iter().any(|s| s.kind == bad.system && s.devices.contains(&device.id));
        let fits = (bad.platform.is_empty() || device.platform.product() == bad.platform)
            && (bad.device_model.is_empty() || device.model == bad.device_model)
            && (bad.system.is_empty() || needed());
        if let Some(d) = at.get(&device.id).filter(|_| fits) {
            members[*d as usize].aimed_at = true;
        }
    }
}

fn variants(patch: &Patch, model: &Model) -> Vec<Payload> {
    let payload = |v: &crate::model::Variant| Payload {
        bytes: if v.payload.length == 0 { model.network.payload_bytes } else { v.payload.length },
        reboots: v.reboot == RebootNeed::Always,
    };
    patch.variants.iter().map(payload).collect()
}

/// The engine's state in which the rollout is signed and every site has said what it has.
fn signed(
    rollout: &Rollout,
    digest: Digest,
    members: &[Member],
    nodes: Vec<Reporter>,
    estate: &Estate,
    start: Timestamp,
) -> Result<State, String> {
    let mut state = State::default();
    for node in &nodes {
        let site = node.site.clone();
        step(&mut state, Event::NodeEnrolled { site: site.clone(), node_key: node.key.id() }, start)?;
        if let Some(inventory) = estate.site(&site).map(lean) {
            let body = ReportBody::Inventory { inventory };
            let event = Event::Report { site, seq: 1, at: start, body, node_key: None, envelope: None };
            step(&mut state, event, start)?;
        }
    }
    let (id, rollout, members) = (rollout.id.clone(), Box::new(rollout.clone()), members.to_vec());
    step(&mut state, Event::RolloutCreated { rollout, digest, members, reporters: nodes }, start)?;
    step(&mut state, Event::RolloutSigned { rollout: id }, start)?;
    Ok(state)
}

fn step(state: &mut State, event: Event, now: Timestamp) -> Result<(), String> {
    state.step(&event, now).map(drop).map_err(|refusal| refusal.to_string())
}

/// What the engine goes by of an inventory: hours, groups, systems, and the devices that have a group or windows of their
/// own. The rest of a national estate would only be carried about.
fn lean(site: &SiteInventory) -> SiteInventory {
    let kept = site.devices.iter().filter(|d| d.group.is_some() || !d.windows.is_empty());
    let devices = kept.map(|d| Device { model: String::new(), labels: Labels::new(), ..d.clone() }).collect();
    SiteInventory {
        site: site.site.clone(),
        display_name: String::new(),
        region: site.region.clone(),
        site_type: String::new(),
        labels: Labels::new(),
        groups: site.groups.clone(),
        hours: site.hours.clone(),
        devices,
        systems: site.systems.clone(),
    }
}
