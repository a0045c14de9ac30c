//! One probe, declared as in a site file, and what it answers.

use std::{collections::BTreeMap, path::Path};

use wardround_node::{
    config::parse_site_file,
    probes::{Means, probe_system},
};
use wardround_rollout_plans::model::{ProbeAnswer, SystemId};

/// The time that probes are told, unless a test names another: Unix milliseconds.
pub const PROBE_TIME_MS: i64 = 1_700_000_000_000;

/// Runs one probe, written as in a site file.
///
/// # Panics
/// When the site file would refuse it.
pub async fn probe(probe: &str) -> ProbeAnswer {
    probe_at(probe, PROBE_TIME_MS).await
}

/// As [`probe`], at another time: Unix milliseconds.
///
/// # Panics
/// As [`probe`].
pub async fn probe_at(probe: &str, now_ms: i64) -> ProbeAnswer {
    let yaml = format!("site: rx1\nsystems:\n  - name: s\n    probes:\n      - {probe}\n");
    let site = parse_site_file(&yaml, "site.yaml").unwrap_or_else(|error| panic!("{probe}: {error} ({})", error.hint));
    let (system, config): (&SystemId, _) = site.systems.first_key_value().expect("it is declared");
    let means = Means { devices: &BTreeMap::new(), work_dir: Path::new("/nowhere") };
    probe_system(system, &config.probes, means, &|| now_ms).await.remove(0)
}

/// Runs one probe of a system that needs the device `dev`, which is reached like this.
///
/// # Panics
/// As [`probe`].
pub async fn probe_device(probe: &str, transport: &str, work_dir: &Path) -> ProbeAnswer {
    let yaml = format!(
        "site: rx1\ndevices:\n  - name: dev\n    platform: \"cpe:2.3:o:microsoft:windows_7:-:sp1:*:*:*:*:x64:*\"\n    \
         transport: {transport}\nsystems:\n  - name: s\n    devices: [dev]\n    probes:\n      - {probe}\n"
    );
    let site = parse_site_file(&yaml, "site.yaml").unwrap_or_else(|error| panic!("{probe}: {error} ({})", error.hint));
    let (system, config): (&SystemId, _) = site.systems.first_key_value().expect("it is declared");
    let means = Means { devices: &site.devices, work_dir };
    probe_system(system, &config.probes, means, &|| PROBE_TIME_MS).await.remove(0)
}

/// Asserts an answer: healthy or not, and words of it.
///
/// # Panics
/// When it is another.
pub fn told(answer: &ProbeAnswer, ok: bool, words: &str) {
    assert!(answer.ok == ok && answer.answer.contains(words), "{words:?}: {answer:?}");
}
