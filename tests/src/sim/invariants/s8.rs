//! S8: a rolled-back device is as it was: detection before equals detection after. So is one that failed.

use std::collections::BTreeSet;

use wardround_rollout_plans::model::{DeploymentState, DeviceId, ReportBody};

use super::{Invariant, Seen, Truth};

/// How a device was its fate says.
#[derive(Debug, Default)]
pub(super) struct S8 {
    /// Devices on which an installer began.
    touched: BTreeSet<DeviceId>,
}

impl Invariant for S8 {
    fn name(&self) -> &'static str {
        "S8"
    }

    fn see(&mut self, seen: &Seen<'_>, truth: &Truth) -> Result<(), String> {
        if let Seen::InstallBegins { device, .. } = seen {
            self.touched.insert((*device).clone());
        }
        let Seen::ReportMade { report } = seen else { return Ok(()) };
        let ReportBody::Deployment { device, state, .. } = &report.body else { return Ok(()) };
        let Some(known) = truth.devices.get(device).filter(|_| !truth.liars.contains(&report.site)) else {
            return Ok(());
        };
        let before = known.fate.patched_before;
        // A node that first hears of a device when it is to be taken back asks the device, not its memory, which may be lost:
        // it can't tell whose patch it finds.
        if before && !self.touched.contains(device) {
            return Ok(());
        }
        let is = |patched| if patched { "has the patch" } else { "does not have the patch" };
        match state {
            DeploymentState::RolledBack | DeploymentState::Failed if known.patched != before => {
                Err(format!("{device} is reported as {state} and {}, which was otherwise before", is(known.patched)))
            }
            DeploymentState::RolledBack if known.pending.is_some() => {
                Err(format!("{device} is reported as {state}, and its next reboot changes it"))
            }
            DeploymentState::Succeeded if !known.patched => {
                Err(format!("{device} is reported as {state} and {}", is(false)))
            }
            _ => Ok(()),
        }
    }
}
