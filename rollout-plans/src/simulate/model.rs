//! What is modelled: the numbers by which sites, devices, clinical systems and people behave in a simulation.
//!
//! None of them is measured in your estate. The defaults are round numbers that a hospital would not find absurd; whoever
//! decides by a simulation writes their own into a model file.

use crate::model::Percent;

const fn minutes(n: u64) -> u64 {
    n * 60_000
}
const fn hours(n: u64) -> u64 {
    n * 3_600_000
}
const DAY: u64 = hours(24);

/// From the least to the most, the least more often (see [`super::Random::within`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// At least.
    pub least: u64,
    /// At most.
    pub most: u64,
}

impl Span {
    /// Always this.
    #[must_use]
    pub const fn just(n: u64) -> Self {
        Self { least: n, most: n }
    }

    /// From one to the other.
    #[must_use]
    pub const fn of(least: u64, most: u64) -> Self {
        Self { least, most }
    }
}

/// The whole model. Times are milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Lines and nodes.
    pub network: Network,
    /// Devices.
    pub devices: Devices,
    /// Clinical systems.
    pub systems: Systems,
    /// People.
    pub people: People,
    /// What the patch breaks; a good patch breaks nothing.
    pub bad_patch: Option<BadPatch>,
}

/// Lines and nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// A site's line, kbit/s; each site has one speed for good.
    pub link_kbit: Span,
    /// Length of a payload whose file is not there to be looked at, bytes.
    pub payload_bytes: u64,
    /// Until a node acts on what has changed for its site.
    pub reaction: Span,
    /// The share of sites that lose their line on a day.
    pub offline_per_day: Percent,
    /// For how long.
    pub offline_for: Span,
}

/// Devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Devices {
    /// An install without its reboot. A rollback takes as long.
    pub install: Span,
    /// A reboot, until the device answers again.
    pub reboot: Span,
    /// Installs that fail and leave the device as it was.
    pub fails: Percent,
    /// Devices for which there is nothing to do.
    pub skipped: Percent,
    /// Rollbacks that fail.
    pub stuck: Percent,
    /// Devices that are in use when their turn comes.
    pub in_use: Percent,
    /// For how long.
    pub in_use_for: Span,
    /// Mean time between two restarts that have nothing to do with the patch.
    pub restart_every: u64,
}

/// Clinical systems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Systems {
    /// The share of systems that fail on a day without the patch having to do with it.
    pub trouble_per_day: Percent,
    /// Systems that are not healthy before the patch, so that nothing is ever blamed for them.
    pub unhealthy_before: Percent,
    /// The share of sites at which all systems fail together on a day, as when the site's network does.
    pub site_trouble_per_day: Percent,
    /// For how long.
    pub site_trouble_for: Span,
}

/// People. Each role that a plan asks for is one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct People {
    /// How long they take to approve once they are asked, in office hours; absent means that nobody ever does.
    pub approve: Option<Span>,
    /// First and last minute of the working day on the clock of [`People::zone`]; equal means at any hour.
    pub office: (u32, u32),
    /// Their clock.
    pub zone: String,
    /// How long until staff report a device that is broken and that no clinical system watches, so that on-call halts the
    /// rollout; absent means never.
    pub notice: Option<Span>,
}

/// What a bad patch breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPatch {
    /// This share of the devices named below.
    pub breaks: Percent,
    /// Whose platform has this product ("windows_xp"); empty means any.
    pub platform: String,
    /// Whose model is this one; empty means any.
    pub device_model: String,
    /// That a clinical system of this kind needs; empty means any.
    pub system: String,
    /// When it shows.
    pub after: Onset,
    /// Of the devices that break, the share of which the probes of their clinical systems see it.
    pub seen: Percent,
}

/// When a broken device shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onset {
    /// As soon as the patch is on it.
    Install,
    /// At its first restart that has nothing to do with the patch.
    Restart,
    /// After so much use.
    Use(Span),
}

impl Model {
    /// An ordinary estate, by round numbers.
    #[must_use]
    pub fn standard() -> Self {
        Self {
            network: Network {
                link_kbit: Span::of(2_000, 100_000),
                payload_bytes: 5 * 1024 * 1024,
                reaction: Span::of(1_000, 30_000),
                offline_per_day: Percent::basis(100),
                offline_for: Span::of(hours(1), 2 * DAY),
            },
            devices: Devices {
                install: Span::of(minutes(2), minutes(15)),
                reboot: Span::of(minutes(1), minutes(8)),
                fails: Percent::basis(20),
                skipped: Percent::basis(50),
                stuck: Percent::basis(50),
                in_use: Percent::basis(1_000),
                in_use_for: Span::of(minutes(20), hours(4)),
                restart_every: 7 * DAY,
            },
            systems: Systems {
                trouble_per_day: Percent::basis(2),
                unhealthy_before: Percent::basis(50),
                site_trouble_per_day: Percent::basis(2),
                site_trouble_for: Span::of(minutes(1), hours(1)),
            },
            people: People {
                approve: Some(Span::of(minutes(30), hours(6))),
                office: (8 * 60, 17 * 60),
                zone: "Europe/London".to_owned(),
                notice: Some(Span::of(hours(4), 2 * DAY)),
            },
            bad_patch: None,
        }
    }

    /// The standard model without what goes wrong: nothing fails by itself, so that a rollout comes to its end. Lines,
    /// deferrals and people take as long as ever.
    #[must_use]
    pub fn untroubled(&self) -> Self {
        let mut model = self.clone();
        model.devices.fails = Percent::basis(0);
        model.devices.skipped = Percent::basis(0);
        model.devices.stuck = Percent::basis(0);
        model.systems.trouble_per_day = Percent::basis(0);
        model.systems.site_trouble_per_day = Percent::basis(0);
        model.bad_patch = None;
        model
    }

    /// Nothing goes wrong and nobody waits: fast lines, nothing in use, people who approve at once and at any hour. What
    /// is left is what the plan itself asks for.
    #[must_use]
    pub fn ideal() -> Self {
        let mut model = Self::standard().untroubled();
        let Devices { install, reboot, .. } = model.devices;
        model.network.link_kbit = Span::just(10_000_000);
        model.network.reaction = Span::just(1_000);
        model.network.offline_per_day = Percent::basis(0);
        model.devices.install = Span::just(install.least);
        model.devices.reboot = Span::just(reboot.least);
        model.devices.in_use = Percent::basis(0);
        model.people.approve = Some(Span::just(0));
        model.people.office = (0, 0);
        model
    }

    /// Mean time between two losses of a site's line, milliseconds; `None` when it never happens.
    pub(super) fn offline_every(&self) -> Option<u64> {
        let share = u64::from(self.network.offline_per_day.basis_points());
        (DAY * 10_000).checked_div(share)
    }

    /// Mean time between two troubles of a whole site, milliseconds; `None` when there are none.
    pub(super) fn site_trouble_every(&self) -> Option<u64> {
        let share = u64::from(self.systems.site_trouble_per_day.basis_points());
        (DAY * 10_000).checked_div(share)
    }

    /// Mean time between two failures of a system that are not the patch's, milliseconds; `None` when there are none.
    pub(super) fn trouble_every(&self) -> Option<u64> {
        let share = u64::from(self.systems.trouble_per_day.basis_points());
        (DAY * 10_000).checked_div(share)
    }
}
