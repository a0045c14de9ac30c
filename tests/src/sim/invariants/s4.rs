//! S4: limits (per site, per wave, total, per redundancy group) hold under duplicate, late and reordered reports and crashes.

use std::collections::{BTreeMap, BTreeSet};

use wardround_rollout_plans::model::{DeploymentState, DeviceId, GoalAction, RolloutId, SiteId};

use super::{Invariant, Seen, Told, Truth, Version};

/// What is in hand, from outside: wanted by a directive that left, and not known to have ended.
#[derive(Debug, Default)]
pub(super) struct S4 {
    told: Told,
    wanted: BTreeSet<(RolloutId, DeviceId)>,
    /// A directive's counter never goes down.
    counters: BTreeMap<SiteId, u64>,
}

impl Invariant for S4 {
    fn name(&self) -> &'static str {
        "S4"
    }

    fn see(&mut self, seen: &Seen<'_>, truth: &Truth) -> Result<(), String> {
        match seen {
            Seen::ReportTaken { report } => self.told.take(report, truth),
            Seen::DirectiveLeaves { site, directive } => {
                let known = self.counters.entry((*site).clone()).or_default();
                if directive.counter < *known {
                    return Err(format!("directive {} left for {site} after {known}", directive.counter));
                }
                *known = directive.counter;
                for part in &directive.rollouts {
                    let Some(version) = truth.versions.get(&part.digest) else { continue };
                    let installs = part.goals.iter().filter(|g| g.action == GoalAction::Install);
                    for goal in installs {
                        if self.wanted.insert((part.rollout.clone(), goal.member.device.clone())) {
                            self.limits(truth, version, &goal.member.device)?;
                        }
                    }
                }
            }
            Seen::Moment => return truth.sites.keys().try_for_each(|site| groups(truth, site)),
            _ => {}
        }
        Ok(())
    }
}

impl S4 {
    /// In hand for an install. What is taken back is not limited, but holds no new offer up here either.
    fn in_hand(&self, rollout: &RolloutId, device: &DeviceId) -> bool {
        let open = |state: DeploymentState| !state.is_terminal() && state != DeploymentState::RollingBack;
        self.wanted.contains(&(rollout.clone(), device.clone())) && self.told.of(rollout, device).is_none_or(open)
    }

    fn limits(&self, truth: &Truth, version: &Version, device: &DeviceId) -> Result<(), String> {
        let (rollout, site) = (&version.rollout, device.site());
        let plan = &rollout.plan;
        let wave = version.wave_of(device).unwrap_or_default();
        let held: Vec<&DeviceId> =
            version.members.iter().map(|m| &m.device).filter(|d| self.in_hand(&rollout.id, d)).collect();
        let of_site = held.iter().filter(|d| d.site() == site).count();
        let of_wave: Vec<&&DeviceId> = held.iter().filter(|d| version.wave_of(d) == Some(wave)).collect();
        let here = of_wave.iter().filter(|d| d.site() == site).count();
        let limits = &plan.waves[wave].limits;
        for (what, count, limit) in [
            ("at the site", of_site, Some(plan.per_site())),
            ("in all", held.len(), plan.limits.total),
            ("of the wave", of_wave.len(), limits.total),
            ("of the wave at the site", here, limits.per_site),
        ] {
            if let Some(limit) = limit.filter(|limit| count > *limit as usize) {
                return Err(format!("{device} is wanted as number {count} {what}, where {limit} may be in hand"));
            }
        }
        let inventory = truth.sites.get(&site).ok_or("no such site")?;
        let group_of = |id: &DeviceId| inventory.devices.iter().find(|d| d.id == *id)?.group.clone();
        if let Some(group) = group_of(device) {
            let limit = inventory.groups.get(&group).copied().unwrap_or(1) as usize;
            let count = held.iter().filter(|d| d.site() == site && group_of(d).as_ref() == Some(&group)).count();
            if count > limit {
                return Err(format!("{device} is wanted as number {count} of group {group}, of which {limit} may be"));
            }
        }
        Ok(())
    }
}

/// Devices that are truly disrupted, by redundancy group.
fn groups(truth: &Truth, site: &SiteId) -> Result<(), String> {
    let inventory = &truth.sites[site];
    for (group, limit) in &inventory.groups {
        let of_group = inventory.devices.iter().filter(|d| d.group.as_ref() == Some(group));
        let disrupted: Vec<&DeviceId> = of_group
            .map(|d| &d.id)
            .filter(|id| truth.devices.get(id).is_some_and(|d| d.is_disrupted(truth.now)))
            .collect();
        if disrupted.len() > *limit as usize {
            let names: Vec<String> = disrupted.iter().map(ToString::to_string).collect();
            return Err(format!(
                "{} of group {group} are disrupted at once, where {limit} may be",
                names.join(" and ")
            ));
        }
    }
    Ok(())
}
