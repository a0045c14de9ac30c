//! What a simulation has shown: for people, and for programs.

use serde::Serialize;
use wardround_rollout_plans::simulate::{End, Many, Run, Spread};

use crate::{
    output::{self, count},
    when,
};

/// What was asked.
#[derive(Debug, Serialize)]
pub(super) struct Asked {
    pub(super) plan: String,
    pub(super) patch: String,
    /// With devices in the rollout.
    pub(super) sites: usize,
    pub(super) devices: usize,
    pub(super) modelled_estate: bool,
    #[serde(rename = "start", serialize_with = "moment")]
    pub(super) start_ms: i64,
    pub(super) bad_patch: Option<String>,
    /// The command without its seeds.
    #[serde(skip)]
    pub(super) command: String,
}

fn moment<S: serde::Serializer>(ms: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    when::rfc3339(*ms).serialize(serializer)
}

/// One run in a list of many.
#[derive(Debug, Serialize)]
struct Short {
    seed: u64,
    end: End,
    ended_ms: u64,
    harmed: u64,
    reached: u64,
    taken_back: u64,
    still_harmed: u64,
    at_risk: u64,
    stopped_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Worst {
    seed: u64,
    harmed: u64,
    command: String,
}

/// What came out.
#[derive(Debug, Serialize)]
pub(super) struct Simulated {
    #[serde(flatten)]
    asked: Asked,
    seed: u64,
    seeds: u64,
    many: Many,
    worst: Option<Worst>,
    /// The whole run, when there was only one.
    run: Option<Run>,
    runs: Vec<Short>,
}

impl Simulated {
    pub(super) fn new(asked: Asked, runs: &[Run]) -> Self {
        let many = Many::of(runs);
        let harmed = many.spreads.harmed;
        let worst = (runs.len() > 1 && harmed.worst > 0).then(|| Worst {
            seed: harmed.worst_seed,
            harmed: harmed.worst,
            command: format!("{} --seed {} --seeds 1", asked.command, harmed.worst_seed),
        });
        let short = |run: &Run| Short {
            seed: run.seed,
            end: run.end,
            ended_ms: run.ended_ms,
            harmed: run.devices.harmed,
            reached: run.devices.reached,
            taken_back: run.devices.taken_back,
            still_harmed: run.devices.still_harmed,
            at_risk: run.at_risk.all,
            stopped_ms: run.stop.as_ref().map(|stop| stop.at_ms),
        };
        Self {
            seed: runs.first().map_or(0, |run| run.seed),
            seeds: runs.len() as u64,
            many,
            worst,
            run: if let [only] = runs { Some(only.clone()) } else { None },
            runs: runs.iter().map(short).collect(),
            asked,
        }
    }

    pub(super) fn human(&self) -> String {
        let mut text = self.head();
        match &self.run {
            Some(run) => text += &of_one(run),
            None => text += &self.of_many(),
        }
        text += "\n\nSites, lines, devices, clinical systems and people are modelled; the engine is the real one.";
        text
    }

    fn head(&self) -> String {
        let asked = &self.asked;
        let estate = if asked.modelled_estate { "modelled estate" } else { "the controller's estate" };
        let mut text = format!(
            "plan {:?}, patch {}: {} at {} of {estate}, started {}",
            asked.plan,
            asked.patch,
            count(asked.devices, "device"),
            count(asked.sites, "site"),
            when::rfc3339(asked.start_ms).unwrap_or_default()
        );
        match &asked.bad_patch {
            Some(bad) => text += &format!("\nbad patch: breaks {bad}"),
            None => text += "\nthe patch breaks nothing, unless the model file says so",
        }
        text
    }

    fn of_many(&self) -> String {
        let many = &self.many;
        let last = self.seed.wrapping_add(self.seeds - 1);
        let ends: Vec<String> = many.ends.iter().map(|(end, n)| format!("{n} {}", end.word())).collect();
        let mut text = format!("\n{} runs, seeds {} to {last}: {}", self.seeds, self.seed, ends.join(", "));
        for (why, n) in &many.stopped_by {
            text += &format!("\n  stopped by: {why} ({n} of {})", self.seeds);
        }
        if many.false_alarms > 0 {
            text += &format!("\n  {} were stopped though the patch had broken nothing", many.false_alarms);
        }
        let s = &many.spreads;
        let plain = |name: &str, spread: &Spread| row(name, spread, &|n| n.to_string());
        let mut rows = vec![
            plain("devices harmed", &s.harmed),
            plain("had the patch when it stopped", &s.reached),
            plain("taken back", &s.taken_back),
            plain("harmed at the end", &s.still_harmed),
            plain("succeeded", &s.succeeded),
            plain("at risk at one moment", &s.at_risk),
        ];
        let time = |name: &str, spread: &Option<Spread>| spread.as_ref().map(|s| row(name, s, &length));
        rows.extend(time("until it was stopped", &s.stopped_ms));
        rows.extend(time("until all waves had passed", &s.completed_ms));
        text += "\n\n";
        text += &output::table(["", "median", "90 of 100", "99 of 100", "worst", "seed"], rows);
        if let Some(worst) = &self.worst {
            text += &format!(
                "\n\nworst: seed {}, {} harmed; see it with\n  {}",
                worst.seed,
                count(worst.harmed, "device"),
                worst.command
            );
        }
        text
    }
}

fn row(name: &str, spread: &Spread, shown: &dyn Fn(u64) -> String) -> [String; 6] {
    let Spread { median, p90, p99, worst, worst_seed } = *spread;
    [name.to_owned(), shown(median), shown(p90), shown(p99), shown(worst), worst_seed.to_string()]
}

/// A length of time as people say it.
pub(super) fn length(ms: u64) -> String {
    when::length(i64::try_from(ms).unwrap_or(i64::MAX))
}

fn of_one(run: &Run) -> String {
    let at = |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), length);
    let waves = run.waves.iter().map(|w| {
        [
            w.name.clone(),
            w.count.to_string(),
            w.state.replace('_', " "),
            at(w.began_ms),
            at(w.installed_ms),
            at(w.passed_ms),
            w.at_risk.to_string(),
            w.harmed.to_string(),
        ]
    });
    let mut text = format!("\nseed {}: {} after {}", run.seed, run.end.word(), length(run.ended_ms));
    if !run.reason.is_empty() {
        text += &format!(": {}", run.reason);
    }
    text += "\n\n";
    let header = ["wave", "devices", "state", "begins", "last install", "passes", "at risk", "harmed"];
    text += &output::table(header, waves);
    let d = &run.devices;
    text += &format!(
        "\n\npatched at some time: {}; harmed: {}, at the end {}; taken back: {}; succeeded: {}",
        d.reached, d.harmed, d.still_harmed, d.taken_back, d.succeeded
    );
    if let Some(stop) = &run.stop {
        let broken = if stop.false_alarm { ", a false alarm" } else { "" };
        text += &format!(
            "\nstopped after {}{broken}: {} had the patch, {} of them harmed\n  by: {}",
            length(stop.at_ms),
            count(stop.reached, "device"),
            stop.harmed,
            stop.why
        );
    }
    let r = &run.at_risk;
    text += &format!(
        "\nmost at risk at one moment: {} in all (after {}), {} at site {}",
        r.all,
        length(r.at_ms),
        r.site,
        r.site_name
    );
    if !r.region_name.is_empty() {
        text += &format!(", {} in region {}", r.region, r.region_name);
    }
    if !run.waits.is_empty() {
        let rows = run.waits.iter().map(|w| [w.wave.clone(), length(w.ms), w.code.clone(), w.text.clone()]);
        text += "\n\n";
        text += &output::table(["wave", "waited", "for", "for example"], rows);
    }
    text
}
