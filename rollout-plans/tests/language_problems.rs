//! Bad plans: every message is a golden file, reviewed like code.

use wardround_rollout_plans::language::parse_plan;

/// A plan with `waves` as given.
fn with_waves(waves: &str) -> String {
    format!("name: test\nwaves:\n{waves}")
}

const GOOD_WAVE: &str = "  - { name: full, select: { remaining: true }, soak: 8h }\n";

fn problems(yaml: &str) -> String {
    match parse_plan(yaml, "plan.yaml") {
        Ok(parsed) => panic!("accepted: {parsed:?}"),
        Err(problems) => problems.iter().map(|p| format!("{p}\n")).collect(),
    }
}

/// One golden per case, named after it.
fn golden(name: &str, yaml: &str) {
    insta::assert_snapshot!(name, problems(yaml), yaml);
}

#[test]
fn fields() {
    golden("unknown_field", &format!("name: test\nhelth: {{ interval: 10s }}\nwaves:\n{GOOD_WAVE}"));
    golden(
        "unknown_field_in_gate",
        &with_waves(
            "  - name: a\n    select: { remaining: true }\n    soak: 8h\n    gate: { evidense_min: 2, colour: red }\n",
        ),
    );
    golden(
        "gate_test_that_makes_no_sense",
        &with_waves(
            "  - name: a\n    select: { percent: 1% }\n    soak: 8h\n    gate: { failures_max: 0, test: { alpha: 30%, harm: 5%, miss: 0%, background: 5% } }\n  \
             - name: b\n    select: { remaining: true }\n    soak: 8h\n    gate: { test: { harm: 0%, power: 80% } }\n  \
             - name: c\n    select: { remaining: true }\n    soak: 8h\n    gate: { failures_max: -1, test: yes }\n",
        ),
    );
    golden("missing_fields", "waves:\n  - name: canary\n");
    golden("field_twice", &format!("name: a\nname: b\nwaves:\n{GOOD_WAVE}"));
    golden("field_without_value", &format!("name: a\nlimits:\nwaves:\n{GOOD_WAVE}"));
    golden("wrong_types", "name: 2026\nlimits: 3\nhealth: { failures: many, interval: 10 }\nwaves: canary\n");
    golden(
        "wrong_types_in_wave",
        &with_waves(
            "  - name: a\n    select: { remaining: yes, sites: rx1, labels: { ring: 1 } }\n    soak: 8\n  - just text\n",
        ),
    );
    golden("top_is_a_list", "- a\n- b\n");
}

#[test]
fn patience() {
    golden(
        "patience_forms",
        &with_waves(
            "  - name: a\n    select: { percent: 1% }\n    soak: 8h\n    deadline: { by: 19.12.2026, then: leaveout }\n    offline: 3d\n  \
             - name: b\n    select: { remaining: true }\n    soak: 8h\n    deadline: { by: 2026, until: 3d }\n    offline: { alarm_after: 2, leave_out_after: 0s }\n",
        ),
    );
    golden(
        "patience_that_makes_no_sense",
        &with_hours(
            "deadline: { by: 2026-12-19, after: 3d }\noffline: {}\ntiming: { retry_after: 2d, retry: 1h, retry_max: 10m, retries: 2 }\n",
        ),
    );
    golden(
        "patience_of_waves",
        &with_waves(
            "  - name: a\n    select: { percent: 1% }\n    soak: 8h\n    deadline: { then: alarm }\n  \
             - name: b\n    select: { remaining: true }\n    soak: 8h\n    offline: { alarm_after: 2d, leave_out_after: 1d }\n",
        ),
    );
    golden("too_many_retries", &with_hours("timing: { retries: 11, retry: soon }\n"));
}

/// A plan whose windows and freezes are `hours`.
fn with_hours(hours: &str) -> String {
    format!("name: test\n{hours}waves:\n{GOOD_WAVE}")
}

#[test]
fn windows() {
    golden(
        "windows_forms",
        &with_hours(
            "windows:\n  - { days: [mon, Tues, mon], from: \"22:00\", to: \"25:00\" }\n  - { from: 22:00 }\n  - { from: 9:00, to: 22:00, day: sat }\n  - nightly\n",
        ),
    );
    golden(
        "windows_that_make_no_sense",
        &with_hours(
            "windows:\n  - { days: [mon, mon], from: \"22:00\", to: \"05:00\" }\n  - { from: \"22:00\", to: \"22:00\" }\n  - { from: \"24:00\", to: \"05:00\" }\n",
        ),
    );
    golden("windows_empty", &with_hours("windows: []\n"));
    golden("windows_empty_days", &with_hours("windows:\n  - { days: [], from: \"22:00\", to: \"05:00\" }\n"));
    golden("windows_too_short", &with_hours("windows:\n  - { from: \"22:00\", to: \"22:30\" }\n"));
    let many = "  - { from: \"22:00\", to: \"05:00\" }\n".repeat(33);
    golden("windows_too_many", &with_hours(&format!("windows:\n{many}")));
    golden(
        "windows_that_never_meet",
        "name: test\nwindows:\n  - { days: [sat], from: \"22:00\", to: \"05:00\" }\nwaves:\n  - name: full\n    select: { remaining: true }\n    soak: 8h\n    windows:\n      - { days: [tue], from: \"22:00\", to: \"05:00\" }\n",
    );
    golden(
        "windows_of_a_wave_too_short",
        "name: test\ntiming: { install_timeout: 2h }\nwaves:\n  - name: full\n    select: { remaining: true }\n    soak: 8h\n    windows:\n      - { days: [tue], from: \"22:00\", to: \"24:00\" }\n      - { days: [wed], from: \"00:05\", to: \"02:00\" }\n",
    );
}

#[test]
fn windows_that_follow_upon_each_other_are_one() {
    let good = "name: test\ntiming: { install_timeout: 3h }\nwaves:\n  - name: full\n    select: { remaining: true }\n    soak: 8h\n    windows:\n      - { days: [tue], from: \"22:00\", to: \"24:00\" }\n      - { days: [wed], from: \"00:00\", to: \"02:00\" }\n";
    assert!(parse_plan(good, "plan.yaml").is_ok());
}

#[test]
fn freezes() {
    golden(
        "freezes_forms",
        &with_hours(
            "freezes:\n  - { from: 2026-12-20, to: 20.12.2026, reason: x }\n  - { from: 2026-02-30, to: 2027-01-04, reason: x }\n  - { from: 2026-12-20, to: 2027-01-04 }\n",
        ),
    );
    golden(
        "freezes_that_make_no_sense",
        &with_hours(
            "freezes:\n  - { from: 2027-01-04, to: 2026-12-20, reason: x }\n  - { from: 2026-12-20, to: 2028-12-20, reason: x }\n",
        ),
    );
}

#[test]
fn values() {
    golden(
        "percent_over_100",
        &with_waves("  - name: a\n    select: { percent: 150% }\n    soak: 8h\n    gate: { success: 120% }\n"),
    );
    golden(
        "percent_forms",
        &with_waves(
            "  - { name: a, select: { percent: 10 }, soak: 8h, gate: { success: 0.98 } }\n  - { name: b, select: { percent: ten% }, soak: 8h }\n  - { name: c, select: { percent: 0% }, soak: 8h }\n",
        ),
    );
    golden(
        "bad_durations",
        "name: t\nhealth: { interval: 1ms, grace: soon }\ntiming: { retry_after: 0s, defer_max: 400d, install_timeout: [1h] }\nwaves:\n  - { name: full, select: { remaining: true }, soak: 8 hours }\n",
    );
    golden("zero_limits", &format!("name: t\nlimits: {{ per_site: 0, total: -1 }}\nwaves:\n{GOOD_WAVE}"));
    golden(
        "unknown_role",
        &with_waves(
            "  - { name: a, select: { percent: 1% }, soak: 8h, gate: { approvals: [clincal, node] } }\n  - { name: b, select: { remaining: true }, soak: 8h }\n",
        ),
    );
    golden("unknown_scope", &format!("name: t\nrollback: {{ scope: waves }}\nwaves:\n{GOOD_WAVE}"));
    golden(
        "bad_cpe",
        &format!("name: t\neligible: {{ platforms: [windows_xp, 'cpe:2.3:o:microsoft'] }}\nwaves:\n{GOOD_WAVE}"),
    );
    golden("bad_ids", &with_waves("  - { name: Canary One, select: { sites: [RX1], devices: [ct-01] }, soak: 8h }\n"));
    golden("control_characters", &format!("name: \"a\\e[2Kb\"\ndescription: \"x\\a\"\nwaves:\n{GOOD_WAVE}"));
    golden(
        "hidden_characters_in_keys",
        &format!(
            "name: t\n\"a\\e[2Jb\": 1\n? {}\n: 1\nwaves:\n  - {{ name: a, select: {{ labels: {{ \"\\u202ek\": v }} }}, soak: 8h, gate: {{ success: 0.07 }} }}\n",
            "k".repeat(300)
        ),
    );
    golden("long_texts", &format!("name: {}\ndescription: {}\nwaves:\n{GOOD_WAVE}", "n".repeat(200), "d".repeat(5000)));
}

#[test]
fn waves() {
    golden("no_waves", "name: t\nwaves: []\n");
    golden(
        "too_many_waves",
        &with_waves(
            &(0..51)
                .map(|i| format!("  - {{ name: w{i}, select: {{ labels: {{ n: w{i} }} }}, soak: 8h }}\n"))
                .collect::<String>(),
        ),
    );
    golden(
        "duplicate_wave_name",
        &with_waves(
            "  - { name: a, select: { percent: 1% }, soak: 8h }\n  - { name: a, select: { remaining: true }, soak: 8h }\n",
        ),
    );
    golden("empty_wave_name", &with_waves("  - { name: '', select: { remaining: true }, soak: 8h }\n"));
    golden(
        "remaining_with_others",
        &with_waves("  - { name: a, select: { remaining: true, percent: 5% }, soak: 8h }\n"),
    );
    golden(
        "remaining_not_last",
        &with_waves(
            "  - { name: a, select: { remaining: true }, soak: 8h }\n  - { name: b, select: { percent: 5% }, soak: 8h }\n",
        ),
    );
    golden("no_criterion", &with_waves("  - { name: a, select: {}, soak: 8h }\n"));
    golden("empty_list", &with_waves("  - { name: a, select: { sites: [] }, soak: 8h }\n"));
    golden(
        "percent_not_growing",
        &with_waves(
            "  - { name: a, select: { percent: 10% }, soak: 8h }\n  - { name: b, select: { percent: 10% }, soak: 8h }\n",
        ),
    );
    golden(
        "approvals_in_last_gate",
        &with_waves("  - { name: a, select: { remaining: true }, soak: 8h, gate: { approvals: [clinical] } }\n"),
    );
    golden(
        "role_twice",
        &with_waves(
            "  - { name: a, select: { percent: 1% }, soak: 8h, gate: { approvals: [clinical, clinical] } }\n  - { name: b, select: { remaining: true }, soak: 8h }\n",
        ),
    );
    golden(
        "percent_of_nothing",
        &with_waves(
            "  - { name: a, select: { percent: 0% }, soak: 8h }\n  - { name: b, select: { remaining: true }, soak: 8h }\n",
        ),
    );
    golden("never_tried_again", &format!("name: t\ntiming: {{ retry_after: 2h, defer_max: 1h }}\nwaves:\n{GOOD_WAVE}"));
    golden("grace_swallows_soak", &format!("name: t\nhealth: {{ grace: 8h }}\nwaves:\n{GOOD_WAVE}"));
    golden(
        "eligible_has_no_percent",
        &format!("name: t\neligible: {{ percent: 10%, remaining: true }}\nwaves:\n{GOOD_WAVE}"),
    );
}

#[test]
fn accepted_risks() {
    golden(
        "accept_forms",
        &with_hours(
            "accept:\n  - no_canary\n  - { rule: no_canray, reason: x }\n  - { rule: unused_acceptance, reason: x }\n  - { rule: single_wave }\n  - { rule: single_wave, reason: \"\" }\n  - { rule: soak_short, reason: x, wave: fll }\n  - { rule: soak_short, reason: x, combinations: [{ model: CT }] }\n  - { rule: unrepresented, reason: x, combinations: [{}, { platform: xp, modell: CT }, { model: 5 }] }\n  - { rule: unrepresented, reason: x, combinations: [] }\non_call: []\n",
        ),
    );
    golden(
        "accept_needs_rules_that_are_known",
        &with_hours(
            "accept:\n  - { rule: no_canray, reason: x }\n  - { rule: unused_acceptance, reason: x }\n  - { rule: soak_short, reason: x, wave: fll }\n  - { rule: soak_short, reason: x, combinations: [{ model: CT }, {}] }\n  - { rule: what, reason: x }\n",
        ),
    );
}

#[test]
fn draws() {
    golden(
        "draw_forms",
        &with_waves(
            "  - { name: a, select: { count: 0, by: [modell, platform] }, soak: 8h }\n  - { name: b, select: { count: 10%, site_types: acute, systems: [pacs, 7] }, soak: 8h }\n  - { name: c, select: { representative: 101 }, soak: 8h }\n  - { name: d, select: { representative: yes, by: [] }, soak: 8h }\n  - { name: e, select: { remaining: true }, soak: 8h }\n",
        ),
    );
    golden(
        "draws_that_contradict",
        &with_waves(
            "  - { name: a, select: { count: 3, percent: 1% }, soak: 8h }\n  - { name: b, select: { representative: true, count: 3 }, soak: 8h }\n  - { name: c, select: { by: [model] }, soak: 8h }\n  - { name: d, select: { representative: 2, by: [model] }, soak: 8h }\n  - { name: e, select: { count: 1, by: [model, site, model] }, soak: 8h }\n  - { name: f, select: { representative: true }, soak: 8h }\n",
        ),
    );
    golden(
        "draws_by_share_not_growing",
        &with_waves(
            "  - { name: a, select: { percent: 10%, by: [model] }, soak: 8h }\n  - { name: b, select: { percent: 10% }, soak: 8h }\n  - { name: c, select: { percent: 5%, by: [model] }, soak: 8h }\n",
        ),
    );
    golden(
        "draws_are_not_eligibility",
        &format!("name: t\neligible: {{ count: 3, representative: true, systems: [pacs] }}\nwaves:\n{GOOD_WAVE}"),
    );
}

/// What is allowed, but risky.
#[test]
fn warnings() {
    let yaml = "name: t\nrollback: { scope: device }\nhealth: { interval: 1m, failures: 5 }\nwaves:\n  - { name: a, select: { percent: 10.01% }, soak: 4m }\n  - { name: b, select: { remaining: true }, soak: 0s }\n";
    let warnings = |yaml: &str| -> String {
        parse_plan(yaml, "plan.yaml").unwrap().warnings.iter().map(|w| format!("{w}\n")).collect()
    };
    insta::assert_snapshot!(warnings(yaml));
    assert!(!warnings(&yaml.replace("10.01%", "10%")).contains("no canary"));
    assert!(warnings(&with_waves(GOOD_WAVE)).contains("danger[single_wave]"));
}

#[test]
fn yaml_itself() {
    golden("empty_file", "");
    golden("only_comments", "# nothing here\n\n");
    golden("tabs", "name: t\nwaves:\n\t- name: a\n");
    golden("syntax_error", "name: t\nwaves: [ { name: a\n");
    golden("bad_indentation", "name: t\n  patch: x\nwaves: []\n");
    golden("two_documents", &format!("name: t\nwaves:\n{GOOD_WAVE}---\nname: u\n"));
    golden("merge_keys", &format!("a: &a {{ x: 1 }}\nname: t\nlimits: {{ <<: *a }}\nwaves:\n{GOOD_WAVE}"));
    golden("foreign_tag", &format!("name: !python/object t\nwaves:\n{GOOD_WAVE}"));
}

#[test]
fn oversized_and_exploding_files_are_refused() {
    let big = format!("name: t\ndescription: {}\nwaves:\n{GOOD_WAVE}", "x".repeat(300 * 1024));
    golden("oversized", &big);
    golden("nested_too_deeply", &format!("name: {}1{}\n", "[".repeat(60), "]".repeat(60)));
    // Nine levels of nine aliases each: 3 GB when written out.
    let mut bomb = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    golden("alias_bomb", &bomb);
    golden("self_reference", "name: &n [*n]\n");
}

#[test]
fn too_many_platforms() {
    let platforms = (0..65).map(|n| format!("'cpe:2.3:o:a:p{n}:*:*:*:*:*:*:*:*'")).collect::<Vec<_>>().join(", ");
    golden(
        "too_many_platforms",
        &with_waves(&format!("  - {{ name: a, select: {{ platforms: [{platforms}] }}, soak: 8h }}\n")),
    );
}

proptest::proptest! {
    /// Whatever the bytes, there is an answer, and every problem says where and what.
    #[test]
    fn no_file_breaks_the_reader(cut in 0_usize..2_000, noise in "[\\PC\n\t]{0,12}", length in 0_usize..6) {
        let yaml = include_str!("../examples/standard.yaml");
        let begin = (0..=cut.min(yaml.len())).rev().find(|at| yaml.is_char_boundary(*at)).unwrap();
        let end = (begin + length..=yaml.len()).find(|at| yaml.is_char_boundary(*at)).unwrap_or(yaml.len());
        let broken = format!("{}{noise}{}", &yaml[..begin], &yaml[end..]);
        if let Err(problems) = parse_plan(&broken, "plan.yaml") {
            proptest::prop_assert!(!problems.is_empty());
            for problem in problems {
                proptest::prop_assert!(!problem.message.is_empty() && problem.file == "plan.yaml", "{problem:?}");
            }
        }
    }
}
