//! The engine: events in, effects out; state is the fold of the events.
//!
//! `State::step` is deterministic: the same events with the same times give the same state and effects, byte for byte.
//! The controller journals an event before it steps; replaying the journal is the recovery.
//!
//! | file | what it decides |
//! |---|---|
//! | `create` | may a rollout come in |
//! | `amend` | may its next version come in, and when is it in force |
//! | `orders`, `approvals`, `pending` | people's orders, who counts for which role, what waits for a second person |
//! | `reports`, `transition` | nodes' reports, which moves the state diagram has |
//! | `offers` | who is next within the limits, for installs and rollbacks |
//! | `waves`, `gate` | when a wave passes, fails, and what follows |
//! | `holds` | people's holds on gates |
//! | `lineage` | rollouts whose patches require or replace one another |
//! | `control` | unpatched systems that are watched beside a wave |
//! | `proofs` | nodes' signed words that show other nodes which waves have passed |
//! | `rollback` | what is taken back and when that is done |
//! | `regions` | limits per region: whose turn they allow |
//! | `windows` | whose window is open, as far as the engine goes by that |
//! | `silence` | silent sites, and what time alone changes |
//! | `patience` | deadlines of waves, and how long silent sites are waited for |
//! | `kept`, `note` | how evidence is kept, and what else few deployments need |
//! | `decode` | how events are read from a journal, millions at a start |
//! | `glance` | cheap looks, for whoever drives millions of events |
//! | `directive`, `waiting`, `show` | what nodes are told and people see: functions of the state |
//! | `link` | the one door through which a deployment changes, so that no index can disagree with it |
//!
//! **Invariant:** work per event follows from what the event touches, never from the size of the estate. Only starting,
//! stopping, amending and ending a wave or a rollout look at all of its sites or members.

mod amend;
mod approvals;
mod control;
mod create;
mod decode;
mod deployment;
mod directive;
mod event;
mod failures;
mod gate;
mod glance;
mod holds;
mod kept;
mod lineage;
mod link;
mod note;
mod offers;
mod orders;
mod out;
mod patience;
mod pending;
mod proofs;
mod reason;
mod record;
mod regions;
mod reports;
mod rollback;
mod show;
mod silence;
mod site;
mod sites;
mod transition;
mod view;
mod waiting;
mod waves;
mod windows;

pub use amend::Progress;
pub use event::{Effect, Event, Refusal};
pub use glance::{Glance, Wish};
pub use reason::{Waiting, WaitingOn};
pub use view::{
    AmendmentView, DeploymentView, HaltSpread, HaltView, HoldView, PendingView, RolloutState, RolloutView, WaveState,
    WaveView,
};

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use wardround_signing::Envelope;

use crate::{
    estate::Estate,
    model::{DeploymentState, DeviceId, RolloutId, SiteId, SiteRollout, Timestamp, WaveName},
};
use orders::Signed;
use out::Out;
use record::Record;
use sites::Sites;

/// Version of the snapshot's form that is written and read.
const FORM: u32 = 1;

/// Everything that the engine knows. Serialisable for snapshots.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Form")]
pub struct State {
    form: u32,
    /// The latest moment of any step: a clock that is set back does not make soaks end later or earlier than they began.
    clock: Timestamp,
    estate: Estate,
    sites: Sites,
    /// In order of creation.
    rollouts: Vec<Record>,
    #[serde(skip)]
    by_id: HashMap<RolloutId, usize>,
    /// (when, rollout, deployment); each deployment has at most one.
    #[serde(skip)]
    timers: BTreeSet<(Timestamp, u32, u32)>,
    /// (when, rollout, site): when windows open or close where something could be offered.
    #[serde(skip)]
    turns: BTreeSet<(Timestamp, u32, u32)>,
    /// (when, rollout, site): when the plan's patience with a silent site, or a wave's deadline, is over.
    #[serde(skip)]
    patience: BTreeSet<(Timestamp, u32, u32)>,
}

/// What a snapshot holds. Everything else follows from it.
#[derive(Deserialize)]
struct Form {
    form: u32,
    clock: Timestamp,
    estate: Estate,
    sites: Sites,
    rollouts: Vec<Record>,
}

impl TryFrom<Form> for State {
    type Error = String;
    fn try_from(form: Form) -> Result<Self, String> {
        if form.form != FORM {
            return Err(format!("the snapshot has form {}; this program reads form {FORM}", form.form));
        }
        let mut state = Self {
            clock: form.clock,
            estate: form.estate,
            sites: form.sites,
            rollouts: form.rollouts,
            ..Self::default()
        };
        state.index_all();
        Ok(state)
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            form: FORM,
            clock: Timestamp::default(),
            estate: Estate::default(),
            sites: Sites::default(),
            rollouts: Vec::new(),
            by_id: HashMap::new(),
            timers: BTreeSet::new(),
            turns: BTreeSet::new(),
            patience: BTreeSet::new(),
        }
    }
}

impl State {
    /// Would `event` be accepted now? Asked before the event is journalled.
    ///
    /// # Errors
    /// [`Refusal`] says why not, and what would help.
    pub fn check(&self, event: &Event, now: Timestamp) -> Result<(), Refusal> {
        match event {
            Event::NodeEnrolled { .. } | Event::Tick => Ok(()),
            Event::RolloutCreated { rollout, members, reporters, .. } => self.check_create(rollout, members, reporters),
            Event::RolloutSigned { rollout } => self.check_signed(rollout),
            Event::RolloutAmended { rollout, members, reporters, .. } => self.check_amend(rollout, members, reporters),
            Event::AmendmentSigned { rollout, digest, .. } => self.check_amendment_signed(rollout, digest),
            Event::Order { order, roles, holders, signers, envelope } => {
                let given = Signed { order, roles, holders, signers: signers.as_deref(), envelope };
                self.judge_order(&given, now.max(self.clock)).map(|_| ())
            }
            Event::Report { site, seq, node_key, .. } => self.check_report(site, *seq, node_key.as_ref()),
            Event::NodeRevoked { site, node_key, .. } => self.check_node(site, node_key),
            Event::SiteSilent { site } | Event::SiteHeard { site } => match self.sites.get(site) {
                Some(known) if known.is_enrolled() => Ok(()),
                _ => Err(Refusal::NotFound { what: "site", id: site.to_string() }),
            },
        }
    }

    /// Takes in one event. A refused event changes nothing. `now` never runs backwards: an earlier one than that of the
    /// step before is taken as that one.
    ///
    /// # Errors
    /// As [`State::check`].
    pub fn step(&mut self, event: &Event, now: Timestamp) -> Result<Vec<Effect>, Refusal> {
        self.check(event, now)?;
        self.clock = self.clock.max(now);
        let mut out = Out::new(self.clock);
        self.turn_windows(&mut out);
        match event {
            Event::NodeEnrolled { site, node_key } => {
                if self.sites.get(site).is_some_and(|known| !known.is_key(node_key)) {
                    self.forget_failures(&mut out, site);
                }
                let at = self.sites.enter(site);
                self.sites.at_mut(at).enrol(node_key);
                out.audit("node_enrolled", None, None, format!("a node of site {site} enrolled with key {node_key}"));
                self.site_heard(&mut out, site);
            }
            Event::NodeRevoked { site, node_key, text } => self.node_revoked(&mut out, site, node_key, text),
            Event::RolloutCreated { rollout, digest, members, reporters } => {
                self.create(&mut out, rollout, *digest, members, reporters);
            }
            Event::RolloutSigned { rollout } => self.signed(&mut out, rollout),
            Event::RolloutAmended { rollout, digest, members, reporters } => {
                self.amend(&mut out, rollout, *digest, members, reporters);
            }
            Event::AmendmentSigned { rollout, signed, .. } => self.amendment_signed(&mut out, rollout, *signed),
            Event::Order { order, roles, holders, signers, envelope } => {
                self.order(&mut out, &Signed { order, roles, holders, signers: signers.as_deref(), envelope });
            }
            Event::Report { site, seq, body, envelope, .. } => {
                self.report(&mut out, site, *seq, body, envelope.as_ref());
            }
            Event::SiteSilent { site } => self.site_silent(&mut out, site),
            Event::SiteHeard { site } => self.site_heard(&mut out, site),
            Event::Tick => self.tick(&mut out),
        }
        self.settle(&mut out);
        // A wave that begins because of a tick may begin after its day.
        while matches!(event, Event::Tick) && self.patience.first().is_some_and(|(at, _, _)| *at <= out.now) {
            self.lose_patience(&mut out);
            self.settle(&mut out);
        }
        Ok(out.finish())
    }

    /// The earliest moment at which an [`Event::Tick`] would change something; `None` when only other events can.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        [&self.timers, &self.turns, &self.patience]
            .into_iter()
            .filter_map(|due| due.first())
            .map(|(at, _, _)| *at)
            .min()
    }

    /// The estate as reported.
    #[must_use]
    pub fn estate(&self) -> &Estate {
        &self.estate
    }

    /// The highest report sequence number taken in from this site's present node key; 0 means none.
    #[must_use]
    pub fn acked_seq(&self, site: &SiteId) -> u64 {
        self.sites.get(site).map_or(0, |s| s.acked)
    }

    /// What the directive for `site` must say now: only rollouts that were started and still concern the site.
    #[must_use]
    pub fn directive(&self, site: &SiteId) -> Vec<SiteRollout> {
        self.site_rollouts(site)
    }

    /// All rollouts, newest first.
    #[must_use]
    pub fn rollouts(&self) -> Vec<RolloutId> {
        self.rollouts.iter().rev().map(|r| r.document.id.clone()).collect()
    }

    /// One rollout as people see it.
    #[must_use]
    pub fn rollout(&self, id: &RolloutId) -> Option<RolloutView> {
        self.rollout_view(id)
    }

    /// Where a device stands in a rollout; `None` when it is not a member.
    #[must_use]
    pub fn deployment_state(&self, rollout: &RolloutId, device: &DeviceId) -> Option<DeploymentState> {
        let r = *self.by_id.get(rollout)?;
        let d = self.rollouts[r].find(device)?;
        Some(self.deployment(r, d).state)
    }

    /// The order with these very payload bytes that waits for a second person, with the signatures so far.
    #[must_use]
    pub fn waiting_order(&self, id: &RolloutId, order: &Envelope) -> Option<Envelope> {
        let record = self.rollouts.get(*self.by_id.get(id)?)?;
        record.pending(order).map(|p| p.envelope.clone())
    }

    /// Deployments of a rollout in order of wave and device, after `after` (the index of the last one seen, as given in
    /// [`DeploymentView::index`]), at most `limit`.
    #[must_use]
    pub fn deployments(
        &self,
        id: &RolloutId,
        wave: Option<&WaveName>,
        state: Option<DeploymentState>,
        after: Option<u64>,
        limit: usize,
    ) -> Vec<DeploymentView> {
        self.deployment_views(id, wave, state, after, limit)
    }
}
