//! Plans for the tests: as short as the conditions allow.

/// A plan of canary, pilot and everything else, by the label `ring`, with an approval of the clinical safety officer
/// before the pilot.
#[must_use]
pub fn three_waves(soak: &str, limits: &str, scope: &str) -> String {
    format!(
        "{}waves:\n  - name: canary\n    select: {{ labels: {{ ring: canary }} }}\n    soak: {soak}\n    \
         gate: {{ success: 100%, approvals: [clinical] }}\n  - name: pilot\n    \
         select: {{ labels: {{ ring: pilot }} }}\n    soak: {soak}\n  - name: full\n    \
         select: {{ remaining: true }}\n    soak: {soak}\n",
        head(limits, scope)
    )
}

/// A plan of the devices labelled `ring: canary`, then all others, without approvals.
#[must_use]
pub fn two_waves(soak: &str, limits: &str, scope: &str) -> String {
    format!(
        "{}waves:\n  - name: canary\n    select: {{ labels: {{ ring: canary }} }}\n    soak: {soak}\n  - name: full\n    \
         select: {{ remaining: true }}\n    soak: {soak}\n",
        head(limits, scope)
    )
}

/// A plan of one wave.
#[must_use]
pub fn one_wave(soak: &str, limits: &str, scope: &str) -> String {
    format!("{}waves:\n  - name: all\n    select: {{ remaining: true }}\n    soak: {soak}\n", head(limits, scope))
}

fn head(limits: &str, scope: &str) -> String {
    format!(
        "name: test\nlimits: {limits}\nhealth: {{ interval: 200ms, failures: 2 }}\nrollback: {{ scope: {scope} }}\n\
         timing: {{ install_timeout: 1m, reboot_timeout: 4s, unknown_after: 30s, defer_max: 5m, retry_after: 1s }}\n"
    )
}

/// A window, on the clock of UTC, that is closed now and for the next five hours: begin and end.
#[must_use]
pub fn closed_window() -> (String, String) {
    let hour = i64::from(jiff::Timestamp::now().to_zoned_datetime(jiff::tz::TimeZone::UTC).hour());
    let at = |ahead: i64| format!("{:02}:00", (hour + ahead) % 24);
    (at(6), at(9))
}
