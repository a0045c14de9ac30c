//! Whether maintenance windows and change freezes let an install begin. Rollbacks, soaks and everything that has begun go on.

use wardround_rollout_plans::{
    model::{DeviceId, DurationMs, RolloutId, SiteHours, Timestamp},
    window::Calendar,
};

use super::{Cause, NodeState};

/// When nothing opens within sight it is looked at again after so long: freezes end and clocks are put right.
const LOOK_AGAIN: DurationMs = DurationMs::from_secs(60 * 60);

/// Why an install may not begin now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shut {
    pub(super) cause: Cause,
    /// Until then the answer stays, unless the clock, the site file or the directive changes.
    pub(super) until: Timestamp,
}

impl NodeState {
    /// Why no install may begin on this device now, by the signed plan, the site file and the site's clock; `None` when
    /// one may, with room enough for it to end.
    pub(super) fn shut(&self, rollout: &RolloutId, device: &DeviceId, now: Timestamp) -> Option<Shut> {
        let policy = &self.rollouts.get(rollout)?.policy;
        let wave = &self.rollouts.get(rollout)?.deployments.get(device)?.wave;
        let of_wave = policy.waves.get(wave).map_or(&[][..], |w| &w.windows);
        let unsaid = SiteHours::default();
        let hours = self.site.inventory.as_ref().map_or(&unsaid, |i| &i.hours);
        let own = self.site.inventory.iter().flat_map(|i| &i.devices).find(|d| d.id == *device);
        let calendar = Calendar::always()
            .and("the plan's", &policy.windows, &policy.freezes)
            .and("the wave's", of_wave, &[])
            .at_site(hours, own.map_or(&[], |d| &d.windows));
        let room = DurationMs(policy.install_timeout.0.saturating_add(policy.reboot_timeout.0));
        let closed = calendar.at(now, room).closed()?;
        let until = closed.until.unwrap_or(now.after(LOOK_AGAIN));
        Some(Shut { cause: Cause::new("window_closed", closed.to_string()), until })
    }

    /// What was found about windows counts no longer.
    pub(super) fn forget_windows(&mut self) {
        for deployment in self.rollouts.values_mut().flat_map(|r| r.deployments.values_mut()) {
            deployment.opens_at = None;
        }
    }
}
