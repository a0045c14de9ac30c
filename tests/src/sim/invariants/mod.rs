//! The safety contract (DESIGN, "Safety contract"), one file each, checked from outside after every event: against the true
//! state of devices and clinical systems, what went over the wires, and what was answered. Never from what the engine or a
//! node counts.

mod s1;
mod s2;
mod s3;
mod s4;
mod s5;
mod s6;
mod s7;
mod s8;
mod s9;

use std::collections::{BTreeMap, BTreeSet};

use wardround_controller::pure::Ledger;
use wardround_rollout_plans::{
    engine::{DeploymentView, RolloutView},
    model::{
        DeploymentState, DeviceId, Directive, Member, Order, Patch, Report, ReportBody, Rollout, RolloutId, SiteId,
        SiteInventory, SystemId, Timestamp,
    },
};
use wardround_signing::Digest;

use super::{
    device::{Device, Ms, System},
    hospital::{Person, Publication},
};

/// A version of a rollout.
#[derive(Debug, Clone)]
pub struct Version {
    /// Its document.
    pub rollout: Rollout,
    /// Members of all waves.
    pub members: Vec<Member>,
}

impl Version {
    /// Position of the wave of a device.
    #[must_use]
    pub fn wave_of(&self, device: &DeviceId) -> Option<usize> {
        let member = self.members.iter().find(|m| m.device == *device)?;
        self.rollout.waves.iter().position(|w| w.name == member.wave)
    }

    /// Members of a wave.
    pub fn of_wave(&self, wave: usize) -> impl Iterator<Item = &DeviceId> {
        let name = &self.rollout.waves[wave].name;
        self.members.iter().filter(move |m| m.wave == *name).map(|m| &m.device)
    }
}

/// An order that people signed, whatever became of it.
#[derive(Debug, Clone)]
pub struct Signed {
    /// The order.
    pub order: Order,
    /// SHA-256 of its payload.
    pub digest: Digest,
    /// Who signed it.
    pub by: Vec<Person>,
    /// When the controller said that it counts.
    pub accepted: Option<Ms>,
    /// The power went while it was being written down: it may count.
    pub uncertain: bool,
}

/// What is so.
#[derive(Debug, Default)]
pub struct Truth {
    /// The time.
    pub now: Ms,
    /// Devices.
    pub devices: BTreeMap<DeviceId, Device>,
    /// Clinical systems.
    pub systems: BTreeMap<SystemId, System>,
    /// Sites as declared.
    pub sites: BTreeMap<SiteId, SiteInventory>,
    /// All versions of all rollouts, by the digests of their documents.
    pub versions: BTreeMap<Digest, Version>,
    /// The patch.
    pub patch: Option<Patch>,
    /// All publications of the image repository.
    pub publications: Vec<Publication>,
    /// All orders that people signed.
    pub orders: Vec<Signed>,
    /// Sites whose nodes lie.
    pub liars: BTreeSet<SiteId>,
    /// Since when each site's machine has power without a break; absent while it has none.
    pub up_since: BTreeMap<SiteId, Ms>,
    /// How far the fastest clock may be off from the slowest, parts in a million.
    pub drift_ppm: i64,
}

/// What has just happened.
#[derive(Debug)]
pub enum Seen<'a> {
    /// A directive leaves the controller.
    DirectiveLeaves {
        /// For this site.
        site: &'a SiteId,
        /// What it says.
        directive: &'a Directive,
    },
    /// A halt is pushed to a site.
    HaltLeaves {
        /// Rollout.
        rollout: &'a RolloutId,
    },
    /// A node has a directive in force.
    Obeyed {
        /// Site.
        site: &'a SiteId,
        /// The directive.
        directive: &'a Directive,
        /// The publication by which it was judged.
        view: u64,
    },
    /// The power went while a directive was being written down: it may be in force.
    MaybeObeyed {
        /// Site.
        site: &'a SiteId,
        /// The directive.
        directive: &'a Directive,
        /// The publication by which it was judged.
        view: u64,
    },
    /// A node has a pushed halt in force.
    HaltKnown {
        /// Site.
        site: &'a SiteId,
        /// The order.
        order: &'a Order,
        /// SHA-256 of its payload.
        digest: Digest,
    },
    /// An installer begins on a device.
    InstallBegins {
        /// Device.
        device: &'a DeviceId,
        /// For this rollout.
        rollout: &'a RolloutId,
        /// Digest of the patch document by which it is done.
        patch: Digest,
        /// The site's clock.
        clock: Timestamp,
    },
    /// An uninstaller begins on a device.
    UninstallBegins {
        /// Device.
        device: &'a DeviceId,
        /// For this rollout.
        rollout: &'a RolloutId,
    },
    /// A node was asked for a device's health before an install.
    Preflight {
        /// Device.
        device: &'a DeviceId,
    },
    /// A node has a new report on disk.
    ReportMade {
        /// The report.
        report: &'a Report,
    },
    /// Reports leave a node.
    ReportLeaves {
        /// The report.
        report: &'a Report,
    },
    /// The controller says that a report is on disk: it was not said before.
    ReportTaken {
        /// The report.
        report: &'a Report,
    },
    /// The controller acknowledges reports.
    Acknowledged {
        /// Of this site.
        site: &'a SiteId,
        /// Up to this one.
        seq: u64,
    },
    /// The controller says that an order counts.
    OrderAccepted {
        /// The order.
        order: &'a Order,
        /// SHA-256 of its payload.
        digest: Digest,
        /// It was accepted before, and came again.
        again: bool,
        /// What it does has begun: no second signature is waited for.
        complete: bool,
    },
    /// The power went while an order was being written down: it may count.
    OrderUncertain {
        /// The order.
        order: &'a Order,
    },
    /// The controller is back after a power cut.
    ControllerBack {
        /// What it read from its disk.
        ledger: &'a Ledger,
    },
    /// A node is back after a power cut.
    NodeBack {
        /// Site.
        site: &'a SiteId,
        /// Number of its newest report.
        last: u64,
    },
    /// A person is called.
    Alarm {
        /// Machine word.
        code: &'a str,
        /// About a device.
        device: Option<&'a DeviceId>,
        /// About a rollout.
        rollout: Option<&'a RolloutId>,
    },
    /// A new version of a rollout is in force at the controller.
    InForce {
        /// Rollout.
        rollout: &'a RolloutId,
        /// Digest of its document.
        digest: Digest,
    },
    /// Time passes: called after each event.
    Moment,
    /// Everything was mended long ago.
    Converged {
        /// What people are shown.
        rollouts: &'a [(RolloutView, Vec<DeploymentView>)],
    },
}

/// One line of the contract.
pub trait Invariant {
    /// "S4".
    fn name(&self) -> &'static str;

    /// Looks at what has happened.
    ///
    /// # Errors
    /// The sentence that says how it is broken.
    fn see(&mut self, seen: &Seen<'_>, truth: &Truth) -> Result<(), String>;
}

/// All of them.
#[must_use]
pub(super) fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::<s1::S1>::default(),
        Box::<s2::S2>::default(),
        Box::<s3::S3>::default(),
        Box::<s4::S4>::default(),
        Box::<s5::S5>::default(),
        Box::<s6::S6>::default(),
        Box::<s7::S7>::default(),
        Box::<s8::S8>::default(),
        Box::<s9::S9>::default(),
    ]
}

/// What nodes have said of devices, as far as the controller has said that it knows: built from outside.
#[derive(Debug, Default)]
pub(super) struct Told {
    states: BTreeMap<(RolloutId, DeviceId), DeploymentState>,
}

impl Told {
    pub(super) fn take(&mut self, report: &Report, truth: &Truth) {
        let ReportBody::Deployment { rollout, device, state, .. } = &report.body else { return };
        if device.site() != report.site {
            return;
        }
        let known = self.states.entry((rollout.clone(), device.clone())).or_insert(*state);
        use DeploymentState::{Failed, RolledBack, Skipped, Succeeded};
        // Ends are final, whatever comes after them. What a liar once claimed nobody can tell from what is so.
        let claimed = *known == Succeeded && truth.liars.contains(&report.site);
        if !claimed && !matches!(*known, Failed | RolledBack | Skipped) {
            *known = *state;
        }
    }

    pub(super) fn of(&self, rollout: &RolloutId, device: &DeviceId) -> Option<DeploymentState> {
        self.states.get(&(rollout.clone(), device.clone())).copied()
    }
}
