//! S6: every deployment ends: succeeded, skipped, failed, rolled back, or handed to a person with an alarm.

use std::collections::BTreeSet;

use wardround_rollout_plans::model::{DeploymentState, DeviceId};

use super::{Invariant, Seen, Truth};

/// For whom a person was called.
#[derive(Debug, Default)]
pub(super) struct S6 {
    called: BTreeSet<DeviceId>,
}

impl Invariant for S6 {
    fn name(&self) -> &'static str {
        "S6"
    }

    fn see(&mut self, seen: &Seen<'_>, truth: &Truth) -> Result<(), String> {
        match seen {
            Seen::Alarm { device: Some(device), .. } => {
                self.called.insert((*device).clone());
            }
            Seen::Converged { rollouts } => {
                for (rollout, deployments) in *rollouts {
                    for deployment in deployments {
                        let (device, state) = (&deployment.device, deployment.state);
                        let honest = !truth.liars.contains(&device.site());
                        if honest && !state.is_terminal() && state != DeploymentState::Pending {
                            return Err(format!("{device} in rollout {} stays {state} for ever", rollout.id));
                        }
                        if honest && state == DeploymentState::RollbackFailed && !self.called.contains(device) {
                            return Err(format!("{device} could not be taken back, and no person was called"));
                        }
                        let patched = truth.devices.get(device).is_some_and(|d| d.patched);
                        if state == DeploymentState::Succeeded && honest && !patched {
                            return Err(format!("{device} is shown as succeeded and does not have the patch"));
                        }
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
