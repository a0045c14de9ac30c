//! Trouble: what people, networks, disks, clocks and attackers do to a rollout under way.
//!
//! One target, since most of it waits: for a minute that an attacker may keep a node busy, for silence, for a retry. What runs
//! beside that costs no time. `cargo test -p wardround-tests --test trouble attacker::` runs one of the files.

mod attacker;
mod certificates;
mod faults;
mod kill_loop;
mod patience;

const PROGRAM: &str = env!("CARGO_BIN_EXE_wardround-under-test");
