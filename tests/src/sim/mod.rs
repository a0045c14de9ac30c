//! A deterministic simulation of controller, journal, nodes, lines, people and devices.
//!
//! What is ours runs as it is in production: the engine and the controller's fold, judging and writing down
//! (`wardround_controller::pure`), the node's machine, its group loop and its trust checks (`wardround_node::pure`), the parts
//! of the journal (`wardround_journal::layout`), signatures and the image repository. What is simulated is the world around it:
//! time, disks that lose power, lines, clocks, devices, clinical systems and people. One seed decides everything; the same
//! seed gives the same bytes.
//!
//! A scripted run, for stories: make a [`World`] with [`Setting::calm`], add sites ([`site`], [`World::add_site`]) with the
//! [`Fate`] of each device, [`World::power_up`], let people act ([`World::after`] with [`What::Person`], or [`World::order`]),
//! strike ([`What::Fault`]), move time ([`World::run_until`]), and look: [`World::ledger`] shows what people see,
//! [`World::truth`] what is so. [`World::violation`] says whether the contract still holds.
#![expect(clippy::unwrap_used, reason = "a test harness: a failure is a panic that names the line")]

mod act;
mod chance;
mod controller;
mod device;
mod disk;
mod faults;
mod hospital;
mod invariants;
mod moments;
mod node;
mod people;
mod random;
mod run;
mod wire;
mod world;

pub use chance::{Strike, patch, site};
pub use controller::{Answered, CHECK_IN_EVERY, Called, Tower};
pub use device::{Device, Fate, MINUTE, Met, Ms, Run, SECOND, System, Withdrawn, installer};
pub use disk::{Disk, Found};
pub use faults::{Fault, Setting};
pub use hospital::{Person, Publication, Repository, online_key, order, signers};
pub use invariants::{Invariant, Seen, Signed, Truth, Version};
pub use node::{Clock, Host, PowerCut, Read, Taken};
pub use people::Act;
pub use random::Random;
pub use run::{Outcome, converge, reproduction, run, shrink, trace};
pub use wire::Line;
pub use world::{BEGIN, Began, EVENTS_MAX, Violation, What, World};
