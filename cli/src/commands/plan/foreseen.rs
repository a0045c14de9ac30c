//! A forecast for people: who, when, how many at risk, and what waits for what.

use std::{collections::BTreeMap, path::Path};

use wardround_proto::v1;
use wardround_rollout_plans::simulate::{End, Forecast, Run, Wait, picture};

use super::simulated::length;
use crate::{
    failure::Failure,
    output::{self, count},
    when,
};

/// Most regions or platforms named in one cell.
const NAMED_MAX: usize = 4;
/// Waits of a wave that are told.
const WAITS_MAX: usize = 4;
/// What holds a wave up for less than this part of a thousand of the whole is not worth a line.
const WORTH_A_LINE: u64 = 5;

/// What the controller has reckoned, if it has.
pub(super) fn read(preview: &v1::PreviewPlanResponse) -> Result<Option<Forecast>, Failure> {
    if preview.forecast_json.is_empty() {
        return Ok(None);
    }
    let forecast = serde_json::from_str(&preview.forecast_json);
    forecast.map(Some).map_err(|e| {
        Failure::new(format!("the controller's forecast can't be read: {e}"))
            .hint("use the `wardround` of the controller's version")
    })
}

/// Writes the picture.
pub(super) fn draw(
    path: &Path,
    plan: &str,
    patch: &str,
    forecast: Option<&Forecast>,
    why_none: &str,
) -> Result<(), Failure> {
    let Some(forecast) = forecast else {
        let why = if why_none.is_empty() { "the controller has sent no forecast" } else { why_none };
        return Err(Failure::new(format!("there is nothing to draw: {why}")));
    };
    std::fs::write(path, picture(plan, patch, forecast)).map_err(|e| Failure::file("write", path, &e))?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

/// What follows the table of waves.
pub(super) fn human(forecast: &Forecast) -> String {
    let mut text = format!("\n\nwhen, if it is started {}:\n", moment(forecast, 0));
    let rows = forecast.waves.iter().enumerate().map(|(w, who)| {
        let early = forecast.earliest.waves.get(w);
        let usual = forecast.expected.waves.get(w);
        let at = |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), |ms| moment(forecast, ms));
        let lasts = usual.and_then(|w| Some(w.passed_ms?.saturating_sub(w.began_ms?)));
        [
            who.name.clone(),
            at(early.and_then(|w| w.passed_ms)),
            at(usual.and_then(|w| w.began_ms)),
            at(usual.and_then(|w| w.passed_ms)),
            lasts.map_or_else(|| "-".to_owned(), length),
            usual.map_or_else(String::new, |w| w.at_risk.to_string()),
        ]
    });
    let header = ["wave", "earliest end", "expected begin", "expected end", "takes", "at risk"];
    text += &output::table(header, rows);
    for (run, word) in [(&forecast.earliest, "at the earliest"), (&forecast.expected, "at the expected pace")] {
        text += &format!("\n{word}: {}", ends(forecast, run));
    }
    let r = &forecast.expected.at_risk;
    text += &format!(
        "\nmost devices at risk at one moment: {} ({}), {} at one site",
        r.all,
        moment(forecast, r.at_ms),
        r.site
    );
    if !r.region_name.is_empty() {
        text += &format!(", {} in region {}", r.region, r.region_name);
    }
    text += "\n\nwho:\n";
    let rows = forecast
        .waves
        .iter()
        .map(|w| [w.name.clone(), w.devices.to_string(), w.sites.to_string(), named(&w.regions), named(&w.platforms)]);
    text += &output::table(["wave", "devices", "sites", "regions", "platforms"], rows);
    let waits = worth_telling(&forecast.expected);
    if !waits.is_empty() {
        text += "\n\nwhat waits for what, at the expected pace:\n";
        let rows = waits.into_iter().map(|w| [w.wave.clone(), length(w.ms), w.text.clone()]);
        text += &output::table(["wave", "for", "until"], rows);
    }
    text
}

fn ends(forecast: &Forecast, run: &Run) -> String {
    match run.end {
        End::Completed => {
            format!("all waves have passed {} (after {})", moment(forecast, run.ended_ms), length(run.ended_ms))
        }
        End::OutOfTime => format!("not over after {}: look at limits and windows", length(run.ended_ms)),
        end => format!("{}: {}", end.word(), run.reason),
    }
}

/// On the local clock.
fn moment(forecast: &Forecast, ms: u64) -> String {
    when::local(forecast.start_ms.saturating_add_unsigned(ms))
}

/// "north 12, south 3".
fn named(counts: &BTreeMap<String, u64>) -> String {
    let mut most: Vec<(&String, &u64)> = counts.iter().collect();
    most.sort_by_key(|(name, n)| (std::cmp::Reverse(**n), *name));
    let word = |name: &str| if name.is_empty() { "none".to_owned() } else { name.to_owned() };
    let shown =
        most.iter().take(NAMED_MAX).map(|(name, n)| format!("{} {n}", word(name))).collect::<Vec<_>>().join(", ");
    match most.len().saturating_sub(NAMED_MAX) {
        0 => shown,
        more => format!("{shown} and {}", count(more, "other")),
    }
}

fn worth_telling(run: &Run) -> Vec<&Wait> {
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    let mut worth = Vec::new();
    for wait in &run.waits {
        let of_wave = told.entry(&wait.wave).or_default();
        *of_wave += 1;
        if *of_wave <= WAITS_MAX && wait.ms.saturating_mul(1_000) >= run.ended_ms.saturating_mul(WORTH_A_LINE) {
            worth.push(wait);
        }
    }
    worth
}
