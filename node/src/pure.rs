//! What decides, without the shell around it: a simulation runs these very functions over simulated disks, links and devices.
//!
//! **Invariant:** nothing here asks a clock, waits, or touches a file, a socket or a device.

pub use crate::{
    executor::{Absorbed, Batch, absorb, install_outcome, record},
    machine::{
        Action, Begun, CheckFound, Fault, FaultKind, Found, GoalWish, HoldMark, Input, InstallFound, InstallOutcome,
        Monitored, NodeState, OrderMark, Outbox, PreflightFound, ReleaseMark, RolloutPolicy, RolloutWish, SiteView,
        UninstallFound, Verb, Version, WatchRules, WavePolicy, Wishes,
    },
    trust::{
        Floor, Genuine, Listed, Paper, Papers, Reader, Refusal, admit, agreement, expired, halt, judge, open, paper,
    },
};
