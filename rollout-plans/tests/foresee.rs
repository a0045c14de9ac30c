//! Forecasts: a resolved plan at the earliest and at the expected pace, and its picture.

mod simulate_support;

use simulate_support::{START, foreseen, plan, standard, urgent};
use wardround_rollout_plans::simulate::{End, Forecast, picture};

fn passed(forecast: &Forecast) -> Vec<(u64, u64)> {
    let pairs = forecast.earliest.waves.iter().zip(&forecast.expected.waves);
    let passed: Option<_> = pairs.map(|(early, usual)| early.passed_ms.zip(usual.passed_ms)).collect();
    passed.unwrap_or_else(|| panic!("a wave has not passed: {forecast:?}"))
}

#[test]
fn the_earliest_is_never_later_than_the_expected() {
    for plan in [urgent(), standard(), plan("limits: { per_site: 1, total: 4 }", "1h")] {
        let forecast = foreseen(&plan, 40, 8);
        assert_eq!((forecast.earliest.end, forecast.expected.end), (End::Completed, End::Completed));
        let passed = passed(&forecast);
        assert!(passed.iter().all(|(early, usual)| early <= usual), "{passed:?}");
        assert!(passed.is_sorted(), "waves pass in order: {passed:?}");
        for (who, wave) in forecast.waves.iter().zip(&forecast.expected.waves) {
            assert_eq!((&who.name, who.devices), (&wave.name, wave.count));
            assert_eq!(who.regions.values().sum::<u64>(), who.devices);
            assert_eq!(who.platforms.values().sum::<u64>(), who.devices);
        }
    }
}

/// By hand: ten devices at two sites, one at a time at each, so five in a row; each takes an install, a restart where there is
/// one, and the soak.
#[test]
fn the_earliest_is_what_limits_and_soaks_ask_for() {
    let forecast = foreseen(&plan("limits: { per_site: 1 }", "1h"), 2, 6);
    let waves = &forecast.earliest.waves;
    let in_a_row = 5 * 3_600_000;
    let (began, ended) = (waves[1].began_ms.unwrap(), waves[1].passed_ms.unwrap());
    assert!(ended - began >= in_a_row, "five soaks of an hour: {}", ended - began);
    // An install of two minutes, a restart of one, and seconds until nodes react.
    assert!(ended - began <= in_a_row + 6 * 240_000, "{}", ended - began);
    assert_eq!(forecast.earliest.at_risk.site, 1);
}

#[test]
fn a_freeze_and_windows_are_kept_to_and_shown() {
    let top = "windows: [{ from: \"20:00\", to: \"23:00\" }]\nfreezes: [{ from: 2026-11-25, to: 2026-11-26, reason: go-live }]";
    let forecast = foreseen(&plan(top, "1h"), 3, 4);
    let freeze = forecast.closed.iter().find(|closed| closed.freeze).unwrap();
    assert!(freeze.why.contains("go-live"));
    let frozen = freeze.from_ms..freeze.to_ms;
    for wave in forecast.expected.waves.iter().chain(&forecast.earliest.waves) {
        assert!(!frozen.contains(&wave.installed_ms.unwrap()), "{wave:?}");
    }
    assert!(forecast.expected.waits.iter().any(|wait| wait.code == "window"));
}

/// A plan that could never end within sight is told so, and drawn.
#[test]
fn what_takes_for_ever_says_so() {
    let forecast = foreseen(&plan("limits: { total: 1 }", "90d"), 4, 5);
    assert_eq!(forecast.expected.end, End::OutOfTime);
    assert!(picture("p", "KB1", &forecast).contains("expected it is not completed (not over)"));
}

#[test]
fn the_picture_of_a_forecast_never_changes() {
    let mut forecast = foreseen(&standard(), 40, 8);
    forecast.waves[0].name = "<canary> & \"co\"".to_owned();
    let svg = picture("standard <three> & \"wave\"", "KB4500331", &forecast);
    assert_eq!(svg, picture("standard <three> & \"wave\"", "KB4500331", &forecast));
    assert_eq!(forecast.start_ms, START.0);
    let drawing = roxmltree::Document::parse(&svg).unwrap();
    let of = |class: &str| drawing.descendants().filter(|node| node.attribute("class") == Some(class)).count();
    let waves = forecast.waves.len();
    // Each once more in the legend.
    assert_eq!((of("install"), of("soak"), of("gate")), (waves + 1, waves + 1, waves + 1));
    assert_eq!(of("person"), 2 + 1, "two waves wait for approvals");
    assert!(of("closed") > 1 && of("curve") == 1);
    let texts: Vec<&str> = drawing.descendants().filter(|n| n.has_tag_name("text")).filter_map(|n| n.text()).collect();
    assert!(texts.contains(&"<canary> & \"co\""), "{texts:?}");
    insta::assert_snapshot!("picture", svg);
}
