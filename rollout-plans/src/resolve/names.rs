//! Names in a plan that the estate does not know: a typing mistake there would silently leave devices out.

use std::collections::BTreeSet;

use crate::{
    estate::Estate,
    language::{ParsedPlan, Problem, did_you_mean},
    model::{Patch, Selector},
};

/// Most unknown names that are reported: each costs a look at all that are known.
const PROBLEMS_MAX: usize = 20;

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
    let types: BTreeSet<&str> = estate.sites().map(|s| s.site_type.as_str()).filter(|t| !t.is_empty()).collect();
    let kinds: BTreeSet<&str> = estate.sites().flat_map(|s| &s.systems).map(|s| s.kind.as_str()).collect();
    let regions: BTreeSet<&str> = estate.sites().map(|s| s.region.as_str()).filter(|r| !r.is_empty()).collect();
    for (path, selector) in selectors {
        let at = |list: &str, index: usize| format!("{path}.{list}[{index}]");
        for (index, site) in
            selector.sites.iter().enumerate().filter(|(_, site)| estate.site(site).is_none()).take(PROBLEMS_MAX)
        {
            let meant = did_you_mean(site.as_str(), estate.sites().map(|s| s.site.as_str()));
            problems.push(unknown_name(parsed, &at("sites", index), "site", site.as_str(), meant));
        }
        for (list, what, named, known) in [
            ("regions", "region", &selector.regions, &regions),
            ("site_types", "site type", &selector.site_types, &types),
            ("systems", "kind of clinical system", &selector.systems, &kinds),
        ] {
            let strange = named.iter().enumerate().filter(|(_, name)| !known.contains(name.as_str()));
            for (index, name) in strange.take(PROBLEMS_MAX) {
                let meant = did_you_mean(name, known.iter().copied());
                problems.push(unknown_name(parsed, &at(list, index), what, name, meant));
            }
        }
        for (index, id) in
            selector.devices.iter().enumerate().filter(|(_, id)| estate.device(id).is_none()).take(PROBLEMS_MAX)
        {
            // Only its own site's devices are like enough, and a million others need not be looked at.
            let near = estate.site(&id.site()).into_iter().flat_map(|site| &site.devices);
            let meant = did_you_mean(id.as_str(), near.map(|d| d.id.as_str()));
            problems.push(unknown_name(parsed, &at("devices", index), "device", id.as_str(), meant));
        }
        if problems.len() >= PROBLEMS_MAX {
            problems.truncate(PROBLEMS_MAX);
            break;
        }
    }
    problems
}

fn unknown_name(parsed: &ParsedPlan, field: &str, what: &str, name: &str, meant: Option<&str>) -> Problem {
    let hint = match meant {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "`wardround site list` shows the sites and their devices".to_owned(),
    };
    parsed.problem_at(field, format!("the estate has no {what} {name:?}"), hint)
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
