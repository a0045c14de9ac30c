//! What the windows of a plan and the hours of the sites make of each other.

use std::collections::BTreeSet;

use super::{
    advice::{Advice, Waves, names},
    survey::Candidate,
};
use crate::{
    language::Rule,
    model::{DeviceId, Plan, SiteId, WavePlan},
    window::{Calendar, SOME_MONDAY},
};

/// Sites without a time zone, and devices on which nothing could ever be installed.
pub(super) fn advise(advice: &mut Advice<'_>, waves: Waves<'_, '_>) {
    let plan = advice.plan();
    let timed = !plan.freezes.is_empty()
        || !plan.windows.is_empty()
        || !plan.on_call.is_empty()
        || plan.waves.iter().any(|w| !w.windows.is_empty());
    let mut never: Vec<&DeviceId> = Vec::new();
    for (wave, candidates) in plan.waves.iter().zip(waves) {
        let mut here: Vec<&DeviceId> =
            candidates.iter().filter(|c| never_open(plan, wave, c)).map(|c| &c.device.id).collect();
        here.sort_unstable();
        never.extend(here);
    }
    let room = plan.timing.room();
    let unsaid = waves.iter().flatten().map(|c| c.site).filter(|site| timed && site.hours.time_zone.is_none());
    let unsaid: BTreeSet<&SiteId> = unsaid.map(|site| &site.site).collect();
    let unsaid: Vec<&SiteId> = unsaid.into_iter().collect();
    if !unsaid.is_empty() {
        let message = format!(
            "the plan's windows go by UTC at {} of the sites, since their site files name no time_zone: {}",
            unsaid.len(),
            names(&unsaid)
        );
        advice.add(Rule::NoTimeZone, None, "windows", message, "name it in their site files");
    }
    if !never.is_empty() {
        let message = format!(
            "no install may ever begin on {} of the devices: the windows of plan, site and device are never open together for {room}, which it may take: {}",
            never.len(),
            names(&never)
        );
        advice.add(Rule::NeverOpen, None, "windows", message, "widen one of them, or leave the devices out");
    }
}

/// In an ordinary week, freezes aside.
fn never_open(plan: &Plan, wave: &WavePlan, candidate: &Candidate<'_>) -> bool {
    let Candidate { site, device, .. } = candidate;
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
