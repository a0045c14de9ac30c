//! Names in a plan that the estate does not know: a typing mistake there would silently leave devices out.

use std::collections::BTreeSet;

use crate::{
    estate::Estate,
    language::{ParsedPlan, Problem, did_you_mean},
    model::{Patch, Selector},
};

/// Sites, regions and devices that the estate does not have, and a patch that the plan is not for.
pub(super) fn unknown(parsed: &ParsedPlan, patch: &Patch, estate: &Estate) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(wanted) = parsed.plan.patch.as_ref().filter(|wanted| **wanted != patch.id) {
        let message = format!("the plan is for {wanted}, not for {}", patch.id);
        problems.push(parsed.problem_at("patch", message, "choose that patch, or remove this line".to_owned()));
    }
    let selectors = std::iter::once(("eligible".to_owned(), &parsed.plan.eligible)).chain(
        parsed.plan.waves.iter().enumerate().map(|(index, wave)| (format!("waves[{index}].select"), &wave.select)),
    );
    for (path, selector) in selectors {
        for (index, site) in selector.sites.iter().enumerate().filter(|(_, site)| estate.site(site).is_none()) {
            let known = estate.sites().map(|s| s.site.as_str());
            problems.push(unknown_name(parsed, format!("{path}.sites[{index}]"), "site", site.as_str(), known));
        }
        for (index, region) in selector.regions.iter().enumerate() {
            if !estate.sites().any(|site| site.region == *region) {
                let known = estate.sites().map(|s| s.region.as_str()).filter(|r| !r.is_empty());
                problems.push(unknown_name(parsed, format!("{path}.regions[{index}]"), "region", region, known));
            }
        }
        for (index, device) in selector.devices.iter().enumerate().filter(|(_, id)| estate.device(id).is_none()) {
            let known = estate.devices().map(|(_, d)| d.id.as_str());
            problems.push(unknown_name(parsed, format!("{path}.devices[{index}]"), "device", device.as_str(), known));
        }
    }
    problems
}

fn unknown_name<'a>(
    parsed: &ParsedPlan,
    field: String,
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a str>,
) -> Problem {
    let hint = match did_you_mean(name, known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "`wardround site list` shows the sites and their devices".to_owned(),
    };
    parsed.problem_at(&field, format!("the estate has no {what} {name:?}"), hint)
}

/// For a wave that selects nothing: the label or value that no device has.
pub(super) fn label_hint(selector: &Selector, estate: &Estate) -> Option<String> {
    let labels = |key: &str| -> BTreeSet<&str> {
        let sites = estate.sites().filter_map(|site| site.labels.get(key));
        let devices = estate.devices().filter_map(|(_, device)| device.labels.get(key));
        sites.chain(devices).map(String::as_str).collect()
    };
    for (key, wanted) in &selector.labels {
        let values = labels(key);
        if values.contains(wanted.as_str()) {
            continue;
        }
        if values.is_empty() {
            let keys: BTreeSet<&str> = estate
                .sites()
                .flat_map(|site| site.labels.keys())
                .chain(estate.devices().flat_map(|(_, device)| device.labels.keys()))
                .map(String::as_str)
                .collect();
            return Some(match did_you_mean(key, keys) {
                Some(meant) => format!("nothing has the label `{key}`; did you mean `{meant}`?"),
                None => format!("nothing in the estate has the label `{key}`"),
            });
        }
        return Some(match did_you_mean(wanted, values.iter().copied()) {
            Some(meant) => format!("no label {key}={wanted}; did you mean `{meant}`?"),
            None => {
                let some = values.iter().copied().take(5).collect::<Vec<_>>().join(", ");
                format!("no label {key}={wanted}; the estate has {some}")
            }
        });
    }
    None
}
