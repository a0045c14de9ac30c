//! Times, colours and bars.

use maud::{Markup, html};
use wardround_proto::v1;
use wardround_rollout_plans::model::{DurationMs, Timestamp};

/// "3m ago", with the exact time beside it.
pub(super) fn ago(ms: i64, now: Timestamp) -> Markup {
    if ms == 0 {
        return html! { span.dim { "never" } };
    }
    html! { time datetime=(exact(ms)) title=(exact(ms)) { (coarse(now.since(Timestamp(ms)))) " ago" } }
}

/// "for 3m".
pub(super) fn since(ms: i64, now: Timestamp) -> Markup {
    html! { time.dim datetime=(exact(ms)) title=(exact(ms)) { "for " (coarse(now.since(Timestamp(ms)))) } }
}

/// Whole seconds: nobody reads milliseconds off a page that is two seconds old.
fn coarse(age: DurationMs) -> String {
    DurationMs::from_secs(age.0 / 1000).to_string().replace("0ms", "0s")
}

/// RFC 3339 in UTC.
pub(super) fn exact(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map(|t| t.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()).unwrap_or_default()
}

/// The colour of a state of a rollout, wave, deployment or clinical system. The word is always shown as well.
pub(super) fn tone(state: &str) -> &'static str {
    match state {
        "completed" | "passed" | "succeeded" | "skipped" | "healthy" => "good",
        "failed" | "rollback_failed" | "unhealthy" | "halted" => "bad",
        "paused" | "unknown" | "deferred" | "rolling_back" | "rolled_back" | "awaiting_approval" => "warn",
        "draft" | "signed" | "pending" | "cancelled" => "idle",
        _ => "busy",
    }
}

/// A state's word in its colour, spaces for underscores.
pub(super) fn state(word: &str) -> Markup {
    html! { span class={ "state " (tone(word)) } { (word.replace('_', " ")) } }
}

/// "3 succeeded, 1 failed".
pub(super) fn counts(counts: &[v1::StateCount]) -> String {
    let words = counts.iter().filter(|c| c.count > 0).map(|c| format!("{} {}", c.count, c.state.replace('_', " ")));
    words.collect::<Vec<_>>().join(", ")
}

/// Deployments by state as a bar: green at the left, what has not begun at the right.
pub(super) fn bar(counts: &[v1::StateCount]) -> Markup {
    const WIDTH: u64 = 1_000;
    let total: u64 = counts.iter().map(|c| c.count).sum();
    let mut at = 0;
    let parts: Vec<(u64, u64, &str)> = ["good", "busy", "warn", "bad", "idle"]
        .into_iter()
        .filter_map(|tone_wanted| {
            let count: u64 = counts.iter().filter(|c| tone(&c.state) == tone_wanted).map(|c| c.count).sum();
            let begin = at;
            at += count;
            let x = |n: u64| (n * WIDTH).checked_div(total).unwrap_or(0);
            (count > 0).then(|| (x(begin), x(at) - x(begin), tone_wanted))
        })
        .collect();
    html! {
        svg.bar viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" aria-label=(self::counts(counts)) {
            @for (x, width, tone) in parts { rect class=(tone) x=(x) y="0" width=(width) height="10" {} }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_its_width_and_no_more() {
        let count = |state: &str, count| v1::StateCount { state: state.to_owned(), count };
        let markup = bar(&[count("succeeded", 1), count("pending", 1), count("failed", 1)]).into_string();
        for part in [
            r#"class="good" x="0" y="0" width="333""#,
            r#"class="bad" x="333" y="0" width="333""#,
            r#"class="idle" x="666" y="0" width="334""#,
        ] {
            assert!(markup.contains(part), "{part} in {markup}");
        }
        assert!(!bar(&[]).into_string().contains("rect"));
    }

    #[test]
    fn times_are_told_coarsely_and_exactly() {
        let markup = ago(1_000, Timestamp(62_500)).into_string();
        assert!(markup.contains("1m 1s ago") && markup.contains("1970-01-01 00:00:01 UTC"), "{markup}");
        assert!(since(1_000, Timestamp(1_200)).into_string().contains("for 0s"));
        assert!(ago(0, Timestamp(5)).into_string().contains("never"));
    }
}
