//! What the windows of a plan and the hours of the sites make of each other.

use std::collections::BTreeSet;

use super::advice::names;
use crate::{
    estate::Estate,
    model::{Member, Plan, SiteInventory, WavePlan},
    window::{Calendar, SOME_MONDAY},
};

/// Warnings, each one sentence.
pub(super) fn advice(plan: &Plan, waves: &[Vec<Member>], estate: &Estate) -> Vec<String> {
    let mut warnings = Vec::new();
    let timed =
        !plan.freezes.is_empty() || !plan.windows.is_empty() || plan.waves.iter().any(|w| !w.windows.is_empty());
    if timed {
        let sites: BTreeSet<_> = waves.iter().flatten().map(|member| member.device.site()).collect();
        let unsaid = |site: &&SiteInventory| sites.contains(&site.site) && site.hours.time_zone.is_none();
        let unsaid: Vec<String> = estate.sites().filter(unsaid).map(|site| site.site.to_string()).collect();
        if !unsaid.is_empty() {
            warnings.push(format!(
                "the plan's windows go by UTC at {} of the sites, since their site files name no time_zone: {}",
                unsaid.len(),
                names(&unsaid)
            ));
        }
    }
    let never: Vec<String> = plan
        .waves
        .iter()
        .zip(waves)
        .flat_map(|(wave, members)| members.iter().filter(move |member| never_open(plan, wave, member, estate)))
        .map(|member| member.device.to_string())
        .collect();
    if !never.is_empty() {
        warnings.push(format!(
            "no install may ever begin on {} of the devices: the windows of plan, site and device are never open together for {}, which it may take: {}",
            never.len(),
            plan.timing.room(),
            names(&never)
        ));
    }
    warnings
}

/// In an ordinary week, freezes aside.
fn never_open(plan: &Plan, wave: &WavePlan, member: &Member, estate: &Estate) -> bool {
    let Some((site, device)) = estate.device(&member.device) else { return false };
    if [&plan.windows, &wave.windows, &site.hours.windows, &device.windows].into_iter().all(Vec::is_empty) {
        return false;
    }
    let hours = crate::model::SiteHours { freezes: Vec::new(), ..site.hours.clone() };
    let calendar = Calendar::always()
        .and("the plan's", &plan.windows, &[])
        .and("the wave's", &wave.windows, &[])
        .at_site(&hours, &device.windows);
    calendar.at(SOME_MONDAY, plan.timing.room()).closed().is_some_and(|closed| closed.until.is_none())
}
