//! S8: a rolled-back device is as it was: detection before equals detection after. So is one that failed.

use wardround_rollout_plans::model::{DeploymentState, ReportBody};

use super::{Invariant, Seen, Truth};

/// Nothing has to be remembered: a device's fate says how it was.
#[derive(Debug, Default)]
pub(super) struct S8;

impl Invariant for S8 {
    fn name(&self) -> &'static str {
        "S8"
    }

    fn see(&mut self, seen: &Seen<'_>, truth: &Truth) -> Result<(), String> {
        let Seen::ReportMade { report } = seen else { return Ok(()) };
        let ReportBody::Deployment { device, state, .. } = &report.body else { return Ok(()) };
        let Some(known) = truth.devices.get(device).filter(|_| !truth.liars.contains(&report.site)) else {
            return Ok(());
        };
        let before = known.fate.patched_before;
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
