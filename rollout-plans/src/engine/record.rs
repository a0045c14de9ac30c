//! One rollout as the engine holds it: the signed document, its waves, its deployments, and their indexes.

use std::{
    borrow::Borrow,
    collections::{BTreeSet, HashMap, VecDeque},
    hash::{Hash, Hasher},
    ops::Range,
    sync::OnceLock,
};

use serde::{Deserialize, Serialize};
use wardround_signing::{
    Digest, Envelope,
    merkle::{Crown, InclusionProof, Tree},
};

use super::{
    RolloutState, WaveState,
    amend::Next,
    approvals::Approvals,
    control::Control,
    deployment::Back,
    deployment::Deployment,
    failures::Failed,
    gate::Counts,
    holds::Held,
    pending::Pending,
    proofs::{Proof, Shown},
    regions::Region,
};
use crate::model::{
    DeploymentState, DeviceId, GateDecision, Member, Mode, Passage, Reporter, Reporters, RollBackTarget, Rollout,
    SiteId, SiteInventory, SystemId, Timestamp, VariantId, WavePlan,
};

/// A rollout.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// The version that is in force.
    pub(super) document: Rollout,
    pub(super) digest: Digest,
    /// The version that waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<Box<Next>>,
    pub(super) state: RolloutState,
    pub(super) since: Timestamp,
    pub(super) reason: String,
    pub(super) created_at: Timestamp,
    pub(super) started_at: Option<Timestamp>,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) order_counter: u64,
    /// Payload digests of accepted halts, oldest first: a halt needs no fresh counter, so its replay is told by this.
    pub(super) halts_seen: VecDeque<Digest>,
    pub(super) orders: Orders,
    /// Orders that wait for a second person, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) pending: Vec<Pending>,
    /// Accepted since it last ran, oldest first: what a resume would lift, and so must name.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub(super) halts_in_force: VecDeque<InForce>,
    pub(super) halt: Option<Halt>,
    /// In order of their counters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) holds: Vec<Held>,
    pub(super) waves: Vec<Wave>,
    /// The wave that runs or ran last; absent before the start.
    pub(super) current: Option<u16>,
    /// Clinical systems that were blamed on this rollout.
    pub(super) blamed: BTreeSet<SystemId>,
    /// Sites (by position) of whose present silence a person has heard.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) silent_told: BTreeSet<u32>,
    /// Reports that take others back.
    #[serde(default, skip_serializing_if = "Failed::is_empty")]
    pub(super) failed: Failed,
    pub(super) sites: Vec<SiteId>,
    pub(super) variants: Vec<VariantId>,
    pub(super) deployments: Vec<Deployment>,
    #[serde(skip)]
    pub(super) index: Index,
    #[serde(skip)]
    trees: OnceLock<Vec<Crown>>,
    #[serde(skip)]
    pinned: OnceLock<Vec<Tree>>,
    /// What shows each wave whose next has begun.
    #[serde(skip)]
    pub(super) passages: OnceLock<Box<[OnceLock<Option<Passage>>]>>,
}

/// Signed orders that nodes must see.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Orders {
    pub(super) start: Option<Envelope>,
    /// The latest halt or resume.
    pub(super) stop_or_go: Option<Envelope>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cancel: Option<Envelope>,
    /// Of holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) releases: Vec<Envelope>,
    /// The latest for each target.
    pub(super) roll_backs: Vec<(RollBackTarget, Envelope)>,
}

/// The latest halt.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Halt {
    /// Counter of the order; absent when the engine halted by itself.
    pub(super) counter: Option<u64>,
    /// Sites (by position) that have confirmed it.
    pub(super) confirmed: BTreeSet<u32>,
}

/// A halt that no resume has lifted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct InForce {
    /// SHA-256 of the order's payload.
    pub(super) order: Digest,
    pub(super) counter: u64,
    pub(super) by: String,
    pub(super) reason: String,
    pub(super) at: Timestamp,
}

/// A wave.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Wave {
    pub(super) state: WaveState,
    pub(super) since: Timestamp,
    /// The gate's last sentence.
    pub(super) gate: String,
    /// The gate's last answer, with what it went by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) decision: Option<Box<GateDecision>>,
    /// Who is watched beside it; absent where the plan asks for no test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) control: Option<Box<Control>>,
    /// Since when the gate has had too little evidence.
    pub(super) short_since: Option<Timestamp>,
    /// When the last deployment of it began to soak.
    pub(super) soak_began: Option<Timestamp>,
    /// When it began; absent in snapshots of before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) began: Option<Timestamp>,
    /// Its deadline is over, and what that means was done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) late_told: bool,
    /// For the beginning of this wave.
    pub(super) approvals: Approvals,
    /// The nodes that the document pins for it, in the order of their sites.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) reporters: Vec<Reporter>,
    /// Devices that succeeded or had nothing to do, in the signed words of pinned nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) proofs: Vec<Proof>,
}

/// Everything that follows from the deployments: rebuilt after loading, never written.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    by_site: HashMap<Name, u32>,
    pub(super) places: Vec<Place>,
    pub(super) waves: Vec<WaveIndex>,
    pub(super) by_region: HashMap<String, u32>,
    pub(super) regions: Vec<Region>,
    /// The first site of each region that could take its next device but for the total limits, as (device, site): lowest
    /// member first.
    pub(super) ready: BTreeSet<(u32, u32)>,
    /// Its entry in the state's ends of patience: the deadline of the wave under way.
    pub(super) deadline: Option<Timestamp>,
}

/// A site's id that is found by its text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name(SiteId);

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        self.0.as_str()
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, to: &mut H) {
        self.0.as_str().hash(to);
    }
}

/// One site's deployments (by position).
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    pub(super) members: Vec<u32>,
    /// A few bits of each member's name, by which it is found.
    tags: Vec<u32>,
    /// Its position among all sites.
    pub(super) known: u32,
    pub(super) region: u32,
    pub(super) pending: BTreeSet<u32>,
    pub(super) hand: BTreeSet<u32>,
    /// Rollbacks whose turn has not come.
    pub(super) back_waiting: BTreeSet<u32>,
    /// Its entry in its region's queue.
    pub(super) ready: Option<u32>,
    /// Its entry in the state's turns of windows.
    pub(super) turn: Option<Timestamp>,
    /// Its entry in the state's ends of patience.
    pub(super) patience: Option<Timestamp>,
}

/// One wave's deployments.
#[derive(Debug, Clone, Default)]
pub(super) struct WaveIndex {
    pub(super) range: Range<u32>,
    pub(super) counts: Counts,
    /// Rollbacks that are wanted and not done.
    pub(super) wanting: u64,
    /// How often a member was lost, or was so no longer.
    pub(super) losses: u64,
    /// What keeps its reports of successes as they are.
    pub(super) shown: Option<Shown>,
    pub(super) sites: Vec<u32>,
}

impl RolloutState {
    /// True once nothing new can begin any more.
    #[must_use]
    pub fn is_ended(self) -> bool {
        matches!(self, Self::RolledBack | Self::Completed | Self::Cancelled)
    }

    /// What nodes may begin in this state. After the end nothing new may, while rollbacks still go on.
    #[must_use]
    pub fn mode(self) -> Mode {
        match self {
            Self::Running => Mode::Proceed,
            Self::Paused => Mode::Paused,
            _ => Mode::Halted,
        }
    }

    /// The word in API, CLI and files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Signed => "signed",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Halted => "halted",
            Self::RollingBack => "rolling_back",
            Self::RolledBack => "rolled_back",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl WaveState {
    /// The word in API, CLI and files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Running => "running",
            Self::Soaking => "soaking",
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::RollingBack => "rolling_back",
            Self::RolledBack => "rolled_back",
        }
    }

    /// True while its gate has not decided.
    pub(super) fn is_under_way(self) -> bool {
        matches!(self, Self::Running | Self::Soaking)
    }

    /// True when it has failed, whatever has been taken back since: nothing may follow it.
    pub(super) fn is_lost(self) -> bool {
        matches!(self, Self::Failed | Self::RollingBack | Self::RolledBack)
    }
}

impl Record {
    /// A new draft. The members have been checked against the document.
    pub(super) fn new(
        document: &Rollout,
        digest: Digest,
        members: &[Member],
        reporters: &[Reporter],
        now: Timestamp,
    ) -> Self {
        let wave = || Wave {
            state: WaveState::Pending,
            since: now,
            gate: String::new(),
            decision: None,
            control: None,
            short_since: None,
            soak_began: None,
            began: None,
            late_told: false,
            approvals: Approvals::default(),
            reporters: Vec::new(),
            proofs: Vec::new(),
        };
        let mut record = Self {
            digest,
            next: None,
            state: RolloutState::Draft,
            since: now,
            reason: String::new(),
            created_at: now,
            started_at: None,
            ended_at: None,
            order_counter: 0,
            halts_seen: VecDeque::new(),
            orders: Orders::default(),
            pending: Vec::new(),
            halts_in_force: VecDeque::new(),
            halt: None,
            holds: Vec::new(),
            waves: document.waves.iter().map(|_| wave()).collect(),
            current: None,
            blamed: BTreeSet::new(),
            silent_told: BTreeSet::new(),
            failed: Failed::default(),
            sites: Vec::new(),
            variants: Vec::new(),
            deployments: Vec::with_capacity(members.len()),
            index: Index::default(),
            trees: OnceLock::new(),
            pinned: OnceLock::new(),
            passages: OnceLock::new(),
            document: document.clone(),
        };
        record.take_members(members, now);
        for w in 0..record.waves.len() {
            record.pin(w, members, reporters);
        }
        record
    }

    /// New deployments of these members. Tables of sites and variants only grow: positions in them stay what they were.
    fn take_members(&mut self, members: &[Member], now: Timestamp) {
        let mut sites: HashMap<SiteId, u32> = self.sites.iter().cloned().zip(0..).collect();
        let mut variants: HashMap<VariantId, u16> = self.variants.iter().cloned().zip(0..).collect();
        let mut wave = 0;
        for member in members {
            while self.document.waves[usize::from(wave)].name != member.wave {
                wave += 1;
            }
            let site_id = member.device.site();
            let site = *sites.entry(site_id).or_insert_with_key(|id| {
                self.sites.push(id.clone());
                position(self.sites.len() - 1)
            });
            let variant = *variants.entry(member.variant.clone()).or_insert_with(|| {
                self.variants.push(member.variant.clone());
                u16::try_from(self.variants.len() - 1).unwrap_or(u16::MAX)
            });
            self.deployments.push(Deployment {
                device: member.device.clone(),
                site,
                wave,
                variant,
                state: DeploymentState::Pending,
                since: now,
                attempt: 0,
                back: Back::No,
                note: None,
            });
        }
    }

    /// The members of another version: what was there before keeps all but its place.
    pub(super) fn retake_members(&mut self, members: &[Member], now: Timestamp) {
        let before = std::mem::take(&mut self.deployments);
        let mut before: HashMap<DeviceId, Deployment> = before.into_iter().map(|d| (d.device.clone(), d)).collect();
        self.take_members(members, now);
        for deployment in &mut self.deployments {
            if let Some(old) = before.remove(&deployment.device) {
                let Deployment { site, wave, variant, .. } = *deployment;
                *deployment = Deployment { site, wave, variant, ..old };
            }
        }
        self.trees = OnceLock::new();
        self.pinned = OnceLock::new();
        self.passages = OnceLock::new();
    }

    pub(super) fn is_active(&self) -> bool {
        self.started_at.is_some() && !self.state.is_ended()
    }

    pub(super) fn wave_plan(&self, wave: u16) -> &WavePlan {
        &self.document.plan.waves[usize::from(wave)]
    }

    pub(super) fn member(&self, d: u32) -> Member {
        let deployment = &self.deployments[d as usize];
        Member {
            wave: self.document.waves[usize::from(deployment.wave)].name.clone(),
            device: deployment.device.clone(),
            variant: self.variants[usize::from(deployment.variant)].clone(),
        }
    }

    /// Trees over the waves' members, built when first asked for: they are large, and most rollouts of a snapshot have
    /// ended.
    fn trees(&self) -> &[Crown] {
        self.trees.get_or_init(|| {
            let leaves = |range: &Range<u32>| Crown::new(range.clone().map(|d| self.member(d).leaf()));
            self.index.waves.iter().map(|wave| leaves(&wave.range)).collect()
        })
    }

    /// That a deployment's device is in its wave.
    pub(super) fn prove(&self, d: u32) -> Option<InclusionProof> {
        let wave = self.deployments[d as usize].wave;
        let start = self.index.waves[usize::from(wave)].range.start;
        let leaf = |at: u64| self.member(start + u32::try_from(at).unwrap_or(0)).leaf();
        self.trees().get(usize::from(wave))?.prove(u64::from(d - start), leaf)
    }

    /// Takes the nodes of a wave's sites, of all that are enrolled.
    pub(super) fn pin(&mut self, w: usize, members: &[Member], reporters: &[Reporter]) {
        let name = &self.document.waves[w].name;
        let of_wave = members.iter().filter(|m| m.wave == *name);
        self.waves[w].reporters = Reporters::among(reporters, of_wave);
    }

    /// Trees over the nodes that each wave pins, built when first asked for.
    pub(super) fn pinned(&self) -> &[Tree] {
        self.pinned.get_or_init(|| self.waves.iter().map(|w| Reporters::tree(&w.reporters)).collect())
    }

    /// Device ids as inventories have them, so that both are one in memory.
    pub(super) fn share_names(&mut self, at: u32, inventory: &SiteInventory) {
        for device in &inventory.devices {
            if let Some(d) = self.find_at(at, &device.id) {
                self.deployments[d as usize].device = device.id.clone();
            }
        }
    }

    /// The deployment of a device.
    pub(super) fn find(&self, device: &DeviceId) -> Option<u32> {
        self.find_at(self.site_at(device.site_text())?, device)
    }

    /// The position of a site.
    pub(super) fn site_at(&self, site: &str) -> Option<u32> {
        self.index.by_site.get(site).copied()
    }

    /// The same at a site by its position.
    pub(super) fn find_at(&self, at: u32, device: &DeviceId) -> Option<u32> {
        let (place, tag) = (&self.index.places[at as usize], tag(device));
        let alike = place.tags.iter().zip(&place.members).filter(|(other, _)| **other == tag);
        alike.map(|(_, d)| *d).find(|d| self.deployments[*d as usize].device == *device)
    }

    /// Deployments of a wave.
    pub(super) fn wave_range(&self, wave: u16) -> Range<u32> {
        self.index.waves[usize::from(wave)].range.clone()
    }

    pub(super) fn wave_position(&self, name: &crate::model::WaveName) -> Option<u16> {
        let at = self.document.waves.iter().position(|w| w.name == *name)?;
        u16::try_from(at).ok()
    }

    pub(super) fn in_hand(&self) -> u64 {
        self.index.waves.iter().map(|w| w.counts.in_hand()).sum()
    }

    /// Devices whose rollback failed.
    pub(super) fn stuck(&self) -> u64 {
        self.index.waves.iter().map(|w| w.counts.of(DeploymentState::RollbackFailed)).sum()
    }

    pub(super) fn wanting(&self) -> u64 {
        self.index.waves.iter().map(|w| w.wanting).sum()
    }

    /// Builds the index from nothing but the deployments; links of single deployments are made by the caller, since
    /// they reach into the sites too.
    pub(super) fn frame_index(&mut self) {
        let mut index = Index { places: vec![Place::default(); self.sites.len()], ..Index::default() };
        index.waves = vec![WaveIndex::default(); self.waves.len()];
        for (site, id) in self.sites.iter().enumerate() {
            index.by_site.insert(Name(id.clone()), position(site));
        }
        for (d, deployment) in self.deployments.iter().enumerate() {
            let (d, site) = (position(d), deployment.site);
            let place = &mut index.places[site as usize];
            place.members.push(d);
            place.tags.push(tag(&deployment.device));
            let wave = &mut index.waves[usize::from(deployment.wave)];
            if wave.range.is_empty() {
                wave.range = d..d + 1;
            } else {
                wave.range.end = d + 1;
            }
        }
        for (site, place) in index.places.iter().enumerate() {
            let waves: BTreeSet<u16> = place.members.iter().map(|d| self.deployments[*d as usize].wave).collect();
            for wave in waves {
                index.waves[usize::from(wave)].sites.push(position(site));
            }
        }
        self.index = index;
    }
}

/// Most members of a rollout, so that positions fit 32 bits with room: seven hundred times the estate designed for.
pub(super) const MEMBERS_MAX: usize = 1 << 30;

/// Most variants of a rollout, so that their positions fit 16 bits.
pub(super) const VARIANTS_MAX: usize = 1 << 16;

/// Bits that tell the devices of a site apart, mostly (FNV-1a). A site that makes its names alike slows its own look-ups.
fn tag(device: &DeviceId) -> u32 {
    device.name().bytes().fold(0x811c_9dc5, |tag, byte| (tag ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// A position as the tables hold it; [`MEMBERS_MAX`] was checked when the rollout was created.
fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
