//! A modelled estate with a plan, made ready to run.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]
#![expect(dead_code, reason = "each test file uses its own part")]

use wardround_rollout_plans::{
    language::parse_plan,
    model::{Patch, Timestamp},
    resolve::resolve,
    simulate::{Forecast, HORIZON_MS, Model, Prepared, Run, Shape, foresee, modelled_estate, run},
};

/// Tuesday 24 November 2026, 09:00 in London.
pub(crate) const START: Timestamp = Timestamp(1_795_510_800_000);

pub(crate) struct Ward {
    prepared: Prepared,
    pub(crate) model: Model,
}

impl Ward {
    /// The standard model with a bad patch.
    pub(crate) fn new(plan: &str, bad: &str, sites: usize, devices_each: usize) -> Self {
        let mut model = Model::standard();
        model.bad_patch = Some(bad.parse().unwrap());
        Self::with(plan, model, sites, devices_each)
    }

    pub(crate) fn with(plan: &str, model: Model, sites: usize, devices_each: usize) -> Self {
        let parsed = parse_plan(plan, "plan.yaml").unwrap();
        let estate = modelled_estate(&parsed.plan, &patch(), &model, Shape { sites, devices_each }).unwrap();
        let resolution = resolve(&parsed, &patch(), &estate).unwrap();
        let prepared = Prepared::new(&parsed.plan, &patch(), &resolution, &estate, &model, START).unwrap();
        Self { prepared, model }
    }

    pub(crate) fn run(&self, seed: u64) -> Run {
        run(&self.prepared, &self.model, seed, HORIZON_MS, &mut |_| true).unwrap()
    }
}

/// The shipped plan for a worm.
pub(crate) fn urgent() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/urgent.yaml")).unwrap()
}

/// A canary and the rest, with these lines at the top and this soak.
pub(crate) fn plan(top: &str, soak: &str) -> String {
    format!(
        "name: two\n{top}\nwaves:\n  - name: canary\n    select: {{ labels: {{ ring: canary }} }}\n    soak: {soak}\n    gate: \
         {{ success: 50%, evidence_min: 1 }}\n  - name: rest\n    select: {{ remaining: true }}\n    soak: {soak}\n    gate: \
         {{ success: 50% }}\n"
    )
}

/// For two platforms, with a restart for one.
pub(crate) fn patch() -> Patch {
    serde_json::from_value(serde_json::json!({
        "id": "KB4500331", "title": "a patch", "severity": "critical",
        "variants": [
            variant("xp", "windows_xp", "always"),
            variant("w2003", "windows_server_2003", "when_asked"),
        ],
    }))
    .unwrap()
}

fn variant(id: &str, product: &str, reboot: &str) -> serde_json::Value {
    serde_json::json!({
        "id": id,
        "platforms": [format!("cpe:2.3:o:microsoft:{product}:*:*:*:*:*:*:*:*")],
        "payload": {
            "file_name": "patch.exe",
            "digest": wardround_signing::Digest::of(b"patch"),
            "length": 1_000_000,
            "chunks": [],
        },
        "installer": { "technology": "hotfix", "kb": "KB4500331" },
        "reboot": reboot,
    })
}

/// The shipped plan of the ordinary pace.
pub(crate) fn standard() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/standard.yaml")).unwrap()
}

/// The forecast of a plan in a modelled estate.
pub(crate) fn foreseen(plan: &str, sites: usize, devices_each: usize) -> Forecast {
    let parsed = parse_plan(plan, "plan.yaml").unwrap();
    let estate = modelled_estate(&parsed.plan, &patch(), &Model::standard(), Shape { sites, devices_each }).unwrap();
    let resolution = resolve(&parsed, &patch(), &estate).unwrap();
    foresee(&parsed.plan, &patch(), &resolution, &estate, START, &mut || true).unwrap()
}
