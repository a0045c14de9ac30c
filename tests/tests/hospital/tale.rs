//! What the nodes said that night and what the controller made of it, as a text that a person reads.

use std::{fmt::Write as _, path::Path};

use wardround_journal::{Journal, Options};
use wardround_proto::v1::{AuditRecord, Deployment};
use wardround_rollout_plans::{
    engine::Event,
    model::{DeploymentState, Health, ReportBody},
};

/// A report that the controller took in.
pub(crate) struct Said {
    site: String,
    /// By the node's clock, which is the controller's here: Unix milliseconds.
    at: i64,
    body: ReportBody,
}

/// All reports in the journal of a controller that has stopped.
pub(crate) fn reports(journal: &Path) -> Vec<Said> {
    let options = Options { ballast_bytes: 0, free_bytes_min: 0, ..Options::default() };
    let journal = Journal::open(journal, &options).unwrap();
    let mut said = Vec::new();
    for record in journal.replay(0) {
        let record: serde_json::Value = serde_json::from_slice(&record.unwrap().1).unwrap();
        let changes = record["events"].as_array().unwrap().iter().flat_map(|change| change.as_array().unwrap());
        for event in changes.filter_map(|entry| entry.get("engine")).filter(|event| event["event"] == "report") {
            let Event::Report { site, at, body, .. } = serde_json::from_value(event.clone()).unwrap() else { continue };
            said.push(Said { site: site.to_string(), at: at.0, body });
        }
    }
    said
}

/// Every report with its time, for whoever looks for what took so long.
pub(crate) fn diary(said: &[Said], begin: i64) -> String {
    let mut all: Vec<&Said> = said.iter().filter(|said| !matches!(said.body, ReportBody::Inventory { .. })).collect();
    all.sort_by_key(|said| said.at);
    let line = |said: &&Said| {
        let what = match &said.body {
            ReportBody::Deployment { rollout, device, state, code, .. } => {
                format!("{rollout} {device} {} {code}", state.word())
            }
            ReportBody::Health { system, health, .. } => format!("{system} {health:?}"),
            other => format!("{other:?}"),
        };
        format!("{:>7.1} s  {} {what}\n", (said.at - begin) as f64 / 1000.0, said.site)
    };
    all.iter().map(line).collect()
}

/// A step of a deployment.
struct Step<'a> {
    at: i64,
    state: DeploymentState,
    reason: &'a str,
    code: &'a str,
}

fn steps<'a>(said: &'a [Said], rollout: &str, of: &str) -> Vec<Step<'a>> {
    let of_it = said.iter().filter_map(|said| match &said.body {
        ReportBody::Deployment { rollout: r, device, state, reason, code, .. }
            if r.as_str() == rollout && device.as_str() == of =>
        {
            Some(Step { at: said.at, state: *state, reason, code })
        }
        _ => None,
    });
    of_it.collect()
}

/// From when to when a device was in hand, by its node's clock; `None` when it never was.
pub(crate) fn in_hand(said: &[Said], rollout: &str, device: &str) -> Option<(i64, i64)> {
    let steps = steps(said, rollout, device);
    Some((steps.first()?.at, steps.last()?.at))
}

/// The line of a hospital was down in this time: Unix milliseconds.
pub(crate) type Dark = Option<(i64, i64)>;

/// Wine's cmd could not start its own reg.exe: once in eight nights, on a machine with six times the work that it can do. The node
/// puts the device off, as it must, and asks again a second later: that is no part of the story.
fn is_out_of_breath(step: &Step<'_>) -> bool {
    step.state == DeploymentState::Deferred
        && step.code == "detection"
        && step.reason.contains("reg.exe ended with 9009")
}

/// The steps of a device, in one line; what happened while the line was down stands in brackets.
fn course(said: &[Said], rollout: &str, device: &str, dark: Dark) -> String {
    let (from, to) = dark.unwrap_or((i64::MAX, i64::MAX));
    let mut words: Vec<String> = Vec::new();
    let (mut told, mut opened, mut closed) = (("", ""), false, false);
    for step in steps(said, rollout, device) {
        let state = step.state.word();
        // A device that somebody works with is asked again and again, and a rollback has two steps.
        if told == (state, step.code) || (told.0 == "deferred" && state == "preflight") {
            continue;
        }
        told = (state, step.code);
        if is_out_of_breath(&step) {
            continue;
        }
        if step.at >= from && !opened {
            opened = true;
            words.push("[".to_owned());
        }
        if step.at >= to && !closed {
            closed = true;
            words.push("]".to_owned());
        }
        words.push(state.to_owned());
        match step.code {
            "" => {}
            // The blame says it in full.
            "clinical_system" => words.push("(clinical_system)".to_owned()),
            code => words.push(format!("({code}: {})", masked(step.reason))),
        }
    }
    if opened && !closed {
        words.push("]".to_owned());
    }
    if words.is_empty() { "nothing is done to it".to_owned() } else { words.join(" ") }
}

/// What befell the clinical systems of a site since a moment, and whom its node blamed.
pub(crate) fn health(said: &[Said], of: &str, since: i64) -> Vec<String> {
    let told = said.iter().filter(|said| said.site == of && said.at >= since).filter_map(|said| match &said.body {
        ReportBody::Health { system, health, blames, probes, .. } => {
            let words = if *health == Health::Healthy { "is well" } else { "is not well" };
            let blamed = blames.as_ref().map_or(String::new(), |rollout| format!(", blames {rollout}"));
            let answers: Vec<&str> = probes.iter().map(|probe| probe.answer.as_str()).collect();
            Some(format!("{system} {words}{blamed}: {}", answers.join("; ")))
        }
        ReportBody::Alarm { code, text, .. } => Some(format!("alarm {code}: {text}")),
        ReportBody::Refused { what, why, .. } => Some(format!("a {what} is refused: {why}")),
        _ => None,
    });
    told.collect()
}

/// What the controller's audit log says of a rollout, and below the beginning of each wave the courses of its devices.
pub(crate) fn of_rollout(records: &[AuditRecord], said: &[Said], deployments: &[Deployment], dark: Dark) -> String {
    let rollout = &records.last().unwrap().rollout;
    let mut text = String::new();
    for record in records.iter().filter(|record| record.kind != "directives") {
        writeln!(text, "  {}", masked(&record.text)).unwrap();
        let Some(wave) = record.text.strip_prefix("wave ").and_then(|rest| rest.split(" begins").next()) else {
            continue;
        };
        if !record.text.contains(" begins") {
            continue;
        }
        for deployment in deployments.iter().filter(|deployment| deployment.wave == wave) {
            let id = &deployment.device;
            writeln!(text, "    {id:<10} {}", course(said, rollout, id, dark)).unwrap();
        }
    }
    text
}

/// Digests are others in each night.
fn masked(text: &str) -> String {
    let mut parts = text.split("sha256:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "sha256:…" + part.trim_start_matches(|c: char| c.is_ascii_hexdigit()))
}
